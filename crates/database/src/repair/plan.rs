//! The plan of a repair: which records stand in for what is lost. Pure.
//!
//! Invariants: every corrupt range is accepted, and nothing else is; a hole that no accepted range
//! explains is refused; where nobody knows what a lost end held, the bounds are those of its bytes,
//! so that no position and no version is used twice.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

use rekindle_engine::Mark;
use rekindle_journal::repair::{Hole, LostEnd, StandIn};
use rekindle_recovery::Finding;
use rekindle_recovery::numbers::NUMBER_MAX;

use super::audit;
use crate::codec::Loss;
use crate::error::Error;

/// The fewest bytes of a frame with a record, and of each record in it.
const FRAME_BYTES_MIN: u64 = 64 + 32;
/// The fewest bytes of a record.
const RECORD_BYTES_MIN: u64 = 32;
/// The fewest bytes of a transaction: its length, its id, its flags, no operations.
const TRANSACTION_BYTES_MIN: u64 = 4 + 8 + 1 + 1;

/// A hole, and the versions around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) hole: Hole,
    /// The last version before it, as far as the journal says.
    pub(super) before: Option<u64>,
    /// The first version behind it, in front of the next hole.
    pub(super) after: Option<u64>,
}

/// Everything that a plan depends on.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The corrupt findings.
    pub(super) findings: Vec<Finding>,
    /// The holes, in order.
    pub(super) gaps: Vec<Gap>,
    /// The last version that can be read.
    pub(super) last_version: Option<u64>,
    /// The position behind everything that can be read.
    pub(super) next_position: u64,
    /// Whether the end is lost.
    pub(super) lost_end: Option<LostEnd>,
    /// Where replay begins on each usable checkpoint, newest first.
    pub(super) replay_from: Vec<u64>,
    /// Where the newest usable checkpoint stands.
    pub(super) mark: Mark,
}

/// A range that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedLoss {
    /// First lost position.
    pub from_position: u64,
    /// Last lost position, or the last that can have been there.
    pub to_position: u64,
    /// First lost address.
    pub from_lsn: u64,
    /// Behind the last lost address.
    pub end_lsn: u64,
    /// The first version that may be lost.
    pub from_version: u64,
    /// Version of the next transaction behind the range.
    pub next_version: u64,
    /// Whether that is what was there; otherwise it is a bound, since the end of the journal is
    /// lost.
    pub exact: bool,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) stand_ins: Vec<StandIn>,
    pub(super) losses: Vec<PlannedLoss>,
    /// What is noted beside the originals, and in each stand-in.
    pub(super) audit: Vec<u8>,
}

impl Plan {
    pub(super) fn new(facts: &Facts, accept: &[Range<u64>], audit: Vec<u8>) -> Result<Self, Error> {
        check_accepted(facts, accept)?;
        let mut losses = Vec::new();
        let needed = facts.replay_from.first().copied().unwrap_or(1);
        let gaps = facts.gaps.iter().filter(|gap| gap.hole.to_position >= needed);
        for gap in gaps.clone() {
            check_explained(facts, &gap.hole)?;
            losses.push(of_gap(gap));
        }
        losses.extend(facts.lost_end.and_then(|end| of_end(facts, &end)));
        bound_versions(facts, &mut losses);
        let mut stand_ins: Vec<StandIn> =
            losses.iter().flat_map(|loss| stand_ins(facts, loss, &audit)).collect();
        if stand_ins.is_empty() {
            stand_ins.push(trace(facts, &audit));
        }
        let of_losses = losses.iter().map(|loss| loss.to_position.max(loss.next_version));
        let top = of_losses.chain([facts.next_position]).max();
        if top.is_some_and(|top| top >= NUMBER_MAX / 2) {
            return Err(Error::Invalid("no positions or versions are left".to_owned()));
        }
        Ok(Self { stand_ins, losses, audit })
    }
}

/// The accepted ranges must be exactly the corrupt ones.
fn check_accepted(facts: &Facts, accept: &[Range<u64>]) -> Result<(), Error> {
    let corrupt: BTreeSet<(u64, u64)> =
        facts.findings.iter().map(|finding| (finding.place.from, finding.place.to)).collect();
    let accepted: BTreeSet<(u64, u64)> = accept.iter().map(|it| (it.start, it.end)).collect();
    if corrupt == accepted {
        return Ok(());
    }
    let mut text = match accepted.difference(&corrupt).next() {
        Some((from, to)) => format!("{from}..{to} is not a corrupt range of this store"),
        None => "not every corrupt range is accepted".to_owned(),
    };
    text.push_str("; to give up what these hold, and only that:");
    for (from, to) in corrupt {
        let _ = write!(text, " --accept-loss {from}..{to}");
    }
    for finding in &facts.findings {
        let _ = write!(text, "\n  {finding}");
    }
    Err(Error::Invalid(text))
}

