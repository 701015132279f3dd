//! Stories of the event desk: what the organizer says, and what the blocks are owed for it.
#![allow(clippy::unwrap_used)]

use actors::address::Address;
use actors::block::{self, Layout, Row};
use actors::event::{
    BlockPatch, BlockSpec, Change, Command, Description, EventDesk, EventSpec, Patch, Reply, Rules, RulesPatch, Sale,
    Status,
};
use actors::feed::Feed;
use actors::keyed::Keyed;
use actors::machine::{Effect, Moment, Turned, turn};
use actors::message::Message;
use actors::money::Currency;
use actors::policy::Policy;
use actors::refusal::Refusal;
use actors::time::{Millis, Span};

const START: Millis = Millis(1_000_000);

struct Story {
    now: Millis,
    policy: Policy,
    desk: Keyed<EventDesk>,
}

fn spec(on_sale_at: Option<Millis>) -> EventSpec {
    let block = |id: &str| BlockSpec {
        id: id.into(),
        name: id.to_owned(),
        layout: Layout::Seated(vec![Row { name: "1".to_owned(), seats: 10 }]),
        price: 1000,
    };
    EventSpec {
        id: "gig".into(),
        name: "Gig".to_owned(),
        venue: "Hall".to_owned(),
        starts_at: Millis(9_000_000),
        currency: Currency(*b"EUR"),
        on_sale_at,
        rules: Rules { hold_ttl: Span::seconds(60), max_per_hold: 4, max_per_customer: None, no_orphans: true },
        blocks: vec![block("A"), block("B")],
    }
}

impl Story {
    fn begin(on_sale_at: Option<Millis>) -> Self {
        let mut story = Self { now: START, policy: Policy::default(), desk: Keyed::new(&Address::Event("gig".into())) };
        let created = story.tell(Command::Create(Box::new(spec(on_sale_at))));
        assert!(matches!(created.answers[0].result, Ok(Reply::Created(_))));
        assert_eq!(setups(&created), [("A".to_owned(), 1), ("B".to_owned(), 1)]);
        story
    }

    fn tell(&mut self, command: Command) -> Turned<EventDesk> {
        turn(&mut self.desk, Moment { now: self.now, policy: &self.policy }, [command.into()])
    }

    fn wake_at(&mut self, now: Millis) -> Turned<EventDesk> {
        self.now = now;
        turn(&mut self.desk, Moment { now, policy: &self.policy }, [])
    }

    fn confirm(&mut self, block: &str, revision: u64) -> Turned<EventDesk> {
        self.tell(Command::Configured { block: block.into(), revision })
    }

    fn described(&mut self) -> Description {
        match self.tell(Command::Show).answers.remove(0).result.unwrap() {
            Reply::Event(described) | Reply::Created(described) => *described,
            Reply::Noted => panic!("not a description"),
        }
    }

    fn status(&mut self) -> Status {
        let now = self.now;
        self.described().status(now)
    }

    fn refused(&mut self, command: Command) -> Refusal {
        self.tell(command).answers.remove(0).result.unwrap_err()
    }
}

/// The setups that were sent, by block and revision.
fn setups(turned: &Turned<EventDesk>) -> Vec<(String, u64)> {
    let setup = |effect: &Effect| match effect {
        Effect::Tell(Address::Block(to), Message::Block(block::Command::Configure(setup))) => {
            Some((to.block.to_string(), setup.revision))
        }
        Effect::Tell(..) | Effect::Call(_) | Effect::Deliver(_) => None,
    };
    turned.effects.iter().filter_map(setup).collect()
}

#[test]
fn an_event_is_on_sale_when_every_block_has_its_setup() {
    let mut story = Story::begin(None);
    assert_eq!(story.status(), Status::Scheduled);
    story.confirm("A", 1);
    assert_eq!(story.status(), Status::Scheduled);
    let last = story.confirm("B", 1);
    assert!(matches!(last.feed[..], [Feed::Event(_)]), "the public hears that it is on sale");
    assert_eq!(story.status(), Status::OnSale);
    assert_eq!(story.desk.deadline(), None);
}

#[test]
fn an_unanswered_setup_is_sent_again_to_whoever_has_not_answered() {
    let mut story = Story::begin(None);
    story.confirm("A", 1);
    let due = story.desk.deadline().unwrap();
    assert_eq!(due, START + story.policy.resend_min);
    let woken = story.wake_at(due);
    assert_eq!(setups(&woken), [("B".to_owned(), 1)]);
    assert!(story.desk.deadline().unwrap() > due + story.policy.resend_min, "the pace slows down");
}

#[test]
fn the_same_description_again_is_fine_and_another_is_refused() {
    let mut story = Story::begin(None);
    let again = story.tell(Command::Create(Box::new(spec(None))));
    assert!(matches!(again.answers[0].result, Ok(Reply::Event(_))) && again.entries.is_empty());
    let other = EventSpec { venue: "Elsewhere".to_owned(), ..spec(None) };
    assert_eq!(story.refused(Command::Create(Box::new(other))), Refusal::EventExists);
}

