//! The fan-out of one worker thread: it reads each block's news once and rings for all its sessions.
//!
//! One watch a block and thread, whatever the number of sessions: changes cross threads once a worker. A session holds
//! only the number of what it has sent; texts are shared. Everything here lives on one thread and never blocks it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use actors::address::BlockRef;
use actors::ids::EventId;
use bytestring::ByteString;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use super::Live;
use crate::board::{Block, Event, Inbox, Watch};

/// How many changes a rendered board may be behind and still serve a newcomer, who gets the changes after it.
const BOARD_REUSE: u64 = 32;

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
}

/// One block that sessions of this thread follow.
struct Topic {
    id: u64,
    block: Arc<Block>,
    watch: Arc<Watch>,
    news: RefCell<News>,
    bells: Bells,
}

/// The latest changes of a block: those up to `seq`, as many as there are texts.
#[derive(Default)]
struct News {
    seq: u64,
    texts: VecDeque<ByteString>,
    board: Option<(u64, ByteString)>,
}

/// One event that sessions of this thread follow, by block or as a whole.
struct Venue {
    event: Arc<Event>,
    status: RefCell<ByteString>,
    counts: RefCell<Counts>,
    bells: Bells,
    /// Of the sessions that follow the places by state.
    counting: Bells,
}

/// How to wake the sessions that follow something, by their reader's name.
type Bells = RefCell<HashMap<u64, Rc<Notify>>>;

/// The places by state: the changes they contain, how often they were others, and their text.
#[derive(Default)]
struct Counts {
    changes: u64,
    edition: u64,
    text: ByteString,
}

/// What one session follows and how far it got.
pub(super) struct Reader {
    hub: Rc<Inner>,
    id: u64,
    bell: Rc<Notify>,
    venue: Rc<Venue>,
    status: ByteString,
    /// The edition of the counts that was sent, for sessions that follow no block.
    counts: u64,
    following: Vec<Following>,
    turn: usize,
}

struct Following {
    topic: Rc<Topic>,
    /// The last change that was sent; none: a board is due.
    sent: Option<u64>,
    /// Whether `sent` is the client's word.
    resuming: Cell<bool>,
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
        let bell = Rc::new(Notify::new());
        let venue = hub.venue(event.0, event.1);
        venue.bells.borrow_mut().insert(id, bell.clone());
        if blocks.is_empty() {
            venue.counting.borrow_mut().insert(id, bell.clone());
            venue.read_counts();
        }
        let following = blocks.into_iter().map(|(block, sent)| {
            let topic = hub.topic(block);
            topic.bells.borrow_mut().insert(id, bell.clone());
            Following { topic, sent, resuming: Cell::new(sent.is_some()) }
        });
        let following = following.collect();
        let status = venue.status.borrow().clone();
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
    loop {
        let ticked = tokio::select! {
            () = inbox.wait() => false,
            _ = tick.tick() => true,
        };
        let Some(hub) = hub.upgrade() else { return };
        hub.read_blocks();
        if ticked {
            hub.read_events();
        }
        if hub.live.is_closing() {
            hub.events.borrow().values().for_each(|venue| ring(&venue.bells));
        }
        if hub.events.borrow().is_empty() {
            hub.pumping.set(false);
            return;
        }
        drop(hub);
        // The sessions that were rung for come first.
        tokio::task::yield_now().await;
    }
}

fn ring(bells: &Bells) {
    bells.borrow().values().for_each(|bell| bell.notify_one());
}

