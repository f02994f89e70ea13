//! What consumers were handed, held against what was sent.
//!
//! Invariants: of what one sender sent, one consumer is handed rising numbers; all consumers
//! together are handed each number once, from 0 without a gap.

use super::body::{self, Name};

/// What one consumer was handed.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    /// The numbers of each sender, rising.
    by_sender: Vec<Vec<u64>>,
}

impl Handed {
    /// Notes a body.
    pub(crate) fn note(&mut self, body: &[u8]) -> Result<(), String> {
        let Name { sender, number } =
            body::read(body).ok_or("a body is not what anybody sent: it was changed")?;
        let at = usize::try_from(sender).map_err(|_| format!("no sender {sender}"))?;
        if self.by_sender.len() <= at {
            self.by_sender.resize(at + 1, vec![]);
        }
        let numbers = self.by_sender.get_mut(at).ok_or("no room for a sender")?;
        match numbers.last() {
            Some(last) if *last >= number => {
                Err(format!("not in order: {number} of sender {sender} came behind its {last}"))
            }
            _ => {
                numbers.push(number);
                Ok(())
            }
        }
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.by_sender.iter().map(|numbers| numbers.len() as u64).sum()
    }
}

/// Whether all of them together were handed the oldest of each sender, each once; how many.
pub(crate) fn check(all: Vec<Handed>) -> Result<u64, String> {
    let mut by_sender: Vec<Vec<u64>> = vec![];
    for handed in all {
        for (at, numbers) in handed.by_sender.into_iter().enumerate() {
            if by_sender.len() <= at {
                by_sender.resize(at + 1, vec![]);
            }
            if let Some(known) = by_sender.get_mut(at) {
                known.extend(numbers);
            }
        }
    }
    let mut count = 0;
    for (sender, numbers) in by_sender.iter_mut().enumerate() {
        numbers.sort_unstable();
        for (expected, found) in (0_u64..).zip(numbers.iter()) {
            if expected < *found {
                return Err(format!("{expected} of sender {sender} was left out: {found} came"));
            }
            if expected > *found {
                return Err(format!("{found} of sender {sender} came twice"));
            }
        }
        count += numbers.len() as u64;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(names: &[(u64, u64)]) -> Result<Handed, String> {
        let mut handed = Handed::default();
        for (sender, number) in names {
            handed.note(&body::write(Name { sender: *sender, number: *number }, 32))?;
        }
        Ok(handed)
    }

    #[test]
    fn two_consumers_share_what_two_senders_sent() {
        let one = handed(&[(0, 0), (1, 0), (0, 3)]).unwrap();
        let other = handed(&[(0, 1), (0, 2), (1, 1)]).unwrap();
        assert_eq!((one.count(), check(vec![one, other])), (3, Ok(6)));
    }

    #[test]
    fn whatever_else_happens_is_noticed() {
        assert!(handed(&[(0, 1), (0, 0)]).unwrap_err().contains("not in order"));
        assert!(handed(&[(0, 0), (0, 0)]).unwrap_err().contains("not in order"));
        let gap = check(vec![handed(&[(0, 0), (0, 2)]).unwrap()]);
        assert!(gap.unwrap_err().contains("1 of sender 0 was left out"));
        let late = check(vec![handed(&[(0, 1)]).unwrap()]);
        assert!(late.unwrap_err().contains("0 of sender 0 was left out"));
        let twice = check(vec![handed(&[(0, 0)]).unwrap(), handed(&[(0, 0)]).unwrap()]);
        assert!(twice.unwrap_err().contains("came twice"));
        assert!(Handed::default().note(b"something else, of some length").is_err());
    }
}
