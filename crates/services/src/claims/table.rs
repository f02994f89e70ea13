//! Claims: how the ownership of a unit of work ends, who is charged for it, and what becomes of the
//! work. Pure.
//!
//! Two tables. [`decide`] says whether a claim goes on or ends, and with which [`Cause`]; [`after`]
//! says what becomes of the work then. Invariants: an external owner is never charged for a crash
//! of the server; an owner inside the server is dead only when its node reports a newer
//! incarnation, and even then what it started may go on ([`Trace`]); what died with the server
//! three times in a row waits for a person, whatever else its budgets say.

use std::collections::BTreeMap;

use rekindle_recovery::{Label, Row, Table};

use crate::claims::Token;

/// Crashes of the server in a row after which a person decides about the work.
pub const CRASHES_MAX: usize = 3;

/// What the server died with too often: a person decides.
pub(crate) const REVIEW: Label = Label("claim-8");

/// Why a claim was settled; persisted, so the numbers are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cause {
    /// The owner said so.
    Failed = 1,
    /// Its deadline passed.
    LeaseExpired = 2,
    /// The worker died with it.
    WorkerCrash = 3,
    /// The server died with it.
    ServerCrash = 4,
    /// Given back unstarted.
    Released = 5,
    /// Given back by a shutdown.
    Shutdown = 6,
}

impl Cause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Failed,
        Self::LeaseExpired,
        Self::WorkerCrash,
        Self::ServerCrash,
        Self::Released,
        Self::Shutdown,
    ];

    /// The cause with this number.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| *cause as u8 == number)
    }

    /// The word used in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::LeaseExpired => "lease_expired",
            Self::WorkerCrash => "worker_crash",
            Self::ServerCrash => "server_crash",
            Self::Released => "released",
            Self::Shutdown => "shutdown",
        }
    }

    /// Whether it counts towards the limit of attempts.
    #[must_use]
    pub fn charged(self) -> bool {
        !matches!(self, Self::Released | Self::Shutdown)
    }
}

/// One run of one node: who an executor inside the server belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Executor {
    /// The node.
    pub node: u64,
    /// Its run.
    pub incarnation: u64,
}

/// Who holds a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Somebody outside: the end of a server says nothing about it.
    External,
    /// An executor inside a server.
    Inside(Executor),
}

/// What an executor that is dead left of the work of one claim, by evidence on its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trace {
    /// What it started still runs, or ended on record.
    Survives,
    /// Nothing of it was ever started.
    Unbegun,
}

/// What dead executors left, claim by claim; of a claim that is not in it nobody knows anything.
pub type Traces = BTreeMap<Token, Trace>;

impl Owner {
    /// How it stands, as far as a report of a node can tell, and what it left of this claim.
    /// `ended_cleanly`: the run before the reported one marked a clean end.
    #[must_use]
    pub fn holder(self, reported: Executor, ended_cleanly: bool, left: Option<Trace>) -> Holder {
        let own = match self {
            Self::External => return Holder::External,
            Self::Inside(own) => own,
        };
        if own.node != reported.node || own.incarnation >= reported.incarnation {
            return Holder::Alive;
        }
        match left {
            Some(Trace::Survives) => Holder::Survived,
            Some(Trace::Unbegun) => Holder::Unbegun,
            None if cfg!(planted = "untraced-claim-goes-on") => Holder::Survived,
            None if ended_cleanly && own.incarnation + 1 == reported.incarnation => Holder::Ended,
            None => Holder::Crashed,
        }
    }
}

/// How the owner of a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Outside; nobody here knows more than its deadline.
    External,
    /// Inside, and not known to be dead.
    Alive,
    /// Inside, and its run ended without a clean end.
    Crashed,
    /// Inside, and its run ended cleanly.
    Ended,
    /// Inside, and its run ended; what it started goes on, or ended on record.
    Survived,
    /// Inside, and its run ended before it had begun the work.
    Unbegun,
}

