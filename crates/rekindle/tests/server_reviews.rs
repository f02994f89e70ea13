//! Reviews and the audit log of the real binary: from the row that cannot be read to the decision
//! that a person made about it.

use std::path::Path;

use rekindle_database::Database;
use rekindle_services::keys::subject;
use rekindle_services::queues::{NewMessage, QueueSettings};
use rekindle_services::{Options, Services};
use serde_json::Value;

use super::harness::{Server, block_on, create, run, send};

/// A store whose second message cannot be read; its id.
pub fn damaged(data: &Path) -> String {
    let database = Database::open(data).unwrap();
    let (services, _) = Services::lead(&database, Options::default()).unwrap();
    services.queues().create("q", &QueueSettings::default(), None).unwrap();
    let send = |body: &'static [u8]| {
        let new = NewMessage { body, ..NewMessage::default() };
        services.queues().send("q", &new, None).unwrap().value
    };
    let (_, id) = (send(b"fine"), send(b"planted-secret"));
    let messages = database.keyspace("messages").unwrap();
    let mut txn = database.begin();
    txn.put(messages, &subject::encode(id), b"\xFFplanted-secret");
    txn.commit().unwrap();
    services.shutdown().unwrap();
    drop(services);
    database.close().unwrap();
    id.to_string()
}

fn lines(output: &std::process::Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A person finds what waits, looks at the evidence, decides with a reason, and the audit log has
/// it, once, whoever asks again.
///
/// proves: L10, L11
#[test]
fn a_person_decides_and_it_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let id = damaged(dir.path());
    let server = Server::start(dir.path());
    let http = server.http.to_string();
    let ask = |arguments: &[&str]| {
        let mut all = vec!["--http", http.as_str()];
        all.extend_from_slice(arguments);
        run(&all)
    };
    let listed = lines(&ask(&["review", "list", "--json"]));
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["id"], id);
    assert_eq!(listed[0]["label"], "queue-8");
    assert_eq!(listed[0]["queue"], "q");
    assert_eq!(listed[0]["decisions"], serde_json::json!(["fail"]));
    let shown = server.get(&format!("/v1/reviews/{id}")).json();
    assert_eq!(shown["evidence"]["rows"][0]["keyspace"], "messages");
    assert!(!shown.to_string().contains("planted-secret"), "no payload is evidence: {shown}");
    let text = String::from_utf8(ask(&["review", "show", &id]).stdout).unwrap();
    assert!(text.contains("a message that cannot be read (queue-8)"), "{text}");

    let refused = ask(&["review", "retry", &id, "--reason", "hope"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("it cannot be read"), "{said}");
    assert_eq!(ask(&["review", "fail", &id]).status.code(), Some(2), "a reason is needed");
    assert_eq!(ask(&["review", "fail", &id, "--reason", " "]).status.code(), Some(1));
    assert_eq!(ask(&["review", "show", "../stats"]).status.code(), Some(1));

    let fail = ["review", "fail", &id, "--reason", "disk replaced", "--by", "ada", "--json"];
    let done = lines(&ask(&fail)).remove(0);
    assert_eq!((&done["before"], &done["durability"]), (&false.into(), &"disk".into()));
    assert_eq!(done["result"], "in queue q.dead, as the bytes that it has");
    let again = lines(&ask(&fail)).remove(0);
    assert_eq!((&again["before"], &again["audit"]), (&true.into(), &done["audit"]));
    assert_eq!(ask(&["review", "approve", &id, "--reason", "x"]).status.code(), Some(1));
    assert_eq!(server.get("/v1/queues/q.dead").json()["ready"], 1);
    assert_eq!(server.get("/v1/reviews").json()["reviews"], serde_json::json!([]));

    // What was managed through gRPC is recorded too, in the same log.
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "other").await;
        send(&mut queues, "other", &["planted-secret".to_owned()]).await;
    });
    assert_eq!(
        run(&["queue", "purge", "other", "--addr", &server.grpc.to_string()]).status.code(),
        Some(0)
    );
    let records = lines(&ask(&["audit", "--json"]));
    let told: Vec<_> = records
        .iter()
        .map(|it| (it["action"].as_str().unwrap(), it["who"].as_str().unwrap()))
        .collect();
    let grpc = "grpc 127.0.0.1";
    assert_eq!(
        told,
        [("review.fail", "ada (http)"), ("queue.create", grpc), ("queue.purge", grpc)]
    );
    assert_eq!(records[0]["why"], "disk replaced");
    assert_eq!(records[0]["target"], id);
    let page = server.get("/v1/audit?after=1&limit=1").json();
    assert_eq!((&page["records"][0]["number"], &page["more"]), (&2.into(), &true.into()));
    assert_eq!(server.get("/v1/audit?after=x").status, 400);
    assert!(!server.get("/v1/audit").body.contains("planted-secret"));
    let text = String::from_utf8(ask(&["audit", "--limit", "1"]).stdout).unwrap();
    assert!(text.contains("queue.purge") && !text.contains("review.fail"), "{text}");
    assert_eq!(server.stop(), 0);
}
