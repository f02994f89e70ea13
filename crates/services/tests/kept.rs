//! The index that is kept beside the files of an engine: a start goes on with it, and reads the
//! rows of what changed since, no others. A debug build holds what it says against all rows.

use rekindle_services::jobs::{ClaimRequest, Done, JobSettings, NewJob, When};
use rekindle_services::queues::NewMessage;

use crate::store::Store;

fn send(store: &Store, queue: &str, count: usize) {
    for number in 0..count {
        store.send(queue, &number.to_string());
    }
}

/// Only what came behind the checkpoint is read, and the order is the one of sending.
#[test]
fn a_start_reads_what_changed_behind_the_checkpoint() {
    let store = Store::in_files();
    store.create("q");
    send(&store, "q", 500);
    store.database.checkpoint().unwrap();
    let taken = store.receive("q", 10);
    taken.iter().take(6).for_each(|one| store.ack(one.token).unwrap());
    send(&store, "q", 20);
    let store = store.crash(0);
    assert_eq!(store.figure("messages"), 514);
    assert_eq!(store.figure("messages_read"), 4 + 20, "those that are leased, and the new ones");
    let bodies: Vec<String> = (10..500).chain(0..20).map(|number| number.to_string()).collect();
    assert_eq!(store.ready("q"), bodies);
}

/// Nothing at all is read again after an end in order.
#[test]
fn after_a_clean_end_no_message_is_read() {
    let store = Store::in_files();
    store.create("q");
    send(&store, "q", 300);
    store.database.checkpoint().unwrap();
    let store = store.restart();
    assert_eq!((store.figure("messages"), store.figure("messages_read")), (300, 0));
    // Nothing happened, and the next one knows it all the same.
    let store = store.restart();
    assert_eq!((store.figure("messages"), store.figure("messages_read")), (300, 0));
    assert_eq!(store.receive("q", 1)[0].body(), b"0");
}

/// The files of the engine stand above the anchor: what lies between is read, too.
#[test]
fn a_checkpoint_that_was_not_finished_is_no_gap() {
    let store = Store::in_files();
    store.create("q");
    send(&store, "q", 100);
    store.database.checkpoint().unwrap();
    send(&store, "q", 30);
    store.receive("q", 3).iter().for_each(|one| store.ack(one.token).unwrap());
    let store = store.killed_before_the_anchor(0);
    assert_eq!((store.figure("messages"), store.figure("messages_read")), (127, 30));
    // This start's own checkpoint keeps it again.
    store.database.checkpoint().unwrap();
    let store = store.crash(0);
    assert_eq!((store.figure("messages"), store.figure("messages_read")), (127, 0));
}

/// Purged, deleted, made again under the same name: nothing comes back.
#[test]
fn what_was_cleared_behind_the_checkpoint_is_gone() {
    let store = Store::in_files();
    for queue in ["purged", "deleted", "kept"] {
        store.create(queue);
        send(&store, queue, 50);
    }
    store.database.checkpoint().unwrap();
    store.queues().purge("purged", None).unwrap();
    send(&store, "purged", 2);
    store.queues().delete("deleted", None).unwrap();
    store.create("deleted");
    send(&store, "deleted", 1);
    let store = store.crash(0);
    assert_eq!((store.figure("messages"), store.figure("messages_read")), (53, 3));
    for (queue, count) in [("purged", 2), ("deleted", 1), ("kept", 50)] {
        assert_eq!(store.ready(queue).len(), count, "{queue}");
    }
}

/// Keys take turns, delays run on, and priorities come first, as if all rows had been read.
#[test]
fn keys_delays_and_priorities_are_kept() {
    let store = Store::in_files();
    store.create("q");
    for (body, fairness_key, delay_ms) in
        [("a1", "a", 0), ("a2", "a", 0), ("b1", "b", 0), ("later", "a", 5_000), ("b2", "b", 0)]
    {
        store.send_with("q", body, &NewMessage { fairness_key, delay_ms, ..NewMessage::default() });
    }
    let jobs = store.services.jobs();
    jobs.set_type("t", &JobSettings::default(), "test", None).unwrap();
    for (payload, priority, when) in
        [("low", -5, When::Now), ("high", 5, When::Now), ("later", 9, When::In(5_000))]
    {
        let job = NewJob { priority, when, payload: payload.as_bytes(), ..NewJob::default() };
        jobs.submit("t", &job, None).unwrap();
    }
    let done = jobs.submit("t", &NewJob { priority: 7, ..NewJob::default() }, None).unwrap();
    let request = ClaimRequest { types: &["t"], max: 1, lease_ms: None, worker: "w" };
    let claimed = jobs.claim(&request).unwrap().value;
    assert_eq!(claimed[0].id, done.value.id);
    jobs.done(&[(claimed[0].token, Done::Complete(b"1"))], None).unwrap();
    store.database.checkpoint().unwrap();
    let store = store.crash(1_000);
    assert_eq!((store.figure("messages_read"), store.figure("jobs_read")), (0, 0));
    assert_eq!((store.figure("jobs"), store.figure("finished")), (3, 1));
    let mut ready = store.ready("q");
    assert!(ready[0].ends_with('1') && ready[1].ends_with('1'), "keys take turns: {ready:?}");
    ready.sort();
    assert_eq!(ready, ["a1", "a2", "b1", "b2"]);
    let claim = |store: &Store| {
        let claimed = store.services.jobs().claim(&request).unwrap().value;
        claimed.first().map(|one| String::from_utf8(one.payload().to_vec()).unwrap())
    };
    assert_eq!(claim(&store).as_deref(), Some("high"));
    store.pass(4_000);
    assert_eq!(claim(&store).as_deref(), Some("later"));
    assert_eq!(claim(&store).as_deref(), Some("low"));
    assert!(store.ready("q").contains(&"later".to_owned()));
}
