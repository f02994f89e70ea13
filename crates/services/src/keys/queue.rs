//! The key of a queue's definition: namespace (4, BE), name.

use crate::bytes::Malformed;
use crate::keys::NAMESPACE;
use crate::limits::NAME_BYTES_MAX;

/// The key of the queue with this name.
#[must_use]
pub fn encode(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(4 + name.len());
    key.extend_from_slice(&NAMESPACE.to_be_bytes());
    key.extend_from_slice(name.as_bytes());
    key
}

/// The name in this key.
pub fn parse(key: &[u8]) -> Result<&str, Malformed> {
    let malformed = || Malformed::new("namespace and name of a queue", key);
    let (namespace, name) = key.split_first_chunk::<4>().ok_or_else(malformed)?;
    let name = std::str::from_utf8(name).map_err(|_| malformed())?;
    if u32::from_be_bytes(*namespace) != NAMESPACE || !is_name(name) {
        return Err(malformed());
    }
    Ok(name)
}

/// Whether this can be the name of a queue.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_limit() {
        assert!(is_name("a") && is_name("A-z_0.9"));
        assert!(is_name(&"n".repeat(NAME_BYTES_MAX)));
        assert!(!is_name(&"n".repeat(NAME_BYTES_MAX + 1)));
        for wrong in ["", " ", "a b", "a/b", "ü", "a\n", "a\0"] {
            assert!(!is_name(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn keys_round_trip_and_other_bytes_are_no_key() {
        assert_eq!(parse(&encode("commits")).unwrap(), "commits");
        for wrong in [&b""[..], &[0, 0, 0], &[0, 0, 0, 1], &[0, 0, 0, 2, b'a'], &[0, 0, 0, 1, 7]] {
            parse(wrong).unwrap_err();
        }
    }
}
