//! `delete` and `purge`: all messages of a queue go in one transaction, whatever their number.
//!
//! Ranges of messages, leases and attempts are deleted as ranges. The rows of `lease_expiry` begin
//! with the deadline and are no range: the index names them once the transaction is applied, and
//! the next tick removes them; after a crash in between, recovery does (`queue-4`).

use rekindle_database::Transaction;

use crate::audit::{self, NewAudit};
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::keys::{queue as key, subject};
use crate::producers::{Fingerprint, once};
use crate::queues::create::load;
use crate::queues::definition::check_name;
use crate::queues::{Deleted, Purged};

/// Deletes a queue.
pub(crate) struct Delete<'a> {
    name: &'a str,
    identity: Option<(Identity, u32)>,
    who: Option<&'a str>,
}

/// Deletes the messages of a queue.
pub(crate) struct Purge<'a> {
    name: &'a str,
    identity: Option<(Identity, u32)>,
    who: Option<&'a str>,
}

impl<'a> Delete<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(name: &'a str, identity: Option<Identity>) -> Result<Self, Error> {
        check_name(name)?;
        let identity = identity.map(|id| (id, fingerprint("delete", name)));
        Ok(Self { name, identity, who: None })
    }

    /// Who asks, for the audit log.
    pub(crate) fn by(self, who: Option<&'a str>) -> Self {
        Self { who, ..self }
    }
}

impl<'a> Purge<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(name: &'a str, identity: Option<Identity>) -> Result<Self, Error> {
        check_name(name)?;
        let identity = identity.map(|id| (id, fingerprint("purge", name)));
        Ok(Self { name, identity, who: None })
    }

    /// Who asks, for the audit log.
    pub(crate) fn by(self, who: Option<&'a str>) -> Self {
        Self { who, ..self }
    }
}

impl Command for Delete<'_> {
    type Value = Deleted;
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Deleted>, Stop> {
        let now_ms = core.database.log_time_ms();
        once(core, txn, self.identity, now_ms, |txn| {
            let queue = load(core, txn, self.name)?.ok_or_else(|| Error::no_queue(self.name))?;
            if let Some(source) = core.index.source_of(self.name) {
                return Err(Stop::Refused(Error::new(
                    Kind::Conflict,
                    format!(
                        "queue \"{}\" is the dead-letter queue of \"{source}\"; delete that first",
                        self.name
                    ),
                )));
            }
            let messages = core.index.messages(queue.id);
            // The definition goes first: the index drops the queue as a whole.
            txn.delete(core.keyspaces.queues, &key::encode(self.name));
            clear(core, txn, queue.id);
            tell(core, txn, self.who, ("queue.delete", self.name), messages)?;
            Ok(Deleted { messages })
        })
    }
}

impl Command for Purge<'_> {
    type Value = Purged;
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Purged>, Stop> {
        let now_ms = core.database.log_time_ms();
        once(core, txn, self.identity, now_ms, |txn| {
            let queue = load(core, txn, self.name)?.ok_or_else(|| Error::no_queue(self.name))?;
            let messages = core.index.messages(queue.id);
            clear(core, txn, queue.id);
            tell(core, txn, self.who, ("queue.purge", self.name), messages)?;
            Ok(Purged { messages })
        })
    }
}

fn clear(core: &Core, txn: &mut Transaction, queue: u64) {
    let (first, behind) = subject::range(queue);
    let keyspaces = &core.keyspaces;
    for keyspace in [keyspaces.messages, keyspaces.leases, keyspaces.attempts] {
        txn.delete_range(keyspace, &first, &behind);
    }
}

/// The audit record of it, where somebody is known who asked.
fn tell(
    core: &Core,
    txn: &mut Transaction,
    who: Option<&str>,
    (action, target): (&str, &str),
    messages: u64,
) -> Result<(), Stop> {
    let Some(who) = who else { return Ok(()) };
    let result = format!("{messages} messages went with it");
    audit::add(core, txn, &NewAudit { who, action, target, why: "", result: &result })?;
    Ok(())
}

fn fingerprint(kind: &str, name: &str) -> u32 {
    Fingerprint::of(kind).bytes(name.as_bytes()).finish()
}
