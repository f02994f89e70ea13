//! Key-value, queue and job services over the database.
//!
//! Invariants: everything a service knows is rows of the database or derived from them; each change
//! is one transaction; a token is checked inside the transaction that uses it; no answer leaves
//! before what it rests on is acknowledged.

mod alarm;
pub mod audit;
mod bytes;
pub mod claims;
pub mod error;
mod exec;
mod figures;
pub mod findings;
pub mod identity;
pub mod jobs;
mod kept;
pub mod keys;
pub mod kv;
mod lead;
pub mod limits;
pub mod loops;
mod numbers;
mod producers;
pub mod queues;
pub mod review;
pub mod schedules;
pub mod services;
mod tick;
mod ticket;
pub mod transact;
mod unled;

pub use audit::{Audit, AuditPage, AuditRecord, NewAudit, one_line};
pub use bytes::Malformed;
pub use error::{Error, Kind};
pub use identity::Identity;
pub use jobs::Jobs;
pub use kv::Kv;
pub use loops::Loops;
pub use producers::table::ProducerFigures;
pub use queues::{Queues, Reviews};
pub use schedules::Schedules;
pub use services::{Options, Services};
pub use tick::Ticked;
pub use ticket::{Acknowledged, Durability, Ticket};
pub use transact::Transactions;
pub use unled::unled;
