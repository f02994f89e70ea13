//! A walk of the HTTP side: every route with odd methods, paths, parameters, headers and bodies,
//! each by itself and then mixed by chance.
//!
//! Whatever is asked: never a 5xx but 503 and 507, a problem where it refuses (or a page, where a
//! person asks), and a server that goes on as if nothing had been.

use std::path::Path;

use rekindle::front::http::body::Takes;
use rekindle::front::http::table::{ROUTES, Route};
use rekindle::front::ui;
use serde_json::Value;

use super::asking::{Ask, Walk};
use super::harness::{Server, block_on, bodies, create, receive_all, send};
use super::server_damage::killed_store;
use super::server_recovery_mode::{Limited, damage};

const METHODS: [&str; 11] =
    ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "get"];

/// In the place of a parameter of the path.
const PARTS: [&str; 26] = [
    "",
    "0",
    "1",
    "-1",
    "+1",
    "1.5",
    "1e9",
    "18446744073709551615",
    "18446744073709551616",
    "q",
    "m1",
    "latest",
    "approve",
    "corruption_found",
    "%00",
    "%FF",
    "%C3%28",
    "%ED%A0%80",
    "%F0%9F%92%A9",
    ".",
    "..",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "a/b",
    "%",
    "%zz",
    "'%22%3Cscript%3E",
];

/// In the place of the value of a parameter.
const VALUES: [&str; 16] = [
    "",
    "0",
    "1",
    "-1",
    "1000000",
    "18446744073709551615",
    "18446744073709551616",
    "0x10",
    "1e3",
    "%00",
    "%FF",
    "%F0%9F%92%A9",
    "null",
    "m1",
    "x&x=y",
    "%3Cscript%3E",
];

const NAMES: [&str; 18] = [
    "after",
    "limit",
    "before",
    "n",
    "number",
    "name",
    "id",
    "decided",
    "screen",
    "%FF",
    "prefix",
    "cursor",
    "encoding",
    "at_version",
    "if_version",
    "reverse",
    "type",
    "tenant",
];

/// Bodies, where one is taken: none of them does anything.
const BODIES: [&str; 30] = [
    "",
    " ",
    "{}",
    "[]",
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "\"text\"",
    "{",
    "{\"reason\":",
    "{\"reason\":\"\"}",
    "{\"reason\":1}",
    "{\"reason\":null,\"by\":[]}",
    "{\"unknown\":\"field\"}",
    "{\"to\":\"relative\"}",
    "{\"to\":\"\"}",
    "{\"accept_loss\":[\"9..1\"],\"reason\":\"x\"}",
    "{\"accept_loss\":[\"1..18446744073709551616\"],\"reason\":\"x\"}",
    "{\"export\":\"relative\\u0000\"}",
    "{\"name\":\"\"}",
    "{\"name\":\"a/b\",\"visibility_ms\":0}",
    "{\"messages\":[]}",
    "{\"messages\":{},\"body\":1}",
    "{\"body\":\"x\",\"body_base64\":\"eA==\"}",
    "{\"tokens\":[\"t\",\"\",\"t0\"]}",
    "{\"max\":0,\"wait_ms\":60001}",
    "{\"value\":\"x\",\"if_version\":0}",
    "token=x&reason=y&decision=retry&token=z",
];

const TYPES: [&str; 6] = [
    "application/json",
    "APPLICATION/JSON; charset=latin-1",
    "application/x-www-form-urlencoded",
    "text/plain",
    "",
    "application/json, text/html",
];

/// A queue that no request of the walk names, for some of them delete what they name.
const KEPT: &str = "kept-all-the-while";

/// All routes.
fn routes() -> Vec<&'static Route> {
    ROUTES.iter().chain(ui::ROUTES).collect()
}

/// The path of a route with this in the place of each parameter.
fn path_with(route: &Route, part: &str) -> String {
    let mut path = String::new();
    for piece in route.path().split_inclusive('/') {
        match piece.starts_with('{') {
            true => {
                path.push_str(&format!("{part}{}", if piece.ends_with('/') { "/" } else { "" }))
            }
            false => path.push_str(piece),
        }
    }
    path
}

/// What is odd about a request whatever its route is.
fn odd_heads(path: &str) -> Vec<Ask> {
    let get = || Ask::new("GET", path);
    vec![
        get().header("Accept", "image/png"),
        get().header("Accept-Encoding", "gzip, br, zstd"),
        get().header("Range", "bytes=0-0,9-1"),
        get().header("If-None-Match", "*").header("If-Modified-Since", "never"),
        get().header("Cookie", [0xff, 0xfe, b'=', 0x80]),
        get().header("Last-Event-ID", "18446744073709551616"),
        get().header("X-Long", "x".repeat(8_000)),
        get().header("Upgrade", "h2c").header("Transfer-Encoding", "identity"),
        get().header("Content-Length", "-1"),
        get().header("Content-Length", "18446744073709551616"),
        get().header("Origin", "null"),
        get().header("Origin", [0xff]),
        get().header("Host", "localhost"),
        get().body("application/json", "{}"),
    ]
}

