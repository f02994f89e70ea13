//! The store's description for people: one line for each thing.

use std::fmt::Write as _;

use rekindle_recovery::exit;
use rekindle_recovery::identity::{FEATURE_LEVEL, STORE_FORMAT, engine_name};

use super::{CheckpointInfo, CopyInfo, StoreInfo};

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl StoreInfo {
    /// The description as lines of text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![
            format!("store       {}", self.who()),
            format!("format      {}", self.formats()),
            format!("runs        {}", self.runs()),
            format!("journal     {}", self.journal()),
        ];
        if self.checkpoints.is_empty() {
            lines.push("checkpoint  none".to_owned());
        }
        lines.extend(self.checkpoints.iter().map(|one| format!("checkpoint  {}", checkpoint(one))));
        lines.extend(self.families.iter().map(|one| {
            format!("family      {}: about {} keys, {} bytes", one.name, one.keys, one.bytes)
        }));
        let (from, to) = self.known_versions();
        let later = if self.running.is_some() { "" } else { ", later ones in the journal" };
        lines.push(format!("versions    {from} to {to}{later}"));
        lines.push(format!(
            "quarantine  {} files, {} bytes; reports: {}",
            self.quarantine.count, self.quarantine.bytes, self.reports.count
        ));
        lines.extend(self.copies.iter().map(|copy| format!("{:<10}  {}", name(copy), state(copy))));
        lines.extend(self.report.findings().map(|finding| format!("finding     {finding}")));
        lines.push(self.verdict_line());
        lines.join("\n")
    }

    /// What it all means.
    fn verdict_line(&self) -> String {
        match self.code() {
            exit::CLEAN => "whole, as far as headers show: `verify` reads every byte".to_owned(),
            exit::TORN => "a segment was being made; a start sets it aside".to_owned(),
            exit::HEALED => "damaged, and nothing is lost: a second copy stands in".to_owned(),
            exit::CORRUPT => "damaged: a start is refused".to_owned(),
            _ => {
                let refusal = self.report.refusal().map(|failure| failure.to_string());
                refusal.unwrap_or_else(|| "cannot be opened by this program".to_owned())
            }
        }
    }

    fn who(&self) -> String {
        let id = self.store_id.map_or_else(|| "unknown".to_owned(), |id| hex(&id));
        match &self.identity {
            Some(who) => format!(
                "{id}, lineage {}, node {}, engine {}",
                hex(&who.lineage),
                who.node,
                engine_name(who.engine)
            ),
            None => format!("{id}; no copy of its identity can be read"),
        }
    }

    fn formats(&self) -> String {
        let program = env!("CARGO_PKG_VERSION");
        let ours = format!(
            "rekindle {program} reads format {STORE_FORMAT}, feature level {FEATURE_LEVEL}"
        );
        let Some(versions) = self.versions else { return format!("unknown; {ours}") };
        let level = self
            .identity
            .as_ref()
            .map_or_else(String::new, |who| format!(", feature level {}", who.feature_level));
        let features = versions.features;
        let features =
            if features == 0 { String::new() } else { format!(", features {features:#x}") };
        format!(
            "{}, readers from {}{features}{level}; {ours}",
            versions.format, versions.min_reader
        )
    }

    fn runs(&self) -> String {
        let end = match (self.running, self.clean_end) {
            (Some(_), _) => "it runs now",
            (None, Some(true)) => "the last one was closed",
            (None, Some(false)) => "the last one did not end cleanly",
            (None, None) => "how the last one ended is unknown",
        };
        format!("{}; {end}", self.incarnation)
    }

    fn journal(&self) -> String {
        let segments = self.segments;
        if segments.count == 0 {
            return "no segment".to_owned();
        }
        let from = segments.from_position;
        let from = from.map_or_else(|| "unknown".to_owned(), |position| position.to_string());
        format!(
            "{} segments ({} to {}), {} bytes, positions from {from} to {} and later",
            segments.count,
            segments.oldest,
            segments.newest,
            segments.bytes,
            self.known_position()
        )
    }

    /// The highest position that is known to be there.
    pub(super) fn known_position(&self) -> u64 {
        let running = self.running.map_or(0, |running| running.durable_position);
        running.max(self.segments.known_position)
    }
}

fn checkpoint(one: &CheckpointInfo) -> String {
    let (id, state) = (one.id, one.state());
    match (&one.holds, &one.wrong) {
        (Some(it), _) => format!(
            "{id}: version {}, position {}, {} rows, {} bytes, replay from {}",
            it.version, it.position, it.rows, it.bytes, it.replay_from
        ),
        (None, Some((offset, expected, found))) => {
            format!("{id}: {state} at {offset}: expected {expected}, found {found}")
        }
        (None, None) => format!("{id}: {state}"),
    }
}

/// A copy by its file's name.
fn name(copy: &CopyInfo) -> &str {
    copy.file.rsplit('/').next().unwrap_or(&copy.file)
}

fn state(copy: &CopyInfo) -> String {
    let sequence = copy.sequence.map_or_else(String::new, |number| format!(", sequence {number}"));
    let wrong = copy.wrong.as_ref().map_or_else(String::new, |(offset, expected, found)| {
        format!(" at {offset}: expected {expected}, found {found}")
    });
    format!("{}{sequence}{wrong}", copy.state.name())
}
