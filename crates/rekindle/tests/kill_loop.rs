//! SIGKILL under load in a loop, with one oracle in the client over all lives of the server.
//!
//! Invariants: the moments of the kills follow from the seed by counting acknowledgements (or lines
//! of a start's log), each wait with a deadline; the clients are never told about a kill.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use rekindle_client::{Client, Delivery, Message, QueueDefinition, Receive, SenderOptions};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::harness::{Server, rekindle, run};
use super::kill_oracle::{Act, Oracle};

const QUEUES: [&str; 2] = ["a", "b"];
const SENDERS: usize = 2;
const RECEIVERS: usize = 2;
/// Leases whose answers died with the server come back after this.
const VISIBILITY: Duration = Duration::from_secs(3);
/// How long a client tries: longer than any start, so every outcome is learned.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages that are sent and not finished, per queue.
const BACKLOG: usize = 1_000;
/// The smallest segments, so that a long run rotates and takes checkpoints.
const SEGMENT_BYTES: &str = "8388608";

/// The smallest memtables, so that files are flushed and merged all the time.
const MEMTABLE_BYTES: &str = "1048576";

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Of one place in a run.
    pub fn new(seed: u64, place: u64) -> Self {
        let mut dice = Self(seed ^ place.wrapping_mul(0xA24B_AED4_963E_E407));
        dice.below(1);
        dice
    }

    /// SplitMix64 (Steele, Lea, Flood, 2014).
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// The lives of one store at one address.
struct Store {
    data: PathBuf,
    grpc: SocketAddr,
    engine: &'static str,
}

impl Store {
    fn serve(&self) -> Command {
        let mut command = rekindle(&["serve", "--http", "127.0.0.1:0"]);
        command.args(["--grpc", &self.grpc.to_string()]).arg("--data").arg(&self.data);
        command.env("REKINDLE__JOURNAL__SEGMENT_BYTES", SEGMENT_BYTES);
        command.env("REKINDLE__ENGINE__KIND", self.engine);
        command.env("REKINDLE__ENGINE__MEMTABLE_BYTES", MEMTABLE_BYTES);
        command
    }

