//! The server dies, the shim dies, the machine is started anew, files are damaged: what is known of
//! a command then, and that no orphan stays.

use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rekindle::shim::{self, Evidence, Outcome, ProcessId, Spec};
use rekindle_env::Env;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::harness::{Dropped, wait};
use crate::shim_harness::{Fifo, Place, Watched, evidence, exe, finished, script, sealed};

/// Where the process that plays the server finds its directory and its script.
const DIR: &str = "SHIM_TEST_DIR";
const SCRIPT: &str = "SHIM_TEST_SCRIPT";

fn signal(id: ProcessId, signal: Signal) {
    kill_process(Pid::from_raw(id.pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// A server that starts one command and waits for it; in a process of its own, to be killed.
#[test]
fn plays_the_server() {
    let (Ok(dir), Ok(text)) = (std::env::var(DIR), std::env::var(SCRIPT)) else { return };
    let spec = script(&text);
    let mut running = shim::start(&Env::real(), exe(), Path::new(&dir), &spec).unwrap();
    println!("\nstarted");
    panic!("the server was to be killed: {:?}", running.wait());
}

/// Starts that process, in a group of its own, and waits until it started its command.
fn server(place: &Place, text: &str) -> Dropped {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["shim_crash::plays_the_server", "--exact", "--nocapture"]);
    command.env(DIR, place.dir()).env(SCRIPT, text);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Dropped(child.process_group(0).spawn().unwrap());
    let lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "started"), "no command was started");
    server
}

fn kill_group(mut server: Dropped) {
    kill_process_group(Pid::from_child(&server.0), Signal::KILL).unwrap();
    wait(&mut server.0);
}

fn two_fifos(place: &Place) -> (Fifo, Fifo, String) {
    let (ready, go) = (place.fifo("ready"), place.fifo("go"));
    let text = format!("echo $$ >{}; read x <{}; echo got $x; exit 4", ready.path(), go.path());
    (ready, go, text)
}

/// The server and everything in its process group is killed; its successor takes the command over
/// and is told its end, with the moment at which the first one was gone.
///
/// produces: command-3
#[test]
fn a_command_outlives_its_server_and_is_adopted() {
    let place = Place::new();
    let (mut ready, mut go, text) = two_fifos(&place);
    let server = server(&place, &text);
    let command: u32 = ready.line().parse().unwrap();
    let before_ms = place.env.clock.boot_ms();
    kill_group(server);
    let identity = place.identity();
    assert_eq!(identity.command.unwrap().pid, command);
    // Whoever hangs up does not end it either.
    signal(identity.shim, Signal::HUP);
    let mut running = shim::adopt(&place.env, &place.dir(), &identity).unwrap();
    assert_eq!(running.poll().unwrap(), None);
    assert_eq!(shim::remove(&place.env, &place.dir()).unwrap_err().kind(), ErrorKind::ResourceBusy);
    assert_eq!(
        shim::kill_orphans(&place.env, &place.dir()).unwrap_err().kind(),
        ErrorKind::ResourceBusy
    );
    go.send("it");
    let end = finished(&mut running);
    assert_eq!(end.outcome, Outcome::Exited(4));
    let gone_ms = end.server_gone_boot_ms.expect("it was seen to go");
    assert!((before_ms..=end.ended_boot_ms + 1).contains(&gone_ms), "{before_ms} {end:?}");
    let output = shim::output(&place.env, &place.dir(), &end).unwrap();
    assert_eq!(output.stdout, b"got it\n");
    // Whoever comes later is told the same.
    let mut late = shim::adopt(&place.env, &place.dir(), &identity).unwrap();
    assert_eq!(finished(&mut late), end);
    shim::remove(&place.env, &place.dir()).unwrap();
}

/// One that is adopted can be ended like any other.
#[test]
fn an_adopted_command_is_ended_for_a_reason() {
    let place = Place::new();
    let (mut ready, _go, text) = two_fifos(&place);
    let server = server(&place, &text);
    ready.line();
    kill_group(server);
    let mut running = shim::adopt(&place.env, &place.dir(), &place.identity()).unwrap();
    running.kill("no longer wanted").unwrap();
    let end = finished(&mut running);
    assert_eq!(end.killed.as_deref(), Some("no longer wanted"));
}

/// A command, and a process of it that hides in a session of its own.
fn with_daemon(place: &Place) -> (Fifo, String) {
    let ready = place.fifo("daemon");
    let text = format!(
        "(setsid sh -c 'echo $$ >{0}; exec sleep 1000' &); echo $$ >{0}; exec sleep 1000",
        ready.path()
    );
    (ready, text)
}

