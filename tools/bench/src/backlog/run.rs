//! One backlog from the first message to the last: send, kill, start again, receive.
//!
//! Invariants: both lives of the server are in one control group, so that what the first left in
//! the page cache is within the bound of the second; nothing is believed of a server that lost,
//! changed or reordered a message: it is an error.

use std::path::Path;
use std::time::Duration;

use rekindle_client::{Client, QueueDefinition};
use rekindle_database::EngineKind;
use tokio::runtime::Runtime;

use super::order::{self, Handed};
use super::receive::{self, Received};
use super::send::{self, Load, Sent, seconds};
use crate::Failed;
use crate::cgroup::{Group, Held};
use crate::child::{Launch, Server};
use crate::disks::Place;
use crate::server::QUEUE;
use crate::sizes::mib;
use crate::{machine, phase};

/// Longer than any run: a message that comes twice was not handed out by a lease that ran out.
const VISIBILITY_MS: u64 = 3_600_000;

/// A store, and its parts.
const PARTS: [&str; 5] =
    ["", "shards/0/journal", "shards/0/engine", "shards/0/checkpoints", "shards/0/reserve"];

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// With which engine.
    pub(crate) engine: EngineKind,
    /// How many messages wait.
    pub(crate) messages: u64,
    /// Bytes of each body.
    pub(crate) bytes: usize,
    /// How many are received at the end, at most.
    pub(crate) receive: u64,
    /// What the server may have in memory, page cache included.
    pub(crate) limit: Option<u64>,
}

/// Memory at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// The most that the process ever had resident, files included.
    pub(crate) peak: u64,
    /// What it has now that is no file's.
    pub(crate) anon: u64,
    /// What of it the engine says that it holds.
    pub(crate) engine: u64,
    /// Of the group, both lives together.
    pub(crate) group: Held,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// What was done.
    pub(crate) plan: Plan,
    /// The bound, in words.
    pub(crate) limit: String,
    /// From the first submission to the last acknowledgement.
    pub(crate) sent: Sent,
    /// The server's CPU time of each message sent.
    pub(crate) send_cpu_us: f64,
    /// Before the kill.
    pub(crate) filled: Memory,
    /// What the killed store takes on disk: all of it, and of that the journal, the files of the
    /// engine, the checkpoints, and the reserve for a full disk.
    pub(crate) store: [u64; 5],
    /// Bytes written: into the journal, into checkpoints and the engine's files.
    pub(crate) written: [f64; 2],
    /// From exec until the server says that it is ready.
    pub(crate) ready_seconds: f64,
    /// From exec until a client held the first message.
    pub(crate) first_seconds: f64,
    /// Right after that.
    pub(crate) started: Memory,
    /// What a server with an empty store has, no file's.
    pub(crate) empty_anon: u64,
    /// How many messages were received and acknowledged, and how long that took.
    pub(crate) received: u64,
    pub(crate) receive_seconds: f64,
    /// The server's CPU time of each.
    pub(crate) receive_cpu_us: f64,
    /// At the end.
    pub(crate) ended: Memory,
}

/// Does it in a new folder below `dir`, which is removed.
pub(crate) fn run(plan: Plan, dir: &Path) -> Result<Measured, Failed> {
    let (place, nothing) = (Place::new(dir)?, Place::new(dir)?);
    let group = plan.limit.map(Group::new);
    let limit = in_words(plan.limit, group.as_ref());
    let group = group.and_then(Result::ok);
    let store = place.store();
    let launch = Launch {
        data: &store,
        engine: Some(plan.engine),
        longer: Duration::ZERO,
        group: group.as_ref(),
    };
    let runtime = Runtime::new()?;
    let empty = Server::launch(&Launch { data: &nothing.store(), ..launch })?;
    let empty_anon = machine::resident_of(empty.process()).1;
    empty.kill()?;
    let stage = Stage { plan, launch, runtime };
    let (sent, send_cpu_us, filled, written) = stage.fill()?;
    let taken = PARTS.map(|part| machine::disk_bytes(&store.join(part)));
    let mut handed = Handed::default();
    let (server, [ready_seconds, first_seconds]) = stage.start(&mut handed)?;
    let started = stage.memory(&server);
    let (received, receive_cpu_us, server) = stage.receive(server)?;
    let ended = stage.memory(&server);
    server.kill()?;
    stage.runtime.shutdown_background();
    let mut all = received.handed;
    // The first message is none of those whose time was taken.
    let count = all.iter().map(Handed::count).sum();
    all.push(handed);
    order::check(all)?;
    Ok(Measured {
        plan,
        limit,
        sent,
        send_cpu_us,
        filled,
        store: taken,
        written,
        ready_seconds,
        first_seconds,
        started,
        empty_anon,
        received: count,
        receive_seconds: received.seconds,
        receive_cpu_us,
        ended,
    })
}

