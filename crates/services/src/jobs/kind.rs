//! A type of jobs as it is stored.
//!
//! ```text
//! format 1, id 8, created_ms 8, lease_ms 8, max_attempts 4, backoff base_ms 8, backoff max_ms 8,
//! concurrency 4, rate count 4, rate per_ms 8, max_waiting 8, keep completed_ms 8, failed_ms 8,
//! cancelled_ms 8
//! ```

use crate::bytes::{Malformed, Reader};
use crate::claims::{Backoff, is_of_jobs};
use crate::error::Error;
use crate::jobs::{JobSettings, Rate};
use crate::keys::queue::is_name;
use crate::limits::{DELAY_MS_MAX, JOB_KEEP_MS_MAX, NAME_BYTES_MAX, VISIBILITY_MS_MAX};
use crate::loops::step::STEPS;

/// The format of the value; persisted.
const FORMAT: u8 = 1;
/// What the names of types begin with whose jobs only the server submits and claims.
const RESERVED: &str = "rekindle.";
/// How long a step of a loop is remembered: everything of it is an event of its execution.
const STEP_KEEP_MS: u64 = 60_000;

/// A type of jobs, as stored. It begins with its first job; its settings can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobType {
    /// Its number, never used again.
    pub(crate) id: u64,
    /// Its name.
    pub(crate) name: String,
    /// Its settings.
    pub(crate) settings: JobSettings,
    /// When it began, log time.
    pub(crate) created_ms: u64,
}

impl JobType {
    /// The stored bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let settings = &self.settings;
        let mut bytes = Vec::with_capacity(93);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&self.created_ms.to_le_bytes());
        bytes.extend_from_slice(&settings.lease_ms.to_le_bytes());
        bytes.extend_from_slice(&settings.max_attempts.to_le_bytes());
        bytes.extend_from_slice(&settings.backoff.base_ms.to_le_bytes());
        bytes.extend_from_slice(&settings.backoff.max_ms.to_le_bytes());
        bytes.extend_from_slice(&settings.concurrency.to_le_bytes());
        bytes.extend_from_slice(&settings.rate.count.to_le_bytes());
        bytes.extend_from_slice(&settings.rate.per_ms.to_le_bytes());
        bytes.extend_from_slice(&settings.max_waiting.to_le_bytes());
        for kept_ms in settings.kept_ms() {
            bytes.extend_from_slice(&kept_ms.to_le_bytes());
        }
        bytes
    }

    /// The type with this name and these stored bytes.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(name, bytes).ok_or_else(|| Malformed::new("a type of jobs", bytes))
    }

    /// Only its number.
    pub(crate) fn parse_id(bytes: &[u8]) -> Option<u64> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        reader.u64().filter(|&id| format == FORMAT && is_of_jobs(id))
    }

    fn read(name: &str, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        let (id, created_ms) = (reader.u64()?, reader.u64()?);
        let (lease_ms, max_attempts) = (reader.u64()?, reader.u32()?);
        let backoff = Backoff { base_ms: reader.u64()?, max_ms: reader.u64()? };
        let concurrency = reader.u32()?;
        let rate = Rate { count: reader.u32()?, per_ms: reader.u64()? };
        let settings = JobSettings {
            lease_ms,
            max_attempts,
            backoff,
            concurrency,
            rate,
            max_waiting: reader.u64()?,
            keep_completed_ms: reader.u64()?,
            keep_failed_ms: reader.u64()?,
            keep_cancelled_ms: reader.u64()?,
        };
        reader.end()?;
        let whole = format == FORMAT && is_of_jobs(id) && check(name, &settings).is_ok();
        whole.then(|| Self { id, name: name.to_owned(), settings, created_ms })
    }

    /// So many jobs of a start's backlog became deliverable.
    pub(crate) fn re_enqueued(&self, count: u64) {
        tracing::debug!(r#type = %self.name, count, "job_re_enqueued");
    }
}

