//! Alerts of the real binary where the store is damaged, large or left alone for a while: what
//! fires, what the webhook hears, and what a person takes note of.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rekindle_database::Database;
use rekindle_wire::v1::{self, QueueDefinition};
use serde_json::{Value, json};

use super::harness::{
    DEADLINE, Server, block_on, contents, create, get, post, receive_all, refused, run, send, serve,
};
use super::server_damage::{killed_store, segment};
use super::server_page::{header, submit};
use super::server_progress::fill;
use super::server_recovery_mode::{Limited, damage};

/// A webhook that takes everything.
pub struct Hook {
    address: SocketAddr,
    notices: Receiver<Value>,
}

impl Hook {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, notices) = channel();
        // Ends with the test's process, or with whoever listens to the notices.
        std::thread::spawn(move || {
            while let Ok((mut socket, _)) = listener.accept() {
                socket.set_read_timeout(Some(DEADLINE)).unwrap();
                let (mut text, mut buffer) = (String::new(), [0; 4_096]);
                while !text.ends_with('}') {
                    match socket.read(&mut buffer) {
                        Ok(read) if read > 0 => {
                            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                        }
                        _ => break,
                    }
                }
                let _ = socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                let notice = text.lines().last().and_then(|it| serde_json::from_str(it).ok());
                if notice.is_some_and(|it| sender.send(it).is_err()) {
                    return;
                }
            }
        });
        Self { address, notices }
    }

    /// What it heard of this alert; waits for it.
    fn hears(&self, alert: &str) -> Value {
        let began = Instant::now();
        loop {
            let left = DEADLINE.saturating_sub(began.elapsed());
            let notice = self.notices.recv_timeout(left);
            let notice = notice.unwrap_or_else(|_| panic!("nothing was told of {alert}"));
            if notice["alert"] == alert {
                return notice;
            }
        }
    }
}

/// Alerts that are about the store and not about the machine of whoever runs this.
pub fn quiet(mut command: Command) -> Command {
    command.env("REKINDLE__ALERTS__DISK_FREE", "0B");
    command.env("REKINDLE__ALERTS__SYNC_TIME", "1h");
    command.env("REKINDLE__ALERTS__INTERVAL", "1s");
    command
}

fn telling(command: Command, webhook: SocketAddr) -> Command {
    let mut command = quiet(command);
    command.env("REKINDLE__ALERTS__WEBHOOK", format!("http://{webhook}/"));
    command
}

