//! A job as it is stored.
//!
//! ```text
//! format 1, flags 1, submitted_ms 8, priority 2 [, run_at_ms 8] [, max_attempts 4]
//! [, unique key (length 1, text), window_ms 8] [, schedule (length 1, text), nominal_ms 8]
//! [, execution 16, iteration 4, step 4, attempt 4], payload
//! ```
//! Flags: bit 0 run at, bit 1 attempts, bit 2 unique, bit 3 schedule, bit 4 step of a loop.
//! `run_at_ms` is wall time.
//! What the index needs comes first.

use crate::bytes::{Malformed, Reader, put_text8};
use crate::claims::index::{Due, LaneKey};
use crate::error::{Error, Kind};
use crate::jobs::{NewJob, Unique, When};
use crate::limits::{BODY_BYTES_MAX, DELAY_MS_MAX, UNIQUE_KEY_BYTES_MAX};
use crate::loops::event::StepRef;
use crate::loops::id::LoopId;

/// The format of the value; persisted.
const FORMAT: u8 = 1;
const RUN_AT: u8 = 1;
const ATTEMPTS: u8 = 2;
const UNIQUE: u8 = 4;
const SCHEDULE: u8 = 8;
const STEP: u8 = 16;

/// A job without its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// When it was submitted, log time.
    pub(crate) submitted_ms: u64,
    /// Its priority.
    pub(crate) priority: i16,
    /// When it is to run, wall time; 0: at once.
    pub(crate) run_at_ms: u64,
    /// Charged attempts after which it has failed; `None`: those of its type.
    pub(crate) max_attempts: Option<u32>,
    /// Its unique key.
    pub(crate) unique: Option<Unique<'a>>,
    /// The schedule that made it, and for which time, wall time.
    pub(crate) schedule: Option<(&'a str, u64)>,
    /// The step of a loop that it is.
    pub(crate) step: Option<(LoopId, StepRef)>,
}

impl<'a> Head<'a> {
    /// Of a job that is submitted now, at this log time and this wall time.
    pub(crate) fn of(
        job: &NewJob<'a>,
        schedule: Option<(&'a str, u64)>,
        log_ms: u64,
        wall_ms: u64,
    ) -> Self {
        let run_at_ms = match job.when {
            When::Now | When::In(0) => 0,
            When::At(at_ms) if at_ms <= wall_ms => 0,
            When::At(at_ms) => at_ms,
            When::In(ms) => wall_ms.saturating_add(ms),
        };
        Self {
            submitted_ms: log_ms,
            priority: job.priority,
            run_at_ms,
            max_attempts: job.max_attempts,
            unique: job.unique,
            schedule,
            step: None,
        }
    }

    /// The lane of the index that it belongs to.
    pub(crate) fn lane(&self) -> LaneKey<'static> {
        LaneKey { priority: self.priority, fairness: "" }
    }

    /// When it becomes ready.
    pub(crate) fn due(&self) -> Due {
        if self.run_at_ms == 0 { Due::Log(0) } else { Due::Wall(self.run_at_ms) }
    }
}

/// Refuses a job that is above a limit.
pub(crate) fn check(job: &NewJob<'_>) -> Result<(), Error> {
    let full = |what: &str, found: usize, limit: usize| {
        Error::new(Kind::Full, format!("{what}: {found} is above the limit of {limit}"))
    };
    if job.payload.len() > BODY_BYTES_MAX {
        return Err(full("bytes of the payload", job.payload.len(), BODY_BYTES_MAX));
    }
    if let When::In(ms) = job.when
        && ms > DELAY_MS_MAX
    {
        return Err(Error::invalid(format!(
            "a delay of {ms} ms is above the limit of {DELAY_MS_MAX} ms (366 days); say when it \
             is to run instead"
        )));
    }
    if let Some(Unique { key, window_ms }) = job.unique {
        if !(1..=UNIQUE_KEY_BYTES_MAX).contains(&key.len()) {
            return Err(Error::invalid(format!(
                "a unique key of {} bytes; use 1 to {UNIQUE_KEY_BYTES_MAX}",
                key.len()
            )));
        }
        if window_ms > DELAY_MS_MAX {
            return Err(Error::invalid(format!(
                "a window of {window_ms} ms is above the limit of {DELAY_MS_MAX} ms (366 days)"
            )));
        }
    }
    Ok(())
}

