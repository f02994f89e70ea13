//! `kv …`.

use serde_json::json;

use super::cli_harness::{cli, command, ok, run_with};
use super::harness::Server;

#[test]
fn values_are_written_read_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let put = &ok(&server, &["kv", "put", "k", "one"]).lines()[0];
    let first = put["version"].as_u64().unwrap();
    assert_eq!(put["durability"], "disk");
    ok(&server, &["kv", "put", "k", "two"]);
    assert_eq!(ok(&server, &["kv", "get", "k"]).out, "two", "the value as it is");
    let past = ok(&server, &["kv", "get", "k", "--json", "--at", &first.to_string()]);
    assert_eq!(past.lines(), [json!({"key": "k", "value": "one", "version": first})]);
    let binary = run_with(command(&server, &["kv", "put", "b", "--file", "-"]), b"\xFF\n");
    assert_eq!(binary.code, 0, "{binary:?}");
    let shown = &ok(&server, &["kv", "get", "b", "--json"]).lines()[0];
    assert_eq!(shown["value"], json!({"base64": "/wo="}));
    assert_eq!(ok(&server, &["kv", "delete", "k"]).lines()[0]["existed"], json!(true));
    assert_eq!(ok(&server, &["kv", "delete", "k"]).lines()[0]["existed"], json!(false));
    let gone = cli(&server, &["kv", "get", "k"]);
    assert_eq!(gone.code, 1);
    assert_eq!(gone.err, "key \"k\" does not exist; write it with 'rekindle kv put k VALUE'\n");
}

#[test]
fn a_changed_key_is_a_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let made = &ok(&server, &["kv", "cas", "k", "one", "--expect", "0"]).lines()[0];
    let version = made["version"].to_string();
    assert_eq!(cli(&server, &["kv", "cas", "k", "two", "--expect", "0"]).code, 1);
    ok(&server, &["kv", "cas", "k", "two", "--expect", &version]);
    assert_eq!(cli(&server, &["kv", "cas", "k", "--delete", "--expect", &version]).code, 1);
    assert_eq!(ok(&server, &["kv", "get", "k"]).out, "two");
}

/// proves: D11
#[test]
fn scans_are_paged_ordered_and_stay_in_their_scope() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for key in ["a1", "a2", "a3", "b1"] {
        ok(&server, &["kv", "put", key, "v"]);
    }
    ok(&server, &["kv", "put", "a9", "other", "--tenant", "t", "--run", "r"]);
    let keys = |arguments: &[&str]| {
        let arguments = [&["kv", "scan", "--json"], arguments].concat();
        ok(&server, &arguments).texts("key")
    };
    assert_eq!(keys(&[]), ["a1", "a2", "a3", "b1"]);
    assert_eq!(keys(&["a"]), ["a1", "a2", "a3"]);
    assert_eq!(keys(&["--start", "a2", "--end", "b1"]), ["a2", "a3"]);
    assert_eq!(keys(&["--reverse", "--limit", "2"]), ["b1", "a3"]);
    assert_eq!(keys(&["--tenant", "t", "--run", "r"]), ["a9"]);
    assert_eq!(ok(&server, &["kv", "scan", "a", "--limit", "1"]).out, "a1\tv\n");
    assert_eq!(ok(&server, &["kv", "scan", "b", "--keys-only"]).out, "b1\n");
}
