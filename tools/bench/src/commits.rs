//! Commits of the embedded database, beside appends of the same bytes to the raw disk.
//!
//! Invariant: every load has a new store; each put is a transaction of its own and counts once it
//! is acknowledged.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use rekindle_database::DurabilityMode;

use crate::Failed;
use crate::args::Args;
use crate::book::{Book, Figure};
use crate::disks::{LONGER, Store, VALUE, scattered_key};
use crate::phase::{self, Phase, Reached, Work};
use crate::raw;

/// A way to commit.
#[derive(Clone, Copy, Debug)]
struct Load {
    what: &'static str,
    threads: usize,
    /// 1: each thread blocks for each commit; more: it keeps that many tickets.
    tickets: usize,
    mode: DurabilityMode,
    longer: Duration,
}

const fn blocking(what: &'static str, threads: usize) -> Load {
    Load { what, threads, tickets: 1, mode: DurabilityMode::Strict, longer: Duration::ZERO }
}

/// The names that peers are compared by, with their threads.
pub(crate) const SYNCED: [(&str, usize); 3] =
    [("1 writer", 1), ("8 blocking writers", 8), ("64 blocking writers", 64)];
/// The same number in flight, submitted by two threads.
pub(crate) const TICKETS: &str = "64 tickets of 2 threads";
/// The same, not synced.
pub(crate) const UNSYNCED: &str = "not synced, 1 writer";

/// Measures everything in this section once.
pub(crate) fn measure(args: &Args, dir: &Path, book: &mut Book) -> Result<(), Failed> {
    let first = SYNCED.first().map_or("", |(what, _)| *what);
    let raw = if args.wants_load(first) { raw_disk(args, dir, book)? } else { 0.0 };
    for (what, threads) in SYNCED {
        let load = blocking(what, threads);
        run_one(args, load, dir, book, |figure, reached, _| match threads {
            1 => figure.at_least("0.95 of raw", reached.per_second, 0.95 * raw),
            8 => figure.at_least("66,800/s", reached.per_second, 66_800.0),
            _ => figure.at_least("257,000/s", reached.per_second, 257_000.0).at_most(
                "5 us CPU",
                reached.cpu_us,
                5.0,
            ),
        })?;
    }
    let tickets = Load { tickets: 32, ..blocking(TICKETS, 2) };
    run_one(args, tickets, dir, book, |figure, reached, _| {
        figure.at_least("412,000/s", reached.per_second, 412_000.0).at_most(
            "3 us CPU",
            reached.cpu_us,
            3.0,
        )
    })?;
    for load in [
        blocking("sync +1 ms, 64 blocking writers", 64),
        Load { tickets: 32, ..blocking("sync +1 ms, 64 tickets of 2 threads", 2) },
    ] {
        let load = Load { longer: LONGER, ..load };
        run_one(args, load, dir, book, |figure, reached, syncs| {
            let ideal = 64.0 * 1e9 / syncs.mean_ns.max(1.0);
            figure.with("of ideal", reached.per_second / ideal).at_least(
                "0.8 of ideal",
                reached.per_second,
                0.8 * ideal,
            )
        })?;
    }
    let relaxed = Load { mode: DurabilityMode::Relaxed, ..blocking(UNSYNCED, 1) };
    run_one(args, relaxed, dir, book, |figure, reached, _| {
        figure.at_least("1,103,000/s", reached.per_second, 1_103_000.0)
    })
}

/// Measures one load, where it is wanted; `judge` adds what it is compared with.
fn run_one(
    args: &Args,
    load: Load,
    dir: &Path,
    book: &mut Book,
    judge: impl FnOnce(Figure, &Reached, Syncs) -> Figure,
) -> Result<(), Failed> {
    if !args.wants_load(load.what) {
        return Ok(());
    }
    let (reached, syncs) = run(load, dir, args.duration())?;
    book.add(judge(figure(load.what, &reached, syncs), &reached, syncs));
    Ok(())
}

