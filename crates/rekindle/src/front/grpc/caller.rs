//! What services ask about a caller: who it is.

use tonic::Request;

use super::super::connections::Peer;

/// Who calls, for the audit log.
pub(super) fn name<T>(request: &Request<T>) -> String {
    let peer = request.extensions().get::<Peer>().and_then(|peer| peer.address);
    peer.map_or_else(|| "grpc".to_owned(), |from| format!("grpc {from}"))
}
