//! Recovery's nouns: labels, places, findings and verdicts.

use serde::Serialize;

/// The stable name of a situation that recovery can meet, such as `journal-3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Label(pub &'static str);

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// What a finding about bytes means for the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The expected, unacknowledged end of a log: cut.
    Torn,
    /// Damaged, but nothing is lost: a second copy, an older checkpoint or a peer has it.
    Healed,
    /// Acknowledged bytes are lost or not proved whole: normal start is refused.
    Corrupt,
}

/// Whether the bytes of a finding had been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Acked {
    /// Certainly not.
    No,
    /// It cannot be told.
    Unknown,
    /// Proved.
    Yes,
}

/// Where a finding is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Path relative to the store's directory.
    pub file: String,
    /// Byte offset in that file.
    pub offset: u64,
    /// First log address that is concerned (0 where there is none).
    pub from: u64,
    /// The address behind the last one that is concerned.
    pub to: u64,
}

/// One thing that recovery saw and that somebody may want to know.
///
/// `verdict` is `None` for notes that concern no bytes (a discarded transaction, a clock that went
/// back, an item that waits for a person): they are reported and do not change the exit code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The row of the layer's decision table.
    pub label: Label,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What it means for the data.
    pub verdict: Option<Verdict>,
    /// Whether those bytes had been acknowledged.
    pub acked: Acked,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Torn => "torn",
            Self::Healed => "healed",
            Self::Corrupt => "corrupt",
        })
    }
}

impl std::fmt::Display for Acked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::No => "no",
            Self::Unknown => "unknown",
            Self::Yes => "yes",
        })
    }
}

/// One line: `journal-7 corrupt: shards/0/journal/… at 4096 (4096..8192), acked yes: expected …`.
impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { file, offset, from, to } = &self.place;
        match self.verdict {
            Some(verdict) => write!(f, "{} {verdict}: {file} at {offset}", self.label)?,
            None => write!(f, "{} note: {file} at {offset}", self.label)?,
        }
        if to > from {
            write!(f, " ({from}..{to})")?;
        }
        if self.verdict.is_some() {
            write!(f, ", acked {}", self.acked)?;
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)
    }
}
