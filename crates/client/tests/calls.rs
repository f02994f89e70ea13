//! Calls of their own: identities, refusals, paging, a server that is not there.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rekindle_client::{Client, Error, Message, QueueDefinition, Receive};

use crate::fake::Fake;

#[tokio::test]
async fn a_call_whose_answer_is_lost_is_made_again_and_has_one_effect() {
    let fake = Fake::new();
    let running = fake.start(None);
    fake.script.lose_answer_every.store(2, Ordering::SeqCst);
    let client = Client::connect(&running.address.to_string()).unwrap();
    for number in 0..10 {
        let ack = client.send("q", Message::new(number.to_string())).await.unwrap();
        assert_eq!(ack.id, (number + 1).to_string());
    }
    assert_eq!(fake.store().sent.len(), 10);
    let received = client.receive(&Receive { max: 10, ..Receive::new("q") }).await.unwrap();
    let tokens: Vec<String> = received.into_iter().map(|delivery| delivery.token).collect();
    for token in tokens {
        let results = client.ack("q", &[token]).await;
        assert!(results[0].is_ok(), "{results:?}");
    }
    assert_eq!(fake.store().acked, (1..=10).collect::<Vec<u64>>());
}

#[tokio::test]
async fn tokens_are_settled_in_requests_of_bounded_size_with_a_result_each() {
    let fake = Fake::new();
    let running = fake.start(None);
    let client = Client::connect(&running.address.to_string()).unwrap();
    let sender = client.sender("q");
    for number in 0..600 {
        drop(sender.submit(Message::new(number.to_string())).await);
    }
    sender.drain().await;
    let received = client.receive(&Receive { max: 600, ..Receive::new("q") }).await.unwrap();
    let mut tokens: Vec<String> = received.into_iter().map(|delivery| delivery.token).collect();
    tokens.insert(300, "stale".to_owned());
    let results = client.ack("q", &tokens).await;
    assert_eq!(results.len(), 601);
    let refused: Vec<usize> = (0..601).filter(|&at| results[at].is_err()).collect();
    assert_eq!(refused, [300]);
    assert!(matches!(results[300], Err(Error::Fenced(_))));
    assert_eq!(fake.store().acked.len(), 600);
}

#[tokio::test]
async fn refusals_have_their_kind_and_lists_are_paged() {
    let fake = Fake::new();
    let running = fake.start(None);
    let client = Client::connect(&format!("http://{}", running.address)).unwrap();
    let created = client.create_queue(QueueDefinition::default()).await;
    assert_eq!(created, Err(Error::Conflict("queue \"q\" exists".into())));
    let deleted = client.delete_queue("q").await;
    assert_eq!(deleted, Err(Error::NotFound("queue \"q\" does not exist".into())));
    assert!(matches!(client.purge_queue("q").await, Err(Error::Internal(_))));
    let names = client.list_queues().await.unwrap();
    let names: Vec<String> = names.into_iter().map(|q| q.definition.unwrap().name).collect();
    assert_eq!(names, ["1", "2", "3", "4", "5", "6"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_so_at_once_or_waited_for() {
    let fake = Fake::new();
    let address = fake.start(None).address;
    let client = Client::connect(&address.to_string()).unwrap();
    let expected =
        Error::Unreachable { address: address.to_string(), reason: "refused".to_owned() };
    // Its port may take a moment to close.
    let mut said = client.impatient().show_queue("q").await;
    while matches!(&said, Ok(_) | Err(Error::Unreachable { .. })) && said != Err(expected.clone()) {
        said = client.impatient().show_queue("q").await;
    }
    assert_eq!(said.unwrap_err(), expected);
    let waiting = tokio::spawn(async move {
        client.with_timeout(Duration::from_secs(20)).show_queue("q").await.map(|_| ())
    });
    tokio::task::yield_now().await;
    let _running = fake.start(Some(address));
    assert_eq!(waiting.await.unwrap(), Ok(()));
}
