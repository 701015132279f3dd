//! Seats and holds as the changes of blocks add up: who claims what, until when, and by which rules it was chosen.

use std::collections::{BTreeMap, BTreeSet};

use actors::address::BlockRef;
use actors::block::{self, Claim, House, SeatBlock, SeatIx, Shape, Terms, Want};
use actors::event::Sale;
use actors::ids::HoldId;
use actors::keyed::Entry;
use actors::machine::Machine;
use actors::time::Millis;

use super::{BlockModel, HoldModel, HoldStage, Model, Owner, Standing, Violation, must};

pub(super) fn places(claim: &Claim) -> u32 {
    match claim {
        Claim::Seats(seats) => seats.len() as u32,
        Claim::Standing(quantity) => *quantity,
    }
}

impl Model {
    pub(crate) fn block(
        &mut self,
        at: Millis,
        name: &BlockRef,
        entry: &Entry<<SeatBlock as Machine>::Change, block::Reply>,
    ) -> Result<(), Violation> {
        self.key(at, entry)?;
        let Entry::Change(change) = entry else { return Ok(()) };
        if let block::Change::Configured { shape, terms } = change {
            let known = self.blocks.insert(name.clone(), BlockModel::new(shape, terms.clone()));
            must!(known.is_none(), "block {} is configured twice", name.block);
            return Ok(());
        }
        let ended_ttl = self.policy.ended_hold_ttl;
        let block = self.blocks.get_mut(name).ok_or("a block that changes was configured")?;
        match change {
            block::Change::Configured { .. } => {}
            block::Change::Revised(terms) => {
                must!(terms.revision > block.terms.revision, "block {} goes back to old terms", name.block);
                block.terms = terms.clone();
            }
            block::Change::Held { hold, customer, claim, until } => {
                let rules = block.terms.rules;
                let open = block.terms.sale == Sale::Open && block.terms.on_sale_at.is_none_or(|opens| opens <= at);
                must!(open, "hold {hold} outside of the sale");
                must!(*until == at + rules.hold_ttl, "hold {hold} lasts until {until:?}, made at {at:?}");
                must!(places(claim) <= rules.max_per_hold, "hold {hold} has too many places");
                let mine = block.holds.values().filter(|other| other.customer == *customer && other.is_live());
                let mine: u32 = mine.map(|other| places(&other.claim)).sum();
                let most = rules.max_per_customer.unwrap_or(u32::MAX);
                must!(mine + places(claim) <= most, "hold {hold}: {customer} has too many places");
                if let Some(want) = self.wants.get(hold) {
                    block.judge_choice(*hold, claim, want)?;
                }
                block.take(*hold, claim)?;
                let made = HoldModel {
                    customer: customer.clone(),
                    claim: claim.clone(),
                    until: *until,
                    stage: HoldStage::Held,
                    forget_at: None,
                };
                must!(block.holds.insert(*hold, made).is_none(), "hold {hold} is made twice");
                if block.forgotten.contains(hold) {
                    self.holds_again.insert(*hold);
                }
            }
            block::Change::Bound { hold, order } => {
                let known = block.hold(*hold)?;
                must!(known.stage == HoldStage::Held, "hold {hold} is bound, it was {:?}", known.stage);
                must!(at < known.until, "hold {hold} is bound at {at:?}, it ended at {:?}", known.until);
                known.stage = HoldStage::Bound(*order);
            }
            block::Change::Sold { hold, order } => {
                let known = block.hold(*hold)?;
                must!(
                    known.stage == HoldStage::Bound(*order),
                    "hold {hold} is sold to {order}, it was {:?}",
                    known.stage
                );
                known.stage = HoldStage::Sold(*order);
            }
            block::Change::Released { hold, forget_at } => {
                block.end(*hold, HoldStage::Released, at, *forget_at, |stage| stage == HoldStage::Held)?;
                must!(*forget_at >= at + ended_ttl, "hold {hold} is forgotten too early");
            }
            block::Change::Returned { hold, forget_at } => {
                let taken = |stage| matches!(stage, HoldStage::Bound(_) | HoldStage::Sold(_));
                block.end(*hold, HoldStage::Released, at, *forget_at, taken)?;
            }
            block::Change::Expired { holds, forget_at } => {
                for hold in holds {
                    let until = block.hold(*hold)?.until;
                    must!(until <= at, "hold {hold} expires at {at:?}, it lasts until {until:?}");
                    block.end(*hold, HoldStage::Expired, at, *forget_at, |stage| stage == HoldStage::Held)?;
                }
            }
            block::Change::Forgotten { until } => {
                must!(*until <= at, "holds are forgotten ahead of time");
                let BlockModel { holds, forgotten, .. } = block;
                let is_gone = |hold: &HoldModel| hold.forget_at.is_some_and(|due| due <= *until);
                forgotten.extend(holds.iter().filter(|(_, hold)| is_gone(hold)).map(|(id, _)| *id));
                holds.retain(|_, hold| !is_gone(hold));
            }
            block::Change::Reminded { holds } => {
                for (hold, _) in holds {
                    let known = block.hold(*hold)?;
                    must!(
                        matches!(known.stage, HoldStage::Bound(_)),
                        "reminder of hold {hold} that is {:?}",
                        known.stage
                    );
                }
            }
            block::Change::Blocked(house) => block.house(house, Owner::Free, Owner::House)?,
            block::Change::Unblocked(house) => block.house(house, Owner::House, Owner::Free)?,
        }
        Ok(())
    }
}