/// The rule as `/v1/alerts` shows it, once it is in this state.
fn alert(http: SocketAddr, name: &str, state: &str) -> Value {
    let began = Instant::now();
    loop {
        let answer = get(http, "/v1/alerts", &[("Host", &http.to_string())]).unwrap().json();
        let all = answer["alerts"].as_array().unwrap().clone();
        let found = all.into_iter().find(|it| it["alert"] == name).unwrap();
        if found["state"] == state {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "{found} is not {state}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A start that is refused because the store is corrupt tells the webhook so before the process
/// ends, as a failed recovery and as damage with its place; one that another server's lock refuses
/// tells nothing.
///
/// proves: L11
/// fault: S7
#[test]
fn a_corrupt_store_is_told_before_the_process_ends() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    killed_store(data);
    damage(data);
    let hook = Hook::start();
    let (code, said) = refused(telling(serve(data, &[]), hook.address));
    assert_eq!(code, 65, "{said}");
    // The process is gone: what was to be told was told.
    let mut heard: Vec<Value> = std::iter::from_fn(|| hook.notices.try_recv().ok()).collect();
    heard.retain(|it| it["state"] == "firing");
    let of = |name: &str| heard.iter().filter(|it| it["alert"] == name).collect::<Vec<_>>();
    let failed = of("recovery_failed");
    assert!(
        failed.iter().any(|it| it["summary"].as_str().unwrap().contains("refused")),
        "{heard:?}"
    );
    let [found] = of("corruption_found")[..] else { panic!("{heard:?}") };
    assert_eq!(found["value"], 1.0);
    let file = segment(data).file_name().unwrap().to_str().unwrap().to_owned();
    assert!(found["summary"].as_str().unwrap().contains(&file), "{found}");

    let limited = Limited::start(data);
    assert_eq!(refused(telling(serve(data, &[]), hook.address)).0, 73);
    assert!(hook.notices.try_recv().is_err(), "a second start of the same is no failure of it");
    assert_eq!(limited.stop(), 0);
}

/// A webhook that takes no notice holds up the end of a refused start for a moment only.
#[test]
fn a_webhook_that_hangs_holds_up_a_refusal_for_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    killed_store(dir.path());
    damage(dir.path());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let (code, said) = refused(telling(serve(dir.path(), &[]), silent.local_addr().unwrap()));
    assert_eq!(code, 65, "{said}");
    // 5 s, and the start itself on a machine that does other things.
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

/// In recovery mode the rules are looked at, too: damage fires and reaches the webhook, health says
/// what the mode is, what was found, how the starts before ended and what to do; both follow once
/// the store is repaired.
///
/// proves: L12
#[test]
fn recovery_mode_has_alerts_and_a_health() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    killed_store(data);
    damage(data);
    assert_eq!(refused(quiet(serve(data, &[]))).0, 65);
    let hook = Hook::start();
    let limited = Limited::spawn(telling(serve(data, &["--recovery-mode"]), hook.address));
    assert_eq!(hook.hears("corruption_found")["state"], "firing");
    let found = alert(limited.http, "corruption_found", "firing");
    assert_eq!(found["value"], 1.0, "{found}");
    alert(limited.http, "recovery_failed", "firing");

    let answer = limited.get("/healthz");
    assert_eq!(answer.status, 503);
    let health = answer.json();
    let reason = &health["system_health"]["reasons"][0];
    assert_eq!(
        (&reason["reason"], &reason["status"]),
        (&json!("recovery_mode"), &json!("failing"))
    );
    assert!(reason["summary"].as_str().unwrap().contains("corrupt"), "{reason}");
    assert!(reason["next_step"].as_str().unwrap().contains("rekindle repair"), "{reason}");
    // One start of two came to serve; the other was refused, and before that one was killed.
    assert_eq!(health["recovery_success_rate"], 0.5, "{health}");
    let patterns = health["common_failure_patterns"].as_array().unwrap();
    for pattern in ["refused 65", "killed"] {
        assert!(patterns.iter().any(|it| it["pattern"] == pattern), "{pattern}: {patterns:?}");
    }
    let said = run(&["health", "--http", &limited.http.to_string()]);
    assert_eq!(said.status.code(), Some(69), "{said:?}");
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("recovery_mode: ") && !said.contains("it starts"), "{said}");

    let accept = limited.look()["accept_loss"].clone();
    let body = json!({ "accept_loss": accept, "reason": "a test" });
    assert_eq!(post(limited.http, "/v1/repair", &body).status, 200);
    alert(limited.http, "corruption_found", "resolved");
    let health = limited.get("/healthz").json();
    let reason = &health["system_health"]["reasons"][0];
    assert!(reason["next_step"].as_str().unwrap().contains("without --recovery-mode"), "{reason}");
    assert_eq!(limited.stop(), 0);
}

/// Damage that a backup meets in the running store fires, and counts until an operator says, with a
/// reason that the audit log keeps, that it was taken note of.
///
/// proves: L11
#[test]
fn damage_that_a_backup_meets_fires_until_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let hook = Hook::start();
    let mut command = telling(serve(data, &[]), hook.address);
    // The backup is to find it, and not a scrub that begins late.
    command.env("REKINDLE__RECOVERY__SCRUB_INTERVAL", "0s");
    let server = Server::spawn(command);
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        send(&mut queues, "q", &["message 7".to_owned(), "message 8".to_owned()]).await;
    });
    let http = server.http.to_string();
    let acknowledge = |rule: &str, reason: &str| {
        run(&["alerts", "acknowledge", rule, "--reason", reason, "--by", "me", "--http", &http])
    };
    let nothing = acknowledge("corruption_found", "nothing to see");
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
    damage(data);
    let to = tempfile::tempdir().unwrap();
    let backup = run(&["backup", "--to", text(to.path()), "--http", &http]);
    assert_eq!(backup.status.code(), Some(65), "{backup:?}");
    assert_eq!(hook.hears("corruption_found")["state"], "firing");
    let found = alert(server.http, "corruption_found", "firing");
    assert!(found["summary"].as_str().unwrap().contains("backup"), "{found}");
    let degraded = run(&["health", "--http", &http]);
    assert_eq!(degraded.status.code(), Some(1), "{degraded:?}");

    for (rule, reason, code) in
        [("nonsense", "x", 1), ("disk_low", "x", 1), ("corruption_found", " ", 1)]
    {
        let said = acknowledge(rule, reason);
        assert_eq!(said.status.code(), Some(code), "{rule}: {said:?}");
    }
    let done = acknowledge("corruption_found", "the disk is to be replaced");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(hook.hears("corruption_found")["state"], "resolved");
    alert(server.http, "corruption_found", "resolved");
    let records = server.get("/v1/audit").json();
    let record = records["records"].as_array().unwrap().last().unwrap();
    for (field, value) in [
        ("who", "me (http)"),
        ("action", "alert.acknowledge"),
        ("target", "corruption_found"),
        ("why", "the disk is to be replaced"),
        ("result", "1 damages taken note of"),
    ] {
        assert_eq!(record[field], value, "{record}");
    }
    let again = acknowledge("corruption_found", "twice");
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}

