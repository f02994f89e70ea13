//! A line of a transcript: an event, its number, and two checksums. Pure; persisted, and read by
//! people's scripts.
//!
//! ```text
//! {"sequence":7,"checksum":"16 hex digits","chain":"16 hex digits","at_ms":…,"event":"…",…}
//! ```
//! The *checksum* is of the line (and whose transcript it is in), so each line can be trusted
//! alone; the *chain* is of all events up to this one, as the journal keeps it, so what is missing,
//! twice or in another place is noticed. Invariants: the fields before the event have this form and
//! no other, so every changed byte is noticed; what follows is the event exactly as its row has it.

use xxhash_rust::xxh3::Xxh3;

use crate::loops::id::LoopId;
use crate::loops::row;

const SEQUENCE: &[u8] = b"{\"sequence\":";
const CHECKSUM: &[u8] = b",\"checksum\":\"";
const CHAIN: &[u8] = b"\",\"chain\":\"";
const EVENT: &[u8] = b"\",";

/// A line that can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// The number of its event.
    pub(crate) sequence: u64,
    /// The checksum of all events up to this one.
    pub(crate) chain: u64,
    /// The event as JSON, without the brace that opens it.
    rest: &'a [u8],
}

impl Line<'_> {
    /// The event as its row has it.
    pub(crate) fn row(&self) -> Vec<u8> {
        row::event_of_text(self.rest)
    }

    /// Whether the chain goes on from here to there.
    pub(crate) fn follows(&self, before: u64) -> bool {
        row::chain_of_text(before, self.sequence, self.rest) == self.chain
    }
}

/// The line of the event with this number and this row, with its end; `None`: the row is none.
pub(crate) fn encode(id: LoopId, sequence: u64, chain: u64, event: &[u8]) -> Option<Vec<u8>> {
    let rest = row::text_of_event(event)?;
    let mut line = Vec::with_capacity(rest.len() + 96);
    line.extend_from_slice(SEQUENCE);
    line.extend_from_slice(sequence.to_string().as_bytes());
    line.extend_from_slice(CHECKSUM);
    line.extend_from_slice(format!("{:016x}", checksum(id, sequence, chain, rest)).as_bytes());
    line.extend_from_slice(CHAIN);
    line.extend_from_slice(format!("{chain:016x}").as_bytes());
    line.extend_from_slice(EVENT);
    line.extend_from_slice(rest);
    line.push(b'\n');
    debug_assert!(!rest.contains(&b'\n'), "JSON of one line");
    Some(line)
}

/// The line in these bytes, which have no end of a line.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(id: LoopId, bytes: &[u8]) -> Result<Line<'_>, &'static str> {
    let none = "this is no line of a transcript";
    let rest = bytes.strip_prefix(SEQUENCE).ok_or(none)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = rest.split_at_checked(digits).ok_or(none)?;
    let sequence: u64 =
        std::str::from_utf8(number).ok().and_then(|it| it.parse().ok()).ok_or(none)?;
    if number.first() == Some(&b'0') {
        return Err(none);
    }
    let (told, rest) = hex(rest.strip_prefix(CHECKSUM).ok_or(none)?).ok_or(none)?;
    let (chain, rest) = hex(rest.strip_prefix(CHAIN).ok_or(none)?).ok_or(none)?;
    let rest = rest.strip_prefix(EVENT).ok_or(none)?;
    if checksum(id, sequence, chain, rest) != told {
        return Err("its checksum is of something else");
    }
    Ok(Line { sequence, chain, rest })
}

/// Good lines behind a torn one that has no end: the offset of each in these bytes.
pub(crate) fn behind_torn(id: LoopId, bytes: &[u8]) -> Option<(usize, Line<'_>)> {
    let starts = bytes.windows(SEQUENCE.len()).enumerate().skip(1);
    let starts = starts.filter(|(_, window)| *window == SEQUENCE).map(|(at, _)| at);
    // A text that repeats the beginning of a line is not read again and again.
    starts.take(8).find_map(|at| Some((at, parse(id, bytes.get(at..)?).ok()?)))
}

fn checksum(id: LoopId, sequence: u64, chain: u64, rest: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&id.to_bytes());
    hash.update(&sequence.to_le_bytes());
    hash.update(&chain.to_le_bytes());
    hash.update(rest);
    hash.digest()
}

/// Sixteen digits, and what is behind them.
fn hex(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(16)?;
    digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(())?;
    Some((u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?, rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::loops::event::{Event, What};

    fn line(id: LoopId, sequence: u64, before: u64) -> Vec<u8> {
        let what = What::Failed { why: "it \"broke\"\n\u{1}ä".to_owned() };
        let bytes = row::encode_event(&Event { at_ms: 5, what });
        encode(id, sequence, row::chain(before, sequence, &bytes), &bytes).unwrap()
    }

    /// A line is one JSON object, says what its row says, and no change of it is overlooked.
    ///
    /// proves: L2, L4
    #[test]
    fn a_line_round_trips_and_every_change_is_noticed() {
        let id = LoopId::new(1, [2; 10]);
        let whole = line(id, 7, 99);
        let (end, bytes) = whole.split_last().unwrap();
        assert_eq!(*end, b'\n');
        let json: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!((&json["sequence"], &json["event"]), (&7.into(), &"failed".into()));
        let parsed = parse(id, bytes).unwrap();
        assert_eq!(parsed.sequence, 7);
        assert!(parsed.follows(99) && !parsed.follows(98));
        let event = row::parse_event(&parsed.row()).unwrap();
        assert_eq!(event.at_ms, 5);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.to_vec();
                *other.get_mut(at).unwrap() ^= 1 << bit;
                parse(id, &other).unwrap_err();
            }
            parse(id, bytes.get(..at).unwrap()).unwrap_err();
        }
        parse(LoopId::new(1, [3; 10]), bytes).unwrap_err();
        for wrong in ["", "{}", "{\"sequence\":", "{\"sequence\":07,\"checksum\":\""] {
            parse(id, wrong.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn a_good_line_behind_a_torn_one_is_found() {
        let id = LoopId::new(1, [2; 10]);
        let (torn, good) = (line(id, 7, 1), line(id, 8, 2));
        let good = good.strip_suffix(b"\n").unwrap();
        for cut in 1..torn.len() {
            let both = [torn.get(..cut).unwrap(), good].concat();
            let (at, line) = behind_torn(id, &both).unwrap();
            assert_eq!((at, line.sequence), (cut, 8));
        }
        assert_eq!(behind_torn(id, good), None);
        let text = SEQUENCE.repeat(100_000);
        assert_eq!(behind_torn(id, &text), None);
    }
}
