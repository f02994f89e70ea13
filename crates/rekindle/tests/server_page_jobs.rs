//! The page of jobs, of the real binary: what is listed, told and decided, and by whom it is not.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::harness::{DEADLINE, Server, post};
use super::server_page::{attributes, header, page, submit};
use super::server_recovery_mode::Limited;

/// What somebody could write anywhere.
const HOSTILE: &str = "</pre><script>alert(1)</script>";

fn ask(server: &Server, path: &str, body: &Value) -> Value {
    let answer = post(server.http, path, body);
    assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
    answer.json()
}

/// Submits a job; its id.
pub fn submitted(server: &Server, job: &Value) -> String {
    ask(server, "/v1/jobs", job)["id"].as_str().unwrap().to_owned()
}

/// Claims the next job of a type; its token.
pub fn claimed(server: &Server, kind: &str, worker: &str) -> String {
    let wanted = json!({ "types": [kind], "max": 1, "worker": worker });
    ask(server, "/v1/jobs/claim", &wanted)["jobs"][0]["token"].as_str().unwrap().to_owned()
}

fn done(server: &Server, id: &str, verb: &str, body: &Value) {
    ask(server, &format!("/v1/jobs/{id}/{verb}"), body);
}

/// Jobs in every status that needs no crash, and a schedule; gives the one that failed and is in
/// work again.
pub fn worked(server: &Server) -> String {
    let mail = |number: usize| json!({ "type": "mail", "payload": { "to": number } });
    for number in 0..60 {
        submitted(server, &mail(number));
    }
    submitted(server, &json!({ "type": "mail", "delay_ms": 3_600_000 }));
    let completed = submitted(server, &json!({ "type": "report", "payload": [1.00, {}] }));
    let token = claimed(server, "report", "ada");
    done(server, &completed, "complete", &json!({ "token": token, "result": { "pages": 12 } }));
    let failed = submitted(server, &json!({ "type": "report" }));
    let token = claimed(server, "report", "ada");
    let why = json!({ "token": token, "error": "no printer", "last": true });
    done(server, &failed, "fail", &why);
    let cancelled = submitted(server, &json!({ "type": "report" }));
    done(server, &cancelled, "cancel", &json!({ "reason": "not needed" }));
    let job = json!({
        "type": "picture", "payload": { "say": HOSTILE }, "priority": 7,
        "unique": { "key": "k&'\"<i>" },
    });
    let again = submitted(server, &job);
    let token = claimed(server, "picture", "bob <b>");
    let why = json!({ "token": token, "error": HOSTILE, "retry_in_ms": 0 });
    done(server, &again, "fail", &why);
    let token = claimed(server, "picture", "bob <b>");
    let beat = json!({ "token": token, "progress": { "percent": 40 } });
    done(server, &again, "heartbeat", &beat);
    let nightly = json!({
        "name": "nightly", "type": "report", "cron": "0 3 * * *", "zone": "Europe/Berlin",
    });
    ask(server, "/v1/schedules", &nightly);
    let often = json!({ "name": "often", "type": "beat", "cron": "* * * * * *", "missed": "skip" });
    ask(server, "/v1/schedules", &often);
    again
}

/// All parts stand in a text.
pub fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

