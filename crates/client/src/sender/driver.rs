//! Keeps a stream open while there is something to send, and reads its answers.
//!
//! Invariant: after a lost stream everything unresolved is handed to the next one in the same order
//! with the same identities, until its deadline; then its outcome is unknown.

use std::sync::Arc;

use rekindle_wire::v1::SendAcks;
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

use super::Shared;
use super::stream::Batches;
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::{Error, Failure, judge};

/// How a stream ended.
enum End {
    /// The server closed it in order; unresolved messages go to the next one.
    Closed,
    /// Messages were past their deadline.
    Expired,
    /// It was lost, or could not be opened.
    Lost(String),
    /// It could not be opened: what was never handed to a stream certainly was not done.
    NotSent(Error),
    /// The server refuses it.
    Refused(Error),
}

/// Runs until the sender is closed and everything is resolved.
pub(super) async fn drive(shared: Arc<Shared>, client: Client) {
    let mut backoff = Backoff::new(shared.seed);
    let address = client.address().to_owned();
    let mut not_sent =
        Error::Unreachable { address: address.clone(), reason: "no answer in time".to_owned() };
    while shared.work().await {
        let epoch = shared.change(|state, wake| state.begin_stream(wake));
        let mut answered = false;
        let reason = match one_stream(&shared, &client, epoch, &mut answered, &not_sent).await {
            End::Closed => "the server closed the stream".to_owned(),
            End::Expired => {
                tracing::warn!("no answer within {:?}; sending what is left again", shared.timeout);
                "no answer in time".to_owned()
            }
            End::Refused(error) => {
                shared.change(|state, wake| state.refuse_all(&error, wake));
                continue;
            }
            End::Lost(reason) => reason,
            End::NotSent(error) => {
                let reason = error.to_string();
                not_sent = error;
                reason
            }
        };
        if answered {
            backoff.reset();
        }
        wait_to_reconnect(&shared, &mut backoff, &reason, &not_sent).await;
    }
}

/// Waits before the next attempt; meanwhile resolves what runs out of time.
async fn wait_to_reconnect(shared: &Shared, backoff: &mut Backoff, reason: &str, not_sent: &Error) {
    let until = Instant::now() + backoff.next();
    loop {
        let deadline = shared.lock().next_deadline();
        let Some(deadline) = deadline else {
            return;
        };
        tracing::debug!("connection lost ({reason}); connecting again");
        sleep_until(until.min(deadline)).await;
        let now = Instant::now();
        shared.change(|state, wake| state.expire(now, not_sent, reason, wake));
        if now >= until {
            return;
        }
    }
}

/// Opens a stream and reads answers until it ends.
async fn one_stream(
    shared: &Arc<Shared>,
    client: &Client,
    epoch: u64,
    answered: &mut bool,
    not_sent: &Error,
) -> End {
    let mut queues = client.queues();
    let batches = Batches { shared: Arc::clone(shared), epoch };
    let opening = queues.send_stream(batches);
    tokio::pin!(opening);
    let mut acks: Option<Streaming<SendAcks>> = None;
    let timer = sleep_until(shared.wake_time());
    tokio::pin!(timer);
    loop {
        let answer = async {
            match acks.as_mut() {
                None => opening.as_mut().await.map(|response| Event::Open(response.into_inner())),
                Some(acks) => acks.message().await.map(Event::Answer),
            }
        };
        tokio::select! {
            biased;
            event = answer => match event {
                Ok(Event::Open(stream)) => acks = Some(stream),
                Ok(Event::Answer(Some(acks))) => {
                    if let Err(reason) = shared.change(|state, wake| state.answer(acks, wake)) {
                        return End::Lost(reason);
                    }
                    *answered = true;
                }
                Ok(Event::Answer(None)) => return End::Closed,
                Err(status) => return end(&status, client),
            },
            () = timer.as_mut() => {
                let now = Instant::now();
                let reason = "no answer in time";
                if shared.change(|state, wake| state.expire(now, not_sent, reason, wake)) {
                    return End::Expired;
                }
                timer.as_mut().reset(shared.wake_time());
            }
        }
    }
}

enum Event {
    Open(Streaming<SendAcks>),
    Answer(Option<SendAcks>),
}

fn end(status: &Status, client: &Client) -> End {
    match judge(status, client.address()) {
        Failure::Answered(error) => End::Refused(error),
        Failure::NotSent(error) => End::NotSent(error),
        Failure::Lost(reason) => End::Lost(reason),
    }
}
