//! Connections: how many there may be, and what they may do to time.
//!
//! Invariants: a connection holds its place exactly as long as its socket is open; one that sends
//! nothing, or leaves what was written unread, is closed; an error of `accept` never ends the loop.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tonic::transport::server::Connected;

use super::limits::{ANSWER_TIMEOUT, FIRST_BYTE_TIMEOUT, WRITE_STALL_TIMEOUT};

/// Bytes of what an HTTP/2 connection begins with.
const HTTP2_PREFACE_BYTES: usize = 24;
/// A pause after a failed `accept`: descriptors may be used up, and asking at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Counts the connections of one listener and turns away what is too many.
#[derive(Debug)]
pub struct Doorman {
    limit: u64,
    limit_per_address: u64,
    places: Mutex<Places>,
    refused: AtomicU64,
}

/// Who is inside.
#[derive(Debug, Default)]
struct Places {
    total: u64,
    by_address: HashMap<IpAddr, u64>,
}

impl Doorman {
    /// A doorman with these limits.
    #[must_use]
    pub fn new(limit: u64, limit_per_address: u64) -> Arc<Self> {
        let (places, refused) = (Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { limit, limit_per_address, places, refused })
    }

    /// A place for one more connection, if there is one.
    #[must_use]
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        // An IPv4 peer of an IPv6 socket is the same peer.
        let address = address.to_canonical();
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let here = places.by_address.get(&address).copied().unwrap_or(0);
        if places.total >= self.limit || here >= self.limit_per_address {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        places.total += 1;
        places.by_address.insert(address, here + 1);
        Some(Place { doorman: Arc::clone(self), address })
    }

    /// Connections now.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Connections turned away so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// One connection's place; dropping it makes room.
#[derive(Debug)]
pub struct Place {
    doorman: Arc<Doorman>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.doorman.places.lock().unwrap_or_else(PoisonError::into_inner);
        debug_assert!(places.total > 0);
        places.total = places.total.saturating_sub(1);
        if let Some(here) = places.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                places.by_address.remove(&self.address);
            }
        }
    }
}

/// What the calls of one gRPC connection share.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// From where it comes.
    pub address: Option<IpAddr>,
    /// Bytes of its requests that were received and are not yet answered.
    pub inflight_bytes: Arc<AtomicU64>,
    /// Answers to it that wait to be sent.
    pub answers: Arc<Answers>,
}

/// The answers of one connection that were made and are not sent: a peer may read, and grant no
/// window for them.
#[derive(Debug, Default)]
pub struct Answers {
    /// By number, so that the first is the oldest; when each was made.
    waiting: Mutex<BTreeMap<u64, Instant>>,
    next: AtomicU64,
}

impl Answers {
    /// Notes one that was just made.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Answer {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, Instant::now());
        Answer { answers: Arc::clone(self), number }
    }

    /// Whether one waits longer than a peer may make it.
    fn is_overdue(&self) -> bool {
        self.lock().first_key_value().is_some_and(|(_, made)| made.elapsed() >= ANSWER_TIMEOUT)
    }

    /// A panic of who held it leaves it whole: one change at a time.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer; dropped once its last byte was handed to the socket.
#[derive(Debug)]
pub struct Answer {
    answers: Arc<Answers>,
    number: u64,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.answers.lock().remove(&self.number);
    }
}

/// An accepted socket with its place and its clocks.
#[derive(Debug)]
pub struct Guarded {
    tcp: TcpStream,
    peer: Peer,
    _place: Place,
    /// Runs until the first bytes arrived.
    silence: Option<Pin<Box<Sleep>>>,
    /// How many of them are still to come.
    first_bytes: usize,
    /// Runs while the peer does not take what is written.
    stall: Option<Pin<Box<Sleep>>>,
    /// Runs until answers that wait are looked at again.
    look: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    fn new(tcp: TcpStream, place: Place, first_bytes: usize) -> Self {
        let silence = Some(Box::pin(tokio::time::sleep(FIRST_BYTE_TIMEOUT)));
        let address = tcp.peer_addr().ok().map(|address| address.ip());
        let peer = Peer { address, ..Peer::default() };
        Self { tcp, peer, _place: place, silence, first_bytes, stall: None, look: None }
    }

