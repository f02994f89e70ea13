//! How answers of the queue service are kept for repeated requests; persisted, so stable.

use crate::bytes::Reader;
use crate::producers::Recorded;
use crate::queues::{Created, Deleted, MessageId, Purged, Settled};

impl Recorded for MessageId {
    fn record(&self) -> Vec<u8> {
        [self.line.to_le_bytes(), self.number.to_le_bytes()].concat()
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (line, number) = (reader.u64()?, reader.u64()?);
        reader.end()?;
        Some(Self { line, number })
    }
}

impl Recorded for Created {
    fn record(&self) -> Vec<u8> {
        vec![u8::from(self.new)]
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [new @ 0..=1] => Some(Self { new: *new == 1 }),
            _ => None,
        }
    }
}

impl Recorded for Deleted {
    fn record(&self) -> Vec<u8> {
        self.messages.to_le_bytes().to_vec()
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        Some(Self { messages: u64::from_le_bytes(bytes.try_into().ok()?) })
    }
}

impl Recorded for Purged {
    fn record(&self) -> Vec<u8> {
        self.messages.to_le_bytes().to_vec()
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        Some(Self { messages: u64::from_le_bytes(bytes.try_into().ok()?) })
    }
}

impl Recorded for Settled {
    fn record(&self) -> Vec<u8> {
        match self {
            Self::Acked => vec![1],
            Self::Returned => vec![2],
            Self::DeadLettered => vec![3],
            Self::UnderReview => vec![5],
            Self::Extended { deadline_ms } => {
                let mut bytes = vec![4];
                bytes.extend_from_slice(&deadline_ms.to_le_bytes());
                bytes
            }
        }
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (1, []) => Some(Self::Acked),
            (2, []) => Some(Self::Returned),
            (3, []) => Some(Self::DeadLettered),
            (5, []) => Some(Self::UnderReview),
            (4, deadline) => {
                let deadline_ms = u64::from_le_bytes(deadline.try_into().ok()?);
                Some(Self::Extended { deadline_ms })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_round_trip() {
        let id = MessageId { line: 3, number: 4 };
        assert_eq!(MessageId::recall(&id.record()), Some(id));
        for new in [false, true] {
            assert_eq!(Created::recall(&Created { new }.record()), Some(Created { new }));
        }
        let extended = Settled::Extended { deadline_ms: 5 };
        let (dead, review) = (Settled::DeadLettered, Settled::UnderReview);
        for settled in [Settled::Acked, Settled::Returned, dead, review, extended] {
            assert_eq!(Settled::recall(&settled.record()), Some(settled));
        }
        assert_eq!(Purged::recall(&Purged { messages: 9 }.record()), Some(Purged { messages: 9 }));
        assert_eq!(Settled::recall(&[]), None);
        assert_eq!(Created::recall(&[2]), None);
    }
}
