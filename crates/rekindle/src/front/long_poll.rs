//! Long polls: how long a receiver waits, and how many may.
//!
//! Invariant: a wait is at most [`LONG_POLL_MAX`], holds one of the places that both fronts share,
//! and ends when the server does; without a place there is no wait.

use std::time::Duration;

use super::limits::LONG_POLL_MAX;
use crate::progress::Stage;
use crate::state::Server;

/// Ends when the caller has waited long enough, or the server shuts down. A call that finds too
/// many waiting does not wait.
pub(super) async fn waited(server: &Server, wait_ms: u64) {
    if wait_ms == 0 {
        return;
    }
    let Ok(_place) = server.budget.long_polls.try_acquire() else { return };
    let wait = Duration::from_millis(wait_ms).min(LONG_POLL_MAX);
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = server.progress.reached(Stage::Shutdown) => {}
    }
}
