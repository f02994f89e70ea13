//! What a backup costs writers: commits per second of four threads, alone and while backups are
//! taken one after the other into a directory on the same file system (hard links) and on another
//! one (copies).
//!
//! `cargo run --release -p rekindle-database --example backup_cost -- STORE SAME OTHER`
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rekindle_database::{Database, Env, Error, KeyspaceId, Options};

const WRITERS: u64 = 4;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_secs(1);
/// What is in the store before: so much has a checkpoint.
const ROWS: u64 = 200_000;

/// A store with rows to be checkpointed.
fn filled(store: &Path, env: &Env) -> Result<(Database, KeyspaceId), Error> {
    let options = Options { max_state_bytes: Some(8 << 30), ..Options::default() };
    let database = Database::open_with(store, options, env.clone())?;
    let keyspace = database.keyspace("things")?;
    for batch in 0..ROWS / 1_000 {
        database.transact(|transaction| {
            for row in 0..1_000 {
                let key = format!("row{:08}", batch * 1_000 + row);
                transaction.put(keyspace, key.as_bytes(), &[7; 256]);
            }
            Ok(())
        })?;
    }
    Ok((database, keyspace))
}

/// Commits until it is stopped.
fn write(database: &Database, keyspace: KeyspaceId, writer: u64, load: &Load) {
    let mut number = 0_u64;
    while !load.stop.load(Ordering::Relaxed) {
        let key = format!("w{writer}-{:06}", number % 100_000);
        let outcome = database.transact(|transaction| {
            transaction.put(keyspace, key.as_bytes(), &[1; 256]);
            Ok(())
        });
        outcome.expect("the store works");
        load.commits.fetch_add(1, Ordering::Relaxed);
        number += 1;
    }
}

/// The next backup comes a little later, as somebody in a hurry would take it.
fn pause(env: &Env) {
    let until = env.clock.boot_ms() + 250;
    while env.clock.boot_ms() < until {
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// What writers share.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    commits: AtomicU64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut paths = std::env::args().skip(1).map(PathBuf::from);
    let (Some(store), Some(same), Some(other)) = (paths.next(), paths.next(), paths.next()) else {
        return Err("three directories: STORE, SAME file system, OTHER file system".into());
    };
    let env = Env::real();
    let (database, keyspace) = filled(&store, &env)?;
    let load = Arc::new(Load::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (database, load) = (database.clone(), Arc::clone(&load));
            std::thread::spawn(move || write(&database, keyspace, writer, &load))
        })
        .collect();
    let rate = |work: &mut dyn FnMut() -> Result<(), Error>| {
        let (began, before) = (env.clock.boot_ns(), load.commits.load(Ordering::Relaxed));
        while u128::from(env.clock.boot_ns() - began) < ROUND.as_nanos() {
            work()?;
        }
        let took_ms = (env.clock.boot_ns() - began) / 1_000_000;
        let done = load.commits.load(Ordering::Relaxed) - before;
        Ok::<u64, Error>(done * 1_000 / took_ms.max(1))
    };
    let mut alone = || {
        std::thread::park_timeout(Duration::from_millis(10));
        Ok(())
    };
    rate(&mut alone)?;
    println!("commits/s: alone, backups by links, alone, backups by copies");
    let (mut links, mut copies) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut taken = [0_u64; 2];
        let mut backup = |to: &Path, place: usize, number: u64| {
            let outcome = database.backup(&to.join(format!("{round}-{number}")));
            if let (Ok(_), Some(count)) = (&outcome, taken.get_mut(place)) {
                *count += 1;
            }
            pause(&env);
            outcome.map(drop)
        };
        let mut number = 0;
        let before = rate(&mut alone)?;
        let by_links = rate(&mut || {
            number += 1;
            backup(&same, 0, number)
        })?;
        let between = rate(&mut alone)?;
        let by_copies = rate(&mut || {
            number += 1;
            backup(&other, 1, number)
        })?;
        println!("{before} {by_links} {between} {by_copies} ({taken:?} backups)");
        let alone = u64::midpoint(before, between).max(1);
        links.push(by_links * 100 / alone);
        copies.push(by_copies * 100 / alone);
    }
    load.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().map_err(|_| "a writer panicked")?;
    }
    [&mut links, &mut copies].into_iter().for_each(|of| of.sort_unstable());
    println!(
        "median: {:?} % by links, {:?} % by copies",
        links.get(ROUNDS / 2),
        copies.get(ROUNDS / 2)
    );
    database.close()?;
    Ok(())
}
