//! Servers that keep jobs, each in a process of its own with its files in a given directory.
//!
//! Invariants: what was submitted, claimed or finished was synced before the answer; the servers
//! are those that the machine has, and one that it has not is no error; a server ends when its
//! handle goes.

mod postgres_server;
mod programs;
mod redis_server;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::text;

/// How often a server that starts is asked whether it is there, and how long it is waited between.
const TRIES: u32 = 300;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Jobs of a server, over a connection of its own.
pub trait Jobs: Send {
    /// Submits these payloads (JSON, all different) in one request.
    ///
    /// # Errors
    /// The server's own error, as text.
    fn submit(&mut self, payloads: &[String]) -> Result<(), String>;

    /// Claims the job that was submitted first and completes it; false: none waits.
    ///
    /// # Errors
    /// The server's own error, as text.
    fn work(&mut self) -> Result<bool, String>;

    /// Removes all jobs and what is left of them.
    ///
    /// # Errors
    /// The server's own error, as text.
    fn clear(&mut self) -> Result<(), String>;

    /// After very many jobs were submitted: what the server would soon do by itself.
    ///
    /// # Errors
    /// The server's own error, as text.
    fn settle(&mut self) -> Result<(), String>;

    /// The server's own words for its version.
    ///
    /// # Errors
    /// The server's own error, as text.
    fn version(&mut self) -> Result<String, String>;
}

/// One of the servers.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// What starts it, with files in this directory and at this port; none: it is not installed.
    command: fn(&Path, u16) -> Result<Option<Command>, String>,
    connect: fn(u16) -> Result<Box<dyn Jobs>, String>,
}

/// All of them.
#[must_use]
pub fn all() -> [Peer; 2] {
    [redis_server::PEER, postgres_server::PEER]
}

impl Peer {
    /// Starts it with its files in this directory, which exists; `None`: it is not installed.
    ///
    /// # Errors
    /// Why it does not start, as text.
    pub fn start(&self, dir: &Path) -> Result<Option<Server>, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(text)?;
        let port = listener.local_addr().map_err(text)?.port();
        drop(listener);
        let Some(mut command) = (self.command)(dir, port)? else { return Ok(None) };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().map_err(text)?;
        let mut server = Server { process, port, peer: *self };
        server.wait()?;
        Ok(Some(server))
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Child,
    port: u16,
    peer: Peer,
}

impl Server {
    /// Its process; it may have children.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// A new connection.
    ///
    /// # Errors
    /// The server's own error, as text.
    pub fn connect(&self) -> Result<Box<dyn Jobs>, String> {
        (self.peer.connect)(self.port)
    }

    #[allow(clippy::disallowed_methods, reason = "another program says nothing when it is ready")]
    fn wait(&mut self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..TRIES {
            if let Some(status) = self.process.try_wait().map_err(text)? {
                return Err(format!("it ended with {status}"));
            }
            match self.connect().and_then(|mut jobs| jobs.version()) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
        Err(format!("it does not answer: {last}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both end at once on this signal, and take their children with them.
        let process = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let asked = process.is_some_and(|process| kill_process(process, Signal::INT).is_ok());
        if !asked {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was submitted is worked on once, by whoever asks; skipped where a server is not there.
    #[test]
    fn every_job_is_worked_on_once() {
        for peer in all() {
            let name = format!("peer-servers-{}-{}", std::process::id(), peer.name);
            let dir = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&dir).expect("a directory for the test");
            if let Some(server) = peer.start(&dir).expect("what is installed starts") {
                let mut jobs = server.connect().expect("it answers");
                for _ in 0..2 {
                    jobs.clear().expect("it can be emptied");
                    let payloads: Vec<_> = (0..3).map(|n| format!("{{\"n\":{n}}}")).collect();
                    jobs.submit(&payloads).expect("it takes jobs");
                    jobs.settle().expect("it settles");
                    let mut other = server.connect().expect("it answers two");
                    let worked = [(); 4].map(|()| other.work().expect("it gives jobs"));
                    assert_eq!(worked, [true, true, true, false], "{}", peer.name);
                }
            }
            std::fs::remove_dir_all(&dir).expect("the test's own directory");
        }
    }
}
