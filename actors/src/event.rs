//! The event desk: one concert's description, rules and sale.
//!
//! Owns what the organizer said. Its state then owes every block its layout, price and rules until the block has said
//! that it has them; the event is on sale when all have. It never touches a seat: those are [`crate::block`]'s.

mod patch;

use serde::{Deserialize, Serialize};

pub use patch::{BlockPatch, Patch, RulesPatch};

use crate::address::{Address, BlockRef};
use crate::block::{self, Layout, Setup};
use crate::feed::Feed;
use crate::ids::{BlockId, EventId};
use crate::machine::{Machine, Moment, Outbox};
use crate::money::{Currency, Money};
use crate::refusal::Refusal;
use crate::time::{Millis, Span};

/// What one hold and one customer may have. Every rule is resolved here: defaults are the edge's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How long a hold lasts.
    pub hold_ttl: Span,
    /// Most places in one hold.
    pub max_per_hold: u32,
    /// Most bound and sold places a customer may have in the event, and held ones within a block; `None` for no limit.
    pub max_per_customer: Option<u32>,
    /// Whether a choice may not leave a single seat alone.
    pub no_orphans: bool,
}

/// What the organizer has decided about the sale. The public [`Status`] follows from it and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sale {
    /// Open, from `on_sale_at` on if there is one.
    Open,
    /// Interrupted: no new holds; what is held may be bought.
    Paused,
    /// Over for good.
    Closed,
}

/// The sale as the public sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It will open.
    Scheduled,
    /// It is open.
    OnSale,
    /// It is interrupted.
    Paused,
    /// It is over.
    Closed,
}

impl Status {
    /// The status' public name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Scheduled => "scheduled",
            Status::OnSale => "on_sale",
            Status::Paused => "paused",
            Status::Closed => "closed",
        }
    }
}

/// One block as the organizer describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockSpec {
    /// Unique within the event.
    pub id: BlockId,
    /// What people call it.
    pub name: String,
    /// Rows and seats, or a capacity.
    pub layout: Layout,
    /// Price of a place in minor units of the event's currency.
    pub price: u64,
}

/// An event as the organizer describes it. Blocks are in the organizer's order: best first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventSpec {
    /// The slug.
    pub id: EventId,
    /// What people call it.
    pub name: String,
    /// Where it is.
    pub venue: String,
    /// When it starts.
    pub starts_at: Millis,
    /// What its prices are in.
    pub currency: Currency,
    /// When its sale opens; `None`: at once.
    pub on_sale_at: Option<Millis>,
    /// What may be bought.
    pub rules: Rules,
    /// Its blocks, best first.
    pub blocks: Vec<BlockSpec>,
}

/// An event as it is now: everything that is public about it except its seats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// As described, with all changes since.
    pub spec: EventSpec,
    /// What the organizer decided about the sale.
    pub sale: Sale,
    /// Whether every block has its layout and rules: not on sale before.
    pub ready: bool,
    /// Counts changes of this description, from 1.
    pub revision: u64,
    /// When it was created.
    pub created_at: Millis,
}

impl Description {
    /// The sale as the public sees it at a moment.
    #[must_use]
    pub fn status(&self, now: Millis) -> Status {
        match self.sale {
            Sale::Closed => Status::Closed,
            Sale::Paused => Status::Paused,
            Sale::Open if !self.ready || self.spec.on_sale_at.is_some_and(|at| now < at) => Status::Scheduled,
            Sale::Open => Status::OnSale,
        }
    }
}

/// What an event desk can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Create the event. The same description again changes nothing.
    Create(Box<EventSpec>),
    /// Change its description.
    Patch(Box<Patch<RulesPatch>>),
    /// Open the sale now, also before its time or after a pause.
    Open,
    /// Interrupt the sale.
    Pause,
    /// End the sale for good.
    Close,
    /// Read it.
    Show,
    /// From a block: it has the setup of that revision.
    Configured {
        /// Which block.
        block: BlockId,
        /// Of which revision.
        revision: u64,
    },
}

/// What an event desk answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The event was created.
    Created(Box<Description>),
    /// The event as it is (also when the same description was there already).
    Event(Box<Description>),
    /// A block's word was noted.
    Noted,
}

