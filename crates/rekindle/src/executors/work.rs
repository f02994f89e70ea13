//! Where the steps of loops work: a directory for each execution, and worktrees of git.
//!
//! ```text
//! DATA/loops/workspaces/EXECUTION/{dir, tmp, report-…json, made, git.lock}
//! ```
//! `made` says that a worktree is whole; a git that makes or removes one has `git.lock` locked, so
//! that whoever comes behind a server that was killed waits for it.
//!
//! Invariants: the name of a directory is that of its execution, whose first event, which says what
//! it needs, was durable before anything was made; so what is there can be told from what is
//! needed, after any crash. Nothing is removed of an execution that is not over, or that nobody
//! knows, or of a worktree in which something is not committed.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rekindle_env::processes::{self, Held};
use rekindle_env::{Disk, EntryKind, Env, durable};
use rekindle_services::loops::{Directory, LoopId, Shown, Task};
use rekindle_services::{Kind, Loops};
use serde::Serialize;

/// The directory below the store's.
const DIRECTORY: &str = "loops/workspaces";
/// The working directory of an execution.
const DIR: &str = "dir";
/// Its temporary files.
const TEMPORARY: &str = "tmp";
/// Is there once a worktree is whole.
const MADE: &str = "made";
/// Locked for as long as a git of ours changes a worktree.
const GIT_LOCK: &str = "git.lock";
/// How long it may take until a git of an earlier server ends.
const GIT_PATIENCE: Duration = Duration::from_secs(300);
/// What a directory is called while it goes.
const GOING: &str = ".going";
/// What is told of what git says, bytes.
const GIT_BYTES: usize = 500;

/// The directories of executions.
#[derive(Clone, Debug)]
pub struct Work {
    root: PathBuf,
    busy: Arc<Mutex<HashSet<LoopId>>>,
}

/// An execution whose directory is in use, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    work: Work,
    id: LoopId,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.work.lock().remove(&self.id);
    }
}

/// What there is of an execution, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// The directory.
    pub path: String,
    /// The execution that it is named after.
    pub execution: String,
    /// `remove`, or `keep`.
    pub action: &'static str,
    /// Why.
    pub why: String,
}

impl Work {
    /// That of a store.
    #[must_use]
    pub fn of_store(data: &Path) -> Self {
        let root = data.join(DIRECTORY);
        let root = std::path::absolute(&root).unwrap_or(root);
        Self { root, busy: Arc::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<LoopId>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything of an execution.
    pub(super) fn of(&self, id: LoopId) -> PathBuf {
        self.root.join(id.to_string())
    }

    /// Where its commands run.
    pub(super) fn directory(&self, id: LoopId) -> PathBuf {
        self.of(id).join(DIR)
    }

    /// Where the commands of an execution run that the server does itself.
    #[must_use]
    pub fn place(&self, id: LoopId, directory: &Directory) -> PathBuf {
        match directory {
            Directory::Temporary | Directory::Worktree { .. } => self.directory(id),
            Directory::Plain(path) => {
                std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
            }
        }
    }

    /// Where their temporary files are.
    pub(super) fn temporary(&self, id: LoopId) -> PathBuf {
        self.of(id).join(TEMPORARY)
    }

    /// Its directory is in use from now on.
    pub(super) fn busy(&self, id: LoopId) -> Busy {
        self.lock().insert(id);
        Busy { work: self.clone(), id }
    }

    /// Makes what a task needs, where it is not there.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(super) fn prepare(&self, env: &Env, task: &Task) -> Result<(), String> {
        let disk = env.disk.as_ref();
        let make = |path: &Path| {
            durable::create_dir_all(disk, path)
                .map_err(|error| format!("{}: {error}", path.display()))
        };
        make(&self.temporary(task.execution))?;
        let dir = self.place(task.execution, &task.directory);
        match &task.directory {
            Directory::Temporary => make(&dir),
            Directory::Plain(_) => match disk.stat(&dir) {
                Ok(Some(entry)) if entry.kind == EntryKind::File => {
                    Err(format!("{} is no directory", dir.display()))
                }
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err(format!("the directory {} is not there", dir.display())),
                Err(error) => Err(format!("{}: {error}", dir.display())),
            },
            Directory::Worktree { repository, branch, from } => {
                let branch = (branch.as_str(), from.as_deref());
                worktree(disk, Path::new(repository), branch, &self.of(task.execution))
            }
        }
    }

    /// What there is, and what would become of it.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn leftovers(&self, env: &Env, loops: &Loops) -> io::Result<Vec<Leftover>> {
        let mut all = Vec::new();
        for name in self.names(env)? {
            let path = self.root.join(&name);
            let id = name.strip_suffix(GOING).unwrap_or(&name);
            let (action, why) = match id.parse::<LoopId>() {
                Err(_) => ("keep", "it is not named after an execution".to_owned()),
                Ok(_) if name.ends_with(GOING) => ("remove", "its removal was begun".to_owned()),
                Ok(id) => self.judge(env, loops, id),
            };
            let execution = id.to_owned();
            all.push(Leftover { path: path.display().to_string(), execution, action, why });
        }
        Ok(all)
    }

