//! The real binary on a small file system that is filled to the last byte and drained under load.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use rekindle::config::Config;
use rekindle::progress::Stage;
use rekindle_env::Env;
use rekindle_wire::error::kind;
use rekindle_wire::v1::kv_client::KvClient;
use rekindle_wire::v1::{CreateQueueRequest, Kind, PutRequest, QueueDefinition, SendRequest};
use tonic::Code;

use super::cli_harness::{command, run_with};
use super::harness::{Answer, Server, bodies, create, message, post, receive_all, send, serve};
use super::server_inside::{Inside, run};
use super::small_disk::SmallDisk as CountedDisk;

/// A file system in memory with so many MiB; unmounted when dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self { dir })
    }

    fn filler(&self) -> PathBuf {
        self.dir.path().join("filler")
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        let block = vec![1_u8; 1 << 16];
        // Blocks, then pages, until nothing is left.
        for len in [block.len(), 4096] {
            while std::io::Write::write_all(&mut file, &block[..len]).is_ok() {}
        }
    }

    fn drain(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

fn server(data: &Path) -> Server {
    let mut command = serve(data, &[]);
    command.env("REKINDLE__JOURNAL__SEGMENT_BYTES", "8MiB");
    Server::spawn(command)
}

fn stats(server: &Server) -> Value {
    server.get("/v1/stats").json()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: it never came to that");
        std::thread::yield_now();
    }
    began.elapsed()
}

/// What was acknowledged, and what came out.
#[derive(Default)]
struct Oracle {
    sent: Mutex<BTreeSet<String>>,
    received: Mutex<BTreeSet<String>>,
    refused: AtomicU64,
    stop: AtomicBool,
}

struct Stop<'a>(&'a Oracle);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