/// Each route with each oddity by itself.
fn systematically(walk: &mut Walk) {
    for route in routes() {
        let own = route.method().to_string();
        let plain = path_with(route, "1");
        for method in METHODS {
            walk.step(&Ask::new(method, plain.clone()));
        }
        for part in PARTS.map(str::to_owned).into_iter().chain(["x".repeat(300), "x".repeat(9_000)])
        {
            let path = path_with(route, &part);
            walk.step(&Ask::new(&own, path.clone()));
            walk.step(&Ask::new(&own, format!("{path}/")));
        }
        for name in NAMES {
            for value in VALUES {
                walk.step(&Ask::new(&own, format!("{plain}?{name}={value}")));
            }
        }
        for query in ["?", "?&&&==", "?limit", "?limit=1&limit=2", "?%", "?%zz=%", "?=&=", "?a#b"] {
            walk.step(&Ask::new(&own, format!("{plain}{query}")));
        }
        walk.step(&Ask::new(&own, format!("{plain}?{}", "a=b&".repeat(2_000))));
        walk.step(&Ask::new(&own, [plain.as_bytes(), &[0xc3, 0x28]].concat()));
        for ask in odd_heads(&plain) {
            walk.step(&ask);
        }
        walk.is_alive();
    }
}

/// Each route that takes a body with each that does nothing.
fn with_bodies(walk: &mut Walk) {
    let deep = |open: &str, depth: usize| format!("{{\"reason\":{}", open.repeat(depth));
    let mut all: Vec<Vec<u8>> = BODIES.iter().map(|body| body.as_bytes().to_vec()).collect();
    all.push(deep("[", 20_000).into_bytes());
    all.push(deep("{\"a\":", 10_000).into_bytes());
    all.push(format!("{{\"reason\":\"{}\"}}", "x".repeat(60_000)).into_bytes());
    all.push(vec![b'x'; 65 << 10]);
    all.push(vec![b'['; 1 << 20]);
    all.push(vec![0; 100]);
    // Places where nobody can write.
    for place in
        ["/dev/null/x", "/dev/null", "/proc/no\\u0000such", &format!("/{}", "x".repeat(5_000))]
    {
        for field in ["to", "export"] {
            all.push(format!("{{\"{field}\":\"{place}\"}}").into_bytes());
        }
    }
    all.push(b"{\"reason\":\"\xff\xfe\",\"by\":\"\xc3\"}".to_vec());
    all.push(b"{\"reason\":\"x\",\"reason\":\"y\"}".to_vec());
    for route in routes().into_iter().filter(|route| route.takes() != Takes::Nothing) {
        let own = route.method().to_string();
        for part in ["1", "m1", "corruption_found"] {
            let path = path_with(route, part);
            for body in &all {
                for media_type in TYPES {
                    walk.step(&Ask::new(&own, path.clone()).body(media_type, body.clone()));
                }
            }
            let chunked = |body: &str| {
                let ask = Ask::new(&own, path.clone());
                let ask = ask.header("Content-Type", "application/json");
                let mut ask = ask.header("Transfer-Encoding", "chunked");
                ask.body = body.as_bytes().to_vec();
                ask
            };
            walk.step(&chunked("2\r\n{}\r\n0\r\n\r\n"));
            walk.step(&chunked("0\r\n\r\n"));
        }
        walk.is_alive();
    }
}

