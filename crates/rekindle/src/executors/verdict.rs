//! What the end of a command means for its job. Pure.
//!
//! A server may die *by* the command that it runs. So what ended badly while no server was there
//! or within [`BAD_MS`] of its death, and what ended well within [`SUSPICIOUS_MS`] of it, is taken
//! for a crash of the server: three in a row wait for a person (J7). What ended well before or
//! later has done its work, and what went wrong later went wrong by itself.

use rekindle_services::jobs::{Done, Failure};
use rekindle_services::limits::RESULT_BYTES_MAX;

use crate::shim::{End, Outcome, Output, Why};

/// How close an end may be to that of the server before it is taken for its cause, milliseconds.
const SUSPICIOUS_MS: u64 = 1_000;
/// The same of a bad end that came under the next server, milliseconds; one that came while there
/// was none is always taken for it.
const BAD_MS: u64 = 10_000;
/// The most that is kept of what a command wrote to its standard error, from its end, bytes.
const ERROR_BYTES_MAX: usize = 900;

/// Why a command was ended when the server ends.
pub(super) const STOPPED: &str = "the server ends";
/// Why a command was ended whose job is somebody else's.
pub(super) const LOST: &str = "its claim was lost";

/// The server while an end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// It is the one that started the command.
    Same,
    /// The same, and it ends in order: whoever ends it may end its commands, too (a service manager
    /// does).
    Ending,
    /// The one that started the command died, and the command ran on under this one.
    Adopted,
    /// The one that started the command died before it told this.
    Next,
}

/// What is said of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done, with this result.
    Complete(Vec<u8>),
    /// It went wrong: why, and when to try again, if anybody knows, milliseconds.
    Fail(String, Option<u64>),
    /// A server died with it.
    Died(String),
    /// What watched the command died, and the server did not.
    WorkerDied(String),
    /// The server ends before it is done.
    Stop,
    /// The machine did not let it begin.
    Release(String),
}

impl Verdict {
    /// As services take it.
    pub(super) fn done(&self) -> Done<'_> {
        match self {
            Self::Complete(result) => Done::Complete(result),
            Self::Fail(error, retry_in_ms) => {
                Done::Fail(Failure { error, retry_in_ms: *retry_in_ms, last: false })
            }
            Self::Died(reason) => Done::Died(reason),
            Self::WorkerDied(reason) => Done::WorkerDied(reason),
            Self::Stop => Done::Stop(STOPPED),
            Self::Release(reason) => Done::Release(reason),
        }
    }
}

/// What this end means, with this output.
pub(super) fn of_end(end: &End, output: Output, server: Server) -> Verdict {
    let killed = end.killed.as_deref();
    let well = end.outcome == Outcome::Exited(0) && !end.timed_out;
    let others = server == Server::Ending && !well;
    let others = others && killed.is_some_and(|why| why != LOST);
    if killed == Some(STOPPED) || others {
        return Verdict::Stop;
    }
    let not_run = matches!(end.outcome, Outcome::NotRun(_));
    // A server tells an end at once. One that was there at the end and is another's to tell now
    // died right after it: a process that is killed closes its files a while later.
    let right_after = (server == Server::Next).then_some(end.ended_boot_ms);
    let gone = end.server_gone_boot_ms.or(right_after).filter(|_| !not_run);
    let within = |gone: u64, ms| end.ended_boot_ms.saturating_sub(gone) <= ms;
    let alone = |gone| server == Server::Next || within(gone, BAD_MS);
    match gone {
        Some(gone) if end.succeeded() && within(gone, SUSPICIOUS_MS) => {
            Verdict::Died(format!("{} within a second of the server's death", how(end)))
        }
        Some(gone) if !end.succeeded() && alone(gone) => Verdict::Died(said(
            &format!("{}, and the server had died meanwhile", how(end)),
            &output,
        )),
        _ if end.succeeded() => completed(end, output),
        _ => Verdict::Fail(said(&how(end), &output), None),
    }
}

/// What it means that nobody knows how a command ended; whether a server died meanwhile.
pub(super) fn of_unknown(why: &Why, server_died: bool) -> Verdict {
    let reason = why.to_string();
    if server_died { Verdict::Died(reason) } else { Verdict::WorkerDied(reason) }
}

fn completed(end: &End, output: Output) -> Verdict {
    let fail = |error: String| Verdict::Fail(error, None);
    match &end.stdout.error {
        Some(error) => fail(format!("its output could not be kept: {error}")),
        None if end.stdout.dropped > 0 || output.stdout.len() > RESULT_BYTES_MAX => {
            let bytes = end.stdout.kept.saturating_add(end.stdout.dropped);
            fail(format!("the command printed {bytes} bytes, which is more than are kept"))
        }
        None => Verdict::Complete(output.stdout),
    }
}

/// How it ended, in words.
fn how(end: &End) -> String {
    let reason = match &end.outcome {
        Outcome::Exited(code) => format!("exit status {code}"),
        Outcome::Signaled(signal) => format!("signal {signal}"),
        Outcome::NotRun(why) => format!("it could not be started: {}", why.error),
    };
    match &end.killed {
        _ if end.timed_out => format!("ended by its time limit ({reason})"),
        Some(why) => format!("ended because {why} ({reason})"),
        None => reason,
    }
}

