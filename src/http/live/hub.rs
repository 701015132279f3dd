//! The fan-out of one worker thread: it reads each block's news once and rings for all its sessions, which write at once
//! where they can.
//!
//! One watch a block and thread, whatever the number of sessions: changes cross threads once a worker. A session holds
//! only the number of what it has sent; frames are made once and shared. Everything here lives on one thread and never blocks it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::web::Bytes;
use actors::address::BlockRef;
use actors::ids::EventId;
use bytestring::ByteString;
use tokio::time::{MissedTickBehavior, interval};

use super::bell::Bell;
use super::frames::framed;
use super::{INBOUND_MAX, Live};
use crate::board::{Block, Event, Inbox, Watch};

/// How many changes a rendered board may be behind and still serve a newcomer, who gets the changes after it.
const BOARD_REUSE: u64 = 32;

/// Sessions that are told before the thread's other tasks have their turn: a change to thousands of readers must not
/// keep requests waiting until all have it. Fewer look at the sockets more often.
const RING_MAX: usize = 64;

/// The live sessions of one worker thread.
pub struct Hub(Rc<Inner>);

struct Inner {
    live: Arc<Live>,
    inbox: Arc<Inbox>,
    pumping: Cell<bool>,
    /// Names of topics and readers.
    next: Cell<u64>,
    topics: RefCell<HashMap<u64, Rc<Topic>>>,
    of_block: RefCell<HashMap<BlockRef, u64>>,
    events: RefCell<HashMap<EventId, Rc<Venue>>>,
    /// Room for what a client says.
    received: Cell<Vec<u8>>,
}

/// One block that sessions of this thread follow.
struct Topic {
    id: u64,
    block: Arc<Block>,
    watch: Arc<Watch>,
    news: RefCell<News>,
    bells: Bells,
}

/// The latest changes of a block: those up to `seq`, as many as there are frames.
#[derive(Default)]
struct News {
    seq: u64,
    frames: VecDeque<Bytes>,
    board: Option<(u64, Bytes)>,
}

/// What comes after a change.
enum After {
    Frame(Bytes),
    Nothing,
    /// It is no longer here.
    Gone,
}

/// One event that sessions of this thread follow, by block or as a whole.
struct Venue {
    event: Arc<Event>,
    status: RefCell<Telling>,
    counts: RefCell<Counts>,
    bells: Bells,
    /// Of the sessions that follow the places by state.
    counting: Bells,
}

/// How to wake the sessions that follow something, by their reader's name.
type Bells = RefCell<HashMap<u64, Rc<Bell>>>;

/// What all hear when it is another: how often it was, and its frame.
#[derive(Default)]
struct Telling {
    edition: u64,
    text: ByteString,
    frame: Bytes,
}

/// The places by state, and the changes they contain.
#[derive(Default)]
struct Counts {
    changes: u64,
    telling: Telling,
}

/// What one session follows and how far it got.
pub(super) struct Reader {
    hub: Rc<Inner>,
    id: u64,
    bell: Rc<Bell>,
    venue: Rc<Venue>,
    /// The edition of the status that the session knows.
    status: u64,
    /// The edition of the counts that was sent, for sessions that follow no block.
    counts: u64,
    following: Box<[Following]>,
    turn: usize,
}

struct Following {
    topic: Rc<Topic>,
    /// The last change that was sent; none: a board is due.
    sent: Option<u64>,
    /// Whether `sent` is the client's word.
    is_resuming: bool,
    /// Changes that were rendered for this session alone, up to `sent`.
    missed: VecDeque<ByteString>,
}

impl Hub {
    pub(super) fn new(live: Arc<Live>) -> Self {
        Self(Rc::new(Inner {
            live,
            inbox: Arc::default(),
            pumping: Cell::new(false),
            next: Cell::new(0),
            topics: RefCell::default(),
            of_block: RefCell::default(),
            events: RefCell::default(),
            received: Cell::new(vec![0; INBOUND_MAX]),
        }))
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.0.live
    }

    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.0.inbox
    }

    /// A session that follows these blocks, each after a change the client has or from its board on; no blocks: the
    /// places by state.
    pub(super) fn reader(&self, event: (&EventId, Arc<Event>), blocks: Vec<(Arc<Block>, Option<u64>)>) -> Reader {
        let hub = self.0.clone();
        let id = hub.name();
        let bell = Rc::<Bell>::default();
        let venue = hub.venue(event.0, event.1);
        venue.bells.borrow_mut().insert(id, bell.clone());
        if blocks.is_empty() {
            venue.counting.borrow_mut().insert(id, bell.clone());
            venue.read_counts();
        }
        let following = blocks.into_iter().map(|(block, sent)| {
            let topic = hub.topic(block);
            topic.bells.borrow_mut().insert(id, bell.clone());
            Following { topic, sent, is_resuming: sent.is_some(), missed: VecDeque::new() }
        });
        let following = following.collect();
        let status = venue.status.borrow().edition;
        if !hub.pumping.replace(true) {
            actix_web::rt::spawn(pump(Rc::downgrade(&hub), hub.inbox.clone()));
        }
        Reader { hub, id, bell, venue, status, counts: 0, following, turn: 0 }
    }
}

