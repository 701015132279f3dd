//! Public reads over real sockets, byte by byte.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::web;
use actix_web::{App, HttpServer};
use actors::block::SeatState;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::board::Silent;
use crate::board::fixture::{self, EVENT, Owner, StoppedClock, description, opening, seated, standing};
use crate::encoding::Encoding;

struct Node {
    board: Arc<Board>,
    clock: StoppedClock,
    address: SocketAddr,
    handle: ServerHandle,
}

struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

impl Node {
    fn start() -> Self {
        let (board, clock) = fixture::board(Arc::new(Silent));
        board.publish(opening(&description(EVENT, vec![seated("A", 25, 40), standing("FLOOR", 5000)])));
        let board = Arc::new(board);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let data = Data::from(board.clone());
        let server = HttpServer::new(move || {
            let read =
                || web::route().guard(actix_web::guard::Any(actix_web::guard::Get()).or(actix_web::guard::Head()));
            App::new()
                .app_data(data.clone())
                .route("/v1/events", read().to(list))
                .route("/v1/events/{event}", read().to(event))
                .route("/v1/events/{event}/availability", read().to(availability))
                .route("/v1/events/{event}/blocks/{block}/layout", read().to(layout))
                .route("/v1/events/{event}/blocks/{block}/seats", read().to(seats))
        });
        let server = server.workers(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { board, clock, address, handle }
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&answer[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers =
            lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Answer { status, headers: headers.collect(), body: answer[end + 4..].to_vec() }
    }

    async fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask("GET", path, headers).await
    }

    async fn stop(self) {
        self.handle.stop(false).await;
    }
}

const AVAILABILITY: &str = "/v1/events/aurora/availability";
const SEATS: &str = "/v1/events/aurora/blocks/A/seats";
const LAYOUT: &str = "/v1/events/aurora/blocks/A/layout";

#[actix_web::test]
async fn an_answer_is_kept_by_its_etag_until_something_changes() {
    let node = Node::start();
    let mut owner = Owner::new("A", 1000);
    let first = node.get(AVAILABILITY, "").await;
    assert_eq!((first.status, first.header("content-type")), (200, "application/json"));
    assert_eq!(first.json()["free"], 6000);
    assert_eq!((first.header("vary"), first.header("content-encoding")), ("Accept-Encoding", ""));
    assert!(first.header("cache-control").contains("s-maxage=1"));

    let known = format!("if-none-match: {}\r\n", first.header("etag"));
    let again = node.get(AVAILABILITY, &known).await;
    assert_eq!((again.status, again.header("etag"), again.body.len()), (304, first.header("etag"), 0));
    assert_eq!(again.header("cache-control"), first.header("cache-control"));
    let zipped = node.get(AVAILABILITY, &format!("{known}accept-encoding: gzip\r\n")).await;
    assert_eq!(zipped.status, 304, "who has it in one encoding has it");

    node.board.publish(vec![owner.set([0], SeatState::Held)]);
    node.clock.advance(actors::time::Span(50));
    let changed = node.get(AVAILABILITY, &known).await;
    assert_eq!((changed.status, changed.json()["free"].clone()), (200, json!(5999)));
    assert_ne!(changed.header("etag"), first.header("etag"));
    node.stop().await;
}

#[actix_web::test]
async fn every_encoding_is_sent_as_it_was_finished() {
    let node = Node::start();
    let finished = node.board.layout(&EVENT.into(), &"A".into()).unwrap();
    let mut etags = Vec::new();
    for (accept, encoding, name) in [
        ("", Encoding::Identity, ""),
        ("accept-encoding: gzip\r\n", Encoding::Gzip, "gzip"),
        ("accept-encoding: br;q=0.9, gzip;q=0.1\r\n", Encoding::Br, "br"),
        ("accept-encoding: deflate\r\naccept-encoding: zstd\r\n", Encoding::Zstd, "zstd"),
    ] {
        let answer = node.get(LAYOUT, accept).await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, name));
        let variant = finished.variant(encoding);
        assert_eq!((answer.header("etag"), &answer.body[..]), (variant.etag.as_str(), &variant.body[..]));
        assert!(answer.header("cache-control").contains("immutable"));
        etags.push(answer.header("etag").to_owned());
    }
    etags.sort();
    etags.dedup();
    assert_eq!(etags.len(), 4, "one ETag an encoding");
    let none = node.get(LAYOUT, "accept-encoding: identity;q=0, deflate\r\n").await;
    assert_eq!((none.status, none.json()["code"].clone()), (406, json!("not_acceptable")));
    node.stop().await;
}

