//! How far a start is, for people: a line in the log each second, and a bar on a terminal.
//!
//! Invariants: nothing is drawn where standard error is no terminal; a bar is erased before
//! anything else is written there; who cannot be told stops nothing.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::progress::Status;
use crate::state::Server;

/// How often the bar moves.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// A start that is over sooner shows no bar.
const DRAW_AFTER_MS: u64 = 300;
/// How often the log is told.
const LOG_EVERY_MS: u64 = 1_000;
/// Characters between the brackets.
const CELLS: u64 = 30;

/// Whether a bar stands on the last line of standard error.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// Standard error, without a bar on it.
pub(crate) fn stderr() -> io::Stderr {
    erase();
    io::stderr()
}

/// Erases the bar, if there is one.
pub(crate) fn erase() {
    if DRAWN.swap(false, Ordering::Relaxed) {
        let _ = io::stderr().write_all(b"\r\x1b[K");
    }
}

/// Tells log and terminal how far a start is, until it is over.
pub(crate) async fn tell(server: Arc<Server>) {
    let terminal = io::stderr().is_terminal();
    let mut every = interval(DRAW_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut logged_ms = 0;
    loop {
        every.tick().await;
        if server.progress.outcome().is_some() {
            return;
        }
        let status = server.progress.status();
        if status.elapsed_ms >= logged_ms + LOG_EVERY_MS {
            logged_ms = status.elapsed_ms;
            log(&status);
        }
        if terminal && status.elapsed_ms >= DRAW_AFTER_MS {
            draw(&status);
        }
    }
}

fn log(status: &Status) {
    tracing::info!(
        layer = status.layer,
        stage = status.layer_stage.map(|stage| stage.to_string()),
        bytes_done = status.bytes_done,
        bytes_total = status.bytes_total,
        records_done = status.records_done,
        records_total = status.records_total,
        bytes_per_second = status.bytes_per_second,
        remaining_ms = status.remaining_ms,
        elapsed_ms = status.elapsed_ms,
        "recovery progress"
    );
}

fn draw(status: &Status) {
    let text = format!("\r{}\x1b[K", line(status));
    let drawn = io::stderr().write_all(text.as_bytes());
    DRAWN.store(drawn.is_ok(), Ordering::Relaxed);
}

/// `recovering [######........]  43 %  journal scan, 1.2 of 2.8 GB, 310 MB/s, 5 s left`
fn line(status: &Status) -> String {
    let done = status.bytes_done.min(status.bytes_total);
    let of = |whole: u64| {
        let part = u128::from(done) * u128::from(whole);
        let part = part.checked_div(u128::from(status.bytes_total)).unwrap_or(0);
        u64::try_from(part).unwrap_or(whole)
    };
    let filled = usize::try_from(of(CELLS)).unwrap_or(0);
    let empty = usize::try_from(CELLS).unwrap_or(0).saturating_sub(filled);
    let bar = format!("{}{}", "#".repeat(filled), ".".repeat(empty));
    let mut text = format!("recovering [{bar}] {:3} %", of(100));
    if let (Some(layer), Some(stage)) = (status.layer, status.layer_stage) {
        text.push_str(&format!("  {layer} {stage}"));
    }
    text.push_str(&format!(", {} of {}", size(done), size(status.bytes_total)));
    if status.bytes_per_second > 0 {
        text.push_str(&format!(", {}/s", size(status.bytes_per_second)));
    }
    if let Some(ms) = status.remaining_ms {
        text.push_str(&format!(", {} s left", ms.div_ceil(1_000)));
    }
    text
}

/// Bytes in the unit that a person would choose.
fn size(bytes: u64) -> String {
    for (unit, bytes_of_unit) in [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)] {
        if bytes >= bytes_of_unit {
            let tenths = bytes / (bytes_of_unit / 10);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Stage;
    use rekindle_recovery::Stage as LayerStage;

    #[test]
    fn a_bar_says_how_far_it_is() {
        let mut status = Status {
            ready: false,
            stage: Stage::Open,
            elapsed_ms: 900,
            estimate_ms: None,
            layer: Some("journal"),
            layer_stage: Some(LayerStage::Scan),
            bytes_done: 1_250_000_000,
            bytes_total: 2_500_000_000,
            records_done: 0,
            records_total: None,
            bytes_per_second: 310_400_000,
            remaining_ms: Some(4_001),
        };
        assert_eq!(
            line(&status),
            "recovering [###############...............]  50 %  journal scan, 1.2 GB of 2.5 GB, \
             310.4 MB/s, 5 s left"
        );
        status.bytes_done = 0;
        status.bytes_total = 0;
        status.bytes_per_second = 0;
        status.remaining_ms = None;
        status.layer = None;
        let empty = ".".repeat(30);
        assert_eq!(line(&status), format!("recovering [{empty}]   0 %, 0 B of 0 B"));
        status.bytes_done = u64::MAX;
        status.bytes_total = u64::MAX;
        assert!(line(&status).contains("100 %"));
    }
}
