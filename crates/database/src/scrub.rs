//! The scrub: reads what a start leaves unread, while the database serves.
//!
//! A start reads one checkpoint and the journal behind it. What stands in for them, the older
//! checkpoint and the segments below, rots unseen until it is needed. The scrub reads every byte of
//! both checkpoints and of all sealed segments, and while the state is in memory whatever is
//! damaged can still be replaced: by a checkpoint of now. (After the scrub of ZFS, and the grid
//! scrubber of TigerBeetle.)
//!
//! Invariants: it changes nothing but by a checkpoint, and sets aside only files that are named no
//! longer; a file that goes away while it is read was not needed any more; writers wait for it no
//! more than for any checkpoint.

mod pace;
mod table;

use std::io::{Error as IoError, ErrorKind};
use std::path::Path;
use std::sync::Mutex;

use rekindle_engine::checkpoint::{self, ReadError, file_name};
use rekindle_env::ReadFile;
use rekindle_journal::Layout;
use rekindle_journal::archive;
use rekindle_journal::codec::segment::SegmentHeader;
use rekindle_journal::recovery::walk::Joint;
use rekindle_recovery::{Acked, Finding, Place};

use crate::apply::lock;
use crate::checkpoint::{Checkpoints, Named};
use crate::core::Core;
use crate::error::Error;
use crate::recovery::{SHARD, SHARD_DIR};
pub(crate) use pace::Pace;
use pace::Paced;
use table::{Condition, DAMAGES, What};

/// What one scrub read, and the damage that it met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// Files that were read whole, or up to their damage.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Segments of which nothing says where they end, because the one behind them is damaged: they
    /// were not read.
    pub unread: u64,
    /// The damage, a finding for each file, with the verdict after what was done about it.
    pub findings: Vec<Finding>,
}

/// The scrubs of an open database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubs {
    /// Scrubs that came to their end.
    pub rounds: u64,
    /// Bytes that they read.
    pub bytes: u64,
    /// Findings of all of them; damage that stays is found by each.
    pub findings: u64,
    /// When the last one ended, boot time in milliseconds.
    pub ended_ms: u64,
    /// The last one.
    pub last: Scrub,
}

/// A damaged file.
struct Damaged {
    what: What,
    needed: bool,
    /// Behind its last record: what replay would have to begin at to pass it by.
    behind: u64,
    file: String,
    offset: u64,
    expected: String,
    found: String,
}

/// What is wrong at which offset.
#[derive(Clone)]
struct Wrong {
    offset: u64,
    expected: String,
    found: String,
}

/// A file that was looked at.
enum Look {
    Whole,
    /// It is named no longer.
    Gone,
    Damaged(Wrong),
}

/// Checks the bytes of a file.
type Check<'a> = dyn Fn(&dyn ReadFile) -> Result<Option<Wrong>, IoError> + 'a;

/// One scrub.
struct Round<'a> {
    core: &'a Core,
    checkpoints: &'a Checkpoints,
    layout: Layout,
    pace: Pace<'a>,
    seen: Mutex<Scrub>,
}

impl Core {
    /// Reads what is at rest; `None` when it was asked to stop.
    pub(crate) fn scrub(&self, pace: Pace<'_>) -> Result<Option<Scrub>, Error> {
        let Some(checkpoints) = &self.checkpoints else {
            return Err(Error::Invalid("this database has no directory to scrub".to_owned()));
        };
        let _one_at_a_time = lock(&checkpoints.scrubbing);
        let layout = Layout::new(&checkpoints.store, SHARD);
        let round = Round { core: self, checkpoints, layout, pace, seen: Mutex::default() };
        let Some(scrub) = round.run()? else { return Ok(None) };
        for finding in &scrub.findings {
            tracing::error!("scrub: {finding}; {}", advice(finding));
        }
        let (files, bytes, findings) = (scrub.files, scrub.bytes, scrub.findings.len());
        tracing::info!(files, bytes, findings, "scrub done");
        let mut scrubs = lock(&self.scrubs);
        scrubs.rounds += 1;
        scrubs.bytes = scrubs.bytes.saturating_add(bytes);
        scrubs.findings = scrubs.findings.saturating_add(findings as u64);
        scrubs.ended_ms = self.env.clock.boot_ms();
        scrubs.last = scrub.clone();
        Ok(Some(scrub))
    }
}

