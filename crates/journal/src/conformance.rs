//! What every journal must do, as a suite to run against it, and a journal that loses what it has
//! not resolved: what a change of leadership does to a replicated one.

mod lossy;

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub use self::lossy::LossyJournal;
use crate::api::{AppendError, Apply, Entry, Event, Journal, Outcome, Record, RecordKind, Ticket};
use crate::codec::record::TxnsPrefix;

/// What a journal told its listener, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A record: position, kind, payload.
    Record(u64, RecordKind, Vec<u8>),
    /// An event.
    Event(Event),
}

/// A listener that remembers.
#[derive(Debug, Default)]
pub struct Witness {
    told: Mutex<Vec<Told>>,
}

impl Witness {
    /// Everything so far.
    ///
    /// # Panics
    /// When a listener panicked before.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().expect("a witness does not panic").clone()
    }

    /// The records so far, as transactions `(version, bytes)` where each has one byte.
    #[must_use]
    pub fn transactions(&self) -> Vec<(u64, u8)> {
        let mut out = Vec::new();
        for told in self.told() {
            let Told::Record(_, RecordKind::Txns, payload) = told else { continue };
            if let Some((prefix, bytes)) = TxnsPrefix::decode(&payload) {
                assert_eq!(bytes.len(), prefix.count as usize, "one byte each");
                let versions = prefix.base_version..;
                out.extend(versions.zip(bytes.iter().copied()));
            }
        }
        out
    }

    fn tell(&self, told: Told) {
        self.told.lock().expect("a witness does not panic").push(told);
    }
}

impl Apply for Witness {
    fn apply(&self, record: &Record<'_>) -> Result<(), String> {
        self.tell(Told::Record(record.position, record.kind, record.payload.to_vec()));
        Ok(())
    }

    fn event(&self, event: Event) {
        self.tell(Told::Event(event));
    }
}

/// A new, empty journal that tells this listener.
pub type Make<'a> = dyn Fn(Arc<dyn Apply>) -> Box<dyn Journal> + 'a;

/// Runs the suite.
///
/// # Panics
/// When the journal breaks a rule.
pub fn run(make: &Make<'_>) {
    tickets_resolve_after_apply(make);
    transactions_share_records_and_keep_order(make);
    polling_resolves_too(make);
    room_and_limits(make);
    sync_resolves_everything(make);
    a_closed_journal_refuses(make);
}

fn fresh(make: &Make<'_>) -> (Arc<Witness>, Box<dyn Journal>) {
    let witness = Arc::new(Witness::default());
    let journal = make(witness.clone());
    let leading = |told: &Told| matches!(told, Told::Event(Event::Leading { .. }));
    assert!(witness.told().iter().any(leading), "a journal that takes appends says that it leads");
    (witness, journal)
}

fn append(journal: &dyn Journal, version: u64) -> Ticket {
    let byte = [version.to_le_bytes()[0]];
    let entry = Entry { kind: RecordKind::Txns, version, log_time_ms: version * 10, bytes: &byte };
    journal.append(entry).expect("there is room in a new journal")
}

fn acknowledged(outcome: Outcome) {
    assert!(matches!(outcome, Outcome::Durable | Outcome::Committed), "{outcome:?}");
}

fn tickets_resolve_after_apply(make: &Make<'_>) {
    let (witness, journal) = fresh(make);
    for version in 1..=20 {
        let ticket = append(&*journal, version);
        acknowledged(journal.wait(ticket));
        let last = witness.transactions().last().map(|(version, _)| *version);
        assert_eq!(last, Some(version), "acknowledged implies applied");
        acknowledged(journal.wait(ticket));
    }
    let told = witness.told();
    let positions = told.iter().filter_map(|told| match told {
        Told::Record(position, RecordKind::Txns, _) => Some(*position),
        _ => None,
    });
    let positions: Vec<u64> = positions.collect();
    assert!(positions.windows(2).all(|pair| matches!(pair, [a, b] if a + 1 == *b)), "dense");
    assert_eq!(journal.durable().position, positions.last().copied().unwrap_or(0));
}

fn transactions_share_records_and_keep_order(make: &Make<'_>) {
    let (witness, journal) = fresh(make);
    let part = Entry { kind: RecordKind::Part, version: 0, log_time_ms: 0, bytes: b"part" };
    append(&*journal, 1);
    append(&*journal, 2);
    journal.append(part).expect("there is room");
    let last = append(&*journal, 3);
    acknowledged(journal.wait(last));
    assert_eq!(witness.transactions(), vec![(1, 1), (2, 2), (3, 3)]);
    let told = witness.told();
    let kinds = told.iter().filter_map(|told| match told {
        Told::Record(_, kind, _) => Some(*kind),
        Told::Event(_) => None,
    });
    let kinds: Vec<RecordKind> = kinds.filter(|kind| *kind != RecordKind::Noop).collect();
    assert!(kinds.contains(&RecordKind::Part) && kinds.len() >= 3, "{kinds:?}");
}

fn polling_resolves_too(make: &Make<'_>) {
    let (_, journal) = fresh(make);
    let ticket = append(&*journal, 1);
    let waker = Waker::noop();
    let context = Context::from_waker(waker);
    if let Poll::Ready(outcome) = journal.poll(ticket, context.waker()) {
        acknowledged(outcome);
    }
    let later = append(&*journal, 2);
    acknowledged(journal.wait(later));
    match journal.poll(ticket, waker) {
        Poll::Ready(outcome) => acknowledged(outcome),
        Poll::Pending => panic!("an earlier ticket resolves no later than a later one"),
    }
}

fn room_and_limits(make: &Make<'_>) {
    let (_, journal) = fresh(make);
    let huge = vec![0; 32 << 20];
    let entry = Entry { kind: RecordKind::Part, version: 0, log_time_ms: 0, bytes: &huge };
    assert!(matches!(journal.append(entry), Err(AppendError::TooLarge { .. })));
    let large = vec![0; 300 << 10];
    let entry = Entry { kind: RecordKind::Part, version: 0, log_time_ms: 0, bytes: &large };
    let mut full = 0;
    for _ in 0..40 {
        while journal.append(entry) == Err(AppendError::Full) {
            full += 1;
            assert!(journal.wait_room(large.len(), Duration::from_secs(30)), "room comes back");
        }
    }
    assert!(full > 0, "bytes in flight are bounded");
    assert_eq!(journal.poll_room(1, Waker::noop()), Poll::Ready(()));
}

fn sync_resolves_everything(make: &Make<'_>) {
    let (witness, journal) = fresh(make);
    for version in 1..=5 {
        append(&*journal, version);
    }
    let durable = journal.sync().expect("nothing failed");
    assert_eq!(witness.transactions().len(), 5);
    assert_eq!(durable, journal.durable());
    assert_eq!(journal.sync(), Ok(durable), "a second sync has nothing to do");
    journal.checkpointed([1, 0], durable.position + 1).expect("nothing failed");
}

fn a_closed_journal_refuses(make: &Make<'_>) {
    let (witness, journal) = fresh(make);
    append(&*journal, 1);
    journal.close().expect("nothing failed");
    assert_eq!(witness.transactions(), vec![(1, 1)], "close leaves nothing behind");
    let entry = Entry { kind: RecordKind::Txns, version: 2, log_time_ms: 20, bytes: b"x" };
    assert!(matches!(journal.append(entry), Err(AppendError::Poisoned(_))));
}
