//! Ids and tokens as words: one letter for the kind, then base 32 of the fields and a check.
//!
//! A word has only lower-case letters and digits, so it needs no quoting in a shell, a URL or JSON,
//! never looks like an option, and a mistyped one is refused instead of naming something else.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::claims::{Subject, Token};
use crate::error::Error;
use crate::review::ReviewId;

/// Digits of base 32, without the letters that look like others.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The check of these fields: two bytes.
fn check(kind: char, fields: &[u8]) -> [u8; 2] {
    let [low, high, ..] = xxh3_64_with_seed(fields, u64::from(u32::from(kind))).to_le_bytes();
    [low, high]
}

/// The longest word: a kind, three numbers and a check.
const WORD_BYTES_MAX: usize = 1 + (3 * 8 + 2) * 8 / 5 + 1;

/// Writes a word, in one piece: a busy server writes one for each message.
fn write(f: &mut fmt::Formatter<'_>, kind: char, fields: &[u8]) -> fmt::Result {
    let mut word = [0; WORD_BYTES_MAX];
    let mut len = kind.encode_utf8(&mut word).len();
    let mut digit = |bits: u32| {
        let index = usize::try_from(bits & 31).expect("five bits");
        let digit = DIGITS.get(index).expect("five bits name a digit");
        *word.get_mut(len).expect("no word has more than three numbers") = *digit;
        len += 1;
    };
    let (mut bits, mut held) = (0_u32, 0_u32);
    for &byte in fields.iter().chain(&check(kind, fields)) {
        bits = (bits << 8) | u32::from(byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            digit(bits >> held);
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        digit(bits << (5 - held));
    }
    let word = word.get(..len).and_then(|word| std::str::from_utf8(word).ok());
    f.write_str(word.expect("digits are ASCII"))
}

/// Reads a word of `N` bytes of fields; `None` when it is none.
fn read<const N: usize>(kind: char, word: &str) -> Option<[u8; N]> {
    let digits = word.strip_prefix(kind)?;
    let mut bytes = Vec::with_capacity(N + 2);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for digit in digits.bytes() {
        let value = DIGITS.iter().position(|&known| known == digit)?;
        bits = (bits << 5) | u32::try_from(value).ok()?;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    let (fields, found) = bytes.split_first_chunk::<N>()?;
    let whole = digits.len() == ((N + 2) * 8).div_ceil(5) && bits == 0;
    (whole && found == check(kind, fields)).then_some(*fields)
}

/// Three numbers from their bytes.
fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

impl Subject {
    /// The letter of its kind.
    fn letter(self) -> char {
        if self.is_job() { 'j' } else { 'm' }
    }

    fn read(word: &str) -> Option<Self> {
        let fields = read::<16>(word.chars().next()?, word)?;
        let (line, rest) = fields.split_at_checked(8)?;
        let subject = Self { line: number(line)?, number: number(rest)? };
        word.starts_with(subject.letter()).then_some(subject)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = [0; 16];
        let numbers = self.line.to_be_bytes().into_iter().chain(self.number.to_be_bytes());
        fields.iter_mut().zip(numbers).for_each(|(to, from)| *to = from);
        write(f, self.letter(), &fields)
    }
}

impl FromStr for Subject {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        Self::read(word).ok_or_else(|| {
            Error::invalid(format!(
                "{word:?} is no id of a message or a job; use one as 'send' or 'submit' printed it"
            ))
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = [0; 24];
        let numbers = [self.subject.line, self.subject.number, self.grant];
        let bytes = numbers.into_iter().flat_map(u64::to_be_bytes);
        fields.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        write(f, 't', &fields)
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let parse = || {
            let fields = read::<24>('t', word)?;
            let (line, rest) = fields.split_at_checked(8)?;
            let (of, grant) = rest.split_at_checked(8)?;
            let subject = Subject { line: number(line)?, number: number(of)? };
            Some(Self { subject, grant: number(grant)? })
        };
        parse().ok_or_else(|| {
            Error::invalid(format!(
                "{word:?} is no token; use one as 'receive' or 'claim' printed it"
            ))
        })
    }
}

impl fmt::Display for ReviewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Work(subject) => subject.fmt(f),
            Self::Row(number) => write(f, 'r', &number.to_be_bytes()),
            Self::Execution(id) => id.fmt(f),
        }
    }
}

impl FromStr for ReviewId {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        if let Ok(subject) = word.parse() {
            return Ok(Self::Work(subject));
        }
        if let Ok(id) = word.parse() {
            return Ok(Self::Execution(id));
        }
        let row = read::<8>('r', word).map(u64::from_be_bytes).map(Self::Row);
        row.ok_or_else(|| {
            Error::invalid(format!("{word:?} is no review; use an id of 'rekindle review list'"))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_round_trip_and_need_no_quoting(queue: u64, number: u64, grant: u64) {
            let subject = Subject { line: queue, number };
            let token = Token { subject, grant };
            let (review, row) = (ReviewId::Work(subject), ReviewId::Row(grant));
            for word in [subject.to_string(), token.to_string(), row.to_string()] {
                prop_assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
            }
            prop_assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
            prop_assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
            prop_assert_eq!(subject.to_string().parse::<ReviewId>().unwrap(), review);
            prop_assert_eq!(row.to_string().parse::<ReviewId>().unwrap(), row);
        }

        #[test]
        fn what_parses_is_what_would_be_written(word in "[tmj][0-9a-z]{0,44}") {
            if let Ok(token) = word.parse::<Token>() {
                prop_assert_eq!(token.to_string(), word.clone());
            }
            if let Ok(id) = word.parse::<Subject>() {
                prop_assert_eq!(id.to_string(), word);
            }
        }
    }

    #[test]
    fn a_changed_or_cut_word_is_refused() {
        let token = Token { subject: Subject { line: 1 << 40, number: 77 }, grant: 9 };
        let word = token.to_string();
        assert_eq!(word.len(), 43);
        for at in 0..word.len() {
            let mut changed = word.clone().into_bytes();
            let byte = changed.get_mut(at).unwrap();
            *byte = if *byte == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed.parse::<Token>().is_err(), "{changed}");
            assert!(word.get(..at).unwrap().parse::<Token>().is_err());
        }
        assert!(format!("{word}0").parse::<Token>().is_err());
        assert!(word.parse::<Subject>().is_err(), "a token is no id");
        let (message, job) = (Subject { line: 5, number: 9 }, Subject { line: 1 << 63, number: 9 });
        assert!(message.to_string().starts_with('m') && job.to_string().starts_with('j'));
        for id in [message, job] {
            let other = if id.is_job() { "m" } else { "j" };
            let mut wrong = id.to_string();
            wrong.replace_range(..1, other);
            assert!(wrong.parse::<Subject>().is_err(), "the letter is part of the check");
        }
    }
}
