//! Commands under the real shim, in a temporary directory.
//!
//! Invariants: every command has a time limit, so a test that fails leaves nothing for long; tests
//! and commands wait for each other by named pipes, with a deadline.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rekindle::shim::{self, End, Evidence, Identity, Running, Spec};
use rekindle_env::Env;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::harness::DEADLINE;

/// The program.
pub fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_rekindle"))
}

/// A shell script as a command: bounds that no good one reaches.
pub fn script(text: &str) -> Spec {
    Spec {
        arguments: ["sh", "-c", text].map(str::to_owned).to_vec(),
        time_limit_ms: 30_000,
        grace_ms: 200,
        stdout_bytes_max: 4 << 20,
        stderr_bytes_max: 4 << 20,
        ..Spec::default()
    }
}

/// A place for commands.
pub struct Place {
    /// The real machine.
    pub env: Env,
    root: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { env: Env::real(), root: tempfile::tempdir().unwrap() }
    }

    /// The directory of the one command of most tests.
    pub fn dir(&self) -> PathBuf {
        self.at("command")
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn fifo(&self, name: &str) -> Fifo {
        Fifo::new(&self.at(name))
    }

    /// Starts the command.
    pub fn start(&self, spec: &Spec) -> Running {
        shim::start(&self.env, exe(), &self.dir(), spec).unwrap()
    }

    /// Runs a command to its end.
    pub fn run(&self, spec: &Spec) -> (End, shim::Output) {
        let mut running = self.start(spec);
        let end = finished(&mut running);
        let output = shim::output(&self.env, &self.dir(), &end).unwrap();
        (end, output)
    }

    pub fn look(&self) -> Evidence {
        shim::look(&self.env, &self.dir()).unwrap()
    }

    /// Who runs the command, which must have been let go.
    pub fn identity(&self) -> Identity {
        match self.look() {
            Evidence::Running(identity) => identity,
            other => panic!("{other:?}"),
        }
    }

    /// The label of what is unknown.
    pub fn unknown(&self) -> &'static str {
        match self.look() {
            Evidence::Unknown { why } => why.label.0,
            other => panic!("{other:?}"),
        }
    }

    /// The text of a file of the command.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir().join(name)).unwrap()
    }

    /// Gives a file of the command another content.
    pub fn put(&self, name: &str, text: &[u8]) {
        std::fs::write(self.dir().join(name), text).unwrap();
    }

    /// Changes what a file says, and its checksum with it.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let mut value = serde_json::from_slice(&self.read(name)).unwrap();
        change(&mut value);
        value.as_object_mut().unwrap().remove("crc32c");
        let text = value.to_string();
        self.put(name, &sealed(text.strip_suffix('}').unwrap()));
    }
}

/// A file with this beginning and the checksum of it.
pub fn sealed(body: &str) -> Vec<u8> {
    format!("{body},\"crc32c\":\"{:08x}\"}}\n", crc32c::crc32c(body.as_bytes())).into_bytes()
}

/// Waits for the end, with a deadline.
pub fn evidence(running: &mut Running) -> Evidence {
    running.wait_for(DEADLINE).unwrap().expect("the command does not end")
}

/// Waits for the end, which must be known.
pub fn finished(running: &mut Running) -> End {
    match evidence(running) {
        Evidence::Finished(end) => end,
        other => panic!("{other:?}"),
    }
}

fn ready(descriptor: &impl std::os::fd::AsFd) -> bool {
    let mut descriptors = [PollFd::new(descriptor, PollFlags::IN)];
    let timeout = Timespec { tv_sec: DEADLINE.as_secs().try_into().unwrap(), tv_nsec: 0 };
    rustix::io::retry_on_intr(|| poll(&mut descriptors, Some(&timeout))).unwrap() == 1
}

/// A named pipe between a test and a command. The test holds both ends, so nobody waits to open it.
pub struct Fifo {
    path: PathBuf,
    file: File,
}

impl Fifo {
    fn new(path: &Path) -> Self {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        Self { path: path.to_owned(), file }
    }

    /// Its path, for a script.
    pub fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// The next line that a command wrote.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            assert!(ready(&self.file), "nothing is written to {}", self.path());
            let mut byte = [0; 1];
            self.file.read_exact(&mut byte).unwrap();
            if byte == *b"\n" {
                return String::from_utf8(line).unwrap();
            }
            line.extend(byte);
        }
    }

    /// Writes a line for a command.
    pub fn send(&mut self, line: &str) {
        self.file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// A process whose end is waited for.
pub struct Watched(OwnedFd);

impl Watched {
    pub fn of(pid: u32) -> Self {
        let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
        Self(pidfd_open(pid, PidfdFlags::empty()).unwrap())
    }

    /// The process that wrote its number.
    pub fn named(line: &str) -> Self {
        Self::of(line.trim().parse().unwrap())
    }

    /// Waits for its end.
    pub fn ends(&self) -> bool {
        ready(&self.0)
    }

    /// Whether it ended already.
    pub fn is_over(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.0, PollFlags::IN)];
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut descriptors, Some(&zero)).unwrap() == 1
    }
}
