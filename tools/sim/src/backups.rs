//! Backups and restores on a machine that crashes: what must hold of them at each operation.
//!
//! Invariants: a backup that was answered is there, whole, and comes back as exactly the state of
//! the version that it states; one that was not answered is there whole or not there; every moment
//! that the backups cover is the oracle's, and every other one is refused; a directory whose
//! restore was interrupted is no store until a restore of it went to its end.

use std::path::Path;

use rekindle_database::{
    Database, DurabilityMode, Env, Error, Kind, Manifest, Moment, list_backups, restore, verify,
    verify_backup,
};
use rekindle_env::{Image, SimulatedDisk};
use rekindle_recovery::exit;

use crate::crash::DEATHS;
use crate::history::{Rows, difference};
use crate::oracle::Known;
use crate::recovered::Recovered;
use crate::request::{Answer, Request, Taken};
use crate::seed::mix;
use crate::store::{BACKUPS, Machine, rows};
use crate::workload::Run;

/// Where backups are restored to.
pub const RESTORED: &str = "/restored";

/// Where a second one goes.
const PAST: &str = "/past";

/// What was found on a disk that crashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whole backups that were not answered.
    pub unanswered: u64,
    /// Backups that were begun and are not there.
    pub interrupted: u64,
    /// Moments that came back.
    pub restored: u64,
    /// Moments that were refused.
    pub refused: u64,
}

/// A disk that crashed in a run with backups.
#[derive(Clone, Copy, Debug)]
pub struct Crashed<'a> {
    /// The run.
    pub run: &'a Run,
    /// What was known.
    pub known: Known,
    /// When it is looked at.
    pub wall_ms: u64,
    /// What is drawn.
    pub seed: u64,
}

