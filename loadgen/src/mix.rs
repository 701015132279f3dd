//! The operations and how often each is drawn. Pure: chance comes in as a number.

use crate::failure::Failure;

/// What a client asks of the box office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `GET …/availability`
    Availability,
    /// `GET …/blocks/{block}/seats`
    Seats,
    /// `GET /v1/events/{event}`
    Event,
    /// `POST …/holds`, best available, picked seats or standing.
    Hold,
    /// `POST /v1/orders` with own holds; its status is then followed until it is terminal.
    Order,
    /// `GET /v1/orders/{order}` of an own order.
    OrderStatus,
    /// `DELETE /v1/holds/{hold}` of an own hold; also the cancelling of an own order whose payment failed.
    Release,
}

impl Operation {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 7] =
        [Self::Availability, Self::Seats, Self::Event, Self::Hold, Self::Order, Self::OrderStatus, Self::Release];

    /// The name in mixes, thresholds and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Seats => "seats",
            Self::Event => "event",
            Self::Hold => "hold",
            Self::Order => "order",
            Self::OrderStatus => "order_status",
            Self::Release => "release",
        }
    }

    /// Its place in [`Operation::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Finds an operation by its name; the error lists the names.
    pub fn named(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|operation| operation.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|operation| operation.name()).collect();
            format!("unknown operation `{name}`, known are {}", names.join(", "))
        })
    }
}

/// Weights of the operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    name: String,
    /// Running sums of the weights, in the order of [`Operation::ALL`].
    sums: [u32; Operation::ALL.len()],
}

/// Mixes with a name of their own.
const NAMED: [(&str, &str); 2] =
    [("rush", "availability=78,seats=14,event=3,hold=3,order=1,order_status=1"), ("sellout", "hold=1,order=1")];
/// Largest weight; keeps the sum within 32 bits.
const WEIGHT_MAX: u32 = 1_000_000;

impl Mix {
    /// Reads `rush`, `sellout`, one operation alone, or `NAME=WEIGHT,…`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let alone = Operation::named(text).map(|operation| format!("{}=1", operation.name()));
        let list = NAMED.iter().find(|(name, _)| *name == text).map_or(text, |(_, list)| list);
        let weights =
            weighted(alone.as_deref().unwrap_or(list)).map_err(|rule| Failure::Usage { flag: "--mix", rule })?;
        let mut by_operation = [0u32; Operation::ALL.len()];
        for (name, weight) in weights {
            let operation = Operation::named(&name).map_err(|rule| Failure::Usage { flag: "--mix", rule })?;
            by_operation[operation.index()] = weight;
        }
        let mut sum = 0;
        let sums = by_operation.map(|weight| {
            sum += weight;
            sum
        });
        Ok(Self { name: text.to_owned(), sums })
    }

    /// As typed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sum of the weights: [`Mix::draw`] takes numbers below it.
    pub fn total(&self) -> u32 {
        self.sums[self.sums.len() - 1]
    }

    /// The operation that a number below [`Mix::total`] falls on.
    pub fn draw(&self, number: u32) -> Operation {
        let place = self.sums.iter().position(|sum| number < *sum).unwrap_or(0);
        Operation::ALL[place]
    }

    /// How often the operation is drawn, 0 to 1.
    pub fn share(&self, operation: Operation) -> f64 {
        let before = operation.index().checked_sub(1).map_or(0, |place| self.sums[place]);
        f64::from(self.sums[operation.index()] - before) / f64::from(self.total())
    }

    /// Whether the operation can be drawn at all.
    pub fn has(&self, operation: Operation) -> bool {
        let before = operation.index().checked_sub(1).map_or(0, |place| self.sums[place]);
        self.sums[operation.index()] > before
    }
}

/// Reads `NAME=WEIGHT,…`: names once each, whole weights, not all zero.
pub(crate) fn weighted(list: &str) -> Result<Vec<(String, u32)>, String> {
    let mut weights: Vec<(String, u32)> = Vec::new();
    for item in list.split(',').map(str::trim) {
        let (name, weight) = item
            .split_once('=')
            .ok_or_else(|| format!("`{item}` is neither a known name nor NAME=WEIGHT (as in hold=3,order=1)"))?;
        let weight: u32 = weight
            .trim()
            .parse()
            .ok()
            .filter(|weight| *weight <= WEIGHT_MAX)
            .ok_or_else(|| format!("the weight of `{name}` must be a whole number from 0 to {WEIGHT_MAX}"))?;
        if weights.iter().any(|(known, _)| known == name.trim()) {
            return Err(format!("`{}` is named twice", name.trim()));
        }
        weights.push((name.trim().to_owned(), weight));
    }
    if weights.iter().all(|(_, weight)| *weight == 0) {
        return Err("at least one weight must be above zero".to_owned());
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(text: &str) -> String {
        Mix::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn rush_is_drawn_as_documented() {
        let mix = Mix::parse("rush").unwrap();
        let mut drawn = [0; Operation::ALL.len()];
        for number in 0..mix.total() {
            drawn[mix.draw(number).index()] += 1;
        }
        assert_eq!(drawn, [78, 14, 3, 3, 1, 1, 0]);
    }

    #[test]
    fn an_operation_alone_needs_no_weight() {
        let mix = Mix::parse("availability").unwrap();
        assert_eq!((mix.name(), mix.total(), mix.draw(0)), ("availability", 1, Operation::Availability));
    }

    #[test]
    fn a_mix_of_ones_own_keeps_its_weights() {
        let mix = Mix::parse("hold=2, release=1,seats=0").unwrap();
        assert_eq!(mix.total(), 3);
        assert_eq!([0, 1, 2].map(|number| mix.draw(number)), [Operation::Hold, Operation::Hold, Operation::Release]);
        assert!(mix.has(Operation::Hold) && !mix.has(Operation::Seats) && !mix.has(Operation::Order));
    }

    #[test]
    fn what_means_nothing_is_refused_by_name_and_rule() {
        assert!(refused("rusch").contains("--mix: `rusch` is neither a known name nor NAME=WEIGHT"));
        assert!(refused("hold=1,buy=2").contains("unknown operation `buy`, known are availability, seats"));
        assert!(refused("hold=-1").contains("the weight of `hold` must be a whole number"));
        assert!(refused("hold=1,hold=2").contains("`hold` is named twice"));
        assert!(refused("hold=0").contains("at least one weight"));
    }
}
