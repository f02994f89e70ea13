//! Finished jobs that were kept for long enough: their rows go.
//!
//! Invariant: a job is judged anew in the transaction that removes it: one that was tried again, or
//! finished again later, stays.

use rekindle_database::Transaction;

use crate::claims::Subject;
use crate::exec::{Answer, Command, Core, Stop};
use crate::jobs::job;
use crate::jobs::outcome::parse_end;
use crate::jobs::submit::drop_key;
use crate::keys::subject as key;

/// Removes jobs.
pub(crate) struct Retire<'a> {
    pub(crate) jobs: &'a [Subject],
    pub(crate) now_ms: u64,
}

impl Command for Retire<'_> {
    /// How many were removed.
    type Value = u64;
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<u64>, Stop> {
        let mut removed = 0;
        for &id in self.jobs {
            removed += u64::from(self.one(core, txn, id)?);
        }
        Ok(Answer::new(removed))
    }
}

impl Retire<'_> {
    fn one(&self, core: &Core, txn: &mut Transaction, id: Subject) -> Result<bool, Stop> {
        let keyspaces = &core.keyspaces;
        let Some(line) = core.index.line_of(id.line) else { return Ok(false) };
        let Some(kind) = line.jobs() else { return Ok(false) };
        let key = key::encode(id);
        let outcome = txn.get(keyspaces.job_outcomes, &key)?;
        let Some((status, finished_ms)) = outcome.and_then(|row| parse_end(&row.bytes)) else {
            return Ok(false);
        };
        let kept = usize::from(status).checked_sub(1);
        let kept_ms = kept.and_then(|place| kind.settings.kept_ms().get(place).copied());
        let over = kept_ms.is_some_and(|ms| finished_ms.saturating_add(ms) <= self.now_ms);
        if !over {
            return Ok(false);
        }
        if let Some(row) = txn.get(keyspaces.jobs, &key)?
            && let Ok(head) = job::parse_head(&row.bytes)
            && let Some(unique) = head.unique
        {
            drop_key(core, txn, id, unique.key, self.now_ms)?;
        }
        for keyspace in [keyspaces.job_outcomes, keyspaces.attempts, keyspaces.job_progress] {
            txn.delete(keyspace, &key);
        }
        txn.delete(keyspaces.jobs, &key);
        Ok(true)
    }
}
