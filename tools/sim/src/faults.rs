//! Faults: every kind of call fails, at every k-th time; the disk may lose what it said it lost.
//!
//! The run without faults is the reference: the same seed asks the same requests until the fault
//! strikes. Invariants: nothing acknowledged is lost, poison is final, the store reopens.

use rekindle_env::{Effect, Fault, FaultError, OperationKind, SimulatedDisk, Survival, Times};

use crate::crash::{check_client, check_state};
use crate::invariants::poison;
use crate::oracle::{Believed, Known};
use crate::recovered::Recovered;
use crate::seed::mix;
use crate::workload::{Length, Run, run};

/// What became of the runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Struck {
    /// Runs with a fault.
    pub runs: u64,
    /// Of those, ended by it.
    pub ended: u64,
    /// Of those, with a store that was poisoned.
    pub poisoned: u64,
    /// Recoveries afterwards.
    pub recoveries: u64,
}

/// One order: which call fails, how, how often.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The call.
    pub kind: OperationKind,
    /// What happens.
    pub effect: Effect,
    /// How often.
    pub times: Times,
}

/// Every kind of fault that a machine knows.
#[must_use]
pub fn orders() -> Vec<Order> {
    use OperationKind as Kind;
    let changing = [
        Kind::Write,
        Kind::SetLen,
        Kind::Allocate,
        Kind::PunchHole,
        Kind::Create,
        Kind::CreateDir,
        Kind::Rename,
        Kind::RemoveFile,
        Kind::SyncDir,
        Kind::SyncData,
    ];
    let mut orders = Vec::new();
    let mut order = |kind, effect, times| orders.push(Order { kind, effect, times });
    for kind in changing {
        order(kind, Effect::Error(FaultError::EIO), Times::Count(1));
        order(kind, Effect::Error(FaultError::ENOSPC), Times::Forever);
    }
    order(Kind::Write, Effect::ShortWrite(FaultError::EIO), Times::Count(1));
    order(Kind::Write, Effect::ShortWrite(FaultError::ENOSPC), Times::Forever);
    order(Kind::SyncData, Effect::FailedSync, Times::Count(1));
    order(Kind::SyncData, Effect::FailedSync, Times::Forever);
    for kind in [Kind::Open, Kind::Read, Kind::List] {
        order(kind, Effect::Error(FaultError::EIO), Times::Count(1));
    }
    orders
}

/// How often a kind of call can fail in a run: as often as it happens. Calls that change nothing
/// are not recorded; they happen mostly when a store is opened.
#[must_use]
pub fn occasions(reference: &Run, kind: OperationKind) -> u64 {
    let trace = reference.disk.trace();
    match kind {
        OperationKind::Open | OperationKind::Read | OperationKind::List => 200,
        kind => {
            let same = trace.operations().iter().filter(|operation| operation.kind() == kind);
            same.count() as u64
        }
    }
}

/// Runs the workload of this seed with one fault, and looks at what is left.
///
/// # Errors
/// A broken promise.
pub fn strike(
    reference: &Run,
    (seed, length): (u64, Length),
    order: Order,
    nth: u64,
    struck: &mut Struck,
) -> Result<(), String> {
    let disk = SimulatedDisk::new(seed);
    let Order { kind, effect, times } = order;
    disk.inject(Fault { operation: Some(kind), path_contains: None, nth, times, effect });
    let made = run(&disk, seed, length);
    struck.runs += 1;
    let mut made = match made {
        Ok(made) => made,
        // The parent of the store's directory could not even be synced.
        Err(_) if disk.operations() == 0 => return Ok(()),
        Err(broken) => return Err(broken),
    };
    disk.clear_faults();
    if let Some(store) = made.store.take()
        && made.ended.is_some()
    {
        struck.poisoned += 1;
        poison::check(&store, &made.history)?;
    }
    struck.ended += u64::from(made.ended.is_some());
    let known = Known {
        begun: made.oracle.asked.len(),
        answered: made.oracle.asked.iter().filter(|asked| asked.answer.is_some()).count(),
    };
    for (asked, wanted) in made.oracle.asked.iter().zip(&reference.oracle.asked) {
        if asked.request != wanted.request {
            let (found, wanted) = (&asked.request, &wanted.request);
            return Err(format!("the faulty run asked {found:?}, the reference {wanted:?}"));
        }
    }
    let mut deaths = vec![("killed", disk.kill(seed))];
    let survival = Survival::EVERY.iter().cycle().nth(usize::try_from(nth % 5).unwrap_or(0));
    deaths.push(("power", disk.crash(Survival::None, seed)));
    deaths.push(("power", disk.crash(*survival.unwrap_or(&Survival::All), mix(seed, nth))));
    for (death, left) in deaths {
        struck.recoveries += 1;
        reopen(reference, known, &made, left, seed)
            .map_err(|broken| format!("{death}: {broken}"))?;
    }
    Ok(())
}

/// Opens what a faulty run left, without faults.
fn reopen(
    reference: &Run,
    known: Known,
    made: &Run,
    left: SimulatedDisk,
    seed: u64,
) -> Result<(), String> {
    let mut bounds = reference.oracle.bounds(known);
    // Versions of requests in flight are those that the reference gave them.
    bounds.wall_ms = made.wall_ms;
    let recover =
        |disk: SimulatedDisk| Recovered::on(reference.machine(&disk, bounds.wall_ms, seed), disk);
    let recovered = recover(left).map_err(|failed| failed.to_string())?;
    check_state(&bounds, &reference.history, &recovered)?;
    // What it serves now outlives a power loss, whatever the kernel had dropped.
    let again = recovered.disk.crash(Survival::None, mix(seed, 5));
    let again = recover(again).map_err(|failed| failed.to_string())?;
    crate::invariants::idempotent::check(&recovered, &again)?;
    let mut believed = Believed::default();
    let mut model = believed.after_crash(&reference.oracle, known, recovered.version)?;
    recovered.tell(&mut model, &recovered.lead(reference, Some(known)))?;
    again.tell(&mut model, &again.lead(reference, None))?;
    check_client(&reference.oracle, known, model, &again, recovered.version)
}
