//! `Idempotency-Key`: the identity of a request over HTTP.
//!
//! Invariants: `UUID/SEQUENCE` is the identity that gRPC calls give as two fields, so a request may
//! be repeated over either front; any other key is hashed to a producer of its own, with sequence
//! 0. That hash is stable, for it is compared with what earlier runs kept.

use axum::http::{HeaderMap, HeaderName};
use rekindle_services::Identity;
use xxhash_rust::xxh3::xxh3_128;

use super::reply::Refusal;
use crate::front::limits::IDEMPOTENCY_KEY_BYTES_MAX;

/// The header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The identity of a request with these headers, if it has one.
pub(super) fn identity(headers: &HeaderMap) -> Result<Option<Identity>, Refusal> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::invalid("the header Idempotency-Key stands twice"));
    }
    let printable = |byte: &u8| (b' '..=b'~').contains(byte);
    let key = value.as_bytes();
    if !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) || !key.iter().all(printable) {
        let message = format!(
            "an Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters: \
             UUID/SEQUENCE, or any word that only this request has"
        );
        return Err(Refusal::invalid(message));
    }
    Ok(Some(numbered(key).unwrap_or_else(|| hashed(key))))
}

/// `UUID/SEQUENCE`.
fn numbered(key: &[u8]) -> Option<Identity> {
    let (uuid, sequence) = std::str::from_utf8(key).ok()?.split_once('/')?;
    let digits = !sequence.is_empty() && sequence.bytes().all(|byte| byte.is_ascii_digit());
    let sequence = sequence.parse().ok().filter(|_| digits)?;
    Some(Identity { producer: uuid_bytes(uuid)?, sequence })
}

/// The bytes of a UUID in its usual form, 8-4-4-4-12 hexadecimal digits.
fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let mut parts = text.split('-');
    for len in [8, 4, 4, 4, 12] {
        let part = parts.next()?;
        if part.len() != len || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
    }
    if parts.next().is_some() {
        return None;
    }
    let number = u128::from_str_radix(&text.replace('-', ""), 16).ok()?;
    Some(number.to_be_bytes())
}

/// XXH3-128 of the key, big-endian, marked as a UUIDv8 (RFC 9562, section 5.8): a UUIDv7 would be
/// taken to hold a time.
fn hashed(key: &[u8]) -> Identity {
    let mut producer = xxh3_128(key).to_be_bytes();
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut producer;
    *version = (*version & 0x0F) | 0x80;
    *variant = (*variant & 0x3F) | 0x80;
    Identity { producer, sequence: 0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn of(key: &[u8]) -> Result<Option<Identity>, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_bytes(key).unwrap());
        identity(&headers)
    }

    /// A UUID and a number are both fields of an identity; digits of either case are the same.
    #[test]
    fn a_uuid_and_a_number_are_an_identity() {
        let key = b"0190163D-8694-739b-aea5-966c26f8ad91/18446744073709551615";
        let found = of(key).unwrap().unwrap();
        assert_eq!(found.producer[..4], [0x01, 0x90, 0x16, 0x3D]);
        assert_eq!((found.producer[15], found.sequence), (0x91, u64::MAX));
        assert_eq!(of(&key.to_ascii_lowercase()).unwrap().unwrap(), found);
    }

    /// Any other key is a producer of its own, the same in every build, and never one with a time.
    #[test]
    fn other_keys_are_hashed() {
        let uuid = "0190163d-8694-739b-aea5-966c26f8ad91";
        let others =
            ["order-17", "a", uuid, &format!("{uuid}/"), &format!("{uuid}/+1"), "x/1", "\"q\""];
        let mut seen = vec![];
        for key in others {
            let Identity { producer, sequence } = of(key.as_bytes()).unwrap().unwrap();
            assert_eq!((producer[6] >> 4, producer[8] >> 6, sequence), (8, 0b10, 0), "{key}");
            seen.push(producer);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), others.len());
        // What earlier versions kept must be found again.
        let expected = {
            let mut bytes = xxh3_128(b"order-17").to_be_bytes();
            (bytes[6], bytes[8]) = ((bytes[6] & 0x0F) | 0x80, (bytes[8] & 0x3F) | 0x80);
            bytes
        };
        assert_eq!(of(b"order-17").unwrap().unwrap().producer, expected);
    }

    /// At the limit a key is one, above it and without a byte it is refused, as is a second one.
    #[test]
    fn keys_have_a_form() {
        assert_eq!(identity(&HeaderMap::new()), Ok(None));
        assert!(of(&[b'x'; IDEMPOTENCY_KEY_BYTES_MAX]).is_ok());
        for wrong in [vec![b'x'; IDEMPOTENCY_KEY_BYTES_MAX + 1], vec![], vec![0xC3, 0xA9]] {
            assert!(of(&wrong).is_err(), "{wrong:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        assert!(identity(&headers).is_err());
    }
}