impl Round<'_> {
    fn run(&self) -> Result<Option<Scrub>, Error> {
        let mut damaged = Vec::new();
        for named in self.checkpoints.named() {
            match self.checkpoint(&named) {
                Look::Damaged(wrong) => damaged.push((named.id, wrong)),
                Look::Whole | Look::Gone => {}
            }
            if self.pace.stopped() {
                return Ok(None);
            }
        }
        let mut found = self.replace(damaged)?;
        let replay_from = self.replay_from();
        let Some(segments) = self.segments(replay_from)? else { return Ok(None) };
        let needed = segments.iter().any(|segment| segment.needed);
        found.extend(segments);
        if needed && let Err(error) = self.checkpoints.write(self.core) {
            only_of_the_disk(error)?;
        }
        let stands_in = !self.checkpoints.named().is_empty() || self.whole_journal();
        let replay_from = self.replay_from();
        let mut scrub = std::mem::take(&mut *lock(&self.seen));
        for it in found {
            let passed = match it.what {
                What::Checkpoint => stands_in,
                What::Segment => it.behind <= replay_from,
            };
            assert!(it.needed || passed, "what no start would read is passed by");
            let condition = Condition { what: it.what, needed: it.needed, passed };
            scrub.findings.push(finding(it, &condition));
        }
        Ok(Some(scrub))
    }

    /// Where replay on top of the newest checkpoint that is named begins.
    fn replay_from(&self) -> u64 {
        self.checkpoints.named().first().map_or(1, |newest| newest.replay_from)
    }

    /// Whether the journal still goes back to the first record.
    fn whole_journal(&self) -> bool {
        let oldest = self.checkpoints.journal.segments().first().copied();
        let header = oldest.map(|seq| self.header(seq));
        matches!(header, Some(Ok(header)) if header.first_position <= 1)
    }

    /// Writes another checkpoint in the place of those that are damaged, and sets them aside.
    fn replace(&self, damaged: Vec<(u64, Wrong)>) -> Result<Vec<Damaged>, Error> {
        if damaged.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<u64> = damaged.iter().map(|(id, _)| *id).collect();
        if let Err(error) = self.checkpoints.replace(self.core, &ids) {
            only_of_the_disk(error)?;
        }
        let found = damaged.into_iter().map(|(id, Wrong { offset, expected, found })| Damaged {
            what: What::Checkpoint,
            needed: true,
            behind: 0,
            file: format!("{SHARD_DIR}/{}/{}", checkpoint::DIRECTORY, file_name(id)),
            offset,
            expected,
            found,
        });
        Ok(found.collect())
    }

    fn checkpoint(&self, named: &Named) -> Look {
        let path = self.checkpoints.folder.join(file_name(named.id));
        let gone = || !self.checkpoints.named().iter().any(|it| it.id == named.id);
        self.look(&path, named.bytes, &gone, &|file| match checkpoint::check(
            file,
            &self.checkpoints.identity.store_id,
            named.id,
        ) {
            Ok(_) => Ok(None),
            Err(ReadError::Io { source, .. }) => Err(source),
            Err(ReadError::Damaged(damage) | ReadError::TooNew(damage)) => {
                let checkpoint::Damage { offset, expected, found } = damage;
                Ok(Some(Wrong { offset, expected, found }))
            }
        })
    }

    /// Looks at the sealed segments, newest first: each says where the one before it ends. `None`
    /// when it was asked to stop.
    fn segments(&self, replay_from: u64) -> Result<Option<Vec<Damaged>>, Error> {
        let in_use = self.checkpoints.journal.segments();
        let mut damaged = Vec::new();
        let mut end: Option<(u64, Joint)> = None;
        for (at, seq) in in_use.iter().copied().enumerate().rev() {
            let active = at + 1 == in_use.len();
            let header = self.header(seq);
            let declared = end.take_if(|(declared, _)| *declared == seq).map(|(_, joint)| joint);
            let look = match (&header, declared) {
                _ if self.gone(seq) => Look::Gone,
                (Err(Unread::Damaged(_)), _) if active => Look::Gone,
                (Err(Unread::Damaged(wrong)), _) => Look::Damaged(wrong.clone()),
                (Err(Unread::Io(_)), _) if self.pace.stopped() => return Ok(None),
                (Err(Unread::Io(error)), _) => Look::Damaged(refused(error)),
                (Ok(_), _) if active => Look::Whole,
                (Ok(header), Some(end)) => self.segment(seq, header, &end),
                (Ok(_), None) => {
                    lock(&self.seen).unread += 1;
                    Look::Whole
                }
            };
            if self.pace.stopped() {
                return Ok(None);
            }
            if let Look::Damaged(Wrong { offset, expected, found }) = look {
                let behind = declared.and_then(|end| end.position).unwrap_or(u64::MAX);
                damaged.push(Damaged {
                    what: What::Segment,
                    needed: behind > replay_from,
                    behind,
                    file: self.layout.relative(&self.layout.segment(seq)),
                    offset,
                    expected,
                    found,
                });
            }
            end = header.ok().map(|header| {
                let (chain, position) = (Some(header.prev_chain), Some(header.first_position));
                (header.prev_seq, Joint { lsn: header.prev_end_lsn, chain, position })
            });
        }
        Ok(Some(damaged))
    }

    fn segment(&self, seq: u64, header: &SegmentHeader, end: &Joint) -> Look {
        let path = self.layout.segment(seq);
        let used = end.lsn.saturating_sub(header.base_lsn).min(header.file_size);
        self.look(&path, used, &|| self.gone(seq), &|file| {
            let len = file.len()?;
            if len != header.file_size {
                let expected = format!("{} bytes", header.file_size);
                return Ok(Some(Wrong { offset: 0, expected, found: format!("{len} bytes") }));
            }
            let damage = archive::check(file, header, end, &mut |_| {})?;
            Ok(damage.map(of_journal))
        })
    }

    /// Whether this segment was given up.
    fn gone(&self, seq: u64) -> bool {
        !self.checkpoints.journal.segments().contains(&seq)
    }

    /// Reads a file from the medium, `bytes` of it. What the disk refuses is damage: elsewhere a
    /// start would end at it, here the state is in memory.
    fn look(&self, path: &Path, bytes: u64, gone: &dyn Fn() -> bool, check: &Check<'_>) -> Look {
        let opened = self.core.env.disk.open_read(path).and_then(|file| {
            // A file system that does not listen to it is read all the same.
            let _ = file.forget_cached();
            check(&Paced { file, pace: self.pace })
        });
        let wrong = match opened {
            Ok(wrong) => wrong,
            Err(_) if self.pace.stopped() => return Look::Gone,
            Err(error) => Some(refused(&error)),
        };
        if gone() {
            return Look::Gone;
        }
        let mut seen = lock(&self.seen);
        seen.files += 1;
        seen.bytes = seen.bytes.saturating_add(bytes);
        wrong.map_or(Look::Whole, Look::Damaged)
    }

    fn header(&self, seq: u64) -> Result<SegmentHeader, Unread> {
        let path = self.layout.segment(seq);
        let file = self.core.env.disk.open_read(&path).map_err(Unread::Io)?;
        let header = archive::read_header(&*file).map_err(Unread::Io)?;
        let header = header.map_err(|damage| Unread::Damaged(of_journal(damage)))?;
        let who = &self.checkpoints.identity;
        let found = (header.store_id, header.node, header.seq);
        if found != (who.store_id, who.node, seq) {
            let expected = format!("segment {seq} of this store");
            let found = format!("segment {} of node {}", header.seq, header.node);
            return Err(Unread::Damaged(Wrong { offset: 0, expected, found }));
        }
        Ok(header)
    }
}

