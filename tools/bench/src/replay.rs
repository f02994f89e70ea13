//! Recovery of the embedded database: replay of its journal, load of its checkpoint.
//!
//! Invariant: every open runs in a process of its own, so that its memory is its own; the store was
//! left without closing (a crash) where replay is measured, and closed where a checkpoint is.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use rekindle_database::{Database, DurabilityMode, Options};
use rekindle_env::{Env, ReadDisk, RealDisk};
use serde_json::{Value, json};

use crate::Failed;
use crate::args::{Args, ReplayArgs};
use crate::book::{Book, Figure};
use crate::disks::{Place, VALUE, ascending_key, scattered_key};
use crate::{machine, phase, raw};

/// Transactions of the large replays.
const TRANSACTIONS: u64 = 1_000_000;
/// The name that peers are compared by.
pub(crate) const REPLAY: &str = "replay 1 M transactions, ascending keys";

/// Measures everything in this section once.
pub(crate) fn measure(_: &Args, dir: &Path, book: &mut Book) -> Result<(), Failed> {
    bench_recovery_100k_transactions(dir, book)?;
    for ascending in [true, false] {
        let place = Place::new(dir)?;
        fill(&place.store(), TRANSACTIONS, ascending)?;
        let opened = open_in_child(&place.store())?;
        let per_second = TRANSACTIONS as f64 / opened.seconds;
        let (what, text, goal) = match ascending {
            true => (REPLAY, "4.6 M/s", 4.6e6),
            false => ("replay 1 M transactions, scattered keys", "2.3 M/s", 2.3e6),
        };
        // The engine's count errs upwards, so there may be no excess at all.
        let excess = (opened.peak_bytes - opened.state_bytes).max(1.0);
        let figure = replayed(what, per_second, &opened).at_least(text, per_second, goal);
        book.add(figure.at_most("state + 64 MiB", excess, f64::from(64 << 20)));
        if ascending {
            checkpoint(&place, book)?;
        }
    }
    Ok(())
}

/// The benchmark that requirement D13 names.
fn bench_recovery_100k_transactions(dir: &Path, book: &mut Book) -> Result<(), Failed> {
    let place = Place::new(dir)?;
    fill(&place.store(), TRANSACTIONS / 10, true)?;
    let opened = open_in_child(&place.store())?;
    let per_second = TRANSACTIONS as f64 / 10.0 / opened.seconds;
    book.add(replayed("replay 100 k transactions, ascending keys", per_second, &opened));
    Ok(())
}

/// Load of a checkpoint beside reads of the same file.
fn checkpoint(place: &Place, book: &mut Book) -> Result<(), Failed> {
    let began = phase::now_ns();
    let database = Database::open_with(place.store(), never_checkpointing(), Env::real())?;
    let opened = phase::now_ns();
    database.checkpoint()?;
    let written = phase::now_ns();
    database.close()?;
    drop(database);
    let disk = RealDisk::new();
    let Some((file, bytes)) = largest_file(&disk, &place.store().join("shards/0/checkpoints"))?
    else {
        return Err("the checkpoint left no file".into());
    };
    let seconds = Duration::from_nanos(written - opened).as_secs_f64();
    let replay = Duration::from_nanos(opened - began).as_secs_f64();
    book.add(
        Figure::new("write a checkpoint of 1 M keys", "MB/s", bytes as f64 / 1e6 / seconds)
            .with("seconds", seconds)
            .with("replay before, s", replay),
    );
    for cold in [false, true] {
        if cold && !machine::drop_caches() {
            break;
        }
        let read = raw::read_rate(&disk, &file)?;
        if cold {
            machine::drop_caches();
        }
        let opened = open_in_child(&place.store())?;
        let rate = bytes as f64 / opened.seconds;
        let what = if cold { "load it, cold" } else { "load it, warm" };
        let figure = Figure::new(what, "MB/s", rate / 1e6).with("seconds", opened.seconds);
        let figure = figure.with("raw read MB/s", read / 1e6);
        book.add(if cold { figure.at_least("half of the disk", rate, read / 2.0) } else { figure });
    }
    Ok(())
}

