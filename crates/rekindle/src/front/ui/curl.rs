//! The same at a terminal: what a screen shows or does, as lines for `curl`.
//!
//! Invariant: a line can be pasted into a shell as it stands: what is in it is quoted, and what
//! comes from outside is percent-encoded by who makes the path.

use maud::{Markup, html};

/// A line that looks.
pub(super) fn get(address: &str, path: &str) -> String {
    format!("curl 'http://{address}{path}'")
}

/// A line that does something; `body` is JSON of our own.
pub(super) fn post(address: &str, path: &str, body: &str) -> String {
    format!("curl -X POST 'http://{address}{path}' -H 'Content-Type: application/json' -d '{body}'")
}

/// Lines with what each of them does. The script gives each a button that copies it.
pub(super) fn lines(lines: &[(&str, String)]) -> Markup {
    html! {
        dl.copies {
            @for (does, line) in lines {
                div { dt { (does) } dd { pre data-copy { code { (line) } } } }
            }
        }
    }
}
