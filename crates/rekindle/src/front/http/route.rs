//! One HTTP route: path, method, permission, when it is served, what it takes, how it answers.
//!
//! Invariant: a [`Route`] cannot be made without a permission.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::response::Response;
use futures::future::BoxFuture;

use super::body::Takes;
use super::operation::Operation;
use super::reply::{Answered, Refusal};
use super::request::Asked;
use crate::front::access::Permission;
use crate::front::limits::{HTTP_BODY_BYTES_MAX, REQUEST_BYTES_MAX};
use crate::front::ui;
use crate::progress::Stage;
use crate::state::Server;

/// When a route is served; otherwise it answers 503 with `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// From the first moment to the last.
    Always,
    /// Once recovery is done and until shutdown begins.
    Ready,
    /// The same, and in recovery mode once something can be read.
    Readable,
    /// In recovery mode.
    RecoveryMode,
}

impl When {
    /// Whether that is now.
    pub(super) fn is_now(self, server: &Server) -> bool {
        match self {
            Self::Always => true,
            Self::Ready => server.serving().is_some(),
            Self::Readable => server.readable().is_some(),
            Self::RecoveryMode => server.progress.stage() == Stage::RecoveryMode,
        }
    }

    /// What is answered while it is not.
    pub(super) fn refusal(self, server: &Server) -> Refusal {
        let limited = server.progress.stage() == Stage::RecoveryMode;
        let message = match self {
            Self::RecoveryMode if !limited => {
                "the server is not in recovery mode; start it with 'rekindle serve \
                 --recovery-mode'"
            }
            Self::Readable if limited => {
                "the store is damaged: nothing of it can be read like this"
            }
            Self::Ready if limited => {
                "the server is in recovery mode: it serves no work; start it without \
                 --recovery-mode"
            }
            _ => return Refusal::NotNow,
        };
        let status = if limited { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT };
        Refusal::new(status, message)
    }

    /// As the document says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Ready => "ready",
            Self::Readable => "ready, recovery mode",
            Self::RecoveryMode => "recovery mode",
        }
    }
}

/// What is done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
}

/// An answer that is on its way.
pub type Working = BoxFuture<'static, Answered>;

/// How a route makes its answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// Of what is in memory, at once.
    Look(fn(&Server, &Asked) -> Answered),
    /// It may wait: for the disk, for a transaction. Runs to its end even when the caller goes.
    Wait(fn(&Server, &Asked) -> Answered),
    /// Work: it awaits what it needs and holds no thread meanwhile. It ends where it is when the
    /// caller goes: what was submitted is done all the same, what was granted goes back.
    Work(fn(Arc<Server>, Asked) -> Working),
    /// It goes on: server-sent events.
    Stream(fn(Arc<Server>, Asked) -> Answered),
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub(super) path: &'static str,
    pub(super) does: Does,
    pub(super) permission: Permission,
    pub(super) when: When,
    pub(super) takes: Takes,
    pub(super) answer: Answer,
    for_people: bool,
    about: Option<&'static Operation>,
}

impl Route {
    const fn new(
        (does, path): (Does, &'static str),
        permission: Permission,
        when: When,
        takes: Takes,
        answer: Answer,
    ) -> Self {
        Self { path, does, permission, when, takes, answer, for_people: false, about: None }
    }

    /// GET, answered from memory.
    #[must_use]
    pub const fn get(
        path: &'static str,
        permission: Permission,
        when: When,
        answer: fn(&Server, &Asked) -> Answered,
    ) -> Self {
        Self::new((Does::Get, path), permission, when, Takes::Nothing, Answer::Look(answer))
    }

    /// GET whose answer may wait for the disk.
    #[must_use]
    pub const fn read(
        path: &'static str,
        permission: Permission,
        when: When,
        answer: fn(&Server, &Asked) -> Answered,
    ) -> Self {
        Self::new((Does::Get, path), permission, when, Takes::Nothing, Answer::Wait(answer))
    }

    /// GET of server-sent events.
    #[must_use]
    pub const fn events(
        path: &'static str,
        permission: Permission,
        when: When,
        answer: fn(Arc<Server>, Asked) -> Answered,
    ) -> Self {
        Self::new((Does::Get, path), permission, when, Takes::Nothing, Answer::Stream(answer))
    }

    /// POST of JSON ([`Asked::json`]); the answer may wait.
    #[must_use]
    pub const fn post(
        path: &'static str,
        permission: Permission,
        when: When,
        answer: fn(&Server, &Asked) -> Answered,
    ) -> Self {
        Self::new((Does::Post, path), permission, when, Takes::Json, Answer::Wait(answer))
    }

    /// POST of a form of our own pages ([`Asked::field`]); the answer may wait.
    #[must_use]
    pub const fn form(
        path: &'static str,
        permission: Permission,
        when: When,
        answer: fn(&Server, &Asked) -> Answered,
    ) -> Self {
        Self::new((Does::Post, path), permission, when, Takes::Form, Answer::Wait(answer))
    }

    /// Work, served while the server is ready: of queues, of keys. POST and PUT take JSON.
    #[must_use]
    pub const fn work(
        does: Does,
        path: &'static str,
        permission: Permission,
        answer: fn(Arc<Server>, Asked) -> Working,
    ) -> Self {
        let takes = match does {
            Does::Get | Does::Delete => Takes::Nothing,
            Does::Post | Does::Put => Takes::Json,
        };
        Self::new((does, path), permission, When::Ready, takes, Answer::Work(answer))
    }

    /// The same, whose refusals are pages: a person in front of a browser asks.
    #[must_use]
    pub const fn for_people(mut self) -> Self {
        self.for_people = true;
        self
    }

    /// The same, with what the document says of it.
    #[must_use]
    pub const fn about(mut self, operation: &'static Operation) -> Self {
        self.about = Some(operation);
        self
    }

    /// A refusal as this route shows it.
    pub(super) fn refused(&self, refusal: Refusal, server: &Server) -> Response {
        match self.for_people {
            true => ui::refused(&refusal, server),
            false => refusal.response(server),
        }
    }

    /// Its path.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// Its method.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self.does {
            Does::Get => Method::GET,
            Does::Post => Method::POST,
            Does::Put => Method::PUT,
            Does::Delete => Method::DELETE,
        }
    }

    /// What it needs.
    #[must_use]
    pub const fn permission(&self) -> Permission {
        self.permission
    }

    /// When it is served.
    #[must_use]
    pub const fn when(&self) -> When {
        self.when
    }

    /// What its body must be.
    #[must_use]
    pub const fn takes(&self) -> Takes {
        self.takes
    }

    /// The most bytes of its body.
    #[must_use]
    pub const fn body_bytes_max(&self) -> usize {
        if self.is_work() { REQUEST_BYTES_MAX } else { HTTP_BODY_BYTES_MAX }
    }

    /// Whether its bytes and calls are those of work.
    #[must_use]
    pub const fn is_work(&self) -> bool {
        matches!(self.answer, Answer::Work(_))
    }

    /// Whether its answer may wait for a thread.
    #[must_use]
    pub const fn may_wait(&self) -> bool {
        matches!(self.answer, Answer::Wait(_))
    }

    /// What the document says of it.
    #[must_use]
    pub const fn operation(&self) -> Option<&'static Operation> {
        self.about
    }
}
