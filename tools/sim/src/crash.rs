//! The crash campaign: a run's disk, crashed at every operation, under every survival model.
//!
//! Each image is recovered, recovered again from equal bytes, recovered from what the first
//! recovery left, and recovered after a crash inside recovery. Invariant: what is found is a
//! function of the run's seed; a violation names the operation, the model and the seed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rekindle_database::DurabilityMode;
use rekindle_env::{CrashPoints, Image, SimulatedDisk, Survival};
use rekindle_services::Ticked;

use crate::backups::Crashed;
use crate::effect::Effect;
use crate::history::History;
use crate::invariants::{
    audit, deterministic, idempotent, identities, job_details, job_order, job_places, job_tokens,
    keys, leases, never_asks, never_refuses, nothing_invented, nothing_lost, prefix, queue_order,
    queue_places, transaction_ids, versions, whole_transactions,
};
use crate::jobs::effect::JobEffect;
use crate::jobs::execute::fired_since;
use crate::model::Model;
use crate::oracle::{Believed, Bounds, Known, Oracle};
use crate::recovered::{Recovered, attempt};
use crate::seed::mix;
use crate::store::Store;
use crate::workload::Run;

/// Consecutive crash points that one thread takes at a time.
const BLOCK: usize = 32;

/// Outside of backups they are looked at in one of so many images.
const BACKUPS_STEP: u64 = 12;

/// Violations after which a campaign ends.
const VIOLATIONS_MAX: usize = 5;

/// How long a store was down, drawn by seed: leases outlive some of them.
const DOWNTIMES_MS: [u64; 6] = [0, 0, 1, 2_500, 9_000, 100_000];

/// Longer than any delay, lease or extension that the workload asks for.
const LATER_MS: u64 = 120_000;

/// What a campaign did.
#[derive(Debug, Default)]
pub struct Tally {
    /// Operations of the disk at which it was crashed.
    pub points: AtomicU64,
    /// Images.
    pub images: AtomicU64,
    /// Recoveries that ran to their end.
    pub recoveries: AtomicU64,
    /// Recoveries that were crashed.
    pub nested: AtomicU64,
    /// Images whose tail was torn.
    pub torn: AtomicU64,
    /// Images that held something of the request in flight.
    pub in_flight: AtomicU64,
    /// Images whose backups were looked at.
    pub backups: AtomicU64,
    /// Of those, with a whole backup that was not answered.
    pub unanswered: AtomicU64,
    /// Of those, without the backup in flight.
    pub interrupted: AtomicU64,
    /// Moments that were restored from them.
    pub restored: AtomicU64,
    /// Moments that were refused because no backup has them.
    pub refused: AtomicU64,
}

/// How a disk goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The power fails.
    Power(Survival),
    /// The process is killed; the kernel goes on.
    Kill,
}

pub(crate) const DEATHS: [Death; 6] = [
    Death::Power(Survival::All),
    Death::Power(Survival::None),
    Death::Power(Survival::Prefix),
    Death::Power(Survival::Subset),
    Death::Power(Survival::Torn),
    Death::Kill,
];

impl Death {
    /// What it leaves; each call gives an equal disk.
    pub(crate) fn disk(self, points: &CrashPoints, seed: u64) -> SimulatedDisk {
        match self {
            Self::Power(survival) => {
                SimulatedDisk::from_image(points.survivors(survival, seed), seed)
            }
            Self::Kill => points.after_kill(seed),
        }
    }

    /// The model of a second crash: the same, or any one behind a kill.
    pub(crate) fn survival(self, seed: u64) -> Survival {
        let any = Survival::EVERY.iter().cycle().nth(usize::try_from(seed % 5).unwrap_or(0));
        match self {
            Self::Power(survival) => survival,
            Self::Kill => any.copied().unwrap_or(Survival::None),
        }
    }
}

/// One crash.
struct Crash<'a> {
    run: &'a Run,
    known: Known,
    bounds: Bounds,
    death: Death,
    seed: u64,
    tally: &'a Tally,
}