/// What the journal stores of an event desk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// The event was created; its blocks are owed their setups, reminded at `due`.
    Created {
        /// As described.
        spec: Box<EventSpec>,
        /// When.
        at: Millis,
        /// When unanswered setups are sent again.
        due: Millis,
    },
    /// Its description changed.
    Patched {
        /// What changed.
        patch: Box<Patch>,
        /// When unanswered setups are sent again.
        due: Millis,
    },
    /// The organizer decided about the sale.
    SaleSet {
        /// What.
        sale: Sale,
        /// The opening of the sale from now on.
        on_sale_at: Option<Millis>,
        /// When unanswered setups are sent again.
        due: Millis,
    },
    /// A block has the setup of that revision.
    BlockConfigured {
        /// Which block.
        block: BlockId,
        /// Of which revision.
        revision: u64,
    },
    /// Unanswered setups were sent again.
    Reminded {
        /// When they are sent again.
        due: Millis,
    },
    /// The scheduled opening of the sale has come.
    SaleBegan,
}

/// One concert. See the module's charter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventDesk {
    event: Option<Event>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Event {
    described: Description,
    /// The description it was created with: repeating it is not an error.
    created_with: Box<EventSpec>,
    /// The revision each block has confirmed, in the order of `spec.blocks`; 0: none.
    confirmed: Vec<u64>,
    /// The revision of the setups the blocks must have.
    wanted: u64,
    due: Millis,
    reminders: u32,
    /// Whether the scheduled opening was announced.
    began: bool,
}

impl Event {
    fn unconfirmed(&self) -> impl Iterator<Item = &BlockSpec> {
        let blocks = self.described.spec.blocks.iter().zip(&self.confirmed);
        blocks.filter(|(_, confirmed)| **confirmed < self.wanted).map(|(block, _)| block)
    }

    fn all_confirmed(&self) -> bool {
        self.confirmed.iter().all(|confirmed| *confirmed >= self.wanted)
    }

    fn setup(&self, block: &BlockSpec) -> Setup {
        let spec = &self.described.spec;
        Setup {
            layout: block.layout.clone(),
            price: Money { amount: block.price, currency: spec.currency },
            rules: spec.rules,
            sale: self.described.sale,
            on_sale_at: spec.on_sale_at,
            revision: self.wanted,
        }
    }

    fn remind(&self, out: &mut Outbox<Change>) {
        for block in self.unconfirmed() {
            let to = BlockRef { event: self.described.spec.id.clone(), block: block.id.clone() };
            out.tell(Address::Block(to), block::Command::Configure(Box::new(self.setup(block))));
        }
    }

    /// Folds a new wish of the organizer in: every block must hear of it.
    fn revise(&mut self, due: Millis) {
        self.described.revision += 1;
        self.wanted = self.described.revision;
        self.due = due;
        self.reminders = 0;
    }
}

impl EventDesk {
    fn event(&self) -> Result<&Event, Refusal> {
        self.event.as_ref().ok_or(Refusal::UnknownEvent)
    }

    fn create(&self, at: Moment<'_>, spec: Box<EventSpec>, out: &mut Outbox<Change>) -> Result<Reply, Refusal> {
        if let Some(event) = &self.event {
            let same = *event.created_with == *spec;
            return if same { Ok(Reply::Event(Box::new(event.described.clone()))) } else { Err(Refusal::EventExists) };
        }
        self.announce(Change::Created { spec, at: at.now, due: at.now + at.policy.resend_min }, out)
            .map(|described| Reply::Created(Box::new(described)))
    }

    fn patch(&self, at: Moment<'_>, patch: Patch<RulesPatch>, out: &mut Outbox<Change>) -> Result<Reply, Refusal> {
        let event = self.event()?;
        if event.described.sale == Sale::Closed {
            return Err(Refusal::EventClosed);
        }
        let known = |id: &BlockId| event.described.spec.blocks.iter().any(|block| block.id == *id);
        if let Some(at) = patch.blocks.iter().position(|block| !known(&block.id)) {
            return Err(Refusal::BadChange {
                field: format!("blocks[{at}].id"),
                rule: "must be a block of this event".to_owned(),
            });
        }
        let patch = Box::new(patch.over(event.described.spec.rules));
        self.announce(Change::Patched { patch, due: at.now + at.policy.resend_min }, out)
            .map(|described| Reply::Event(Box::new(described)))
    }

    fn set_sale(&self, at: Moment<'_>, sale: Sale, out: &mut Outbox<Change>) -> Result<Reply, Refusal> {
        let event = self.event()?;
        let described = &event.described;
        let scheduled = described.spec.on_sale_at.filter(|opens| at.now < *opens);
        let on_sale_at = if sale == Sale::Open { None } else { described.spec.on_sale_at };
        if described.sale == sale && (sale != Sale::Open || scheduled.is_none()) {
            return Ok(Reply::Event(Box::new(described.clone())));
        }
        if described.sale == Sale::Closed {
            return Err(Refusal::EventClosed);
        }
        self.announce(Change::SaleSet { sale, on_sale_at, due: at.now + at.policy.resend_min }, out)
            .map(|described| Reply::Event(Box::new(described)))
    }

