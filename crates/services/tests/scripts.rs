//! Histories as text: what is done, and under a line of dashes what came of it, read as a diff.
//!
//! `REWRITE=1 cargo nextest run -p rekindle-services scripts` writes the files anew from what
//! happens.

use std::collections::HashMap;
use std::fmt::Write as _;

use rekindle_services::queues::{Delivery, Nack, NewMessage, QueueSettings, Token};

use crate::store::Store;

/// A store and the leases by the bodies of their messages.
struct Player {
    store: Option<Store>,
    /// Tokens by `body` (the newest) and `body#attempt`.
    tokens: HashMap<String, Token>,
}

impl Player {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn play(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["create", name, options @ ..] => self.create(name, options),
            ["send", queue, bodies @ ..] => self.send(queue, bodies),
            ["receive", queue, max] => self.receive(queue, max.parse().unwrap()),
            ["ack", name] => self.settled(name, |store, token| {
                store.queues().ack(None, &[token], None).unwrap().value.remove(0)
            }),
            ["nack", name, options @ ..] => {
                let delay_ms = option(options, "delay").unwrap_or(0);
                let release = options.contains(&"release");
                self.settled(name, |store, token| {
                    let nack = Nack { delay_ms, reason: "said so", release };
                    store.queues().nack(None, &[token], &nack, None).unwrap().value.remove(0)
                })
            }
            ["extend", name, by_ms] => {
                let by_ms = Some(by_ms.parse().unwrap());
                self.settled(name, |store, token| {
                    store.queues().extend(None, &[token], by_ms, None).unwrap().value.remove(0)
                })
            }
            ["pass", ms] => {
                let ticked = self.store().pass(ms.parse().unwrap());
                format!(
                    "reclaimed {}, dead-lettered {}, due {}",
                    ticked.reclaimed, ticked.dead_lettered, ticked.due
                )
            }
            ["crash", down_ms] => self.crash(down_ms.parse().unwrap()),
            ["stats", queue] => self.stats(queue),
            ["purge", queue] => match self.store().queues().purge(queue, None) {
                Ok(done) => format!("{} gone", done.value.messages),
                Err(error) => format!("{:?}", error.kind()),
            },
            ["delete", queue] => match self.store().queues().delete(queue, None) {
                Ok(done) => format!("{} gone", done.value.messages),
                Err(error) => format!("{:?}", error.kind()),
            },
            _ => panic!("unknown line {line:?}"),
        }
    }

    fn create(&self, name: &str, options: &[&str]) -> String {
        let settings = QueueSettings {
            visibility_ms: option(options, "visibility").unwrap_or(30_000),
            max_attempts: option(options, "max-attempts").map_or(0, |max| max.try_into().unwrap()),
            dead_letter: None,
        };
        let created = self.store().queues().create(name, &settings, None);
        created.map_or_else(|error| format!("{:?}", error.kind()), |_| "created".to_owned())
    }

    /// Bodies may be `body`, `key/body`, or `body+delay_ms`.
    fn send(&self, queue: &str, bodies: &[&str]) -> String {
        for body in bodies {
            let (fairness_key, body) = body.split_once('/').unwrap_or(("", body));
            let (body, delay) = body.split_once('+').unwrap_or((body, "0"));
            let delay_ms = delay.parse().unwrap();
            let message = NewMessage { fairness_key, delay_ms, ..NewMessage::default() };
            self.store().send_with(queue, body, &message);
        }
        format!("{} sent", bodies.len())
    }

    fn receive(&mut self, queue: &str, max: usize) -> String {
        let deliveries = match self.store().try_receive(queue, max) {
            Ok(deliveries) => deliveries,
            Err(error) => return format!("{:?}", error.kind()),
        };
        let mut text = String::new();
        for delivery in &deliveries {
            let name = self.note(delivery);
            let _ = write!(text, "{name} ");
        }
        if text.is_empty() { "nothing".to_owned() } else { text.trim_end().to_owned() }
    }

    fn note(&mut self, delivery: &Delivery) -> String {
        let body = String::from_utf8(delivery.body().to_vec()).unwrap();
        let name = format!("{body}#{}", delivery.attempt);
        self.tokens.insert(body, delivery.token);
        self.tokens.insert(name.clone(), delivery.token);
        name
    }

    fn settled(
        &self,
        name: &str,
        settle: impl Fn(
            &Store,
            Token,
        ) -> Result<rekindle_services::queues::Settled, rekindle_services::Error>,
    ) -> String {
        match settle(self.store(), self.tokens[name]) {
            Ok(settled) => format!("{settled:?}"),
            Err(error) => format!("{:?}", error.kind()),
        }
    }

    fn crash(&mut self, down_ms: u64) -> String {
        let store = self.store.take().unwrap().crash(down_ms);
        let (kept, reclaimed) = (store.figure("leases_kept"), store.figure("leases_reclaimed"));
        let dead = store.figure("dead_lettered");
        let messages = store.figure("messages");
        self.store = Some(store);
        format!("messages {messages}, kept {kept}, reclaimed {reclaimed}, dead-lettered {dead}")
    }

    fn stats(&self, queue: &str) -> String {
        match self.store().queues().show(queue) {
            Ok(info) => {
                let stats = info.stats;
                format!("ready {}, leased {}, delayed {}", stats.ready, stats.leased, stats.delayed)
            }
            Err(error) => format!("{:?}", error.kind()),
        }
    }
}

fn option(options: &[&str], name: &str) -> Option<u64> {
    let mut named = options.iter().filter_map(|option| option.split_once('='));
    named.find(|(found, _)| *found == name).map(|(_, value)| value.parse().unwrap())
}

/// Plays a script; blocks are separated by empty lines, comments begin with `#`.
fn play(script: &str) -> String {
    let mut player = Player { store: Some(Store::new()), tokens: HashMap::new() };
    let mut played = Vec::new();
    for block in script.trim().split("\n\n") {
        let (done, _) = block.split_once("\n----").unwrap_or((block, ""));
        let mut text = String::from(done);
        let lines: Vec<&str> = done.lines().filter(|line| !line.starts_with('#')).collect();
        if !lines.is_empty() {
            text.push_str("\n----");
        }
        for line in lines {
            let _ = write!(text, "\n{}", player.play(line));
        }
        played.push(text);
    }
    played.join("\n\n") + "\n"
}

#[allow(clippy::disallowed_methods, reason = "a person asked for the script to be rewritten")]
fn check(name: &str, script: &str) {
    let played = play(script);
    if std::env::var_os("REWRITE").is_some() {
        let path = format!("{}/tests/histories/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, played).unwrap();
        return;
    }
    assert_eq!(played, script, "tests/histories/{name}.txt; REWRITE=1 writes it anew");
}

/// fault: T4, S2
#[test]
fn leases_over_crashes() {
    check("leases", include_str!("histories/leases.txt"));
}

/// fault: T7, S2
#[test]
fn budgets_over_crashes() {
    check("budgets", include_str!("histories/budgets.txt"));
}

/// fault: S2
#[test]
fn queues_over_crashes() {
    check("queues", include_str!("histories/queues.txt"));
}