/// What makes somebody look at a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The owner says that the work failed.
    Failed,
    /// The owner gives the work back unstarted.
    Released,
    /// The worker of the owner is known to have died.
    WorkerDied,
    /// The owner, an executor, says that a server died with the work.
    ServerDied,
    /// The grant never reached its receiver.
    Abandoned,
    /// The grant never reached its receiver, and the server ends.
    Withdrawn,
    /// The server ends in order.
    Stopping,
    /// Time passes while the server runs.
    Time,
    /// A server takes the lead: a start, or a promotion.
    Lead,
}

/// A claim that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Situation {
    /// How its owner stands.
    pub holder: Holder,
    /// Why it is looked at.
    pub event: Event,
    /// Its deadline passed, in log time.
    pub due: bool,
}

impl Situation {
    /// A claim of somebody outside.
    #[must_use]
    pub fn external(event: Event, due: bool) -> Self {
        Self { holder: Holder::External, event, due }
    }

    /// Nobody says anything; only its deadline can end it.
    fn waits(&self) -> bool {
        let quiet = matches!(self.event, Event::Time | Event::Lead);
        let outlives = self.event == Event::Stopping && self.holder == Holder::External;
        self.speaks() && (quiet || outlives)
    }

    /// Its deadline decides now: not while the server ends, that is for the next start.
    fn expires(&self) -> bool {
        self.due && self.event != Event::Stopping
    }

    /// The owner may still be there.
    fn speaks(&self) -> bool {
        matches!(self.holder, Holder::External | Holder::Alive)
    }
}

/// What becomes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It goes on until its deadline.
    Keep,
    /// It goes on: an executor of this run takes over what was started.
    Resume,
    /// It is over.
    Settle(Cause),
}

/// When a claim ends, and with which cause.
static CLAIMS: Table<Situation, Decision> = Table {
    rows: &[
        Row { label: Label("claim-1"), when: |s| s.waits() && !s.expires(), then: Decision::Keep },
        Row {
            label: Label("claim-2"),
            when: |s| s.waits() && s.expires(),
            then: Decision::Settle(Cause::LeaseExpired),
        },
        Row {
            label: Label("claim-3"),
            when: |s| s.speaks() && s.event == Event::Failed,
            then: Decision::Settle(Cause::Failed),
        },
        Row {
            label: Label("claim-4"),
            when: |s| {
                // Nobody outside is charged for a crash of the server, whatever it says.
                let died = s.holder == Holder::External && s.event == Event::ServerDied;
                died || (s.speaks() && s.event == Event::WorkerDied)
            },
            then: Decision::Settle(Cause::WorkerCrash),
        },
        Row {
            label: Label("claim-5"),
            when: |s| {
                let unstarted = matches!(s.event, Event::Released | Event::Abandoned);
                s.holder == Holder::Unbegun || (s.speaks() && unstarted)
            },
            then: Decision::Settle(Cause::Released),
        },
        Row {
            label: Label("claim-6"),
            when: |s| {
                s.holder == Holder::Ended
                    || (s.speaks() && s.event == Event::Withdrawn)
                    || (s.holder == Holder::Alive && s.event == Event::Stopping)
            },
            then: Decision::Settle(Cause::Shutdown),
        },
        Row {
            label: Label("claim-7"),
            when: |s| {
                let died = s.holder == Holder::Alive && s.event == Event::ServerDied;
                s.holder == Holder::Crashed || died
            },
            then: Decision::Settle(Cause::ServerCrash),
        },
        Row {
            label: Label("claim-11"),
            when: |s| s.holder == Holder::Survived,
            then: Decision::Resume,
        },
    ],
};

/// Whether a claim goes on, or ends and why.
#[must_use]
pub fn decide(situation: Situation) -> Decision {
    CLAIMS.decide(&situation).then
}

