//! Who may do what: principals and permissions.
//!
//! Invariant: a permission is a required argument wherever a route is made, so none can be
//! forgotten.

use std::fmt;

/// What is acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Queues and their messages.
    Queue,
    /// Keys and values.
    Kv,
    /// Jobs and their types.
    Job,
    /// Loops.
    Loop,
    /// Queues, keys and jobs together: transactions over all of them.
    Everything,
    /// The server itself: metrics, reports, limits.
    Server,
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Look at it.
    Read,
    /// Add to it or change it.
    Write,
    /// Take work from it and settle that.
    Ack,
    /// Create, delete, purge.
    Manage,
}

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Nothing: probes that say only whether the server lives and is ready.
    Probe,
    /// This verb on this subject.
    Needs(Subject, Verb),
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probe => f.write_str("probe"),
            Self::Needs(subject, verb) => {
                let text = format!("{subject:?}.{verb:?}");
                f.write_str(&text.to_lowercase())
            }
        }
    }
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Everybody who can reach a listener: by default, the processes of this machine.
    Local,
    /// Nobody: may do nothing but probe. Listeners never use it; the tests of both tables do.
    Nobody,
}

impl Principal {
    /// Whether it has this permission.
    #[must_use]
    pub fn may(self, permission: Permission) -> bool {
        match (self, permission) {
            (_, Permission::Probe) | (Self::Local, Permission::Needs(..)) => true,
            (Self::Nobody, Permission::Needs(..)) => false,
        }
    }
}
