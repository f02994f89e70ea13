//! The interface as a page: every operation with its parameters, bodies, refusals and a command
//! that asks it, the schemas, and what the codes of refusals mean.
//!
//! Invariant: all of it comes from the table of routes and the document that is made of it.

use maud::{Markup, html};
use serde_json::Value;

use super::frame::scrolling;
use crate::front::access::Permission;
use crate::front::http::openapi::{codes_of, described, document, path_of};
use crate::front::http::operation::{Given, Kind, Operation, Parameter, Place, Shape};
use crate::front::http::problem::Code;
use crate::front::http::route::Route;
use crate::front::http::table::ROUTES;

/// The whole screen, of a server with this address.
pub(super) fn screen(address: &str) -> Markup {
    let all: Vec<(&Route, &Operation)> =
        ROUTES.iter().filter_map(|route| Some((route, route.operation()?))).collect();
    let mut tags: Vec<&str> = all.iter().map(|(_, operation)| operation.tag).collect();
    tags.dedup();
    let mut seen = vec![];
    tags.retain(|tag| {
        !seen.contains(tag) && {
            seen.push(*tag);
            true
        }
    });
    html! {
        section.card.wide aria-label="About" {
            p { (about()) }
            p.links {
                a href="/v1/openapi.json" { "OpenAPI 3.1" }
                a href="#codes" { "Codes of refusals" }
                a href="#schemas" { "Schemas" }
                @for tag in &tags { a href={ "#tag-" (anchor(tag)) } { (tag) } }
            }
        }
        @for tag in &tags {
            section.card.wide id={ "tag-" (anchor(tag)) } aria-label=(tag) {
                h2 { (tag) }
                @for (route, operation) in all.iter().filter(|(_, it)| it.tag == *tag) {
                    (one(route, operation, address))
                }
            }
        }
        (codes())
        (schemas())
    }
}

/// What the document says of the whole.
fn about() -> &'static str {
    document().pointer("/info/description").and_then(Value::as_str).unwrap_or_default()
}

/// A word in the place of an id.
fn anchor(tag: &str) -> String {
    tag.replace(' ', "-")
}

/// One operation.
fn one(route: &Route, operation: &Operation, address: &str) -> Markup {
    let served = route.when().as_str();
    let needs = match route.permission() {
        Permission::Probe => "no permission".to_owned(),
        needs => needs.to_string(),
    };
    html! {
        article id=(operation.id) {
            h3 { code { (route.method().as_str()) " " (path_of(route)) } }
            p { b { (operation.summary) } " " (operation.about) }
            p.quiet { "Served: " (served) ". Needs: " (needs) "." }
            @if !operation.parameters.is_empty() || operation.once {
                (parameters(operation))
            }
            @if let Some(taken) = operation.takes {
                p { "Takes " (shape(&taken.shape, request_schema(route))) "." }
            }
            ul {
                @for given in operation.answers { li { (answer(route, given)) } }
            }
            p.quiet {
                "Refuses with "
                @for (at, code) in codes_of(route, operation).into_iter().enumerate() {
                    @if at > 0 { ", " }
                    a href={ "#" (code.as_str()) } {
                        (code.status().as_u16()) " " code { (code.as_str()) }
                    }
                }
                "."
            }
            pre { code { (command(route, operation, address)) } }
        }
    }
}

/// The parameters of an operation.
fn parameters(operation: &Operation) -> Markup {
    let table = html! {
        table.rows {
            caption.unseen { "Parameters of " (operation.id) }
            thead {
                tr {
                    th scope="col" { "Parameter" }
                    th scope="col" { "In" }
                    th scope="col" { "Is" }
                    th scope="col" { "Meaning" }
                }
            }
            tbody {
                @for parameter in operation.parameters {
                    tr {
                        th scope="row" { code { (parameter.name) } }
                        td { @if parameter.place == Place::Path { "path" } @else { "query" } }
                        td { (kind(parameter.kind)) }
                        td { (parameter.about) }
                    }
                }
                @if operation.once {
                    tr {
                        th scope="row" { code { "Idempotency-Key" } }
                        td { "header" }
                        td { "UUID/SEQUENCE, or a word" }
                        td { "Repeating the request with it has one effect." }
                    }
                }
            }
        }
    };
    scrolling(&format!("Parameters of {}", operation.id), &table)
}

/// What a parameter may be, in words.
fn kind(kind: Kind) -> String {
    match kind {
        Kind::Text | Kind::Form(..) => "text".to_owned(),
        Kind::Number(least, u64::MAX) => format!("number from {least}"),
        Kind::Number(least, most) => format!("number, {least} to {most}"),
        Kind::Flag => "true or false".to_owned(),
        Kind::Word(words) => words.join(", "),
    }
}

