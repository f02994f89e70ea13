//! What only a checkpoint in the middle of a streamed transaction, or a hostile journal, can bring.

use rekindle_engine::{Engine, KeyspaceId, Mark, MemoryEngine};
use rekindle_journal::{Record, RecordKind};
use rekindle_recovery::{Finding, Place};

use super::{OPEN_BYTES_MAX, Replay};
use crate::apply::Target;
use crate::codec::{CommitMark, Loss};
use crate::encode::{EntryBuffer, txns_payload};

const KS: KeyspaceId = KeyspaceId(1);

struct Bench {
    engine: MemoryEngine,
    replay: Replay,
    position: u64,
}

impl Bench {
    /// A replay that begins at `position`, on top of a checkpoint.
    fn new(mark: Mark, position: u64) -> Self {
        let engine = MemoryEngine::new();
        engine.advance(mark);
        Self { engine, replay: Replay::new(mark), position }
    }

    fn feed(&mut self, kind: RecordKind, payload: &[u8]) -> Option<Finding> {
        let record = Record { position: self.position, term: 0, kind, payload };
        let mut target = Target { engine: &self.engine, observers: &[], only: None, tracker: None };
        self.position += 1;
        self.replay.record(&record, &Place::default(), &mut target)
    }

    fn get(&self, key: &[u8]) -> Option<u64> {
        self.engine.get(KS, key, u64::MAX).unwrap().map(|found| found.version)
    }
}

fn entry(key: &[u8]) -> Vec<u8> {
    let mut buffer = EntryBuffer::default();
    buffer.put(KS, key, b"value");
    buffer.finish(1).entry().to_vec()
}

fn part(id: u64, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut buffer = EntryBuffer::default();
    buffer.put(KS, key, value);
    let encoded = buffer.finish(0);
    let operations = encoded.entry().get(4 + 8 + 1..).unwrap();
    [&id.to_le_bytes(), operations].concat()
}

fn commit(txn_id: u64, version: u64, parts: u32) -> [u8; 28] {
    CommitMark { txn_id, version, log_time_ms: 9, parts }.encode()
}

/// A checkpoint at version 5 keeps the journal from the oldest open Begin: what it already holds is
/// passed over, what was open goes on.
///
/// proves: D2, D5
/// produces: database-2
#[test]
fn what_the_checkpoint_holds_is_passed_over() {
    let mark = Mark { position: 8, term: 0, version: 5, log_time_ms: 7 };
    let mut bench = Bench::new(mark, 3);
    assert_eq!(bench.feed(RecordKind::Begin, &7_u64.to_le_bytes()), None);
    assert_eq!(bench.feed(RecordKind::Begin, &8_u64.to_le_bytes()), None);
    assert_eq!(bench.feed(RecordKind::Part, &part(7, b"open", b"1")), None);
    assert_eq!(bench.replay.replay_from(), 3);
    let (four, five, six) = (entry(b"four"), entry(b"five"), entry(b"six"));
    assert_eq!(bench.feed(RecordKind::Txns, &txns_payload(3, 1, &[&four])), None);
    assert_eq!(bench.feed(RecordKind::Commit, &commit(8, 4, 0)), None);
    assert_eq!(bench.replay.stats().txns_applied, 0);
    // Half of this record is in the checkpoint.
    assert_eq!(bench.feed(RecordKind::Txns, &txns_payload(5, 9, &[&five, &six])), None);
    assert_eq!((bench.get(b"four"), bench.get(b"five"), bench.get(b"six")), (None, None, Some(6)));
    assert_eq!(bench.feed(RecordKind::Commit, &commit(7, 7, 1)), None);
    assert_eq!(bench.get(b"open"), Some(7));
    let stats = bench.replay.stats();
    assert_eq!((stats.txns_applied, stats.final_version, stats.incomplete_txns), (2, 7, 0));
    assert_eq!(bench.replay.replay_from(), bench.position, "nothing is open any more");
}

