//! A server in memory that can be killed, restarted on its port, and told to misbehave.
//!
//! What it did outlives its process, as a store would: requests are executed once per identity.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::Stream;
use rekindle_wire::error::{item, status};
use rekindle_wire::v1::queues_server::{Queues, QueuesServer};
use rekindle_wire::v1::*;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// What the server knows.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) sent: Vec<Vec<u8>>,
    identities: HashMap<(Vec<u8>, u64), String>,
    pub(crate) ready: VecDeque<(u64, u32, Vec<u8>)>,
    pub(crate) leased: BTreeMap<String, (u64, u32, Vec<u8>, Instant)>,
    pub(crate) acked: Vec<u64>,
    pub(crate) nacked: Vec<(u64, String, bool)>,
    pub(crate) settled: HashMap<(Vec<u8>, u64), Result<(), ()>>,
    pub(crate) visibility: Duration,
}

/// How it misbehaves.
#[derive(Default)]
pub(crate) struct Script {
    /// Every so many batches (or calls that settle), the work is done and the answer lost.
    pub(crate) lose_answer_every: AtomicU64,
    /// Batches are read and not answered.
    pub(crate) silent: AtomicU64,
    /// A permit for each extension of a lease.
    pub(crate) extensions: Extensions,
    /// Bodies that are refused.
    pub(crate) refuse: Mutex<Vec<u8>>,
    answers: AtomicU64,
}

pub(crate) struct Extensions(pub(crate) Semaphore);

impl Default for Extensions {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) script: Arc<Script>,
}

/// A running server; its connections end when it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Waits until the listener is closed, or the next server could not have its address. On a
        // thread of its own: a runtime must not wait inside of another one.
        let runtime = self.runtime.take().unwrap();
        let ended = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)));
        ended.join().unwrap();
    }
}

