//! Small files of JSON that carry their own checksum, so that damage is never taken for content.
//!
//! ```text
//! {"token":"…", … ,"crc32c":"89abcdef"}\n
//! '------ checked --'
//! ```
//!
//! Invariants: every byte of a file is either checked or equal to what it must be; nothing is
//! parsed before it was checked; a file is read up to a bound.

use std::io;
use std::path::{Path, PathBuf};

use rekindle_env::{Disk, ReadDisk, durable};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Length of the end of a file: the checksum and what stands around it.
const SEAL_BYTES: usize = 22;

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// No such file.
    Absent,
    /// A file that is not whole, and why.
    Damaged(String),
    /// What it says.
    Whole(T),
}

impl<T> Found<T> {
    /// What it says, where it is whole.
    pub(super) fn whole(&self) -> Option<&T> {
        match self {
            Self::Whole(value) => Some(value),
            _ => None,
        }
    }

    /// The same, but damaged where it is whole and this does not hold.
    pub(super) fn only_if(self, holds: impl Fn(&T) -> bool) -> Self {
        match self {
            Self::Whole(ref value) if !holds(value) => {
                Self::Damaged("it belongs to another attempt".to_owned())
            }
            found => found,
        }
    }
}

fn seal(body: &[u8]) -> String {
    format!(",\"crc32c\":\"{:08x}\"}}\n", crc32c::crc32c(body))
}

/// The text of a value, which must be a JSON object that is not empty.
pub(super) fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(value)?;
    assert!(text.len() > 2 && text.last() == Some(&b'}'), "a record has members");
    text.pop();
    let seal = seal(&text);
    debug_assert_eq!(seal.len(), SEAL_BYTES);
    text.extend_from_slice(seal.as_bytes());
    Ok(text)
}

/// The value of a text.
pub(super) fn decode<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let at = text.len().checked_sub(SEAL_BYTES).ok_or("it is too short")?;
    let (body, found) = text.split_at_checked(at).ok_or("it is too short")?;
    if seal(body).as_bytes() != found {
        return Err("its checksum is wrong".to_owned());
    }
    let mut object = body.to_vec();
    object.push(b'}');
    serde_json::from_slice(&object).map_err(|error| error.to_string())
}

/// Reads a file of at most `bytes_max`. What the medium does not give is damage; other errors are
/// of the machine.
pub(super) fn read<T: DeserializeOwned>(
    disk: &(impl ReadDisk + ?Sized),
    path: &Path,
    bytes_max: u64,
) -> io::Result<Found<T>> {
    let text = match durable::read_file(disk, path, bytes_max) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Ok(Found::Damaged(error.to_string()));
        }
        Err(error) if durable::is_of_the_medium(&error) => {
            return Ok(Found::Damaged(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    Ok(decode(&text).map_or_else(Found::Damaged, Found::Whole))
}

/// Writes a file over the one of its name: after a crash the old or the new one is there, whole.
pub(super) fn write<T: Serialize>(disk: &dyn Disk, path: &Path, value: &T) -> io::Result<()> {
    durable::replace_file(disk, path, &encode(value)?)
}

/// Gives a file its name, whole, unless the name is taken; says whether it was not. Of several that
/// try, one succeeds. `by` tells their unfinished files apart.
pub(super) fn publish<T: Serialize>(
    disk: &dyn Disk,
    path: &Path,
    value: &T,
    by: &str,
) -> io::Result<bool> {
    let text = encode(value)?;
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{by}{}", durable::TEMPORARY_SUFFIX));
    let temporary = PathBuf::from(name);
    match disk.remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    durable::create_file(disk, &temporary, &text)?;
    let published = match durable::hard_link(disk, &temporary, path) {
        // Where files have one name only, it is taken first and written then.
        Err(error) if has_no_links(&error) => durable::create_file(disk, path, &text),
        linked => linked,
    };
    let first = match published {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        published => published.map(|()| true)?,
    };
    disk.remove_file(&temporary)?;
    Ok(first)
}

fn has_no_links(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use rekindle_env::RealDisk;

    use super::*;

    type Map = BTreeMap<String, String>;

    fn map() -> Map {
        BTreeMap::from([("a".to_owned(), "b".to_owned())])
    }

    #[test]
    fn a_file_is_json_with_its_checksum() {
        let text = encode(&map()).unwrap();
        let json: Map = serde_json::from_slice(&text).unwrap();
        assert_eq!(json.get("a").unwrap(), "b");
        assert_eq!(json.get("crc32c").unwrap().len(), 8);
        assert_eq!(decode::<Map>(&text).unwrap(), map());
    }

    #[test]
    fn every_truncation_and_flip_is_damage() {
        let text = encode(&map()).unwrap();
        for end in 0..text.len() {
            assert!(decode::<Map>(text.get(..end).unwrap()).is_err(), "{end}");
        }
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            *flipped.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            assert!(decode::<Map>(&flipped).is_err(), "{bit}");
        }
        let longer = [text.as_slice(), b"\n"].concat();
        assert!(decode::<Map>(&longer).is_err());
    }

    #[test]
    fn one_of_several_is_published() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(publish(&RealDisk, &path, &map(), "a").unwrap());
        assert!(!publish(&RealDisk, &path, &Map::from([("c".into(), "d".into())]), "b").unwrap());
        assert_eq!(read(&RealDisk, &path, 100).unwrap(), Found::Whole(map()));
        assert_eq!(RealDisk.list(dir.path()).unwrap().len(), 1, "nothing unfinished stays");
        assert!(matches!(read::<Map>(&RealDisk, &path, 3).unwrap(), Found::Damaged(_)));
        assert_eq!(read::<Map>(&RealDisk, &dir.path().join("y"), 3).unwrap(), Found::Absent);
    }
}