/// The shim is killed: the command dies with it, and its end is unknown. What the command left is
/// gone when that is told.
///
/// produces: command-6
#[test]
fn the_command_dies_with_its_shim() {
    let place = Place::new();
    let (mut ready, text) = with_daemon(&place);
    let mut running = place.start(&script(&text));
    let both = [Watched::named(&ready.line()), Watched::named(&ready.line())];
    let command = Watched::of(place.identity().command.unwrap().pid);
    signal(running.shim(), Signal::KILL);
    assert!(command.ends(), "by the death of its parent alone");
    let Evidence::Unknown { why } = evidence(&mut running) else { panic!("it is not known") };
    assert_eq!(why.label.0, "command-6");
    assert!(both.iter().all(Watched::is_over));
    assert_eq!(place.unknown(), "command-6");
    // What a shim that gave up says of it is passed on.
    std::fs::write(place.dir().join("shim-error"), "the pipe broke").unwrap();
    let Evidence::Unknown { why } = shim::look(&place.env, &place.dir()).unwrap() else { panic!() };
    assert!(why.text.ends_with("write down the end (it gave up: the pipe broke)"), "{why:?}");
    shim::remove(&place.env, &place.dir()).unwrap();
}

/// Server and shim are killed together: the next server finds what is left, and ends it.
#[test]
fn orphans_of_both_are_found() {
    let place = Place::new();
    let (mut ready, text) = with_daemon(&place);
    let server = server(&place, &text);
    let both = [Watched::named(&ready.line()), Watched::named(&ready.line())];
    let identity = place.identity();
    let shim = Watched::of(identity.shim.pid);
    kill_group(server);
    signal(identity.shim, Signal::KILL);
    assert!(shim.ends());
    assert_eq!(place.unknown(), "command-6");
    let mut late = shim::adopt(&place.env, &place.dir(), &identity).unwrap();
    assert!(shim::kill_orphans(&place.env, &place.dir()).unwrap() >= 1, "the daemon");
    assert!(both.iter().all(Watched::is_over));
    assert_eq!(shim::kill_orphans(&place.env, &place.dir()).unwrap(), 0);
    assert!(matches!(evidence(&mut late), Evidence::Unknown { .. }));
}

/// After a restart of the machine nothing runs, whatever process has the number now; and a process
/// with the shim's number and another start time is another.
///
/// produces: command-5
#[test]
fn numbers_of_another_boot_or_another_process_are_not_the_shim() {
    let place = Place::new();
    let (mut ready, mut go, text) = two_fifos(&place);
    let mut running = place.start(&script(&text));
    ready.line();
    let whole = place.read("identity.json");
    let identity = place.identity();
    place.edit("identity.json", |json| {
        json["shim"]["boot_id"] = "00000000-0000-0000-0000-000000000000".into();
    });
    assert_eq!(place.unknown(), "command-5");
    assert_eq!(shim::kill_orphans(&place.env, &place.dir()).unwrap(), 0, "nothing is of it");
    place.edit("identity.json", |json| {
        json["shim"]["boot_id"] = identity.boot_id.clone().into();
        json["shim"]["shim"]["start_ticks"] = (identity.shim.start_ticks + 1).into();
    });
    assert_eq!(place.unknown(), "command-6");
    place.put("identity.json", &whole);
    assert_eq!(place.identity(), identity);
    go.send("on");
    assert_eq!(finished(&mut running).code(), 4);
}

/// A directory whose shim never came: its spec is there and nothing else.
fn unstarted(place: &Place) -> String {
    let mut running =
        shim::start(&place.env, Path::new("true"), &place.dir(), &script("exit 0")).unwrap();
    assert_eq!(evidence(&mut running), Evidence::NotStarted);
    let spec: serde_json::Value = serde_json::from_slice(&place.read("spec.json")).unwrap();
    spec["token"].as_str().unwrap().to_owned()
}

/// A shim that comes when its server is gone, or when the attempt was given up, starts nothing.
///
/// produces: command-1, command-2
#[test]
fn a_shim_that_comes_late_starts_nothing() {
    let shim = |place: &Place, token: &str, stdin: Stdio| {
        let mut command = Command::new(exe());
        command.args(["shim", "--token", token, "--"]).arg(place.dir());
        let mut child = Dropped(command.stdin(stdin).stderr(Stdio::null()).spawn().unwrap());
        wait(&mut child.0)
    };
    let place = Place::new();
    assert_eq!(place.look(), Evidence::NotStarted, "there is no directory");
    assert!(shim::forbid(&place.env, &place.dir()).unwrap());
    let token = unstarted(&place);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    assert!(shim(&place, &token, reader.into()).success());
    assert_eq!(place.look(), Evidence::NotStarted, "its server was gone");
    let (reader, _writer) = std::io::pipe().unwrap();
    assert!(!shim(&place, "of another", reader.into()).success());
    assert!(shim::forbid(&place.env, &place.dir()).unwrap());
    let (reader, _writer) = std::io::pipe().unwrap();
    assert!(shim(&place, &token, reader.into()).success());
    assert_eq!(place.look(), Evidence::NotStarted, "it was given up");
    assert!(shim::forbid(&place.env, &place.dir()).unwrap());
    assert!(!place.dir().join("stdout").exists());
    shim::remove(&place.env, &place.dir()).unwrap();
    // The other way round: one that began cannot be given up any more.
    let place = Place::new();
    let mut running = place.start(&script("exit 0"));
    assert!(finished(&mut running).succeeded());
    assert!(!shim::forbid(&place.env, &place.dir()).unwrap());
}

