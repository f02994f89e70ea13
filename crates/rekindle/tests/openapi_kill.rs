//! schemathesis drives the document of the HTTP side while the server is killed again and again:
//! `cargo xtask campaign interface`.
//!
//! It needs `schemathesis` (`pip install schemathesis`). Nothing that writes outside of the store
//! is asked for. A seed repeats what is asked and the pauses between kills, not where these fall.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::harness::{Dropped, Server, get, rekindle, run};
use super::kill_loop::{Dice, number};
use super::relay::Relay;

/// Examples of each operation for one of the scale.
const EXAMPLES: u64 = 20;
/// The whole run.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Most between a server's begin and its end.
const LIFE_MAX_MS: u64 = 1_200;

/// 503 and 507 are no errors of a server here; the rest is as schemathesis has it.
const SETTINGS: &str = "[checks.not_a_server_error]
expected-statuses = [\"2xx\", \"3xx\", \"4xx\", 503, 507]
";

/// Lives of one store at the same addresses, until told to end; how many there were.
fn lives(data: &Path, places: (&str, &str), dice: &mut Dice, end: &Receiver<()>) -> u64 {
    for life in 1.. {
        let mut command = rekindle(&["serve", "--grpc", places.0, "--http", places.1]);
        command.arg("--data").arg(data).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Dropped(command.spawn().unwrap());
        // Some are killed while they start.
        let most = if dice.below(4) == 0 { 60 } else { LIFE_MAX_MS };
        let told = end.recv_timeout(Duration::from_millis(dice.below(most)));
        assert_eq!(server.0.try_wait().unwrap(), None, "a server ended by itself");
        server.0.kill().unwrap();
        server.0.wait().unwrap();
        if told != Err(RecvTimeoutError::Timeout) {
            return life;
        }
    }
    unreachable!("it is told to end")
}

fn schemathesis(dir: &Path, relay: &Relay, seed: u64) -> Child {
    let settings = dir.join("schemathesis.toml");
    std::fs::write(&settings, SETTINGS).unwrap();
    let examples = EXAMPLES * number("REKINDLE_SCALE", 1);
    let mut command = Command::new("schemathesis");
    command.current_dir(dir).arg("--no-color").arg("--config-file").arg(settings).arg("run");
    command.arg(dir.join("openapi.json")).args(["--url", &format!("http://{}", relay.address)]);
    command.args(["--exclude-path-regex", "^/v1/(backups|repair|salvage)"]);
    // What a schema cannot say (a key that was used before, one parameter beside another) is no
    // error of the server.
    command.args(["--exclude-checks", "positive_data_acceptance,negative_data_rejection"]);
    command.args(["--max-examples", &examples.to_string(), "--seed", &seed.to_string()]);
    command.args(["--workers", "2", "--generation-database", "none", "--request-timeout", "120"]);
    command.stdin(Stdio::null()).spawn().expect("schemathesis is installed")
}

fn wait(child: &mut Child) -> bool {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        assert!(began.elapsed() < PATIENCE, "schemathesis does not end");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Whatever is asked of a server that dies over and over: no answer that the document does not
/// have, no 5xx but 503 and 507, and a store that `verify` finds whole.
///
/// proves: J5, J9
/// fault: S1
#[test]
#[ignore = "a campaign: minutes, and it needs schemathesis"]
fn campaign_interface_under_kills() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("store");
    let seed = number("REKINDLE_SEED", 1);
    println!("the interface under kills: REKINDLE_SEED={seed}");
    let server = Server::start(&data);
    let (grpc, http) = (server.grpc.to_string(), server.http.to_string());
    let document = get(server.http, "/v1/openapi.json", &[("Host", &http)]).unwrap();
    std::fs::write(dir.path().join("openapi.json"), document.body).unwrap();
    let relay = Relay::to(server.http);
    server.kill();
    let (stop, end) = channel();
    let (kept, mut dice) = (data.clone(), Dice::new(seed, 0));
    let killer = std::thread::spawn(move || lives(&kept, (&grpc, &http), &mut dice, &end));
    let mut asking = Dropped(schemathesis(dir.path(), &relay, seed));
    let passed = wait(&mut asking.0);
    stop.send(()).unwrap();
    let lives = killer.join().unwrap();
    let tally = relay.tally();
    println!("{lives} lives; answers by status (0: died over it): {:?}", tally.statuses);
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    assert!(passed, "schemathesis found something");
    let verify = run(&["verify", "--data", data.to_str().unwrap()]);
    assert!(matches!(verify.status.code(), Some(0 | 3 | 4)), "{verify:?}");
    assert_eq!(Server::start(&data).stop(), 0);
}