    /// What would become of the directory of this execution, and why.
    fn judge(&self, env: &Env, loops: &Loops, id: LoopId) -> (&'static str, String) {
        if self.lock().contains(&id) {
            return ("keep", "a step of it runs".to_owned());
        }
        let detail = match loops.show(id) {
            Ok(Shown::Execution(detail)) => detail,
            Ok(Shown::Plan(_)) => return ("keep", "it is the name of a plan".to_owned()),
            Err(error) if error.kind() == Kind::NotFound => {
                return ("keep", "nobody knows this execution".to_owned());
            }
            Err(error) => return ("keep", format!("the execution cannot be read: {error}")),
        };
        if !detail.info.status.is_finished() {
            return ("keep", format!("the execution is {}", detail.info.status));
        }
        let dir = self.directory(id);
        if matches!(detail.spec.directory, Directory::Worktree { .. })
            && matches!(env.disk.stat(&dir), Ok(Some(_)))
            && is_made(env.disk.as_ref(), &self.of(id))
        {
            match git(None, &dir, &["status", "--porcelain"]) {
                Ok(changed) if changed.trim().is_empty() => {}
                Ok(_) => return ("keep", "the worktree has changes that are not committed".into()),
                Err(why) => return ("keep", format!("the worktree cannot be judged: {why}")),
            }
        }
        ("remove", format!("the execution is {}", detail.info.status))
    }

    /// Removes what is needed no more; answers what was there.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn clean(&self, env: &Env, loops: &Loops) -> io::Result<Vec<Leftover>> {
        let all = self.leftovers(env, loops)?;
        for leftover in all.iter().filter(|leftover| leftover.action == "remove") {
            let path = Path::new(&leftover.path);
            match remove(env.disk.as_ref(), path) {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "an execution's directory is removed")
                }
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "an execution's directory stays");
                }
            }
        }
        Ok(all)
    }

    fn names(&self, env: &Env) -> io::Result<Vec<String>> {
        let entries = durable::list_folder(env.disk.as_ref(), &self.root)?.unwrap_or_default();
        let dirs = entries.into_iter().filter(|entry| entry.kind == EntryKind::Directory);
        Ok(dirs.map(|entry| entry.name).collect())
    }
}

/// Removes the directory of an execution: away with its name first, so that one that is used again
/// begins anew. A worktree is told to its repository.
fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let is_going = path.to_string_lossy().ends_with(GOING);
    let dir = path.join(DIR);
    if !is_going
        && matches!(disk.stat(&dir.join(".git")), Ok(Some(entry)) if entry.kind == EntryKind::File)
    {
        let held = processes::hold(&path.join(GIT_LOCK), GIT_PATIENCE)?;
        if is_made(disk, path) {
            // Only without what is not committed: git looks once more.
            git(Some(&held), &dir, &["worktree", "remove", "."]).map_err(io::Error::other)?;
        } else {
            // A crash while it was made, which left it locked: nothing ran in it.
            let _unlocked = git(Some(&held), &dir, &["worktree", "unlock", "."]);
            let _gone = git(Some(&held), &dir, &["worktree", "remove", "--force", "."]);
        }
    }
    let mut away = path.as_os_str().to_os_string();
    if !is_going {
        away.push(GOING);
        durable::rename(disk, path, Path::new(&away))?;
    }
    remove_tree(disk, Path::new(&away))?;
    durable::sync_parent(disk, path)
}

/// Removes a directory of ours with all that commands left in it; links are not followed.
fn remove_tree(disk: &dyn Disk, root: &Path) -> io::Result<()> {
    // Deepest last, removed from the end.
    let mut dirs = vec![root.to_owned()];
    let mut at = 0;
    while let Some(dir) = dirs.get(at).cloned() {
        at += 1;
        for entry in disk.list(&dir)? {
            let path = dir.join(&entry.name);
            match entry.kind {
                EntryKind::Directory => dirs.push(path),
                EntryKind::File | EntryKind::Other => disk.remove_file(&path)?,
            }
        }
    }
    dirs.iter().rev().try_for_each(|dir| disk.remove_dir(dir))
}

/// Whether the worktree of an execution is whole.
fn is_made(disk: &dyn Disk, of: &Path) -> bool {
    matches!(disk.stat(&of.join(MADE)), Ok(Some(_)))
}

