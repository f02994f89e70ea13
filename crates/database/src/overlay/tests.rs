//! The overlay beside a list of everything that was written, over random histories.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::encode::EntryBuffer;

const SPACES: u16 = 2;

#[derive(Clone, Debug)]
enum Write {
    Put(u16, u8, u8),
    Delete(u16, u8),
    DeleteRange(u16, u8, u8),
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Write>),
    /// Forgets this share of what is there.
    Prune(u8),
    Index,
    Order,
}

/// Everything that was written, oldest first.
#[derive(Default)]
struct Model {
    written: Vec<(u64, Write)>,
}

impl Model {
    /// The newest change of a key above the floor, at or below `at`; when a range removed it last,
    /// that one.
    fn get(&self, floor: u64, at: u64, space: u16, key: u8) -> Option<(u64, Option<u8>)> {
        let mut found = None;
        for (version, write) in &self.written {
            if *version <= floor || *version > at {
                continue;
            }
            match *write {
                Write::Put(s, k, v) if (s, k) == (space, key) => found = Some((*version, Some(v))),
                Write::Delete(s, k) if (s, k) == (space, key) => found = Some((*version, None)),
                Write::DeleteRange(s, a, b) if s == space && key >= a && (b == 0 || key < b) => {
                    found = Some((*version, None));
                }
                _ => {}
            }
        }
        found
    }
}

fn key_of(key: u8) -> [u8; 2] {
    [7, key]
}

fn end_of(end: u8) -> Vec<u8> {
    if end == 0 { vec![] } else { key_of(end).to_vec() }
}

fn encode(writes: &[Write], id: u64) -> Encoded {
    let mut buffer = EntryBuffer::default();
    for write in writes {
        match *write {
            Write::Put(space, key, value) => buffer.put(KeyspaceId(space), &key_of(key), &[value]),
            Write::Delete(space, key) => buffer.delete(KeyspaceId(space), &key_of(key)),
            Write::DeleteRange(space, start, end) => {
                buffer.delete_range(KeyspaceId(space), &key_of(start), &end_of(end));
            }
        }
    }
    buffer.finish(id)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0_u8..6;
    let write = prop_oneof![
        6 => (0..SPACES, key(), any::<u8>()).prop_map(|(s, k, v)| Write::Put(s, k, v)),
        2 => (0..SPACES, key()).prop_map(|(s, k)| Write::Delete(s, k)),
        1 => (0..SPACES, key(), key()).prop_filter_map("an empty range", |(s, a, b)| {
            (b == 0 || a < b).then_some(Write::DeleteRange(s, a, b))
        }),
    ];
    let step = prop_oneof![
        8 => proptest::collection::vec(write, 1..6).prop_map(Step::Commit),
        1 => any::<u8>().prop_map(Step::Prune),
        3 => Just(Step::Index),
        1 => Just(Step::Order),
    ];
    proptest::collection::vec(step, 1..120)
}

/// What the overlay says of every key at every version that it has.
fn check(overlay: &mut Overlay, model: &Model) -> Result<(), TestCaseError> {
    let floor = overlay.floor();
    for space in 0..SPACES {
        for key in 0..6 {
            for at in floor..=overlay.latest() {
                let found = overlay.get(KeyspaceId(space), &key_of(key), at);
                let found =
                    found.map(|found| (found.version, found.value.map(|v| *v.first().unwrap())));
                prop_assert_eq!(
                    found,
                    model.get(floor, at, space, key),
                    "{} {} at {}",
                    space,
                    key,
                    at
                );
            }
        }
    }
    Ok(())
}

/// What a scan shows: entries and removed ranges together, both ways.
fn check_scans(overlay: &Overlay, model: &Model) -> Result<(), TestCaseError> {
    let (floor, all) = (overlay.floor(), (Bound::Unbounded, Bound::Unbounded));
    for space in 0..SPACES {
        for at in floor..=overlay.latest() {
            let keyspace = KeyspaceId(space);
            let ranges = overlay.ranges_meeting(keyspace, all, at);
            let shown = |(key, found): (&[u8], Found<'_>)| {
                let hidden = ranges.iter().any(|(version, start, end)| {
                    *version > found.version
                        && key >= start.as_slice()
                        && (end.is_empty() || key < end.as_slice())
                });
                (!hidden).then(|| {
                    (
                        *key.last().unwrap(),
                        (found.version, found.value.map(|v| *v.first().unwrap())),
                    )
                })
            };
            let up: BTreeMap<_, _> =
                overlay.entries_in(keyspace, all, at).filter_map(shown).collect();
            let down: BTreeMap<_, _> =
                overlay.entries_in_reverse(keyspace, all, at).filter_map(shown).collect();
            prop_assert_eq!(&up, &down);
            for key in 0..6 {
                let expected = model.get(floor, at, space, key);
                match up.get(&key) {
                    Some(found) => prop_assert_eq!(Some(*found), expected),
                    None => prop_assert!(expected.is_none_or(|(_, value)| value.is_none())),
                }
            }
        }
    }
    Ok(())
}

proptest! {
    /// Reads of any version, by key and by range, are those of the whole history, whatever was
    /// indexed when, and however much was forgotten.
    #[test]
    fn the_overlay_shows_what_was_written(steps in steps()) {
        let mut overlay = Overlay::new(10, 3);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Commit(writes) => {
                    let version = overlay.latest() + 1;
                    overlay.push(version, Ticket { batch: version }, encode(&writes, version));
                    model.written.extend(writes.into_iter().map(|write| (version, write)));
                }
                Step::Prune(share) => {
                    let there = overlay.latest() - overlay.floor();
                    overlay.prune(overlay.floor() + there * u64::from(share) / 255);
                }
                Step::Index => {
                    overlay.index();
                    check(&mut overlay, &model)?;
                }
                Step::Order => {
                    overlay.order();
                    check_scans(&overlay, &model)?;
                }
            }
        }
        overlay.order();
        check(&mut overlay, &model)?;
        check_scans(&overlay, &model)?;
        let latest = overlay.latest();
        overlay.prune(latest);
        prop_assert!(overlay.heads.is_empty() && overlay.ordered.is_empty());
        prop_assert_eq!(overlay.bytes(), 0);
    }
}

/// A reader of the past of a key that changes all the time finds it without walking through all of
/// the changes.
#[test]
fn a_long_chain_is_left_for_the_ordered_index() {
    let mut overlay = Overlay::new(0, 3);
    for version in 1..=500 {
        let value = u8::try_from(version % 251).unwrap();
        overlay.push(
            version,
            Ticket { batch: version },
            encode(&[Write::Put(1, 1, value)], version),
        );
    }
    overlay.index();
    assert_eq!(overlay.get(KeyspaceId(1), &key_of(1), 499).unwrap().version, 499);
    assert_eq!(overlay.ordered.until(), 0, "a short walk orders nothing");
    let found = overlay.get(KeyspaceId(1), &key_of(1), 7).unwrap();
    assert_eq!((found.version, found.value), (7, Some(&[7][..])));
    assert_eq!(overlay.ordered.until(), 7, "no more is put into order than the reader sees");
}