fn in_words(asked: Option<u64>, group: Option<&Result<Group, String>>) -> String {
    match (asked, group) {
        (Some(bytes), Some(Ok(_))) => format!(
            "{} for all memory of the server, page cache included (a control group)",
            rekindle::config::values::show_bytes(bytes)
        ),
        (Some(_), Some(Err(why))) => format!("none: no control group can be made ({why})"),
        _ => "none".to_owned(),
    }
}

/// What the parts of a run share.
struct Stage<'a> {
    plan: Plan,
    launch: Launch<'a>,
    runtime: Runtime,
}

impl Stage<'_> {
    /// Sends everything, looks, and kills.
    fn fill(&self) -> Result<(Sent, f64, Memory, [f64; 2]), Failed> {
        let mut server = Server::launch(&self.launch)?;
        let before_ns = server.cpu_ns();
        let load = Load { messages: self.plan.messages, bytes: self.plan.bytes };
        let address = server.grpc.clone();
        let sent = self.runtime.block_on(async {
            create_queue(&address).await?;
            send::send(&address, load, || server.ended()).await
        });
        let sent = sent.map_err(|error| self.why(error, server.ended()))?;
        let cpu_us = (server.cpu_ns() - before_ns) as f64 / 1e3 / self.plan.messages as f64;
        let filled = self.memory(&server);
        let metrics = server.metrics()?;
        let written = ["rekindle_journal_batch_bytes_sum", "rekindle_state_written_bytes_total"];
        let written = written.map(|name| metrics.of(name));
        server.kill()?;
        Ok((sent, cpu_us, filled, written))
    }

    /// Starts the next server; the seconds until it is ready, and until the first message.
    fn start(&self, handed: &mut Handed) -> Result<(Server, [f64; 2]), Failed> {
        let began_ns = phase::now_ns();
        let server = Server::launch(&self.launch);
        let mut server = server.map_err(|error| {
            self.why("it did not start again".to_owned(), Some(error.to_string()))
        })?;
        let ready = seconds(phase::now_ns() - began_ns);
        let first = self.runtime.block_on(async {
            let client = receive::client(&server.grpc)?;
            receive::first(&client, handed).await?;
            let first = seconds(phase::now_ns() - began_ns);
            let queue = client.show_queue(QUEUE).await.map_err(|error| error.to_string())?;
            let ready = queue.counts.unwrap_or_default().ready;
            match ready == self.plan.messages - 1 {
                true => Ok(first),
                false => Err(format!(
                    "{ready} messages wait behind the first, and {} were sent",
                    self.plan.messages
                )),
            }
        });
        let first = first.map_err(|error| self.why(error, server.ended()))?;
        Ok((server, [ready, first]))
    }

    /// Receives what is asked for.
    fn receive(&self, mut server: Server) -> Result<(Received, f64, Server), Failed> {
        let messages = self.plan.receive.min(self.plan.messages - 1);
        let before_ns = server.cpu_ns();
        let received = self.runtime.block_on(receive::receive(&server.grpc, messages));
        let received = received.map_err(|error| self.why(error, server.ended()))?;
        let count: u64 = received.handed.iter().map(Handed::count).sum();
        let cpu_us = (server.cpu_ns() - before_ns) as f64 / 1e3 / count.max(1) as f64;
        Ok((received, cpu_us, server))
    }

    fn memory(&self, server: &Server) -> Memory {
        let (peak, anon) = machine::resident_of(server.process());
        let engine = server.metrics().map_or(0, |it| it.whole("rekindle_engine_memory_bytes"));
        let group = self.launch.group.map(Group::held).unwrap_or_default();
        Memory { peak, anon, engine, group }
    }

    /// An error together with what became of the server.
    fn why(&self, error: String, ended: Option<String>) -> Failed {
        let Some(ended) = ended else { return error.into() };
        let group = self.launch.group;
        match group.map_or(0, Group::kills) {
            0 => format!("{error}: {ended}").into(),
            _ => {
                let peak = mib(group.map_or(0, |group| group.held().peak));
                format!(
                    "{error}: the kernel killed the server, its memory was full ({peak:.0} MiB)"
                )
                .into()
            }
        }
    }
}

async fn create_queue(address: &str) -> Result<(), String> {
    let client = Client::connect(address).map_err(|error| error.to_string())?;
    let name = QUEUE.to_owned();
    let definition =
        QueueDefinition { name, visibility_ms: VISIBILITY_MS, ..QueueDefinition::default() };
    client.create_queue(definition).await.map_err(|error| error.to_string())?;
    Ok(())
}