/// Makes a worktree of a repository, on this branch, where it is not there; the branch begins at
/// the end of another one, where that is there, or else where the repository stands.
fn worktree(
    disk: &dyn Disk,
    repository: &Path,
    (branch, from): (&str, Option<&str>),
    of: &Path,
) -> Result<(), String> {
    let dir = of.join(DIR);
    let wrong = |error: io::Error| format!("{}: {error}", dir.display());
    let is_there = |path: &Path| disk.stat(path).map(|found| found.is_some()).map_err(wrong);
    // A git of a server that was killed goes on.
    let held = processes::hold(&of.join(GIT_LOCK), GIT_PATIENCE);
    let held = held.map_err(|error| format!("a git of an earlier server goes on: {error}"))?;
    let held = Some(&held);
    if is_there(&dir)? && is_made(disk, of) {
        let head = git(held, &dir, &["rev-parse", "--verify", "HEAD"]);
        return head.map(drop).map_err(|why| format!("the worktree {}: {why}", dir.display()));
    }
    let place = dir.to_string_lossy();
    if is_there(&dir)? {
        // A crash while it was made, which left it locked: nothing ran in it.
        let _unlocked = git(held, repository, &["worktree", "unlock", &place]);
        let _gone = git(held, repository, &["worktree", "remove", "--force", &place]);
        if is_there(&dir)? {
            remove_tree(disk, &dir).map_err(wrong)?;
        }
    }
    git(held, repository, &["worktree", "prune"])?;
    let head = |branch: &str| format!("refs/heads/{branch}");
    let is_known =
        |head: &String| git(held, repository, &["rev-parse", "--verify", "--quiet", head]).is_ok();
    if is_known(&head(branch)) {
        git(held, repository, &["worktree", "add", &place, branch])?;
    } else {
        let from = from.map(head).filter(is_known);
        let new = ["worktree", "add", "-b", branch, &place];
        let arguments: Vec<&str> = new.into_iter().chain(from.as_deref()).collect();
        git(held, repository, &arguments)?;
    }
    let made = of.join(MADE);
    match disk.stat(&made).map_err(wrong)? {
        Some(_) => Ok(()),
        None => durable::create_file(disk, &made, &[]).map_err(wrong),
    }
}

/// What git answers; it keeps `held` open for as long as it runs.
fn git(held: Option<&Held>, dir: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(arguments);
    command.stdin(match held {
        None => Stdio::null(),
        // It is empty.
        Some(held) => held.stdin().map_err(|error| format!("the lock: {error}"))?,
    });
    command.env("GIT_TERMINAL_PROMPT", "0");
    let done = command.output().map_err(|error| format!("git cannot be run: {error}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    let from = said.ceil_char_boundary(said.len().saturating_sub(GIT_BYTES));
    let said = said.get(from..).unwrap_or_default();
    Err(format!("git {}: {said}", arguments.first().copied().unwrap_or_default()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn commit(dir: &Path, message: &str) -> String {
        let by = ["-c", "user.name=ada", "-c", "user.email=ada@localhost"];
        let arguments = [&by[..], &["commit", "-q", "--allow-empty", "-m", message]].concat();
        git(None, dir, &arguments).unwrap();
        head(dir)
    }

    fn head(dir: &Path) -> String {
        git(None, dir, &["rev-parse", "HEAD"]).unwrap()
    }

    /// A new branch begins at the end of another one; where that is not there, where the repository
    /// stands. One that is there is taken as it is.
    #[test]
    fn a_branch_begins_at_the_end_of_another_one() {
        let root = tempfile::tempdir().unwrap();
        let (env, repository) = (Env::real(), root.path().join("repository"));
        git(None, root.path(), &["init", "-q", "-b", "main", "repository"]).unwrap();
        let main = commit(&repository, "first");
        let make = |name: &str, branch, from| {
            let of = root.path().join(name);
            durable::create_dir_all(env.disk.as_ref(), &of).unwrap();
            worktree(env.disk.as_ref(), &repository, (branch, from), &of).unwrap();
            let dir = of.join(DIR);
            let on = git(None, &dir, &["symbolic-ref", "--short", "HEAD"]).unwrap();
            assert_eq!(on.trim(), branch);
            dir
        };
        let original = make("original", "fix", None);
        let end = commit(&original, "second");
        let fork = make("fork", "fix-fork", Some("fix"));
        assert_eq!((head(&fork), head(&original), head(&repository)), (end.clone(), end, main));
        let beyond = commit(&fork, "third");
        assert_eq!(head(&make("fork", "fix-fork", Some("fix"))), beyond, "it is there");
        let other = make("other", "other", Some("nowhere"));
        assert_eq!(head(&other), head(&repository));
        git(None, &repository, &["worktree", "remove", &fork.to_string_lossy()]).unwrap();
        assert_eq!(head(&make("again", "fix-fork", Some("fix"))), beyond);
    }
}
