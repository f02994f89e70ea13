//! The one order in which the calls of several threads are replayed.
//!
//! A call happens at some moment between its beginning and its return. A change is taken to happen
//! at its beginning: from there on a crash may show it. Where a sync began in the meantime, the
//! change happens right after that, for the sync need not cover it. A sync takes effect at its
//! return. Descriptors are given at the return of a call and taken at the beginning of another.
//!
//! Invariant: no order that the calls can have had makes less durable than this one.

use super::lines::Call;

/// A half of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Half {
    /// What it does.
    Doing,
    /// What follows from its result.
    Returned,
}

/// Whether a call makes something durable.
#[must_use]
pub fn is_sync(call: &Call) -> bool {
    matches!(call.name.as_str(), "fsync" | "fdatasync")
}

/// Both halves of all calls, each with the number of its call. A call that never returned has one.
#[must_use]
pub fn order(calls: &[Call]) -> Vec<(usize, Half)> {
    // The calls begin in their order, so these are sorted.
    let syncs: Vec<usize> = calls.iter().filter(|it| is_sync(it)).map(|it| it.begin).collect();
    debug_assert!(syncs.is_sorted(), "calls are sorted by their beginning");
    let mut halves = Vec::with_capacity(calls.len() * 2);
    for (number, call) in calls.iter().enumerate() {
        let before_end = syncs.partition_point(|begin| *begin < call.end);
        let last = before_end.checked_sub(1).and_then(|at| syncs.get(at)).copied();
        let place = match last.filter(|begin| *begin > call.begin && !is_sync(call)) {
            Some(begin) => (begin, 1),
            None => (call.begin, 0),
        };
        halves.push((place, number, Half::Doing));
        if call.end != usize::MAX {
            halves.push(((call.end, 2), number, Half::Returned));
        }
    }
    halves.sort_unstable();
    halves.into_iter().map(|(_, number, half)| (number, half)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::lines::calls;
    use super::*;

    fn ordered(text: &str) -> Vec<String> {
        let calls = calls(text).unwrap();
        let name = |number: usize| calls.get(number).unwrap().name.clone();
        order(&calls)
            .into_iter()
            .map(|(number, half)| match half {
                Half::Doing => name(number),
                Half::Returned => format!("/{}", name(number)),
            })
            .collect()
    }

    #[test]
    fn a_change_that_a_sync_need_not_cover_comes_after_its_beginning() {
        let text = "\
1 write(3, \"\\x78\", 1 <unfinished ...>
2 fsync(3 <unfinished ...>
1 <... write resumed>) = 1
1 ftruncate(3, 0) = 0
2 <... fsync resumed>) = 0
";
        assert_eq!(
            ordered(text),
            ["fsync", "write", "/write", "ftruncate", "/ftruncate", "/fsync"]
        );
    }

    #[test]
    fn a_change_that_returned_before_a_sync_is_covered() {
        let text = "\
1 write(3, \"\\x78\", 1 <unfinished ...>
2 close(9) = 0
1 <... write resumed>) = 1
2 fsync(3 <unfinished ...>
1 fdatasync(4) = 0
1 write(3, \"\\x78\", 1) = ?
";
        assert_eq!(
            ordered(text),
            ["write", "close", "/close", "/write", "fsync", "fdatasync", "/fdatasync", "write"]
        );
    }
}
