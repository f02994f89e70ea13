//! What is wrong with what waits for a person, and what can be decided about it.
//!
//! Invariant: every trouble has a label of its own and a way out, and says why the other ways are
//! none.

use rekindle_recovery::Label;

use crate::review::judge::Decision;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Trouble {
    /// A lease or attempts of no message.
    NoMessage,
    /// The message cannot be read.
    BadMessage,
    /// Its lease or attempts cannot be read.
    BadClaim,
    /// Its queue does not exist.
    NoQueue,
    /// An end, a claim or attempts of no job.
    NoJob,
    /// The job cannot be read.
    BadJob,
    /// Its end, claim or attempts cannot be read, or do not go together.
    BadJobClaim,
    /// Its type does not exist.
    NoType,
    /// The server died with it too often.
    Crashes,
    /// Whole, but its lease could not be ended.
    Unsettled,
    /// The same of a job.
    UnsettledJob,
    /// A key of the index of leases by time.
    BadExpiryKey,
    /// A key of `messages`, `leases` or `attempts`.
    BadKey,
    /// A queue's definition.
    BadDefinition,
    /// A key of `jobs` or `job_outcomes`.
    BadJobKey,
    /// The settings of a type of jobs.
    BadType,
    /// A schedule.
    BadSchedule,
}

/// What can be decided about it, what that does, and why the rest cannot be.
pub(super) struct Terms {
    pub(super) label: Label,
    pub(super) found: &'static str,
    /// Why approving is refused; `None`: it is not.
    approve: Option<&'static str>,
    /// The same for retrying.
    retry: Option<&'static str>,
    /// The same for failing.
    fail: Option<&'static str>,
}

const NOTHING_TO_SERVE: Option<&str> = Some("there is no message to serve");
const NOTHING_TO_BURY: Option<&str> =
    Some("there is no message for a dead-letter queue; approve removes what is left");
const NO_JOB_TO_FAIL: Option<&str> =
    Some("there is no job that could have failed; approve removes what is left");
const NOTHING_PROPOSED: Option<&str> = Some("nothing is proposed; choose retry or fail");

