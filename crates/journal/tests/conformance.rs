//! Both journals pass the same suite; the lossy one also loses, and goes on.

use std::path::Path;
use std::sync::Arc;

use rekindle_env::{Disk, SimulatedDisk};
use rekindle_journal::conformance::{LossyJournal, Told, Witness, run};
use rekindle_journal::{Apply, Entry, Event, Journal, Outcome, RecordKind};

use crate::support::{DIR, Setup};

#[test]
fn the_local_journal_conforms() {
    run(&|apply: Arc<dyn Apply>| {
        let disk = SimulatedDisk::new(3);
        disk.create_dir(Path::new(DIR)).unwrap();
        let setup = Setup::new(Arc::new(disk));
        Box::new(setup.open_with(apply).unwrap()) as Box<dyn Journal>
    });
}

#[test]
fn the_lossy_journal_conforms() {
    run(&|apply| Box::new(LossyJournal::new(apply)) as Box<dyn Journal>);
}

#[test]
fn what_is_lost_is_unknown_and_its_positions_come_again() {
    let witness = Arc::new(Witness::default());
    let journal = LossyJournal::new(witness.clone());
    let append = |version, byte: u8| {
        let bytes = [byte];
        let kind = RecordKind::Txns;
        journal.append(Entry { kind, version, log_time_ms: 1, bytes: &bytes }).unwrap()
    };
    let kept = append(1, 1);
    assert_eq!(journal.wait(kept), Outcome::Committed);
    let lost = append(2, 2);
    journal.lose();
    assert_eq!(journal.wait(lost), Outcome::Unknown);
    let again = append(2, 3);
    assert_eq!(journal.wait(again), Outcome::Committed);
    assert_eq!(witness.transactions(), vec![(1, 1), (2, 3)]);
    let told = witness.told();
    let events: Vec<&Told> = told.iter().filter(|told| matches!(told, Told::Event(_))).collect();
    assert!(events.contains(&&Told::Event(Event::Lost { term: 1 })));
    assert!(events.contains(&&Told::Event(Event::Leading { term: 2 })));
    let positions = told.iter().filter_map(|told| match told {
        Told::Record(position, ..) => Some(*position),
        Told::Event(_) => None,
    });
    assert_eq!(positions.collect::<Vec<_>>(), vec![1, 2]);
}
