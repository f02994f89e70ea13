//! The document of the interface: OpenAPI 3.1, made from the table of routes and the types of their
//! bodies.
//!
//! Invariants: each route of [`ROUTES`] is in it, and nothing else; it is the same for every call
//! of one build; what a route's kind implies (the answers to a bad body, to a start that is not
//! over) is added here and written nowhere else.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::http::StatusCode;
use schemars::SchemaGenerator;
use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value, json};

use super::body::Takes;
use super::identity::IDEMPOTENCY_KEY;
use super::operation::{Field, Given, Kind, Operation, Parameter, Place, Shape};
use super::problem::{Code, Problem};
use super::reply::{Answered, PROBLEM, ok};
use super::request::Asked;
use super::route::{Route, When};
use super::table::ROUTES;
use crate::front::access::Permission;
use crate::front::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::state::Server;

/// What the document says of the whole interface.
const ABOUT: &str = "Queues, keys and the state of one Rekindle server. A refusal is a problem \
                     (RFC 9457) with a stable `code` and an `action`. Requests that change \
                     something may carry an `Idempotency-Key` and be repeated with it: they have \
                     one effect and the same answer. Lists have `limit` and give `next`. Bodies \
                     are JSON objects, nested at most 64 deep; those of work have at most 4 MiB, \
                     others 64 KiB.";
/// What an `Idempotency-Key` is.
const KEY_ABOUT: &str = "Names this request, so that repeating it has one effect and the same \
                         answer: `UUID/SEQUENCE`, where the sequence rises by one with each item \
                         that this producer asks for, or any other word that only this request \
                         has, which is hashed to a producer of its own.";

pub(super) const SHOW: Operation = Operation {
    id: "getDocument",
    tag: "server",
    summary: "This document.",
    about: "OpenAPI 3.1 as JSON; the page `/ui/api` shows it to people.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok(
        "The document.",
        Shape::Fields(&[
            ("openapi", "string", "The version of OpenAPI."),
            ("info", "object", "What it is of."),
            ("paths", "object", "All operations."),
            ("components", "object", "The schemas that they use."),
        ]),
    )],
    refuses: &[],
    once: false,
};

/// `/v1/openapi.json`.
pub(super) fn show(_: &Server, _: &Asked) -> Answered {
    ok(document())
}

/// The document.
#[must_use]
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(build)
}

/// The path of a route as OpenAPI writes it.
#[must_use]
pub fn path_of(route: &Route) -> String {
    route.path().replace("{*", "{")
}

/// What the document says of a route.
#[must_use]
pub fn described(route: &Route) -> Option<&'static Value> {
    let method = route.method().as_str().to_ascii_lowercase();
    document().get("paths")?.get(path_of(route))?.get(method)
}

/// The codes with which a route may refuse.
#[must_use]
pub fn codes_of(route: &Route, operation: &Operation) -> Vec<Code> {
    let mut codes = vec![Code::Invalid, Code::Forbidden];
    if route.takes() == Takes::Json {
        codes.extend([Code::Timeout, Code::TooLarge, Code::UnsupportedMediaType]);
    }
    if route.is_work() {
        codes.extend([Code::Corrupt, Code::Io, Code::Retry, Code::Unavailable]);
        if operation.once {
            codes.push(Code::Unknown);
            codes.push(Code::Full);
        }
    }
    if route.may_wait() {
        codes.extend([Code::Corrupt, Code::Io, Code::Internal, Code::Retry]);
    }
    match route.when() {
        When::Always => {}
        When::Ready | When::Readable => codes.push(Code::Unavailable),
        When::RecoveryMode => codes.extend([Code::Conflict, Code::Unavailable]),
    }
    codes.extend(operation.refuses);
    // In the order of the list, each once.
    Code::ALL.into_iter().filter(|code| codes.contains(code)).collect()
}

/// What makes schemas: those of requests and those of answers differ in what may be left out.
struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = |contract| {
            let mut settings = SchemaSettings::draft2020_12();
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
            settings.contract = contract;
            settings.into_generator()
        };
        Self { requests: settings(Contract::Deserialize), answers: settings(Contract::Serialize) }
    }

    /// All that were named. A name stands for one schema.
    fn into_components(mut self) -> Map<String, Value> {
        let mut all = self.requests.take_definitions(true);
        for (name, schema) in self.answers.take_definitions(true) {
            let twice = all.get(&name).is_some_and(|other| *other != schema);
            debug_assert!(!twice, "two schemas are named {name}");
            all.insert(name, schema);
        }
        all
    }
}

fn build() -> Value {
    let mut schemas = Schemas::new();
    let problem = Value::from(schemas.answers.subschema_for::<Problem>());
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in ROUTES {
        let Some(operation) = route.operation() else { continue };
        let method = route.method().as_str().to_ascii_lowercase();
        let described = describe(route, operation, &mut schemas, &problem);
        paths.entry(path_of(route)).or_default().insert(method, described);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Rekindle",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The server that gave this document." }],
        "tags": tags(),
        "paths": paths,
        "components": { "schemas": schemas.into_components() },
    })
}

