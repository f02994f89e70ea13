//! A client of HTTP for one thread: one connection that stays open, one request at a time.
//!
//! Invariant: it does no more than a load needs, so that the figures are the server's: the client
//! shares the machine with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// The most bytes that an answer's body may have.
const BODY_BYTES_MAX: usize = 64 << 20;

/// An open connection.
#[derive(Debug)]
pub(crate) struct Http {
    connection: BufReader<TcpStream>,
    address: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Http {
    /// Connects to this host and port.
    pub(crate) fn connect(address: &str) -> Result<Self, String> {
        let connection = TcpStream::connect(address).map_err(|error| error.to_string())?;
        connection.set_nodelay(true).map_err(|error| error.to_string())?;
        let connection = BufReader::with_capacity(64 << 10, connection);
        Ok(Self { connection, address: address.to_owned(), request: vec![], answer: vec![] })
    }

    /// A request with a body of JSON; the answer's body, which says that it was done.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &str) -> Result<&str, String> {
        let said = self.exchange(method, path, body).map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&self.answer).map_err(|error| error.to_string())?;
        match said {
            200..=299 => Ok(text),
            status => Err(format!("{method} {path}: {status}: {text}")),
        }
    }

    fn exchange(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<u16> {
        self.request.clear();
        write!(
            self.request,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        self.connection.get_mut().write_all(&self.request)?;
        let broken = |what: &str| std::io::Error::other(format!("an answer {what}"));
        let mut line = String::new();
        self.connection.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| broken("without a status"))?;
        let mut length = None;
        loop {
            line.clear();
            self.connection.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
        }
        let length = length.filter(|bytes| *bytes <= BODY_BYTES_MAX);
        self.answer.resize(length.ok_or_else(|| broken("of no or of too great a length"))?, 0);
        self.connection.read_exact(&mut self.answer)?;
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_one_after_the_other() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client comes");
            for answer in [
                "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}",
                "HTTP/1.1 409 Conflict\r\nContent-Length: 6\r\nX: y\r\n\r\nfenced",
            ] {
                let mut request = [0; 4_096];
                let read = socket.read(&mut request).expect("a request comes");
                assert!(request[..read].ends_with(b"\r\n\r\n{\"a\":1}"));
                socket.write_all(answer.as_bytes()).expect("the client listens");
            }
        });
        let mut http = Http::connect(&address).expect("somebody listens");
        assert_eq!(http.call("POST", "/a", r#"{"a":1}"#), Ok("{}"));
        let refused = http.call("POST", "/b", r#"{"a":1}"#);
        assert_eq!(refused, Err("POST /b: 409: fenced".to_owned()));
        server.join().expect("the server saw what it expected");
    }
}
