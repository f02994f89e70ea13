//! Random histories: few keys, so that they meet; sometimes many, so that structures split.
//!
//! Invariant: a history is a function of its seed.

use rekindle_env::{Random, SeededRandom};

use super::{Change, Step};

/// A history; every fourth begins with enough rows to split and join whatever holds them.
pub(super) fn history(seed: u64) -> Vec<Step> {
    let random = SeededRandom::new(seed);
    let mut steps = vec![];
    if seed.is_multiple_of(4) {
        let changes = (0..3_000_u32).map(|number| {
            let key = (number.wrapping_mul(2_654_435_761) >> 12).to_be_bytes();
            Change::Put(1, key.to_vec(), vec![0; 3])
        });
        steps.push(Step::Apply { changes: changes.collect(), same_record: false });
    }
    for _ in 0..120 {
        steps.push(step(&random));
    }
    steps
}

fn below(random: &SeededRandom, limit: u64) -> u64 {
    random.next_u64() % limit
}

fn step(random: &SeededRandom) -> Step {
    match below(random, 20) {
        0 => Step::Repeat { back: below(random, 5), changes: changes(random) },
        1 => Step::Advance { skipped: below(random, 2) },
        2 | 3 => Step::Pin { back: below(random, 12) },
        4 | 5 => Step::Unpin { nth: index(random, 8) },
        6 => Step::Floor { back: below(random, 10) },
        7 => Step::Compare { back: below(random, 14), page: index(random, 9) },
        _ => Step::Apply { changes: changes(random), same_record: below(random, 3) == 0 },
    }
}

fn changes(random: &SeededRandom) -> Vec<Change> {
    (0..below(random, 6)).map(|_| change(random)).collect()
}

fn change(random: &SeededRandom) -> Change {
    let keyspace = if below(random, 8) == 0 { 700 } else { 1 };
    match below(random, 12) {
        0 => Change::DeleteRange(keyspace, key(random), key(random)),
        1 if below(random, 6) == 0 => Change::DeleteRange(keyspace, key(random), vec![]),
        1..=3 => Change::Delete(keyspace, key(random)),
        _ => Change::Put(keyspace, key(random), vec![0x5A; index(random, 40)]),
    }
}

/// One of a few keys, the empty one and long ones among them.
fn key(random: &SeededRandom) -> Vec<u8> {
    let number = below(random, 14);
    let letter = b'a' + u8::try_from(number % 14).unwrap_or(0);
    match number {
        0 => vec![],
        1..=3 => vec![letter; 30],
        _ => vec![letter; 2],
    }
}

fn index(random: &SeededRandom, limit: u64) -> usize {
    usize::try_from(below(random, limit)).unwrap_or(0)
}
