//! Customers and the organizer: what they wish, how they ask for it, and what they remember of the answers.
//!
//! They know only what they were told. An outcome that they do not know they find out with the same key, as an
//! integrator would; without a key they sometimes walk away. Ids are made here as the edge makes them: anew for every
//! try, so that a key is all that keeps a retry from happening twice.

use std::collections::BTreeMap;

use actors::address::{Address, BlockRef};
use actors::block::{self, HoldState, HoldView, House, Layout, SeatIx, Want};
use actors::event::{self, BlockPatch, EventSpec, Patch, RulesPatch};
use actors::ids::{Customer, HoldId, OrderId, PaymentId, Tag, TicketId};
use actors::keyed::{Asked, Key, KeyDigest};
use actors::message::{Message, Reply};
use actors::order::{self, Candidate, OrderView, State};
use actors::refusal::Refusal;
use actors::time::Millis;
use stampede::journal::Seq;

use crate::chance::Chance;
use crate::plan::{self, Plan};

/// What somebody wants.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Create,
    Patch(Patch<RulesPatch>),
    Open,
    Pause,
    Close,
    House(BlockRef, House),
    Unhouse(BlockRef, House),
    Refund(OrderId),
    CheckIn(TicketId),
    Hold(BlockRef, Want),
    Seek(u32, Vec<BlockRef>),
    Release(HoldId, BlockRef),
    ShowHold(HoldId, BlockRef),
    Place(Vec<Option<HoldView>>, &'static str),
    Pay(OrderId, &'static str),
    Cancel(OrderId),
    ShowOrder(OrderId),
}

/// A wish on its way.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    /// Index of the customer; one more than the last is the organizer.
    pub(crate) who: usize,
    pub(crate) wish: Wish,
    pub(crate) key: Option<Key>,
    pub(crate) attempt: u32,
    pub(crate) first_sent: Millis,
    pub(crate) done: bool,
    /// The first answer that was heard.
    pub(crate) told: Option<Result<Reply, Refusal>>,
    /// Ids that each try would have made.
    pub(crate) made: Vec<Vec<HoldId>>,
    /// For each try, the last record of the asked shard that was acknowledged when it was sent.
    pub(crate) known: Vec<Seq>,
    /// Whether it misuses the key of another request.
    pub(crate) misuse: bool,
}

impl Asking {
    /// The last record that was acknowledged when a try was sent.
    pub(crate) fn known_before(&self, attempt: u32) -> Seq {
        self.known.get(attempt as usize - 1).copied().unwrap_or(Seq::NONE)
    }
}

/// What a customer remembers.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) name: Customer,
    pub(crate) holds: BTreeMap<HoldId, HoldView>,
    pub(crate) orders: BTreeMap<OrderId, OrderView>,
    pub(crate) busy: bool,
}

/// See the module's charter.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) people: Vec<Memory>,
    pub(crate) asking: Vec<Asking>,
    pub(crate) created: bool,
    blocks: Vec<BlockRef>,
    spec: EventSpec,
    shards: u16,
}

const TOKENS: [&str; 5] = ["tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_declined"];

impl Crowd {
    pub(crate) fn new(plan: &Plan) -> Self {
        let name = |nth: usize| match nth {
            _ if nth == plan.customers => "organizer".to_owned(),
            _ => format!("customer-{nth}"),
        };
        let memory = |nth| Memory {
            name: name(nth).as_str().into(),
            holds: BTreeMap::new(),
            orders: BTreeMap::new(),
            busy: false,
        };
        let spec = plan.event.clone();
        let block = |block: &event::BlockSpec| BlockRef { event: spec.id.clone(), block: block.id.clone() };
        Self {
            people: (0..=plan.customers).map(memory).collect(),
            asking: Vec::new(),
            created: false,
            blocks: spec.blocks.iter().map(block).collect(),
            spec,
            shards: plan.policy.shards,
        }
    }

    pub(crate) fn organizer(&self) -> usize {
        self.people.len() - 1
    }

    /// Takes a wish on; the number it has from now on.
    pub(crate) fn begin(&mut self, who: usize, wish: Wish, now: Millis, chance: &mut Chance) -> usize {
        let keyed = match &wish {
            Wish::ShowHold(..) | Wish::ShowOrder(..) => false,
            Wish::Seek(..) => true,
            _ => chance.hit(750),
        };
        let number = self.asking.len();
        let digest = KeyDigest(u128::from(chance.draw()) << 64 | u128::from(chance.draw()));
        let key = keyed.then_some(Key { digest, fingerprint: number as u64 });
        self.people[who].busy = true;
        self.asking.push(Asking {
            who,
            wish,
            key,
            attempt: 0,
            first_sent: now,
            done: false,
            told: None,
            made: Vec::new(),
            known: Vec::new(),
            misuse: false,
        });
        number
    }

    /// An earlier key under another request: it must be refused.
    pub(crate) fn misuse(&mut self, number: usize, now: Millis) -> usize {
        let mut asking = self.asking[number].clone();
        if let Some(key) = &mut asking.key {
            key.fingerprint ^= 1 << 60;
        }
        (asking.misuse, asking.done, asking.first_sent, asking.attempt) = (true, true, now, 0);
        (asking.made, asking.known) = (Vec::new(), Vec::new());
        self.asking.push(asking);
        self.asking.len() - 1
    }

