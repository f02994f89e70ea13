//! Keys over HTTP: reading, setting and removing one.
//!
//! Invariants: nothing here decides; what a key must be for a write is checked in its transaction;
//! keys are bytes, and every one of them can be named.

use std::sync::Arc;

use rekindle_database::{Namespace, TypeTag};
use rekindle_services::kv::{Entry, Expect, Scope};
use rekindle_services::limits::KV_VALUE_BYTES_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::serving;
use super::operation::{Given, Kind, Operation, Parameter, Taken, of};
use super::payload::{self, BASE64, ENCODING};
use super::problem::Code;
use super::queues::DURABILITIES;
use super::reply::{Refusal, ok};
use super::request::Asked;
use super::route::Working;
use crate::state::Server;

/// The words of `type`.
const TYPES: [(&str, TypeTag); 7] = [
    ("kv", TypeTag::Kv),
    ("event", TypeTag::Event),
    ("state", TypeTag::State),
    ("trace", TypeTag::Trace),
    ("run", TypeTag::Run),
    ("vector", TypeTag::Vector),
    ("document", TypeTag::Document),
];

pub(super) const KEY: Parameter = Parameter::path(
    "key",
    Kind::Text,
    "The key, 1 to 4,096 bytes. It may hold slashes, as they are or as %2F.",
    "color",
);
pub(super) const TENANT: Parameter =
    Parameter::text("tenant", "The tenant of the namespace; empty unless it is given.");
pub(super) const APP: Parameter =
    Parameter::text("app", "The app of the namespace; empty unless it is given.");
pub(super) const AGENT: Parameter =
    Parameter::text("agent", "The agent of the namespace; empty unless it is given.");
pub(super) const RUN: Parameter =
    Parameter::text("run", "The run of the namespace; empty unless it is given.");
pub(super) const TYPE: Parameter = Parameter::word(
    "type",
    &["kv", "event", "state", "trace", "run", "vector", "document"],
    "What kind of thing the keys name; `kv` unless it is given.",
);
pub(super) const AT_VERSION: Parameter =
    Parameter::number("at_version", 0, u64::MAX, "The past as of this version.");

/// Where the keys of a request live.
pub(super) fn scope(asked: &Asked) -> Result<Scope, Refusal> {
    let part = |name| asked.text(name).unwrap_or("").to_owned();
    let namespace = Namespace::new(part("tenant"), part("app"), part("agent"), part("run"));
    Ok(Scope { namespace, tag: tag(asked.text("type").unwrap_or("kv"))? })
}

/// What kind of thing this word names.
pub(super) fn tag(word: &str) -> Result<TypeTag, Refusal> {
    let tag = TYPES.iter().find(|(name, _)| *name == word).map(|(_, tag)| *tag);
    tag.ok_or_else(|| {
        let words: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        Refusal::invalid(format!("there is no type {word:?}; use one of {}", words.join(", ")))
    })
}

/// The key in the path.
fn key(asked: &Asked) -> Result<Vec<u8>, Refusal> {
    Ok(payload::key(asked, "key")?.unwrap_or_default())
}

/// A key with its value.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Entry")]
pub(super) struct EntryView {
    /// The key, where it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The key, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    /// The value, where it is UTF-8; left out of a scan of keys only.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// The value, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// The transaction that wrote it.
    version: u64,
}

impl EntryView {
    /// An entry; its value where that was asked for.
    pub(super) fn of(entry: &Entry, with_value: bool) -> Self {
        let (key, key_base64) = payload::shown(&entry.key);
        let value = with_value.then(|| payload::shown(&entry.value));
        let (value, value_base64) = value.unwrap_or_default();
        Self { key, key_base64, value, value_base64, version: entry.version }
    }
}

pub(super) const GET: Operation = Operation {
    id: "getKey",
    tag: "kv",
    summary: "The value of a key.",
    about: "The newest one, or the one at a version of the past that is still kept.",
    parameters: &[KEY, ENCODING, AT_VERSION, TENANT, APP, AGENT, RUN, TYPE],
    takes: None,
    answers: &[Given::ok("The entry.", of::<EntryView>())],
    refuses: &[Code::NotFound, Code::Compacted],
    once: false,
};

/// GET `/v1/kv/{*key}`.
pub(super) fn get(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let (scope, key) = (scope(&asked)?, key(&asked)?);
        let at_version = asked.number_if_any("at_version", 0..=u64::MAX)?;
        let kv = serving(&server)?.services.kv();
        kv.settled().await?;
        let Some(entry) = kv.get(&scope, &key, at_version)? else {
            return Err(Refusal::of(Code::NotFound, "there is no such key in this scope"));
        };
        ok(&EntryView::of(&entry, true))
    })
}

