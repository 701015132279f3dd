//! Who may do what: every protected operation of the documents with every kind of wrong credential.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::client::{Answer, Client, small_event, token, token_with};
use crate::server::{SECRET, Server};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Asks every documented operation that these callers may use, with some made-up ids and an empty object as the body.
fn ask_all(client: &Client, document: &Value, wanted: impl Fn(&[&str]) -> bool) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schemes = operation["security"].as_array().unwrap().iter();
            let schemes: Vec<&str> =
                schemes.flat_map(|one| one.as_object().unwrap().keys().map(String::as_str)).collect();
            if !wanted(&schemes) {
                continue;
            }
            let place = |path: &str| path.replace("{event}", "gig").replace("{block}", "A").replace(['{', '}'], "");
            let method = method.to_uppercase();
            let body = (method == "POST" || method == "PATCH").then_some(&b"{}"[..]);
            answers.push((format!("{method} {path}"), client.send(&method, &place(path), &[], body)));
        }
    }
    answers
}

#[test]
fn every_protected_operation_wants_to_know_who_asks() {
    let server = Server::shared();
    let client = server.client();
    let document = client.get("/openapi.json").expect(200);
    let protected = |schemes: &[&str]| !schemes.is_empty();
    let hour = now() + 3600;
    let signed = |algorithm: Algorithm, secret: &str| {
        let claims = json!({"sub": "eve", "exp": hour});
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let by_hand = |header: Value, claims: Value| {
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    let credentials = [
        ("missing", None),
        ("expired", Some(token_with(&json!({"sub": "eve", "exp": now() - 3600})))),
        ("not_yet_valid", Some(token_with(&json!({"sub": "eve", "exp": hour, "nbf": now() + 1800})))),
        ("malformed", Some(token_with(&json!({"sub": "eve"})))),
        ("malformed", Some(token_with(&json!({"exp": hour})))),
        ("malformed", Some(token_with(&json!({"sub": "two words", "exp": hour})))),
        ("malformed", Some(token_with(&json!({"sub": "e".repeat(129), "exp": hour})))),
        ("malformed", Some(token_with(&json!({"sub": 7, "exp": "tomorrow"})))),
        ("malformed", Some("x".repeat(5000))),
        ("malformed", Some("a.b.c".to_owned())),
        ("bad_signature", Some(signed(Algorithm::HS256, "another secret that is long enough"))),
        ("wrong_algorithm", Some(signed(Algorithm::HS512, SECRET))),
        ("wrong_algorithm", Some(by_hand(json!({"alg": "none", "typ": "JWT"}), json!({"sub": "eve", "exp": hour})))),
        ("unknown_key", Some("sk_00000000000000000000000000000000".to_owned())),
    ];
    for (reason, bearer) in credentials {
        let client = bearer.as_deref().map_or(client.anonymous(), |bearer| client.with_bearer(bearer));
        // The reason is the same everywhere, so one operation is enough for most.
        let all = reason == "missing" || reason == "expired";
        let answers = ask_all(&client, &document, |schemes| protected(schemes) && (all || schemes.len() == 2));
        assert!(!answers.is_empty());
        for (operation, answer) in answers {
            assert!(answer.header("www-authenticate").is_some_and(|how| how.starts_with("Bearer")), "{operation}");
            let problem = answer.expect_problem(401, "unauthenticated");
            assert_eq!(problem["reason"], reason, "{operation} {bearer:?}");
        }
    }
    for scheme in ["Basic YTpi", "Bearer", "Bearer ", "bearer", "Token x"] {
        let answer = client.get_with("/v1/orders", &[("Authorization", scheme)]);
        answer.expect_problem(401, "unauthenticated");
    }
    let lower = format!("bearer {}", token("access-ann"));
    client.get_with("/v1/orders", &[("authorization", &lower)]).expect(200);
}

#[test]
fn customers_do_not_sell_and_organizers_do_not_buy() {
    let server = Server::shared();
    let document = server.client().get("/openapi.json").expect(200);
    let sellers = ask_all(&server.customer("access-bob"), &document, |schemes| schemes == ["organizer"]);
    assert!(sellers.len() > 10);
    for (_, answer) in sellers {
        answer.expect_problem(403, "organizer_required");
    }
    let buyers = ask_all(&server.organizer(), &document, |schemes| schemes == ["customer"]);
    assert!(buyers.len() > 6);
    for (_, answer) in buyers {
        answer.expect_problem(403, "customer_required");
    }
    let open = ask_all(&server.client(), &document, |schemes| schemes.is_empty());
    assert!(open.iter().all(|(_, answer)| answer.status != 401 && answer.status != 403));
}

#[test]
fn an_identity_provider_may_sign_with_its_own_keys() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let public = URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes());
    let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "one", "x": public}]});
    std::fs::write(&file, jwks.to_string()).unwrap();
    let setting = format!("auth.jwks_file={}", file.display());
    let server = Server::start_with(&[&setting, "auth.issuer=https://id.example", "auth.audience=stampede"]);
    let signed = |header: Value, claims: &Value| {
        let parts = [header.to_string(), claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
        let message = parts.join(".");
        let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).to_bytes());
        format!("{message}.{signature}")
    };
    let header = json!({"alg": "EdDSA", "kid": "one"});
    let claims = json!({"sub": "ann", "exp": now() + 60, "iss": "https://id.example", "aud": ["x", "stampede"]});
    let ask = |token: &str| server.client().with_bearer(token).get("/v1/orders");
    ask(&signed(header.clone(), &claims)).expect(200);
    let with = |name: &str, value: Value| {
        let mut other = claims.clone();
        other[name] = value;
        other
    };
    for (reason, token) in [
        ("wrong_issuer", signed(header.clone(), &with("iss", json!("https://evil.example")))),
        ("wrong_audience", signed(header.clone(), &with("aud", json!("other")))),
        ("wrong_audience", signed(header.clone(), &with("aud", Value::Null))),
        ("unknown_key", signed(json!({"alg": "EdDSA", "kid": "two"}), &claims)),
        ("wrong_algorithm", signed(json!({"alg": "HS256", "kid": "one"}), &claims)),
    ] {
        assert_eq!(ask(&token).expect_problem(401, "unauthenticated")["reason"], reason);
    }
    ask(&token_with(&claims)).expect(200);
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let server = Server::start_with(&["limits.customer=1/min", "limits.customer_burst=2"]);
    server.organizer().post("/v1/events", &small_event("gig")).expect(201);
    let (ann, bob) = (server.customer("ann"), server.customer("bob"));
    let ask = |client: &Client| client.post("/v1/events/gig/holds", &json!({"block": "FLOOR", "quantity": 1}));
    let first = ask(&ann);
    assert!(first.header("ratelimit").unwrap().contains("r=1"), "{:?}", first.headers);
    assert!(first.header("ratelimit-policy").unwrap().contains("q=2"));
    first.expect(201);
    ask(&ann).expect(201);
    let over = ask(&ann);
    let wait: u64 = over.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let problem = over.expect_problem(429, "rate_limited");
    assert!(problem["retry_after_ms"].as_u64().unwrap() <= 60_000);
    let key = [("Idempotency-Key", "k")];
    let body = br#"{"block":"FLOOR","quantity":1}"#;
    ann.send("POST", "/v1/events/gig/holds", &key, Some(body)).expect_problem(429, "rate_limited");
    ask(&bob).expect(201);
    ann.get("/v1/orders").expect(200);
}
