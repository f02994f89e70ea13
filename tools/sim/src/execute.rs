//! Requests, asked of a store through its public interface.
//!
//! Invariant: an `Err` is a broken promise that the client itself can see, such as a transaction
//! that committed although what it had read was changed.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rekindle_database::{Database, KeyspaceId, Manifest, Outcome, Transaction};
use rekindle_services::kv::{Changes, Scope, Write};
use rekindle_services::queues::{
    Delivery, MessageId, Nack, NewMessage, ReceiveRequest, Settled, Token,
};
use rekindle_services::{Acknowledged, Identity};

use crate::hook::Hook;
use crate::jobs::execute::fired_since;
use crate::request::{Answer, Change, Held, How, Outgoing, Refusal, Request, Taken};
use crate::store::{BACKUPS, Store};

/// Who receives.
const OWNER: &str = "client";

/// Asks a store. Starts and stops are not asked of a store but done with it; see the workload.
///
/// # Errors
/// A broken promise.
pub fn execute(store: &Store, request: &Request, hook: Option<&Hook>) -> Result<Answer, String> {
    let queues = store.services.queues().by(OWNER);
    Ok(match request {
        Request::Commit(changes) => done(commit(&store.database, store.raw, changes)),
        Request::Pipeline(all) => Answer::Each(pipeline(store, all)),
        Request::Conflict { key, winner, loser } => conflict(store, key, winner, loser)?,
        Request::Look(key) => look(store, key),
        Request::Kv { checks, changes, identity } => {
            let writes: Vec<Write<'_>> = changes.iter().map(as_write).collect();
            let checks: Vec<_> = checks.iter().map(|(key, expect)| (&**key, *expect)).collect();
            let changes = Changes { checks: &checks, writes: &writes };
            version(store.services.kv().transact(&Scope::default(), &changes, *identity))
        }
        Request::Create(name, settings, identity) => {
            version(queues.create(name, settings, *identity))
        }
        Request::Delete(name, identity) => version(queues.delete(name, *identity)),
        Request::Purge(name, identity) => version(queues.purge(name, *identity)),
        Request::Send(queue, messages, identity) => {
            Answer::Sent(send(store, queue, messages, *identity))
        }
        Request::Receive { queue, max, visibility_ms } => {
            let (max, visibility_ms) = (*max, *visibility_ms);
            let request = ReceiveRequest { queue, max, visibility_ms, owner: OWNER };
            match queues.receive(&request) {
                Ok(answer) => {
                    let held = answer.value.iter().map(held).collect::<Result<_, _>>()?;
                    Answer::Received(answer.version, held)
                }
                Err(error) => Answer::Refused(error.into()),
            }
        }
        Request::Settle(tokens, how, identity) => settle(store, tokens, *how, *identity),
        Request::Job(request) => crate::jobs::execute::execute(store, request)?,
        Request::Tick => tick(store)?,
        Request::Idle => match store.database.tick().and_then(|()| store.database.tick()) {
            Ok(()) => Answer::Done(0),
            Err(error) => Answer::Refused(error.into()),
        },
        Request::Checkpoint(changes) => checkpoint(store, changes, hook),
        Request::Backup(changes) => back_up(store, changes, hook)?,
        Request::Flush => match store.database.flush() {
            Ok(()) => Answer::Done(0),
            Err(error) => Answer::Refused(error.into()),
        },
        Request::Stop(_) | Request::Start => unreachable!("not asked of a store"),
    })
}

fn done(result: Result<u64, Refusal>) -> Answer {
    result.map_or_else(Answer::Refused, Answer::Done)
}

fn version<T>(result: Result<Acknowledged<T>, rekindle_services::Error>) -> Answer {
    done(result.map(|answer| answer.version).map_err(Refusal::from))
}

fn as_write(change: &Change) -> Write<'_> {
    match change {
        Change::Put(key, value) => Write::Put { key, value },
        Change::Delete(key) => Write::Delete { key },
        Change::DeleteRange(start, end) => Write::DeleteRange { start, end },
    }
}

fn write(transaction: &mut Transaction, keyspace: KeyspaceId, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Put(key, value) => transaction.put(keyspace, key, value),
            Change::Delete(key) => transaction.delete(keyspace, key),
            Change::DeleteRange(start, end) => transaction.delete_range(keyspace, start, end),
        }
    }
}

/// Commits a transaction that only writes.
///
/// # Errors
/// What the database answers.
pub fn commit(
    database: &Database,
    keyspace: KeyspaceId,
    changes: &[Change],
) -> Result<u64, Refusal> {
    let mut transaction = database.begin();
    write(&mut transaction, keyspace, changes);
    Ok(transaction.commit()?.version)
}

fn pipeline(store: &Store, all: &[Vec<Change>]) -> Vec<Result<u64, Refusal>> {
    let mut pending = Vec::with_capacity(all.len());
    for changes in all {
        let mut transaction = store.database.begin();
        write(&mut transaction, store.raw, changes);
        pending.push(transaction.submit());
    }
    let wait = |one: Result<rekindle_database::Pending, _>| Ok(one?.wait()?.version);
    pending.into_iter().map(wait).collect()
}

fn conflict(
    store: &Store,
    key: &[u8],
    winner: &[Change],
    loser: &[Change],
) -> Result<Answer, String> {
    let mut second = store.database.begin();
    let read = match second.get(store.raw, key) {
        Ok(found) => found,
        Err(error) => return Ok(Answer::Refused(error.into())),
    };
    let first = commit(&store.database, store.raw, winner);
    let Ok(version) = first else { return Ok(done(first)) };
    if read.is_some_and(|value| value.version >= version) {
        return Err(format!("a read showed version {version} before it was committed"));
    }
    write(&mut second, store.raw, loser);
    match second.commit() {
        Err(rekindle_database::Error::Conflict { .. }) => Ok(Answer::Done(version)),
        Err(error) => Ok(Answer::Refused(error.into())),
        Ok(commit) => Err(format!(
            "version {} committed although version {version} changed what it had read",
            commit.version
        )),
    }
}

