//! What a job carries: payload, progress, result, as a person reads them.
//!
//! Invariants: what is shown is bounded by [`SHOWN_BYTES_MAX`] whatever was stored, and says so
//! where it is not all; JSON is laid out by blanks and line ends only, so no number, no order of
//! keys and no escape is another one than was stored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use serde::de::IgnoredAny;

use super::text;

/// Most bytes of one value on a page.
pub(super) const SHOWN_BYTES_MAX: usize = 16 << 10;
/// Blanks of one level.
const INDENT: usize = 2;

/// A value with its name; `all` is a path that gives all of it.
pub(super) fn carried(name: &str, bytes: &[u8], all: &str) -> Markup {
    let size = text::bytes(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    let (kind, shown, whole) = shown(bytes);
    html! {
        @if bytes.is_empty() {
            p.quiet { "Nothing: 0 bytes." }
        } @else {
            pre.carried role="region" tabindex="0" aria-label=(name) {
                code { (shown) @if !whole { "…" } }
            }
            p.quiet {
                (kind) ", " (size) "."
                @if !whole {
                    " Only the beginning is shown; " a href=(all) { "all of it" } "."
                }
            }
        }
    }
}

/// What kind of bytes they are, the beginning of them as text, and whether that is all.
fn shown(bytes: &[u8]) -> (&'static str, String, bool) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let part = bytes.get(..SHOWN_BYTES_MAX / 4 * 3).unwrap_or(bytes);
        return ("Bytes that are no text, as base64", STANDARD.encode(part), part == bytes);
    };
    if serde_json::from_str::<IgnoredAny>(text).is_ok() {
        let (laid, whole) = laid_out(text, SHOWN_BYTES_MAX);
        return ("JSON", laid, whole);
    }
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    ("Text that is no JSON", text.get(..end).unwrap_or(text).to_owned(), end == text.len())
}

/// JSON, a member or an element a line; at most so many bytes of it, and whether that is all.
fn laid_out(json: &str, most: usize) -> (String, bool) {
    let mut out = String::new();
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut chars = json.trim().chars().peekable();
    while let Some(char) = chars.next() {
        // The longest that one character becomes: a line end and its blanks.
        if out.len() + depth * INDENT + 8 > most {
            return (out, false);
        }
        if in_string {
            out.push(char);
            in_string = escaped || char != '"';
            escaped = !escaped && char == '\\';
            continue;
        }
        match char {
            ' ' | '\n' | '\r' | '\t' => {}
            '{' | '[' => {
                out.push(char);
                while chars.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                // Nothing in it: it stays on its line.
                if let Some(close) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(char);
            }
            ',' => {
                out.push(char);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                in_string = true;
                out.push(char);
            }
            _ => out.push(char),
        }
    }
    (out, true)
}

/// A new line at this depth.
fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', depth * INDENT));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only blanks are added, and none inside of strings.
    #[test]
    fn json_is_laid_out_as_it_was_stored() {
        let json = r#" {"b":1.00,"a":[ ],"s":"x, {\"y\": [\\","n":[1,{"e":{}}]} "#;
        let expected = "{\n  \"b\": 1.00,\n  \"a\": [],\n  \"s\": \"x, {\\\"y\\\": [\\\\\",\n  \
                        \"n\": [\n    1,\n    {\n      \"e\": {}\n    }\n  ]\n}";
        assert_eq!(shown(json.as_bytes()), ("JSON", expected.to_owned(), true));
        assert_eq!(shown(b"\"x\""), ("JSON", "\"x\"".to_owned(), true));
        assert_eq!(shown(b"a <b>").0, "Text that is no JSON");
        assert_eq!(shown(&[0xFF]).1, "/w==");
    }

    /// However large, deep or odd it is, a page shows so much of it and says so.
    #[test]
    fn what_is_shown_is_bounded() {
        let deep = "[".repeat(50) + &"]".repeat(50);
        let long = format!("[{}1]", "1,".repeat(100_000));
        let unclosed = "[".repeat(100_000);
        let wide = "é".repeat(SHOWN_BYTES_MAX);
        for (bytes, all) in [
            (deep.as_bytes(), true),
            (long.as_bytes(), false),
            (unclosed.as_bytes(), false),
            (wide.as_bytes(), false),
            (&[0xFF; SHOWN_BYTES_MAX][..], false),
        ] {
            let (_, text, whole) = shown(bytes);
            assert_eq!(whole, all, "{}", bytes.len());
            assert!(text.len() <= SHOWN_BYTES_MAX, "{}", text.len());
        }
        let told = carried("Result", wide.as_bytes(), "/v1/jobs/j1").into_string();
        assert!(told.contains("32.0 KiB") && told.contains("href=\"/v1/jobs/j1\""), "{told}");
        let hostile = carried("Result", b"{\"a\":\"</pre><script>\"}", "/").into_string();
        assert!(hostile.contains("&lt;/pre&gt;&lt;script&gt;"), "{hostile}");
        assert!(carried("Result", b"", "/").into_string().contains("0 bytes"));
    }
}
