//! How the effects of a transaction are kept for a repeated request; persisted, so stable.

use crate::bytes::Reader;
use crate::claims::Subject;
use crate::jobs::{Changed, Submitted};
use crate::producers::Recorded;
use crate::queues::Settled;
use crate::transact::Effect;

impl Recorded for Vec<Effect> {
    fn record(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for effect in self {
            let (kind, record) = match effect {
                Effect::Done => (1, vec![]),
                Effect::Sent(id) => (2, id.record()),
                Effect::Settled(settled) => (3, settled.record()),
                Effect::Submitted(submitted) => (4, submitted.record()),
                Effect::Changed(changed) => (5, changed.record()),
            };
            bytes.push(kind);
            bytes.push(u8::try_from(record.len()).expect("each of these is short"));
            bytes.extend_from_slice(&record);
        }
        bytes
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut effects = Vec::new();
        while reader.end().is_none() {
            let (kind, len) = (reader.u8()?, usize::from(reader.u8()?));
            let record = reader.take(len)?;
            effects.push(match kind {
                1 => record.is_empty().then_some(Effect::Done)?,
                2 => Effect::Sent(Subject::recall(record)?),
                3 => Effect::Settled(Settled::recall(record)?),
                4 => Effect::Submitted(Submitted::recall(record)?),
                5 => Effect::Changed(Changed::recall(record)?),
                _ => return None,
            });
        }
        Some(effects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Status;
    use crate::limits::TRANSACT_OPERATIONS_MAX;

    /// They round-trip, and the largest transaction's fit into a kept answer.
    #[test]
    fn effects_round_trip() {
        let id = Subject { line: 1 << 63 | 3, number: 4 };
        let changed = Changed { id, status: Status::Completed, deadline_ms: 9 };
        let effects = vec![
            Effect::Done,
            Effect::Sent(Subject { line: 2, number: 3 }),
            Effect::Settled(Settled::Extended { deadline_ms: 7 }),
            Effect::Submitted(Submitted { id, new: true }),
            Effect::Changed(changed),
        ];
        let bytes = effects.record();
        assert_eq!(Vec::recall(&bytes), Some(effects));
        for len in [1, 3, bytes.len() - 1] {
            assert_eq!(Vec::<Effect>::recall(bytes.get(..len).unwrap_or_default()), None);
        }
        let largest = vec![Effect::Changed(changed); TRANSACT_OPERATIONS_MAX].record();
        assert!(largest.len() <= usize::from(u16::MAX), "{}", largest.len());
    }
}
