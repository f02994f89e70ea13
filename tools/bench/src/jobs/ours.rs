//! Jobs and messages of our server, over HTTP.
//!
//! Invariants: what is done is what any client does, request by request; every change says that it
//! is on the disk, or the figure would be of something else.

use std::fmt::Write as _;

use serde_json::Value;

use super::http::Http;
use super::{Client, payload};
use crate::server::QUEUE;

/// The type of every job.
pub(crate) const TYPE: &str = "bench";
const DURABLE: &str = r#""durability":"disk""#;

/// Jobs of a server.
#[derive(Debug)]
pub(crate) struct Jobs {
    http: Http,
    number: u64,
    body: String,
}

/// A claim or a delivery.
struct Held {
    id: String,
    token: String,
}

impl Jobs {
    /// A client of the server that listens there.
    pub(crate) fn connect(address: &str) -> Result<Self, String> {
        Ok(Self { http: Http::connect(address)?, number: 0, body: String::new() })
    }

    /// How long completed jobs are kept.
    pub(crate) fn keep_completed(&mut self, ms: u64) -> Result<(), String> {
        let body = format!(r#"{{"keep_completed_ms":{ms}}}"#);
        self.http.call("PUT", &format!("/v1/job-types/{TYPE}"), &body).map(drop)
    }

    /// Claims up to so many, and completes them: one by its own route, several in a transaction.
    fn claim_and_complete(&mut self, count: usize) -> Result<usize, String> {
        let asked = format!(r#"{{"types":["{TYPE}"],"max":{count}}}"#);
        let jobs = held(self.http.call("POST", "/v1/jobs/claim", &asked)?, "jobs")?;
        self.body.clear();
        let (path, changes) = match &jobs[..] {
            [] => return Ok(0),
            [job] => {
                written(&mut self.body, format_args!(r#"{{"token":"{}"}}"#, job.token));
                (format!("/v1/jobs/{}/complete", job.id), 1)
            }
            jobs => {
                for (at, job) in jobs.iter().enumerate() {
                    let before = if at == 0 { r#"{"operations":["# } else { "," };
                    let complete =
                        format_args!(r#"{before}{{"complete":{{"token":"{}"}}}}"#, job.token);
                    written(&mut self.body, complete);
                }
                self.body.push_str("]}");
                ("/v1/transactions".to_owned(), 1)
            }
        };
        durable(self.http.call("POST", &path, &self.body)?, changes)?;
        Ok(jobs.len())
    }
}

impl Client for Jobs {
    fn submit(&mut self, count: usize) -> Result<(), String> {
        self.body.clear();
        if count > 1 {
            self.body.push_str(r#"{"jobs":["#);
        }
        for at in 0..count {
            self.number += 1;
            let comma = if at == 0 { "" } else { "," };
            let job = payload(self.number);
            written(&mut self.body, format_args!(r#"{comma}{{"type":"{TYPE}","payload":{job}}}"#));
        }
        if count > 1 {
            self.body.push_str("]}");
        }
        durable(self.http.call("POST", "/v1/jobs", &self.body)?, count)
    }

    fn work(&mut self, count: usize) -> Result<usize, String> {
        self.claim_and_complete(count)
    }
}

/// Messages of a queue.
#[derive(Debug)]
pub(crate) struct Messages {
    http: Http,
    number: u64,
    body: String,
}

impl Messages {
    /// A client of the server that listens there.
    pub(crate) fn connect(address: &str) -> Result<Self, String> {
        Ok(Self { http: Http::connect(address)?, number: 0, body: String::new() })
    }

    /// Makes the queue.
    pub(crate) fn create(&mut self) -> Result<(), String> {
        let body = format!(r#"{{"name":"{QUEUE}"}}"#);
        self.http.call("POST", "/v1/queues", &body).map(drop)
    }
}

impl Client for Messages {
    fn submit(&mut self, count: usize) -> Result<(), String> {
        self.body.clear();
        if count > 1 {
            self.body.push_str(r#"{"messages":["#);
        }
        for at in 0..count {
            self.number += 1;
            let comma = if at == 0 { "" } else { "," };
            // The same bytes as a job's, so their quotes must be escaped.
            let text = payload(self.number).replace('"', "\\\"");
            written(&mut self.body, format_args!(r#"{comma}{{"body":"{text}"}}"#));
        }
        if count > 1 {
            self.body.push_str("]}");
        }
        let path = format!("/v1/queues/{QUEUE}/messages");
        durable(self.http.call("POST", &path, &self.body)?, count)
    }

    fn work(&mut self, count: usize) -> Result<usize, String> {
        let path = format!("/v1/queues/{QUEUE}/receive");
        let asked = format!(r#"{{"max":{count}}}"#);
        let messages = held(self.http.call("POST", &path, &asked)?, "deliveries")?;
        if messages.is_empty() {
            return Ok(0);
        }
        self.body.clear();
        for (at, message) in messages.iter().enumerate() {
            let before = if at == 0 { r#"{"tokens":["# } else { "," };
            written(&mut self.body, format_args!(r#"{before}"{}""#, message.token));
        }
        self.body.push_str("]}");
        let path = format!("/v1/queues/{QUEUE}/ack");
        durable(self.http.call("POST", &path, &self.body)?, 1)?;
        Ok(messages.len())
    }
}

fn written(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes everything");
}

/// The answer must say so many times that the change is on the disk.
fn durable(answer: &str, changes: usize) -> Result<(), String> {
    match answer.matches(DURABLE).count() {
        found if found == changes => Ok(()),
        found => Err(format!("{found} of {changes} changes are on the disk: {answer}")),
    }
}

fn held(answer: &str, list: &str) -> Result<Vec<Held>, String> {
    let answer: Value = serde_json::from_str(answer).map_err(|error| error.to_string())?;
    let items = answer.get(list).and_then(Value::as_array).ok_or("an answer without its list")?;
    let text = |item: &Value, name: &str| {
        let text = item.get(name).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| format!("an answer without `{name}`"))
    };
    items.iter().map(|it| Ok(Held { id: text(it, "id")?, token: text(it, "token")? })).collect()
}
