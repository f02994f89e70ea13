//! `transact`: several things together, or none of them.

use std::path::PathBuf;

use clap::Args;
use rekindle_recovery::exit;
use serde_json::value::RawValue;

use super::Outcome;
use super::failure::Failure;
use super::http::{self, Admin};
use super::input::read_whole;
use super::output::Out;

/// Complete jobs, ack and send messages, submit jobs, check and change keys, all in one
/// transaction: all of it happens, or none.
///
/// FILE has an object with a list of operations, as POST /v1/transactions takes it. Prints what
/// each of them did. A refused operation refuses the whole (exit code 1); an outcome that cannot be
/// told is 75: run it again with the same --key, which has one effect.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  {\"operations\": [
    {\"ack\": {\"token\": \"t…\"}},
    {\"complete\": {\"token\": \"t…\", \"result\": {\"ok\": true}}},
    {\"check\": {\"key\": \"balance\", \"if_version\": 12}},
    {\"put\": {\"key\": \"balance\", \"value\": \"7\"}},
    {\"send\": {\"queue\": \"orders\", \"message\": {\"body\": \"next\"}}},
    {\"submit\": {\"type\": \"mail\", \"payload\": {\"to\": \"ada\"}}}
  ]}")]
pub(super) struct TransactArgs {
    #[command(flatten)]
    pub(super) admin: Admin,
    /// The operations; - for standard input
    #[arg(value_name = "FILE.json")]
    file: PathBuf,
    /// A word that only this transaction has: running it again has one effect
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

pub(super) fn run(args: &TransactArgs) -> Outcome {
    let bytes = read_whole(Some(&args.file))?;
    let parsed = serde_json::from_slice::<&RawValue>(&bytes);
    let value = parsed.map_err(|error| {
        Failure::new(exit::USAGE, format!("{} is no JSON: {error}", args.file.display()))
    })?;
    let key = args.key.as_deref();
    let done = http::post_once(args.admin.address(), "/v1/transactions", &value, key)?;
    let mut out = Out::new();
    out.json(&done)?;
    out.flush()?;
    Ok(0)
}
