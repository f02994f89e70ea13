//! One POST over plain HTTP, to an address that the configuration names.
//!
//! Invariants: redirects are not followed; no more of an answer is read than is asked for; time is
//! the caller's to bound. For https a local proxy stands in between: a TLS library would need more
//! than the Rust toolchain to build.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Where a request goes: `http://HOST[:PORT][/PATH]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `HOST:PORT`, for the connection.
    pub(crate) place: String,
    /// What the request says as `Host`.
    pub(crate) host: String,
    /// The path, from its slash on.
    path: String,
}

impl Target {
    /// The target of this address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is no address of a webhook: {why}");
        let rest = text.strip_prefix("http://").ok_or_else(|| {
            wrong("it must begin with http:// (for https, put a local proxy in between)")
        })?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |byte: u8| byte.is_ascii_graphic();
        if host.is_empty() || host.contains('@') || !rest.bytes().all(plain) {
            return Err(wrong("it is http://HOST:PORT/PATH, without a user and without spaces"));
        }
        let named_port = match host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && !port.ends_with(']') => {
                port.parse::<u16>().map_err(|_| wrong("the port is no number"))?;
                true
            }
            _ => false,
        };
        let place = if named_port { host.to_owned() } else { format!("{host}:80") };
        let path = path.split('#').next().unwrap_or_default();
        Ok(Self { place, host: host.to_owned(), path: format!("/{path}") })
    }
}

/// What is posted.
#[derive(Debug)]
pub(crate) struct Post {
    /// Its headers, without `host` and `user-agent`.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The most of the answer that is read.
    pub(crate) answer_bytes_max: usize,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Its beginning, at most as long as was asked for.
    pub(crate) body: Vec<u8>,
    /// That is all of it.
    pub(crate) whole: bool,
    /// `Retry-After` in seconds.
    pub(crate) retry_after_s: Option<u64>,
}

/// One POST. The error is a sentence for people.
pub(crate) async fn post(target: &Target, what: Post) -> Result<Answer, String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let stream = TcpStream::connect(&target.place).await.map_err(|error| said(&error))?;
    let connected = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(|error| said(&error))?;
    let driver = AbortOnDrop(tokio::spawn(connection));
    let mut request = Request::post(&target.path)
        .header(header::HOST, &target.host)
        .header(header::USER_AGENT, concat!("rekindle/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Body::from(what.body))
        .map_err(|error| said(&error))?;
    request.headers_mut().extend(what.headers);
    let answer = sender.send_request(request).await.map_err(|error| said(&error))?;
    let answer = read(answer, what.answer_bytes_max).await?;
    drop(driver);
    Ok(answer)
}

/// Reads an answer, and no more of it than that.
async fn read(answer: Response<hyper::body::Incoming>, max: usize) -> Result<Answer, String> {
    let status = answer.status().as_u16();
    let retry_after_s = answer.headers().get(header::RETRY_AFTER).and_then(seconds);
    if max == 0 {
        // Nobody wants it, and it may never come.
        return Ok(Answer { status, body: vec![], whole: false, retry_after_s });
    }
    let mut body = Limited::new(answer.into_body(), max);
    let mut read = Vec::new();
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                read.extend_from_slice(&frame.into_data().unwrap_or_else(|_| Bytes::new()))
            }
            Err(error) if error.is::<LengthLimitError>() => {
                whole = false;
                break;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(Answer { status, body: read, whole, retry_after_s })
}

fn seconds(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.trim().parse().ok()
}

/// Ends the task of a connection with whoever waits for it.
struct AbortOnDrop(tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_plain_addresses() {
        let target = Target::parse("http://alerts.example:8080/in?token=x#y").unwrap();
        assert_eq!(target.place, "alerts.example:8080");
        assert_eq!(
            (target.host.as_str(), target.path.as_str()),
            ("alerts.example:8080", "/in?token=x")
        );
        assert_eq!(Target::parse("http://[::1]").unwrap().place, "[::1]:80");
        assert_eq!(Target::parse("http://[::1]:9/").unwrap().place, "[::1]:9");
        for wrong in
            ["", "https://a/", "a:1", "http://", "http://a b/", "http://u:p@a/", "http://a:x/"]
        {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
