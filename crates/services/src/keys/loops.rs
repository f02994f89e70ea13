//! The keys of loops: plans and executions by their ids, events by execution and number.
//!
//! ```text
//! 0         4             20              28
//! | ns (BE) | id (UUID)   | number (BE)   |
//! ```

use crate::bytes::Malformed;
use crate::keys::NAMESPACE;
use crate::loops::id::{LEN, LoopId};

/// The key of a plan, or of an execution.
#[must_use]
pub fn encode(id: LoopId) -> Vec<u8> {
    let mut key = Vec::with_capacity(4 + LEN + 8);
    key.extend_from_slice(&NAMESPACE.to_be_bytes());
    key.extend_from_slice(&id.to_bytes());
    key
}

/// The key of the row that says when executions were last seen alive.
#[must_use]
pub fn alive() -> [u8; 4] {
    NAMESPACE.to_be_bytes()
}

/// The key of an event of an execution.
#[must_use]
pub fn event(id: LoopId, number: u64) -> Vec<u8> {
    let mut key = encode(id);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The plan or execution with this key.
pub fn parse(key: &[u8]) -> Result<LoopId, Malformed> {
    let malformed = || Malformed::new("a key of a plan or an execution, 20 bytes", key);
    let (namespace, id) = key.split_first_chunk::<4>().ok_or_else(malformed)?;
    let id = <[u8; LEN]>::try_from(id).map_err(|_| malformed())?;
    if u32::from_be_bytes(*namespace) != NAMESPACE {
        return Err(malformed());
    }
    Ok(LoopId::from_bytes(id))
}

/// The execution and the number of the event with this key.
pub fn parse_event(key: &[u8]) -> Result<(LoopId, u64), Malformed> {
    let malformed = || Malformed::new("a key of an event of an execution, 28 bytes", key);
    let (execution, number) = key.split_at_checked(4 + LEN).ok_or_else(malformed)?;
    let number = <[u8; 8]>::try_from(number).map_err(|_| malformed())?;
    Ok((parse(execution).map_err(|_| malformed())?, u64::from_be_bytes(number)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_in_the_order_of_events_and_other_bytes_are_none() {
        let id = LoopId::new(1_700_000_000_000, [3; 10]);
        assert_eq!(parse(&encode(id)).unwrap(), id);
        assert_eq!(parse_event(&event(id, 256)).unwrap(), (id, 256));
        assert!(event(id, 255) < event(id, 256));
        let good = event(id, 1);
        for len in 0..good.len() {
            parse_event(good.get(..len).unwrap()).unwrap_err();
        }
        parse(&good).unwrap_err();
        let mut foreign = encode(id);
        foreign[0] = 9;
        parse(&foreign).unwrap_err();
    }
}
