//! The sender: order, one effect, back-pressure and unknown outcomes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use rekindle_client::{Client, Error, Message, Sender, SenderOptions};

use crate::fake::Fake;

const MESSAGES: usize = 3_000;

fn numbered(number: usize) -> Message {
    Message::new(format!("{number}"))
}

/// Submits and awaits all messages; while that goes on, calls `meanwhile` for each one submitted.
async fn send_all(sender: &Sender, mut meanwhile: impl FnMut(usize)) {
    let mut tickets = Vec::with_capacity(MESSAGES);
    for number in 0..MESSAGES {
        tickets.push(sender.submit(numbered(number)).await);
        meanwhile(number);
    }
    for (number, ticket) in tickets.into_iter().enumerate() {
        let ack = ticket.await.unwrap();
        assert_eq!(ack.id, (number + 1).to_string());
    }
}

fn assert_each_once_in_order(fake: &Fake) {
    let expected: Vec<Vec<u8>> = (0..MESSAGES).map(|n| n.to_string().into_bytes()).collect();
    assert_eq!(fake.store().sent, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_there_once_and_in_order_although_answers_are_lost() {
    let fake = Fake::new();
    let running = fake.start(None);
    fake.script.lose_answer_every.store(3, Ordering::SeqCst);
    let client = Client::connect(&running.address.to_string()).unwrap();
    let options = SenderOptions { in_flight: 100, ..SenderOptions::default() };
    send_all(&client.sender_with("q", options), |_| ()).await;
    assert_each_once_in_order(&fake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_there_once_and_in_order_although_the_server_is_killed() {
    let fake = Fake::new();
    let mut running = Some(fake.start(None));
    let address = running.as_ref().unwrap().address;
    let client = Client::connect(&address.to_string()).unwrap();
    let options = SenderOptions {
        in_flight: 100,
        timeout: Duration::from_secs(60),
        ..SenderOptions::default()
    };
    send_all(&client.sender_with("q", options), |number| {
        if number % 500 == 499 {
            drop(running.take());
            running = Some(fake.start(Some(address)));
        }
    })
    .await;
    assert_each_once_in_order(&fake);
}

#[tokio::test]
async fn a_refused_message_hinders_no_other() {
    let fake = Fake::new();
    let running = fake.start(None);
    *fake.script.refuse.lock().unwrap() = b"1".to_vec();
    let client = Client::connect(&running.address.to_string()).unwrap();
    let sender = client.sender("q");
    let tickets = [
        sender.submit(numbered(0)).await,
        sender.submit(numbered(1)).await,
        sender.submit(numbered(2)).await,
    ];
    let [a, b, c] = tickets.map(|ticket| async { ticket.await.map(|ack| ack.id) });
    assert_eq!(a.await, Ok("1".to_owned()));
    assert_eq!(b.await, Err(Error::Invalid("refused".to_owned())));
    assert_eq!(c.await, Ok("2".to_owned()));
}

#[tokio::test]
async fn what_is_in_flight_is_bounded_and_unanswered_messages_are_unknown() {
    let fake = Fake::new();
    let running = fake.start(None);
    fake.script.silent.store(1, Ordering::SeqCst);
    let client = Client::connect(&running.address.to_string()).unwrap();
    let options = SenderOptions {
        timeout: Duration::from_millis(300),
        in_flight: 10,
        ..SenderOptions::default()
    };
    let sender = client.sender_with("q", options);
    let mut tickets = Vec::new();
    for number in 0..10 {
        tickets.push(sender.submit(numbered(number)).await);
    }
    assert!(sender.submit(numbered(10)).now_or_never().is_none(), "no room");
    for ticket in tickets {
        assert!(matches!(ticket.await, Err(Error::Unknown(_))));
    }
    fake.script.silent.store(0, Ordering::SeqCst);
    assert!(sender.send(numbered(11)).await.is_ok(), "it goes on");
    sender.drain().await;
}

#[tokio::test]
async fn what_never_left_was_not_done() {
    let fake = Fake::new();
    let address = fake.start(None).address;
    let client = Client::connect(&address.to_string()).unwrap();
    while client.impatient().show_queue("q").await.is_ok() {}
    let options = SenderOptions { timeout: Duration::from_millis(200), ..Default::default() };
    let result = client.sender_with("q", options).send(numbered(0)).await;
    assert!(matches!(result, Err(Error::Unreachable { .. })), "{result:?}");
    assert!(fake.store().sent.is_empty());
}

#[tokio::test]
async fn what_was_submitted_is_sent_after_the_sender_is_gone() {
    let fake = Fake::new();
    let running = fake.start(None);
    let client = Client::connect(&running.address.to_string()).unwrap();
    let sender = client.sender("q");
    let mut last = None;
    for number in 0..100 {
        last = Some(sender.submit(numbered(number)).await);
    }
    drop(sender);
    assert_eq!(last.unwrap().await.unwrap().id, "100");
}