impl Crashed<'_> {
    /// Whether a backup was being taken.
    #[must_use]
    pub fn in_backup(&self) -> bool {
        let in_flight = self.run.oracle.in_flight(self.known);
        in_flight.is_some_and(|asked| matches!(asked.request, Request::Backup(_)))
    }

    /// Looks at the backups, and then goes on with the store and takes another one. Each call of
    /// `disk` gives an equal one.
    ///
    /// # Errors
    /// What is broken.
    pub fn check(&self, disk: &dyn Fn() -> SimulatedDisk) -> Result<Found, String> {
        let mut found = Found::default();
        let machine = self.machine(disk());
        let env = machine.env();
        let manifests = listed(&env)?;
        self.check_list(&manifests, &mut found)?;
        if manifests.is_empty() {
            for said in [code(verify_backup(BACKUPS.as_ref(), &env)), code(bring(&env, None))] {
                if said != exit::CONFIG {
                    return Err(format!("a directory without a backup is answered {said}"));
                }
            }
        } else {
            check_whole(&env, &manifests)?;
            self.check_moment(&machine, &manifests, &mut found)?;
        }
        self.go_on(disk(), &manifests, &mut found)?;
        Ok(found)
    }

    fn machine(&self, disk: SimulatedDisk) -> Machine {
        self.run.machine(&disk, self.wall_ms, self.seed)
    }

    /// What was answered is there as it was answered; at most the one in flight beside it.
    fn check_list(&self, manifests: &[Manifest], found: &mut Found) -> Result<(), String> {
        let asked = self.run.oracle.asked.get(..self.known.answered).unwrap_or_default();
        let taken: Vec<Taken> = asked
            .iter()
            .filter_map(|asked| match &asked.answer {
                Some(Answer::BackedUp(_, Ok(taken))) => Some(*taken),
                _ => None,
            })
            .collect();
        let said = |it: &Manifest| (it.number, it.version, it.position);
        let there: Vec<_> = manifests.iter().map(said).collect();
        let answered: Vec<_> =
            taken.iter().map(|it| (it.number, it.version, it.position)).collect();
        let most = answered.len() + usize::from(self.in_backup());
        if !there.starts_with(&answered) || there.len() > most {
            return Err(format!("backups {answered:?} were answered, and {there:?} are there"));
        }
        let more = (there.len() - answered.len()) as u64;
        found.unanswered += more;
        found.interrupted += u64::from(self.in_backup()) - more;
        let Some(extra) = manifests.get(answered.len()) else { return Ok(()) };
        let (before, begun) = (
            asked.last().map_or(0, |asked| asked.version),
            self.run.oracle.bounds(self.known).begun,
        );
        if (before..=begun).contains(&extra.version) {
            return Ok(());
        }
        Err(format!("a backup begun at version {before} of {begun} holds {}", extra.version))
    }

    /// A moment: what the backups cover comes back as it was, and the rest is refused.
    fn check_moment(
        &self,
        machine: &Machine,
        manifests: &[Manifest],
        found: &mut Found,
    ) -> Result<(), String> {
        let (moment, version) = self.draw(manifests, self.seed);
        let broken = |what: String| format!("restore --at {moment}: {what}");
        match (bring(&machine.env(), Some(moment)), covers(manifests, moment)) {
            (Ok(restored), true) if restored.version == version => {
                let highest = manifests.iter().map(|it| it.version).max().unwrap_or(0);
                if restored.next_version <= highest {
                    let next = restored.next_version;
                    return Err(broken(format!("version {next} is given twice")));
                }
                found.restored += 1;
                self.check_store(machine, RESTORED, version).map_err(broken)
            }
            (Ok(restored), covered) => Err(broken(format!(
                "version {} came back, expected {version} (covered: {covered})",
                restored.version
            ))),
            (Err(error), false) if error.kind() == Kind::Invalid => {
                found.refused += 1;
                Ok(())
            }
            (Err(error), covered) => Err(broken(format!("covered: {covered}, answered: {error}"))),
        }
    }

    /// A moment and its version in the oracle.
    fn draw(&self, manifests: &[Manifest], draw: u64) -> (Moment, u64) {
        let last = manifests.last().map_or(0, |manifest| manifest.version);
        let version = 1 + mix(draw, 21) % (last + 2);
        let history = &self.run.history;
        let asked = self.run.oracle.asked.get(..self.known.answered).unwrap_or_default();
        let at = usize::try_from(mix(draw, 22) % asked.len().max(1) as u64).unwrap_or(0);
        let strict = self.run.durability == DurabilityMode::Strict;
        let placed = asked.get(at).filter(|asked| asked.position > 0 && strict);
        match (mix(draw, 23) % 4, placed, history.log_time_of(version)) {
            (0, ..) => (Moment::Newest, last),
            (1, Some(asked), _) => (Moment::Position(asked.position), asked.version),
            (2, _, Some(ms)) => {
                let ms = ms + mix(draw, 24) % 3 * 40;
                (Moment::Time(ms), history.version_at(ms))
            }
            _ => (Moment::Version(version), version),
        }
    }

    /// The restored store is clean, opens with the state of this version, and can be served.
    fn check_store(&self, machine: &Machine, dir: &str, version: u64) -> Result<(), String> {
        let report = verify(dir, &machine.env()).map_err(|error| format!("verify: {error}"))?;
        let database = machine.open_at(dir).map_err(|error| format!("opening: {error}"))?;
        if (report.code, database.report().code) != (exit::CLEAN, exit::CLEAN) {
            return Err(format!("verify says {}, a start {}", report.code, database.report().code));
        }
        self.same_as_one(&rows(&database)?, &[version])?;
        machine.lead(database).map_err(|error| format!("taking the lead: {error}")).map(drop)
    }

    fn same_as_one(&self, found: &Rows, versions: &[u64]) -> Result<u64, String> {
        let mut first = None;
        for version in versions {
            let state = self.run.history.state_at(*version);
            let state = state.ok_or_else(|| format!("there never was a version {version}"))?;
            match difference(&state, found) {
                None => return Ok(*version),
                Some(broken) => first = first.or(Some(format!("version {version}: {broken}"))),
            }
        }
        Err(first.unwrap_or_else(|| "no version was expected".to_owned()))
    }

    /// The store recovers, holds whatever a backup holds, and its next backup is whole.
    fn go_on(
        &self,
        disk: SimulatedDisk,
        manifests: &[Manifest],
        found: &mut Found,
    ) -> Result<(), String> {
        let recovered = Recovered::on(self.machine(disk.clone()), disk);
        let recovered = recovered.map_err(|failed| format!("before a backup: {failed}"))?;
        let (last, version) =
            (manifests.last().map_or(0, |manifest| manifest.version), recovered.version);
        if version < last {
            return Err(format!("a backup holds version {last}, the store is at {version}"));
        }
        let (env, database) = (recovered.machine.env(), &recovered.store.database);
        let next = database.backup(BACKUPS.as_ref());
        let next = next.map_err(|error| format!("the backup behind the crash: {error}"))?;
        let expected = manifests.last().map_or(0, |manifest| manifest.number) + 1;
        if next.manifest.number != expected {
            return Err(format!("backup {} follows {}", next.manifest.number, expected - 1));
        }
        let mut all = manifests.to_vec();
        all.push(next.manifest);
        check_whole(&env, &all)?;
        let now = rows(database)?;
        let again = bring(&env, None).map_err(|error| format!("restoring it: {error}"))?;
        if again.state_hash != database.state_hash() {
            return Err("the backup behind the crash came back with another state".to_owned());
        }
        let restored = recovered.machine.open_at(RESTORED).map_err(|error| error.to_string())?;
        if let Some(broken) = difference(&now, &rows(&restored)?) {
            return Err(format!("the backup behind the crash: {broken}"));
        }
        drop(restored);
        // And into the past, over the place where it crashed.
        let past = (1 + mix(self.seed, 31) % version.max(1)).min(version);
        if past > 0 && covers(&all, Moment::Version(past)) {
            let back = restore(BACKUPS.as_ref(), PAST.as_ref(), Moment::Version(past), &env);
            back.map_err(|error| format!("version {past} behind the crash: {error}"))?;
            self.check_store(&recovered.machine, PAST, past)?;
            found.restored += 1;
        }
        Ok(())
    }
}

