//! A lease as it is stored: the claim of whoever works on something.
//!
//! ```text
//! format 1 (3), flags 1 [, grant], granted_ms, lasts_ms, attempt, owner (length 1, text)
//! [, node, incarnation: the executor inside a server that has it]
//! ```
//! Numbers are varints, `lasts_ms` is the deadline less the grant's time. Flags: bit 0 grant, bit 1
//! executor. Without a grant the version of this row is the version of the grant. An extended lease
//! is a newer row of the same grant and therefore names it.
//!
//! Older formats, which are only read; a grant of 0 is none:
//! ```text
//! format 1, grant 8, deadline_ms 8, granted_ms 8, attempt 4, owner (length 1, text)
//! format 2: the same, then node 8, incarnation 8
//! ```

use crate::bytes::{Malformed, Reader, put_text8, put_varint};
use crate::claims::{Executor, Owner};

/// The older format of the lease of somebody outside; persisted.
const OUTSIDE: u8 = 1;
/// The older format of the lease of an executor; persisted.
const INSIDE: u8 = 2;
/// The format; persisted.
const SHORT: u8 = 3;
/// Flag: it names its grant.
const GRANT: u8 = 1;
/// Flag: an executor inside a server has it.
const EXECUTOR: u8 = 2;

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
        let Self { grant, deadline_ms, granted_ms, attempt, .. } = *self;
        let mut bytes = Vec::with_capacity(32 + self.owner.len());
        let mut flags = if grant == 0 { 0 } else { GRANT };
        flags |= if self.holder == Owner::External { 0 } else { EXECUTOR };
        bytes.extend_from_slice(&[SHORT, flags]);
        if grant != 0 {
            put_varint(&mut bytes, grant);
        }
        put_varint(&mut bytes, granted_ms);
        put_varint(&mut bytes, deadline_ms.wrapping_sub(granted_ms));
        put_varint(&mut bytes, u64::from(attempt));
        put_text8(&mut bytes, &self.owner);
        if let Owner::Inside(Executor { node, incarnation }) = self.holder {
            put_varint(&mut bytes, node);
            put_varint(&mut bytes, incarnation);
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
        Some(Times::read(&mut reader)?.deadline_ms)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let Times { format, is_inside, grant, deadline_ms, granted_ms } = Times::read(&mut reader)?;
        let number = |reader: &mut Reader<'_>| match format {
            SHORT => reader.varint(),
            _ => reader.u64(),
        };
        let attempt = match format {
            SHORT => u32::try_from(reader.varint()?).ok()?,
            _ => reader.u32()?,
        };
        let owner = reader.text8()?.to_owned();
        let holder = match is_inside {
            false => Owner::External,
            true => Owner::Inside(Executor {
                node: number(&mut reader)?,
                incarnation: number(&mut reader)?,
            }),
        };
        reader.end()?;
        let extended = grant != 0;
        let lease = Self { grant, deadline_ms, granted_ms, attempt, owner, extended, holder };
        (attempt > 0).then_some(lease)
    }
}

/// What stands at the front of every format.
struct Times {
    format: u8,
    is_inside: bool,
    grant: u64,
    deadline_ms: u64,
    granted_ms: u64,
}

impl Times {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let format = reader.u8()?;
        if format == SHORT {
            let flags = reader.u8().filter(|flags| flags & !(GRANT | EXECUTOR) == 0)?;
            let grant = match flags & GRANT {
                0 => 0,
                _ => reader.varint().filter(|grant| *grant != 0)?,
            };
            let granted_ms = reader.varint()?;
            let deadline_ms = granted_ms.wrapping_add(reader.varint()?);
            let is_inside = flags & EXECUTOR != 0;
            return Some(Self { format, is_inside, grant, deadline_ms, granted_ms });
        }
        let is_inside = match format {
            OUTSIDE => false,
            INSIDE => true,
            _ => return None,
        };
        let (grant, deadline_ms, granted_ms) = (reader.u64()?, reader.u64()?, reader.u64()?);
        Some(Self { format, is_inside, grant, deadline_ms, granted_ms })
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
        assert_eq!(bytes.len(), 2 + 1 + 1 + 1 + 1 + 8 + 1 + 6);
        assert_eq!(Lease::parse(&bytes, 77).unwrap(), lease);
        for len in 0..bytes.len() {
            Lease::parse(bytes.get(..len).unwrap(), 1).unwrap_err();
        }
        Lease::parse(&[&bytes[..], &[0]].concat(), 1).unwrap_err();
        for (at, wrong) in [(0, 4), (0, 0), (1, 7), (1, 1)] {
            let mut other = bytes.clone();
            *other.get_mut(at).unwrap() = wrong;
            Lease::parse(&other, 1).unwrap_err();
        }
    }

    /// What older versions wrote is read, and becomes the newer format when it is written again.
    #[test]
    fn older_formats_are_read() {
        let mut golden = vec![1];
        for number in [50_u64, 9, 4] {
            golden.extend_from_slice(&number.to_le_bytes());
        }
        golden.extend_from_slice(&[2, 0, 0, 0, 2, b'm', b'e']);
        let mut lease = Lease {
            grant: 50,
            deadline_ms: 9,
            granted_ms: 4,
            attempt: 2,
            owner: "me".into(),
            extended: true,
            holder: Owner::External,
        };
        assert_eq!(Lease::parse(&golden, 77).unwrap(), lease);
        assert_eq!(Lease::parse_deadline(&golden), Some(9));
        assert_eq!(lease.encode(), [3, 1, 50, 4, 5, 2, 2, b'm', b'e']);
        // Each format is exactly as long as it says.
        *golden.first_mut().unwrap() = 2;
        Lease::parse(&golden, 1).unwrap_err();
        golden.extend_from_slice(&1_u64.to_le_bytes());
        golden.extend_from_slice(&3_u64.to_le_bytes());
        lease.holder = Owner::Inside(Executor { node: 1, incarnation: 3 });
        assert_eq!(Lease::parse(&golden, 77).unwrap(), lease);
        assert_eq!(lease.encode(), [3, 3, 50, 4, 5, 2, 2, b'm', b'e', 1, 3]);
        *golden.first_mut().unwrap() = 1;
        Lease::parse(&golden, 1).unwrap_err();
        // A deadline before the grant, as a hostile row may have it, stays what it is.
        (lease.granted_ms, lease.deadline_ms) = (9, 4);
        assert_eq!(Lease::parse(&lease.encode(), 77).unwrap(), lease);
        (lease.granted_ms, lease.deadline_ms) = (0, u64::MAX);
        assert_eq!(Lease::parse(&lease.encode(), 77).unwrap(), lease);
    }
}
