//! `claim`: leases on pending jobs; how they are granted is told in claims/grant.rs.

use std::sync::Arc;

use rekindle_database::{KeyspaceId, Transaction, Value};

use crate::bytes::Malformed;
use crate::claims::grant::{self, Delivered, Wanted, check_count};
use crate::claims::lease::Lease;
use crate::claims::{Line, Owner, Subject, Token};
use crate::error::Error;
use crate::exec::{Core, Stop};
use crate::jobs::job::parse;
use crate::jobs::kind::{check_name, check_own};
use crate::jobs::{ClaimRequest, Claimed};
use crate::keys::Keyspaces;
use crate::limits::CLAIM_TYPES_MAX;
use crate::ticket::Acknowledged;

/// Jobs.
enum Work {}

impl grant::Kind for Work {
    type Delivery = Claimed;
    const MAY_BEGIN: bool = true;

    fn keyspace(keyspaces: &Keyspaces) -> KeyspaceId {
        keyspaces.jobs
    }

    /// A finished job keeps its row for a while.
    fn is_done(core: &Core, txn: &mut Transaction, key: &[u8]) -> Result<bool, Stop> {
        Ok(txn.get(core.keyspaces.job_outcomes, key)?.is_some())
    }

    fn deliver(
        line: &Line,
        id: Subject,
        lease: &Lease,
        lease_ms: u64,
        row: &Value,
    ) -> Result<Claimed, Malformed> {
        let (head, payload_at) = parse(&row.bytes)?;
        Ok(Claimed {
            id,
            token: Token { subject: id, grant: 0 },
            kind: line.name().to_owned(),
            attempt: lease.attempt,
            max_attempts: head.max_attempts.unwrap_or(line.retry().max_attempts),
            priority: head.priority,
            deadline_ms: lease.deadline_ms,
            lease_ms,
            submitted_ms: head.submitted_ms,
            row: Arc::clone(&row.bytes),
            payload_at,
        })
    }
}

impl Delivered for Claimed {
    fn named(&self) -> Token {
        self.token
    }

    fn token(&mut self) -> &mut Token {
        &mut self.token
    }

    fn bytes(&self) -> usize {
        self.row.len()
    }
}

fn wanted<'a>(request: &ClaimRequest<'a>, holder: Owner) -> Wanted<'a> {
    Wanted { max: request.max, lease_ms: request.lease_ms, owner: request.worker, holder }
}

/// The types of a request: those that there are. A worker may wait for the first job of its type.
fn lines(core: &Core, request: &ClaimRequest<'_>, holder: Owner) -> Result<Vec<Line>, Error> {
    check_count("job types", request.types.len(), CLAIM_TYPES_MAX)?;
    if request.types.is_empty() {
        return Err(Error::invalid("a claim of no job type; name at least one"));
    }
    let check = if holder == Owner::External { check_own } else { check_name };
    request.types.iter().try_for_each(|name| check(name))?;
    core.alive()?;
    let kinds = request.types.iter().filter_map(|name| core.index.job_type(name));
    Ok(kinds.map(Line::Jobs).collect())
}

/// Claims what is pending; nothing pending is an empty answer.
pub(crate) fn claim(
    core: &Arc<Core>,
    request: &ClaimRequest<'_>,
) -> Result<Acknowledged<Vec<Claimed>>, Error> {
    let wanted = wanted(request, Owner::External);
    grant::grant::<Work>(core, &wanted, || lines(core, request, Owner::External))
}

/// The same for this holder; where nothing is pending, waits until something is or `deadline`
/// resolves.
pub(crate) async fn claim_wait(
    core: &Arc<Core>,
    request: &ClaimRequest<'_>,
    holder: Owner,
    deadline: impl Future<Output = ()>,
) -> Result<Acknowledged<Vec<Claimed>>, Error> {
    let wanted = wanted(request, holder);
    grant::grant_wait::<Work>(core, &wanted, || lines(core, request, holder), deadline).await
}
