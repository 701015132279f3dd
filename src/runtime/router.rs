//! The router: from any thread to the thread of the machine that is meant.
//!
//! Owns the way to every shard's thread, the count of asks under way and the first gate of admission: whether the node is
//! open, and whether the shard lives here. It never waits and never looks into a machine; [`super::host`] takes what it
//! sends. What is for another node goes to [`Beyond`].

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actors::address::{Address, Kind};
use actors::feed::Feed;
use actors::ids::{OrderId, Shard};
use actors::keyed::{Answer, Asked, Key, KeyDigest};
use actors::message::Message;
use actors::refusal::Refusal;
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};

use super::control::Control;
use super::failure::Failure;
use super::gauges::{Asks, Gauges, View};
use super::hub::{Found, Hub};
use super::place::Place;
use super::seams::{Beyond, Hooks};
use super::waiter::{Answered, Answers, Ask, Bundle, Outcome};

/// A command on its way to its machine.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) shard: Shard,
    pub(super) to: Place,
    pub(super) key: Option<Key>,
    pub(super) message: Message,
}

/// What a shard's thread is sent.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "almost all are parcels, and a box for each would cost an allocation")]
pub(super) enum Post {
    /// Nobody waits for an answer.
    Tell(Parcel),
    /// One future waits.
    Ask(Parcel, oneshot::Sender<Outcome>),
    /// Some of one batch that are for this thread, in the order in which they were asked.
    Bundle(Bundle),
    Control(Box<Control>),
}

/// A handle to every machine of the node. See the module's charter.
#[derive(Clone)]
pub struct Router {
    switchboard: Arc<Switchboard>,
}

struct Switchboard {
    shards: u16,
    asks_max: usize,
    fault_injection: bool,
    lines: Vec<mpsc::UnboundedSender<Post>>,
    gauges: Arc<[Gauges]>,
    hub: Hub,
    hooks: Arc<dyn Hooks>,
    beyond: Arc<dyn Beyond>,
    /// Whether asks are let in: not before the recovery and not while the node stops.
    open: AtomicBool,
}

/// What a router is made of.
pub(super) struct Lines {
    pub(super) shards: u16,
    /// Most asks under way in one shard.
    pub(super) asks_max: usize,
    pub(super) fault_injection: bool,
    /// One for each thread.
    pub(super) lines: Vec<mpsc::UnboundedSender<Post>>,
    pub(super) hooks: Arc<dyn Hooks>,
    pub(super) beyond: Arc<dyn Beyond>,
}

impl Router {
    pub(super) fn new(lines: Lines) -> Self {
        let Lines { shards, asks_max, fault_injection, lines, hooks, beyond } = lines;
        let gauges = (0..shards).map(|_| Gauges::default()).collect();
        let (hub, open) = (Hub::new(beyond.is_alone()), AtomicBool::new(false));
        let switchboard = Switchboard { shards, asks_max, fault_injection, lines, gauges, hub, hooks, beyond, open };
        Self { switchboard: Arc::new(switchboard) }
    }

