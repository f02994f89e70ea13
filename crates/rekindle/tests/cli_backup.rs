//! `backup`, `restore` and copies of a directory in use, with the real binary.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::cli_harness::{Answered, cli, ok, send_lines};
use super::harness::{Server, block_on, bodies, contents, create, receive_all, refused, run, send};
use super::harness::{rekindle, serve};

const WRITERS: usize = 3;

fn command(arguments: &[&str]) -> Answered {
    run(arguments).into()
}

fn json_of(answered: &Answered) -> Value {
    assert_eq!(answered.code, 0, "{answered:?}");
    answered.lines()[0].clone()
}

/// Takes a backup with the command.
fn back_up(server: &Server, to: &Path) -> Value {
    json_of(&ok(server, &["backup", "--to", to.to_str().unwrap(), "--json"]))
}

fn restore(from: &Path, to: &Path, at: &str) -> Answered {
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let mut arguments = vec!["restore", "--from", from, "--to", to, "--json"];
    if !at.is_empty() {
        arguments.extend(["--at", at]);
    }
    command(&arguments)
}

/// All messages of a queue, by a receive that leaves them leased.
fn messages(server: &Server, queue: &str) -> Vec<String> {
    block_on(async {
        let mut queues = server.queues().await;
        bodies(&receive_all(&mut queues, queue).await)
    })
}

fn now_ms(server: &Server) -> u64 {
    server.get("/v1/stats").json()["log_time_ms"].as_u64().unwrap()
}

/// Show 2: sends, a backup, more sends, an incremental one; the directory is deleted; a time in
/// between brings back exactly the messages of then, and one behind the last is refused.
#[test]
fn a_lost_directory_comes_back_as_of_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backups) = (dir.path().join("data"), dir.path().join("backups"));
    let server = Server::start(&data);
    assert_eq!(send_lines(&server, "q", b"one\ntwo\n").code, 0);
    let first = back_up(&server, &backups);
    assert_eq!((&first["number"], &first["continuous"]), (&json!(1), &json!(true)));
    assert_eq!(send_lines(&server, "q", b"three\n").code, 0);
    let between = now_ms(&server);
    while now_ms(&server) == between {
        std::thread::yield_now();
    }
    assert_eq!(send_lines(&server, "q", b"four\nfive\n").code, 0);
    let text = ok(&server, &["backup", "--to", backups.to_str().unwrap()]);
    assert!(text.out.contains("backup 2 in "), "{text:?}");
    assert_eq!(server.stop(), 0);
    std::fs::remove_dir_all(&data).unwrap();

    let folder = backups.to_str().unwrap();
    let report = json_of(&command(&["backup", "verify", folder, "--json"]));
    assert_eq!((&report["findings"], &report["code"]), (&json!([]), &json!(0)));
    assert_eq!(report["backups"][1]["restorable"], json!(true));
    assert!(command(&["backup", "verify", "--from", folder]).out.contains("can be restored"));
    let listed = json_of(&command(&["backup", "list", folder, "--json"]));
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2);

    let restored = json_of(&restore(&backups, &data, &format!("@{between}")));
    assert_eq!(restored["queues"], json!([{ "name": "q", "messages": 3 }]));
    assert_ne!(restored["lineage"], first["lineage"]);
    assert_eq!(restored["store_id"], first["store_id"]);
    let server = Server::start(&data);
    assert_eq!(server.get("/v1/recoveries/latest").json()["code"], json!(0));
    assert_eq!(messages(&server, "q"), ["one", "two", "three"]);
    let other = cli(&server, &["backup", "--to", folder]);
    assert!(other.code == 1 && other.err.contains("lineage"), "{other:?}");
    assert_eq!(server.stop(), 0);
    assert_eq!(command(&["verify", "--data", data.to_str().unwrap()]).code, 0);

    let late = restore(&backups, &dir.path().join("late"), "2999-01-01T00:00:00Z");
    assert!(late.code == 1 && late.err.contains("what can be restored is"), "{late:?}");
    let full = restore(&backups, &data, "");
    assert!(full.code == 78 && full.err.contains("not empty"), "{full:?}");
    let wrong = restore(&backups, &dir.path().join("late"), "yesterday");
    assert!(wrong.code == 2 && wrong.err.contains("MILLISECONDS"), "{wrong:?}");
    let none = command(&["backup", "verify", data.to_str().unwrap()]);
    assert_eq!(none.code, 78, "{none:?}");

    // A flipped bit is named, and nothing is restored from it.
    let segment = contents(&backups.join("journal")).into_keys().next_back().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4_100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let damaged = command(&["backup", "verify", folder]);
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(damaged.code == 65 && damaged.out.contains(name), "{damaged:?}");
    let never = restore(&backups, &dir.path().join("never"), "");
    assert!(never.code == 65 && never.err.contains(name), "{never:?}");
    assert!(!dir.path().join("never").exists());
}

