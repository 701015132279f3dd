//! Ids: who is meant, and on which shard they live.
//!
//! Owns the layout and the printed form of every id. Must never make one up: the unique part comes
//! from the edge, so that a machine stays free of chance. Placement of names is in [`crate::address`].
//!
//! Layout of a 128-bit id, most significant first: 44 bits milliseconds since 1970, 12 bits shard,
//! 24 bits tag (which block of the shard, see [`Tag`]), 48 bits unique. Ids of one shard therefore
//! sort by time, and a hold or an order is routed without a look-up.

use std::fmt;
use std::num::NonZeroU128;
use std::str::FromStr;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// A unit of placement and of journaling, `0..cluster.shards`, at most 4,096 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shard(pub u16);

/// Which block of a shard an id belongs to: 24 bits of the hash of event and block. Two blocks of a
/// shard may share a tag; whoever routes by it asks each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag(pub u32);

/// Most shards an id has room for.
pub const SHARDS_MAX: u16 = 1 << 12;

const TIME_SHIFT: u32 = 84;
const SHARD_SHIFT: u32 = 72;
const TAG_SHIFT: u32 = 48;
const UNIQUE_MASK: u64 = (1 << 48) - 1;

/// Crockford's alphabet in lower case: no i, l, o, u, so that an id can be read out aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 26;

/// Length of a prefix such as `ord_`.
const PREFIX: usize = 4;

const NO_DIGIT: u8 = 0xff;

/// What each byte is worth as a digit.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < ALPHABET.len() {
        values[ALPHABET[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// A text is not an id of the kind that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an id of this kind")
    }
}

impl std::error::Error for NotAnId {}

fn pack(at: Millis, shard: Shard, tag: Tag, unique: u64) -> NonZeroU128 {
    assert!(shard.0 < SHARDS_MAX, "shard out of range");
    let bits = (u128::from(at.0) << TIME_SHIFT)
        | (u128::from(shard.0) << SHARD_SHIFT)
        | (u128::from(tag.0 & 0xff_ffff) << TAG_SHIFT)
        | u128::from(unique & UNIQUE_MASK);
    NonZeroU128::new(bits).unwrap_or(NonZeroU128::MIN)
}

/// In one piece, so that a text that grows with it grows once.
fn write_digits(f: &mut fmt::Formatter<'_>, prefix: &[u8; PREFIX], bits: u128) -> fmt::Result {
    let mut text = [0u8; PREFIX + DIGITS];
    text[..PREFIX].copy_from_slice(prefix);
    text[PREFIX] = ALPHABET[(bits >> 125) as usize];
    text[PREFIX + 1] = ALPHABET[(bits >> 120) as usize & 31];
    for (digits, shift) in text[PREFIX + 2..].chunks_exact_mut(8).zip([80, 40, 0]) {
        digits.copy_from_slice(&eight_digits((bits >> shift) as u64));
    }
    f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

/// The digits of the low 40 bits, all at once in one register: an answer about an order has ten ids and more.
fn eight_digits(bits: u64) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Each digit into a byte of its own.
    let halves = bits & 0xf_ffff | (bits >> 20 & 0xf_ffff) << 32;
    let quarters = halves & 0x0000_03ff_0000_03ff | (halves & 0x000f_fc00_000f_fc00) << 6;
    let digits = quarters & 0x001f_001f_001f_001f | (quarters & 0x03e0_03e0_03e0_03e0) << 3;
    // One in each byte whose digit is at least that.
    let from = |least: u64| (digits + (128 - least) * ONES) >> 7 & ONES;
    // Behind the figures come the letters, without i, l, o and u.
    let letters = from(10) * u64::from(b'a' - b'9' - 1) + from(18) + from(20) + from(22) + from(27);
    (digits + u64::from(b'0') * ONES + letters).to_be_bytes()
}

