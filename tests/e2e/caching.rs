//! Public reads: validators, encodings and cache headers on every one, and numbers that agree with the books.

use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, Client, id, small_event};
use crate::server::Server;
use crate::socket::unpacked;

fn decoded(answer: &Answer) -> Vec<u8> {
    let mut plain = Vec::new();
    match answer.header("content-encoding") {
        None => plain.clone_from(&answer.body),
        Some("gzip") => drop(flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut plain).unwrap()),
        Some("br") => drop(brotli::Decompressor::new(&answer.body[..], 4096).read_to_end(&mut plain).unwrap()),
        Some("zstd") => plain = zstd::stream::decode_all(&answer.body[..]).unwrap(),
        Some(other) => panic!("nobody asked for {other}"),
    }
    plain
}

/// Checks validators, encodings and headers of one public answer.
#[track_caller]
fn is_cacheable(client: &Client, path: &str, accept: &str) {
    let ask = |headers: &[(&str, &str)]| client.get_with(path, &[&[("Accept", accept)], headers].concat());
    let plain = ask(&[]);
    assert_eq!(plain.status, 200, "{path}");
    let tag = plain.header("etag").unwrap_or_else(|| panic!("{path}: no ETag")).to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{path}: {tag} is not strong");
    let cache = plain.header("cache-control").unwrap().to_owned();
    assert!(cache.starts_with("public"), "{path}: {cache}");
    assert!(plain.header("vary").unwrap().to_lowercase().contains("accept-encoding"), "{path}");
    let head = client.send("HEAD", path, &[("Accept", accept)], None);
    assert_eq!((head.status, head.header("etag"), head.body.len()), (200, Some(tag.as_str()), 0), "{path}");

    let list = format!("\"other\", {tag}");
    let weak = format!("W/{tag}");
    for known in [tag.as_str(), list.as_str(), weak.as_str(), "*"] {
        let answer = ask(&[("If-None-Match", known)]);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{path} {known}");
        assert_eq!(answer.header("etag"), Some(tag.as_str()), "{path}");
        assert_eq!(answer.header("cache-control"), Some(cache.as_str()), "{path}");
        assert!(answer.header("vary").is_some() && answer.header("x-request-id").is_some(), "{path}");
    }
    for unknown in ["\"other\"", "rubbish", "", "\"", "W/"] {
        assert_eq!(ask(&[("If-None-Match", unknown)]).status, 200, "{path} {unknown}");
    }
    let mut tags = vec![tag];
    for encoding in ["gzip", "br", "zstd"] {
        let answer = ask(&[("Accept-Encoding", encoding)]);
        assert_eq!(decoded(&answer), plain.body, "{path} {encoding}");
        if answer.header("content-encoding").is_some() {
            assert!(answer.body.len() < plain.body.len(), "{path} {encoding}");
            let tag = answer.header("etag").unwrap().to_owned();
            assert!(!tags.contains(&tag), "{path}: bytes that differ have tags that differ");
            assert_eq!(ask(&[("Accept-Encoding", encoding), ("If-None-Match", &tag)]).status, 304, "{path} {encoding}");
            tags.push(tag);
        }
    }
    let none = ask(&[("Accept-Encoding", "identity;q=0, compress")]);
    none.expect_problem(406, "not_acceptable");
    for odd in ["", "rubbish;;q=,", "gzip;q=2", "*;q=0.5"] {
        let answer = ask(&[("Accept-Encoding", odd)]);
        assert_eq!((answer.status, decoded(&answer)), (200, plain.body.clone()), "{path} {odd}");
    }
}

#[test]
fn every_public_answer_is_fit_for_caches() {
    let server = Server::start();
    let organizer = server.organizer();
    let mut big = small_event("gig");
    let rows = json!({"id": "C", "kind": "seated", "price": 4500, "rows": 40, "seats_per_row": 50});
    big["blocks"].as_array_mut().unwrap().push(rows);
    organizer.post("/v1/events", &big).expect(201);
    server.customer("ann").hold("gig", "C", &["1-1", "1-2"]);
    let client = server.client();
    for path in [
        "/v1/events",
        "/v1/events?limit=1",
        "/v1/events/gig",
        "/v1/events/gig/availability",
        "/v1/events/gig/blocks/C/layout",
        "/v1/events/gig/blocks/FLOOR/layout",
        "/v1/events/gig/blocks/C/seats",
        "/v1/events/gig/blocks/FLOOR/seats",
    ] {
        is_cacheable(&client, path, "application/json");
    }
    is_cacheable(&client, "/v1/events/gig/blocks/C/seats", "application/octet-stream");
    for encoding in ["gzip", "br", "zstd"] {
        let layout = client.get_with("/v1/events/gig/blocks/C/layout", &[("Accept-Encoding", encoding)]);
        assert_eq!(layout.header("content-encoding"), Some(encoding));
    }
    let layout = client.get("/v1/events/gig/blocks/C/layout");
    assert!(layout.header("cache-control").unwrap().contains("immutable"));
    let keys = client.get("/v1/keys");
    assert!(keys.header("cache-control").unwrap().starts_with("public"));
}

#[test]
fn a_tag_is_good_until_something_changes() {
    let server = Server::shared();
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event("tags")).expect(201);
    let ann = server.customer("tags-ann");
    let paths = ["/v1/events/tags", "/v1/events/tags/availability", "/v1/events/tags/blocks/A/seats"];
    let tag = |path: &str| ann.get(path).header("etag").unwrap().to_owned();
    let before = paths.map(tag);
    assert_eq!(paths.map(tag), before);
    ann.hold("tags", "A", &["1-1", "1-2"]);
    let after = paths.map(tag);
    assert_eq!(after[0], before[0], "a hold does not change the description");
    assert!(after[1] != before[1] && after[2] != before[2]);
    for (path, old) in paths[1..].iter().zip(&before[1..]) {
        assert_eq!(ann.get_with(path, &[("If-None-Match", old)]).status, 200, "{path}");
    }
    organizer.patch("/v1/events/tags", &json!({"name": "Other"})).expect(200);
    assert_ne!(tag(paths[0]), before[0]);
}

