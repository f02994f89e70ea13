//! The gate before every gRPC call: table, origin, permission, bytes in flight, time for the body.
//!
//! Invariant: no service sees a call that did not pass here; the checks need nothing of the body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use rekindle_wire::error::status;
use rekindle_wire::v1::Kind;
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, header};
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::super::access::Principal;
use super::super::budget::Flight;
use super::super::connections::{Answer, Peer};
use super::super::limits::BODY_TIMEOUT;
use super::table;
use crate::state::Server;

/// Puts the gate before a service.
#[derive(Clone, Debug)]
pub struct Gate {
    server: Arc<Server>,
    principal: Principal,
}

impl Gate {
    /// The gate of a listener whose callers are `principal`.
    #[must_use]
    pub fn new(server: Arc<Server>, principal: Principal) -> Self {
        Self { server, principal }
    }

    /// Checks all that needs no body.
    fn check<B>(&self, request: &Request<B>) -> Result<table::Body, Status> {
        let path = request.uri().path();
        let Some(method) = table::find(path) else {
            return Err(Status::unimplemented(format!("there is no method {path}")));
        };
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        let names = &self.server.config.names;
        let mut hosts = request.headers().get_all(header::HOST).iter();
        // Programs that speak gRPC send no origin; a page in a browser does.
        if !names.host_is_ours(authority)
            || !hosts.all(|host| host.to_str().is_ok_and(|host| names.host_is_ours(host)))
            || request.headers().contains_key(header::ORIGIN)
        {
            let message = format!(
                "the authority {authority:?} or the origin of this call is foreign. Call by \
                 address or as localhost, or list the name in server.allowed_hosts"
            );
            return Err(status(Kind::Denied, message));
        }
        if !self.principal.may(method.permission()) {
            let message = format!("this needs the permission {}", method.permission());
            return Err(status(Kind::Denied, message));
        }
        Ok(method.body())
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.clone(), inner }
    }
}

/// A service behind the gate.
#[derive(Clone, Debug)]
pub struct Gated<S> {
    gate: Gate,
    inner: S,
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let kind = match self.gate.check(&request) {
            Ok(kind) => kind,
            Err(status) => return Box::pin(async move { Ok(status.into_http()) }),
        };
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        let answers = Arc::clone(&peer.answers);
        let flight = Arc::new(self.gate.server.budget.begin(peer));
        request.extensions_mut().insert(Arc::clone(&flight));
        let in_time = kind == table::Body::Single;
        let counted = Arc::clone(&flight);
        let request = request.map(|body| Body::new(Counted::new(body, counted, in_time)));
        let answer = self.inner.call(request);
        let server = Arc::clone(&self.gate.server);
        Box::pin(async move {
            let answer = answer.await;
            // A single request is answered now; a stream's handler holds a share of its own.
            drop(flight);
            answer.map(|answer| match Status::from_header_map(answer.headers()) {
                Some(refused) if is_malformed(&refused) => invalid(&refused).into_http(),
                Some(refused) if refused.code() == Code::DataLoss => {
                    server.alerts.damages.met(refused.message());
                    answer
                }
                // A stream's answers are made one by one, as the peer takes them.
                _ if in_time => {
                    let open = Arc::new(answers.begin());
                    let unsent =
                        move |bytes| Bytes::from_owner(Unsent { bytes, _open: Arc::clone(&open) });
                    answer.map(|body| {
                        Body::new(body.map_frame(move |frame| frame.map_data(unsent.clone())))
                    })
                }
                _ => answer,
            })
        })
    }
}

/// Bytes of a single answer, which is counted among those that wait until they are sent.
struct Unsent {
    bytes: Bytes,
    _open: Arc<Answer>,
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Whether a call was refused because its bytes are no message of the protocol. The library calls
/// that an internal error; it is the caller's.
pub(super) fn is_malformed(refused: &Status) -> bool {
    const BEGINNINGS: [&str; 3] = [
        "failed to decode Protobuf message",
        "protocol error: received message with",
        "Unexpected EOF decoding stream",
    ];
    let message = refused.message();
    refused.code() == Code::Internal && BEGINNINGS.iter().any(|begin| message.starts_with(begin))
}

/// The same as the caller's mistake.
pub(super) fn invalid(refused: &Status) -> Status {
    status(
        Kind::Invalid,
        format!("the request is no message of the protocol: {}", refused.message()),
    )
}

/// A request's body that counts what passes and has a time to arrive in.
struct Counted {
    body: Body,
    flight: Arc<Flight>,
    in_time: bool,
    late: Option<Pin<Box<Sleep>>>,
}

impl Counted {
    fn new(body: Body, flight: Arc<Flight>, in_time: bool) -> Self {
        Self { body, flight, in_time, late: None }
    }

    /// Fails once the time for the body is over.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if !self.in_time {
            return Poll::Pending;
        }
        // Begun at the first wait, so that a body which is there already costs no timer.
        let sleep = || Box::pin(tokio::time::sleep(BODY_TIMEOUT));
        ready!(self.late.get_or_insert_with(sleep).as_mut().poll(cx));
        Poll::Ready(Status::deadline_exceeded("the request's body did not arrive in time"))
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let status = ready!(self.poll_late(cx));
            return Poll::Ready(Some(Err(status)));
        };
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        let bytes = frame.data_ref().map_or(0, Buf::remaining);
        if !self.flight.take(u64::try_from(bytes).unwrap_or(u64::MAX)) {
            let message = "too many bytes are in flight; wait for answers, then try again";
            return Poll::Ready(Some(Err(status(Kind::Full, message))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
