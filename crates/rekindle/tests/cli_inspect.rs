//! `verify`, `recover --plan`, `journal dump`, `report`, `demo crash`.

use serde_json::json;

use super::cli_harness::{Answered, cli, ok, send_lines};
use super::harness::{Server, contents, run};

fn inspect(arguments: &[&str]) -> Answered {
    run(arguments).into()
}

/// proves: B8
#[test]
fn a_store_that_was_closed_is_clean_and_looking_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(send_lines(&server, "q", b"hello\n").code, 0);
    let data = dir.path().to_str().unwrap();
    for arguments in [
        &["verify", "--data", data][..],
        &["recover", "--plan", "--data", data],
        &["journal", "dump", "--data", data],
    ] {
        let locked = inspect(arguments);
        assert_eq!(locked.code, 73, "{arguments:?}: {locked:?}");
    }
    assert_eq!(server.stop(), 0);
    let before = contents(dir.path());
    for arguments in [&["verify"][..], &["recover", "--plan"]] {
        let arguments = [arguments, &["--data", data, "--json"]].concat();
        let report = inspect(&arguments);
        assert_eq!(report.code, 0, "{arguments:?}: {report:?}");
        let report = &report.lines()[0];
        assert_eq!((&report["code"], &report["findings"]), (&json!(0), &json!([])));
        let layers = report["layers"].as_array().unwrap();
        assert!(layers.iter().any(|layer| layer["layer"] == "queue"), "services are looked at");
    }
    assert!(inspect(&["verify", "--data", data]).out.contains("clean"));
    let dump = inspect(&["journal", "dump", "--data", data, "--json"]);
    assert_eq!(dump.code, 0, "{dump:?}");
    let types = dump.texts("type");
    assert!(types.iter().any(|line| line == "segment"), "{types:?}");
    assert_eq!(contents(dir.path()), before);
}

/// After SIGKILL the journal holds what was sent, and the dump shows it.
#[test]
fn a_dump_shows_what_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(send_lines(&server, "q", b"find me\n").code, 0);
    server.kill();
    let data = dir.path().to_str().unwrap();
    let dump = inspect(&["journal", "dump", "--data", data, "--json"]);
    assert_eq!(dump.code, inspect(&["verify", "--data", data]).code, "{dump:?}");
    for kind in ["segment", "frame", "record", "transaction", "put"] {
        assert!(dump.texts("type").iter().any(|line| line == kind), "{kind}: {}", dump.out);
    }
    let text = inspect(&["journal", "dump", "--data", data]);
    assert!(text.out.contains("transaction"), "{text:?}");
}

#[test]
fn what_is_no_store_is_78() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letter"), "dear").unwrap();
    let data = dir.path().to_str().unwrap();
    let nowhere = dir.path().join("nowhere");
    for data in [data, nowhere.to_str().unwrap()] {
        for arguments in [
            &["verify", "--data", data][..],
            &["recover", "--plan", "--data", data],
            &["journal", "dump", "--data", data],
        ] {
            let refused = inspect(arguments);
            assert_eq!(refused.code, 78, "{arguments:?}: {refused:?}");
        }
    }
    assert!(!nowhere.exists());
}

#[test]
fn the_report_of_a_running_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let report = &ok(&server, &["report", "--json"]).lines()[0];
    assert_eq!((&report["code"], &report["incarnation"]), (&json!(0), &json!(1)));
    assert!(ok(&server, &["report"]).out.starts_with("recovery of run 1: code 0"));
    let address = server.http.to_string();
    let url = format!("http://{address}");
    assert_eq!(cli(&server, &["report", "--http", &url]).code, 0);
    server.kill();
    let unreachable = inspect(&["report", "--http", &address]);
    assert_eq!(unreachable.code, 69);
    assert!(unreachable.err.starts_with(&format!("cannot reach {address} (refused)")));
}

/// proves: B9
#[test]
fn the_demo_loses_nothing_in_twenty_seconds() {
    let began = std::time::Instant::now();
    let demo = inspect(&["demo", "crash", "--json"]);
    assert_eq!(demo.code, 0, "{demo:?}");
    let verdict = &demo.lines()[0];
    assert_eq!(verdict["ok"], json!(true), "{verdict}");
    for none in ["lost", "duplicated", "out_of_order", "unknown"] {
        assert_eq!(verdict[none], json!(0), "{verdict}");
    }
    assert!(
        verdict["acknowledged"].as_u64().unwrap()
            > verdict["acknowledged_before_kill"].as_u64().unwrap()
    );
    assert_eq!(verdict["recovery"]["incarnation"], json!(2));
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
