//! What a directory and the machine say of a command: not started, running, finished, or unknown.
//!
//! Invariants: `look` changes nothing; the process is looked at before `end.json` is, so that one
//! that ends meanwhile is never taken for one that died; each combination of conditions is exactly
//! one row.

use std::fmt;
use std::io;
use std::path::Path;

use rekindle_env::Env;
use rekindle_env::processes;
use rekindle_recovery::{Label, Row, Table};

use super::directory::is_copied;
use super::files::Files;
use super::records::{Claim, End, Identity, ProcessId};
use super::sealed::Found;

/// What is known of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Nothing of it ever ran. Call [`super::forbid`] before it is repeated elsewhere.
    NotStarted,
    /// Its shim lives.
    Running(Identity),
    /// It ended like this, and nothing of it runs.
    Finished(End),
    /// It is another directory's, of which this one is a copy: it may run there, and is none of
    /// ours. It is neither taken over nor ended.
    Elsewhere {
        /// What says so.
        why: Why,
    },
    /// It may have run, to an end or not.
    Unknown {
        /// Why nobody knows.
        why: Why,
    },
}

/// Why nobody here knows the end of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The situation (docs/recovery.md).
    pub label: Label,
    /// A sentence for people.
    pub text: String,
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.text, self.label)
    }
}

/// How a file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Absent,
    Damaged,
    Whole,
}

impl<T> From<&Found<T>> for File {
    fn from(found: &Found<T>) -> Self {
        match found {
            Found::Absent => Self::Absent,
            Found::Damaged(_) => Self::Damaged,
            Found::Whole(_) => Self::Whole,
        }
    }
}

/// Whose the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claimed {
    Nobodys,
    Forbidden,
    Damaged,
    AShims,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Conditions {
    /// `spec.json`.
    spec: File,
    /// `identity.json`.
    claim: Claimed,
    /// The machine was not started anew since; said of a shim only.
    same_boot: bool,
    /// A process with the shim's number and start time lives; said of a shim only.
    alive: bool,
    /// The command was made, and may have been let go; said of a shim only.
    made: bool,
    /// There are files that a shim writes.
    output: bool,
    /// Who runs it, or what it is, was written down in another directory.
    copied: bool,
    /// `end.json`.
    end: File,
}

impl Conditions {
    /// Nothing is known of its end, and it is this directory's.
    fn unended(&self, claim: Claimed) -> bool {
        self.end == File::Absent && self.claim == claim && !self.is_elsewhere()
    }

    /// Its shim lives.
    fn runs(&self) -> bool {
        self.claim == Claimed::AShims && self.same_boot && self.alive
    }

