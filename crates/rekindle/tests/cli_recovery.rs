//! `recovery list | show | plan` and `/v1/recoveries`: reports from a server and from a directory.

use std::path::Path;

use serde_json::{Value, json};

use super::cli_harness::{Answered, cli, ok, send_lines};
use super::harness::{Server, contents, refused, run, serve};

fn recovery(data: &Path, arguments: &[&str]) -> Answered {
    run(&[&["recovery"], arguments, &["--data", data.to_str().unwrap()]].concat()).into()
}

/// After a kill: the newest report is the same from server, directory and file; the list is newest
/// first; the incident report tells what the run before left.
#[test]
fn a_kill_is_told_by_list_show_and_markdown() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(send_lines(&server, "q", b"a\nb\nc\n").code, 0);
    assert_eq!(ok(&server, &["queue", "receive", "q"]).lines().len(), 1);
    server.kill();
    let server = Server::start(dir.path());
    let list = ok(&server, &["recovery", "list", "--json"]).lines();
    let numbers: Vec<&Value> = list.iter().map(|it| &it["number"]).collect();
    assert_eq!(numbers, [2, 1]);
    for field in ["number", "incarnation", "code", "started_wall_ms", "micros", "findings"] {
        assert!(list[0][field].is_u64(), "{field}: {}", list[0]);
    }
    assert!(list[0]["actions"].as_u64().unwrap() > 0 && list[0]["notes"].is_u64());
    assert_eq!((&list[0]["refused"], &list[0]["incarnation"]), (&json!(false), &json!(2)));
    let summary = list[0]["summary"].as_str().unwrap();
    assert!(summary.contains("replayed") && summary.contains("kept 1 lease"), "{summary}");

    let shown = ok(&server, &["recovery", "show", "--json"]).lines().remove(0);
    assert_eq!((&shown["number"], &shown["before"]["incarnation"]), (&json!(2), &json!(1)));
    assert_eq!(shown["before"]["ended"], "unclean");
    assert!(shown["before"]["newest_version"].as_u64().unwrap() > 0);
    assert_eq!(shown["store_id"].as_str().unwrap().len(), 32);
    assert_eq!(ok(&server, &["recovery", "show", "2", "--json"]).lines()[0], shown);
    assert_eq!(server.get("/v1/recoveries/2").json(), shown);
    assert_eq!(server.get("/v1/recoveries/latest").json(), shown);
    assert_eq!(recovery(dir.path(), &["show", "--json"]).lines()[0], shown, "no server is asked");
    assert_eq!(recovery(dir.path(), &["list", "--json"]).lines(), list);

    let table = ok(&server, &["recovery", "list"]).out;
    assert!(table.starts_with("REPORT  RUN  WHEN"), "{table}");
    assert_eq!(table.lines().count(), 3);
    let text = ok(&server, &["recovery", "show"]).out;
    assert!(text.starts_with("report 2 of run 2, 20"), "{text}");
    let incident = ok(&server, &["recovery", "show", "--md"]).out;
    assert!(incident.starts_with("# Recovery report 2: "), "{incident}");
    assert!(incident.contains("Run 1 before had not ended cleanly"), "{incident}");
    assert!(incident.contains("| leases with time left, kept | 1 |"), "{incident}");
    assert!(incident.contains("| journal |") && incident.contains("## Next commands"));
    assert_eq!(server.stop(), 0);

    let server = Server::start(dir.path());
    let shown = ok(&server, &["recovery", "show", "--json"]).lines().remove(0);
    assert_eq!(shown["before"]["ended"], "clean", "{shown}");
    assert_eq!(server.stop(), 0);
}

