//! A server inside the test's process, where the disk can be held or made to fail.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle::boot::Refused;
use rekindle::config::Config;
use rekindle::front::connections::Peer;
use rekindle::listen::Addresses;
use rekindle::progress::Stage;
use rekindle::serve::serve;
use rekindle::state::Server;
use rekindle_env::Env;
use rekindle_wire::error::kind;
use rekindle_wire::v1::queues_client::QueuesClient;
use rekindle_wire::v1::{Kind, SendBatch, SendRequest};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::harness::{Answer, DEADLINE, create, get, message, post};
use super::hooked_disk::Hooks;

/// A server that begins to start in this process.
pub struct Inside {
    pub server: Arc<Server>,
    pub running: JoinHandle<Result<(), Refused>>,
    pub addresses: Addresses,
    _dir: tempfile::TempDir,
}

impl Inside {
    pub async fn start(hooks: &Arc<Hooks>, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(&hooks.env(), change).await
    }

    /// The same on this machine.
    pub async fn start_on(env: &Env, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let free: SocketAddr = ([127, 0, 0, 1], 0).into();
        let data = dir.path().to_path_buf();
        let mut config = Config { data, grpc: free, http: free, ..Config::default() };
        change(&mut config);
        let server = Server::new(config, env);
        let started = Arc::clone(&server);
        let running = tokio::spawn(async move { serve(&started).await });
        while server.addresses().is_none() {
            assert!(!running.is_finished());
            tokio::task::yield_now().await;
        }
        let addresses = server.addresses().unwrap();
        Self { server, running, addresses, _dir: dir }
    }

    pub async fn get(&self, path: &'static str) -> Answer {
        let http = self.addresses.http;
        let ask = move || get(http, path, &[("Host", "localhost")]).unwrap();
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    pub async fn post(&self, path: &'static str, body: serde_json::Value) -> Answer {
        let http = self.addresses.http;
        tokio::task::spawn_blocking(move || post(http, path, &body)).await.unwrap()
    }

    pub async fn queues(&self) -> QueuesClient<tonic::transport::Channel> {
        self.server.progress.reached(Stage::Ready).await;
        QueuesClient::connect(format!("http://{}", self.addresses.grpc)).await.unwrap()
    }

    pub async fn stop(self) {
        self.server.progress.enter(Stage::Shutdown);
        self.running.await.unwrap().unwrap();
    }
}

pub fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(3 * DEADLINE, test).await.unwrap() });
}