/// Rings for the sessions of a thread until none is left.
async fn pump(hub: Weak<Inner>, inbox: Arc<Inbox>) {
    let Some(every) = hub.upgrade().map(|hub| hub.live.settings.counts_interval) else { return };
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = Vec::new();
    loop {
        let ticked = tokio::select! {
            () = inbox.wait() => false,
            _ = tick.tick() => true,
        };
        let Some(hub) = hub.upgrade() else { return };
        hub.read_blocks(&mut due);
        if ticked {
            hub.read_events(&mut due);
        }
        if hub.live.is_closing() {
            hub.events.borrow().values().for_each(|venue| due.extend(venue.bells.borrow().values().cloned()));
        }
        if hub.events.borrow().is_empty() {
            hub.pumping.set(false);
            return;
        }
        drop(hub);
        for some in due.chunks(RING_MAX) {
            some.iter().for_each(|bell: &Rc<Bell>| bell.ring());
            // Sessions that were woken come first.
            tokio::task::yield_now().await;
        }
        due.clear();
    }
}

impl Telling {
    /// Takes a text over; whether it is another.
    fn take(&mut self, text: ByteString) -> bool {
        let is_other = self.edition == 0 || self.text != text;
        if is_other {
            (self.edition, self.frame, self.text) = (self.edition + 1, framed(&text), text);
        }
        is_other
    }
}

impl Inner {
    fn name(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// Adds the sessions to wake, as [`Inner::read_events`] does.
    fn read_blocks(&self, due: &mut Vec<Rc<Bell>>) {
        for id in self.inbox.take() {
            if let Some(topic) = self.topics.borrow().get(&id) {
                topic.read(self.live.settings.queue_max);
                due.extend(topic.bells.borrow().values().cloned());
            }
        }
    }

    fn read_events(&self, due: &mut Vec<Rc<Bell>>) {
        for venue in self.events.borrow().values() {
            if venue.read_status(&self.live) {
                due.extend(venue.bells.borrow().values().cloned());
            }
            if !venue.counting.borrow().is_empty() && venue.read_counts() {
                due.extend(venue.counting.borrow().values().cloned());
            }
        }
    }

    fn topic(&self, block: Arc<Block>) -> Rc<Topic> {
        let mut topics = self.topics.borrow_mut();
        let mut of_block = self.of_block.borrow_mut();
        if let Some(known) = of_block.get(block.at()).and_then(|id| topics.get(id)) {
            return known.clone();
        }
        let id = self.name();
        let watch = Arc::new(Watch::new(id, self.inbox.clone()));
        block.watch(&watch);
        of_block.insert(block.at().clone(), id);
        let news = News { seq: block.seq(), ..News::default() };
        let topic = Rc::new(Topic { id, block, watch, news: RefCell::new(news), bells: RefCell::default() });
        topics.insert(id, topic.clone());
        topic
    }

    fn venue(&self, id: &EventId, event: Arc<Event>) -> Rc<Venue> {
        let make = || {
            let venue = Venue {
                event,
                status: RefCell::default(),
                counts: RefCell::default(),
                bells: RefCell::default(),
                counting: RefCell::default(),
            };
            venue.read_status(&self.live);
            Rc::new(venue)
        };
        self.events.borrow_mut().entry(id.clone()).or_insert_with(make).clone()
    }
}

impl Topic {
    /// Reads what is new. What cannot be had change by change leaves no frames, and readers get the board.
    fn read(&self, queue_max: usize) {
        self.watch.seen();
        let mut news = self.news.borrow_mut();
        match self.block.texts_after(news.seq) {
            Some(texts) => {
                news.seq += texts.len() as u64;
                news.frames.extend(texts.iter().map(framed));
                let over = news.frames.len().saturating_sub(queue_max);
                news.frames.drain(..over);
            }
            None => *news = News { seq: self.block.seq(), ..News::default() },
        }
    }
}

impl News {
    /// The change after `seq`.
    fn after(&self, seq: u64) -> After {
        let missing = self.seq.saturating_sub(seq);
        if missing == 0 {
            return After::Nothing;
        }
        let at = (self.frames.len() as u64).checked_sub(missing);
        match at.and_then(|at| self.frames.get(at as usize)) {
            Some(frame) => After::Frame(frame.clone()),
            None => After::Gone,
        }
    }

