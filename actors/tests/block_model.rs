//! The block against a naive model: a list of seats, searched from end to end for everything.
//!
//! A failing case is kept in `proptest-regressions` and runs first from then on.
//!
//! Long because the naive model and what is compared with it are read side by side.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use actors::address::{Address, BlockRef};
use actors::block::{
    Claim, Command, Counts, HoldState, House, Layout, Reply, Row, SeatBlock, SeatIx, SeatState, Setup, Want, pack,
};
use actors::event::{Rules, Sale};
use actors::feed::Feed;
use actors::ids::{HoldId, OrderId, Shard, Tag};
use actors::keyed::{Asked, Keyed};
use actors::machine::{Effect, Moment, turn};
use actors::message::Message;
use actors::money::{Currency, Money};
use actors::order::{self, BindFailure};
use actors::policy::Policy;
use actors::refusal::{Refusal, SeatList};
use actors::time::{Millis, Span};
use proptest::collection::vec;
use proptest::prelude::*;

const TTL: u64 = 100;
const KEPT: u64 = 250;
const MOST_HELD: u32 = 8;
const MOST: u32 = 20;
/// What a row costs in the documented score.
const ROW_STEP: i64 = 4;

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    Hold { who: u8, seats: Vec<u32> },
    Together { who: u8, first: u32, quantity: u32 },
    Best { who: u8, quantity: u32 },
    Release { hold: u64, who: u8 },
    Show { hold: u64, who: u8 },
    Bind { hold: u64, order: u64, who: u8 },
    Sell { hold: u64, order: u64 },
    Return { hold: u64, order: u64 },
    Block(Vec<u32>),
    Unblock(Vec<u32>),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (who, seat, hold, order) = (0u8..4, 0u32..60, 1u64..30, 1u64..4);
    let op = prop_oneof![
        2 => (1u64..70).prop_map(Op::Pass),
        2 => (who.clone(), vec(seat.clone(), 1..4)).prop_map(|(who, seats)| Op::Hold { who, seats }),
        6 => (who.clone(), seat.clone(), 0u32..6)
            .prop_map(|(who, first, quantity)| Op::Together { who, first, quantity }),
        6 => (who.clone(), 0u32..10).prop_map(|(who, quantity)| Op::Best { who, quantity }),
        2 => (hold.clone(), who.clone()).prop_map(|(hold, who)| Op::Release { hold, who }),
        1 => (hold.clone(), who.clone()).prop_map(|(hold, who)| Op::Show { hold, who }),
        8 => (hold.clone(), order.clone(), who).prop_map(|(hold, order, who)| Op::Bind { hold, order, who }),
        8 => (hold.clone(), order.clone()).prop_map(|(hold, order)| Op::Sell { hold, order }),
        2 => (hold, order).prop_map(|(hold, order)| Op::Return { hold, order }),
        1 => vec(seat.clone(), 0..4).prop_map(Op::Block),
        1 => vec(seat, 0..3).prop_map(Op::Unblock),
    ];
    vec(op, 1..80)
}

fn name() -> BlockRef {
    BlockRef { event: "aurora".into(), block: "A".into() }
}

fn hold_id(number: u64) -> HoldId {
    // Not in the order of the numbers: ids of one millisecond come in any order.
    HoldId::new(Millis(1000 + number / 4), Shard(1), name().tag(), number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20)
}

fn order_id(number: u64) -> OrderId {
    OrderId::new(Millis(5), Shard(2), Tag(0), number)
}

fn list(seats: &[u32]) -> SeatList {
    seats.iter().map(|seat| SeatIx(*seat)).collect()
}

struct ModelHold {
    who: u8,
    seats: Vec<u32>,
    quantity: u32,
    state: HoldState,
    until: u64,
    forget_at: u64,
}

/// Rows of seats, or no rows and a number of places.
struct Model {
    rows: Vec<u16>,
    seats: Vec<SeatState>,
    counts: Counts,
    holds: BTreeMap<u64, ModelHold>,
    orphans_refused: bool,
    now: u64,
}

type Sight = (Vec<u32>, u32, HoldState);

impl Model {
    fn new(layout: &Layout, orphans_refused: bool) -> Self {
        let rows = match layout {
            Layout::Seated(rows) => rows.iter().map(|row| row.seats).collect(),
            Layout::Standing(_) => Vec::new(),
        };
        let seats: Vec<_> = rows.iter().flat_map(|row| vec![SeatState::Free; usize::from(*row)]).collect();
        let counts = Counts { free: layout.capacity(), ..Counts::default() };
        Self { rows, seats, counts, holds: BTreeMap::new(), orphans_refused, now: 0 }
    }