fn listed(env: &Env) -> Result<Vec<Manifest>, String> {
    match list_backups(BACKUPS.as_ref(), env) {
        Ok(manifests) => Ok(manifests),
        Err(Error::NotAStore(_)) => Ok(vec![]),
        Err(error) => Err(format!("listing the backups: {error}")),
    }
}

/// Every backup is whole and can be restored.
fn check_whole(env: &Env, manifests: &[Manifest]) -> Result<(), String> {
    let report = verify_backup(BACKUPS.as_ref(), env);
    let report = report.map_err(|error| format!("backup verify: {error}"))?;
    let expected: Vec<_> = manifests.iter().map(|manifest| (manifest.clone(), true)).collect();
    if report.findings.is_empty() && report.backups == expected {
        return Ok(());
    }
    Err(format!("backup verify: {:?} of {} backups", report.findings, manifests.len()))
}

fn bring(env: &Env, moment: Option<Moment>) -> Result<rekindle_database::Restored, Error> {
    restore(BACKUPS.as_ref(), RESTORED.as_ref(), moment.unwrap_or_default(), env)
}

fn code<T>(result: Result<T, Error>) -> i32 {
    result.map_or_else(|error| error.exit_code(), |_| 0)
}

/// Whether some backup, and what later ones add without a gap, reaches from its checkpoint to the
/// moment.
fn covers(manifests: &[Manifest], moment: Moment) -> bool {
    let joins = |pair: &[Manifest]| match pair {
        [before, after] => {
            let last = before.segments.last().map_or(0, |segment| segment.seq);
            after.segments.first().is_some_and(|it| it.seq <= last || it.prev_seq == last)
        }
        _ => false,
    };
    (0..manifests.len()).any(|from| {
        let behind = manifests.get(from..).unwrap_or_default();
        let joined = behind.windows(2).take_while(|pair| joins(pair)).count();
        let (Some(first), Some(end)) = (behind.first(), behind.get(joined)) else { return false };
        let begin = &first.checkpoint;
        match moment {
            Moment::Newest => true,
            Moment::Version(version) => (begin.version..=end.version).contains(&version),
            Moment::Position(position) => (begin.position..=end.position).contains(&position),
            Moment::Time(ms) => {
                (begin.log_time_ms..=end.until_ms.max(end.log_time_ms)).contains(&ms)
            }
        }
    })
}

/// Restores drawn moments of a run's backups, with a crash at every operation of each; answers how
/// many crashes there were.
///
/// # Errors
/// The first that is broken.
pub fn crash_restores(run: &Run, seed: u64, moments: u64) -> Result<u64, String> {
    let known = Known { begun: run.oracle.asked.len(), answered: run.oracle.asked.len() };
    let image = run.disk.image();
    let mut crashes = 0;
    for number in 0..moments {
        let seed = mix(seed, number);
        let crashed = Crashed { run, known, wall_ms: run.wall_ms, seed };
        let manifests = listed(&crashed.machine(run.disk.clone()).env())?;
        let one = crashed.draw(&manifests, seed);
        // The second run of the command may ask for another moment.
        let other = if number % 2 == 0 { one } else { crashed.draw(&manifests, mix(seed, 1)) };
        if [one, other].iter().all(|(moment, _)| covers(&manifests, *moment)) {
            crashes += Restoring { crashed, image: &image, one, other }
                .crash_everywhere()
                .map_err(|broken| format!("restore {one:?}, then {other:?}: {broken}"))?;
        }
    }
    Ok(crashes)
}

