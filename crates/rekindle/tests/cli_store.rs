//! `store info`, of a directory and of a running server.

use serde_json::json;

use super::cli_harness::{Answered, ok, send_lines};
use super::harness::{Server, contents, run};

fn info(arguments: &[&str]) -> Answered {
    run(&[&["store", "info"], arguments].concat()).into()
}

/// The same object from the directory and from the server that has it open.
#[test]
fn a_store_is_described_by_its_files_and_by_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(send_lines(&server, "q", b"hello\n").code, 0);
    let locked = info(&["--data", data]);
    assert_eq!(locked.code, 73, "{locked:?}");
    assert!(locked.err.contains("store info --http"), "{locked:?}");
    let http = server.http.to_string();
    let running = info(&["--http", &http, "--json"]);
    assert_eq!(running.code, 0, "{running:?}");
    let running = &running.lines()[0];
    assert_eq!(&server.get("/v1/store").json()["store_id"], &running["store_id"]);
    assert_eq!((&running["running"]["incarnation"], &running["findings"]), (&json!(1), &json!([])));
    assert!(running["versions"]["to"].as_u64().unwrap() > 1, "{running}");
    let text = info(&["--http", &http]);
    assert!(text.out.contains("running.visible_version"), "{text:?}");
    assert!(ok(&server, &["queue", "list"]).out.contains('q'), "a look disturbs nothing");
    assert_eq!(server.stop(), 0);

    let before = contents(dir.path());
    let closed = info(&["--data", data, "--json"]);
    assert_eq!(closed.code, 0, "{closed:?}");
    let closed = &closed.lines()[0];
    assert_eq!((&closed["running"], &closed["clean_end"]), (&json!(null), &json!(true)));
    for same in ["store_id", "lineage", "node", "engine", "format", "feature_level", "program"] {
        assert_eq!(closed[same], running[same], "{same}");
    }
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(closed), keys(running));
    assert_eq!((&closed["engine"], &closed["format"]), (&json!("lsm"), &json!(1)));
    assert!(info(&["--data", data]).out.contains("the last one was closed"));
    assert_eq!(contents(dir.path()), before, "a look changes nothing");
}

#[test]
fn exit_codes_are_those_of_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    Server::start(dir.path()).stop();
    for name in ["store.a", "store.b"] {
        let path = dir.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let damaged = info(&["--data", data, "--json"]);
        let code = if name == "store.a" { 4 } else { 65 };
        assert_eq!(damaged.code, code, "{damaged:?}");
        let told = &damaged.lines()[0];
        assert_eq!((&told["code"], &told["copies"][0]["state"]), (&json!(code), &json!("damaged")));
    }
    assert_eq!(info(&["--data", dir.path().join("nowhere").to_str().unwrap()]).code, 78);
    assert_eq!(info(&["--http", "127.0.0.1:1"]).code, 69);
    assert_eq!(info(&["--http", "nowhere"]).code, 2);
}
