//! Leases: tokens, fencing, expiry, extension, giving back.

use rekindle_services::Kind;
use rekindle_services::queues::{Nack, NewMessage, QueueSettings, ReceiveRequest, Settled};

use crate::store::{Store, bodies};

fn one_message() -> Store {
    let store = Store::new();
    store.create("q");
    store.send("q", "work");
    store
}

/// A late ack counts until the message is received again, and never after.
///
/// fault: T4
#[test]
fn a_late_ack_counts_until_the_redelivery() {
    let store = one_message();
    let lease = store.receive("q", 1).remove(0);
    assert_eq!(store.pass(30_000).reclaimed, 1);
    assert_eq!(store.queues().show("q").unwrap().stats.ready, 1);
    store.ack(lease.token).unwrap();
    assert!(store.receive("q", 1).is_empty(), "finished");

    store.send("q", "more");
    let stale = store.receive("q", 1).remove(0);
    store.pass(30_000);
    let current = store.receive("q", 1).remove(0);
    assert_eq!(store.ack(stale.token).unwrap_err().kind(), Kind::Fenced);
    assert_eq!(current.attempt, 2);
    store.ack(current.token).unwrap();
    assert_eq!(store.ack(current.token).unwrap_err().kind(), Kind::Fenced, "finished");
    for keyspace in ["messages", "leases", "lease_expiry", "attempts"] {
        assert!(store.rows(keyspace).is_empty(), "{keyspace} has rows of nothing");
    }
}

/// The same over a crash between the reclaim and the ack.
///
/// fault: T4
#[test]
fn a_late_ack_counts_after_a_restart_too() {
    let store = one_message();
    let lease = store.receive("q", 1).remove(0);
    let store = store.crash(40_000);
    assert_eq!(store.figure("leases_reclaimed"), 1);
    store.ack(lease.token).unwrap();
    assert!(store.receive("q", 1).is_empty());
}

#[test]
fn leases_run_out_in_the_order_of_their_deadlines_and_not_before() {
    let store = Store::new();
    store.create("q");
    for body in ["slow", "fast"] {
        store.send("q", body);
    }
    let lease = |visibility_ms| {
        let visibility_ms = Some(visibility_ms);
        let request = ReceiveRequest { queue: "q", max: 1, visibility_ms, owner: "" };
        store.queues().receive(&request).unwrap().value.remove(0)
    };
    let (slow, fast) = (lease(9_000), lease(2_000));
    assert_eq!((slow.visibility_ms, fast.visibility_ms), (9_000, 2_000));
    let ticked = store.pass(1_999);
    assert_eq!((ticked.reclaimed, ticked.next_in_ms), (0, 1));
    assert_eq!(store.pass(1).reclaimed, 1);
    assert_eq!(store.ready("q"), ["fast"]);
    assert_eq!(store.pass(7_000).reclaimed, 1);
    assert_eq!(store.ready("q"), ["slow", "fast"], "each is back in its place");
}

#[test]
fn extending_keeps_the_grant_and_moves_the_deadline() {
    let store = one_message();
    let lease = store.receive("q", 1).remove(0);
    store.pass(20_000);
    let extended = store.queues().extend(Some("q"), &[lease.token], None, None).unwrap().value;
    let deadline_ms = lease.deadline_ms + 20_000;
    assert_eq!(extended, [Ok(Settled::Extended { deadline_ms })]);
    assert_eq!(store.pass(29_999).reclaimed, 0);
    // Over a crash as well, and again.
    let store = store.crash(0);
    assert_eq!(store.figure("leases_kept"), 1);
    store
        .queues()
        .extend(None, &[lease.token], Some(5_000), None)
        .unwrap()
        .value
        .remove(0)
        .unwrap();
    assert_eq!(store.rows("lease_expiry").len(), 1);
    store.ack(lease.token).unwrap();
    assert!(store.rows("lease_expiry").is_empty());
}

/// The owner is late and nobody else has the message: it takes the lease up again.
#[test]
fn a_late_owner_takes_its_lease_up_again() {
    let store = one_message();
    let lease = store.receive("q", 1).remove(0);
    store.pass(30_000);
    store.queues().extend(None, &[lease.token], None, None).unwrap().value.remove(0).unwrap();
    assert!(store.receive("q", 1).is_empty());
    let store = store.crash(1_000);
    assert!(store.receive("q", 1).is_empty());
    assert_eq!(store.pass(30_000).reclaimed, 1);
    let again = store.receive("q", 1).remove(0);
    assert_eq!(again.attempt, 2);
    let refused = store.queues().extend(None, &[lease.token], None, None).unwrap().value.remove(0);
    assert_eq!(refused.unwrap_err().kind(), Kind::Fenced);
    store.ack(again.token).unwrap();
    assert!(store.rows("attempts").is_empty());
}