/// A settled claim, its cause added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settled {
    /// Why it ended.
    pub cause: Cause,
    /// The charged causes reach the limit of attempts.
    pub used_up: bool,
    /// The last [`CRASHES_MAX`] that say anything are crashes of the server.
    pub crashes: bool,
}

impl Settled {
    fn kills(&self) -> bool {
        self.cause == Cause::ServerCrash && self.crashes
    }

    fn spent(&self) -> bool {
        self.cause.charged() && self.used_up
    }
}

/// What becomes of the work of a settled claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It can be claimed again.
    Return,
    /// It was tried often enough.
    DeadLetter,
    /// A person decides.
    Review,
}

/// What becomes of the work.
static FATES: Table<Settled, Fate> = Table {
    rows: &[
        Row { label: REVIEW, when: Settled::kills, then: Fate::Review },
        Row { label: Label("claim-9"), when: |s| !s.kills() && s.spent(), then: Fate::DeadLetter },
        Row { label: Label("claim-10"), when: |s| !s.kills() && !s.spent(), then: Fate::Return },
    ],
};

/// What becomes of the work.
#[must_use]
pub fn after(settled: Settled) -> Fate {
    FATES.decide(&settled).then
}

/// How many of the newest causes, which come first, are crashes of the server in a row. What was
/// given back unstarted or by a shutdown says nothing about the work, and is passed over.
#[must_use]
pub fn crashes_in_a_row(newest_first: impl IntoIterator<Item = Cause>) -> usize {
    let telling = newest_first.into_iter().filter(|cause| cause.charged());
    telling.take_while(|cause| *cause == Cause::ServerCrash).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDERS: [Holder; 6] = [
        Holder::External,
        Holder::Alive,
        Holder::Crashed,
        Holder::Ended,
        Holder::Survived,
        Holder::Unbegun,
    ];
    const EVENTS: [Event; 9] = [
        Event::Failed,
        Event::Released,
        Event::WorkerDied,
        Event::ServerDied,
        Event::Abandoned,
        Event::Withdrawn,
        Event::Stopping,
        Event::Time,
        Event::Lead,
    ];

    fn claims() -> Vec<Situation> {
        let mut all = vec![];
        for holder in HOLDERS {
            for event in EVENTS {
                all.extend([false, true].map(|due| Situation { holder, event, due }));
            }
        }
        all
    }

    fn settled() -> Vec<Settled> {
        let mut all = vec![];
        for cause in Cause::ALL {
            for used_up in [false, true] {
                all.extend([false, true].map(|crashes| Settled { cause, used_up, crashes }));
            }
        }
        all
    }

    /// Every combination of conditions matches exactly one row of each table.
    ///
    /// produces: claim-1, claim-2, claim-3, claim-4, claim-5, claim-6, claim-7
    /// produces: claim-8, claim-9, claim-10, claim-11
    #[test]
    fn each_situation_has_one_row() {
        assert_eq!((claims().len(), settled().len()), (108, 24));
        assert_eq!(CLAIMS.check(claims()), Vec::<String>::new());
        assert_eq!(FATES.check(settled()), Vec::<String>::new());
    }

    /// A restart keeps what somebody outside holds, and charges nobody outside for the crash; its
    /// deadline counts, downtime included.
    ///
    /// proves: B4
    #[test]
    fn external_claims_are_kept_and_never_charged_by_a_restart() {
        for situation in claims().into_iter().filter(|s| s.holder == Holder::External) {
            let decision = decide(situation);
            assert_ne!(decision, Decision::Settle(Cause::ServerCrash), "{situation:?}");
            if matches!(situation.event, Event::Lead | Event::Stopping) && !situation.due {
                assert_eq!(decision, Decision::Keep, "{situation:?}");
            }
        }
        let late = Situation::external(Event::Lead, true);
        assert_eq!(decide(late), Decision::Settle(Cause::LeaseExpired));
    }

    /// An executor is dead only when its own node reports a newer run, and a run that ended in
    /// order left its work behind uncharged.
    #[test]
    fn an_executor_is_dead_when_its_node_says_so() {
        let own = Owner::Inside(Executor { node: 1, incarnation: 5 });
        let reported = |node, incarnation| Executor { node, incarnation };
        let holder = |reported, clean| own.holder(reported, clean, None);
        assert_eq!(holder(reported(1, 5), false), Holder::Alive);
        assert_eq!(holder(reported(2, 9), false), Holder::Alive, "another node");
        assert_eq!(holder(reported(1, 6), false), Holder::Crashed);
        assert_eq!(holder(reported(1, 6), true), Holder::Ended);
        assert_eq!(holder(reported(1, 7), true), Holder::Crashed, "another run's clean end");
        let left = Some(Trace::Survives);
        assert_eq!(Owner::External.holder(reported(1, 6), false, left), Holder::External);
        assert_eq!(own.holder(reported(1, 5), false, left), Holder::Alive, "its own run");
        for event in EVENTS {
            for due in [false, true] {
                let of = |holder| decide(Situation { holder, event, due });
                assert_eq!(of(Holder::Crashed), Decision::Settle(Cause::ServerCrash));
                assert_eq!(of(Holder::Ended), Decision::Settle(Cause::Shutdown));
            }
        }
    }

    /// What a dead executor left decides before how its run ended: work that goes on is taken up
    /// whatever its deadline says, and work that was never begun costs nothing.
    #[test]
    fn evidence_comes_before_the_end_of_the_run() {
        let own = Owner::Inside(Executor { node: 1, incarnation: 5 });
        for clean in [false, true] {
            let after = |left| own.holder(Executor { node: 1, incarnation: 6 }, clean, Some(left));
            for due in [false, true] {
                let lead =
                    |left| decide(Situation { holder: after(left), event: Event::Lead, due });
                assert_eq!(lead(Trace::Survives), Decision::Resume);
                assert_eq!(lead(Trace::Unbegun), Decision::Settle(Cause::Released));
            }
        }
    }

    /// Shutdown and release are never charged, and end nothing but the claim.
    ///
    /// fault: T7
    #[test]
    fn causes_have_stable_numbers_and_two_are_free() {
        let known: Vec<_> = (0..=u8::MAX).filter_map(Cause::from_u8).collect();
        assert_eq!(known, Cause::ALL);
        let free: Vec<_> =
            known.iter().filter(|cause| !cause.charged()).map(|cause| cause.as_str()).collect();
        assert_eq!(free, ["released", "shutdown"]);
        for cause in [Cause::Released, Cause::Shutdown] {
            let settled = Settled { cause, used_up: true, crashes: true };
            assert_eq!(after(settled), Fate::Return);
        }
    }

    /// Three crashes in a row go to a person before any budget is asked, and only crashes do.
    ///
    /// proves: J7
    #[test]
    fn what_kills_the_server_three_times_waits_for_a_person() {
        use Cause::{Failed, LeaseExpired, Released, ServerCrash, Shutdown, WorkerCrash};
        for used_up in [false, true] {
            let third = Settled { cause: ServerCrash, used_up, crashes: true };
            assert_eq!(after(third), Fate::Review);
        }
        let second = Settled { cause: ServerCrash, used_up: true, crashes: false };
        assert_eq!(after(second), Fate::DeadLetter, "the ordinary budget still counts");
        for (history, expected) in [
            (vec![], 0),
            (vec![ServerCrash, ServerCrash, ServerCrash], 3),
            (vec![ServerCrash, Shutdown, ServerCrash, Released, ServerCrash, Failed], 3),
            (vec![ServerCrash, Failed, ServerCrash], 1),
            (vec![LeaseExpired, ServerCrash], 0),
            (vec![WorkerCrash, ServerCrash, ServerCrash], 0),
        ] {
            assert_eq!(crashes_in_a_row(history.clone()), expected, "{history:?}");
        }
    }
}
