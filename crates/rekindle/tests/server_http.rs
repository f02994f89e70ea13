//! The HTTP front of the real binary: probes, reports, metrics, and what the documents say of them.

use std::collections::BTreeSet;

use rekindle::config::keys::KEYS;
use rekindle::front::http::table::ROUTES;
use rekindle::front::ui;

use super::harness::{Server, block_on, create, get, send};

/// docs/reference.md, whole.
fn reference() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference.md");
    std::fs::read_to_string(path).unwrap()
}

/// A request that names another server, or comes from another origin, is refused.
#[test]
fn foreign_hosts_and_origins_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = super::harness::serve(dir.path(), &[]);
    command.env("REKINDLE__SERVER__ALLOWED_HOSTS", "queue.example");
    let server = Server::spawn(command);
    let ask = |headers: &[(&str, &str)]| get(server.http, "/readyz", headers).unwrap().status;
    let ours = server.http.to_string();
    assert_eq!(ask(&[("Host", &ours)]), 200);
    assert_eq!(ask(&[("Host", "localhost")]), 200);
    assert_eq!(ask(&[("Host", "queue.example:7610")]), 200);
    assert_eq!(ask(&[("Host", "attacker.example")]), 403);
    assert_eq!(ask(&[]), 403);
    assert_eq!(ask(&[("Host", &ours), ("Origin", &format!("http://{ours}"))]), 200);
    assert_eq!(ask(&[("Host", &ours), ("Origin", "http://attacker.example")]), 403);
    assert_eq!(ask(&[("Host", &ours), ("Origin", "http://localhost:3000")]), 403);
    assert_eq!(ask(&[("Host", &ours), ("Host", "attacker.example")]), 403, "twice");
    let own = format!("http://{ours}");
    assert_eq!(
        ask(&[("Host", &ours), ("Origin", &own), ("Origin", "http://attacker.example")]),
        403
    );
    assert_eq!(server.stop(), 0);
}

/// The report of this run's recovery, by HTTP and as a file, is the same.
#[test]
fn the_report_is_published() {
    let dir = tempfile::tempdir().unwrap();
    Server::start(dir.path()).kill();
    let server = Server::start(dir.path());
    let report = server.get("/v1/recoveries/latest").json();
    assert!([0, 3].contains(&report["code"].as_i64().unwrap()), "{report}");
    assert_eq!(report["incarnation"], 2);
    let layers: Vec<&str> = report["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["layer"].as_str().unwrap())
        .collect();
    for layer in ["store", "journal", "database"] {
        assert!(layers.contains(&layer), "{layers:?}");
    }
    let file = std::fs::read_to_string(dir.path().join("reports/2.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&file).unwrap(), report);
    assert_eq!(server.stop(), 0);
}

/// What there is can be looked at; what there is not is 404.
#[test]
fn queues_can_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "commits").await;
        send(&mut queues, "commits", &["a".to_owned(), "b".to_owned()]).await;
    });
    let queue = server.get("/v1/queues/commits").json();
    assert_eq!((&queue["name"], &queue["ready"]), (&"commits".into(), &2.into()));
    let list = server.get("/v1/queues?limit=1").json();
    assert_eq!(list["queues"][0], queue);
    assert_eq!(server.get("/v1/queues/nothing").status, 404);
    assert_eq!(server.get("/v1/queues?limit=0").status, 400);
    assert_eq!(server.get("/nothing").status, 404);
    assert!(server.get("/v1/stats").json()["commits"].as_u64().unwrap() >= 3);
    let head = server.get("/livez").head.to_lowercase();
    assert!(head.contains("nosniff") && head.contains("no-store"), "{head}");
    assert_eq!(server.stop(), 0);
}

/// Metrics count what happened, and docs/reference.md names each of them.
#[test]
fn metrics_are_counted_and_documented() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        send(&mut queues, "q", &["a".to_owned(), "b".to_owned(), "c".to_owned()]).await;
    });
    let metrics = server.get("/metrics").body;
    for line in [
        "rekindle_messages_sent_total 3",
        "rekindle_queue_messages{queue=\"q\",state=\"ready\"} 3",
        "rekindle_ready 1",
        "rekindle_poisoned 0",
        "rekindle_recovery_code 0",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    let syncs =
        metrics.lines().find(|line| line.starts_with("rekindle_journal_sync_seconds_count"));
    let syncs: u64 = syncs.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(syncs > 0, "{metrics}");
    assert!(metrics.ends_with("# EOF\n"));
    let reference = reference();
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(reference.contains(&format!("`{name}`")), "docs/reference.md lacks {name}");
    }
    assert_eq!(server.stop(), 0);
}

/// docs/reference.md names every key of the configuration with its default, and every route.
#[test]
fn keys_and_routes_are_documented() {
    let reference = reference();
    for key in KEYS {
        let row = format!("| `{}` | `{}` | `{}` |", key.path(), key.variable(), key.default);
        let row = row.replace("``", "empty");
        assert!(reference.contains(&row), "docs/reference.md lacks the row {row}");
    }
    for route in ROUTES.iter().chain(ui::ROUTES) {
        let row = format!("| `{}` |", route.path());
        assert!(reference.contains(&row), "docs/reference.md lacks the row {row}");
    }
}