    /// Number of shards of the deployment.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.switchboard.shards
    }

    /// Whether a shard lives on this node and lets asks in. Can change at any moment: an ask that comes too late hears
    /// [`Failure::Elsewhere`].
    #[must_use]
    pub fn hosts(&self, shard: Shard) -> bool {
        self.switchboard.gauges.get(usize::from(shard.0)).is_some_and(Gauges::is_hosted)
    }

    /// Asks a machine of this node and waits until its answer is durable.
    ///
    /// # Errors
    /// See [`Failure`]; a refusal is an answer, not an error.
    pub async fn ask(&self, to: Address, asked: Asked<Message>) -> Outcome {
        let (shard, to) = match self.admit(to, |shard| self.gauges(shard).asks.enter(1, self.switchboard.asks_max) == 1)
        {
            Ok(admitted) => admitted,
            Err(outcome) => return *outcome,
        };
        // Counted for as long as somebody waits.
        let _under_way = UnderWay(&self.gauges(shard).asks);
        let (waiter, answer) = oneshot::channel();
        self.send(shard, Post::Ask(Parcel { shard, to, key: asked.key, message: asked.command }, waiter));
        // A waiter that was dropped unanswered tells nothing about what was done.
        answer.await.unwrap_or(Err(Failure::Unknown))
    }

    /// Asks many machines of this node at once: exactly one answer for each comes to `answers` under the ask's ticket, in
    /// any order, refusals of the admission too and before this returns. They go to each thread of the runtime in bundles,
    /// and asks of one batch for one machine reach it in their order. What an outcome says is as for
    /// [`Router::ask`].
    pub fn submit(&self, asks: impl IntoIterator<Item = Ask>, answers: &Arc<Answers>) {
        let asks = asks.into_iter();
        let expected = asks.size_hint().0;
        let lines = &self.switchboard.lines;
        let mut room = Room::new(&self.switchboard, expected);
        let bundle = || Bundle::new(answers, &self.switchboard.gauges, expected);
        let mut bundles: SmallVec<[Bundle; 4]> = lines.iter().map(|_| bundle()).collect();
        for Ask { to, asked, ticket } in asks {
            match self.admit(to, |shard| room.take(shard)) {
                Ok((shard, to)) => {
                    let parcel = Parcel { shard, to, key: asked.key, message: asked.command };
                    let thread = usize::from(shard.0) % lines.len();
                    if bundles[thread].push(ticket, parcel) {
                        let full = mem::replace(&mut bundles[thread], bundle());
                        // A thread that is gone drops the bundle: the outcomes are unknown.
                        let _ = lines[thread].send(Post::Bundle(full));
                    }
                }
                Err(outcome) => answers.put(Answered { ticket, outcome: *outcome }),
            }
        }
        drop(room);
        for (line, bundle) in lines.iter().zip(bundles).filter(|(_, bundle)| bundle.len() > 0) {
            let _ = line.send(Post::Bundle(bundle));
        }
    }

    /// Lets an ask in, or says what it is answered at once.
    fn admit(&self, to: Address, enter: impl FnOnce(Shard) -> bool) -> Result<(Shard, Place), Box<Outcome>> {
        if !self.is_open() {
            return Err(Box::new(Err(Failure::STOPPING)));
        }
        let (shard, to) = Place::of(to, self.switchboard.shards);
        let Some(gauges) = self.switchboard.gauges.get(usize::from(shard.0)) else {
            return Err(Box::new(Ok(Answer { result: Err(nowhere(&to.address)), replayed: false })));
        };
        if !gauges.is_hosted() {
            return Err(Box::new(Err(Failure::Elsewhere)));
        }
        if !enter(shard) {
            self.switchboard.hooks.overloaded(to.address.kind());
            return Err(Box::new(Err(Failure::OVERLOADED)));
        }
        Ok((shard, to))
    }

    /// Tells a machine something, beyond this node if its shard does not live here; nobody waits for an answer.
    pub fn tell(&self, to: Address, message: Message) {
        let (shard, to) = Place::of(to, self.switchboard.shards);
        if self.hosts(shard) {
            self.send(shard, Post::Tell(Parcel { shard, to, key: None, message }));
        } else if shard.0 < self.switchboard.shards {
            self.switchboard.beyond.tell(to.address, message);
        }
    }

    /// Wakes who waits here for a change that another node made durable.
    pub fn heard(&self, feed: &[Feed]) {
        self.switchboard.hub.released(feed);
    }

    /// Resolves at the next change of an order's state after this call returned its future.
    #[must_use]
    pub fn order_changed(&self, order: OrderId) -> oneshot::Receiver<()> {
        self.switchboard.hub.order_changed(order)
    }

    /// Resolves when the search under this key has its answer, with what it found if that is known here.
    #[must_use]
    pub fn sought(&self, key: KeyDigest) -> oneshot::Receiver<Found> {
        self.switchboard.hub.sought(key)
    }

    /// How every shard stands.
    #[must_use]
    pub fn view(&self) -> View {
        let threads = self.switchboard.lines.len();
        let shards = self.switchboard.gauges.iter().enumerate();
        View {
            shards: shards.map(|(shard, gauges)| gauges.view(Shard(shard as u16), shard % threads)).collect(),
            arbiters: threads,
        }
    }

    /// Makes the next turn of a machine panic. Only with `runtime.fault_injection`; says whether it will.
    #[doc(hidden)]
    pub fn panic_for_test(&self, address: Address) -> bool {
        if self.switchboard.fault_injection {
            self.control_shard(address.shard(self.switchboard.shards), Control::Panic(address));
        }
        self.switchboard.fault_injection
    }

    /// Lets asks in, or no longer.
    pub(super) fn set_open(&self, open: bool) {
        self.switchboard.open.store(open, Ordering::Release);
    }

    pub(super) fn is_open(&self) -> bool {
        self.switchboard.open.load(Ordering::Acquire)
    }

    pub(super) fn beyond(&self) -> &dyn Beyond {
        &*self.switchboard.beyond
    }

    pub(super) fn gauges(&self, shard: Shard) -> &Gauges {
        &self.switchboard.gauges[usize::from(shard.0)]
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.switchboard.hub
    }

    pub(super) fn control(&self, thread: usize, control: Control) {
        // A thread that is gone has nothing left to control.
        let _ = self.switchboard.lines[thread].send(Post::Control(Box::new(control)));
    }

    /// To the thread of a shard, whether it lives here or not.
    pub(super) fn control_shard(&self, shard: Shard, control: Control) {
        self.control(usize::from(shard.0) % self.switchboard.lines.len(), control);
    }

    /// To the thread that runs a shard. Lost when that thread has ended: the waiter is dropped and says unknown.
    fn send(&self, shard: Shard, post: Post) {
        let thread = usize::from(shard.0) % self.switchboard.lines.len();
        let _ = self.switchboard.lines[thread].send(post);
    }
}

