//! The page of loops, of the real binary: the tree, an execution, its transcript, what is decided
//! about it, and by whom it is not.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::executor_harness::eventually;
use super::harness::{DEADLINE, Server, post};
use super::server_page::{attributes, header, page, submit};
use super::server_page_jobs::says;
use super::server_recovery_mode::Limited;

/// What a program could print, and a person write.
const HOSTILE: &str = "</pre><script>alert(1)</script>\u{1b}[2J\u{202e}\u{0}";

fn ask(server: &Server, path: &str, body: &Value) -> Value {
    let answer = post(server.http, path, body);
    assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
    answer.json()
}

/// A spec whose steps are handed to workers of this name.
fn spec(name: &str, needs: &[&str], worker: &str) -> Value {
    let step = |words: &[&str], idempotent: bool| -> Value {
        json!({ "argv": words, "idempotent": idempotent, "time_limit_ms": 60_000 })
    };
    json!({
        "name": name, "needs": needs, "instructions": "Make the tests pass.", "worker": worker,
        "run": step(&["./agent.sh", "--say", HOSTILE.trim_end_matches('\0')], false),
        "checks": [step(&["cargo", "test"], true)],
        "directory": "temporary", "environment": {}, "stuck_after": null,
        "budget": {
            "iterations": 50, "wall_time_ms": 21_600_000, "attempts": 5, "cost_micros": 10_000_000,
        },
    })
}

/// Starts a plan; the ids of it and of its executions.
fn started(server: &Server, name: &str, specs: &[Value], draft: bool) -> (String, Vec<String>) {
    let plan = json!({ "name": name, "description": HOSTILE, "parallel": 2, "specs": specs });
    let plan = ask(server, "/v1/loops", &json!({ "plan": plan, "draft": draft }));
    let plan = plan["id"].as_str().unwrap().to_owned();
    let shown = server.get(&format!("/v1/loops/{plan}")).json();
    let specs = shown["specs"].as_array().unwrap().iter();
    let ids = specs.map(|spec| spec["execution"]["id"].as_str().unwrap().to_owned());
    let ids = ids.collect();
    (plan, ids)
}

/// Claims the next step that is handed to these workers: the id of its job, and its token.
fn begun(server: &Server, worker: &str) -> (String, String) {
    let wanted = json!({ "types": [worker], "max": 1, "worker": "ada <b>" });
    let claimed = ask(server, "/v1/jobs/claim", &wanted);
    let text = |name: &str| claimed["jobs"][0][name].as_str().unwrap().to_owned();
    (text("id"), text("token"))
}

/// The step of this job and this token is done, so.
pub fn complete(server: &Server, (id, token): &(String, String), result: &Value) {
    let body = json!({ "token": token, "result": result });
    ask(server, &format!("/v1/jobs/{id}/complete"), &body);
}

/// Does the next step so.
fn done(server: &Server, worker: &str, result: &Value) {
    complete(server, &begun(server, worker), result);
}

/// An iteration whose check says no.
pub fn missed(server: &Server, worker: &str, number: u32) {
    let run = json!({
        "exit_code": 0, "progress": f64::from(number) * 1.5, "cost": 0.25, "output": HOSTILE,
    });
    done(server, worker, &run);
    let output = format!("test parser ... FAILED\n{HOSTILE}\n{number} of 40 tests failed\n");
    done(server, worker, &json!({ "exit_code": 101, "output": output }));
}

/// What a server with loops has.
pub struct Looped {
    /// A plan of three specs: one is done, one is in its iterations, one failed to run.
    pub plan: String,
    /// The one in its iterations.
    pub fix: String,
    /// The job of the step that it is at, and the token of who does it.
    pub step: (String, String),
    /// One that waits for a person, because it comes no further.
    pub stuck: String,
}

/// Loops in many statuses.
pub fn looped(server: &Server) -> Looped {
    let specs = [
        spec("prepare", &[], "a"),
        spec("fix", &["prepare"], "b"),
        spec("docs", &["prepare"], "c"),
    ];
    let (plan, ids) = started(server, "fix-tests", &specs, false);
    done(server, "a", &json!({ "exit_code": 0 }));
    done(server, "a", &json!({ "exit_code": 0 }));
    for number in 1..=9 {
        missed(server, "b", number);
    }
    done(server, "b", &json!({ "exit_code": 0, "output": "compiled\n" }));
    let step = begun(server, "b");
    done(server, "c", &json!({ "not_run": "no such file" }));
    let mut two = spec("tidy", &[], "d");
    (two["stuck_after"], two["checks"][0]["argv"][1]) = (json!(2), json!("clippy"));
    let stuck = started(server, "tidy-up", &[two], false).1.remove(0);
    for _ in 0..2 {
        done(server, "d", &json!({ "exit_code": 0, "output": "nothing to do\n" }));
        done(server, "d", &json!({ "exit_code": 1, "output": HOSTILE }));
    }
    started(server, "later", &[spec("one", &[], "e"), spec("two", &["one"], "e")], true);
    Looped { plan, fix: ids[1].clone(), step, stuck }
}

