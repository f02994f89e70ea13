//! Limits that both ends of the protocol know. A server may be configured to allow less.

/// The longest body of a message.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// The longest request or answer, and the longest batch of a stream.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// The most items (messages, tokens) of one request or batch.
pub const ITEMS_MAX: usize = 1_000;
/// The results that a server keeps at least per producer: a client has no more identified items
/// unanswered than this, so that each of them can be repeated safely.
pub const PRODUCER_RESULTS_MIN: usize = 1_024;
/// The bytes of a producer id.
pub const PRODUCER_ID_BYTES: usize = 16;
