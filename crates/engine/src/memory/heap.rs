//! Growing the heap in large steps while rows are added.
//!
//! The GNU allocator extends the heap of every thread but the first by as many pages as one
//! allocation needs, with a system call each time: a tenth of the work of a thread that applies
//! rows of 1 KiB. Taking a large block and giving it back leaves that room at the end of the heap,
//! and untouched memory costs nothing. Other allocators lose some nanoseconds per step.
//!
//! Invariant: it changes only when memory is mapped, never what the engine holds.

use std::hint::black_box;

/// Bytes of rows between two steps.
const STEP_BYTES: usize = 1 << 20;
/// The room that a step asks for: the rows, their allocations' headers, the leaves.
const ROOM_BYTES: usize = 2 * STEP_BYTES;

/// How much of the room of the last step is used.
#[derive(Debug)]
pub(super) struct HeapRoom {
    used: usize,
}

impl Default for HeapRoom {
    fn default() -> Self {
        Self { used: STEP_BYTES }
    }
}

impl HeapRoom {
    /// Notes that a row with so many bytes is added next.
    pub(super) fn takes(&mut self, bytes: usize) {
        self.used = self.used.saturating_add(bytes);
        if self.used >= STEP_BYTES {
            self.used = 0;
            drop(black_box(Vec::<u8>::with_capacity(black_box(ROOM_BYTES))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_taken_at_the_start_and_then_by_bytes() {
        let mut room = HeapRoom::default();
        room.takes(1);
        assert_eq!(room.used, 0, "the first row takes a step");
        room.takes(STEP_BYTES - 1);
        assert_eq!(room.used, STEP_BYTES - 1);
        room.takes(usize::MAX);
        assert_eq!(room.used, 0);
    }
}
