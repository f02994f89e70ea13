//! What the overview remembers: how the server stood, once a second, for the last ten minutes.
//!
//! Invariant: the ring holds at most [`KEPT`] samples of a fixed size, whatever the server does;
//! a second that nobody looked at (a stopped process) is a gap, never a guess.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::state::Server;

/// Samples that are kept: ten minutes.
pub(super) const KEPT: usize = 600;
/// A point of a chart stands for so many seconds.
pub(super) const POINT_S: u64 = 5;
/// Points of a chart: ten minutes.
pub(super) const POINTS: usize = KEPT / 5;
/// Queues whose messages are counted, the first by name: what `/metrics` shows as well.
pub(super) const QUEUES_COUNTED: usize = 1_000;

/// How the server stood at one moment. Counters only grow; the others move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// When, milliseconds of the boot clock.
    pub(super) at_ms: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) acked: u64,
    pub(super) transactions: u64,
    pub(super) queues: u64,
    pub(super) more_queues: bool,
    pub(super) ready: u64,
    pub(super) leased: u64,
    pub(super) delayed: u64,
    pub(super) review: u64,
    pub(super) calls: u64,
    pub(super) waiting: u64,
    pub(super) connections: u64,
    pub(super) state_bytes: u64,
    pub(super) state_max_bytes: u64,
    pub(super) predicted_micros: u64,
    /// The age of the oldest ready message, as of the last look of the alerts.
    pub(super) oldest_micros: u64,
    /// Syncs of the journal, and how long they took in all.
    pub(super) syncs: u64,
    pub(super) sync_ns: u64,
}

/// The last ten minutes.
#[derive(Debug, Default)]
pub(super) struct Ring(VecDeque<Sample>);

impl Ring {
    /// Adds a sample; the oldest goes.
    pub(super) fn push(&mut self, sample: Sample) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// The newest sample.
    pub(super) fn newest(&self) -> Option<Sample> {
        self.0.back().copied()
    }

    /// The newest two that are next to each other.
    pub(super) fn pair(&self) -> Option<(Sample, Sample)> {
        let mut last = self.0.iter().rev();
        let (after, before) = (last.next()?, last.next()?);
        Some((*before, *after))
    }

    /// For each point of a chart its first and last sample, oldest first; the newest whole point is
    /// the last one. A point is the same however often one looks, so lines do not tremble.
    pub(super) fn points(&self) -> Vec<Option<(Sample, Sample)>> {
        let point = |sample: &Sample| sample.at_ms / (POINT_S * 1_000);
        let mut points = vec![None; POINTS];
        let Some(newest) = self.0.back().map(point) else { return points };
        let mut before: Option<Sample> = None;
        for sample in &self.0 {
            // The newest point is not whole yet: the one before it is the last of the chart.
            let back = newest.saturating_sub(point(sample));
            let back = usize::try_from(back).unwrap_or(usize::MAX);
            let place = POINTS.checked_sub(back).filter(|_| back > 0);
            if let Some(slot) = place.and_then(|place| points.get_mut(place)) {
                let near = before.filter(|before| point(before) + 1 >= point(sample));
                let first = slot.map_or(near.unwrap_or(*sample), |(first, _)| first);
                *slot = Some((first, *sample));
            }
            before = Some(*sample);
        }
        points
    }
}

/// What a counter did per second between two samples.
pub(super) fn per_second(
    (before, after): (Sample, Sample),
    counter: impl Fn(&Sample) -> u64,
) -> Option<f64> {
    let elapsed_ms = after.at_ms.checked_sub(before.at_ms).filter(|ms| *ms > 0)?;
    let grown = counter(&after).saturating_sub(counter(&before));
    Some(float(grown) * 1_000.0 / float(elapsed_ms))
}