fn replayed(what: &str, per_second: f64, opened: &Opened) -> Figure {
    let mib = f64::from(1 << 20);
    Figure::new(what, "txn/s", per_second)
        .with("seconds", opened.seconds)
        .with("state MiB", opened.state_bytes / mib)
        .with("peak MiB", opened.peak_bytes / mib)
}

/// A replay must not shrink while it is measured.
fn never_checkpointing() -> Options {
    let max_recovery = Duration::from_secs(3_600);
    Options { durability: DurabilityMode::Relaxed, max_recovery, ..Options::default() }
}

/// Makes a store of this many transactions and leaves it as a crash does.
pub(crate) fn fill(path: &Path, transactions: u64, ascending: bool) -> Result<(), Failed> {
    let database = Database::open_with(path, never_checkpointing(), Env::real())?;
    let keyspace = database.keyspace("rows")?;
    for number in 0..transactions {
        let mut transaction = database.begin();
        let key = if ascending { ascending_key(number) } else { scattered_key(0, number) };
        transaction.put(keyspace, &key, &VALUE);
        transaction.commit()?;
    }
    database.flush()?;
    Ok(())
}

/// Puts everything into a checkpoint and closes the store.
pub(crate) fn checkpoint_and_close(path: &Path) -> Result<(), Failed> {
    let database = Database::open_with(path, never_checkpointing(), Env::real())?;
    database.checkpoint()?;
    database.close()?;
    Ok(())
}

/// The largest file at or below a directory.
fn largest_file(disk: &dyn ReadDisk, dir: &Path) -> Result<Option<(PathBuf, u64)>, Failed> {
    use rekindle_env::EntryKind;
    let mut largest = None;
    for entry in disk.list(dir)? {
        let path = dir.join(&entry.name);
        let found = match entry.kind {
            EntryKind::File => Some((path, entry.len)),
            EntryKind::Directory => largest_file(disk, &path)?,
            EntryKind::Other => None,
        };
        largest = largest.into_iter().chain(found).max_by_key(|(_, bytes): &(_, u64)| *bytes);
    }
    Ok(largest)
}

/// What an open cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    /// From the call to the answer.
    pub(crate) seconds: f64,
    /// As the engine counts it.
    state_bytes: f64,
    /// The most resident bytes beyond those before the open.
    peak_bytes: f64,
}

/// Opens a store in a process of its own.
pub(crate) fn open_in_child(path: &Path) -> Result<Opened, Failed> {
    let program = std::env::current_exe()?;
    let output = Command::new(program).arg("replay").arg("--data").arg(path).output()?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("the process that opens failed: {error}").into());
    }
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let of = |name: &str| answer.get(name).and_then(Value::as_f64);
    let opened = || {
        let (seconds, state_bytes) = (of("seconds")?, of("state_bytes")?);
        Some(Opened { seconds, state_bytes, peak_bytes: of("peak_bytes")? })
    };
    opened().ok_or_else(|| format!("the process that opens answered {answer}").into())
}

/// The process that opens.
pub(crate) fn child_main(args: &ReplayArgs) -> ExitCode {
    use std::io::{self, Write};
    let before = machine::resident().0;
    let began = phase::now_ns();
    let database = match Database::open_with(&args.data, never_checkpointing(), Env::real()) {
        Ok(database) => database,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            return ExitCode::FAILURE;
        }
    };
    let seconds = Duration::from_nanos(phase::now_ns() - began).as_secs_f64();
    let peak = machine::resident().1.saturating_sub(before);
    let state_bytes = database.stats().state_bytes;
    let answer = json!({"seconds": seconds, "state_bytes": state_bytes, "peak_bytes": peak});
    let _ = writeln!(io::stdout(), "{answer}");
    ExitCode::SUCCESS
}
