//! Many at once, on real threads and a real disk: nothing twice, nothing lost.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rekindle_database::{Database, Env, Options as DatabaseOptions};
use rekindle_services::queues::{MessageId, Nack, NewMessage, QueueSettings, ReceiveRequest};
use rekindle_services::{Kind, Options, Services};

const SENDERS: usize = 3;
const WORKERS: usize = 4;
const MESSAGES: usize = 600;

fn open(folder: &std::path::Path) -> (Database, Services) {
    let options = DatabaseOptions { segment_bytes: 4 * 1024 * 1024, ..DatabaseOptions::default() };
    let database = Database::open_with(folder, options, Env::real()).unwrap();
    let (services, _) = Services::lead(&database, Options::default()).unwrap();
    (database, services)
}

fn send(services: &Services, sender: usize) -> Vec<MessageId> {
    let key = format!("key-{sender}");
    let bodies: Vec<String> = (0..MESSAGES).map(|at| format!("{sender}-{at}")).collect();
    let mut ids = vec![];
    for chunk in bodies.chunks(50) {
        let batch: Vec<_> = chunk
            .iter()
            .map(|body| NewMessage {
                body: body.as_bytes(),
                fairness_key: &key,
                ..NewMessage::default()
            })
            .collect();
        let sent = services.queues().send_all("q", &batch, None);
        ids.extend(sent.into_iter().map(|sent| sent.unwrap().value));
    }
    ids
}

/// Receives, and mostly acks; sometimes gives back, sometimes lets the lease run out.
fn work(services: &Services, worker: usize, left: &AtomicUsize, acked: &Mutex<HashSet<MessageId>>) {
    let mut turn = worker;
    while left.load(Ordering::SeqCst) > 0 {
        let visibility_ms = Some(if turn.is_multiple_of(7) { 1 } else { 60_000 });
        let request = ReceiveRequest { queue: "q", max: 5, visibility_ms, owner: "crowd" };
        let leases = services.queues().receive(&request).unwrap().value;
        if leases.is_empty() {
            std::thread::yield_now();
        }
        for lease in leases {
            turn += 1;
            if turn.is_multiple_of(11) {
                let nack = Nack { delay_ms: 1, reason: "again", release: false };
                let done = services.queues().nack(None, &[lease.token], &nack, None).unwrap();
                let refused = done.value[0].as_ref().err().map(rekindle_services::Error::kind);
                assert!(refused.is_none_or(|kind| kind == Kind::Fenced));
                continue;
            }
            let done = services.queues().ack(None, &[lease.token], None).unwrap().value.remove(0);
            match done {
                Ok(_) => {
                    assert!(acked.lock().unwrap().insert(lease.id), "acked twice");
                    left.fetch_sub(1, Ordering::SeqCst);
                }
                Err(error) => assert_eq!(error.kind(), Kind::Fenced),
            }
        }
    }
}

/// fault: T4
#[test]
fn each_message_is_finished_once_by_one_of_many() {
    let folder = tempfile::tempdir().unwrap();
    let (database, services) = open(folder.path());
    services.queues().create("q", &QueueSettings::default(), None).unwrap();
    let left = AtomicUsize::new(SENDERS * MESSAGES);
    let acked = Mutex::new(HashSet::new());
    let sent: HashSet<MessageId> = std::thread::scope(|scope| {
        let (services, left, acked) = (&services, &left, &acked);
        for worker in 0..WORKERS {
            scope.spawn(move || work(services, worker, left, acked));
        }
        let senders: Vec<_> =
            (0..SENDERS).map(|sender| scope.spawn(move || send(services, sender))).collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    assert_eq!(sent, acked.into_inner().unwrap());
    let stats = services.queues().show("q").unwrap().stats;
    assert_eq!((stats.ready, stats.leased, stats.delayed, stats.keys), (0, 0, 0, 0));
    services.shutdown().unwrap();
    database.close().unwrap();
    drop((services, database));
    let (database, services) = open(folder.path());
    let stats = services.queues().show("q").unwrap().stats;
    assert_eq!((stats.ready, stats.leased, stats.delayed), (0, 0, 0));
    services.shutdown().unwrap();
    database.close().unwrap();
}

/// A queue that is deleted and created again while others send: no message lands in the wrong one,
/// and none stays behind without a queue.
#[test]
fn a_queue_that_comes_and_goes_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (database, services) = open(folder.path());
    let running = AtomicUsize::new(SENDERS);
    std::thread::scope(|scope| {
        let (services, running) = (&services, &running);
        for _ in 0..SENDERS {
            scope.spawn(move || {
                for _ in 0..200 {
                    let message = NewMessage { body: b"x", ..NewMessage::default() };
                    let sent = services.queues().send("q", &message, None);
                    assert!(sent.is_ok() || sent.unwrap_err().kind() == Kind::NotFound);
                    let request =
                        ReceiveRequest { queue: "q", max: 2, visibility_ms: None, owner: "" };
                    let got = services.queues().receive(&request);
                    assert!(got.is_ok() || got.unwrap_err().kind() == Kind::NotFound);
                }
                running.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while running.load(Ordering::SeqCst) > 0 {
            services.queues().create("q", &QueueSettings::default(), None).unwrap();
            services.queues().purge("q", None).unwrap();
            services.queues().delete("q", None).unwrap();
        }
    });
    services.tick().unwrap();
    services.shutdown().unwrap();
    let snapshot = database.snapshot().unwrap();
    for name in ["queues", "messages", "leases", "attempts", "lease_expiry"] {
        use std::ops::Bound::Unbounded;
        let keyspace = database.keyspace(name).unwrap();
        let rows = snapshot.scan(keyspace, (Unbounded, Unbounded), 9, false).unwrap();
        assert!(rows.is_empty(), "{name} has rows of a queue that is gone");
    }
    drop(snapshot);
    database.close().unwrap();
}