impl BlockModel {
    fn new(shape: &Shape, terms: Terms) -> Self {
        let (rows, standing) = match shape {
            Shape::Seated(rows) => (rows.iter().map(|seats| u32::from(*seats)).collect(), None),
            Shape::Standing(places) => (Vec::new(), Some(Standing { free: *places, house: 0 })),
        };
        let seats = vec![Owner::Free; rows.iter().sum::<u32>() as usize];
        Self { rows, seats, standing, terms, holds: BTreeMap::new(), forgotten: BTreeSet::new() }
    }

    fn take(&mut self, hold: HoldId, claim: &Claim) -> Result<(), Violation> {
        match (claim, &mut self.standing) {
            (Claim::Seats(seats), None) => {
                must!(!seats.is_empty(), "hold {hold} of nothing");
                for seat in seats {
                    let owner =
                        self.seats.get_mut(seat.0 as usize).ok_or(format!("hold {hold}: no seat {}", seat.0))?;
                    must!(*owner == Owner::Free, "seat {} has two claims: {hold} and {owner:?}", seat.0);
                    *owner = Owner::Hold(hold);
                }
            }
            (Claim::Standing(quantity), Some(standing)) => {
                must!(standing.free >= *quantity, "hold {hold} of {quantity} places, {} are free", standing.free);
                standing.free -= quantity;
            }
            _ => return Err(format!("hold {hold} of the wrong kind: {claim:?}")),
        }
        Ok(())
    }

    fn give_back(&mut self, hold: HoldId, claim: &Claim) -> Result<(), Violation> {
        match (claim, &mut self.standing) {
            (Claim::Seats(seats), None) => {
                for seat in seats {
                    let owner = &mut self.seats[seat.0 as usize];
                    must!(*owner == Owner::Hold(hold), "hold {hold} gives back seat {} of {owner:?}", seat.0);
                    *owner = Owner::Free;
                }
            }
            (Claim::Standing(quantity), Some(standing)) => standing.free += quantity,
            _ => return Err(format!("hold {hold} of the wrong kind: {claim:?}")),
        }
        Ok(())
    }

    fn house(&mut self, house: &House, from: Owner, to: Owner) -> Result<(), Violation> {
        match (house, &mut self.standing) {
            (House::Seats(seats), None) => {
                for SeatIx(seat) in seats {
                    let owner = &mut self.seats[*seat as usize];
                    must!(*owner == from, "house seat {seat} is {owner:?}");
                    *owner = to;
                }
            }
            (House::Standing(quantity), Some(standing)) => {
                let (less, more) = match to {
                    Owner::House => (&mut standing.free, &mut standing.house),
                    _ => (&mut standing.house, &mut standing.free),
                };
                must!(*less >= *quantity, "house takes {quantity} places of {less}");
                *less -= quantity;
                *more += quantity;
            }
            _ => return Err("house of the wrong kind".to_owned()),
        }
        Ok(())
    }

