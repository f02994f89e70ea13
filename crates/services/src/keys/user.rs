//! The key of a value of the kv service: namespace number (4, BE), then the database's encoding of
//! scope and user's key, which keeps their order.

use rekindle_database::{Key, Namespace, TypeTag};

use crate::bytes::Malformed;
use crate::keys::NAMESPACE;

/// The bytes with which every key of this scope begins.
#[must_use]
pub fn scope(namespace: &Namespace, tag: TypeTag) -> Vec<u8> {
    let inner = namespace.prefix();
    let mut key = Vec::with_capacity(4 + inner.len() + 1 + 64);
    key.extend_from_slice(&NAMESPACE.to_be_bytes());
    key.extend_from_slice(&inner);
    key.push(tag as u8);
    key
}

/// The first key that is behind every key that begins with `prefix`.
#[must_use]
pub fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// The user's key and its scope.
pub fn parse(key: &[u8]) -> Result<Key, Malformed> {
    let malformed = || Malformed::new("namespace number, scope and key", key);
    let (namespace, rest) = key.split_first_chunk::<4>().ok_or_else(malformed)?;
    if u32::from_be_bytes(*namespace) != NAMESPACE {
        return Err(malformed());
    }
    Key::decode(rest).ok_or_else(malformed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_inside_their_scope() {
        let namespace = Namespace::new("t", "a", "", "r");
        let mut key = scope(&namespace, TypeTag::State);
        let prefix = key.clone();
        key.extend_from_slice(b"user\0key");
        let parsed = parse(&key).unwrap();
        assert_eq!(parsed, Key::new(namespace, TypeTag::State, *b"user\0key"));
        assert!(prefix <= key && key < behind(&prefix));
        parse(&key[..3]).unwrap_err();
        parse(&[0, 0, 0, 9, 1]).unwrap_err();
    }

    #[test]
    fn behind_carries() {
        assert_eq!(behind(&[1, 2]), [1, 3]);
        assert_eq!(behind(&[1, 0xFF]), [2]);
        assert!(behind(&[0xFF]).is_empty());
    }
}