/// Nothing of what anybody wrote is markup, or moves a cursor.
fn harmless(text: &str) {
    for bad in ["<script>alert", "</pre><script", "\u{1b}", "\u{202e}", "\u{0}", "ada <b>"] {
        assert!(!text.contains(bad), "{bad:?} in {text}");
    }
}

/// The list is a tree with counts, filters and pages.
///
/// proves: L1, L11
#[test]
fn loops_are_listed_as_a_tree() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--durability", "batched"]);
    says(&page(&server, "/ui/loops", 200), &["no loops yet", "rekindle loop start"]);
    let all = looped(&server);
    let text = page(&server, "/ui/loops", 200);
    harmless(&text);
    says(
        &text,
        &[
            ">fix-tests</a>",
            "3 specs · started by http 127.0.0.1",
            "after prepare",
            &all.fix,
            "10<span class=\"quiet\"> of 50",
            "2.25<span class=\"quiet\"> of 10",
            "check 1",
            "/ui/loops?status=needs_review",
            &format!("/ui/reviews/{}", all.stuck),
        ],
    );
    let rows = |path: &str| page(&server, path, 200).matches("class=\"id\"").count();
    assert_eq!(rows("/ui/loops"), 6);
    for (status, count) in [("completed", 1), ("needs_review", 1), ("draft", 2), ("paused", 0)] {
        assert_eq!(rows(&format!("/ui/loops?status={status}")), count, "{status}");
    }
    assert_eq!(rows("/ui/loops?status=completed,running"), 2);
    assert_eq!(rows(&format!("/ui/loops?plan={}", all.plan)), 3);
    let one = page(&server, "/ui/loops?status=completed", 200);
    says(&one, &["1 of its 3 specs here"]);
    for wrong in ["status=done", "after=x", "plan=a%20b"] {
        page(&server, &format!("/ui/loops?{wrong}"), 400);
    }
    let names: Vec<String> = (0..120).map(|number| format!("s{number:03}")).collect();
    let specs: Vec<Value> = names.iter().map(|name| spec(name, &[], "f")).collect();
    let (plan, _) = started(&server, "many", &specs, false);
    let (mut path, mut shown) = (format!("/ui/loops?plan={plan}&order=oldest"), vec![]);
    loop {
        let text = page(&server, &path, 200);
        assert!(text.len() < 100_000, "{path} has {} bytes", text.len());
        let specs = text.split("class=\"spec\"><b>").skip(1);
        shown.extend(specs.map(|rest| rest.split('<').next().unwrap().to_owned()));
        let next = text.split("<a href=\"").find(|rest| rest.contains("\" rel=\"next\">Next page"));
        let Some(next) = next else { break };
        path = next.split('"').next().unwrap().replace("&amp;", "&");
        assert!(path.contains("order=oldest"), "{path}");
    }
    assert_eq!(shown, names, "each once, in the order of the plan");
    let text = page(&server, &format!("/ui/loops/{plan}"), 200);
    says(&text, &["all 120 by pages", "Decide about all of them", "running</span> 2"]);
    assert_eq!(server.stop(), 0);
}

/// One execution tells how it stands and why, its iterations, its budget, its steps.
///
/// proves: L9, L11
#[test]
fn an_execution_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let all = looped(&server);
    let path = format!("/ui/loops/{}", all.fix);
    let text = page(&server, &path, 200);
    harmless(&text);
    says(
        &text,
        &[
            "title=\"iteration 9: check failed (check 1 exit code 101)",
            "title=\"iteration 10: running (check 1)",
            "check failed <b>9</b>",
            "40 may follow",
            "aria-label=\"cost: 22 % used\"",
            "used up first: after about",
            "iterations 1 to 10; told between 1.5 and 13.5",
            "./agent.sh --say",
            "compiled",
            "check 1 begun",
            &format!("curl 'http://{}/v1/loops/{}/events'", server.http, all.fix),
        ],
    );
    says(&page(&server, "/ui/", 200), &["/ui/loops?status=needs_review"]);
    assert_eq!(server.stop(), 0);
}

