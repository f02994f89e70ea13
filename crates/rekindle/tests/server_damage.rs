//! Damaged stores: what is refused, what is said, and what is left as it was.

use std::path::{Path, PathBuf};

use super::harness::{
    Server, block_on, bodies, changed, contents, create, receive_all, refused, run, send, serve,
};

/// A store whose journal holds many acknowledged frames, as a SIGKILL leaves it.
pub fn killed_store(data: &Path) -> Vec<String> {
    let server = Server::start(data);
    let sent: Vec<String> = (0..50).map(|number| format!("message {number}")).collect();
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        for body in &sent {
            send(&mut queues, "q", std::slice::from_ref(body)).await;
        }
    });
    server.kill();
    sent
}

/// The newest segment of a store.
pub fn segment(data: &Path) -> PathBuf {
    let journal = data.join("shards/0/journal");
    contents(&journal).into_keys().max().unwrap()
}

/// Where a text stands in a file.
pub fn find(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap()
}

/// One bit flipped in a frame that is not the last: `serve` refuses with 65, names the place and
/// the ways on, writes its report and changes nothing else; `verify` says the same.
///
/// fault: S7
#[test]
fn a_flipped_bit_refuses_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    killed_store(data);
    let path = segment(data);
    let mut bytes = std::fs::read(&path).unwrap();
    let place = find(&bytes, "message 7");
    bytes[place] ^= 1;
    std::fs::write(&path, &bytes).unwrap();

    let text = data.to_str().unwrap();
    let (before, no_path) = (contents(data), Vec::<PathBuf>::new());
    let verify = run(&["verify", "--json", "--data", text]);
    assert_eq!(verify.status.code(), Some(65), "{verify:?}");
    assert_eq!(changed(&before, &contents(data)), no_path, "verify changes no byte");
    let report: serde_json::Value = serde_json::from_slice(&verify.stdout).unwrap();
    let finding =
        report["findings"].as_array().unwrap().iter().find(|it| it["verdict"] == "corrupt");
    let file = finding.unwrap()["file"].as_str().unwrap().to_owned();
    assert!(path.ends_with(&file), "{file}");

    let (code, said) = refused(serve(data, &[]));
    assert_eq!(code, 65, "{said}");
    for part in [file.as_str(), "rekindle verify --data", "rekindle journal dump --data", "restore"]
    {
        assert!(said.contains(part), "{part:?} is missing in {said}");
    }
    let after = contents(data);
    let reports = data.join("reports");
    let changed = changed(&before, &after);
    let (written, others): (Vec<_>, Vec<_>) =
        changed.into_iter().partition(|path| path.starts_with(&reports));
    assert_eq!(others, no_path, "a refused start changes nothing but its report and record");
    let (runs, written): (Vec<_>, Vec<_>) =
        written.into_iter().partition(|path| path.starts_with(reports.join("runs")));
    assert!(!runs.is_empty(), "the record of the run");
    assert_eq!(written.len(), 1, "{written:?}");
    let report: serde_json::Value = serde_json::from_slice(&after[&written[0]]).unwrap();
    assert_eq!(report["code"], 65);
}

/// The end of the last frame zeroed, the size kept, as a power loss leaves it: `verify` says 3, the
/// start cuts it and serves everything that came before.
///
/// fault: S4
#[test]
fn a_torn_tail_is_cut_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    assert_eq!(Server::start(data).stop(), 0);
    let tip = data.join("shards/0/tip");
    let older_tip = std::fs::read(&tip).unwrap();
    let sent = killed_store(data);
    // A server under load is killed before it proves its last frame; an idle one proves it soon.
    std::fs::write(&tip, older_tip).unwrap();
    let path = segment(data);
    let mut bytes = std::fs::read(&path).unwrap();
    let place = find(&bytes, "message 49");
    bytes[place..].fill(0);
    std::fs::write(&path, &bytes).unwrap();

    let verify = run(&["verify", "--data", data.to_str().unwrap()]);
    assert_eq!(verify.status.code(), Some(3), "{verify:?}");
    let server = Server::start(data);
    assert!(server.announced.contains("torn"), "{}", server.announced);
    assert_eq!(server.get("/v1/recoveries/latest").json()["code"], 3);
    assert!(server.get("/metrics").body.contains("rekindle_recovery_code 3"));
    let received = block_on(async { receive_all(&mut server.queues().await, "q").await });
    assert_eq!(bodies(&received), sent[..49]);
    assert_eq!(server.stop(), 0);
}