/// Backups that are no longer wanted go; who backed up and who restored, and why, is told.
#[test]
fn old_backups_are_removed_and_the_log_tells_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backups) = (dir.path().join("data"), dir.path().join("backups"));
    let folder = backups.to_str().unwrap();
    let server = Server::start(&data);
    for line in [b"one\n", b"two\n", b"six\n"] {
        assert_eq!(send_lines(&server, "q", line).code, 0);
        ok(&server, &["backup", "--to", folder, "--reason", "nightly"]);
    }
    let listed = json_of(&command(&["backup", "list", "--to", folder, "--json"]));
    assert_eq!(listed["backups"].as_array().unwrap().len(), 3);
    let before = contents(&backups);
    let prune = ["backup", "prune", "--to", folder, "--keep", "1"];
    let plan = json_of(&command(&[&prune[..], &["--dry-run", "--json"]].concat()));
    assert_eq!((&plan["dry_run"], &plan["kept"][0]["number"]), (&json!(true), &json!(3)));
    assert_eq!((plan["removed"].as_array().unwrap().len(), contents(&backups)), (2, before));
    let done = command(&prune);
    assert!(done.code == 0 && done.out.contains("stays: backup 3"), "{done:?}");
    assert!(done.out.contains("removed: backup 1:"), "{done:?}");
    let again = json_of(&command(&[&prune[..], &["--json"]].concat()));
    assert_eq!((&again["removed"], &again["files"]), (&json!([]), &json!([])));
    assert_eq!(command(&["backup", "verify", folder]).code, 0);
    assert_eq!(command(&["backup", "prune", folder, "--keep", "0"]).code, 2);
    assert_eq!(command(&["backup", "prune", folder]).code, 2);
    assert_eq!(command(&["backup", "prune", data.to_str().unwrap(), "--keep", "1"]).code, 78);

    let audit = ok(&server, &["audit", "--json"]).out;
    let taken = audit.matches("\"backup.take\"").count();
    assert!(taken == 3 && audit.contains("nightly") && audit.contains(folder), "{audit}");
    server.kill();
    let to = dir.path().join("again");
    let arguments = ["restore", "--from", folder, "--to", to.to_str().unwrap()];
    let restored = command(&[&arguments[..], &["--reason", "a drill"]].concat());
    assert_eq!(restored.code, 0, "{restored:?}");
    let server = Server::start(&to);
    assert_eq!(messages(&server, "q"), ["one", "two", "six"]);
    let audit = ok(&server, &["audit", "--json"]).out;
    assert!(audit.contains("store.restore") && audit.contains("a drill"), "{audit}");
    // The backups before it are told of in what they hold; the last one is not in itself.
    assert_eq!(audit.matches("\"backup.take\"").count(), 2, "{audit}");
    assert_eq!(server.stop(), 0);
}

