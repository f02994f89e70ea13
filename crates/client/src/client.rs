//! The connection and the one place where calls are repeated.
//!
//! Invariant: a call is sent again only when nothing was done, or when it has one effect however
//! often it is sent; otherwise a broken connection is answered [`Error::Unknown`].

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rekindle_wire::v1::jobs_client::JobsClient;
use rekindle_wire::v1::kv_client::KvClient;
use rekindle_wire::v1::loops_client::LoopsClient;
use rekindle_wire::v1::queues_client::QueuesClient;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use crate::backoff::Backoff;
use crate::error::{Error, Failure, judge};
use crate::identity::Producer;

/// Bytes that the server may send ahead of what this client has read.
const WINDOW_BYTES: u32 = 4 << 20;
/// The longest answer that is accepted: above what a server sends.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait of one request; longer ones are several requests.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// A client of one server. Clones share the connection, which is made at the first call and again
/// whenever it is lost.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Duration,
    patient: bool,
}

struct Shared {
    address: String,
    channel: Channel,
    producer: Producer,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

/// What repeating a call would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: it only reads.
    Reads,
    /// Nothing more than the first: it carries an identity.
    Once,
    /// Something again.
    Again,
}

/// HOST:PORT of an address that may begin with `http://`.
#[must_use]
pub fn normal_address(address: &str) -> &str {
    let address = address.trim();
    address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/')
}

