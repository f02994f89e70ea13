//! Commands under the shim that end by themselves, or are ended: what is kept of them, and that
//! nothing of them is left.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;

use rekindle::shim::{self, Inherit, Outcome, SERVER_PID_VARIABLE, Spec, TOKEN_VARIABLE};

use crate::shim_harness::{Place, Watched, exe, finished, script};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// produces: command-4
#[test]
fn input_output_and_exit_code() {
    let place = Place::new();
    let spec = Spec { payload: b"hello".to_vec(), ..script("cat; echo no >&2; exit 3") };
    let (end, output) = place.run(&spec);
    assert_eq!((end.outcome.clone(), end.code()), (Outcome::Exited(3), 3));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("hello", "no\n"));
    assert!(!end.timed_out && end.killed.is_none() && end.left == 0 && !end.succeeded());
    assert_eq!(end.server_gone_boot_ms, None);
    assert!(end.started_boot_ms <= end.ended_boot_ms);
    assert_eq!((end.stdout.kept, end.stdout.dropped, end.stderr.kept), (5, 0, 3));
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.dir()), 0o700);
    for name in ["spec.json", "identity.json", "stdin", "stdout", "stderr", "end.json"] {
        assert_eq!(mode(place.dir().join(name)), 0o600, "{name}");
    }
    assert_eq!(place.look(), rekindle::shim::Evidence::Finished(end));
    shim::remove(&place.env, &place.dir()).unwrap();
    assert_eq!(place.look(), shim::Evidence::NotStarted);
    shim::remove(&place.env, &place.dir()).unwrap();
}

#[test]
fn binary_input_goes_through_whole() {
    let place = Place::new();
    let payload: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(97) >> 3) as u8).collect();
    let (end, output) = place.run(&Spec { payload: payload.clone(), ..script("exec cat") });
    assert!(end.succeeded());
    assert!(output.stdout == payload, "not what was sent");
}

/// A command that leaves its input unread is none the worse for it.
#[test]
fn input_may_be_left_unread() {
    let place = Place::new();
    let (end, _) = place.run(&Spec { payload: vec![0; 1 << 20], ..script("exit 0") });
    assert!(end.succeeded(), "{end:?}");
}

#[test]
fn signals_are_told_from_codes() {
    for (signal, number) in [("KILL", 9), ("PIPE", 13), ("HUP", 1)] {
        let (end, _) = Place::new().run(&script(&format!("kill -{signal} $$; exit 7")));
        assert_eq!((end.outcome.clone(), end.code()), (Outcome::Signaled(number), 128 + number));
    }
}

#[test]
fn a_program_that_is_not_there_is_a_clear_end() {
    let run = |change: fn(&mut Spec)| {
        let mut spec = script("true");
        change(&mut spec);
        let (end, _) = Place::new().run(&spec);
        match end.outcome {
            Outcome::NotRun(why) => (why.code, why.error),
            other => panic!("{other:?}"),
        }
    };
    let (code, error) = run(|spec| spec.arguments = vec!["no-such-program".into()]);
    assert_eq!(code, 127);
    assert!(error.contains("no-such-program") && error.contains("No such file"), "{error}");
    let (code, error) = run(|spec| spec.arguments = vec!["/etc/passwd".into()]);
    assert_eq!(code, 126);
    assert!(error.contains("Permission denied"), "{error}");
    let (code, error) = run(|spec| spec.directory = Some("/no/such/place".into()));
    assert_eq!(code, 126);
    assert!(error.contains("/no/such/place"), "{error}");
    // A command that gives such a code itself did run.
    let (end, _) = Place::new().run(&script("exit 127"));
    assert_eq!(end.outcome, Outcome::Exited(127));
}

#[test]
fn environment_and_directory_are_what_the_spec_says() {
    let show = |inherit: Inherit| {
        let place = Place::new();
        let environment = BTreeMap::from([
            ("COLOUR".to_owned(), "a=b c".to_owned()),
            (TOKEN_VARIABLE.to_owned(), "forged".to_owned()),
        ]);
        let directory = Some("/".into());
        let (_, output) =
            place.run(&Spec { inherit, environment, directory, ..script("pwd; env") });
        text(&output.stdout).to_owned()
    };
    let nothing = show(Inherit::Nothing);
    assert!(nothing.starts_with("/\n") && nothing.contains("COLOUR=a=b c\n"), "{nothing}");
    assert!(!nothing.contains("CARGO"), "{nothing}");
    let server = format!("{SERVER_PID_VARIABLE}={}\n", std::process::id());
    assert!(nothing.contains(&server), "{nothing}");
    assert!(!nothing.contains("forged"), "the word is the shim's to give");
    let some = show(Inherit::Only(vec!["CARGO_PKG_NAME".into(), "NO_SUCH".into()]));
    assert!(some.contains("CARGO_PKG_NAME=rekindle\n") && !some.contains("CARGO_PKG_VERSION"));
    assert!(show(Inherit::Everything).contains("CARGO_PKG_VERSION="));
}