    /// The block's board and the number of its last change, after which all changes are here; `None` before there was one.
    fn board(&mut self, block: &Block) -> Option<(u64, Bytes)> {
        let fresh =
            |(seq, _): &(u64, Bytes)| self.seq.saturating_sub(*seq) <= BOARD_REUSE.min(self.frames.len() as u64);
        if !self.board.as_ref().is_some_and(fresh) {
            self.board = block.board_text().map(|(seq, text)| (seq, framed(&text)));
        }
        self.board.clone()
    }
}

impl Venue {
    /// Reads where the sale is; whether that is new.
    fn read_status(&self, live: &Live) -> bool {
        let status = self.event.status_text(live.board.now());
        status.is_some_and(|status| self.status.borrow_mut().take(status))
    }

    /// Reads the places by state; whether they are others.
    fn read_counts(&self) -> bool {
        let mut counts = self.counts.borrow_mut();
        if counts.telling.edition > 0 && counts.changes == self.event.changes() {
            return false;
        }
        let Some((changes, text)) = self.event.counts_text() else { return false };
        counts.changes = changes;
        counts.telling.take(text)
    }
}

impl Reader {
    /// Whether the node wants the session to end.
    pub(super) fn is_closing(&self) -> bool {
        self.hub.live.is_closing()
    }

    /// What rings for it.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The thread's room for what a client says; to be given back.
    pub(super) fn take_buffer(&self) -> Vec<u8> {
        self.hub.received.take()
    }

    /// Gives the room back.
    pub(super) fn give_buffer(&self, buffer: Vec<u8>) {
        self.hub.received.set(buffer);
    }

    /// Ready when there may be news.
    pub(super) fn poll_bell(&self, cx: &Context<'_>) -> Poll<()> {
        self.bell.poll(cx)
    }

    /// The next frame to send; none: all was sent. Blocks take turns.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let status = self.venue.status.borrow();
        if self.status != status.edition {
            self.status = status.edition;
            return Some(status.frame.clone());
        }
        drop(status);
        if self.following.is_empty() {
            return self.counts();
        }
        for _ in 0..self.following.len() {
            self.turn = (self.turn + 1) % self.following.len();
            if let Some(frame) = self.following[self.turn].next(&self.hub.live) {
                return Some(frame);
            }
        }
        None
    }

    fn counts(&mut self) -> Option<Bytes> {
        let telling = &self.venue.counts.borrow().telling;
        if telling.edition == self.counts {
            return None;
        }
        self.counts = telling.edition;
        Some(telling.frame.clone())
    }
}

impl Following {
    /// The frame after what was sent.
    fn next(&mut self, live: &Live) -> Option<Bytes> {
        if let Some(text) = self.missed.pop_front() {
            return Some(framed(&text));
        }
        if std::mem::take(&mut self.is_resuming) && self.sent.is_some_and(|sent| !self.resumes(sent)) {
            self.sent = None;
        }
        if let Some(text) = self.missed.pop_front() {
            return Some(framed(&text));
        }
        let mut news = self.topic.news.borrow_mut();
        if let Some(sent) = self.sent {
            match news.after(sent) {
                After::Frame(frame) => {
                    self.sent = Some(sent + 1);
                    return Some(frame);
                }
                After::Nothing => return None,
                After::Gone => live.board.observer().resynced(),
            }
            self.sent = None;
        }
        let (seq, board) = news.board(&self.topic.block)?;
        self.sent = Some(seq);
        Some(board)
    }

    /// Takes over the changes after what a client says it has; false: one is gone, or was never there.
    fn resumes(&mut self, sent: u64) -> bool {
        let Some(texts) = self.topic.block.texts_after(sent) else { return false };
        self.sent = Some(sent + texts.len() as u64);
        self.missed = texts.into();
        true
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for Following { topic, .. } in &self.following {
            topic.bells.borrow_mut().remove(&self.id);
            if topic.bells.borrow().is_empty() {
                topic.block.unwatch(&topic.watch);
                self.hub.topics.borrow_mut().remove(&topic.id);
                self.hub.of_block.borrow_mut().remove(topic.block.at());
            }
        }
        self.venue.bells.borrow_mut().remove(&self.id);
        self.venue.counting.borrow_mut().remove(&self.id);
        if self.venue.bells.borrow().is_empty() {
            self.hub.events.borrow_mut().retain(|_, known| !Rc::ptr_eq(known, &self.venue));
        }
    }
}