/// While the start is held: HTTP answers, says that it is not ready, how far it is and when to ask
/// again, and gRPC connections are refused. Ready is said only once gRPC accepts.
///
/// proves: B6
#[test]
fn grpc_accepts_only_after_recovery() {
    run(async {
        let hooks = Arc::new(Hooks::default());
        hooks.hold();
        let inside = Inside::start(&hooks, |_| {}).await;
        let grpc = inside.addresses.grpc;
        inside.server.progress.reached(Stage::Open).await;
        for _ in 0..3 {
            assert_eq!(inside.get("/livez").await.status, 200);
            assert_eq!(inside.get("/startupz").await.status, 503);
            let ready = inside.get("/readyz").await;
            assert_eq!((ready.status, &ready.json()["stage"]), (503, &"open".into()));
            assert!(ready.head.to_lowercase().contains("retry-after"), "{}", ready.head);
            assert_eq!(inside.get("/v1/queues").await.status, 503);
            let refused = TcpStream::connect(grpc).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        hooks.release();
        // From the first moment at which it says that it is ready, gRPC accepts.
        while inside.get("/readyz").await.status != 200 {
            assert!(!inside.running.is_finished());
        }
        TcpStream::connect(grpc).unwrap();
        assert_eq!(inside.get("/startupz").await.status, 200);
        inside.stop().await;
    });
}

/// While the start is held: the page is served, says how far it is and is loaded again by browsers
/// without scripts; screens that need the store say the same with 503.
#[test]
fn the_page_is_served_from_the_first_moment() {
    run(async {
        let hooks = Arc::new(Hooks::default());
        hooks.hold();
        let inside = Inside::start(&hooks, |_| {}).await;
        inside.server.progress.reached(Stage::Open).await;
        let page = inside.get("/ui/recovery").await;
        assert_eq!(page.status, 200);
        for part in ["This start", "starting: open", "http-equiv=\"refresh\"", "data-part"] {
            assert!(page.body.contains(part), "{part} is missing in {}", page.body);
        }
        for path in ["/ui/", "/ui/queues", "/ui/queues/q"] {
            let page = inside.get(path).await;
            assert_eq!(page.status, 503, "{path}");
            assert!(page.head.to_lowercase().contains("retry-after"), "{path}: {}", page.head);
            assert!(page.body.contains("being recovered"), "{path}: {}", page.body);
        }
        hooks.release();
        inside.server.progress.reached(Stage::Ready).await;
        let page = inside.get("/ui/recovery").await;
        assert!(page.body.contains("serving") && page.body.contains("of this run"));
        assert!(!page.body.contains("http-equiv") && !page.body.contains("This start"));
        inside.stop().await;
    });
}

/// The standard health service says SERVING for each service while work is accepted.
#[test]
fn the_health_service_speaks() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    run(async {
        let inside = Inside::start(&Arc::new(Hooks::default()), |_| {}).await;
        inside.server.progress.reached(Stage::Ready).await;
        let address = format!("http://{}", inside.addresses.grpc);
        let channel = tonic::transport::Endpoint::new(address).unwrap().connect().await.unwrap();
        let mut health = HealthClient::new(channel);
        for service in ["", "rekindle.v1.Queues", "rekindle.v1.Kv"] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let status = health.check(request).await.unwrap().into_inner().status;
            assert_eq!(status, 1, "{service:?} is not SERVING");
        }
        let request = HealthCheckRequest { service: "nothing".to_owned() };
        assert!(health.check(request).await.is_err());
        inside.stop().await;
    });
}

