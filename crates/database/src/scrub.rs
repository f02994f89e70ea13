//! The scrub: reads what a start leaves unread, while the database serves.
//!
//! A start reads one checkpoint and the journal behind it. What stands in for them, the older
//! checkpoint and the segments below, rots unseen until it is needed; so do the files of an engine.
//! The scrub reads every byte of both checkpoints, of all sealed segments and of the engine's
//! files, and while the state is in memory whatever is damaged can still be replaced: by a
//! checkpoint of now. (After the scrub of ZFS, and the grid scrubber of TigerBeetle.)
//!
//! Invariants: it changes nothing but by checkpoints, which set aside only files that are named no
//! longer, and of an engine's files its manifest; damage is answered at once, and stays noted until
//! the file is in use no longer, a clean end included; a file that goes away while it is read was
//! not needed any more; writers wait for it no more than for any checkpoint.

mod engine;
mod pace;
mod table;

use std::cell::RefCell;
use std::io;
use std::path::Path;

use rekindle_engine::checkpoint::{self, ReadError, file_name};
use rekindle_env::{ReadFile, durable};
use rekindle_journal::codec::segment::SegmentHeader;
use rekindle_journal::recovery::walk::Joint;
use rekindle_journal::{Layout, SealError, archive};
use rekindle_recovery::{Acked, Finding, Place, Row};

use crate::apply::{alone, lock};
use crate::checkpoint::{Checkpoints, Named, Rotten};
use crate::core::Core;
use crate::error::Error;
use crate::recovery::{SHARD, SHARD_DIR};
pub(crate) use pace::Pace;
use pace::Paced;
use table::{Condition, DAMAGES, Then, What};

/// Where damage stays in use, replacing it is tried again after this time, milliseconds.
const REPLACE_AGAIN_MS: u64 = 60_000;

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
    /// Scrubs that began.
    pub begun: u64,
    /// Scrubs that came to their end.
    pub rounds: u64,
    /// Bytes that they read.
    pub bytes: u64,
    /// Findings of all of them; damage that stays is found by each.
    pub findings: u64,
    /// The last one.
    pub last: Scrub,
}

/// A damaged file, and what it means.
struct Damaged {
    rotten: Rotten,
    /// A start would have needed it when it was found.
    needed: bool,
    /// Behind its last record: what replay would have to begin at to pass it by.
    behind: u64,
    file: String,
    wrong: Wrong,
}

/// What is wrong at which offset.
#[derive(Clone, Debug)]
struct Wrong {
    offset: u64,
    expected: String,
    found: String,
}

/// A file that was looked at.
enum Look {
    Whole,
    /// It is in use no longer.
    Gone,
    Damaged(Wrong),
}

/// Checks the bytes of a file.
type Check<'a> = dyn Fn(&dyn ReadFile) -> io::Result<Option<Wrong>> + 'a;

/// Reads something, and says what is wrong with it.
type Reading<'a> = dyn Fn() -> io::Result<Option<Wrong>> + 'a;

/// One scrub.
struct Round<'a> {
    core: &'a Core,
    checkpoints: &'a Checkpoints,
    layout: Layout,
    pace: Pace<'a>,
    seen: RefCell<Scrub>,
    found: RefCell<Vec<Damaged>>,
    /// Damaged files of the engine.
    of_engine: RefCell<Vec<engine::DamagedPart>>,
}

impl Core {
    /// Reads what is at rest; `None` when it was asked to stop. What was found until an error or
    /// the stop is told all the same.
    pub(crate) fn scrub(&self, pace: Pace<'_>) -> Result<Option<Scrub>, Error> {
        let Some(checkpoints) = &self.checkpoints else {
            return Err(Error::Invalid("this database has no directory to scrub".to_owned()));
        };
        let _one_at_a_time =
            alone(&checkpoints.scrubbing, "a scrub goes on; wait until it is done")?;
        self.check_open()?;
        lock(&self.scrubs).begun += 1;
        let layout = Layout::new(&checkpoints.store, SHARD);
        let (seen, found, of_engine) = Default::default();
        let round = Round { core: self, checkpoints, layout, pace, seen, found, of_engine };
        let ended = round.run();
        let scrub = round.judge();
        let mut scrubs = lock(&self.scrubs);
        let known = |finding: &Finding| {
            let same = |it: &Finding| it.label == finding.label && it.place == finding.place;
            scrubs.last.findings.iter().any(same)
        };
        for finding in scrub.findings.iter().filter(|finding| !known(finding)) {
            tracing::error!("scrub: {finding}; {}", advice(finding));
        }
        let (files, bytes, findings) = (scrub.files, scrub.bytes, scrub.findings.len());
        scrubs.bytes = scrubs.bytes.saturating_add(bytes);
        scrubs.findings = scrubs.findings.saturating_add(findings as u64);
        scrubs.last = scrub.clone();
        if !ended? {
            return Ok(None);
        }
        scrubs.rounds += 1;
        tracing::info!(files, bytes, findings, unread = scrub.unread, "scrub done");
        Ok(Some(scrub))
    }

