//! Keys of the results of requests with an identity.
//!
//! ```text
//! 0         4                         20              28
//! | ns (BE) | producer                | chunk (BE)    |
//! ```
//! Without a chunk: the producer's floor. Chunk `c` holds the results of the sequences
//! `c * RESULTS .. (c + 1) * RESULTS`. Without a producer: the era, which is one row.

use crate::bytes::Malformed;
use crate::keys::NAMESPACE;

/// Sequences of one chunk; persisted in every key, so stable.
pub const RESULTS: u64 = 8;

/// What a key of this keyspace names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerKey {
    /// Until when producers were forgotten.
    Era,
    /// The first sequence whose result is kept.
    Floor([u8; 16]),
    /// A chunk of results.
    Chunk([u8; 16], u64),
}

/// The key of the era; it stands before all producers.
#[must_use]
pub fn era() -> [u8; 4] {
    NAMESPACE.to_be_bytes()
}

/// The key of a producer's floor; every chunk's key begins with it.
#[must_use]
pub fn floor(producer: &[u8; 16]) -> Vec<u8> {
    let mut key = Vec::with_capacity(28);
    key.extend_from_slice(&NAMESPACE.to_be_bytes());
    key.extend_from_slice(producer);
    key
}

/// The key of a chunk.
#[must_use]
pub fn chunk(producer: &[u8; 16], chunk: u64) -> Vec<u8> {
    let mut key = floor(producer);
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// What this key names.
pub fn parse(key: &[u8]) -> Result<ProducerKey, Malformed> {
    let malformed = || Malformed::new("a producer's key of 4, 20 or 28 bytes", key);
    let (namespace, rest) = key.split_first_chunk::<4>().ok_or_else(malformed)?;
    if u32::from_be_bytes(*namespace) != NAMESPACE {
        return Err(malformed());
    }
    if rest.is_empty() {
        return Ok(ProducerKey::Era);
    }
    let (producer, chunk) = rest.split_first_chunk::<16>().ok_or_else(malformed)?;
    if chunk.is_empty() {
        return Ok(ProducerKey::Floor(*producer));
    }
    let chunk = <[u8; 8]>::try_from(chunk).map_err(|_| malformed())?;
    Ok(ProducerKey::Chunk(*producer, u64::from_be_bytes(chunk)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_chunks_follow_their_floor() {
        let producer = [7; 16];
        assert_eq!(parse(&floor(&producer)).unwrap(), ProducerKey::Floor(producer));
        assert_eq!(parse(&chunk(&producer, 300)).unwrap(), ProducerKey::Chunk(producer, 300));
        assert!(floor(&producer) < chunk(&producer, 0));
        assert!(chunk(&producer, 255) < chunk(&producer, 256));
        assert_eq!(parse(&era()).unwrap(), ProducerKey::Era);
        assert!(era().as_slice() < floor(&[0; 16]).as_slice());
        for len in (0..28).filter(|len| ![4, 20].contains(len)) {
            parse(chunk(&producer, 300).get(..len).unwrap()).unwrap_err();
        }
        parse(&[9; 28]).unwrap_err();
    }
}
