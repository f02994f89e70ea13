//! How answers of the queue service are kept for repeated requests; persisted, so stable.

use crate::bytes::{Reader, put_varint};
use crate::producers::Recorded;
use crate::queues::{Created, Deleted, MessageId, Purged, Settled};

/// Bytes of an id as older versions kept it, two numbers of 8 bytes.
const OLDER: usize = 16;

/// The line as a varint, and the number big-endian: ids that follow each other begin alike, and
/// only the rest is stored (producers/chunk.rs). What would be as long as older ones is as those.
impl Recorded for MessageId {
    fn record(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(OLDER);
        put_varint(&mut bytes, self.line);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        match bytes.len() {
            OLDER => [self.line.to_le_bytes(), self.number.to_le_bytes()].concat(),
            _ => bytes,
        }
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (line, number) = match bytes.len() {
            OLDER => (reader.u64()?, reader.u64()?),
            _ => (reader.varint()?, u64::from_be_bytes(reader.array()?)),
        };
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
        let numbers = (0..64).map(|bit| 1_u64 << bit).chain([0, 3, u64::MAX]);
        for (line, number) in numbers.clone().flat_map(|a| numbers.clone().map(move |b| (a, b))) {
            let id = MessageId { line, number };
            assert_eq!(MessageId::recall(&id.record()), Some(id));
            let long = [line.to_le_bytes(), number.to_le_bytes()].concat();
            assert_eq!(MessageId::recall(&long), Some(id), "as older versions stored it");
        }
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