#[test]
fn a_scheduled_sale_opens_by_itself_and_the_public_hears_of_it() {
    let opens = Millis(2_000_000);
    let mut story = Story::begin(Some(opens));
    story.confirm("A", 1);
    story.confirm("B", 1);
    assert_eq!(story.desk.deadline(), Some(opens));
    story.wake_at(Millis(opens.0 - 1));
    assert_eq!(story.status(), Status::Scheduled);
    let woken = story.wake_at(opens);
    assert!(matches!(woken.feed[..], [Feed::Event(_)]));
    assert_eq!((story.status(), story.desk.deadline()), (Status::OnSale, None));
}

#[test]
fn opening_pausing_and_closing_reach_every_block() {
    let mut story = Story::begin(Some(Millis(2_000_000)));
    story.confirm("A", 1);
    story.confirm("B", 1);
    let opened = story.tell(Command::Open);
    assert_eq!(setups(&opened), [("A".to_owned(), 2), ("B".to_owned(), 2)]);
    assert_eq!(story.described().spec.on_sale_at, None);
    assert_eq!(setups(&story.tell(Command::Open)), [], "opening what is open says nothing new");
    story.tell(Command::Pause);
    assert_eq!(story.status(), Status::Paused);
    story.confirm("A", 2);
    assert!(story.desk.deadline().is_some(), "an old confirmation is not enough");
    story.tell(Command::Close);
    assert_eq!(story.refused(Command::Open), Refusal::EventClosed);
    assert_eq!(story.refused(Command::Patch(Box::default())), Refusal::EventClosed);
    assert_eq!(story.described().sale, Sale::Closed);
}

#[test]
fn a_patch_changes_what_it_names_and_an_unknown_block_is_named() {
    let mut story = Story::begin(None);
    let price = BlockPatch { id: "B".into(), name: None, price: Some(2500) };
    let patch = Patch { venue: Some("Arena".to_owned()), blocks: vec![price], ..Patch::default() };
    let patched = story.tell(Command::Patch(Box::new(patch)));
    assert_eq!(setups(&patched).len(), 2);
    let described = story.described();
    assert_eq!((described.spec.venue.as_str(), described.spec.blocks[1].price), ("Arena", 2500));
    assert_eq!((described.spec.name.as_str(), described.revision), ("Gig", 2));
    let unknown = BlockPatch { id: "Z".into(), name: None, price: Some(1) };
    let refused = story.refused(Command::Patch(Box::new(Patch { blocks: vec![unknown], ..Patch::default() })));
    let rule = "must be a block of this event".to_owned();
    assert_eq!(refused, Refusal::BadChange { field: "blocks[0].id".to_owned(), rule });
}

#[test]
fn two_organizers_who_change_different_rules_both_have_their_way() {
    let mut story = Story::begin(None);
    let patch = |rules| Command::Patch(Box::new(Patch { rules: Some(rules), ..Patch::default() }));
    let fewer = RulesPatch { max_per_hold: Some(2), max_per_customer: Some(Some(8)), ..RulesPatch::default() };
    let longer = RulesPatch { hold_ttl: Some(Span::seconds(90)), no_orphans: Some(false), ..RulesPatch::default() };
    for rules in [fewer, longer] {
        story.tell(patch(rules));
    }
    let both = Rules { hold_ttl: Span::seconds(90), max_per_hold: 2, max_per_customer: Some(8), no_orphans: false };
    assert_eq!(story.described().spec.rules, both);
    story.tell(patch(RulesPatch { max_per_customer: Some(None), ..RulesPatch::default() }));
    assert_eq!(story.described().spec.rules, Rules { max_per_customer: None, ..both });
}

#[test]
fn a_patch_is_stored_as_ever() {
    let price = BlockPatch { id: "B".into(), name: None, price: Some(2500) };
    let rules = Rules { hold_ttl: Span(100), max_per_hold: 4, max_per_customer: Some(8), no_orphans: true };
    let (name, on_sale_at) = (Some("n".to_owned()), Some(None));
    let patch = Patch { name, venue: None, starts_at: None, on_sale_at, rules: Some(rules), blocks: vec![price] };
    let stored = Change::Patched { patch: Box::new(patch), due: Millis(7) };
    let bytes = bincode::serde::encode_to_vec(&stored, bincode::config::standard()).unwrap();
    let golden =
        [&[1, 1, 1, b'n', 0, 0, 1, 0][..], &[1, 100, 4, 1, 8, 1], &[1, 1, b'B', 0, 1, 251, 196, 9], &[7]].concat();
    assert_eq!(bytes, golden);
}

#[test]
fn a_desk_without_an_event_knows_nothing() {
    let mut story = Story::begin(None);
    story.desk = Keyed::new(&Address::Event("gig".into()));
    assert_eq!(story.refused(Command::Show), Refusal::UnknownEvent);
    assert_eq!(story.refused(Command::Open), Refusal::UnknownEvent);
    assert_eq!(story.refused(Command::Configured { block: "A".into(), revision: 1 }), Refusal::UnknownEvent);
}
