//! The threading primitives of the group commit, named once so that a model can put others here.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::thread::yield_now;
