//! What an earlier server left of its commands: the recovery of `executions/`, a layer like the
//! others.
//!
//! It is looked at before the claims of jobs are settled, because they are settled by it, and acted
//! on after that. Invariants: looking changes nothing; a command of which nobody knows how it ended
//! is gone before the work routes open; a directory is removed only when nothing of it can run and
//! nobody needs to hear how it ended.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use rekindle_env::{EntryKind, Env};
use rekindle_recovery::{Acked, Action, ActionKind, Failure, Finding, Label, Layer, Place, Plan};
use rekindle_services::claims::{Token, Trace, Traces};

use super::DIRECTORY;
use crate::shim::{self, End, Evidence, Identity, Why};

/// A directory that cannot be read at all: who runs it is damaged.
const UNREAD: Label = Label("command-8");

/// The layer of commands.
#[derive(Clone, Debug)]
pub struct CommandLayer {
    /// The directory that has those of the commands.
    pub dir: PathBuf,
}

/// What was found in one directory.
#[derive(Clone, Debug)]
pub struct Found {
    token: Token,
    label: Label,
    evidence: Evidence,
}

/// A command that goes on, or whose end is not told yet.
#[derive(Clone, Debug)]
pub struct Left {
    /// The claim it was started under.
    pub token: Token,
    /// How it was found.
    pub how: How,
}

/// How a command was found.
#[derive(Clone, Debug)]
pub enum How {
    /// It runs.
    Running(Identity),
    /// It ended.
    Finished(End),
}

/// What is done about a command.
#[derive(Clone, Debug)]
pub enum Step {
    /// It goes on.
    Resume(Box<Left>),
    /// It never began, and never will.
    Forbid(Token),
    /// It is another directory's: only this copy of its records goes.
    Forget(Token),
    /// Nobody knows how it ended: what is left of it is ended.
    Clear(Token),
}

/// What claims are settled by.
#[must_use]
pub fn traces(found: &[Found]) -> Traces {
    let trace = |found: &Found| {
        let trace = match found.evidence {
            Evidence::Running(_) | Evidence::Finished(_) => Trace::Survives,
            Evidence::NotStarted => Trace::Unbegun,
            Evidence::Unknown { .. } | Evidence::Elsewhere { .. } => return None,
        };
        Some((found.token, trace))
    };
    found.iter().filter_map(trace).collect()
}

impl Layer for CommandLayer {
    const NAME: &'static str = "command";
    type Source = Env;
    type Sink = Env;
    type Pieces = Vec<Found>;
    type Trusted = Vec<Found>;
    type Step = Step;
    type Recovered = Vec<Left>;

    fn scan(&self, source: &Env) -> Result<Vec<Found>, Failure> {
        let mut found = Vec::new();
        for token in self.tokens(source)? {
            let dir = self.dir.join(token.to_string());
            let (label, evidence) = shim::examine(source, &dir).unwrap_or_else(|error| {
                // One directory that cannot be read keeps no store down.
                let (label, text) = (UNREAD, format!("it cannot be looked at: {error}"));
                (label, Evidence::Unknown { why: Why { label, text } })
            });
            found.push(Found { token, label, evidence });
        }
        Ok(found)
    }

    /// Everything that can be found has its row in the table of the shim already; what is unknown
    /// is told by its place, because its files go.
    fn validate(&self, pieces: Vec<Found>) -> (Vec<Found>, Vec<Finding>) {
        let unknown = |found: &Found| {
            let (Evidence::Unknown { why } | Evidence::Elsewhere { why }) = &found.evidence else {
                return None;
            };
            let file = format!("{DIRECTORY}/{}", found.token);
            Some(Finding {
                label: found.label,
                place: Place { file, ..Place::default() },
                verdict: None,
                acked: Acked::Unknown,
                expected: "how the command ended".to_owned(),
                found: why.text.clone(),
            })
        };
        let findings = pieces.iter().filter_map(unknown).collect();
        (pieces, findings)
    }

    fn plan(&self, trusted: &Vec<Found>, _: &[Finding]) -> Plan<Step> {
        let mut counts: BTreeMap<(&'static str, &'static str), (ActionKind, Label, u64)> =
            BTreeMap::new();
        let mut steps = Vec::with_capacity(trusted.len());
        for Found { token, label, evidence } in trusted {
            let token = *token;
            let (kind, detail, step) = match evidence.clone() {
                Evidence::Running(identity) => {
                    let how = How::Running(identity);
                    (ActionKind::Resume, "they run, and are taken over", resume(token, how))
                }
                Evidence::Finished(end) => {
                    let how = How::Finished(end);
                    (ActionKind::Resume, "they ended, which is told now", resume(token, how))
                }
                Evidence::NotStarted => {
                    let detail = "they were not begun, and are given up";
                    (ActionKind::Reclaim, detail, Step::Forbid(token))
                }
                Evidence::Elsewhere { .. } => {
                    let detail = "they may run elsewhere, and are left alone";
                    (ActionKind::Reclaim, detail, Step::Forget(token))
                }
                Evidence::Unknown { .. } => {
                    let detail = "how far they came is unknown; what is left of them is ended";
                    (ActionKind::Reclaim, detail, Step::Clear(token))
                }
            };
            steps.push(step);
            counts.entry((label.0, detail)).or_insert((kind, *label, 0)).2 += 1;
        }
        let actions = counts.into_iter().map(|((_, detail), (kind, label, count))| Action {
            kind,
            label,
            target: format!("{count} commands"),
            detail: detail.to_owned(),
        });
        let actions = actions.collect();
        Plan { steps, actions }
    }

