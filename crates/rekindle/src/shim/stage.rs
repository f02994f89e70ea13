//! The second stage: the process that becomes the command.
//!
//! Invariants: it dies with its shim from its first line on, and becomes the command only after the
//! shim let it go, which it does when the identity is durable. `exec` does not return when it
//! works, and everything that does not work is written down.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rekindle_env::Env;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::files::Files;
use super::handle::number;
use super::sealed::Found;
use super::spec::{Inherit, Order};
use super::{SERVER_PID_VARIABLE, TOKEN_VARIABLE};
use crate::owner;

/// What a shell gives where a program is not found.
const NOT_FOUND: i32 = 127;
/// What a shell gives where a program cannot be executed.
const NOT_EXECUTABLE: i32 = 126;

/// Becomes the command of this directory, whose shim is the process `shim`; gives the exit code
/// where that fails.
#[must_use]
pub fn become_command(dir: &Path, token: &str, shim: u32) -> i32 {
    let env = Env::real();
    let failed = |code, error: String| {
        // Without this file the shim still has the exit code.
        let _ = Files::new(&env, dir).write_not_run(code, &error);
        code
    };
    match wait_for_go(shim) {
        Ok(true) => {}
        // The shim died, or gave up: nothing is to run.
        Ok(false) => return NOT_EXECUTABLE,
        Err(error) => return failed(NOT_EXECUTABLE, format!("its shim: {error}")),
    }
    let order = match Files::new(&env, dir).order() {
        Ok(Found::Whole(order)) if order.token == token => order,
        Ok(_) => return failed(NOT_EXECUTABLE, "its spec is damaged".to_owned()),
        Err(error) => return failed(NOT_EXECUTABLE, format!("its spec: {error}")),
    };
    let (mut command, program) = command(&order);
    // The second stage writes into DIR even if its own directory becomes another.
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    let failed = |code, error: String| {
        let _ = Files::new(&env, &dir).write_not_run(code, &error);
        code
    };
    if let Some(directory) = &order.spec.directory
        && let Err(error) = std::env::set_current_dir(directory)
    {
        return failed(NOT_EXECUTABLE, format!("directory {}: {error}", directory.display()));
    }
    if let Some(mask) = order.umask {
        owner::take_on(mask);
    }
    let error = command.exec();
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    failed(code, format!("{program}: {error}"))
}

/// Waits for the word of the shim; false where it died or gave up.
fn wait_for_go(shim: u32) -> io::Result<bool> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Had it died before that line, no signal would come any more.
    if getppid() != number(shim) {
        return Ok(false);
    }
    // Exactly one byte: what follows is the command's.
    let mut byte = [0; 1];
    let read = rustix::io::retry_on_intr(|| rustix::io::read(io::stdin(), &mut byte))?;
    Ok(read == 1)
}

fn command(order: &Order) -> (Command, &str) {
    let spec = &order.spec;
    let program = spec.arguments.first().map_or("", String::as_str);
    let mut command = Command::new(program);
    command.args(spec.arguments.iter().skip(1));
    match &spec.inherit {
        Inherit::Everything => {}
        Inherit::Nothing => {
            command.env_clear();
        }
        Inherit::Only(names) => {
            let set = names.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
            command.env_clear().envs(set);
        }
    }
    command
        .envs(&spec.environment)
        .env(SERVER_PID_VARIABLE, order.server_pid.to_string())
        .env(TOKEN_VARIABLE, &order.token);
    (command, program)
}
