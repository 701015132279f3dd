//! What a configured block says to what it is asked: judging reads, and puts what follows into the outbox.
//!
//! Owns the rules of the sale: who may hold what, when, and how many. Must never change state: that is [`super::stock`]'s.

use smallvec::SmallVec;

use super::change::{Change, Terms};
use super::holds::Hold;
use super::places::Places;
use super::seats::Seats;
use super::stock::Stock;
use super::{Claim, Command, HoldState, HoldView, House, Reply, SeatIx, SeatState, Setup, Want, best, orphans};
use crate::address::{Address, BlockRef};
use crate::event::Sale;
use crate::ids::{Customer, HoldId, OrderId};
use crate::machine::{Moment, Outbox};
use crate::order::{self, BindFailure};
use crate::planted::{self, Bug};
use crate::refusal::{Refusal, SeatList};
use crate::time::{Millis, Span};

/// Most holds that one change lets expire or reminds of, which bounds a journal record and a feed message.
const DUE_MAX: usize = 1024;

/// A configured block with its name.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) block: &'a BlockRef,
    pub(super) stock: &'a Stock,
}

impl Judge<'_> {
    pub(super) fn decide(self, at: Moment<'_>, command: Command, out: &mut Outbox<Change>) -> Result<Reply, Refusal> {
        match command {
            Command::Configure(setup) => Ok(self.configure(&setup, out)),
            Command::Hold { hold, customer, want } => self.hold(at, hold, customer, want, out).map(Reply::Held),
            Command::Seek { hold, customer, quantity, desk, key } => {
                let answer = self.hold(at, hold, customer, Want::Best { quantity, max_price: None }, out);
                out.tell(Address::Orders(desk), order::Command::SeekAnswered { key, hold, answer });
                Ok(Reply::Noted)
            }
            Command::Release { hold, customer } => self.release(at, hold, &customer, out),
            Command::Show { hold, customer } => {
                let known = self.stock.holds.of(hold, &customer).ok_or(Refusal::UnknownHold)?;
                Ok(Reply::Hold(Box::new(self.view(hold, known))))
            }
            Command::Bind { hold, order, customer } => Ok(self.bind(hold, order, &customer, out)),
            Command::Sell { hold, order } => Ok(self.sell(hold, order, out)),
            Command::Return { hold, order } => Ok(self.take_back(at, hold, order, out)),
            Command::Block(house) => self.house(house, SeatState::Free, out),
            Command::Unblock(house) => self.house(house, SeatState::Blocked, out),
            Command::Ledger { after, limit } => Ok(self.stock.ledger(after, limit)),
            Command::Audit => Ok(Reply::Census(Box::new(self.stock.census()))),
        }
    }

    fn configure(self, setup: &Setup, out: &mut Outbox<Change>) -> Reply {
        let known = self.stock.terms.revision;
        if setup.revision > known {
            out.change(Change::Revised(Terms::from(setup)));
        }
        self.block.tell_configured(setup.revision.max(known), out);
        Reply::Noted
    }

    fn hold(
        self,
        at: Moment<'_>,
        hold: HoldId,
        customer: Customer,
        want: Want,
        out: &mut Outbox<Change>,
    ) -> Result<Box<HoldView>, Refusal> {
        if let Some(known) = self.stock.holds.get(hold) {
            let theirs = self.stock.holds.roster.name(known.who) == &customer;
            // As it was answered first, whatever became of it since.
            let first = || Box::new(HoldView { state: HoldState::Held, ..self.view(hold, known) });
            return if theirs { Ok(first()) } else { Err(Refusal::UnknownHold) };
        }
        let terms = &self.stock.terms;
        open_at(terms, at.now)?;
        let claim = self.choose(&customer, want)?;
        let until = at.now + terms.rules.hold_ttl;
        let view = Box::new(HoldView {
            hold,
            block: self.block.clone(),
            customer: customer.clone(),
            claim: claim.clone(),
            price: terms.price,
            state: HoldState::Held,
            expires_at: until,
            max_per_customer: terms.rules.max_per_customer,
        });
        out.change(Change::Held { hold, customer, claim, until });
        Ok(view)
    }

    fn choose(self, customer: &Customer, want: Want) -> Result<Claim, Refusal> {
        let Stock { terms, places, holds, .. } = self.stock;
        let quantity = match &want {
            Want::Seats(seats) => u32::try_from(seats.len()).unwrap_or(u32::MAX),
            Want::Best { quantity, .. } | Want::Standing { quantity } => *quantity,
        };
        if !(1..=terms.rules.max_per_hold).contains(&quantity) {
            return Err(Refusal::TooManySeats { most: terms.rules.max_per_hold });
        }
        let limit = || match terms.rules.max_per_customer {
            Some(most) if holds.places(customer).saturating_add(quantity) > most => {
                Err(Refusal::CustomerLimit { most })
            }
            Some(_) | None => Ok(()),
        };
        match (places, want) {
            (Places::Seated(seats), Want::Seats(chosen)) => {
                let chosen = in_state(seats, chosen, SeatState::Free).map_err(Trouble::while_holding)?;
                limit()?;
                if terms.rules.no_orphans && !planted::is(Bug::OrphansAllowed) {
                    keeps_company(seats, &chosen)?;
                }
                Ok(Claim::Seats(chosen))
            }
            // Behind the look at the key: who asks again gets the hold he has, whatever places cost by now.
            (_, Want::Best { max_price: Some(most), .. }) if terms.price.amount > most => Err(Refusal::SoldOut),
            (Places::Seated(seats), Want::Best { quantity, .. }) => {
                limit()?;
                best::best(seats, quantity).map(Claim::Seats).ok_or(Refusal::SoldOut)
            }
            // Every place to stand is as good as another.
            (Places::Standing(counts), Want::Standing { quantity } | Want::Best { quantity, .. }) => {
                limit()?;
                if counts.free < quantity { Err(Refusal::SoldOut) } else { Ok(Claim::Standing(quantity)) }
            }
            (Places::Seated(_), Want::Standing { .. }) | (Places::Standing(_), Want::Seats(_)) => {
                Err(Refusal::WrongKind)
            }
        }
    }

    fn release(
        self,
        at: Moment<'_>,
        hold: HoldId,
        customer: &Customer,
        out: &mut Outbox<Change>,
    ) -> Result<Reply, Refusal> {
        let known = self.stock.holds.of(hold, customer).ok_or(Refusal::UnknownHold)?;
        let mut view = self.view(hold, known);
        match view.state {
            HoldState::Held => {
                out.change(Change::Released { hold, forget_at: at.now + at.policy.ended_hold_ttl });
                view.state = HoldState::Released;
            }
            HoldState::Released | HoldState::Expired => {}
            HoldState::Bound(_) | HoldState::Sold(_) => return Err(Refusal::HoldInOrder),
        }
        Ok(Reply::Hold(Box::new(view)))
    }

    fn bind(self, hold: HoldId, order: OrderId, customer: &Customer, out: &mut Outbox<Change>) -> Reply {
        let state = self.stock.holds.of(hold, customer).map(Hold::state);
        let answer = match state {
            Some(HoldState::Held) => {
                out.change(Change::Bound { hold, order });
                order::Command::Bound { order, hold }
            }
            Some(HoldState::Bound(owner) | HoldState::Sold(owner)) if owner == order => {
                order::Command::Bound { order, hold }
            }
            Some(HoldState::Expired) => order::Command::BindRefused { order, hold, why: BindFailure::Expired },
            Some(HoldState::Bound(_) | HoldState::Sold(_) | HoldState::Released) | None => {
                order::Command::BindRefused { order, hold, why: BindFailure::Gone }
            }
        };
        tell(order, answer, out)
    }

    fn sell(self, hold: HoldId, order: OrderId, out: &mut Outbox<Change>) -> Reply {
        let state = self.stock.holds.get(hold).map(Hold::state);
        if state == Some(HoldState::Bound(order)) {
            out.change(Change::Sold { hold, order });
        }
        let theirs = state == Some(HoldState::Bound(order)) || state == Some(HoldState::Sold(order));
        let sold = order::Command::Sold { order, hold };
        tell(order, if theirs { sold } else { order::Command::SellRefused { order, hold } }, out)
    }

    fn take_back(self, at: Moment<'_>, hold: HoldId, order: OrderId, out: &mut Outbox<Change>) -> Reply {
        let state = self.stock.holds.get(hold).map(Hold::state);
        if state == Some(HoldState::Bound(order)) || state == Some(HoldState::Sold(order)) {
            out.change(Change::Returned { hold, forget_at: at.now + at.policy.ended_hold_ttl });
        }
        tell(order, order::Command::Returned { order, hold }, out)
    }

    /// Blocks what is free, or unblocks what is blocked.
    fn house(self, house: House, from: SeatState, out: &mut Outbox<Change>) -> Result<Reply, Refusal> {
        let blocking = from == SeatState::Free;
        let places = &self.stock.places;
        let (house, quantity) = match (places, house) {
            (Places::Seated(seats), House::Seats(chosen)) => {
                let refuse = if blocking { Trouble::while_holding } else { Trouble::while_unblocking };
                let chosen = in_state(seats, chosen.into(), from).map_err(refuse)?.into_vec();
                let quantity = chosen.len() as u32;
                (House::Seats(chosen), quantity)
            }
            (Places::Standing(counts), House::Standing(quantity)) => {
                if blocking && counts.free < quantity {
                    return Err(Refusal::SoldOut);
                }
                if !blocking && counts.blocked < quantity {
                    return Err(Refusal::NotBlocked(SeatList::new()));
                }
                (House::Standing(quantity), quantity)
            }
            (Places::Seated(_) | Places::Standing(_), _) => return Err(Refusal::WrongKind),
        };
        let mut counts = places.counts();
        if quantity > 0 {
            let to = if blocking { SeatState::Blocked } else { SeatState::Free };
            *counts.of(from) -= quantity;
            *counts.of(to) += quantity;
            out.change(if blocking { Change::Blocked(house) } else { Change::Unblocked(house) });
        }
        Ok(Reply::Counts(counts))
    }

    pub(super) fn wake(self, at: Moment<'_>, out: &mut Outbox<Change>) {
        let (mut expired, mut reminded) = (Vec::new(), Vec::new());
        let early = Span(if planted::is(Bug::EarlyExpiry) { 1500 } else { 0 });
        for (id, hold) in self.stock.holds.due_by(at.now + early) {
            match hold.state() {
                HoldState::Held => expired.push(id),
                HoldState::Bound(_) if planted::is(Bug::ExpiresBound) => expired.push(id),
                HoldState::Bound(order) => {
                    let times = self.stock.holds.reminder(id).map_or(0, |reminder| reminder.times);
                    reminded.push((id, at.now + at.policy.resend_min.backoff(times, at.policy.resend_max)));
                    let _ = tell(order, order::Command::Bound { order, hold: id }, out);
                }
                HoldState::Sold(_) | HoldState::Released | HoldState::Expired => panic!("nothing is due for {id}"),
            }
        }
        let forget_at = at.now + at.policy.ended_hold_ttl;
        for holds in expired.chunks(DUE_MAX) {
            out.change(Change::Expired { holds: holds.to_vec(), forget_at });
        }
        for holds in reminded.chunks(DUE_MAX) {
            out.change(Change::Reminded { holds: holds.to_vec() });
        }
        let ended = self.stock.holds.forget_next().into_iter().chain((!expired.is_empty()).then_some(forget_at));
        if ended.min().is_some_and(|due| due <= at.now) {
            out.change(Change::Forgotten { until: at.now });
        }
    }

    fn view(self, id: HoldId, hold: &Hold) -> HoldView {
        HoldView {
            hold: id,
            block: self.block.clone(),
            customer: self.stock.holds.roster.name(hold.who).clone(),
            claim: Claim::from(&hold.spots),
            price: self.stock.holds.price(hold),
            state: hold.state(),
            expires_at: hold.until,
            max_per_customer: self.stock.terms.rules.max_per_customer,
        }
    }
}

