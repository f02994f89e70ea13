//! The worker: settlement, lease extension, drain, stop, reconnects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rekindle_client::{Client, Message, Receive, Summary, Verdict, Worker};
use tokio::sync::{Notify, Semaphore};

use crate::fake::{Fake, Running};

async fn with_messages(count: usize) -> (Fake, Running, Client) {
    let fake = Fake::new();
    let running = fake.start(None);
    let client = Client::connect(&running.address.to_string()).unwrap();
    for number in 0..count {
        client.send("q", Message::new(number.to_string())).await.unwrap();
    }
    (fake, running, client)
}

fn never() -> std::future::Pending<()> {
    std::future::pending()
}

#[tokio::test]
async fn a_drain_settles_everything_and_ends() {
    let (fake, _running, client) = with_messages(50).await;
    let handler = |delivery: rekindle_client::Delivery| async move {
        // Number 7 fails once.
        if delivery.body == "7" && delivery.attempt == 1 {
            let reason = "seven".to_owned();
            return Verdict::Nack { delay: Duration::ZERO, reason };
        }
        Verdict::Ack
    };
    let worker = Worker::new(client, "q").concurrency(8).drain(true);
    let summary = worker.run(handler, never()).await.unwrap();
    assert_eq!(summary, Summary { acked: 50, nacked: 1, refused: 0, unknown: 0 });
    let store = fake.store();
    assert_eq!((store.acked.len(), store.ready.len(), store.leased.len()), (50, 0, 0));
    assert_eq!(store.nacked, [(8, "seven".to_owned(), false)]);
}

#[tokio::test]
async fn a_drain_waits_for_the_leases_of_others() {
    let (fake, _running, client) = with_messages(2).await;
    fake.store().visibility = Duration::from_millis(300);
    let held = client.receive(&Receive { max: 2, ..Receive::new("q") }).await.unwrap();
    assert_eq!(held.len(), 2);
    let worker = Worker::new(client, "q").drain(true);
    let summary = worker.run(|_| async { Verdict::Ack }, never()).await.unwrap();
    assert_eq!(summary.acked, 2);
}

#[tokio::test]
async fn leases_are_extended_while_their_handler_runs() {
    let (fake, _running, client) = with_messages(1).await;
    fake.store().visibility = Duration::from_millis(300);
    let watched = fake.clone();
    let handler = move |_| {
        let fake = watched.clone();
        async move {
            // Three times the visibility, by the server's own count of extensions.
            fake.script.extensions.0.acquire_many(9).await.unwrap().forget();
            Verdict::Ack
        }
    };
    let summary = Worker::new(client, "q").drain(true).run(handler, never()).await.unwrap();
    assert_eq!(summary, Summary { acked: 1, ..Summary::default() });
    assert_eq!(fake.store().acked, [1]);
}

#[tokio::test]
async fn no_more_handlers_run_than_allowed() {
    let (_fake, _running, client) = with_messages(40).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let highest = Arc::clone(&most);
    let handler = move |_| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&highest));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            Verdict::Ack
        }
    };
    let worker = Worker::new(client, "q").concurrency(4).drain(true);
    worker.run(handler, never()).await.unwrap();
    assert!((1..=4).contains(&most.load(Ordering::SeqCst)));
}

#[tokio::test]
async fn a_stop_finishes_what_runs_and_leaves_the_rest() {
    let (fake, _running, client) = with_messages(10).await;
    let (stop, begun) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
    let go = Arc::new(Semaphore::new(0));
    let (count, gate, tell) = (Arc::clone(&begun), Arc::clone(&go), Arc::clone(&stop));
    let handler = move |_| {
        let (count, gate, tell) = (Arc::clone(&count), Arc::clone(&gate), Arc::clone(&tell));
        async move {
            if count.fetch_add(1, Ordering::SeqCst) == 1 {
                // Two run: time to stop.
                tell.notify_one();
                gate.add_permits(2);
            }
            gate.acquire().await.unwrap().forget();
            Verdict::Ack
        }
    };
    let worker = Worker::new(client, "q").concurrency(2);
    let summary = worker.run(handler, stop.notified()).await.unwrap();
    let begun = begun.load(Ordering::SeqCst);
    assert_eq!(summary.acked, begun, "what began was finished");
    let store = fake.store();
    assert!(store.leased.is_empty(), "nothing is held back");
    assert_eq!(store.ready.len() + store.acked.len(), 10);
}

#[tokio::test]
async fn a_handler_that_panics_gives_its_message_back() {
    let (fake, _running, client) = with_messages(1).await;
    let handler = |delivery: rekindle_client::Delivery| async move {
        assert!(delivery.attempt > 1, "the first attempt panics");
        Verdict::Ack
    };
    let summary = Worker::new(client, "q").drain(true).run(handler, never()).await.unwrap();
    assert_eq!(summary, Summary { acked: 1, nacked: 1, ..Summary::default() });
    assert_eq!(fake.store().nacked[0].1, "the handler panicked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_goes_on_after_the_server_was_killed_and_answers_were_lost() {
    let (fake, running, client) = with_messages(200).await;
    let address = running.address;
    fake.script.lose_answer_every.store(5, Ordering::SeqCst);
    let running = Arc::new(std::sync::Mutex::new(Some(running)));
    let (again, store) = (Arc::clone(&running), fake.clone());
    let handler = move |delivery: rekindle_client::Delivery| {
        if delivery.body == "100" && delivery.attempt == 1 {
            let mut running = again.lock().unwrap();
            drop(running.take());
            *running = Some(store.start(Some(address)));
        }
        async { Verdict::Ack }
    };
    let worker = Worker::new(client, "q").concurrency(4).drain(true);
    let summary = worker.run(handler, never()).await.unwrap();
    assert_eq!(summary.refused, 0, "an ack whose answer was lost is the same ack");
    let mut acked = fake.store().acked.clone();
    acked.sort_unstable();
    assert_eq!(acked, (1..=200).collect::<Vec<u64>>());
}
