//! `rekindle job …`: every verb against a real server, and its refusals.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::cli_harness::{cli, command, ok, run_with};
use super::harness::{DEADLINE, Server, rekindle};

/// The one line of JSON that a command prints.
pub fn line(server: &Server, arguments: &[&str]) -> Value {
    let lines = ok(server, arguments).lines();
    assert_eq!(lines.len(), 1, "{arguments:?}");
    lines.into_iter().next().unwrap()
}

/// Submits a job with more arguments; its id.
pub fn submit(server: &Server, arguments: &[&str]) -> String {
    let submitted = line(server, &[&["job", "submit"], arguments].concat());
    assert_eq!((&submitted["new"], &submitted["durability"]), (&json!(true), &json!("disk")));
    submitted["id"].as_str().unwrap().to_owned()
}

/// Claims the next job of a type: id and token.
pub fn claim(server: &Server, kind: &str) -> (String, String) {
    let claimed = line(server, &["job", "claim", kind, "--wait", "10s"]);
    let word = |field: &str| claimed[field].as_str().unwrap().to_owned();
    (word("id"), word("token"))
}

pub fn show(server: &Server, id: &str) -> Value {
    line(server, &["job", "show", id, "--json"])
}

pub fn events(job: &Value) -> Vec<String> {
    let events = job["events"].as_array().unwrap();
    events.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}

/// Refused with 1; what it said.
pub fn refused(server: &Server, arguments: &[&str]) -> String {
    let answered = cli(server, arguments);
    assert_eq!((answered.code, answered.out.as_str()), (1, ""), "{arguments:?}: {answered:?}");
    answered.err
}

/// Waits for something, with a deadline.
pub fn until(there: impl Fn() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < DEADLINE, "it does not happen");
        std::thread::yield_now();
    }
}

/// The server that is started again on the same store and addresses.
pub fn restart(store: &Path, (grpc, http): (&str, &str)) -> Server {
    let mut again = rekindle(&["serve"]);
    again.arg("--data").arg(store).args(["--grpc", grpc, "--http", http]);
    Server::spawn(again)
}

#[test]
fn a_job_is_submitted_claimed_and_completed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let id = submit(&server, &["mail", "--payload", r#"{"to": "ada"}"#, "--priority", "-3"]);
    assert!(id.starts_with('j'));
    let job = show(&server, &id);
    assert_eq!((&job["status"], &job["type"]), (&json!("pending"), &json!("mail")));
    assert_eq!((&job["priority"], &job["payload"]), (&json!(-3), &json!({"to": "ada"})));
    assert_eq!((&job["result"], &job["progress"]), (&json!(null), &json!(null)));
    let claimed = line(&server, &["job", "claim", "none", "mail", "--lease", "20s"]);
    assert_eq!((&claimed["attempt"], &claimed["max_attempts"]), (&json!(1), &json!(10)));
    assert_eq!((&claimed["lease_ms"], &claimed["id"]), (&json!(20_000), &json!(id)));
    assert_eq!(claimed["payload"], json!({"to": "ada"}));
    let token = claimed["token"].as_str().unwrap();
    let said = ["job", "heartbeat", &id, token, "--progress", "{\"done\":0.5}", "--lease", "1h"];
    let beat = line(&server, &said);
    assert_eq!((&beat["status"], &beat["durability"]), (&json!("processing"), &json!("disk")));
    assert!(beat["lease_ms"].as_u64().unwrap() > 3_000_000, "{beat}");
    assert_eq!(show(&server, &id)["progress"]["value"], json!({"done": 0.5}));
    let done = line(&server, &["job", "complete", &id, token, "--result", "[1]"]);
    assert_eq!((&done["status"], &done["lease_ms"]), (&json!("completed"), &json!(null)));
    let job = show(&server, &id);
    assert_eq!((&job["status"], &job["result"]), (&json!("completed"), &json!([1])));
    assert_eq!(events(&job), ["submitted", "claimed", "completed"]);
    let waited = ok(&server, &["job", "wait", &id]);
    assert_eq!(waited.out, "[1]");
    let text = ok(&server, &["job", "show", &id]).out;
    for part in ["status     completed", "payload    {\"to\": \"ada\"}", "result     [1]"] {
        assert!(text.contains(part), "{text}");
    }
    let empty = ok(&server, &["job", "claim", "mail"]);
    assert_eq!((empty.out.as_str(), empty.err.as_str()), ("", "no job is pending\n"));
    let answer = server.get("/metrics").body;
    for metric in [
        "rekindle_jobs_submitted_total 1\n",
        "rekindle_jobs_claimed_total 1\n",
        "rekindle_jobs_completed_total 1\n",
        "rekindle_jobs{type=\"mail\",status=\"completed\"} 1\n",
    ] {
        assert!(answer.contains(metric), "{metric}");
    }
}

#[test]
fn payloads_and_results_are_shown_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let nothing = submit(&server, &["t"]);
    assert_eq!(show(&server, &nothing)["payload"], json!(null));
    let command_of = |arguments: &[&str]| command(&server, arguments);
    let read = run_with(command_of(&["job", "submit", "t", "--payload", "-"]), b"{\n \"a\": 1}\n");
    assert_eq!(read.code, 0, "{read:?}");
    let id = read.texts("id").remove(0);
    assert_eq!(show(&server, &id)["payload"], json!({"a": 1}));
    let no_json = ["job", "submit", "t", "--payload", "{a:1}"];
    assert!(refused(&server, &no_json).starts_with("the payload is no JSON: "));
    for (result, shown) in [
        (&b"plain text\n"[..], json!("plain text\n")),
        (b"\xFF", json!({"base64": "/w=="})),
        (b"{\"n\":1}\n", json!({"n": 1})),
    ] {
        let (id, token) = claim(&server, "t");
        let complete = ["job", "complete", &id, &token, "--result", "-"];
        assert_eq!(run_with(command_of(&complete), result).code, 0);
        assert_eq!(show(&server, &id)["result"], shown);
        if result != b"\xFF" {
            assert_eq!(ok(&server, &["job", "wait", &id]).out.as_bytes(), result);
        }
        submit(&server, &["t"]);
    }
    let (id, token) = claim(&server, "t");
    assert!(refused(&server, &["job", "complete", &id, &token, "--result", "x"]).contains("JSON"));
}

