//! Money: minor units and a currency; sums that cannot mix currencies or overflow unseen.

use serde::{Deserialize, Serialize};

/// An ISO 4217 code, three capital letters, checked at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Currency(pub [u8; 3]);

impl Currency {
    /// Reads three capital letters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let code: [u8; 3] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Self(code))
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

/// An amount in minor units (cents) of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Minor units.
    pub amount: u64,
    /// Of this currency.
    pub currency: Currency,
}

impl Money {
    /// The price of `quantity` places; panics on overflow, which the edge's limits exclude.
    #[must_use]
    pub fn times(self, quantity: u32) -> Money {
        let amount = self.amount.checked_mul(u64::from(quantity)).expect("price times quantity fits");
        Money { amount, ..self }
    }

    /// The sum of two amounts of one currency.
    #[must_use]
    pub fn plus(self, other: Money) -> Money {
        assert_eq!(self.currency, other.currency, "one currency an order");
        Money { amount: self.amount.checked_add(other.amount).expect("a total fits"), ..self }
    }
}
