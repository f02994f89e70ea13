//! The identity of a directory: the bytes of `store.a` and `store.b`.
//!
//! ```text
//! offset  size  field            (4096 bytes, little-endian)
//!      0     8  magic            "RKSTORE1"
//!      8     2  format           1
//!     10     2  min_reader       oldest format whose readers understand this file
//!     12     4  features         bits that a reader must understand; none yet
//!     16     8  sequence         1: created; 2 and above: the shard has begun
//!     24    16  store_id         random, made once
//!     40    16  lineage          random, made anew by each restore
//!     56     8  node             1 on a single node
//!     64     1  engine           1: memory
//!     65     3  zeros
//!     68     4  feature_level    of the records in use
//!     72  4020  zeros
//!   4092     4  crc32c           of everything before it
//! ```
//!
//! Invariants: bytes become an [`IdentityCopy`] only when the magic, the checksum, the version and
//! every reserved byte are right. The magic, the first 16 bytes and the place of the checksum are
//! the same in every later format, so a newer file is told from a damaged one. What the two copies
//! mean together is decided in [`crate::store`].

use rekindle_env::Random;

use crate::numbers::STORED_MAX;

/// Bytes of one copy.
pub const IDENTITY_LEN: usize = 4096;

/// The format that this program writes, and the newest that it reads.
pub const STORE_FORMAT: u16 = 1;

/// The oldest program format that can read what this one writes.
pub const STORE_MIN_READER: u16 = 1;

/// The feature bits that this program understands.
pub const KNOWN_FEATURES: u32 = 0;

/// The newest feature level that this program understands, and the one that it creates.
pub const FEATURE_LEVEL: u32 = 1;

/// The number of the memory engine in an identity.
pub const ENGINE_MEMORY: u8 = 1;

/// The number of the lsm engine. 2 is nobody's: a fixture of format 1 has it as the engine that no
/// program knows.
pub const ENGINE_LSM: u8 = 3;

/// The number of the RocksDB engine.
pub const ENGINE_ROCKSDB: u8 = 4;

const MAGIC: [u8; 8] = *b"RKSTORE1";
const CRC_AT: usize = IDENTITY_LEN - 4;
const RESERVED_ENGINE: std::ops::Range<usize> = 65..68;
const RESERVED_TAIL: std::ops::Range<usize> = 72..CRC_AT;

/// Who a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random, made once.
    pub store_id: [u8; 16],
    /// Random, made anew by each restore.
    pub lineage: [u8; 16],
    /// This node's number (1 on a single node).
    pub node: u64,
    /// Feature level of the records in use.
    pub feature_level: u32,
    /// Which engine holds the state (1: memory, 3: lsm, 4: rocksdb).
    pub engine: u8,
}

impl Identity {
    /// A new store's identity, node 1.
    #[must_use]
    pub fn generate(random: &dyn Random, engine: u8) -> Self {
        let mut store_id = [0; 16];
        let mut lineage = [0; 16];
        random.fill(&mut store_id);
        random.fill(&mut lineage);
        Self { store_id, lineage, node: 1, feature_level: FEATURE_LEVEL, engine }
    }

    /// The store id in hexadecimal, as reports and logs name it.
    #[must_use]
    pub fn store_id_hex(&self) -> String {
        use std::fmt::Write as _;
        self.store_id.iter().fold(String::with_capacity(32), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// The name of an engine's number, for messages.
#[must_use]
pub fn engine_name(engine: u8) -> String {
    match engine {
        ENGINE_MEMORY => "memory".to_owned(),
        ENGINE_LSM => "lsm".to_owned(),
        ENGINE_ROCKSDB => "rocksdb".to_owned(),
        other => format!("number {other}"),
    }
}

/// One validated copy: an identity and how often it was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityCopy {
    /// Rises by one with every change; both copies of a settled store have the same.
    pub sequence: u64,
    /// The identity.
    pub identity: Identity,
}

/// Why bytes are no [`IdentityCopy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Not what this or any later program wrote.
    Damaged {
        /// Where it shows.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Whole, and written by a program that this one must not take for its equal.
    Newer {
        /// What this program understands.
        expected: String,
        /// What the file asks for.
        found: String,
    },
}

impl IdentityCopy {
    /// The bytes of one copy.
    #[must_use]
    pub fn encode(&self) -> [u8; IDENTITY_LEN] {
        assert!(self.sequence > 0, "sequence 0 is never written");
        let mut bytes = [0; IDENTITY_LEN];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &STORE_FORMAT.to_le_bytes());
        put(&mut bytes, 10, &STORE_MIN_READER.to_le_bytes());
        put(&mut bytes, 12, &KNOWN_FEATURES.to_le_bytes());
        put(&mut bytes, 16, &self.sequence.to_le_bytes());
        put(&mut bytes, 24, &self.identity.store_id);
        put(&mut bytes, 40, &self.identity.lineage);
        put(&mut bytes, 56, &self.identity.node.to_le_bytes());
        put(&mut bytes, 64, &[self.identity.engine]);
        put(&mut bytes, 68, &self.identity.feature_level.to_le_bytes());
        let crc = checksum(&bytes);
        put(&mut bytes, CRC_AT, &crc.to_le_bytes());
        debug_assert_eq!(Self::decode(&bytes).as_ref(), Ok(self), "what is written can be read");
        bytes
    }

    /// Validates the content of one copy.
    pub fn decode(bytes: &[u8]) -> Result<Self, Defect> {
        let bytes: &[u8; IDENTITY_LEN] = bytes.try_into().map_err(|_| {
            let shorter = u64::try_from(bytes.len().min(IDENTITY_LEN)).unwrap_or(u64::MAX);
            damaged(shorter, format!("{IDENTITY_LEN} bytes"), format!("{} bytes", bytes.len()))
        })?;
        let magic: [u8; 8] = take(bytes, 0);
        if magic != MAGIC {
            return Err(damaged(0, format!("magic {MAGIC:02x?}"), format!("{magic:02x?}")));
        }
        let (stored, computed) = (u32::from_le_bytes(take(bytes, CRC_AT)), checksum(bytes));
        if stored != computed {
            return Err(damaged(
                u64::try_from(CRC_AT).unwrap_or(u64::MAX),
                format!("checksum {computed:08x}"),
                format!("{stored:08x}"),
            ));
        }
        check_version(bytes)?;
        for reserved in [RESERVED_ENGINE, RESERVED_TAIL] {
            check_zeros(bytes, reserved)?;
        }
        let sequence = u64::from_le_bytes(take(bytes, 16));
        if sequence == 0 || sequence > STORED_MAX {
            let expected = format!("a sequence of 1 to {STORED_MAX}");
            return Err(damaged(16, expected, sequence.to_string()));
        }
        let [engine] = take(bytes, 64);
        let identity = Identity {
            store_id: take(bytes, 24),
            lineage: take(bytes, 40),
            node: u64::from_le_bytes(take(bytes, 56)),
            feature_level: u32::from_le_bytes(take(bytes, 68)),
            engine,
        };
        Ok(Self { sequence, identity })
    }
}

/// What a copy says about who may read it: the same places in every later format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The format that it is written in.
    pub format: u16,
    /// The oldest format whose readers understand it.
    pub min_reader: u16,
    /// Bits that a reader must understand.
    pub features: u32,
}