#[test]
fn attempts_fail_are_released_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let id = submit(&server, &["t", "--max-attempts", "2"]);
    let (_, token) = claim(&server, "t");
    let released = line(&server, &["job", "release", &id, &token, "--reason", "not me"]);
    assert_eq!(released["status"], "pending");
    let (_, token) = claim(&server, "t");
    let put_off = ["job", "fail", &id, &token, "--error", "no route", "--retry-in", "1h"];
    assert_eq!(line(&server, &put_off)["status"], "scheduled");
    let job = show(&server, &id);
    assert_eq!((&job["last_error"], &job["charged"]), (&json!("no route"), &json!(1)));
    assert_eq!((&job["attempts"], &job["status"]), (&json!(2), &json!("scheduled")));
    assert_eq!(line(&server, &["job", "retry", &id])["status"], "pending");
    let (_, token) = claim(&server, "t");
    let last = line(&server, &["job", "fail", &id, &token, "--error", "gone", "--last"]);
    assert_eq!(last["status"], "failed");
    let waited = cli(&server, &["job", "wait", &id]);
    assert_eq!((waited.code, waited.out.as_str()), (1, ""));
    assert_eq!(waited.err, format!("job {id} failed: gone\n"));
    let job = show(&server, &id);
    let causes: Vec<&Value> =
        job["events"].as_array().unwrap().iter().map(|event| &event["cause"]).collect();
    assert!(causes.contains(&&json!("released")) && causes.contains(&&json!("failed")), "{job}");
    assert_eq!(line(&server, &["job", "retry", &id])["status"], "pending");
    let cancelled = line(&server, &["job", "cancel", &id, "--reason", "enough"]);
    assert_eq!(cancelled["status"], "cancelled");
    let waited = cli(&server, &["job", "wait", &id, "--json"]);
    assert_eq!((waited.code, &waited.lines()[0]["status"]), (1, &json!("cancelled")));
    assert_eq!(waited.err, format!("job {id} was cancelled: enough\n"));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let first = submit(&server, &["t"]);
    let (_, old) = claim(&server, "t");
    line(&server, &["job", "release", &first, &old]);
    let (id, token) = claim(&server, "t");
    assert_eq!(id, first);
    let other = submit(&server, &["t"]);
    // A token of an earlier claim.
    for verb in [
        &["job", "complete", &id, &old][..],
        &["job", "heartbeat", &id, &old],
        &["job", "release", &id, &old],
        &["job", "fail", &id, &old, "--error", "x"],
    ] {
        assert!(refused(&server, verb).contains("the job was granted again"), "{verb:?}");
    }
    let mismatch = refused(&server, &["job", "complete", &other, &token]);
    assert_eq!(mismatch, format!("this token belongs to {id}, not to {other}\n"));
    refused(&server, &["job", "complete", &id, "tnothing"]);
    line(&server, &["job", "complete", &id, &token]);
    // A job that is finished.
    assert!(refused(&server, &["job", "complete", &id, &token]).contains("is finished"));
    let cancel = refused(&server, &["job", "cancel", &id]);
    assert_eq!(cancel, format!("job {id} is completed, so it cannot be cancelled\n"));
    assert!(refused(&server, &["job", "retry", &id]).contains("cannot be retried"));
    // A job that does not exist: of a store of its own, with the same numbers.
    for verb in ["show", "wait", "cancel", "retry"] {
        assert!(refused(&server, &["job", verb, "jnothing"]).contains("no id of a"), "{verb}");
    }
    let message = ok(&server, &["queue", "create", "q"]);
    assert_eq!(message.code, 0);
    let sent = run_with(command(&server, &["queue", "send", "q"]), b"a\n").texts("id").remove(0);
    assert!(refused(&server, &["job", "show", &sent]).contains("is a message"));
    refused(&server, &["job", "submit", "a b"]);
    refused(&server, &["job", "type", "show", "missing"]);
    for usage in [
        &["job", "submit", "t", "--at", "soon"][..],
        &["job", "submit", "t", "--priority", "40000"],
        &["job", "submit", "t", "--payload", "1", "--file", "x"],
        &["job", "fail", "j", "t"],
        &["job", "fail", "j", "t", "--error", "x", "--last", "--retry-in", "1s"],
        &["job", "list", "--status", "done"],
        &["job", "list", "--unique", "k"],
        &["job", "list", "--count", "--json"],
        &["job", "work", "t"],
        &["job", "claim"],
        &["job", "type", "set", "t", "--rate", "5"],
    ] {
        assert_eq!(cli(&server, usage).code, 2, "{usage:?}");
    }
    let lost = command(&server, &["job", "list"]);
    server.kill();
    assert_eq!(run_with(lost, b"").code, 69);
}