/// The stored bytes.
pub(crate) fn encode(head: &Head<'_>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + payload.len());
    let flag = |is_there: bool, flag: u8| if is_there { flag } else { 0 };
    bytes.push(FORMAT);
    bytes.push(
        flag(head.run_at_ms != 0, RUN_AT)
            | flag(head.max_attempts.is_some(), ATTEMPTS)
            | flag(head.unique.is_some(), UNIQUE)
            | flag(head.schedule.is_some(), SCHEDULE)
            | flag(head.step.is_some(), STEP),
    );
    bytes.extend_from_slice(&head.submitted_ms.to_le_bytes());
    bytes.extend_from_slice(&head.priority.to_le_bytes());
    if head.run_at_ms != 0 {
        bytes.extend_from_slice(&head.run_at_ms.to_le_bytes());
    }
    if let Some(max_attempts) = head.max_attempts {
        bytes.extend_from_slice(&max_attempts.to_le_bytes());
    }
    if let Some(Unique { key, window_ms }) = head.unique {
        put_text8(&mut bytes, key);
        bytes.extend_from_slice(&window_ms.to_le_bytes());
    }
    if let Some((schedule, nominal_ms)) = head.schedule {
        put_text8(&mut bytes, schedule);
        bytes.extend_from_slice(&nominal_ms.to_le_bytes());
    }
    if let Some((execution, StepRef { iteration, step, attempt })) = head.step {
        bytes.extend_from_slice(&execution.to_bytes());
        for number in [iteration, step, attempt] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// The job in stored bytes, without its payload.
pub(crate) fn parse_head(bytes: &[u8]) -> Result<Head<'_>, Malformed> {
    parse(bytes).map(|(head, _)| head)
}

/// The job in stored bytes, and where its payload begins.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Head<'_>, usize), Malformed> {
    read(bytes).ok_or_else(|| Malformed::new("a job", bytes))
}

fn read(bytes: &[u8]) -> Option<(Head<'_>, usize)> {
    let mut reader = Reader::new(bytes);
    let (format, flags) = (reader.u8()?, reader.u8()?);
    if format != FORMAT || flags & !(RUN_AT | ATTEMPTS | UNIQUE | SCHEDULE | STEP) != 0 {
        return None;
    }
    let has = |flag: u8| flags & flag != 0;
    let mut head = Head {
        submitted_ms: reader.u64()?,
        priority: i16::from_le_bytes(reader.array()?),
        ..Head::default()
    };
    if has(RUN_AT) {
        head.run_at_ms = reader.u64().filter(|&at_ms| at_ms != 0)?;
    }
    if has(ATTEMPTS) {
        head.max_attempts = Some(reader.u32()?);
    }
    if has(UNIQUE) {
        let key = reader.text8().filter(|key| !key.is_empty())?;
        head.unique = Some(Unique { key, window_ms: reader.u64()? });
    }
    if has(SCHEDULE) {
        let schedule = reader.text8().filter(|schedule| !schedule.is_empty())?;
        head.schedule = Some((schedule, reader.u64()?));
    }
    if has(STEP) {
        let execution = LoopId::from_bytes(reader.array()?);
        let (iteration, step, attempt) = (reader.u32()?, reader.u32()?, reader.u32()?);
        head.step = Some((execution, StepRef { iteration, step, attempt }));
    }
    Some((head, bytes.len() - reader.rest().len()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn jobs_round_trip_and_hostile_bytes_do_not_panic(
            submitted_ms: u64,
            priority: i16,
            run_at_ms: u64,
            max_attempts: Option<u32>,
            key in "[a-zü]{0,9}",
            schedule in "[a-z]{0,4}",
            payload in proptest::collection::vec(any::<u8>(), 0..50),
            noise in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let unique =
                (!key.is_empty()).then_some(Unique { key: &key, window_ms: submitted_ms });
            let schedule = (!schedule.is_empty()).then_some((schedule.as_str(), submitted_ms));
            let step = max_attempts.map(|attempt| {
                let step = StepRef { iteration: attempt, step: 1, attempt: 2 };
                (LoopId::from_bytes([7; 16]), step)
            });
            let head =
                Head { submitted_ms, priority, run_at_ms, max_attempts, unique, schedule, step };
            let bytes = encode(&head, &payload);
            let (read, at) = parse(&bytes).unwrap();
            prop_assert_eq!(read, head);
            prop_assert_eq!(&bytes[at..], &payload);
            let _ = parse(&noise);
        }
    }

    #[test]
    fn jobs_stand_at_their_limits() {
        let payload = vec![b'1'; BODY_BYTES_MAX + 1];
        let of = |len: usize| NewJob { payload: &payload[..len], ..NewJob::default() };
        check(&of(BODY_BYTES_MAX)).unwrap();
        assert_eq!(check(&of(BODY_BYTES_MAX + 1)).unwrap_err().kind(), Kind::Full);
        let key = "k".repeat(UNIQUE_KEY_BYTES_MAX + 1);
        let unique = |key, window_ms| NewJob {
            unique: Some(Unique { key, window_ms }),
            ..NewJob::default()
        };
        check(&unique(&key[1..], DELAY_MS_MAX)).unwrap();
        for (key, window_ms) in [(key.as_str(), 0), ("", 0), ("k", DELAY_MS_MAX + 1)] {
            check(&unique(key, window_ms)).unwrap_err();
        }
        let late = |ms| NewJob { when: When::In(ms), ..NewJob::default() };
        check(&late(DELAY_MS_MAX)).unwrap();
        check(&late(DELAY_MS_MAX + 1)).unwrap_err();
    }

    /// A time that has come is none; delays count from the wall clock.
    #[test]
    fn a_job_runs_when_it_is_said_to() {
        let head = |when| Head::of(&NewJob { when, ..NewJob::default() }, None, 7, 1_000).run_at_ms;
        assert_eq!(head(When::Now), 0);
        assert_eq!(head(When::At(1_000)), 0);
        assert_eq!(head(When::At(1_001)), 1_001);
        assert_eq!(head(When::In(0)), 0);
        assert_eq!(head(When::In(5)), 1_005);
    }
}