/// What the three public and private views say about block A, each as (free, held, sold, blocked).
fn views(organizer: &Client, event: &str) -> [(u64, u64, u64, u64); 4] {
    let now = organizer.get(&format!("/v1/events/{event}/availability")).expect(200);
    let block = &now["blocks"][0];
    let number = |name: &str| block[name].as_u64().unwrap();
    let told = (number("free"), number("held"), number("sold"), number("blocked"));

    let states = organizer.ledger(event).into_iter().filter(|line| line["block"] == "A");
    let states: Vec<String> = states.map(|line| line["state"].as_str().unwrap().to_owned()).collect();
    let of = |wanted: &[&str]| states.iter().filter(|state| wanted.contains(&state.as_str())).count() as u64;
    let booked = (40 - states.len() as u64, of(&["held", "bound"]), of(&["sold"]), of(&["blocked"]));

    let path = format!("/v1/events/{event}/blocks/A/seats");
    let bytes = organizer.get_with(&path, &[("Accept", "application/octet-stream")]);
    assert_eq!((bytes.header("content-type"), bytes.body.len()), (Some("application/octet-stream"), 10));
    let text = organizer.get(&path).expect(200);
    assert_eq!(bytes.header("x-block-seq").unwrap(), text["seq"].to_string());
    let count = |bytes: &[u8]| {
        let seats = unpacked(bytes, 40);
        let of = |state: u8| seats.iter().filter(|seat| **seat == state).count() as u64;
        (of(0), of(1), of(2), of(3))
    };
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(text["seats"].as_str().unwrap()).unwrap();
    [told, booked, count(&bytes.body), count(&decoded)]
}

#[test]
fn availability_ledger_and_seats_agree_after_every_step() {
    let server = Server::shared();
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event("agree")).expect(201);
    let (ann, bob) = (server.customer("agree-ann"), server.customer("agree-bob"));
    let agree = |free, held, sold, blocked| {
        // A public answer may be out of date by one interval between two renderings.
        let (expected, began) = ([(free, held, sold, blocked); 4], Instant::now());
        while views(&organizer, "agree") != expected {
            assert!(began.elapsed() < Duration::from_secs(5), "{:?} and not {expected:?}", views(&organizer, "agree"));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    agree(40, 0, 0, 0);
    let hold = ann.hold("agree", "A", &["1-1", "1-2"]);
    agree(38, 2, 0, 0);
    let paid = bob.buy("agree", "A", &["2-1", "2-2", "2-3"]);
    agree(35, 2, 3, 0);
    ann.delete(&format!("/v1/holds/{}", id(&hold))).expect(200);
    agree(37, 0, 3, 0);
    organizer.post("/v1/events/agree/blocks/A/block-seats", &json!({"seats": ["4-1", "4-2"]})).expect(200);
    agree(35, 0, 3, 2);
    let failed = ann.order(&ann.hold("agree", "A", &["3-1", "3-2"]), "tok_declined");
    ann.await_state(id(&failed), "payment_failed");
    agree(33, 2, 3, 2);
    ann.post(&format!("/v1/orders/{}/cancel", id(&failed)), &json!({})).expect(200);
    organizer.post(&format!("/v1/orders/{}/refund", id(&paid)), &json!({})).expect(202);
    bob.await_state(id(&paid), "refunded");
    ann.await_that("/v1/events/agree/availability", |now| now.json()["blocks"][0]["free"] == 38);
    agree(38, 0, 0, 2);
    organizer.post("/v1/events/agree/blocks/A/unblock-seats", &json!({"seats": ["4-1", "4-2"]})).expect(200);
    agree(40, 0, 0, 0);
    assert_eq!(organizer.ledger("agree"), Vec::<Value>::new());
    let total = ann.get("/v1/events/agree/availability").expect(200);
    assert_eq!((&total["free"], &total["status"]), (&json!(110), &json!("on_sale")));
}

#[test]
fn unknown_things_are_not_found_and_other_methods_not_allowed() {
    let server = Server::shared();
    server.organizer().post("/v1/events", &small_event("there")).expect(201);
    let client = server.client();
    for rest in ["", "/availability", "/blocks/A/layout", "/blocks/A/seats"] {
        client.get(&format!("/v1/events/nowhere{rest}")).expect_problem(404, "unknown_event");
    }
    for rest in ["layout", "seats"] {
        client.get(&format!("/v1/events/there/blocks/Z/{rest}")).expect_problem(404, "unknown_block");
    }
    for path in
        ["/v1", "/v2/events", "/v1/events/", "/v1/events/there/", "/v1/holds", "/admin", "/v1/webhook-endpoints"]
    {
        client.get(path).expect_problem(404, "not_found");
    }
    let wrong = client.send("PUT", "/v1/events/there", &[], Some(b"{}"));
    assert_eq!(wrong.header("allow"), Some("GET, PATCH, HEAD"));
    wrong.expect_problem(405, "method_not_allowed");
    client.send("DELETE", "/v1/events", &[], None).expect_problem(405, "method_not_allowed");
    client.get("/v1/tickets/check-in").expect_problem(405, "method_not_allowed");
    for bad in ["limit=0", "limit=1001", "limit=ten"] {
        client.get(&format!("/v1/events?{bad}")).expect_problem(422, "invalid_request");
    }
}
