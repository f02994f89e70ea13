//! Requests as bytes, right or wrong, and what every answer to one must be.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde_json::Value;

use super::harness::DEADLINE;

/// An answer.
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn is(&self, media_type: &str) -> bool {
        let head = self.head.to_ascii_lowercase();
        head.contains(&format!("content-type: {media_type}"))
    }
}

/// One request, as bytes: what stands in it need not be right.
pub struct Ask {
    method: String,
    target: Vec<u8>,
    headers: Vec<u8>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn new(method: &str, target: impl Into<Vec<u8>>) -> Self {
        let (method, target) = (method.to_owned(), target.into());
        Self { method, target, headers: vec![], body: vec![] }
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.extend_from_slice(name.as_bytes());
        self.headers.extend_from_slice(b": ");
        self.headers.extend_from_slice(value.as_ref());
        self.headers.extend_from_slice(b"\r\n");
        self
    }

    pub fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let len = self.body.len().to_string();
        self.header("Content-Type", media_type).header("Content-Length", len)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} ", self.method).into_bytes();
        bytes.extend_from_slice(&self.target);
        bytes.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        bytes.extend_from_slice(&self.headers);
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    pub fn shown(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes()).into_owned();
        let end = text.char_indices().nth(2_000).map_or(text.len(), |(at, _)| at);
        text.truncate(end);
        text
    }
}

/// Who walks.
pub struct Walk {
    address: SocketAddr,
    pub asked: u64,
}

impl Walk {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, asked: 0 }
    }

    /// Asks; `None` where the connection was closed instead.
    fn reply(&self, ask: &Ask) -> Option<Reply> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // Who is refused early need not be read to the end.
        let _ = stream.write_all(&ask.bytes());
        let (mut bytes, mut chunk) = (Vec::new(), [0; 16_384]);
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => bytes.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("no answer ({error}) to {}", ask.shown()),
            }
            // Events go on for as long as somebody listens.
            let head = bytes.windows(4).position(|it| it == b"\r\n\r\n").unwrap_or(0);
            if String::from_utf8_lossy(&bytes[..head]).contains("text/event-stream") {
                let _ = stream.shutdown(Shutdown::Both);
                break;
            }
        }
        let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Reply { status, head, body: bytes[end + 4..].to_vec() })
    }

    /// Asks, and the answer must be one that is documented.
    pub fn step(&mut self, ask: &Ask) -> u16 {
        self.asked += 1;
        let Some(reply) = self.reply(ask) else { panic!("no answer to {}", ask.shown()) };
        let said = || {
            let body = String::from_utf8_lossy(&reply.body);
            format!("{}\n{body}\nis the answer to\n{}", reply.head, ask.shown())
        };
        let Reply { status, .. } = reply;
        assert!(status < 500 || [503, 507].contains(&status), "{}", said());
        if reply.is("application/problem+json") || reply.is("application/json") {
            if ask.method == "HEAD" {
                assert!(reply.body.is_empty(), "{}", said());
                return status;
            }
            let value: Value =
                serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{}", said()));
            let told = |name: &str| value[name].as_str().is_some_and(|text| !text.is_empty());
            let refused = ["type", "title", "detail", "code", "action", "error"].map(told);
            let refused = refused == [true; 6] && value["status"] == status;
            assert_eq!(refused, reply.is("application/problem+json"), "{}", said());
            // `/healthz` tells how it stands, whatever that is.
            let tells = status == 503 && value["system_health"].is_object();
            assert_eq!(status >= 400, refused || tells, "{}", said());
        } else if status >= 400 {
            let path = String::from_utf8_lossy(&ask.target).into_owned();
            let path = path.split('?').next().unwrap();
            let page = reply.is("text/html") && (path == "/" || path.starts_with("/ui"));
            // The protocol itself: what is no request has no path, and so no route.
            let no_request = reply.body.is_empty() && [400, 414, 431].contains(&status);
            assert!(page || no_request, "{}", said());
        }
        status
    }

    pub fn is_alive(&mut self) {
        assert_eq!(self.step(&Ask::new("GET", "/livez")), 200);
    }
}
