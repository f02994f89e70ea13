//! The static parts of the page: its style, its one script, its icon.
//!
//! Invariant: each is embedded in the binary and has a hash of its content in its name, so a
//! browser keeps it for good and never mixes those of two versions.

use std::sync::LazyLock;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse as _;

use crate::front::http::reply::{Answered, Refusal};
use crate::front::http::request::Asked;
use crate::state::Server;

/// One file.
#[derive(Debug)]
pub(super) struct Asset {
    path: String,
    media_type: &'static str,
    content: &'static str,
}

impl Asset {
    fn new(name: &str, ending: &str, media_type: &'static str, content: &'static str) -> Self {
        let hash = fnv1a(content.as_bytes());
        Self { path: format!("/ui/static/{name}-{hash:016x}.{ending}"), media_type, content }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// How everything looks.
pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("style", "css", "text/css", include_str!("static/style.css")));
/// What keeps a page up to date.
pub(super) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("live", "js", "text/javascript", include_str!("static/live.js")));
/// The icon of the tab.
pub(super) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("static/icon.svg")));

/// The file of this name.
pub(super) fn serve(_: &Server, asked: &Asked) -> Answered {
    let path = format!("/ui/static/{}", asked.text("file").unwrap_or(""));
    let all = [&*STYLE, &*SCRIPT, &*ICON];
    let Some(asset) = all.into_iter().find(|asset| asset.path == path) else {
        let message = "there is no such file; load the page again";
        return Err(Refusal::new(StatusCode::NOT_FOUND, message));
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    Ok((headers, asset.content).into_response())
}

/// The hash FNV-1a, 64 bits (Fowler, Noll, Vo): it tells versions apart and protects nothing.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published vectors of the hash.
    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
