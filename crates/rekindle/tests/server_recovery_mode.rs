//! `serve --recovery-mode`: looking and deciding, while nothing is served and nothing is changed.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::harness::{
    Answer, Dropped, Server, block_on, bodies, changed, contents, get, post, receive_all, refused,
    rekindle, run, serve, wait,
};
use super::server_damage::{find, killed_store, segment};
use super::server_page::submit;

/// A server in recovery mode.
pub struct Limited {
    child: Dropped,
    announced: String,
    pub http: SocketAddr,
}

impl Limited {
    pub fn start(data: &Path) -> Self {
        Self::spawn(serve(data, &["--recovery-mode"]))
    }

    pub fn spawn(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut child = Dropped(child);
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut announced = String::new();
        for line in lines.map_while(Result::ok) {
            announced.push_str(&line);
            announced.push('\n');
            if line.starts_with("next:") {
                break;
            }
        }
        let place = announced.lines().find_map(|line| line.strip_prefix("http:"));
        let place = place.unwrap_or_else(|| panic!("no address in {announced:?}"));
        let http = place.trim().trim_start_matches("http://").parse().unwrap();
        Self { child, announced, http }
    }

    pub fn get(&self, path: &str) -> Answer {
        get(self.http, path, &[("Host", &self.http.to_string())]).unwrap()
    }

    pub fn look(&self) -> Value {
        let answer = self.get("/v1/recovery-mode");
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    fn repair(&self, ranges: &[&str], reason: &str) -> Answer {
        post(self.http, "/v1/repair", &json!({ "accept_loss": ranges, "reason": reason }))
    }

    pub fn stop(mut self) -> i32 {
        kill_process(Pid::from_child(&self.child.0), Signal::TERM).unwrap();
        wait(&mut self.child.0).code().unwrap()
    }
}

/// Flips a used bit in the journal; `serve` refuses this store from now on.
pub fn damage(data: &Path) {
    let path = segment(data);
    let mut bytes = std::fs::read(&path).unwrap();
    let place = find(&bytes, "message 7");
    bytes[place] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
}

/// A refused store in recovery mode: it is shown, nobody else starts on it, nothing of it is
/// changed, until an operator accepts exactly what is lost; then everything else is served again.
///
/// proves: L12
/// fault: S7
#[test]
fn a_refused_store_is_looked_at_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let sent = killed_store(data);
    damage(data);
    assert_eq!(refused(serve(data, &[])).0, 65);

    let before = contents(data);
    let limited = Limited::start(data);
    assert!(limited.announced.contains("is in recovery mode"), "{}", limited.announced);
    for (path, status) in [
        ("/livez", 200),
        ("/startupz", 200),
        ("/readyz", 503),
        ("/v1/recoveries", 200),
        ("/v1/recoveries/latest", 200),
        ("/v1/queues", 503),
        ("/healthz", 503),
    ] {
        assert_eq!(limited.get(path).status, status, "{path}");
    }
    let status: Value = serde_json::from_str(&limited.get("/readyz").body).unwrap();
    assert_eq!((&status["stage"], &status["ready"]), (&json!("recovery-mode"), &json!(false)));
    let look = limited.look();
    assert_eq!((&look["code"], &look["readable"]), (&json!(65), &json!(false)));
    let range = look["accept_loss"][0].as_str().unwrap().to_owned();
    assert!(limited.announced.contains(&format!("--accept-loss {range}")), "{range}");
    assert_eq!(refused(serve(data, &[])).0, 73, "nobody starts meanwhile");
    for (ranges, reason, status) in [
        (vec!["1..2"], "a guess", 409),
        (vec![], "none", 409),
        (vec![range.as_str()], " ", 400),
        (vec!["x"], "no range", 400),
    ] {
        let answer = limited.repair(&ranges, reason);
        assert_eq!(answer.status, status, "{ranges:?}: {}", answer.body);
    }
    assert_eq!(changed(&before, &contents(data)), Vec::<std::path::PathBuf>::new());

    let answer = limited.repair(&[&range], "the disk is replaced");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let look = limited.look();
    assert_eq!((&look["code"], &look["readable"]), (&json!(0), &json!(true)), "{look}");
    let queues: Value = serde_json::from_str(&limited.get("/v1/queues").body).unwrap();
    assert_eq!(queues["queues"][0]["ready"], json!(49));
    assert_eq!(limited.repair(&[&range], "again").status, 409, "there is nothing to repair");
    assert_eq!(limited.stop(), 0);

    let server = Server::start(data);
    let rest = block_on(async { receive_all(&mut server.queues().await, "q").await });
    let kept: Vec<String> = sent.into_iter().filter(|body| body != "message 7").collect();
    assert_eq!(bodies(&rest), kept);
    assert_eq!(server.stop(), 0);
}

/// A healthy store in recovery mode is read as the next start would have it, and not a byte of it
/// changes; the command line asks the same server.
#[test]
fn a_healthy_store_is_read_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    killed_store(data);
    let before = contents(data);
    let limited = Limited::start(data);
    assert!(limited.announced.contains("start without --recovery-mode"), "{}", limited.announced);
    assert!(!limited.announced.contains("grpc:"), "{}", limited.announced);
    let look = limited.look();
    assert_eq!((&look["accept_loss"], &look["readable"]), (&json!([]), &json!(true)), "{look}");
    let queue: Value = serde_json::from_str(&limited.get("/v1/queues/q").body).unwrap();
    assert_eq!(queue["ready"], json!(50));
    let http = limited.http.to_string();
    let asked = run(&["repair", "--http", &http, "--accept-loss", "1..2", "--reason", "no reason"]);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    assert_eq!(limited.stop(), 0);
    assert_eq!(changed(&before, &contents(data)), Vec::<std::path::PathBuf>::new());

    // Not in recovery mode: the same is refused.
    let server = Server::start(data);
    let http = server.http.to_string();
    let asked = run(&["repair", "--http", &http, "--accept-loss", "1..2", "--reason", "again"]);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    assert!(String::from_utf8_lossy(&asked.stderr).contains("--recovery-mode"), "{asked:?}");
    assert_eq!(server.stop(), 0);
}