/// It is paused, resumed, called off and tried again by a form with the token of this process, and
/// so is a plan as a whole; an open page hears of it.
///
/// proves: L10, L11
#[test]
fn an_execution_is_decided() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let all = looped(&server);
    let path = format!("/ui/loops/{}", all.fix);
    let text = page(&server, &path, 200);
    let live = attributes(&text, "data-live").pop().unwrap();
    let mut stream = TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {live} HTTP/1.1\r\nHost: {}\r\n\r\n", server.http).unwrap();
    let (mut told, mut bytes) = (String::new(), [0; 4_096]);
    let mut hear = |words: &str| {
        while !told.contains(words) {
            let read = stream.read(&mut bytes).unwrap();
            assert!(read > 0, "{told}");
            told.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    };
    hear("\"id\":\"loop-strip\"");
    let token = text.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let asks = |path: &str, token: &str, ask: &str, reason: &str| {
        let fields = [("token", token), ("ask", ask), ("reason", reason), ("by", "<i>ada")];
        submit(server.http, path, &fields)
    };
    for (refused, status) in [
        (asks(&path, "x", "pause", "why"), 403),
        (asks(&path, "", "pause", "why"), 403),
        (asks(&path, token, "pause", " "), 400),
        (asks(&path, token, "fork", "why"), 400),
        (asks(&path, token, "resume", "why"), 409),
    ] {
        assert_eq!(refused.status, status, "{refused:?}");
        assert!(refused.body.starts_with("<!DOCTYPE html>"), "a refusal is a page: {refused:?}");
    }
    let gone = asks(&path, token, "pause", "too dear,\r\n<script>alert(1)</script>");
    assert_eq!((gone.status, header(&gone, "location")), (303, Some(path.as_str())), "{gone:?}");
    hear("goes on to its end, nothing follows");
    let after = page(&server, &path, 200);
    says(&after, &["Paused by &lt;i&gt;ada (page): the step", "value=\"resume\""]);
    assert!(!after.contains("value=\"pause\"") && !after.contains("<i>"), "{after}");
    for (ask, words) in [("resume", "running"), ("cancel", "Called off by"), ("retry", "anew")] {
        assert_eq!(asks(&path, token, ask, "so").status, 303, "{ask}");
        says(&page(&server, &path, 200), &[words]);
    }
    let audit = page(&server, "/ui/audit", 200);
    says(
        &audit,
        &["loop.pause", "loop.cancel", "loop.retry", "&lt;i&gt;ada (page)", "&lt;script&gt;"],
    );
    // About a plan as a whole: what it means something to.
    let plan = format!("/ui/loops/{}", all.plan);
    says(&page(&server, &plan, 200), &["value=\"pause\"", "value=\"cancel\""]);
    assert_eq!(asks(&plan, token, "cancel", "enough").status, 303);
    says(&page(&server, &plan, 200), &["cancelled</span> 2", "value=\"retry\""]);
    assert_eq!(server.stop(), 0);
}

/// In recovery mode loops are looked at, and nothing is decided.
///
/// proves: L12
#[test]
fn loops_are_looked_at_in_recovery_mode() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let all = looped(&server);
    server.kill();
    let limited = Limited::start(dir.path());
    says(&limited.get("/ui/loops").body, &["fix-tests", "10<span class=\"quiet\"> of 50"]);
    for (path, words) in [
        (format!("/ui/loops/{}", all.fix), "check failed <b>9</b>"),
        (format!("/ui/loops/{}", all.plan), "completed</span> 1"),
        (format!("/ui/reviews/{}", all.stuck), "brought it no further"),
    ] {
        let text = limited.get(&path).body;
        says(&text, &[words, "decided once it serves"]);
        assert!(!text.contains("<form"), "{text}");
        assert_eq!(submit(limited.http, &path, &[("ask", "cancel")]).status, 503, "{path}");
    }
    says(&limited.get(&format!("/ui/loops/{}/events", all.fix)).body, &["check 1 begun"]);
    assert_eq!(limited.stop(), 0);
}

