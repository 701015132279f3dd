//! The document says what the server does: every route, every code, nothing else.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;

fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.filter(|key| *key != "parameters").map(|method| (path.clone(), method.clone()))
    });
    methods.collect()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let described = serde_json::to_value(Described::openapi()).unwrap();
    let routes = ROUTES.iter().map(|route| (route.path.to_owned(), route.method.to_owned())).collect();
    assert_eq!(operations(&described), routes);
}

#[test]
fn every_operation_is_complete() {
    let document = document();
    let mut ids = BTreeSet::new();
    for route in ROUTES {
        let operation = &document["paths"][route.path][route.method];
        let what = format!("{} {}", route.method, route.path);
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{what}: the id is unique");
        assert!(operation["summary"].is_string(), "{what}: has a summary");
        assert!(operation["tags"].is_array(), "{what}: has a tag");
        assert_eq!(operation["security"].as_array().unwrap().is_empty(), route.who == Who::Open, "{what}");
        let responses = operation["responses"].as_object().unwrap();
        let successes = responses.keys().filter(|status| !status.starts_with(['4', '5'])).count();
        assert!(successes > 0, "{what}: can succeed");
        for code in route.codes {
            let response = &responses[&code.status().as_u16().to_string()];
            assert!(response.to_string().contains(&format!("\"{}\"", code.name())), "{what}: {}", code.name());
        }
        let has_body = !operation["requestBody"].is_null();
        assert!(!has_body || matches!(route.method, "post" | "patch"), "{what}");
        let parameters: Vec<&str> = operation["parameters"]
            .as_array()
            .map(|all| all.iter().filter(|p| p["in"] == "path").filter_map(|p| p["name"].as_str()).collect())
            .unwrap_or_default();
        let in_path: Vec<&str> =
            route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(parameters, in_path, "{what}: every parameter of the path is described");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_code_can_be_met_somewhere() {
    // The codes that are no operation's: what answers where no route is, and the name that is kept for waiting rooms.
    let elsewhere = [Code::NotFound, Code::MethodNotAllowed, Code::AdmissionRequired];
    let text = document()["paths"].to_string();
    for code in Code::ALL.iter().filter(|code| !elsewhere.contains(code)) {
        assert!(text.contains(&format!("\"{}\"", code.name())), "{} is documented nowhere", code.name());
    }
}

#[test]
fn it_is_openapi_3_1() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["components"]["schemas"]["Problem"]["properties"]["errors"].is_object());
    assert!(document["components"]["securitySchemes"]["customer"].is_object());
}
