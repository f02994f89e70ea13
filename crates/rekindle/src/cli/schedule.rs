//! `schedule`: jobs by the clock.

use clap::{Args, Subcommand};
use rekindle_recovery::exit;
use rekindle_recovery::report::utc;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::audit::{ask, list, word};
use super::failure::Failure;
use super::http::{self, Admin};
use super::input::read_whole;
use super::output::{Out, say, table};
use super::{Outcome, page};

#[derive(Args, Debug)]
pub(super) struct ScheduleArgs {
    #[command(flatten)]
    pub(super) admin: Admin,
    #[command(subcommand)]
    command: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// Make a schedule
    Create(CreateArgs),
    /// List schedules
    List {
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = page)]
        limit: u64,
        /// Those behind this name
        #[arg(long, value_name = "NAME")]
        after: Option<String>,
        /// One line of JSON for each
        #[arg(long)]
        json: bool,
    },
    /// Show one schedule
    Show {
        /// Its name
        name: String,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete a schedule; the jobs that it made stay
    Delete {
        /// Its name
        name: String,
    },
}

/// Make a schedule.
///
/// Making it again just as it is is no error; another one of that name is refused.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  rekindle schedule create nightly --type report --cron '0 3 * * *' --zone Europe/Berlin
  rekindle schedule create beat --type ping --cron '*/10 * * * * *' --missed skip
  rekindle schedule create bill --type invoice --cron @monthly --missed all --payload '{\"v\":1}'")]
struct CreateArgs {
    /// Its name
    name: String,
    /// The type of its jobs
    #[arg(long, value_name = "TYPE")]
    r#type: String,
    /// Minute, hour, day of month, month, day of week; or six fields with seconds in front; or
    /// @hourly and its kin
    #[arg(long, value_name = "PATTERN")]
    cron: String,
    /// The time zone, by its IANA name
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: String,
    /// What is done about times that passed while the server was down: one job for all of them
    /// together, one for each, or none
    #[arg(long, value_name = "POLICY", default_value = "one",
          value_parser = ["one", "all", "skip"])]
    missed: String,
    /// What is to be done: JSON, or - for standard input
    #[arg(long, value_name = "JSON|-")]
    payload: Option<String>,
    /// The priority of its jobs
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    priority: i16,
    /// Failed or expired attempts after which one of its jobs has failed
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
}

pub(super) fn run(args: &ScheduleArgs) -> Outcome {
    let admin = &args.admin;
    let mut out = Out::new();
    match &args.command {
        ScheduleCommand::Create(create) => {
            let done = http::post(admin.address(), "/v1/schedules", &body(create)?)?;
            let new = done.get("changed").and_then(Value::as_bool) == Some(true);
            let how = if new { "made" } else { "there already" };
            out.line(&format!("{}: {how}", create.name))?;
        }
        ScheduleCommand::List { limit, after, json } => {
            let after = after.as_deref().unwrap_or("");
            let path = format!("/v1/schedules?limit={limit}&after={}", name_in(after)?);
            let answer = ask(admin, &path)?;
            let schedules = list(&answer, "schedules");
            if *json {
                schedules.iter().try_for_each(|schedule| out.json(schedule))?;
            } else {
                out.line(&text(&schedules))?;
            }
            if answer.get("next").is_some_and(Value::is_string) {
                say("more follow: use --after with the last name");
            }
        }
        ScheduleCommand::Show { name, json } => {
            let schedule = ask(admin, &format!("/v1/schedules/{}", name_in(name)?))?;
            if *json {
                out.json(&schedule)?;
            } else {
                out.line(&text(&[schedule]))?;
            }
        }
        ScheduleCommand::Delete { name } => {
            http::delete(admin.address(), &format!("/v1/schedules/{}", name_in(name)?))?;
            out.line(&format!("{name}: deleted"))?;
        }
    }
    out.flush()?;
    Ok(0)
}

/// The name as a part of a path. Others than the server takes are its to refuse, but not this way.
fn name_in(name: &str) -> Result<&str, Failure> {
    let plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'-');
    if name.bytes().all(plain) && !matches!(name, "." | "..") {
        return Ok(name);
    }
    let message = format!("{name:?} is no name of a schedule; use A-Z a-z 0-9 . _ -");
    Err(Failure::new(exit::REFUSED, message))
}

/// What is sent.
fn body(create: &CreateArgs) -> Result<Value, Failure> {
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(create.name));
    body.insert("type".to_owned(), json!(create.r#type));
    body.insert("cron".to_owned(), json!(create.cron));
    body.insert("zone".to_owned(), json!(create.zone));
    body.insert("missed".to_owned(), json!(create.missed));
    body.insert("priority".to_owned(), json!(create.priority));
    if let Some(max_attempts) = create.max_attempts {
        body.insert("max_attempts".to_owned(), json!(max_attempts));
    }
    if let Some(payload) = &create.payload {
        let bytes = match payload.as_str() {
            "-" => read_whole(None)?,
            text => text.as_bytes().to_vec(),
        };
        let payload = serde_json::from_slice::<&RawValue>(&bytes).and_then(serde_json::to_value);
        let payload = payload.map_err(|error| {
            Failure::new(exit::USAGE, format!("the payload is no JSON: {error}"))
        })?;
        body.insert("payload".to_owned(), payload);
    }
    Ok(Value::Object(body))
}

fn text(schedules: &[Value]) -> String {
    let heading = ["NAME", "TYPE", "CRON", "ZONE", "MISSED", "FIRED", "NEXT"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for schedule in schedules {
        let mut row: Vec<String> = ["name", "type", "cron", "zone", "missed", "fired"]
            .map(|name| word(schedule, name))
            .to_vec();
        let next = schedule.get("next_ms").and_then(Value::as_u64);
        row.push(next.map_or_else(|| "never".to_owned(), utc));
        rows.push(row);
    }
    table(&rows)
}