impl Oracle {
    /// Sends 64 messages of 16 KiB at a time with the command line.
    fn send(&self, server: &Server) {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let line = |n: u64| format!("{:08}-{}\n", number + n, "x".repeat(16 << 10));
            let input: String = (0..64).map(line).collect();
            let sent = run_with(command(server, &["queue", "send", "q"]), input.as_bytes());
            assert!([0, 1].contains(&sent.code), "{} {}", sent.code, sent.err);
            for (n, result) in (0..).zip(sent.lines()) {
                if result.get("id").is_some() {
                    self.sent.lock().unwrap().insert(format!("{:08}", number + n));
                } else {
                    let error = result["error"].as_str().unwrap();
                    assert!(error.contains("disk"), "{error}");
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            number += 64;
        }
    }

    /// Receives and acks what is there; never refused.
    fn consume(&self, server: &Server) {
        let arguments = ["queue", "receive", "q", "--max", "32", "--ack"];
        let got = run_with(command(server, &arguments), b"");
        assert_eq!(got.code, 0, "{}", got.err);
        let mut received = self.received.lock().unwrap();
        for body in got.texts("body") {
            assert!(received.insert(body[..8].to_owned()), "{} came twice", &body[..8]);
        }
    }
}

/// Waits until `disk_low` is in this state, and says so.
async fn alert(inside: &Inside, state: &str, says: &str) {
    loop {
        let alerts = inside.get("/v1/alerts").await.json()["alerts"].clone();
        let all = alerts.as_array().unwrap().clone();
        let low = all.into_iter().find(|it| it["alert"] == "disk_low").unwrap();
        if low["state"] == state && low["summary"].as_str().unwrap().contains(says) {
            return;
        }
    }
}

/// On a full disk growth is refused as RESOURCE_EXHAUSTED over gRPC, which the alert tells whatever
/// its own threshold is; receiving goes on; all of it is over once there is room.
///
/// proves: L11
/// fault: S17
#[test]
fn a_full_disk_is_resource_exhausted_over_grpc() {
    run(async {
        let disk = CountedDisk::new(256 << 20);
        let env = Env { disk: Arc::new(disk.clone()), ..Env::real() };
        let inside = Inside::start_on(&env, |config| {
            config.segment_bytes = 8 << 20;
            config.alerts.thresholds.disk_free = 0;
            config.alerts.interval = Duration::from_millis(100);
        })
        .await;
        let mut queues = inside.queues().await;
        create(&mut queues, "q").await;
        send(&mut queues, "q", &["before".to_owned()]).await;
        disk.fill();
        alert(&inside, "firing", "growth is refused").await;

        let definition = QueueDefinition { name: "another".to_owned(), ..Default::default() };
        let request = CreateQueueRequest { definition: Some(definition), identity: None };
        let refused = queues.create(request).await.unwrap_err();
        assert_eq!((refused.code(), kind(&refused)), (Code::ResourceExhausted, Some(Kind::Full)));
        assert!(refused.message().contains("disk"), "{refused}");
        let messages = vec![message("x"), message("y")];
        let request = SendRequest { queue: "q".into(), messages, identity: None };
        let answer = queues.send(request).await.unwrap().into_inner();
        let kinds: Vec<Kind> = answer.errors.iter().map(|error| error.kind()).collect();
        assert_eq!(kinds, [Kind::Full, Kind::Full], "{:?}", answer.errors);
        let address = format!("http://{}", inside.addresses.grpc);
        let mut kv = KvClient::connect(address).await.unwrap();
        let request =
            PutRequest { key: "k".into(), value: vec![1; 100].into(), ..Default::default() };
        let refused = kv.put(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");

        let got = receive_all(&mut queues, "q").await;
        assert_eq!(bodies(&got), ["before"]);
        disk.drain();
        alert(&inside, "resolved", "").await;
        send(&mut queues, "q", &["after".to_owned()]).await;
        assert_eq!(inside.server.progress.stage(), Stage::Ready);
        inside.stop().await;
    });
}

/// On a full disk an operator still takes note of damage, from the reserve; a backup onto it is
/// refused as 507.
///
/// fault: S17
#[test]
fn a_full_disk_is_507_over_http() {
    run(async {
        let disk = CountedDisk::new(256 << 20);
        let env = Env { disk: Arc::new(disk.clone()), ..Env::real() };
        let change = |config: &mut Config| {
            config.segment_bytes = 8 << 20;
            config.alerts.interval = Duration::from_millis(100);
        };
        let inside = Inside::start_on(&env, change).await;
        inside.server.progress.reached(Stage::Ready).await;
        disk.fill();
        alert(&inside, "firing", "growth is refused").await;
        let http = inside.addresses.http;
        let ask = |path: &'static str, body: Value| -> tokio::task::JoinHandle<Answer> {
            tokio::task::spawn_blocking(move || post(http, path, &body))
        };
        let to = tempfile::tempdir().unwrap();
        let body = serde_json::json!({ "to": to.path().join("backup") });
        let refused = ask("/v1/backups", body).await.unwrap();
        assert_eq!(refused.status, 507, "{}", refused.body);
        assert!(refused.json()["error"].is_string(), "{}", refused.body);
        inside.server.alerts.damages.met("a segment, says a test");
        let body = serde_json::json!({ "reason": "the disk is full, too" });
        let done = ask("/v1/alerts/corruption_found/acknowledge", body).await.unwrap();
        assert_eq!(done.status, 200, "{}", done.body);
        inside.stop().await;
    });
}

/// 20 times: filled to 100 % under load and drained. Nothing acknowledged is lost or comes twice,
/// consumers are never blocked, sends are refused as full and work again within a second or so.
///
/// fault: S17
#[test]
#[ignore = "mounts a file system: .ci/run and `cargo xtask campaign disk` run it"]
fn campaign_disk_is_filled_and_drained() {
    let Some(disk) = SmallDisk::mount(128) else {
        eprintln!("SKIPPED: this process may not mount a tmpfs; run it as root");
        return;
    };
    let scale = std::env::var("REKINDLE_SCALE").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
    let data = disk.dir.path().join("store");
    let server = server(&data);
    let oracle = Oracle::default();
    let created = run_with(command(&server, &["queue", "create", "q"]), b"");
    assert_eq!(created.code, 0, "{}", created.err);
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let stop = Stop(&oracle);
        let sender = scope.spawn(|| oracle.send(&server));
        let alive = || assert!(!sender.is_finished(), "the sender gave up");
        for round in 0..20 * scale {
            let sent = || oracle.sent.lock().unwrap().len();
            let before = sent();
            until("load", || {
                alive();
                oracle.consume(&server);
                sent() > before + 128 && stats(&server)["disk_low"] == false
            });
            disk.fill();
            let refused = oracle.refused.load(Ordering::Relaxed);
            until("refusals", || {
                alive();
                oracle.refused.load(Ordering::Relaxed) > refused
            });
            // Everything that is there is worked off while the disk is full.
            (0..10).for_each(|_| oracle.consume(&server));
            let before = sent();
            disk.drain();
            let took = until("service", || {
                alive();
                sent() > before
            });
            slowest = slowest.max(took);
            eprintln!("round {round}: served again after {} ms", took.as_millis());
        }
        drop(stop);
    });
    // A command that was refused whole may take a moment itself.
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    disk.fill();
    until("the rest", || {
        let before = oracle.received.lock().unwrap().len();
        oracle.consume(&server);
        oracle.received.lock().unwrap().len() == before
    });
    assert_eq!(server.stop(), 0);
    assert_eq!(*oracle.sent.lock().unwrap(), *oracle.received.lock().unwrap());
    eprintln!("{} messages, slowest {slowest:?}", oracle.sent.lock().unwrap().len());
}

