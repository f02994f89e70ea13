//! The shim: the process that runs one command and writes down how it ended.
//!
//! Order of what becomes durable, and of what it allows: the claim of the directory (one shim,
//! once) -> the second stage is made -> the claim with its identity -> it is let go -> the end,
//! which is written after everything of the command is gone.
//!
//! Invariants: everything happens on the main thread, because the death signal of the command is
//! bound to the thread that made it; a shim that meets an error before the end is written takes the
//! command with it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rekindle_env::{Env, ReadFile, WriteFile, processes};
use rekindle_recovery::exit;
use rustix::process::{getpid, set_child_subreaper, setsid};

use super::SUBCOMMAND;
use super::directory::DirectoryId;
use super::files::Files;
use super::orphans::kill_descendants;
use super::pipes::{Capture, Feed};
use super::records::{Claim, End, Identity, NotRun, Outcome, ProcessId, Stream};
use super::sealed::Found;
use super::spec::Order;
use super::watch::{Ears, Ending, Server, Signals, Streams, Watch};

/// This program, whatever became of its file.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The directory of the command, once the shim is in it.
const HERE: &str = ".";

/// Exit code of a command that the machine did not let the shim start.
const NOT_STARTED: i32 = 126;

/// Runs the command of this directory to its end, as its shim; gives the exit code of the shim. Its
/// standard input is a pipe that closes when the server dies. Must be the first thing that a
/// process does, on its main thread.
#[must_use]
pub fn supervise(dir: &Path, token: &str) -> i32 {
    let env = Env::real();
    match run(&env, dir, token) {
        Ok(()) => 0,
        Err(error) => {
            // Nobody listens to a shim; this is for whoever looks into the directory. One that is
            // no command's is left as it is.
            let files = Files::new(&env, dir);
            if let Ok(Found::Whole(_)) = files.order() {
                let _ = files.write_shim_error(&error);
            }
            // The command dies with this process; what it started does not.
            let _ = kill_descendants(&env);
            exit::IO
        }
    }
}

fn run(env: &Env, dir: &Path, token: &str) -> io::Result<()> {
    // Out of the server's process group and session: what is sent to them does not arrive here.
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    let mut ears = Ears { signals: Signals::new()?, server: Server::new() };
    let files = Files::new(env, dir);
    let order = match files.order()? {
        Found::Whole(order) if order.token == token => order,
        found => return Err(io::Error::other(format!("spec.json: {found:?}"))),
    };
    // An earlier server that died may have been about to start this; its successor decides anew.
    ears.server.look(env)?;
    if ears.server.gone_boot_ms().is_some() {
        return Ok(());
    }
    let identity = own_identity(env, dir, token)?;
    if !files.publish(&Claim::Shim(identity.clone()))? {
        return Ok(());
    }
    let begun = outputs(env, &files).and_then(|outputs| {
        let child = second_stage(dir, token)?;
        Ok((outputs, child))
    });
    let (outputs, child) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            return files.write_end(&not_started(env, &order, &error, &ears.server));
        }
    };
    // From now on it is this directory, wherever it is moved to and whatever is put in its place.
    // Not before: the command begins where the server is.
    std::env::set_current_dir(dir)?;
    let files = Files::new(env, Path::new(HERE));
    let (stage, watch) = watch(env, &files, &order, child, outputs, ears)?;
    files.write_claim(&Claim::Shim(Identity { command: Some(stage), ..identity }))?;
    files.write_end(&end(&files, &order, watch.run()?)?)
}

fn own_identity(env: &Env, dir: &Path, token: &str) -> io::Result<Identity> {
    let disk = env.disk.as_ref();
    Ok(Identity {
        token: token.to_owned(),
        boot_id: processes::boot_id(disk)?,
        shim: identity_of(env, std::process::id())?,
        command: None,
        directory: DirectoryId::of(env, dir)?,
        started_boot_ms: env.clock.boot_ms(),
    })
}

/// Who a process is that cannot have been waited for: this one, or a child.
fn identity_of(env: &Env, pid: u32) -> io::Result<ProcessId> {
    let process = processes::process(env.disk.as_ref(), pid)?.map(ProcessId::from);
    process.ok_or_else(|| io::Error::other(format!("process {pid} is not in /proc")))
}

/// The files of standard output and standard error.
type Outputs = (Box<dyn WriteFile>, Box<dyn WriteFile>);

fn outputs(env: &Env, files: &Files<'_>) -> io::Result<Outputs> {
    Ok((env.disk.create(&files.stdout())?, env.disk.create(&files.stderr())?))
}

/// Starts the process that becomes the command, in a group of its own. It waits for a word.
fn second_stage(dir: &Path, token: &str) -> io::Result<Child> {
    let shim = std::process::id().to_string();
    Command::new(OWN_PROGRAM)
        .args([SUBCOMMAND, "--token", token, "--second-stage", &shim, "--"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// Everything that watches the second stage, before it is let go.
fn watch<'a>(
    env: &'a Env,
    files: &Files<'a>,
    order: &'a Order,
    mut child: Child,
    (stdout, stderr): Outputs,
    ears: Ears,
) -> io::Result<(ProcessId, Watch<'a>)> {
    let stage = identity_of(env, child.id())?;
    let payload: Option<Box<dyn ReadFile>> = match env.disk.open_read(&files.stdin()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        payload => Some(payload?),
    };
    let pipe = |pipe: Option<OwnedFd>| pipe.ok_or_else(|| io::Error::other("a pipe is missing"));
    let stdin = pipe(child.stdin.take().map(OwnedFd::from))?;
    let out = pipe(child.stdout.take().map(OwnedFd::from))?;
    let err = pipe(child.stderr.take().map(OwnedFd::from))?;
    let streams = Streams {
        feed: Feed::new(stdin, payload)?,
        stdout: Capture::new(out, stdout, order.spec.stdout_bytes_max)?,
        stderr: Capture::new(err, stderr, order.spec.stderr_bytes_max)?,
    };
    Ok((stage, Watch::new(env, *files, &order.spec, stage, streams, ears)?))
}

fn not_started(env: &Env, order: &Order, error: &io::Error, server: &Server) -> End {
    let now = env.clock.boot_ms();
    let why = NotRun { code: NOT_STARTED, error: format!("the second stage: {error}") };
    End {
        token: order.token.clone(),
        outcome: Outcome::NotRun(why),
        timed_out: false,
        killed: None,
        started_boot_ms: now,
        ended_boot_ms: now,
        server_gone_boot_ms: server.gone_boot_ms(),
        stdout: Stream::default(),
        stderr: Stream::default(),
        left: 0,
    }
}

/// What is written down; the output is durable before.
fn end(files: &Files<'_>, order: &Order, ending: Ending) -> io::Result<End> {
    let outcome = match files.not_run()? {
        // The second stage wrote this instead of becoming the command.
        Found::Whole(why) if ending.outcome == Outcome::Exited(why.code) => Outcome::NotRun(why),
        _ => ending.outcome,
    };
    Ok(End {
        token: order.token.clone(),
        outcome,
        timed_out: ending.timed_out,
        killed: ending.killed,
        started_boot_ms: ending.started_boot_ms,
        ended_boot_ms: ending.ended_boot_ms,
        server_gone_boot_ms: ending.server_gone_boot_ms,
        stdout: ending.stdout.end(),
        stderr: ending.stderr.end(),
        left: ending.left,
    })
}
