//! Other stores in the same run, with the same transactions.
//!
//! Invariant: a ratio is ours by theirs, both measured in this run: asking for peers asks for our
//! sections too.

use std::path::Path;

use rekindle_peers::embedded::{self, Peer, Setup, Store};

use crate::Failed;
use crate::args::{Args, Section};
use crate::book::{Book, Figure};
use crate::commits::{SYNCED, TICKETS, UNSYNCED};
use crate::disks::{Place, VALUE, ascending_key, scattered_key};
use crate::growth;
use crate::phase::{self, Phase, Reached, Work};
use crate::replay::REPLAY;

/// One row of a comparison: what ours is called, in which section, and its goal by the best.
type Row = (&'static str, Section, f64);

/// Measures everything in this section once.
pub(crate) fn measure(args: &Args, dir: &Path, book: &mut Book) -> Result<(), Failed> {
    let time = args.duration();
    let mut best = 0.0;
    for ((what, threads), goal) in SYNCED.into_iter().zip([1.0, 1.8, 2.5]) {
        let row = (what, Section::Embedded, goal);
        best = compare(row, book, |peer| {
            let (place, store) = open(peer, dir, Setup::Synced)?;
            let reached = load(&*store, threads, time);
            drop(store);
            drop(place);
            Ok(Some(reached))
        })?;
    }
    // Nobody else has tickets: they stand beside the best of the 64 writers.
    ours_by_the_best((TICKETS, Section::Embedded, 4.0), best, book);
    compare((UNSYNCED, Section::Embedded, 1.0), book, |peer| {
        let (place, store) = open(peer, dir, Setup::Unsynced)?;
        let reached = load(&*store, 1, time);
        drop(store);
        drop(place);
        Ok(Some(reached))
    })?;
    compare((REPLAY, Section::Recovery, 2.0), book, |peer| {
        if peer.replay_transactions == 0 {
            return Ok(None);
        }
        replay(peer, dir, peer.replay_transactions).map(Some)
    })?;
    Ok(())
}

/// All peers in one row, then ours by the best; answers what the best reached.
fn compare(
    (what, section, goal): Row,
    book: &mut Book,
    mut measured: impl FnMut(&Peer) -> Result<Option<Reached>, Failed>,
) -> Result<f64, Failed> {
    let ours = book.value(section, what);
    let mut best: f64 = 0.0;
    for peer in embedded::all() {
        let Some(reached) = measured(&peer)? else { continue };
        best = best.max(reached.per_second);
        let name = format!("{what}: {} {}", peer.name, peer.version);
        let figure = Figure::load(name, "txn/s", &reached);
        book.add(match ours {
            Some(ours) => figure.with("ours by it", ours / reached.per_second),
            None => figure,
        });
    }
    ours_by_the_best((what, section, goal), best, book);
    Ok(best)
}

fn ours_by_the_best((what, section, goal): Row, best: f64, book: &mut Book) {
    let Some(ours) = book.value(section, what) else { return };
    let ratio = ours / best.max(1.0);
    let figure = Figure::new(format!("{what}: ours by the best"), "x", ratio);
    book.add(figure.at_least(format!("{goal} x"), ratio, goal));
}

fn open(peer: &Peer, dir: &Path, setup: Setup) -> Result<(Place, Box<dyn Store>), Failed> {
    let place = Place::new(dir)?;
    let store = peer.open(place.path(), setup);
    let store = store.map_err(|error| format!("{} cannot be opened: {error}", peer.name))?;
    Ok((place, store))
}

fn load(store: &dyn Store, threads: usize, time: std::time::Duration) -> Reached {
    phase::threads(threads, time, |writer, phase| writer_of(store, writer as u64, phase))
}

fn writer_of(store: &dyn Store, writer: u64, phase: &Phase) -> Work {
    let mut work = Work::default();
    let mut number = 0;
    while phase.goes_on() {
        let began = phase::now_ns();
        store.put(&scattered_key(writer, number), &VALUE).expect("a put into a healthy store");
        number += 1;
        work.done_since(phase, began);
    }
    work
}

/// How long other stores take to open a log that grows; those that keep no log of this length are
/// left out.
pub(crate) fn measure_growth(dir: &Path, book: &mut Book) -> Result<(), Failed> {
    for peer in embedded::all() {
        let curve = format!("{} {}", peer.name, peer.version);
        for thousands in growth::THOUSANDS {
            let transactions = thousands * 1_000;
            if transactions > peer.replay_transactions.saturating_mul(2) {
                continue;
            }
            let reached = replay(&peer, dir, transactions)?;
            let seconds = transactions as f64 / reached.per_second;
            book.add(growth::point(thousands, &curve, seconds));
        }
    }
    Ok(())
}

/// Fills the store's log, closes it, opens it again and reads the last key.
fn replay(peer: &Peer, dir: &Path, transactions: u64) -> Result<Reached, Failed> {
    let (place, store) = open(peer, dir, Setup::KeepLog)?;
    for number in 0..transactions {
        store.put(&ascending_key(number), &VALUE)?;
    }
    drop(store);
    let (began, cpu) = (phase::now_ns(), crate::machine::own_cpu_ns());
    let store = peer.open(place.path(), Setup::KeepLog)?;
    let there = store.has(&ascending_key(transactions - 1))?;
    let (ended, cpu_after) = (phase::now_ns(), crate::machine::own_cpu_ns());
    if !there {
        return Err(format!("{} lost its last transaction", peer.name).into());
    }
    let transactions = transactions as f64;
    Ok(Reached {
        per_second: transactions * 1e9 / (ended - began).max(1) as f64,
        cpu_us: (cpu_after - cpu) as f64 / 1e3 / transactions,
        p50_us: 0.0,
        p99_us: 0.0,
    })
}
