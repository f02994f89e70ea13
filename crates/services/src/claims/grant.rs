//! Leases on ready work, one transaction for all of them; what `receive` and `claim` share.
//!
//! Units are reserved in the index, so that no two grants try the same one, and given their leases
//! in a transaction. Invariants: no lease is taken beyond what is answered; a reservation ends with
//! its grant or goes back; a grant whose receiver went away is given back as `released`.

use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Poll;

use rekindle_database::{KeyspaceId, Transaction, Value};

use crate::bytes::Malformed;
use crate::claims::index::{ANY_LINE, Listener, Reserved};
use crate::claims::lease::Lease;
use crate::claims::{Line, Owner, Subject, Token, settle, state};
use crate::error::{Error, Kind as ErrorKind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::keys::lease_expiry::{self, LeaseExpiry};
use crate::keys::{Keyspaces, subject as key};
use crate::limits::{OWNER_BYTES_MAX, RECEIVE_BYTES_MAX, RECEIVE_MESSAGES_MAX, VISIBILITY_MS_MAX};
use crate::ticket::{Acknowledged, Durability, Ticket};

/// Grants that are tried when all reserved units were finished or taken up again meanwhile. The
/// index learns of that when it is applied, which an acknowledgement does not wait for in every
/// mode.
const TRIES: usize = 3;

/// A kind of work: what is read of a unit, and what its receiver is handed.
pub(crate) trait Kind {
    /// What is handed out.
    type Delivery: Delivered;

    /// Whether somebody may wait for a line that begins only later.
    const MAY_BEGIN: bool;

    /// Where its units are stored.
    fn keyspace(keyspaces: &Keyspaces) -> KeyspaceId;

    /// Whether it is done with although its row is there.
    fn is_done(core: &Core, txn: &mut Transaction, key: &[u8]) -> Result<bool, Stop>;

    /// What is handed out: this row under this lease, which lasts so long.
    fn deliver(
        line: &Line,
        id: Subject,
        lease: &Lease,
        lease_ms: u64,
        row: &Value,
    ) -> Result<Self::Delivery, Malformed>;
}

/// Work that is handed out.
pub(crate) trait Delivered: Unpin {
    /// Its token.
    fn named(&self) -> Token;
    /// The same, whose grant is filled in once it is known.
    fn token(&mut self) -> &mut Token;
    /// Bytes that it brings.
    fn bytes(&self) -> usize;
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    /// The most units.
    pub(crate) max: usize,
    /// How long the leases last; `None`: as long as the line says.
    pub(crate) lease_ms: Option<u64>,
    /// Who receives.
    pub(crate) owner: &'a str,
    /// Whether that is somebody outside, or an executor of this run.
    pub(crate) holder: Owner,
}

impl Wanted<'_> {
    /// Refuses what is above a limit.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.max == 0 {
            return Err(Error::invalid("nothing at all is asked for; ask for at least 1"));
        }
        check_owner(self.owner)?;
        match self.lease_ms {
            Some(lease_ms) if !(1..=VISIBILITY_MS_MAX).contains(&lease_ms) => Err(Error::invalid(
                format!("a lease of {lease_ms} ms; choose 1 ms to {VISIBILITY_MS_MAX} ms (12 h)"),
            )),
            _ => Ok(()),
        }
    }
}

fn check_owner(owner: &str) -> Result<(), Error> {
    if owner.len() <= OWNER_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "an owner's name of {} bytes; at most {OWNER_BYTES_MAX} are allowed",
        owner.len()
    )))
}

/// A unit that was taken out of the index: of which line, and which one.
type Pick = (usize, Reserved);

/// Gives leases on reserved units.
struct Grant<'a, K: Kind> {
    core: &'a Arc<Core>,
    lines: &'a [Line],
    wanted: &'a Wanted<'a>,
    reserved: Vec<Pick>,
    /// How many of `reserved`, from the front, the last build looked at.
    looked_at: usize,
    kind: PhantomData<K>,
}