    /// The next try of a wish, with new ids: what is sent, and to whom.
    pub(crate) fn request(&mut self, number: usize, now: Millis, chance: &mut Chance) -> (Address, Asked<Message>) {
        let asking = &mut self.asking[number];
        asking.attempt += 1;
        let mut made = Vec::new();
        let mut hold_id = |block: &BlockRef| {
            let shard = Address::Block(block.clone()).shard(self.shards);
            let id = HoldId::new(now, shard, block.tag(), chance.draw());
            made.push(id);
            id
        };
        let customer = self.people[asking.who].name.clone();
        let home = Address::home_of(&customer, self.shards);
        let event = Address::Event(self.spec.id.clone());
        let mut key = asking.key;
        let (to, message): (Address, Message) = match asking.wish.clone() {
            Wish::Create => (event, event::Command::Create(Box::new(self.spec.clone())).into()),
            Wish::Patch(patch) => (event, event::Command::Patch(Box::new(patch)).into()),
            Wish::Open => (event, event::Command::Open.into()),
            Wish::Pause => (event, event::Command::Pause.into()),
            Wish::Close => (event, event::Command::Close.into()),
            Wish::House(block, house) => (Address::Block(block), block::Command::Block(house).into()),
            Wish::Unhouse(block, house) => (Address::Block(block), block::Command::Unblock(house).into()),
            Wish::Refund(order) => (Address::Orders(order.shard()), order::Command::Refund { order }.into()),
            Wish::CheckIn(ticket) => {
                let event = self.spec.id.clone();
                (Address::Orders(ticket.order.shard()), order::Command::CheckIn { ticket, event }.into())
            }
            Wish::Hold(block, want) => {
                let hold = hold_id(&block);
                (Address::Block(block), block::Command::Hold { hold, customer, want }.into())
            }
            Wish::Seek(quantity, blocks) => {
                let candidate = |block: BlockRef| Candidate { hold: hold_id(&block), block };
                let candidates = blocks.into_iter().map(candidate).collect();
                let key = key.take().expect("a search has a key");
                (home, order::Command::Seek { key, customer, quantity, candidates }.into())
            }
            Wish::Release(hold, block) => (Address::Block(block), block::Command::Release { hold, customer }.into()),
            Wish::ShowHold(hold, block) => (Address::Block(block), block::Command::Show { hold, customer }.into()),
            Wish::Place(holds, token) => {
                let shard = home.shard(self.shards);
                let order = OrderId::new(now, shard, Tag(0), chance.draw());
                let payment = PaymentId::new(now, shard, Tag(0), chance.draw());
                let (email, token) = (format!("{customer}@example.org"), token.to_owned());
                (home, order::Command::Place { order, customer, holds, email, token, payment }.into())
            }
            Wish::Pay(order, token) => {
                let payment = PaymentId::new(now, order.shard(), Tag(0), chance.draw());
                (home, order::Command::Pay { order, customer, payment, token: token.to_owned() }.into())
            }
            Wish::Cancel(order) => (home, order::Command::Cancel { order, customer }.into()),
            Wish::ShowOrder(order) => (home, order::Command::Show { order, customer: Some(customer) }.into()),
        };
        asking.made.push(made);
        (to, Asked { key, command: message })
    }

    /// What a person wants next; `None`: nothing for the moment.
    pub(crate) fn wish(&self, who: usize, chance: &mut Chance) -> Option<Wish> {
        if who == self.organizer() {
            return self.organizers_wish(chance);
        }
        let memory = &self.people[who];
        let orders: Vec<&OrderView> = memory.orders.values().collect();
        let in_state = |states: &[State]| -> Vec<&OrderView> {
            orders.iter().copied().filter(|order| states.contains(&order.state)).collect()
        };
        let moving = in_state(&[State::Placed, State::Paying, State::Selling, State::Refunding]);
        if let Some(order) = chance.pick(&moving).copied()
            && chance.hit(500)
        {
            let cancels = order.state == State::Placed && chance.hit(400);
            return Some(if cancels { Wish::Cancel(order.order) } else { Wish::ShowOrder(order.order) });
        }
        if let Some(order) = chance.pick(&in_state(&[State::PaymentFailed])).copied()
            && chance.hit(700)
        {
            return Some(match chance.between(0, 9) {
                0..=5 => Wish::Pay(order.order, TOKENS[chance.index(TOKENS.len())]),
                6..=7 => Wish::Cancel(order.order),
                _ => Wish::ShowOrder(order.order),
            });
        }
        let holds: Vec<&HoldView> = memory.holds.values().filter(|hold| hold.state == HoldState::Held).collect();
        if !holds.is_empty() && chance.hit(700) {
            return Some(self.about_holds(&holds, chance));
        }
        if chance.hit(100)
            && let Some(order) = chance.pick(&orders).copied()
        {
            return Some(match chance.between(0, 2) {
                0 => Wish::ShowOrder(order.order),
                1 => Wish::Cancel(order.order),
                _ => Wish::Pay(order.order, "tok_ok"),
            });
        }
        self.new_hold(chance)
    }

