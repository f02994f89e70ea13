//! What is not kept any longer: results that are trimmed, and producers that are forgotten.
//!
//! A forgotten producer has no row that could tell a late retry from a first request. The *era*
//! does: one row with the newest time in the id of a forgotten producer. A producer that is not
//! remembered and whose id was made in the era may have been forgotten. The era is in the time of
//! those who make ids, never in log time, which may be ahead of theirs. Invariant: what forgets a
//! producer raises the era in the same transaction. Only ids that carry their time take part
//! (UUIDv7); of others, a retry after they were forgotten is a first request.

use std::ops::Bound;

use rekindle_database::{KeyspaceId, Transaction};

use crate::bytes::Malformed;
use crate::error::Error;
use crate::exec::Stop;
use crate::identity::made_ms;
use crate::keys::producer::{self as key, ProducerKey};
use crate::keys::user::behind;
use crate::producers::chunk::{Chunk, Floor, encode_era, parse_era};
use crate::producers::table::{Held, Trim};

/// Rows that are forgotten in one transaction.
const FORGET: usize = 1_000;

/// What the retry of a producer that may have been forgotten is told.
pub(crate) const FORGOTTEN: &str = "this producer id is older than what is remembered of silent \
     producers; whether the request was done before cannot be told, and it was not done now. Make \
     a new producer id for new requests; if this one is new, the clock that made it is days behind";

/// Whether this producer, of which there is neither this chunk nor a floor, may have been
/// forgotten.
pub(crate) fn may_be_forgotten(
    txn: &mut Transaction,
    keyspace: KeyspaceId,
    producer: &[u8; 16],
) -> Result<bool, Stop> {
    let Some(made_ms) = made_ms(producer) else { return Ok(false) };
    let era_ms = era(txn, keyspace)?;
    if era_ms == 0 || made_ms > era_ms {
        return Ok(false);
    }
    // In its range and not in the table: what another transaction just forgot is still in there.
    let first = key::floor(producer);
    let behind = behind(&first);
    let range = (Bound::Included(first.as_slice()), Bound::Excluded(behind.as_slice()));
    Ok(txn.scan(keyspace, range, 1, false)?.is_empty())
}

/// Trims chunks of a producer, oldest first; ends at one that was written again in the meantime.
pub(crate) fn trim(txn: &mut Transaction, keyspace: KeyspaceId, trim: &Trim) -> Result<(), Stop> {
    let first = key::floor(&trim.producer);
    let mut floor = match txn.get(keyspace, &first)? {
        Some(row) => Floor::parse(&row.bytes).map_err(damaged)?,
        None => Floor::default(),
    };
    let before = floor;
    for held in &trim.chunks {
        let key = key::chunk(&trim.producer, held.chunk);
        // What is there now must be what the table, which follows a little later, wants trimmed.
        if let Some(row) = txn.get(keyspace, &key)? {
            let bytes = key.len() + row.bytes.len();
            if Held::of(held.chunk, &row.bytes, bytes) != Some(*held) {
                break;
            }
        }
        txn.delete(keyspace, &key);
        floor = floor.above(held.chunk, held.newest_ms);
    }
    if floor != before {
        txn.put(keyspace, &first, &floor.encode());
    }
    Ok(())
}

/// Forgets a producer that is silent since then, oldest results first; not if it spoke in the
/// meantime. A part at a time: its floor rises until nothing is left.
pub(crate) fn forget(
    txn: &mut Transaction,
    keyspace: KeyspaceId,
    producer: &[u8; 16],
    silent_since_ms: u64,
    now_ms: u64,
) -> Result<(), Stop> {
    let first = key::floor(producer);
    let behind = behind(&first);
    let range = (Bound::Included(first.as_slice()), Bound::Excluded(behind.as_slice()));
    let rows = txn.scan(keyspace, range, FORGET, false)?;
    let newest_ms = |row: &rekindle_database::Row| match key::parse(&row.key) {
        Ok(ProducerKey::Chunk(..)) => Some(Chunk::parse(&row.value, row.version).ok()?.newest_ms()),
        Ok(ProducerKey::Floor(_)) => Some(Floor::parse(&row.value).ok()?.newest_ms),
        Ok(ProducerKey::Era) | Err(_) => None,
    };
    let known: Option<Vec<u64>> = rows.iter().map(newest_ms).collect();
    // A row that cannot be read may hold a result: it stays, and with it the producer.
    let Some(newest_ms) = known.map(|times| times.into_iter().max().unwrap_or(0)) else {
        return Err(Stop::Refused(Error::corrupt("a row of a producer that would be forgotten")));
    };
    if newest_ms > silent_since_ms {
        return Ok(());
    }
    for row in rows.iter().filter(|row| row.key.len() > first.len()) {
        txn.delete(keyspace, &row.key);
    }
    match rows.last().map(|row| key::parse(&row.key)) {
        Some(Ok(ProducerKey::Chunk(_, chunk))) if rows.len() == FORGET => {
            let floor = Floor { first_kept: 0, newest_ms }.above(chunk, newest_ms);
            txn.put(keyspace, &first, &floor.encode());
        }
        // Deleted even where there is none: the table in memory follows this event.
        _ => {
            txn.delete(keyspace, &first);
            if !rows.is_empty() {
                raise_era(txn, keyspace, producer, now_ms)?;
            }
        }
    }
    Ok(())
}

