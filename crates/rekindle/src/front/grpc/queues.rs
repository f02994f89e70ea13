//! The gRPC service `rekindle.v1.Queues`.
//!
//! Invariant: nothing here decides; a call becomes one call of the service, its answer one answer.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rekindle_services::queues::{Delivery, Nack, PerToken, Queues, ReceiveRequest, Settled};
use rekindle_services::{Acknowledged, Error};
use rekindle_wire::v1;
use tonic::{Request, Response, Status, Streaming};

use super::super::budget::Flight;
use super::super::long_poll::waited;
use super::caller;
use super::convert::{self, refuse};
use super::sending::{self, Sending};
use crate::metrics::Counters;
use crate::state::Server;

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    server: Arc<Server>,
    queues: Queues,
}

impl Service {
    pub(super) fn new(server: Arc<Server>, queues: Queues) -> Self {
        Self { server, queues }
    }

    fn counters(&self) -> &Counters {
        &self.server.counters
    }

    /// The queues for whoever calls, so that the audit log has it.
    fn by<T>(&self, request: &Request<T>) -> Queues {
        self.queues.by(&caller::name(request))
    }
}

/// What became of tokens: the promise, the refused ones, and how many were done.
struct Done {
    durability: i32,
    errors: Vec<v1::ItemError>,
    settled: Vec<Settled>,
}

/// Joins the results of good tokens, which stood at `places`, with the errors of the others.
fn done(
    result: Option<Acknowledged<PerToken>>,
    places: &[usize],
    mut errors: Vec<v1::ItemError>,
) -> Done {
    let Some(result) = result else {
        return Done { durability: 0, errors, settled: vec![] };
    };
    let durability = convert::durability(result.durability);
    let mut settled = Vec::with_capacity(places.len());
    for (place, outcome) in places.iter().zip(result.value) {
        match outcome {
            Ok(outcome) => settled.push(outcome),
            Err(error) => errors.push(convert::refuse_item(*place, &error)),
        }
    }
    errors.sort_by_key(|error| error.index);
    Done { durability, errors, settled }
}

#[tonic::async_trait]
impl v1::queues_server::Queues for Service {
    type SendStreamStream = Sending;

