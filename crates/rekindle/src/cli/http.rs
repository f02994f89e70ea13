//! GET and POST, for the admin side of a server: one request per connection, bounded in time and
//! size, and the one place where statuses become exit codes.
//!
//! Invariant: a POST that was sent whole and not answered has an unknown outcome (75); one that was
//! not sent whole was not done.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rekindle_recovery::exit;
use serde::Serialize;
use serde_json::Value;

use super::address;
use super::failure::Failure;

/// Until a connection stands, and until an answer that waits for nothing is there.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Until the answer to a POST is there: it may wait for a slow disk.
const POST_TIMEOUT: Duration = Duration::from_secs(60);
/// Above any answer of the admin side.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// How much of an answer that is no JSON is shown.
const SHOWN_BYTES: usize = 1_000;
/// Where the admin side is unless somebody says otherwise.
const DEFAULT: &str = "127.0.0.1:7610";

/// Where the admin side of the server is.
#[derive(Args, Clone, Debug)]
pub(super) struct Admin {
    /// Address of the server's admin side (HTTP) [default: 127.0.0.1:7610]
    #[arg(
        long,
        global = true,
        env = "REKINDLE_HTTP",
        value_name = "HOST:PORT",
        value_parser = address
    )]
    http: Option<String>,
}

impl Admin {
    /// The address.
    pub(super) fn address(&self) -> &str {
        self.http.as_deref().unwrap_or(DEFAULT)
    }

    /// Another address.
    pub(super) fn set(&mut self, address: String) {
        self.http = Some(address);
    }
}

/// A path as a server on the same machine is told it: absolute, and without `..` as far as that can
/// be told from the path alone.
pub(super) fn absolute(path: &Path) -> Result<String, Failure> {
    let whole = std::path::absolute(path)
        .map_err(|error| Failure::io(&format!("the path {}", path.display()), &error))?;
    let mut plain = PathBuf::new();
    for part in whole.components() {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain.to_str().map(str::to_owned).ok_or_else(|| {
        let message = format!("{} is no UTF-8 and cannot be told to a server", plain.display());
        Failure::new(exit::USAGE, message)
    })
}

/// An answer: status and body, and who gave it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) address: String,
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The JSON of an answer that is one; otherwise why not, with the exit code that it means.
    pub(super) fn value(&self) -> Result<Value, Failure> {
        let Self { address, status, body } = self;
        let parsed: Result<Value, _> = serde_json::from_slice(body);
        if (200..300).contains(status) {
            return parsed.map_err(|error| {
                let message = format!("{address} gave no answer of Rekindle's: {error}");
                Failure::new(exit::REFUSED, message)
            });
        }
        let said = parsed.as_ref().ok();
        let reason = said.and_then(|said| said.get("error")).and_then(Value::as_str);
        let code = said.and_then(|said| said.get("exit_code")).and_then(Value::as_i64);
        let code = code.and_then(|code| i32::try_from(code).ok()).filter(|code| *code != 0);
        let message = match (reason, *status) {
            (Some(reason), 503) if said.is_some_and(|said| said.get("stage").is_some()) => {
                format!("{address} is not ready: {reason}")
            }
            (Some(reason), _) => reason.to_owned(),
            (None, 503) => format!("{address} is not ready: {}", self.shown()),
            (None, status) => format!("{address} answered status {status}: {}", self.shown()),
        };
        Err(Failure::new(code.unwrap_or(code_of(*status)), message))
    }

    /// The body as one line for people.
    fn shown(&self) -> String {
        let head = self.body.get(..SHOWN_BYTES).unwrap_or(&self.body);
        let text = String::from_utf8_lossy(head);
        text.trim().chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
    }
}

/// The exit code that a status means where the answer does not say it.
const fn code_of(status: u16) -> i32 {
    match status {
        401 | 403 => exit::DENIED,
        // It starts, it ends, or something before it does not reach it.
        502..=504 => exit::UNREACHABLE,
        500 => exit::IO,
        // 400, 404, 405, 409, 413, 415, 507 and whatever else is no success.
        _ => exit::REFUSED,
    }
}

/// Asks `HOST:PORT` for a path.
pub(super) fn get(address: &str, path: &str) -> Result<Answer, Failure> {
    let head = format!("GET {path} HTTP/1.0\r\n");
    exchange(address, &head, b"", TIMEOUT).map_err(|lost| lost.failure(address))
}

/// Tells `HOST:PORT` something; `Ok` only when it was done, with what was answered.
pub(super) fn post(address: &str, path: &str, value: &impl Serialize) -> Result<Value, Failure> {
    post_within(address, path, value, POST_TIMEOUT)
}

/// The same with more time for the answer.
pub(super) fn post_within(
    address: &str,
    path: &str,
    value: &impl Serialize,
    timeout: Duration,
) -> Result<Value, Failure> {
    let body = serde_json::to_vec(value)
        .map_err(|error| Failure::new(exit::REFUSED, format!("no JSON: {error}")))?;
    tell(address, &format!("POST {path}"), "", &body, timeout)
}

