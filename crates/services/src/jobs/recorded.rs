//! How answers of the job service are kept for repeated requests; persisted, so stable.

use crate::bytes::Reader;
use crate::claims::Subject;
use crate::jobs::{Changed, Status, Submitted};
use crate::producers::Recorded;

/// The number of a status in a kept answer.
fn number(status: Status) -> u8 {
    match status {
        Status::Scheduled => 1,
        Status::Pending => 2,
        Status::Processing => 3,
        Status::Completed => 4,
        Status::Failed => 5,
        Status::Cancelled => 6,
        Status::NeedsReview => 7,
    }
}

fn status(of: u8) -> Option<Status> {
    Status::ALL.into_iter().find(|status| number(*status) == of)
}

impl Recorded for Submitted {
    fn record(&self) -> Vec<u8> {
        let mut bytes = self.id.record();
        bytes.push(u8::from(self.new));
        bytes
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        let (new, id) = bytes.split_last()?;
        let id = Subject::recall(id).filter(Subject::is_job)?;
        (*new <= 1).then_some(Self { id, new: *new == 1 })
    }
}

impl Recorded for Changed {
    fn record(&self) -> Vec<u8> {
        let mut bytes = [self.id.line.to_le_bytes(), self.id.number.to_le_bytes()].concat();
        bytes.push(number(self.status));
        bytes.extend_from_slice(&self.deadline_ms.to_le_bytes());
        bytes
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let id = Subject { line: reader.u64()?, number: reader.u64()? };
        let status = status(reader.u8()?)?;
        let deadline_ms = reader.u64()?;
        reader.end()?;
        Some(Self { id, status, deadline_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_round_trip() {
        let id = Subject { line: 1 << 63 | 3, number: 4 };
        for new in [false, true] {
            assert_eq!(
                Submitted::recall(&Submitted { id, new }.record()),
                Some(Submitted { id, new })
            );
        }
        for status in Status::ALL {
            let changed = Changed { id, status, deadline_ms: 9 };
            assert_eq!(Changed::recall(&changed.record()), Some(changed));
        }
        assert_eq!(Submitted::recall(&[1; 17]), None, "a message is no job");
        assert_eq!(Changed::recall(&[0; 25]), None);
    }
}
