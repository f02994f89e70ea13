//! The server through the Rust client: sends, unary calls, the life of a message.
//!
//! Invariants: every load has a new server in a process of its own; its clients are in this
//! process; every message counts once it is acknowledged as synced.

use std::collections::VecDeque;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rekindle_client::{Ack, Client, Durability, Error, Message, QueueDefinition, Receive};
use rekindle_client::{SenderOptions, Ticket};
use rekindle_env::Env;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::Failed;
use crate::args::{Args, ServeArgs};
use crate::book::{Book, Figure};
use crate::child::Server;
use crate::disks::{self, LONGER, Place};
use crate::phase::{self, Phase, Reached, Work};

/// The name of the queue.
pub(crate) const QUEUE: &str = "bench";
/// The body of every message.
pub(crate) const BODY: [u8; 1_024] = [b'x'; 1_024];
/// Messages that wait in the queue, at most, while lives are measured.
const LIVES_IN_FLIGHT: usize = 1_024;
/// Consumers, and how many messages each asks for.
const CONSUMERS: usize = 4;
const RECEIVED_AT_ONCE: u32 = 64;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One sender keeps this many messages in flight over its stream.
    Stream(usize),
    /// This many tasks call and wait.
    Unary(usize),
    /// A sender with this many in flight, and consumers that receive and ack.
    Lives(usize),
}

/// Measures everything in this section once.
pub(crate) fn measure(args: &Args, dir: &Path, book: &mut Book) -> Result<(), Failed> {
    let none = Duration::ZERO;
    for (what, kind) in [
        ("stream, 1 in flight", Kind::Stream(1)),
        ("stream, 64 in flight", Kind::Stream(64)),
        ("stream, 256 in flight", Kind::Stream(256)),
        ("unary, 1 in flight", Kind::Unary(1)),
        ("unary, 64 in flight", Kind::Unary(64)),
        ("send + receive + ack, 64 in flight", Kind::Lives(64)),
    ] {
        if !args.wants_load(what) {
            continue;
        }
        let (reached, disk) = run(kind, none, dir, args.duration())?;
        let figure = figure(what, &reached, disk);
        book.add(match kind {
            Kind::Stream(1) => figure.at_most("p50 70 us", reached.p50_us, 70.0),
            Kind::Unary(1) => figure.at_most("p50 90 us", reached.p50_us, 90.0),
            Kind::Stream(64) => figure
                .at_least("375,000/s", reached.per_second, 375_000.0)
                .at_most("4 us CPU", reached.cpu_us, 4.0),
            Kind::Lives(_) => figure.at_least("121,000/s", reached.per_second, 121_000.0),
            _ => figure,
        });
    }
    for (what, in_flight) in [
        ("sync +1 ms, stream, 1 in flight", 1),
        ("sync +1 ms, stream, 64 in flight", 64),
        ("sync +1 ms, stream, 256 in flight", 256),
    ] {
        if !args.wants_load(what) {
            continue;
        }
        let (reached, disk) = run(Kind::Stream(in_flight), LONGER, dir, args.duration())?;
        let ideal = in_flight as f64 / disk.mean_seconds.max(1e-9);
        let figure = figure(what, &reached, disk).with("of ideal", reached.per_second / ideal);
        book.add(match in_flight {
            1 => figure,
            _ => figure.at_least("0.8 of ideal", reached.per_second, 0.8 * ideal),
        });
    }
    Ok(())
}

/// What the server's disk did during a load.
#[derive(Clone, Copy, Debug)]
struct Syncs {
    mean_seconds: f64,
    /// Messages that one carried.
    carried: f64,
}

fn figure(what: &str, reached: &Reached, syncs: Syncs) -> Figure {
    Figure::load(what, "msg/s", reached)
        .with("msg/sync", syncs.carried)
        .with("sync us", syncs.mean_seconds * 1e6)
}

fn run(
    kind: Kind,
    longer: Duration,
    dir: &Path,
    time: Duration,
) -> Result<(Reached, Syncs), Failed> {
    let place = Place::new(dir)?;
    let server = Server::start(&place.store(), longer)?;
    let runtime = Runtime::new()?;
    let client = runtime.block_on(connect(&server))?;
    let before = server.counted()?;
    let phase = Arc::new(Phase::default());
    let loads = start(&runtime, kind, &client, &phase);
    let borders = phase::walk(&phase, time, || server.cpu_ns());
    let mut works = vec![];
    for load in loads {
        works.push(runtime.block_on(load)??);
    }
    let after = server.counted()?;
    runtime.shutdown_background();
    server.kill()?;
    let syncs = (after.syncs - before.syncs).max(1.0);
    let mean_seconds = (after.sync_seconds - before.sync_seconds) / syncs;
    let carried = (after.sent - before.sent) / syncs;
    Ok((phase::reached(borders, works), Syncs { mean_seconds, carried }))
}

