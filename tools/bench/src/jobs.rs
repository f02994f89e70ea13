//! Jobs: submits and claim-complete cycles, beside a Redis list and a PostgreSQL table where those
//! are built in and installed; and what a job costs the server beside a message.
//!
//! Invariants: each load of ours has a new server in a process of its own; clients are threads of
//! this process with a blocking connection each, ours and the peers' alike (gRPC: tasks); what is
//! compared is measured right behind the other.

mod grpc;
mod http;
mod ours;
#[cfg(feature = "peer-servers")]
mod peers;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Failed;
use crate::args::Args;
use crate::book::{Book, Figure};
use crate::child::Server;
use crate::disks::Place;
use crate::phase::{self, Phase, Reached, Work};

/// The most that the job layer may cost by plain messages.
const COST_MAX: f64 = 1.5;
/// Bytes of a payload, about.
const PAYLOAD_BYTES: usize = 200;
/// Jobs of one request that fills a backlog.
const FILLED_AT_ONCE: usize = 1_000;

/// Somebody who submits and works, over a connection of its own.
pub(crate) trait Client: Send {
    /// Submits so many in one request, durably.
    fn submit(&mut self, count: usize) -> Result<(), String>;

    /// Claims up to so many in one request and finishes them; how many there were.
    fn work(&mut self, count: usize) -> Result<usize, String>;
}

/// Connections, one for each thread of a load.
type Clients = Vec<Mutex<Box<dyn Client>>>;

/// What the threads of a load do over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Submit so many at once.
    Submit(usize),
    /// Work on one that waits.
    Work(Backlog),
    /// Submit so many, then work on as many.
    Live(usize),
}

/// Jobs that wait before a load begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backlog(usize);

impl Backlog {
    /// Enough for a load of that time at that rate, its warming up and some reserve included.
    fn enough(time: Duration, per_second: usize) -> Self {
        let ms = usize::try_from(time.as_millis()).expect("a load takes minutes at most");
        Self((ms * 5 / 4 + 100) * per_second / 1_000)
    }

    fn fill(self, client: &mut dyn Client) -> Result<(), String> {
        (0..self.0.div_ceil(FILLED_AT_ONCE)).try_for_each(|_| client.submit(FILLED_AT_ONCE))
    }

    fn ran_dry(self) -> String {
        format!("all {} jobs were done before the load was over: the figure is none", self.0)
    }
}