/// Why there is no header.
enum Unread {
    Io(IoError),
    Damaged(Wrong),
}

fn of_journal(damage: archive::Damage) -> Wrong {
    let archive::Damage { offset, bad } = damage;
    Wrong { offset, expected: bad.expected, found: bad.found }
}

fn refused(error: &IoError) -> Wrong {
    let found = match error.kind() {
        ErrorKind::NotFound => "no file".to_owned(),
        _ => format!("a read that the disk refused: {error}"),
    };
    Wrong { offset: 0, expected: "a file that can be read".to_owned(), found }
}

/// A checkpoint that could not be written leaves the damage as it is, which the finding says; any
/// other error ends the scrub.
fn only_of_the_disk(error: Error) -> Result<(), Error> {
    match error {
        Error::Io { .. } | Error::Full(_) => Ok(()),
        other => Err(other),
    }
}

/// What a finding of a scrub means for whoever runs the database; empty for any other finding.
#[must_use]
pub fn advice(finding: &Finding) -> &'static str {
    let row = DAMAGES.rows.iter().find(|row| row.label == finding.label);
    row.map_or("", |row| row.then.advice)
}

/// The finding, with what it means now.
fn finding(it: Damaged, condition: &Condition) -> Finding {
    let row = DAMAGES.decide(condition);
    let place = Place { file: it.file, offset: it.offset, ..Place::default() };
    Finding {
        label: row.label,
        place,
        verdict: Some(row.then.verdict),
        acked: Acked::Yes,
        expected: it.expected,
        found: it.found,
    }
}
