//! Repair: the readable part of a damaged journal, written anew with records that stand for what is
//! lost.
//!
//! ```text
//!   survey    what can be read, in order, and the holes in its positions      (reads only)
//!   cut       from which segment on it is written anew, and to where          (no I/O)
//!   patched   the journal as it will be: its records and the stand-ins        (reads only)
//!   rewrite   new segments, then meta names them, then the originals leave    (writes)
//! ```
//!
//! Which versions and what text a stand-in carries is decided above, where payloads are known.
//! Invariants: no segment that was there is written to; a record that could be read is copied as it
//! is, with its position; until meta names the new segments the journal is what it was, from then
//! on it is the repaired one; the originals are moved, never removed.

mod cut;
mod patched;
mod rewrite;
mod survey;

pub use self::cut::{Cut, LostEnd};
pub use self::patched::{Patched, StandIn};
pub use self::rewrite::Rewritten;
pub use self::survey::{Hole, Survey, Surveyed};