/// All groups, in the order of the table.
fn tags() -> Vec<Value> {
    let mut names: Vec<&str> = vec![];
    for operation in ROUTES.iter().filter_map(Route::operation) {
        if !names.contains(&operation.tag) {
            names.push(operation.tag);
        }
    }
    names.into_iter().map(|name| json!({ "name": name })).collect()
}

/// One operation.
fn describe(route: &Route, operation: &Operation, schemas: &mut Schemas, problem: &Value) -> Value {
    let mut parameters: Vec<Value> = operation.parameters.iter().map(parameter).collect();
    if operation.once {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "description": KEY_ABOUT,
            "schema": {
                "type": "string",
                "minLength": 1,
                "maxLength": IDEMPOTENCY_KEY_BYTES_MAX,
                "pattern": "^[ -~]+$",
            },
        }));
        debug_assert_eq!(IDEMPOTENCY_KEY.as_str(), "idempotency-key");
    }
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.about,
        "parameters": parameters,
        "responses": responses(route, operation, schemas, problem),
        "x-served": route.when().as_str(),
        "x-permission": match route.permission() {
            Permission::Probe => "none".to_owned(),
            needs => needs.to_string(),
        },
    });
    if let Some(taken) = operation.takes {
        let example: Value = serde_json::from_str(taken.example).unwrap_or_default();
        let schema = shape(&taken.shape, &mut schemas.requests);
        let content = json!({ "application/json": { "schema": schema, "example": example } });
        let body = json!({ "required": true, "content": content });
        if let Some(described) = described.as_object_mut() {
            described.insert("requestBody".to_owned(), body);
        }
    }
    described
}

/// One parameter.
fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Form(form, most) => {
            json!({ "type": "string", "pattern": form, "minLength": 1, "maxLength": most })
        }
        Kind::Number(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Word(words) => json!({ "type": "string", "enum": words }),
    };
    let in_path = parameter.place == Place::Path;
    json!({
        "name": parameter.name,
        "in": if in_path { "path" } else { "query" },
        "required": in_path,
        "description": parameter.about,
        "schema": schema,
    })
}

/// All answers and refusals, by status.
fn responses(
    route: &Route,
    operation: &Operation,
    schemas: &mut Schemas,
    problem: &Value,
) -> Map<String, Value> {
    let mut all = Map::new();
    for given in operation.answers {
        all.insert(given.status.to_string(), answer(given, schemas));
    }
    let mut refusals: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes_of(route, operation) {
        refusals.entry(code.status().as_u16()).or_default().push(code);
    }
    for (status, codes) in refusals {
        if all.contains_key(&status.to_string()) {
            continue;
        }
        let lines = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title()));
        let mut refusal = json!({
            "description": lines.collect::<Vec<_>>().join("; "),
            "content": { PROBLEM: { "schema": problem } },
        });
        if status == StatusCode::SERVICE_UNAVAILABLE.as_u16() {
            let again = json!({
                "Retry-After": {
                    "description": "Seconds after which to ask again; not with `unknown`.",
                    "schema": { "type": "integer", "minimum": 1 },
                },
            });
            if let Some(refusal) = refusal.as_object_mut() {
                refusal.insert("headers".to_owned(), again);
            }
        }
        all.insert(status.to_string(), refusal);
    }
    all
}

/// An answer that is no refusal.
fn answer(given: &Given, schemas: &mut Schemas) -> Value {
    let media_type = match given.shape {
        Shape::Text(media_type) => media_type,
        Shape::Of(_) | Shape::Fields(_) => "application/json",
    };
    let schema = shape(&given.shape, &mut schemas.answers);
    json!({ "description": given.about, "content": { media_type: { "schema": schema } } })
}

/// A schema.
fn shape(shape: &Shape, generator: &mut SchemaGenerator) -> Value {
    match shape {
        Shape::Of(schema) => Value::from(schema(generator)),
        Shape::Fields(fields) => object(fields),
        Shape::Text("text/event-stream") => json!({ "description": "Events, one by one." }),
        Shape::Text(_) => json!({ "type": "string" }),
    }
}

/// An object with at least these members.
fn object(fields: &[Field]) -> Value {
    let mut members = Map::new();
    for (name, kinds, about) in fields {
        let kinds: Vec<&str> = kinds.split('|').collect();
        let kind = match kinds.as_slice() {
            [one] => json!(one),
            several => json!(several),
        };
        members.insert((*name).to_owned(), json!({ "type": kind, "description": about }));
    }
    // What is only of some of them (`evidence`) is not required; those that always are, are.
    let required: Vec<&str> =
        fields.iter().map(|(name, ..)| *name).filter(|name| *name != "evidence").collect();
    json!({ "type": "object", "properties": members, "required": required })
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
