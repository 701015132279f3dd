//! Every answer that any test gets is held against `/openapi.json`: status, problem code and the shape of the body.
//!
//! It runs inside the client, so no test can meet an undocumented answer without failing. With `E2E_MET=FILE` every
//! documented answer that was met is appended there as `METHOD path status code`.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::client::Answer;

static DOCUMENT: Mutex<Option<Arc<Value>>> = Mutex::new(None);

/// Checks one answer. `fetch` reads the document; `None` when the server cannot be asked just now.
#[track_caller]
pub(crate) fn check(method: &str, path: &str, answer: &Answer, fetch: impl FnOnce() -> Option<Value>) {
    if answer.status == 0 || !path.starts_with("/v1/") {
        return;
    }
    let mut known = DOCUMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if known.is_none() {
        *known = fetch().map(Arc::new);
    }
    let Some(document) = known.clone() else { return };
    drop(known);
    let Some((template, operation)) = operation(&document, method, path) else {
        let unrouted = ["not_found", "method_not_allowed", "uri_too_long", "head_too_large"];
        let faults = path.starts_with("/v1/faults/");
        assert!(faults || method == "HEAD" || unrouted.contains(&answer.code().as_str()), "no route: {method} {path}");
        return;
    };
    let response = &operation["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{method} {template}: {} is not documented: {}", answer.status, answer.text());
    let mut code = String::new();
    let content = &response["content"];
    let kind = answer.header("content-type").unwrap_or_default();
    if kind.starts_with("application/problem+json") && !answer.body.is_empty() {
        code = answer.code();
        let codes = &content["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"];
        let listed = codes.as_array().is_some_and(|codes| codes.iter().any(|listed| *listed == code));
        assert!(listed, "{method} {template}: {code} is not among {codes}");
    } else if kind == "application/json" && method != "HEAD" && answer.header("content-encoding").is_none() {
        let schema = &content[kind]["schema"];
        if let Err(wrong) = fits(&document, schema, &answer.json(), "body") {
            panic!("{method} {template} {}: {wrong}: {}", answer.status, answer.text());
        }
    }
    note(&format!("{method} {template} {} {code}\n", answer.status));
}

fn note(line: &str) {
    let Ok(path) = std::env::var("E2E_MET") else { return };
    let file = std::fs::File::options().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the file of E2E_MET can be written");
}

/// The operation that a request is for, and its path as documented.
pub(crate) fn operation<'d>(document: &'d Value, method: &str, path: &str) -> Option<(&'d str, &'d Value)> {
    let path: Vec<&str> = path.split('?').next()?.split('/').collect();
    let method = if method == "HEAD" { "get".to_owned() } else { method.to_lowercase() };
    document["paths"].as_object()?.iter().find_map(|(template, methods)| {
        let parts: Vec<&str> = template.split('/').collect();
        let fits = parts.len() == path.len()
            && parts.iter().zip(&path).all(|(part, given)| part == given || part.starts_with('{') && !given.is_empty());
        let operation = methods.get(&method)?;
        fits.then_some((template.as_str(), operation))
    })
}

/// Whether a value has the shape of a schema: types, required and unknown fields. Only what the document uses.
pub(crate) fn fits(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str().and_then(|to| to.strip_prefix("#/components/schemas/")) {
        let named = &document["components"]["schemas"][name];
        if !named.is_object() {
            return Err(format!("{at}: no schema {name}"));
        }
        return fits(document, named, value, at);
    }
    for any in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[any].as_array() {
            let fit = choices.iter().any(|choice| fits(document, choice, value, at).is_ok());
            return if fit { Ok(()) } else { Err(format!("{at}: fits none of {choices:?}")) };
        }
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        return Err(format!("{at}: {value} is not among {values:?}"));
    }
    has_type(&schema["type"], value, at)?;
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (nth, item) in list.iter().enumerate() {
            fits(document, items, item, &format!("{at}[{nth}]"))?;
        }
    }
    let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object()) else { return Ok(()) };
    for (name, field) in fields {
        let described = properties.get(name).ok_or_else(|| format!("{at}.{name} is not documented"))?;
        fits(document, described, field, &format!("{at}.{name}"))?;
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match required.into_iter().find(|name| !fields.contains_key(*name)) {
        Some(missing) => Err(format!("{at}.{missing} is missing")),
        None => Ok(()),
    }
}

fn has_type(types: &Value, value: &Value, at: &str) -> Result<(), String> {
    let is = |name: &Value| match name.as_str() {
        Some("null") => value.is_null(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    };
    let fits = match types {
        Value::Null => true,
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    };
    if fits { Ok(()) } else { Err(format!("{at}: {value} is not of type {types}")) }
}
