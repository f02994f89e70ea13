//! The key of a message, of its lease and of its attempts.
//!
//! ```text
//! 0         4                 12                20
//! | ns (BE) | queue id (BE)   | number (BE)     |
//! ```

use crate::bytes::Malformed;
use crate::keys::NAMESPACE;
use crate::queues::MessageId;

/// Bytes of such a key.
pub const LEN: usize = 20;

/// The key of a message.
#[must_use]
pub fn encode(id: MessageId) -> [u8; LEN] {
    let mut key = [0; LEN];
    let fields = NAMESPACE
        .to_be_bytes()
        .into_iter()
        .chain(id.queue.to_be_bytes())
        .chain(id.number.to_be_bytes());
    for (to, from) in key.iter_mut().zip(fields) {
        *to = from;
    }
    key
}

/// The message with this key.
pub fn parse(key: &[u8]) -> Result<MessageId, Malformed> {
    let malformed = || Malformed::new("a message key of 20 bytes", key);
    let (namespace, rest) = key.split_first_chunk::<4>().ok_or_else(malformed)?;
    let (queue, rest) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
    let number = <[u8; 8]>::try_from(rest).map_err(|_| malformed())?;
    let (queue, number) = (u64::from_be_bytes(*queue), u64::from_be_bytes(number));
    if u32::from_be_bytes(*namespace) != NAMESPACE || queue == 0 || number == 0 {
        return Err(malformed());
    }
    Ok(MessageId { queue, number })
}

/// The first key of a queue's messages, and the one behind its last.
#[must_use]
pub fn range(queue: u64) -> ([u8; LEN], [u8; LEN]) {
    debug_assert!(queue < u64::MAX, "ids count up from an incarnation of 24 bits");
    let first = encode(MessageId { queue, number: 0 });
    let behind = encode(MessageId { queue: queue.saturating_add(1), number: 0 });
    (first, behind)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_in_the_order_of_sending() {
        let a = MessageId { queue: 3, number: 255 };
        let b = MessageId { queue: 3, number: 256 };
        assert_eq!(parse(&encode(a)).unwrap(), a);
        assert!(encode(a) < encode(b));
        let (first, behind) = range(3);
        assert!(first < encode(a) && encode(b) < behind);
        assert!(encode(MessageId { queue: 4, number: 1 }) > behind);
    }

    #[test]
    fn other_bytes_are_no_key() {
        let good = encode(MessageId { queue: 3, number: 1 });
        for len in 0..LEN {
            parse(good.get(..len).unwrap()).unwrap_err();
        }
        parse(&[&good[..], &[0]].concat()).unwrap_err();
        parse(&encode(MessageId { queue: 0, number: 1 })).unwrap_err();
        parse(&encode(MessageId { queue: 1, number: 0 })).unwrap_err();
        let mut foreign = good;
        foreign[0] = 9;
        parse(&foreign).unwrap_err();
    }
}
