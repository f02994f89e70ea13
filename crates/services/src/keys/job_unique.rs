//! The key of a unique key of a type of jobs: namespace (4, BE), type (8, BE), the unique key.

use crate::bytes::Malformed;
use crate::claims::is_of_jobs;
use crate::keys::NAMESPACE;
use crate::limits::UNIQUE_KEY_BYTES_MAX;

/// The key of this unique key.
#[must_use]
pub fn encode(kind: u64, unique: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(12 + unique.len());
    key.extend_from_slice(&NAMESPACE.to_be_bytes());
    key.extend_from_slice(&kind.to_be_bytes());
    key.extend_from_slice(unique.as_bytes());
    key
}

/// The type and the unique key in this key.
pub fn parse(key: &[u8]) -> Result<(u64, &str), Malformed> {
    let malformed = || Malformed::new("namespace, type and unique key of a job", key);
    let (namespace, rest) = key.split_first_chunk::<4>().ok_or_else(malformed)?;
    let (kind, unique) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
    let unique = std::str::from_utf8(unique).map_err(|_| malformed())?;
    let kind = u64::from_be_bytes(*kind);
    let named = (1..=UNIQUE_KEY_BYTES_MAX).contains(&unique.len());
    if u32::from_be_bytes(*namespace) != NAMESPACE || !is_of_jobs(kind) || !named {
        return Err(malformed());
    }
    Ok((kind, unique))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_other_bytes_are_no_key() {
        let kind = 1 << 63 | 7;
        let key = encode(kind, "grün");
        assert_eq!(parse(&key).unwrap(), (kind, "grün"));
        for len in 0..13 {
            parse(key.get(..len).unwrap()).unwrap_err();
        }
        parse(&encode(7, "a")).unwrap_err();
        parse(&encode(kind, &"k".repeat(UNIQUE_KEY_BYTES_MAX + 1))).unwrap_err();
        parse(&[&key[..], &[0xFF]].concat()).unwrap_err();
    }
}
