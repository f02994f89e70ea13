//! `repair` and `salvage`: from a flipped bit to a server that serves everything else.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cli_harness::{Answered, send_lines};
use super::harness::{
    Server, block_on, bodies, changed, contents, receive_all, refused, run, serve,
};

fn command(arguments: &[&str]) -> Answered {
    run(arguments).into()
}

/// A killed store with fifty messages, in one of which a bit is flipped; where that is.
fn damaged(data: &Path) -> PathBuf {
    let server = Server::start(data);
    let lines: String = (0..50).map(|number| format!("message {number:02}\n")).collect();
    // One line at a time: each in a frame of its own.
    for line in lines.lines() {
        assert_eq!(send_lines(&server, "q", format!("{line}\n").as_bytes()).code, 0);
    }
    server.kill();
    let journal = data.join("shards/0/journal");
    let path = contents(&journal).into_keys().max().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes.windows(10).position(|window| window == b"message 07").unwrap();
    bytes[place] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    path
}

fn range(verify: &Answered) -> String {
    let report = &verify.lines()[0];
    let findings = report["findings"].as_array().unwrap();
    let corrupt: Vec<&Value> = findings.iter().filter(|it| it["verdict"] == "corrupt").collect();
    let [finding] = corrupt[..] else { panic!("{corrupt:?}") };
    format!("{}..{}", finding["from"], finding["to"])
}

/// `serve` refuses with the very command; `repair` without it changes nothing; with it the server
/// starts, and all other messages are there.
///
/// fault: S7
#[test]
fn a_flipped_bit_is_given_up_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let path = damaged(data);
    let original = std::fs::read(&path).unwrap();
    let text = data.to_str().unwrap();
    let verify = command(&["verify", "--json", "--data", text]);
    assert_eq!(verify.code, 65, "{verify:?}");
    let range = range(&verify);
    let (code, said) = refused(serve(data, &[]));
    assert_eq!(code, 65, "{said}");
    for part in [
        format!("rekindle repair --data {text} --accept-loss {range}"),
        format!("rekindle salvage --data {text} --export"),
    ] {
        assert!(said.contains(&part), "{part:?} is missing in {said}");
    }

    let before = contents(data);
    for (arguments, wanted) in [
        (vec!["--plan", "--json", "--accept-loss", &range], 0),
        (vec![], 1),
        (vec!["--accept-loss", "0..8"], 1),
        (vec!["--accept-loss", &range, "--accept-loss", "0..8"], 1),
        (vec!["--accept-loss", "8..0"], 2),
    ] {
        let answered = command(&[&["repair", "--data", text][..], &arguments].concat());
        assert_eq!(answered.code, wanted, "{arguments:?}: {answered:?}");
        assert_eq!(changed(&before, &contents(data)), Vec::<PathBuf>::new(), "{arguments:?}");
        if wanted == 1 {
            let named = format!("--accept-loss {range}");
            assert!(answered.err.contains(&named), "{arguments:?}: {answered:?}");
        }
        if wanted == 0 {
            let plan = &answered.lines()[0];
            assert_eq!((&plan["planned"], &plan["records"]), (&true.into(), &0.into()));
            assert_eq!(plan["losses"].as_array().unwrap().len(), 1);
        }
    }

    let arguments = ["--reason", "a bad disk", "--json", "--accept-loss", &range];
    let repaired = command(&[&["repair", "--data", text][..], &arguments].concat());
    assert_eq!(repaired.code, 0, "{repaired:?}");
    let done = &repaired.lines()[0];
    let loss = &done["losses"][0];
    assert_eq!(loss["exact"], true);
    assert_eq!(loss["from_position"], loss["to_position"], "one record was in that frame");
    let kept = data.join(done["kept"].as_str().unwrap());
    assert_eq!(std::fs::read(kept.join(path.file_name().unwrap())).unwrap(), original);
    let note = std::fs::read_to_string(kept.join("repair.json")).unwrap();
    let note: Value = serde_json::from_str(&note).unwrap();
    assert_eq!((&note["reason"], &note["findings_total"]), (&"a bad disk".into(), &1.into()));

    let verify = command(&["verify", "--data", text]);
    assert_eq!(verify.code, 0, "{verify:?}");
    let again = command(&["repair", "--data", text, "--accept-loss", &range]);
    assert!(again.code == 1 && again.err.contains("nothing to repair"), "{again:?}");
    let server = Server::start(data);
    let locked = command(&["repair", "--data", text, "--accept-loss", &range]);
    assert_eq!(locked.code, 73, "{locked:?}");
    let received = block_on(async { receive_all(&mut server.queues().await, "q").await });
    let others = (0..50).filter(|number| *number != 7).map(|number| format!("message {number:02}"));
    assert_eq!(bodies(&received), others.collect::<Vec<_>>());
    assert_eq!(server.stop(), 0);
}

/// `salvage` writes what can be read and changes no byte of the store; what it cannot read it says.
#[test]
fn what_can_be_read_is_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    damaged(&data);
    let (text, folder) = (data.to_str().unwrap(), out.to_str().unwrap());
    let before = contents(&data);
    let salvaged = command(&["salvage", "--data", text, "--export", folder, "--json"]);
    assert_eq!(salvaged.code, 1, "{salvaged:?}");
    assert!(salvaged.err.contains("journal-2"), "{salvaged:?}");
    assert_eq!(changed(&before, &contents(&data)), Vec::<PathBuf>::new());
    let summary = &salvaged.lines()[0];
    assert_eq!(summary["whole"], false);
    let written = std::fs::read_to_string(out.join("salvage.json")).unwrap();
    assert_eq!(&serde_json::from_str::<Value>(&written).unwrap(), summary);
    let messages = std::fs::read_to_string(out.join("messages.jsonl")).unwrap();
    assert_eq!(messages.lines().count(), 49);
    for line in messages.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["keyspace"], "messages");
        assert!(row["version"].as_u64().unwrap() > 0);
    }
    let again = command(&["salvage", "--data", text, "--export", folder]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains("finished salvage"), "{again:?}");

    let whole = dir.path().join("whole");
    let server = Server::start(&whole);
    assert_eq!(send_lines(&server, "q", b"hello\n").code, 0);
    let (text, folder) = (whole.to_str().unwrap(), dir.path().join("second"));
    let arguments = ["salvage", "--data", text, "--export", folder.to_str().unwrap()];
    assert_eq!(command(&arguments).code, 73);
    assert_eq!(server.stop(), 0);
    let salvaged = command(&arguments);
    assert_eq!(salvaged.code, 0, "{salvaged:?}");
    assert!(salvaged.out.contains("messages.jsonl: 1 rows"), "{salvaged:?}");
}
