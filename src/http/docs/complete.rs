//! Completes what the handlers say about themselves with what follows from the table of routes and codes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::super::problem::Code;
use super::super::routes::{Described, ROUTES, Route, Who};

/// Codes that any request may be answered with.
const ANY: &[Code] = &[Code::BadRequest, Code::UriTooLong, Code::HeadTooLarge, Code::Internal, Code::NotReady];
/// Codes of whatever asks a machine.
const ASKING: &[Code] = &[Code::Overloaded, Code::Unavailable, Code::OutcomeUnknown];
/// Codes of whatever has a body.
const WITH_BODY: &[Code] = &[
    Code::MalformedJson,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::InvalidRequest,
    Code::InvalidIdempotencyKey,
    Code::IdempotencyKeyReused,
    Code::IdempotencyInProgress,
];

/// What a key does, and where one is looked for.
const IDEMPOTENCY: &str = "Makes the request repeatable: the first answer is given again for 24 hours. The same key with another \
    body, or on another operation, is refused with `idempotency_key_reused` where the first use is known: the key is kept by \
    whatever decides the request, which is the block for a hold in a named block and for house seats, the event for changes of \
    it, and the customer's orders for everything else. Used for two of them, one key has two effects: make one for each request.";

/// The whole API as OpenAPI 3.1.
#[must_use]
pub(in crate::http) fn document() -> Value {
    let mut document = serde_json::to_value(Described::openapi()).expect("a description is JSON");
    document["openapi"] = json!("3.1.0");
    document["info"] = json!({
        "title": "Stampede",
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "The box office that a million people can storm at 10:00:00",
        "description": "Hold seats, buy them, follow what becomes of it. Errors are RFC 9457 problems with stable codes; see \
            `/docs/errors`. Every POST that changes something takes an `Idempotency-Key`.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    document["servers"] = json!([{"url": "/"}]);
    document["tags"] = json!([
        {"name": "Public", "description": "Anybody may read. Answers are made once per change and cacheable."},
        {"name": "Customers", "description": "With a customer's token."},
        {"name": "Organizers", "description": "With an organizer's key."},
        {"name": "Operations", "description": "For those who run it."},
    ]);
    for route in ROUTES {
        complete(&mut document["paths"][route.path][route.method], route);
    }
    let components = &mut document["components"];
    components["securitySchemes"] = json!({
        "customer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A customer's token: `sub` is the customer."},
        "organizer": {"type": "http", "scheme": "bearer", "bearerFormat": "sk_…", "description": "An organizer's API key."},
    });
    complete_problem(&mut components["schemas"]["Problem"]);
    document
}

fn complete(operation: &mut Value, route: &Route) {
    operation["operationId"] = json!(route.operation);
    operation["security"] = match route.who {
        Who::Open => json!([]),
        Who::Buyer => json!([{"customer": []}]),
        Who::Seller => json!([{"organizer": []}]),
        Who::Viewer => json!([{"customer": []}, {"organizer": []}]),
    };
    if route.method == "post" {
        push(
            &mut operation["parameters"],
            json!({
                "name": "Idempotency-Key", "in": "header", "required": false,
                "description": IDEMPOTENCY,
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }),
        );
    }
    for (status, codes) in by_status(route) {
        add_problem(&mut operation["responses"][status.to_string()], status, &codes);
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, response) in responses {
        add_headers(&mut response["headers"], status, route);
    }
}

/// The codes that an operation may be answered with, by status.
fn by_status(route: &Route) -> BTreeMap<u16, Vec<Code>> {
    let mut codes: Vec<Code> = [ANY, route.codes].concat();
    match route.who {
        Who::Open => {}
        Who::Buyer => codes.extend([Code::Unauthenticated, Code::CustomerRequired]),
        Who::Seller => codes.extend([Code::Unauthenticated, Code::OrganizerRequired]),
        Who::Viewer => codes.push(Code::Unauthenticated),
    }
    if route.who != Who::Open {
        codes.extend(ASKING);
    }
    if route.method != "get" {
        codes.push(Code::RateLimited);
    }
    if matches!(route.method, "post" | "patch") {
        codes.extend(WITH_BODY);
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        let same = by_status.entry(code.status().as_u16()).or_default();
        if !same.contains(&code) {
            same.push(code);
        }
    }
    by_status
}

fn add_problem(response: &mut Value, status: u16, codes: &[Code]) {
    let lines = codes.iter().map(|code| format!("- `{}`: {}", code.name(), code.meaning()));
    let names: Vec<&str> = codes.iter().map(|code| code.name()).collect();
    let title = if codes.len() == 1 { codes[0].title() } else { "One of these codes" };
    response["description"] = json!(format!("{title}\n\n{}", lines.collect::<Vec<_>>().join("\n")));
    response["content"]["application/problem+json"] = json!({
        "schema": {"allOf": [
            {"$ref": "#/components/schemas/Problem"},
            {"type": "object", "properties": {"code": {"type": "string", "enum": names}, "status": {"const": status}}},
        ]},
    });
}

fn add_headers(headers: &mut Value, status: &str, route: &Route) {
    let mut add = |name: &str, description: &str, kind: &str| {
        headers[name] = json!({"description": description, "schema": {"type": kind}});
    };
    add("x-request-id", "The request's id, yours if you sent one", "string");
    if matches!(status, "409" | "429" | "503") {
        add("Retry-After", "When trying again makes sense, in seconds", "integer");
    }
    if status == "401" {
        add("WWW-Authenticate", "How to authenticate", "string");
    }
    if route.method != "get" {
        add("RateLimit", "What is left of the limit, if there is one", "string");
        add("RateLimit-Policy", "The limit, if there is one", "string");
    }
    if route.method == "post" {
        add(
            "Idempotent-Replayed",
            "`true`: this is the first answer to a request with this key, given again",
            "string",
        );
    }
}

/// Adds the fields that only some codes have.
fn complete_problem(schema: &mut Value) {
    let names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    schema["description"] = json!("Every answer that is not a success (RFC 9457). Branch on `code`.");
    let Some(properties) = schema["properties"].as_object_mut() else { return };
    let text = |description: &str| json!({"type": "string", "description": description});
    let number = |description: &str| json!({"type": "integer", "description": description});
    let fields: Map<String, Value> = [
        ("code", json!({"type": "string", "enum": names, "description": "The stable code"})),
        ("seats", json!({"type": "array", "items": {"type": "string"}, "description": "The seats it is about, by name"})),
        ("most", number("The limit that would be passed")),
        ("on_sale_at", json!({"type": ["string", "null"], "format": "date-time", "description": "When the sale opens"})),
        ("at", json!({"type": "string", "format": "date-time", "description": "When it happened before"})),
        ("state", text("The order's state")),
        ("reason", text("Why, in a word or a few")),
        ("retry_after_ms", number("When trying again makes sense, in milliseconds")),
        ("errors", json!({"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}, "description": "Every field that breaks a rule"})),
    ]
    .map(|(name, schema)| (name.to_owned(), schema))
    .into_iter()
    .collect();
    properties.extend(fields);
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => *list = json!([item]),
    }
}

#[cfg(test)]
mod tests;
