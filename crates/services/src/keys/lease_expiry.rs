//! The key of the index of leases by time. Its value is empty.
//!
//! ```text
//! 0                8         12                20                28
//! | deadline (BE)  | ns (BE) | line id (BE)    | number (BE)     |
//! ```
//! The deadline is log time in milliseconds; it leads, so that a scan meets what expires first.

use crate::bytes::Malformed;
use crate::claims::Subject;
use crate::keys::subject;

/// Bytes of such a key.
pub const LEN: usize = 8 + subject::LEN;

/// What a row of the index says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseExpiry {
    /// When the lease runs out, log time in milliseconds.
    pub deadline_ms: u64,
    /// Whose lease.
    pub subject: Subject,
}

/// The key of that row.
#[must_use]
pub fn encode(expiry: LeaseExpiry) -> [u8; LEN] {
    let mut key = [0; LEN];
    let fields =
        expiry.deadline_ms.to_be_bytes().into_iter().chain(subject::encode(expiry.subject));
    for (to, from) in key.iter_mut().zip(fields) {
        *to = from;
    }
    key
}

/// The row with this key.
pub fn parse_lease_expiry_key(key: &[u8]) -> Result<LeaseExpiry, Malformed> {
    let malformed = || Malformed::new("a lease expiry key of 28 bytes", key);
    let (deadline, rest) = key.split_first_chunk::<8>().ok_or_else(malformed)?;
    let subject = subject::parse(rest).map_err(|_| malformed())?;
    Ok(LeaseExpiry { deadline_ms: u64::from_be_bytes(*deadline), subject })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// proves: B10
        #[test]
        fn parse_lease_expiry_key_round_trips(
            deadline_ms: u64, queue in 1_u64.., number in 1_u64..,
        ) {
            let expiry = LeaseExpiry { deadline_ms, subject: Subject { line: queue, number } };
            prop_assert_eq!(parse_lease_expiry_key(&encode(expiry)).unwrap(), expiry);
        }

        /// Whatever is accepted is exactly what would be written.
        ///
        /// proves: B10
        #[test]
        fn parse_lease_expiry_key_accepts_only_what_encodes_back(
            key in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Ok(expiry) = parse_lease_expiry_key(&key) {
                prop_assert_eq!(encode(expiry).to_vec(), key);
            }
        }

        #[test]
        fn the_order_of_keys_is_the_order_of_deadlines(a: u64, b: u64) {
            let subject = Subject { line: 7, number: 9 };
            let key = |deadline_ms| encode(LeaseExpiry { deadline_ms, subject });
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
        }
    }

    /// proves: B10
    #[test]
    fn parse_lease_expiry_key_rejects_every_malformed_input() {
        let subject = Subject { line: 7, number: 9 };
        let good = encode(LeaseExpiry { deadline_ms: 5, subject });
        for len in 0..LEN {
            parse_lease_expiry_key(good.get(..len).unwrap()).unwrap_err();
        }
        parse_lease_expiry_key(&[&good[..], b"x"].concat()).unwrap_err();
        parse_lease_expiry_key(&[0; LEN]).unwrap_err();
        parse_lease_expiry_key(&[0xFF; LEN]).unwrap_err();
        for (field, from, to) in [("namespace", 8, 12), ("queue", 12, 20), ("number", 20, 28)] {
            let mut key = good;
            key.get_mut(from..to).unwrap().fill(0);
            let malformed = parse_lease_expiry_key(&key).unwrap_err();
            assert!(malformed.found.starts_with("28 bytes"), "{field}: {malformed}");
        }
    }
}
