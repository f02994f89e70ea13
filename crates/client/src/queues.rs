//! Calls on queues, one request each.
//!
//! Invariant: everything that changes something carries an identity, so that a repeated request has
//! one effect; only [`Client::receive`] does not: an answer that is lost leaves leases that expire.

use std::time::Duration;

use rekindle_wire::v1::{
    AckRequest, CreateQueueRequest, DeleteQueueRequest, Delivery, Durability, ExtendRequest,
    ItemError, ListQueuesRequest, Message, NackRequest, PurgeQueueRequest, QueueDefinition,
    QueueInfo, ReceiveRequest, ReceiveResponse, SendRequest, ShowQueueRequest,
};

use crate::client::{Client, Effect, millis};
use crate::error::Error;
use crate::identity::ITEMS_PER_REQUEST;
use crate::sender::{Ack, Sender, SenderOptions};

/// Queues per page of a list.
const LIST_PAGE: u32 = 256;

/// What to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receive {
    /// From which queue.
    pub queue: String,
    /// The most messages of the answer; the server may answer fewer.
    pub max: u32,
    /// How long to wait for the first one.
    pub wait: Duration,
    /// Who receives, for people who look at leases.
    pub owner: String,
}

impl Receive {
    /// One message, without waiting.
    #[must_use]
    pub fn new(queue: impl Into<String>) -> Self {
        Self { queue: queue.into(), max: 1, wait: Duration::ZERO, owner: String::new() }
    }
}

impl Client {
    /// A sender to this queue with the default options.
    #[must_use]
    pub fn sender(&self, queue: impl Into<String>) -> Sender {
        self.sender_with(queue, SenderOptions { timeout: self.timeout(), ..Default::default() })
    }

    /// A sender to this queue.
    #[must_use]
    pub fn sender_with(&self, queue: impl Into<String>, options: SenderOptions) -> Sender {
        Sender::new(self.clone(), queue.into(), options)
    }

    /// Creates a queue durably; false when it was there already with the same definition,
    /// [`Error::Conflict`] when with another one.
    pub async fn create_queue(&self, definition: QueueDefinition) -> Result<bool, Error> {
        let numbers = self.producer().reserve(1).await;
        let request =
            CreateQueueRequest { definition: Some(definition), identity: Some(numbers.identity()) };
        let call = || {
            let (mut queues, request) = (self.queues(), request.clone());
            async move { queues.create(request).await }
        };
        Ok(self.call(Effect::Once, call).await?.created)
    }

    /// Deletes a queue with its messages; says how many they were.
    pub async fn delete_queue(&self, queue: &str) -> Result<u64, Error> {
        let numbers = self.producer().reserve(1).await;
        let identity = Some(numbers.identity());
        let request = DeleteQueueRequest { queue: queue.to_owned(), identity };
        let call = || {
            let (mut queues, request) = (self.queues(), request.clone());
            async move { queues.delete(request).await }
        };
        Ok(self.call(Effect::Once, call).await?.messages)
    }

    /// Deletes the messages of a queue; says how many they were.
    pub async fn purge_queue(&self, queue: &str) -> Result<u64, Error> {
        let numbers = self.producer().reserve(1).await;
        let identity = Some(numbers.identity());
        let request = PurgeQueueRequest { queue: queue.to_owned(), identity };
        let call = || {
            let (mut queues, request) = (self.queues(), request.clone());
            async move { queues.purge(request).await }
        };
        Ok(self.call(Effect::Once, call).await?.messages)
    }

    /// All queues in the order of their names.
    pub async fn list_queues(&self) -> Result<Vec<QueueInfo>, Error> {
        let mut all: Vec<QueueInfo> = Vec::new();
        loop {
            let last = all.last().and_then(|queue| queue.definition.as_ref());
            let after = last.map(|definition| definition.name.clone()).unwrap_or_default();
            let request = ListQueuesRequest { after, limit: LIST_PAGE };
            let call = || {
                let (mut queues, request) = (self.queues(), request.clone());
                async move { queues.list(request).await }
            };
            let page = self.call(Effect::Reads, call).await?;
            let more = page.more && !page.queues.is_empty();
            all.extend(page.queues);
            if !more {
                return Ok(all);
            }
        }
    }

    /// One queue: definition and counts.
    pub async fn show_queue(&self, queue: &str) -> Result<QueueInfo, Error> {
        let call = || {
            let mut queues = self.queues();
            let request = ShowQueueRequest { queue: queue.to_owned() };
            async move { queues.show(request).await }
        };
        let shown = self.call(Effect::Reads, call).await?.queue;
        shown.ok_or_else(|| Error::Internal("an answer without a queue".to_owned()))
    }

    /// Sends one message as a call of its own. A [`Sender`] is faster as soon as there are several.
    pub async fn send(&self, queue: &str, message: Message) -> Result<Ack, Error> {
        let numbers = self.producer().reserve(1).await;
        let request = SendRequest {
            queue: queue.to_owned(),
            messages: vec![message],
            identity: Some(numbers.identity()),
        };
        let call = || {
            let (mut queues, request) = (self.queues(), request.clone());
            async move { queues.send(request).await }
        };
        let mut answer = self.call(Effect::Once, call).await?;
        let durability = answer.durability();
        match (answer.errors.first(), answer.ids.pop()) {
            (Some(refused), _) => Err(Error::of_item(refused)),
            (None, Some(id)) => Ok(Ack { id, durability }),
            (None, None) => Err(Error::Internal("an answer without an id".to_owned())),
        }
    }

