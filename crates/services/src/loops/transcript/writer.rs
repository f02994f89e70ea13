//! Writes transcripts behind the commits, and goes on with them after a start.
//!
//! Invariants: what is written was applied before; whoever commits only says that there is news,
//! and waits for nothing; what is known of files is forgotten where one of them fails, and read
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekindle_database::{KeyspaceId, Observer, Operation, Snapshot};
use rekindle_env::{Disk, durable};

use crate::exec::Core;
use crate::keys::loops as key;
use crate::loops::id::LoopId;
use crate::loops::row::Stored;
use crate::loops::transcript::line;
use crate::loops::transcript::read::{Found, Parts, Standing, look, parts};
use crate::loops::transcript::{ASIDE, PART_BYTES, current, part};

/// Events that are read at one time.
const PAGE: usize = 256;

/// How long nothing is tried after something failed.
const RETRY: Duration = Duration::from_secs(1);

/// How long reads may take to see what was applied.
const SOON: Duration = Duration::from_millis(1);

/// How long lines that were written may wait for their sync.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Transcripts of executions that are over are looked at so many at a time, and how often.
const CHECKS: usize = 20;
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// Files that are synced at one time; the others' turn comes.
const SYNCS: usize = 16;

/// What transcripts did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranscriptFigures {
    /// Lines that were written.
    pub lines: u64,
    /// Executions that have news which is not written yet.
    pub behind: u64,
    /// Executions that are over, whose transcripts were not looked at since the start.
    pub unchecked: u64,
    /// Files that were set aside because they were damaged.
    pub set_aside: u64,
    /// Writes and syncs that failed.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct Inner {
    /// Executions with news, and the version that has it.
    news: BTreeMap<LoopId, u64>,
    /// Executions that are over, whose transcripts were not looked at since the start.
    unchecked: Vec<LoopId>,
    figures: TranscriptFigures,
    /// The last attempt failed.
    failed: bool,
    /// There is news that reads do not see yet.
    early: bool,
    closing: bool,
}

/// The transcripts of a store.
#[derive(Debug)]
pub(crate) struct Transcripts {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    inner: Mutex<Inner>,
    wake: Condvar,
    /// Held while files are written.
    files: Mutex<Files>,
}

/// What is known of files.
#[derive(Debug, Default)]
struct Files {
    standing: BTreeMap<LoopId, Standing>,
    parts: Option<Parts>,
    unsynced: BTreeSet<LoopId>,
    /// The folder has names that are not synced.
    new_names: bool,
}

