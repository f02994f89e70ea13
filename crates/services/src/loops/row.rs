//! The rows of loops as they are stored: plans, how far they are, executions, events.
//!
//! Each is a format byte and JSON, but for how far a plan is: a byte for each spec. Persisted:
//! names are stable, new ones have defaults. Invariant: the row of an execution is the fold of its
//! events, and its spec is only in the first of these.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bytes::Malformed;
use crate::claims::Subject;
use crate::loops::event::Event;
use crate::loops::id::LoopId;
use crate::loops::state::Execution;

/// The format of every row here; persisted.
const FORMAT: u8 = 1;

/// A plan: what it is, and the executions of its specs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanRow {
    /// What it is called.
    pub(crate) name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// How many of its specs run at one time.
    pub(crate) parallel: u32,
    /// Who started it.
    pub(crate) who: String,
    /// When, log time.
    pub(crate) created_ms: u64,
    /// A person approves it before it runs.
    #[serde(default)]
    pub(crate) draft: bool,
    /// Its specs, in the order of the plan.
    pub(crate) specs: Vec<PlanSpec>,
}

/// A spec of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanSpec {
    /// What it is called.
    pub(crate) name: String,
    /// Indexes of those that come before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) needs: Vec<u32>,
    /// Its execution.
    pub(crate) execution: LoopId,
}

impl PlanRow {
    /// The stored bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The plan in stored bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        parse(bytes, "a plan of loops")
    }
}

/// How far a spec of a plan is; persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Far {
    /// Others come before it.
    Waits = 0,
    /// It has one of the places of its plan.
    Begun = 1,
    /// It is completed.
    Completed = 2,
    /// It is over, and not completed.
    Ended = 3,
}

/// How far the specs of a plan are, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress(pub(crate) Vec<Far>);

impl Progress {
    /// The stored bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        std::iter::once(FORMAT).chain(self.0.iter().map(|far| *far as u8)).collect()
    }

    /// What stored bytes say.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let far = |byte: &u8| {
            [Far::Waits, Far::Begun, Far::Completed, Far::Ended]
                .into_iter()
                .find(|far| *far as u8 == *byte)
        };
        let read = || {
            let (format, specs) = bytes.split_first()?;
            let specs = specs.iter().map(far).collect::<Option<Vec<Far>>>()?;
            (*format == FORMAT).then_some(Self(specs))
        };
        read().ok_or_else(|| Malformed::new("how far a plan of loops is", bytes))
    }

    /// Specs that can begin now, in the order of the plan: what they need is completed, and there
    /// is a place for them.
    pub(crate) fn can_begin(&self, plan: &PlanRow) -> Vec<usize> {
        let begun = self.0.iter().filter(|far| **far == Far::Begun).count();
        let places = usize::try_from(plan.parallel).unwrap_or(usize::MAX).saturating_sub(begun);
        let is_completed = |index: &u32| {
            let index = usize::try_from(*index).unwrap_or(usize::MAX);
            self.0.get(index) == Some(&Far::Completed)
        };
        let specs = plan.specs.iter().zip(&self.0).enumerate();
        let ready = specs
            .filter(|(_, (spec, far))| **far == Far::Waits && spec.needs.iter().all(is_completed));
        ready.map(|(index, _)| index).take(places).collect()
    }
}

/// An execution as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Its plan.
    pub(crate) plan: LoopId,
    /// Which spec of it, from 0.
    pub(crate) index: u32,
    /// What that is called.
    pub(crate) name: String,
    /// The number of its last event; they begin with 1.
    pub(crate) events: u64,
    /// The checksum of all its events ([`chain`]).
    pub(crate) chain: u64,
    /// When it was made, log time.
    pub(crate) created_ms: u64,
    /// When its last event was, log time.
    pub(crate) updated_ms: u64,
    /// When it goes on by itself, log time; `None`: something happens to it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wake_ms: Option<u64>,
    /// The job of the step that was begun: the numbers of its type and its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<(u64, u64)>,
    /// Everything else; without its spec.
    pub(crate) state: Execution,
}

impl Stored {
    /// The stored bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The execution in stored bytes; its spec is read from its first event.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        parse(bytes, "an execution of a loop")
    }

    /// The job of the step that was begun.
    pub(crate) fn job(&self) -> Option<Subject> {
        self.job.map(|(line, number)| Subject { line, number })
    }
}