    /// What became of it is another directory's to tell. An end is whose it may be, and nobody runs
    /// what was given up.
    fn is_elsewhere(&self) -> bool {
        self.copied && self.end != File::Whole && self.claim != Claimed::Forbidden
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    NotStarted,
    Running,
    Finished,
    Unknown(&'static str),
    Elsewhere(&'static str),
}

const EVIDENCE: Table<Conditions, Then> = Table {
    rows: &[
        Row {
            label: Label("command-1"),
            when: |c| c.unended(Claimed::Nobodys) && c.spec != File::Damaged && !c.output,
            then: Then::NotStarted,
        },
        Row {
            label: Label("command-2"),
            when: |c| c.unended(Claimed::Forbidden),
            then: Then::NotStarted,
        },
        Row {
            label: Label("command-3"),
            when: |c| c.end != File::Whole && c.runs() && !c.is_elsewhere(),
            then: Then::Running,
        },
        Row { label: Label("command-4"), when: |c| c.end == File::Whole, then: Then::Finished },
        Row {
            label: Label("command-5"),
            when: |c| c.unended(Claimed::AShims) && c.made && !c.same_boot,
            then: Then::Unknown("the machine was started anew while it ran"),
        },
        Row {
            label: Label("command-6"),
            when: |c| c.unended(Claimed::AShims) && c.made && c.same_boot && !c.alive,
            then: Then::Unknown("its shim died before it could write down the end"),
        },
        Row {
            label: Label("command-7"),
            when: |c| c.end == File::Damaged && !c.runs() && !c.is_elsewhere(),
            then: Then::Unknown("it ended, and the file that says how is damaged"),
        },
        Row {
            label: Label("command-8"),
            when: |c| c.unended(Claimed::Damaged),
            then: Then::Unknown("the file that says who runs it is damaged"),
        },
        Row {
            label: Label("command-9"),
            when: |c| c.unended(Claimed::Nobodys) && c.spec == File::Damaged,
            then: Then::Unknown("the file that says what it is is damaged"),
        },
        Row {
            label: Label("command-10"),
            when: |c| c.unended(Claimed::AShims) && !c.made && !c.runs(),
            then: Then::NotStarted,
        },
        Row {
            label: Label("command-11"),
            when: |c| c.unended(Claimed::Nobodys) && c.spec != File::Damaged && c.output,
            then: Then::Unknown("it began, and the file that says who runs it is gone"),
        },
        Row {
            label: Label("command-12"),
            when: Conditions::is_elsewhere,
            then: Then::Elsewhere("this is a copy, and the command is that of another directory"),
        },
    ],
};

/// What is known of the command of this directory; nothing is changed. A directory that is not
/// there says that nothing ran in it: whether it was removed is for its owner to know.
///
/// # Errors
/// The machine does not let us look: damage is no error.
pub fn look(env: &Env, dir: &Path) -> io::Result<Evidence> {
    Ok(examine(env, dir)?.1)
}

/// The same, with the row of the table that says so.
///
/// # Errors
/// See [`look`].
pub fn examine(env: &Env, dir: &Path) -> io::Result<(Label, Evidence)> {
    let files = Files::new(env, dir);
    let order = files.order()?;
    let token = order.whole().map(|order| order.token.clone());
    let is_ours = |other: &str| token.as_deref().is_none_or(|token| token == other);
    let claim = files.claim()?.only_if(|claim| match claim {
        Claim::Shim(identity) => is_ours(&identity.token),
        Claim::Forbidden { .. } => true,
    });
    let identity = match claim.whole() {
        Some(Claim::Shim(identity)) => Some(identity),
        _ => None,
    };
    let same_boot = match identity {
        Some(identity) => processes::boot_id(env.disk.as_ref())? == identity.boot_id,
        None => false,
    };
    let alive = match identity {
        Some(identity) if same_boot => lives(env, identity.shim)?,
        _ => false,
    };
    // Only now: whoever was seen dead wrote this before.
    let runner = identity.map(|identity| identity.token.as_str());
    let end = files
        .end()?
        .only_if(|end| is_ours(&end.token) && runner.is_none_or(|runner| runner == end.token));
    let claimed = match &claim {
        Found::Absent => Claimed::Nobodys,
        Found::Damaged(_) => Claimed::Damaged,
        Found::Whole(Claim::Forbidden { .. }) => Claimed::Forbidden,
        Found::Whole(Claim::Shim(_)) => Claimed::AShims,
    };
    let made = identity.is_some_and(|identity| identity.command.is_some());
    let conditions = Conditions {
        made,
        output: files.has_output()?,
        copied: is_copied(env, dir, &claim, &order)?,
        spec: File::from(&order),
        claim: claimed,
        same_boot,
        alive,
        end: File::from(&end),
    };
    let row = EVIDENCE.decide(&conditions);
    let evidence = match (row.then, end, claim) {
        (Then::NotStarted, ..) => Evidence::NotStarted,
        (Then::Finished, Found::Whole(end), _) => Evidence::Finished(end),
        (Then::Running, _, Found::Whole(Claim::Shim(identity))) => Evidence::Running(identity),
        (Then::Elsewhere(text), _, claim) => {
            let runner = match claim {
                Found::Whole(Claim::Shim(identity)) if alive => {
                    format!(", where it runs (its shim is process {})", identity.shim.pid)
                }
                _ => String::new(),
            };
            Evidence::Elsewhere { why: Why { label: row.label, text: format!("{text}{runner}") } }
        }
        (Then::Unknown(text), end, claim) => {
            let gave_up = files.shim_error().filter(|_| row.label == Label("command-6"));
            let gave_up = gave_up.map_or_else(String::new, |why| format!(" (it gave up: {why})"));
            let details = [detail(&end), detail(&claim), detail(&order), gave_up].concat();
            Evidence::Unknown { why: Why { label: row.label, text: format!("{text}{details}") } }
        }
        (then, ..) => unreachable!("{then:?} rests on a file that is whole"),
    };
    Ok((row.label, evidence))
}

/// What is wrong with a file, where something is.
fn detail<T>(found: &Found<T>) -> String {
    match found {
        Found::Damaged(how) => format!(": {how}"),
        _ => String::new(),
    }
}

/// Whether this very process lives.
pub(super) fn lives(env: &Env, id: ProcessId) -> io::Result<bool> {
    let process = processes::process(env.disk.as_ref(), id.pid)?;
    Ok(process.is_some_and(|process| ProcessId::from(process) == id && !process.ended))
}

/// Whether the shim of this directory lives, as far as the directory names one of its own.
pub(super) fn shim_lives(env: &Env, dir: &Path) -> io::Result<bool> {
    let files = Files::new(env, dir);
    let claim = files.claim()?;
    if is_copied(env, dir, &claim, &files.order()?)? {
        return Ok(false);
    }
    let Found::Whole(Claim::Shim(identity)) = claim else { return Ok(false) };
    let boot_id = processes::boot_id(env.disk.as_ref())?;
    Ok(boot_id == identity.boot_id && lives(env, identity.shim)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_matches_exactly_one_row() {
        let files = [File::Absent, File::Damaged, File::Whole];
        let claims = [Claimed::Nobodys, Claimed::Forbidden, Claimed::Damaged, Claimed::AShims];
        let mut all = Vec::new();
        for (spec, end) in files.into_iter().flat_map(|spec| files.map(|end| (spec, end))) {
            for claim in claims {
                for bits in 0..32 {
                    let is = |bit| bits & bit != 0;
                    all.push(Conditions {
                        spec,
                        claim,
                        same_boot: is(1),
                        alive: is(2),
                        made: is(4),
                        output: is(8),
                        copied: is(16),
                        end,
                    });
                }
            }
        }
        assert_eq!(all.len(), 1_152);
        assert_eq!(EVIDENCE.check(all), Vec::<String>::new());
    }
}