/// Damage that a start healed fires until it is acknowledged; the server need not be restarted.
#[test]
fn healed_damage_is_acknowledged_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    killed_store(dir.path());
    std::fs::write(dir.path().join("shards/0/meta.a"), "damaged").unwrap();
    let server = Server::spawn(quiet(serve(dir.path(), &[])));
    let found = alert(server.http, "corruption_found", "firing");
    assert!(found["summary"].as_str().unwrap().contains("meta.a"), "{found}");
    let body = json!({ "reason": "one bad sector, the disk is watched" });
    let done = post(server.http, "/v1/alerts/corruption_found/acknowledge", &body);
    assert_eq!(done.status, 200, "{}", done.body);
    assert!(done.json()["audit"].as_u64().is_some_and(|number| number > 0), "{}", done.body);
    let damages = alert(server.http, "corruption_found", "resolved")["value"].clone();
    assert_eq!(damages, 0.0);
    assert_eq!(server.stop(), 0);
}

/// What the start itself dead-letters is told: leases that ran out while nothing ran.
#[test]
fn dead_letters_of_the_start_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let leased = block_on(async {
        let mut queues = server.queues().await;
        let definition = QueueDefinition {
            name: "q".to_owned(),
            visibility_ms: 1_000,
            max_attempts: 1,
            ..QueueDefinition::default()
        };
        let request = v1::CreateQueueRequest { definition: Some(definition), identity: None };
        queues.create(request).await.unwrap();
        let bodies: Vec<String> = (0..20).map(|number| format!("message {number}")).collect();
        send(&mut queues, "q", &bodies).await;
        let all = receive_all(&mut queues, "q").await;
        assert_eq!(all.len(), 20);
        Instant::now()
    });
    server.kill();
    // Time is what the test is about: the leases run out while nothing runs.
    while leased.elapsed() < Duration::from_millis(1_200) {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let mut command = quiet(serve(dir.path(), &[]));
    command.env("REKINDLE__ALERTS__DEAD_LETTERS", "20");
    let server = Server::spawn(command);
    let told = alert(server.http, "dead_letters", "firing");
    assert_eq!(told["value"], 20.0, "{told}");
    assert_eq!(server.stop(), 0);
}