#[actix_web::test]
async fn seats_are_json_or_bytes() {
    let node = Node::start();
    let mut owner = Owner::new("A", 1000);
    node.board.publish(vec![owner.set([1], SeatState::Blocked), owner.set([4], SeatState::Sold)]);
    let json = node.get(SEATS, "").await;
    assert_eq!((json.header("content-type"), json.header("x-block-seq")), ("application/json", "2"));
    assert_eq!(json.header("vary"), "Accept, Accept-Encoding");
    assert!(json.json()["seats"].as_str().unwrap().starts_with("DAIA"));
    let bytes = node.get(SEATS, "accept: application/octet-stream\r\n").await;
    assert_eq!((bytes.header("content-type"), bytes.header("x-block-seq")), ("application/octet-stream", "2"));
    assert_eq!((bytes.body.len(), &bytes.body[..3]), (250, &[0b1100, 0b10, 0][..]));
    for prefers_json in
        ["*/*", "application/json", "text/html, */*;q=0.8", "application/octet-stream;q=0.5, application/json"]
    {
        let answer = node.get(SEATS, &format!("accept: {prefers_json}\r\n")).await;
        assert_eq!(answer.header("content-type"), "application/json", "{prefers_json}");
    }
    node.stop().await;
}

#[actix_web::test]
async fn a_head_has_the_headers_and_no_body() {
    let node = Node::start();
    for path in ["/v1/events", "/v1/events/aurora", AVAILABILITY, LAYOUT, SEATS] {
        let get = node.get(path, "").await;
        let head = node.ask("HEAD", path, "").await;
        assert_eq!((get.status, head.status, head.body.len()), (200, 200, 0), "{path}");
        for header in ["etag", "content-length", "content-type", "cache-control", "vary"] {
            assert_eq!(get.header(header), head.header(header), "{path} {header}");
        }
        assert_eq!(get.header("content-length"), get.body.len().to_string());
    }
    node.stop().await;
}

#[actix_web::test]
async fn what_is_not_there_is_named() {
    let node = Node::start();
    for (path, code) in [
        ("/v1/events/other", "unknown_event"),
        ("/v1/events/%FF%00", "unknown_event"),
        ("/v1/events/other/availability", "unknown_event"),
        ("/v1/events/other/blocks/A/seats", "unknown_event"),
        ("/v1/events/aurora/blocks/Z/seats", "unknown_block"),
        ("/v1/events/aurora/blocks/Z/layout", "unknown_block"),
    ] {
        let answer = node.get(path, "").await;
        assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"), "{path}");
        assert_eq!(answer.json()["code"], code, "{path}");
    }
    node.stop().await;
}

#[actix_web::test]
async fn the_list_has_pages() {
    let node = Node::start();
    node.board.publish(opening(&description("zenith", vec![seated("A", 1, 10)])));
    let page = node.get("/v1/events?limit=1", "").await.json();
    assert_eq!((&page["items"][0]["id"], &page["next"]), (&json!("aurora"), &json!("aurora")));
    let page = node.get("/v1/events?limit=1&after=aurora", "").await.json();
    assert_eq!((&page["items"][0]["id"], &page["next"]), (&json!("zenith"), &Value::Null));
    assert_eq!(node.get("/v1/events?limit=0", "").await.json()["code"], "invalid_request");
    node.stop().await;
}
