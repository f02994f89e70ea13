//! The life of a claim as pure transitions: grant, extend, settle.
//!
//! ```text
//!   sent ──▶ delayed ──▶ ready ──grant──▶ leased ──finish──▶ done
//!                          ▲                │
//!                          └── settle ◀─────┤ (failed, lease_expired, released, shutdown)
//!                                           ├─▶ given up, attempts used up
//!                                           └─▶ review, the server died with it too often
//!   (a claim of an executor that is dead goes on, with the next run as its holder, or is settled)
//! ```
//! Invariants: `attempt` grows by one at a grant and only there; a settlement adds one cause and
//! nothing else; a token is good from its grant until the message is granted again or finished.

use crate::bytes::truncated;
use crate::claims::attempts::{Attempts, Settlement, UNDER_REVIEW};
use crate::claims::lease::Lease;
use crate::claims::{self, Backoff, CRASHES_MAX, Cause, Fate, Owner};
use crate::limits::REASON_BYTES_MAX;

/// How a token stands to its unit of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The work is leased under this token.
    Current,
    /// The lease was settled, and the work not granted again yet: finishing it still counts.
    Late,
    /// Granted again, or finished.
    Fenced,
}

/// How the token of `grant` stands.
pub(crate) fn standing(grant: u64, lease: Option<&Lease>, attempts: Option<&Attempts>) -> Standing {
    if cfg!(planted = "token-not-checked") && lease.is_some() {
        return Standing::Current;
    }
    match (lease, attempts) {
        (Some(lease), _) if lease.grant == grant => Standing::Current,
        (Some(_), _) => Standing::Fenced,
        (None, Some(attempts)) if attempts.grant == grant => Standing::Late,
        (None, _) => Standing::Fenced,
    }
}

/// The next lease of ready work.
pub(crate) fn grant(
    attempts: Option<&Attempts>,
    now_ms: u64,
    visibility_ms: u64,
    owner: &str,
    holder: Owner,
) -> Lease {
    Lease {
        grant: 0,
        deadline_ms: now_ms.saturating_add(visibility_ms),
        granted_ms: now_ms,
        attempt: attempts.map_or(0, |attempts| attempts.attempt).saturating_add(1),
        owner: owner.to_owned(),
        extended: false,
        holder,
    }
}

/// The same lease until `now + by`, which may be sooner than before: the owner says so.
pub(crate) fn extended(lease: &Lease, now_ms: u64, by_ms: u64) -> Lease {
    debug_assert!(lease.grant > 0, "an extended lease names its grant");
    Lease { deadline_ms: now_ms.saturating_add(by_ms), extended: true, ..lease.clone() }
}

/// The lease of a late owner, taken up again: same grant, same attempt.
pub(crate) fn resumed(attempts: &Attempts, now_ms: u64, by_ms: u64, holder: Owner) -> Lease {
    Lease {
        grant: attempts.grant,
        deadline_ms: now_ms.saturating_add(by_ms),
        granted_ms: now_ms,
        attempt: attempts.attempt,
        owner: String::new(),
        extended: true,
        holder,
    }
}

/// The lease of a dead executor, taken over by one of this run: same grant, same attempt, another
/// holder.
pub(crate) fn taken_over(lease: &Lease, now_ms: u64, by_ms: u64, holder: Owner) -> Lease {
    Lease { holder, ..extended(lease, now_ms, by_ms) }
}

/// How a claim ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending<'a> {
    /// Why.
    pub(crate) cause: Cause,
    /// In the owner's words.
    pub(crate) reason: &'a str,
    /// Now, log time.
    pub(crate) now_ms: u64,
    /// How long the work stays away; `None`: as long as its line says.
    pub(crate) delay_ms: Option<u64>,
    /// It is not tried again, whatever attempts are left.
    pub(crate) last: bool,
    /// The work may have begun.
    pub(crate) begun: bool,
}

/// How often work is tried, and after which pauses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retry {
    /// Charged attempts after which it is given up; 0: no limit.
    pub(crate) max_attempts: u32,
    /// The pauses; `None`: none.
    pub(crate) backoff: Option<Backoff>,
}

/// What becomes of work whose claim ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is ready, at once or when its delay is over.
    Return(Attempts),
    /// Its attempts are used up.
    DeadLetter(Attempts),
    /// A person decides: it is not ready before that.
    Review(Attempts),
}