fn parse_digits(prefix: &[u8; PREFIX], text: &str) -> Result<NonZeroU128, NotAnId> {
    let digits = text.as_bytes().strip_prefix(prefix).ok_or(NotAnId)?;
    if digits.len() != DIGITS || digits[0] > b'7' {
        return Err(NotAnId);
    }
    let mut bits: u128 = 0;
    for digit in digits {
        let value = VALUES[usize::from(*digit)];
        if value == NO_DIGIT {
            return Err(NotAnId);
        }
        bits = (bits << 5) | u128::from(value);
    }
    NonZeroU128::new(bits).ok_or(NotAnId)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub NonZeroU128);

        impl $name {
            /// Puts an id together; `unique` keeps its low 48 bits.
            #[must_use]
            pub fn new(at: Millis, shard: Shard, tag: Tag, unique: u64) -> Self {
                Self(pack(at, shard, tag, unique))
            }

            /// When it was made, as whoever made it says.
            #[must_use]
            pub fn made_at(self) -> Millis {
                Millis((self.0.get() >> TIME_SHIFT) as u64)
            }

            /// The shard that owns what the id names. Check it against the number of shards: an id
            /// from outside may name any.
            #[must_use]
            pub fn shard(self) -> Shard {
                Shard(((self.0.get() >> SHARD_SHIFT) & 0xfff) as u16)
            }

            /// The tag of the block that owns what the id names.
            #[must_use]
            pub fn tag(self) -> Tag {
                Tag(((self.0.get() >> TAG_SHIFT) & 0xff_ffff) as u32)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_digits(f, $prefix, self.0.get())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse_digits($prefix, text).map(Self)
            }
        }
    };
}

id!(
    /// Seats promised until a time.
    HoldId,
    b"hld_"
);
id!(
    /// Holds being bought. Lives on the shard of its customer.
    OrderId,
    b"ord_"
);
id!(
    /// One charge asked of the payment provider; also its idempotency key there.
    PaymentId,
    b"pay_"
);

/// One seat, or one standing place, of a paid order: the order and the place's position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TicketId {
    /// The order that bought it.
    pub order: OrderId,
    /// Its position among the order's places, from 0.
    pub place: u16,
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_digits(f, b"tkt_", self.order.0.get())?;
        write!(f, "{:04x}", self.place)
    }
}

impl FromStr for TicketId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let cut = text.len().checked_sub(4).filter(|cut| text.is_char_boundary(*cut)).ok_or(NotAnId)?;
        let (order, place) = text.split_at(cut);
        Ok(Self {
            order: OrderId(parse_digits(b"tkt_", order)?),
            place: u16::from_str_radix(place, 16).map_err(|_| NotAnId)?,
        })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub CompactString);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A concert: a slug of 1 to 64 of `[a-z0-9-]`, checked at the edge.
    EventId
);
name!(
    /// A part of the venue, unique within its event: 1 to 32 of `[A-Za-z0-9_-]`, checked at the edge.
    BlockId
);
name!(
    /// Who buys: the `sub` of a customer's token, 1 to 128 visible characters.
    Customer
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_shard_and_tag_and_reads_back() {
        let id = HoldId::new(Millis(1_795_000_000_000), Shard(4095), Tag(0xabcdef), u64::MAX);
        assert_eq!(id.shard(), Shard(4095));
        assert_eq!(id.tag(), Tag(0xabcdef));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().replacen("hld", "ord", 1).parse::<HoldId>(), Err(NotAnId));
    }

    #[test]
    fn digits_are_those_of_the_alphabet() {
        let mut bits = 1_u128;
        for _ in 0..10_000 {
            bits = bits.wrapping_mul(0xda94_2042_e4dd_58b5_da94_2042_e4dd_58b5).wrapping_add(7);
            let Some(some) = NonZeroU128::new(bits) else { continue };
            let digit = |place: usize| char::from(ALPHABET[(bits >> (5 * (DIGITS - 1 - place))) as usize & 31]);
            let text: String = "hld_".chars().chain((0..DIGITS).map(digit)).collect();
            assert_eq!(HoldId(some).to_string(), text);
            assert_eq!(text.parse(), Ok(HoldId(some)));
        }
        for (at, digit) in ALPHABET.iter().enumerate() {
            assert_eq!(eight_digits(at as u64 * 0x8_4210_8421), [*digit; 8]);
        }
    }

    #[test]
    fn ids_sort_by_time_and_rubbish_is_refused() {
        let early = OrderId::new(Millis(1), Shard(9), Tag(9), 9);
        let late = OrderId::new(Millis(2), Shard(0), Tag(0), 0);
        assert!(early < late);
        for rubbish in ["", "ord_", "ord_zzzzzzzzzzzzzzzzzzzzzzzzzz", "ord_ü", "ord_0000000000000000000000000l"] {
            assert_eq!(rubbish.parse::<OrderId>(), Err(NotAnId), "{rubbish}");
        }
    }

    #[test]
    fn a_ticket_names_its_order_and_place() {
        let ticket = TicketId { order: OrderId::new(Millis(7), Shard(1), Tag(0), 5), place: 3 };
        assert_eq!(ticket.to_string().parse(), Ok(ticket));
        assert_eq!("tkt_ü".parse::<TicketId>(), Err(NotAnId));
    }
}
