//! Many transactions in flight from one thread: each is ordered at once and durable together with
//! the others of its sync, so a hot key is not limited to one change per sync.
//! `cargo run -p rekindle-database --example pipeline -- DIRECTORY`

use std::collections::VecDeque;

use rekindle_database::{Database, Error, Pending};

/// Transactions that are not yet acknowledged.
const IN_FLIGHT: usize = 64;

fn main() -> Result<(), Error> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| "pipeline-data".to_owned());
    let database = Database::open(&directory)?;
    let counters = database.keyspace("counters")?;
    let mut in_flight: VecDeque<Pending> = VecDeque::new();
    for _ in 0..10_000 {
        let mut transaction = database.begin();
        // It sees what the ones before it wrote, although they are not durable yet.
        let count = transaction.get(counters, b"count")?;
        let count = count.and_then(|value| value.bytes.first_chunk::<8>().copied());
        let count = count.map_or(0, u64::from_be_bytes) + 1;
        transaction.put(counters, b"count", &count.to_be_bytes());
        in_flight.push_back(transaction.submit()?);
        if in_flight.len() == IN_FLIGHT
            && let Some(oldest) = in_flight.pop_front()
        {
            oldest.wait()?;
        }
    }
    for pending in in_flight {
        pending.wait()?;
    }
    let stats = database.stats();
    show(&format!("{} transactions, version {}", stats.commits, stats.visible_version));
    database.close()
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn show(line: &str) {
    println!("{line}");
}