/// Numbers by chance, the same for the same seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Percent-encoded bytes, or one of the odd parts.
    fn part(&mut self) -> String {
        if self.below(2) == 0 {
            return (*self.one(&PARTS)).to_owned();
        }
        let len = self.below(40);
        (0..len).map(|_| format!("%{:02X}", self.next() as u8)).collect()
    }

    /// Text of any characters, which names no place: it never begins with a slash.
    fn text(&mut self) -> String {
        let len = self.below(60);
        let any = (0..len).map(|_| char::from_u32(self.next() as u32 % 0x11_0000).unwrap_or('\0'));
        format!("x{}", any.collect::<String>())
    }

    /// JSON of fields that are known and values of any kind.
    fn json(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 5 } else { 7 }) {
            0 => Value::Null,
            1 => Value::Bool(self.next() & 1 == 0),
            2 => Value::from(self.next()),
            3 => Value::from(-(self.below(1_000) as i64)),
            4 => Value::from(self.text()),
            5 => (0..self.below(5)).map(|_| self.json(depth - 1)).collect(),
            _ => {
                let fields = [
                    "reason",
                    "by",
                    "to",
                    "accept_loss",
                    "export",
                    "token",
                    "x",
                    "name",
                    "body",
                    "headers",
                    "messages",
                    "max",
                    "tokens",
                    "value",
                    "if_version",
                ];
                let count = self.below(5);
                let field =
                    |chance: &mut Self| ((*chance.one(&fields)).to_owned(), chance.json(depth - 1));
                Value::Object((0..count).map(|_| field(self)).collect())
            }
        }
    }

    fn ask(&mut self, routes: &[&Route]) -> Ask {
        let route = *self.one(routes);
        let mut target = path_with(route, &self.part()).into_bytes();
        for number in 0..self.below(4) {
            target.push(if number == 0 { b'?' } else { b'&' });
            let value = self.part();
            target.extend_from_slice(format!("{}={value}", self.one(&NAMES)).as_bytes());
        }
        let own = route.method().to_string();
        let method = if self.below(4) == 0 { *self.one(&METHODS) } else { &own };
        let mut ask = Ask::new(method, target);
        for _ in 0..self.below(3) {
            let name = *self.one(&["Accept", "Cookie", "X-Any", "Range", "Origin", "TE"]);
            let mut value: Vec<u8> = (0..self.below(30)).map(|_| self.next() as u8).collect();
            // These end a header or a request, which is another one then.
            value.retain(|byte| ![b'\r', b'\n', 0].contains(byte));
            ask = ask.header(name, value);
        }
        if route.takes() == Takes::Nothing && self.below(4) > 0 {
            return ask;
        }
        let body = self.json(4).to_string();
        let cut = if self.below(4) == 0 { self.below(body.len() + 1) } else { body.len() };
        let media_type = if self.below(3) > 0 { TYPES[0] } else { *self.one(&TYPES) };
        ask.body(media_type, &body.as_bytes()[..cut])
    }
}

fn by_chance(walk: &mut Walk, seed: u64, steps: u32) {
    let (mut chance, routes) = (Chance(seed), routes());
    for step in 0..steps {
        let ask = chance.ask(&routes);
        let shown = || println!("seed {seed}, step {step}:\n{}", ask.shown());
        let told = std::panic::AssertUnwindSafe(|| walk.step(&ask));
        if let Err(panic) = std::panic::catch_unwind(told) {
            shown();
            std::panic::resume_unwind(panic);
        }
    }
    walk.is_alive();
}

fn seed() -> u64 {
    std::env::var("REKINDLE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5EED)
}

fn files_beside(data: &Path) -> usize {
    std::fs::read_dir(data.parent().unwrap()).unwrap().count()
}

/// A server that serves: nothing that is asked over HTTP brings it out of step, and what was sent
/// before is there afterwards.
///
/// proves: L12
#[test]
fn no_request_brings_the_http_side_out_of_step() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("store");
    let server = Server::start(&data);
    let sent: Vec<String> = (0..20).map(|number| format!("message {number}")).collect();
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, KEPT).await;
        send(&mut queues, KEPT, &sent).await;
    });
    let mut walk = Walk::new(server.http);
    systematically(&mut walk);
    with_bodies(&mut walk);
    by_chance(&mut walk, seed(), 2_000);
    println!("{} requests", walk.asked);
    assert_eq!(files_beside(&data), 1, "nothing was written beside the store");
    let kept = block_on(async { receive_all(&mut server.queues().await, KEPT).await });
    assert_eq!(bodies(&kept), sent);
    assert_eq!(
        server.get("/healthz").json()["system_health"]["reasons"].as_array().map(Vec::len),
        Some(0)
    );
    assert_eq!(server.stop(), 0);
}

/// The same in recovery mode on a damaged store, where most routes say that they are not served.
#[test]
fn no_request_brings_recovery_mode_out_of_step() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("store");
    killed_store(&data);
    damage(&data);
    let limited = Limited::start(&data);
    let before = limited.look();
    let mut walk = Walk::new(limited.http);
    with_bodies(&mut walk);
    by_chance(&mut walk, seed().wrapping_add(1), 2_000);
    assert_eq!(limited.look(), before, "nothing was decided");
    assert_eq!(files_beside(&data), 1, "nothing was written beside the store");
    assert_eq!(limited.stop(), 0);
}

/// A part of a path that is no text is refused as JSON like everything else, and as a page where a
/// person asks.
#[test]
fn a_path_that_is_no_text_is_refused_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let answer = server.get("/v1/queues/%FF");
    assert_eq!(answer.status, 400);
    assert!(answer.json()["error"].as_str().unwrap().contains("UTF-8"), "{}", answer.body);
    let page = server.get("/ui/queues/%FF");
    assert_eq!(page.status, 400);
    assert!(page.head.contains("text/html"), "{}", page.head);
    assert_eq!(server.stop(), 0);
}
