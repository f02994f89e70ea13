//! Counts how often it was started, and keeps the last ten starts; run it several times:
//! `cargo run -p rekindle-database --example counter -- DIRECTORY`

use std::ops::Bound;

use rekindle_database::{Database, Error, KeyspaceId, Transaction};

fn main() -> Result<(), Error> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| "counter-data".to_owned());
    let database = Database::open(&directory)?;
    let starts = database.keyspace("starts")?;
    let log_time_ms = database.log_time_ms();

    // Reads and writes of one transaction happen together or not at all, also through a crash; when
    // another one changes what was read, `transact` runs it again.
    let number = database.transact(|transaction| {
        let number = next_number(transaction, starts)?;
        transaction.put(starts, &number.to_be_bytes(), log_time_ms.to_string().as_bytes());
        if let Some(old) = number.checked_sub(10) {
            transaction.delete_range(starts, &[], &(old + 1).to_be_bytes());
        }
        Ok(number)
    })?;

    let snapshot = database.snapshot()?;
    let all = (Bound::Unbounded, Bound::Unbounded);
    let kept = snapshot.scan(starts, all, 100, false)?.len();
    show(&format!("start {number} of {directory}, {kept} kept, {}", database.replay_stats()));
    database.close()
}

fn next_number(transaction: &mut Transaction, starts: KeyspaceId) -> Result<u64, Error> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let last = transaction.scan(starts, all, 1, true)?;
    let last = last.first().and_then(|row| row.key.first_chunk::<8>().copied());
    Ok(last.map_or(0, u64::from_be_bytes) + 1)
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn show(line: &str) {
    println!("{line}");
}