impl<'a, K: Kind> Grant<'a, K> {
    /// Reserves what is ready, the lines in their order; `None` when nothing is.
    fn reserve(core: &'a Arc<Core>, lines: &'a [Line], wanted: &'a Wanted<'a>) -> Option<Self> {
        if core.closing.load(Ordering::Acquire) {
            return None;
        }
        let max = wanted.max.min(RECEIVE_MESSAGES_MAX);
        let now_ms = core.database.log_time_ms();
        let (mut reserved, mut of_line) = (Vec::new(), Vec::new());
        for (at, line) in lines.iter().enumerate() {
            let left = max.saturating_sub(reserved.len());
            if left > 0 {
                core.index.reserve(line.id(), left, now_ms, &mut of_line);
                reserved.extend(of_line.drain(..).map(|one| (at, one)));
            }
        }
        if reserved.is_empty() {
            return None;
        }
        Some(Self { core, lines, wanted, reserved, looked_at: 0, kind: PhantomData })
    }

    fn line(&self, at: usize) -> &'a Line {
        self.lines.get(at).expect("a reservation is of one of the lines")
    }

    fn give_back(&self, picks: &[Pick]) {
        for (at, line) in self.lines.iter().enumerate() {
            let own = picks.iter().filter(|(of, _)| *of == at).map(|(_, one)| one.number);
            self.core.index.unreserve(line.id(), own);
        }
    }

    /// After the grant was ordered: those that got a lease are the transaction's now; what was not
    /// looked at is ready for others at once.
    fn keep_rest(&mut self, ticket: &Ticket<Vec<K::Delivery>>) {
        let rest = self.reserved.split_off(self.looked_at);
        self.give_back(&rest);
        let granted = ticket.peek().map_or(&[][..], Vec::as_slice);
        let mut granted = granted.iter().map(|one| one.named().subject.number).peekable();
        // Deliveries are in the order of the reservation, with some left out.
        self.reserved.retain(|(_, one)| granted.next_if_eq(&one.number).is_none());
    }

    /// One unit: its lease, unless it was finished or taken up again meanwhile.
    fn one(
        &self,
        txn: &mut Transaction,
        (at, reserved): Pick,
        now_ms: u64,
    ) -> Result<Option<K::Delivery>, Stop> {
        let (keyspaces, line) = (&self.core.keyspaces, self.line(at));
        let id = Subject { line: line.id(), number: reserved.number };
        let key = key::encode(id);
        let Some(row) = txn.get(K::keyspace(keyspaces), &key)? else { return Ok(None) };
        if K::is_done(self.core, txn, &key)? {
            return Ok(None);
        }
        let mut attempts = None;
        if reserved.attempted {
            if txn.get(keyspaces.leases, &key)?.is_some() {
                return Ok(None);
            }
            attempts = match settle::load_attempts(self.core, txn, id) {
                Err(Stop::Refused(error)) => return Ok(self.set_aside(line, id, &error)),
                attempts => attempts?,
            };
        }
        let lease_ms = self.wanted.lease_ms.unwrap_or(line.lease_ms());
        let lease = {
            let Wanted { owner, holder, .. } = *self.wanted;
            state::grant(attempts.as_ref(), now_ms, lease_ms, owner, holder)
        };
        let delivery = match K::deliver(line, id, &lease, lease_ms, &row) {
            Ok(delivery) => delivery,
            Err(malformed) => return Ok(self.set_aside(line, id, &malformed)),
        };
        let expiry = LeaseExpiry { deadline_ms: lease.deadline_ms, subject: id };
        txn.put(keyspaces.leases, &key, &lease.encode());
        txn.put(keyspaces.lease_expiry, &lease_expiry::encode(expiry), &[]);
        Ok(Some(delivery))
    }

    /// Damaged work is not served; it waits for a person, the rest does not wait for it.
    fn set_aside(
        &self,
        line: &Line,
        id: Subject,
        why: &dyn std::fmt::Display,
    ) -> Option<K::Delivery> {
        tracing::error!(line = %line.name(), subject = %id, %why, "set aside");
        self.core.index.set_aside(id, self.core.database.log_time_ms());
        None
    }
}

impl<K: Kind> Command for Grant<'_, K> {
    type Value = Vec<K::Delivery>;
    const FREES_WORK: bool = true;

    fn build(&mut self, _: &Core, txn: &mut Transaction) -> Result<Answer<Self::Value>, Stop> {
        let now_ms = self.core.database.log_time_ms();
        let mut deliveries = Vec::with_capacity(self.reserved.len());
        let mut bytes = 0;
        self.looked_at = 0;
        for &pick in &self.reserved {
            if bytes >= RECEIVE_BYTES_MAX {
                break;
            }
            self.looked_at += 1;
            if let Some(delivery) = self.one(txn, pick, now_ms)? {
                bytes += delivery.bytes();
                deliveries.push(delivery);
            }
        }
        Ok(Answer::new(deliveries))
    }

    fn ordered(deliveries: &mut Self::Value, version: u64) {
        for delivery in deliveries {
            delivery.token().grant = version;
        }
    }
}