    fn is_seated(&self) -> bool {
        !self.rows.is_empty()
    }

    fn set(&mut self, seats: &[u32], quantity: u32, to: SeatState, from: SeatState) {
        for seat in seats {
            assert_eq!(self.seats[*seat as usize], from);
            self.seats[*seat as usize] = to;
        }
        for (state, sign) in [(from, -1i64), (to, 1)] {
            let count = match state {
                SeatState::Free => &mut self.counts.free,
                SeatState::Held => &mut self.counts.held,
                SeatState::Sold => &mut self.counts.sold,
                SeatState::Blocked => &mut self.counts.blocked,
            };
            *count = u32::try_from(i64::from(*count) + sign * i64::from(quantity)).unwrap();
        }
    }

    fn finish(&mut self, number: u64, state: HoldState) {
        let hold = self.holds.get_mut(&number).unwrap();
        let from = if matches!(hold.state, HoldState::Sold(_)) { SeatState::Sold } else { SeatState::Held };
        (hold.state, hold.forget_at) = (state, self.now + KEPT);
        let (seats, quantity) = (hold.seats.clone(), hold.quantity);
        self.set(&seats, quantity, SeatState::Free, from);
    }

    fn wake(&mut self) {
        let over = |hold: &ModelHold, now| hold.state == HoldState::Held && hold.until <= now;
        let expired: Vec<u64> = self.holds.iter().filter(|(_, hold)| over(hold, self.now)).map(|(id, _)| *id).collect();
        expired.into_iter().for_each(|number| self.finish(number, HoldState::Expired));
        let now = self.now;
        self.holds.retain(|_, hold| hold.forget_at > now);
    }

    fn row_of(&self, seat: u32) -> (u32, u32) {
        let mut first = 0;
        for row in &self.rows {
            if seat < first + u32::from(*row) {
                return (first, first + u32::from(*row));
            }
            first += u32::from(*row);
        }
        panic!("no such seat")
    }

    /// The rule as it is written: a seat, its two neighbours, before and after.
    fn orphans(&self, chosen: &[u32]) -> Vec<u32> {
        let before = |seat: u32| self.seats[seat as usize] == SeatState::Free;
        let after = |seat: u32| before(seat) && !chosen.contains(&seat);
        let alone = |seat: u32| {
            let (first, end) = self.row_of(seat);
            let neighbours: Vec<u32> = [(seat > first).then(|| seat - 1), (seat + 1 < end).then_some(seat + 1)]
                .into_iter()
                .flatten()
                .collect();
            after(seat) && !neighbours.iter().any(|n| after(*n)) && neighbours.iter().any(|n| before(*n))
        };
        (0..self.seats.len() as u32).filter(|seat| alone(*seat)).collect()
    }

    /// All ways to sit side by side, with the documented score.
    fn together(&self, quantity: u32) -> Vec<(bool, i64, u32)> {
        let mut found = Vec::new();
        let mut first = 0;
        for (row, width) in self.rows.iter().enumerate() {
            let width = u32::from(*width);
            for start in 0..=width.saturating_sub(quantity) {
                let chosen: Vec<u32> = (first + start..first + start + quantity).collect();
                let fits = quantity <= width && chosen.iter().all(|seat| self.seats[*seat as usize] == SeatState::Free);
                if fits {
                    let aside = (2 * i64::from(start) + i64::from(quantity) - i64::from(width)).abs();
                    found.push((!self.orphans(&chosen).is_empty(), ROW_STEP * row as i64 + aside, first + start));
                }
            }
            first += width;
        }
        found
    }

    /// Neighbouring seats with a property, as lists.
    fn runs(&self, has: impl Fn(u32) -> bool) -> Vec<Vec<u32>> {
        let mut runs: Vec<Vec<u32>> = Vec::new();
        for seat in (0..self.seats.len() as u32).filter(|seat| has(*seat)) {
            let (first, _) = self.row_of(seat);
            match runs.last_mut() {
                Some(run) if seat > first && run.last() == Some(&(seat - 1)) => run.push(seat),
                Some(_) | None => runs.push(vec![seat]),
            }
        }
        runs
    }