impl Client {
    /// A client of the server at `HOST:PORT` (a leading `http://` is accepted). Connects at the
    /// first call. Needs a Tokio runtime.
    pub fn connect(address: &str) -> Result<Self, Error> {
        let address = normal_address(address).to_owned();
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .ok()
            .filter(|endpoint| endpoint.uri().port().is_some())
            .ok_or_else(|| Error::Invalid(format!("{address:?} is not HOST:PORT")))?;
        let channel = endpoint
            .connect_timeout(TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .connect_lazy();
        let shared = Arc::new(Shared { address, channel, producer: Producer::new() });
        Ok(Self { shared, timeout: TIMEOUT, patient: true })
    }

    /// The same client with another deadline for each call (5 s unless set).
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// The same client, which answers at once when the server cannot be reached, instead of
    /// connecting again until the deadline. A connection that breaks in the middle of a call is
    /// made again in any case.
    #[must_use]
    pub fn impatient(&self) -> Self {
        Self { patient: false, ..self.clone() }
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// The deadline of a call.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn producer(&self) -> &Producer {
        &self.shared.producer
    }

    pub(crate) fn queues(&self) -> QueuesClient<Channel> {
        QueuesClient::new(self.shared.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.shared.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn job_calls(&self) -> JobsClient<Channel> {
        JobsClient::new(self.shared.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn loop_calls(&self) -> LoopsClient<Channel> {
        LoopsClient::new(self.shared.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Makes a call that waits at the server, until there is something or `wait` is over. When the
    /// answer to one that takes something is lost, that comes back by itself.
    pub(crate) async fn long_poll<T, F>(
        &self,
        wait: Duration,
        effect: Effect,
        attempt: impl Fn(u64) -> F,
        there: impl Fn(&T) -> bool,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut left = wait;
        loop {
            let wait = left.min(WAIT_MAX);
            left -= wait;
            let within = self.timeout() + wait;
            let answer = match self.call_within(within, effect, || attempt(millis(wait))).await {
                // Nothing that the caller must know about was done.
                Err(Error::Unknown(reason)) => {
                    return Err(Error::Unreachable { address: self.address().to_owned(), reason });
                }
                other => other?,
            };
            if there(&answer) || left.is_zero() {
                return Ok(answer);
            }
        }
    }

    /// Makes a call until it is answered, the deadline is over, or repeating it could do harm.
    pub(crate) async fn call<T, F>(
        &self,
        effect: Effect,
        attempt: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.call_within(self.timeout, effect, attempt).await
    }

    /// As [`Self::call`], with a deadline of its own.
    pub(crate) async fn call_within<T, F>(
        &self,
        timeout: Duration,
        effect: Effect,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + timeout;
        let mut backoff = Backoff::new(u64::from(std::process::id()));
        // Why it is not known whether an earlier attempt did the work.
        let mut lost: Option<String> = None;
        loop {
            let failure = match tokio::time::timeout_at(deadline, attempt()).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => judge(&status, &self.shared.address),
                Err(_) => return Err(self.no_answer(timeout, effect, lost)),
            };
            match failure {
                Failure::Answered(error) => return Err(error),
                Failure::NotSent(error) if !self.patient && lost.is_none() => return Err(error),
                Failure::Lost(reason) if effect == Effect::Again => {
                    return Err(Error::Unknown(reason));
                }
                Failure::NotSent(error) => {
                    let wait = backoff.next();
                    if Instant::now() + wait >= deadline {
                        return Err(lost.map_or(error, Error::Unknown));
                    }
                    tokio::time::sleep(wait).await;
                }
                Failure::Lost(reason) => {
                    if effect == Effect::Once {
                        lost = Some(reason.clone());
                    }
                    let wait = backoff.next();
                    if Instant::now() + wait >= deadline {
                        return Err(self.lost_for_good(effect, reason));
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn no_answer(&self, timeout: Duration, effect: Effect, lost: Option<String>) -> Error {
        self.lost_for_good(effect, lost.unwrap_or_else(|| format!("no answer within {timeout:?}")))
    }

    fn lost_for_good(&self, effect: Effect, reason: String) -> Error {
        match effect {
            Effect::Reads => Error::Unreachable { address: self.shared.address.clone(), reason },
            Effect::Once | Effect::Again => Error::Unknown(reason),
        }
    }
}

/// Whole milliseconds, never zero for a time that is not.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_wire::error::status;
    use rekindle_wire::v1::Kind;

    async fn calls(effect: Effect, answers: Vec<Result<(), Status>>) -> (usize, Result<(), Error>) {
        let client = Client::connect("127.0.0.1:1").expect("an address");
        let mut answers = answers.into_iter();
        let mut made = 0;
        let result = client
            .call(effect, || {
                made += 1;
                let answer = answers.next().expect("no call after the last answer");
                async move { answer.map(Response::new) }
            })
            .await;
        (made, result)
    }

    #[test]
    fn addresses_may_begin_with_http() {
        assert_eq!(normal_address("http://127.0.0.1:7611/"), "127.0.0.1:7611");
        assert_eq!(normal_address("localhost:1"), "localhost:1");
    }

    #[tokio::test]
    async fn an_address_without_a_port_is_refused() {
        assert!(matches!(Client::connect("localhost"), Err(Error::Invalid(_))));
        assert!(matches!(Client::connect("::"), Err(Error::Invalid(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_one_effect_is_repeated() {
        for effect in [Effect::Reads, Effect::Once] {
            let lost = Err(Status::unknown("h2 protocol error"));
            let (made, result) = calls(effect, vec![lost, Ok(())]).await;
            assert_eq!((made, result), (2, Ok(())));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_would_be_done_twice_is_not_repeated() {
        let lost = Err(Status::unknown("h2 protocol error"));
        let (made, result) = calls(Effect::Again, vec![lost]).await;
        assert_eq!(made, 1);
        assert!(matches!(result, Err(Error::Unknown(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_done_is_repeated_and_an_answer_is_final() {
        let busy = || Err(status(Kind::Retry, "stopping"));
        let refused = Err(status(Kind::Full, "full"));
        let (made, result) = calls(Effect::Again, vec![busy(), busy(), refused]).await;
        assert_eq!((made, result), (3, Err(Error::Full("full".into()))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_that_stays_unlearned_is_unknown() {
        let lost = || Err(Status::unknown("h2 protocol error"));
        let (_, result) = calls(Effect::Once, (0..100).map(|_| lost()).collect()).await;
        assert!(matches!(result, Err(Error::Unknown(_))));
        let (_, result) = calls(Effect::Reads, (0..100).map(|_| lost()).collect()).await;
        assert!(matches!(result, Err(Error::Unreachable { .. })));
    }

    #[test]
    fn a_short_wait_is_not_no_wait() {
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_micros(1)), 1);
        assert_eq!(millis(Duration::from_millis(1_500)), 1_500);
    }
}
