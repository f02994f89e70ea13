//! Starting a command: its directory is written, and then its shim is let go.
//!
//! Invariant: a directory is made by the start that uses it, so no two starts share one.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rekindle_env::{Env, durable, processes};

use super::SUBCOMMAND;
use super::adopted::Running;
use super::directory::DirectoryId;
use super::files::{Files, discard};
use super::records::ProcessId;
use super::spec::{Order, Spec};
use crate::owner;

/// Bytes of the word that names an attempt.
const TOKEN_BYTES: usize = 16;

/// Starts a command under a shim. `exe` is this program (or another of its kind), `dir` a directory
/// that does not exist yet and is this attempt's alone; missing parents are made.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`]: it cannot be run at all ([`Spec::check`]).
/// [`io::ErrorKind::AlreadyExists`]: the directory is there. Otherwise the disk or the machine
/// refuses. Whatever the error, [`super::look`] says whether something runs, and
/// [`super::remove`] removes what is left.
pub fn start(env: &Env, exe: &Path, dir: &Path, spec: &Spec) -> io::Result<Running> {
    begin(env, exe, dir, spec, reserve)
}

/// The same, in a directory that was [reserved](reserve).
///
/// # Errors
/// As [`start`], but for `AlreadyExists`.
pub fn start_reserved(env: &Env, exe: &Path, dir: &Path, spec: &Spec) -> io::Result<Running> {
    begin(env, exe, dir, spec, |_, _| Ok(()))
}

/// Makes the directory of an attempt, durable: from now on it is proved that the command did not
/// begin, until it does.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`]: the directory is there. Otherwise the disk refuses.
pub fn reserve(env: &Env, dir: &Path) -> io::Result<()> {
    let disk = env.disk.as_ref();
    durable::create_dir_all(disk, durable::parent(dir))?;
    disk.create_dir(dir)?;
    durable::sync_parent(disk, dir)
}

fn begin(
    env: &Env,
    exe: &Path,
    dir: &Path,
    spec: &Spec,
    make: impl FnOnce(&Env, &Path) -> io::Result<()>,
) -> io::Result<Running> {
    spec.check().map_err(|what| io::Error::new(io::ErrorKind::InvalidInput, what))?;
    let token = token(env);
    let made = make(env, dir).and_then(|()| prepare(env, dir, spec, &token)).and_then(|()| {
        let mut command = Command::new(exe);
        command.args([SUBCOMMAND, "--token", &token, "--"]).arg(dir).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    });
    let mut child = match made {
        Ok(child) => child,
        // It is another's, which may run.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        Err(error) => {
            // Nothing was begun and nothing can: what is there takes room that others need.
            let _ = discard(env, dir);
            return Err(error);
        }
    };
    match identity_of(env, &child) {
        Ok(shim) => Running::started(env, dir, child, shim),
        Err(error) => {
            // Nobody could wait for it or kill it: it is not let go.
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

/// Makes everything that a shim reads, durable.
fn prepare(env: &Env, dir: &Path, spec: &Spec, token: &str) -> io::Result<()> {
    let disk = env.disk.as_ref();
    let files = Files::new(env, dir);
    if !spec.payload.is_empty() {
        durable::create_file(disk, &files.stdin(), &spec.payload)?;
    }
    let order = Order {
        token: token.to_owned(),
        server_pid: std::process::id(),
        directory: DirectoryId::of(env, dir)?,
        umask: owner::mask_of_others(),
        spec: Spec { payload: Vec::new(), ..spec.clone() },
    };
    files.write_order(&order)
}

/// Who a child is; it was not waited for, so its number is its own.
fn identity_of(env: &Env, child: &Child) -> io::Result<ProcessId> {
    let process = processes::process(env.disk.as_ref(), child.id())?;
    let missing = || io::Error::new(io::ErrorKind::NotFound, "the shim is not in /proc");
    process.map(ProcessId::from).ok_or_else(missing)
}

fn token(env: &Env) -> String {
    let mut bytes = [0; TOKEN_BYTES];
    env.random.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