/// Settles a lease: adds its cause, and decides what becomes of the work.
pub(crate) fn settle(
    lease: &Lease,
    attempts: Option<Attempts>,
    ending: &Ending<'_>,
    retry: Retry,
) -> Next {
    let mut attempts = attempts.unwrap_or_default();
    // Fewer than were counted: the end of the lease was in a range that somebody gave up, and what
    // came behind it (a job that failed and was tried again) was not.
    attempts.attempt = attempts.attempt.max(lease.attempt);
    attempts.grant = lease.grant;
    if ending.cause.charged() {
        attempts.charged = attempts.charged.saturating_add(1);
    }
    let pause_ms = ending.delay_ms.unwrap_or_else(|| match retry.backoff {
        Some(backoff) if ending.cause.charged() => backoff.pause_ms(attempts.charged, lease.grant),
        _ => 0,
    });
    attempts.due_ms = if pause_ms == 0 { 0 } else { due(ending.now_ms, pause_ms) };
    attempts.add(Settlement {
        attempt: lease.attempt,
        cause: ending.cause,
        at_ms: ending.now_ms,
        reason: truncated(ending.reason, REASON_BYTES_MAX).to_owned(),
    });
    let settled = claims::Settled {
        cause: ending.cause,
        used_up: ending.last || (retry.max_attempts > 0 && attempts.charged >= retry.max_attempts),
        crashes: attempts.crashes_in_a_row() >= CRASHES_MAX,
    };
    match claims::after(settled) {
        Fate::Return => Next::Return(attempts),
        Fate::DeadLetter => Next::DeadLetter(attempts),
        Fate::Review => Next::Review(Attempts { due_ms: UNDER_REVIEW, ..attempts }),
    }
}

