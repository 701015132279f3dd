//! The runtime against a journal that answers when told to.

#![allow(clippy::unwrap_used)]

mod away;
mod breakage;
mod double;
mod following;
mod lease;
mod member;
mod moving;
mod order;
mod pictures;
mod restart;
mod storage;
mod submitting;

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use actors::address::{Address, Kind};
use actors::event::{self, EventSpec, Patch, Rules};
use actors::feed::Feed;
use actors::gateway::Call;
use actors::ids::Shard;
use actors::keyed::{Answer, Asked};
use actors::message::{Message, Reply};
use actors::money::Currency;
use actors::notice::Letter;
use actors::policy::Policy;
use actors::time::{Millis, Span};
use tokio::sync::mpsc;

use super::{Alone, Beyond, Failure, FeedSink, Hooks, Outward, Parts, Router, Runtime, Settings};
pub(crate) use double::JournalDouble;
use double::{Held, ShelfDouble};

/// A runtime with one shard and everything around it in the test's hands.
struct Story {
    journal: Arc<JournalDouble>,
    world: Arc<World>,
    feed: mpsc::UnboundedReceiver<Feed>,
    runtime: Runtime,
}

/// What the runtime told the world.
struct World {
    feed: mpsc::UnboundedSender<Feed>,
    log: Mutex<Vec<String>>,
    /// Most public changes that were published together.
    largest: AtomicUsize,
    /// Whether the node cannot be sure any more that its shards are its own.
    cut_off: AtomicBool,
}

impl World {
    fn new() -> (Arc<World>, mpsc::UnboundedReceiver<Feed>) {
        let (sender, feed) = mpsc::unbounded_channel();
        let (log, largest, cut_off) = (Mutex::default(), AtomicUsize::default(), AtomicBool::default());
        (Arc::new(World { feed: sender, log, largest, cut_off }), feed)
    }

    fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }

    fn largest(&self) -> usize {
        self.largest.load(Ordering::SeqCst)
    }

    fn cut_off(&self, cut_off: bool) {
        self.cut_off.store(cut_off, Ordering::SeqCst);
    }

    fn noted(&self, what: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.starts_with(what)).count()
    }
}

impl FeedSink for World {
    fn publish(&self, _: Shard, feed: Vec<Feed>) {
        self.largest.fetch_max(feed.len(), Ordering::SeqCst);
        for change in feed {
            self.note(match &change {
                Feed::Event(event) => format!("public {}", event.spec.name),
                Feed::Board(_) | Feed::Seats(_) | Feed::Order(..) | Feed::Sought(_) => "public other".to_owned(),
            });
            let _ = self.feed.send(change);
        }
    }

    fn pictured(&self, shard: Shard) {
        self.note(format!("pictured {}", shard.0));
    }
}

/// The world of a node that is not alone.
impl Beyond for World {
    fn is_sure_of(&self, _: Shard) -> bool {
        !self.cut_off.load(Ordering::SeqCst)
    }

    fn tell(&self, to: Address, _: Message) {
        self.note(format!("beyond {to:?}"));
    }

    fn fenced(&self, shard: Shard) {
        self.note(format!("fenced {}", shard.0));
    }
}

impl Outward for World {
    fn call(&self, from: Address, call: Call) {
        self.note(format!("call {from:?} {call:?}"));
    }

    fn deliver(&self, from: Address, letter: Letter) {
        self.note(format!("deliver {from:?} {letter:?}"));
    }
}

impl Hooks for World {
    fn restarted(&self, kind: Kind) {
        self.note(format!("restarted {}", kind.as_str()));
    }

    fn overloaded(&self, kind: Kind) {
        self.note(format!("overloaded {}", kind.as_str()));
    }

    fn turned(&self, kind: Kind, commands: usize, _: usize) {
        self.note(format!("turned {} {commands}", kind.as_str()));
    }
}

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

fn settings() -> Settings {
    Settings { arbiters: 1, fault_injection: true, ..Settings::default() }
}

fn policy() -> Policy {
    Policy { shards: 1, ..Policy::default() }
}

/// The parts of an embedded node.
fn parts(journal: &Arc<JournalDouble>, shelf: &Arc<ShelfDouble>, settings: Settings, world: &Arc<World>) -> Parts {
    Parts {
        journal: journal.clone(),
        snapshots: shelf.clone(),
        policy: policy(),
        settings,
        feed: world.clone(),
        outward: world.clone(),
        hooks: world.clone(),
        beyond: Arc::new(Alone),
    }
}

impl Story {
    fn start(journal: &Arc<JournalDouble>) -> Story {
        Story::start_with(journal, &Arc::default(), settings())
    }

    fn start_with(journal: &Arc<JournalDouble>, shelf: &Arc<ShelfDouble>, settings: Settings) -> Story {
        let (world, feed) = World::new();
        let parts = parts(journal, shelf, settings, &world);
        let runtime = Runtime::start(parts, &[Shard(0)]).unwrap();
        Story { journal: journal.clone(), world, feed, runtime }
    }

    fn router(&self) -> Router {
        self.runtime.router().clone()
    }

    /// Asks at once, whether the answer is awaited or not.
    fn ask(&self, command: event::Command) -> impl Future<Output = Result<Answer<Reply>, Failure>> + use<> {
        let router = self.router();
        let asked = tokio::task::spawn_local(async move { router.ask(concert(), plain(command)).await });
        async move { asked.await.unwrap() }
    }

    /// The next append that the runtime has begun.
    async fn append(&self) -> Held {
        self.journal.held().await
    }
}

fn plain(command: impl Into<Message>) -> Asked<Message> {
    Asked { key: None, command: command.into() }
}

fn concert() -> Address {
    Address::Event("aurora".into())
}

fn create() -> event::Command {
    event::Command::Create(Box::new(spec()))
}

fn spec() -> EventSpec {
    EventSpec {
        id: "aurora".into(),
        name: "Aurora".to_owned(),
        venue: "Harbour".to_owned(),
        starts_at: Millis(1),
        currency: Currency(*b"EUR"),
        on_sale_at: None,
        rules: Rules { hold_ttl: Span::seconds(1), max_per_hold: 4, max_per_customer: None, no_orphans: false },
        blocks: Vec::new(),
    }
}

fn rename(name: &str) -> event::Command {
    event::Command::Patch(Box::new(Patch { name: Some(name.to_owned()), ..Patch::default() }))
}

/// The event's name in an answer.
fn name(answer: Result<Answer<Reply>, Failure>) -> String {
    let Reply::Event(event::Reply::Event(event) | event::Reply::Created(event)) = answer.unwrap().result.unwrap()
    else {
        panic!("not an event");
    };
    event.spec.name
}

/// Waits until something is so.
async fn until(so: impl Fn() -> bool) {
    let waited = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waited).await.expect("it becomes so within half a minute");
}

/// Whether a future has its answer already.
async fn is_ready<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    std::future::poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_ready())).await
}