/// Why an execution's transcript was not written.
#[derive(Debug)]
enum Wrong {
    /// The disk.
    Io(io::Error),
    /// The rows.
    Rows(String),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn rows(error: impl std::fmt::Display) -> Wrong {
    Wrong::Rows(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transcripts {
    pub(crate) fn new(dir: PathBuf, disk: Arc<dyn Disk>) -> Self {
        let (inner, files) = (Mutex::default(), Mutex::default());
        Self { dir, disk, inner, wake: Condvar::new(), files }
    }

    /// Where they lie.
    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.clone()
    }

    /// The transcript of an execution is behind.
    pub(crate) fn tell(&self, id: LoopId) {
        self.tell_of(id, 0);
    }

    /// This version has news of an execution.
    fn tell_of(&self, id: LoopId, version: u64) {
        let mut inner = lock(&self.inner);
        let known = inner.news.entry(id).or_default();
        *known = version.max(*known);
        drop(inner);
        self.wake.notify_one();
    }

    /// What recovery found of one; it goes on from there.
    pub(crate) fn adopt(&self, id: LoopId, standing: Standing) {
        lock(&self.files).standing.insert(id, standing);
    }

    /// Executions that are over: their transcripts are looked at when there is nothing else to do.
    pub(crate) fn check(&self, over: Vec<LoopId>) {
        lock(&self.inner).unchecked = over;
    }

    /// What was done since the start.
    pub(crate) fn figures(&self) -> TranscriptFigures {
        let inner = lock(&self.inner);
        TranscriptFigures {
            behind: inner.news.len() as u64,
            unchecked: inner.unchecked.len() as u64,
            ..inner.figures
        }
    }

    /// No more news comes.
    pub(crate) fn close(&self) {
        lock(&self.inner).closing = true;
        self.wake.notify_all();
    }

    /// Writes until there is an end of it.
    pub(crate) fn run(&self, core: &Core) {
        let mut pause = CHECK_EVERY;
        loop {
            let mut inner = lock(&self.inner);
            // Nothing is tried at once that has just failed.
            while !inner.closing && (inner.failed || inner.early || inner.news.is_empty()) {
                let (back, timeout) = match pause {
                    Duration::MAX => {
                        let back = self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner);
                        (back, false)
                    }
                    pause => {
                        let waited = self.wake.wait_timeout(inner, pause);
                        let (back, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                        (back, timeout.timed_out())
                    }
                };
                inner = back;
                if timeout {
                    (inner.failed, inner.early) = (false, false);
                    break;
                }
            }
            let closing = inner.closing;
            drop(inner);
            if core.index.is_lost() {
                return;
            }
            self.write(core);
            let has_unsynced = self.sync(if closing { usize::MAX } else { SYNCS });
            if closing {
                return;
            }
            let inner = lock(&self.inner);
            pause = match (inner.unchecked.is_empty(), has_unsynced) {
                _ if inner.failed => RETRY,
                _ if inner.early => SOON,
                (false, _) => CHECK_EVERY,
                (true, true) => SYNC_EVERY,
                (true, false) => Duration::MAX,
            };
        }
    }

    /// Writes all news.
    pub(crate) fn write(&self, core: &Core) {
        let news = {
            let mut inner = lock(&self.inner);
            let mut news = std::mem::take(&mut inner.news);
            if news.is_empty() && !inner.closing {
                let from = inner.unchecked.len().saturating_sub(CHECKS);
                news.extend(inner.unchecked.split_off(from).into_iter().map(|id| (id, 0)));
            }
            news
        };
        let mut files = lock(&self.files);
        for (id, version) in news {
            let done = self.follow(core, &mut files, id, version);
            let mut inner = lock(&self.inner);
            match done {
                Ok(Some(lines)) => inner.figures.lines += lines,
                Ok(None) => {
                    inner.early = true;
                    inner.news.entry(id).or_insert(version);
                }
                Err(Wrong::Rows(error)) => {
                    tracing::error!(execution = %id, error, "a transcript is not gone on with");
                }
                Err(Wrong::Io(error)) => {
                    if !inner.failed {
                        tracing::warn!(execution = %id, %error, "a transcript is not written yet");
                    }
                    inner.failed = true;
                    inner.figures.failures += 1;
                    inner.news.entry(id).or_insert(version);
                }
            }
        }
    }

    /// Has a transcript say what the rows say: the lines that were written; `None`: reads do not
    /// see that version yet.
    fn follow(
        &self,
        core: &Core,
        files: &mut Files,
        id: LoopId,
        version: u64,
    ) -> Result<Option<u64>, Wrong> {
        let snapshot = core.database.snapshot().map_err(rows)?;
        if snapshot.version() < version {
            return Ok(None);
        }
        let row = snapshot.get(core.keyspaces.loop_executions, &key::encode(id)).map_err(rows)?;
        let Some(row) = row else { return Ok(Some(0)) };
        let stored = Stored::parse(&row.bytes).map_err(rows)?;
        let known = files.standing.remove(&id);
        let mut standing = match known {
            Some(standing) => standing,
            None => self.find(files, id)?,
        };
        let mut told = 0;
        for is_last in [false, true] {
            if standing.sequence <= stored.events {
                let events = core.keyspaces.loop_events;
                told += self.catch_up(&snapshot, events, files, id, (&mut standing, &stored))?;
                if standing.chain == stored.chain {
                    let is_over = stored.state.status(stored.updated_ms).is_finished();
                    if !is_over {
                        files.standing.insert(id, standing);
                    }
                    return Ok(Some(told));
                }
            }
            if is_last {
                break;
            }
            tracing::error!(execution = %id, "its transcript says something else than the journal");
            self.set_all_aside(files, id)?;
            standing = Standing::new();
        }
        Err(Wrong::Rows("its events are not those of which its row has the checksum".to_owned()))
    }

    /// How it stands on disk; what is damaged is set aside.
    fn find(&self, files: &mut Files, id: LoopId) -> Result<Standing, Wrong> {
        let parts = self.parts(files)?;
        match look(&*self.disk, &self.dir, id, parts) {
            Found::Sound(standing) => Ok(standing),
            Found::Damaged(records) => {
                for record in &records {
                    tracing::error!(%record, "a transcript is damaged; it is made again");
                }
                self.set_aside(files, &current(&self.dir, id))?;
                match look(&*self.disk, &self.dir, id, self.parts(files)?) {
                    Found::Sound(standing) => Ok(standing),
                    Found::Damaged(_) => Ok(Standing::new()),
                }
            }
        }
    }

    fn parts<'a>(&self, files: &'a mut Files) -> io::Result<&'a Parts> {
        if files.parts.is_none() {
            durable::create_dir_all(&*self.disk, &self.dir)?;
            files.parts = Some(parts(&*self.disk, &self.dir)?);
        }
        Ok(files.parts.get_or_insert_default())
    }

