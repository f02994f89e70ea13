//! Other programs: started in a group of their own, watched by a deadline, killed as a group.
//!
//! Invariant: when a call returns, nothing that it started is running any more, whatever the
//! program did: a server that a document leaves behind would hold the ports of the next one.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its status; `None` when it was killed at the deadline.
    pub(crate) status: Option<ExitStatus>,
    /// What it and its children printed, both streams together.
    pub(crate) output: String,
}

impl Ended {
    /// Whether it ended by itself, with 0.
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// For messages.
    pub(crate) fn how(&self) -> String {
        self.status.map_or_else(|| "killed at its deadline".to_owned(), |status| status.to_string())
    }
}

/// Runs a program with both streams captured, and shown as well when `echo` is set.
pub(crate) fn run(command: &mut Command, deadline: Duration, echo: bool) -> Result<Ended, String> {
    let named = || format!("{}", command.get_program().to_string_lossy());
    let name = named();
    let (mut reader, writer) = std::io::pipe().map_err(|error| format!("pipe: {error}"))?;
    let other = writer.try_clone().map_err(|error| format!("pipe: {error}"))?;
    command.stdin(Stdio::null()).stdout(writer).stderr(other).process_group(0);
    let child = command.spawn().map_err(|error| format!("cannot run {name}: {error}"))?;
    // The command keeps its ends of the pipe: without this the reader would never see the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let reading = thread::spawn(move || {
        let mut output = Vec::new();
        let mut buffer = [0; 8192];
        while let Ok(read) = reader.read(&mut buffer) {
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
            output.extend_from_slice(part);
            if echo {
                crate::complain(&String::from_utf8_lossy(part));
            }
        }
        String::from_utf8_lossy(&output).into_owned()
    });
    let status = watch(child, deadline)?;
    let output = reading.join().map_err(|_| format!("the reader of {name} panicked"))?;
    Ok(Ended { status, output })
}

/// Waits for the program, at most until the deadline; then ends whatever is left of its group.
fn watch(mut child: Child, deadline: Duration) -> Result<Option<ExitStatus>, String> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let group = group.ok_or("a process without a number")?;
    let (sender, receiver) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let _ = sender.send(child.wait());
    });
    let status = match receiver.recv_timeout(deadline) {
        Ok(status) => Some(status.map_err(|error| format!("wait: {error}"))?),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
    };
    end(group);
    let _ = waiting.join();
    Ok(status)
}

/// Kills a group and waits until none of it is left.
fn end(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
    let mut pause = Duration::from_millis(1);
    // A killed process is a member until its parent (init, for orphans) has collected it.
    while test_kill_process_group(group).is_ok() && pause < Duration::from_secs(2) {
        thread::sleep(pause);
        pause *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn shell(script: &str, deadline: Duration) -> Ended {
        run(Command::new("sh").args(["-c", script]), deadline, false).expect("a shell runs")
    }

    #[test]
    fn status_and_both_streams_come_back() {
        let ended = shell("echo out; echo err >&2; exit 3", Duration::from_secs(10));
        assert_eq!(ended.status.and_then(|status| status.code()), Some(3));
        assert!(!ended.success());
        assert!(ended.output.contains("out") && ended.output.contains("err"), "{ended:?}");
    }

    #[test]
    fn what_is_left_behind_is_ended() {
        let start = Instant::now();
        let ended = shell("sleep 60 & echo $!", Duration::from_secs(30));
        assert!(ended.success());
        assert!(start.elapsed() < Duration::from_secs(20));
        let pid = ended.output.trim();
        let alive = shell(&format!("kill -0 {pid}"), Duration::from_secs(10)).success();
        assert!(!alive, "{pid} outlived its group");
    }

    #[test]
    fn the_deadline_holds() {
        let ended = shell("sleep 60", Duration::from_millis(50));
        assert!(ended.status.is_none());
        assert_eq!(ended.how(), "killed at its deadline");
    }
}
