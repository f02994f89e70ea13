//! Benchmarks: ours beside the raw disk and, with the feature `peers`, beside other stores.
//!
//! Invariants: what is compared was measured in the same run, one right behind the other; every
//! figure is the median of all runs, every ratio the median of the ratios of single runs; servers
//! and replays run in processes of their own, which are this same program.

mod args;
mod backlog;
mod book;
mod cgroup;
mod child;
mod commits;
mod disks;
mod engines;
mod growth;
mod jobs;
mod machine;
#[cfg(feature = "peers")]
mod peers;
mod phase;
mod raw;
mod replay;
mod restart;
mod server;
mod short_lived;
mod sizes;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command, Section};
use book::Book;

/// Why a benchmark could not go on, in words.
pub(crate) type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.command {
        Some(Command::Serve(serve)) => return server::child_main(serve),
        Some(Command::Replay(replay)) => return replay::child_main(replay),
        Some(Command::Backlog(backlog)) => backlog::run(backlog, args.format()),
        Some(Command::ShortLived(short)) => short_lived::run(short, args.format()),
        Some(Command::Engines(engines)) => engines::run(engines, args.format()),
        None => run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "rekindle-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All runs of all sections, then the tables.
fn run(args: &Args) -> Result<(), Failed> {
    let dir = args.directory()?;
    let mut book = Book::default();
    for number in 1..=args.runs {
        for section in Section::ALL {
            if !args.wants(section) {
                continue;
            }
            let _ = writeln!(io::stderr(), "run {number} of {}: {}", args.runs, section.title());
            book.section(section);
            match section {
                Section::Embedded => commits::measure(args, &dir, &mut book)?,
                Section::Recovery => replay::measure(args, &dir, &mut book)?,
                Section::Server => server::measure(args, &dir, &mut book)?,
                Section::Jobs => jobs::measure(args, &dir, &mut book)?,
                Section::Restart => restart::measure(args, &dir, &mut book)?,
                Section::Growth => growth::measure(args, &dir, &mut book)?,
                Section::Peers => peers_in(args, &dir, &mut book)?,
            }
        }
        book.end_run();
    }
    let mut facts = machine::describe(&dir);
    facts.extend(book.notes().iter().cloned());
    let text = table::render(&book, args, &facts);
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

#[cfg(feature = "peers")]
fn peers_in(args: &Args, dir: &std::path::Path, book: &mut Book) -> Result<(), Failed> {
    peers::measure(args, dir, book)
}

#[cfg(not(feature = "peers"))]
fn peers_in(_: &Args, _: &std::path::Path, _: &mut Book) -> Result<(), Failed> {
    Err("peers are not built in: run with --features peers".into())
}