#[test]
fn jobs_have_their_time_and_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let later = submit(&server, &["t", "--at", "+1h", "--unique", "k"]);
    let far = submit(&server, &["t", "--at", "2999-01-01T00:00:00Z"]);
    let job = show(&server, &far);
    assert_eq!(
        (&job["status"], &job["due_ms"]),
        (&json!("scheduled"), &json!(32_472_144_000_000_u64))
    );
    let again = line(&server, &["job", "submit", "t", "--unique", "k"]);
    assert_eq!((&again["id"], &again["new"]), (&json!(later), &json!(false)));
    let window = ["job", "submit", "t", "--unique", "w", "--unique-window", "1h"];
    assert_eq!(line(&server, &window)["new"], json!(true));
    assert_eq!(line(&server, &window)["new"], json!(false));
    let of_key = line(&server, &["job", "list", "--type", "t", "--unique", "k", "--json"]);
    assert_eq!((&of_key["id"], &of_key["unique_key"]), (&json!(later), &json!("k")));
    let counted = ["job", "list", "--type", "t", "--unique", "k", "--count"];
    assert_eq!(ok(&server, &counted).out, "1\n");
    // Nothing is claimed before its time but by asking for it; higher priorities come first.
    let low = submit(&server, &["p"]);
    let high = submit(&server, &["p", "--priority", "9"]);
    assert_eq!([claim(&server, "p").0, claim(&server, "p").0], [high, low]);
    let pending = cli(&server, &["job", "wait", &far, "--timeout", "50ms"]);
    assert_eq!(pending.code, 75, "{pending:?}");
    assert_eq!(pending.err, format!("job {far} is not finished yet, it is scheduled\n"));
    assert_eq!(line(&server, &["job", "retry", &far])["status"], "pending");
}

#[test]
fn lists_are_filtered_ordered_and_paged() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let ids: Vec<String> = ["a", "b", "a", "a"].map(|kind| submit(&server, &[kind])).to_vec();
    line(&server, &["job", "cancel", &ids[0]]);
    let list = |arguments: &[&str]| {
        ok(&server, &[&["job", "list", "--json"], arguments].concat()).texts("id")
    };
    assert_eq!(list(&[]), ids);
    assert_eq!(list(&["--newest", "--limit", "2"]), [ids[3].clone(), ids[2].clone()]);
    assert_eq!(list(&["--newest", "--after", &ids[2]]), [ids[1].clone(), ids[0].clone()]);
    assert_eq!(list(&["--type", "b", "--limit", "0"]), [ids[1].clone()]);
    assert_eq!(list(&["--status", "cancelled"]), [ids[0].clone()]);
    assert_eq!(list(&["--status", "cancelled", "--status", "pending"]), ids);
    assert_eq!(list(&["--type", "none"]), Vec::<String>::new());
    let count =
        |arguments: &[&str]| ok(&server, &[&["job", "list", "--count"], arguments].concat());
    assert_eq!(count(&[]).out, "4\n");
    assert_eq!(count(&["--type", "a", "--status", "pending"]).out, "2\n");
    assert_eq!(count(&["--status", "completed"]).out, "0\n");
    let more = ok(&server, &["job", "list", "--limit", "1"]);
    assert!(more.err.contains(&format!("--after {}", ids[0])), "{more:?}");
    let text = ok(&server, &["job", "list"]).out;
    let heading = text.lines().next().unwrap();
    assert!(heading.starts_with("ID ") && heading.ends_with("LAST ERROR"), "{text}");
    assert_eq!(text.lines().count(), 5);
    let with_events = ok(&server, &["job", "list", "--json", "--events"]).lines();
    assert_eq!(events(&with_events[0]), ["submitted", "cancelled"]);
    assert_eq!(
        with_events[0]["events"][1]["by"].as_str().map(|by| by.starts_with("grpc ")),
        Some(true)
    );
}

