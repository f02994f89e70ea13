//! The key of a unit of work (a message or a job), of its lease and of its attempts.
//!
//! ```text
//! 0         4                 12                20
//! | ns (BE) | line id (BE)    | number (BE)     |
//! ```

use crate::bytes::Malformed;
use crate::claims::{Subject, line_of_jobs};
use crate::keys::NAMESPACE;

/// Bytes of such a key.
pub const LEN: usize = 20;

/// The key of a unit of work.
#[must_use]
pub fn encode(id: Subject) -> [u8; LEN] {
    let mut key = [0; LEN];
    let fields = NAMESPACE
        .to_be_bytes()
        .into_iter()
        .chain(id.line.to_be_bytes())
        .chain(id.number.to_be_bytes());
    for (to, from) in key.iter_mut().zip(fields) {
        *to = from;
    }
    key
}

/// The unit of work with this key.
pub fn parse(key: &[u8]) -> Result<Subject, Malformed> {
    let malformed = || Malformed::new("a message key of 20 bytes", key);
    let (namespace, rest) = key.split_first_chunk::<4>().ok_or_else(malformed)?;
    let (queue, rest) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
    let number = <[u8; 8]>::try_from(rest).map_err(|_| malformed())?;
    let (queue, number) = (u64::from_be_bytes(*queue), u64::from_be_bytes(number));
    if u32::from_be_bytes(*namespace) != NAMESPACE || queue == 0 || number == 0 {
        return Err(malformed());
    }
    Ok(Subject { line: queue, number })
}

/// The first key that a job can have; all messages come before it.
#[must_use]
pub fn first_job() -> [u8; LEN] {
    encode(Subject { line: line_of_jobs(0), number: 0 })
}

/// The first key of a line's units, and the one behind its last.
#[must_use]
pub fn range(line: u64) -> ([u8; LEN], [u8; LEN]) {
    debug_assert!(line < u64::MAX, "ids count up from an incarnation of 24 bits");
    let first = encode(Subject { line, number: 0 });
    let behind = encode(Subject { line: line.saturating_add(1), number: 0 });
    (first, behind)
}

/// The line whose units a removed range begins with. Only whole lines are removed by range, from
/// number 0 on, which no unit has.
pub(crate) fn line_of_range(start: &[u8]) -> Option<u64> {
    start.get(4..12)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_in_the_order_of_sending() {
        let a = Subject { line: 3, number: 255 };
        let b = Subject { line: 3, number: 256 };
        assert_eq!(parse(&encode(a)).unwrap(), a);
        assert!(encode(a) < encode(b));
        let (first, behind) = range(3);
        assert!(first < encode(a) && encode(b) < behind);
        assert!(encode(Subject { line: 4, number: 1 }) > behind);
    }

    #[test]
    fn other_bytes_are_no_key() {
        let good = encode(Subject { line: 3, number: 1 });
        for len in 0..LEN {
            parse(good.get(..len).unwrap()).unwrap_err();
        }
        parse(&[&good[..], &[0]].concat()).unwrap_err();
        parse(&encode(Subject { line: 0, number: 1 })).unwrap_err();
        parse(&encode(Subject { line: 1, number: 0 })).unwrap_err();
        let mut foreign = good;
        foreign[0] = 9;
        parse(&foreign).unwrap_err();
    }
}
