//! A message as it is stored.
//!
//! ```text
//! format 1, flags 1, sent_ms 8 [, due_ms 8] [, fairness key (length 1, text)]
//! [, header count 2, per header: name (length 2, text), value (length 2, text)], body
//! ```
//! Flags: bit 0 due, bit 1 fairness key, bit 2 headers. What the ready index needs comes first.

use crate::bytes::{Malformed, Reader, put_text8, put_text16};
use crate::error::{Error, Kind};
use crate::limits::{
    BODY_BYTES_MAX, DELAY_MS_MAX, FAIRNESS_KEY_BYTES_MAX, HEADER_BYTES_MAX, HEADERS_MAX,
};
use crate::queues::NewMessage;

/// The format of the value; persisted.
const FORMAT: u8 = 1;
const DUE: u8 = 1;
const FAIRNESS_KEY: u8 = 2;
const HEADERS: u8 = 4;

/// Headers that dead-lettering adds begin so.
pub(crate) const DEAD_PREFIX: &str = "rekindle-dead-";

/// What the ready index needs of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// When it was sent, log time.
    pub(crate) sent_ms: u64,
    /// When it becomes ready, log time; 0: at once.
    pub(crate) due_ms: u64,
    /// Its fairness key.
    pub(crate) fairness_key: &'a str,
    has_headers: bool,
    rest: &'a [u8],
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// When it was sent, log time.
    pub(crate) sent_ms: u64,
    /// When it becomes ready, log time; 0: at once.
    pub(crate) due_ms: u64,
    /// Its fairness key.
    pub(crate) fairness_key: &'a str,
    /// Its headers.
    pub(crate) headers: Vec<(&'a str, &'a str)>,
    /// Its payload.
    pub(crate) body: &'a [u8],
}

/// Refuses a message that is above a limit.
pub(crate) fn check(message: &NewMessage<'_>) -> Result<(), Error> {
    let full = |what: &str, found: usize, limit: usize| {
        Error::new(Kind::Full, format!("{what}: {found} is above the limit of {limit}"))
    };
    if message.body.len() > BODY_BYTES_MAX {
        return Err(full("bytes of the body", message.body.len(), BODY_BYTES_MAX));
    }
    if message.headers.len() > HEADERS_MAX {
        return Err(full("number of headers", message.headers.len(), HEADERS_MAX));
    }
    let header_bytes: usize =
        message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if header_bytes > HEADER_BYTES_MAX {
        return Err(full("bytes of the headers", header_bytes, HEADER_BYTES_MAX));
    }
    if message.fairness_key.len() > FAIRNESS_KEY_BYTES_MAX {
        let found = message.fairness_key.len();
        return Err(full("bytes of the fairness key", found, FAIRNESS_KEY_BYTES_MAX));
    }
    if message.delay_ms > DELAY_MS_MAX {
        return Err(Error::invalid(format!(
            "a delay of {} ms is above the limit of {DELAY_MS_MAX} ms (366 days)",
            message.delay_ms
        )));
    }
    Ok(())
}

/// The stored bytes of a message that is sent now.
pub(crate) fn encode(message: &NewMessage<'_>, now_ms: u64) -> Vec<u8> {
    let due_ms = if message.delay_ms == 0 { 0 } else { now_ms.saturating_add(message.delay_ms) };
    write(now_ms, due_ms, message.fairness_key, message.headers, message.body)
}

fn write(
    sent_ms: u64,
    due_ms: u64,
    fairness_key: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let header_bytes: usize =
        headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let mut bytes = Vec::with_capacity(21 + fairness_key.len() + header_bytes + body.len());
    let mut flags = 0;
    flags |= if due_ms > 0 { DUE } else { 0 };
    flags |= if fairness_key.is_empty() { 0 } else { FAIRNESS_KEY };
    flags |= if headers.is_empty() { 0 } else { HEADERS };
    bytes.extend_from_slice(&[FORMAT, flags]);
    bytes.extend_from_slice(&sent_ms.to_le_bytes());
    if due_ms > 0 {
        bytes.extend_from_slice(&due_ms.to_le_bytes());
    }
    if !fairness_key.is_empty() {
        put_text8(&mut bytes, fairness_key);
    }
    if !headers.is_empty() {
        let count = u16::try_from(headers.len()).expect("the limit of headers is below 65,536");
        bytes.extend_from_slice(&count.to_le_bytes());
        for (name, value) in headers {
            put_text16(&mut bytes, name);
            put_text16(&mut bytes, value);
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// The head of stored bytes.
pub(crate) fn parse_head(bytes: &[u8]) -> Result<Head<'_>, Malformed> {
    read_head(bytes).ok_or_else(|| Malformed::new("a message", bytes))
}

fn read_head(bytes: &[u8]) -> Option<Head<'_>> {
    let mut reader = Reader::new(bytes);
    let format = reader.u8()?;
    let flags = reader.u8()?;
    if format != FORMAT || flags & !(DUE | FAIRNESS_KEY | HEADERS) != 0 {
        return None;
    }
    let sent_ms = reader.u64()?;
    let due_ms = if flags & DUE != 0 { reader.u64()? } else { 0 };
    let fairness_key = if flags & FAIRNESS_KEY != 0 { reader.text8()? } else { "" };
    let has_headers = flags & HEADERS != 0;
    Some(Head { sent_ms, due_ms, fairness_key, has_headers, rest: reader.rest() })
}

/// Whether these are the bytes of a message.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    read_head(bytes).is_some_and(|head| !head.has_headers || read(bytes).is_some())
}

