//! The edge over real sockets, in front of real machines: a small node with a payment provider in the test's hands.

#![allow(clippy::unwrap_used)]

mod buying;
mod client;
mod noting;
mod pipelining;
mod repeating;
mod rubbish;
mod selling;
mod unheard;

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use actix_web::dev::ServerHandle;
use actors::address::Address;
use actors::feed::Feed;
use actors::gateway::{Call, Heard};
use actors::ids::Shard;
use actors::message::Message;
use actors::notice::{self, Letter};
use actors::payment;
use actors::policy::Policy;
use futures_util::FutureExt;
use serde_json::{Value, json};

use super::limits::Limits;
use super::{Readiness, State, serve};
use crate::auth::{self, Auth};
use crate::board::{self, Board};
use crate::config::Config;
use crate::dispatch::Dispatch;
use crate::journal::{self, Embedded, Journal, Seq};
use crate::runtime::tests::JournalDouble;
use crate::runtime::{Alone, FeedSink, NoHooks, Outward, Parts, Runtime, Settings, Shelf, Stored};
use crate::snapshots;
use crate::telemetry::Metrics;
use crate::tickets::TicketKey;

use client::{Answer, Ask};

const SECRET: &str = "a secret of at least thirty-two bytes";
const SHARDS: u16 = 4;

/// A node that serves, and what its test may do to the world around it.
pub(super) struct Office {
    pub(super) state: Arc<State>,
    provider: Arc<Provider>,
    pub(super) address: std::net::SocketAddr,
    organizer: String,
    door: ServerHandle,
    runtime: Runtime,
    /// The journal and its directory, unless a test has the journal in its hands.
    stored: Option<(Arc<Embedded>, tempfile::TempDir)>,
}

/// The payment provider: answers at once, unless it is silent.
#[derive(Default)]
struct Provider {
    dispatch: OnceLock<Dispatch>,
    silent: AtomicBool,
}

impl Outward for Provider {
    fn call(&self, from: Address, call: Call) {
        if self.silent.load(Ordering::SeqCst) {
            return;
        }
        let (payment, attempt, heard) = match call {
            Call::Charge { payment, attempt, token, .. } if token == "tok_declined" => {
                (payment, attempt, Heard::Declined("card_declined".to_owned()))
            }
            Call::Charge { payment, attempt, .. } => (payment, attempt, Heard::Captured),
            Call::Status { payment, attempt } => (payment, attempt, Heard::NotFound),
            Call::Refund { payment, attempt, .. } => (payment, attempt, Heard::Refunded),
        };
        self.tell(from, payment::Command::Heard { payment, attempt, heard }.into());
    }

    fn deliver(&self, from: Address, letter: Letter) {
        let delivered = notice::Command::Delivered { order: letter.order, kind: letter.kind };
        self.tell(from, delivered.into());
    }
}

impl Provider {
    fn tell(&self, to: Address, message: Message) {
        self.dispatch.get().unwrap().tell(to, message);
    }
}

struct ToBoard(Arc<Board>);

impl FeedSink for ToBoard {
    fn publish(&self, _: Shard, feed: Vec<Feed>) {
        self.0.publish(feed);
    }
}

/// A shelf that keeps nothing: these nodes do not start twice.
struct NoShelf;

impl Shelf for NoShelf {
    fn cells(&self, _: Shard) -> Result<Vec<Vec<u8>>, snapshots::Error> {
        Ok(Vec::new())
    }

    fn newest(&self, _: Shard, _: &[u8]) -> Option<(Seq, Vec<u8>)> {
        None
    }

    fn put(&self, _: Shard, _: &[Stored]) -> Result<(), snapshots::Error> {
        Ok(())
    }

    fn touch(&self, _: Shard, _: &[(Vec<u8>, Seq)]) -> Result<(), snapshots::Error> {
        Ok(())
    }

    fn completed(&self, _: Shard) -> Option<Seq> {
        None
    }
}

/// Runs a story in a node with these settings.
fn story<F: Future<Output = Office>>(sets: &[&str], tell: impl FnOnce(Office) -> F) {
    actix_rt::System::new().block_on(async {
        let office = tell(Office::open(sets)).await;
        office.close().await;
    });
}

/// Runs a story at a concert with these settings, and with the journal in its hands.
fn concert_story<F: Future<Output = ()>>(sets: &[&str], tell: impl FnOnce(Arc<Office>, Arc<JournalDouble>) -> F) {
    actix_rt::System::new().block_on(async {
        let (journal, board) = (Arc::new(JournalDouble::default()), Board::new(board::Settings::new(SHARDS)));
        let office = Arc::new(Office::with_journal(sets, Arc::new(board), journal.clone()));
        office.concert("e").await;
        tell(office.clone(), journal).await;
        Arc::into_inner(office).unwrap().close().await;
    });
}

/// Has what waits become durable, as soon as something does, and what comes later at once.
async fn release(journal: &JournalDouble) {
    let mut held = Some(journal.held().await);
    journal.hold(false);
    while let Some(record) = held {
        journal.acknowledge(record);
        held = journal.held().now_or_never();
    }
}

impl Office {
    fn open(sets: &[&str]) -> Office {
        Self::with_board(sets, Arc::new(Board::new(board::Settings::new(SHARDS))))
    }

    /// An office with a board on which its test may publish.
    pub(super) fn with_board(sets: &[&str], board: Arc<Board>) -> Office {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Embedded::open(dir.path(), small_journal(), Arc::new(journal::Silent)).unwrap();
        let journal = Arc::new(journal);
        let office = Self::with_journal(sets, board, journal.clone());
        Office { stored: Some((journal, dir)), ..office }
    }

