//! The shapes of answers: how times, money, holds and orders look in JSON.

use std::fmt::{self, Display};
use std::time::UNIX_EPOCH;

use actors::block::{Claim, HoldState, HoldView, SeatIx};
use actors::bytes::End;
use actors::ids::{HoldId, OrderId};
use actors::money::Money;
use actors::time::Millis;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::board::SeatNames;
pub(crate) use crate::clock::rfc3339 as time;
use crate::clock::{LAST, Rfc3339};

/// Reads a moment in RFC 3339, in UTC or with an offset; `None`: it is not one, or not between 1970 and 9999.
pub(super) fn read_time(text: &str) -> Option<Millis> {
    let cut = text.len().checked_sub(6).filter(|cut| text.is_char_boundary(*cut));
    let (local, minutes_east) = match cut.map(|cut| text.split_at(cut)) {
        Some((local, offset)) if offset.starts_with(['+', '-']) && local.contains(['T', 't', ' ']) => {
            (local, offset_minutes(offset)?)
        }
        Some(_) | None => (text.strip_suffix(['Z', 'z'])?, 0),
    };
    let moment = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let local_millis = i64::try_from(moment.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    let millis = u64::try_from(local_millis - minutes_east * 60_000).ok()?;
    Some(Millis(millis)).filter(|at| *at <= LAST)
}

fn offset_minutes(offset: &str) -> Option<i64> {
    let (sign, rest) = offset.split_at(1);
    let (hours, minutes) = rest.split_once(':')?;
    let digits =
        |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<i64>().ok())?;
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(if sign == "-" { -1 } else { 1 } * (hours * 60 + minutes))
}

/// Money in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Money)]
pub(super) struct MoneyAnswer<'a> {
    /// Minor units: cents.
    #[schema(example = 8500)]
    amount: u64,
    /// ISO 4217.
    #[schema(example = "EUR")]
    currency: &'a str,
}

impl<'a> From<&'a Money> for MoneyAnswer<'a> {
    fn from(money: &'a Money) -> Self {
        Self { amount: money.amount, currency: money.currency.as_str() }
    }
}

/// Places promised to a customer until a time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Hold)]
pub(super) struct HoldAnswer<'a> {
    /// Its id.
    #[schema(value_type = String, example = "hld_01h8zk5w3j0000a4q0e5s2t7vx")]
    id: Shown<HoldId>,
    /// Of which event.
    #[schema(example = "aurora-night-1")]
    event: &'a str,
    /// In which block.
    #[schema(example = "A")]
    block: &'a str,
    /// The seats by name, `row-number`; empty for standing places.
    #[schema(value_type = Vec<String>, example = json!(["12-7", "12-8"]))]
    seats: NamedSeats<'a>,
    /// How many places.
    quantity: u32,
    /// Price of one place.
    price: MoneyAnswer<'a>,
    /// Price of all of them.
    total: MoneyAnswer<'a>,
    /// `held`, `bound` (part of an order), `sold`, `released` or `expired`.
    #[schema(example = "held")]
    state: &'static str,
    /// When it ends if it is not bought, RFC 3339.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Shown<Rfc3339>,
    /// The order it is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    order: Option<Shown<OrderId>>,
}

/// How a hold looks, as JSON.
pub(super) fn hold(hold: &HoldView, names: &SeatNames) -> Vec<u8> {
    let quantity = hold.claim.quantity();
    let order = match hold.state {
        HoldState::Bound(order) | HoldState::Sold(order) => Some(Shown(order)),
        HoldState::Held | HoldState::Released | HoldState::Expired => None,
    };
    json_in(
        HOLD_BYTES,
        &HoldAnswer {
            id: Shown(hold.hold),
            event: hold.block.event.as_str(),
            block: hold.block.block.as_str(),
            seats: NamedSeats(&hold.claim, names),
            quantity,
            price: (&hold.price).into(),
            total: (&hold.price.times(quantity)).into(),
            state: hold.state.as_str(),
            expires_at: Shown(Rfc3339(hold.expires_at)),
            order,
        },
    )
}

/// Something that is text in JSON, written where it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<T>(pub(super) T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The names of a claim's seats; none for standing places.
#[derive(Debug)]
struct NamedSeats<'a>(&'a Claim, &'a SeatNames);

impl Serialize for NamedSeats<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(claim, names) = self;
        match claim {
            Claim::Seats(seats) => serializer.collect_seq(seats.iter().map(|seat| Shown(NamedSeat(*seat, names)))),
            Claim::Standing(_) => serializer.collect_seq([(); 0]),
        }
    }
}

/// The name of a seat; its number if it has none.
struct NamedSeat<'a>(SeatIx, &'a SeatNames);

impl Display for NamedSeat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1.name(self.0) {
            Some(name) => f.write_str(&name),
            None => self.0.0.fmt(f),
        }
    }
}

/// The name of a seat; its index where the block has no such seat, which only a bug can bring about.
pub(super) fn seat_name(seat: SeatIx, names: &SeatNames) -> String {
    NamedSeat(seat, names).to_string()
}

/// Room for a hold's answer, in bytes.
const HOLD_BYTES: usize = 384;

/// JSON of an answer.
pub(super) fn json(answer: &impl Serialize) -> Vec<u8> {
    json_in(128, answer)
}

/// JSON of an answer of about so many bytes.
pub(super) fn json_in(room: usize, answer: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(room);
    serde_json::to_writer(End(&mut bytes), answer).expect("an answer of texts and numbers is JSON");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_any_offset_and_written_in_utc() {
        let at = Some(Millis(1_812_826_800_000));
        for text in ["2027-06-12T19:00:00Z", "2027-06-12T21:00:00+02:00", "2027-06-12T13:30:00.000-05:30"] {
            assert_eq!(read_time(text), at, "{text}");
        }
        assert_eq!(at.map(time).as_deref(), Some("2027-06-12T19:00:00Z"));
        assert_eq!(time(Millis(1)), "1970-01-01T00:00:00.001Z");
        assert_eq!(time(Millis(u64::MAX)), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "now",
            "2027-06-12",
            "2027-06-12T19:00:00",
            "2027-13-12T19:00:00Z",
            "2027-06-12T19:00:00+2:00",
            "2027-06-12T19:00:00+25:00",
            "1969-12-31T23:59:59Z",
            "2027-06-12T19:00:00+ü0",
            "+02:00",
        ] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }
}