    fn check_best(&self, quantity: u32, chosen: &[u32]) {
        assert!(chosen.iter().all(|seat| self.seats[*seat as usize] == SeatState::Free));
        assert!(chosen.is_sorted() && chosen.len() == quantity as usize);
        if let Some((_, _, first)) = self.together(quantity).into_iter().min() {
            assert_eq!(chosen, (first..first + quantity).collect::<Vec<_>>(), "the best score side by side");
            return;
        }
        let groups = self.runs(|seat| chosen.contains(&seat));
        let free = self.runs(|seat| self.seats[seat as usize] == SeatState::Free);
        let mut lengths: Vec<u32> = free.iter().map(|run| run.len() as u32).collect();
        lengths.sort_unstable_by(|left, right| right.cmp(left));
        // More runs than people cannot help, and the longest do best.
        lengths.truncate(quantity as usize);
        assert!(
            (1..groups.len() as u32).all(|fewer| !can_split(&lengths, quantity, fewer, 1)),
            "in as few groups as possible"
        );
        let pairs = can_split(&lengths, quantity, groups.len() as u32, 2);
        assert!(!pairs || groups.iter().all(|group| group.len() > 1), "nobody sits alone without need");
    }

    fn hold(&mut self, number: u64, who: u8, want: &Want, got: Option<&Claim>) -> Result<Sight, Refusal> {
        let mut seats = match want {
            Want::Seats(seats) => seats.iter().map(|seat| seat.0).collect::<Vec<_>>(),
            Want::Best { .. } | Want::Standing { .. } => Vec::new(),
        };
        seats.sort_unstable();
        let quantity = match want {
            Want::Seats(seats) => seats.len() as u32,
            Want::Best { quantity, .. } | Want::Standing { quantity } => *quantity,
        };
        if quantity == 0 || quantity > MOST_HELD {
            return Err(Refusal::TooManySeats { most: MOST_HELD });
        }
        let named = matches!(want, Want::Seats(_));
        if named && !self.is_seated() {
            return Err(Refusal::WrongKind);
        }
        if seats.iter().any(|seat| *seat as usize >= self.seats.len()) {
            return Err(Refusal::UnknownSeat);
        }
        let mut twice: Vec<u32> =
            seats.iter().copied().filter(|seat| seats.iter().filter(|s| *s == seat).count() > 1).collect();
        twice.dedup();
        if !twice.is_empty() {
            return Err(Refusal::SeatTwice(list(&twice)));
        }
        let taken: Vec<u32> =
            seats.iter().copied().filter(|seat| self.seats[*seat as usize] != SeatState::Free).collect();
        if !taken.is_empty() {
            return Err(Refusal::SeatTaken(list(&taken)));
        }
        let live = |hold: &&ModelHold| matches!(hold.state, HoldState::Held | HoldState::Bound(_) | HoldState::Sold(_));
        let theirs: u32 =
            self.holds.values().filter(live).filter(|hold| hold.who == who).map(|hold| hold.quantity).sum();
        if theirs + quantity > MOST {
            return Err(Refusal::CustomerLimit { most: MOST });
        }
        if self.counts.free < quantity {
            return Err(Refusal::SoldOut);
        }
        if named && self.orphans_refused {
            let alone = self.orphans(&seats);
            if !alone.is_empty() && self.together(quantity).iter().any(|(orphan, ..)| !orphan) {
                return Err(Refusal::OrphanSeat(list(&alone)));
            }
        }
        if let (false, Some(Claim::Seats(found))) = (named, got) {
            seats = found.iter().map(|seat| seat.0).collect();
            self.check_best(quantity, &seats);
        }
        self.set(&seats, quantity, SeatState::Held, SeatState::Free);
        let (until, sight) = (self.now + TTL, (seats.clone(), quantity, HoldState::Held));
        let hold = ModelHold { who, seats, quantity, state: HoldState::Held, until, forget_at: u64::MAX };
        self.holds.insert(number, hold);
        Ok(sight)
    }

    fn sight(&self, number: u64, who: u8) -> Result<Sight, Refusal> {
        let hold = self.holds.get(&number).filter(|hold| hold.who == who).ok_or(Refusal::UnknownHold)?;
        Ok((hold.seats.clone(), hold.quantity, hold.state))
    }

    fn release(&mut self, number: u64, who: u8) -> Result<Sight, Refusal> {
        match self.sight(number, who)?.2 {
            HoldState::Bound(_) | HoldState::Sold(_) => return Err(Refusal::HoldInOrder),
            HoldState::Held => self.finish(number, HoldState::Released),
            HoldState::Released | HoldState::Expired => {}
        }
        self.sight(number, who)
    }

