//! What units of work belong to: a queue, or a type of jobs.

use std::sync::Arc;

use crate::claims::state::Retry;
use crate::jobs::kind::JobType;
use crate::queues::definition::Definition;

/// A queue or a type of jobs.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// Its units are messages.
    Queue(Arc<Definition>),
    /// Its units are jobs.
    Jobs(Arc<JobType>),
}

impl Line {
    /// Its number.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Queue(queue) => queue.id,
            Self::Jobs(kind) => kind.id,
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Queue(queue) => &queue.name,
            Self::Jobs(kind) => &kind.name,
        }
    }

    /// How long a lease lasts where nobody says otherwise, in milliseconds.
    pub(crate) fn lease_ms(&self) -> u64 {
        match self {
            Self::Queue(queue) => queue.settings.visibility_ms,
            Self::Jobs(kind) => kind.settings.lease_ms,
        }
    }

    /// How often its units are tried, and after which pauses.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Queue(queue) => {
                Retry { max_attempts: queue.settings.max_attempts, backoff: None }
            }
            Self::Jobs(kind) => Retry {
                max_attempts: kind.settings.max_attempts,
                backoff: Some(kind.settings.backoff),
            },
        }
    }

    /// The queue, if it is one.
    pub(crate) fn queue(&self) -> Option<&Arc<Definition>> {
        match self {
            Self::Queue(queue) => Some(queue),
            Self::Jobs(_) => None,
        }
    }

    /// The type of jobs, if it is one.
    pub(crate) fn jobs(&self) -> Option<&Arc<JobType>> {
        match self {
            Self::Queue(_) => None,
            Self::Jobs(kind) => Some(kind),
        }
    }
}
