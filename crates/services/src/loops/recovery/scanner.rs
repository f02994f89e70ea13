//! Reads the rows of loops; changes nothing, judges nothing.

use std::collections::HashMap;
use std::path::Path;

use rekindle_database::{Row, Snapshot};
use rekindle_env::ReadDisk;
use rekindle_recovery::{Failure, Meter};

use crate::bytes::Malformed;
use crate::claims::Subject;
use crate::claims::lease::Lease;
use crate::claims::recovery::scan_all;
use crate::keys::{Keyspaces, loops as key, subject as job_key};
use crate::loops::id::LoopId;
use crate::loops::row::{PlanRow, Stored};
use crate::loops::transcript::read::{Found, look, parts};

/// The job of a step that was begun.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    /// Which.
    pub(crate) id: Subject,
    /// It is there, and not finished.
    pub(crate) is_open: bool,
    /// Who has it.
    pub(crate) lease: Option<Lease>,
}

/// Everything of one execution.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Its row.
    pub(crate) stored: Result<Stored, Malformed>,
    /// Its first event is there.
    pub(crate) has_first: bool,
    /// The job of its step.
    pub(crate) job: Option<Job>,
    /// Its transcript, of one that is not over.
    pub(crate) transcript: Option<Found>,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// Executions by their ids.
    pub(crate) executions: Vec<(LoopId, Piece)>,
    /// Keys that are none.
    pub(crate) bad_keys: Vec<Malformed>,
    /// The plans that can be read.
    pub(crate) plans: HashMap<LoopId, PlanRow>,
    /// When executions were last seen alive, log time.
    pub(crate) alive_ms: u64,
    /// Those that cannot.
    pub(crate) bad_plans: Vec<(LoopId, Malformed)>,
}

fn io(error: rekindle_database::Error) -> Failure {
    Failure::io("read the rows of loops", std::io::Error::other(error))
}

pub(super) fn scan(
    snapshot: &Snapshot,
    keyspaces: &Keyspaces,
    transcripts: Option<(&dyn ReadDisk, &Path)>,
    meter: &Meter,
) -> Result<Pieces, Failure> {
    let alive = snapshot.get(keyspaces.loop_progress, &key::alive()).map_err(io)?;
    let alive_ms = alive.and_then(|row| Some(u64::from_le_bytes((*row.bytes).try_into().ok()?)));
    let mut pieces = Pieces { alive_ms: alive_ms.unwrap_or(0), ..Pieces::default() };
    for row in scan_all(snapshot, keyspaces.loop_plans, "loop_plans", meter)? {
        match (key::parse(&row.key), PlanRow::parse(&row.value)) {
            (Ok(id), Ok(plan)) => drop(pieces.plans.insert(id, plan)),
            (Ok(id), Err(bad)) => pieces.bad_plans.push((id, bad)),
            (Err(bad), _) => pieces.bad_keys.push(bad),
        }
    }
    for row in scan_all(snapshot, keyspaces.loop_executions, "loop_executions", meter)? {
        match key::parse(&row.key) {
            Ok(id) => pieces.executions.push((id, piece(snapshot, keyspaces, id, &row)?)),
            Err(bad) => pieces.bad_keys.push(bad),
        }
    }
    let Some((disk, dir)) = transcripts else { return Ok(pieces) };
    // A folder that cannot be listed has files that cannot be read: that is told of each.
    let parts = parts(disk, dir).unwrap_or_default();
    for (id, piece) in &mut pieces.executions {
        let stored = piece.stored.as_ref();
        if stored.is_ok_and(|it| !it.state.status(it.updated_ms).is_finished()) {
            piece.transcript = Some(look(disk, dir, *id, &parts));
        }
    }
    Ok(pieces)
}

fn piece(
    snapshot: &Snapshot,
    keyspaces: &Keyspaces,
    id: LoopId,
    row: &Row,
) -> Result<Piece, Failure> {
    let stored = Stored::parse(&row.value);
    let is_over =
        stored.as_ref().is_ok_and(|stored| stored.state.status(stored.updated_ms).is_finished());
    if is_over {
        return Ok(Piece { stored, has_first: true, job: None, transcript: None });
    }
    let has_first = snapshot.get(keyspaces.loop_events, &key::event(id, 1)).map_err(io)?.is_some();
    let job = match stored.as_ref().ok().and_then(Stored::job) {
        None => None,
        Some(id) => {
            let key = job_key::encode(id);
            let get = |keyspace| snapshot.get(keyspace, &key).map_err(io);
            let is_open = get(keyspaces.jobs)?.is_some() && get(keyspaces.job_outcomes)?.is_none();
            let lease = get(keyspaces.leases)?;
            let lease = lease.and_then(|row| Lease::parse(&row.bytes, row.version).ok());
            Some(Job { id, is_open, lease })
        }
    };
    Ok(Piece { stored, has_first, job, transcript: None })
}