/// The same under an `Idempotency-Key`: told again with it, it has one effect.
pub(super) fn post_once(
    address: &str,
    path: &str,
    value: &impl Serialize,
    key: Option<&str>,
) -> Result<Value, Failure> {
    let body = serde_json::to_vec(value)
        .map_err(|error| Failure::new(exit::REFUSED, format!("no JSON: {error}")))?;
    let printable = |it: u8| (b' '..=b'~').contains(&it);
    let header = match key {
        None => String::new(),
        Some(key) if !key.is_empty() && key.bytes().all(printable) => {
            format!("Idempotency-Key: {key}\r\n")
        }
        Some(_) => {
            let message = "a key has 1 to 255 printable ASCII characters";
            return Err(Failure::new(exit::USAGE, message));
        }
    };
    tell(address, &format!("POST {path}"), &header, &body, POST_TIMEOUT)
}

/// Has something removed.
pub(super) fn delete(address: &str, path: &str) -> Result<Value, Failure> {
    tell(address, &format!("DELETE {path}"), "", b"", POST_TIMEOUT)
}

/// Tells `HOST:PORT` something that changes it.
fn tell(
    address: &str,
    line: &str,
    headers: &str,
    body: &[u8],
    timeout: Duration,
) -> Result<Value, Failure> {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    let head = format!("{line} HTTP/1.0\r\n{headers}{kind}Content-Length: {length}\r\n");
    let answer = exchange(address, &head, body, timeout).map_err(|lost| match lost {
        Lost::Unanswered(error) => Failure::new(
            exit::UNKNOWN,
            format!(
                "{address} was asked and did not answer ({error}): it is unknown whether it was \
                 done"
            ),
        ),
        lost => lost.failure(address),
    })?;
    answer.value()
}

/// Why there is no answer.
#[derive(Debug)]
enum Lost {
    /// The request did not leave whole.
    Unsent(io::Error),
    /// It did, and no whole answer came back.
    Unanswered(io::Error),
    /// What came back is no HTTP.
    Foreign,
}

impl Lost {
    /// Of a request that changes nothing.
    fn failure(&self, address: &str) -> Failure {
        let reason = match self {
            Self::Foreign => {
                let message = format!("{address} does not speak HTTP; set --http");
                return Failure::new(exit::REFUSED, message);
            }
            Self::Unsent(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "refused".to_owned()
            }
            Self::Unsent(error) | Self::Unanswered(error) => error.to_string(),
        };
        let message = format!(
            "cannot reach {address} ({reason}). Start a server with 'rekindle serve', or set --http"
        );
        Failure::new(exit::UNREACHABLE, message)
    }
}

fn exchange(address: &str, head: &str, body: &[u8], timeout: Duration) -> Result<Answer, Lost> {
    let mut stream = connect(address).map_err(Lost::Unsent)?;
    let send = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        // Version 1.0: the server answers in one piece and closes.
        write!(stream, "{head}Host: {address}\r\nAccept: application/json\r\n\r\n")?;
        stream.write_all(body)
    };
    let sent = send(&mut stream);
    let mut bytes = Vec::new();
    let received = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
    // A server may refuse before it has read everything: then its answer counts, not the rest.
    match (parse(address, &bytes), sent, received) {
        (Parsed::Whole(answer), _, _) => Ok(answer),
        (_, Err(error), _) => Err(Lost::Unsent(error)),
        (_, Ok(()), Err(error)) => Err(Lost::Unanswered(error)),
        (Parsed::Foreign, Ok(()), Ok(_)) if !bytes.is_empty() => Err(Lost::Foreign),
        (_, Ok(()), Ok(_)) => Err(Lost::Unanswered(io::ErrorKind::UnexpectedEof.into())),
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Whole(Answer),
    /// It ends before its end.
    Part,
    /// It is no HTTP.
    Foreign,
}

fn parse(address: &str, bytes: &[u8]) -> Parsed {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        let begins = bytes.starts_with(b"HTTP/1.");
        return if begins { Parsed::Part } else { Parsed::Foreign };
    };
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).unwrap_or("");
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or("").split(' ');
    let version = words.next().unwrap_or("");
    let Some(status) = words.next().and_then(|status| status.parse().ok()) else {
        return Parsed::Foreign;
    };
    if !version.starts_with("HTTP/1.") {
        return Parsed::Foreign;
    }
    let body = bytes.get(end + 4..).unwrap_or_default().to_vec();
    let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        let found = name.eq_ignore_ascii_case("content-length");
        found.then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    if length.is_some_and(|length| length != body.len()) {
        return Parsed::Part;
    }
    Parsed::Whole(Answer { address: address.to_owned(), status, body })
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
