//! The key of a value of the kv service: the database's own encoding of scope and user's key, which
//! keeps their order and by which a replay can be narrowed to a run. Its namespace (tenant, app,
//! agent, run) takes the place of the number with which other keys begin.

use rekindle_database::{Namespace, TypeTag};

/// The bytes with which every key of this scope begins.
#[must_use]
pub fn scope(namespace: &Namespace, tag: TypeTag) -> Vec<u8> {
    let mut key = namespace.prefix();
    key.push(tag as u8);
    key
}

/// The first key that is behind every key that begins with `prefix`.
#[must_use]
pub fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rekindle_database::Key;

    #[test]
    fn keys_stay_inside_their_scope_and_are_those_of_the_database() {
        let namespace = Namespace::new("t", "a", "", "r");
        let prefix = scope(&namespace, TypeTag::State);
        let key = [prefix.as_slice(), b"user\0key"].concat();
        let parsed = Key::decode(&key).unwrap();
        assert_eq!(parsed, Key::new(namespace, TypeTag::State, *b"user\0key"));
        assert!(prefix <= key && key < behind(&prefix));
    }

    #[test]
    fn behind_carries() {
        assert_eq!(behind(&[1, 2]), [1, 3]);
        assert_eq!(behind(&[1, 0xFF]), [2]);
        assert!(behind(&[0xFF]).is_empty());
    }
}