/// A hole lies in what a finding names.
fn check_explained(facts: &Facts, hole: &Hole) -> Result<(), Error> {
    let explains =
        |finding: &Finding| finding.place.from <= hole.end_lsn && hole.from_lsn <= finding.place.to;
    if facts.findings.iter().any(explains) {
        return Ok(());
    }
    let Hole { from_position, to_position, from_lsn, end_lsn } = hole;
    Err(Error::Refused {
        message: format!(
            "positions {from_position}..={to_position} are missing between {from_lsn} and \
             {end_lsn}, and no damage explains it: restore a backup, or salvage what can be read"
        ),
        report: Box::default(),
    })
}

fn of_gap(gap: &Gap) -> PlannedLoss {
    let Hole { from_position, to_position, from_lsn, end_lsn } = gap.hole;
    let from_version = gap.before.unwrap_or(0) + 1;
    PlannedLoss {
        from_position,
        to_position,
        from_lsn,
        end_lsn,
        from_version,
        next_version: gap.after.unwrap_or(from_version),
        exact: true,
    }
}

/// What a lost end can have held at most; nothing where its bytes hold no record and the checkpoint
/// has nothing of it.
fn of_end(facts: &Facts, end: &LostEnd) -> Option<PlannedLoss> {
    let records = match end.bytes_max {
        bytes if bytes < FRAME_BYTES_MIN => 0,
        bytes => bytes / RECORD_BYTES_MIN,
    };
    let from_position = facts.next_position;
    let to_position = (from_position - 1 + records).max(facts.mark.position);
    let from_version = facts.last_version.unwrap_or(facts.mark.version) + 1;
    (to_position >= from_position).then_some(PlannedLoss {
        from_position,
        to_position,
        from_lsn: end.from_lsn,
        end_lsn: end.end_lsn,
        from_version,
        next_version: from_version,
        exact: false,
    })
}

/// Behind the last version that can be read, the last loss takes as many versions along as all of
/// what is lost there can have held.
fn bound_versions(facts: &Facts, losses: &mut [PlannedLoss]) {
    let known = facts.last_version.unwrap_or(0);
    let open = |loss: &PlannedLoss| loss.from_version > known;
    let bytes = losses.iter().filter(|loss| open(loss)).map(|loss| match facts.lost_end {
        Some(end) if !loss.exact => end.bytes_max,
        _ => loss.end_lsn - loss.from_lsn,
    });
    let versions = bytes.sum::<u64>() / TRANSACTION_BYTES_MIN;
    if let Some(last) = losses.last_mut().filter(|loss| open(loss)) {
        // Where a version follows, that one says it.
        let follows = last.next_version > last.from_version;
        if !follows {
            last.next_version = known.max(facts.mark.version) + versions + 1;
            last.exact = false;
        }
    }
}

/// The records that stand in for a loss: one, and one more wherever a checkpoint's replay begins
/// inside of it.
fn stand_ins(facts: &Facts, loss: &PlannedLoss, audit: &[u8]) -> Vec<StandIn> {
    let oldest = facts.replay_from.iter().copied().min().unwrap_or(1);
    let begin = loss.from_position.max(oldest);
    let inside = |from: &u64| begin < *from && *from <= loss.to_position;
    let mut begins: BTreeSet<u64> = facts.replay_from.iter().copied().filter(inside).collect();
    begins.insert(begin);
    let ends = begins.iter().skip(1).map(|next| next - 1).chain([loss.to_position]);
    let audit = audit::of_loss(audit, loss);
    let pieces: Vec<(u64, u64)> = begins.iter().copied().zip(ends).collect();
    let piece = |(position, to_position): (u64, u64)| {
        let last = to_position == loss.to_position;
        let record = Loss {
            from_position: position,
            to_position,
            from_lsn: loss.from_lsn,
            end_lsn: loss.end_lsn,
            next_version: if last { loss.next_version } else { loss.from_version },
            audit: &audit,
        };
        StandIn { position, to_position, payload: record.encode() }
    };
    pieces.into_iter().map(piece).collect()
}

/// Where nothing is lost that is not elsewhere, the decision is told by a record that stands for
/// itself only, behind everything.
fn trace(facts: &Facts, audit: &[u8]) -> StandIn {
    let places = || facts.findings.iter().map(|finding| &finding.place);
    let position = facts.next_position;
    let audit = audit::of_nothing(audit);
    let record = Loss {
        from_position: position,
        to_position: position,
        from_lsn: places().map(|place| place.from).min().unwrap_or(0),
        end_lsn: places().map(|place| place.to).max().unwrap_or(0),
        next_version: facts.last_version.unwrap_or(0).max(facts.mark.version) + 1,
        audit: &audit,
    };
    StandIn { position, to_position: position, payload: record.encode() }
}