/// Lists have counts, filters and pages; nothing that somebody wrote is markup.
#[test]
fn jobs_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    says(&page(&server, "/ui/jobs", 200), &["no jobs yet", "rekindle job submit"]);
    says(&page(&server, "/ui/job-types", 200), &["no types yet"]);
    says(&page(&server, "/ui/schedules", 200), &["no schedules yet", "rekindle schedule create"]);
    says(&page(&server, "/ui/workers", 200), &["Nobody has a job in work", "rekindle job work"]);
    let id = worked(&server);
    let rows = |path: &str| {
        let text = page(&server, path, 200);
        assert!(!text.contains("<b>\"") && !text.contains(HOSTILE), "{text}");
        (text.matches("class=\"id\"").count(), text)
    };
    let (mut path, mut shown) = ("/ui/jobs?type=mail&newest_first=false".to_owned(), 0);
    loop {
        let (count, text) = rows(&path);
        shown += count;
        let next = text.split("<a href=\"").find(|rest| rest.contains("\" rel=\"next\">Next page"));
        let Some(next) = next else { break };
        path = next.split('"').next().unwrap().replace("&amp;", "&");
        assert!(path.contains("type=mail") && path.contains("newest_first=false"), "{path}");
    }
    assert_eq!(shown, 61);
    for (status, count) in [("scheduled", 1), ("completed", 0), ("scheduled,pending", 50)] {
        assert_eq!(rows(&format!("/ui/jobs?type=mail&status={status}")).0, count, "{status}");
    }
    let (count, text) = rows("/ui/jobs?type=picture&unique_key=k%26%27%22%3Ci%3E");
    assert_eq!(count, 1);
    says(
        &text,
        &[&id, "processing", "2<span class=\"quiet\"> of 10", "&lt;script&gt;", "bob &lt;b"],
    );
    says(&rows("/ui/jobs?unique_key=k").1, &["belongs to a type"]);
    says(&rows("/ui/jobs?type=none").1, &["No job fits"]);
    for wrong in ["status=done", "after=x", "type=a%20b", "after=m0"] {
        page(&server, &format!("/ui/jobs?{wrong}"), 400);
    }
    says(&page(&server, "/ui/job-types", 200), &["type=mail&amp;status=pending\">60<", "1 m 0 s"]);
    let text = page(&server, "/ui/schedules", 200);
    says(&text, &["0 3 * * *", "Europe/Berlin", "one job for all", "skipped", "in "]);
    let text = page(&server, "/ui/workers", 200);
    says(&text, &["1 worker has", "bob &lt;b&gt;", "type=picture&amp;status=processing"]);
    says(&page(&server, "/ui/", 200), &["/ui/jobs?status=failed"]);
    assert_eq!(server.stop(), 0);
}

/// One job tells everything; it is cancelled and retried by forms with the token of this process,
/// where its state allows that, and an open page hears of it.
#[test]
fn a_job_is_told_and_decided() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let id = worked(&server);
    let path = format!("/ui/jobs/{id}");
    let text = page(&server, &path, 200);
    let curl = format!("curl 'http://{}/v1/jobs/{id}'", server.http);
    says(
        &text,
        &[
            "submitted",
            "attempt ended: failed",
            "claimed",
            "&lt;script&gt;alert(1)",
            "bob &lt;b&gt;",
            "&quot;percent&quot;: 40",
            &curl,
            "/cancel\"",
        ],
    );
    assert!(!text.contains(&format!("action=\"{path}/retry\"")), "{text}");
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
    hear("\"id\":\"job-actions\"");
    let token = text.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let cancel = |token: &str, reason: &str| {
        let fields = [("token", token), ("reason", reason), ("by", "<i>ada")];
        submit(server.http, &format!("{path}/cancel"), &fields)
    };
    let retry = |token: &str| submit(server.http, &format!("{path}/retry"), &[("token", token)]);
    for (refused, status) in [
        (cancel("x", "why"), 403),
        (cancel("", "why"), 403),
        (cancel(token, " "), 400),
        (retry("x"), 403),
        (retry(token), 409),
    ] {
        assert_eq!(refused.status, status, "{refused:?}");
        assert!(refused.body.starts_with("<!DOCTYPE html>"), "a refusal is a page: {refused:?}");
    }
    says(&page(&server, &path, 200), &["processing"]);
    let gone = cancel(token, HOSTILE);
    assert_eq!((gone.status, header(&gone, "location")), (303, Some(path.as_str())), "{gone:?}");
    let after = page(&server, &path, 200);
    says(&after, &["cancelled", "&lt;i&gt;ada (page)", &format!("action=\"{path}/retry\"")]);
    assert!(!after.contains(&format!("action=\"{path}/cancel\"")) && !after.contains("<i>"));
    hear("/retry");
    assert_eq!(retry(token).status, 303);
    says(&page(&server, &path, 200), &["pending"]);
    assert_eq!(server.stop(), 0);
    // In recovery mode it is looked at.
    let limited = Limited::start(dir.path());
    let text = limited.get(&path).body;
    says(&text, &["pending", "decided once it serves"]);
    assert!(!text.contains("<form"), "{text}");
    assert_eq!(limited.get("/ui/jobs").status, 200);
    assert_eq!(limited.stop(), 0);
}
