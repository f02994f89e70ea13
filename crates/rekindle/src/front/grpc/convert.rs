//! Between the messages of the wire and the values of the services.
//!
//! Invariant: every kind of refusal has exactly one kind on the wire; nothing is guessed from text.

use bytes::Bytes;
use rekindle_database::{Namespace, TypeTag};
use rekindle_services::kv::{Expect, Scope};
use rekindle_services::queues::{Delivery, QueueInfo, QueueSettings, Token};
use rekindle_services::{Durability, Error, Identity, Kind as ServiceKind};
use rekindle_wire::error::{item, status};
use rekindle_wire::v1::{self, Kind};
use tonic::Status;

/// Bodies from this size on are handed out without being copied: below, a copy costs less than a
/// reference to the stored row.
pub(super) const SHARED_BODY_BYTES_MIN: usize = 4_096;

/// A service's kind on the wire.
pub(super) fn kind(kind: ServiceKind) -> Kind {
    match kind {
        // Poisoned: nothing was done, and the process restarts within a second.
        ServiceKind::Retry | ServiceKind::Poisoned => Kind::Retry,
        ServiceKind::Conflict | ServiceKind::Exists => Kind::Conflict,
        ServiceKind::Fenced => Kind::Fenced,
        ServiceKind::Invalid => Kind::Invalid,
        ServiceKind::Full => Kind::Full,
        ServiceKind::NotFound => Kind::NotFound,
        ServiceKind::Corrupt => Kind::Corrupt,
        ServiceKind::Unknown => Kind::Unknown,
        ServiceKind::Compacted => Kind::Compacted,
        ServiceKind::Io => Kind::Internal,
    }
}

/// A refused call.
pub(super) fn refuse(error: &Error) -> Status {
    status(kind(error.kind()), error.message())
}

/// A refused item.
pub(super) fn refuse_item(index: usize, error: &Error) -> v1::ItemError {
    item(index, kind(error.kind()), error.message())
}

/// A call that cannot be meant.
pub(super) fn invalid(message: impl Into<String>) -> Status {
    status(Kind::Invalid, message)
}

/// What is promised.
pub(super) fn durability(durability: Durability) -> i32 {
    let promised = match durability {
        Durability::Memory => v1::Durability::Memory,
        Durability::Written => v1::Durability::Written,
        Durability::Disk => v1::Durability::Disk,
        Durability::Quorum => v1::Durability::Quorum,
    };
    promised.into()
}

/// The weakest of several promises, so that none is promised more than it has.
pub(super) fn weaker(a: Option<Durability>, b: Durability) -> Durability {
    let rank = |durability| match durability {
        Durability::Memory => 0,
        Durability::Written => 1,
        Durability::Disk => 2,
        Durability::Quorum => 3,
    };
    a.filter(|a| rank(*a) <= rank(b)).unwrap_or(b)
}

/// The identity of a request.
pub(super) fn identity(identity: Option<&v1::RequestIdentity>) -> Result<Option<Identity>, Error> {
    let Some(identity) = identity else { return Ok(None) };
    let producer = <[u8; 16]>::try_from(identity.producer_id.as_ref()).map_err(|_| {
        let len = identity.producer_id.len();
        let message = format!("a producer_id has 16 bytes, not {len}: make a UUIDv7 once");
        Error::new(ServiceKind::Invalid, message)
    })?;
    Ok(Some(Identity { producer, sequence: identity.sequence }))
}

/// A name that may be left out.
pub(super) fn optional(name: &str) -> Option<&str> {
    (!name.is_empty()).then_some(name)
}

/// What a queue shall be.
pub(super) fn settings(definition: &v1::QueueDefinition) -> QueueSettings {
    let defaults = QueueSettings::default();
    let visibility_ms = match definition.visibility_ms {
        0 => defaults.visibility_ms,
        ms => ms,
    };
    QueueSettings {
        visibility_ms,
        max_attempts: definition.max_attempts,
        dead_letter: optional(&definition.dead_letter).map(str::to_owned),
    }
}

/// What a queue is.
pub(super) fn queue(info: QueueInfo) -> v1::QueueInfo {
    let definition = v1::QueueDefinition {
        name: info.name,
        visibility_ms: info.settings.visibility_ms,
        max_attempts: info.settings.max_attempts,
        dead_letter: info.settings.dead_letter.unwrap_or_default(),
    };
    let counts = v1::QueueCounts {
        ready: info.stats.ready,
        leased: info.stats.leased,
        delayed: info.stats.delayed,
        next_expiry_ms: info.stats.next_expiry_ms,
        next_ready_ms: info.stats.next_ready_ms,
        keys: info.stats.keys,
        review: info.stats.review,
    };
    v1::QueueInfo { definition: Some(definition), counts: Some(counts) }
}

/// A message that is handed out.
pub(super) fn delivery(delivery: Delivery) -> v1::Delivery {
    let mut message = v1::Delivery {
        id: delivery.id.to_string(),
        token: delivery.token.to_string(),
        attempt: delivery.attempt,
        fairness_key: delivery.fairness_key.clone(),
        headers: delivery
            .headers
            .iter()
            .map(|(name, value)| v1::Header { name: name.clone(), value: value.clone() })
            .collect(),
        body: Bytes::new(),
    };
    message.body = if delivery.body().len() < SHARED_BODY_BYTES_MIN {
        Bytes::copy_from_slice(delivery.body())
    } else {
        Bytes::from_owner(Body(delivery))
    };
    message
}

/// A delivery whose body is shared.
struct Body(Delivery);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.body()
    }
}

/// Tokens: the good ones with their places, and the errors of the others.
pub(super) fn tokens(words: &[String]) -> (Vec<usize>, Vec<Token>, Vec<v1::ItemError>) {
    let (mut places, mut tokens, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (place, word) in words.iter().enumerate() {
        match word.parse::<Token>() {
            Ok(token) => {
                places.push(place);
                tokens.push(token);
            }
            Err(error) => errors.push(refuse_item(place, &error)),
        }
    }
    (places, tokens, errors)
}

/// Where keys live.
pub(super) fn scope(scope: Option<v1::Scope>) -> Result<Scope, Status> {
    let Some(scope) = scope else { return Ok(Scope::default()) };
    let tag = match scope.type_tag {
        0 => TypeTag::Kv,
        number => u8::try_from(number)
            .ok()
            .and_then(TypeTag::from_u8)
            .ok_or_else(|| invalid(format!("there is no type tag {number}")))?,
    };
    Ok(Scope { namespace: Namespace::new(scope.tenant, scope.app, scope.agent, scope.run), tag })
}

/// What a key must be: this version, or absent.
pub(super) fn expect(version: u64) -> Expect {
    match version {
        0 => Expect::Absent,
        version => Expect::Version(version),
    }
}
