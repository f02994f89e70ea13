//! The page of the real binary: every screen answers without scripts, with what it must hold.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use std::time::Instant;

use rekindle::alerts::RULES;

use super::harness::{
    Answer, DEADLINE, Server, block_on, contents, create, receive_all, refused, send, serve,
};
use super::server_page_jobs::worked;
use super::server_page_loops::looped;

/// A header of an answer; names are given in small letters.
pub fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let lines = answer.head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

/// A page: its status, its policy, and nothing in it that the policy would not run.
pub fn page(server: &Server, path: &str, status: u16) -> String {
    let answer = server.get(path);
    assert_eq!(answer.status, status, "{path}: {answer:?}");
    assert_eq!(header(&answer, "content-type"), Some("text/html; charset=utf-8"), "{path}");
    let policy = header(&answer, "content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.split(';').any(|it| it.trim() == part), "{path}: {part} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(header(&answer, "cache-control"), Some("no-store"));
    // With `no-referrer` a browser sends the page's forms as those of nobody (`Origin: null`).
    assert_eq!(header(&answer, "referrer-policy"), Some("same-origin"));
    let text = answer.body;
    assert!(text.contains("<title>") && text.contains("<main"), "{path}: {text}");
    assert!(!text.contains(" style=") && !text.contains("<style"), "{path} has a style of its own");
    assert!(!text.contains("<script>") && !text.contains(" onclick"), "{path} has a script");
    text
}

/// The values of an attribute in a page.
pub fn attributes(text: &str, name: &str) -> Vec<String> {
    let open = format!(" {name}=\"");
    let values = text.split(&open).skip(1).filter_map(|rest| rest.split('"').next());
    values.map(|value| value.replace("&amp;", "&")).collect()
}

/// A store with some acknowledged messages.
pub fn fill(server: &Server) {
    let sent: Vec<String> = (0..50).map(|number| format!("message {number}")).collect();
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        for body in &sent {
            send(&mut queues, "q", std::slice::from_ref(body)).await;
        }
    });
}

/// The newest segment of a store.
fn segment(data: &Path) -> PathBuf {
    contents(&data.join("shards/0/journal")).into_keys().max().unwrap()
}

