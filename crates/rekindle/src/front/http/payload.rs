//! Bytes in JSON: text where they are UTF-8, base64 otherwise, each under a name of its own.
//!
//! Invariant: what is answered as text or as base64 is exactly what was stored; what is sent may be
//! base64 of either alphabet, with or without its padding.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::operation::Parameter;
use super::problem::Code;
use super::reply::Refusal;
use super::request::Asked;

/// The form of base64 that is taken, for schemas.
pub(super) const BASE64: &str = "^([A-Za-z0-9+/_-]{4})*([A-Za-z0-9+/_-][AQgw](==)?|\
                                 [A-Za-z0-9+/_-]{2}[AEIMQUYcgkosw048]=?)?$";

/// How keys in the path and the query are written.
pub(super) const ENCODING: Parameter = Parameter::word(
    "encoding",
    &["text", "base64"],
    "How keys are written in the path and the query: `text` (UTF-8, the default) or `base64`.",
);

/// What a text and its base64 form, of which one may be given, mean.
pub(super) fn bytes(
    name: &str,
    text: Option<String>,
    base64: Option<&str>,
) -> Result<Option<Vec<u8>>, Refusal> {
    match (text, base64) {
        (Some(_), Some(_)) => {
            Err(Refusal::invalid(format!("{name} and {name}_base64 stand both; give one")))
        }
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(base64)) => decode(&format!("{name}_base64"), base64).map(Some),
        (None, None) => Ok(None),
    }
}

/// Refuses what is above its limit. The services do so as well, as `full`.
pub(super) fn within(what: &str, found: usize, limit: usize) -> Result<(), Refusal> {
    if found <= limit {
        return Ok(());
    }
    let message = format!("{what}: {found} is above the limit of {limit}");
    Err(Refusal::of(Code::TooLarge, message))
}

/// The bytes of base64.
pub(super) fn decode(name: &str, base64: &str) -> Result<Vec<u8>, Refusal> {
    let plain = base64.trim_end_matches('=');
    let padding = base64.len() - plain.len();
    if padding > 2 || (padding > 0 && !base64.len().is_multiple_of(4)) {
        return Err(Refusal::invalid(format!("{name} is no base64: its padding is wrong")));
    }
    let decoded = match plain.contains(['-', '_']) {
        true => STANDARD_NO_PAD.decode(plain.replace('-', "+").replace('_', "/")),
        false => STANDARD_NO_PAD.decode(plain),
    };
    decoded.map_err(|error| Refusal::invalid(format!("{name} is no base64: {error}")))
}

/// Bytes as text, or else as base64.
pub(super) fn shown(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// A key in the path or the query, as [`ENCODING`] says it.
pub(super) fn key(asked: &Asked, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
    let is_base64 = check_encoding(asked)?;
    let Some(text) = asked.text(name) else { return Ok(None) };
    match is_base64 {
        false => Ok(Some(text.as_bytes().to_vec())),
        true => decode(name, text).map(Some),
    }
}

/// Whether keys are written as base64.
fn check_encoding(asked: &Asked) -> Result<bool, Refusal> {
    match asked.text("encoding") {
        None | Some("text") => Ok(false),
        Some("base64") => Ok(true),
        Some(_) => Err(Refusal::invalid("encoding is neither text nor base64")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the bytes are, what is shown of them is them.
    #[test]
    fn bytes_are_text_or_base64() {
        for stored in [&b""[..], b"text", "\u{0}é".as_bytes(), &[0xFF], &[0xFB, 0xFF, 0xFE, 0x00]]
        {
            let (text, base64) = shown(stored);
            assert!(text.is_some() != base64.is_some());
            assert_eq!(bytes("body", text, base64.as_deref()), Ok(Some(stored.to_vec())));
        }
        assert_eq!(bytes("body", None, None), Ok(None));
    }

    /// Either alphabet, with padding or without; nothing else, and not both forms.
    #[test]
    fn base64_has_its_forms() {
        for form in ["+/8=", "-_8=", "+/8", "-_8"] {
            assert_eq!(decode("x", form), Ok(vec![0xFB, 0xFF]), "{form}");
        }
        for wrong in ["=", "A", "A===", "A===A", "é", "Zg =", "Zg=", "Zh==", "Zg====", "Z g="] {
            assert!(decode("x", wrong).is_err(), "{wrong}");
        }
        assert!(bytes("body", Some(String::new()), Some("")).is_err());
    }
}