#[test]
fn types_are_set_field_by_field() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let set = [
        "job",
        "type",
        "set",
        "t",
        "--lease",
        "7s",
        "--backoff",
        "1s..2s",
        "--rate",
        "5/1m",
        "--concurrency",
        "1",
        "--max-waiting",
        "2",
        "--keep-completed",
        "1h",
    ];
    assert_eq!(ok(&server, &set).out, "set job type \"t\"\n");
    assert_eq!(ok(&server, &set).out, "job type \"t\" is just like this already\n");
    ok(&server, &["job", "type", "set", "t", "--max-attempts", "3", "--rate", "0"]);
    let shown = line(&server, &["job", "type", "show", "t", "--json"]);
    for (field, value) in [
        ("lease_ms", 7_000),
        ("backoff_base_ms", 1_000),
        ("backoff_max_ms", 2_000),
        ("rate_count", 0),
        ("concurrency", 1),
        ("max_waiting", 2),
        ("keep_completed_ms", 3_600_000),
        ("max_attempts", 3),
        ("pending", 0),
    ] {
        assert_eq!(shown[field], json!(value), "{field}");
    }
    for _ in 0..2 {
        submit(&server, &["t"]);
    }
    assert!(refused(&server, &["job", "submit", "t"]).contains("wait already"));
    claim(&server, "t");
    let full = ok(&server, &["job", "claim", "t"]);
    assert_eq!(full.err, "no job is pending\n", "one at a time");
    assert!(ok(&server, &["job", "type", "show", "t"]).out.contains("1 pending, 1 processing"));
    assert!(ok(&server, &["job", "type", "list"]).out.starts_with("NAME  SCHEDULED  PENDING"));
    assert_eq!(line(&server, &["job", "type", "list", "--json"])["name"], "t");
    refused(&server, &["job", "type", "set", "t", "--lease", "0s"]);
}

#[test]
fn a_file_has_a_result_for_each_line() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("store"));
    let file = dir.path().join("jobs.jsonl");
    let text = "{\"n\":1}\n{\"payload\":{\"n\":2},\"type\":\"u\",\"priority\":5,\"at\":\"+1h\"}\n\
                no json\n{\"payload\":3,\"unique\":\"k\",\"max_attempts\":1}\n\
                {\"payload\":3,\"unique\":\"k\"}\n{\"payload\":1,\"typ\":2}\n4";
    std::fs::write(&file, text).unwrap();
    let sent = cli(&server, &["job", "submit", "t", "--file", file.to_str().unwrap()]);
    assert_eq!((sent.code, sent.err.as_str()), (1, "7 lines read\n"));
    let lines = sent.lines();
    let numbers: Vec<_> = lines.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    assert!(lines[2]["error"].as_str().unwrap().contains("no JSON"));
    assert!(lines[5]["error"].as_str().unwrap().contains("unknown field `typ`"));
    assert_eq!((&lines[4]["new"], &lines[4]["id"]), (&json!(false), &lines[3]["id"]));
    let second = show(&server, lines[1]["id"].as_str().unwrap());
    assert_eq!((&second["type"], &second["priority"]), (&json!("u"), &json!(5)));
    assert_eq!((&second["status"], &second["payload"]), (&json!("scheduled"), &json!({"n": 2})));
    assert_eq!(show(&server, lines[3]["id"].as_str().unwrap())["max_attempts"], json!(1));
    let claimed = ok(&server, &["job", "claim", "t", "--max", "9"]).lines();
    let payloads: Vec<_> = claimed.iter().map(|line| line["payload"].clone()).collect();
    assert_eq!(payloads, [json!({"n": 1}), json!(3), json!(4)], "in the order of the lines");
    let missing = cli(&server, &["job", "submit", "t", "--file", "/nowhere/input"]);
    assert_eq!(missing.code, 2);
}