/// A client of the server, and the queue.
pub(crate) async fn connect(server: &Server) -> Result<Client, Error> {
    let client = Client::connect(&server.grpc)?;
    let name = QUEUE.to_owned();
    let definition = QueueDefinition { name, visibility_ms: 30_000, ..QueueDefinition::default() };
    client.create_queue(definition).await?;
    Ok(client)
}

type Load = JoinHandle<Result<Work, Error>>;

fn start(runtime: &Runtime, kind: Kind, client: &Client, phase: &Arc<Phase>) -> Vec<Load> {
    let both = || (client.clone(), Arc::clone(phase));
    match kind {
        Kind::Stream(in_flight) => {
            let (client, phase) = both();
            vec![runtime.spawn(stream(client, phase, in_flight, None))]
        }
        Kind::Unary(tasks) => {
            let task = |_| {
                let (client, phase) = both();
                runtime.spawn(unary(client, phase))
            };
            (0..tasks).map(task).collect()
        }
        Kind::Lives(in_flight) => {
            let room = Arc::new(Semaphore::new(LIVES_IN_FLIGHT));
            let consume = |_| {
                let (client, phase) = both();
                runtime.spawn(consumer(client, phase, Arc::clone(&room)))
            };
            let mut loads: Vec<_> = (0..CONSUMERS).map(consume).collect();
            let (client, phase) = both();
            loads.push(runtime.spawn(stream(client, phase, in_flight, Some(room))));
            loads
        }
    }
}

/// The acknowledgement must be what was asked for, or the figure would be of something else.
fn checked(ack: Result<Ack, Error>) -> Result<(), Error> {
    assert_eq!(ack?.durability, Durability::Disk, "the server of a benchmark syncs first");
    Ok(())
}

/// Sends over one stream; with `room`, only while messages have left the queue, and uncounted.
async fn stream(
    client: Client,
    phase: Arc<Phase>,
    in_flight: usize,
    room: Option<Arc<Semaphore>>,
) -> Result<Work, Error> {
    let options = SenderOptions { in_flight, ..SenderOptions::default() };
    let sender = client.sender_with(QUEUE, options);
    let mut work = Work::default();
    let mut pending: VecDeque<(Ticket, u64)> = VecDeque::with_capacity(in_flight);
    while phase.goes_on() {
        if let Some(room) = &room {
            let permit = room.acquire().await.expect("nobody closes it");
            permit.forget();
        }
        if pending.len() == in_flight {
            let (ticket, began) = pending.pop_front().expect("it is full");
            checked(ticket.await)?;
            if room.is_none() {
                work.done_since(&phase, began);
            }
        }
        let began = phase::now_ns();
        pending.push_back((sender.submit(Message::new(&BODY[..])).await, began));
    }
    for (ticket, _) in pending {
        checked(ticket.await)?;
    }
    Ok(work)
}

async fn unary(client: Client, phase: Arc<Phase>) -> Result<Work, Error> {
    let mut work = Work::default();
    while phase.goes_on() {
        let began = phase::now_ns();
        checked(client.send(QUEUE, Message::new(&BODY[..])).await)?;
        work.done_since(&phase, began);
    }
    Ok(work)
}

async fn consumer(client: Client, phase: Arc<Phase>, room: Arc<Semaphore>) -> Result<Work, Error> {
    let wait = Duration::from_millis(100);
    let receive = Receive { max: RECEIVED_AT_ONCE, wait, ..Receive::new(QUEUE) };
    let mut work = Work::default();
    while phase.goes_on() {
        let deliveries = client.receive(&receive).await?;
        let tokens: Vec<_> = deliveries.into_iter().map(|delivery| delivery.token).collect();
        for acked in client.ack(QUEUE, &tokens).await {
            assert_eq!(acked?, Durability::Disk, "the server of a benchmark syncs first");
        }
        room.add_permits(tokens.len());
        work.done(&phase, tokens.len() as u64);
    }
    // The sender may wait for room, and must see that the load is over.
    room.add_permits(1);
    Ok(work)
}

/// The server's process.
pub(crate) fn child_main(args: &ServeArgs) -> ExitCode {
    let env = match args.delay_us {
        0 => Env::real(),
        longer => disks::env_on(&disks::counting(Duration::from_micros(longer))),
    };
    let free = || Some("127.0.0.1:0".to_owned());
    let serve = rekindle::serve::ServeArgs {
        data: Some(args.data.clone()),
        grpc: free(),
        http: free(),
        engine: args.engine.clone(),
        ..rekindle::serve::ServeArgs::default()
    };
    let code = rekindle::serve::run_in(&serve, &env);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