/// Every file of a command, cut anywhere and with any bit flipped: what is told is the truth or
/// unknown.
fn damage_everything(place: &Place, truth: &Evidence) -> Vec<&'static str> {
    let mut labels = Vec::new();
    for name in ["spec.json", "identity.json", "end.json"] {
        let Ok(whole) = std::fs::read(place.dir().join(name)) else { continue };
        let cuts = (0..whole.len()).map(|end| whole[..end].to_vec());
        let flips = (0..whole.len() * 8).map(|bit| {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        });
        for damaged in cuts.chain(flips) {
            place.put(name, &damaged);
            match place.look() {
                Evidence::Unknown { why } => labels.push(why.label.0),
                other => assert_eq!(other, *truth, "{name}: {}", damaged.escape_ascii()),
            }
        }
        place.put(name, &whole);
    }
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// produces: command-7, command-8, command-9
#[test]
fn damaged_files_are_never_guessed_at() {
    let place = Place::new();
    let (mut ready, mut go, text) = two_fifos(&place);
    let mut running = place.start(&script(&text));
    ready.line();
    let running_now = place.look();
    assert!(matches!(running_now, Evidence::Running(_)));
    assert_eq!(damage_everything(&place, &running_now), ["command-8"]);
    go.send("on");
    let end = Evidence::Finished(finished(&mut running));
    assert_eq!(damage_everything(&place, &end), ["command-7"]);
    std::fs::remove_file(place.dir().join("end.json")).unwrap();
    let nobody = Evidence::NotStarted;
    assert_eq!(damage_everything(&place, &nobody), ["command-6", "command-8"]);
    std::fs::remove_file(place.dir().join("identity.json")).unwrap();
    assert_eq!(damage_everything(&place, &nobody), ["command-9"]);
}

/// A shim that died before its command was made began nothing; output that nobody claims says that
/// something began.
///
/// produces: command-10, command-11
#[test]
fn what_began_is_told_by_what_was_written() {
    let place = Place::new();
    place.run(&script("true"));
    std::fs::remove_file(place.dir().join("end.json")).unwrap();
    assert_eq!(place.unknown(), "command-6");
    place.edit("identity.json", |claim| claim["shim"]["command"] = serde_json::Value::Null);
    let (label, evidence) = shim::examine(&place.env, &place.dir()).unwrap();
    assert_eq!((label.0, evidence), ("command-10", Evidence::NotStarted));
    std::fs::remove_file(place.dir().join("identity.json")).unwrap();
    assert_eq!(place.unknown(), "command-11");
}

/// What is whole and says something impossible, or belongs to another attempt, is damage.
#[test]
fn hostile_files_are_damage() {
    let place = Place::new();
    let (_, output) = place.run(&script("echo hello"));
    assert_eq!(output.stdout, b"hello\n");
    let end = place.read("end.json");
    let deep = format!("{{\"outcome\":{}", "[".repeat(60_000));
    let hostile = [
        sealed("{\"token\":1"),
        sealed("{\"outcome\":{\"exited\":99999999999999999999}"),
        sealed(&deep),
        sealed("{"),
        vec![b' '; 1 << 20],
        Vec::new(),
        vec![0xff; 22],
    ];
    for text in hostile {
        place.put("end.json", &text);
        assert_eq!(place.unknown(), "command-7");
    }
    place.put("end.json", &end);
    place.edit("end.json", |json| json["token"] = "of another".into());
    assert_eq!(place.unknown(), "command-7");
    // A directory in the place of a file.
    std::fs::remove_file(place.dir().join("end.json")).unwrap();
    std::fs::create_dir(place.dir().join("end.json")).unwrap();
    assert_eq!(place.unknown(), "command-7");
}

/// Output that is not what was kept is refused, whatever its length; so is a length that nobody
/// could hold.
#[test]
fn damaged_output_is_refused() {
    let place = Place::new();
    let (end, output) = place.run(&Spec { payload: vec![7; 300], ..script("cat") });
    let whole = output.stdout;
    let read = |end: &shim::End| shim::output(&place.env, &place.dir(), end);
    let refused = |end: &shim::End| read(end).unwrap_err().kind() == ErrorKind::InvalidData;
    for end_of_it in 0..whole.len() {
        place.put("stdout", &whole[..end_of_it]);
        assert!(refused(&end), "{end_of_it}");
    }
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        place.put("stdout", &flipped);
        assert!(refused(&end), "{bit}");
    }
    place.put("stdout", &[whole.as_slice(), b"x"].concat());
    assert!(refused(&end));
    place.put("stdout", &whole);
    assert_eq!(read(&end).unwrap().stdout, whole);
    let mut lying = end.clone();
    lying.stdout.kept = u64::MAX;
    assert!(refused(&lying));
}
