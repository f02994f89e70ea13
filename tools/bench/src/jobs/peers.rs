//! Other servers with the same jobs, right behind ours.
//!
//! Invariants: a ratio is ours by theirs, both measured in this run; a server that is not installed
//! or does not start is named with its reason, and left out.

use std::path::Path;
use std::time::Duration;

use rekindle_peers::servers::{self, Server};

use super::{Client, Row, connected, payload, run};
use crate::Failed;
use crate::book::{Book, Figure};
use crate::disks::Place;
use crate::machine;
use crate::phase::Reached;

/// A server that runs.
pub(crate) struct Peer {
    /// Its name and version.
    name: String,
    // Before its place: it ends before its files go.
    server: Server,
    _place: Place,
}

/// Starts those that are there.
pub(crate) fn start(dir: &Path, book: &mut Book) -> Result<Vec<Peer>, Failed> {
    let (mut running, mut said) = (vec![], vec![]);
    for peer in servers::all() {
        let place = Place::new(dir)?;
        match peer.start(place.path()) {
            Ok(Some(server)) => {
                let version = server.connect()?.version()?;
                let version = version.split(' ').next().unwrap_or_default();
                let name = format!("{} {version}", peer.name);
                said.push(name.clone());
                running.push(Peer { name, server, _place: place });
            }
            Ok(None) => said.push(format!("{} is not installed", peer.name)),
            Err(error) => said.push(format!("{} does not start: {error}", peer.name)),
        }
    }
    book.note("servers", said.join(", "));
    Ok(running)
}

/// One load of ours, of all of them.
pub(crate) fn beside(
    peers: &[Peer],
    (what, clients, load): Row,
    ours: &Reached,
    time: Duration,
    book: &mut Book,
) -> Result<(), Failed> {
    for Peer { name, server, .. } in peers {
        server.connect()?.clear()?;
        let clients = connected(clients, || {
            Ok(Box::new(Theirs { jobs: server.connect()?, number: 0, payloads: vec![] }))
        })?;
        let settle = || server.connect()?.settle();
        let process = server.process();
        let theirs = run(&clients, load, time, settle, || machine::cpu_ns_with_children(process))?;
        let figure = Figure::load(format!("{what}: {name}"), "jobs/s", &theirs);
        book.add(figure.with("ours by it", ours.per_second / theirs.per_second));
    }
    Ok(())
}

struct Theirs {
    jobs: Box<dyn servers::Jobs>,
    number: u64,
    payloads: Vec<String>,
}

impl Client for Theirs {
    fn submit(&mut self, count: usize) -> Result<(), String> {
        self.payloads.clear();
        for _ in 0..count {
            self.number += 1;
            self.payloads.push(payload(self.number));
        }
        self.jobs.submit(&self.payloads)
    }

    fn work(&mut self, _one: usize) -> Result<usize, String> {
        self.jobs.work().map(usize::from)
    }
}
