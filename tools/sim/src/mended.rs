//! Repair of an image whose truth is known: every record outside of the accepted ranges is there,
//! and nothing else.
//!
//! Invariants: what is accepted is exactly what `verify` names; the truth comes from the history of
//! the run and from the journal before it was damaged.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rekindle_database::{
    DumpLine, Error, Kind, RepairOptions, dump, plan_repair, repair, store_info, verify,
};
use rekindle_env::{Image, SimulatedDisk};
use rekindle_journal::codec::segment::{SegmentHeader, SegmentHeaderRead};
use rekindle_recovery::{Place, Report, Verdict, exit};
use rekindle_services::{Options as ServiceOptions, Services};

use crate::history::{History, difference};
use crate::store::{DIR, Machine, rows};

/// The length of a segment's header.
const HEADER_BYTES: usize = 4_096;

/// A corrupt image, and what it was before.
#[derive(Debug)]
pub struct Corrupt<'a> {
    /// What was committed.
    pub history: &'a History,
    /// The image before the damage.
    pub whole: &'a Image,
    /// The same damaged.
    pub damaged: &'a Image,
    /// When it is repaired.
    pub wall_ms: u64,
    /// Of the machine.
    pub seed: u64,
}

impl Corrupt<'_> {
    fn machine(&self, image: &Image) -> Machine {
        let disk = SimulatedDisk::from_image(image.clone(), self.seed);
        Machine::new(Arc::new(disk), self.wall_ms, self.seed)
    }

    /// Repairs it with what `verify` names; answers how many transactions that cost.
    ///
    /// # Errors
    /// What is broken.
    pub fn repair(&self) -> Result<u64, String> {
        let machine = self.machine(self.damaged);
        let env = machine.env();
        let text = |error: Error| error.to_string();
        let found = verify(DIR, &env).map_err(text)?;
        if found.code != exit::CORRUPT {
            return Err(format!("a start refuses it, and verify says {}", found.code));
        }
        let accept = ranges(&found, Verdict::Corrupt);
        let options = RepairOptions { accept: accept.clone(), ..RepairOptions::default() };
        let plan = plan_repair(DIR, &options, &env).map_err(|error| format!("plan: {error}"))?;
        let done = repair(DIR, &options, &env).map_err(|error| format!("repair: {error}"))?;
        if (&plan.losses, plan.version) != (&done.losses, done.version) {
            return Err("the repair did something else than its plan".to_owned());
        }
        match repair(DIR, &options, &env) {
            Err(error) if error.kind() == Kind::Invalid && says_nothing(&error) => {}
            other => return Err(format!("a second repair is answered {other:?}")),
        }
        let after = verify(DIR, &env).map_err(text)?;
        if ![exit::CLEAN, exit::HEALED].contains(&after.code) {
            return Err(format!("behind the repair verify says {}", after.code));
        }
        let given_up = [accept, ranges(&found, Verdict::Torn)].concat();
        let lost = self.compare(&machine, &given_up, done.version)?;
        if lost > 0 && done.losses.is_empty() {
            return Err(format!("{lost} transactions are gone, and no loss is told"));
        }
        Ok(lost)
    }

    /// Everything outside of these ranges is there, twice, and it can be served.
    fn compare(
        &self,
        machine: &Machine,
        given_up: &[Range<u64>],
        version: u64,
    ) -> Result<u64, String> {
        let Gone { last, lost, carried } = self.gone(given_up)?;
        let database = machine.open().map_err(|error| format!("opening: {error}"))?;
        let found = rows(&database)?;
        let differs =
            |lost: &BTreeSet<u64>| difference(&self.history.state_without(last, lost), &found);
        // What was carried stands in the segment before too, where it is found again.
        let without: BTreeSet<u64> = lost.difference(&carried).copied().collect();
        if let Some(broken) = differs(&lost)
            && differs(&without).is_some()
        {
            return Err(format!("given up {given_up:?}, versions {lost:?}: {broken}"));
        }
        if database.current_version() != version {
            return Err(format!("version {version} was told, {}", database.current_version()));
        }
        let hash = database.state_hash();
        drop(database);
        let again = machine.open().map_err(|error| format!("opening again: {error}"))?;
        if again.state_hash() != hash {
            return Err("a second start finds another state".to_owned());
        }
        // Not as a client does: the name of its keyspace may be among what is lost.
        let led = Services::lead(
            &again,
            ServiceOptions { background: false, ..ServiceOptions::default() },
        );
        led.map_err(|error| format!("taking the lead: {error}"))?;
        Ok(without.len() as u64)
    }

    /// What lies in these ranges and behind the newest checkpoint.
    fn gone(&self, given_up: &[Range<u64>]) -> Result<Gone, String> {
        let machine = self.machine(self.whole);
        let env = machine.env();
        let info = store_info(DIR, &env).map_err(|error| error.to_string())?;
        let holds = info.checkpoints.iter().filter_map(|checkpoint| checkpoint.holds);
        let checkpoint = holds.map(|holds| holds.version).max().unwrap_or(0);
        let mut frame = Place::default();
        let mut all = Gone { last: checkpoint, ..Gone::default() };
        let mut newest = String::new();
        let segment = |line: &DumpLine<'_>| match line {
            DumpLine::Segment { file, .. } => Some((*file).to_owned()),
            _ => None,
        };
        let named = dump(DIR, &env, &mut |line| {
            newest = segment(&line).unwrap_or(std::mem::take(&mut newest));
            Ok(())
        });
        named.map_err(|error| format!("before the damage: {error}"))?;
        let told = dump(DIR, &env, &mut |line| {
            match line {
                DumpLine::Frame { place, .. } => frame = place.clone(),
                DumpLine::Transaction { version: Some(version), .. } => {
                    all.last = all.last.max(version);
                    let hit = |it: &Range<u64>| it.start < frame.to && frame.from < it.end;
                    // Nobody knows how far the newest segment went once its bytes are gone.
                    let gone = frame.file == newest && self.is_gone(&frame);
                    let behind = |it: &Range<u64>| hit(it) || gone && it.start <= frame.from;
                    if version > checkpoint && given_up.iter().any(behind) {
                        all.lost.insert(version);
                        let carried = self.is_carried(&frame).then_some(version);
                        all.carried.extend(carried);
                    }
                }
                _ => {}
            }
            Ok(())
        });
        told.map_err(|error| format!("before the damage: {error}"))?;
        Ok(all)
    }
}