/// Room for the asks of one call, taken from the shards' counts for several at a time: a count is written by two threads
/// and travels between them each time. What was not needed is given back in the end.
struct Room<'a> {
    switchboard: &'a Switchboard,
    at_once: u8,
    /// Taken and not used yet, by shard.
    spare: SmallVec<[u8; 64]>,
}

/// Most asks that room is taken for at a time.
const ROOM_MAX: usize = 16;

impl<'a> Room<'a> {
    /// For about so many asks, over all shards.
    fn new(switchboard: &'a Switchboard, asks: usize) -> Self {
        let at_once = (asks / usize::from(switchboard.shards).max(1)).clamp(1, ROOM_MAX) as u8;
        Self { switchboard, at_once, spare: SmallVec::from_elem(0, usize::from(switchboard.shards)) }
    }

    fn take(&mut self, shard: Shard) -> bool {
        let spare = &mut self.spare[usize::from(shard.0)];
        if *spare == 0 {
            let asks = &self.switchboard.gauges[usize::from(shard.0)].asks;
            *spare = asks.enter(usize::from(self.at_once), self.switchboard.asks_max) as u8;
        }
        let some = *spare > 0;
        *spare -= u8::from(some);
        some
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        for (gauges, spare) in self.switchboard.gauges.iter().zip(&self.spare).filter(|(_, spare)| **spare > 0) {
            gauges.asks.leave(usize::from(*spare));
        }
    }
}

/// Ends the count of an ask that was let in.
struct UnderWay<'a>(&'a Asks);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.leave(1);
    }
}

/// An id from outside may name a shard that the deployment does not have: there is no such thing.
fn nowhere(address: &Address) -> Refusal {
    match address.kind() {
        Kind::Event => Refusal::UnknownEvent,
        Kind::Block => Refusal::UnknownBlock,
        Kind::Orders | Kind::Payments | Kind::Notifier => Refusal::UnknownOrder,
    }
}
