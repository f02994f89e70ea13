//! `queue ack`, `nack`, `extend`: one JSON line per token.

use std::time::Duration;

use clap::Args;
use rekindle_client::{Client, Durability, Error};
use serde::Serialize;

use crate::cli::failure::{Failure, code, worse};
use crate::cli::output::Out;
use crate::cli::{Outcome, durations};

#[derive(Args, Debug)]
pub(super) struct AckArgs {
    /// The queue
    name: String,
    /// Tokens of received messages
    #[arg(required = true, value_name = "TOKEN")]
    tokens: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct NackArgs {
    /// The queue
    name: String,
    /// Tokens of received messages
    #[arg(required = true, value_name = "TOKEN")]
    tokens: Vec<String>,
    /// How long the messages stay away (ms, s, m, h)
    #[arg(long, default_value = "0s", value_parser = durations::parse, value_name = "DURATION")]
    delay: Duration,
    /// Why; kept with the attempt
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

#[derive(Args, Debug)]
pub(super) struct ExtendArgs {
    /// The queue
    name: String,
    /// Tokens of received messages
    #[arg(required = true, value_name = "TOKEN")]
    tokens: Vec<String>,
    /// The new deadline, from now (ms, s, m, h)
    #[arg(long, default_value = "30s", value_parser = durations::parse, value_name = "DURATION")]
    by: Duration,
}

#[derive(Serialize)]
struct DoneLine<'a> {
    token: &'a str,
    durability: &'a str,
}

#[derive(Serialize)]
struct RefusedLine<'a> {
    token: &'a str,
    kind: &'a str,
    error: &'a str,
}

#[derive(Serialize)]
struct UnknownLine<'a> {
    token: &'a str,
    outcome: &'a str,
}

pub(super) async fn ack(client: &Client, args: &AckArgs) -> Outcome {
    print(&args.tokens, client.ack(&args.name, &args.tokens).await)
}

pub(super) async fn nack(client: &Client, args: &NackArgs) -> Outcome {
    let results = client.nack(&args.name, &args.tokens, args.delay, &args.reason).await;
    print(&args.tokens, results)
}

pub(super) async fn extend(client: &Client, args: &ExtendArgs) -> Outcome {
    // Zero would mean the queue's own visibility to the server.
    let by = args.by.max(Duration::from_millis(1));
    print(&args.tokens, client.extend(&args.name, &args.tokens, by).await)
}

fn print(tokens: &[String], results: Vec<Result<Durability, Error>>) -> Outcome {
    // A server that is not there is one sentence, not one per token.
    if let Some(Err(error)) = results.first()
        && error.is_transient()
        && results.iter().all(|result| result.as_ref() == Err(error))
    {
        return Err(Failure::from(error.clone()));
    }
    let (mut out, mut exit_code) = (Out::new(), 0);
    for (token, result) in tokens.iter().zip(results) {
        match result {
            Ok(durability) => out.json(&DoneLine { token, durability: durability.word() })?,
            Err(error) => {
                exit_code = worse(exit_code, code(&error));
                if matches!(error, Error::Unknown(_)) {
                    out.json(&UnknownLine { token, outcome: "unknown" })?;
                } else {
                    let (kind, error) = (error.kind(), error.to_string());
                    out.json(&RefusedLine { token, kind, error: &error })?;
                }
            }
        }
    }
    out.flush()?;
    Ok(exit_code)
}
