//! Queues: send, receive under a lease, ack, nack, extend.
//!
//! Each call that changes something has two forms: `submit_…`, which awaits only room in the
//! journal and gives a [`Ticket`] to await, and the blocking one of the plain name.

mod backlog;
pub(crate) mod bury;
mod calls;
mod census;
mod create;
pub(crate) mod definition;
mod delete;
pub(crate) mod message;
mod receive;
mod recorded;
pub(crate) mod recovery;
pub(crate) mod send;
mod send_all;
pub(crate) mod tokens;

use std::sync::Arc;

pub use crate::claims::{Cause, Subject as MessageId, Token};
pub use crate::review::{self, Decided, Decision, ReviewFigures, ReviewId, ReviewItem, Reviews};
pub use backlog::Backlog;
pub use calls::{
    Created, Deleted, Delivery, Nack, NewMessage, Purged, QueueInfo, QueueSettings, QueueStats,
    ReceiveRequest, Settled,
};
pub use census::{QueueCount, census};
pub use send_all::SendTickets;

use crate::error::Error;
use crate::exec::Core;
use crate::identity::Identity;
use crate::limits::LIST_QUEUES_MAX;
use crate::ticket::{Acknowledged, Ticket};
use create::Create;
use delete::{Delete, Purge};
use send::Send as SendOne;
use tokens::{Action, Tokens};

/// The queues of a store. Clones share it.
#[derive(Clone, Debug)]
pub struct Queues {
    core: Arc<Core>,
    who: Option<Arc<str>>,
}

/// The results of a request with several tokens, in their order.
pub type PerToken = Vec<Result<Settled, Error>>;

