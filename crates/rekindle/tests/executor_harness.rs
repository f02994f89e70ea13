//! A server with executors in a temporary directory.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{self, DEADLINE, Server, ask, rekindle};
use super::shim_harness::{Fifo, Place};

/// A command that says its number, and goes on when it is told to.
const TOLD: &str = r#"
[executors.command.t]
argv = ["sh", "-c", "echo $$ > '{up}'; read line < '{down}'; eval $line"]
time_limit = "60s"
"#;

/// A server with it, and the pipes to talk to it.
pub fn told_works() -> (Works, Fifo, Fifo) {
    let mut fifos = None;
    let works = Works::with(|place| {
        let (up, down) = (place.fifo("up"), place.fifo("down"));
        let text = TOLD.replace("{up}", &up.path()).replace("{down}", &down.path());
        fifos = Some((up, down));
        text
    });
    let (up, down) = fifos.unwrap();
    (works, up, down)
}

/// A store, a configuration, and the server between them when there is one.
pub struct Works {
    place: Place,
}

impl Works {
    /// These executors.
    pub fn new(executors: &str) -> Self {
        let place = Place::new();
        std::fs::write(place.at("rekindle.toml"), executors).unwrap();
        Self { place }
    }

    /// The same, where they name something in this place.
    pub fn with(executors: impl FnOnce(&Place) -> String) -> Self {
        let place = Place::new();
        let text = executors(&place);
        std::fs::write(place.at("rekindle.toml"), text).unwrap();
        Self { place }
    }

    pub fn data(&self) -> PathBuf {
        self.place.at("data")
    }

    /// `serve`, not yet started.
    pub fn command(&self) -> Command {
        let config = self.place.at("rekindle.toml").display().to_string();
        harness::serve(&self.data(), &["--config", &config])
    }

    /// A copy of the store as it is now (`cp -a`), with other executors.
    pub fn copied(&self, executors: &str) -> Self {
        let copy = Self::new(executors);
        harness::copy(&self.data(), &copy.data());
        copy
    }

    /// The same store elsewhere, with the same executors; no server may be at it.
    pub fn moved(&self) -> Self {
        let executors = std::fs::read_to_string(self.place.at("rekindle.toml")).unwrap();
        let there = Self::new(&executors);
        std::fs::rename(self.data(), there.data()).unwrap();
        there
    }

    pub fn start(&self) -> Server {
        Server::spawn(self.command())
    }

    /// The directories of commands that are there.
    pub fn executions(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.data().join("executions")) else { return vec![] };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The numbers of the shims that write into this store.
    pub fn shims(&self) -> Vec<u32> {
        let data = self.data().display().to_string();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap() {
            let entry = entry.unwrap();
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(" shim ") && line.contains(&data) && !line.contains("--second-stage") {
                found.push(pid);
            }
        }
        found
    }
}

/// Failed attempts follow each other at once.
pub fn hurry(server: &Server, kind: &str) {
    let body = json!({ "backoff_base_ms": 0, "backoff_max_ms": 0, "max_attempts": 20 });
    let path = format!("/v1/job-types/{kind}");
    let answer = ask(server.http, ("PUT", &path), &[], Some(&body));
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub fn submit(server: &Server, kind: &str, payload: Value) -> String {
    let answer =
        harness::post(server.http, "/v1/jobs", &json!({ "type": kind, "payload": payload }));
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

pub fn show(server: &Server, id: &str) -> Value {
    let answer = server.get(&format!("/v1/jobs/{id}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Waits until a job is finished.
pub fn finished(server: &Server, id: &str) -> Value {
    let ms = DEADLINE.as_millis();
    let answer = server.get(&format!("/v1/jobs/{id}/result?wait_ms={ms}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["finished"], true, "{answer:?}");
    show(server, id)
}

/// Looks at a job until this is true of it.
pub fn until(server: &Server, id: &str, what: impl Fn(&Value) -> bool) -> Value {
    eventually(|| Some(show(server, id)).filter(|job| what(job)))
}

/// Looks until there is something.
pub fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = std::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "it does not come to that");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The causes of a job's settled attempts.
pub fn causes(job: &Value) -> Vec<String> {
    let events = job["events"].as_array().unwrap_or_else(|| panic!("{job}"));
    let causes = events.iter().filter_map(|event| event["cause"].as_str());
    causes.filter(|cause| !cause.is_empty()).map(str::to_owned).collect()
}

/// Runs a command line against the server, and gives what it printed.
pub fn told(server: &Server, arguments: &[&str]) -> String {
    let output = rekindle(arguments).args(["--http", &server.http.to_string()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