/// The message in stored bytes.
pub(crate) fn parse(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    read(bytes).ok_or_else(|| Malformed::new("a message", bytes))
}

fn read(bytes: &[u8]) -> Option<Message<'_>> {
    let head = read_head(bytes)?;
    let mut reader = Reader::new(head.rest);
    let mut headers = Vec::new();
    if head.has_headers {
        let count = usize::from(reader.u16()?);
        // Every header has at least its two lengths, so a hostile count allocates nothing.
        headers.reserve(count.min(reader.rest().len() / 4));
        for _ in 0..count {
            headers.push((reader.text16()?, reader.text16()?));
        }
    }
    let Head { sent_ms, due_ms, fairness_key, .. } = head;
    Some(Message { sent_ms, due_ms, fairness_key, headers, body: reader.rest() })
}

/// The stored bytes of the same message in a dead-letter queue: ready at once, with headers that
/// tell where it comes from. Those of an earlier dead-lettering are replaced.
pub(crate) fn encode_dead(message: &Message<'_>, why: &[(&str, &str)]) -> Vec<u8> {
    debug_assert!(why.iter().all(|(name, _)| name.starts_with(DEAD_PREFIX)));
    let kept = message.headers.iter().filter(|(name, _)| !name.starts_with(DEAD_PREFIX));
    let headers: Vec<_> = kept.chain(why).copied().collect();
    write(message.sent_ms, 0, message.fairness_key, &headers, message.body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_round_trip_and_hostile_bytes_do_not_panic(
            body in proptest::collection::vec(any::<u8>(), 0..50),
            key in "[a-zü]{0,9}",
            headers in proptest::collection::vec(("[a-z]{0,5}", "[a-zü ]{0,9}"), 0..4),
            delay_ms in 0_u64..3,
            noise in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let new =
                NewMessage { body: &body, headers: &headers, fairness_key: &key, delay_ms };
            let bytes = encode(&new, 100);
            let head = parse_head(&bytes).unwrap();
            prop_assert_eq!(head.due_ms, if delay_ms == 0 { 0 } else { 100 + delay_ms });
            let message = parse(&bytes).unwrap();
            prop_assert_eq!(message.sent_ms, 100);
            prop_assert_eq!(message.fairness_key, &key);
            prop_assert_eq!(&message.headers, &headers);
            prop_assert_eq!(message.body, &body);
            let _ = parse(&noise);
        }
    }

    #[test]
    fn dead_lettering_replaces_what_an_earlier_one_said() {
        let old = "rekindle-dead-reason";
        let headers = [("a", "b"), (old, "first")];
        let new = NewMessage { body: b"x", headers: &headers, ..NewMessage::default() };
        let bytes = encode(&new, 1);
        let dead = encode_dead(&parse(&bytes).unwrap(), &[(old, "second")]);
        assert_eq!(parse(&dead).unwrap().headers, [("a", "b"), (old, "second")]);
    }

    #[test]
    fn messages_stand_at_their_limits() {
        let body = vec![0; BODY_BYTES_MAX + 1];
        let at = |len: usize| NewMessage { body: &body[..len], ..NewMessage::default() };
        check(&at(BODY_BYTES_MAX)).unwrap();
        assert_eq!(check(&at(BODY_BYTES_MAX + 1)).unwrap_err().kind(), Kind::Full);

        let many = vec![("n", "v"); HEADERS_MAX + 1];
        let of = |count: usize| NewMessage { headers: &many[..count], ..NewMessage::default() };
        check(&of(HEADERS_MAX)).unwrap();
        check(&of(HEADERS_MAX + 1)).unwrap_err();

        let long = "v".repeat(HEADER_BYTES_MAX);
        let fits = [("n", &long[1..])];
        check(&NewMessage { headers: &fits, ..NewMessage::default() }).unwrap();
        let above = [("n", long.as_str())];
        check(&NewMessage { headers: &above, ..NewMessage::default() }).unwrap_err();

        let key = "k".repeat(FAIRNESS_KEY_BYTES_MAX + 1);
        check(&NewMessage { fairness_key: &key[1..], ..NewMessage::default() }).unwrap();
        check(&NewMessage { fairness_key: &key, ..NewMessage::default() }).unwrap_err();

        check(&NewMessage { delay_ms: DELAY_MS_MAX, ..NewMessage::default() }).unwrap();
        check(&NewMessage { delay_ms: DELAY_MS_MAX + 1, ..NewMessage::default() }).unwrap_err();
    }
}