    /// Records a change and sends every block the setup that follows from it.
    fn announce(&self, change: Change, out: &mut Outbox<Change>) -> Result<Description, Refusal> {
        let mut after = self.clone();
        after.apply(&change);
        let event = after.event()?;
        event.remind(out);
        out.change(change);
        Ok(event.described.clone())
    }
}

impl Machine for EventDesk {
    type Command = Command;
    type Change = Change;
    type Reply = Reply;

    fn new(_address: &Address) -> Self {
        Self { event: None }
    }

    fn decide(&self, at: Moment<'_>, command: Command, out: &mut Outbox<Change>) -> Result<Reply, Refusal> {
        match command {
            Command::Create(spec) => self.create(at, spec, out),
            Command::Patch(patch) => self.patch(at, *patch, out),
            Command::Open => self.set_sale(at, Sale::Open, out),
            Command::Pause => self.set_sale(at, Sale::Paused, out),
            Command::Close => self.set_sale(at, Sale::Closed, out),
            Command::Show => Ok(Reply::Event(Box::new(self.event()?.described.clone()))),
            Command::Configured { block, revision } => {
                let event = self.event()?;
                let known = event.described.spec.blocks.iter().position(|spec| spec.id == block);
                if known.is_some_and(|at| event.confirmed[at] < revision) {
                    out.change(Change::BlockConfigured { block, revision });
                }
                Ok(Reply::Noted)
            }
        }
    }

    fn apply(&mut self, change: &Change) {
        if let Change::Created { spec, at, due } = change {
            assert!(self.event.is_none(), "an event is created once");
            self.event = Some(Event {
                confirmed: vec![0; spec.blocks.len()],
                described: Description {
                    spec: (**spec).clone(),
                    sale: Sale::Open,
                    ready: false,
                    revision: 1,
                    created_at: *at,
                },
                created_with: spec.clone(),
                wanted: 1,
                due: *due,
                reminders: 0,
                began: spec.on_sale_at.is_none_or(|opens| opens <= *at),
            });
            return;
        }
        let event = self.event.as_mut().expect("an event that changes was created");
        match change {
            Change::Created { .. } => {}
            Change::Patched { patch, due } => {
                patch.put_into(&mut event.described.spec);
                if patch.on_sale_at.is_some() {
                    event.began = event.described.spec.on_sale_at.is_none();
                }
                event.revise(*due);
            }
            Change::SaleSet { sale, on_sale_at, due } => {
                event.described.sale = *sale;
                event.described.spec.on_sale_at = *on_sale_at;
                event.began = event.began || on_sale_at.is_none();
                event.revise(*due);
            }
            Change::BlockConfigured { block, revision } => {
                if let Some(at) = event.described.spec.blocks.iter().position(|spec| spec.id == *block) {
                    event.confirmed[at] = *revision;
                }
                event.described.ready |= event.all_confirmed();
            }
            Change::Reminded { due } => {
                event.due = *due;
                event.reminders += 1;
            }
            Change::SaleBegan => event.began = true,
        }
    }

    fn wake(&self, at: Moment<'_>, out: &mut Outbox<Change>) {
        let Some(event) = &self.event else { return };
        if !event.began && event.described.spec.on_sale_at.is_some_and(|opens| opens <= at.now) {
            out.change(Change::SaleBegan);
        }
        if !event.all_confirmed() && event.due <= at.now {
            let wait = at.policy.resend_min.backoff(event.reminders + 1, at.policy.resend_max);
            event.remind(out);
            out.change(Change::Reminded { due: at.now + wait });
        }
    }

    fn deadline(&self) -> Option<Millis> {
        let event = self.event.as_ref()?;
        let opening = event.described.spec.on_sale_at.filter(|_| !event.began);
        let reminder = (!event.all_confirmed()).then_some(event.due);
        opening.into_iter().chain(reminder).min()
    }

    fn publish(&self, change: &Change, feed: &mut Vec<Feed>) {
        let visible = match change {
            Change::Created { .. } | Change::Patched { .. } | Change::SaleSet { .. } | Change::SaleBegan => true,
            Change::BlockConfigured { .. } => self.event.as_ref().is_some_and(Event::all_confirmed),
            Change::Reminded { .. } => false,
        };
        if visible {
            self.picture(feed);
        }
    }

    fn picture(&self, feed: &mut Vec<Feed>) {
        if let Some(event) = &self.event {
            feed.push(Feed::Event(Box::new(event.described.clone())));
        }
    }
}
