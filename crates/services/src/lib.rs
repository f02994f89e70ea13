//! Key-value and queue services over the database.
//!
//! Invariants: everything a service knows is rows of the database or derived from them; each change
//! is one transaction; a token is checked inside the transaction that uses it; no answer leaves
//! before what it rests on is acknowledged.

pub mod error;
pub mod identity;
pub mod kv;
pub mod limits;
pub mod queues;
pub mod services;
mod ticket;

pub use error::{Error, Kind};
pub use identity::Identity;
pub use kv::Kv;
pub use queues::Queues;
pub use services::{Options, Services, Ticked};
pub use ticket::{Acknowledged, Durability, Ticket};
