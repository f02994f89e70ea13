//! Repair: a corrupt store goes on without the ranges whose loss an operator accepted.
//!
//! ```text
//!   scan    every layer is examined, the readable journal is surveyed    (reads only)
//!   plan    the accepted ranges are compared, stand-ins are decided      (no I/O)
//!   check   the repaired journal is replayed before it is written        (reads only)
//!   act     the journal is written anew                                  (writes)
//! ```
//!
//! Invariants: a range is given up only when it was named exactly; before act nothing is written;
//! what act leaves is what check replayed; no position, version or run is used twice.

mod audit;
mod plan;

use std::ops::{Range, RangeInclusive};
use std::path::Path;

use rekindle_env::{Env, LockMode, NativeMode, ReadDisk};
use rekindle_journal::RecordKind;
use rekindle_journal::repair::{Cut, Patched, Survey, Surveyed};
use rekindle_recovery::{Finding, Label, LayerReport, Meter, Report, Verdict, examine, perform};

use self::plan::{Facts, Gap, Plan};
use crate::codec::Loss;
use crate::engines::Held;
use crate::error::Error;
use crate::layer::{Beneath, DatabaseLayer, versions};
use crate::options::Options;
use crate::recovery::{Below, Examination, lock_directory};
use crate::replay::Until;

pub(crate) use self::audit::quoted;
pub use self::plan::PlannedLoss;

/// What an operator decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairOptions {
    /// The ranges of log addresses whose loss is accepted, exactly as `verify` names them.
    pub accept: Vec<Range<u64>>,
    /// Who decided it.
    pub who: String,
    /// Why.
    pub reason: String,
    /// The program and its version.
    pub program: String,
}

/// What a repair does, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// The corrupt findings that were accepted.
    pub findings: Vec<Finding>,
    /// What is lost, in the order of the journal. Empty where the damaged ranges provably held no
    /// record that the checkpoint does not have.
    pub losses: Vec<PlannedLoss>,
    /// What the journal holds of transactions that cannot be kept because of it: a line each.
    pub discarded: Vec<String>,
    /// The version that the store will have.
    pub version: u64,
    /// The segments that are written anew: their numbers.
    pub replaced: Vec<u64>,
    /// The new segments; empty for a plan.
    pub segments: Vec<u64>,
    /// Records that were copied, and stand-ins; 0 for a plan.
    pub records: u64,
    /// Where the originals are, relative to the store; empty for a plan.
    pub kept: String,
}

/// Repairs a store that a start refuses as corrupt.
///
/// # Errors
/// `Invalid` when nothing is corrupt, or when the accepted ranges are not exactly the corrupt ones:
/// the text names those to accept. `Refused` when no range passes the damage. `Locked`,
/// `NotAStore`, `Io`. In all cases but `Io` nothing was changed, and after it the store is either
/// as corrupt as before or repaired.
pub fn repair(path: impl AsRef<Path>, options: &RepairOptions, env: &Env) -> Result<Repair, Error> {
    let dir = path.as_ref();
    let _lock = lock_directory(dir, false, LockMode::Exclusive, env)?;
    let scene = Scene::scan(dir, env)?;
    let (plan, outcome) = scene.plan(options)?;
    scene.act(&plan, outcome)
}

/// What [`repair`] would do; changes no byte.
///
/// # Errors
/// As [`repair`].
pub fn plan_repair(
    path: impl AsRef<Path>,
    options: &RepairOptions,
    env: &Env,
) -> Result<Repair, Error> {
    let dir = path.as_ref();
    let _lock = lock_directory(dir, false, LockMode::Shared, env)?;
    Ok(Scene::scan(dir, env)?.plan(options)?.1)
}

/// Longest name and longest reason that are kept with a repair, bytes each.
pub const REASON_BYTES_MAX: usize = 1_024;

/// A corrupt store that was looked at.
struct Scene<'a> {
    env: &'a Env,
    below: Below,
    facts: Facts,
    cut: Cut,
    survey: Survey,
}