    /// Writes checkpoints until nothing that was found damaged is in use: one takes the place of a
    /// damaged one, a second gives back the segments below the first. Where two do not do it, it is
    /// tried again after a while.
    pub(crate) fn replace_rotten(&self, checkpoints: &Checkpoints) -> Result<(), Error> {
        self.write_until_replaced(checkpoints, || checkpoints.write_again(self))
    }

    /// The same, while the database is being closed.
    pub(crate) fn replace_rotten_last(&self, checkpoints: &Checkpoints) -> Result<(), Error> {
        self.write_until_replaced(checkpoints, || checkpoints.write_last(self))
    }

    fn write_until_replaced(
        &self,
        checkpoints: &Checkpoints,
        write: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let named = checkpoints.named().len();
        for _ in 0..2 {
            // Where both were damaged, one alone would have no second copy.
            let alone = checkpoints.named().len() < named;
            if checkpoints.rotten().is_empty() && !alone {
                return Ok(());
            }
            write()?;
        }
        checkpoints.replace_at(self.env.clock.boot_ms().saturating_add(REPLACE_AGAIN_MS));
        Ok(())
    }
}

impl Round<'_> {
    /// Whether it came to its end.
    fn run(&self) -> Result<bool, Error> {
        for named in self.checkpoints.named() {
            if let Look::Damaged(wrong) = self.checkpoint(&named)? {
                let folder = format!("{SHARD_DIR}/{}", checkpoint::DIRECTORY);
                self.replace(Damaged {
                    rotten: Rotten::Checkpoint(named.id),
                    needed: false,
                    behind: u64::MAX,
                    file: format!("{folder}/{}", file_name(named.id)),
                    wrong,
                })?;
            }
            if self.stopped() {
                return Ok(false);
            }
        }
        Ok(self.segments()? && self.engine_files()?)
    }

    /// Takes note of damage, and does at once what can be done about it.
    fn replace(&self, damaged: Damaged) -> Result<(), Error> {
        self.checkpoints.rots(damaged.rotten);
        self.found.borrow_mut().push(damaged);
        match self.core.replace_rotten(self.checkpoints) {
            // The finding says that nothing could be written, and it is tried again.
            Ok(()) | Err(Error::Io { .. } | Error::Full(_)) => Ok(()),
            // A checkpoint that was asked to stop: the last one, at the end, takes its place.
            Err(_) if self.stopped() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether it is to end: it was asked to, or the database is being closed.
    fn stopped(&self) -> bool {
        self.pace.stopped() || self.core.state.sequencer().halted.is_some()
    }

    /// What was seen, with what the damage means by now.
    fn judge(&self) -> Scrub {
        let in_use = self.checkpoints.rotten();
        let whole = self.checkpoints.whole();
        let stands_in = !whole.is_empty() || self.whole_journal();
        let replay_from = whole.first().map_or(1, |newest| newest.replay_from);
        let mut scrub = self.seen.take();
        for it in self.found.take() {
            let (what, passed) = match it.rotten {
                Rotten::Checkpoint(_) => (What::Checkpoint, stands_in),
                Rotten::Segment(_) => (What::Segment, it.behind <= replay_from),
            };
            let replaced = !in_use.contains(&it.rotten);
            let condition = Condition { what, needed: it.needed, replaced, passed };
            let row = DAMAGES.decide(&condition);
            scrub.findings.push(finding(row, it.file, it.wrong));
        }
        scrub.findings.extend(self.judge_engine_files());
        scrub
    }

    /// Whether the journal still goes back to the first record.
    fn whole_journal(&self) -> bool {
        let oldest = self.checkpoints.journal.segments().first().copied();
        let header = oldest.map(|seq| self.header(seq));
        matches!(header, Some(Ok(Ok(header))) if header.first_position <= 1)
    }

    fn checkpoint(&self, named: &Named) -> Result<Look, Error> {
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

    /// Looks at the segments, newest first: each says where the one before it ends. Whether it came
    /// to its end.
    fn segments(&self) -> Result<bool, Error> {
        let in_use = self.checkpoints.journal.segments();
        let mut end: Option<(u64, Joint)> = None;
        for (at, seq) in in_use.iter().copied().enumerate().rev() {
            let active = at + 1 == in_use.len();
            let header = self.header(seq)?;
            let declared = end.take_if(|(declared, _)| *declared == seq).map(|(_, joint)| joint);
            let look = match (&header, declared) {
                _ if self.gone(seq) => Look::Gone,
                (Err(wrong), _) => Look::Damaged(wrong.clone()),
                (Ok(_), _) if active => Look::Whole,
                (Ok(header), Some(end)) => self.segment(seq, header, &end)?,
                (Ok(_), None) => {
                    self.seen.borrow_mut().unread += 1;
                    Look::Whole
                }
            };
            if let Look::Damaged(wrong) = look {
                self.damaged_segment(seq, declared, active, wrong)?;
            }
            if self.stopped() {
                return Ok(false);
            }
            end = header.ok().map(|header| {
                let (chain, position) = (Some(header.prev_chain), Some(header.first_position));
                (header.prev_seq, Joint { lsn: header.prev_end_lsn, chain, position })
            });
        }
        Ok(true)
    }

    fn damaged_segment(
        &self,
        seq: u64,
        declared: Option<Joint>,
        active: bool,
        wrong: Wrong,
    ) -> Result<(), Error> {
        if active {
            // Only a sealed one can be given up.
            match self.checkpoints.journal.seal_active() {
                Ok(_) => {}
                Err(SealError::Journal(error)) => return Err(error.into()),
                Err(SealError::NotBegun(error)) => tracing::warn!("sealing a segment: {error}"),
            }
        }
        let behind = declared.and_then(|end| end.position).unwrap_or(u64::MAX);
        let newest = self.checkpoints.whole().first().map_or(1, |newest| newest.replay_from);
        self.replace(Damaged {
            rotten: Rotten::Segment(seq),
            needed: behind > newest,
            behind,
            file: self.layout.relative(&self.layout.segment(seq)),
            wrong,
        })
    }

    fn segment(&self, seq: u64, header: &SegmentHeader, end: &Joint) -> Result<Look, Error> {
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

    /// Looks at a file, of which `bytes` are read.
    fn look(
        &self,
        path: &Path,
        bytes: u64,
        gone: &dyn Fn() -> bool,
        check: &Check<'_>,
    ) -> Result<Look, Error> {
        let read = || {
            let file = self.core.env.disk.open_read(path)?;
            check(&Paced { file, pace: self.pace })
        };
        self.look_by(&path.display().to_string(), bytes, gone, &read)
    }

    /// Looks at something, of which `bytes` are read.
    fn look_by(
        &self,
        what: &str,
        bytes: u64,
        gone: &dyn Fn() -> bool,
        read: &Reading<'_>,
    ) -> Result<Look, Error> {
        let read = self.twice(what, read);
        if gone() {
            return Ok(Look::Gone);
        }
        let wrong = read?;
        if self.stopped() {
            return Ok(Look::Gone);
        }
        let mut seen = self.seen.borrow_mut();
        seen.files += 1;
        seen.bytes = seen.bytes.saturating_add(bytes);
        Ok(wrong.map_or(Look::Whole, Look::Damaged))
    }

    /// Reads something. What the medium refuses twice is damage: elsewhere a start would end at it,
    /// here the state is in memory. Any other error is one of the machine.
    fn twice(&self, what: &str, read: &Reading<'_>) -> Result<Option<Wrong>, Error> {
        let first = read();
        let read = if first.is_err() && !self.stopped() { read() } else { first };
        match read {
            Ok(wrong) => Ok(wrong),
            Err(_) if self.stopped() => Ok(None),
            Err(error) if durable::is_of_the_medium(&error) => {
                let found = match error.kind() {
                    io::ErrorKind::NotFound => "no file".to_owned(),
                    _ => format!("a read that the disk refused: {error}"),
                };
                let expected = "a file that can be read".to_owned();
                Ok(Some(Wrong { offset: 0, expected, found }))
            }
            Err(error) => Err(Error::io(format!("reading {what}"), error)),
        }
    }

    /// The header of a segment, or what is wrong with it.
    fn header(&self, seq: u64) -> Result<Result<SegmentHeader, Wrong>, Error> {
        let who = &self.checkpoints.identity;
        let found = RefCell::new(None);
        let path = self.layout.segment(seq);
        let wrong = self.twice(&path.display().to_string(), &|| {
            let file = self.core.env.disk.open_read(&path)?;
            let header = match archive::read_header(&Paced { file, pace: self.pace })? {
                Ok(header) => header,
                Err(damage) => return Ok(Some(of_journal(damage))),
            };
            if (header.store_id, header.node, header.seq) != (who.store_id, who.node, seq) {
                let expected = format!("segment {seq} of this store");
                let found = format!("segment {} of node {}", header.seq, header.node);
                return Ok(Some(Wrong { offset: 0, expected, found }));
            }
            *found.borrow_mut() = Some(header);
            Ok(None)
        })?;
        let stopped = || Wrong {
            offset: 0,
            expected: "a header".to_owned(),
            found: "a scrub that was asked to stop".to_owned(),
        };
        Ok(match (found.into_inner(), wrong) {
            (Some(header), None) => Ok(header),
            (_, wrong) => Err(wrong.unwrap_or_else(stopped)),
        })
    }
}

fn finding(row: &Row<Condition, Then>, file: String, wrong: Wrong) -> Finding {
    let Wrong { offset, expected, found } = wrong;
    Finding {
        label: row.label,
        place: Place { file, offset, ..Place::default() },
        verdict: Some(row.then.verdict),
        acked: Acked::Yes,
        expected,
        found,
    }
}

fn of_journal(damage: archive::Damage) -> Wrong {
    let archive::Damage { offset, bad } = damage;
    Wrong { offset, expected: bad.expected, found: bad.found }
}

/// What a finding of a scrub means for whoever runs the database; empty for any other finding.
#[must_use]
pub fn advice(finding: &Finding) -> &'static str {
    let row = DAMAGES.rows.iter().find(|row| row.label == finding.label);
    row.map_or("", |row| row.then.advice)
}