/// The settings that a type begins with.
pub(crate) fn first_settings(name: &str) -> JobSettings {
    let settings = JobSettings::default();
    if name != STEPS {
        return settings;
    }
    let (keep_completed_ms, keep_failed_ms) = (STEP_KEEP_MS, STEP_KEEP_MS);
    JobSettings { keep_completed_ms, keep_failed_ms, keep_cancelled_ms: STEP_KEEP_MS, ..settings }
}

/// Refuses what cannot be the name of a type of jobs.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if is_name(name) && !matches!(name, "." | "..") {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name:?} is no name of a job type; use 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ -"
    )))
}

/// Refuses the same, and the names that the server has for jobs of its own.
pub(crate) fn check_own(name: &str) -> Result<(), Error> {
    check_name(name)?;
    if name.starts_with(RESERVED) {
        return Err(Error::invalid(format!(
            "{name:?}: names of job types that begin with {RESERVED:?} are the server's own"
        )));
    }
    Ok(())
}

/// Refuses a name or settings that cannot be.
pub(crate) fn check(name: &str, settings: &JobSettings) -> Result<(), Error> {
    check_name(name)?;
    let within = |what: &str, ms: u64, least: u64, most: u64| {
        if (least..=most).contains(&ms) {
            return Ok(());
        }
        Err(Error::invalid(format!("{what} of {ms} ms; choose {least} ms to {most} ms")))
    };
    within("a lease", settings.lease_ms, 1, VISIBILITY_MS_MAX)?;
    within("a first pause", settings.backoff.base_ms, 0, DELAY_MS_MAX)?;
    within("a longest pause", settings.backoff.max_ms, settings.backoff.base_ms, DELAY_MS_MAX)?;
    for kept_ms in settings.kept_ms() {
        within("a retention", kept_ms, 0, JOB_KEEP_MS_MAX)?;
    }
    if settings.rate.count > 0 {
        within("the time of a rate", settings.rate.per_ms, 1, DELAY_MS_MAX)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn some() -> JobType {
        let settings = JobSettings {
            concurrency: 4,
            rate: Rate { count: 10, per_ms: 1_000 },
            ..JobSettings::default()
        };
        JobType { id: 1 << 63 | 9, name: "mail".into(), settings, created_ms: 4 }
    }

    #[test]
    fn types_round_trip_and_every_cut_is_noticed() {
        let kind = some();
        let bytes = kind.encode();
        assert_eq!(JobType::parse("mail", &bytes).unwrap(), kind);
        assert_eq!(JobType::parse_id(&bytes), Some(kind.id));
        for len in 0..bytes.len() {
            JobType::parse("mail", bytes.get(..len).unwrap()).unwrap_err();
        }
        JobType::parse("mail", &JobType { id: 9, ..kind }.encode()).unwrap_err();
    }

    #[test]
    fn settings_stand_at_their_limits() {
        let defaults = JobSettings::default();
        check("mail", &defaults).unwrap();
        let lease = |lease_ms| check("mail", &JobSettings { lease_ms, ..defaults });
        lease(VISIBILITY_MS_MAX).unwrap();
        for lease_ms in [0, VISIBILITY_MS_MAX + 1] {
            lease(lease_ms).unwrap_err();
        }
        let keep = |keep_failed_ms| check("mail", &JobSettings { keep_failed_ms, ..defaults });
        keep(JOB_KEEP_MS_MAX).unwrap();
        keep(JOB_KEEP_MS_MAX + 1).unwrap_err();
        let pause = |base_ms, max_ms| {
            check("mail", &JobSettings { backoff: Backoff { base_ms, max_ms }, ..defaults })
        };
        pause(0, 0).unwrap();
        pause(2, 1).unwrap_err();
        pause(1, DELAY_MS_MAX + 1).unwrap_err();
        let rate = |count, per_ms| {
            check("mail", &JobSettings { rate: Rate { count, per_ms }, ..defaults })
        };
        rate(0, 0).unwrap();
        rate(1, 0).unwrap_err();
        for name in ["", ".", "..", "a b", "a/b"] {
            check(name, &defaults).unwrap_err();
        }
    }
}
