//! Bytes of users in JSON, as every answer shows them.
//!
//! Invariant: what is shown says what the bytes are, to the byte where they are no JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Bytes in JSON: text where they are UTF-8, `{"base64":"…"}` otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a>(pub &'a [u8]);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Encoded {
            base64: String,
        }
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Encoded { base64: STANDARD.encode(self.0) }.serialize(serializer),
        }
    }
}

/// Bytes in JSON: as they are where they are JSON, otherwise as [`Text`].
#[derive(Clone, Copy, Debug)]
pub struct Json<'a>(pub &'a [u8]);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Ok(raw) = serde_json::from_slice::<&RawValue>(self.0) else {
            return Text(self.0).serialize(serializer);
        };
        if !raw.get().contains(['\n', '\r']) {
            return raw.serialize(serializer);
        }
        // Between tokens: inside of a string they are escaped. A value stays on its line.
        let line = RawValue::from_string(raw.get().replace(['\n', '\r'], " "));
        line.map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be() {
        let json = |bytes: &[u8]| serde_json::to_string(&Text(bytes)).expect("bytes serialize");
        assert_eq!(json(b"a\"\n"), r#""a\"\n""#);
        assert_eq!(json(b""), r#""""#);
        assert_eq!(json(&[0xFF, 0x00]), r#"{"base64":"/wA="}"#);
    }

    #[test]
    fn json_stays_json_and_on_its_line() {
        let json = |bytes: &[u8]| serde_json::to_string(&Json(bytes)).expect("bytes serialize");
        assert_eq!(json(b" {\"a\":\n 1.00}\n"), r#"{"a":  1.00}"#);
        assert_eq!(json(b"\"a\\nb\""), r#""a\nb""#);
        assert_eq!(json(b"not json"), r#""not json""#);
        assert_eq!(json(b""), r#""""#);
        assert_eq!(json(&[0xFF]), r#"{"base64":"/w=="}"#);
    }
}
