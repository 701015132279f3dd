//! The feed between nodes: how a board notices that it missed something.
//!
//! Messages of a shard's feed are numbered by its owner, anew in every epoch. They travel at most once. [`Outlet`] numbers
//! them; [`Intake`] says of each whether it may be folded in, and which shards have to be asked for their whole picture
//! because a message is missing, because they have a new owner, or because nothing was heard of them yet. A picture comes
//! as ordinary messages, closed by one that says from which number on it was drawn. Pure: no I/O, time is an argument.

use actors::bytes::End;
use actors::feed::Feed;
use actors::ids::Shard;
use actors::planted::{self, Bug};
use actors::time::{Millis, Span};
use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Serialize};

/// First byte of every packet of the feed.
const VERSION: u8 = 1;

/// Most bytes that one packet may claim.
const BYTES_MAX: usize = 64 * 1024 * 1024;

const CODEC: Configuration<LittleEndian, Varint, Limit<BYTES_MAX>> = config::standard().with_limit();

/// How long a message that a heartbeat speaks of may be on its way before it counts as lost.
const ON_THE_WAY_MAX: Span = Span(500);

/// Wait before a picture that does not come is asked for again.
const ASK_AGAIN: Span = Span(1000);

/// One message of a shard's feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Whose feed.
    pub shard: u16,
    /// Of which owner.
    pub epoch: u64,
    /// Its number within the epoch, from 1, without gaps.
    pub number: u64,
    /// What it says.
    pub part: Part,
}

/// What a message of the feed says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// What changed, or pieces of a picture.
    Feed(Vec<Feed>),
    /// All pictures of the shard were told after the message with this number.
    Pictured {
        /// The last message before the first picture.
        after: u64,
    },
}

/// Appends a message to a packet; an empty packet gets its version first.
pub fn put(packet: &mut Vec<u8>, told: &Told) {
    if packet.is_empty() {
        packet.push(VERSION);
    }
    bincode::serde::encode_into_writer(told, End(packet), CODEC).expect("a feed message can be encoded");
}

/// The messages of a packet; `None` if it is of another version or damaged.
#[must_use]
pub fn unpack(packet: &[u8]) -> Option<Vec<Told>> {
    let (&VERSION, mut rest) = packet.split_first()? else { return None };
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let (told, used) = bincode::serde::decode_from_slice(rest, CODEC).ok()?;
        rest = rest.get(used..)?;
        messages.push(told);
    }
    Some(messages)
}

/// Numbers the feed of one shard for its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlet {
    epoch: u64,
    number: u64,
    /// The last message before the picture that is being told.
    picture_after: Option<u64>,
}

impl Outlet {
    /// The feed of a shard that this node has just become the owner of.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self { epoch, number: 0, picture_after: Some(0) }
    }

    /// The number of the last message.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Pictures come next, unless they are on their way already: says whether they must be drawn.
    pub fn picture(&mut self) -> bool {
        let fresh = self.picture_after.is_none();
        self.picture_after.get_or_insert(self.number);
        fresh
    }

    /// The next message.
    pub fn tell(&mut self, shard: Shard, feed: Vec<Feed>) -> Told {
        self.next(shard, Part::Feed(feed))
    }

    /// All pictures were told.
    pub fn pictured(&mut self, shard: Shard) -> Told {
        let after = self.picture_after.take().unwrap_or(self.number);
        self.next(shard, Part::Pictured { after })
    }

    fn next(&mut self, shard: Shard, part: Part) -> Told {
        self.number += 1;
        Told { shard: shard.0, epoch: self.epoch, number: self.number, part }
    }
}

/// Stands for "all of this epoch": the shard is this node's.
const OWN: u64 = u64::MAX;

/// What is known of one shard's feed.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    epoch: u64,
    /// The last message.
    number: u64,
    /// The last message that was missing before it came to this one; 0 at the start of an epoch that was heard whole.
    gap: Option<u64>,
    /// When the picture was last asked for.
    asked: Option<Millis>,
    /// A heartbeat spoke of a message that has not come, and when it first did.
    missing: Option<(u64, Millis)>,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Fold it in.
    Fold,
    /// It is old news, or of an owner that was overtaken.
    Ignore,
}