/// What is no store is not looked at, and nothing is made.
#[test]
fn what_is_no_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    let (code, said) = refused(serve(&absent, &["--recovery-mode"]));
    assert_eq!(code, 78, "{said}");
    assert!(!absent.exists());
    let both = rekindle(&["repair", "--data", "x", "--http", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(both.status.code(), Some(2), "{both:?}");
}

/// A page in recovery mode.
fn page(limited: &Limited) -> String {
    let answer = limited.get("/ui/recovery");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// The page of recovery mode shows what is damaged and what a repair would lose; its form repairs,
/// with a reason, a name and the box ticked, and shows what was done.
///
/// proves: L12
/// fault: S7
#[test]
fn a_person_repairs_on_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    killed_store(data);
    damage(data);
    let before = contents(data);
    let limited = Limited::start(data);
    let look = limited.look();
    let range = look["accept_loss"][0].as_str().unwrap();
    assert_eq!((&look["plan"]["planned"], &look["plan_refused"]), (&json!(true), &Value::Null));
    let text = page(&limited);
    for shown in
        ["The store as it is", "journal-", range, "would be lost: positions", "/ui/salvage"]
    {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert_eq!(limited.get("/ui/queues").status, 503);
    let token = text.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let ask = |token: &str, accepted: &str, reason: &str| {
        let fields = [
            ("token", token),
            ("accept_loss", range),
            ("accepted", accepted),
            ("reason", reason),
            ("by", "ada"),
        ];
        submit(limited.http, "/ui/repair", &fields)
    };
    for (token, accepted, reason, status) in
        [("x", "yes", "why", 403), (token, "", "why", 409), (token, "yes", " ", 400)]
    {
        let refused = ask(token, accepted, reason);
        assert_eq!(refused.status, status, "{refused:?}");
        assert!(refused.body.starts_with("<!DOCTYPE html>"), "{refused:?}");
    }
    assert_eq!(changed(&before, &contents(data)), Vec::<std::path::PathBuf>::new());
    let done = ask(token, "yes", "the disk is replaced");
    assert_eq!(done.status, 303, "{done:?}");
    let text = page(&limited);
    assert!(text.contains("accepted: journal-") && text.contains("Nothing stands in the way"));
    assert!(!text.contains("/ui/repair"), "{text}");
    assert_eq!(limited.get("/ui/queues/q").status, 200, "what is read now");
    assert_eq!(limited.stop(), 0);

    let server = Server::start(data);
    let audit: Value = serde_json::from_str(&server.get("/v1/audit").body).unwrap();
    let told = &audit["records"][1];
    assert_eq!(told["action"], json!("repair.accept_loss"), "{audit}");
    assert_eq!(told["who"], json!("ada (page) (repair)"), "{audit}");
    assert_eq!(told["why"], json!("the disk is replaced"), "{audit}");
    assert_eq!(server.stop(), 0);
}

/// What can be read of a refused store is written out by its server in recovery mode: asked at a
/// terminal, over HTTP, on the page. The store stays as it is.
#[test]
fn a_refused_store_is_written_out() {
    let dir = tempfile::tempdir().unwrap();
    let (data, exports) = (&dir.path().join("data"), dir.path().join("exports"));
    std::fs::create_dir(&exports).unwrap();
    killed_store(data);
    damage(data);
    let before = contents(data);
    let limited = Limited::start(data);
    let http = limited.http.to_string();
    let out = |name: &str| exports.join(name).to_str().unwrap().to_owned();
    let cli = run(&["salvage", "--http", &http, "--export", &out("cli"), "--json"]);
    assert_eq!(cli.status.code(), Some(1), "{cli:?}");
    let said: Value = serde_json::from_slice(&cli.stdout).unwrap();
    assert_eq!(said["whole"], json!(false), "{said}");
    let lines = run(&["salvage", "--http", &http, "--export", &out("lines")]);
    let text = String::from_utf8_lossy(&lines.stdout).into_owned();
    assert!(text.contains("rows of keyspace messages"), "{text}");
    let direct = run(&["salvage", "--data", data.to_str().unwrap(), "--export", &out("direct")]);
    assert_eq!(String::from_utf8_lossy(&direct.stdout), text, "beside the server");
    let kept = std::fs::read_to_string(exports.join("cli/salvage.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), said);

    let inside = data.join("out").to_str().unwrap().to_owned();
    for (export, status) in [("relative", 400), (out("cli").as_str(), 409), (inside.as_str(), 409)]
    {
        let answer = post(limited.http, "/v1/salvage", &json!({ "export": export }));
        assert_eq!(answer.status, status, "{export}: {}", answer.body);
    }
    let text = page(&limited);
    let token = text.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let export = out("page");
    let done = submit(limited.http, "/ui/salvage", &[("token", token), ("export", &export)]);
    assert_eq!(done.status, 303, "{done:?}");
    assert!(page(&limited).contains("what can be read of the store is in"));
    assert!(exports.join("page/salvage.json").exists());
    assert_eq!(limited.stop(), 0);
    assert_eq!(changed(&before, &contents(data)), Vec::<std::path::PathBuf>::new());
}
