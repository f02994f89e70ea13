//! The document is whole: each route, parameter, body and refusal, and nothing that dangles.

use std::collections::BTreeSet;

use super::*;

/// All values below one, itself included.
fn all(value: &Value) -> Vec<&Value> {
    let mut found = vec![value];
    match value {
        Value::Array(values) => found.extend(values.iter().flat_map(all)),
        Value::Object(values) => found.extend(values.values().flat_map(all)),
        _ => {}
    }
    found
}

fn described(route: &Route) -> &'static Value {
    super::described(route).unwrap_or_else(|| panic!("{} is not in it", route.path()))
}

/// Each route of the table is described, in words, under a name of its own.
#[test]
fn every_route_is_described() {
    let mut ids = BTreeSet::new();
    for route in ROUTES {
        let name = format!("{} {}", route.method(), route.path());
        let operation = route.operation().unwrap_or_else(|| panic!("{name} is not described"));
        assert!(described(route).is_object(), "{name}");
        assert!(ids.insert(operation.id), "{name}: {} is named twice", operation.id);
        assert!(operation.summary.ends_with('.') && operation.about.ends_with('.'), "{name}");
        assert!(!operation.answers.is_empty(), "{name}");
    }
    let paths = document()["paths"].as_object().expect("an object");
    let operations: usize = paths.values().map(|path| path.as_object().map_or(0, Map::len)).sum();
    assert_eq!(operations, ROUTES.len(), "nothing else is in it");
}

/// The parameters of a path are those of its text; each parameter has its words, once.
#[test]
fn every_parameter_is_described() {
    for route in ROUTES {
        let operation = route.operation().expect("described");
        let in_text: Vec<String> = path_of(route)
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}').map(str::to_owned))
            .collect();
        let in_path: Vec<&str> = operation
            .parameters
            .iter()
            .filter(|parameter| parameter.place == Place::Path)
            .map(|parameter| parameter.name)
            .collect();
        assert_eq!(in_path, in_text, "{}", route.path());
        let names: BTreeSet<&str> = operation.parameters.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), operation.parameters.len(), "{}", route.path());
        for parameter in operation.parameters {
            assert!(parameter.about.ends_with('.'), "{} {}", route.path(), parameter.name);
        }
    }
}

/// A body is described exactly where one is taken, with an example that is JSON.
#[test]
fn every_body_is_described() {
    for route in ROUTES {
        let operation = route.operation().expect("described");
        assert_eq!(operation.takes.is_some(), route.takes() == Takes::Json, "{}", route.path());
        if let Some(taken) = operation.takes {
            let example: Value = serde_json::from_str(taken.example).expect("an example is JSON");
            assert!(example.is_object(), "{}", route.path());
            let content = &described(route)["requestBody"]["content"]["application/json"];
            assert!(content["schema"].is_object() && content["example"] == example);
        }
    }
}

/// Every operation says how it refuses, and every refusal is a problem.
#[test]
fn every_refusal_is_described() {
    for route in ROUTES {
        let operation = route.operation().expect("described");
        let responses = described(route)["responses"].as_object().expect("an object");
        for code in codes_of(route, operation) {
            let status = code.status().as_u16();
            let response = &responses[&status.to_string()];
            let own = operation.answers.iter().any(|given| given.status == status);
            let problem = &response["content"][PROBLEM]["schema"]["$ref"];
            assert!(own || problem == "#/components/schemas/Problem", "{} {status}", route.path());
        }
        for status in ["400", "403"] {
            assert!(responses.contains_key(status), "{}", route.path());
        }
        if route.takes() == Takes::Json {
            for status in ["408", "413", "415"] {
                assert!(responses.contains_key(status), "{}", route.path());
            }
        }
        if route.when() != When::Always {
            assert!(responses.contains_key("503"), "{}", route.path());
        }
    }
}

/// Each schema that is named is there, and each that is there is named; members have descriptions.
#[test]
fn nothing_dangles() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().expect("an object");
    let mut named = BTreeSet::new();
    for value in all(document) {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else { continue };
        let name = reference.strip_prefix("#/components/schemas/").expect("of this document");
        assert!(schemas.contains_key(name), "{name} is named and not there");
        named.insert(name.to_owned());
    }
    let there: BTreeSet<String> = schemas.keys().cloned().collect();
    assert_eq!(named, there);
    for (name, schema) in schemas {
        let Some(members) = schema["properties"].as_object() else { continue };
        for (member, schema) in members {
            assert!(schema["description"].is_string(), "{name}.{member} has no description");
        }
    }
}

/// The document is the same each time that it is made.
#[test]
fn the_document_is_stable() {
    let (one, other) = (build().to_string(), build().to_string());
    assert_eq!(one, other);
    assert!(one.contains("\"openapi\":\"3.1.0\""));
}