/// A restore that is crashed, and the run of the command behind it.
struct Restoring<'a> {
    crashed: Crashed<'a>,
    image: &'a Image,
    one: (Moment, u64),
    other: (Moment, u64),
}

impl Restoring<'_> {
    fn crash_everywhere(&self) -> Result<u64, String> {
        let seed = self.crashed.seed;
        let disk = SimulatedDisk::from_image(self.image.clone(), seed);
        let env = self.crashed.machine(disk.clone()).env();
        bring(&env, Some(self.one.0)).map_err(|error| error.to_string())?;
        let trace = disk.trace();
        // The root of the disk has two names here; only its entries are synced.
        let root = |path: &Path| [Path::new("/"), Path::new(".")].contains(&path);
        let mut paths = trace.operations().iter().map(rekindle_env::Operation::path);
        if let Some(path) = paths.find(|path| !path.starts_with(RESTORED) && !root(path)) {
            return Err(format!("it changes {}", path.display()));
        }
        let mut points = trace.crash_points(self.image.clone());
        let mut crashes = 0;
        loop {
            for (number, death) in DEATHS.into_iter().enumerate() {
                let seed = mix(seed, (points.position() * DEATHS.len() + number) as u64);
                let left = death.disk(&points, seed);
                self.finish(left, death.survival(seed), seed).map_err(|broken| {
                    format!(
                        "operation {}, {death:?}, image seed {seed}: {broken}",
                        points.position()
                    )
                })?;
                crashes += 1;
            }
            if points.advance().is_none() {
                return Ok(crashes);
            }
        }
    }

    /// Behind a crash there is no store, or the whole one; so it is behind a crash of the second
    /// run; the third one ends it.
    fn finish(
        &self,
        left: SimulatedDisk,
        survival: rekindle_env::Survival,
        seed: u64,
    ) -> Result<(), String> {
        self.no_store_or_whole(&left.image())?;
        let (second, stop) = (left, mix(seed, 41) % 60);
        second.stop_after(second.operations() + stop);
        // Wherever it stops: what counts is what the disk holds then.
        drop(bring(&self.crashed.machine(second.clone()).env(), Some(self.other.0)));
        let left = second.crash(survival, mix(seed, 42));
        let inside = |broken| format!("the second run crashed after {stop} operations: {broken}");
        let whole = self.no_store_or_whole(&left.image()).map_err(inside)?;
        let machine = self.crashed.machine(left);
        let expected = match (bring(&machine.env(), Some(self.other.0)), whole) {
            (Ok(restored), None) if restored.version == self.other.1 => self.other.1,
            (Err(error), Some(version)) if error.exit_code() == exit::CONFIG => version,
            (answer, whole) => {
                let answer = answer.map(|restored| restored.version);
                return Err(inside(format!("whole: {whole:?}, the third run: {answer:?}")));
            }
        };
        self.crashed.check_store(&machine, RESTORED, expected).map_err(inside)
    }

    /// Refused as no store, or a store with the whole state of one of the moments: which.
    fn no_store_or_whole(&self, image: &Image) -> Result<Option<u64>, String> {
        let machine = || self.crashed.machine(SimulatedDisk::from_image(image.clone(), 1));
        let whole = match machine().open_at(RESTORED) {
            Ok(database) => {
                let versions = [self.one.1, self.other.1];
                let version = self.crashed.same_as_one(&rows(&database)?, &versions)?;
                Some(version)
            }
            Err(error) if error.exit_code() == exit::CONFIG => None,
            Err(error) => return Err(format!("an interrupted restore is answered {error}")),
        };
        if whole.is_none() {
            // A server that may begin a store begins an empty one only where no restore began.
            let machine = machine();
            match Database::open_with(RESTORED, machine.options(), machine.env()) {
                Ok(database) if rows(&database)?.is_empty() => {}
                Ok(_) => return Err("a part of a restored store opens".to_owned()),
                Err(error) if error.exit_code() == exit::CONFIG => {}
                Err(error) => return Err(format!("a start is answered {error}")),
            }
        }
        Ok(whole)
    }
}
