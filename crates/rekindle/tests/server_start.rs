//! Starts: what is announced, and what is refused with which exit code.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Instant;

use rustix::process::Signal;

use super::harness::{Server, changed, contents, get, refused, rekindle, run, serve};

fn no_path() -> Vec<PathBuf> {
    vec![]
}

/// A start says where it is, what it promises, what recovery did and what to try next.
#[test]
fn a_start_announces_itself() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("store");
    let server = Server::start(&data);
    let said = server.announced.clone();
    assert!(said.contains(&format!("data:       {}", data.display())), "{said}");
    assert!(said.contains("durability: strict (acknowledged = synced"), "{said}");
    assert!(said.contains(&format!("page:       http://{}/ui/\n", server.http)), "{said}");
    assert!(said.contains("recovery:   recovered in"), "{said}");
    assert!(said.contains("next:       echo hello | rekindle queue send"), "{said}");
    assert!(said.contains("(run 1)"), "{said}");
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.stop(), 0);
    let server = Server::start_with(&data, &["--durability", "batched"]);
    assert!(server.announced.contains("(run 2)"), "{}", server.announced);
    assert!(server.announced.contains("batched"), "{}", server.announced);
    assert!(server.announced.contains("100ms"), "{}", server.announced);
    assert_eq!(server.stop(), 0);
}

/// A second process on the directory ends at once with 73 and changes no byte, whether it asks for
/// the same addresses or for others; after a SIGKILL of the first there is no stale lock.
///
/// fault: S21
#[test]
fn a_second_process_changes_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    // It stands still, so that whatever changes was changed by the second process.
    server.signal(Signal::STOP);
    let before = contents(dir.path());
    let began = Instant::now();
    let (code, text) = refused(serve(dir.path(), &[]));
    assert_eq!(code, 73, "{text}");
    assert!(text.contains("locked by another process"), "{text}");
    let mut same = rekindle(&["serve", "--data"]);
    same.arg(dir.path());
    same.args(["--grpc", &server.grpc.to_string(), "--http", &server.http.to_string()]);
    let (code, text) = refused(same);
    assert_eq!(code, 73, "{text}");
    assert!(began.elapsed().as_secs() < 2, "two refusals took {:?}", began.elapsed());
    assert_eq!(changed(&before, &contents(dir.path())), no_path());
    server.signal(Signal::CONT);
    assert_eq!(server.get("/readyz").status, 200);
    server.kill();
    assert_eq!(Server::start(dir.path()).stop(), 0);
}

/// What is asked for and cannot be is refused with 78, before anything is made.
#[test]
fn wrong_settings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("store");
    let file = dir.path().join("rekindle.toml");
    std::fs::write(&file, "[server]\nhtp = '127.0.0.1:0'\n").unwrap();
    let config = file.to_str().unwrap();
    let (code, text) = refused(serve(&data, &["--config", config]));
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("rekindle.toml") && text.contains("server.htp"), "{text}");
    assert!(text.contains("did you mean \"server.http\""), "{text}");

    let mut command = serve(&data, &[]);
    command.env("REKINDLE__JOURNAL__SEGMENT_SIZE", "64MiB");
    let (code, text) = refused(command);
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("did you mean REKINDLE__JOURNAL__SEGMENT_BYTES"), "{text}");

    let (code, text) = refused(serve(&data, &["--config", "/nowhere/rekindle.toml"]));
    assert_eq!(code, 78, "{text}");
    let (code, text) = refused(serve(&data, &["--durability", "fast"]));
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("strict, batched, relaxed"), "{text}");

    for flag in ["--grpc", "--http"] {
        let mut command = rekindle(&["serve", "--data"]);
        command.arg(&data).args([flag, "0.0.0.0:0"]);
        let (code, text) = refused(command);
        assert_eq!(code, 78, "{text}");
        assert!(text.contains("--insecure-allow-remote"), "{text}");
    }
    assert!(!data.exists(), "nothing is made by a start that is refused");
}

/// An address in use is refused with 78 and a message that says what to do.
#[test]
fn an_address_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("store");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--grpc", "--http"] {
        let other = if flag == "--grpc" { "--http" } else { "--grpc" };
        let mut command = rekindle(&["serve", "--data"]);
        command.arg(&data).args([flag, &address, other, "127.0.0.1:0"]);
        let (code, text) = refused(command);
        assert_eq!(code, 78, "{text}");
        assert!(text.contains(&address) && text.contains(flag), "{text}");
    }
    assert!(!data.exists());
}