/// A page at a time; what is not there is 404 and exit 1.
#[test]
fn reports_are_paged() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Server::start(dir.path()).stop(), 0);
    assert_eq!(Server::start(dir.path()).stop(), 0);
    let server = Server::start(dir.path());
    let page = server.get("/v1/recoveries?limit=2").json();
    assert_eq!((&page["recoveries"][1]["number"], &page["more"]), (&json!(2), &json!(true)));
    let page = server.get("/v1/recoveries?limit=2&before=2").json();
    assert_eq!(page["recoveries"].as_array().unwrap().len(), 1);
    assert_eq!(page["more"], false);
    for wrong in ["?limit=0", "?limit=101", "?before=x", "?before=0"] {
        assert_eq!(server.get(&format!("/v1/recoveries{wrong}")).status, 400, "{wrong}");
    }
    assert_eq!(server.get("/v1/recoveries/99").status, 404);
    assert_eq!(server.get("/v1/recoveries/0").status, 400);
    assert_eq!(server.get("/v1/recoveries/x").status, 400);
    let missing = cli(&server, &["recovery", "show", "99"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("there is no report 99"), "{missing:?}");
    assert_eq!(cli(&server, &["recovery", "show", "0"]).code, 2);
    server.kill();
    let address = "127.0.0.1:1";
    let nobody: Answered = run(&["recovery", "list", "--http", address]).into();
    assert_eq!(nobody.code, 69, "{nobody:?}");
}

/// A refused start is listed and shown like the others, and its report is where a person looks.
///
/// fault: S14
#[test]
fn a_refused_start_is_a_report() {
    let dir = tempfile::tempdir().unwrap();
    // On files nothing of the journal would be read any more, so nothing would be found there.
    let in_memory = ["--engine", "memory"];
    let server = Server::spawn(serve(dir.path(), &in_memory));
    assert_eq!(send_lines(&server, "q", b"acknowledged\n").code, 0);
    assert_eq!(server.stop(), 0);
    let segment = dir.path().join("shards/0/journal");
    let segment = std::fs::read_dir(segment).unwrap().map(|it| it.unwrap().path()).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(12).position(|it| it == b"acknowledged").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (code, text) = refused(serve(dir.path(), &in_memory));
    assert_eq!(code, 65, "{text}");
    let list = recovery(dir.path(), &["list", "--json"]);
    assert_eq!(list.code, 0, "{list:?}");
    let newest = &list.lines()[0];
    assert_eq!((&newest["code"], &newest["refused"]), (&json!(65), &json!(true)), "{newest}");
    assert!(newest["summary"].as_str().unwrap().starts_with("did not recover"), "{newest}");
    let incident = recovery(dir.path(), &["show", "--md"]).out;
    assert!(incident.starts_with("# Recovery report 2: refused"), "{incident}");
    assert!(incident.contains("corrupt | yes"), "{incident}");
    assert!(incident.contains("Run 1 before"), "{incident}");
    let before = contents(dir.path());
    for plan in [&["recovery", "plan"][..], &["recover", "--plan"]] {
        let arguments = [plan, &["--json", "--data", dir.path().to_str().unwrap()]].concat();
        let planned: Answered = run(&arguments).into();
        assert_eq!(planned.code, 65, "{planned:?}");
        assert_eq!(planned.lines()[0]["before"]["incarnation"], 1);
    }
    assert_eq!(contents(dir.path()), before, "a plan changes no byte");
}

/// Files in the place of reports that are none are named and stop nothing.
#[test]
fn hostile_reports_are_named() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Server::start(dir.path()).stop(), 0);
    let reports = dir.path().join("reports");
    std::fs::write(reports.join("2.json"), b"\xFF garbage").unwrap();
    std::fs::write(reports.join("3.json"), "[".repeat(1 << 20)).unwrap();
    std::fs::create_dir(reports.join("4.json")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", reports.join("5.json")).unwrap();
    let huge = std::fs::File::create(reports.join("6.json")).unwrap();
    huge.set_len(1 << 40).unwrap();
    let list = recovery(dir.path(), &["list", "--json"]);
    assert_eq!(list.code, 0, "{list:?}");
    for line in &list.lines()[..5] {
        let name = format!("reports/{}.json", line["number"]);
        assert!(line["error"].as_str().unwrap().contains(&name), "{line}");
    }
    assert_eq!(list.lines().len(), 6);
    let server = Server::start(dir.path());
    assert_eq!(ok(&server, &["recovery", "list", "--json"]).lines().len(), 7);
    for number in 2..=6 {
        let answer = server.get(&format!("/v1/recoveries/{number}"));
        assert_eq!(answer.status, 404, "{answer:?}");
        assert!(!answer.body.contains("root:"), "a link is not followed");
    }
    assert_eq!(server.get("/v1/recoveries/7").json()["incarnation"], 2);
    assert_eq!(server.stop(), 0);
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(recovery(nothing.path(), &["list"]).code, 78);
    assert_eq!(recovery(&nothing.path().join("nowhere"), &["show"]).code, 78);
}