    /// A start that is killed: after some lines of its log, or some time after one.
    fn half_start(&self, dice: &mut Dice) {
        let mut command = self.serve();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (lines, said) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in log.lines() {
                if lines.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        let after = dice.below(6);
        for _ in 0..after {
            if said.recv_timeout(Duration::from_micros(dice.below(100_000))).is_err() {
                break;
            }
        }
        let moment = Duration::from_micros(dice.below(20_000));
        let ended = said.recv_timeout(moment) == Err(RecvTimeoutError::Disconnected);
        kill(&mut child);
        let said: Vec<String> = said.try_iter().collect();
        reader.join().unwrap();
        assert!(!ended, "a start ended by itself: {said:?}");
    }

    /// `verify` after a kill: clean, or an end that nobody was told about.
    fn verify(&self, when: &str) {
        let verify = run(&["verify", "--json", "--data", self.data.to_str().unwrap()]);
        let code = verify.status.code();
        assert!(matches!(code, Some(0 | 3 | 4)), "{when}: {verify:?}");
        let report: serde_json::Value = serde_json::from_slice(&verify.stdout).unwrap();
        assert_eq!(report["code"].as_i64(), code.map(i64::from), "{when}: {report}");
    }
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A loopback address that no other test uses: nobody may take the port between two lives.
fn lonely_address() -> String {
    if cfg!(target_os = "linux") {
        let [.., high, low] = std::process::id().to_be_bytes();
        format!("127.77.{high}.{low}:0")
    } else {
        "127.0.0.1:0".to_owned()
    }
}

/// The clients of one run.
struct Load {
    runtime: Runtime,
    oracle: Arc<Oracle>,
    client: Client,
    stop_sending: Arc<AtomicBool>,
    stop_receiving: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
    receivers: Vec<JoinHandle<()>>,
}

impl Load {
    fn begin(grpc: SocketAddr, seed: u64) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let entered = runtime.enter();
        let client = Client::connect(&grpc.to_string()).unwrap().with_timeout(PATIENCE);
        drop(entered);
        let visibility_ms = u64::try_from(VISIBILITY.as_millis()).unwrap();
        for name in QUEUES {
            let name = name.to_owned();
            let definition = QueueDefinition { name, visibility_ms, ..Default::default() };
            assert!(runtime.block_on(client.create_queue(definition)).unwrap());
        }
        let mut load = Self {
            runtime,
            oracle: Arc::default(),
            client,
            stop_sending: Arc::default(),
            stop_receiving: Arc::default(),
            senders: vec![],
            receivers: vec![],
        };
        for queue in QUEUES {
            load.work_on(queue, seed);
        }
        load
    }

    fn work_on(&mut self, queue: &'static str, seed: u64) {
        let room = Arc::new(Semaphore::new(BACKLOG));
        for number in 0..=SENDERS {
            let work = Sending {
                oracle: Arc::clone(&self.oracle),
                client: self.client.clone(),
                stop: Arc::clone(&self.stop_sending),
                room: Arc::clone(&room),
                queue,
                name: number.to_string(),
            };
            // The last one sends call by call, the others over a stream.
            let task = if number < SENDERS {
                self.runtime.spawn(work.stream())
            } else {
                self.runtime.spawn(work.calls())
            };
            self.senders.push(task);
        }
        for number in 0..RECEIVERS {
            let place = u64::from(queue.as_bytes()[0]) * 100 + number as u64;
            let work = Receiving {
                oracle: Arc::clone(&self.oracle),
                client: self.client.clone(),
                stop: Arc::clone(&self.stop_receiving),
                room: Arc::clone(&room),
                queue,
                dice: Dice::new(seed, place),
                newest: std::collections::BTreeMap::new(),
            };
            self.receivers.push(self.runtime.spawn(work.run()));
        }
    }

    /// Waits for so many acknowledgements more.
    fn happened(&self, more: u64) {
        let mut events = self.oracle.events();
        let goal = *events.borrow() + more;
        let enough = async {
            let enough = events.wait_for(|count| *count >= goal);
            tokio::time::timeout(PATIENCE, enough).await.map(|_| ())
        };
        let waited = self.runtime.block_on(enough);
        self.oracle.check("under load");
        assert!(waited.is_ok(), "no acknowledgements: {:?}", self.oracle.counts());
    }

    /// Ends the senders, receives until the queues are empty, ends the receivers.
    fn end(self) -> Arc<Oracle> {
        let finish = async {
            self.stop_sending.store(true, Ordering::SeqCst);
            for sender in self.senders {
                sender.await.unwrap();
            }
            for queue in QUEUES {
                loop {
                    let counts = self.client.show_queue(queue).await.unwrap().counts.unwrap();
                    assert_eq!(counts.review, 0);
                    if counts.ready + counts.leased + counts.delayed == 0 {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            self.stop_receiving.store(true, Ordering::SeqCst);
            for receiver in self.receivers {
                receiver.await.unwrap();
            }
        };
        let finish = async { tokio::time::timeout(PATIENCE, finish).await };
        let finished = self.runtime.block_on(finish);
        self.oracle.check("while the queues were emptied");
        assert!(finished.is_ok(), "the queues do not become empty: {:?}", self.oracle.counts());
        self.oracle
    }
}

/// One sender; message `n` is `queue/name/n`.
struct Sending {
    oracle: Arc<Oracle>,
    client: Client,
    stop: Arc<AtomicBool>,
    room: Arc<Semaphore>,
    queue: &'static str,
    name: String,
}

impl Sending {
    /// The next message, once there is room for it.
    async fn next(&self, number: u64) -> Option<String> {
        self.room.acquire().await.unwrap().forget();
        if self.stop.load(Ordering::SeqCst) {
            self.room.add_permits(1);
            return None;
        }
        let body = format!("{}/{}/{number}", self.queue, self.name);
        self.oracle.submits(&body);
        Some(body)
    }

    async fn stream(self) {
        let options = SenderOptions { timeout: PATIENCE, in_flight: 128, ..Default::default() };
        let sender = self.client.sender_with(self.queue, options);
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0.. {
            let Some(body) = self.next(number).await else { break };
            let ticket = sender.submit(Message::new(body.clone())).await;
            let oracle = Arc::clone(&self.oracle);
            waiting.spawn(async move {
                let result = ticket.await.map(|ack| (ack.id, ack.durability));
                oracle.submitted(&body, result);
            });
            while waiting.try_join_next().is_some() {}
        }
        waiting.join_all().await;
    }

    async fn calls(self) {
        for number in 0.. {
            let Some(body) = self.next(number).await else { return };
            let result = self.client.send(self.queue, Message::new(body.clone())).await;
            self.oracle.submitted(&body, result.map(|ack| (ack.id, ack.durability)));
        }
    }
}

/// One receiver.
struct Receiving {
    oracle: Arc<Oracle>,
    client: Client,
    stop: Arc<AtomicBool>,
    room: Arc<Semaphore>,
    queue: &'static str,
    dice: Dice,
    /// Per sender the newest message that came for the first time.
    newest: std::collections::BTreeMap<String, u64>,
}

/// Deliveries by what is done with them.
#[derive(Default)]
struct Pile {
    tokens: Vec<String>,
    of: Vec<(String, u32)>,
}

impl Receiving {
    async fn run(mut self) {
        let wait = Duration::from_millis(200);
        let receive = Receive { max: 32, wait, ..Receive::new(self.queue) };
        while !self.stop.load(Ordering::SeqCst) {
            let asked = Instant::now();
            match self.client.receive(&receive).await {
                Ok(deliveries) => self.handle(&deliveries, asked).await,
                // A lost answer; what it granted comes again.
                Err(error) if error.is_transient() => {}
                Err(error) => self.oracle.violation(format!("receive {}: {error}", self.queue)),
            }
        }
    }

    async fn handle(&mut self, deliveries: &[Delivery], asked: Instant) {
        let [mut ack, mut nack, mut extend] = [(); 3].map(|()| Pile::default());
        for delivery in deliveries {
            let body = self.oracle.delivered(delivery, asked, VISIBILITY);
            self.in_order(&body, delivery.attempt);
            // Whatever came often enough is acked, so that the run ends.
            let often = delivery.attempt > 4;
            let piles = match self.dice.below(100) {
                0..2 if !often => continue,
                2..10 if !often => [Some(&mut nack), None],
                10..18 => [Some(&mut extend), Some(&mut ack)],
                _ => [Some(&mut ack), None],
            };
            for pile in piles.into_iter().flatten() {
                pile.tokens.push(delivery.token.clone());
                pile.of.push((body.clone(), delivery.attempt));
            }
        }
        self.extend(&extend).await;
        self.nack(&nack).await;
        self.ack(&ack).await;
    }

    /// Messages of one sender come for the first time in the order in which they were sent.
    fn in_order(&mut self, body: &str, attempt: u32) {
        let Some((sender, number)) = body.rsplit_once('/').filter(|_| attempt == 1) else { return };
        let number: u64 = number.parse().unwrap();
        let before = self.newest.insert(sender.to_owned(), number);
        if before.is_some_and(|before| before >= number) {
            self.oracle.violation(format!("{body} came after {before:?}"));
        }
    }

    async fn extend(&self, pile: &Pile) {
        let (asked, by) = (Instant::now(), 2 * VISIBILITY);
        let results = self.client.extend(self.queue, &pile.tokens, by).await;
        self.used(pile, Act::Extend(by), results, asked);
    }

    async fn nack(&self, pile: &Pile) {
        for (body, _) in &pile.of {
            self.oracle.gives_back(body);
        }
        let delay = Duration::from_millis(20);
        let results = self.client.nack(self.queue, &pile.tokens, delay, "a test").await;
        self.used(pile, Act::Nack, results, Instant::now());
    }

    async fn ack(&self, pile: &Pile) {
        let results = self.client.ack(self.queue, &pile.tokens).await;
        let finished = results.iter().filter(|result| result.is_ok()).count();
        self.used(pile, Act::Ack, results, Instant::now());
        self.room.add_permits(finished);
    }

    fn used(
        &self,
        pile: &Pile,
        act: Act,
        results: Vec<Result<rekindle_client::Durability, rekindle_client::Error>>,
        asked: Instant,
    ) {
        assert_eq!(results.len(), pile.of.len());
        for ((body, attempt), result) in pile.of.iter().zip(results) {
            self.oracle.used(body, *attempt, act, result, asked);
        }
    }
}

fn kill_loop(data: &Path, engine: &'static str, rounds: u64, seed: u64) {
    println!("kill loop: {rounds} rounds, REKINDLE_SEED={seed}");
    let mut dice = Dice::new(seed, 0);
    let grpc = lonely_address().parse().unwrap();
    let mut store = Store { data: data.to_path_buf(), grpc, engine };
    let mut server = Server::spawn(store.serve());
    store.grpc = server.grpc;
    let load = Load::begin(store.grpc, seed);
    for round in 0..rounds {
        // Often soon after the start, sometimes much later.
        let most = [20, 500, 3_000][dice.below(3) as usize];
        load.happened(1 + dice.below(most));
        server.kill();
        store.verify(&format!("round {round}, seed {seed}"));
        for start in 0..dice.below(3) {
            store.half_start(&mut dice);
            store.verify(&format!("round {round}, killed start {start}, seed {seed}"));
        }
        server = Server::spawn(store.serve());
    }
    let oracle = load.end();
    println!("kill loop: {:?}", oracle.counts());
    oracle.check_end();
    assert_eq!(server.stop(), 0);
    store.verify("at the end");
    let server = Server::spawn(store.serve());
    super::harness::block_on(async {
        for queue in QUEUES {
            let rest = super::harness::receive_all(&mut server.queues().await, queue).await;
            assert_eq!(super::harness::bodies(&rest), Vec::<String>::new(), "acked");
        }
    });
    assert_eq!(server.stop(), 0);
}

/// A number of the environment.
pub fn number(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number"))
}

/// Ten lives, each ended by SIGKILL under load or while it starts: nothing acknowledged is lost,
/// nothing acked comes again, nothing is there twice although it was sent again with its identity,
/// leases are kept, the order is kept, and `verify` never finds damage.
///
/// proves: B7, B9
/// fault: S1, T6
#[test]
fn nothing_is_lost_or_doubled_over_ten_kills() {
    let dir = tempfile::tempdir().unwrap();
    kill_loop(dir.path(), "memory", 10, number("REKINDLE_SEED", 0x5EED));
}

/// The same for ten times as many lives as the scale says.
///
/// proves: B7, B9
/// fault: S1, T6
#[test]
#[ignore = "a campaign: minutes"]
fn campaign_kill_under_load() {
    let dir = tempfile::tempdir().unwrap();
    kill_loop(dir.path(), "memory", 10 * number("REKINDLE_SCALE", 10), number("REKINDLE_SEED", 1));
}

/// The same with the state in the files of the lsm engine.
///
/// proves: B9
/// fault: S1
#[test]
fn nothing_is_lost_or_doubled_over_ten_kills_on_lsm() {
    let dir = tempfile::tempdir().unwrap();
    kill_loop(dir.path(), "lsm", 10, number("REKINDLE_SEED", 0x15A));
    assert!(dir.path().join("shards/0/engine/current").exists(), "it was on that engine");
}

/// proves: B9
/// fault: S1
#[test]
#[ignore = "a campaign: minutes"]
fn campaign_kill_under_load_in_files() {
    let dir = tempfile::tempdir().unwrap();
    kill_loop(dir.path(), "lsm", 10 * number("REKINDLE_SCALE", 10), number("REKINDLE_SEED", 1));
    #[cfg(feature = "rocksdb")]
    {
        let (dir, seed) = (tempfile::tempdir().unwrap(), number("REKINDLE_SEED", 1));
        kill_loop(dir.path(), "rocksdb", 10 * number("REKINDLE_SCALE", 10), seed);
    }
}

/// The same with the state in column families of RocksDB.
///
/// proves: B9
/// fault: S1
#[cfg(feature = "rocksdb")]
#[test]
fn nothing_is_lost_or_doubled_over_ten_kills_on_rocksdb() {
    let dir = tempfile::tempdir().unwrap();
    kill_loop(dir.path(), "rocksdb", 10, number("REKINDLE_SEED", 0x0C5));
    assert!(dir.path().join("shards/0/rocksdb/CURRENT").exists(), "it was on that engine");
}