/// Flips a bit of the message with this body.
pub fn flip(data: &Path, body: &str) {
    let path = segment(data);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(body.len()).position(|window| window == body.as_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
}

/// Every link of every screen leads somewhere, every file that a page loads is there for good, and
/// what is not there is a page too.
#[test]
fn every_link_leads_somewhere() {
    let dir = tempfile::tempdir().unwrap();
    Server::start(dir.path()).kill();
    let server = Server::start(dir.path());
    fill(&server);
    let (job, all) = (worked(&server), looped(&server));
    assert_eq!(header(&server.get("/"), "location"), Some("/ui/"));
    assert_eq!(header(&server.get("/ui"), "location"), Some("/ui/"));
    let mut waiting = vec!["/ui/".to_owned()];
    let mut seen: Vec<String> = vec![];
    while let Some(path) = waiting.pop() {
        let path = path.split('#').next().unwrap().to_owned();
        if path.is_empty() || seen.contains(&path) {
            continue;
        }
        let answer = server.get(&path);
        assert!([200, 303].contains(&answer.status), "{path}: {answer:?}");
        if path.starts_with("/ui/static/") {
            let kept = header(&answer, "cache-control").unwrap();
            assert!(kept.contains("immutable"), "{path}: {kept}");
            assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
        } else if path.starts_with("/ui/") && answer.status == 200 && !path.ends_with(".md") {
            let text = page(&server, &path, 200);
            waiting.extend(attributes(&text, "href"));
            waiting.extend(attributes(&text, "src"));
        }
        seen.push(path);
    }
    assert!(seen.iter().filter(|path| path.starts_with("/ui/static/")).count() == 3, "{seen:?}");
    let job = format!("/ui/jobs/{job}");
    let [plan, execution] = [&all.plan, &all.fix].map(|id| format!("/ui/loops/{id}"));
    let transcript = format!("{execution}/events");
    let review = format!("/ui/reviews/{}", all.stuck);
    for path in [
        "/ui/recovery/2",
        "/ui/recovery/2/report.md",
        "/v1/recoveries/2",
        "/ui/queues/q",
        "/ui/jobs",
        "/ui/jobs?type=report&status=failed",
        "/ui/job-types",
        "/ui/schedules",
        "/ui/workers",
        &job,
        "/ui/loops",
        "/ui/loops?status=failed",
        &plan,
        &execution,
        &transcript,
        &review,
    ] {
        assert!(seen.iter().any(|it| it == path), "{path} is missing in {seen:?}");
    }
    for nowhere in [
        "/ui/nothing",
        "/ui/recovery/77",
        "/ui/recovery/77/report.md",
        "/ui/recovery/x",
        "/ui/queues/none",
        "/ui/jobs/jg0002000000040000400000005d8m",
        "/ui/loops/018bcfe5-6800-7fff-bfff-ffffffffffff",
        "/ui/loops/018bcfe5-6800-7fff-bfff-ffffffffffff/events",
        "/ui/a/b/c",
    ] {
        assert!(page(&server, nowhere, 404).contains("Not found"), "{nowhere}");
    }
    assert_eq!(server.get("/ui/static/style.css").status, 404);
    assert_eq!(server.stop(), 0);
}

/// A kill, a refused start and the start after it: each is told, with place, verdict and history.
#[test]
fn recovery_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let server = Server::start(data);
    fill(&server);
    server.kill();
    flip(data, "message 7");
    assert_eq!(refused(serve(data, &[])).0, 65);
    // `m` without its lowest bit: as it was.
    flip(data, "lessage 7");
    let server = Server::start(data);
    let text = page(&server, "/ui/recovery", 200);
    for part in ["Timeline", "Findings", "Actions", "Figures", "transactions replayed", "queue"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(text.contains("corrupt, start refused"), "the history has the refused start: {text}");
    assert!(text.contains("of this run") && text.contains("/v1/recoveries/3"), "{text}");
    assert!(text.contains("killed or lost"), "{text}");
    let refused = page(&server, "/ui/recovery/2", 200);
    for part in ["corrupt", "shards/0/journal/", "at byte", "Expected", "Found", "No byte was"] {
        assert!(refused.contains(part), "{part} is missing in {refused}");
    }
    assert!(!refused.contains("of this run"), "{refused}");
    // A report that somebody damaged is a row, and its own page says so.
    std::fs::write(data.join("reports/1.json"), "no json").unwrap();
    assert!(page(&server, "/ui/recovery", 200).contains("its file cannot be read"));
    assert!(page(&server, "/ui/recovery/1", 404).contains("no report"));
    // Whatever stands in a report is text.
    let hostile = r#"{"code":3,"findings":[{"label":"<script>alert(1)</script>",
        "file":"\"><img src=x>","verdict":"torn","expected":"&<b>","found":"'"}],
        "layers":[{"layer":"</table><h1>","stages":[]}]}"#;
    std::fs::write(data.join("reports/1.json"), hostile).unwrap();
    let text = page(&server, "/ui/recovery/1", 200);
    assert!(text.contains("&lt;script&gt;alert(1)") && text.contains("&lt;/table&gt;"), "{text}");
    assert!(!text.contains("<img") && !text.contains("&<b>"), "{text}");
    assert_eq!(server.stop(), 0);
}