    fn about_holds(&self, holds: &[&HoldView], chance: &mut Chance) -> Wish {
        let one = holds[chance.index(holds.len())];
        match chance.between(0, 99) {
            0..=9 => Wish::Release(one.hold, one.block.clone()),
            10..=14 => Wish::ShowHold(one.hold, one.block.clone()),
            _ => {
                let mut chosen: Vec<Option<HoldView>> = vec![Some(one.clone())];
                for other in holds.iter().filter(|other| other.hold != one.hold) {
                    if chance.hit(500) {
                        chosen.push(Some((*other).clone()));
                    }
                }
                if chance.hit(20) {
                    chosen.push(None);
                }
                Wish::Place(chosen, TOKENS[chance.index(TOKENS.len())])
            }
        }
    }

    fn new_hold(&self, chance: &mut Chance) -> Option<Wish> {
        let quantity = match chance.between(0, 9) {
            0..=3 => 1,
            4..=7 => 2,
            _ => chance.between(1, 6) as u32,
        };
        if self.blocks.len() > 1 && chance.hit(300) || chance.hit(100) {
            let mut blocks = self.blocks.clone();
            if chance.hit(500) {
                blocks.reverse();
            }
            return Some(Wish::Seek(quantity, blocks));
        }
        let nth = chance.index(self.blocks.len());
        let want = match &self.spec.blocks[nth].layout {
            _ if chance.hit(20) => Want::Standing { quantity },
            Layout::Standing(_) if chance.hit(900) => Want::Standing { quantity },
            Layout::Seated(_) if chance.hit(550) => {
                let capacity = u64::from(self.spec.blocks[nth].layout.capacity());
                let first = chance.between(0, capacity - 1) as u32;
                let step = if chance.hit(800) { 1 } else { 2 };
                Want::Seats((0..quantity).map(|nth| SeatIx(first + nth * step)).collect())
            }
            _ => Want::Best { quantity, max_price: chance.hit(300).then(|| chance.between(1, 90) * 100) },
        };
        Some(Wish::Hold(self.blocks[nth].clone(), want))
    }

    fn organizers_wish(&self, chance: &mut Chance) -> Option<Wish> {
        if !self.created {
            return Some(Wish::Create);
        }
        let orders: Vec<&OrderView> = self.people.iter().flat_map(|person| person.orders.values()).collect();
        let paid: Vec<&OrderView> = orders.iter().copied().filter(|order| order.state == State::Paid).collect();
        let nth = chance.index(self.blocks.len());
        let block = self.blocks[nth].clone();
        let house = match &self.spec.blocks[nth].layout {
            Layout::Standing(_) => House::Standing(chance.between(1, 3) as u32),
            layout @ Layout::Seated(_) => {
                let first = chance.between(0, u64::from(layout.capacity()) - 1) as u32;
                House::Seats((0..chance.between(1, 2) as u32).map(|nth| SeatIx(first + nth)).collect())
            }
        };
        Some(match chance.between(0, 99) {
            0..=29 => {
                let order = chance.pick(&paid).or(orders.first())?;
                Wish::Refund(order.order)
            }
            30..=54 => {
                let order = chance.pick(&paid)?;
                let place = chance.between(0, order.tickets.len() as u64) as u16;
                Wish::CheckIn(TicketId { order: order.order, place })
            }
            55..=64 => Wish::House(block, house),
            65..=79 => Wish::Unhouse(block, house),
            80..=87 => Wish::Patch(Patch {
                rules: chance.hit(600).then(|| plan::some_rules(chance)),
                blocks: vec![BlockPatch { id: block.block, name: None, price: Some(chance.between(1, 90) * 100) }],
                ..Patch::default()
            }),
            88..=90 => Wish::Pause,
            91..=98 => Wish::Open,
            _ if chance.hit(100) => Wish::Close,
            _ => Wish::Create,
        })
    }

    /// Remembers what an answer says.
    pub(crate) fn learn(&mut self, who: usize, reply: &Reply) {
        let memory = &mut self.people[who];
        match reply {
            Reply::Block(block::Reply::Held(view) | block::Reply::Hold(view)) => {
                memory.holds.insert(view.hold, (**view).clone());
            }
            Reply::Order(order::Reply::Sought { answer: Some(answer), .. }) => {
                if let Ok(view) = &**answer {
                    memory.holds.insert(view.hold, view.clone());
                }
            }
            Reply::Order(order::Reply::Order(view)) => {
                for line in &view.lines {
                    if let Some(hold) = memory.holds.get_mut(&line.hold) {
                        hold.state = HoldState::Bound(view.order);
                    }
                }
                let owner = self.people.iter_mut().find(|person| person.name == view.customer);
                if let Some(owner) = owner {
                    owner.orders.insert(view.order, (**view).clone());
                }
            }
            Reply::Event(_) => self.created = true,
            _ => {}
        }
    }
}
