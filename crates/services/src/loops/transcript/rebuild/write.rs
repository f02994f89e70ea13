//! Writes what transcripts say into a store, and adds up what a store says.
//!
//! Invariants: an execution of which the store knows as much or more stays as it is; one that would
//! go on by itself waits for a person, as its last events may never have been written; done again,
//! it does nothing.

use std::collections::BTreeMap;
use std::path::Path;

use rekindle_database::{Database, Snapshot, Transaction};
use rekindle_env::{EntryKind, ReadDisk, durable};

use crate::audit::{self, NewAudit};
use crate::error::{Error, Kind};
use crate::exec::Stop;
use crate::keys::{Keyspaces, loops as key};
use crate::loops::event::{Event, Reason, What};
use crate::loops::id::LoopId;
use crate::loops::row::{PlanRow, Progress, Stored, chain, encode_event};
use crate::loops::start::new_id;
use crate::loops::state::Status;
use crate::loops::transcript::read::{Gathered, Parts, gather};
use crate::loops::transcript::rebuild::{Made, PlanOf, Rebuilt, Sum, make, plan, stand_in};
use crate::loops::transcript::{CorruptedRecord, current, parse_name};

/// Bytes of events in one transaction.
const WRITE_BYTES: usize = 1024 * 1024;

/// Rows that are read at one time.
const PAGE: usize = 1_024;

/// Who asks for it, and why.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    who: &'a str,
    why: &'a str,
}

/// A store that nobody has to lead.
#[derive(Clone, Copy, Debug)]
struct Store<'a> {
    database: &'a Database,
    keyspaces: Keyspaces,
}

impl Store<'_> {
    fn commit<T>(&self, write: impl Fn(&mut Transaction) -> Result<T, Stop>) -> Result<T, Error> {
        let mut txn = self.database.begin();
        let value = write(&mut txn).map_err(|stop| match stop {
            Stop::Refused(error) => error,
            Stop::Failed(error) => error.into(),
        })?;
        txn.commit()?;
        Ok(value)
    }
}

/// Makes plans and executions again from the transcripts in a folder, where this store knows less
/// of them: what would go on by itself waits for a person. With an audit record. Nobody needs to
/// lead the store.
///
/// # Errors
/// `NotFound`: there are no transcripts; `Io`; `Invalid`: `who` or `why`.
pub fn rebuild(
    database: &Database,
    disk: &dyn ReadDisk,
    dir: &Path,
    why: &str,
    who: &str,
) -> Result<Rebuilt, Error> {
    let asked = Asked { who, why };
    NewAudit { who, why, ..NewAudit::default() }.check()?;
    let store = Store { database, keyspaces: Keyspaces::open(database)? };
    let store = &store;
    let mut rebuilt = Rebuilt::default();
    let mut sum = Sum::default();
    let mut plans: BTreeMap<LoopId, Vec<Made>> = BTreeMap::new();
    for (id, firsts) in transcripts(disk, dir)? {
        let file = current(dir, id).display().to_string();
        let mut gathered = gather(disk, dir, id, &firsts);
        let made = make(id, &file, &mut gathered);
        rebuilt.corrupted_records.append(&mut gathered.records);
        let Some(made) = made else {
            let reason = "it has no event with which the execution begins: nothing of it is made";
            let (file, reason) = (file, reason.to_owned());
            rebuilt.corrupted_records.push(CorruptedRecord { file, line: 0, reason });
            continue;
        };
        sum.execution(id, &made.stored);
        gathered.events.iter().for_each(|(number, (row, _))| sum.event(id, *number, row));
        match known(store, &made, &gathered)? {
            Known::Enough => rebuilt.kept += 1,
            Known::Other => {
                let reason = "the store has another history of this execution, and keeps it";
                let reason = reason.to_owned();
                rebuilt.corrupted_records.push(CorruptedRecord { file, line: 0, reason });
                rebuilt.kept += 1;
            }
            Known::Less => {
                rebuilt.executions += 1;
                rebuilt.events += made.stored.events;
                rebuilt.set_aside += u64::from(write(store, &made, &gathered)?);
            }
        }
        plans.entry(made.plan.id).or_default().push(made);
    }
    for (id, made) in plans {
        rebuilt.plans += u64::from(write_plan(store, id, &made, &mut sum, &mut rebuilt)?);
    }
    rebuilt.state_hash = sum.text();
    tell(store, asked, &rebuilt)?;
    Ok(rebuilt)
}

/// Whose transcripts a folder has.
fn transcripts(disk: &dyn ReadDisk, dir: &Path) -> Result<Parts, Error> {
    let io = |error| Error::new(Kind::Io, format!("read the folder {}: {error}", dir.display()));
    let entries = durable::list_folder(disk, dir).map_err(io)?;
    let mut all = Parts::new();
    let entries = entries.unwrap_or_default().into_iter();
    for entry in entries.filter(|entry| entry.kind == EntryKind::File) {
        if let Some((id, first)) = parse_name(&entry.name) {
            all.entry(id).or_default().extend(first);
        }
    }
    all.values_mut().for_each(|firsts| firsts.sort_unstable());
    if all.is_empty() {
        let message = format!("there are no transcripts in {}", dir.display());
        return Err(Error::new(Kind::NotFound, message));
    }
    Ok(all)
}

