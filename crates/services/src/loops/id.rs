//! Names of plans and of executions: UUIDs of version 7 (RFC 9562), so they sort by the time that
//! they were made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::error::Error;

/// Bytes of a name inside a key.
pub(crate) const LEN: usize = 16;

/// Names a plan or an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoopId(Uuid);

impl LoopId {
    /// A new one, of this wall time in milliseconds and these random bytes.
    #[must_use]
    pub fn new(wall_ms: u64, random: [u8; 10]) -> Self {
        Self(Builder::from_unix_timestamp_millis(wall_ms, &random).into_uuid())
    }

    /// The one with these bytes.
    pub(crate) fn from_bytes(bytes: [u8; LEN]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its bytes, in the order of names.
    pub(crate) fn to_bytes(self) -> [u8; LEN] {
        self.0.into_bytes()
    }
}

impl fmt::Display for LoopId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for LoopId {
    type Err = Error;

    /// Only as it is written: 36 characters with hyphens, lower case.
    fn from_str(word: &str) -> Result<Self, Error> {
        let id = Uuid::try_parse(word).ok().map(Self);
        id.filter(|id| id.to_string() == word).ok_or_else(|| {
            Error::invalid(format!(
                "{word:?} is no id of a plan or an execution; use one as 'rekindle loop start' or \
                 'rekindle loop list' printed it"
            ))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// proves: L1
    #[test]
    fn ids_are_uuids_of_version_7_in_the_order_of_time() {
        let first = LoopId::new(1_700_000_000_000, [0xFF; 10]);
        let second = LoopId::new(1_700_000_000_001, [0; 10]);
        assert!(first < second && first.to_bytes() < second.to_bytes());
        assert_eq!(first.0.get_version_num(), 7);
        let word = first.to_string();
        assert_eq!(word, "018bcfe5-6800-7fff-bfff-ffffffffffff");
        assert_eq!(word.parse::<LoopId>().unwrap(), first);
        assert_eq!(LoopId::from_bytes(first.to_bytes()), first);
        assert_eq!(serde_json::to_string(&first).unwrap(), format!("\"{word}\""));
        let upper = word.to_uppercase();
        for wrong in ["", "1", word.get(1..).unwrap(), upper.as_str(), &word.replace('-', "")] {
            assert!(wrong.parse::<LoopId>().is_err(), "{wrong}");
        }
    }
}