/// What was given up.
#[derive(Debug, Default)]
struct Gone {
    /// The last version before the damage.
    last: u64,
    /// The versions that are gone.
    lost: BTreeSet<u64>,
    /// Of those, the ones that a start had written again in front of its segment.
    carried: BTreeSet<u64>,
}

impl Corrupt<'_> {
    /// Whether a frame repeats the end of the segment before.
    fn is_carried(&self, frame: &Place) -> bool {
        let bytes = self.whole.read(Path::new(DIR).join(&frame.file)).unwrap_or_default();
        match SegmentHeader::decode(bytes.get(..HEADER_BYTES).unwrap_or_default()) {
            SegmentHeaderRead::Valid(header) => {
                frame.offset < HEADER_BYTES as u64 + u64::from(header.carried_len)
            }
            _ => false,
        }
    }

    /// Whether the bytes of a frame are not in the damaged image.
    fn is_gone(&self, frame: &Place) -> bool {
        let len = self.damaged.read(Path::new(DIR).join(&frame.file)).map_or(0, |it| it.len());
        (len as u64) < frame.offset + (frame.to - frame.from)
    }
}

fn ranges(report: &Report, verdict: Verdict) -> Vec<Range<u64>> {
    let found = report.findings().filter(|finding| finding.verdict == Some(verdict));
    found.map(|finding| finding.place.from..finding.place.to).collect()
}

fn says_nothing(error: &Error) -> bool {
    error.to_string().contains("nothing to repair")
}
