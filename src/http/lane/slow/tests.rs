//! A connection that is lent for a WebSocket: who has it behind which answer, and with what.

#![allow(clippy::unwrap_used)]

use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::super::live::tests::node::{self, Node};
use super::*;

const HEAD: &[u8] = b"GET /v1/events/aurora/live HTTP/1.1\r\nhost: x\r\n\r\n";
/// What a client says without waiting for the answer: a ping of one byte, masked with zeros.
const PING: &[u8] = b"\x89\x81\0\0\0\0!";
const PONG: &[u8] = b"\x8a\x01!";

/// A lent connection on which the head and the ping came, of which the head was read.
async fn lent(home: &Home) -> (Loan, TcpStream) {
    let (ours, client) = node::pair().await;
    let watches = Rc::new(Watches::new());
    let watch = watches.add();
    let term = Term::begin(watches, watch, Lent::Connection, &Config::load(None, &[]).unwrap());
    let mut loan = Loan::new(ours, [HEAD, PING].concat(), Lent::Upgrade(HEAD.len()), home.clone(), term);
    let mut read = vec![0; 1024];
    let count = loan.read(&mut read).await.unwrap();
    assert_eq!(&read[..count], HEAD, "what is behind the head waits");
    let more = poll_fn(|cx| Poll::Ready(Pin::new(&mut loan).poll_read(cx, &mut ReadBuf::new(&mut read)).is_ready()));
    assert!(!more.await);
    (loan, client)
}

#[actix_web::test]
async fn behind_a_101_it_comes_back_with_what_the_client_said() {
    let home = Home::default();
    let (mut loan, mut client) = lent(&home).await;
    let (board, _) = Node::event();
    assert!(loan.handover().unwrap().leave(node::agreed(&board, &[])).is_none());
    loan.write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgr").await.unwrap();
    assert!(home.take().is_none(), "before the head has ended");
    loan.write_all(b"ade: websocket\r\n\r\n").await.unwrap();
    loan.flush().await.unwrap();
    let Some(Returned::Live(socket)) = home.take() else { panic!("not back") };
    drop(loan);
    assert!(home.take().is_none(), "once");
    let session = actix_web::rt::spawn(poll_fn(move |cx| socket.poll(cx)));
    let mut heard = Vec::new();
    while memchr::memmem::find(&heard, PONG).is_none() || memchr::memmem::find(&heard, b"counts").is_none() {
        assert!(client.read_buf(&mut heard).await.unwrap() > 0);
    }
    assert!(heard.starts_with(b"HTTP/1.1 101 "));
    drop(client);
    session.await.unwrap();
}

#[actix_web::test]
async fn behind_another_answer_it_is_given_away_for_good() {
    let home = Home::default();
    let (mut loan, client) = lent(&home).await;
    let handover = loan.handover().unwrap().clone();
    let (board, sessions) = Node::event();
    assert!(handover.leave(node::agreed(&board, &[])).is_none());
    loan.write_all(b"HTTP/1.1 500 Internal\r\n\r\n").await.unwrap();
    let mut read = vec![0; 1024];
    let count = loan.read(&mut read).await.unwrap();
    assert_eq!(&read[..count], PING);
    assert_eq!(*sessions.open.borrow(), 0, "what was agreed on before is over");
    assert!(handover.leave(node::agreed(&board, &[])).is_some(), "nobody would take it");
    drop(loan);
    assert!(home.take().is_none());
    drop(client);
}

#[test]
fn a_connection_given_away_has_a_time_and_a_websocket_on_it_may_be_silent_for_longer() {
    let watches = Rc::new(Watches::new());
    let longest = |lent, sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Term::begin(watches.clone(), watches.add(), lent, &Config::load(None, &sets).unwrap()).longest
    };
    let (given, request) = (Lent::Connection, Lent::Request(1));
    assert_eq!(longest(given, &["http.wait_max=3m", "live.idle_timeout=10s"]), Duration::from_secs(5 + 10 + 180 + 10));
    assert_eq!(longest(given, &["live.idle_timeout=5m"]), Duration::from_secs(300));
    assert_eq!(longest(request, &[]), Duration::MAX);
}
