//! The state before: what an examination saw of a store, before anything was decided, and the
//! figures of the layers that count nothing themselves; and how much a start has ahead of it.

use rekindle_engine::checkpoint;
use rekindle_engine::recovery::{EngineLayer, Trusted};
use rekindle_env::ReadDisk;
use rekindle_journal::{Layout, TrustedJournal, TrustedMeta};
use rekindle_recovery::report::figures;
use rekindle_recovery::{Before, Ended, LayerReport, Verdict};

/// Bytes that a start will probably read: the newest checkpoint, and the journal twice, once to
/// check it and once to replay it. What is not there or cannot be looked at counts nothing here.
pub(crate) fn bytes_ahead(
    disk: &(dyn ReadDisk + 'static),
    layout: &Layout,
    engine: &EngineLayer,
    meta: &TrustedMeta,
) -> u64 {
    let newest = meta.meta.map_or(0, |meta| meta.checkpoints[0]);
    let path = engine.folder().join(checkpoint::file_name(newest));
    let checkpoint = disk.stat(&path).ok().flatten().map_or(0, |entry| entry.len);
    let entries = disk.list(&layout.journal_dir()).unwrap_or_default();
    let journal: u64 = entries.iter().map(|entry| entry.len).sum();
    checkpoint.saturating_add(journal.saturating_mul(2))
}

/// How the store stood, as far as the layers below the database say.
pub(crate) fn before(meta: &TrustedMeta, engine: &Trusted, journal: &TrustedJournal) -> Before {
    let chosen = engine.chosen();
    let version = engine.mark().version;
    let frames = |it: &rekindle_journal::recovery::judge::TrustedSegment| {
        it.end_lsn.saturating_sub(it.header.first_frame_lsn())
    };
    Before {
        incarnation: journal.incarnation,
        ended: ended(meta, journal),
        newest_version: version,
        newest_position: journal.last_position(),
        journal_segments: journal.segments.len() as u64,
        journal_bytes: journal.segments.iter().map(frames).sum(),
        checkpoints: engine.names().iter().filter(|id| **id != 0).count() as u64,
        checkpoint_bytes: chosen.map_or(0, |chosen| chosen.bytes),
        checkpoint_version: version,
    }
}

/// How the run before ended: a clean one marked the end of its journal.
fn ended(meta: &TrustedMeta, journal: &TrustedJournal) -> Ended {
    let Some(meta) = &meta.meta else { return Ended::New };
    match journal.end {
        None => Ended::Unknown,
        Some(end) if meta.clean_end_lsn == end.lsn && !journal.torn => Ended::Clean,
        Some(_) => Ended::Unclean,
    }
}

/// What the engine found.
pub(crate) fn engine_figures(report: &mut LayerReport, engine: &Trusted) {
    if let Some(chosen) = engine.chosen() {
        report.figure("checkpoint_version", chosen.mark.version);
        report.figure("checkpoint_rows", chosen.rows);
        report.figure("checkpoint_bytes", chosen.bytes);
    }
}

/// What the journal found, and what of it a start replays or cuts.
pub(crate) fn journal_figures(report: &mut LayerReport, journal: &TrustedJournal, from: u64) {
    let torn = report.findings.iter().filter(|it| it.verdict == Some(Verdict::Torn));
    let cut = torn.map(|it| it.place.to.saturating_sub(it.place.from)).sum();
    report.figure("segments", journal.segments.len() as u64);
    report.figure("frames_read", journal.frames);
    report.figure("records_read", journal.records);
    report.figure("bytes_to_replay", journal.replay_bytes(from));
    report.figure(figures::BYTES_CUT, cut);
}
