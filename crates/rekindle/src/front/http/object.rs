//! An object, and nothing else.
//!
//! What serde derives for a structure takes a list of its members in a row as well, which no schema
//! says. Invariant: an [`Object`] is made of a JSON object only.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A value that was an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        a: u8,
        b: Option<u8>,
    }

    /// A list of the members is none, in any depth; a wrong member is still said with its name.
    #[test]
    fn only_objects_are_objects() {
        let parse = |text| serde_json::from_str::<Object<Pair>>(text);
        assert_eq!(parse(r#"{"a":1}"#).expect("an object").0, Pair { a: 1, b: None });
        for wrong in ["[1,2]", "1", "null", "\"a\"", "{\"a\":1,\"c\":1}", "{\"a\":1,\"a\":1}"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Vec<Object<Pair>>>("[[1,2]]").is_err());
        let error = parse(r#"{"a":1,"c":1}"#).expect_err("unknown").to_string();
        assert!(error.contains("`c`"), "{error}");
    }
}
