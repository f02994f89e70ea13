//! A lease as it is stored: the claim of whoever works on something.
//!
//! ```text
//! format 1, grant 8, deadline_ms 8, granted_ms 8, attempt 4, owner (length 1, text)
//! format 2: the same, then node 8, incarnation 8: the executor inside a server that has it
//! ```
//! `grant` 0 means: the version of this row is the version of the grant. An extended lease is a
//! newer row of the same grant and therefore names it.

use crate::bytes::{Malformed, Reader, put_text8};
use crate::claims::{Executor, Owner};

/// The format of the lease of somebody outside; persisted.
const OUTSIDE: u8 = 1;
/// The format of the lease of an executor; persisted.
const INSIDE: u8 = 2;

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The version of the grant; 0: the version of the row.
    pub(crate) grant: u64,
    /// When it runs out, log time.
    pub(crate) deadline_ms: u64,
    /// When it was granted, log time.
    pub(crate) granted_ms: u64,
    /// Which attempt this is, from 1.
    pub(crate) attempt: u32,
    /// Who has it, for people.
    pub(crate) owner: String,
    /// The row names its grant: it was extended, or taken up again by a late owner.
    pub(crate) extended: bool,
    /// Whose it is.
    pub(crate) holder: Owner,
}

impl Lease {
    /// The stored bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        debug_assert_eq!(self.extended, self.grant != 0, "only an extended lease names its grant");
        let mut bytes = Vec::with_capacity(30 + self.owner.len());
        bytes.push(match self.holder {
            Owner::External => OUTSIDE,
            Owner::Inside(_) => INSIDE,
        });
        bytes.extend_from_slice(&self.grant.to_le_bytes());
        bytes.extend_from_slice(&self.deadline_ms.to_le_bytes());
        bytes.extend_from_slice(&self.granted_ms.to_le_bytes());
        bytes.extend_from_slice(&self.attempt.to_le_bytes());
        put_text8(&mut bytes, &self.owner);
        if let Owner::Inside(Executor { node, incarnation }) = self.holder {
            bytes.extend_from_slice(&node.to_le_bytes());
            bytes.extend_from_slice(&incarnation.to_le_bytes());
        }
        bytes
    }

    /// The lease in the bytes of a row of that version; its grant is filled in.
    pub(crate) fn parse(bytes: &[u8], version: u64) -> Result<Self, Malformed> {
        let mut lease = Self::read(bytes).ok_or_else(|| Malformed::new("a lease", bytes))?;
        if lease.grant == 0 {
            lease.grant = version;
        }
        Ok(lease)
    }

    /// Only the deadline, for the index.
    pub(crate) fn parse_deadline(bytes: &[u8]) -> Option<u64> {
        let mut reader = Reader::new(bytes);
        let (_format, _grant) = (reader.u8()?, reader.u64()?);
        reader.u64()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        let grant = reader.u64()?;
        let deadline_ms = reader.u64()?;
        let granted_ms = reader.u64()?;
        let attempt = reader.u32()?;
        let owner = reader.text8()?.to_owned();
        let holder = match format {
            OUTSIDE => Owner::External,
            INSIDE => Owner::Inside(Executor { node: reader.u64()?, incarnation: reader.u64()? }),
            _ => return None,
        };
        reader.end()?;
        let extended = grant != 0;
        let lease = Self { grant, deadline_ms, granted_ms, attempt, owner, extended, holder };
        (attempt > 0).then_some(lease)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_knows_its_grant_from_the_row_or_from_itself() {
        let mut lease = Lease {
            grant: 0,
            deadline_ms: 9,
            granted_ms: 4,
            attempt: 2,
            owner: "me".into(),
            extended: false,
            holder: Owner::External,
        };
        assert_eq!(Lease::parse(&lease.encode(), 77).unwrap().grant, 77);
        (lease.grant, lease.extended) = (50, true);
        let bytes = lease.encode();
        assert_eq!(Lease::parse(&bytes, 77).unwrap(), lease);
        assert_eq!(Lease::parse_deadline(&bytes), Some(9));
        for len in 0..bytes.len() {
            Lease::parse(bytes.get(..len).unwrap(), 1).unwrap_err();
        }
        lease.attempt = 0;
        Lease::parse(&lease.encode(), 1).unwrap_err();
    }

    #[test]
    fn the_lease_of_an_executor_names_its_run() {
        let lease = Lease {
            grant: 50,
            deadline_ms: 9,
            granted_ms: 4,
            attempt: 2,
            owner: "command".into(),
            extended: true,
            holder: Owner::Inside(Executor { node: 1, incarnation: 1 << 40 }),
        };
        let bytes = lease.encode();
        assert_eq!(bytes.len(), 30 + 7 + 16);
        assert_eq!(Lease::parse(&bytes, 77).unwrap(), lease);
        for len in 0..bytes.len() {
            Lease::parse(bytes.get(..len).unwrap(), 1).unwrap_err();
        }
        // Each format is exactly as long as it says.
        let outside = [&[OUTSIDE][..], bytes.get(1..).unwrap()].concat();
        Lease::parse(&outside, 1).unwrap_err();
        let unknown = [&[3][..], bytes.get(1..).unwrap()].concat();
        Lease::parse(&unknown, 1).unwrap_err();
    }
}
