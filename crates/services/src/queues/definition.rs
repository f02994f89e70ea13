//! A queue's definition as it is stored.
//!
//! ```text
//! format 1, id 8, visibility_ms 8, max_attempts 4, created_ms 8, dead_letter (length 1, text)
//! ```

use crate::bytes::{Malformed, Reader, put_text8};
use crate::error::Error;
use crate::keys::queue::is_name;
use crate::limits::{NAME_BYTES_MAX, VISIBILITY_MS_MAX};
use crate::queues::QueueSettings;

/// The format of the value; persisted.
const FORMAT: u8 = 1;

/// A queue, as stored. Settings never change: a queue is created, used and deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    /// Its number, never used again.
    pub(crate) id: u64,
    /// Its name.
    pub(crate) name: String,
    /// Its settings, dead-letter queue resolved.
    pub(crate) settings: QueueSettings,
    /// When it was created, log time.
    pub(crate) created_ms: u64,
}

impl Definition {
    /// The stored bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&self.settings.visibility_ms.to_le_bytes());
        bytes.extend_from_slice(&self.settings.max_attempts.to_le_bytes());
        bytes.extend_from_slice(&self.created_ms.to_le_bytes());
        put_text8(&mut bytes, self.settings.dead_letter.as_deref().unwrap_or_default());
        bytes
    }

    /// The definition with this name and these stored bytes.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(name, bytes).ok_or_else(|| Malformed::new("a queue's definition", bytes))
    }

    /// Only its number.
    pub(crate) fn parse_id(bytes: &[u8]) -> Option<u64> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        reader.u64().filter(|&id| format == FORMAT && id != 0)
    }

    fn read(name: &str, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        let id = reader.u64()?;
        let visibility_ms = reader.u64()?;
        let max_attempts = reader.u32()?;
        let created_ms = reader.u64()?;
        let dead_letter = reader.text8()?;
        reader.end()?;
        let target = (!dead_letter.is_empty()).then(|| dead_letter.to_owned());
        let settings = QueueSettings { visibility_ms, max_attempts, dead_letter: target };
        let whole =
            format == FORMAT && id != 0 && resolve(name, &settings).as_ref() == Ok(&settings);
        whole.then(|| Self { id, name: name.to_owned(), settings, created_ms })
    }
}

/// Checks a name and settings, and fills in the dead-letter queue.
pub(crate) fn resolve(name: &str, settings: &QueueSettings) -> Result<QueueSettings, Error> {
    check_name(name)?;
    if settings.visibility_ms == 0 || settings.visibility_ms > VISIBILITY_MS_MAX {
        return Err(Error::invalid(format!(
            "a visibility of {} ms is not allowed; choose 1 ms to {VISIBILITY_MS_MAX} ms (12 h)",
            settings.visibility_ms
        )));
    }
    let mut settings = settings.clone();
    if settings.max_attempts > 0 && settings.dead_letter.is_none() {
        settings.dead_letter = Some(format!("{name}.dead"));
    }
    if let Some(target) = &settings.dead_letter {
        check_name(target)?;
        if target == name {
            return Err(Error::invalid(format!(
                "queue \"{name}\" cannot be its own dead-letter queue; name another one"
            )));
        }
    }
    Ok(settings)
}

/// Refuses what cannot be the name of a queue.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name:?} is no name of a queue; use 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ -"
    )))
}

/// Refuses names of new queues that mean something else in a path.
pub(crate) fn check_path(name: &str) -> Result<(), Error> {
    match name {
        "." | ".." => Err(Error::invalid(format!("{name:?} is no name of a queue in a path"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something_in_a_path_are_refused() {
        for name in [".", ".."] {
            check_path(name).unwrap_err();
        }
        for name in ["...", ".a", "a.."] {
            check_path(name).unwrap();
        }
    }

    #[test]
    fn definitions_round_trip_and_every_cut_is_noticed() {
        for (max_attempts, dead_letter) in [(0, None), (3, Some("q.dead".to_owned()))] {
            let settings = QueueSettings { visibility_ms: 5, max_attempts, dead_letter };
            let definition = Definition { id: 9, name: "q".into(), settings, created_ms: 4 };
            let bytes = definition.encode();
            assert_eq!(Definition::parse("q", &bytes).unwrap(), definition);
            for len in 0..bytes.len() {
                Definition::parse("q", bytes.get(..len).unwrap()).unwrap_err();
            }
        }
    }

    #[test]
    fn limited_attempts_need_a_place_to_go_to() {
        let limited = QueueSettings { max_attempts: 2, ..QueueSettings::default() };
        assert_eq!(resolve("q", &limited).unwrap().dead_letter.as_deref(), Some("q.dead"));
        assert_eq!(resolve("q", &QueueSettings::default()).unwrap().dead_letter, None);
        let own = QueueSettings { dead_letter: Some("q".into()), ..limited.clone() };
        resolve("q", &own).unwrap_err();
        // The name of the dead-letter queue must fit, too.
        resolve(&"q".repeat(NAME_BYTES_MAX - 5), &limited).unwrap();
        resolve(&"q".repeat(NAME_BYTES_MAX - 4), &limited).unwrap_err();
    }

    #[test]
    fn visibility_stands_at_its_limit() {
        let with = |visibility_ms| QueueSettings { visibility_ms, ..QueueSettings::default() };
        resolve("q", &with(1)).unwrap();
        resolve("q", &with(VISIBILITY_MS_MAX)).unwrap();
        resolve("q", &with(0)).unwrap_err();
        resolve("q", &with(VISIBILITY_MS_MAX + 1)).unwrap_err();
    }
}