    fn state(&self, number: u64) -> Option<HoldState> {
        self.holds.get(&number).map(|hold| hold.state)
    }

    fn bind(&mut self, number: u64, order: OrderId, who: u8) -> order::Command {
        let hold = hold_id(number);
        match self.sight(number, who).map(|sight| sight.2) {
            Ok(HoldState::Held) => {
                self.holds.get_mut(&number).unwrap().state = HoldState::Bound(order);
                order::Command::Bound { order, hold }
            }
            Ok(HoldState::Bound(of) | HoldState::Sold(of)) if of == order => order::Command::Bound { order, hold },
            Ok(HoldState::Expired) => order::Command::BindRefused { order, hold, why: BindFailure::Expired },
            Ok(_) | Err(_) => order::Command::BindRefused { order, hold, why: BindFailure::Gone },
        }
    }

    fn sell(&mut self, number: u64, order: OrderId) -> order::Command {
        let hold = hold_id(number);
        match self.state(number) {
            Some(HoldState::Bound(of)) if of == order => {
                let hold = self.holds.get_mut(&number).unwrap();
                hold.state = HoldState::Sold(order);
                let (seats, quantity) = (hold.seats.clone(), hold.quantity);
                self.set(&seats, quantity, SeatState::Sold, SeatState::Held);
            }
            Some(HoldState::Sold(of)) if of == order => {}
            Some(_) | None => return order::Command::SellRefused { order, hold },
        }
        order::Command::Sold { order, hold }
    }

    fn take_back(&mut self, number: u64, order: OrderId) -> order::Command {
        if let Some(HoldState::Bound(of) | HoldState::Sold(of)) = self.state(number)
            && of == order
        {
            self.finish(number, HoldState::Released);
        }
        order::Command::Returned { order, hold: hold_id(number) }
    }

    fn house(&mut self, seats: &[u32], from: SeatState) -> Result<Counts, Refusal> {
        let mut seats = seats.to_vec();
        seats.sort_unstable();
        if self.is_seated() {
            if seats.iter().any(|seat| *seat as usize >= self.seats.len()) {
                return Err(Refusal::UnknownSeat);
            }
            let twice: Vec<u32> = seats.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
            if !twice.is_empty() {
                let mut once = twice;
                once.dedup();
                return Err(Refusal::SeatTwice(list(&once)));
            }
        }
        let quantity = seats.len() as u32;
        let wrong: Vec<u32> =
            seats.iter().copied().filter(|seat| self.is_seated() && self.seats[*seat as usize] != from).collect();
        let left = if from == SeatState::Free { self.counts.free } else { self.counts.blocked };
        if !wrong.is_empty() || left < quantity {
            return Err(match (from, self.is_seated()) {
                (SeatState::Free, true) => Refusal::SeatTaken(list(&wrong)),
                (SeatState::Free, false) => Refusal::SoldOut,
                (_, _) => Refusal::NotBlocked(list(&wrong)),
            });
        }
        let to = if from == SeatState::Free { SeatState::Blocked } else { SeatState::Free };
        let moved = if self.is_seated() { seats } else { Vec::new() };
        self.set(&moved, quantity, to, from);
        Ok(self.counts)
    }
}

/// Whether `quantity` can sit in exactly so many of the runs, at least `floor` in each.
fn can_split(runs: &[u32], quantity: u32, groups: u32, floor: u32) -> bool {
    let Some((run, others)) = runs.split_first() else { return quantity == 0 && groups == 0 };
    can_split(others, quantity, groups, floor)
        || (groups > 0
            && (floor..=(*run).min(quantity)).any(|here| can_split(others, quantity - here, groups - 1, floor)))
}

/// The block under test, a twin that folds its changes, and a board that folds its feed.
struct Bench {
    block: Keyed<SeatBlock>,
    twin: Keyed<SeatBlock>,
    board: Option<(u64, Vec<u8>, Counts)>,
    model: Model,
    policy: Policy,
    holds: u64,
}

impl Bench {
    fn new(layout: Layout, no_orphans: bool) -> Self {
        let address = Address::Block(name());
        let model = Model::new(&layout, no_orphans);
        let policy = Policy { ended_hold_ttl: Span(KEPT), ..Policy::default() };
        let (block, twin) = (Keyed::new(&address), Keyed::new(&address));
        let mut bench = Self { block, twin, board: None, model, policy, holds: 0 };
        let rules = Rules { hold_ttl: Span(TTL), max_per_hold: MOST_HELD, max_per_customer: Some(MOST), no_orphans };
        let price = Money { amount: 1, currency: Currency(*b"EUR") };
        let setup = Setup { layout, price, rules, sale: Sale::Open, on_sale_at: None, revision: 1 };
        assert_eq!(bench.ask(Command::Configure(Box::new(setup))).0, Ok(Reply::Noted));
        bench
    }