impl Versions {
    /// Of a copy that is whole, of whatever format; `None` where it is not.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; IDENTITY_LEN] = bytes.try_into().ok()?;
        let whole = take::<8>(bytes, 0) == MAGIC
            && u32::from_le_bytes(take(bytes, CRC_AT)) == checksum(bytes);
        whole.then(|| Self {
            format: u16::from_le_bytes(take(bytes, 8)),
            min_reader: u16::from_le_bytes(take(bytes, 10)),
            features: u32::from_le_bytes(take(bytes, 12)),
        })
    }
}

/// Tells a file of a newer program, which is refused, from one of ours.
fn check_version(bytes: &[u8; IDENTITY_LEN]) -> Result<(), Defect> {
    let format = u16::from_le_bytes(take(bytes, 8));
    let min_reader = u16::from_le_bytes(take(bytes, 10));
    if format > STORE_FORMAT || min_reader > STORE_FORMAT {
        return Err(Defect::Newer {
            expected: format!("format {STORE_FORMAT} or older"),
            found: format!("format {format}, which needs a reader of format {min_reader}"),
        });
    }
    let unknown = u32::from_le_bytes(take(bytes, 12)) & !KNOWN_FEATURES;
    if unknown != 0 {
        return Err(Defect::Newer {
            expected: format!("format {STORE_FORMAT}, features {KNOWN_FEATURES:#x}"),
            found: format!("format {format}, unknown required features {unknown:#x}"),
        });
    }
    let level = u32::from_le_bytes(take(bytes, 68));
    if level > FEATURE_LEVEL {
        return Err(Defect::Newer {
            expected: format!("feature level {FEATURE_LEVEL} or older"),
            found: format!("feature level {level}"),
        });
    }
    Ok(())
}

fn check_zeros(bytes: &[u8; IDENTITY_LEN], reserved: std::ops::Range<usize>) -> Result<(), Defect> {
    let start = reserved.start;
    let region = bytes.get(reserved).expect("reserved ranges lie inside a copy");
    match region.iter().position(|&byte| byte != 0) {
        None => Ok(()),
        Some(at) => Err(damaged(
            u64::try_from(start + at).unwrap_or(u64::MAX),
            "zeros".to_owned(),
            format!("{:02x}", region.get(at).copied().unwrap_or_default()),
        )),
    }
}

fn damaged(offset: u64, expected: String, found: String) -> Defect {
    Defect::Damaged { offset, expected, found }
}

fn checksum(bytes: &[u8; IDENTITY_LEN]) -> u32 {
    let (covered, _) = bytes.split_at(CRC_AT);
    crc32c::crc32c(covered)
}

fn put(bytes: &mut [u8; IDENTITY_LEN], at: usize, field: &[u8]) {
    bytes
        .get_mut(at..at + field.len())
        .expect("every field lies inside a copy")
        .copy_from_slice(field);
}

fn take<const N: usize>(bytes: &[u8; IDENTITY_LEN], at: usize) -> [u8; N] {
    let field = bytes.get(at..at + N).expect("every field lies inside a copy");
    field.try_into().expect("a slice of N bytes is an array of N")
}