#[test]
fn a_nack_gives_back_at_once_or_after_its_delay() {
    let store = Store::new();
    store.create("q");
    for body in ["a", "b"] {
        store.send("q", body);
    }
    let a = store.receive("q", 1).remove(0);
    let nack = |token, delay_ms| {
        let nack = Nack { delay_ms, reason: "busy", release: false };
        store.queues().nack(Some("q"), &[token], &nack, None).unwrap().value.remove(0)
    };
    assert_eq!(nack(a.token, 0), Ok(Settled::Returned));
    assert_eq!(nack(a.token, 0), Ok(Settled::Returned), "it is back already");
    let a = store.receive("q", 1).remove(0);
    assert_eq!((bodies(std::slice::from_ref(&a)), a.attempt), (vec!["a".to_owned()], 2));
    nack(a.token, 5_000).unwrap();
    let stats = store.queues().show("q").unwrap().stats;
    assert_eq!((stats.ready, stats.delayed, stats.next_ready_ms), (1, 1, Some(5_000)));
    assert_eq!(store.ready("q"), ["b"]);
    let store = store.crash(4_999);
    assert_eq!(store.ready("q"), ["b"], "the delay goes on over a crash");
    assert_eq!(store.pass(1).due, 1);
    assert_eq!(store.ready("q"), ["a", "b"], "and then it is first again");
}

#[test]
fn a_delayed_message_becomes_ready_on_time() {
    let store = Store::new();
    store.create("q");
    store.send_with("q", "later", &NewMessage { delay_ms: 1_000, ..NewMessage::default() });
    store.send("q", "now");
    assert_eq!(store.ready("q"), ["now"]);
    store.clock.advance_ms(1_000);
    assert_eq!(store.ready("q"), ["later", "now"], "a receive does not wait for the timer");
}

#[test]
fn tokens_of_one_call_are_judged_one_by_one() {
    let store = Store::new();
    store.create("q");
    store.create("other");
    for body in ["a", "b"] {
        store.send("q", body);
    }
    store.send("other", "c");
    let mut tokens: Vec<_> = store.receive("q", 2).iter().map(|one| one.token).collect();
    tokens.push(tokens[0]);
    tokens.push(store.receive("other", 1)[0].token);
    let done = store.queues().ack(Some("q"), &tokens, None).unwrap().value;
    let kinds: Vec<_> =
        done.iter().map(|one| one.as_ref().map_or_else(|e| Some(e.kind()), |_| None)).collect();
    assert_eq!(kinds, [None, None, Some(Kind::Fenced), Some(Kind::Invalid)]);
    let error = store.queues().ack(Some("absent"), &tokens, None).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn leases_go_with_their_queue() {
    let store = one_message();
    let lease = store.receive("q", 1).remove(0);
    store.queues().delete("q", None).unwrap();
    assert_eq!(store.ack(lease.token).unwrap_err().kind(), Kind::Fenced);
    assert_eq!(store.pass(60_000).reclaimed, 0);
}

/// What is finished stays finished: no later call of its owner changes anything.
///
/// fault: T8
#[test]
fn a_settled_message_stays_settled() {
    let store = one_message();
    let settings = QueueSettings { max_attempts: 1, ..QueueSettings::default() };
    store.queues().create("once", &settings, None).unwrap();
    store.send("once", "dies");
    store.send("q", "waits");
    let finished = store.receive("q", 1).remove(0).token;
    let dead = store.receive("once", 1).remove(0).token;
    store.ack(finished).unwrap();
    store.queues().nack(None, &[dead], &Nack::default(), None).unwrap();
    let state = store.database.state_hash();
    for token in [finished, dead] {
        for release in [false, true] {
            let nack = Nack { release, reason: "late", delay_ms: 1 };
            let done = store.queues().nack(None, &[token], &nack, None).unwrap().value;
            assert_eq!(done[0].as_ref().unwrap_err().kind(), Kind::Fenced);
        }
        let extended = store.queues().extend(None, &[token], Some(5), None).unwrap().value;
        assert_eq!(extended[0].as_ref().unwrap_err().kind(), Kind::Fenced);
        assert_eq!(store.ack(token).unwrap_err().kind(), Kind::Fenced);
    }
    assert_eq!(store.database.state_hash(), state, "nothing was changed");
    assert_eq!(store.ready("q"), ["waits"]);
    assert_eq!(store.ready("once.dead"), ["dies"]);
}
