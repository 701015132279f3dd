//! Letters that nobody takes: orders are paid all the same, and the letters are kept until somebody does.

use std::net::TcpListener;

use serde_json::Value;

use crate::client::small_event;
use crate::process::until;
use crate::server::Server;

/// A port where nobody listens: it was free a moment ago.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_mail_server_that_is_away_delays_letters_and_nothing_else() {
    let port = format!("notices.smtp.port={}", closed_port());
    let mut server = Server::start_with(&[
        "notices.smtp.enabled=true",
        "notices.smtp.host=127.0.0.1",
        "notices.smtp.tls=none",
        "notices.smtp.from=tickets@example.org",
        "notices.smtp.timeout=1s",
        "notices.timeout=2s",
        "notices.backoff_min=100ms",
        "notices.backoff_max=1s",
        "notices.attempts_max=1000",
        "notices.file=",
        &port,
    ]);
    server.organizer().post("/v1/events", &small_event("gig")).expect(201);
    let ann = server.customer("ann");
    let order = ann.buy("gig", "A", &["1-5", "1-6"]);
    let order = order["id"].as_str().unwrap();
    until("the letter is tried again", || server.metric("stampede_notices_total{outcome=\"retried\"}") >= 3.0);
    assert_eq!(server.metric("stampede_notices_total{outcome=\"sent\"}"), 0.0);

    server.set("notices.smtp.enabled=false");
    server.set("notices.file=notices.ndjson");
    server.kill();
    server.restart();
    until("the letter is delivered", || server.metric("stampede_notices_total{outcome=\"sent\"}") >= 1.0);
    let letters = std::fs::read_to_string(server.data().join("notices.ndjson")).unwrap();
    let letters: Vec<Value> = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].to_string().contains(order), "{}", letters[0]);
    assert_eq!(server.customer("ann").get(&format!("/v1/orders/{order}")).expect(200)["state"], "paid");
}