impl<'a> Scene<'a> {
    fn scan(dir: &Path, env: &'a Env) -> Result<Self, Error> {
        let options = Options { create: false, ..Options::default() };
        let disk: &(dyn ReadDisk + 'static) = &*env.disk;
        let (below, report) = Examination::below(dir, &options, env, disk)?;
        let Some(below) = below else { return Err(impassable(&report, dir)) };
        passable(&below, dir)?;
        let (layer, seen) = (&below.journal.0, &below.journal.1);
        let findings: Vec<Finding> = corrupt(&seen.report).cloned().collect();
        let usable = below.engine.1.trusted.usable();
        let mark = below.engine.1.trusted.mark();
        let replay_from: Vec<u64> = usable.iter().map(|usable| usable.replay_from).collect();
        let oldest = replay_from.iter().copied().min().unwrap_or(1);
        let mut gaps = Gaps::default();
        let survey = seen.trusted.survey(disk, oldest, &mut |told| {
            gaps.take(&told);
            Ok(())
        })?;
        let cut = layer.cut(&seen.trusted, &findings, &survey)?;
        let facts = Facts {
            findings,
            gaps: gaps.list,
            last_version: gaps.last_version,
            next_position: survey.next_position,
            lost_end: cut.lost_end,
            replay_from,
            mark,
        };
        Ok(Self { env, below, facts, cut, survey })
    }

    /// Plans, and checks the plan by replaying what it leads to.
    fn plan(&self, options: &RepairOptions) -> Result<(Plan, Repair), Error> {
        if [&options.who, &options.reason].iter().any(|text| text.len() > REASON_BYTES_MAX) {
            let text = format!("who accepts it and why: at most {REASON_BYTES_MAX} bytes each");
            return Err(Error::Invalid(text));
        }
        let wall_ms = self.env.clock.wall_ms();
        let audit = audit::text(options, wall_ms, &self.facts.findings);
        let plan = Plan::new(&self.facts, &options.accept, audit)?;
        let (version, discarded) = self.check(&plan)?;
        let outcome = Repair {
            findings: self.facts.findings.clone(),
            losses: plan.losses.clone(),
            discarded,
            version,
            replaced: self.cut.replaced.clone(),
            ..Repair::default()
        };
        Ok((plan, outcome))
    }

    /// Replays the repaired journal before it is there; answers the last version, and what is
    /// discarded.
    fn check(&self, plan: &Plan) -> Result<(u64, Vec<String>), Error> {
        let (disk, clock) = (&*self.env.disk, &*self.env.clock);
        let (layer, trusted) = (&self.below.engine.0, &self.below.engine.1.trusted);
        let options = &Options::default();
        let held = Held::load(layer, trusted, disk, (self.env, options), NativeMode::View)?;
        let engine = held.engine();
        let patched = self.patched(plan);
        let layer = DatabaseLayer {
            journal: &patched,
            engine: &*engine,
            beneath: Beneath::of(&self.below.engine.1.trusted, &held),
            replay_from: self.below.engine.1.trusted.replay_from(),
            clock,
            until: Until::End,
            only: None,
            tracker: None,
            meter: &Meter::default(),
        };
        let seen = examine(&layer, disk, clock)?;
        if seen.refusal().is_some() {
            let mut report = Report::default();
            report.add(seen.report);
            return Err(contradiction(&report));
        }
        let (replayed, report) = perform(&layer, seen, &(), clock)?;
        let lost = |finding: &&Finding| {
            ["database-3", "database-5", "database-17"].contains(&finding.label.0)
        };
        let discarded = report.findings.iter().filter(lost);
        let discarded = discarded.map(|finding| format!("{}: {}", finding.label, finding.found));
        Ok((replayed.stats.final_version, discarded.collect()))
    }

    fn patched<'s>(&'s self, plan: &'s Plan) -> Patched<'s> {
        let trusted = &self.below.journal.1.trusted;
        Patched::new(trusted, &plan.stand_ins, self.survey.next_position)
    }

    fn act(&self, plan: &Plan, outcome: Repair) -> Result<Repair, Error> {
        let (layer, seen) = (&self.below.journal.0, &self.below.journal.1);
        let mut layer = layer.clone();
        // The next start sets damaged checkpoints aside: they stay named until then.
        layer.meta = self.below.meta.1.trusted.clone();
        let patched = self.patched(plan);
        let written = layer.rewrite(&seen.trusted, &self.cut, &patched, &plan.audit)?;
        tracing::warn!(
            ranges = plan.losses.len(),
            version = outcome.version,
            kept = written.kept,
            "the store was repaired without what was lost"
        );
        let (segments, records, kept) = (written.segments, written.records, written.kept);
        Ok(Repair { segments, records, kept, ..outcome })
    }
}

/// The corrupt findings of a layer.
fn corrupt(report: &LayerReport) -> impl Iterator<Item = &Finding> {
    report.findings.iter().filter(|finding| finding.verdict == Some(Verdict::Corrupt))
}

/// Whether a corrupt finding is a range of the journal whose loss can be accepted.
#[must_use]
pub fn is_range(finding: &Finding) -> bool {
    let of_journal = finding.label.0.starts_with("journal-");
    of_journal && finding.place.to > finding.place.from && finding.label != Label("journal-14")
}

/// Whether nothing but ranges of the journal stands in the way.
fn passable(below: &Below, dir: &Path) -> Result<(), Error> {
    let others = [below.meta.1.refusal(), below.engine.1.refusal()];
    let journal = &below.journal.1;
    let newer = journal.report.findings.iter().any(|it| it.label == Label("journal-16"));
    let whole = corrupt(&journal.report).all(is_range);
    if others.iter().any(Option::is_some) || newer || !whole {
        let mut report = Report::default();
        for layer in [&below.meta.1.report, &below.engine.1.report, &journal.report] {
            report.add(layer.clone());
        }
        return Err(impassable(&report, dir));
    }
    if corrupt(&journal.report).next().is_none() {
        return Err(Error::Invalid(format!(
            "{}: no range of the journal is corrupt: there is nothing to repair; 'rekindle verify' \
             says what else there is",
            dir.display()
        )));
    }
    Ok(())
}

/// What no accepted range passes.
fn impassable(report: &Report, dir: &Path) -> Error {
    let error = crate::recovery::refused(report.clone());
    let Error::Corrupt(report) = error else { return error };
    let data = dir.display();
    let lines = report.findings().filter(|it| it.verdict == Some(Verdict::Corrupt));
    let lines: Vec<String> = lines.map(|finding| format!("  {finding}")).collect();
    let message = format!(
        "no accepted range passes this damage:\n{}\nThe ways on: bring the named file back from a \
         copy, restore a backup, or 'rekindle salvage --data {data} --export OUT' for what can be \
         read",
        lines.join("\n")
    );
    Error::Refused { message, report }
}

/// What is readable cannot follow on from each other, whatever is accepted.
fn contradiction(report: &Report) -> Error {
    let lines: Vec<String> = report.findings().map(|finding| format!("  {finding}")).collect();
    let message = format!(
        "what can be read contradicts itself, so giving up a range makes nothing whole:\n{}\nThe \
         ways on: restore a backup, or 'rekindle salvage' for what can be read",
        lines.join("\n")
    );
    Error::Refused { message, report: Box::new(report.clone()) }
}

/// Collects the holes with the versions around them.
#[derive(Default)]
struct Gaps {
    list: Vec<Gap>,
    last_version: Option<u64>,
}

impl Gaps {
    fn take(&mut self, told: &Surveyed<'_>) {
        match told {
            Surveyed::Hole(hole) => {
                let (before, after) = (self.last_version, None);
                self.list.push(Gap { hole: *hole, before, after });
            }
            Surveyed::Record(record, _) => {
                let versions = match record.kind {
                    RecordKind::Loss => Loss::decode(record.payload)
                        .ok()
                        .map(|loss| (loss.next_version, loss.next_version - 1)),
                    _ => versions(record).map(RangeInclusive::into_inner),
                };
                let Some((first, last)) = versions else { return };
                let is_loss = record.kind == RecordKind::Loss;
                if let Some(gap) = self.list.last_mut().filter(|gap| gap.after.is_none()) {
                    // What an earlier loss leaves open is not what followed here.
                    gap.after = (!is_loss).then_some(first);
                }
                self.last_version = Some(last);
            }
        }
    }
}
