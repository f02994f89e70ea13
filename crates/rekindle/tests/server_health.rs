//! Health and alerts of the real binary: what fires, what is told, and with which exit codes.

use std::io::{Read, Write};
use std::net::TcpListener;

use rekindle::alerts::RULES;

use super::harness::{DEADLINE, Server, run, serve};

fn reasons(health: &serde_json::Value) -> Vec<String> {
    let reasons = health["system_health"]["reasons"].as_array().unwrap();
    reasons.iter().map(|it| it["reason"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the rules were looked at after the start.
fn looked_at(server: &Server, alert: &str) {
    let began = std::time::Instant::now();
    while !server.get("/metrics").body.contains(&format!("rekindle_alert{{alert=\"{alert}\"}} 1")) {
        assert!(began.elapsed() < DEADLINE, "{alert} does not fire");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}

/// A server with which nothing is the matter is well; one whose run before was killed is degraded,
/// serves, says why, and tells the webhook.
///
/// proves: L11
#[test]
fn a_kill_is_told_by_health_alerts_and_the_webhook() {
    let dir = tempfile::tempdir().unwrap();
    let command = |webhook: &str| {
        let mut command = serve(dir.path(), &[]);
        // The disk of whoever runs this test is not what it is about.
        command.env("REKINDLE__ALERTS__DISK_FREE", "0B");
        command.env("REKINDLE__ALERTS__SYNC_TIME", "1h");
        command.env("REKINDLE__ALERTS__INTERVAL", "1s");
        command.env("REKINDLE__RECOVERY__MAX_TIME", "1h");
        command.env("REKINDLE__ALERTS__WEBHOOK", webhook);
        command
    };
    let server = Server::spawn(command(""));
    let http = server.http.to_string();
    let well = run(&["health", "--json", "--http", &http]);
    assert_eq!(well.status.code(), Some(0), "{well:?}");
    let health: serde_json::Value = serde_json::from_slice(&well.stdout).unwrap();
    assert_eq!(health["system_health"], serde_json::json!({"status": "ok", "reasons": []}));
    assert_eq!(health["status"]["ready"], true, "the fields of before are there");
    assert_eq!(health["recovery_success_rate"], 1.0);
    server.kill();

    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = hook.local_addr().unwrap();
    let server = Server::spawn(command(&format!("http://{place}/alerts")));
    let (mut socket, _) = hook.accept().unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4_096]);
    while !text.ends_with('}') {
        let read = socket.read(&mut buffer).unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    assert!(text.starts_with("POST /alerts HTTP/1.1\r\n"), "{text}");
    let notice: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&notice["alert"], &notice["state"]), (&"recovery_failed".into(), &"firing".into()));
    assert!(notice["summary"].as_str().unwrap().contains("run 1 killed"), "{notice}");

    looked_at(&server, "recovery_failed");
    let answer = server.get("/healthz");
    assert_eq!(answer.status, 200, "degraded serves");
    let health = answer.json();
    assert_eq!(reasons(&health), ["recovery_failed"]);
    assert_eq!(health["system_health"]["status"], "degraded");
    assert_eq!(health["common_failure_patterns"][0]["pattern"], "killed");
    let http = server.http.to_string();
    let degraded = run(&["health", "--http", &http]);
    assert_eq!(degraded.status.code(), Some(1));
    let text = String::from_utf8(degraded.stdout).unwrap();
    assert!(text.contains("next: look at 'rekindle runs list'"), "{text}");
    let alerts = run(&["alerts", "--json", "--http", &http]);
    assert_eq!(alerts.status.code(), Some(0));
    let lines = String::from_utf8(alerts.stdout).unwrap();
    assert_eq!(lines.lines().count(), RULES.len());
    assert!(lines.lines().next().unwrap().contains("\"state\":\"firing\""), "{lines}");
    assert_eq!(server.stop(), 0);
    assert_eq!(run(&["health", "--http", &http]).status.code(), Some(69), "nobody is there");
}

/// docs/reference.md names each rule.
#[test]
fn every_alert_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference.md");
    let reference = std::fs::read_to_string(path).unwrap();
    for rule in RULES {
        assert!(reference.contains(&format!("| `{}` |", rule.name)), "{}", rule.name);
    }
}
