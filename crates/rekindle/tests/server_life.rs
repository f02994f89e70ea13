//! Lives and ends: SIGTERM, SIGKILL, and what is there afterwards.

use std::process::Command;
use std::time::Instant;

use rekindle_wire::v1::{AckRequest, ReceiveRequest, SendBatch};
use rustix::process::Signal;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::harness::{
    Server, block_on, bodies, create, message, receive_all, rekindle, run, send, serve,
};

fn numbered(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|number| format!("message {number}")).collect()
}

/// Enqueue, SIGKILL the broker process, restart it on the same directory: every message is there,
/// in order, once; a leased one stays leased and can be acked with its token.
///
/// proves: B9, B2, B4
#[test]
fn a_killed_broker_comes_back_with_every_message() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let sent = numbered(0, 500);
    let leased = block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        send(&mut queues, "q", &sent).await;
        let request = ReceiveRequest { queue: "q".into(), max: 10, ..Default::default() };
        queues.receive(request).await.unwrap().into_inner().messages
    });
    server.kill();
    let server = Server::start(dir.path());
    assert!(server.announced.contains("recovery:   recovered in"), "{}", server.announced);
    block_on(async {
        let mut queues = server.queues().await;
        let tokens: Vec<String> = leased.iter().map(|it| it.token.clone()).collect();
        let rest = receive_all(&mut queues, "q").await;
        assert_eq!(bodies(&rest), sent[10..]);
        let ack = AckRequest { queue: "q".into(), tokens, identity: None };
        let acked = queues.ack(ack).await.unwrap().into_inner();
        assert_eq!(acked.errors, [], "tokens from before the kill");
    });
    assert_eq!(server.stop(), 0);
}

/// SIGTERM under load: the process ends with 0 in time, everything that was acknowledged is synced,
/// and `verify` finds nothing.
///
/// proves: B8
#[test]
fn sigterm_syncs_everything_and_ends_with_zero() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start_with(dir.path(), &["--durability", "relaxed"]);
    let acked = block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        let (batches, receiver) = tokio::sync::mpsc::channel(16);
        let mut acks =
            queues.send_stream(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let sender = tokio::spawn(async move {
            for sequence in 0_u64.. {
                let messages = vec![message(format!("message {sequence}"))];
                let batch = SendBatch { sequence, queue: "q".into(), messages, identity: None };
                if batches.send(batch).await.is_err() {
                    break;
                }
            }
        });
        let mut acked = Vec::new();
        while let Some(Ok(ack)) = acks.next().await {
            assert_eq!((ack.errors.len(), ack.ids.len()), (0, 1));
            acked.push(format!("message {}", ack.sequence));
            if acked.len() == 1_000 {
                server.signal(Signal::TERM);
            }
        }
        sender.abort();
        acked
    });
    let began = Instant::now();
    assert_eq!(server.ended().code(), Some(0));
    assert!(began.elapsed().as_secs() < 8, "{:?}", began.elapsed());
    assert!(acked.len() >= 1_000);
    let verify = run(&["verify", "--json", "--data", dir.path().to_str().unwrap()]);
    assert_eq!(verify.status.code(), Some(0), "{verify:?}");
    let server = Server::start(dir.path());
    let received = block_on(async { receive_all(&mut server.queues().await, "q").await });
    let received = bodies(&received);
    assert_eq!(received.get(..acked.len()), Some(&acked[..]), "a prefix, in order");
    assert_eq!(server.stop(), 0);
}

/// A shutdown ends waiting receivers with an empty answer instead of waiting for them, and takes no
/// lease for them.
///
/// proves: B8
#[test]
fn a_shutdown_ends_long_polls() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        let request =
            ReceiveRequest { queue: "q".into(), max: 1, wait_ms: 60_000, ..Default::default() };
        let waiting = tokio::spawn(async move { queues.receive(request).await });
        // The call is counted once it waits.
        while !server.get("/metrics").body.contains("rekindle_long_polls 1") {
            assert!(!waiting.is_finished());
            tokio::task::yield_now().await;
        }
        server.signal(Signal::TERM);
        let answer = waiting.await.unwrap().unwrap().into_inner();
        assert!(answer.messages.is_empty());
    });
    let began = Instant::now();
    assert_eq!(server.ended().code(), Some(0));
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

/// The last acknowledged state of a server that is killed while it starts, again and again, is
/// kept.
///
/// proves: B7
#[test]
fn kills_while_starting_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let sent = numbered(0, 200);
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        send(&mut queues, "q", &sent).await;
    });
    server.kill();
    for _ in 0..8 {
        let mut command: Command = serve(dir.path(), &[]);
        let mut child = command.spawn().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let server = Server::start(dir.path());
    let received = block_on(async { receive_all(&mut server.queues().await, "q").await });
    assert_eq!(bodies(&received), sent);
    assert_eq!(server.stop(), 0);
}

/// SIGINT ends it like SIGTERM, also where the shell that started it lets it ignore that signal, as
/// shells do for what runs in the background.
///
/// proves: B8
#[test]
fn sigint_ends_it_also_when_it_was_inherited_as_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    server.signal(Signal::INT);
    assert_eq!(server.ended().code(), Some(0));
    let program = env!("CARGO_BIN_EXE_rekindle");
    let script = "trap '' INT; exec \"$0\" serve --grpc 127.0.0.1:0 --http 127.0.0.1:0 \
                  --data \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, program]).arg(dir.path());
    let mut server = Server::spawn(command);
    server.signal(Signal::INT);
    assert_eq!(server.ended().code(), Some(0));
}

/// A signal during a start ends it; the next start is as good as any.
#[test]
fn a_start_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.kill();
    let mut command = rekindle(&["serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let mut child = command.arg("--data").arg(dir.path()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    // Not SIGINT: a shell lets what it starts in the background ignore that, and a signal that
    // comes before anybody listens to it would then be lost.
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    // 0: it was asked to end and did; no code: the signal came before anybody listened to it.
    assert!(matches!(child.wait().unwrap().code(), None | Some(0)));
    assert_eq!(Server::start(dir.path()).stop(), 0);
}