#[allow(clippy::new_without_default, reason = "nothing is generic over it")]
impl Fake {
    pub(crate) fn new() -> Self {
        let store = Store { visibility: Duration::from_secs(30), ..Store::default() };
        Self { store: Arc::new(Mutex::new(store)), script: Arc::default() }
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    /// Starts it, on a free port or on this one.
    pub(crate) fn start(&self, address: Option<SocketAddr>) -> Running {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let service = QueuesServer::new(self.clone());
        runtime.spawn(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let incoming = TcpListenerStream::new(listener);
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Running { address: told.recv().unwrap(), runtime: Some(runtime) }
    }

    /// Whether the answer to what was just done is lost.
    fn loses_answer(&self) -> bool {
        let every = self.script.lose_answer_every.load(Ordering::SeqCst);
        let number = self.script.answers.fetch_add(1, Ordering::SeqCst);
        every > 0 && number % every == every - 1
    }

    fn execute(&self, batch: &SendBatch) -> SendAcks {
        let (mut store, refused) = (self.store(), self.script.refuse.lock().unwrap().clone());
        let identity = batch.identity.clone().unwrap();
        let mut acks = SendAcks {
            sequence: batch.sequence,
            durability: Durability::Disk.into(),
            ..SendAcks::default()
        };
        for (index, message) in batch.messages.iter().enumerate() {
            if !refused.is_empty() && message.body == refused {
                acks.errors.push(item(index, Kind::Invalid, "refused"));
                acks.ids.push(String::new());
                continue;
            }
            let key = (identity.producer_id.to_vec(), identity.sequence + index as u64);
            let known = store.identities.get(&key).cloned();
            let id = known.unwrap_or_else(|| {
                store.sent.push(message.body.to_vec());
                let id = store.sent.len() as u64;
                store.ready.push_back((id, 0, message.body.to_vec()));
                store.identities.insert(key, id.to_string());
                id.to_string()
            });
            acks.ids.push(id);
        }
        acks
    }

    /// Expired leases are ready again.
    fn reclaim(store: &mut Store) {
        let now = Instant::now();
        let expired: Vec<String> = store
            .leased
            .iter()
            .filter(|(_, lease)| lease.3 <= now)
            .map(|(token, _)| token.clone())
            .collect();
        for token in expired {
            let (id, attempt, body, _) = store.leased.remove(&token).unwrap();
            store.ready.push_front((id, attempt, body));
        }
    }

    /// Settles tokens once per identity.
    fn settle(
        &self,
        tokens: &[String],
        identity: Option<RequestIdentity>,
        mut settle: impl FnMut(&mut Store, (u64, u32, Vec<u8>, Instant)),
    ) -> Result<Response<TokensResponse>, Status> {
        let mut errors = Vec::new();
        let identity = identity.unwrap();
        {
            let mut store = self.store();
            for (index, token) in tokens.iter().enumerate() {
                let key = (identity.producer_id.to_vec(), identity.sequence + index as u64);
                let done = store.settled.get(&key).copied().unwrap_or_else(|| {
                    let lease = store.leased.remove(token).ok_or(());
                    lease.map(|lease| settle(&mut store, lease))
                });
                store.settled.insert(key, done);
                if done.is_err() {
                    errors.push(item(index, Kind::Fenced, "granted again or finished"));
                }
            }
        }
        if self.loses_answer() {
            return Err(Status::unavailable("the answer is lost"));
        }
        Ok(Response::new(TokensResponse { durability: Durability::Disk.into(), errors }))
    }
}

type Acks = Pin<Box<dyn Stream<Item = Result<SendAcks, Status>> + Send>>;

#[tonic::async_trait]
impl Queues for Fake {
    type SendStreamStream = Acks;

    async fn send_stream(
        &self,
        request: Request<Streaming<SendBatch>>,
    ) -> Result<Response<Acks>, Status> {
        let (fake, mut ended) = (self.clone(), false);
        let answers = request.into_inner().map_while(move |batch| {
            if ended {
                return None;
            }
            let Ok(batch) = batch else { return None };
            if fake.script.silent.load(Ordering::SeqCst) > 0 {
                return Some(None);
            }
            let acks = fake.execute(&batch);
            if fake.loses_answer() {
                ended = true;
                return Some(Some(Err(Status::unavailable("the answer is lost"))));
            }
            Some(Some(Ok(acks)))
        });
        Ok(Response::new(Box::pin(answers.filter_map(|answer| answer))))
    }

    async fn receive(
        &self,
        request: Request<ReceiveRequest>,
    ) -> Result<Response<ReceiveResponse>, Status> {
        let request = request.into_inner();
        let until = Instant::now() + Duration::from_millis(request.wait_ms);
        loop {
            let mut answer = ReceiveResponse::default();
            {
                let mut store = self.store();
                Self::reclaim(&mut store);
                answer.visibility_ms = store.visibility.as_millis() as u64;
                while answer.messages.len() < request.max as usize {
                    let Some((id, attempt, body)) = store.ready.pop_front() else { break };
                    let (attempt, token) = (attempt + 1, format!("{id}.{}", attempt + 1));
                    let deadline = Instant::now() + store.visibility;
                    store.leased.insert(token.clone(), (id, attempt, body.clone(), deadline));
                    let (id, body) = (id.to_string(), body.into());
                    answer.messages.push(Delivery {
                        id,
                        token,
                        attempt,
                        body,
                        ..Default::default()
                    });
                }
            }
            if !answer.messages.is_empty() || Instant::now() >= until {
                return Ok(Response::new(answer));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn ack(&self, request: Request<AckRequest>) -> Result<Response<TokensResponse>, Status> {
        let request = request.into_inner();
        self.settle(&request.tokens, request.identity, |store, lease| store.acked.push(lease.0))
    }

    async fn nack(
        &self,
        request: Request<NackRequest>,
    ) -> Result<Response<TokensResponse>, Status> {
        let request = request.into_inner();
        let (reason, release) = (request.reason, request.release);
        self.settle(&request.tokens, request.identity, |store, (id, attempt, body, _)| {
            store.nacked.push((id, reason.clone(), release));
            store.ready.push_back((id, attempt, body));
        })
    }

    async fn extend(
        &self,
        request: Request<ExtendRequest>,
    ) -> Result<Response<ExtendResponse>, Status> {
        let mut answer =
            ExtendResponse { durability: Durability::Disk.into(), ..Default::default() };
        let mut store = self.store();
        Self::reclaim(&mut store);
        let deadline = Instant::now() + store.visibility;
        for (index, token) in request.into_inner().tokens.iter().enumerate() {
            match store.leased.get_mut(token) {
                Some(lease) => lease.3 = deadline,
                None => answer.errors.push(item(index, Kind::Fenced, "not leased")),
            }
            self.script.extensions.0.add_permits(1);
        }
        Ok(Response::new(answer))
    }

    async fn show(
        &self,
        request: Request<ShowQueueRequest>,
    ) -> Result<Response<ShowQueueResponse>, Status> {
        let mut store = self.store();
        Self::reclaim(&mut store);
        let counts = QueueCounts {
            ready: store.ready.len() as u64,
            leased: store.leased.len() as u64,
            ..QueueCounts::default()
        };
        let definition =
            QueueDefinition { name: request.into_inner().queue, ..QueueDefinition::default() };
        let (definition, counts) = (Some(definition), Some(counts));
        Ok(Response::new(ShowQueueResponse { queue: Some(QueueInfo { definition, counts }) }))
    }

    async fn create(
        &self,
        _: Request<CreateQueueRequest>,
    ) -> Result<Response<CreateQueueResponse>, Status> {
        Err(status(Kind::Conflict, "queue \"q\" exists"))
    }

    async fn delete(
        &self,
        _: Request<DeleteQueueRequest>,
    ) -> Result<Response<DeleteQueueResponse>, Status> {
        Err(status(Kind::NotFound, "queue \"q\" does not exist"))
    }

    async fn list(
        &self,
        request: Request<ListQueuesRequest>,
    ) -> Result<Response<ListQueuesResponse>, Status> {
        let after: u32 = request.into_inner().after.parse().unwrap_or(0);
        let queue = |number: u32| QueueInfo {
            definition: Some(QueueDefinition { name: number.to_string(), ..Default::default() }),
            counts: None,
        };
        let queues = (after + 1..=after + 2).map(queue).collect();
        Ok(Response::new(ListQueuesResponse { queues, more: after < 4 }))
    }

    async fn purge(
        &self,
        _: Request<PurgeQueueRequest>,
    ) -> Result<Response<PurgeQueueResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn send(&self, request: Request<SendRequest>) -> Result<Response<SendResponse>, Status> {
        let SendRequest { queue, messages, identity } = request.into_inner();
        let acks = self.execute(&SendBatch { sequence: 1, queue, messages, identity });
        if self.loses_answer() {
            return Err(Status::unavailable("the answer is lost"));
        }
        let SendAcks { durability, ids, errors, .. } = acks;
        Ok(Response::new(SendResponse { durability, ids, errors }))
    }
}