    /// Writes what is missing up to the last event of the row.
    fn catch_up(
        &self,
        snapshot: &Snapshot,
        events: KeyspaceId,
        files: &mut Files,
        id: LoopId,
        (standing, stored): (&mut Standing, &Stored),
    ) -> Result<u64, Wrong> {
        let mut told = 0;
        while standing.sequence < stored.events || standing.is_torn {
            let (start, end) = (key::event(id, standing.sequence), key::event(id, stored.events));
            let range = (Bound::Excluded(&start[..]), Bound::Included(&end[..]));
            let page = match standing.sequence < stored.events {
                true => snapshot.scan(events, range, PAGE, false).map_err(rows)?,
                false => Vec::new(),
            };
            let mut text = Vec::new();
            let mut next = *standing;
            for row in &page {
                let (_, number) = key::parse_event(&row.key).map_err(rows)?;
                if next.sequence.checked_add(1) != Some(number) {
                    return Err(rows(format!("no event {}", next.sequence.saturating_add(1))));
                }
                next.chain = crate::loops::row::chain(next.chain, number, &row.value);
                let line = line::encode(id, number, next.chain, &row.value);
                let line = line.ok_or_else(|| rows(format!("event {number} cannot be read")))?;
                (next.sequence, told) = (number, told + 1);
                text.extend_from_slice(&line);
                if standing.len + text.len() as u64 >= PART_BYTES {
                    break;
                }
            }
            if page.is_empty() && standing.sequence < stored.events {
                return Err(rows(format!("no event behind {}", standing.sequence)));
            }
            self.append(files, id, standing, &text)?;
            next.len = standing.len + text.len() as u64;
            (next.is_there, next.is_torn) = (true, false);
            *standing = next;
            if standing.len >= PART_BYTES {
                self.rotate(files, id, standing)?;
            }
        }
        Ok(told)
    }

    /// Writes lines at the end of the current file.
    fn append(
        &self,
        files: &mut Files,
        id: LoopId,
        standing: &Standing,
        text: &[u8],
    ) -> io::Result<()> {
        self.parts(files)?;
        let path = current(&self.dir, id);
        let file = match standing.is_there {
            true => self.disk.open_write(&path)?,
            false => {
                files.new_names = true;
                match self.disk.create(&path) {
                    // One whose write failed.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        self.disk.open_write(&path)?
                    }
                    created => created?,
                }
            }
        };
        // Whatever is behind: of a torn line, or of a write that failed.
        if file.len()? != standing.len {
            file.set_len(standing.len)?;
        }
        file.write_at(text, standing.len)?;
        files.unsynced.insert(id);
        Ok(())
    }

    /// The next line begins a new file.
    fn rotate(&self, files: &mut Files, id: LoopId, standing: &mut Standing) -> io::Result<()> {
        let path = current(&self.dir, id);
        self.disk.open_write(&path)?.sync_all()?;
        durable::rename(&*self.disk, &path, &part(&self.dir, id, standing.first))?;
        files.unsynced.remove(&id);
        if let Some(parts) = &mut files.parts {
            parts.entry(id).or_default().push(standing.first);
        }
        let Standing { sequence, chain, .. } = *standing;
        *standing = Standing { first: sequence + 1, sequence, chain, ..Standing::default() };
        Ok(())
    }

    /// Syncs up to so many files; whether there are more.
    pub(crate) fn sync(&self, max: usize) -> bool {
        let mut files = lock(&self.files);
        let some: Vec<LoopId> = files.unsynced.iter().take(max).copied().collect();
        for id in some {
            files.unsynced.remove(&id);
            let synced =
                self.disk.open_write(&current(&self.dir, id)).and_then(|file| file.sync_data());
            if let Err(error) = synced {
                // What the file has is not known any more: it is read again.
                tracing::warn!(execution = %id, %error, "a transcript is not synced");
                files.standing.remove(&id);
                lock(&self.inner).figures.failures += 1;
            }
        }
        if std::mem::take(&mut files.new_names)
            && let Err(error) = self.disk.sync_dir(&self.dir)
        {
            tracing::warn!(%error, "the folder of the transcripts is not synced");
            lock(&self.inner).figures.failures += 1;
        }
        !files.unsynced.is_empty()
    }

    /// A file goes where nobody writes.
    fn set_aside(&self, files: &mut Files, path: &Path) -> io::Result<()> {
        let aside = self.dir.join(ASIDE);
        durable::create_dir_all(&*self.disk, &aside)?;
        let Some(name) = path.file_name() else { return Ok(()) };
        match durable::rename(&*self.disk, path, &aside.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        files.parts = None;
        lock(&self.inner).figures.set_aside += 1;
        Ok(())
    }

    /// All files of a transcript go there.
    fn set_all_aside(&self, files: &mut Files, id: LoopId) -> io::Result<()> {
        let firsts = self.parts(files)?.get(&id).cloned().unwrap_or_default();
        for first in firsts {
            self.set_aside(files, &part(&self.dir, id, first))?;
        }
        self.set_aside(files, &current(&self.dir, id))
    }
}

/// Tells of executions that something happened to.
#[derive(Debug)]
pub(crate) struct TranscriptObserver {
    pub(crate) transcripts: std::sync::Weak<Transcripts>,
    pub(crate) events: KeyspaceId,
}

impl Observer for TranscriptObserver {
    fn applied(&self, version: u64, _: u64, operations: &mut dyn Iterator<Item = Operation<'_>>) {
        let Some(transcripts) = self.transcripts.upgrade() else { return };
        let mut last = None;
        for operation in operations {
            if let Operation::Put { keyspace, key, .. } = operation
                && keyspace == self.events
                && let Ok((id, _)) = key::parse_event(key)
                && last.replace(id) != Some(id)
            {
                transcripts.tell_of(id, version);
            }
        }
    }

    fn lost(&self) {
        let Some(transcripts) = self.transcripts.upgrade() else { return };
        transcripts.close();
    }
}
