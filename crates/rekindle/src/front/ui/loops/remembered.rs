//! The iterations of executions that somebody looks at, remembered: an open page asks each second,
//! and a thousand events are read for them.
//!
//! Invariants: what is remembered is of exactly as many events as the execution has; at most
//! [`EXECUTIONS_MAX`] executions are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rekindle_services::loops::LoopId;

use super::iterations::Iteration;
use crate::front::limits::LIVE_STREAMS_MAX;

/// As many as open pages can be of.
const EXECUTIONS_MAX: usize = LIVE_STREAMS_MAX;

/// One execution: how many events it has, and what they tell.
type Known = (LoopId, u64, Arc<Vec<Iteration>>);

/// What was told last, the newest at the end.
#[derive(Debug, Default)]
pub(in crate::front::ui) struct Remembered(Mutex<VecDeque<Known>>);

impl Remembered {
    /// The iterations of an execution with so many events; `tell` reads them.
    pub(in crate::front::ui) fn of<E>(
        &self,
        id: LoopId,
        events: u64,
        tell: impl FnOnce() -> Result<Vec<Iteration>, E>,
    ) -> Result<Arc<Vec<Iteration>>, E> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().iter().find(|it| (it.0, it.1) == (id, events)).map(|it| it.2.clone());
        if let Some(known) = known {
            return Ok(known);
        }
        // Not while others wait.
        let told = Arc::new(tell()?);
        let mut all = lock();
        all.retain(|known| known.0 != id);
        if all.len() >= EXECUTIONS_MAX {
            all.pop_front();
        }
        all.push_back((id, events, Arc::clone(&told)));
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::super::iterations::{iterations, tests as told};
    use super::*;
    use std::cell::Cell;

    /// They are told anew when something happened, and not before; of many the last are kept.
    #[test]
    fn what_is_remembered_is_as_it_is() {
        let (remembered, times) = (Remembered::default(), Cell::new(0));
        let id = |number: u8| LoopId::new(1_000, [number; 10]);
        let ask = |id, events: u64| {
            let all = remembered.of(id, events, || {
                times.set(times.get() + 1);
                let what = (1..=2).flat_map(|n| told::checked(n, 1)).collect();
                let window = told::numbered(1, what);
                let window = window.get(..usize::try_from(events).unwrap_or(8)).unwrap_or(&window);
                Ok::<_, ()>(iterations(window, 1))
            });
            all.map(|all| all.len())
        };
        assert_eq!((ask(id(1), 4), ask(id(1), 4), times.get()), (Ok(1), Ok(1), 1));
        assert_eq!((ask(id(1), 8), ask(id(1), 8), times.get()), (Ok(2), Ok(2), 2));
        assert_eq!((ask(id(1), 4), times.get()), (Ok(1), 3), "it is of other events");
        for number in 2..=100 {
            assert_eq!(ask(id(number), 8), Ok(2));
        }
        assert_eq!(times.get(), 102);
        assert_eq!((ask(id(100), 8), times.get()), (Ok(2), 102));
        assert_eq!((ask(id(1), 4), times.get()), (Ok(1), 103), "others were asked for since");
        let failed = remembered.of(id(7), 9, || Err("no"));
        assert_eq!(failed.map(|all| all.len()), Err("no"));
    }
}