impl BlockRef {
    /// Answers a setup: this revision is the block's own now.
    pub(super) fn tell_configured(&self, revision: u64, out: &mut Outbox<Change>) {
        let configured = crate::event::Command::Configured { block: self.block.clone(), revision };
        out.tell(Address::Event(self.event.clone()), configured);
    }
}

fn tell(order: OrderId, answer: order::Command, out: &mut Outbox<Change>) -> Reply {
    out.tell(Address::Orders(order.shard()), answer);
    Reply::Noted
}

fn open_at(terms: &Terms, now: Millis) -> Result<(), Refusal> {
    let on_sale_at = terms.on_sale_at.filter(|opens| now < *opens);
    match (terms.sale, on_sale_at) {
        (Sale::Open, None) => Ok(()),
        (Sale::Open, Some(_)) => Err(Refusal::NotOnSale { on_sale_at }),
        (Sale::Paused | Sale::Closed, _) => Err(Refusal::NotOnSale { on_sale_at: None }),
    }
}

/// What can be wrong with a list of seats.
enum Trouble {
    Unknown,
    Twice(SeatList),
    OtherState(SeatList),
}

impl Trouble {
    fn while_holding(self) -> Refusal {
        match self {
            Trouble::Unknown => Refusal::UnknownSeat,
            Trouble::Twice(seats) => Refusal::SeatTwice(seats),
            Trouble::OtherState(seats) => Refusal::SeatTaken(seats),
        }
    }