/// The schema of the body that a route takes.
fn request_schema(route: &Route) -> Option<&'static Value> {
    described(route)?.pointer("/requestBody/content/application~1json/schema")
}

/// An answer in words, with its shape.
fn answer(route: &Route, given: &Given) -> Markup {
    let status = given.status;
    let place = format!("/responses/{status}/content/application~1json/schema");
    let schema = described(route).and_then(|described| described.pointer(&place));
    html! {
        b { (status) } " " (given.about) " " (shape(&given.shape, schema))
    }
}

/// The shape of a body: a link to its schema, or its members.
fn shape(shape: &Shape, schema: Option<&Value>) -> Markup {
    let name = schema.and_then(|schema| schema.get("$ref")?.as_str()?.rsplit('/').next());
    html! {
        @match (shape, name) {
            (Shape::Text(media_type), _) => { code { (media_type) } }
            (_, Some(name)) => { a href={ "#schema-" (name) } { code { (name) } } }
            (Shape::Fields(fields), _) => {
                "an object with "
                @for (at, (name, kinds, _)) in fields.iter().enumerate() {
                    @if at > 0 { ", " }
                    code { (name) } " (" (kinds.replace('|', " or ")) ")"
                }
            }
            (Shape::Of(_), None) => { pre { code { (schema.map(pretty).unwrap_or_default()) } } }
        }
    }
}

/// A command that asks an operation.
fn command(route: &Route, operation: &Operation, address: &str) -> String {
    let mut path = path_of(route);
    let mut query = form_urlencoded::Serializer::new(String::new());
    for Parameter { name, place, example, .. } in operation.parameters {
        let Some(example) = example else { continue };
        match place {
            Place::Path => path = path.replace(&format!("{{{name}}}"), example),
            Place::Query => {
                query.append_pair(name, example);
            }
        }
    }
    let query = query.finish();
    let question = if query.is_empty() { "" } else { "?" };
    let method = match route.method().as_str() {
        "GET" => String::new(),
        method => format!(" -X {method}"),
    };
    let once = if operation.once { " -H 'Idempotency-Key: WORD'" } else { "" };
    let body = operation.takes.map_or_else(String::new, |taken| {
        format!(" -H 'Content-Type: application/json' -d '{}'", taken.example)
    });
    format!("curl{method} 'http://{address}{path}{question}{query}'{once}{body}")
}

/// What the codes of refusals mean.
fn codes() -> Markup {
    let table = html! {
        table.rows {
            caption.unseen { "Codes of refusals" }
            thead {
                tr {
                    th scope="col" { "Code" }
                    th.number scope="col" { "Status" }
                    th scope="col" { "Meaning" }
                    th scope="col" { "What to do" }
                }
            }
            tbody {
                @for code in Code::ALL {
                    tr id=(code.as_str()) {
                        th scope="row" { code { (code.as_str()) } }
                        td.number { (code.status().as_u16()) }
                        td { (code.title()) }
                        td { (code.action()) }
                    }
                }
            }
        }
    };
    html! {
        section.card.wide #codes aria-label="Codes of refusals" {
            h2 { "Codes of refusals" }
            (scrolling("Codes of refusals", &table))
        }
    }
}

/// All schemas.
fn schemas() -> Markup {
    let all = document().pointer("/components/schemas").and_then(Value::as_object);
    html! {
        section.card.wide #schemas aria-label="Schemas" {
            h2 { "Schemas" }
            @for (name, schema) in all.into_iter().flatten() {
                article id={ "schema-" (name) } {
                    h3 { code { (name) } }
                    pre { code { (pretty(schema)) } }
                }
            }
        }
    }
}

/// JSON on several lines.
fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation is on the page with a command that asks it, and every link leads to a place
    /// of the page or to the document.
    #[test]
    fn every_operation_is_shown() {
        let text = screen("127.0.0.1:7610").into_string();
        for route in ROUTES {
            let operation = route.operation().expect("described");
            let command = command(route, operation, "127.0.0.1:7610");
            let command = html! { (command) }.into_string();
            assert!(text.contains(&format!("id=\"{}\"", operation.id)), "{}", route.path());
            assert!(text.contains(&command), "{command}");
            assert!(!command.contains('{') || operation.takes.is_some(), "{command}");
        }
        for link in text.split(" href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(text.contains(&format!("id=\"{link}\"")), "#{link} leads nowhere");
        }
        for code in Code::ALL {
            assert!(text.contains(code.action()) || code.action().contains('`'), "{code:?}");
        }
    }
}