/// Lets the era hold this producer, which is being forgotten.
fn raise_era(
    txn: &mut Transaction,
    keyspace: KeyspaceId,
    producer: &[u8; 16],
    now_ms: u64,
) -> Result<(), Stop> {
    // An id from a clock that is ahead of ours would put everybody else into the era.
    let Some(made_ms) = made_ms(producer).filter(|&made_ms| made_ms <= now_ms) else {
        return Ok(());
    };
    if made_ms > era(txn, keyspace)? {
        txn.put(keyspace, &key::era(), &encode_era(made_ms));
    }
    Ok(())
}

/// The newest time in the id of a forgotten producer; 0: none was forgotten.
fn era(txn: &mut Transaction, keyspace: KeyspaceId) -> Result<u64, Stop> {
    let row = txn.get(keyspace, &key::era())?;
    row.map_or(Ok(0), |row| parse_era(&row.bytes).map_err(damaged))
}

fn damaged(malformed: Malformed) -> Stop {
    Stop::Refused(Error::corrupt(malformed.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use rekindle_database::{Database, Env, Options};
    use rekindle_env::{ManualClock, SeededRandom, SimulatedDisk};

    use super::*;
    use crate::error::Kind;
    use crate::identity::Identity;
    use crate::limits::PRODUCER_RESULTS_MIN;
    use crate::producers::Session;
    use crate::producers::table::{ProducerTable, TableObserver};

    /// A database whose results have a bound that a test can meet.
    struct Bench {
        database: Database,
        keyspace: KeyspaceId,
        table: Arc<ProducerTable>,
    }

    impl Bench {
        fn new(bytes_max: u64) -> Self {
            let env = Env {
                disk: Arc::new(SimulatedDisk::new(1)),
                clock: Arc::new(ManualClock::new(1)),
                random: Arc::new(SeededRandom::new(1)),
            };
            let options = Options { background: false, ..Options::default() };
            let database = Database::open_with("store", options, env).unwrap();
            let keyspace = database.keyspace("producers").unwrap();
            let table = Arc::new(ProducerTable::new(bytes_max));
            database.observe(Arc::new(TableObserver { table: Arc::downgrade(&table), keyspace }));
            Self { database, keyspace, table }
        }

        /// Asks for something; true: it ran.
        fn ask(&self, producer: u8, sequence: u64, now_ms: u64) -> Result<bool, Kind> {
            let identity = Identity { producer: [producer; 16], sequence };
            let mut txn = self.database.begin();
            let mut session = Session::new(self.keyspace, &self.table, now_ms);
            let known = match session.find(&mut txn, identity, 7) {
                Ok(known) => known,
                Err(Stop::Refused(error)) => return Err(error.kind()),
                Err(Stop::Failed(error)) => panic!("{error}"),
            };
            if known.is_none() {
                session.record(identity, 7, &[1]);
                session.write(&mut txn).unwrap();
            }
            txn.commit().unwrap();
            Ok(known.is_none())
        }

        fn trim(&self, now_ms: u64) -> usize {
            let due = self.table.due(now_ms, 64);
            for one in &due {
                let mut txn = self.database.begin();
                trim(&mut txn, self.keyspace, one).unwrap();
                txn.commit().unwrap();
            }
            due.len()
        }
    }

    /// Above the bytes the oldest results go, whoever's they are, and are then unknown.
    #[test]
    fn results_have_a_bound_in_bytes_and_what_is_trimmed_never_runs() {
        let bench = Bench::new(7_500);
        for sequence in 0..320 {
            assert_eq!(bench.ask(1, sequence, sequence), Ok(true));
        }
        for sequence in 0..320 {
            assert_eq!(bench.ask(2, sequence, 1_000 + sequence), Ok(true));
        }
        let before = bench.table.figures();
        assert!(before.results < PRODUCER_RESULTS_MIN && before.bytes > 7_500, "{before:?}");
        while bench.trim(2_000) > 0 {}
        let after = bench.table.figures();
        assert!(after.bytes <= 7_500 && after.bytes > 6_750, "{after:?}");
        assert_eq!(bench.ask(1, 0, 2_000), Err(Kind::Unknown));
        assert_eq!(bench.ask(1, 319, 2_000), Ok(false), "the newest are kept");
        assert_eq!(bench.ask(2, 0, 2_000), Ok(false), "also of others");
        assert_eq!(bench.ask(1, 320, 2_000), Ok(true), "and new requests run");
    }

    /// The table is a moment behind: a chunk that has a newer result is not trimmed.
    #[test]
    fn a_chunk_that_was_written_again_stays() {
        let bench = Bench::new(0);
        assert_eq!(bench.ask(1, 0, 5), Ok(true));
        let due = bench.table.due(6, 9);
        assert_eq!(bench.ask(1, 1, 6), Ok(true));
        for one in &due {
            let mut txn = bench.database.begin();
            trim(&mut txn, bench.keyspace, one).unwrap();
            txn.commit().unwrap();
        }
        assert_eq!((bench.ask(1, 0, 7), bench.ask(1, 1, 7)), (Ok(false), Ok(false)));
        assert_eq!(bench.trim(7), 1);
        assert_eq!(bench.ask(1, 1, 7), Err(Kind::Unknown));
    }
}
