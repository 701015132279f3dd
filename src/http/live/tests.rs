//! Live sessions over real sockets, with a client that is not ours. Every story that the connection's owner must make no
//! difference to is told of both.

#![allow(clippy::unwrap_used)]

pub(in crate::http) mod node;

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_http::{BoxedPayloadStream, Payload};
use actors::block::{SeatState, pack};
use actors::event::Sale;
use actors::feed::Feed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::session::BURST_MAX;
use super::*;
use crate::board::CHANGES_MAX;
use crate::board::fixture::{EVENT, Owner, description, seated, standing};
use node::{Door, Node, SETTINGS, Way, closed, narrow, next, upgrade};

/// Every story is told twice.
macro_rules! stories {
    ($($story:ident),* $(,)?) => {
        mod by_actix {
            $(#[actix_web::test] async fn $story() { super::$story(super::Way::Actix).await })*
        }
        mod by_lane {
            $(#[actix_web::test] async fn $story() { super::$story(super::Way::Lane).await })*
        }
    };
}

fn change(seq: u64, seats: Value) -> Value {
    json!({"type": "change", "block": "A", "seq": seq, "seats": seats})
}

stories!(
    a_board_comes_first_then_every_change_in_order,
    a_crowd_on_one_block_hears_every_change,
    who_comes_back_gets_what_was_missed,
    counts_come_at_once_and_when_they_change,
    a_pause_of_the_sale_is_told_to_all,
    a_reader_that_falls_behind_gets_a_board_and_ends_up_right,
    a_silent_client_is_closed,
    a_client_that_answers_pings_stays,
    what_cannot_be_followed_is_refused_before_the_upgrade,
    one_session_too_many_is_refused_until_another_ends,
    the_end_of_the_node_is_told,
    a_client_that_says_too_much_is_closed,
    what_comes_with_the_upgrade_is_heard,
    questions_are_answered_one_by_one,
);

async fn a_board_comes_first_then_every_change_in_order(way: Way) {
    let node = Node::start(way, SETTINGS);
    let mut owner = Owner::new("A", 10_000);
    node.board.publish(vec![owner.set([17], SeatState::Held)]);
    let mut clients = [node.connect("?blocks=A").await, node.connect("?blocks=A,FLOOR").await];
    for client in &mut clients {
        let mut boards = vec![next(client).await];
        if boards[0]["block"] == "FLOOR" {
            boards.push(next(client).await);
        }
        let board = boards.pop().unwrap();
        assert_eq!((&board["type"], &board["block"], &board["seq"]), (&json!("board"), &json!("A"), &json!(1)));
        assert_eq!(board["seats"], STANDARD.encode(pack(owner.seats.iter().copied())));
    }
    let floor = json!({"type": "board", "block": "FLOOR", "seq": 0, "seats": "", "free": 5000, "held": 0, "sold": 0,
        "blocked": 0});
    node.board.publish(vec![owner.set([17, 18], SeatState::Sold)]);
    node.board.publish((0..100).map(|seat| owner.set([seat], SeatState::Held)).collect());
    for client in &mut clients {
        let mut message = next(client).await;
        if message["block"] == "FLOOR" {
            assert_eq!(message, floor);
            message = next(client).await;
        }
        assert_eq!(message, change(2, json!([[17, 2], [18, 2]])));
        for seat in 0..100 {
            assert_eq!(next(client).await, change(seat + 3, json!([[seat, 1]])));
        }
    }
    node.stop().await;
}

async fn a_crowd_on_one_block_hears_every_change(way: Way) {
    const CROWD: usize = 300;
    let node = Node::start(way, Settings { sessions_max: CROWD, ..SETTINGS });
    let mut owner = Owner::new("A", 10_000);
    let mut clients = Vec::new();
    for _ in 0..CROWD {
        let mut client = node.connect("?resume=A:0").await;
        client.send(Message::Ping("here".into())).await.unwrap();
        // The answer comes after the session has found its place.
        assert!(matches!(client.next().await.unwrap().unwrap(), Message::Pong(_)));
        clients.push(client);
    }
    for seat in 0..20 {
        node.board.publish(vec![owner.set([seat], SeatState::Held)]);
    }
    for client in &mut clients {
        for seat in 0..20 {
            assert_eq!(next(client).await, change(seat + 1, json!([[seat, 1]])));
        }
    }
    drop(clients);
    node.sessions_become(0).await;
    node.stop().await;
}

/// Or the connection would keep a buffer as large as the board for as long as the session lives.
#[actix_web::test]
async fn a_large_board_is_given_in_pieces_that_are_written_one_by_one() {
    let node = Node::start(Way::Actix, SETTINGS);
    let Door::Actix(live, _) = &node.door else { panic!("actix-web") };
    let (hub, event) = (live.hub(), EventId::from(EVENT));
    let replica = node.board.replica(&event).unwrap();
    let block = replica.described().unwrap().block(&"A".into()).unwrap().1.clone();
    let reader = hub.reader((&event, replica), vec![(block, None)]);
    let silent: BoxedPayloadStream = Box::pin(futures_util::stream::pending());
    let payload = Payload::Stream { payload: silent };
    let slot = live.admit().ok().unwrap();
    let session = Session::new(payload, Agreed { reader, settings: SETTINGS, slot });
    let mut session = std::pin::pin!(session);
    let mut context = Context::from_waker(Waker::noop());
    let (mut given, mut burst, mut pauses) = (Vec::new(), 0, 0);
    while pauses < 2 {
        match session.as_mut().poll_next(&mut context) {
            Poll::Ready(piece) => {
                let piece = piece.unwrap().unwrap();
                burst += piece.len();
                assert!(burst <= BURST_MAX);
                given.extend_from_slice(&piece);
            }
            Poll::Pending => (burst, pauses) = (0, pauses + 1),
        }
    }
    assert!(given.len() > BURST_MAX, "{} bytes", given.len());
    // The head of a frame of this length has four bytes.
    let board: Value = serde_json::from_slice(&given[4..]).unwrap();
    assert_eq!((&board["type"], &board["block"]), (&json!("board"), &json!("A")));
    node.stop().await;
}

async fn who_comes_back_gets_what_was_missed(way: Way) {
    let node = Node::start(way, SETTINGS);
    let mut owner = Owner::new("A", 10_000);
    let changes = CHANGES_MAX as u32 + 100;
    node.board.publish((0..changes).map(|seat| owner.set([seat], SeatState::Held)).collect());
    let last = u64::from(changes);

    let mut near = node.connect(&format!("?resume=A:{}", last - 2)).await;
    assert_eq!(next(&mut near).await["seq"], last - 1);
    assert_eq!(next(&mut near).await["seq"], last);

    let mut far = node.connect(&format!("?resume=A:{}", last - CHANGES_MAX as u64)).await;
    for seq in last - CHANGES_MAX as u64 + 1..=last {
        assert_eq!(next(&mut far).await["seq"], seq);
    }
    for gone in [0, 99, last + 1, u64::MAX] {
        let mut client = node.connect(&format!("?resume=A:{gone}")).await;
        let board = next(&mut client).await;
        assert_eq!((&board["type"], &board["seq"]), (&json!("board"), &json!(last)), "{gone}");
    }
    let mut current = node.connect(&format!("?resume=A:{last}")).await;
    node.board.publish(vec![owner.set([0], SeatState::Sold)]);
    for client in [&mut near, &mut far, &mut current] {
        assert_eq!(next(client).await, change(last + 1, json!([[0, 2]])));
    }
    node.stop().await;
}

async fn counts_come_at_once_and_when_they_change(way: Way) {
    let node = Node::start(way, SETTINGS);
    let mut owner = Owner::new("A", 10_000);
    let mut client = node.connect("").await;
    let counts = |free, held| json!({"type": "counts", "blocks": [["A", free, held, 0], ["FLOOR", 5000, 0, 0]]});
    assert_eq!(next(&mut client).await, counts(10_000, 0));
    node.board.publish((0..50).map(|seat| owner.set([seat], SeatState::Held)).collect());
    assert_eq!(next(&mut client).await, counts(9_950, 50));
    // A change that leaves the counts as they are is not told; the next one that changes them is.
    node.board.publish(vec![owner.set([], SeatState::Held)]);
    node.board.publish(vec![owner.set([50], SeatState::Held)]);
    assert_eq!(next(&mut client).await, counts(9_949, 51));
    node.stop().await;
}

async fn a_pause_of_the_sale_is_told_to_all(way: Way) {
    let node = Node::start(way, SETTINGS);
    let mut clients = [node.connect("").await, node.connect("?blocks=A").await];
    for client in &mut clients {
        next(client).await;
    }
    let mut paused = description(EVENT, vec![seated("A", 10, 1000), standing("FLOOR", 5000)]);
    (paused.sale, paused.revision) = (Sale::Paused, 2);
    node.board.publish(vec![Feed::Event(Box::new(paused))]);
    for client in &mut clients {
        assert_eq!(next(client).await, json!({"type": "event", "event": EVENT, "status": "paused", "revision": 2}));
    }
    node.stop().await;
}

async fn a_reader_that_falls_behind_gets_a_board_and_ends_up_right(way: Way) {
    let node = Node::start(way, SETTINGS);
    let mut owner = Owner::new("A", 10_000);
    let mut client = node.open(narrow(&node).await, "?blocks=A").await;
    let mut seats = next(&mut client).await;
    assert_eq!(seats["type"], "board");
    // Far more than the buffers of two sockets hold, while nobody reads.
    let changes = 3000_u32;
    for n in 0..changes {
        let row = n % 10 * 1000;
        let state = if n % 20 < 10 { SeatState::Held } else { SeatState::Free };
        node.board.publish(vec![owner.set(row..row + 1000, state)]);
    }
    let (mut seq, mut boards, mut received) = (0, 0, 0);
    while seq < u64::from(changes) {
        let message = next(&mut client).await;
        received += 1;
        let now = message["seq"].as_u64().unwrap();
        match message["type"].as_str().unwrap() {
            "change" => assert_eq!(now, seq + 1, "no change is missing"),
            "board" => {
                assert!(now > seq);
                boards += 1;
                seats = message;
            }
            other => panic!("{other}"),
        }
        seq = now;
    }
    assert!(boards > 0 && received < changes, "{boards} boards, {received} messages");
    assert!(*node.sessions.resynced.borrow() > 0);
    drop(seats);
    node.stop().await;
}

#[actix_web::test]
async fn a_reader_that_takes_nothing_is_dropped() {
    let node = Node::with_patience(SETTINGS, Duration::from_millis(100));
    let mut owner = Owner::new("A", 10_000);
    let client = node.open(narrow(&node).await, "?blocks=A").await;
    node.sessions_become(1).await;
    while *node.sessions.open.borrow() == 1 {
        node.board.publish(vec![owner.set(0..1000, SeatState::Held)]);
        tokio::task::yield_now().await;
    }
    // Its connection ends too, although what was under way is still not read.
    node.ended.subscribe().wait_for(|ended| *ended == 1).await.unwrap();
    drop(client);
    node.stop().await;
}

async fn a_silent_client_is_closed(way: Way) {
    let node = Node::start(way, Settings { idle_timeout: Duration::from_millis(60), ..SETTINGS });
    let mut silent = TcpStream::connect(node.address).await.unwrap();
    silent.write_all(upgrade("").as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    silent.read_to_end(&mut heard).await.unwrap();
    assert!(heard.ends_with(b"no sign of life"));
    node.sessions_become(0).await;
    node.stop().await;
}

async fn a_client_that_answers_pings_stays(way: Way) {
    let node = Node::start(way, Settings { idle_timeout: Duration::from_millis(900), ..SETTINGS });
    let mut client = node.connect("?blocks=A").await;
    // Three pings fit into the time after which a silent client is closed. Reading answers them.
    let mut pings = 0;
    while pings < 5 {
        let message = client.next().await.unwrap().unwrap();
        assert!(matches!(message, Message::Ping(_) | Message::Text(_)), "{message}");
        pings += u32::from(message.is_ping());
    }
    node.stop().await;
}

async fn what_cannot_be_followed_is_refused_before_the_upgrade(way: Way) {
    let node = Node::start(way, SETTINGS);
    let of = |path: &'static str| node.refusal(path);
    assert_eq!(of("/v1/events/other/live").await.1["code"], "unknown_event");
    let (status, problem) = of("/v1/events/aurora/live?blocks=A,Z").await;
    assert_eq!((status, &problem["code"], &problem["block"]), (404, &json!("unknown_block"), &json!("Z")));
    let (status, problem) = of("/v1/events/aurora/live?resume=A").await;
    assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!("resume")));
    let mut plain = TcpStream::connect(node.address).await.unwrap();
    plain.write_all(b"GET /v1/events/aurora/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("bad_request"), "{answer}");
    assert_eq!(*node.sessions.open.borrow(), 0);
    node.stop().await;
}

async fn one_session_too_many_is_refused_until_another_ends(way: Way) {
    let node = Node::start(way, Settings { sessions_max: 1, ..SETTINGS });
    let mut first = node.connect("?blocks=A").await;
    let (status, problem) = node.refusal("/v1/events/aurora/live").await;
    assert_eq!((status, &problem["code"]), (503, &json!("overloaded")));
    first.close(None).await.unwrap();
    node.sessions_become(0).await;
    next(&mut node.connect("").await).await;
    node.stop().await;
}

async fn the_end_of_the_node_is_told(way: Way) {
    let node = Node::start(way, SETTINGS);
    let mut clients = [node.connect("?blocks=A").await, node.connect("").await];
    for client in &mut clients {
        next(client).await;
    }
    node.close();
    for client in &mut clients {
        assert_eq!(closed(client).await, 1001);
    }
    node.sessions_become(0).await;
    assert_eq!(node.refusal("/v1/events/aurora/live").await.1["code"], "not_ready");
    node.stop().await;
}

async fn a_client_that_says_too_much_is_closed(way: Way) {
    let node = Node::start(way, SETTINGS);
    let mut client = node.connect("").await;
    client.send(Message::Text("x".repeat(100).into())).await.unwrap();
    client.send(Message::Ping("are you there".into())).await.unwrap();
    loop {
        if let Message::Pong(payload) = client.next().await.unwrap().unwrap() {
            assert_eq!(payload, "are you there");
            break;
        }
    }
    client.send(Message::Text("x".repeat(INBOUND_MAX + 1).into())).await.unwrap();
    assert_eq!(closed(&mut client).await, 1009);
    node.sessions_become(0).await;
    node.stop().await;
}

async fn what_comes_with_the_upgrade_is_heard(way: Way) {
    let node = Node::start(way, SETTINGS);
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    // A ping of one byte, masked with zeros, and a close behind it.
    let hello = [upgrade("").as_bytes(), b"\x89\x81\0\0\0\0!", b"\x88\x82\0\0\0\0\x03\xe8"].concat();
    stream.write_all(&hello).await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert!(heard.starts_with(b"HTTP/1.1 101 "));
    assert!(memchr::memmem::find(&heard, b"\x8a\x01!").is_some(), "no pong");
    assert!(heard.ends_with(b"\x88\x02\x03\xe8"), "no answer to the close");
    node.sessions_become(0).await;
    node.stop().await;
}

/// Who asks and does not read is not heard any more, and gets every answer when it reads.
async fn questions_are_answered_one_by_one(way: Way) {
    const QUESTIONS: u32 = 100_000;
    let node = Node::start(way, SETTINGS);
    let (mut asks, mut hears) = node.connect("?resume=A:0").await.split();
    let asking = actix_web::rt::spawn(async move {
        for number in 0..QUESTIONS {
            asks.feed(Message::Ping(number.to_string().into())).await.unwrap();
        }
        asks.flush().await.unwrap();
    });
    let mut answered = 0;
    while answered < QUESTIONS {
        if let Message::Pong(payload) = hears.next().await.unwrap().unwrap() {
            assert_eq!(payload, answered.to_string());
            answered += 1;
        }
    }
    asking.await.unwrap();
    node.stop().await;
}

#[actix_web::test]
async fn a_socket_that_takes_nothing_is_given_up() {
    let (board, _) = Node::event();
    let mut owner = Owner::new("A", 10_000);
    let (ours, client) = node::pair().await;
    limit_unread(&ours, Duration::from_millis(100));
    let socket = node::agreed(&board, &["A"]).begin(ours, b"");
    let session = actix_web::rt::spawn(std::future::poll_fn(move |cx| socket.poll(cx)));
    while !session.is_finished() {
        board.publish(vec![owner.set(0..1000, SeatState::Held)]);
        tokio::task::yield_now().await;
    }
    assert_eq!(session.await.unwrap(), Over::Gone);
    drop(client);
}