/// Events of an open page: the epoch that it was made in, then the parts of it that change.
#[test]
fn an_open_page_is_kept_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let text = page(&server, "/ui/recovery", 200);
    let epoch = attributes(&text, "data-epoch").pop().unwrap();
    let live = attributes(&text, "data-live").pop().unwrap();
    let mut stream = TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {live} HTTP/1.1\r\nHost: {}\r\n\r\n", server.http).unwrap();
    let (mut told, mut bytes) = (String::new(), [0; 4_096]);
    while !told.contains("event: part") {
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "{told}");
        told.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert!(told.to_lowercase().contains("content-type: text/event-stream"), "{told}");
    assert!(told.contains(&format!("event: epoch\ndata: {epoch}\n")), "{told}");
    assert!(told.contains(r#""id":"state""#), "{told}");
    assert_eq!(server.stop(), 0);
}

/// The overview says what to do first, then what is done: within seconds it shows what was sent and
/// what is there.
#[test]
fn the_overview_says_how_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let text = page(&server, "/ui/", 200);
    assert!(text.contains("queue send greetings --create --addr"), "{text}");
    for part in ["Messages", "Depth", "Transactions", "In flight", "State", "Predicted recovery"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    fill(&server);
    let began = Instant::now();
    loop {
        let text = page(&server, "/ui/", 200);
        if text.contains("<dt>ready</dt><dd>50</dd>") {
            assert!(!text.contains("queue send greetings"), "{text}");
            break;
        }
        assert!(began.elapsed() < DEADLINE, "{text}");
    }
    assert_eq!(server.stop(), 0);
}

/// One queue: what is ready and leased, its settings, the commands for it.
#[test]
fn a_queue_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    fill(&server);
    block_on(async { receive_all(&mut server.queues().await, "q").await });
    let text = page(&server, "/ui/queues/q", 200);
    for part in [
        "<dt>ready</dt><dd>0</dd>",
        "<dt>leased</dt><dd>50</dd>",
        "rekindle queue receive q --addr",
        "no limit",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(page(&server, "/ui/queues/a%20b", 400).contains("no name of a queue"));
    assert_eq!(server.stop(), 0);
}

/// Ten thousand queues are a hundred pages of a hundred; a filter finds those that begin alike, the
/// one that is called just so included.
#[test]
fn many_queues_are_paged() {
    const QUEUES: usize = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--durability", "batched"]);
    block_on(async {
        let queues = server.queues().await;
        let numbers: Vec<usize> = (0..QUEUES).collect();
        // A connection may have 128 calls at once.
        for some in numbers.chunks(100) {
            let all = some.iter().map(|number| {
                let mut queues = queues.clone();
                async move { create(&mut queues, &format!("q{number:05}")).await }
            });
            futures::future::join_all(all).await;
        }
    });
    let (mut path, mut pages, mut shown) = ("/ui/queues".to_owned(), 0, 0);
    loop {
        let text = page(&server, &path, 200);
        assert!(text.len() < 100_000, "{path} has {} bytes", text.len());
        let names = text.matches("<th scope=\"row\">").count();
        assert!((1..=100).contains(&names), "{path} has {names}");
        (pages, shown) = (pages + 1, shown + names);
        let next = text.split("<a href=\"").find(|rest| rest.contains("\" rel=\"next\">Next page"));
        let Some(next) = next else { break };
        path = next.split('"').next().unwrap().replace("&amp;", "&");
    }
    assert_eq!((pages, shown), (QUEUES / 100, QUEUES));
    let text = page(&server, "/ui/queues?prefix=q0123", 200);
    assert_eq!(text.matches("<th scope=\"row\">").count(), 10);
    assert!(!text.contains("Next page"), "{text}");
    let text = page(&server, "/ui/queues?prefix=q01234", 200);
    assert_eq!(text.matches("<th scope=\"row\">").count(), 1);
    let text = page(&server, "/ui/queues?prefix=%3Cscript%3E", 200);
    assert!(text.contains("&lt;script&gt;") && !text.contains("<script>"), "{text}");
    assert_eq!(server.stop(), 0);
}

/// A form of a page, sent as a browser does.
pub fn submit(http: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Answer {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(fields);
    let body = body.finish();
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {http}\r\nOrigin: http://{http}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// What waits for a person is in the inbox with its evidence; a form decides, with a reason and the
/// token of this process; what was decided and written as the reason is text in the audit log.
///
/// proves: L11
#[test]
fn a_person_decides_on_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let id = super::server_reviews::damaged(dir.path());
    let server = Server::start(dir.path());
    assert!(page(&server, "/ui/audit", 200).contains("Nothing is written yet"));
    let inbox = page(&server, "/ui/reviews", 200);
    assert!(inbox.contains("<b>1 item waits</b>") && inbox.contains("queue-8"), "{inbox}");
    let path = format!("/ui/reviews/{id}");
    let text = page(&server, &path, 200);
    assert!(text.contains("Evidence") && text.contains("messages"), "{text}");
    assert!(!text.contains("planted-secret"), "{text}");
    let token = text.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let why = "<script>alert(1)</script>";
    let with = |token: &str, reason: &str| {
        let fields = [("token", token), ("decision", "fail"), ("reason", reason), ("by", "<i>ada")];
        submit(server.http, &path, &fields)
    };
    for (token, reason, status) in [("x", why, 403), (token, " ", 400)] {
        let refused = with(token, reason);
        assert_eq!(refused.status, status, "{refused:?}");
        assert!(refused.body.starts_with("<!DOCTYPE html>"), "a refusal is a page: {refused:?}");
    }
    let done = with(token, why);
    assert_eq!(done.status, 303, "{done:?}");
    let after = page(&server, header(&done, "location").unwrap(), 200);
    assert!(after.contains("in queue q.dead") && after.contains("Nothing waits"), "{after}");
    let audit = page(&server, "/ui/audit", 200);
    assert!(audit.contains("&lt;script&gt;alert(1)") && audit.contains("&lt;i&gt;ada"), "{audit}");
    assert!(!audit.contains("<script>") && !audit.contains("<i>"), "{audit}");
    assert!(page(&server, &path, 404).contains("does not wait"));
    assert_eq!(page(&server, "/ui/alerts", 200).matches("scope=\"row\"").count(), RULES.len());
    assert_eq!(server.stop(), 0);
}