    async fn create(
        &self,
        request: Request<v1::CreateQueueRequest>,
    ) -> Result<Response<v1::CreateQueueResponse>, Status> {
        let queues = self.by(&request);
        let request = request.into_inner();
        let definition = request.definition.unwrap_or_default();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let settings = convert::settings(&definition);
        let ticket = queues.submit_create(&definition.name, &settings, identity).await;
        let created = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(created.durability);
        Ok(Response::new(v1::CreateQueueResponse { durability, created: created.value.new }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteQueueRequest>,
    ) -> Result<Response<v1::DeleteQueueResponse>, Status> {
        let queues = self.by(&request);
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let ticket = queues.submit_delete(&request.queue, identity).await;
        let deleted = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(deleted.durability);
        let messages = deleted.value.messages;
        Ok(Response::new(v1::DeleteQueueResponse { durability, messages }))
    }

    async fn list(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Result<Response<v1::ListQueuesResponse>, Status> {
        let request = request.into_inner();
        let most = rekindle_services::limits::LIST_QUEUES_MAX;
        let limit = match usize::try_from(request.limit).unwrap_or(most) {
            0 => most,
            limit => limit.min(most),
        };
        self.queues.settled().await.map_err(|e| refuse(&e))?;
        let listed = self.queues.list(&request.after, limit);
        let (queues, more) = listed.map_err(|e| refuse(&e))?;
        let queues = queues.into_iter().map(convert::queue).collect();
        Ok(Response::new(v1::ListQueuesResponse { queues, more }))
    }

    async fn show(
        &self,
        request: Request<v1::ShowQueueRequest>,
    ) -> Result<Response<v1::ShowQueueResponse>, Status> {
        self.queues.settled().await.map_err(|e| refuse(&e))?;
        let queue = self.queues.show(&request.into_inner().queue).map_err(|e| refuse(&e))?;
        Ok(Response::new(v1::ShowQueueResponse { queue: Some(convert::queue(queue)) }))
    }

    async fn purge(
        &self,
        request: Request<v1::PurgeQueueRequest>,
    ) -> Result<Response<v1::PurgeQueueResponse>, Status> {
        let queues = self.by(&request);
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let ticket = queues.submit_purge(&request.queue, identity).await;
        let purged = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(purged.durability);
        let messages = purged.value.messages;
        Ok(Response::new(v1::PurgeQueueResponse { durability, messages }))
    }

    async fn send(
        &self,
        request: Request<v1::SendRequest>,
    ) -> Result<Response<v1::SendResponse>, Status> {
        let request = request.into_inner();
        let identity = request.identity.as_ref();
        let acks = sending::submit(&self.queues, &request.queue, &request.messages, identity);
        let acks = acks.await.await;
        sending::count(self.counters(), &acks);
        let v1::SendAcks { durability, ids, errors, .. } = acks;
        Ok(Response::new(v1::SendResponse { durability, ids, errors }))
    }

    async fn send_stream(
        &self,
        request: Request<Streaming<v1::SendBatch>>,
    ) -> Result<Response<Sending>, Status> {
        let flight = request.extensions().get::<Arc<Flight>>().cloned();
        let flight = flight.ok_or_else(|| Status::internal("the call did not pass the gate"))?;
        let batches = request.into_inner();
        let sending = Sending::new(Arc::clone(&self.server), self.queues.clone(), flight, batches);
        Ok(Response::new(sending))
    }

    async fn receive(
        &self,
        request: Request<v1::ReceiveRequest>,
    ) -> Result<Response<v1::ReceiveResponse>, Status> {
        let request = request.into_inner();
        let asked = ReceiveRequest {
            queue: &request.queue,
            max: usize::try_from(request.max).unwrap_or(usize::MAX),
            visibility_ms: None,
            owner: &request.owner,
        };
        let waiting = pin!(waited(&self.server, request.wait_ms));
        let received = self.queues.receive_wait(&asked, waiting).await.map_err(|e| refuse(&e))?;
        let count = u64::try_from(received.value.len()).unwrap_or(0);
        Counters::add(&self.counters().received, count);
        let most = received.value.iter().map(|delivery| delivery.attempt).max().unwrap_or(0);
        self.counters().most_attempts.fetch_max(u64::from(most), Ordering::Relaxed);
        let first = received.value.first();
        let visibility_ms = first.map_or(0, |delivery: &Delivery| delivery.visibility_ms);
        let messages = received.value.into_iter().map(convert::delivery).collect();
        Ok(Response::new(v1::ReceiveResponse { messages, visibility_ms }))
    }

    async fn ack(
        &self,
        request: Request<v1::AckRequest>,
    ) -> Result<Response<v1::TokensResponse>, Status> {
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let (places, tokens, errors) = convert::tokens(&request.tokens);
        let queue = convert::optional(&request.queue);
        let result = match tokens.is_empty() && !errors.is_empty() {
            true => Ok(None),
            false => settled(self.queues.submit_ack(queue, &tokens, identity).await).await,
        };
        let done = done(result.map_err(|e| refuse(&e))?, &places, errors);
        let count = u64::try_from(done.settled.len()).unwrap_or(0);
        Counters::add(&self.counters().acked, count);
        let Done { durability, errors, .. } = done;
        Ok(Response::new(v1::TokensResponse { durability, errors }))
    }

    async fn nack(
        &self,
        request: Request<v1::NackRequest>,
    ) -> Result<Response<v1::TokensResponse>, Status> {
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let (places, tokens, errors) = convert::tokens(&request.tokens);
        let queue = convert::optional(&request.queue);
        let nack =
            Nack { delay_ms: request.delay_ms, reason: &request.reason, release: request.release };
        let result = match tokens.is_empty() && !errors.is_empty() {
            true => Ok(None),
            false => settled(self.queues.submit_nack(queue, &tokens, &nack, identity).await).await,
        };
        let done = done(result.map_err(|e| refuse(&e))?, &places, errors);
        for settled in &done.settled {
            Counters::add(&self.counters().nacked, 1);
            if *settled == Settled::DeadLettered {
                Counters::add(&self.counters().dead_lettered, 1);
            }
        }
        let Done { durability, errors, .. } = done;
        Ok(Response::new(v1::TokensResponse { durability, errors }))
    }

    async fn extend(
        &self,
        request: Request<v1::ExtendRequest>,
    ) -> Result<Response<v1::ExtendResponse>, Status> {
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let (places, tokens, errors) = convert::tokens(&request.tokens);
        let queue = convert::optional(&request.queue);
        let by_ms = (request.by_ms > 0).then_some(request.by_ms);
        let result = match tokens.is_empty() && !errors.is_empty() {
            true => Ok(None),
            false => {
                settled(self.queues.submit_extend(queue, &tokens, by_ms, identity).await).await
            }
        };
        let done = done(result.map_err(|e| refuse(&e))?, &places, errors);
        let now_ms = self.server.recovered().map_or(0, |it| it.database.log_time_ms());
        let deadline = done.settled.iter().find_map(|settled| match settled {
            Settled::Extended { deadline_ms } => Some(*deadline_ms),
            _ => None,
        });
        let visibility_ms = deadline.map_or(0, |deadline| deadline.saturating_sub(now_ms));
        Counters::add(&self.counters().extended, u64::try_from(done.settled.len()).unwrap_or(0));
        let Done { durability, errors, .. } = done;
        Ok(Response::new(v1::ExtendResponse { durability, errors, visibility_ms }))
    }
}

/// The answer of a submitted call.
async fn settled(
    ticket: Result<rekindle_services::Ticket<PerToken>, Error>,
) -> Result<Option<Acknowledged<PerToken>>, Error> {
    ticket?.await.map(Some)
}
