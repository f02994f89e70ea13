//! A schedule as it is stored.
//!
//! ```text
//! format 1, id 8, missed 1, created_ms 8, handled_ms 8, fired 8, last job (type 8, number 8),
//! priority 2, max_attempts 4 (all ones: those of the type), cron, zone, type (length 1, text
//! each), payload
//! ```
//! `created_ms` and `handled_ms` are wall time: up to the latter everything was fired or skipped.

use crate::bytes::{Malformed, Reader, put_text8};
use crate::claims::Subject;
use crate::error::{Error, Kind};
use crate::jobs::kind::check_name as check_type;
use crate::keys::queue::is_name;
use crate::limits::{BODY_BYTES_MAX, CRON_BYTES_MAX, NAME_BYTES_MAX};
use crate::schedules::cron::Pattern;
use crate::schedules::{Missed, NewSchedule};

/// The format of the value; persisted.
const FORMAT: u8 = 1;

/// `max_attempts` of a job that has no limit of its own.
const OF_TYPE: u32 = u32::MAX;

/// A schedule, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its number: a schedule that was made again under the same name is another one.
    pub(crate) id: u64,
    /// What to do about missed times.
    pub(crate) missed: Missed,
    /// When it was made.
    pub(crate) created_ms: u64,
    /// Up to when everything was fired or skipped.
    pub(crate) handled_ms: u64,
    /// How many jobs it made.
    pub(crate) fired: u64,
    /// The last of them.
    pub(crate) last_job: Option<Subject>,
    pub(crate) priority: i16,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) cron: String,
    pub(crate) zone: String,
    pub(crate) kind: String,
    pub(crate) payload: Vec<u8>,
}

impl Stored {
    /// A new one.
    pub(crate) fn of(id: u64, new: &NewSchedule<'_>, wall_ms: u64) -> Self {
        Self {
            id,
            missed: new.missed,
            created_ms: wall_ms,
            handled_ms: wall_ms,
            fired: 0,
            last_job: None,
            priority: new.priority,
            max_attempts: new.max_attempts,
            cron: new.cron.to_owned(),
            zone: new.zone.to_owned(),
            kind: new.kind.to_owned(),
            payload: new.payload.to_owned(),
        }
    }

    /// Whether it is what is asked for.
    pub(crate) fn is(&self, new: &NewSchedule<'_>) -> bool {
        let same = Self::of(self.id, new, self.created_ms);
        let Self { handled_ms, fired, last_job, .. } = *self;
        *self == Self { handled_ms, fired, last_job, ..same }
    }

    /// The stored bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(80 + self.payload.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.push(self.missed as u8);
        bytes.extend_from_slice(&self.created_ms.to_le_bytes());
        bytes.extend_from_slice(&self.handled_ms.to_le_bytes());
        bytes.extend_from_slice(&self.fired.to_le_bytes());
        let last = self.last_job.map_or((0, 0), |job| (job.line, job.number));
        bytes.extend_from_slice(&last.0.to_le_bytes());
        bytes.extend_from_slice(&last.1.to_le_bytes());
        bytes.extend_from_slice(&self.priority.to_le_bytes());
        bytes.extend_from_slice(&self.max_attempts.unwrap_or(OF_TYPE).to_le_bytes());
        put_text8(&mut bytes, &self.cron);
        put_text8(&mut bytes, &self.zone);
        put_text8(&mut bytes, &self.kind);
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// The schedule in stored bytes, and its pattern.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, Pattern), Malformed> {
        let malformed = || Malformed::new("a schedule", bytes);
        let stored = Self::read(bytes).ok_or_else(malformed)?;
        let pattern = Pattern::parse(&stored.cron, &stored.zone).map_err(|_| malformed())?;
        Ok((stored, pattern))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        let id = reader.u64()?;
        let missed = Missed::from_u8(reader.u8()?)?;
        let (created_ms, handled_ms, fired) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let last = Subject { line: reader.u64()?, number: reader.u64()? };
        let priority = i16::from_le_bytes(reader.array()?);
        let max_attempts = Some(reader.u32()?).filter(|&most| most != OF_TYPE);
        let cron = reader.text8()?.to_owned();
        let zone = reader.text8()?.to_owned();
        let kind = reader.text8()?.to_owned();
        let payload = reader.rest().to_vec();
        let last_job = (last.number != 0).then_some(last);
        (format == FORMAT && id != 0).then_some(Self {
            id,
            missed,
            created_ms,
            handled_ms,
            fired,
            last_job,
            priority,
            max_attempts,
            cron,
            zone,
            kind,
            payload,
        })
    }
}

/// Refuses what cannot be the name of a schedule.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if is_name(name) && !matches!(name, "." | "..") {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name:?} is no name of a schedule; use 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ -"
    )))
}

/// Refuses a schedule that cannot be, or that never fires.
pub(crate) fn check(name: &str, new: &NewSchedule<'_>, wall_ms: u64) -> Result<(), Error> {
    check_name(name)?;
    check_type(new.kind)?;
    for (what, text) in [("cron pattern", new.cron), ("time zone", new.zone)] {
        if text.len() > CRON_BYTES_MAX {
            let len = text.len();
            let message = format!("a {what} of {len} bytes; at most {CRON_BYTES_MAX} are allowed");
            return Err(Error::invalid(message));
        }
    }
    if new.payload.len() > BODY_BYTES_MAX {
        let found = new.payload.len();
        let message = format!("bytes of the payload: {found} is above {BODY_BYTES_MAX}");
        return Err(Error::new(Kind::Full, message));
    }
    let pattern = Pattern::parse(new.cron, new.zone)?;
    if pattern.next_ms(wall_ms).is_none() {
        return Err(Error::invalid(format!("the pattern {:?} never fires", new.cron)));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn new() -> NewSchedule<'static> {
        NewSchedule { kind: "mail", cron: "0 9 * * *", payload: b"{}", ..NewSchedule::default() }
    }

    #[test]
    fn schedules_round_trip_and_every_cut_of_the_head_is_noticed() {
        let last_job = Some(Subject { line: 1 << 63 | 2, number: 5 });
        for max_attempts in [None, Some(3)] {
            let stored = Stored::of(7, &NewSchedule { max_attempts, ..new() }, 1_000);
            let stored = Stored { fired: 3, last_job, handled_ms: 9, ..stored };
            let bytes = stored.encode();
            assert_eq!(Stored::parse(&bytes).unwrap().0, stored);
            for len in 0..bytes.len() - 2 {
                Stored::parse(bytes.get(..len).unwrap()).unwrap_err();
            }
            assert!(stored.is(&NewSchedule { max_attempts, ..new() }));
            assert!(!stored.is(&NewSchedule { priority: 1, max_attempts, ..new() }));
        }
    }

    #[test]
    fn schedules_stand_at_their_limits() {
        check("nightly", &new(), 0).unwrap();
        for name in ["", "..", "a b"] {
            check(name, &new(), 0).unwrap_err();
        }
        let long = " ".repeat(CRON_BYTES_MAX) + "* * * * *";
        for wrong in [
            NewSchedule { cron: &long, ..new() },
            NewSchedule { cron: "0 0 30 2 *", ..new() },
            NewSchedule { zone: "nowhere", ..new() },
            NewSchedule { kind: "a/b", ..new() },
        ] {
            check("nightly", &wrong, 0).unwrap_err();
        }
    }
}
