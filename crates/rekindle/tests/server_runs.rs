//! Run records of the real binary: every way in which it ends, and who tells it.

use super::harness::{Server, refused, run, serve};

fn records(data: &std::path::Path) -> Vec<serde_json::Value> {
    let output = run(&["runs", "list", "--json", "--data", data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A clean end, a kill and a refused start are told by who ended, by the next start, and without a
/// server; the store itself is not read for it.
///
/// proves: L11
#[test]
fn every_run_says_how_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    assert_eq!(Server::start(data).stop(), 0);
    Server::start(data).kill();
    let ends = |records: &[serde_json::Value]| -> Vec<String> {
        records.iter().map(|it| it["end"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ends(&records(data)), ["running", "clean"], "nobody noticed yet");
    let server = Server::start(data);
    let runs = server.get("/v1/runs").json();
    let all: Vec<_> = runs["runs"].as_array().unwrap().clone();
    assert_eq!(ends(&all), ["running", "killed", "clean"]);
    assert_eq!(all[1]["incarnation"], 2);
    assert!(all[1]["ended_wall_ms"].is_null() && all[1]["noticed_wall_ms"].is_u64());
    assert_eq!(all[2]["code"], 0);
    assert!(all[2]["asked_wall_ms"].is_u64() && all[2]["ended_wall_ms"].is_u64());
    assert_eq!(all[0]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(server.get("/v1/runs/2").json(), all[1]);
    assert_eq!(server.get("/v1/runs/9").status, 404);
    assert_eq!(server.get("/v1/runs?limit=0").status, 400);
    // Another server on the same directory is refused and records nothing: it is not its own.
    assert_eq!(refused(serve(data, &[])).0, 73);
    assert_eq!(records(data).len(), 3);
    let http = server.http.to_string();
    let listed = run(&["runs", "list", "--http", &http]);
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains("the process died without a word"), "{text}");
    let shown = run(&["--http", &http, "runs", "show", "1", "--json"]);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&shown.stdout).unwrap(), all[2]);
    assert_eq!(run(&["runs", "show", "9", "--http", &http]).status.code(), Some(1));
    assert_eq!(server.stop(), 0);

    // A start that is refused says its code.
    let id = data.join("store.a");
    let (a, b) = (std::fs::read(&id).unwrap(), std::fs::read(data.join("store.b")).unwrap());
    std::fs::write(&id, vec![7; a.len()]).unwrap();
    std::fs::write(data.join("store.b"), vec![7; b.len()]).unwrap();
    let (code, said) = refused(serve(data, &[]));
    let newest = records(data).remove(0);
    assert_eq!(newest["end"], "refused");
    assert_eq!(newest["code"], code);
    assert!(said.contains(newest["reason"].as_str().unwrap()), "{said}");
}

/// What cannot be written or read stops no start.
#[test]
fn records_that_cannot_be_written_stop_no_start() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Server::start(dir.path()).stop(), 0);
    let runs = dir.path().join("reports/runs");
    std::fs::write(runs.join("1.json"), "{").unwrap();
    let server = Server::start(dir.path());
    assert_eq!(server.get("/v1/runs").json()["unreadable"], 1);
    assert_eq!(server.stop(), 0);
    std::fs::remove_dir_all(&runs).unwrap();
    std::fs::write(&runs, "no directory").unwrap();
    let server = Server::start(dir.path());
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.stop(), 0);
}
