//! Calls on loops.
//!
//! Invariant: everything that changes something carries an identity, so that a repeated request has
//! one effect.

use std::time::Duration;

use rekindle_wire::v1::loops_client::LoopsClient;
use rekindle_wire::v1::show_loop_response::Shown;
use rekindle_wire::v1::{
    AlterLoopRequest, Durability, ForkLoopRequest, ListLoopsRequest, LoopAlteredResponse,
    LoopEventsRequest, LoopEventsResponse, LoopExecution, LoopStatus, ShowLoopRequest,
    StartLoopRequest,
};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::client::{Client, Effect};
use crate::error::Error;

/// The loops of a server.
#[derive(Clone, Debug)]
pub struct Loops {
    client: Client,
}

/// A plan to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartLoop {
    /// The text of a file with a plan: TOML, YAML, JSON, or Markdown with front matter.
    pub plan: String,
    /// What the file is called: its extension says which form it has. Empty: the first line
    /// decides.
    pub file_name: String,
    /// It waits for somebody to approve it.
    pub draft: bool,
}

/// A plan that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopStarted {
    /// Names the plan.
    pub id: String,
    /// What the server promises.
    pub durability: Durability,
}

/// An execution that was forked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopForked {
    /// Names the new plan.
    pub id: String,
    /// Its execution.
    pub execution: String,
    /// What the server promises.
    pub durability: Durability,
}

/// What was asked for is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopAltered {
    /// How many executions it changed.
    pub changed: u64,
    /// What the server promises.
    pub durability: Durability,
}

/// Which executions are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListLoops {
    /// Only of this plan.
    pub plan: Option<String>,
    /// Only these statuses; empty: all.
    pub statuses: Vec<LoopStatus>,
    /// The newest first.
    pub newest_first: bool,
    /// Behind this one, in that order.
    pub after: Option<String>,
    /// The most; 0: the server's own page size.
    pub limit: u32,
}

impl Client {
    /// The loops of the server.
    #[must_use]
    pub fn loops(&self) -> Loops {
        Loops { client: self.clone() }
    }
}

impl Loops {
    /// The same with another deadline for each call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { client: self.client.with_timeout(timeout) }
    }

    /// Starts a plan; [`Error::Invalid`] says everything that is wrong with it.
    pub async fn start(&self, start: &StartLoop) -> Result<LoopStarted, Error> {
        let numbers = self.client.producer().reserve(1).await;
        let request = StartLoopRequest {
            plan: start.plan.clone(),
            file_name: start.file_name.clone(),
            draft: start.draft,
            identity: Some(numbers.identity()),
        };
        let call = || {
            let (mut calls, request) = (self.client.loop_calls(), request.clone());
            async move { calls.start(request).await }
        };
        let started = self.client.call(Effect::Once, call).await?;
        Ok(LoopStarted { durability: started.durability(), id: started.id })
    }

    /// A draft runs: an execution, or all of a plan.
    pub async fn approve(&self, id: &str, reason: &str) -> Result<LoopAltered, Error> {
        let call = |mut calls: Calls, request| async move { calls.approve(request).await };
        self.alter(id, reason, call).await
    }

    /// Nothing more is begun; a step that runs goes on to its end.
    pub async fn pause(&self, id: &str, reason: &str) -> Result<LoopAltered, Error> {
        let call = |mut calls: Calls, request| async move { calls.pause(request).await };
        self.alter(id, reason, call).await
    }

    /// It goes on.
    pub async fn resume(&self, id: &str, reason: &str) -> Result<LoopAltered, Error> {
        let call = |mut calls: Calls, request| async move { calls.resume(request).await };
        self.alter(id, reason, call).await
    }

    /// It is called off, with the step that runs.
    pub async fn cancel(&self, id: &str, reason: &str) -> Result<LoopAltered, Error> {
        let call = |mut calls: Calls, request| async move { calls.cancel(request).await };
        self.alter(id, reason, call).await
    }

    /// What has failed or was cancelled begins again behind what was done, with its whole budget.
    pub async fn retry(&self, id: &str, reason: &str) -> Result<LoopAltered, Error> {
        let call = |mut calls: Calls, request| async move { calls.retry(request).await };
        self.alter(id, reason, call).await
    }

    async fn alter<F>(
        &self,
        id: &str,
        reason: &str,
        call: impl Fn(Calls, AlterLoopRequest) -> F,
    ) -> Result<LoopAltered, Error>
    where
        F: Future<Output = Result<Response<LoopAlteredResponse>, Status>>,
    {
        let numbers = self.client.producer().reserve(1).await;
        let identity = Some(numbers.identity());
        let request = AlterLoopRequest { id: id.to_owned(), reason: reason.to_owned(), identity };
        let attempt = || call(self.client.loop_calls(), request.clone());
        let altered = self.client.call(Effect::Once, attempt).await?;
        Ok(LoopAltered { changed: altered.changed, durability: altered.durability() })
    }

    /// A new plan that begins as an execution stood before its iteration `at`: one that it began,
    /// or the next one.
    pub async fn fork(&self, id: &str, at: u32, reason: &str) -> Result<LoopForked, Error> {
        let numbers = self.client.producer().reserve(1).await;
        let (id, reason) = (id.to_owned(), reason.to_owned());
        let request = ForkLoopRequest { id, at, reason, identity: Some(numbers.identity()) };
        let call = || {
            let (mut calls, request) = (self.client.loop_calls(), request.clone());
            async move { calls.fork(request).await }
        };
        let forked = self.client.call(Effect::Once, call).await?;
        let durability = forked.durability();
        Ok(LoopForked { id: forked.id, execution: forked.execution, durability })
    }

    /// A page of executions, and behind which one the next begins.
    pub async fn list(
        &self,
        list: &ListLoops,
    ) -> Result<(Vec<LoopExecution>, Option<String>), Error> {
        let request = ListLoopsRequest {
            plan: list.plan.clone().unwrap_or_default(),
            statuses: list.statuses.iter().map(|status| i32::from(*status)).collect(),
            newest_first: list.newest_first,
            after: list.after.clone().unwrap_or_default(),
            limit: list.limit,
        };
        let call = || {
            let (mut calls, request) = (self.client.loop_calls(), request.clone());
            async move { calls.list(request).await }
        };
        let page = self.client.call(Effect::Reads, call).await?;
        Ok((page.executions, Some(page.next).filter(|next| !next.is_empty())))
    }

    /// A plan with its executions, or an execution with what happened to it last.
    pub async fn show(&self, id: &str) -> Result<Shown, Error> {
        let call = || {
            let mut calls = self.client.loop_calls();
            let request = ShowLoopRequest { id: id.to_owned() };
            async move { calls.show(request).await }
        };
        let shown = self.client.call(Effect::Reads, call).await?.shown;
        shown.ok_or_else(|| Error::Internal("an answer without what was asked for".to_owned()))
    }

    /// A page of what happened to an execution behind event number `after`: as soon as there is
    /// something, it is over, or `wait` is.
    pub async fn events(
        &self,
        id: &str,
        after: u64,
        wait: Duration,
    ) -> Result<LoopEventsResponse, Error> {
        let call = |wait_ms| {
            let mut calls = self.client.loop_calls();
            let request = LoopEventsRequest { id: id.to_owned(), after, limit: 0, wait_ms };
            async move { calls.events(request).await }
        };
        let there = |answer: &LoopEventsResponse| !answer.events.is_empty() || answer.over;
        self.client.long_poll(wait, Effect::Reads, call, there).await
    }
}

type Calls = LoopsClient<Channel>;
