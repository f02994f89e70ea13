//! GET, for the admin side of a server: one request per connection, bounded in time and size.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use rekindle_recovery::exit;

use super::failure::Failure;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Above any answer of the admin side.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// An answer: status and body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Asks `HOST:PORT` for a path.
pub(super) fn get(address: &str, path: &str) -> Result<Answer, Failure> {
    let bytes = exchange(address, path).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::ConnectionRefused => "refused".to_owned(),
            _ => error.to_string(),
        };
        Failure::new(
            exit::UNREACHABLE,
            format!(
                "cannot reach {address} ({reason}). Start a server with 'rekindle serve', or set \
                 --http"
            ),
        )
    })?;
    parse(&bytes).ok_or_else(|| {
        Failure::new(exit::REFUSED, format!("{address} does not speak HTTP; set --http"))
    })
}

fn exchange(address: &str, path: &str) -> io::Result<Vec<u8>> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, TIMEOUT) {
            Ok(stream) => return ask(stream, address, path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask(mut stream: TcpStream, host: &str, path: &str) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // Version 1.0: the server answers in one piece and closes.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let mut words = head.lines().next()?.split(' ');
    let version = words.next()?;
    let status = words.next()?.parse().ok()?;
    version
        .starts_with("HTTP/1.")
        .then(|| Answer { status, body: bytes.get(end + 4..).unwrap_or_default().to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = parse(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n{}\r\n\r\n");
        assert_eq!(answer, Some(Answer { status: 503, body: b"{}\r\n\r\n".to_vec() }));
        assert_eq!(parse(b"SSH-2.0-x\r\n\r\n"), None);
        assert_eq!(parse(b"HTTP/1.1"), None);
        assert_eq!(parse(b""), None);
    }
}
