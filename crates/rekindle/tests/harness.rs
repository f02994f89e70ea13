//! The real binary in a temporary directory: started, talked to, ended.
//!
//! Invariants: ports are chosen by the system; waiting is for an event with a deadline; a server
//! that a test forgets is killed when the test ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rekindle_wire::v1::queues_client::QueuesClient;
use rekindle_wire::v1::{self, Message, QueueDefinition};
use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::Channel;

/// Longest wait for anything that must happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The command `rekindle` with these arguments and none of the caller's settings.
pub fn rekindle(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekindle"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REKINDLE") {
            command.env_remove(name);
        }
    }
    // The whole suite on another engine (docs/testing.md).
    if let Some(engine) = std::env::var_os("REKINDLE_TEST_ENGINE") {
        command.env("REKINDLE__ENGINE__KIND", engine);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(arguments: &[&str]) -> Output {
    rekindle(arguments).output().unwrap()
}

/// `serve` on this directory with free ports, not yet started.
pub fn serve(data: &Path, more: &[&str]) -> Command {
    let mut command = rekindle(&["serve"]);
    command.arg("--data").arg(data);
    command.args(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]).args(more);
    command
}

/// Copies a directory with everything in it, as an administrator does.
pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// Runs a start that must be refused; gives its exit code and what it said.
pub fn refused(mut command: Command) -> (i32, String) {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut server = Dropped(child);
    let status = wait(&mut server.0);
    let mut text = String::new();
    server.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (status.code().unwrap(), text)
}

/// Kills what a failed test leaves.
pub struct Dropped(pub Child);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running server that said it is ready.
pub struct Server {
    child: Dropped,
    /// What it printed when it was ready.
    pub announced: String,
    /// Where gRPC is.
    pub grpc: SocketAddr,
    /// Where HTTP is.
    pub http: SocketAddr,
}

impl Server {
    /// Starts on this directory and waits until it is ready.
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// The same with more arguments.
    pub fn start_with(data: &Path, more: &[&str]) -> Self {
        Self::spawn(serve(data, more))
    }

    /// Starts this command and waits until it is ready.
    pub fn spawn(command: Command) -> Self {
        Self::spawn_logging(command, Stdio::null())
    }

    /// The same, with its log.
    pub fn spawn_logging(mut command: Command, log: Stdio) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut child = Dropped(child);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let (mut announced, mut places) = (String::new(), BTreeMap::new());
        // The lines end with `next:`, or with the process when it does not become ready.
        while let Some(Ok(line)) = lines.next() {
            announced.push_str(&line);
            announced.push('\n');
            if let Some((word, rest)) = line.split_once(':') {
                places
                    .insert(word.to_owned(), rest.trim().trim_start_matches("http://").to_owned());
            }
            if line.starts_with("next:") {
                break;
            }
        }
        let place = |word: &str| -> SocketAddr {
            let place = places.get(word).unwrap_or_else(|| panic!("no {word} in {announced:?}"));
            place.parse().unwrap()
        };
        let (grpc, http) = (place("grpc"), place("http"));
        Self { child, announced, grpc, http }
    }

    /// SIGKILL, and waits for its end. It must not have ended before: a panic of any thread is an
    /// end with 70.
    pub fn kill(mut self) {
        let before = self.child.0.try_wait().unwrap();
        assert_eq!(before, None, "the server ended by itself");
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    /// The most memory that it ever had, in bytes.
    pub fn memory_bytes_max(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.0.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib << 10
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child.0), signal).unwrap();
    }

    /// Waits for its end by itself.
    pub fn ended(&mut self) -> ExitStatus {
        wait(&mut self.child.0)
    }

    /// SIGTERM; gives the exit code.
    pub fn stop(mut self) -> i32 {
        self.signal(Signal::TERM);
        self.ended().code().unwrap()
    }

    /// A GET of the HTTP front.
    pub fn get(&self, path: &str) -> Answer {
        get(self.http, path, &[("Host", &self.http.to_string())]).unwrap()
    }

    /// A client of the gRPC front.
    pub async fn queues(&self) -> QueuesClient<Channel> {
        QueuesClient::connect(format!("http://{}", self.grpc)).await.unwrap()
    }
}

/// Waits for a process, with a deadline.
pub fn wait(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(began.elapsed() < DEADLINE, "the process does not end");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// What the HTTP front answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head, whole.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A GET over a connection of its own.
pub fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    exchange(address, &request)
}

/// A POST of JSON.
pub fn post(address: SocketAddr, path: &str, body: &serde_json::Value) -> Answer {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    exchange(address, &(head + &body)).unwrap()
}

/// A request with a body of JSON, if any, and more headers.
pub fn ask(
    address: SocketAddr,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: Option<&serde_json::Value>,
) -> Answer {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = body.map(ToString::to_string);
    if let Some(body) = &body {
        let len = body.len();
        let head = format!("Content-Type: application/json\r\nContent-Length: {len}\r\n");
        request.push_str(&head);
    }
    request.push_str("\r\n");
    exchange(address, &(request + &body.unwrap_or_default())).unwrap()
}

fn exchange(address: SocketAddr, request: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// A runtime for the client's side of a test.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(3 * DEADLINE, work).await.unwrap() })
}

/// Creates a queue with the default settings.
pub async fn create(queues: &mut QueuesClient<Channel>, name: &str) {
    let definition = QueueDefinition { name: name.to_owned(), ..QueueDefinition::default() };
    let request = v1::CreateQueueRequest { definition: Some(definition), identity: None };
    queues.create(request).await.unwrap();
}

/// A message with this body.
pub fn message(body: impl Into<Vec<u8>>) -> Message {
    Message { body: body.into().into(), ..Message::default() }
}

/// Sends messages; every one must be acknowledged as synced.
pub async fn send(queues: &mut QueuesClient<Channel>, queue: &str, bodies: &[String]) {
    let messages = bodies.iter().map(|body| message(body.as_bytes())).collect();
    let request = v1::SendRequest { queue: queue.to_owned(), messages, identity: None };
    let answer = queues.send(request).await.unwrap().into_inner();
    assert_eq!(answer.errors, []);
    assert_eq!(answer.durability(), v1::Durability::Disk);
    assert_eq!(answer.ids.len(), bodies.len());
}

/// Receives all that is ready, without acknowledging.
pub async fn receive_all(queues: &mut QueuesClient<Channel>, queue: &str) -> Vec<v1::Delivery> {
    let mut all = Vec::new();
    loop {
        let request =
            v1::ReceiveRequest { queue: queue.to_owned(), max: 1_000, ..Default::default() };
        let page = queues.receive(request).await.unwrap().into_inner().messages;
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// The bodies of deliveries as text.
pub fn bodies(deliveries: &[v1::Delivery]) -> Vec<String> {
    deliveries.iter().map(|it| String::from_utf8(it.body.to_vec()).unwrap()).collect()
}

/// Which files were changed, made or removed between two looks at a directory.
pub fn changed(
    before: &BTreeMap<PathBuf, Vec<u8>>,
    after: &BTreeMap<PathBuf, Vec<u8>>,
) -> Vec<PathBuf> {
    let paths =
        before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path));
    let paths: BTreeSet<&PathBuf> = paths.collect();
    paths.into_iter().cloned().collect()
}

/// Every file below a directory with its content.
pub fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.insert(path.clone(), vec![]);
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    all
}