    pub(crate) fn counts(&self) -> block::Counts {
        let mut counts = block::Counts::default();
        if let Some(standing) = self.standing {
            counts.free = standing.free;
            counts.blocked = standing.house;
        }
        for owner in &self.seats {
            match owner {
                Owner::Free => counts.free += 1,
                Owner::House => counts.blocked += 1,
                Owner::Hold(_) => {}
            }
        }
        for hold in self.holds.values() {
            match hold.stage {
                HoldStage::Held | HoldStage::Bound(_) => counts.held += places(&hold.claim),
                HoldStage::Sold(_) => counts.sold += places(&hold.claim),
                HoldStage::Released | HoldStage::Expired => {}
            }
        }
        counts
    }

    fn free_runs(&self) -> Vec<(usize, u32)> {
        let mut runs = Vec::new();
        let mut first = 0;
        for width in &self.rows {
            let mut start = None;
            for at in first..=first + *width as usize {
                let free = at < first + *width as usize && self.seats[at] == Owner::Free;
                match (free, start) {
                    (true, None) => start = Some(at),
                    (false, Some(from)) => {
                        runs.push((from, (at - from) as u32));
                        start = None;
                    }
                    _ => {}
                }
            }
            first += *width as usize;
        }
        runs
    }

    /// The orphan rule and the promises of best available, judged against the seats and the price before the hold.
    fn judge_choice(&self, hold: HoldId, claim: &Claim, want: &Want) -> Result<(), Violation> {
        if let Want::Best { max_price: Some(most), .. } = want {
            must!(self.terms.price.amount <= *most, "best available {hold} costs more than {most}");
        }
        let Claim::Seats(seats) = claim else { return Ok(()) };
        let quantity = seats.len() as u32;
        let runs = self.free_runs();
        let fits = runs.iter().any(|(_, length)| *length == quantity || *length >= quantity + 2);
        let adjacent_possible = runs.iter().any(|(_, length)| *length >= quantity);
        let taken = |at: usize| seats.iter().any(|seat| seat.0 as usize == at);
        let leaves_alone = runs.iter().any(|(from, length)| {
            let end = from + *length as usize;
            let free = |at: usize| at >= *from && at < end && !taken(at);
            let touched = (*from..end).any(taken);
            touched && *length > 1 && (*from..end).any(|at| free(at) && !(at > 0 && free(at - 1)) && !free(at + 1))
        });
        match want {
            Want::Seats(_) => {
                let broken = self.terms.rules.no_orphans && leaves_alone && fits;
                must!(!broken, "hold {hold} of {seats:?} leaves a seat alone");
            }
            Want::Best { .. } => {
                must!(!(leaves_alone && fits), "best available {hold} of {seats:?} leaves a seat alone");
                let run = |(from, length): &(usize, u32)| {
                    seats.iter().all(|s| (s.0 as usize) >= *from && (s.0 as usize) < from + *length as usize)
                };
                let adjacent = runs.iter().any(run) && seats.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1);
                must!(adjacent || !adjacent_possible, "best available {hold} of {seats:?} is not side by side");
            }
            Want::Standing { .. } => {}
        }
        Ok(())
    }
}

impl HoldModel {
    pub(crate) fn is_live(&self) -> bool {
        match self.stage {
            HoldStage::Held | HoldStage::Bound(_) | HoldStage::Sold(_) => true,
            HoldStage::Released | HoldStage::Expired => false,
        }
    }
}

impl BlockModel {
    fn hold(&mut self, hold: HoldId) -> Result<&mut HoldModel, Violation> {
        self.holds.get_mut(&hold).ok_or_else(|| format!("hold {hold} changes and was never made"))
    }

    fn end(
        &mut self,
        hold: HoldId,
        stage: HoldStage,
        at: Millis,
        forget_at: Millis,
        may: impl Fn(HoldStage) -> bool,
    ) -> Result<(), Violation> {
        let known = self.hold(hold)?;
        must!(may(known.stage), "hold {hold} ends as {stage:?} at {at:?}, it was {:?}", known.stage);
        known.stage = stage;
        known.forget_at = Some(forget_at);
        let claim = known.claim.clone();
        self.give_back(hold, &claim)
    }
}
