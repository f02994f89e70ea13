//! What services ask about a caller: who it is, and how long it still waits.

use std::time::Duration;

use tonic::Request;

use super::super::connections::Peer;
use super::super::limits::LONG_POLL_MAX;
use crate::progress::Stage;
use crate::state::Server;

/// Who calls, for the audit log.
pub(super) fn name<T>(request: &Request<T>) -> String {
    let peer = request.extensions().get::<Peer>().and_then(|peer| peer.address);
    peer.map_or_else(|| "grpc".to_owned(), |from| format!("grpc {from}"))
}

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
