//! A restore as an audit record of the store that it made, once.
//!
//! Invariant: the note of the restore goes only when its record is acknowledged, so a crash in
//! between tells it again, and what was told before is not told twice.

use rekindle_database::{Database, RestoreNote};

use crate::audit::{Audit, NewAudit, one_line};
use crate::error::Error;

/// The action of such a record.
const ACTION: &str = "store.restore";

/// Records the restore that this store came from, if nobody has; answers whether it did.
pub(crate) fn record(audit: &Audit, database: &Database) -> Result<bool, Error> {
    let Some(note) = database.restored_by()? else { return Ok(false) };
    let target = format!("lineage {}", note.lineage);
    let told = audit.last_of(&target, ACTION)?.is_some();
    if !told {
        let who = one_line(&note.who);
        let who = if who.is_empty() { "restore".to_owned() } else { format!("{who} (restore)") };
        let (who, why, result) = (one_line(&who), one_line(&note.reason), describe(&note));
        let (action, target) = (ACTION, target.as_str());
        audit.record(&NewAudit { who: &who, action, target, why: &why, result: &result })?;
    }
    database.forget_restore()?;
    Ok(!told)
}

fn describe(note: &RestoreNote) -> String {
    if note.version == 0 {
        return "what the restore wrote down cannot be read".to_owned();
    }
    one_line(&format!(
        "{} restored at {} (wall_ms): backup {} up to version {}, position {}, of lineage {}, by \
         program {}, from {}",
        note.moment,
        note.wall_ms,
        note.backup,
        note.version,
        note.position,
        note.of_lineage,
        note.program,
        note.from
    ))
}