/// A directory that is not empty and no store is refused with 78 and left as it is.
#[test]
fn a_directory_of_somebody_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "all of it").unwrap();
    let before = contents(dir.path());
    let (code, text) = refused(serve(dir.path(), &[]));
    assert_eq!(code, 78, "{text}");
    assert_eq!(changed(&before, &contents(dir.path())), no_path());
}

/// With the second word a remote address is served, warned about and shown.
#[test]
fn a_remote_address_is_served_when_asked_for_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = rekindle(&["serve", "--data"]);
    command.arg(dir.path());
    command.args(["--grpc", "127.0.0.1:0", "--http", "0.0.0.0:0", "--insecure-allow-remote"]);
    let server = Server::spawn(command);
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], server.http.port()));
    let health = get(local, "/healthz", &[("Host", "127.0.0.1")]).unwrap();
    assert_eq!(health.json()["insecure_allow_remote"], true);
    let foreign = get(local, "/healthz", &[("Host", "attacker.example")]).unwrap();
    assert_eq!(foreign.status, 403);
    assert_eq!(server.stop(), 0);
}

/// Flags win over the environment, that over the file, in the real binary.
#[test]
fn sources_of_settings_have_an_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rekindle.toml");
    std::fs::write(
        &file,
        "[server]\ngrpc = '127.0.0.1:1'\nhttp = '127.0.0.1:1'\n[durability]\nmode = 'relaxed'\n\
         interval = '7s'\n[limits]\nlong_polls = 3\nconnections = 30\n",
    )
    .unwrap();
    let mut command = rekindle(&["serve", "--grpc", "127.0.0.1:0", "--config"]);
    command.arg(&file).arg("--data").arg(dir.path().join("store"));
    command.env("REKINDLE__SERVER__GRPC", "127.0.0.1:2");
    command.env("REKINDLE__SERVER__HTTP", "127.0.0.1:0");
    command.env("REKINDLE__LIMITS__LONG_POLLS", "5");
    let server = Server::spawn(command);
    assert!(server.announced.contains("relaxed") && server.announced.contains("7s"));
    let limits = server.get("/v1/limits").json();
    let value = |name: &str| {
        let limits = limits["limits"].as_array().unwrap();
        limits.iter().find(|limit| limit["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!((value("long_polls"), value("connections")), (5.into(), 30.into()));
    assert_eq!(value("message_bytes"), 1 << 20);
    assert_eq!(server.stop(), 0);
}

/// Files and directories of a store are its owner's alone.
#[test]
fn a_store_belongs_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let engines = ["memory", "lsm", "rocksdb"];
    for engine in &engines[..if cfg!(feature = "rocksdb") { 3 } else { 2 }] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("store");
        let open = Server::spawn(serve(&data, &["--engine", engine]));
        assert_eq!(open.stop(), 0);
        for path in contents(&data).into_keys().chain([data.clone()]) {
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, expected, "{}", path.display());
        }
    }
}

/// The log of a run holds neither bodies nor tokens.
#[test]
fn the_log_keeps_secrets() {
    use super::harness::{block_on, bodies, create, receive_all, send};
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut command = serve(&dir.path().join("store"), &[]);
    command.env("REKINDLE__LOG__LEVEL", "trace").env("REKINDLE__LOG__FORMAT", "json");
    let errors = std::fs::File::create(&log).unwrap();
    let server = Server::spawn_logging(command, errors.into());
    let token = block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        send(&mut queues, "q", &["hunter2-is-secret".to_owned()]).await;
        let got = receive_all(&mut queues, "q").await;
        assert_eq!(bodies(&got), ["hunter2-is-secret"]);
        let tokens = vec![got[0].token.clone()];
        let ack = rekindle_wire::v1::AckRequest { tokens, ..Default::default() };
        queues.ack(ack).await.unwrap();
        got[0].token.clone()
    });
    assert_eq!(server.stop(), 0);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.lines().count() > 3, "{text}");
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    for secret in ["hunter2", &token] {
        assert!(!text.contains(secret), "the log holds {secret}");
    }
    let verify = run(&["verify", "--data", dir.path().join("store").to_str().unwrap()]);
    assert_eq!(verify.status.code(), Some(0));
}