    fn while_unblocking(self) -> Refusal {
        match self {
            Trouble::OtherState(seats) => Refusal::NotBlocked(seats),
            Trouble::Unknown | Trouble::Twice(_) => self.while_holding(),
        }
    }
}

/// The seats in row-major order, all of them in that state.
fn in_state(
    seats: &Seats,
    mut chosen: SmallVec<[SeatIx; 4]>,
    state: SeatState,
) -> Result<SmallVec<[SeatIx; 4]>, Trouble> {
    chosen.sort_unstable();
    let mut other = SeatList::new();
    for seat in &chosen {
        let spot = seats.spot(*seat).ok_or(Trouble::Unknown)?;
        if seats.state(spot) != state {
            other.push(*seat);
        }
    }
    let mut twice: SeatList = chosen.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    if !twice.is_empty() {
        twice.dedup();
        return Err(Trouble::Twice(twice));
    }
    if other.is_empty() || planted::is(Bug::FreeNotChecked) { Ok(chosen) } else { Err(Trouble::OtherState(other)) }
}

/// Refuses a choice that leaves a seat alone, unless as many adjacent seats cannot be had without that anywhere.
fn keeps_company(seats: &Seats, chosen: &[SeatIx]) -> Result<(), Refusal> {
    let alone = orphans::left_alone(seats, chosen);
    if alone.is_empty() || !orphans::avoidable(seats, chosen.len() as u32) {
        return Ok(());
    }
    Err(Refusal::OrphanSeat(alone))
}
