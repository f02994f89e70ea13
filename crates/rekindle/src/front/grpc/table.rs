//! The table of gRPC methods: each with the permission that it needs.
//!
//! Invariant: the gate asks this table before any service sees a call; a method that stands not in
//! it is denied, so a service that is added without an entry cannot be called.

use crate::front::access::{Permission, Subject, Verb};

/// How the body of a call arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// One message, within the time for a body.
    Single,
    /// As many messages as the caller likes, at its pace.
    Stream,
}

/// One method.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    path: &'static str,
    permission: Permission,
    body: Body,
}

impl Method {
    /// A method with one message in its body.
    const fn single(path: &'static str, permission: Permission) -> Self {
        Self { path, permission, body: Body::Single }
    }

    /// A method with a stream in its body.
    const fn stream(path: &'static str, permission: Permission) -> Self {
        Self { path, permission, body: Body::Stream }
    }

    /// The path under which it is called.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// What it needs.
    #[must_use]
    pub const fn permission(&self) -> Permission {
        self.permission
    }

    /// How its body arrives.
    #[must_use]
    pub const fn body(&self) -> Body {
        self.body
    }
}

const READ_QUEUE: Permission = Permission::Needs(Subject::Queue, Verb::Read);
const SEND: Permission = Permission::Needs(Subject::Queue, Verb::Write);
const ACK: Permission = Permission::Needs(Subject::Queue, Verb::Ack);
const MANAGE: Permission = Permission::Needs(Subject::Queue, Verb::Manage);
const READ_KV: Permission = Permission::Needs(Subject::Kv, Verb::Read);
const WRITE_KV: Permission = Permission::Needs(Subject::Kv, Verb::Write);
const READ_JOB: Permission = Permission::Needs(Subject::Job, Verb::Read);
const SUBMIT: Permission = Permission::Needs(Subject::Job, Verb::Write);
const WORK: Permission = Permission::Needs(Subject::Job, Verb::Ack);
const READ_LOOP: Permission = Permission::Needs(Subject::Loop, Verb::Read);
const MANAGE_LOOP: Permission = Permission::Needs(Subject::Loop, Verb::Manage);
const TRANSACT: Permission = Permission::Needs(Subject::Everything, Verb::Write);
const MANAGE_JOB: Permission = Permission::Needs(Subject::Job, Verb::Manage);

/// All methods; the busiest first, because they are looked for in this order.
pub static METHODS: &[Method] = &[
    Method::single("/rekindle.v1.Queues/Send", SEND),
    Method::single("/rekindle.v1.Queues/Receive", ACK),
    Method::single("/rekindle.v1.Queues/Ack", ACK),
    Method::stream("/rekindle.v1.Queues/SendStream", SEND),
    Method::single("/rekindle.v1.Queues/Nack", ACK),
    Method::single("/rekindle.v1.Queues/Extend", ACK),
    Method::single("/rekindle.v1.Jobs/Submit", SUBMIT),
    Method::single("/rekindle.v1.Jobs/Claim", WORK),
    Method::single("/rekindle.v1.Jobs/Complete", WORK),
    Method::single("/rekindle.v1.Jobs/Heartbeat", WORK),
    Method::single("/rekindle.v1.Jobs/Fail", WORK),
    Method::single("/rekindle.v1.Jobs/Release", WORK),
    Method::single("/rekindle.v1.Kv/Get", READ_KV),
    Method::single("/rekindle.v1.Kv/Put", WRITE_KV),
    Method::single("/rekindle.v1.Kv/Delete", WRITE_KV),
    Method::single("/rekindle.v1.Kv/Scan", READ_KV),
    Method::single("/rekindle.v1.Kv/CompareAndSet", WRITE_KV),
    Method::single("/rekindle.v1.Kv/Transact", WRITE_KV),
    Method::single("/rekindle.v1.Queues/Create", MANAGE),
    Method::single("/rekindle.v1.Queues/Delete", MANAGE),
    Method::single("/rekindle.v1.Queues/Purge", MANAGE),
    Method::single("/rekindle.v1.Queues/List", READ_QUEUE),
    Method::single("/rekindle.v1.Queues/Show", READ_QUEUE),
    Method::single("/rekindle.v1.Jobs/Show", READ_JOB),
    Method::single("/rekindle.v1.Jobs/Wait", READ_JOB),
    Method::single("/rekindle.v1.Jobs/List", READ_JOB),
    Method::single("/rekindle.v1.Jobs/Count", READ_JOB),
    Method::single("/rekindle.v1.Jobs/Cancel", MANAGE_JOB),
    Method::single("/rekindle.v1.Jobs/Retry", MANAGE_JOB),
    Method::single("/rekindle.v1.Jobs/SetType", MANAGE_JOB),
    Method::single("/rekindle.v1.Jobs/ListTypes", READ_JOB),
    Method::single("/rekindle.v1.Jobs/ShowType", READ_JOB),
    Method::single("/rekindle.v1.Transactions/Run", TRANSACT),
    Method::single("/rekindle.v1.Loops/Start", MANAGE_LOOP),
    Method::single("/rekindle.v1.Loops/Approve", MANAGE_LOOP),
    Method::single("/rekindle.v1.Loops/Pause", MANAGE_LOOP),
    Method::single("/rekindle.v1.Loops/Resume", MANAGE_LOOP),
    Method::single("/rekindle.v1.Loops/Cancel", MANAGE_LOOP),
    Method::single("/rekindle.v1.Loops/Retry", MANAGE_LOOP),
    Method::single("/rekindle.v1.Loops/Fork", MANAGE_LOOP),
    Method::single("/rekindle.v1.Loops/List", READ_LOOP),
    Method::single("/rekindle.v1.Loops/Show", READ_LOOP),
    Method::single("/rekindle.v1.Loops/Events", READ_LOOP),
    Method::single("/rekindle.v1.Schedules/Create", MANAGE_JOB),
    Method::single("/rekindle.v1.Schedules/Delete", MANAGE_JOB),
    Method::single("/rekindle.v1.Schedules/List", READ_JOB),
    Method::single("/rekindle.v1.Schedules/Show", READ_JOB),
    Method::single("/grpc.health.v1.Health/Check", Permission::Probe),
    Method::single("/grpc.health.v1.Health/Watch", Permission::Probe),
];

/// The method that is called by this path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}
