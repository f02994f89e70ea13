//! Which column family holds which keyspace.
//!
//! A family is named as its keyspace is: keyspace 0 holds name -> number, 2 bytes little-endian. A
//! name that cannot be a family's (not plain, or RocksDB's own `default`) is replaced by its
//! number, `#7`; `#registry` is keyspace 0. Which family holds a keyspace is a row of the family
//! `default`, written with the first rows of the keyspace:
//!
//! ```text
//! default   "stand"                        where the flushed state stands (files/stand.rs)
//!           "family", keyspace 2 (big-endian)   the family's name
//! ```
//!
//! Invariant: a keyspace keeps its family, and no two have the same. A family without such a row is
//! what a crash left between making it and the first flush; it is empty, and used again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use rocksdb::{Direction, IteratorMode, properties};

use super::{Db, check};
use crate::api::{EngineError, KeyspaceId};
use crate::files::Family;

/// The family that RocksDB always has.
pub(super) const DEFAULT: &str = "default";

/// The keyspace of the names, and its family.
pub(super) const REGISTRY: KeyspaceId = KeyspaceId(0);
const REGISTRY_FAMILY: &str = "#registry";

/// Rows that name families begin with it.
const PREFIX: &[u8] = b"family";

/// Family names by keyspace.
pub(super) struct Families {
    names: RwLock<BTreeMap<KeyspaceId, String>>,
}

/// The name of a keyspace's family, before anybody else has it.
fn family_name(keyspace: KeyspaceId, registered: Option<&[u8]>) -> String {
    if keyspace == REGISTRY {
        return REGISTRY_FAMILY.to_owned();
    }
    let is_plain = |name: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:".contains(&byte);
        !name.is_empty() && *name != DEFAULT && name.bytes().all(plain)
    };
    let registered = registered.and_then(|name| std::str::from_utf8(name).ok()).filter(is_plain);
    registered.map_or_else(|| numbered(keyspace), str::to_owned)
}

fn numbered(keyspace: KeyspaceId) -> String {
    format!("#{}", keyspace.0)
}

/// The key of the row that names a family.
pub(super) fn row_key(keyspace: KeyspaceId) -> Vec<u8> {
    [PREFIX, &keyspace.0.to_be_bytes()].concat()
}

/// The number that a row of the registry gives its name.
pub(super) fn registered(value: &[u8]) -> Option<KeyspaceId> {
    value.try_into().ok().map(|bytes| KeyspaceId(u16::from_le_bytes(bytes)))
}

impl Families {
    /// Those that the files name.
    pub(super) fn read(db: &Db, dir: &Path) -> Result<Self, EngineError> {
        let corrupt =
            |found: String| EngineError::Corrupt { place: dir.display().to_string(), found };
        let mut names = BTreeMap::new();
        let from = IteratorMode::From(PREFIX, Direction::Forward);
        for row in db.iterator(from) {
            let (key, name) = row.map_err(|error| check::refused(dir, "read", &error))?;
            let Some(number) = key.strip_prefix(PREFIX) else { break };
            let number = number.try_into().ok().map(u16::from_be_bytes);
            let name = String::from_utf8(name.into()).ok();
            let (Some(number), Some(name)) = (number, name) else {
                return Err(corrupt("a row that names no family".to_owned()));
            };
            if db.cf_handle(&name).is_none() {
                return Err(corrupt(format!("no family {name:?}, which holds keyspace {number}")));
            }
            names.insert(KeyspaceId(number), name);
        }
        Ok(Self { names: RwLock::new(names) })
    }

    fn names(&self) -> RwLockReadGuard<'_, BTreeMap<KeyspaceId, String>> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The family of a keyspace, if it has one.
    pub(super) fn name(&self, keyspace: KeyspaceId) -> Option<String> {
        self.names().get(&keyspace).cloned()
    }

    /// The keyspaces that have a family, ascending.
    pub(super) fn keyspaces(&self) -> Vec<KeyspaceId> {
        self.names().keys().copied().collect()
    }

    /// The name that a keyspace's family gets; `registered` is what the registry calls it.
    pub(super) fn choose(&self, keyspace: KeyspaceId, registered: Option<&[u8]>) -> String {
        let wanted = family_name(keyspace, registered);
        match self.names().values().any(|taken| *taken == wanted) {
            true => numbered(keyspace),
            false => wanted,
        }
    }

    /// Notes the family of a keyspace.
    pub(super) fn add(&self, keyspace: KeyspaceId, name: String) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let before = names.insert(keyspace, name);
        assert!(before.is_none(), "a keyspace keeps its family");
    }

    /// Each family's figures: those of keyspaces in their order, then RocksDB's own.
    pub(super) fn figures(&self, db: &Db, dir: &Path) -> Result<Vec<Family>, EngineError> {
        let own = self.names().values().cloned().chain([DEFAULT.to_owned()]).collect::<Vec<_>>();
        own.into_iter().map(|name| figures(db, dir, name)).collect()
    }
}

/// What RocksDB says of a family.
fn figures(db: &Db, dir: &Path, name: String) -> Result<Family, EngineError> {
    let figure = |property| {
        let Some(family) = db.cf_handle(&name) else { return Ok(0) };
        let asked = db.property_int_value_cf(&family, property);
        let asked = asked.map_err(|error| check::refused(dir, "ask for figures", &error))?;
        Ok(asked.unwrap_or(0))
    };
    let (keys, bytes) =
        (figure(properties::ESTIMATE_NUM_KEYS)?, figure(properties::TOTAL_SST_FILES_SIZE)?);
    Ok(Family { name, keys, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_the_name_of_its_keyspace_where_it_can() {
        let name = |name: &str| family_name(KeyspaceId(7), Some(name.as_bytes()));
        assert_eq!(name("lease_expiry"), "lease_expiry");
        assert_eq!(name("default"), "#7", "RocksDB has one of that name");
        assert_eq!(name("#registry"), "#7");
        assert_eq!(name("with\0zero"), "#7");
        assert_eq!(name("größe"), "#7");
        assert_eq!(family_name(KeyspaceId(7), None), "#7");
        assert_eq!(family_name(REGISTRY, Some(b"queues")), "#registry");
    }

    #[test]
    fn two_keyspaces_never_share_a_family() {
        let families = Families { names: RwLock::default() };
        families.add(KeyspaceId(1), families.choose(KeyspaceId(1), Some(b"rows")));
        assert_eq!(families.choose(KeyspaceId(2), Some(b"rows")), "#2");
        assert_eq!(families.name(KeyspaceId(1)).as_deref(), Some("rows"));
    }
}