/// The store itself fills the disk, as far as it lets; what is purged, or received in the end,
/// makes room for much again.
///
/// fault: S17
#[test]
#[ignore = "mounts a file system: .ci/run and `cargo xtask campaign disk` run it"]
fn campaign_disk_is_filled_by_the_store_and_emptied() {
    let Some(disk) = SmallDisk::mount(128) else {
        eprintln!("SKIPPED: this process may not mount a tmpfs; run it as root");
        return;
    };
    let server = server(&disk.dir.path().join("store"));
    let created = run_with(command(&server, &["queue", "create", "q"]), b"");
    assert_eq!(created.code, 0, "{}", created.err);
    let line = format!("{}\n", "x".repeat(16 << 10));
    // 1 MiB at a time until nothing more is taken; how many were.
    let fill = || {
        let mut sent = 0;
        loop {
            let input = line.repeat(64);
            let got = run_with(command(&server, &["queue", "send", "q"]), input.as_bytes());
            assert!([0, 1].contains(&got.code), "{} {}", got.code, got.err);
            let taken = got.lines().iter().filter(|line| line.get("id").is_some()).count();
            sent += taken;
            if taken == 0 {
                return sent;
            }
            assert!(sent < 16 << 10, "128 MiB never end");
        }
    };
    let first = fill();
    // 16 MiB are what a store that needs 60 for itself has at least.
    assert!(first >= 1_024, "{first} messages");
    for round in 0..3 {
        match round % 2 {
            0 => {
                let purged = run_with(command(&server, &["queue", "purge", "q"]), b"");
                assert_eq!(purged.code, 0, "{}", purged.err);
            }
            _ => loop {
                let arguments = ["queue", "receive", "q", "--max", "64", "--ack"];
                let got = run_with(command(&server, &arguments), b"");
                assert_eq!(got.code, 0, "{}", got.err);
                if got.texts("body").is_empty() {
                    break;
                }
            },
        }
        let mut again = 0;
        let took = until("room for half as much again", || {
            again += fill();
            again * 2 >= first
        });
        eprintln!("round {round}: {again} of {first} after {} ms", took.as_millis());
    }
    assert_eq!(server.stop(), 0);
}
