//! What the parts of a loop are called: statuses, steps, ends, reasons.
//!
//! Invariant: a text of a user or a program is bounded and printable before it is on a page.

use maud::Markup;
use rekindle_services::loops::event::{Decision, Reason};
use rekindle_services::loops::{Directory, LoopId, Outcome, Status, StepRef};

use crate::front::ui::frame::badge;
use crate::front::ui::text;

/// Most characters of a reason, or of what somebody is called.
const SAID_CHARS: usize = 1_024;
/// Most characters of a command line where it stands beside others.
const ARGV_CHARS: usize = 160;

/// The words of a status.
pub(super) fn word(status: Status) -> String {
    status.as_str().replace('_', " ")
}

/// The sign of a status, and its colour.
pub(super) const fn sign(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Draft => ("✎", "plain"),
        Status::Pending => ("○", "plain"),
        Status::Running => ("◐", "info"),
        Status::Paused => ("‖", "warn"),
        Status::Blocked => ("◌", "plain"),
        Status::Waiting => ("◔", "plain"),
        Status::Completed => ("✓", "ok"),
        Status::Failed => ("✖", "bad"),
        Status::Cancelled => ("–", "plain"),
        Status::NeedsReview => ("!", "warn"),
    }
}

/// A status with its sign, in its colour.
pub(super) fn standing(status: Status) -> Markup {
    let (sign, class) = sign(status);
    badge(sign, &word(status), class)
}

/// Where a plan or an execution is shown.
pub(in crate::front::ui) fn link(id: LoopId) -> String {
    format!("/ui/loops/{id}")
}

/// Where programs find it.
pub(super) fn api(id: LoopId) -> String {
    format!("/v1/loops/{id}")
}

/// What somebody wrote.
pub(super) fn said(words: &str) -> String {
    text::cut(&text::printable(words), SAID_CHARS)
}

/// A value as JSON; what would turn a line around is an escape.
pub(super) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let json = serde_json::to_string(value).unwrap_or_default();
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        // JSON of one line: controls of ASCII are escapes already.
        match text::is_printable(c) {
            true => escaped.push(c),
            false => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    escaped.into_bytes()
}

/// The words of a command, as one would type them.
pub(super) fn argv(words: &[String]) -> String {
    let mut line = String::new();
    for word in words {
        if line.chars().count() > ARGV_CHARS {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
        match !word.is_empty() && word.chars().all(plain) {
            true => line.push_str(word),
            false => line.push_str(&format!("'{}'", word.replace('\'', "'\\''"))),
        }
    }
    text::cut(&text::printable(&line), ARGV_CHARS)
}

/// What a step is called.
pub(super) fn step(step: u32) -> String {
    match step {
        0 => "run".to_owned(),
        check => format!("check {check}"),
    }
}

/// Which step it is, which time.
pub(super) fn step_of(at: StepRef) -> String {
    let StepRef { iteration, attempt, .. } = at;
    let step = step(at.step);
    let iteration = text::number(iteration.into());
    match attempt {
        1 => format!("iteration {iteration}, {step}"),
        _ => format!("iteration {iteration}, {step}, attempt {attempt}"),
    }
}

/// How a step ended.
pub(super) fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited(0) => "ended well".to_owned(),
        Outcome::Exited(code) => format!("exit code {code}"),
        Outcome::Signaled(signal) => format!("ended by signal {signal}"),
        Outcome::TimedOut => "ended by its time limit".to_owned(),
        Outcome::NotRun(why) => format!("could not be started: {}", said(why)),
        Outcome::Failed(why) => format!("failed: {}", said(why)),
        Outcome::CalledOff => "called off".to_owned(),
    }
}

/// What a person is asked about.
pub(super) fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Unknown { step, why } => {
            let what = format!("nobody knows how {} ended", step_of(*step));
            match why.is_empty() {
                true => format!("{what}, and it must not be done twice"),
                false => format!("{what}, and it must not be done twice: {}", said(why)),
            }
        }
        Reason::Stuck { iterations } => {
            let iterations = text::count((*iterations).into(), "iteration", "iterations");
            format!("{iterations} in a row brought it no further")
        }
        Reason::Interrupted { down_ms } => {
            let down = text::span(*down_ms);
            format!("nothing was alive for {down}, which is longer than it goes on by itself")
        }
        Reason::Rebuilt { lost: 0 } => {
            "it was made again from its transcript, whose end may be missing".to_owned()
        }
        Reason::Rebuilt { lost } => {
            let lost = text::count(*lost, "event", "events");
            format!("it was made again from its transcript, of which {lost} and its end are lost")
        }
        Reason::Crashes { times } => {
            format!("whoever worked on it was lost {times} times in a row")
        }
    }
}

/// What a person decided.
pub(super) const fn decided(decision: Decision) -> &'static str {
    match decision {
        Decision::GoOn => "it goes on",
        Decision::Done => "the step is taken as done",
        Decision::Fail => "it is given up",
    }
}

/// Where commands run, in words; the path stands beside them.
pub(super) fn directory(directory: &Directory) -> String {
    match directory {
        Directory::Temporary => "a directory of its own, removed when it is over".to_owned(),
        Directory::Plain(_) => "a directory that was there".to_owned(),
        Directory::Worktree { repository, branch, .. } => {
            format!("a worktree of {} on branch {}", said(repository), said(branch))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command line can be read, and what it holds does nothing.
    #[test]
    fn words_are_bounded_and_printable() {
        let words = ["sh", "-c", "echo 'x' && \x1b[2J", ""].map(str::to_owned);
        assert_eq!(argv(&words), "sh -c 'echo '\\''x'\\'' && ␛[2J' ''");
        let long = vec!["x".repeat(64 << 10); 3];
        assert!(argv(&long).chars().count() <= ARGV_CHARS + 1);
        assert_eq!(json(&"a\u{202e}\x1bé\n"), "\"a\\u202e\\u001bé\\n\"".as_bytes());
        assert!(said(&"\x07".repeat(9_999)).chars().count() <= SAID_CHARS + 1);
    }

    #[test]
    fn steps_and_ends_have_words() {
        let at = StepRef { iteration: 1_203, step: 2, attempt: 3 };
        assert_eq!(step_of(at), "iteration 1,203, check 2, attempt 3");
        assert_eq!(ended(&Outcome::Exited(101)), "exit code 101");
        assert_eq!(ended(&Outcome::NotRun("no\x1b".to_owned())), "could not be started: no␛");
        let why = "the machine went down".to_owned();
        let text = reason(&Reason::Unknown { step: at, why });
        assert!(text.contains("check 2") && text.ends_with("twice: the machine went down"));
        let words: Vec<&str> = Status::ALL.iter().map(|status| sign(*status).0).collect();
        let apart: std::collections::BTreeSet<&str> = words.iter().copied().collect();
        assert_eq!(apart.len(), Status::ALL.len(), "each has a sign of its own");
    }
}