impl Queues {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, who: None }
    }

    /// The same queues for somebody whose creating, deleting and purging is recorded in the audit
    /// log, with the change itself.
    #[must_use]
    pub fn by(&self, who: &str) -> Self {
        Self { core: Arc::clone(&self.core), who: Some(Arc::from(who)) }
    }

    /// Creates a queue, and its dead-letter queue where attempts are limited. Creating it again
    /// with equal settings is no error and changes nothing; with others it is [`Kind::Exists`].
    ///
    /// [`Kind::Exists`]: crate::Kind::Exists
    pub fn create(
        &self,
        name: &str,
        settings: &QueueSettings,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Created>, Error> {
        self.core
            .submit(&mut Create::new(name, settings, identity)?.by(self.who.as_deref()))?
            .wait()
    }

    /// See [`Queues::create`].
    pub async fn submit_create(
        &self,
        name: &str,
        settings: &QueueSettings,
        identity: Option<Identity>,
    ) -> Result<Ticket<Created>, Error> {
        self.core
            .submit_async(&mut Create::new(name, settings, identity)?.by(self.who.as_deref()))
            .await
    }

    /// Deletes a queue with all its messages, leases and history; their tokens are fenced. A queue
    /// that is the dead-letter queue of another one stays ([`Kind::Conflict`](crate::Kind)).
    pub fn delete(
        &self,
        name: &str,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Deleted>, Error> {
        self.core.submit(&mut Delete::new(name, identity)?.by(self.who.as_deref()))?.wait()
    }

    /// See [`Queues::delete`].
    pub async fn submit_delete(
        &self,
        name: &str,
        identity: Option<Identity>,
    ) -> Result<Ticket<Deleted>, Error> {
        self.core.submit_async(&mut Delete::new(name, identity)?.by(self.who.as_deref())).await
    }

    /// Deletes all messages of a queue, leased and delayed ones included; their tokens are fenced.
    pub fn purge(
        &self,
        name: &str,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<Purged>, Error> {
        self.core.submit(&mut Purge::new(name, identity)?.by(self.who.as_deref()))?.wait()
    }

    /// See [`Queues::purge`].
    pub async fn submit_purge(
        &self,
        name: &str,
        identity: Option<Identity>,
    ) -> Result<Ticket<Purged>, Error> {
        self.core.submit_async(&mut Purge::new(name, identity)?.by(self.who.as_deref())).await
    }

    /// Waits until everything that was acknowledged before is known to [`Queues::list`],
    /// [`Queues::show`] and receivers: at once, but in the mode that acknowledges from memory.
    pub async fn settled(&self) -> Result<(), Error> {
        self.core.settled().await
    }

    /// Up to `limit` queues (0: as many as a page may have) with names behind `after`, in the order
    /// of their names, and whether more follow.
    pub fn list(&self, after: &str, limit: usize) -> Result<(Vec<QueueInfo>, bool), Error> {
        self.core.alive()?;
        let limit = if limit == 0 { LIST_QUEUES_MAX } else { limit.min(LIST_QUEUES_MAX) };
        Ok(self.core.index.list(after, limit, self.core.database.log_time_ms()))
    }

    /// How old the oldest ready message of up to `limit` queues is, in the order of their names.
    pub fn backlog(&self, limit: usize) -> Result<Vec<Backlog>, Error> {
        self.core.alive()?;
        backlog::backlog(&self.core, limit)
    }

    /// One queue.
    pub fn show(&self, name: &str) -> Result<QueueInfo, Error> {
        self.core.alive()?;
        definition::check_name(name)?;
        let queue = self.core.definition(name)?;
        Ok(self.core.index.info(&queue, self.core.database.log_time_ms()))
    }

    /// Sends one message.
    pub fn send(
        &self,
        queue: &str,
        message: &NewMessage<'_>,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<MessageId>, Error> {
        self.core.submit(&mut SendOne::new(&self.core, queue, message, identity)?)?.wait()
    }

    /// See [`Queues::send`]. Messages are in the queue in the order of these calls: await one
    /// before the next is made, and await the tickets whenever it suits.
    pub async fn submit_send(
        &self,
        queue: &str,
        message: &NewMessage<'_>,
        identity: Option<Identity>,
    ) -> Result<Ticket<MessageId>, Error> {
        self.core.submit_async(&mut SendOne::new(&self.core, queue, message, identity)?).await
    }

    /// Sends several messages in their order, in few transactions, all on their way before the
    /// first is awaited; a refused one does not hinder the others. Item `i` has the identity
    /// `identity.item(i)`.
    pub fn send_all(
        &self,
        queue: &str,
        messages: &[NewMessage<'_>],
        identity: Option<Identity>,
    ) -> Vec<Result<Acknowledged<MessageId>, Error>> {
        send_all::submit(&self.core, queue, messages, identity).wait()
    }

    /// See [`Queues::send_all`]. Messages are in the queue in the order of these calls, as with
    /// [`Queues::submit_send`].
    pub async fn submit_send_all(
        &self,
        queue: &str,
        messages: &[NewMessage<'_>],
        identity: Option<Identity>,
    ) -> SendTickets {
        send_all::submit_async(&self.core, queue, messages, identity).await
    }

    /// Leases up to `request.max` ready messages; nothing ready is an empty answer.
    pub fn receive(
        &self,
        request: &ReceiveRequest<'_>,
    ) -> Result<Acknowledged<Vec<Delivery>>, Error> {
        receive::receive(&self.core, request)
    }

    /// The same, waiting for the first message until `deadline` resolves (a timer of the caller's
    /// runtime). The deadline ends only the waiting: a grant that is on its way is awaited.
    /// Dropping this future is safe: what was granted and not handed out is given back.
    pub async fn receive_wait(
        &self,
        request: &ReceiveRequest<'_>,
        deadline: impl Future<Output = ()>,
    ) -> Result<Acknowledged<Vec<Delivery>>, Error> {
        receive::receive_wait(&self.core, request, deadline).await
    }

    /// Resolves when something may have become ready in this queue since the call, or when the
    /// queue goes, or at shutdown.
    pub fn ready_changed(
        &self,
        queue: &str,
    ) -> Result<impl Future<Output = ()> + Send + Unpin + 'static, Error> {
        receive::listen(&self.core, queue)
    }

    /// Finishes messages. `queue` is checked where it is given; a token alone names its message.
    /// One transaction for all tokens; token `i` has the identity `identity.item(i)`.
    pub fn ack(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        identity: Option<Identity>,
    ) -> Result<Acknowledged<PerToken>, Error> {
        self.settle(queue, tokens, Action::Ack, identity)
    }

    /// See [`Queues::ack`].
    pub async fn submit_ack(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        identity: Option<Identity>,
    ) -> Result<Ticket<PerToken>, Error> {
        self.submit_settle(queue, tokens, Action::Ack, identity).await
    }

    /// Gives messages back, ready after `delay_ms`; the attempt failed, with `reason`.
    pub fn nack(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        nack: &Nack<'_>,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<PerToken>, Error> {
        self.settle(queue, tokens, Action::nack(nack)?, identity)
    }

    /// See [`Queues::nack`].
    pub async fn submit_nack(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        nack: &Nack<'_>,
        identity: Option<Identity>,
    ) -> Result<Ticket<PerToken>, Error> {
        self.submit_settle(queue, tokens, Action::nack(nack)?, identity).await
    }

    /// Moves the deadlines of leases to `by_ms` from now; `None`: the visibility of the queue.
    pub fn extend(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        by_ms: Option<u64>,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<PerToken>, Error> {
        self.settle(queue, tokens, Action::extend(by_ms)?, identity)
    }

    /// See [`Queues::extend`].
    pub async fn submit_extend(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        by_ms: Option<u64>,
        identity: Option<Identity>,
    ) -> Result<Ticket<PerToken>, Error> {
        self.submit_settle(queue, tokens, Action::extend(by_ms)?, identity).await
    }

    fn settle(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        action: Action<'_>,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<PerToken>, Error> {
        let mut command = Tokens::new(&self.core, queue, tokens, action, identity)?;
        self.core.submit(&mut command)?.wait()
    }

    async fn submit_settle(
        &self,
        queue: Option<&str>,
        tokens: &[Token],
        action: Action<'_>,
        identity: Option<Identity>,
    ) -> Result<Ticket<PerToken>, Error> {
        let mut command = Tokens::new(&self.core, queue, tokens, action, identity)?;
        self.core.submit_async(&mut command).await
    }
}