impl<K: Kind> Drop for Grant<'_, K> {
    fn drop(&mut self) {
        let rest = std::mem::take(&mut self.reserved);
        self.give_back(&rest);
    }
}

/// Gives leases back when their receiver goes away before it has its answer.
struct Handover<'a> {
    core: &'a Core,
    tokens: Vec<Token>,
}

impl Drop for Handover<'_> {
    fn drop(&mut self) {
        if self.tokens.is_empty() {
            return;
        }
        let mut abandoned = self.core.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        abandoned.extend(self.tokens.drain(..));
        drop(abandoned);
        self.core.alarm.ring(0);
    }
}

/// Leases what is ready on the lines that `lines` finds; nothing ready is an empty answer.
pub(crate) fn grant<K: Kind>(
    core: &Arc<Core>,
    wanted: &Wanted<'_>,
    lines: impl Fn() -> Result<Vec<Line>, Error>,
) -> Result<Acknowledged<Vec<K::Delivery>>, Error> {
    core.settle()?;
    wanted.check()?;
    let lines = lines()?;
    for _ in 0..TRIES {
        let Some(mut grant) = Grant::<K>::reserve(core, &lines, wanted) else { break };
        let ticket = core.submit(&mut grant)?;
        grant.keep_rest(&ticket);
        let answer = ticket.wait()?;
        if !answer.value.is_empty() {
            return Ok(answer);
        }
    }
    Ok(nothing(core))
}

/// The same; where nothing is ready, waits until something is or `deadline` resolves.
pub(crate) async fn grant_wait<K: Kind>(
    core: &Arc<Core>,
    wanted: &Wanted<'_>,
    lines: impl Fn() -> Result<Vec<Line>, Error>,
    deadline: impl Future<Output = ()>,
) -> Result<Acknowledged<Vec<K::Delivery>>, Error> {
    // What was sent before must not be missed by a receiver that does not wait.
    core.settled().await?;
    wanted.check()?;
    let mut deadline = pin!(deadline);
    let mut listeners: Vec<Listener> = Vec::new();
    loop {
        let found = lines()?;
        for _ in 0..TRIES {
            let Some(mut grant) = Grant::<K>::reserve(core, &found, wanted) else { break };
            let ticket = core.submit_async(&mut grant).await?;
            grant.keep_rest(&ticket);
            let mut tokens = Vec::new();
            tokens.extend(ticket.peek().into_iter().flatten().map(Delivered::named));
            let mut handover = Handover { core, tokens };
            let answer = ticket.await?;
            handover.tokens.clear();
            if !answer.value.is_empty() {
                return Ok(answer);
            }
        }
        if core.closing.load(Ordering::Acquire) {
            return Ok(nothing(core));
        }
        // Listen first, look again, and only then wait: nothing that comes in between is missed.
        if listeners.is_empty() {
            for line in &found {
                listeners.push(core.index.listen(line.id())?);
            }
            if K::MAY_BEGIN {
                listeners.push(core.index.listen(ANY_LINE)?);
            }
            continue;
        }
        let woken = std::future::poll_fn(|context| {
            for listener in &mut listeners {
                if Pin::new(listener).poll(context).is_ready() {
                    return Poll::Ready(true);
                }
            }
            deadline.as_mut().poll(context).map(|()| false)
        });
        if !woken.await {
            return Ok(nothing(core));
        }
        listeners.clear();
    }
}

/// Nothing was ready.
fn nothing<T>(core: &Core) -> Acknowledged<Vec<T>> {
    let version = core.database.current_version();
    Acknowledged { value: vec![], version, durability: Durability::Memory }
}

/// Refuses a call with too many items.
pub(crate) fn check_count(what: &str, found: usize, limit: usize) -> Result<(), Error> {
    if found > limit {
        let message = format!("{found} {what} in one call; at most {limit} are allowed");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(())
}
