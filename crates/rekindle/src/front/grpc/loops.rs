//! The gRPC service `rekindle.v1.Loops`.
//!
//! Invariant: nothing here decides; a call becomes one call of the service, its answer one answer.
//! A plan travels as the text of its file: plans are one shape, whatever they are written in, and
//! their defaults are said in one place (docs/decisions/0035).

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use rekindle_services::loops::{Ask, LoopFilter, Shown};
use rekindle_services::{Loops, limits};
use rekindle_wire::v1;
use tonic::{Request, Response, Status};

use super::super::long_poll::waited;
use super::super::loop_commands;
use super::convert::{self, invalid, optional, refuse};
use super::{caller, loop_convert};
use crate::plan_file;
use crate::state::Server;

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    server: Arc<Server>,
    loops: Loops,
}

impl Service {
    pub(super) fn new(server: Arc<Server>, loops: Loops) -> Self {
        Self { server, loops }
    }

    /// Does what a person asks for.
    async fn alter(
        &self,
        request: Request<v1::AlterLoopRequest>,
        ask: Ask,
    ) -> Result<Response<v1::LoopAlteredResponse>, Status> {
        let who = caller::name(&request);
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let id = request.id.parse().map_err(|e| refuse(&e))?;
        let ticket = self.loops.submit_alter(id, ask, &request.reason, &who, identity).await;
        let altered = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(altered.durability);
        Ok(Response::new(v1::LoopAlteredResponse { durability, changed: altered.value.changed }))
    }
}

#[tonic::async_trait]
impl v1::loops_server::Loops for Service {
    async fn start(
        &self,
        request: Request<v1::StartLoopRequest>,
    ) -> Result<Response<v1::StartLoopResponse>, Status> {
        let who = caller::name(&request);
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let plan = plan_file::parse(Path::new(&request.file_name), request.plan.as_bytes());
        let plan = plan.map_err(|wrong| invalid(wrong.join("; ")))?;
        loop_commands::may_begin(&self.server, &plan.specs).map_err(|e| refuse(&e))?;
        let ticket = self.loops.submit_start(&plan, request.draft, &who, identity).await;
        let started = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(started.durability);
        let id = started.value.plan.to_string();
        Ok(Response::new(v1::StartLoopResponse { durability, id }))
    }

    async fn approve(
        &self,
        request: Request<v1::AlterLoopRequest>,
    ) -> Result<Response<v1::LoopAlteredResponse>, Status> {
        self.alter(request, Ask::Approve).await
    }

    async fn pause(
        &self,
        request: Request<v1::AlterLoopRequest>,
    ) -> Result<Response<v1::LoopAlteredResponse>, Status> {
        self.alter(request, Ask::Pause).await
    }

    async fn resume(
        &self,
        request: Request<v1::AlterLoopRequest>,
    ) -> Result<Response<v1::LoopAlteredResponse>, Status> {
        self.alter(request, Ask::Resume).await
    }

    async fn cancel(
        &self,
        request: Request<v1::AlterLoopRequest>,
    ) -> Result<Response<v1::LoopAlteredResponse>, Status> {
        self.alter(request, Ask::Cancel).await
    }

    async fn retry(
        &self,
        request: Request<v1::AlterLoopRequest>,
    ) -> Result<Response<v1::LoopAlteredResponse>, Status> {
        self.alter(request, Ask::Retry).await
    }

    async fn fork(
        &self,
        request: Request<v1::ForkLoopRequest>,
    ) -> Result<Response<v1::ForkLoopResponse>, Status> {
        let who = caller::name(&request);
        let v1::ForkLoopRequest { id, at, reason, identity } = request.into_inner();
        let identity = convert::identity(identity.as_ref()).map_err(|e| refuse(&e))?;
        let id = id.parse().map_err(|e| refuse(&e))?;
        self.loops.settled().await.map_err(|e| refuse(&e))?;
        if let Shown::Execution(original) = self.loops.show(id).map_err(|e| refuse(&e))? {
            let begins = loop_commands::may_begin(&self.server, [&original.spec]);
            begins.map_err(|e| refuse(&e))?;
        }
        let ticket = self.loops.submit_fork(id, at, &reason, &who, identity).await;
        let forked = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        Ok(Response::new(v1::ForkLoopResponse {
            durability: convert::durability(forked.durability),
            id: forked.value.plan.to_string(),
            execution: forked.value.execution.to_string(),
        }))
    }

    async fn list(
        &self,
        request: Request<v1::ListLoopsRequest>,
    ) -> Result<Response<v1::ListLoopsResponse>, Status> {
        let request = request.into_inner();
        let id = |id| optional(id).map(str::parse).transpose().map_err(|e| refuse(&e));
        let statuses = loop_convert::statuses(&request.statuses).map_err(|e| refuse(&e))?;
        let filter = LoopFilter {
            plan: id(&request.plan)?,
            statuses: &statuses,
            newest_first: request.newest_first,
            after: id(&request.after)?,
            limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
        };
        self.loops.settled().await.map_err(|e| refuse(&e))?;
        let page = self.loops.list(&filter).map_err(|e| refuse(&e))?;
        let last = page.executions.last().filter(|_| page.more);
        let next = last.map(|execution| execution.id.to_string()).unwrap_or_default();
        let executions = page.executions.into_iter().map(loop_convert::execution).collect();
        Ok(Response::new(v1::ListLoopsResponse { executions, next }))
    }

    async fn show(
        &self,
        request: Request<v1::ShowLoopRequest>,
    ) -> Result<Response<v1::ShowLoopResponse>, Status> {
        let id = request.into_inner().id.parse().map_err(|e| refuse(&e))?;
        self.loops.settled().await.map_err(|e| refuse(&e))?;
        let shown = self.loops.show(id).map_err(|e| refuse(&e))?;
        Ok(Response::new(v1::ShowLoopResponse { shown: Some(loop_convert::shown(shown)) }))
    }

    async fn events(
        &self,
        request: Request<v1::LoopEventsRequest>,
    ) -> Result<Response<v1::LoopEventsResponse>, Status> {
        let request = request.into_inner();
        let id = request.id.parse().map_err(|e| refuse(&e))?;
        let limit = usize::try_from(request.limit).unwrap_or(limits::LOOP_EVENTS_MAX);
        let waiting = pin!(waited(&self.server, request.wait_ms));
        let page = self.loops.events_wait(id, request.after, limit, waiting).await;
        Ok(Response::new(loop_convert::events(page.map_err(|e| refuse(&e))?)))
    }
}
