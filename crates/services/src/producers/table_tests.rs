//! What the table of producers decides.

use super::*;

const P: [u8; 16] = [7; 16];
const DAY: u64 = PRODUCER_RESULT_MS_MIN;

/// A chunk of so many results, in 100 bytes.
pub(crate) fn held(chunk: u64, newest_ms: u64, count: u8) -> Held {
    Held { chunk, newest_ms, bytes: 100, count }
}

fn table() -> ProducerTable {
    ProducerTable::new(u64::MAX)
}

fn fill(table: &ProducerTable, producer: [u8; 16], chunks: std::ops::Range<u64>) {
    for chunk in chunks {
        table.written(producer, held(chunk, chunk, 4));
        table.written(producer, held(chunk, chunk, 8));
    }
}

fn filled(chunks: u64) -> ProducerTable {
    let table = table();
    fill(&table, P, 0..chunks);
    table
}

fn numbers(chunks: &[Held]) -> Vec<u64> {
    chunks.iter().map(|held| held.chunk).collect()
}

/// What goes, by producer, and is gone afterwards.
fn trim(table: &ProducerTable, now: u64, max: usize) -> Vec<(u8, Vec<u64>)> {
    let due = table.due(now, max);
    for trim in &due {
        for held in &trim.chunks {
            table.removed(&trim.producer, held.chunk);
            table.floored(trim.producer, held.newest_ms);
        }
    }
    due.iter().map(|trim| (trim.producer[0], numbers(&trim.chunks))).collect()
}

#[test]
fn the_last_results_and_those_of_a_day_stay() {
    let least = PRODUCER_RESULTS_MIN / 8;
    let table = filled(least + 3);
    let trimmable = |now, max| numbers(&table.trimmable(&P, now, max));
    let figures = table.figures();
    assert_eq!((figures.producers, figures.results), (1, PRODUCER_RESULTS_MIN + 24));
    assert_eq!(figures.bytes, 100 * (least + 3));
    assert_eq!(trimmable(DAY - 1, 9), [0_u64; 0], "younger than a day");
    assert_eq!(trimmable(DAY + 1, 9), [0, 1]);
    assert_eq!(trimmable(2 * DAY, 2), [0, 1], "not more than asked for");
    assert_eq!(trimmable(2 * DAY, 9), [0, 1, 2], "the last 1,024 stay");
    table.removed(&P, 0);
    assert_eq!(trimmable(2 * DAY, 9), [1, 2]);
}

#[test]
fn above_the_bound_the_busy_keep_less_than_a_day() {
    let table = filled(PRODUCER_RESULTS_MIN / 8 + 3);
    table.lock().results = PRODUCER_RESULTS_MAX + 9;
    assert_eq!(numbers(&table.trimmable(&P, 5, 9)), [0, 1]);
}

/// Also of producers that say nothing any more, a bounded part at a time.
#[test]
fn what_is_older_than_a_day_goes_by_itself() {
    let least = PRODUCER_RESULTS_MIN / 8;
    let table = table();
    fill(&table, [1; 16], 0..least + 2);
    fill(&table, [2; 16], 0..least);
    fill(&table, [3; 16], 0..least + 2);
    assert!(trim(&table, DAY - 1, 9).is_empty());
    assert_eq!(trim(&table, 2 * DAY, 3), [(1, vec![0, 1]), (3, vec![0])]);
    assert_eq!(trim(&table, 2 * DAY, 3), [(3, vec![1])]);
    assert!(trim(&table, 2 * DAY, 3).is_empty(), "the last 1,024 of each stay");
}

/// First what is beyond the last 1,024 of anybody, then the oldest of all, down to none.
#[test]
fn above_the_bytes_the_oldest_go() {
    let least = PRODUCER_RESULTS_MIN / 8;
    let table = ProducerTable::new(100 * 2 * least);
    fill(&table, [1; 16], 0..least);
    fill(&table, [2; 16], 500..500 + least);
    assert!(trim(&table, 1_000, 9).is_empty(), "at the bound");
    fill(&table, [2; 16], 500 + least..500 + least + 2);
    assert_eq!(trim(&table, 1_000, 9), [(2, vec![500, 501])], "not the oldest: beyond 1,024");
    fill(&table, [3; 16], 900..903);
    assert_eq!(trim(&table, 1_000, 9), [(1, vec![0, 1, 2])]);
    assert_eq!(table.figures().bytes, table.figures().bytes_max);
    table.lock().bytes_max = 0;
    while !trim(&table, 1_000, 50).is_empty() {}
    let figures = table.figures();
    assert_eq!((figures.producers, figures.results, figures.bytes), (3, 0, 0));
    assert_eq!(table.silent(1_000, 9), [[0_u8; 16]; 0], "they are remembered all the same");
}

/// A producer with a damaged row does not hold up the others.
#[test]
fn what_is_set_aside_is_not_trimmed() {
    let table = ProducerTable::new(0);
    table.written([1; 16], held(0, 1, 1));
    table.written([2; 16], held(0, 2, 1));
    table.set_aside([1; 16]);
    assert_eq!(trim(&table, 5, 9), [(2, vec![0])]);
    assert!(trim(&table, 5, 9).is_empty());
    table.forgotten(&[1; 16]);
    assert_eq!(table.figures().bytes, 0);
}

#[test]
fn producers_stand_at_their_limit() {
    let table = table();
    let id = |number: usize| (number as u128).to_be_bytes();
    for number in 0..PRODUCERS_MAX - 1 {
        table.written(id(number), held(0, 5, 1));
    }
    assert!(table.has_room_for(&[0xFF; 16]));
    table.written(id(PRODUCERS_MAX), held(0, 5, 1));
    assert!(!table.has_room_for(&[0xFF; 16]));
    assert!(table.has_room_for(&id(7)), "known already");
    assert_eq!(table.silent(5 + DAY, 3).len(), 3, "a day is enough now");
}

#[test]
fn silent_producers_are_found_a_few_at_a_time() {
    let table = table();
    for id in 1..=4 {
        table.written([id; 16], held(0, u64::from(id), 1));
    }
    table.floored([5; 16], 5);
    let now = PRODUCER_IDLE_MS_MAX + 3;
    assert_eq!(table.silent(now, 2), [[1; 16], [2; 16]]);
    assert_eq!(table.silent(now, 2), [[3; 16]], "the others spoke too recently");
    assert_eq!(table.silent(now, 2), [[0_u8; 16]; 0], "the last one, and then from the start");
    assert_eq!(table.silent(now, 2), [[1; 16], [2; 16]]);
}