    /// Leases messages: as soon as one is ready, or none when `wait` is over. When the answer is
    /// lost, what it would have leased comes back when the leases run out.
    pub async fn receive(&self, receive: &Receive) -> Result<Vec<Delivery>, Error> {
        Ok(self.receive_leased(receive).await?.0)
    }

    /// As [`Self::receive`]; also says how long the leases last.
    pub(crate) async fn receive_leased(
        &self,
        receive: &Receive,
    ) -> Result<(Vec<Delivery>, Duration), Error> {
        let call = |wait_ms| {
            let mut queues = self.queues();
            let request = ReceiveRequest {
                queue: receive.queue.clone(),
                max: receive.max,
                wait_ms,
                owner: receive.owner.clone(),
            };
            async move { queues.receive(request).await }
        };
        let there = |answer: &ReceiveResponse| !answer.messages.is_empty();
        let answer = self.long_poll(receive.wait, Effect::Again, call, there).await?;
        Ok((answer.messages, Duration::from_millis(answer.visibility_ms)))
    }

    /// Finishes messages; one result per token.
    pub async fn ack(&self, queue: &str, tokens: &[String]) -> Vec<Result<Durability, Error>> {
        let mut results = Vec::with_capacity(tokens.len());
        for tokens in tokens.chunks(ITEMS_PER_REQUEST) {
            let numbers = self.producer().reserve(tokens.len()).await;
            let request = AckRequest {
                queue: queue.to_owned(),
                tokens: tokens.to_vec(),
                identity: Some(numbers.identity()),
            };
            let call = || {
                let (mut queues, request) = (self.queues(), request.clone());
                async move { queues.ack(request).await }
            };
            let answer = self.call(Effect::Once, call).await;
            let answer = answer.map(|answer| (answer.durability(), answer.errors));
            per_token(tokens.len(), answer, &mut results);
        }
        results
    }

    /// Gives messages back, to be ready after `delay`; the attempt counts as failed for `reason`.
    pub async fn nack(
        &self,
        queue: &str,
        tokens: &[String],
        delay: Duration,
        reason: &str,
    ) -> Vec<Result<Durability, Error>> {
        let request = NackRequest {
            queue: queue.to_owned(),
            delay_ms: millis(delay),
            reason: reason.to_owned(),
            ..Default::default()
        };
        self.give_back(request, tokens).await
    }

    /// Gives messages back that nobody worked on: ready at once, and the attempt is not charged.
    pub async fn release(&self, queue: &str, tokens: &[String]) -> Vec<Result<Durability, Error>> {
        let request =
            NackRequest { queue: queue.to_owned(), release: true, ..NackRequest::default() };
        self.give_back(request, tokens).await
    }

    async fn give_back(
        &self,
        request: NackRequest,
        tokens: &[String],
    ) -> Vec<Result<Durability, Error>> {
        let mut results = Vec::with_capacity(tokens.len());
        for tokens in tokens.chunks(ITEMS_PER_REQUEST) {
            let numbers = self.producer().reserve(tokens.len()).await;
            let identity = Some(numbers.identity());
            let request = NackRequest { tokens: tokens.to_vec(), identity, ..request.clone() };
            let call = || {
                let (mut queues, request) = (self.queues(), request.clone());
                async move { queues.nack(request).await }
            };
            let answer = self.call(Effect::Once, call).await;
            let answer = answer.map(|answer| (answer.durability(), answer.errors));
            per_token(tokens.len(), answer, &mut results);
        }
        results
    }

    /// Moves the deadlines of leases to `by` from now; zero: the visibility of the queue.
    pub async fn extend(
        &self,
        queue: &str,
        tokens: &[String],
        by: Duration,
    ) -> Vec<Result<Durability, Error>> {
        let mut results = Vec::with_capacity(tokens.len());
        for tokens in tokens.chunks(ITEMS_PER_REQUEST) {
            let numbers = self.producer().reserve(tokens.len()).await;
            let request = ExtendRequest {
                queue: queue.to_owned(),
                tokens: tokens.to_vec(),
                by_ms: millis(by),
                identity: Some(numbers.identity()),
            };
            let call = || {
                let (mut queues, request) = (self.queues(), request.clone());
                async move { queues.extend(request).await }
            };
            let answer = self.call(Effect::Once, call).await;
            let answer = answer.map(|answer| (answer.durability(), answer.errors));
            per_token(tokens.len(), answer, &mut results);
        }
        results
    }
}

/// One result per token, in order, from an answer that names only the refused ones.
fn per_token(
    count: usize,
    answer: Result<(Durability, Vec<ItemError>), Error>,
    results: &mut Vec<Result<Durability, Error>>,
) {
    match answer {
        Err(error) => results.extend(std::iter::repeat_n(Err(error), count)),
        Ok((durability, errors)) => {
            let first = results.len();
            results.extend(std::iter::repeat_n(Ok(durability), count));
            for error in errors {
                let at = usize::try_from(error.index).ok().and_then(|at| first.checked_add(at));
                if let Some(result) = at.and_then(|at| results.get_mut(at)) {
                    *result = Err(Error::of_item(&error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_wire::error::item;
    use rekindle_wire::v1::Kind;

    #[test]
    fn refused_tokens_keep_their_place() {
        let mut results = vec![Ok(Durability::Disk)];
        let errors = vec![item(1, Kind::Fenced, "granted again"), item(9, Kind::Fenced, "")];
        per_token(3, Ok((Durability::Disk, errors)), &mut results);
        let fenced = Err(Error::Fenced("granted again".into()));
        let disk = Ok(Durability::Disk);
        assert_eq!(results, [disk.clone(), disk.clone(), fenced, disk]);
    }
}
