//! A block as a snapshot stores it: what cannot be worked out again, in one order only.
//!
//! Equal blocks give equal bytes, however they came to be: holds are written by id, and bits, summaries, counters, queues and
//! customers' numbers are built again when it is read. Stored bytes may be damaged or foreign: reading refuses, it never panics.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::change::{Shape, Terms};
use super::holds::{Holds, Reminder, Restored};
use super::places::{Places, Spots};
use super::stock::Stock;
use super::{Claim, HoldState, House, SeatBlock, SeatState};
use crate::address::BlockRef;
use crate::ids::{Customer, HoldId};
use crate::money::Money;
use crate::time::Millis;

#[derive(PartialEq, Serialize, Deserialize)]
struct Record {
    block: BlockRef,
    stock: Option<StockRecord>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct StockRecord {
    shape: Shape,
    terms: Terms,
    seq: u64,
    house: Option<House>,
    holds: Vec<HoldRecord>,
    ended: Vec<(Millis, HoldId)>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct HoldRecord {
    hold: HoldId,
    customer: Customer,
    claim: Claim,
    price: Money,
    until: Millis,
    state: HoldState,
    /// When its order is reminded next, and how often it was.
    reminded: Option<(Millis, u32)>,
}

impl Record {
    fn of(block: &SeatBlock) -> Self {
        Self { block: block.block.clone(), stock: block.stock.as_deref().map(StockRecord::of) }
    }

    fn restore(self) -> Result<SeatBlock, &'static str> {
        let stock = self.stock.map(StockRecord::restore).transpose()?;
        Ok(SeatBlock { block: self.block, stock: stock.map(Box::new) })
    }
}

impl StockRecord {
    fn of(stock: &Stock) -> Self {
        let house = stock.places.house().map(|claim| match claim {
            Claim::Seats(seats) => House::Seats(seats.into_vec()),
            Claim::Standing(quantity) => House::Standing(quantity),
        });
        let holds = stock.holds.iter_after(None).map(|(id, hold)| HoldRecord {
            hold: id,
            customer: stock.holds.roster.name(hold.who).clone(),
            claim: Claim::from(&hold.spots),
            price: stock.holds.price(hold),
            until: hold.until,
            state: hold.state(),
            reminded: stock.holds.reminder(id).map(|reminder| (reminder.due, reminder.times)),
        });
        Self {
            shape: stock.places.shape(),
            terms: stock.terms.clone(),
            seq: stock.seq,
            house,
            holds: holds.collect(),
            ended: stock.holds.ended().collect(),
        }
    }

    fn restore(self) -> Result<Stock, &'static str> {
        let Self { shape, terms, seq, house, holds: records, ended } = self;
        let mut places = Places::new(&shape);
        if let Some(house) = &house {
            places.claim(&house.spots(), SeatState::Blocked)?;
        }
        let mut holds = Holds::default();
        let mut ends = ended.iter().map(|(_, id)| *id).collect::<Vec<_>>();
        ends.sort_unstable();
        let mut last = None;
        for record in records {
            if last.is_some_and(|last| last >= record.hold) {
                return Err("holds are not in order");
            }
            last = Some(record.hold);
            let spots = Spots::from(&record.claim);
            let ends = ends.binary_search(&record.hold).is_ok();
            let (state, live) = match record.state {
                HoldState::Held | HoldState::Bound(_) => (SeatState::Held, true),
                HoldState::Sold(_) => (SeatState::Sold, true),
                HoldState::Released | HoldState::Expired => (SeatState::Free, false),
            };
            if live == ends {
                return Err("a hold has ended and has not");
            }
            if live {
                places.claim(&spots, state)?;
            }
            let reminder = record.reminded.map(|(due, times)| Reminder { due, times });
            let HoldRecord { hold, customer, price, until, state, .. } = record;
            holds.restore(hold, Restored { customer, spots, price, until, state, reminder });
        }
        places.settle();
        if ends.iter().any(|id| holds.get(*id).is_none()) || ends.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("an ended hold is not there");
        }
        holds.restore_ended(ended);
        Ok(Stock { terms, places, holds, seq })
    }
}

impl Places {
    /// Moves free places, if they are.
    fn claim(&mut self, spots: &Spots, to: SeatState) -> Result<(), &'static str> {
        let mut sorted = spots.seats().zip(spots.seats().skip(1));
        let fits = match (&*self, spots) {
            (Places::Seated(seats), Spots::Run { .. } | Spots::Scattered(_)) => {
                let free = |seat| seats.spot(seat).is_some_and(|spot| seats.is_free(spot));
                spots.seats().all(free) && sorted.all(|(left, right)| left < right)
            }
            (Places::Standing(counts), Spots::Standing(quantity)) => counts.free >= *quantity,
            (Places::Seated(_) | Places::Standing(_), _) => false,
        };
        if !fits {
            return Err("a claim is on places that are not free");
        }
        self.set(spots, SeatState::Free, to);
        Ok(())
    }
}

impl PartialEq for SeatBlock {
    fn eq(&self, other: &Self) -> bool {
        Record::of(self) == Record::of(other)
    }
}

impl Serialize for SeatBlock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Record::of(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SeatBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Record::deserialize(deserializer)?.restore().map_err(de::Error::custom)
    }
}
