//! Jobs from arguments and from lines of JSON.
//!
//! Invariant: a payload is kept byte for byte as it was given; what is no JSON is refused.

use std::time::Duration;

use bytes::Bytes;
use rekindle_client::NewJob;
use rekindle_database::Moment;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::cli::durations;

/// When a job becomes pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// So long from now.
    In(Duration),
    /// At this time, milliseconds since 1970.
    Time(u64),
}

impl At {
    /// Reads `+5m` or RFC 3339.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(duration) = text.strip_prefix('+') {
            return durations::parse(duration).map(Self::In);
        }
        match text.parse() {
            Ok(Moment::Time(ms)) => Ok(Self::Time(ms)),
            _ => Err(format!(
                "{text:?} is no time; write 2026-11-25T22:00:00Z, or +5m for five minutes from now"
            )),
        }
    }

    /// Puts it into a job.
    pub(super) fn set(self, job: &mut NewJob) {
        (job.run_at_ms, job.delay_ms) = match self {
            Self::In(wait) => (0, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            Self::Time(ms) => (ms, 0),
        };
    }
}

/// A line that describes a job instead of being its payload.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described<'a> {
    r#type: Option<String>,
    #[serde(borrow)]
    payload: &'a RawValue,
    priority: Option<i16>,
    at: Option<String>,
    unique: Option<String>,
    max_attempts: Option<u32>,
}

/// Whether an object has the key `payload`, whatever that is.
#[derive(Deserialize)]
struct Probe {
    #[serde(default, deserialize_with = "present")]
    payload: bool,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Refuses what is no JSON.
pub(super) fn check(payload: &[u8]) -> Result<(), String> {
    let json = serde_json::from_slice::<IgnoredAny>(payload);
    json.map(|_| ()).map_err(|error| format!("the payload is no JSON: {error}"))
}

/// The job of a line: what it says, and for everything else what `template` says.
pub(super) fn job(line: &Bytes, template: &NewJob) -> Result<NewJob, String> {
    check(line)?;
    let begins = line.iter().find(|byte| !byte.is_ascii_whitespace());
    let described = begins == Some(&b'{')
        && serde_json::from_slice::<Probe>(line).map_err(|error| error.to_string())?.payload;
    if !described {
        return Ok(NewJob { payload: line.clone(), ..template.clone() });
    }
    let found: Described<'_> =
        serde_json::from_slice(line).map_err(|error| format!("this describes no job: {error}"))?;
    let mut job = NewJob {
        payload: line.slice_ref(found.payload.get().as_bytes()),
        max_attempts: found.max_attempts.or(template.max_attempts),
        ..template.clone()
    };
    if let Some(kind) = found.r#type {
        job.r#type = kind;
    }
    if let Some(priority) = found.priority {
        job.priority = priority.into();
    }
    if let Some(at) = found.at {
        At::parse(&at)?.set(&mut job);
    }
    if let Some(unique) = found.unique {
        job.unique_key = unique;
    }
    Ok(job)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(line: &'static str) -> Result<NewJob, String> {
        let template = NewJob { r#type: "t".into(), priority: 7, ..NewJob::default() };
        job(&Bytes::from_static(line.as_bytes()), &template)
    }

    #[test]
    fn a_line_is_a_payload_or_describes_a_job() {
        for line in ["1", "null", "\"a\"", "[1]", " {\"a\": 1.0}", "{}", "[{\"payload\":1}]"] {
            let job = read(line).unwrap();
            assert_eq!((&job.payload[..], job.priority), (line.as_bytes(), 7), "{line}");
        }
        let job = read(
            r#"{"payload":{"n": 1.00},"type":"u","priority":-3,"at":"+5m","unique":"k",
                "max_attempts":0}"#,
        );
        let job = job.unwrap();
        assert_eq!((job.r#type.as_str(), &job.payload[..]), ("u", &br#"{"n": 1.00}"#[..]));
        assert_eq!((job.priority, job.delay_ms, job.max_attempts), (-3, 300_000, Some(0)));
        assert_eq!(job.unique_key, "k");
        let job = read(r#"{"payload":null}"#).unwrap();
        assert_eq!((&job.payload[..], job.r#type.as_str(), job.priority), (&b"null"[..], "t", 7));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "",
            "{",
            "a",
            "1 2",
            r#"{"payload":1,"payload":2}"#,
            r#"{"payload":1,"prio":2}"#,
            r#"{"payload":1,"priority":40000}"#,
            r#"{"payload":1,"at":"soon"}"#,
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn times_are_points_or_distances() {
        assert_eq!(At::parse("+5m"), Ok(At::In(Duration::from_secs(300))));
        assert_eq!(At::parse("1970-01-01T00:00:01Z"), Ok(At::Time(1_000)));
        for wrong in ["", "5m", "+5", "tomorrow", "17", "version:3"] {
            assert!(At::parse(wrong).is_err(), "{wrong}");
        }
    }
}