/// What the store knows of an execution, beside its transcript.
enum Known {
    /// As much, or more.
    Enough,
    /// Less, or nothing that can be read.
    Less,
    /// Something else.
    Other,
}

fn known(store: &Store<'_>, made: &Made, gathered: &Gathered) -> Result<Known, Error> {
    let snapshot = store.database.snapshot()?;
    let row = snapshot.get(store.keyspaces.loop_executions, &key::encode(made.id))?;
    let Some(Ok(stored)) = row.map(|row| Stored::parse(&row.bytes)) else { return Ok(Known::Less) };
    let told = |number: u64, gathered: &Gathered| gathered.events.get(&number).map(|it| it.1);
    if stored.events <= made.stored.events {
        return Ok(match told(stored.events, gathered) == Some(stored.chain) {
            true if stored.events == made.stored.events => Known::Enough,
            true => Known::Less,
            false => Known::Other,
        });
    }
    // The store's own events, as far as the transcript goes.
    let mut before = 0;
    for (number, row) in events(store, &snapshot, made.id)?.into_iter() {
        before = chain(before, number, &row);
        if number == made.stored.events {
            break;
        }
    }
    Ok(if before == made.stored.chain { Known::Enough } else { Known::Other })
}

fn events(
    store: &Store<'_>,
    snapshot: &Snapshot,
    id: LoopId,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let (mut after, mut all) = (key::event(id, 0), Vec::new());
    let end = key::event(id, u64::MAX);
    loop {
        use std::ops::Bound::{Excluded, Included};
        let range = (Excluded(&after[..]), Included(&end[..]));
        let rows = snapshot.scan(store.keyspaces.loop_events, range, PAGE, false)?;
        let Some(last) = rows.last() else { return Ok(all) };
        after = last.key.to_vec();
        for row in rows {
            let number =
                key::parse_event(&row.key).map_err(|bad| Error::corrupt(bad.to_string()))?;
            all.push((number.1, row.value.to_vec()));
        }
    }
}

/// Writes an execution; whether it waits for a person from now on.
fn write(store: &Store<'_>, made: &Made, gathered: &Gathered) -> Result<bool, Error> {
    let id = made.id;
    let mut some: Vec<(u64, &[u8])> = Vec::new();
    let mut bytes = 0;
    // The row goes first and comes last: in between there is none that says too much.
    store.commit(|txn| {
        txn.delete(store.keyspaces.loop_executions, &key::encode(id));
        let end = key::event(id, u64::MAX);
        txn.delete_range(
            store.keyspaces.loop_events,
            &key::event(id, made.stored.events + 1),
            &end,
        );
        Ok(())
    })?;
    let write = |some: &[(u64, &[u8])]| {
        store.commit(|txn| {
            for (number, row) in some {
                txn.put(store.keyspaces.loop_events, &key::event(id, *number), row);
            }
            Ok(())
        })
    };
    for (number, (row, _)) in &gathered.events {
        some.push((*number, row));
        bytes += row.len();
        if bytes >= WRITE_BYTES {
            write(&some)?;
            (some, bytes) = (Vec::new(), 0);
        }
    }
    write(&some)?;
    let mut stored = made.stored.clone();
    let asks = set_aside(store, made, &mut stored);
    store.commit(|txn| {
        if let Some(row) = &asks {
            txn.put(store.keyspaces.loop_events, &key::event(id, stored.events), row);
        }
        txn.put(store.keyspaces.loop_executions, &key::encode(id), &stored.encode());
        Ok(())
    })?;
    Ok(asks.is_some())
}

/// One that would go on by itself waits for a person: the event of that.
fn set_aside(store: &Store<'_>, made: &Made, stored: &mut Stored) -> Option<Vec<u8>> {
    let state = &stored.state;
    let status = state.status(stored.updated_ms);
    let goes_on = matches!(status, Status::Pending | Status::Running | Status::Waiting)
        && !state.is_paused()
        && state.review().is_none();
    // What is lost may have been anything.
    if !goes_on && (made.lost == 0 || status.is_finished() || state.review().is_some()) {
        return None;
    }
    let at_ms = store.database.log_time_ms().max(stored.updated_ms);
    let reason = Reason::Rebuilt { lost: made.lost };
    let event = Event { at_ms, what: What::SetAside { reason } };
    stored.state.apply(&event).expect("one that is not over, and asks nothing, can be asked about");
    let row = encode_event(&event);
    stored.events += 1;
    stored.chain = chain(stored.chain, stored.events, &row);
    stored.updated_ms = at_ms;
    Some(row)
}

