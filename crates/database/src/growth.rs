//! The limit on the state: growth is refused before the journal is touched, deletes go on.
//!
//! Below the limit this costs one addition. At the limit the change in size is worked out exactly,
//! and what may still grow has reserves, one above the other: a transaction that also removes
//! something, then one that frees or moves work ([`Transaction::use_reserve`]), then one that does
//! both. So a full store can be worked off: deletes take nothing from leases, and leases nothing
//! from their acknowledgements. Invariant: the state stays below the limit and three reserves.
//!
//! [`Transaction::use_reserve`]: crate::Transaction::use_reserve

use rekindle_engine::KeyspaceId;
use rekindle_env::Env;

use crate::core::Core;
use crate::encode::{Encoded, OpSpan};
use crate::error::Error;
use crate::memory;

/// What a row costs beside its bytes.
const ROW_OVERHEAD_BYTES: u64 = 112;

/// One reserve, as a share of the limit.
const RESERVE_DIVISOR: u64 = 16;

/// The share of memory that the state may use when nothing else is configured, in percent.
const MEMORY_PERCENT: u64 = 60;

/// The limit where the state is in files: the space on disk is what counts.
const DISK_STATE_BYTES: u64 = 1 << 50;

/// The limit where the memory of the machine cannot be told.
const FALLBACK_STATE_BYTES: u64 = 4 << 30;

/// The limit that is in force.
pub(crate) fn max_state_bytes(configured: Option<u64>, in_files: bool, env: &Env) -> u64 {
    configured.unwrap_or_else(|| if in_files { DISK_STATE_BYTES } else { max_memory_bytes(env) })
}

/// What this process may keep in memory.
pub(crate) fn max_memory_bytes(env: &Env) -> u64 {
    let memory = memory::available(&*env.disk);
    memory.map_or(FALLBACK_STATE_BYTES, |bytes| bytes / 100 * MEMORY_PERCENT)
}

/// What is answered while nothing can be written.
pub(crate) fn exhausted() -> Error {
    Error::Full("the disk is full, not even the journal can go on; give it space".to_owned())
}

/// How a transaction changes the size of the state.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    added: u64,
    removed: u64,
    deletes: bool,
}

impl Core {
    /// Refuses a transaction that would make the state too large.
    ///
    /// `frees_work`: it asked for the reserve.
    pub(crate) fn check_growth(&self, encoded: &Encoded, frees_work: bool) -> Result<(), Error> {
        self.look_at_disk_again();
        if self.is_exhausted() && !self.space_comes() {
            return Err(exhausted());
        }
        let held = self.state.state_bytes().saturating_add(self.state.pending_bytes());
        let entry = len(encoded.entry().len());
        let most = entry + ROW_OVERHEAD_BYTES * u64::from(encoded.count());
        let disk_low = self.is_disk_low();
        if !disk_low && held.saturating_add(most) <= self.max_state_bytes {
            return Ok(());
        }
        let growth = self.growth(encoded)?;
        let after = held.saturating_add(growth.added).saturating_sub(growth.removed);
        let reserves = u64::from(growth.deletes) + 2 * u64::from(frees_work);
        let reserve = (self.max_state_bytes / RESERVE_DIVISOR).saturating_mul(reserves);
        let fits = after <= self.max_state_bytes.saturating_add(reserve);
        if growth.added <= growth.removed || (fits && !disk_low) {
            return Ok(());
        }
        if disk_low && (growth.deletes || (frees_work && fits)) {
            // Cleaning up writes a little before it frees anything; the space on disk that counts
            // as nearly full is for that.
            return Ok(());
        }
        if disk_low {
            return Err(Error::Full(
                "the disk is nearly full; delete something, or give it more space".to_owned(),
            ));
        }
        Err(Error::Full(format!(
            "the state has {held} bytes and may have {}; delete something, or raise [engine] \
             max_state_bytes",
            self.max_state_bytes
        )))
    }

    /// What it would add and remove, against what is latest now.
    fn growth(&self, encoded: &Encoded) -> Result<Growth, Error> {
        let mut growth = Growth::default();
        for operation in encoded.operations() {
            match operation {
                OpSpan::Put(keyspace, key, value) => {
                    growth.added += len(key.len() + value.len()) + ROW_OVERHEAD_BYTES;
                    growth.removed += self.row_bytes(keyspace, encoded.slice(key))?;
                }
                OpSpan::Delete(keyspace, key) => {
                    growth.deletes = true;
                    growth.removed += self.row_bytes(keyspace, encoded.slice(key))?;
                }
                OpSpan::DeleteRange(..) => growth.deletes = true,
            }
        }
        Ok(growth)
    }

    /// What a row costs now; 0 where there is none.
    fn row_bytes(&self, keyspace: KeyspaceId, key: &[u8]) -> Result<u64, Error> {
        let pending = {
            let mut sequencer = self.state.sequencer();
            sequencer.overlay.index();
            let found = sequencer.overlay.get(keyspace, key, u64::MAX);
            found.map(|found| found.value.map(<[u8]>::len))
        };
        let value = match pending {
            Some(value) => value,
            None => {
                let found = self.state.engine.get(keyspace, key, u64::MAX)?;
                found.and_then(|found| found.value).map(|value| value.len())
            }
        };
        Ok(value.map_or(0, |value| len(key.len() + value) + ROW_OVERHEAD_BYTES))
    }
}

fn len(len: usize) -> u64 {
    u64::try_from(len).expect("a usize fits a u64")
}
