//! The decision table of jobs: what the rows of one job mean.

use rekindle_recovery::{Label, Row, Table};

use crate::claims::recovery::{Claim, Expiry, Stored};

/// All that is known of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Situation {
    /// Its type has settings.
    pub(crate) kind: bool,
    /// The job.
    pub(crate) job: Stored,
    /// How it ended.
    pub(crate) outcome: Stored,
    /// Its claim.
    pub(crate) claim: Claim,
    /// Its settled attempts.
    pub(crate) attempts: Stored,
    /// The index by time.
    pub(crate) expiry: Expiry,
}

impl Situation {
    /// There is more than rows of the index by time.
    fn more_than_expiry(&self) -> bool {
        let rows = [self.job, self.outcome, self.attempts];
        rows.iter().any(|row| *row != Stored::Absent) || self.claim != Claim::None
    }

    /// All of it can be trusted, and a finished job has no claim.
    fn whole(&self) -> bool {
        self.kind && self.job == Stored::Good && self.agrees()
    }

    fn agrees(&self) -> bool {
        self.claim != Claim::Bad
            && self.attempts != Stored::Bad
            && self.outcome != Stored::Bad
            && (self.outcome == Stored::Absent || self.claim == Claim::None)
    }

    /// Whole, not finished, and nobody works on it.
    fn waits(&self) -> bool {
        self.whole() && self.outcome == Stored::Absent && self.claim == Claim::None
    }
}

/// What is done about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Pending, or scheduled.
    Serve,
    /// Processing as before.
    KeepClaim,
    /// Finished as before.
    Finished,
    /// As before; rows of the index by time without a claim go.
    DropExpiry,
    /// Processing as before; the index by time is made again.
    RebuildExpiry,
    /// The claim is over.
    Reclaim,
    /// Not served; a person decides.
    Ask,
}

/// What the rows of one job mean.
pub(crate) static JOBS: Table<Situation, Verdict> = Table {
    rows: &[
        Row {
            label: Label("job-1"),
            when: |s| s.waits() && s.expiry == Expiry::None,
            then: Verdict::Serve,
        },
        Row {
            label: Label("job-2"),
            when: |s| s.whole() && s.claim == Claim::Live && s.expiry == Expiry::Match,
            then: Verdict::KeepClaim,
        },
        Row {
            label: Label("job-3"),
            when: |s| s.whole() && s.claim == Claim::Due,
            then: Verdict::Reclaim,
        },
        Row {
            label: Label("job-4"),
            when: |s| s.whole() && s.outcome == Stored::Good && s.expiry == Expiry::None,
            then: Verdict::Finished,
        },
        Row {
            label: Label("job-5"),
            when: |s| {
                let nothing = !s.more_than_expiry();
                (nothing || (s.whole() && s.claim == Claim::None)) && s.expiry != Expiry::None
            },
            then: Verdict::DropExpiry,
        },
        Row {
            label: Label("job-6"),
            when: |s| s.whole() && s.claim == Claim::Live && s.expiry != Expiry::Match,
            then: Verdict::RebuildExpiry,
        },
        Row {
            label: Label("job-7"),
            when: |s| s.kind && s.job == Stored::Absent && s.more_than_expiry(),
            then: Verdict::Ask,
        },
        Row { label: Label("job-8"), when: |s| s.kind && s.job == Stored::Bad, then: Verdict::Ask },
        Row {
            label: Label("job-9"),
            when: |s| s.kind && s.job == Stored::Good && !s.agrees(),
            then: Verdict::Ask,
        },
        Row {
            label: Label("job-10"),
            when: |s| !s.kind && s.more_than_expiry(),
            then: Verdict::Ask,
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Situation> {
        let mut all = vec![];
        let stored = [Stored::Absent, Stored::Good, Stored::Bad];
        let claims = [Claim::None, Claim::Live, Claim::Due, Claim::Bad];
        let expiries = [Expiry::None, Expiry::Match, Expiry::Other];
        for kind in [false, true] {
            for job in stored {
                for outcome in stored {
                    for claim in claims {
                        for attempts in stored {
                            all.extend(expiries.map(|expiry| Situation {
                                kind,
                                job,
                                outcome,
                                claim,
                                attempts,
                                expiry,
                            }));
                        }
                    }
                }
            }
        }
        // Without any row there is nothing to decide about.
        all.retain(|s| s.more_than_expiry() || s.expiry != Expiry::None);
        all
    }

    /// Every combination of conditions matches exactly one row.
    ///
    /// proves: J6
    #[test]
    fn each_situation_has_one_row() {
        assert_eq!(all().len(), 2 * 3 * 3 * 4 * 3 * 3 - 2);
        assert_eq!(JOBS.check(all()), Vec::<String>::new());
    }

    /// No job is stuck in processing: each claim is kept until its deadline, or it is over.
    ///
    /// proves: J2
    #[test]
    fn a_whole_claim_is_kept_or_over() {
        for situation in all().into_iter().filter(|s| s.whole() && s.claim != Claim::None) {
            let then = JOBS.decide(&situation).then;
            let over = situation.claim == Claim::Due;
            assert_eq!(over, then == Verdict::Reclaim, "{situation:?}");
            let kept = matches!(then, Verdict::KeepClaim | Verdict::RebuildExpiry);
            assert_eq!(!over, kept, "{situation:?}");
        }
    }
}