/// Replay may begin before the checkpoint, but never behind it.
///
/// proves: D2
/// produces: database-10
#[test]
fn a_journal_that_begins_behind_the_checkpoint_is_refused() {
    let mark = Mark { position: 8, term: 0, version: 5, log_time_ms: 7 };
    let mut bench = Bench::new(mark, 9);
    let refused = bench.feed(RecordKind::Txns, &txns_payload(7, 9, &[&entry(b"a")])).unwrap();
    assert_eq!((refused.label.0, refused.expected.as_str()), ("database-10", "version 6"));
    assert_eq!(bench.get(b"a"), None, "a refused record has changed nothing");
    let record = Record { position: 12, term: 0, kind: RecordKind::Noop, payload: &[] };
    let gap = bench.replay.gap(11, &record, &Place::default()).unwrap();
    assert_eq!((gap.label.0, gap.found.as_str()), ("database-10", "position 12"));
    assert_eq!(bench.replay.gap(12, &record, &Place::default()), None);
    let short = bench.replay.short(11, 12).unwrap();
    assert_eq!((short.label.0, short.expected.as_str()), ("database-10", "position 11"));
    assert_eq!(bench.replay.short(13, 12), None, "all of it was told");
}

/// Memory is bounded by what is open, and that has a limit.
///
/// proves: D10
/// produces: database-13
#[test]
fn open_transactions_have_a_bound() {
    let mut bench = Bench::new(Mark::default(), 1);
    let value = vec![7; 4 << 20];
    assert_eq!(bench.feed(RecordKind::Begin, &1_u64.to_le_bytes()), None);
    assert_eq!(bench.feed(RecordKind::Begin, &2_u64.to_le_bytes()), None);
    let payload = part(1, b"large", &value);
    let fit = OPEN_BYTES_MAX / payload.len() + 1;
    for _ in 0..fit {
        assert_eq!(bench.feed(RecordKind::Part, &payload), None);
    }
    let refused = bench.feed(RecordKind::Part, &payload).unwrap();
    assert_eq!(refused.label.0, "database-13");
    assert!(refused.expected.contains(&OPEN_BYTES_MAX.to_string()), "{refused}");
    let refused = bench.feed(RecordKind::Begin, &3_u64.to_le_bytes()).unwrap();
    assert_eq!(refused.label.0, "database-13");
    // What ends gives its room back.
    assert_eq!(bench.feed(RecordKind::Abort, &1_u64.to_le_bytes()), None);
    assert_eq!(bench.feed(RecordKind::Part, &part(2, b"small", b"1")), None);
    assert_eq!(bench.replay.end(bench.position - 1), None);
    let stats = bench.replay.stats();
    assert_eq!((stats.aborted_txns, stats.incomplete_txns, stats.discarded_txns), (1, 1, 2));
}

fn loss(from: u64, to: u64, next_version: u64) -> Vec<u8> {
    let (from_lsn, end_lsn, audit) = (0, 8, &b"{}"[..]);
    Loss { from_position: from, to_position: to, from_lsn, end_lsn, next_version, audit }.encode()
}

/// A loss takes its positions along, so that a checkpoint behind it begins behind all of them; and
/// the journal must reach as far.
///
/// produces: database-19
#[test]
fn a_loss_stands_for_all_of_its_positions() {
    let mut bench = Bench::new(Mark::default(), 1);
    assert_eq!(bench.feed(RecordKind::Txns, &txns_payload(1, 9, &[&entry(b"a")])), None);
    assert_eq!(bench.feed(RecordKind::Loss, &loss(2, 9, 7)), None);
    let mark = bench.replay.mark();
    assert_eq!((mark.position, mark.version, bench.replay.replay_from()), (9, 6, 10));
    assert_eq!(bench.engine.mark(), mark);
    for last in 2..9 {
        let refused = bench.replay.end(last).unwrap();
        assert_eq!(refused.label.0, "database-19", "{refused}");
    }
    assert_eq!(bench.replay.end(9), None);
    let losses = bench.replay.losses();
    assert_eq!((losses.len(), losses.first().unwrap().next_version), (1, 7));
}

/// Replay begins in front of the checkpoint where a transaction was open there; a loss in between
/// takes nothing away that the checkpoint has.
#[test]
fn a_loss_below_the_checkpoint_is_passed() {
    let mark = Mark { position: 20, version: 12, ..Mark::default() };
    let mut bench = Bench::new(mark, 5);
    assert_eq!(bench.feed(RecordKind::Begin, &1_u64.to_le_bytes()), None);
    assert_eq!(bench.feed(RecordKind::Loss, &loss(6, 8, 4)), None);
    assert_eq!(bench.replay.mark(), mark);
    bench.position = 9;
    assert_eq!(bench.feed(RecordKind::Txns, &txns_payload(4, 9, &[&entry(b"old")])), None);
    assert_eq!((bench.get(b"old"), bench.replay.mark()), (None, mark));
}