/// The same, with the last lines of its standard error.
fn said(how: &str, output: &Output) -> String {
    let from = output.stderr.len().saturating_sub(ERROR_BYTES_MAX);
    let text = String::from_utf8_lossy(output.stderr.get(from..).unwrap_or_default());
    // The first of these lines may be a rest.
    let whole = if from > 0 { text.split_once('\n').map(|(_, rest)| rest) } else { None };
    match whole.unwrap_or(&text).trim() {
        "" => how.to_owned(),
        text => format!("{how}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::{NotRun, Stream};

    fn end(outcome: Outcome) -> End {
        End {
            token: String::new(),
            outcome,
            timed_out: false,
            killed: None,
            started_boot_ms: 0,
            ended_boot_ms: 10_000,
            server_gone_boot_ms: None,
            stdout: Stream::default(),
            stderr: Stream::default(),
            left: 0,
        }
    }

    fn output(stdout: &str, stderr: &str) -> Output {
        Output { stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn an_end_says_what_became_of_the_job() {
        let good = end(Outcome::Exited(0));
        assert_eq!(of_end(&good, output("7", "x"), Server::Same), Verdict::Complete(b"7".to_vec()));
        let more = Stream { kept: 3, dropped: 4, ..Stream::default() };
        let long = End { stdout: more, ..good.clone() };
        let told = "the command printed 7 bytes, which is more than are kept";
        assert_eq!(
            of_end(&long, output("abc", ""), Server::Same),
            Verdict::Fail(told.into(), None)
        );
        let bad = end(Outcome::Exited(3));
        let failed = |text: &str| Verdict::Fail(text.into(), None);
        assert_eq!(
            of_end(&bad, output("", "no such file\n"), Server::Same),
            failed("exit status 3: no such file")
        );
        assert_eq!(
            of_end(&end(Outcome::Signaled(9)), Output::default(), Server::Same),
            failed("signal 9")
        );
        let late = End { timed_out: true, ..end(Outcome::Signaled(15)) };
        assert_eq!(
            of_end(&late, Output::default(), Server::Same),
            failed("ended by its time limit (signal 15)")
        );
        let missing = NotRun { code: 127, error: "convert: not found".into() };
        let missing = End { server_gone_boot_ms: Some(1), ..end(Outcome::NotRun(missing)) };
        assert_eq!(
            of_end(&missing, Output::default(), Server::Same),
            failed("it could not be started: convert: not found")
        );
        let stopped = End { killed: Some(STOPPED.into()), ..end(Outcome::Signaled(15)) };
        assert_eq!(of_end(&stopped, Output::default(), Server::Same), Verdict::Stop);
        let other = End { killed: Some("its shim was sent SIGTERM".into()), ..stopped };
        assert_eq!(of_end(&other, Output::default(), Server::Ending), Verdict::Stop);
        assert_eq!(
            of_end(&other, Output::default(), Server::Same),
            failed("ended because its shim was sent SIGTERM (signal 15)")
        );
    }

    /// A command that kills the server and ends well is not done, or it would kill the next one,
    /// too; one that ends well later, or ended before, is.
    ///
    /// proves: J7
    #[test]
    fn what_ends_with_the_server_is_charged_for_it() {
        let gone = |ago_ms: u64, outcome| End {
            server_gone_boot_ms: Some(10_000 - ago_ms),
            ..end(outcome)
        };
        let died =
            |end: &End| matches!(of_end(end, Output::default(), Server::Same), Verdict::Died(_));
        assert!(died(&gone(0, Outcome::Exited(0))));
        assert!(died(&gone(SUSPICIOUS_MS, Outcome::Exited(0))));
        assert!(!died(&gone(SUSPICIOUS_MS + 1, Outcome::Exited(0))));
        assert!(died(&gone(9_000, Outcome::Exited(1))));
        let later = End { server_gone_boot_ms: Some(0), ..end(Outcome::Exited(1)) };
        let later = End { ended_boot_ms: BAD_MS + 1, ..later };
        let under = |server| of_end(&later, Output::default(), server);
        assert!(matches!(under(Server::Next), Verdict::Died(_)), "no server was there");
        assert!(matches!(under(Server::Adopted), Verdict::Fail(..)), "another one was");
        assert!(!died(&end(Outcome::Exited(1))), "the server was there to the end");
        // It was seen to be gone only after the command had ended.
        let after = End { server_gone_boot_ms: Some(10_001), ..end(Outcome::Exited(0)) };
        assert!(died(&after));
        // It was not seen to be gone at all: its files were not closed yet when the shim ended.
        for outcome in [Outcome::Exited(0), Outcome::Signaled(9)] {
            let verdict = of_end(&end(outcome), Output::default(), Server::Next);
            assert!(matches!(verdict, Verdict::Died(_)), "{verdict:?}");
        }
    }

    #[test]
    fn the_last_lines_of_an_error_are_kept() {
        let text = format!("{}\nthe reason\n", "x".repeat(2_000));
        assert_eq!(said("exit status 1", &output("", &text)), "exit status 1: the reason");
    }
}
