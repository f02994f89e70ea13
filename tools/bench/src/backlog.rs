//! A backlog that may be larger than memory: how fast it is sent, how soon a killed server serves
//! again, how fast it is received, and what all of that takes of memory and disk.
//!
//! Invariants: the server is a process of its own whose memory is bounded, if it can be; the
//! messages come through the Rust client; what is compared ran right behind the other.

mod body;
mod order;
mod receive;
mod report;
mod run;
mod send;

use std::io::{self, Write};
use std::path::PathBuf;

use rekindle_database::EngineKind;

use crate::args::{self, Format};
use crate::sizes::{Limit, count, size};
use crate::{Failed, machine};

pub(crate) use body::{BYTES_MIN, Name, read, write};
#[cfg(test)]
pub(crate) use report::tests::measured as sample;
pub(crate) use run::{Measured, Plan, run as run_plan};

/// The longest body that a server takes.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// Arguments of `backlog`.
#[derive(Debug, clap::Args)]
pub(crate) struct BacklogArgs {
    /// The engine of the store
    #[arg(long, default_value = "lsm")]
    engine: EngineKind,
    /// How much is sent, all bodies together
    #[arg(long, value_parser = size, default_value = "1GiB")]
    size: u64,
    /// Bytes of each body
    #[arg(long, value_name = "BYTES", value_parser = message, default_value = "1KiB")]
    message: u64,
    /// What the server may have in memory, page cache included; or none
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    memory_limit: Limit,
    /// How many messages are received at the end, at most
    #[arg(long, value_name = "COUNT", value_parser = count, default_value = "500k")]
    receive: u64,
    /// An engine that is measured behind it, without a bound of its memory
    #[arg(long, value_name = "ENGINE")]
    beside: Option<EngineKind>,
    /// How much is sent to that one
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1GiB")]
    beside_size: u64,
    /// A directory on the disk to measure; the stores in it are removed [default: beside this
    /// program]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Bytes of a body.
pub(crate) fn message(text: &str) -> Result<u64, String> {
    let least = BYTES_MIN as u64;
    let found = size(text)?;
    let fits = (least..=MESSAGE_BYTES_MAX).contains(&found);
    fits.then_some(found).ok_or_else(|| format!("from {least} bytes to 1MiB"))
}

/// Measures and prints.
pub(crate) fn run(asked: &BacklogArgs, format: Format) -> Result<(), Failed> {
    let dir = args::directory(asked.data.as_deref())?;
    let plan = Plan {
        engine: asked.engine,
        messages: (asked.size / asked.message).max(2),
        bytes: usize::try_from(asked.message)?,
        receive: asked.receive,
        limit: asked.memory_limit.0,
    };
    let measured = run_plan(plan, &dir)?;
    let beside = match asked.beside {
        None => None,
        Some(engine) => {
            let messages = (asked.beside_size / asked.message).max(2);
            Some(run_plan(Plan { engine, messages, limit: None, ..plan }, &dir)?)
        }
    };
    let text = report::render(&measured, beside.as_ref(), &machine::describe(&dir), format);
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parsed(line: &str) -> Result<BacklogArgs, String> {
        let words = ["rekindle-bench", "backlog"].into_iter().chain(line.split_whitespace());
        let args = crate::args::Args::try_parse_from(words).map_err(|error| error.to_string())?;
        match args.command {
            Some(crate::args::Command::Backlog(backlog)) => Ok(backlog),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn the_defaults_are_a_backlog_of_a_gibibyte_in_two() {
        let args = parsed("").unwrap();
        assert_eq!((args.engine, args.size, args.message), (EngineKind::Lsm, 1 << 30, 1 << 10));
        assert_eq!((args.memory_limit, args.receive), (Limit(Some(2 << 30)), 500_000));
        assert_eq!((args.beside, args.beside_size), (None, 1 << 30));
    }

    #[test]
    fn what_is_asked_for_is_taken() {
        let line = "--engine memory --size 20GiB --message 100 --memory-limit none --receive 1M \
                    --beside lsm --beside-size 2GiB --json";
        let args = parsed(line).unwrap();
        assert_eq!((args.engine, args.size, args.message), (EngineKind::Memory, 20 << 30, 100));
        assert_eq!((args.memory_limit, args.receive), (Limit(None), 1_000_000));
        assert_eq!((args.beside, args.beside_size), (Some(EngineKind::Lsm), 2 << 30));
        for wrong in ["--engine btree", "--size 0", "--message 15", "--message 2MiB", "--size 20G"]
        {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