/// A large state takes longer to load than `recovery.max_time`, which bounds the replay: that is no
/// alert; the metrics have the whole and the part.
#[test]
fn a_large_healthy_store_is_not_slow() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 2_000);
    let database = Database::open(dir.path()).unwrap();
    database.checkpoint().unwrap();
    drop(database);
    let figures = |server: &Server| {
        let metrics = server.get("/metrics").body;
        ["predicted_recovery", "predicted_replay", "replay"].map(|name| -> f64 {
            let name = format!("rekindle_{name}_seconds ");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
            line.unwrap_or_else(|| panic!("{name}")).trim().parse().unwrap()
        })
    };
    // How long this machine takes decides where the bound lies: between the part and the whole.
    let server = Server::spawn(quiet(serve(dir.path(), &[])));
    let [mut whole, ..] = figures(&server);
    assert_eq!(server.stop(), 0);
    // A machine that stood still during one start does not do so during each.
    let mut starts = 0;
    let (server, bound) = loop {
        let bound = (whole * 0.4).max(0.1);
        let mut command = quiet(serve(dir.path(), &[]));
        let bound_ms = Duration::from_secs_f64(bound).as_millis();
        command.env("REKINDLE__RECOVERY__MAX_TIME", format!("{bound_ms}ms"));
        let server = Server::spawn(command);
        let [predicted, replay];
        [whole, predicted, replay] = figures(&server);
        if whole > bound && predicted.max(replay) < bound {
            break (server, bound);
        }
        starts += 1;
        assert!(starts < 5, "{whole} is large, {predicted} and {replay} are not: {bound}");
        assert_eq!(server.stop(), 0);
    };
    let began = Instant::now();
    let quiet = loop {
        let slow = alert(server.http, "recovery_slow", "resolved");
        if slow["value"].is_number() {
            break slow;
        }
        assert!(began.elapsed() < DEADLINE, "{slow}");
    };
    assert!(quiet["value"].as_f64().unwrap() < bound, "{quiet}");
    assert_eq!(server.stop(), 0);
}

/// A store whose older checkpoint, which no start reads, has a wrong bit.
pub fn rotten(data: &Path) -> PathBuf {
    let database = Database::open(data).unwrap();
    let keyspace = database.keyspace("things").unwrap();
    for n in 0..3_u8 {
        let put = |transaction: &mut rekindle_database::Transaction| {
            transaction.put(keyspace, &[n], &[n; 9_000]);
            Ok(())
        };
        database.transact(put).unwrap();
        database.checkpoint().unwrap();
    }
    database.close().unwrap();
    let older = contents(&data.join("shards/0/checkpoints")).into_keys().min().unwrap();
    let mut bytes = std::fs::read(&older).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(&older, &bytes).unwrap();
    older
}

/// What a start does not read, the older checkpoint, is read while the server runs: damage there
/// fires an alert with its place, is counted, replaced, and stays away from the next start.
///
/// proves: L11
/// fault: S9
#[test]
fn damage_at_rest_is_found_and_replaced_while_serving() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("store");
    let older = rotten(&data);
    let verified = || run(&["verify", "--data", text(&data)]).status.code();
    assert_eq!(verified(), Some(4));

    let server = Server::spawn(quiet(serve(&data, &[])));
    let found = alert(server.http, "corruption_found", "firing");
    let summary = found["summary"].as_str().unwrap();
    let name = older.file_name().unwrap().to_str().unwrap();
    assert!(summary.contains("scrub-1 healed") && summary.contains(name), "{summary}");
    let metrics = get(server.http, "/metrics", &[("Host", "localhost")]).unwrap().body;
    for line in ["rekindle_scrubs_total 1", "rekindle_scrub_findings_total 1"] {
        assert!(metrics.lines().any(|it| it == line), "{line}: {metrics}");
    }
    assert!(!older.exists(), "it is set aside");

    // Whoever looks at the page takes note of it there.
    let page = |path: &str| get(server.http, path, &[("Host", "localhost")]).unwrap().body;
    let shown = page("/ui/alerts");
    let token = shown.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let path = "/ui/alerts/corruption_found";
    let note =
        |reason| submit(server.http, path, &[("token", token), ("reason", reason), ("by", "ada")]);
    assert_eq!(note(" ").status, 400);
    assert_eq!(submit(server.http, path, &[("token", "x"), ("reason", "seen")]).status, 403);
    let noted = note("a <b>disk</b> was changed");
    assert_eq!(noted.status, 303, "{noted:?}");
    let after = page(header(&noted, "location").unwrap());
    assert!(after.contains("1 damages taken note of") && !after.contains("<form"), "{after}");
    let audit = page("/ui/audit");
    assert!(audit.contains("ada (page)") && audit.contains("&lt;b&gt;disk"), "{audit}");
    assert_eq!(note("again").status, 409, "there is none any more");
    alert(server.http, "corruption_found", "resolved");
    assert!(!page("/ui/alerts").contains("<form"));
    assert_eq!(contents(&data.join("quarantine")).len(), 1);
    assert_eq!(server.stop(), 0);
    assert_eq!(verified(), Some(0));
}