    /// The answer and what was told to orders because of it, not because of time.
    fn ask(&mut self, command: Command) -> (Result<Reply, Refusal>, Option<order::Command>) {
        self.model.wake();
        let at = Moment { now: Millis(self.model.now), policy: &self.policy };
        let mut turned = turn(&mut self.block, at, [Asked::from(command)]);
        assert!(self.block.deadline().is_none_or(|due| due > at.now));
        turned.entries.iter().for_each(|entry| self.twin.apply(entry));
        turned.feed.iter().for_each(|item| self.fold(item));
        let told = turned.effects.pop().and_then(|effect| match effect {
            Effect::Tell(_, Message::Order(message)) => Some(message),
            Effect::Tell(..) | Effect::Call(_) | Effect::Deliver(_) => None,
        });
        (turned.answers.pop().unwrap().result, told)
    }

    fn fold(&mut self, item: &Feed) {
        match item {
            Feed::Board(board) => self.board = Some((board.seq, board.seats.clone(), board.counts)),
            Feed::Seats(changed) => {
                let (seq, seats, counts) = self.board.as_mut().unwrap();
                assert_eq!(changed.seq, *seq + 1, "no number is missing");
                (*seq, *counts) = (changed.seq, changed.counts);
                for (seat, state) in &changed.seats {
                    let (byte, shift) = (seat.0 as usize / 4, 2 * (seat.0 % 4));
                    seats[byte] = (seats[byte] & !(3 << shift)) | ((*state as u8) << shift);
                }
            }
            Feed::Event(_) | Feed::Order(..) | Feed::Sought(_) => panic!("not a block's: {item:?}"),
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Pass(time) => self.model.now += time,
            Op::Hold { who, seats } => self.hold(*who, Want::Seats(list(seats))),
            Op::Together { who, first, quantity } => {
                self.hold(*who, Want::Seats(list(&(*first..first + quantity).collect::<Vec<_>>())));
            }
            Op::Best { who, quantity } if self.model.is_seated() => {
                self.hold(*who, Want::Best { quantity: *quantity, max_price: None })
            }
            Op::Best { who, quantity } => self.hold(*who, Want::Standing { quantity: *quantity }),
            Op::Release { hold, who } => {
                let (answer, _) = self.ask(Command::Release { hold: hold_id(*hold), customer: customer(*who) });
                assert_eq!(sight(answer), self.model.release(*hold, *who));
            }
            Op::Show { hold, who } => {
                let (answer, _) = self.ask(Command::Show { hold: hold_id(*hold), customer: customer(*who) });
                assert_eq!(sight(answer), self.model.sight(*hold, *who));
            }
            Op::Bind { hold, order, who } => {
                let (hold, order, customer, who) = (*hold, order_id(*order), customer(*who), *who);
                let (_, told) = self.ask(Command::Bind { hold: hold_id(hold), order, customer });
                assert_eq!(told, Some(self.model.bind(hold, order, who)));
            }
            Op::Sell { hold, order } => {
                let (hold, order) = (*hold, order_id(*order));
                let (_, told) = self.ask(Command::Sell { hold: hold_id(hold), order });
                assert_eq!(told, Some(self.model.sell(hold, order)));
            }
            Op::Return { hold, order } => {
                let (hold, order) = (*hold, order_id(*order));
                let (_, told) = self.ask(Command::Return { hold: hold_id(hold), order });
                assert_eq!(told, Some(self.model.take_back(hold, order)));
            }
            Op::Block(seats) => {
                let (answer, _) = self.ask(Command::Block(self.house(seats)));
                assert_eq!(counts(answer), self.model.house(seats, SeatState::Free));
            }
            Op::Unblock(seats) => {
                let (answer, _) = self.ask(Command::Unblock(self.house(seats)));
                assert_eq!(counts(answer), self.model.house(seats, SeatState::Blocked));
            }
        }
    }

    fn house(&self, seats: &[u32]) -> House {
        if self.model.is_seated() { House::Seats(list(seats).into_vec()) } else { House::Standing(seats.len() as u32) }
    }