/// Watches the feeds of all shards of other nodes.
#[derive(Debug)]
pub struct Intake {
    shards: Vec<Heard>,
}

impl Intake {
    /// Nothing was heard of any shard.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        let unknown = Heard { gap: Some(0), ..Heard::default() };
        Self { shards: vec![unknown; usize::from(shards)] }
    }

    /// A message has come.
    pub fn hear(&mut self, told: &Told) -> Verdict {
        let Some(heard) = self.shards.get_mut(usize::from(told.shard)) else { return Verdict::Ignore };
        if (told.epoch, told.number) <= (heard.epoch, heard.number) {
            return Verdict::Ignore;
        }
        let whole = if told.epoch == heard.epoch { told.number == heard.number + 1 } else { told.number == 1 };
        if told.epoch > heard.epoch {
            // What the owner before may have told last is unknown: its successor begins with a picture.
            *heard = Heard { epoch: told.epoch, gap: Some(0), ..Heard::default() };
        }
        if !whole && !planted::is(Bug::GapIgnored) {
            heard.gap = Some(told.number - 1);
        }
        heard.number = told.number;
        if heard.missing.is_some_and(|(number, _)| number <= told.number) {
            heard.missing = None;
        }
        if let Part::Pictured { after } = told.part
            && heard.gap.is_some_and(|gap| gap <= after)
        {
            (heard.gap, heard.asked) = (None, None);
        }
        Verdict::Fold
    }

    /// A living owner says that its feed has come so far.
    pub fn expect(&mut self, shard: Shard, epoch: u64, number: u64, now: Millis) {
        let Some(heard) = self.shards.get_mut(usize::from(shard.0)) else { return };
        if (epoch, number) <= (heard.epoch, heard.number) {
            return;
        }
        if epoch > heard.epoch {
            *heard = Heard { epoch, gap: Some(0), ..Heard::default() };
        }
        if number > heard.number {
            heard.missing.get_or_insert((number, now));
        }
    }

    /// The board says that something of the shard is missing: its pictures are asked for.
    pub fn doubt(&mut self, shard: Shard) {
        if let Some(heard) = self.shards.get_mut(usize::from(shard.0)).filter(|heard| heard.number != OWN) {
            heard.gap = Some(heard.number);
        }
    }

    /// This node owns the shard itself now: its own board is told first-hand.
    pub fn own(&mut self, shard: Shard, epoch: u64) {
        if let Some(heard) = self.shards.get_mut(usize::from(shard.0)) {
            *heard = Heard { epoch, number: OWN, ..Heard::default() };
        }
    }

    /// Whether nothing of the shard's feed is known to be missing.
    #[must_use]
    pub fn is_whole(&self, shard: Shard) -> bool {
        self.shards[usize::from(shard.0)].gap.is_none()
    }

    /// The shards whose pictures must be asked for now.
    pub fn due(&mut self, now: Millis) -> Vec<Shard> {
        let mut due = Vec::new();
        for (shard, heard) in (0..).zip(&mut self.shards) {
            if let Some((number, since)) = heard.missing
                && since + ON_THE_WAY_MAX <= now
            {
                heard.gap = Some(number);
                heard.missing = None;
            }
            let asked = heard.asked.is_some_and(|asked| now < asked + ASK_AGAIN);
            if heard.gap.is_some() && heard.epoch > 0 && !asked {
                heard.asked = Some(now);
                due.push(Shard(shard));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SHARD: Shard = Shard(1);

    fn owner(epoch: u64) -> Outlet {
        Outlet::new(epoch)
    }

    fn settled() -> (Outlet, Intake) {
        let (mut outlet, mut intake) = (owner(1), Intake::new(2));
        assert_eq!(intake.hear(&outlet.tell(SHARD, Vec::new())), Verdict::Fold);
        assert!(!intake.is_whole(SHARD), "pieces are no picture yet");
        intake.hear(&outlet.pictured(SHARD));
        assert!(intake.is_whole(SHARD));
        (outlet, intake)
    }

    #[test]
    fn an_unheard_shard_waits_for_an_owner_and_is_then_asked() {
        let mut intake = Intake::new(2);
        assert_eq!(intake.due(Millis(0)), [], "there is nobody to ask");
        intake.expect(SHARD, 3, 10, Millis(0));
        assert_eq!(intake.due(Millis(0)), [SHARD]);
        assert_eq!(intake.due(Millis(999)), [], "asked already");
        assert_eq!(intake.due(Millis(1000)), [SHARD], "once more");
    }

    #[test]
    fn a_picture_heals_a_gap_only_if_it_was_drawn_after_it() {
        let (mut outlet, mut intake) = settled();
        assert!(outlet.picture(), "somebody else asked");
        let piece = outlet.tell(SHARD, Vec::new());
        drop(outlet.tell(SHARD, Vec::new()));
        let closing = outlet.pictured(SHARD);
        assert_eq!((intake.hear(&piece), intake.hear(&closing)), (Verdict::Fold, Verdict::Fold));
        assert!(!intake.is_whole(SHARD), "a piece of that picture is missing");
        assert_eq!(intake.due(Millis(0)), [SHARD]);
        assert!(outlet.picture());
        intake.hear(&outlet.tell(SHARD, Vec::new()));
        intake.hear(&outlet.pictured(SHARD));
        assert!(intake.is_whole(SHARD));
        assert_eq!(intake.due(Millis(9)), []);
    }

    #[test]
    fn a_lost_last_message_shows_when_the_owner_speaks_of_it() {
        let (mut outlet, mut intake) = settled();
        drop(outlet.tell(SHARD, Vec::new()));
        intake.expect(SHARD, 1, outlet.number(), Millis(100));
        assert!(intake.due(Millis(599)).is_empty(), "it may be on its way");
        assert_eq!(intake.due(Millis(600)), [SHARD]);
    }

    #[test]
    fn a_message_that_was_only_late_is_no_gap() {
        let (mut outlet, mut intake) = settled();
        let late = outlet.tell(SHARD, Vec::new());
        intake.expect(SHARD, 1, outlet.number(), Millis(100));
        intake.hear(&late);
        assert!(intake.due(Millis(10_000)).is_empty());
    }

    #[test]
    fn a_new_owner_begins_with_a_picture_and_the_old_one_is_not_heard_any_more() {
        let (mut old, mut intake) = settled();
        let mut new = owner(2);
        assert_eq!(intake.hear(&new.tell(SHARD, Vec::new())), Verdict::Fold);
        assert!(!intake.is_whole(SHARD));
        assert_eq!(intake.hear(&old.tell(SHARD, Vec::new())), Verdict::Ignore);
        intake.hear(&new.pictured(SHARD));
        assert!(intake.is_whole(SHARD));
    }

    #[test]
    fn a_board_that_doubts_gets_a_picture_unless_the_shard_is_its_own() {
        let (mut outlet, mut intake) = settled();
        intake.doubt(SHARD);
        assert_eq!(intake.due(Millis(0)), [SHARD]);
        assert!(outlet.picture());
        intake.hear(&outlet.pictured(SHARD));
        assert!(intake.is_whole(SHARD));
        intake.own(SHARD, 2);
        intake.doubt(SHARD);
        assert!(intake.is_whole(SHARD));
    }

    #[test]
    fn what_comes_twice_is_folded_once() {
        let (mut outlet, mut intake) = settled();
        let told = outlet.tell(SHARD, Vec::new());
        assert_eq!((intake.hear(&told), intake.hear(&told)), (Verdict::Fold, Verdict::Ignore));
    }

    #[test]
    fn a_picture_is_drawn_once_for_all_who_ask_at_the_same_time() {
        let (mut outlet, _) = settled();
        assert!(outlet.picture());
        assert!(!outlet.picture());
        outlet.pictured(SHARD);
        assert!(outlet.picture());
    }

    #[test]
    fn a_packet_is_these_bytes_and_reads_back() {
        let mut outlet = owner(300);
        let told = [outlet.tell(SHARD, Vec::new()), outlet.pictured(SHARD)];
        let mut packet = Vec::new();
        told.iter().for_each(|told| put(&mut packet, told));
        let golden = [1, 1, 251, 44, 1, 1, 0, 0, 1, 251, 44, 1, 2, 1, 0];
        assert_eq!(packet, golden);
        assert_eq!(unpack(&packet).unwrap(), told);
        assert_eq!(unpack(&packet[..packet.len() - 1]), None);
        assert_eq!(unpack(&[2]), None);
    }
}