/// Crashes a run at each of its operations, on so many threads.
///
/// # Errors
/// The violations, a line each.
pub fn crash_everywhere(run: &Run, seed: u64, threads: usize) -> Result<Tally, String> {
    let tally = Tally::default();
    let violations: Mutex<Vec<String>> = Mutex::default();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (tally, violations, stop) = (&tally, &violations, &stop);
            scope.spawn(move || {
                walk(run, seed, (thread, threads), tally, &mut |violation| {
                    let mut all = violations.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(violation);
                    stop.fetch_or(all.len() >= VIOLATIONS_MAX, Ordering::Relaxed);
                    stop.load(Ordering::Relaxed)
                });
            });
        }
    });
    let violations = violations.into_inner().unwrap_or_else(PoisonError::into_inner);
    if violations.is_empty() { Ok(tally) } else { Err(violations.join("\n")) }
}

/// Walks over all crash points and takes this thread's blocks of them.
fn walk(
    run: &Run,
    seed: u64,
    (thread, threads): (usize, usize),
    tally: &Tally,
    report: &mut dyn FnMut(String) -> bool,
) {
    let trace = run.disk.trace();
    let mut points = trace.crash_points(Image::new());
    let only = crate::seed::point();
    let (mut known, mut believed, mut point) = (Known::default(), Believed::default(), 0_usize);
    loop {
        // The marks in front of an operation belong to the moment before it.
        let next = trace.operations().get(points.position());
        if next.is_some_and(|operation| operation.mark().is_some()) {
            points.advance().map(|operation| known.follow(operation));
            continue;
        }
        let wanted = only.is_none_or(|only| only == point as u64);
        if wanted && point / BLOCK % threads == thread {
            tally.points.fetch_add(1, Ordering::Relaxed);
            for (number, death) in DEATHS.into_iter().enumerate() {
                let seed = mix(seed, (point * DEATHS.len() + number) as u64);
                let bounds = run.oracle.bounds(known);
                let crash = Crash { run, known, bounds, death, seed, tally };
                let checked = crash.check(&points, &mut believed);
                if let Err(violation) = checked
                    && report(format!(
                        "operation {point} ({}), {death:?}, image seed {seed}: {violation}",
                        next.map_or("the end".to_owned(), ToString::to_string)
                    ))
                {
                    return;
                }
            }
        }
        point += 1;
        if points.advance().is_none() {
            return;
        }
    }
}

