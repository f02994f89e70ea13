//! Files of a store belong to its owner, also those that libraries create by themselves.
//!
//! Invariant: commands that a server runs get the file mode mask that the server was started with.

use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::umask;

/// The mask before [`keep_others_out`].
static BEFORE: OnceLock<u32> = OnceLock::new();

/// From now on what this process creates can be read by its owner only.
pub fn keep_others_out() {
    let before = umask(Mode::RWXG | Mode::RWXO);
    // Of two calls the first one knows.
    let _ = BEFORE.set(before.bits());
}

/// The mask for programs that are not ours; `None` where it was never changed.
pub fn mask_of_others() -> Option<u32> {
    BEFORE.get().copied()
}

/// Takes on a mask that [`mask_of_others`] gave.
pub fn take_on(mask: u32) {
    umask(Mode::from_bits_truncate(mask));
}