/// The stored bytes of an event.
pub(crate) fn encode_event(event: &Event) -> Vec<u8> {
    encode(event)
}

/// The event in stored bytes.
pub(crate) fn parse_event(bytes: &[u8]) -> Result<Event, Malformed> {
    parse(bytes, "an event of a loop")
}

/// The checksum of the events of an execution up to the one with this number and these bytes (of
/// its row), where `before` is that of those before it; 0: there are none.
pub(crate) fn chain(before: u64, number: u64, bytes: &[u8]) -> u64 {
    chain_of(before, number, &[bytes])
}

/// The same, of the text of an event.
pub(crate) fn chain_of_text(before: u64, number: u64, text: &[u8]) -> u64 {
    chain_of(before, number, &[&[FORMAT, b'{'], text])
}

fn chain_of(before: u64, number: u64, parts: &[&[u8]]) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::with_seed(before);
    hash.update(&number.to_le_bytes());
    parts.iter().for_each(|part| hash.update(part));
    hash.digest()
}

/// The text of an event in stored bytes: its JSON, without the brace that opens it.
pub(crate) fn text_of_event(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(&[FORMAT, b'{'])
}

/// The stored bytes of the event with this text.
pub(crate) fn event_of_text(text: &[u8]) -> Vec<u8> {
    [&[FORMAT, b'{'], text].concat()
}

fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    serde_json::to_writer(&mut bytes, row).expect("a row of loops is text, numbers and lists");
    bytes
}

fn parse<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, Malformed> {
    let read = || {
        let (format, json) = bytes.split_first()?;
        serde_json::from_slice(json).ok().filter(|_| *format == FORMAT)
    };
    read().ok_or_else(|| Malformed::new(what, bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn plan(parallel: u32, needs: &[&[u32]]) -> PlanRow {
        let specs = needs.iter().enumerate().map(|(index, needs)| PlanSpec {
            name: format!("s{index}"),
            needs: needs.to_vec(),
            execution: LoopId::new(1, [u8::try_from(index).unwrap(); 10]),
        });
        PlanRow {
            name: "p".to_owned(),
            description: String::new(),
            parallel,
            who: "ada".to_owned(),
            created_ms: 9,
            draft: false,
            specs: specs.collect(),
        }
    }

    #[test]
    fn rows_round_trip_and_every_cut_is_noticed() {
        let plan = plan(2, &[&[], &[0]]);
        assert_eq!(PlanRow::parse(&plan.encode()).unwrap(), plan);
        let progress = Progress(vec![Far::Completed, Far::Begun, Far::Waits, Far::Ended]);
        assert_eq!(Progress::parse(&progress.encode()).unwrap(), progress);
        Progress::parse(&[]).unwrap_err();
        Progress::parse(&[FORMAT, 4]).unwrap_err();
        let bytes = plan.encode();
        for len in 0..bytes.len() {
            PlanRow::parse(bytes.get(..len).unwrap()).unwrap_err();
        }
        let mut other = bytes;
        other[0] = 9;
        PlanRow::parse(&other).unwrap_err();
    }

    /// proves: L1
    #[test]
    fn a_spec_begins_behind_what_it_needs_and_with_a_place() {
        use Far::{Begun, Completed, Ended, Waits};
        let can = |parallel, needs: &[&[u32]], far: &[Far]| {
            Progress(far.to_vec()).can_begin(&plan(parallel, needs))
        };
        let needs: &[&[u32]] = &[&[], &[], &[0], &[0, 1]];
        assert_eq!(can(1, needs, &[Waits; 4]), [0]);
        assert_eq!(can(9, needs, &[Waits; 4]), [0, 1]);
        assert_eq!(can(1, needs, &[Begun, Waits, Waits, Waits]), [0_usize; 0]);
        assert_eq!(can(2, needs, &[Completed, Begun, Waits, Waits]), [2]);
        assert_eq!(can(2, needs, &[Completed, Completed, Waits, Waits]), [2, 3]);
        assert_eq!(can(9, needs, &[Ended, Completed, Waits, Waits]), [0_usize; 0]);
    }
}
