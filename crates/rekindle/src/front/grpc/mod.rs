//! The gRPC front: the protocol of `rekindle-wire` over the services, and the standard health
//! service.
//!
//! Invariant: it is listened to only once recovery is done, and every call passes the gate.

mod caller;
mod convert;
pub mod gate;
mod job_convert;
mod jobs;
mod kv;
mod loop_convert;
mod loops;
mod queues;
mod schedules;
mod sending;
pub mod table;
mod transactions;

use std::sync::Arc;

use rekindle_wire::v1::jobs_server::JobsServer;
use rekindle_wire::v1::kv_server::KvServer;
use rekindle_wire::v1::loops_server::LoopsServer;
use rekindle_wire::v1::queues_server::QueuesServer;
use rekindle_wire::v1::schedules_server::SchedulesServer;
use rekindle_wire::v1::transactions_server::TransactionsServer;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server as Transport;
use tonic_health::server::HealthReporter;

use super::access::Principal;
use super::connections::incoming;
use super::limits::{
    HEADER_LIST_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, PENDING_RESETS_MAX,
    REQUEST_BYTES_MAX, WINDOW_BYTES,
};
use crate::boot::Recovered;
use crate::progress::Stage;
use crate::state::Server;
use gate::Gate;

/// Serves until shutdown begins, then until every connection has ended.
pub async fn serve(
    listener: TcpListener,
    server: Arc<Server>,
    recovered: Recovered,
) -> Result<(), tonic::transport::Error> {
    let reporter = HealthReporter::new();
    let routes = routes(&server, &recovered, &reporter).await;
    let streams = u32::try_from(server.config.limits.streams_per_connection).unwrap_or(u32::MAX);
    let connections = incoming(listener, Arc::clone(&server.grpc_doorman));
    let ending = Arc::clone(&server);
    let shutdown = async move {
        ending.progress.reached(Stage::Shutdown).await;
        reporter.set_not_serving::<QueuesServer<queues::Service>>().await;
        reporter.set_not_serving::<KvServer<kv::Service>>().await;
        reporter.set_not_serving::<JobsServer<jobs::Service>>().await;
        reporter.set_not_serving::<LoopsServer<loops::Service>>().await;
        reporter.set_not_serving::<SchedulesServer<schedules::Service>>().await;
        reporter.set_not_serving::<TransactionsServer<transactions::Service>>().await;
    };
    Transport::builder()
        .max_concurrent_streams(streams)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(Gate::new(server, Principal::Local))
        .serve_with_incoming_shutdown(routes, connections, shutdown)
        .await
}

/// All services. Compression is accepted by none: a small request cannot become a large one.
async fn routes(server: &Arc<Server>, recovered: &Recovered, reporter: &HealthReporter) -> Routes {
    let services = &recovered.services;
    let queues = queues::Service::new(Arc::clone(server), services.queues().clone());
    let queues = QueuesServer::new(queues).max_decoding_message_size(REQUEST_BYTES_MAX);
    let kv = kv::Service::new(services.kv().clone());
    let kv = KvServer::new(kv).max_decoding_message_size(REQUEST_BYTES_MAX);
    reporter.set_serving::<QueuesServer<queues::Service>>().await;
    let jobs = jobs::Service::new(Arc::clone(server), services.jobs().clone());
    let jobs = JobsServer::new(jobs).max_decoding_message_size(REQUEST_BYTES_MAX);
    reporter.set_serving::<KvServer<kv::Service>>().await;
    reporter.set_serving::<JobsServer<jobs::Service>>().await;
    let loops = loops::Service::new(Arc::clone(server), services.loops().clone());
    let loops = LoopsServer::new(loops).max_decoding_message_size(REQUEST_BYTES_MAX);
    reporter.set_serving::<LoopsServer<loops::Service>>().await;
    let schedules = schedules::Service::new(services.schedules().clone());
    let schedules = SchedulesServer::new(schedules).max_decoding_message_size(REQUEST_BYTES_MAX);
    reporter.set_serving::<SchedulesServer<schedules::Service>>().await;
    let all = transactions::Service::new(services.transactions().clone());
    let all = TransactionsServer::new(all).max_decoding_message_size(REQUEST_BYTES_MAX);
    reporter.set_serving::<TransactionsServer<transactions::Service>>().await;
    let health = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
    let health = tonic_health::pb::health_server::HealthServer::new(health);
    let routes = Routes::new(queues).add_service(kv).add_service(jobs).add_service(schedules);
    routes.add_service(loops).add_service(all).add_service(health)
}