    fn act(&self, _: Vec<Found>, steps: Vec<Step>, sink: &Env) -> Result<Vec<Left>, Failure> {
        let mut left = Vec::new();
        for step in steps {
            match step {
                Step::Resume(one) => left.push(*one),
                Step::Forbid(token) => left.extend(self.forbid(token, sink)?),
                Step::Forget(token) => self.forget(token, sink),
                Step::Clear(token) => self.clear(token, sink),
            }
        }
        self.finish_removals(sink)?;
        Ok(left)
    }
}

fn resume(token: Token, how: How) -> Step {
    Step::Resume(Box::new(Left { token, how }))
}

fn failed(what: &str, dir: &std::path::Path, error: io::Error) -> Failure {
    Failure::io(format!("{what} the command in {}", dir.display()), error)
}

impl CommandLayer {
    /// The claims that have a directory; others are not ours, and are left alone.
    fn tokens(&self, env: &Env) -> Result<Vec<Token>, Failure> {
        let names = self.names(env)?;
        let tokens = names.iter().filter_map(|name| name.parse().ok());
        Ok(tokens.filter(|token: &Token| token.subject().is_job()).collect())
    }

    fn names(&self, env: &Env) -> Result<Vec<String>, Failure> {
        let listed = match env.disk.stat(&self.dir) {
            Ok(Some(_)) => env.disk.list(&self.dir),
            Ok(None) => return Ok(vec![]),
            Err(error) => Err(error),
        };
        let entries = listed.map_err(|error| failed("list", &self.dir, error))?;
        let directories = entries.into_iter().filter(|entry| entry.kind == EntryKind::Directory);
        let mut names: Vec<String> = directories.map(|entry| entry.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Makes sure that a command which did not begin never does. A shim that was on its way at the
    /// first look may have been first: then it runs, and goes on as a late worker does.
    fn forbid(&self, token: Token, env: &Env) -> Result<Option<Left>, Failure> {
        let dir = self.dir.join(token.to_string());
        // Where it cannot be forbidden it is looked at again: who is first decides.
        if !shim::forbid(env, &dir).unwrap_or(false) {
            let evidence = shim::look(env, &dir).map_err(|error| failed("look at", &dir, error))?;
            match evidence {
                Evidence::Running(identity) => {
                    return Ok(Some(Left { token, how: How::Running(identity) }));
                }
                Evidence::Finished(end) => {
                    return Ok(Some(Left { token, how: How::Finished(end) }));
                }
                Evidence::NotStarted | Evidence::Elsewhere { .. } | Evidence::Unknown { .. } => {}
            }
        }
        self.clear(token, env);
        Ok(None)
    }

    /// Ends what is left of a command and removes its directory. Something that does not die (it
    /// waits for a disk that hangs) keeps its directory, and the next start tries again.
    fn clear(&self, token: Token, env: &Env) {
        let dir = self.dir.join(token.to_string());
        let cleared = shim::kill_orphans(env, &dir).and_then(|killed| {
            if killed > 0 {
                tracing::warn!(dir = %dir.display(), killed, "orphans of a command were ended");
            }
            shim::remove(env, &dir)
        });
        if let Err(error) = cleared {
            tracing::error!(dir = %dir.display(), %error, "what a command left is still there");
        }
    }

    /// Removes the copy of what another directory says of its command.
    fn forget(&self, token: Token, env: &Env) {
        let dir = self.dir.join(token.to_string());
        tracing::warn!(dir = %dir.display(), "a copy of a command's records is removed");
        if let Err(error) = shim::remove(env, &dir) {
            tracing::error!(dir = %dir.display(), %error, "left as it is: look into it");
        }
    }

    /// Removals that a crash interrupted.
    fn finish_removals(&self, env: &Env) -> Result<(), Failure> {
        for name in self.names(env)? {
            let token = shim::removed(&name).and_then(|name| name.parse::<Token>().ok());
            let Some(token) = token else { continue };
            let dir = self.dir.join(token.to_string());
            if let Err(error) = shim::remove(env, &dir) {
                tracing::error!(dir = %dir.display(), %error, "left as it is: look into it");
            }
        }
        Ok(())
    }
}
