//! A relay in front of a server that dies again and again: it asks again what was not begun, counts
//! what is answered, and says what may not be.
//!
//! Invariants: a request is given to a server once, unless its method may be repeated; where the
//! outcome is not known the caller hears so (503 `unknown`); everything else is the server's word.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::harness::DEADLINE;

/// What went through a relay.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answers by status; 0: of a server that died over it.
    pub statuses: BTreeMap<u16, u64>,
    /// 5xx that are not 503 or 507, with the requests.
    pub wrong: Vec<String>,
}

/// Where it listens, and what it counted so far.
pub struct Relay {
    pub address: SocketAddr,
    tally: Arc<Mutex<Tally>>,
}

/// One message of HTTP/1.1 as bytes.
#[derive(Default)]
struct Message {
    head: String,
    bytes: Vec<u8>,
    head_len: usize,
}

impl Relay {
    /// To this server; it goes on for as long as the process.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let tally = Arc::<Mutex<Tally>>::default();
        let counted = Arc::clone(&tally);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, tally) = (client.unwrap(), Arc::clone(&counted));
                std::thread::spawn(move || relay(client, server, &tally));
            }
        });
        Self { address, tally }
    }

    /// What it counted.
    pub fn tally(&self) -> Tally {
        std::mem::take(&mut self.tally.lock().unwrap())
    }
}

impl Message {
    /// Reads one; none where the other side ends before it is whole. `bare`: it has no body.
    fn read(stream: &mut TcpStream, bare: bool) -> Option<Self> {
        let (mut message, mut buffer) = (Self::default(), vec![0; 64 << 10]);
        loop {
            if message.is_whole(bare) {
                return Some(message);
            }
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => message.add(&buffer[..count]),
                _ => return None,
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.head_len == 0 {
            let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n");
            self.head_len = end.map_or(0, |at| at + 4);
            self.head = String::from_utf8_lossy(&self.bytes[..self.head_len]).into_owned();
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    fn is_whole(&self, bare: bool) -> bool {
        if self.head_len == 0 {
            return false;
        }
        if bare {
            return true;
        }
        let chunked = self.header("transfer-encoding").is_some_and(|it| it.contains("chunked"));
        if chunked {
            return self.bytes.ends_with(b"0\r\n\r\n");
        }
        let body: usize = self.header("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
        self.bytes.len() >= self.head_len + body
    }

    fn word(&self, at: usize) -> &str {
        self.head.split(' ').nth(at).unwrap_or("")
    }

    /// The same, over a connection of its own.
    fn alone(&self) -> Vec<u8> {
        let head = &self.bytes[..self.head_len - 2];
        let mut bytes = Vec::new();
        for line in head.split_inclusive(|byte| *byte == b'\n') {
            if !line.to_ascii_lowercase().starts_with(b"connection:") {
                bytes.extend_from_slice(line);
            }
        }
        bytes.extend_from_slice(b"Connection: close\r\n\r\n");
        bytes.extend_from_slice(&self.bytes[self.head_len..]);
        bytes
    }
}

fn relay(mut client: TcpStream, server: SocketAddr, tally: &Mutex<Tally>) {
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let Some(request) = Message::read(&mut client, false) else { return };
    let method = request.word(0).to_owned();
    let began = Instant::now();
    let answer = loop {
        assert!(began.elapsed() < 3 * DEADLINE, "no server: {}", request.head);
        // Nobody is there yet: ask again.
        let Ok(stream) = TcpStream::connect(server) else {
            std::thread::yield_now();
            continue;
        };
        match ask(stream, &request, &method) {
            Some(answer) => break Some(answer),
            None if method == "POST" => break None,
            None => count(tally, 0),
        }
    };
    let Some(answer) = answer else {
        count(tally, 0);
        let _ = client.write_all(&nobody_knows());
        return;
    };
    let status = answer.word(1).parse().unwrap_or(0);
    count(tally, status);
    if status >= 500 && ![503, 507].contains(&status) {
        let said = String::from_utf8_lossy(&answer.bytes).into_owned();
        let asked = String::from_utf8_lossy(&request.bytes).into_owned();
        tally.lock().unwrap().wrong.push(format!("{asked}\n{said}"));
    }
    let _ = client.write_all(&answer.bytes);
}

fn count(tally: &Mutex<Tally>, status: u16) {
    *tally.lock().unwrap().statuses.entry(status).or_default() += 1;
}

/// The answer, unless the server died over it.
fn ask(mut stream: TcpStream, request: &Message, method: &str) -> Option<Message> {
    stream.set_read_timeout(Some(3 * DEADLINE)).unwrap();
    // A server may answer before it has read everything.
    let _ = stream.write_all(&request.alone());
    Message::read(&mut stream, method == "HEAD")
}

/// What a caller knows whose server died.
fn nobody_knows() -> Vec<u8> {
    let detail = "the server died";
    let body = serde_json::json!({
        "type": "/ui/api#unknown", "title": "Unknown", "status": 503, "detail": detail,
        "code": "unknown", "action": "ask", "error": detail,
    });
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}
