//! How answers of the loop service are kept for repeated requests; persisted, so stable.

use crate::bytes::Reader;
use crate::loops::calls::{Altered, Forked, Started};
use crate::loops::id::LoopId;
use crate::producers::Recorded;

impl Recorded for Started {
    fn record(&self) -> Vec<u8> {
        self.plan.to_bytes().to_vec()
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        Some(Self { plan: LoopId::from_bytes(bytes.try_into().ok()?) })
    }
}

impl Recorded for Forked {
    fn record(&self) -> Vec<u8> {
        [self.plan, self.execution].iter().flat_map(|id| id.to_bytes()).collect()
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let [plan, execution] = [reader.array()?, reader.array()?].map(LoopId::from_bytes);
        reader.end()?;
        Some(Self { plan, execution })
    }
}

impl Recorded for Altered {
    fn record(&self) -> Vec<u8> {
        let mut bytes = self.id.to_bytes().to_vec();
        bytes.extend_from_slice(&self.changed.to_le_bytes());
        bytes
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (id, changed) = (LoopId::from_bytes(reader.array()?), reader.u64()?);
        reader.end()?;
        Some(Self { id, changed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_round_trip() {
        let id = LoopId::new(7, [5; 10]);
        assert_eq!(Started::recall(&Started { plan: id }.record()), Some(Started { plan: id }));
        let altered = Altered { id, changed: 9 };
        assert_eq!(Altered::recall(&altered.record()), Some(altered));
        assert_eq!(Started::recall(&[1; 15]), None);
        assert_eq!(Altered::recall(&[1; 25]), None);
        let forked = Forked { plan: id, execution: LoopId::new(8, [6; 10]) };
        assert_eq!(Forked::recall(&forked.record()), Some(forked));
        for len in [31, 33] {
            assert_eq!(Forked::recall(&vec![1; len]), None);
        }
    }
}