/// The arguments, and what the server refuses.
#[test]
fn what_cannot_be_backed_up_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let inside = dir.path().join("data/backups");
    let refused = cli(&server, &["backup", "--to", inside.to_str().unwrap()]);
    assert!(refused.code == 1 && refused.err.contains("own directory"), "{refused:?}");
    for arguments in [&["backup"][..], &["backup", "verify"], &["restore", "--from", "x"]] {
        assert_eq!(command(arguments).code, 2, "{arguments:?}");
    }
    // A path relative to the command's directory.
    let mut relative = rekindle(&["backup", "--to", "below/../there", "--json"]);
    relative.current_dir(dir.path()).env("REKINDLE_HTTP", server.http.to_string());
    let taken: Answered = relative.output().unwrap().into();
    assert_eq!(json_of(&taken)["to"], json!(dir.path().join("there").to_str().unwrap()));
    let nobody = command(&["backup", "--to", "/tmp/x", "--http", "127.0.0.1:1"]);
    assert_eq!(nobody.code, 69, "{nobody:?}");
}

/// Senders, each with a queue of its own, numbering their messages.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: Vec<_> = (0..WRITERS).map(|_| Arc::new(AtomicU64::new(0))).collect();
        let address = format!("http://{}", server.grpc);
        let threads = acknowledged.iter().enumerate().map(|(writer, count)| {
            let (stop, count, address) = (Arc::clone(&stop), Arc::clone(count), address.clone());
            std::thread::spawn(move || {
                block_on(async {
                    let connected =
                        rekindle_wire::v1::queues_client::QueuesClient::connect(address).await;
                    let mut queues = connected.unwrap();
                    let queue = format!("w{writer}");
                    create(&mut queues, &queue).await;
                    while !stop.load(Ordering::Relaxed) {
                        let next = count.load(Ordering::SeqCst);
                        let sent: Vec<String> = (next..next + 3).map(|n| n.to_string()).collect();
                        send(&mut queues, &queue, &sent).await;
                        count.store(next + 3, Ordering::SeqCst);
                    }
                });
            })
        });
        let threads = threads.collect();
        Self { stop, acknowledged, threads }
    }

    /// How many messages of each sender were acknowledged.
    fn counts(&self) -> Vec<u64> {
        self.acknowledged.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }

    /// Waits until each sender has that many more.
    fn more(&self, by: u64) -> Vec<u64> {
        let wanted: Vec<u64> = self.counts().iter().map(|count| count + by).collect();
        while self.counts().iter().zip(&wanted).any(|(count, wanted)| count < wanted) {
            std::thread::yield_now();
        }
        self.counts()
    }

    fn end(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let acknowledged = self.acknowledged.clone();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        acknowledged.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }
}

/// A store holds of each sender a prefix of what it sent, with everything that was acknowledged
/// before a moment and nothing that was never sent.
fn holds_prefixes(data: &Path, least: &[u64], most: &[u64]) {
    let server = Server::start(data);
    for (writer, (least, most)) in least.iter().zip(most).enumerate() {
        let found = messages(&server, &format!("w{writer}"));
        let expected: Vec<String> = (0..found.len()).map(|n| n.to_string()).collect();
        assert_eq!(found, expected, "in order, each once");
        let count = found.len() as u64;
        assert!((*least..=*most).contains(&count), "{count} of {least}..={most}");
    }
    server.kill();
}

/// Backups under load restore to a prefix with everything acknowledged before each began.
#[test]
fn backups_under_load_are_prefixes() {
    let dir = tempfile::tempdir().unwrap();
    let backups = dir.path().join("backups");
    let server = Server::start(&dir.path().join("data"));
    let load = Load::start(&server);
    let mut taken = Vec::new();
    for _ in 0..4 {
        let least = load.more(30);
        let backup = back_up(&server, &backups);
        taken.push((backup["position"].as_u64().unwrap(), least, load.counts()));
    }
    load.end();
    assert_eq!(server.stop(), 0);
    assert_eq!(command(&["backup", "verify", backups.to_str().unwrap()]).code, 0);
    for (n, (position, least, counts)) in taken.iter().enumerate() {
        let data = dir.path().join(format!("restored-{n}"));
        let restored = json_of(&restore(&backups, &data, &position.to_string()));
        assert_eq!(restored["position"], json!(position));
        // What was on its way when the backup was taken may be in it.
        let most: Vec<u64> = counts.iter().map(|count| count + 3).collect();
        holds_prefixes(&data, least, &most);
    }
}