/// Writes a plan, where it is missing or cannot be read, and how far it is.
fn write_plan(
    store: &Store<'_>,
    id: LoopId,
    made: &[Made],
    sum: &mut Sum,
    rebuilt: &mut Rebuilt,
) -> Result<bool, Error> {
    let Some(PlanOf { row, progress, stand_ins }) = plan(made, || new_id(store.database)) else {
        return Ok(false);
    };
    sum.plan(id, &row, &progress);
    let snapshot = store.database.snapshot()?;
    let key = key::encode(id);
    let has_row = snapshot.get(store.keyspaces.loop_plans, &key)?;
    let has_row = has_row.is_some_and(|row| PlanRow::parse(&row.bytes).is_ok());
    let has_progress = snapshot.get(store.keyspaces.loop_progress, &key)?;
    let has_progress = has_progress.is_some_and(|row| Progress::parse(&row.bytes).is_ok());
    drop(snapshot);
    if has_row && has_progress {
        return Ok(false);
    }
    let of = made.first().ok_or_else(|| Error::corrupt("a plan without executions"))?;
    for (_, index) in &stand_ins {
        let reason = format!("there is no transcript of spec {index} of plan {id}");
        rebuilt.corrupted_records.push(CorruptedRecord { file: String::new(), line: 0, reason });
    }
    for stand_ins in stand_ins.chunks(PAGE) {
        store.commit(|txn| {
            for (execution, index) in stand_ins {
                let (stored, rows) = stand_in(of, *index, store.database.log_time_ms());
                for (number, row) in (1..).zip(rows) {
                    txn.put(store.keyspaces.loop_events, &key::event(*execution, number), &row);
                }
                let key = key::encode(*execution);
                txn.put(store.keyspaces.loop_executions, &key, &stored.encode());
            }
            Ok(())
        })?;
    }
    store.commit(|txn| {
        txn.put(store.keyspaces.loop_plans, &key, &row.encode());
        txn.put(store.keyspaces.loop_progress, &key, &progress.encode());
        Ok(())
    })?;
    Ok(true)
}

/// The audit record of it.
fn tell(store: &Store<'_>, asked: Asked<'_>, rebuilt: &Rebuilt) -> Result<(), Error> {
    let Rebuilt { plans, executions, corrupted_records, .. } = rebuilt;
    let corrupted = corrupted_records.len();
    let result = format!("{plans} plans, {executions} executions, {corrupted} corrupted records");
    let Asked { who, why } = asked;
    let action = "loop.rebuild";
    let entry = NewAudit { who, action, target: "transcripts", why, result: &result };
    store.commit(|txn| audit::add_to(store.database, store.keyspaces.audit, txn, &entry)).map(drop)
}

/// Takes a key and its value.
type Take<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), Error>;

/// The sum of all plans, executions and events of a store, as hexadecimal digits: equal for stores
/// that have the same. Jobs of steps, and when something is looked at again, are left out.
///
/// # Errors
/// `Corrupt`: a row cannot be read.
pub fn state_hash(database: &Database) -> Result<String, Error> {
    let keyspaces = Keyspaces::open(database)?;
    let snapshot = database.snapshot()?;
    let mut sum = Sum::default();
    let bad = |bad: crate::bytes::Malformed| Error::corrupt(bad.to_string());
    let mut failed = None;
    let mut each = |keyspace, take: Take<'_>| {
        let mut after: Option<Vec<u8>> = None;
        while failed.is_none() {
            use std::ops::Bound::{Excluded, Unbounded};
            let start = after.as_deref().map_or(Unbounded, Excluded);
            let rows = match snapshot.scan(keyspace, (start, Unbounded), PAGE, false) {
                Ok(rows) => rows,
                Err(error) => return failed = Some(error.into()),
            };
            let Some(last) = rows.last() else { return };
            after = Some(last.key.to_vec());
            failed = rows.iter().find_map(|row| take(&row.key, &row.value).err());
        }
    };
    each(keyspaces.loop_plans, &mut |key, value| {
        let (id, row) = (key::parse(key).map_err(bad)?, PlanRow::parse(value).map_err(bad)?);
        let progress = snapshot.get(keyspaces.loop_progress, key)?;
        let progress = progress.ok_or_else(|| Error::corrupt("how far a plan is is missing"))?;
        sum.plan(id, &row, &Progress::parse(&progress.bytes).map_err(bad)?);
        Ok(())
    });
    each(keyspaces.loop_executions, &mut |key, value| {
        sum.execution(key::parse(key).map_err(bad)?, &Stored::parse(value).map_err(bad)?);
        Ok(())
    });
    each(keyspaces.loop_events, &mut |key, value| {
        let (id, number) = key::parse_event(key).map_err(bad)?;
        sum.event(id, number, value);
        Ok(())
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(sum.text()),
    }
}
