//! The consumer: receives everything and counts each number.

use std::time::Duration;

use rekindle_client::{Client, Receive};

use crate::cli::failure::Failure;

/// What was received.
#[derive(Debug, Default)]
pub(super) struct Received {
    counts: Vec<u32>,
    pub(super) total: u64,
    /// Messages with a smaller number than one before them.
    pub(super) out_of_order: u64,
    /// Messages that nobody sent.
    pub(super) strange: u64,
    highest: Option<usize>,
}

impl Received {
    /// Receives until nothing is ready. Nothing is acked: what would come again, comes again.
    pub(super) async fn all(client: &Client, queue: &str) -> Result<Self, Failure> {
        let mut received = Self::default();
        let mut receive = Receive { max: 1_000, ..Receive::new(queue) };
        loop {
            let deliveries = client.receive(&receive).await?;
            if deliveries.is_empty() {
                return Ok(received);
            }
            for delivery in &deliveries {
                received.add(&delivery.body);
            }
            receive.wait = Duration::ZERO;
        }
    }

    fn add(&mut self, body: &[u8]) {
        self.total += 1;
        let number = std::str::from_utf8(body).ok().and_then(|body| {
            let (number, _) = body.split_once(' ')?;
            number.parse::<usize>().ok()
        });
        // A number far behind all that was sent would only be an allocation.
        let limit = self.highest.unwrap_or(0) + 1_000_000;
        let Some(number) = number.filter(|number| *number < limit) else {
            self.strange += 1;
            return;
        };
        if self.highest.is_some_and(|highest| number < highest) {
            self.out_of_order += 1;
        }
        self.highest = self.highest.max(Some(number));
        if self.counts.len() <= number {
            self.counts.resize(number + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(number) {
            *count += 1;
        }
    }

    /// How often this number came.
    pub(super) fn count(&self, number: usize) -> u32 {
        self.counts.get(number).copied().unwrap_or(0)
    }

    /// Messages that came again.
    pub(super) fn duplicated(&self) -> u64 {
        self.counts.iter().map(|&count| u64::from(count.saturating_sub(1))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_late_or_from_nowhere_is_counted() {
        let mut received = Received::default();
        for body in ["0 .", "2 .", "1 .", "2 .", "x", "99999999 ."] {
            received.add(body.as_bytes());
        }
        assert_eq!((received.total, received.strange), (6, 2));
        assert_eq!((received.duplicated(), received.out_of_order), (1, 1));
        assert_eq!([0, 1, 2, 3].map(|number| received.count(number)), [1, 1, 2, 0]);
    }
}