/// A value, and what the key must be for it to be set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["value"], "properties": { "value": { "type": "string" } } },
    { "required": ["value_base64"], "properties": { "value_base64": { "type": "string" } } },
]))]
pub(super) struct PutValue {
    /// The value as text: at most 1 MiB of UTF-8.
    value: Option<String>,
    /// The value as base64, instead of `value`.
    #[schemars(regex(pattern = BASE64))]
    value_base64: Option<String>,
    /// Only where the key was written by this version.
    #[schemars(range(min = 1))]
    if_version: Option<u64>,
    /// Only where the key is not there.
    if_absent: Option<bool>,
}

/// A key that was set.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PutKey {
    /// The version of the value.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

pub(super) const PUT: Operation = Operation {
    id: "putKey",
    tag: "kv",
    summary: "Sets a key.",
    about: "With `if_version` or `if_absent` only where the key is as expected; otherwise \
            `conflict`, and nothing is changed.",
    parameters: &[KEY, ENCODING, TENANT, APP, AGENT, RUN, TYPE],
    takes: Some(Taken { shape: of::<PutValue>(), example: r#"{"value":"blue"}"# }),
    answers: &[Given::ok("It is set.", of::<PutKey>())],
    refuses: &[Code::Conflict, Code::Full, Code::NoSpace],
    once: true,
};

/// PUT `/v1/kv/{*key}`.
pub(super) fn put(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let (scope, key) = (scope(&asked)?, key(&asked)?);
        let PutValue { value, value_base64, if_version, if_absent } = asked.json()?;
        let value = payload::bytes("value", value, value_base64.as_deref())?
            .ok_or_else(|| Refusal::invalid("a value is missing: give value or value_base64"))?;
        payload::within("bytes of the value", value.len(), KV_VALUE_BYTES_MAX)?;
        let expect = expect(if_version, if_absent.unwrap_or(false))?;
        let kv = serving(&server)?.services.kv();
        let done = kv.submit_put(&scope, &key, &value, expect, asked.identity()).await?.await?;
        ok(&PutKey { version: done.version, durability: done.durability.as_str() })
    })
}

/// What a check of nothing is told.
pub(super) const EXPECTED: &str = "nothing is expected: give if_version or if_absent";

/// What the key must be.
pub(super) fn expect(if_version: Option<u64>, if_absent: bool) -> Result<Expect, Refusal> {
    match (if_version, if_absent) {
        (None, false) => Ok(Expect::Any),
        (None, true) => Ok(Expect::Absent),
        (Some(0), _) => Err(Refusal::invalid("if_version is 0, which no key has; use if_absent")),
        (Some(version), false) => Ok(Expect::Version(version)),
        (Some(_), true) => Err(Refusal::invalid("if_version and if_absent exclude each other")),
    }
}

/// A key that was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DeletedKey {
    /// Whether it was there.
    existed: bool,
    /// The transaction that removed it.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

pub(super) const DELETE: Operation = Operation {
    id: "deleteKey",
    tag: "kv",
    summary: "Removes a key.",
    about: "Removing what is not there is no error, but with `if_version`.",
    parameters: &[
        KEY,
        ENCODING,
        Parameter::number(
            "if_version",
            1,
            u64::MAX,
            "Only where the key was written by this version; otherwise `conflict`.",
        ),
        TENANT,
        APP,
        AGENT,
        RUN,
        TYPE,
    ],
    takes: None,
    answers: &[Given::ok("It is not there any more.", of::<DeletedKey>())],
    refuses: &[Code::Conflict, Code::Full, Code::NoSpace],
    once: true,
};

/// DELETE `/v1/kv/{*key}`.
pub(super) fn delete(server: Arc<Server>, asked: Asked) -> Working {
    Box::pin(async move {
        let (scope, key) = (scope(&asked)?, key(&asked)?);
        let expect = expect(asked.number_if_any("if_version", 1..=u64::MAX)?, false)?;
        let kv = serving(&server)?.services.kv();
        let done = kv.submit_delete(&scope, &key, expect, asked.identity()).await?.await?;
        ok(&DeletedKey {
            existed: done.value,
            version: done.version,
            durability: done.durability.as_str(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document names the types that there are.
    #[test]
    fn types_are_documented() {
        let words: Vec<&str> = TYPES.iter().map(|(word, _)| *word).collect();
        assert_eq!(TYPE.kind, Kind::Word(words.leak()));
    }
}
