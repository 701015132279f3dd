//! What an organizer changes of an event: the fields that are named, the others stay.

use serde::{Deserialize, Serialize};

use super::{EventSpec, Rules};
use crate::ids::BlockId;
use crate::time::{Millis, Span};

/// New values for some rules; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesPatch {
    /// See [`Rules::hold_ttl`].
    pub hold_ttl: Option<Span>,
    /// See [`Rules::max_per_hold`].
    pub max_per_hold: Option<u32>,
    /// See [`Rules::max_per_customer`]; `Some(None)`: no limit from now on.
    pub max_per_customer: Option<Option<u32>>,
    /// See [`Rules::no_orphans`].
    pub no_orphans: Option<bool>,
}

impl RulesPatch {
    /// The rules with these values put in.
    #[must_use]
    pub fn over(self, before: Rules) -> Rules {
        Rules {
            hold_ttl: self.hold_ttl.unwrap_or(before.hold_ttl),
            max_per_hold: self.max_per_hold.unwrap_or(before.max_per_hold),
            max_per_customer: self.max_per_customer.unwrap_or(before.max_per_customer),
            no_orphans: self.no_orphans.unwrap_or(before.no_orphans),
        }
    }
}

/// New values for some fields of an event; what is `None` stays. It is asked with the rules that are to change, a
/// [`RulesPatch`]: only the desk knows the others at that moment. It is stored with the [`Rules`] that came of it, whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Patch<R = Rules> {
    /// New name.
    pub name: Option<String>,
    /// New venue.
    pub venue: Option<String>,
    /// New start.
    pub starts_at: Option<Millis>,
    /// New opening of the sale; `Some(None)`: at once.
    pub on_sale_at: Option<Option<Millis>>,
    /// New rules; they hold for claims made from then on.
    pub rules: Option<R>,
    /// New prices and names of blocks; they hold for claims made from then on.
    pub blocks: Vec<BlockPatch>,
}

impl Patch<RulesPatch> {
    /// With its rules whole, after the rules before it.
    pub(super) fn over(self, before: Rules) -> Patch {
        let Patch { name, venue, starts_at, on_sale_at, rules, blocks } = self;
        let rules = rules.map(|rules| rules.over(before));
        Patch { name, venue, starts_at, on_sale_at, rules, blocks }
    }
}

impl Patch {
    /// Changes a description.
    pub(super) fn put_into(&self, spec: &mut EventSpec) {
        let Patch { name, venue, starts_at, on_sale_at, rules, blocks } = self;
        if let Some(name) = name {
            spec.name.clone_from(name);
        }
        if let Some(venue) = venue {
            spec.venue.clone_from(venue);
        }
        spec.starts_at = starts_at.unwrap_or(spec.starts_at);
        spec.on_sale_at = on_sale_at.unwrap_or(spec.on_sale_at);
        spec.rules = rules.unwrap_or(spec.rules);
        for change in blocks {
            for block in spec.blocks.iter_mut().filter(|block| block.id == change.id) {
                if let Some(name) = &change.name {
                    block.name.clone_from(name);
                }
                block.price = change.price.unwrap_or(block.price);
            }
        }
    }
}

/// New values for a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockPatch {
    /// Which block.
    pub id: BlockId,
    /// New name.
    pub name: Option<String>,
    /// New price in minor units.
    pub price: Option<u64>,
}