/// The moment after a pause; never the one that means a review.
fn due(now_ms: u64, pause_ms: u64) -> u64 {
    now_ms.saturating_add(pause_ms).min(UNDER_REVIEW - 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::limits::HISTORY_MAX;

    fn leased(grant: u64, attempt: u32) -> Lease {
        let owner = String::new();
        let holder = Owner::External;
        Lease { grant, deadline_ms: 100, granted_ms: 0, attempt, owner, extended: false, holder }
    }

    fn ending(cause: Cause) -> Ending<'static> {
        Ending { cause, reason: "", now_ms: 50, delay_ms: None, last: false, begun: true }
    }

    /// So many attempts, and no pauses.
    fn of(max_attempts: u32) -> Retry {
        Retry { max_attempts, backoff: None }
    }

    fn returned(next: Next) -> Attempts {
        match next {
            Next::Return(attempts) => attempts,
            Next::DeadLetter(_) => panic!("dead-lettered too early"),
            Next::Review(_) => panic!("under review too early"),
        }
    }

    /// A late ack counts until the message is granted again, and never after.
    ///
    /// fault: T4
    #[test]
    fn a_token_is_good_until_the_next_grant() {
        let lease = leased(7, 1);
        assert_eq!(standing(7, Some(&lease), None), Standing::Current);
        assert_eq!(standing(6, Some(&lease), None), Standing::Fenced);
        let attempts = returned(settle(&lease, None, &ending(Cause::LeaseExpired), of(0)));
        assert_eq!(standing(7, None, Some(&attempts)), Standing::Late);
        assert_eq!(standing(6, None, Some(&attempts)), Standing::Fenced);
        assert_eq!(standing(7, Some(&leased(9, 2)), Some(&attempts)), Standing::Fenced);
        assert_eq!(standing(7, None, None), Standing::Fenced, "finished");
    }

    #[test]
    fn attempts_grow_at_a_grant_and_only_there() {
        let first = grant(None, 10, 30, "me", Owner::External);
        assert_eq!((first.attempt, first.deadline_ms, first.grant), (1, 40, 0));
        let held = Lease { grant: 5, ..first };
        let longer = extended(&held, 20, 100);
        assert_eq!((longer.attempt, longer.grant, longer.deadline_ms), (1, 5, 120));
        let attempts = returned(settle(&longer, None, &ending(Cause::Failed), of(0)));
        assert_eq!((attempts.attempt, attempts.charged), (1, 1));
        assert_eq!(resumed(&attempts, 0, 1, Owner::External).attempt, 1);
        assert_eq!(grant(Some(&attempts), 60, 30, "", Owner::External).attempt, 2);
    }

    /// fault: T7
    #[test]
    fn only_charged_causes_use_attempts_up() {
        let mut attempts = None;
        for round in 1..=5 {
            let next = settle(&leased(round, 1), attempts, &ending(Cause::Released), of(2));
            attempts = Some(returned(next));
        }
        let once = returned(settle(&leased(6, 1), attempts, &ending(Cause::Failed), of(2)));
        assert_eq!(once.charged, 1);
        let free = returned(settle(&leased(7, 1), Some(once), &ending(Cause::Shutdown), of(2)));
        let twice = settle(&leased(8, 1), Some(free), &ending(Cause::LeaseExpired), of(2));
        assert!(matches!(twice, Next::DeadLetter(attempts) if attempts.charged == 2));
    }

    /// The third crash in a row goes to a person although attempts are used up, and a person's
    /// approval begins anew.
    ///
    /// proves: J7
    #[test]
    fn the_third_crash_in_a_row_waits_for_a_person() {
        let mut attempts = None;
        for (attempt, cause) in [
            (1, Cause::ServerCrash),
            (2, Cause::Failed),
            (3, Cause::ServerCrash),
            (4, Cause::Shutdown),
            (5, Cause::ServerCrash),
        ] {
            let lease = leased(u64::from(attempt), attempt);
            attempts = Some(returned(settle(&lease, attempts, &ending(cause), of(0))));
        }
        let next = settle(&leased(6, 6), attempts, &ending(Cause::ServerCrash), of(2));
        let Next::Review(mut attempts) = next else { panic!("{next:?}") };
        assert_eq!((attempts.due_ms, attempts.crashes_in_a_row()), (UNDER_REVIEW, 3));
        let stored = Attempts::parse(&attempts.encode()).unwrap();
        assert_eq!(stored, attempts);
        // Served once more: the fourth in a row is one too many again.
        let again = settle(&leased(7, 7), Some(stored), &ending(Cause::ServerCrash), of(0));
        assert!(matches!(again, Next::Review(_)), "{again:?}");
        attempts.forget_crashes();
        let causes: Vec<_> = attempts.history.iter().map(|one| one.cause.as_str()).collect();
        assert_eq!(causes, ["server_crash", "failed", "shutdown"]);
        let anew = settle(&leased(7, 7), Some(attempts), &ending(Cause::ServerCrash), of(0));
        assert_eq!(returned(anew).crashes_in_a_row(), 1);
    }

    /// A repair may give up the end of a lease and keep what came behind it; attempts only grow.
    #[test]
    fn a_lease_that_outlived_its_end_takes_no_attempts_away() {
        let newer = Attempts { attempt: 3, charged: 2, ..Attempts::default() };
        let after = settle(&leased(7, 1), Some(newer), &ending(Cause::ServerCrash), of(0));
        let after = returned(after);
        assert_eq!((after.attempt, after.charged, after.grant), (3, 3, 7));
        assert_eq!(grant(Some(&after), 60, 30, "", Owner::External).attempt, 4);
    }

    #[test]
    fn the_history_keeps_the_newest() {
        let mut attempts = None;
        for attempt in 1..=40 {
            let why = Ending { reason: &"r".repeat(2_000), ..ending(Cause::Failed) };
            let next = settle(&leased(u64::from(attempt), attempt), attempts, &why, of(0));
            attempts = Some(returned(next));
        }
        let attempts = attempts.unwrap();
        assert_eq!(attempts.history.len(), HISTORY_MAX);
        assert_eq!(attempts.history.last().unwrap().attempt, 40);
        assert_eq!(attempts.history.last().unwrap().reason.len(), REASON_BYTES_MAX);
        assert_eq!(attempts.charged, 40);
    }

    #[test]
    fn a_delay_counts_from_now() {
        let why = Ending { delay_ms: Some(30), ..ending(Cause::Failed) };
        assert_eq!(returned(settle(&leased(1, 1), None, &why, of(0))).due_ms, 80);
    }

    /// The pause grows with charged failures, is the owner's where it says one, and nothing that is
    /// free makes work wait.
    ///
    /// proves: J10
    #[test]
    fn failures_wait_longer_and_longer() {
        let backoff = Some(Backoff { base_ms: 100, max_ms: 1_000 });
        let retry = Retry { max_attempts: 0, backoff };
        let mut attempts = None;
        for round in 1..=6_u32 {
            let lease = leased(u64::from(round), round);
            let after = returned(settle(&lease, attempts, &ending(Cause::Failed), retry));
            let full = (50 << round).min(1_000);
            assert!((full / 2..=full).contains(&(after.due_ms - 50)), "{round}: {after:?}");
            attempts = Some(after);
        }
        let lease = leased(10, 10);
        let own = Ending { delay_ms: Some(7), ..ending(Cause::Failed) };
        assert_eq!(returned(settle(&lease, None, &own, retry)).due_ms, 57);
        let free = settle(&lease, None, &ending(Cause::Shutdown), retry);
        assert_eq!(returned(free).due_ms, 0);
    }

    /// Who says that trying again is of no use is believed, whatever attempts are left.
    #[test]
    fn the_last_attempt_is_the_last() {
        let last = Ending { last: true, ..ending(Cause::Failed) };
        let next = settle(&leased(1, 1), None, &last, of(0));
        assert!(matches!(next, Next::DeadLetter(_)), "{next:?}");
    }
}