/// Nothing of the shim is open in the command but its three streams: it has what any child of this
/// process has.
#[test]
fn no_descriptor_leaks() {
    let list = script("exec ls /proc/self/fd");
    let direct = std::process::Command::new("sh").args(&list.arguments[1..]).output().unwrap();
    let (_, output) = Place::new().run(&list);
    assert_eq!(text(&output.stdout), text(&direct.stdout));
}

/// What goes beyond the bound is counted, and the command goes on.
#[test]
fn output_is_bounded() {
    let fill = "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; echo end";
    let spec = Spec { stdout_bytes_max: 100_001, stderr_bytes_max: 0, ..script(fill) };
    let (end, output) = Place::new().run(&spec);
    assert!(end.succeeded());
    assert_eq!((end.stdout.kept, end.stdout.dropped), (100_001, 199_999 + 4));
    assert_eq!((end.stderr.kept, end.stderr.dropped), (0, 300_000));
    assert!(output.stdout == vec![0; 100_001] && output.stderr.is_empty());
    let spec = Spec { stdout_bytes_max: 4, ..script("echo end") };
    let (end, _) = Place::new().run(&spec);
    assert_eq!((end.stdout.kept, end.stdout.dropped), (4, 0));
}

#[test]
fn time_is_limited() {
    let (end, _) = Place::new().run(&Spec { time_limit_ms: 100, ..script("exec sleep 1000") });
    assert!(end.timed_out && !end.succeeded());
    assert_eq!(end.outcome, Outcome::Signaled(15));
    assert!(end.ended_boot_ms - end.started_boot_ms >= 100);
}

/// A command that does not listen is killed, and with it what hides from it in other sessions.
#[test]
fn nothing_is_left_of_a_command_that_does_not_listen() {
    let place = Place::new();
    let mut ready = place.fifo("ready");
    let daemon = format!("trap '' TERM HUP; echo $$ >{}; exec sleep 1000", ready.path());
    let text = format!(
        "trap '' TERM; (setsid sh -c \"{}\" &) ; echo out; while :; do sleep 1000; done",
        daemon.replace('$', "\\$")
    );
    let mut running = place.start(&Spec { time_limit_ms: 3_000, ..script(&text) });
    let daemon = Watched::named(&ready.line());
    assert!(!daemon.is_over());
    let end = finished(&mut running);
    assert!(daemon.is_over(), "the end is told when nothing is left");
    assert_eq!((end.timed_out, end.left), (true, 0));
    assert_eq!(end.outcome, Outcome::Signaled(9));
    let output = shim::output(&place.env, &place.dir(), &end).unwrap();
    assert_eq!(output.stdout, b"out\n");
}

/// A command that ends in order takes with it what it left: in its group, and a daemon that forked
/// twice, and holds its output open.
#[test]
fn daemons_end_with_their_command() {
    let place = Place::new();
    let (mut ready, go) = (place.fifo("ready"), place.fifo("go"));
    let mut go = go;
    let text = format!(
        "sleep 1000 & (setsid sh -c 'echo $$ >{}; exec sleep 1000' &); read x <{}; exit 5",
        ready.path(),
        go.path()
    );
    let mut running = place.start(&script(&text));
    let daemon = Watched::named(&ready.line());
    assert_eq!(running.poll().unwrap(), None);
    go.send("on");
    let end = finished(&mut running);
    assert!(daemon.is_over());
    assert_eq!((end.outcome, end.left), (Outcome::Exited(5), 0));
}

#[test]
fn a_command_is_ended_for_a_reason() {
    let place = Place::new();
    let mut ready = place.fifo("ready");
    let text = format!("echo up >{}; exec sleep 1000", ready.path());
    let mut running = place.start(&script(&text));
    ready.line();
    running.kill("cancelled by alice").unwrap();
    let end = finished(&mut running);
    assert_eq!(end.killed.as_deref(), Some("cancelled by alice"));
    assert_eq!((end.outcome, end.timed_out), (Outcome::Signaled(15), false));
    // Once it is over there is nobody to ask.
    running.kill("again").unwrap();
}

#[test]
fn a_directory_is_used_once_and_a_bad_spec_makes_none() {
    let place = Place::new();
    let bad = shim::start(&place.env, exe(), &place.dir(), &Spec::default()).unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::InvalidInput);
    assert!(!place.dir().exists());
    let mut first = place.start(&script("exit 1"));
    let second = shim::start(&place.env, exe(), &place.dir(), &script("exit 2")).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::AlreadyExists);
    assert_eq!(finished(&mut first).code(), 1);
}

/// What is not of a command is not removed.
#[test]
fn only_what_is_ours_is_removed() {
    let place = Place::new();
    place.run(&script("exit 0"));
    place.put("treasure", b"gold");
    let refused = shim::remove(&place.env, &place.dir()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::DirectoryNotEmpty);
    let treasure = place.at("command.removed").join("treasure");
    assert_eq!(std::fs::read(&treasure).unwrap(), b"gold");
    std::fs::remove_file(treasure).unwrap();
    shim::remove(&place.env, &place.dir()).unwrap();
    assert!(!place.at("command.removed").exists());
}