    fn with_journal(sets: &[&str], board: Arc<Board>, journal: Arc<dyn Journal>) -> Office {
        let (organizer, digest) = auth::new_key();
        let mut all = vec![
            format!("auth.hs256_secret={SECRET}"),
            format!("auth.organizer_keys=[\"{digest}\"]"),
            format!("cluster.shards={SHARDS}"),
            "http.workers=1".to_owned(),
            "limits.customer=".to_owned(),
        ];
        // `FAST_LANE=false` tells every story to the slow way, unless its test says which.
        all.extend(std::env::var("FAST_LANE").ok().map(|given| format!("http.fast_lane={given}")));
        all.extend(sets.iter().map(|set| (*set).to_owned()));
        let config = Config::load(None, &all).unwrap();
        let provider = Arc::new(Provider::default());
        let parts = Parts {
            journal,
            snapshots: Arc::new(NoShelf),
            policy: Policy { shards: SHARDS, ..Policy::default() },
            settings: Settings { arbiters: 1, fault_injection: true, ..Settings::default() },
            feed: Arc::new(ToBoard(board.clone())),
            outward: provider.clone(),
            hooks: Arc::new(NoHooks),
            beyond: Arc::new(Alone),
        };
        let shards: Vec<Shard> = (0..SHARDS).map(Shard).collect();
        let runtime = Runtime::start(parts, &shards).unwrap();
        let dispatch = Dispatch::local(&runtime);
        assert!(provider.dispatch.set(dispatch.clone()).is_ok());
        let silent = provider.clone();
        let state = Arc::new(State {
            limits: Limits::new(&config.limits),
            auth: Auth::new(&config.auth).unwrap(),
            tickets: Arc::new(TicketKey::from_secret(&[7; 32])),
            readiness: Arc::new(Readiness::default()),
            payments_paused: Box::new(move || silent.silent.load(Ordering::SeqCst)),
            metrics: Arc::new(Metrics::new()),
            before_scrape: Box::new(|| ()),
            board,
            dispatch,
            config,
        });
        state.readiness.open();
        state.readiness.ready();
        let door = serve(TcpListener::bind("127.0.0.1:0").unwrap(), state.clone()).unwrap();
        actix_rt::spawn(door.server);
        Office { state, provider, address: door.address, organizer, door: door.handle, runtime, stored: None }
    }

    pub(super) async fn close(self) {
        self.door.stop(false).await;
        self.runtime.stop().await;
        if let Some((journal, _)) = &self.stored {
            journal.close();
        }
    }

    fn token(&self, customer: &str) -> String {
        let now = crate::clock::now().0 / 1000;
        auth::mint(&self.state.config.auth, customer, std::time::Duration::from_secs(3600), now).unwrap()
    }

    /// A request of nobody in particular.
    fn ask(&self, method: &str, path: &str) -> Ask {
        Ask::new(self.address, method, path)
    }

    /// A request of a customer.
    fn buyer(&self, customer: &str, method: &str, path: &str) -> Ask {
        self.ask(method, path).bearer(&self.token(customer))
    }

    /// A request of the organizer.
    fn seller(&self, method: &str, path: &str) -> Ask {
        self.ask(method, path).bearer(&self.organizer)
    }

    /// Puts a small concert on sale: block A with two rows of ten, block B with one row of four, ten standing places.
    async fn concert(&self, id: &str) {
        let body = json!({
            "id": id, "name": "Aurora", "venue": "Harbour", "starts_at": "2099-06-12T19:00:00Z", "currency": "EUR",
            "rules": {"max_per_customer": 6},
            "blocks": [
                {"id": "A", "kind": "seated", "price": 8500, "rows": 2, "seats_per_row": 10},
                {"id": "B", "kind": "seated", "price": 4000, "rows": [{"row": "AA", "seats": 4}]},
                {"id": "FLOOR", "kind": "standing", "price": 7000, "capacity": 10},
            ],
        });
        let answer = self.seller("POST", "/v1/events").json(&body).send().await;
        assert_eq!((answer.status, answer.json["status"].as_str()), (201, Some("on_sale")), "{}", answer.json);
    }

    /// Holds what is asked; the answer must be 201.
    async fn hold(&self, customer: &str, event: &str, want: Value) -> Answer {
        let answer = self.buyer(customer, "POST", &format!("/v1/events/{event}/holds")).json(&want).send().await;
        assert_eq!(answer.status, 201, "{}", answer.json);
        answer
    }

    /// Orders holds; the answer must be 202.
    async fn order(&self, customer: &str, holds: &[&str], token: &str) -> Answer {
        let body = json!({"holds": holds, "email": "ann@example.org", "payment": {"token": token}});
        let answer = self.buyer(customer, "POST", "/v1/orders").json(&body).send().await;
        assert_eq!(answer.status, 202, "{}", answer.json);
        answer
    }

    /// Follows an order until it is in that state.
    async fn follow(&self, customer: &str, order: &str, state: &str) -> Value {
        for _ in 0..20 {
            let ask = self.buyer(customer, "GET", &format!("/v1/orders/{order}")).header("prefer", "wait=5");
            let answer = ask.send().await;
            assert_eq!(answer.status, 200, "{}", answer.json);
            if answer.json["state"] == state {
                return answer.json;
            }
        }
        panic!("order {order} does not become {state}");
    }
}

fn small_journal() -> journal::Options {
    journal::Options { segment_bytes: 8 << 20, ..journal::Options::default() }
}