/// A failed sync: nobody hears that it was done, every waiting writer hears *unknown*, and the
/// server ends with 70 within a second.
///
/// fault: S15
#[test]
fn a_failed_sync_ends_the_server() {
    run(async {
        let hooks = Arc::new(Hooks::default());
        let inside = Inside::start(&hooks, |_| {}).await;
        let mut queues = inside.queues().await;
        create(&mut queues, "q").await;
        hooks.fail_syncs();
        let began = Instant::now();
        let messages = vec![message("lost or kept, nobody knows"); 3];
        let request = SendRequest { queue: "q".into(), messages, identity: None };
        let answer = queues.send(request).await;
        let kinds: Vec<Kind> = match answer {
            Ok(answer) => answer.into_inner().errors.iter().map(|error| error.kind()).collect(),
            Err(status) => vec![kind(&status).unwrap_or(Kind::Unknown)],
        };
        assert_eq!(kinds.first(), Some(&Kind::Unknown), "{kinds:?}");
        let ended = inside.running.await.unwrap().unwrap_err();
        assert_eq!(ended.code, 70, "{ended}");
        assert!(ended.message.contains("injected"), "{ended}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    });
}

/// One backup at a time: another one is a conflict while the first is taken, and works behind it.
/// What was taken, or failed, is in the audit log; what was refused is not.
///
/// proves: L11
#[test]
fn a_second_backup_meanwhile_is_a_conflict() {
    run(async {
        let hooks = Arc::new(Hooks::default());
        let inside = Inside::start(&hooks, |_| {}).await;
        let mut queues = inside.queues().await;
        create(&mut queues, "q").await;
        let folder = tempfile::tempdir().unwrap();
        let to =
            |name: &str| json!({ "to": folder.path().join(name), "reason": name, "by": "ada" });
        let passed = hooks.at_locks();
        hooks.hold();
        let (http, body) = (inside.addresses.http, to("one"));
        let first = tokio::task::spawn_blocking(move || post(http, "/v1/backups", &body));
        while hooks.at_locks() == passed {
            tokio::task::yield_now().await;
        }
        let mut meanwhile = Vec::new();
        for name in ["one", "two"] {
            meanwhile.push(inside.post("/v1/backups", to(name)).await);
        }
        hooks.release();
        for second in meanwhile {
            assert_eq!(second.status, 409, "{}", second.body);
            let text = second.json()["error"].to_string();
            assert!(text.contains("a backup is being taken"), "{text}");
        }
        let first = first.await.unwrap();
        assert_eq!((first.status, first.json()["number"].as_u64()), (200, Some(1)));
        assert_eq!(inside.post("/v1/backups", to("two")).await.status, 200);
        assert_eq!(inside.post("/v1/backups", json!({ "to": "relative" })).await.status, 400);
        let forged = json!({ "to": folder.path().join("three"), "reason": "one\ntwo" });
        assert_eq!(inside.post("/v1/backups", forged).await.status, 400);
        assert!(!folder.path().join("three").exists(), "refused before anything is done");
        let audit = inside.get("/v1/audit").await.json();
        let records = audit["records"].as_array().unwrap().iter();
        let records: Vec<_> = records.filter(|it| it["action"] == "backup.take").collect();
        assert_eq!(records.len(), 2, "{records:?}");
        assert_eq!((&records[0]["who"], &records[0]["why"]), (&json!("ada (http)"), &json!("one")));
        let target = folder.path().join("one").display().to_string();
        assert_eq!(records[0]["target"], json!(target));
        let result = records[0]["result"].as_str().unwrap();
        assert!(result.starts_with("backup 1: version "), "{result}");
        inside.stop().await;
    });
}

/// A stream is answered batch by batch in its order, refused messages included; it is read no
/// further than its bound while nothing is answered, and ends when the sender ends.
#[test]
fn a_stream_is_answered_in_order() {
    run(async {
        let inside = Inside::start(&Arc::new(Hooks::default()), |_| {}).await;
        let mut queues = inside.queues().await;
        create(&mut queues, "q").await;
        let (batches, receiver) = tokio::sync::mpsc::channel(4);
        let stream = ReceiverStream::new(receiver);
        let mut acks = queues.send_stream(stream).await.unwrap().into_inner();
        let sender = tokio::spawn(async move {
            for sequence in 0..200_u64 {
                let large = if sequence % 7 == 3 { (1 << 20) + 1 } else { 10 };
                let messages = vec![message("small"), message(vec![1; large])];
                // The queue of the batch before is used where none is named.
                let queue = if sequence == 0 { "q".to_owned() } else { String::new() };
                let batch = SendBatch { sequence, queue, messages, identity: None };
                batches.send(batch).await.unwrap();
            }
        });
        for sequence in 0..200_u64 {
            let ack = acks.next().await.unwrap().unwrap();
            assert_eq!((ack.sequence, ack.ids.len()), (sequence, 2));
            assert!(!ack.ids[0].is_empty());
            let refused = sequence % 7 == 3;
            assert_eq!(ack.ids[1].is_empty(), refused);
            assert_eq!(ack.errors.len(), usize::from(refused));
        }
        sender.await.unwrap();
        assert!(acks.next().await.is_none());
        assert_eq!(inside.server.budget.inflight_bytes(), 0);
        inside.stop().await;
    });
}

/// Bytes in flight are bounded: when others hold them all, a call is refused as full and a stream
/// waits; both go on once there is room.
#[test]
fn bytes_in_flight_are_bounded() {
    run(async {
        let inside = Inside::start(&Arc::new(Hooks::default()), |config| {
            config.limits.inflight_bytes = 16 << 20;
        })
        .await;
        let mut queues = inside.queues().await;
        create(&mut queues, "q").await;
        let others: Vec<_> = (0..2)
            .map(|_| {
                let flight = inside.server.budget.begin(Peer::default());
                assert!(flight.take(8 << 20));
                flight
            })
            .collect();
        let messages = vec![message("x")];
        let request = SendRequest { queue: "q".into(), messages: messages.clone(), identity: None };
        let refused = queues.send(request.clone()).await.unwrap_err();
        assert_eq!(kind(&refused), Some(Kind::Full), "{refused}");
        let batch = SendBatch { sequence: 9, queue: "q".into(), messages, identity: None };
        let stream = tokio_stream::once(batch);
        let mut acks = queues.clone().send_stream(stream).await.unwrap().into_inner();
        drop(others);
        assert_eq!(acks.next().await.unwrap().unwrap().sequence, 9);
        queues.send(request).await.unwrap();
        inside.stop().await;
    });
}