    fn hold(&mut self, who: u8, want: Want) {
        self.holds += 1;
        let command = Command::Hold { hold: hold_id(self.holds), customer: customer(who), want: want.clone() };
        let (answer, _) = self.ask(command);
        let claim = match &answer {
            Ok(Reply::Held(view)) => Some(view.claim.clone()),
            Ok(_) | Err(_) => None,
        };
        let expected = self.model.hold(self.holds, who, &want, claim.as_ref());
        assert_eq!(sight(answer), expected);
    }

    fn check(&mut self) {
        let (answer, _) = self.ask(Command::Audit);
        let Ok(Reply::Census(census)) = answer else { panic!("no census: {answer:?}") };
        assert_eq!(census.violations, Vec::<String>::new());
        assert_eq!(census.counts, self.model.counts);
        let mut picture = Vec::new();
        self.block.picture(&mut picture);
        let Some(Feed::Board(board)) = picture.pop() else { panic!("no picture") };
        assert_eq!(board.seats, pack(self.model.seats.iter().copied()));
        assert_eq!(self.board, Some((board.seq, board.seats, board.counts)), "the feed gives the picture");
        let bytes = |machine| bincode::serde::encode_to_vec(machine, bincode::config::standard()).unwrap();
        assert_eq!(bytes(&self.block), bytes(&self.twin), "replayed changes give the same bytes");
    }

    /// Goes on from a snapshot: nothing after it may tell.
    fn restart(&mut self) {
        let bytes = bincode::serde::encode_to_vec(&self.block, bincode::config::standard()).unwrap();
        self.block = bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap().0;
        assert_eq!(self.block, self.twin);
    }
}

fn customer(who: u8) -> actors::ids::Customer {
    format!("customer-{who}").as_str().into()
}

fn sight(answer: Result<Reply, Refusal>) -> Result<Sight, Refusal> {
    let (Reply::Held(view) | Reply::Hold(view)) = answer? else { panic!("not a hold") };
    let quantity = view.claim.quantity();
    let seats = match view.claim {
        Claim::Seats(seats) => seats.iter().map(|seat| seat.0).collect(),
        Claim::Standing(_) => Vec::new(),
    };
    Ok((seats, quantity, view.state))
}

fn counts(answer: Result<Reply, Refusal>) -> Result<Counts, Refusal> {
    let Reply::Counts(counts) = answer? else { panic!("not counts") };
    Ok(counts)
}

fn seated() -> impl Strategy<Value = Layout> {
    vec(1u16..16, 1..6).prop_map(|rows| {
        let row = |(at, seats): (usize, &u16)| Row { name: at.to_string(), seats: *seats };
        Layout::Seated(rows.iter().enumerate().map(row).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn seats_do_what_a_list_of_seats_would(layout in seated(), no_orphans: bool, ops in ops(), restart in 0usize..80) {
        let mut bench = Bench::new(layout, no_orphans);
        for (at, op) in ops.iter().enumerate() {
            bench.run(op);
            bench.check();
            if at == restart {
                bench.restart();
            }
        }
    }

    #[test]
    fn standing_places_do_what_counters_would(places in 0u32..60, ops in ops(), restart in 0usize..80) {
        let mut bench = Bench::new(Layout::Standing(places), false);
        for (at, op) in ops.iter().enumerate() {
            bench.run(op);
            bench.check();
            if at == restart {
                bench.restart();
            }
        }
    }

    /// Blocks with rows wider than a word, some seats taken at random, some quantity: found if and only if enough are free.
    #[test]
    fn the_best_seats_are_found_in_any_pattern(
        widths in vec(prop_oneof![1u16..12, 60u16..70, 120u16..140], 1..6),
        taken in vec(0.0f64..1.0, 1..6),
        dice in vec(0.0f64..1.0, 700),
        quantity in 1u32..=MOST_HELD,
    ) {
        let rows: Vec<Row> = widths.iter().map(|seats| Row { name: String::new(), seats: *seats }).collect();
        let mut bench = Bench::new(Layout::Seated(rows), false);
        let mut blocked = Vec::new();
        let mut first = 0;
        for (row, width) in widths.iter().enumerate() {
            let width = u32::from(*width);
            let share = taken[row % taken.len()];
            blocked.extend((first..first + width).filter(|seat| dice[*seat as usize % dice.len()] < share));
            first += width;
        }
        bench.run(&Op::Block(blocked));
        bench.run(&Op::Best { who: 0, quantity });
        bench.run(&Op::Best { who: 1, quantity: 2 });
        bench.check();
    }
}
