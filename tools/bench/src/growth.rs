//! How the time of a start grows: with what lies in the journal, with what lies in a checkpoint,
//! with the messages of a server, and the same of other stores.
//!
//! Invariant: each point is a store of its own, opened in a process of its own (other stores: in
//! this one); what one curve shows was measured in one run.

use std::path::Path;

use crate::Failed;
use crate::args::Args;
use crate::book::{Book, Figure};
use crate::disks::Place;
use crate::{replay, restart};

/// Transactions of each point, in thousands.
pub(crate) const THOUSANDS: [u64; 4] = [250, 500, 1_000, 2_000];
/// A point of ours whose transactions all lie in the journal.
pub(crate) const JOURNAL: &str = "all in the journal";
/// A point of ours whose transactions all lie in a checkpoint.
pub(crate) const CHECKPOINT: &str = "all in a checkpoint";

/// What a point is called.
pub(crate) fn name(thousands: u64, curve: &str) -> String {
    format!("{thousands} k transactions, {curve}")
}

/// A point: how long the open took, and what of it each thousand took.
pub(crate) fn point(thousands: u64, curve: &str, seconds: f64) -> Figure {
    let ms = seconds * 1e3;
    Figure::new(name(thousands, curve), "ms", ms).with("us per k", ms * 1e3 / thousands as f64)
}

/// Measures everything in this section once.
pub(crate) fn measure(args: &Args, dir: &Path, book: &mut Book) -> Result<(), Failed> {
    restart::measure_growth(args, dir, book)?;
    for thousands in THOUSANDS {
        let place = Place::new(dir)?;
        replay::fill(&place.store(), thousands * 1_000, true)?;
        let replayed = replay::open_in_child(&place.store())?;
        book.add(point(thousands, JOURNAL, replayed.seconds));
        replay::checkpoint_and_close(&place.store())?;
        let loaded = replay::open_in_child(&place.store())?;
        book.add(point(thousands, CHECKPOINT, loaded.seconds));
    }
    #[cfg(feature = "peers")]
    crate::peers::measure_growth(dir, book)?;
    Ok(())
}
