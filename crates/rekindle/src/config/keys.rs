//! Every key of the configuration: its name, default, meaning, and how it is set.
//!
//! Invariants: this table is the only list of keys (the file, the environment, the defaults and
//! docs/reference.md all follow it); each key sets a field of [`Config`] that something reads.

use std::path::PathBuf;
use std::time::Duration;

use rekindle_database::SEGMENT_BYTES_MAX;

use super::values::{self, Raw};
use super::{Config, LogFormat, LogLevel};
use crate::front::origin::Names;
use crate::posting::Target;

/// One key.
#[derive(Debug)]
pub struct Key {
    /// The table it stands in.
    pub section: &'static str,
    /// Its name in that table.
    pub name: &'static str,
    /// What holds when nobody sets it, as it would be written.
    pub default: &'static str,
    /// What it means, for docs/reference.md.
    pub help: &'static str,
    /// Sets it.
    pub(crate) set: fn(&mut Config, &Raw) -> Result<(), String>,
}

impl Key {
    /// `section.name`, as messages and documents write it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        let (section, name) = (self.section.to_uppercase(), self.name.to_uppercase());
        format!("{}{section}__{name}", super::PREFIX)
    }
}

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// All keys, in the order of the documents.
pub static KEYS: &[Key] = &[
    Key {
        section: "server",
        name: "data",
        default: "./rekindle-data",
        help: "The store's directory; made when missing.",
        set: |config, raw| values::text(raw).map(|path| config.data = PathBuf::from(path)),
    },
    Key {
        section: "server",
        name: "grpc",
        default: "127.0.0.1:7611",
        help: "Address of the gRPC front. Port 0 picks a free one.",
        set: |config, raw| values::address(raw).map(|address| config.grpc = address),
    },
    Key {
        section: "server",
        name: "http",
        default: "127.0.0.1:7610",
        help: "Address of the HTTP front. Port 0 picks a free one.",
        set: |config, raw| values::address(raw).map(|address| config.http = address),
    },
    Key {
        section: "server",
        name: "allowed_hosts",
        default: "",
        help: "Names, separated by commas, by which callers may name this server besides addresses \
               and `localhost`; any other name is refused (DNS rebinding).",
        set: |config, raw| match raw {
            Raw::Text(names) => {
                config.names = Names::parse(names);
                Ok(())
            }
            _ => Err(format!("{raw} is not a text")),
        },
    },
    Key {
        section: "server",
        name: "insecure_allow_remote",
        default: "false",
        help: "Allows addresses that are not loopback, although nobody is asked who they are.",
        set: |config, raw| values::truth(raw).map(|yes| config.insecure_allow_remote = yes),
    },
    Key {
        section: "server",
        name: "shutdown_timeout",
        default: "10s",
        help: "How long a graceful shutdown may take before the process ends anyway (70).",
        set: |config, raw| {
            values::duration(raw, 100 * MS, HOUR).map(|time| config.shutdown_timeout = time)
        },
    },
    Key {
        section: "server",
        name: "worker_threads",
        default: "2",
        help: "Threads of the network runtime (the journal has threads of its own).",
        set: |config, raw| values::count(raw, 1, 256).map(|n| config.worker_threads = n),
    },
    Key {
        section: "durability",
        name: "mode",
        default: "strict",
        help: "What an acknowledgement promises: `strict` (synced), `batched` (written, synced \
               every interval) or `relaxed` (in memory, written and synced every interval).",
        set: |config, raw| values::durability(raw).map(|mode| config.durability = mode),
    },
    Key {
        section: "durability",
        name: "interval",
        default: "100ms",
        help: "The loss window of `batched` and `relaxed`.",
        set: |config, raw| {
            values::duration(raw, MS, MINUTE).map(|time| config.sync_interval = time)
        },
    },
    Key {
        section: "journal",
        name: "segment_bytes",
        default: "64MiB",
        help: "Size of a journal segment: a multiple of 4KiB, from 8MiB to 2GiB.",
        set: |config, raw| {
            // A segment holds the largest transaction, and its blocks are those of the disk.
            config.segment_bytes = values::bytes(raw, 8 * MIB, SEGMENT_BYTES_MAX)?;
            match config.segment_bytes.is_multiple_of(4_096) {
                true => Ok(()),
                false => Err(format!("{raw} is not a multiple of 4KiB")),
            }
        },
    },
    Key {
        section: "recovery",
        name: "max_time",
        default: "5s",
        help: "Seconds of replay after which a checkpoint is taken: a promise about start-up. \
               100ms to 1h.",
        set: |config, raw| {
            config.max_recovery = values::duration(raw, 100 * MS, HOUR)?;
            config.alerts.thresholds.recovery = config.max_recovery;
            Ok(())
        },
    },
    Key {
        section: "recovery",
        name: "scrub_interval",
        default: "24h",
        help: "How often what lies on disk and no start reads is read whole, the first time right \
               after the start; from `1m`, or `0s`: never.",
        set: |config, raw| {
            let time = values::duration(raw, Duration::ZERO, 10_000 * HOUR)?;
            if !time.is_zero() && time < MINUTE {
                return Err(format!("{raw} is not a duration from 1m to 10000h, or 0s"));
            }
            config.scrub_every = (!time.is_zero()).then_some(time);
            Ok(())
        },
    },
    Key {
        section: "recovery",
        name: "scrub_rate",
        default: "16MiB",
        help: "How fast, bytes in a second.",
        set: |config, raw| values::bytes(raw, 4 << 10, TIB).map(|rate| config.scrub_rate = rate),
    },
    Key {
        section: "jobs",
        name: "dispatch_capacity",
        default: "1000",
        help: "Jobs of one type that a start makes deliverable at once; more follow as these are \
               claimed.",
        set: |config, raw| values::count(raw, 1, 1_000_000).map(|n| config.dispatch_capacity = n),
    },
    Key {
        section: "loops",
        name: "commands",
        default: "false",
        help: "Runs the commands of loops: whoever may start a plan runs programs as this user.",
        set: |config, raw| values::truth(raw).map(|yes| config.loops.commands = yes),
    },
    Key {
        section: "loops",
        name: "concurrency",
        default: "8",
        help: "How many steps of loops this server runs at one time.",
        set: |config, raw| values::count(raw, 1, 256).map(|n| config.loops.concurrency = n),
    },
    Key {
        section: "loops",
        name: "inherit",
        default: "PATH,HOME,USER,LOGNAME,LANG,LC_ALL,TZ",
        help: "Variables of the server, by commas, that commands of loops have; `*`: all.",
        set: |config, raw| values::text_or_nothing(raw).map(|it| config.loops.inherit_these(it)),
    },
    Key {
        section: "loops",
        name: "resume_within",
        default: "1h",
        help: "So short a time without life, and executions go on by themselves at a start.",
        set: |config, raw| {
            values::year(raw).map(|ms| config.loops.strategies.resume_within_ms = ms)
        },
    },
    Key {
        section: "loops",
        name: "recovery_timeout",
        default: "24h",
        help: "Up to so long a person decides about them; beyond it they have failed.",
        set: |config, raw| {
            values::year(raw).map(|ms| config.loops.strategies.recovery_timeout_ms = ms)
        },
    },
    Key {
        section: "engine",
        name: "kind",
        default: "auto",
        help: "Which engine holds the state: `lsm` (files, for state larger than memory), \
               `memory`, or `rocksdb` (files, in a program that was built with it). A store on \
               another one is refused; `auto`: whatever the store is on, and `lsm` for a new one. \
               `rekindle migrate` changes it.",
        set: |config, raw| {
            config.engine = match values::text(raw)?.as_str() {
                "auto" => None,
                name => Some(name.parse()?),
            };
            Ok(())
        },
    },
    Key {
        section: "engine",
        name: "memtable_bytes",
        default: "64MiB",
        help: "What an engine with files collects in memory before it writes it out; up to four \
               times as much is in memory while the disk is slow. Much of a start is replaying as \
               much.",
        set: |config, raw| {
            values::bytes(raw, MIB, 4096 * MIB).map(|bytes| config.memtable_bytes = bytes)
        },
    },
    Key {
        section: "engine",
        name: "cache_bytes",
        default: "256MiB",
        help: "What an engine with files keeps of them in memory.",
        set: |config, raw| values::bytes(raw, MIB, TIB).map(|bytes| config.cache_bytes = bytes),
    },
    Key {
        section: "engine",
        name: "max_state_bytes",
        default: "auto",
        help: "Growth beyond it is refused before the journal is touched; deletes go on. `auto`: \
               60 % of the memory of the machine or of its cgroup; on an engine with files the \
               space on disk is what counts.",
        set: |config, raw| {
            config.max_state_bytes = match raw {
                Raw::Text(text) if text == "auto" => None,
                _ => Some(values::bytes(raw, MIB, 1024 * TIB)?),
            };
            Ok(())
        },
    },
    Key {
        section: "limits",
        name: "connections",
        default: "4096",
        help: "Connections to each front at once.",
        set: |config, raw| values::count(raw, 1, 65_535).map(|n| config.limits.connections = n),
    },
    Key {
        section: "limits",
        name: "connections_per_address",
        default: "256",
        help: "Connections to each front at once from one address.",
        set: |config, raw| {
            values::count(raw, 1, 65_535).map(|n| config.limits.connections_per_address = n)
        },
    },
    Key {
        section: "limits",
        name: "streams_per_connection",
        default: "128",
        help: "HTTP/2 streams (calls) at once on one gRPC connection.",
        set: |config, raw| {
            values::count(raw, 1, 65_535).map(|n| config.limits.streams_per_connection = n)
        },
    },
    Key {
        section: "limits",
        name: "inflight_bytes",
        default: "256MiB",
        help: "Bytes of requests received and not yet answered, all connections together.",
        set: |config, raw| {
            values::bytes(raw, 16 * MIB, TIB).map(|size| config.limits.inflight_bytes = size)
        },
    },
    Key {
        section: "limits",
        name: "inflight_bytes_per_connection",
        default: "8MiB",
        help: "Bytes of requests received and not yet answered on one connection.",
        set: |config, raw| {
            let size = values::bytes(raw, 8 * MIB, TIB)?;
            config.limits.inflight_bytes_per_connection = size;
            Ok(())
        },
    },
    Key {
        section: "limits",
        name: "long_polls",
        default: "4096",
        help: "Receive calls that wait at once; one more is answered at once, without waiting.",
        set: |config, raw| values::count(raw, 0, 1 << 20).map(|n| config.limits.long_polls = n),
    },
    Key {
        section: "alerts",
        name: "interval",
        default: "10s",
        help: "How often the alert rules are looked at.",
        set: |config, raw| {
            values::duration(raw, 1_000 * MS, HOUR).map(|time| config.alerts.interval = time)
        },
    },
    Key {
        section: "alerts",
        name: "webhook",
        default: "",
        help: "`http://HOST:PORT/PATH` that each change of an alert is posted to; empty: none.",
        set: |config, raw| {
            config.alerts.webhook = match raw {
                Raw::Text(text) if text.is_empty() => None,
                _ => Some(Target::parse(&values::text(raw)?)?),
            };
            Ok(())
        },
    },
    Key {
        section: "alerts",
        name: "window",
        default: "10m",
        help: "How far back unclean ends, dead letters and attempts are counted.",
        set: |config, raw| {
            let window = values::duration(raw, MINUTE, 24 * HOUR)?;
            config.alerts.thresholds.window = window;
            Ok(())
        },
    },
    Key {
        section: "alerts",
        name: "crash_loop",
        default: "3",
        help: "Unclean ends within the window that are a crash loop.",
        set: |config, raw| {
            values::count(raw, 1, 100).map(|n| config.alerts.thresholds.crash_loop = n)
        },
    },
    Key {
        section: "alerts",
        name: "review_items",
        default: "1",
        help: "So many items that wait for a person are told.",
        set: |config, raw| {
            values::count(raw, 1, 1 << 32).map(|n| config.alerts.thresholds.review_items = n)
        },
    },
    Key {
        section: "alerts",
        name: "poison_attempts",
        default: "10",
        help: "A message that is handed out for the so manieth time is told.",
        set: |config, raw| {
            values::count(raw, 2, 1 << 32).map(|n| config.alerts.thresholds.poison_attempts = n)
        },
    },
    Key {
        section: "alerts",
        name: "dead_letters",
        default: "100",
        help: "So many dead-lettered messages within the window are told.",
        set: |config, raw| {
            values::count(raw, 1, 1 << 32).map(|n| config.alerts.thresholds.dead_letters = n)
        },
    },
    Key {
        section: "alerts",
        name: "backlog_age",
        default: "1h",
        help: "A message that is ready for so long is told.",
        set: |config, raw| {
            let age = values::duration(raw, 1_000 * MS, 366 * 24 * HOUR)?;
            config.alerts.thresholds.backlog_age = age;
            Ok(())
        },
    },
    Key {
        section: "alerts",
        name: "disk_free",
        default: "1GiB",
        help: "Less free space on the disk than this is told.",
        set: |config, raw| {
            values::bytes(raw, 0, 1024 * TIB).map(|size| config.alerts.thresholds.disk_free = size)
        },
    },
    Key {
        section: "alerts",
        name: "sync_time",
        default: "250ms",
        help: "Syncs of the journal that take so long are told.",
        set: |config, raw| {
            values::duration(raw, MS, HOUR).map(|time| config.alerts.thresholds.sync_time = time)
        },
    },
    Key {
        section: "log",
        name: "level",
        default: "info",
        help: "The least severity that is logged: `error`, `warn`, `info`, `debug`, `trace`.",
        set: |config, raw| {
            let level = LogLevel::parse(&values::text(raw)?);
            config.log_level = level.ok_or_else(|| format!("{raw} is no level"))?;
            Ok(())
        },
    },
    Key {
        section: "log",
        name: "format",
        default: "auto",
        help: "`text`, `json`, or `auto`: text where standard error is a terminal, otherwise JSON.",
        set: |config, raw| {
            config.log_format = match values::text(raw)?.as_str() {
                "auto" => LogFormat::Auto,
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(format!("{raw} is none of auto, text, json")),
            };
            Ok(())
        },
    },
];

/// The key that is written most like `path` (`section.name`), if any is near.
pub(crate) fn nearest(path: &str) -> Option<&'static Key> {
    let scored = KEYS.iter().map(|key| (distance(path, &key.path()), key));
    let (least, key) = scored.min_by_key(|(distance, _)| *distance)?;
    (least <= 1 + path.len() / 3).then_some(key)
}

/// Levenshtein's distance between two words.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A typing mistake is answered with the key that was meant; nonsense with none.
    #[test]
    fn the_nearest_key_is_suggested() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("server.htp").unwrap().path(), "server.http");
        assert_eq!(nearest("journal.segment_size").unwrap().path(), "journal.segment_bytes");
        assert_eq!(nearest("durability.intervall").unwrap().path(), "durability.interval");
        assert!(nearest("zzzzzzzzzzzzzzzzzzzzzzzzz").is_none());
    }

    /// No two keys share a name, and names are plain words.
    #[test]
    fn keys_are_unique() {
        let mut paths: Vec<String> = KEYS.iter().map(Key::path).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), KEYS.len());
    }
}
