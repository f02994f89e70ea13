//! `send`: one message. Several go together where they are sent together (send_all.rs).
//!
//! Its only read is the queue's definition, validated at commit: a message never lands in a queue
//! that was deleted meanwhile, and never in one that was created anew under the same name.

use rekindle_database::Transaction;

use crate::error::Error;
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::keys::{queue as key, subject as subject_key};
use crate::producers::{Fingerprint, Session, once};
use crate::queues::definition::{Definition, check_name};
use crate::queues::message::{check, encode};
use crate::queues::{MessageId, NewMessage};

/// Sends a message.
pub(crate) struct Send<'a> {
    queue: &'a str,
    value: Vec<u8>,
    identity: Option<(Identity, u32)>,
    now_ms: u64,
    /// Given once, so that a lost race does not change the order of sending.
    number: u64,
}

impl<'a> Send<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        core: &Core,
        queue: &'a str,
        message: &NewMessage<'_>,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        check_name(queue)?;
        check(message)?;
        let now_ms = core.database.log_time_ms();
        let identity = identity.map(|identity| (identity, fingerprint(queue, message)));
        let number = core.numbers.next()?;
        Ok(Self { queue, value: encode(message, now_ms), identity, now_ms, number })
    }

    /// Writes it into a transaction.
    pub(crate) fn write(&self, core: &Core, txn: &mut Transaction) -> Result<MessageId, Stop> {
        let line = self.line(core, txn)?;
        Ok(self.put(core, txn, line))
    }

    /// The same in a transaction with others to the same queue, unless it was sent before; `line`
    /// is that queue once it was looked up. A refused message is an answer of its own.
    pub(crate) fn once(
        &self,
        core: &Core,
        txn: &mut Transaction,
        session: &mut Session<'_>,
        line: &mut Option<u64>,
    ) -> Result<Result<Answer<MessageId>, Error>, Stop> {
        session.once(txn, self.identity, |txn| {
            let line = match *line {
                Some(line) => line,
                None => match self.line(core, txn) {
                    Ok(found) => *line.insert(found),
                    Err(Stop::Refused(error)) => return Ok(Err(error)),
                    Err(failed) => return Err(failed),
                },
            };
            Ok(Ok(self.put(core, txn, line)))
        })
    }

    fn line(&self, core: &Core, txn: &mut Transaction) -> Result<u64, Stop> {
        let row = txn
            .get(core.keyspaces.queues, &key::encode(self.queue))?
            .ok_or_else(|| Error::no_queue(self.queue))?;
        let line = Definition::parse_id(&row.bytes).ok_or_else(|| {
            Error::corrupt(format!("the definition of queue \"{}\" is damaged", self.queue))
        })?;
        Ok(line)
    }

    fn put(&self, core: &Core, txn: &mut Transaction, line: u64) -> MessageId {
        let id = MessageId { line, number: self.number };
        txn.put(core.keyspaces.messages, &subject_key::encode(id), &self.value);
        id
    }
}

impl Command for Send<'_> {
    type Value = MessageId;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<MessageId>, Stop> {
        let send = &*self;
        once(core, txn, send.identity, send.now_ms, |txn| send.write(core, txn))
    }
}

/// Tells sends apart.
pub(crate) fn fingerprint(queue: &str, message: &NewMessage<'_>) -> u32 {
    let mut fingerprint = Fingerprint::of("send")
        .bytes(queue.as_bytes())
        .bytes(message.body)
        .bytes(message.fairness_key.as_bytes())
        .number(message.delay_ms);
    for (name, value) in message.headers {
        fingerprint = fingerprint.bytes(name.as_bytes()).bytes(value.as_bytes());
    }
    fingerprint.finish()
}
