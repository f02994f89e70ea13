//! Queues: send, receive under a lease, ack, nack, extend.
//!
//! Each call that changes something has two forms: `submit_…`, which awaits only room in the journal
//! and gives a [`Ticket`] to await, and the blocking one of the plain name.

mod types;

pub use types::{
    Created, Deleted, Delivery, MessageId, Nack, NewMessage, Purged, QueueInfo, QueueSettings,
    QueueStats, ReceiveRequest, Settled, Token,
};

use crate::error::Error;
use crate::identity::Identity;
use crate::ticket::{Acknowledged, Ticket};

/// The queues of a store. Clones share it.
#[derive(Clone, Debug)]
pub struct Queues {}

/// The results of a request with several tokens, in their order.
pub type PerToken = Vec<Result<Settled, Error>>;

#[allow(unused_variables, reason = "the bodies land with the next commit")]
#[allow(clippy::unused_async, reason = "the bodies land with the next commit")]
impl Queues {
    /// Creates a queue, and its dead-letter queue where attempts are limited. Creating it again with
    /// equal settings is no error and changes nothing; with others it is [`Kind::Exists`].
    ///
    /// [`Kind::Exists`]: crate::Kind::Exists
    pub fn create(
        &self,
        name: &str,
        settings: &QueueSettings,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Created>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// See [`Queues::create`].
    pub async fn submit_create(
        &self,
        name: &str,
        settings: &QueueSettings,
        identity: Option<Identity>,
    ) -> Result<Ticket<Created>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Deletes a queue with all its messages, leases and history; their tokens are fenced.
    pub fn delete(
        &self,
        name: &str,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Deleted>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// See [`Queues::delete`].
    pub async fn submit_delete(
        &self,
        name: &str,
        identity: Option<Identity>,
    ) -> Result<Ticket<Deleted>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Deletes all messages of a queue, leased and delayed ones included; their tokens are fenced.
    pub fn purge(
        &self,
        name: &str,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Purged>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// See [`Queues::purge`].
    pub async fn submit_purge(
        &self,
        name: &str,
        identity: Option<Identity>,
    ) -> Result<Ticket<Purged>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Up to `limit` queues with names behind `after`, in the order of their names, and whether more
    /// follow.
    pub fn list(&self, after: &str, limit: usize) -> Result<(Vec<QueueInfo>, bool), Error> {
        unimplemented!("lands with the next commit")
    }

    /// One queue.
    pub fn show(&self, name: &str) -> Result<QueueInfo, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Sends one message.
    pub fn send(
        &self,
        queue: &str,
        message: &NewMessage<'_>,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<MessageId>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// See [`Queues::send`]. Messages are in the queue in the order in which these calls return.
    pub async fn submit_send(
        &self,
        queue: &str,
        message: &NewMessage<'_>,
        identity: Option<Identity>,
    ) -> Result<Ticket<MessageId>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Sends several messages in their order, each a transaction of its own; a refused one does not
    /// hinder the others. Item `i` has the identity `identity.item(i)`.
    pub fn send_all(
        &self,
        queue: &str,
        messages: &[NewMessage<'_>],
        identity: Option<Identity>,
    ) -> Vec<Result<Acknowledged<MessageId>, Error>> {
        unimplemented!("lands with the next commit")
    }

    /// Leases up to `request.max` ready messages; nothing ready is an empty answer.
    pub fn receive(
        &self,
        request: &ReceiveRequest<'_>,
    ) -> Result<Acknowledged<Vec<Delivery>>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// The same, waiting for the first message until `deadline` resolves (a timer of the caller's
    /// runtime). The deadline ends only the waiting: a grant that is on its way is awaited. Dropping
    /// this future is safe: what was granted and not handed out is given back.
    pub async fn receive_wait(
        &self,
        request: &ReceiveRequest<'_>,
        deadline: impl Future<Output = ()>,
    ) -> Result<Acknowledged<Vec<Delivery>>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Resolves when something may have become ready in this queue since the call, or when the queue
    /// goes, or at shutdown.
    pub fn ready_changed(
        &self,
        queue: &str,
    ) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
        Ok(std::future::ready(()))
    }

    /// Finishes messages. `queue` is checked where it is given; a token alone names its message. One
    /// transaction for all tokens; token `i` has the identity `identity.item(i)`.
    pub fn ack(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        identity: Option<Identity>,
    ) -> Result<Acknowledged<PerToken>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// See [`Queues::ack`].
    pub async fn submit_ack(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        identity: Option<Identity>,
    ) -> Result<Ticket<PerToken>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Gives messages back, ready after `delay_ms`; the attempt failed, with `reason`.
    pub fn nack(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        nack: &Nack<'_>,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<PerToken>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// See [`Queues::nack`].
    pub async fn submit_nack(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        nack: &Nack<'_>,
        identity: Option<Identity>,
    ) -> Result<Ticket<PerToken>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Moves the deadlines of leases to `by_ms` from now; `None`: the visibility of the queue.
    pub fn extend(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        by_ms: Option<u64>,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<PerToken>, Error> {
        unimplemented!("lands with the next commit")
    }

    /// See [`Queues::extend`].
    pub async fn submit_extend(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        by_ms: Option<u64>,
        identity: Option<Identity>,
    ) -> Result<Ticket<PerToken>, Error> {
        unimplemented!("lands with the next commit")
    }
}