impl Inner {
    fn name(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    fn read_blocks(&self) {
        for id in self.inbox.take() {
            if let Some(topic) = self.topics.borrow().get(&id) {
                topic.read(self.live.settings.queue_max);
                ring(&topic.bells);
            }
        }
    }

    fn read_events(&self) {
        for venue in self.events.borrow().values() {
            if venue.read_status(&self.live) {
                ring(&venue.bells);
            }
            if !venue.counting.borrow().is_empty() && venue.read_counts() {
                ring(&venue.counting);
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
    /// Reads what is new. What cannot be had change by change leaves no texts, and readers get the board.
    fn read(&self, queue_max: usize) {
        self.watch.seen();
        let mut news = self.news.borrow_mut();
        match self.block.texts_after(news.seq) {
            Some(texts) => {
                news.seq += texts.len() as u64;
                news.texts.extend(texts);
                let over = news.texts.len().saturating_sub(queue_max);
                news.texts.drain(..over);
            }
            None => *news = News { seq: self.block.seq(), ..News::default() },
        }
    }
}

impl News {
    /// The changes after `seq`, up to `self.seq`; `None` when one is gone.
    fn after(&self, seq: u64) -> Option<impl Iterator<Item = &ByteString>> {
        let missing = self.seq.saturating_sub(seq);
        let from = (self.texts.len() as u64).checked_sub(missing)?;
        Some(self.texts.range(from as usize..))
    }

    /// The block's board and the changes after it; `None` before there was one.
    fn board(&mut self, block: &Block) -> Option<(u64, Vec<ByteString>)> {
        let fresh =
            |(seq, _): &(u64, ByteString)| self.seq.saturating_sub(*seq) <= BOARD_REUSE.min(self.texts.len() as u64);
        if !self.board.as_ref().is_some_and(fresh) {
            self.board = block.board_text();
        }
        let (seq, text) = self.board.as_ref()?;
        let texts = std::iter::once(text).chain(self.after(*seq)?).cloned().collect();
        Some((self.seq.max(*seq), texts))
    }
}

impl Venue {
    /// Reads where the sale is; whether that is new.
    fn read_status(&self, live: &Live) -> bool {
        let status = self.event.status_text(live.board.now());
        let Some(status) = status.filter(|status| *self.status.borrow() != *status) else { return false };
        self.status.replace(status);
        true
    }

    /// Reads the places by state; whether they are others.
    fn read_counts(&self) -> bool {
        let mut counts = self.counts.borrow_mut();
        if counts.edition > 0 && counts.changes == self.event.changes() {
            return false;
        }
        let Some((changes, text)) = self.event.counts_text() else { return false };
        counts.changes = changes;
        let others = counts.text != text;
        if others {
            counts.edition += 1;
            counts.text = text;
        }
        others
    }
}

impl Reader {
    /// Whether the node wants the session to end.
    pub(super) fn is_closing(&self) -> bool {
        self.hub.live.is_closing()
    }

    /// Waits until there may be news.
    pub(super) async fn wait(&self) {
        self.bell.notified().await;
    }

    /// The next texts to send; none: all was sent. At most one block's, so that little is held while a slow client reads.
    pub(super) fn news(&mut self) -> Vec<ByteString> {
        let status = self.venue.status.borrow();
        if self.status != *status {
            self.status = status.clone();
            return vec![status.clone()];
        }
        drop(status);
        if self.following.is_empty() {
            return self.counts();
        }
        for _ in 0..self.following.len() {
            self.turn = (self.turn + 1) % self.following.len();
            let (sent, texts) = self.following[self.turn].news(&self.hub.live);
            self.following[self.turn].sent = sent;
            if !texts.is_empty() {
                return texts;
            }
        }
        Vec::new()
    }

    fn counts(&mut self) -> Vec<ByteString> {
        let counts = self.venue.counts.borrow();
        if counts.edition == self.counts {
            return Vec::new();
        }
        self.counts = counts.edition;
        vec![counts.text.clone()]
    }
}

impl Following {
    /// The texts after what was sent, and the number of the last of them.
    fn news(&self, live: &Live) -> (Option<u64>, Vec<ByteString>) {
        let resuming = self.resuming.replace(false);
        let mut news = self.topic.news.borrow_mut();
        if let Some(sent) = self.sent {
            if resuming {
                if let Some(texts) = self.topic.block.texts_after(sent) {
                    return (Some(sent + texts.len() as u64), texts);
                }
            } else if let Some(texts) = news.after(sent) {
                return (Some(sent.max(news.seq)), texts.cloned().collect());
            } else {
                live.board.observer().resynced();
            }
        }
        match news.board(&self.topic.block) {
            Some((seq, texts)) => (Some(seq), texts),
            None => (None, Vec::new()),
        }
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