/// A transcript is read in pages from both ends, each event once; neither it nor the page of its
/// execution grows with it.
///
/// proves: L2, L11
#[test]
fn a_long_transcript_is_paged() {
    const ITERATIONS: u32 = 300;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--durability", "batched"]);
    let mut long = spec("long", &[], "g");
    long["budget"]["iterations"] = json!(1_000_000);
    long["budget"]["cost_micros"] = Value::Null;
    let (plan, ids) = started(&server, "long", &[long], false);
    let id = &ids[0];
    for number in 1..=ITERATIONS {
        missed(&server, "g", number);
    }
    let all = 2 + 4 * u64::from(ITERATIONS);
    let events = format!("/ui/loops/{id}/events");
    let walk = |first: &str, rel: &str| {
        let (mut path, mut seen, mut pages) = (first.to_owned(), vec![], 0);
        loop {
            let text = page(&server, &path, 200);
            harmless(&text);
            assert!(text.len() < 400_000, "{path} has {} bytes", text.len());
            pages += 1;
            let numbers = text.split("<li class=\"").skip(1).filter_map(|rest| {
                let id = rest.split_once("id=\"e")?.1;
                id.split('"').next()?.parse::<u64>().ok()
            });
            seen.extend(numbers);
            let next = text.split("<a href=\"").find(|rest| rest.contains(rel));
            let Some(next) = next else { break };
            path = next.split('"').next().unwrap().replace("&amp;", "&");
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=all).collect::<Vec<_>>());
        pages
    };
    assert_eq!(walk(&events, "rel=\"prev\""), all.div_ceil(50));
    assert_eq!(walk(&format!("{events}?after=0"), "rel=\"next\""), all.div_ceil(50));
    let text = page(&server, &format!("{events}?after=600"), 200);
    says(&text, &["Events <b>601</b> to <b>650</b> of 1,202", "Output, 3 lines", "\\u001b[2J"]);
    says(&page(&server, &format!("{events}?after=99999"), 200), &["No event follows", "Newest"]);
    page(&server, &format!("{events}?after=x"), 400);
    page(&server, &format!("/ui/loops/{plan}/events"), 404);
    let text = page(&server, &format!("/ui/loops/{id}"), 200);
    assert!(text.len() < 200_000, "it has {} bytes", text.len());
    says(&text, &["The last 240 of 301 iterations", "iteration 300: check failed"]);
    assert!(!text.contains("iteration 60:"), "{text}");
    assert_eq!(server.stop(), 0);
}

/// What waits for a person is in the inbox by its spec, with everything that one needs to decide,
/// and goes on by a form.
///
/// proves: L7, L10, L11
#[test]
fn the_evidence_about_an_execution_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let all = looped(&server);
    let inbox = page(&server, "/ui/reviews", 200);
    says(&inbox, &["loop-11", &format!("loop: <a href=\"/ui/loops/{}\">tidy</a>", all.stuck)]);
    let path = format!("/ui/reviews/{}", all.stuck);
    let text = page(&server, &path, 200);
    harmless(&text);
    says(
        &text,
        &[
            "2 iterations in a row brought it no further.",
            ">tidy-up</a>",
            "iteration 2, check 1",
            "cargo clippy",
            "done by workers of",
            "check 1: exit code 1",
            "&lt;script&gt;alert(1)",
            "a person is asked",
            "The execution goes on.",
            "Give it up: the execution has failed.",
        ],
    );
    assert!(!text.contains("dead letters"), "{text}");
    let token = text.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let fields =
        [("token", token), ("decision", "retry"), ("reason", "look\r\nagain"), ("by", "ada")];
    let gone = submit(server.http, &path, &fields);
    assert_eq!(gone.status, 303, "{gone:?}");
    page(&server, &path, 404);
    let text = page(&server, &format!("/ui/loops/{}/events", all.stuck), 200);
    says(&text, &["decided: it goes on", "look  again", "ada (page)"]);
    // A step of which nobody knows how it ended: a claim that ran out.
    let (_, ids) = started(&server, "once", &[spec("only", &[], "h")], false);
    let claim = json!({ "types": ["h"], "max": 1, "worker": "bob", "lease_ms": 1_000 });
    ask(&server, "/v1/jobs/claim", &claim);
    let path = format!("/ui/reviews/{}", ids[0]);
    eventually(|| (server.get(&path).status == 200).then_some(()));
    let text = page(&server, &path, 200);
    says(
        &text,
        &[
            "nobody knows how iteration 1, run ended",
            "no: it was not declared so",
            "The step is taken as done",
            "only if doing it twice does no harm",
        ],
    );
    says(&page(&server, &format!("/ui/loops/{}", ids[0]), 200), &["lost or unknown <b>1</b>"]);
    assert_eq!(server.stop(), 0);
}
