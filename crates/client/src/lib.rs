//! The Rust client of a Rekindle server.
//!
//! Invariants: an error says whether the work was done ([`Error::Unknown`] is the only one that
//! does not know); everything that is repeated after a broken connection carries an identity, so
//! that it has one effect; what is in flight is bounded.
//!
//! ```no_run
//! # async fn example() -> Result<(), rekindle_client::Error> {
//! use rekindle_client::{Client, Message, Receive};
//! let client = Client::connect("127.0.0.1:7611")?;
//! let sender = client.sender("commits");
//! let ack = sender.send(Message::new("hello")).await?;
//! println!("{} is on {}", ack.id, ack.durability.word());
//! for delivery in client.receive(&Receive::new("commits")).await? {
//!     client.ack("commits", &[delivery.token]).await;
//! }
//! # Ok(()) }
//! ```

mod backoff;
mod client;
mod error;
mod identity;
mod jobs;
mod kv;
mod loops;
mod queues;
mod sender;
mod worker;

pub use client::{Client, normal_address};
pub use error::Error;
pub use jobs::{ClaimJobs, JobChanged, Jobs, ListJobs, SubmittedJob};
pub use kv::{Expected, Page, ScanOptions, Versioned, Write};
pub use loops::{ListLoops, LoopAltered, LoopForked, LoopStarted, Loops, StartLoop};
pub use queues::Receive;
pub use rekindle_wire::limits;
pub use rekindle_wire::v1::show_loop_response::Shown as ShownLoop;
pub use rekindle_wire::v1::{
    Check, ClaimedJob, Delivery, Durability, Header, JobCompletion, JobCounts, JobDetail, JobEvent,
    JobFailure, JobHeartbeat, JobInfo, JobProgress, JobRate, JobRelease, JobSettings, JobStatus,
    JobTypeInfo, LoopEvent, LoopEventsResponse, LoopExecution, LoopExecutionDetail, LoopForkedFrom,
    LoopPlan, LoopPlanSpec, LoopReview, LoopStatus, LoopStep, LoopUsed, Message, NewJob,
    QueueCounts, QueueDefinition, QueueInfo, Row, Scope,
};
pub use sender::{Ack, Sender, SenderOptions, Ticket};
pub use worker::{Job, JobHandle, JobSummary, JobVerdict, JobWorker, Summary, Verdict, Worker};