/// The limits of the machine; returns the appends per second of one frame.
fn raw_disk(args: &Args, dir: &Path, book: &mut Book) -> Result<f64, Failed> {
    let time = args.duration();
    let short = time / 4;
    for (what, bytes) in [("checksum of 256 B", 256), ("checksum of 1 MiB", 1 << 20)] {
        book.add(Figure::new(what, "GB/s", raw::checksums(bytes, short) / 1e9));
    }
    let group = raw::appends(dir, raw::GROUP_BYTES, Duration::ZERO, short)?;
    book.add(Figure::load("raw: append 64 KiB + fdatasync", "/s", &group));
    let longer = raw::appends(dir, raw::FRAME_BYTES, LONGER, short)?;
    book.add(Figure::load("raw: the same +1 ms", "/s", &longer));
    let raw = raw::appends(dir, raw::FRAME_BYTES, Duration::ZERO, time)?;
    book.add(Figure::load("raw: append 256 B + fdatasync", "/s", &raw));
    Ok(raw.per_second)
}

/// What the disk did during a load.
#[derive(Clone, Copy, Debug)]
struct Syncs {
    /// Mean time of one.
    mean_ns: f64,
    /// Transactions that one carried.
    carried: f64,
}

fn figure(what: &str, reached: &Reached, syncs: Syncs) -> Figure {
    Figure::load(what, "txn/s", reached)
        .with("txn/sync", syncs.carried)
        .with("sync us", syncs.mean_ns / 1e3)
}

fn run(load: Load, dir: &Path, time: Duration) -> Result<(Reached, Syncs), Failed> {
    let store = Store::new(dir, load.mode, load.longer)?;
    let (count, nanos) = store.disk.syncs();
    let commits = store.database.stats().commits;
    let reached = phase::threads(load.threads, time, |writer, phase| match load.tickets {
        1 => blocking_writer(&store, writer as u64, phase, load.mode == DurabilityMode::Strict),
        tickets => ticket_writer(&store, writer as u64, phase, tickets),
    });
    let (count_after, nanos_after) = store.disk.syncs();
    let count = (count_after - count).max(1) as f64;
    let commits = store.database.stats().commits - commits;
    let mean_ns = (nanos_after - nanos) as f64 / count;
    store.database.close()?;
    Ok((reached, Syncs { mean_ns, carried: commits as f64 / count }))
}

fn blocking_writer(store: &Store, writer: u64, phase: &Phase, timed: bool) -> Work {
    let mut work = Work::default();
    let mut number = 0;
    while phase.goes_on() {
        let began = if timed { phase::now_ns() } else { 0 };
        let mut transaction = store.database.begin();
        transaction.put(store.keyspace, &scattered_key(writer, number), &VALUE);
        transaction.commit().expect("a commit without reads has no conflict");
        number += 1;
        match timed {
            true => work.done_since(phase, began),
            false => work.done(phase, 1),
        }
    }
    work
}

fn ticket_writer(store: &Store, writer: u64, phase: &Phase, tickets: usize) -> Work {
    let mut work = Work::default();
    let mut pending = VecDeque::with_capacity(tickets);
    let mut number = 0;
    while phase.goes_on() {
        let began = phase::now_ns();
        let mut transaction = store.database.begin();
        transaction.put(store.keyspace, &scattered_key(writer, number), &VALUE);
        let ticket = transaction.submit().expect("a commit without reads has no conflict");
        pending.push_back((ticket, began));
        number += 1;
        if pending.len() == tickets {
            let (oldest, began) = pending.pop_front().expect("it has just become full");
            oldest.wait().expect("the disk of a benchmark does not fail");
            work.done_since(phase, began);
        }
    }
    for (ticket, _) in pending {
        ticket.wait().expect("the disk of a benchmark does not fail");
    }
    work
}
