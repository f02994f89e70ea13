//! `receive`: leases on ready messages; how they are granted is told in claims/grant.rs.

use std::sync::Arc;

use rekindle_database::{KeyspaceId, Transaction, Value};

use crate::bytes::Malformed;
use crate::claims::grant::{self, Delivered, Wanted};
use crate::claims::index::Listener;
use crate::claims::lease::Lease;
use crate::claims::{Line, Owner, Subject, Token};
use crate::error::Error;
use crate::exec::{Core, Stop};
use crate::keys::Keyspaces;
use crate::queues::definition::check_name;
use crate::queues::message::parse;
use crate::queues::{Delivery, ReceiveRequest};
use crate::ticket::Acknowledged;

/// Messages of queues.
enum Messages {}

impl grant::Kind for Messages {
    type Delivery = Delivery;
    const MAY_BEGIN: bool = false;

    fn keyspace(keyspaces: &Keyspaces) -> KeyspaceId {
        keyspaces.messages
    }

    /// A message that is done with has no row.
    fn is_done(_: &Core, _: &mut Transaction, _: &[u8]) -> Result<bool, Stop> {
        Ok(false)
    }

    fn deliver(
        _: &Line,
        id: Subject,
        lease: &Lease,
        lease_ms: u64,
        row: &Value,
    ) -> Result<Delivery, Malformed> {
        let message = parse(&row.bytes)?;
        Ok(Delivery {
            id,
            token: Token { subject: id, grant: 0 },
            attempt: lease.attempt,
            deadline_ms: lease.deadline_ms,
            visibility_ms: lease_ms,
            sent_ms: message.sent_ms,
            fairness_key: message.fairness_key.to_owned(),
            headers: owned(&message.headers),
            body_at: row.bytes.len() - message.body.len(),
            row: Arc::clone(&row.bytes),
        })
    }
}

impl Delivered for Delivery {
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

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What is asked for.
fn wanted<'a>(request: &ReceiveRequest<'a>) -> Wanted<'a> {
    Wanted {
        max: request.max,
        lease_ms: request.visibility_ms,
        owner: request.owner,
        holder: Owner::External,
    }
}

/// The queue of a request.
fn lines(core: &Core, request: &ReceiveRequest<'_>) -> Result<Vec<Line>, Error> {
    check_name(request.queue)?;
    core.alive()?;
    Ok(vec![Line::Queue(core.definition(request.queue)?)])
}

/// Leases what is ready; nothing ready is an empty answer.
pub(crate) fn receive(
    core: &Arc<Core>,
    request: &ReceiveRequest<'_>,
) -> Result<Acknowledged<Vec<Delivery>>, Error> {
    grant::grant::<Messages>(core, &wanted(request), || lines(core, request))
}

/// The same; where nothing is ready, waits until something is or `deadline` resolves.
pub(crate) async fn receive_wait(
    core: &Arc<Core>,
    request: &ReceiveRequest<'_>,
    deadline: impl Future<Output = ()>,
) -> Result<Acknowledged<Vec<Delivery>>, Error> {
    let wanted = wanted(request);
    grant::grant_wait::<Messages>(core, &wanted, || lines(core, request), deadline).await
}

/// A listener of this queue.
pub(crate) fn listen(core: &Arc<Core>, queue: &str) -> Result<Listener, Error> {
    check_name(queue)?;
    let definition = core.definition(queue)?;
    core.index.listen(definition.id)
}
