//! More than a node takes at once: whoever is sent away is told so, nothing was done, and the same request works later.

use std::sync::Barrier;

use serde_json::json;

use crate::client::small_event;
use crate::server::Server;

const CROWD: usize = 48;
/// Crowds that may pass before one was too much.
const CROWDS_MAX: usize = 40;

#[test]
fn who_is_sent_away_from_a_crowd_may_come_back_with_the_same_key() {
    let server = Server::start_with(&["runtime.mailbox_max=1", "runtime.batch_max=1"]);
    let mut event = small_event("crowd");
    event["blocks"][2]["capacity"] = json!(100_000);
    server.organizer().post("/v1/events", &event).expect(201);
    let body = json!({"block": "FLOOR", "quantity": 1});
    let mut sent_away = Vec::new();
    let mut held = 0;
    for crowd in 0..CROWDS_MAX {
        let start = Barrier::new(CROWD);
        let ask = |nth: usize| {
            let name = format!("fan-{crowd}-{nth}");
            let fan = server.customer(&name);
            start.wait();
            (name, fan.post_with_key("/v1/events/crowd/holds", "once", &body))
        };
        let answers: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CROWD)
                .map(|nth| {
                    scope.spawn({
                        let ask = &ask;
                        move || ask(nth)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
        });
        for (name, answer) in answers {
            if answer.status == 201 {
                held += 1;
                continue;
            }
            assert!(answer.header("retry-after").is_some(), "{}", answer.text());
            let problem = answer.expect_problem(503, "overloaded");
            assert!(problem["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0), "{problem}");
            sent_away.push(name);
        }
        if !sent_away.is_empty() {
            break;
        }
    }
    assert!(!sent_away.is_empty(), "no crowd was too much, {held} held");
    assert_eq!(server.organizer().ledger("crowd").len(), held, "nothing was done for those sent away");
    for name in &sent_away {
        let later = server.customer(name).post_with_key("/v1/events/crowd/holds", "once", &body);
        assert_eq!(later.header("idempotent-replayed"), None, "{name}: a failure is not an answer to repeat");
        later.expect(201);
    }
    let metrics = server.client().get("/metrics").text();
    assert!(metrics.contains("stampede_admission_refused_total"), "{metrics}");
}