fn look(store: &Store, key: &[u8]) -> Answer {
    let mut transaction = store.database.begin();
    if let Err(error) = transaction.get(store.raw, key) {
        return Answer::Refused(error.into());
    }
    match transaction.commit() {
        Ok(_) => Answer::Done(0),
        Err(error) => Answer::Refused(error.into()),
    }
}

fn send(
    store: &Store,
    queue: &str,
    messages: &[Outgoing],
    identity: Option<Identity>,
) -> Vec<Result<(u64, MessageId), Refusal>> {
    let bodies: Vec<Vec<u8>> = messages.iter().map(Outgoing::body).collect();
    let new: Vec<NewMessage<'_>> = messages
        .iter()
        .zip(&bodies)
        .map(|(message, body)| NewMessage {
            body,
            headers: &[],
            fairness_key: &message.key,
            delay_ms: message.delay_ms,
        })
        .collect();
    let queues = store.services.queues();
    let sent = match new.as_slice() {
        [one] => vec![queues.send(queue, one, identity)],
        several => queues.send_all(queue, several, identity),
    };
    let known = |one: Result<Acknowledged<MessageId>, _>| one.map(|ack| (ack.version, ack.value));
    sent.into_iter().map(|one| known(one).map_err(Refusal::from)).collect()
}

fn held(delivery: &Delivery) -> Result<Held, String> {
    let serial = Outgoing::serial_of(delivery.body())
        .ok_or_else(|| format!("message {} has a body that nobody sent", delivery.id))?;
    let key = delivery.fairness_key.clone();
    let sent = Outgoing { serial, key: key.clone(), delay_ms: 0 };
    if sent.body() != delivery.body() {
        return Err(format!("message {serial} came back with other bytes than were sent"));
    }
    let (id, token) = (delivery.id, delivery.token);
    let (attempt, deadline_ms) = (delivery.attempt, delivery.deadline_ms);
    Ok(Held { serial, id, token, attempt, deadline_ms, key })
}

fn settle(store: &Store, tokens: &[Token], how: How, identity: Option<Identity>) -> Answer {
    let queues = store.services.queues();
    let result = match how {
        How::Ack => queues.ack(None, tokens, identity),
        How::Nack { delay_ms, release } => {
            let nack = Nack { delay_ms, reason: "later", release };
            queues.nack(None, tokens, &nack, identity)
        }
        How::Extend { by_ms } => queues.extend(None, tokens, Some(by_ms), identity),
    };
    match result {
        Ok(answer) => {
            let results: Vec<Result<Settled, Refusal>> =
                answer.value.into_iter().map(|one| one.map_err(Refusal::from)).collect();
            Answer::Settled(answer.version, results)
        }
        Err(error) => Answer::Refused(error.into()),
    }
}

fn tick(store: &Store) -> Result<Answer, String> {
    let (before, now) = (store.database.current_version(), store.now());
    if let Err(error) = store.services.tick() {
        return Ok(Answer::Refused(error.into()));
    }
    let fired = fired_since(store, before)?;
    Ok(Answer::Passed(store.database.current_version(), now, fired))
}

/// Does something long with a transaction in the middle of it, before a file is made; where none
/// is, right behind it.
fn interrupted<T>(
    store: &Store,
    changes: &[Change],
    hook: Option<(&Hook, &'static str)>,
    long: impl FnOnce() -> T,
) -> (T, Option<Result<u64, Refusal>>) {
    let between: Arc<Mutex<Option<Result<u64, Refusal>>>> = Arc::default();
    if let Some((hook, part)) = hook {
        let (database, keyspace) = (store.database.clone(), store.raw);
        let (changes, between) = (changes.to_vec(), Arc::clone(&between));
        hook.at_next_file(part, move || {
            let result = commit(&database, keyspace, &changes);
            *between.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        });
    }
    let done = long();
    if let Some((hook, _)) = hook {
        hook.run();
    }
    let between = between.lock().unwrap_or_else(PoisonError::into_inner).take();
    (done, between)
}

fn checkpoint(store: &Store, changes: &[Change], hook: Option<&Hook>) -> Answer {
    let hook = hook.map(|hook| (hook, "/checkpoints/"));
    let (written, between) = interrupted(store, changes, hook, || store.database.checkpoint());
    let refusal = written.err().map(Refusal::from);
    match between.transpose() {
        Err(refused) => Answer::Refused(refused),
        Ok(version) => Answer::Checkpointed(version, refusal),
    }
}

fn back_up(store: &Store, changes: &[Change], hook: Option<&Hook>) -> Result<Answer, String> {
    let before = store.database.stats().latest_version;
    let hook = hook.map(|hook| (hook, BACKUPS));
    let take = || store.database.backup(Path::new(BACKUPS));
    let (taken, between) = interrupted(store, changes, hook, take);
    let taken = taken.map_err(Refusal::from).map(|backup| {
        let Manifest { number, version, position, .. } = backup.manifest;
        Taken { number, version, position, continuous: backup.continuous }
    });
    if let Ok(taken) = &taken
        && taken.version < before
    {
        return Err(format!("version {before} is not in {taken:?}, which was begun behind it"));
    }
    Ok(match between.transpose() {
        Err(refused) => Answer::Refused(refused),
        Ok(version) => Answer::BackedUp(version, taken),
    })
}

/// Checks that an acknowledgement promised what the mode of the store promises.
#[must_use]
pub fn is_synced(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Durable | Outcome::Committed)
}
