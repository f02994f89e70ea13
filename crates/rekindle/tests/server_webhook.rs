//! Jobs by a webhook: what is sent, how it is signed, and what an answer means.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rekindle_recovery::exit;
use serde_json::json;
use sha2::Sha256;

use super::executor_harness::{Works, causes, finished, hurry, show, submit, until};
use super::harness::{DEADLINE, Server};

const SECRET: [u8; 32] = *b"thirty-two bytes of a test's own";

/// Somebody who takes posts.
struct Receiver {
    listener: TcpListener,
}

/// One request.
struct Request {
    socket: TcpStream,
    head: String,
    body: String,
}

impl Receiver {
    fn take(&self) -> Request {
        let (mut socket, _) = self.listener.accept().unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4_096];
        loop {
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length: usize = header(head, "content-length").parse().unwrap();
                if body.len() >= length {
                    let (head, body) = (head.to_owned(), body.to_owned());
                    return Request { socket, head, body };
                }
            }
            let read = socket.read(&mut buffer).unwrap();
            assert!(read > 0, "the request ended early: {text}");
            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
    }
}

impl Request {
    fn header(&self, name: &str) -> &str {
        header(&self.head, name)
    }

    fn answer(mut self, head: &str, body: &str) {
        let length = body.len();
        let text = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}");
        // Whoever reads only a part of it goes away before the end.
        let _ = self.socket.write_all(text.as_bytes());
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let named = head.lines().filter_map(|line| line.split_once(": "));
    let mut found = named.filter(|(other, _)| other.eq_ignore_ascii_case(name));
    found.next().unwrap_or_else(|| panic!("no {name} in {head}")).1
}

/// A server whose jobs of type `t` are posted.
fn posting(more: &str) -> (Works, Receiver, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    let works = Works::with(|dir| {
        let secret = dir.at("secret");
        std::fs::write(&secret, format!("whsec_{}\n", STANDARD.encode(SECRET))).unwrap();
        config(&secret, &place.to_string(), more)
    });
    let server = works.start();
    hurry(&server, "t");
    (works, Receiver { listener }, server)
}

fn config(secret: &Path, place: &str, more: &str) -> String {
    let secret = secret.display();
    format!(
        "[executors.webhook.t]\n\
         url = \"http://{place}/in?a=b\"\n\
         secret_file = \"{secret}\"\n\
         {more}\n"
    )
}

/// The payload is posted with its id, attempt and signature; the answer is the result; a refusal is
/// an error, and is posted again under the same id.
///
/// proves: J10
#[test]
fn a_job_is_posted_until_it_is_taken() {
    let (_works, receiver, server) = posting("");
    let id = submit(&server, "t", json!({ "to": "ada" }));
    let request = receiver.take();
    assert!(request.head.starts_with("POST /in?a=b HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.body, r#"{"to":"ada"}"#);
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("webhook-id"), id);
    assert_eq!(request.header("rekindle-job-type"), "t");
    assert_eq!(request.header("rekindle-job-attempt"), "1");
    let at = request.header("webhook-timestamp");
    let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET).unwrap();
    mac.update(format!("{id}.{at}.{}", request.body).as_bytes());
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(request.header("webhook-signature"), signature);
    request.answer("503 Busy\r\nRetry-After: 0", "not now");
    let request = receiver.take();
    assert_eq!((request.header("webhook-id"), request.header("rekindle-job-attempt")), (&*id, "2"));
    assert_eq!(show(&server, &id)["last_error"], "status 503: not now");
    // Whoever is sent elsewhere does not go there.
    request.answer("302 Found\r\nLocation: http://127.0.0.1:1/", "");
    receiver.take().answer("200 OK", &"x".repeat((1 << 20) + 1));
    let request = receiver.take();
    let error = "the answer has more than 1048576 bytes";
    assert_eq!(show(&server, &id)["last_error"], error);
    request.answer("201 Created", r#"{"width":80}"#);
    let job = finished(&server, &id);
    assert_eq!((&job["status"], &job["result"]), (&json!("completed"), &json!({ "width": 80 })));
    assert_eq!(causes(&job), ["failed"; 3]);
    assert_eq!(server.stop(), exit::CLEAN);
}

/// Nobody there, no answer in time, a server that ends or dies meanwhile.
///
/// proves: J7
#[test]
fn a_post_is_bounded_and_ends_with_the_server() {
    let (works, receiver, server) = posting("time_limit = \"200ms\"");
    let id = submit(&server, "t", json!(1));
    let silent = receiver.take();
    let request = receiver.take();
    assert_eq!(show(&server, &id)["last_error"], "no answer within 200ms");
    drop(silent);
    request.answer("200 OK", "");
    finished(&server, &id);
    assert_eq!(server.stop(), exit::CLEAN);
    let (_, receiver, server) = {
        let place = receiver.listener.local_addr().unwrap().to_string();
        let secret = works.data().parent().unwrap().join("secret");
        let config_file = works.data().parent().unwrap().join("rekindle.toml");
        std::fs::write(config_file, config(&secret, &place, "")).unwrap();
        ((), receiver, works.start())
    };
    let id = submit(&server, "t", json!(2));
    let _silent = receiver.take();
    server.kill();
    let server = works.start();
    let again = receiver.take();
    assert_eq!(again.header("rekindle-job-attempt"), "2");
    let job = until(&server, &id, |job| job["attempts"] == 2);
    assert_eq!(causes(&job), ["server_crash"]);
    again.answer("200 OK", "done");
    assert_eq!(finished(&server, &id)["result"], "done");
}
