//! Connections of the HTTP front.
//!
//! Invariant: a connection is served on its own task and cannot delay another; heads are bounded in
//! size and time.

use std::sync::Arc;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tonic::transport::server::Connected as _;
use tower::ServiceExt as _;

use super::super::connections::{Guarded, accept};
use super::super::limits::{HEAD_TIMEOUT, HEADER_LIST_BYTES_MAX, HTTP_HEADERS_MAX};
use crate::state::Server;

/// Serves until it is dropped: probes are answered to the very end.
pub async fn serve(listener: TcpListener, router: Router, server: Arc<Server>) {
    loop {
        let (socket, address) = accept(&listener, &server.http_doorman, 1).await;
        let router = router.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(socket, router).await {
                tracing::debug!(%address, %error, "HTTP connection ended");
            }
        });
    }
}

/// Serves one connection to its end.
async fn converse(socket: Guarded, router: Router) -> hyper::Result<()> {
    let peer = socket.connect_info();
    let router = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request
    });
    let head_bytes = usize::try_from(HEADER_LIST_BYTES_MAX).expect("16 KiB fit");
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HTTP_HEADERS_MAX)
        .max_buf_size(head_bytes)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router))
        .await
}