impl Crash<'_> {
    /// A disk as the crash left it; each call gives an equal one.
    fn disk(&self, points: &CrashPoints, image: Option<&Image>) -> SimulatedDisk {
        match image {
            Some(image) => SimulatedDisk::from_image(image.clone(), self.seed),
            None => points.after_kill(self.seed),
        }
    }

    fn survival(&self) -> Survival {
        self.death.survival(self.seed)
    }

    /// The wall clock when the store is started again.
    fn wall_ms(&self) -> u64 {
        let at = usize::try_from(self.seed / 7 % DOWNTIMES_MS.len() as u64).unwrap_or(0);
        self.bounds.wall_ms + DOWNTIMES_MS.get(at).copied().unwrap_or(0)
    }

    fn recover(&self, disk: SimulatedDisk, which: &str) -> Result<Recovered, String> {
        let machine = self.run.machine(&disk, self.wall_ms(), self.seed);
        let recovered = Recovered::on(machine, disk);
        self.tally.recoveries.fetch_add(1, Ordering::Relaxed);
        recovered.map_err(|failed| format!("{which}: refused after a mere crash: {failed}"))
    }

    fn check(&self, points: &CrashPoints, believed: &mut Believed) -> Result<(), String> {
        self.tally.images.fetch_add(1, Ordering::Relaxed);
        let image = match self.death {
            Death::Power(survival) => Some(points.survivors(survival, self.seed)),
            Death::Kill => None,
        };
        let image = image.as_ref();
        let first = self.recover(self.disk(points, image), "first recovery")?;
        check_state(&self.bounds, &self.run.history, &first)?;
        let torn = first.report.code == rekindle_recovery::exit::TORN;
        self.tally.torn.fetch_add(u64::from(torn), Ordering::Relaxed);
        let more = first.version > self.bounds.acknowledged;
        self.tally.in_flight.fetch_add(u64::from(more), Ordering::Relaxed);
        {
            let equal = self.recover(self.disk(points, image), "equal recovery")?;
            deterministic::check(&first, &equal)?;
        }
        let left = first.disk.crash(self.survival(), self.seed ^ 1);
        let again = self.recover(left, "second recovery")?;
        idempotent::check(&first, &again).map_err(|broken| format!("second recovery: {broken}"))?;
        transaction_ids::check(first.txn_id, again.txn_id)?;
        never_refuses::check(&again.report)?;
        let nested = self.nested(points, image, &first)?;
        self.check_backups(points, image)?;
        if self.run.durability != DurabilityMode::Strict {
            // What a client was told may be gone: only the state can be judged.
            return Ok(());
        }
        // The client goes on with one of the two stores, and tries everything.
        let (which, store, version, leads) = if self.seed.is_multiple_of(2) {
            let leads = [first.lead(self.run, Some(self.known)), again.lead(self.run, None)];
            ("the store recovered twice", again, first.version, leads.to_vec())
        } else {
            let version = nested.version.min(first.version);
            let leads = vec![nested.lead(self.run, Some(self.known))];
            ("the store whose recovery crashed", nested, version, leads)
        };
        let mut expected = believed.after_crash(&self.run.oracle, self.known, version)?;
        for lead in &leads {
            store.tell(&mut expected, lead).map_err(|broken| format!("{which}: {broken}"))?;
        }
        check_client(&self.run.oracle, self.known, expected, &store, version)
            .and_then(|()| self.worked(&store))
            .map_err(|broken| format!("{which}: {broken}"))
    }

    /// The backups, at every operation of one and at some of all others.
    fn check_backups(&self, points: &CrashPoints, image: Option<&Image>) -> Result<(), String> {
        let Crash { run, known, seed, tally, .. } = *self;
        let crashed = Crashed { run, known, wall_ms: self.wall_ms(), seed };
        let some = self.seed.is_multiple_of(BACKUPS_STEP);
        if !run.backups || !(crashed.in_backup() || some) {
            return Ok(());
        }
        let found = crashed.check(&|| self.disk(points, image))?;
        for (counter, count) in [
            (&tally.backups, 1),
            (&tally.unanswered, found.unanswered),
            (&tally.interrupted, found.interrupted),
            (&tally.restored, found.restored),
            (&tally.refused, found.refused),
        ] {
            counter.fetch_add(count, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The client worked on a recovered store: a second crash loses nothing of that (D8).
    fn worked(&self, store: &Recovered) -> Result<(), String> {
        let database = &store.store.database;
        let (version, hash) = (database.current_version(), database.state_hash());
        let left = store.disk.crash(self.survival(), mix(self.seed, 7));
        let last = self.recover(left, "the recovery of new work")?;
        never_refuses::check(&last.report)?;
        if (last.version, last.hash) == (version, hash) {
            return Ok(());
        }
        Err(format!("new work up to version {version} ends at {} after a crash", last.version))
    }

    /// A crash inside recovery, at any of its operations, and a recovery of what it left.
    fn nested(
        &self,
        points: &CrashPoints,
        image: Option<&Image>,
        first: &Recovered,
    ) -> Result<Recovered, String> {
        let disk = self.disk(points, image);
        let done = disk.operations();
        let stop = mix(self.seed, 2) % (first.operations + 1);
        disk.stop_after(done + stop);
        attempt(&self.run.machine(&disk, self.wall_ms(), self.seed));
        self.tally.nested.fetch_add(1, Ordering::Relaxed);
        let survival = self.survival();
        let inside = |broken: String| {
            format!("crash inside recovery after {stop} operations, {survival:?}: {broken}")
        };
        let left = disk.crash(survival, mix(self.seed, 3));
        let nested = self.recover(left, "the recovery behind it").map_err(inside)?;
        never_refuses::check(&nested.report).map_err(inside)?;
        transaction_ids::check(self.bounds.txn_id, nested.txn_id).map_err(inside)?;
        // What a kill left in the kernel's cache may be lost until a recovery has served it.
        let served = match self.death {
            Death::Power(_) => first.version,
            Death::Kill => self.bounds.acknowledged,
        };
        if nested.version < served {
            let found = nested.version;
            return Err(inside(format!("version {served} was there and is gone: {found} now")));
        }
        if nested.version <= first.version {
            let history = &self.run.history;
            prefix::check(history, nested.version, &nested.rows).map_err(inside)?;
        }
        nothing_invented::check(
            &Bounds { begun: first.settled_version.max(self.bounds.begun), ..self.bounds },
            nested.version,
        )
        .map_err(inside)?;
        Ok(nested)
    }
}

/// Everything about the bare state: D12's R3 to R6.
///
/// # Errors
/// What is broken.
pub fn check_state(
    bounds: &Bounds,
    history: &History,
    recovered: &Recovered,
) -> Result<(), String> {
    never_refuses::check(&recovered.report)?;
    nothing_lost::check(bounds, recovered.version)?;
    nothing_invented::check(bounds, recovered.version)?;
    prefix::check(history, recovered.version, &recovered.rows)?;
    versions::check(recovered)?;
    never_asks::check(recovered)?;
    transaction_ids::check(bounds.txn_id, recovered.txn_id)
}

/// Everything that a client can see and do on a store that came back at `version`: B7 and its
/// relatives. It uses the store up.
///
/// # Errors
/// What is broken.
pub fn check_client(
    oracle: &Oracle,
    known: Known,
    mut model: Model,
    recovered: &Recovered,
    version: u64,
) -> Result<(), String> {
    let store = &recovered.store;
    let ticked = tick(&mut model, store)?;
    if ticked.reclaimed + ticked.dead_lettered + ticked.released > 0 {
        return Err(format!("recovery left leases that were over: {ticked:?}"));
    }
    check_places(&mut model, store)?;
    audit::check(store)?;
    job_details::check(&model, store)?;
    let asked_again = oracle.in_flight(known).into_iter().chain(oracle.last_identified(known));
    for asked in asked_again {
        identities::check(&mut model, store, asked, version)?;
    }
    check_places(&mut model, store)?;
    whole_transactions::check(&model, store)?;
    leases::check(&mut model, store)?;
    job_tokens::check(&mut model, store)?;
    queue_order::check(&mut model, store)?;
    job_order::check(&mut model, store)?;
    // What was delayed, or leased a moment ago, comes in its time.
    recovered.machine.clock.advance_ms(LATER_MS);
    tick(&mut model, store)?;
    job_places::check(&mut model, store)?;
    queue_order::check(&mut model, store)?;
    job_order::check(&mut model, store)?;
    queue_places::check(&model, store)
}

/// What is due is done, and told to the model, with the jobs that schedules made.
fn tick(model: &mut Model, store: &Store) -> Result<Ticked, String> {
    let before = store.database.current_version();
    let ticked = store.services.tick().map_err(|error| error.to_string())?;
    for fired in fired_since(store, before)? {
        model.apply(fired.version, &Effect::Job(JobEffect::Fired(fired)))?;
    }
    model.pass(store.now(), true)?;
    Ok(ticked)
}

/// Every key, message and job is where it must be.
fn check_places(model: &mut Model, store: &Store) -> Result<(), String> {
    keys::check(model, store)?;
    queue_places::check(model, store)?;
    job_places::check(model, store)
}
