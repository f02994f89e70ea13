//! The sending half of a stream: batches of whatever is unsent at the moment the connection asks.
//!
//! The connection polls this as it has room, so messages coalesce exactly as much as the server and
//! the network are behind, without any timer; and there is no task between a sender and the socket.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use rekindle_wire::v1::SendBatch;

use super::Shared;

pub(super) struct Batches {
    pub(super) shared: Arc<Shared>,
    pub(super) epoch: u64,
}

impl Stream for Batches {
    type Item = SendBatch;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SendBatch>> {
        self.shared.lock().poll_batch(self.epoch, context.waker())
    }
}
