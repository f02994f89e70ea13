//! The key of an audit record: namespace (4, BE), number (8, BE). Numbers are dense from 1.

use crate::bytes::Malformed;
use crate::keys::NAMESPACE;

/// Bytes of such a key.
pub const LEN: usize = 12;

/// The key of the record with this number; 0 stands before all of them.
#[must_use]
pub fn encode(number: u64) -> [u8; LEN] {
    let mut key = [0; LEN];
    let fields = NAMESPACE.to_be_bytes().into_iter().chain(number.to_be_bytes());
    key.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    key
}

/// The number in this key.
pub fn parse(key: &[u8]) -> Result<u64, Malformed> {
    let malformed = || Malformed::new("an audit key of 12 bytes", key);
    let (namespace, number) = key.split_first_chunk::<4>().ok_or_else(malformed)?;
    let number = <[u8; 8]>::try_from(number).map_err(|_| malformed())?;
    let number = u64::from_be_bytes(number);
    if u32::from_be_bytes(*namespace) != NAMESPACE || number == 0 {
        return Err(malformed());
    }
    Ok(number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_in_order_and_other_bytes_are_no_key() {
        assert_eq!(parse(&encode(7)).unwrap(), 7);
        assert!(encode(255) < encode(256) && encode(0) < encode(1));
        for wrong in [&b""[..], &encode(0), &encode(5)[1..], &[&encode(5)[..], b"x"].concat()] {
            parse(wrong).unwrap_err();
        }
    }
}
