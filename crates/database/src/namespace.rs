//! The scope of a key: tenant, app, agent, run and type, and their order-preserving encoding.
//!
//! Encoded: each of the four parts with every 0x00 written as 0x00 0xFF, ended by 0x00 0x01; then
//! the type tag, one byte; then the user's key as it is. Byte order of encoded keys equals the
//! order of (tenant, app, agent, run, tag, key), and no encoded scope is a prefix of another one's.

use std::fmt;

use crate::error::Error;

/// Longest part of a namespace in bytes.
pub(crate) const PART_BYTES_MAX: usize = 255;

/// The name of one run of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of thing a key names; persisted, so the numbers are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TypeTag {
    /// A plain key and value.
    Kv = 1,
    /// An event of a stream.
    Event = 2,
    /// A cell of state.
    State = 3,
    /// A trace.
    Trace = 4,
    /// Facts about a run itself.
    Run = 5,
    /// A vector or an index entry.
    Vector = 6,
    /// A document.
    Document = 7,
}

impl TypeTag {
    /// The tag with this number.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Kv,
            2 => Self::Event,
            3 => Self::State,
            4 => Self::Trace,
            5 => Self::Run,
            6 => Self::Vector,
            7 => Self::Document,
            _ => return None,
        })
    }
}

/// Whose key it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace {
    /// The customer.
    pub tenant: String,
    /// Its application.
    pub app: String,
    /// The agent in it.
    pub agent: String,
    /// The agent's run.
    pub run: RunId,
}

impl Namespace {
    /// A namespace with these parts; any of them may be empty.
    pub fn new(
        tenant: impl Into<String>,
        app: impl Into<String>,
        agent: impl Into<String>,
        run: impl Into<String>,
    ) -> Self {
        Self { tenant: tenant.into(), app: app.into(), agent: agent.into(), run: RunId(run.into()) }
    }

    /// The parts in the order of their encoding.
    fn parts(&self) -> [&str; 4] {
        [&self.tenant, &self.app, &self.agent, &self.run.0]
    }

    /// Refuses a part that is too long.
    pub fn validate(&self) -> Result<(), Error> {
        let longest = self.parts().iter().map(|part| part.len()).max().unwrap_or(0);
        if longest > PART_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "a part of the namespace has {longest} bytes; at most {PART_BYTES_MAX} are allowed"
            )));
        }
        Ok(())
    }

    /// The bytes with which every key of this namespace begins.
    #[must_use]
    pub fn prefix(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        for part in self.parts() {
            for &byte in part.as_bytes() {
                bytes.push(byte);
                if byte == 0 {
                    bytes.push(0xFF);
                }
            }
            bytes.extend_from_slice(&[0x00, 0x01]);
        }
        bytes
    }
}

/// A user's key in its scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose.
    pub namespace: Namespace,
    /// What kind of thing.
    pub tag: TypeTag,
    /// The user's part.
    pub user: Vec<u8>,
}

impl Key {
    /// A key of this scope.
    #[must_use]
    pub fn new(namespace: Namespace, tag: TypeTag, user: impl Into<Vec<u8>>) -> Self {
        Self { namespace, tag, user: user.into() }
    }

    /// The stored bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.namespace.prefix();
        bytes.push(self.tag as u8);
        bytes.extend_from_slice(&self.user);
        bytes
    }

    /// The key with these stored bytes; `None` when they are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tenant, rest) = take_part(bytes)?;
        let (app, rest) = take_part(rest)?;
        let (agent, rest) = take_part(rest)?;
        let (run, rest) = take_part(rest)?;
        let (&tag, user) = rest.split_first()?;
        let namespace = Namespace { tenant, app, agent, run: RunId(run) };
        Some(Self { namespace, tag: TypeTag::from_u8(tag)?, user: user.to_vec() })
    }
}

/// One part and what follows it.
fn take_part(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut part = Vec::new();
    let mut rest = bytes;
    loop {
        match rest {
            [0x00, 0x01, after @ ..] => {
                return Some((String::from_utf8(part).ok()?, after));
            }
            [0x00, 0xFF, after @ ..] => {
                part.push(0x00);
                rest = after;
            }
            [0x00, ..] | [] => return None,
            [byte, after @ ..] => {
                part.push(*byte);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> impl Strategy<Value = Key> {
        let part = "[a-b\u{0}\u{1}]{0,3}";
        (part, part, part, part, 1_u8..=7, proptest::collection::vec(any::<u8>(), 0..4)).prop_map(
            |(tenant, app, agent, run, tag, user)| {
                let tag = TypeTag::from_u8(tag).unwrap();
                Key::new(Namespace::new(tenant, app, agent, run), tag, user)
            },
        )
    }

    proptest! {
        /// proves: D11
        #[test]
        fn encoding_round_trips_and_keeps_the_order(a in keys(), b in keys()) {
            prop_assert_eq!(Key::decode(&a.encode()), Some(a.clone()));
            prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
            if a.namespace != b.namespace {
                prop_assert!(!a.encode().starts_with(&b.namespace.prefix()));
            }
        }

        /// proves: D11
        #[test]
        fn hostile_bytes_are_no_key_or_one_that_encodes_back(
            bytes in proptest::collection::vec(0_u8..4, 0..16),
        ) {
            if let Some(key) = Key::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_part_that_is_too_long_is_refused() {
        assert_eq!(RunId("r1".to_owned()).to_string(), "r1");
        let at_limit = Namespace::new("a".repeat(PART_BYTES_MAX), "", "", "");
        at_limit.validate().unwrap();
        let above = Namespace::new("", "a".repeat(PART_BYTES_MAX + 1), "", "");
        assert!(above.validate().is_err());
    }

    #[test]
    fn tags_have_stable_numbers() {
        for number in 0..=u8::MAX {
            if let Some(tag) = TypeTag::from_u8(number) {
                assert_eq!(tag as u8, number);
            }
        }
        assert_eq!(TypeTag::from_u8(0), None);
        assert_eq!(TypeTag::from_u8(8), None);
    }
}