/// The payload of a job or a message: JSON, all different.
pub(crate) fn payload(number: u64) -> String {
    let mut text = format!(r#"{{"picture":{number},"size":"640x480","note":""#);
    while text.len() < PAYLOAD_BYTES - 2 {
        text.push('x');
    }
    text.push_str("\"}");
    text
}

/// One comparison: its name, clients, what they do.
type Row = (&'static str, usize, Load);

fn rows(time: Duration) -> [Row; 5] {
    [
        ("submit, 1 client", 1, Load::Submit(1)),
        ("submit, 16 clients", 16, Load::Submit(1)),
        ("submit in batches of 100, 1 client", 1, Load::Submit(100)),
        ("claim + complete, 1 worker", 1, Load::Work(Backlog::enough(time, 12_000))),
        ("claim + complete, 16 workers", 16, Load::Work(Backlog::enough(time, 40_000))),
    ]
}

/// Measures everything in this section once.
pub(crate) fn measure(args: &Args, dir: &Path, book: &mut Book) -> Result<(), Failed> {
    #[cfg(feature = "peer-servers")]
    let peers = peers::start(dir, book)?;
    for row @ (what, clients, load) in rows(args.duration()) {
        if !args.wants_load(what) {
            continue;
        }
        let reached = over_http(&Jobs { kept: true }, clients, load, dir, args.duration())?;
        book.add(Figure::load(what, "jobs/s", &reached));
        #[cfg(feature = "peer-servers")]
        peers::beside(&peers, row, &reached, args.duration(), book)?;
        #[cfg(not(feature = "peer-servers"))]
        let _ = row;
        if let Load::Work(backlog) = load {
            let what = format!("{what}, gRPC");
            let reached = worked_over_grpc(clients, backlog, dir, args.duration())?;
            book.add(Figure::load(what, "jobs/s", &reached));
        }
    }
    #[cfg(feature = "peer-servers")]
    drop(peers);
    costs(args, dir, book)
}

/// Lives of messages, and the same lives of jobs: what the job layer costs.
fn costs(args: &Args, dir: &Path, book: &mut Book) -> Result<(), Failed> {
    let time = args.duration();
    for (what, clients, load) in [
        ("one at a time, 1 client", 1, Load::Live(1)),
        ("one at a time, 16 clients", 16, Load::Live(1)),
        ("batches of 100, 1 client", 1, Load::Live(100)),
    ] {
        if !args.wants_load(what) {
            continue;
        }
        let messages = over_http(&Messages, clients, load, dir, time)?;
        book.add(Figure::load(format!("messages, {what}"), "msg/s", &messages));
        for (kept, how) in [(true, ""), (false, ", not kept")] {
            let jobs = over_http(&Jobs { kept }, clients, load, dir, time)?;
            book.add(cost(format!("jobs, {what}{how}"), &jobs, &messages));
        }
    }
    let what = "one at a time, 16 tasks, gRPC";
    if args.wants_load(what) {
        let lived = |load| -> Result<Reached, Failed> {
            let (place, server) = new_server(dir)?;
            let reached = grpc::run(&server, load, 16, time)?;
            server.kill()?;
            drop(place);
            Ok(reached)
        };
        let messages = lived(grpc::Load::Messages)?;
        book.add(Figure::load(format!("messages, {what}"), "msg/s", &messages));
        let jobs = lived(grpc::Load::Jobs)?;
        book.add(cost(format!("jobs, {what}"), &jobs, &messages));
    }
    Ok(())
}

fn cost(what: String, jobs: &Reached, messages: &Reached) -> Figure {
    let by_messages = jobs.cpu_us / messages.cpu_us;
    let figure = Figure::load(what, "jobs/s", jobs).with("CPU by messages", by_messages);
    figure.at_most(format!("{COST_MAX}x the CPU"), by_messages, COST_MAX)
}

/// What of our server is measured.
trait Ours {
    /// A client of the server that listens there.
    fn client(&self, address: &str) -> Result<Box<dyn Client>, String>;

    /// Before the load.
    fn prepare(&self, address: &str) -> Result<(), String>;
}

struct Jobs {
    /// Whether completed jobs are kept, as by default, or removed as soon as it is noticed.
    kept: bool,
}

impl Ours for Jobs {
    fn client(&self, address: &str) -> Result<Box<dyn Client>, String> {
        Ok(Box::new(ours::Jobs::connect(address)?))
    }

    fn prepare(&self, address: &str) -> Result<(), String> {
        if self.kept { Ok(()) } else { ours::Jobs::connect(address)?.keep_completed(0) }
    }
}

struct Messages;

impl Ours for Messages {
    fn client(&self, address: &str) -> Result<Box<dyn Client>, String> {
        Ok(Box::new(ours::Messages::connect(address)?))
    }

    fn prepare(&self, address: &str) -> Result<(), String> {
        ours::Messages::connect(address)?.create()
    }
}

fn new_server(dir: &Path) -> Result<(Place, Server), Failed> {
    let place = Place::new(dir)?;
    let server = Server::start(&place.store(), Duration::ZERO)?;
    Ok((place, server))
}

fn over_http(
    ours: &dyn Ours,
    clients: usize,
    load: Load,
    dir: &Path,
    time: Duration,
) -> Result<Reached, Failed> {
    let (place, server) = new_server(dir)?;
    ours.prepare(&server.http)?;
    let clients = connected(clients, || ours.client(&server.http))?;
    let reached = run(&clients, load, time, || Ok(()), || server.cpu_ns())?;
    server.kill()?;
    drop(place);
    Ok(reached)
}

fn worked_over_grpc(
    tasks: usize,
    backlog: Backlog,
    dir: &Path,
    time: Duration,
) -> Result<Reached, Failed> {
    let (place, server) = new_server(dir)?;
    backlog.fill(&mut ours::Jobs::connect(&server.http)?)?;
    let reached = grpc::run(&server, grpc::Load::Work(backlog), tasks, time)?;
    server.kill()?;
    drop(place);
    Ok(reached)
}

fn connected(
    count: usize,
    connect: impl Fn() -> Result<Box<dyn Client>, String>,
) -> Result<Clients, String> {
    (0..count).map(|_| connect().map(Mutex::new)).collect()
}

/// A load with a thread for each client. They stay connected to its end: a process that serves one
/// connection takes its CPU time with it.
fn run(
    clients: &Clients,
    load: Load,
    time: Duration,
    settle: impl Fn() -> Result<(), String>,
    cpu_ns: impl Fn() -> u64,
) -> Result<Reached, String> {
    if let (Load::Work(backlog), Some(first)) = (load, clients.first()) {
        backlog.fill(&mut **first.lock().unwrap_or_else(PoisonError::into_inner))?;
        settle()?;
    }
    Ok(phase::threads_watched(clients.len(), time, cpu_ns, |number, phase| {
        let client = clients.get(number).expect("a client for each thread");
        let mut client = client.lock().unwrap_or_else(PoisonError::into_inner);
        repeat(&mut **client, load, phase).expect("a healthy server does what it is asked")
    }))
}

fn repeat(client: &mut dyn Client, load: Load, phase: &Phase) -> Result<Work, String> {
    let mut work = Work::default();
    while phase.goes_on() {
        let began = phase::now_ns();
        let done = match load {
            Load::Submit(count) => client.submit(count).map(|()| count)?,
            Load::Live(count) => {
                client.submit(count)?;
                client.work(count)?
            }
            Load::Work(backlog) => match client.work(1)? {
                0 => return Err(backlog.ran_dry()),
                done => done,
            },
        };
        if let Some(others) = done.checked_sub(1) {
            work.done(phase, others as u64);
            work.done_since(phase, began);
        }
    }
    Ok(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_json_of_one_length() {
        for number in [0, 7, 1_000_000] {
            let text = payload(number);
            assert_eq!(text.len(), PAYLOAD_BYTES);
            let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
            assert_eq!(value["picture"], number);
        }
    }

    #[test]
    fn a_backlog_lasts_longer_than_its_load() {
        let Backlog(jobs) = Backlog::enough(Duration::from_secs(1), 10_000);
        assert_eq!(jobs, 13_500);
    }
}
