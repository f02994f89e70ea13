//! The webhook: each change of an alert as a POST of JSON, over plain HTTP.
//!
//! Invariants: at most [`WAITING_MAX`] notices wait, and what comes on top is dropped and counted;
//! a try is bounded in time and in what is read of the answer; nothing here holds up the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderValue};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::posting::{Post, Target, post};

/// Notices that wait to be sent.
pub const WAITING_MAX: usize = 64;
/// Tries of one notice.
const TRIES: u32 = 5;
/// The pause after the first try that failed; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What became of notices.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Delivered {
    /// Those that were taken.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }

    /// Those that were given up, after all tries.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }

    /// Those for which there was no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }
}

/// Sends notices on a task of its own.
#[derive(Debug)]
pub(super) struct Webhook {
    sender: Sender<String>,
    delivered: Delivered,
    task: JoinHandle<()>,
}

impl Webhook {
    /// Begins; ends when it is dropped and everything that waits was tried.
    pub(super) fn start(target: Target, delivered: Delivered) -> Self {
        Self::start_with(target, delivered, PAUSE)
    }

    fn start_with(target: Target, delivered: Delivered, pause: Duration) -> Self {
        let (sender, receiver) = channel(WAITING_MAX);
        let task = tokio::spawn(deliver_all(receiver, target, delivered.clone(), pause));
        Self { sender, delivered, task }
    }

    /// Takes no more, and waits until everything that waits was tried.
    pub(super) async fn finish(self) {
        drop(self.sender);
        let _ = self.task.await;
    }

    /// Puts a notice behind those that wait; never waits itself.
    pub(super) fn send(&self, notice: String) {
        if self.sender.try_send(notice).is_err() {
            self.delivered.counts.dropped.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("a notice of an alert was dropped: {WAITING_MAX} wait for the webhook");
        }
    }
}

async fn deliver_all(
    mut notices: Receiver<String>,
    target: Target,
    delivered: Delivered,
    pause: Duration,
) {
    while let Some(notice) = notices.recv().await {
        let counts = &delivered.counts;
        if deliver(&target, &notice, pause).await {
            counts.sent.fetch_add(1, Ordering::Relaxed);
        } else {
            counts.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Tries until the target takes it, or often enough.
async fn deliver(target: &Target, notice: &str, pause: Duration) -> bool {
    let mut pause = pause;
    for number in 1..=TRIES {
        let tried = tokio::time::timeout(TIMEOUT, send(target, notice)).await;
        let error = match tried {
            Ok(Ok(status)) if (200..300).contains(&status) => return true,
            Ok(Ok(status)) => format!("it answered status {status}"),
            Ok(Err(error)) => error,
            Err(_) => format!("it did not answer within {TIMEOUT:?}"),
        };
        tracing::warn!(number, error, "the webhook did not take a notice");
        if number < TRIES {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
    false
}

/// One POST; its status. Of the answer only the head is read.
async fn send(target: &Target, notice: &str) -> Result<u16, String> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = notice.as_bytes().to_vec();
    Ok(post(target, Post { headers, body, answer_bytes_max: 0 }).await?.status)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Reads one request whole and answers it.
    async fn answer(listener: &TcpListener, status: &str) -> String {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4_096];
        while !text.contains("\r\n\r\n") || !text.ends_with('}') {
            let read = socket.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the request ended early: {text}");
            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        socket.write_all(answer.as_bytes()).await.unwrap();
        text
    }

    /// A notice arrives as it was sent, in order, and is tried again after a refusal.
    #[tokio::test]
    async fn notices_are_tried_until_they_are_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let target = Target::parse(&format!("http://{place}/hook")).unwrap();
        let delivered = Delivered::default();
        let webhook = Webhook::start_with(target, delivered.clone(), Duration::from_millis(1));
        webhook.send(r#"{"n":1}"#.to_owned());
        webhook.send(r#"{"n":2}"#.to_owned());
        let mut seen = vec![];
        for status in ["503 No", "302 Found", "204 Fine", "200 OK"] {
            seen.push(answer(&listener, status).await);
        }
        assert!(seen[0].starts_with("POST /hook HTTP/1.1\r\n"), "{}", seen[0]);
        assert!(seen[0].to_lowercase().contains("content-type: application/json"));
        let bodies: Vec<_> = seen.iter().map(|text| text.lines().last().unwrap()).collect();
        assert_eq!(bodies, [r#"{"n":1}"#, r#"{"n":1}"#, r#"{"n":1}"#, r#"{"n":2}"#]);
        while delivered.sent() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!((delivered.failed(), delivered.dropped()), (0, 0));
    }

    /// Nobody is there: what waits is bounded, and what is given up is counted.
    #[tokio::test(start_paused = true)]
    async fn a_webhook_that_is_away_holds_up_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        drop(listener);
        let delivered = Delivered::default();
        let target = Target::parse(&format!("http://{place}/")).unwrap();
        let webhook = Webhook::start(target, delivered.clone());
        for _ in 0..WAITING_MAX + 5 {
            webhook.send("{}".to_owned());
        }
        assert_eq!(delivered.dropped(), 5);
        drop(webhook);
        while delivered.failed() < WAITING_MAX as u64 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(delivered.sent(), 0);
    }
}