/// On the lsm engine: backups while it is written to, kill -9, and a restored store on the same
/// engine with the same messages.
#[test]
fn a_store_in_files_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backups) = (dir.path().join("data"), dir.path().join("backups"));
    let folder = backups.to_str().unwrap();
    let mut command_ = serve(&data, &["--engine", "lsm"]);
    command_.env("REKINDLE__ENGINE__MEMTABLE_BYTES", "4194304");
    let server = Server::spawn(command_);
    let load = Load::start(&server);
    let mut taken = Vec::new();
    for _ in 0..3 {
        let least = load.more(30);
        let backup = back_up(&server, &backups);
        assert_eq!(backup["engine"], json!("lsm"));
        taken.push((backup["position"].as_u64().unwrap(), least, load.counts()));
    }
    let acknowledged = load.end();
    server.kill();
    assert_eq!(command(&["backup", "verify", folder]).code, 0);
    assert_eq!(command(&["backup", "prune", folder, "--keep", "2"]).code, 0);
    for (n, (position, least, counts)) in taken.iter().enumerate().skip(1) {
        let to = dir.path().join(format!("restored-{n}"));
        let restored = json_of(&restore(&backups, &to, &position.to_string()));
        assert_eq!((&restored["engine"], &restored["position"]), (&json!("lsm"), &json!(position)));
        assert_eq!(command(&["verify", "--data", to.to_str().unwrap()]).code, 0);
        let info = json_of(&command(&["store", "info", "--data", to.to_str().unwrap(), "--json"]));
        assert_eq!(info["engine"], json!("lsm"), "{info}");
        let most: Vec<u64> = counts.iter().map(|count| count + 3).collect();
        holds_prefixes(&to, least, &most);
    }
    // The killed store itself has everything, and says so without a server.
    let verified = command(&["verify", "--data", data.to_str().unwrap()]).code;
    assert!([0, 3].contains(&verified), "{verified}");
    let out = dir.path().join("out");
    let salvage = ["salvage", "--data", data.to_str().unwrap(), "--export", out.to_str().unwrap()];
    let salvaged = command(&salvage);
    assert_eq!(salvaged.code, 0, "{salvaged:?}");
    let most: Vec<u64> = acknowledged.iter().map(|count| count + 3).collect();
    holds_prefixes(&data, &acknowledged, &most);
}

/// Copies a directory as `cp -r` does: what goes away meanwhile is left out.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if let Err(error) = std::fs::copy(&path, &target) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
    }
}

/// A directory copied while the server runs is recovered with everything acknowledged before the
/// copy began, or refused.
#[test]
fn a_copy_of_a_directory_in_use_is_recovered_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut command = serve(&data, &[]);
    command.env("REKINDLE__JOURNAL__SEGMENT_BYTES", "8388608");
    let server = Server::spawn(command);
    let load = Load::start(&server);
    let mut copies = Vec::new();
    for n in 0..12 {
        let least = load.more(15);
        let to = dir.path().join(format!("copy-{n}"));
        copy(&data, &to);
        copies.push((to, least));
        if n % 4 == 3 {
            // A rotation in between.
            back_up(&server, &dir.path().join("backups"));
        }
    }
    let most: Vec<u64> = load.end().iter().map(|count| count + 3).collect();
    assert_eq!(server.stop(), 0);
    let mut recovered = 0;
    for (copied, least) in &copies {
        let verified = run(&["verify", "--data", copied.to_str().unwrap()]).status.code().unwrap();
        if [0, 3, 4].contains(&verified) {
            holds_prefixes(copied, least, &most);
            recovered += 1;
        } else {
            let (code, text) = refused(serve(copied, &[]));
            assert_eq!(code, verified, "{text}");
            assert!([65, 78].contains(&code), "{text}");
        }
    }
    println!("{recovered} of {} copies were recovered, the others refused", copies.len());
}