/// Terms of a trouble.
fn terms(
    label: &'static str,
    found: &'static str,
    [approve, retry, fail]: [Option<&'static str>; 3],
) -> Terms {
    Terms { label: Label(label), found, approve, retry, fail }
}

impl Trouble {
    pub(super) fn terms(self) -> Terms {
        let terms = self.of_messages().or_else(|| self.of_jobs());
        terms.expect("a trouble is one of messages or of jobs; the tests ask for all of them")
    }

    fn of_messages(self) -> Option<Terms> {
        Some(match self {
            Self::NoMessage => terms(
                "queue-7",
                "a lease or attempts without a message",
                [None, NOTHING_TO_SERVE, NOTHING_TO_BURY],
            ),
            Self::BadMessage => terms(
                "queue-8",
                "a message that cannot be read",
                [
                    Some("nothing is proposed; choose fail"),
                    Some("it cannot be read, so it cannot be served; fail keeps its bytes"),
                    None,
                ],
            ),
            Self::BadClaim => terms(
                "queue-9",
                "a lease or attempts that cannot be read",
                [NOTHING_PROPOSED, None, None],
            ),
            Self::NoQueue => terms(
                "queue-10",
                "a message or its rows whose queue does not exist",
                [
                    None,
                    Some("its queue does not exist; approve removes it for good"),
                    Some("its queue, and so its dead-letter queue, is not known"),
                ],
            ),
            Self::Crashes => {
                terms("claim-8", "the server died with it three times in a row", [None, None, None])
            }
            Self::Unsettled => terms(
                "queue-14",
                "its lease ran out and could not be ended",
                [NOTHING_PROPOSED, None, None],
            ),
            Self::BadExpiryKey => terms(
                "queue-11",
                "a key of lease_expiry that cannot be read",
                [None, NOTHING_TO_SERVE, NOTHING_TO_BURY],
            ),
            Self::BadKey => terms(
                "queue-12",
                "a key of messages, leases or attempts that cannot be read",
                [None, NOTHING_TO_SERVE, NOTHING_TO_BURY],
            ),
            Self::BadDefinition => terms(
                "queue-13",
                "a queue's definition that cannot be read",
                [None, NOTHING_TO_SERVE, NOTHING_TO_BURY],
            ),
            _ => return None,
        })
    }

    fn of_jobs(self) -> Option<Terms> {
        Some(match self {
            Self::NoJob => terms(
                "job-7",
                "an end, a claim or attempts without a job",
                [None, Some("there is no job to serve"), NO_JOB_TO_FAIL],
            ),
            Self::BadJob => terms(
                "job-8",
                "a job that cannot be read",
                [None, Some("it cannot be read, so it cannot be served"), NO_JOB_TO_FAIL],
            ),
            Self::BadJobClaim => terms(
                "job-9",
                "an end, a claim or attempts that cannot be read or do not go together",
                [NOTHING_PROPOSED, None, None],
            ),
            Self::NoType => terms(
                "job-10",
                "a job or its rows whose type does not exist",
                [
                    None,
                    Some("its type does not exist; approve removes it for good"),
                    NO_JOB_TO_FAIL,
                ],
            ),
            Self::UnsettledJob => terms(
                "job-13",
                "its claim ran out and could not be ended",
                [NOTHING_PROPOSED, None, None],
            ),
            Self::BadJobKey => terms(
                "job-11",
                "a key of jobs or job_outcomes that cannot be read",
                [None, Some("there is no job to serve"), NO_JOB_TO_FAIL],
            ),
            Self::BadType => terms(
                "job-12",
                "the settings of a job type that cannot be read",
                [None, Some("there is no job to serve"), NO_JOB_TO_FAIL],
            ),
            Self::BadSchedule => terms(
                "job-14",
                "a schedule that cannot be read",
                [None, Some("there is no job to serve"), NO_JOB_TO_FAIL],
            ),
            _ => return None,
        })
    }

    /// Why this decision is refused, if it is.
    pub(crate) fn refusal(self, decision: Decision) -> Option<&'static str> {
        let Terms { approve, retry, fail, .. } = self.terms();
        match decision {
            Decision::Approve => approve,
            Decision::Retry => retry,
            Decision::Fail => fail,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [Trouble; 17] = [
        Trouble::NoMessage,
        Trouble::BadMessage,
        Trouble::BadClaim,
        Trouble::NoQueue,
        Trouble::NoJob,
        Trouble::BadJob,
        Trouble::BadJobClaim,
        Trouble::NoType,
        Trouble::Crashes,
        Trouble::Unsettled,
        Trouble::UnsettledJob,
        Trouble::BadExpiryKey,
        Trouble::BadKey,
        Trouble::BadDefinition,
        Trouble::BadJobKey,
        Trouble::BadType,
        Trouble::BadSchedule,
    ];

    /// Every trouble has a label of its own and a way out, and says why the other ways are none.
    ///
    /// proves: L10
    #[test]
    fn every_trouble_has_a_way_out() {
        let labels: BTreeSet<&str> = ALL.iter().map(|trouble| trouble.terms().label.0).collect();
        assert_eq!(labels.len(), ALL.len());
        for trouble in ALL {
            let refusals = Decision::ALL.map(|decision| trouble.refusal(decision));
            assert!(refusals.iter().any(Option::is_none), "{trouble:?}");
            assert!(refusals.iter().flatten().all(|why| !why.is_empty()), "{trouble:?}");
        }
        for decision in Decision::ALL {
            assert_eq!(decision.as_str().parse::<Decision>(), Ok(decision));
        }
        assert!("approved".parse::<Decision>().is_err());
    }
}