    /// Ready once the peer made an answer wait too long.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let sleep = || Box::pin(tokio::time::sleep(ANSWER_TIMEOUT / 4));
            ready!(self.look.get_or_insert_with(sleep).as_mut().poll(cx));
            self.look = None;
            if self.peer.answers.is_overdue() {
                return Poll::Ready(());
            }
        }
    }

    /// Lets `result` through, and fails when the peer made it wait too long.
    fn watch_stall<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stall = None;
            return result;
        }
        let sleep = || Box::pin(tokio::time::sleep(WRITE_STALL_TIMEOUT));
        let stall = self.stall.get_or_insert_with(sleep);
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let result = Pin::new(&mut this.tcp).poll_read(cx, buf);
        if this.poll_overdue(cx).is_ready() {
            let message = "the peer takes no answer";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
        }
        let Some(silence) = &mut this.silence else { return result };
        if result.is_ready() {
            let came = buf.filled().len() - before;
            this.first_bytes = this.first_bytes.saturating_sub(came);
            // Nothing more comes: whoever reads ends it.
            if this.first_bytes == 0 || came == 0 {
                this.silence = None;
            }
            return result;
        }
        ready!(silence.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer says nothing")))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.watch_stall(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.watch_stall(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl Connected for Guarded {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// Accepts the next connection that finds a place, and is closed unless so many bytes come within
/// [`FIRST_BYTE_TIMEOUT`]. Cancel-safe.
pub async fn accept(
    listener: &TcpListener,
    doorman: &Arc<Doorman>,
    first_bytes: usize,
) -> (Guarded, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((tcp, address)) => {
                let Some(place) = doorman.admit(address.ip()) else {
                    tracing::debug!(%address, "connection refused: too many");
                    continue;
                };
                // Without it small answers wait for the peer's delayed acknowledgement.
                if let Err(error) = tcp.set_nodelay(true) {
                    tracing::debug!(%error, "nodelay");
                }
                return (Guarded::new(tcp, place, first_bytes), address);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// All connections of a gRPC listener, as a stream that never ends. HTTP/2 begins with a preface of
/// fixed length (RFC 9113, 3.4), so part of it is as good as nothing.
pub fn incoming(
    listener: TcpListener,
    doorman: Arc<Doorman>,
) -> impl Stream<Item = io::Result<Guarded>> {
    futures::stream::unfold((listener, doorman), |(listener, doorman)| async move {
        let (guarded, _) = accept(&listener, &doorman, HTTP2_PREFACE_BYTES).await;
        Some((Ok(guarded), (listener, doorman)))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// At the limit a connection is admitted, above it none; a place that is left can be taken.
    #[test]
    fn places_are_counted_in_total_and_per_address() {
        let doorman = Doorman::new(3, 2);
        let (a, b, c) = ([1, 1, 1, 1].into(), [2, 2, 2, 2].into(), [3, 3, 3, 3].into());
        let first = doorman.admit(a);
        let second = doorman.admit(a);
        assert!(first.is_some() && second.is_some());
        assert!(doorman.admit(a).is_none(), "a third of one address");
        let third = doorman.admit(b);
        assert!(third.is_some());
        assert!(doorman.admit(c).is_none(), "a fourth in total");
        assert_eq!((doorman.open(), doorman.refused()), (3, 2));
        drop(first);
        assert!(doorman.admit(c).is_some());
        drop((second, third));
        assert_eq!(doorman.open(), 0);
    }

    /// An IPv4 address written as IPv6 is the same address.
    #[test]
    fn mapped_addresses_are_one() {
        let doorman = Doorman::new(10, 1);
        let v4: std::net::Ipv4Addr = [1, 2, 3, 4].into();
        let _place = doorman.admit(v4.into());
        assert!(doorman.admit(v4.to_ipv6_mapped().into()).is_none());
    }

    /// A guarded socket and its peer.
    async fn pair(first_bytes: usize) -> (Guarded, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (accept(&listener, &Doorman::new(1, 1), first_bytes).await.0, peer)
    }

    /// Who says nothing is not listened to for long; who said something may pause.
    ///
    /// fault: P4
    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_closed() {
        let (mut guarded, _silent) = pair(1).await;
        let error = guarded.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let (mut guarded, mut peer) = pair(1).await;
        peer.write_all(b"x").await.unwrap();
        assert_eq!(guarded.read_u8().await.unwrap(), b'x');
        let pause = tokio::time::timeout(4 * FIRST_BYTE_TIMEOUT, guarded.read_u8()).await;
        assert!(pause.is_err(), "it still waits");
        // Where more is needed, less is as good as nothing.
        let (mut guarded, mut peer) = pair(3).await;
        peer.write_all(b"PR").await.unwrap();
        assert_eq!(guarded.read_u16().await.unwrap(), u16::from_be_bytes(*b"PR"));
        assert_eq!(guarded.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    /// Who reads, and grants no window for what it asked for, is let go; an answer that is on its
    /// way for a shorter time disturbs nobody.
    ///
    /// fault: P4
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_no_answer_is_let_go() {
        let (mut guarded, mut peer) = pair(1).await;
        let answers = guarded.connect_info().answers;
        peer.write_all(b"xy").await.unwrap();
        assert_eq!(guarded.read_u8().await.unwrap(), b'x');
        drop(answers.begin());
        let sent = answers.begin();
        let mut rest = [0; 2];
        let waiting = tokio::time::timeout(ANSWER_TIMEOUT / 2, guarded.read_exact(&mut rest));
        assert!(waiting.await.is_err(), "it waits for the peer");
        drop(sent);
        let _stuck = answers.begin();
        let error = guarded.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// Who does not read what it asked for is let go.
    ///
    /// fault: P4
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_let_go() {
        let (mut guarded, _peer) = pair(1).await;
        let block = vec![7; 1 << 20];
        // Until the buffers of the system are full, then until the time is over.
        let error = loop {
            if let Err(error) = guarded.write_all(&block).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
