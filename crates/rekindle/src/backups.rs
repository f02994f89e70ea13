//! Backups and restores as JSON: what the server answers and what the commands print.
//!
//! Invariant: one shape for a backup, whoever tells of it.

use rekindle_database::{Backup, BackupReport, Manifest, Pruned};
use serde_json::{Value, json};

/// A backup by its manifest.
#[must_use]
pub fn summary(manifest: &Manifest) -> Value {
    json!({
        "number": manifest.number,
        "earlier": manifest.earlier,
        "store_id": manifest.store_id,
        "lineage": manifest.lineage,
        "node": manifest.node,
        "engine": manifest.engine.as_deref().unwrap_or("memory"),
        "program": manifest.program,
        "incarnation": manifest.incarnation,
        "taken_ms": manifest.taken_ms,
        "position": manifest.position,
        "version": manifest.version,
        "log_time_ms": manifest.log_time_ms,
        "until_ms": manifest.until_ms,
        "checkpoint_version": manifest.checkpoint.version,
        "checkpoint_log_time_ms": manifest.checkpoint.log_time_ms,
        "segments": manifest.segments.len(),
        "bytes": manifest.file_bytes(),
    })
}

/// A backup that was just taken.
#[must_use]
pub fn taken(backup: &Backup) -> Value {
    let mut value = summary(&backup.manifest);
    let more = json!({
        "to": backup.dir.display().to_string(),
        "linked": backup.linked,
        "copied": backup.copied,
        "copied_bytes": backup.copied_bytes,
        "kept": backup.kept,
        "continuous": backup.continuous,
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

/// A backup in words, for the audit log.
#[must_use]
pub fn in_words(backup: &Backup) -> String {
    let Backup { manifest, linked, copied, kept, continuous, .. } = backup;
    let gap = if *continuous { "" } else { ", with a gap behind the one before" };
    format!(
        "backup {}: version {}, position {}; {linked} linked, {copied} copied, {kept} kept{gap}",
        manifest.number, manifest.version, manifest.position
    )
}

/// What `backup prune` did, or would do.
#[must_use]
pub fn pruned(pruned: &Pruned, dry_run: bool) -> Value {
    let summaries = |list: &[Manifest]| list.iter().map(summary).collect::<Vec<_>>();
    json!({
        "kept": summaries(&pruned.kept),
        "removed": summaries(&pruned.removed),
        "files": pruned.files,
        "bytes": pruned.bytes,
        "dry_run": dry_run,
    })
}

/// What `backup verify` found.
#[must_use]
pub fn verified(report: &BackupReport) -> Value {
    let backups: Vec<Value> = report
        .backups
        .iter()
        .map(|(manifest, restorable)| {
            let mut value = summary(manifest);
            if let Value::Object(value) = &mut value {
                value.insert("restorable".to_owned(), Value::Bool(*restorable));
            }
            value
        })
        .collect();
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "file": finding.file,
                "offset": finding.offset,
                "expected": finding.expected,
                "found": finding.found,
            })
        })
        .collect();
    json!({
        "code": report.code(),
        "backups": backups,
        "findings": findings,
        "files": report.files,
        "bytes": report.bytes,
    })
}
