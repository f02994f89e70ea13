//! The state before: what an examination saw of a store, before anything was decided, and the
//! figures of the layers that count nothing themselves.

use rekindle_engine::recovery::Trusted;
use rekindle_journal::{TrustedJournal, TrustedMeta};
use rekindle_recovery::report::figures;
use rekindle_recovery::{Before, Ended, LayerReport, Verdict};

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