/// The mean time of a sync between two samples, microseconds; `None`: there was none.
pub(super) fn sync_micros((before, after): (Sample, Sample)) -> Option<f64> {
    let count = after.syncs.saturating_sub(before.syncs);
    let took_ns = after.sync_ns.saturating_sub(before.sync_ns);
    (count > 0).then(|| float(took_ns) / float(count) / 1_000.0)
}

/// A number for a drawing.
#[allow(clippy::cast_precision_loss, reason = "a drawing needs no 53 bits")]
pub(super) fn float(value: u64) -> f64 {
    value as f64
}

/// Looks once a second for as long as the server runs.
pub(super) async fn watch(server: Arc<Server>) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        seconds.tick().await;
        let sample = look(&server);
        server.page.ring().push(sample);
    }
}

/// How the server stands now.
fn look(server: &Server) -> Sample {
    let counters = &server.counters;
    let mut sample = Sample {
        at_ms: server.env.clock.boot_ns() / 1_000_000,
        sent: counters.sent.load(Ordering::Relaxed),
        received: counters.received.load(Ordering::Relaxed),
        acked: counters.acked.load(Ordering::Relaxed),
        calls: server.budget.calls(),
        waiting: server.budget.waiting(),
        connections: server.grpc_doorman.open() + server.http_doorman.open(),
        ..Sample::default()
    };
    let syncs = server.disk_times.syncs(server.env.clock.boot_ns());
    (sample.syncs, sample.sync_ns) = (syncs.count, syncs.total_ns);
    let oldest = server.alerts.figures().backlog_seconds.unwrap_or(0.0);
    let oldest = Duration::try_from_secs_f64(oldest).unwrap_or_default();
    sample.oldest_micros = u64::try_from(oldest.as_micros()).unwrap_or(u64::MAX);
    let Some(recovered) = server.recovered() else { return sample };
    let stats = recovered.database.stats();
    sample.transactions = stats.commits;
    sample.state_bytes = stats.state_bytes;
    sample.state_max_bytes = stats.max_state_bytes;
    sample.predicted_micros = stats.predicted_replay_micros;
    if let Ok((queues, more)) = recovered.services.queues().list("", QUEUES_COUNTED) {
        sample.queues = u64::try_from(queues.len()).unwrap_or(u64::MAX);
        sample.more_queues = more;
        for queue in &queues {
            sample.ready += queue.stats.ready;
            sample.leased += queue.stats.leased;
            sample.delayed += queue.stats.delayed;
            sample.review += queue.stats.review;
        }
    }
    sample
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn at(second: u64) -> Sample {
        Sample { at_ms: second * 1_000, sent: second * 10, ready: second, ..Sample::default() }
    }

    /// Ten minutes and no more; a point is the mean of its seconds; a gap is a gap.
    #[test]
    fn the_ring_is_bounded_and_has_gaps() {
        let mut ring = Ring::default();
        assert!(ring.points().iter().all(Option::is_none));
        for second in (0..10_000).filter(|second| !(9_500..9_600).contains(second)) {
            ring.push(at(second));
        }
        assert_eq!(ring.0.len(), KEPT);
        let points = ring.points();
        assert_eq!(points.len(), POINTS);
        let rates: Vec<Option<f64>> =
            points.iter().map(|point| per_second((*point)?, |it| it.sent)).collect();
        assert_eq!(rates.iter().flatten().count(), POINTS - 20);
        assert!(rates.iter().flatten().all(|rate| (*rate - 10.0).abs() < 1e-9), "{rates:?}");
        let last = points.last().unwrap().unwrap();
        assert_eq!(last.1.ready, 9_994, "the point that is not whole is not shown");
    }

    /// A second later the same points are there, one place to the left or where they were.
    #[test]
    fn points_do_not_tremble() {
        let mut ring = Ring::default();
        for second in 0..47 {
            ring.push(at(second));
        }
        let before = ring.points();
        ring.push(at(47));
        assert_eq!(before, ring.points());
        for second in 48..52 {
            ring.push(at(second));
        }
        assert_eq!(before[1..], ring.points()[..POINTS - 1]);
    }
}
