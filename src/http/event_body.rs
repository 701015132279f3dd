//! What an organizer says about an event: the shapes of the requests and every rule of their fields.
//!
//! Owns the limits of events, blocks and prices. All that is wrong is said at once, with its field.

use std::collections::HashSet;

use actors::block::{Layout, Row};
use actors::event::{BlockPatch, BlockSpec, EventSpec, Patch, Rules, RulesPatch};
use actors::ids::{BlockId, EventId};
use actors::money::Currency;
use actors::time::{Millis, Span};
use serde::de::{Deserializer, Error, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::shapes::read_time;
use super::validate::Checks;
use super::venue::{BLOCK_ID_MAX, is_block_id, is_event_id};

/// Most blocks of an event.
const BLOCKS_MAX: usize = 1000;
/// Most rows of a block.
const ROWS_MAX: u64 = 1000;
/// Most seats of a row.
const ROW_SEATS_MAX: u64 = 1000;
/// Most places of a block.
const BLOCK_PLACES_MAX: u64 = 100_000;
/// Most rows of an event, all blocks together. A description is one change in a journal's record, which also has the answer
/// under the organizer's key, with the description once more, and up to 1 MiB that others changed meanwhile: all of it
/// must fit into `journal.group_bytes_max`, 4 MiB. With names of the longest, 18 bytes a row and 845 a block make 3.1 MB of both.
const EVENT_ROWS_MAX: usize = 40_000;
/// Most places of an event.
const EVENT_PLACES_MAX: u64 = 1_000_000;
/// Highest price of a place, minor units.
const PRICE_MAX: u64 = 1_000_000_000;
/// Longest name of anything, in characters.
const NAME_MAX: usize = 200;
/// Longest name of a row, in characters.
const ROW_NAME_MAX: usize = 16;
/// Longest time a hold may last, in seconds: a day.
const HOLD_TTL_MAX_S: u64 = 24 * 3600;
/// Most places one hold may be allowed to have.
const HOLD_PLACES_MAX: u32 = 100;
/// Most places of one hold when the organizer does not say.
const MAX_PER_HOLD: u32 = 10;
/// Most places of one customer when the organizer does not say.
const MAX_PER_CUSTOMER: u32 = 10;

const EVENT_ID_RULE: &str = "must be 1 to 64 of a-z, 0-9 and -";
const BLOCK_ID_RULE: &str = "must be 1 to 32 letters, digits, _ or -";
const TIME_RULE: &str = "must be a time in RFC 3339, such as 2027-06-12T19:00:00Z";
const CURRENCY_RULE: &str = "must be an ISO 4217 code, such as EUR";

/// An event to create.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventRequest {
    /// A slug of 1 to 64 of `[a-z0-9-]`; made up when absent.
    #[schema(example = "aurora-night-1", pattern = "^[a-z0-9-]{1,64}$")]
    id: Option<String>,
    /// What people call it.
    #[schema(example = "Aurora, Night One", max_length = 200)]
    name: String,
    /// Where it is.
    #[schema(example = "Harbour Stadium", max_length = 200)]
    venue: String,
    /// When it starts, RFC 3339.
    #[schema(format = DateTime, example = "2027-06-12T19:00:00Z")]
    starts_at: String,
    /// ISO 4217.
    #[schema(example = "EUR", pattern = "^[A-Z]{3}$")]
    currency: String,
    /// When its sale opens, RFC 3339; absent or null: at once.
    #[schema(format = DateTime, example = "2026-12-01T10:00:00Z")]
    on_sale_at: Option<String>,
    /// What may be bought; every rule has a default.
    #[serde(default)]
    rules: RulesRequest,
    /// Its blocks, best first: together at most 40000 rows and 1000000 places.
    #[schema(min_items = 1, max_items = 1000)]
    blocks: Vec<BlockRequest>,
}

/// What one hold and one customer may have.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RulesRequest {
    /// Seconds a hold lasts, 1 to 86400; the deployment's `holds.ttl` when absent.
    #[schema(example = 420)]
    hold_ttl_s: Option<u64>,
    /// Most places in one hold, 1 to 100; 10 when absent.
    max_per_hold: Option<u32>,
    /// Most bound and sold places of a customer, 1 or more; 10 when absent, null for no limit.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    max_per_customer: Option<Option<u32>>,
    /// Whether a choice may not leave a single seat alone; true when absent.
    no_orphans: Option<bool>,
}

/// A block.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockRequest {
    /// Unique within the event: 1 to 32 of `[A-Za-z0-9_-]`.
    #[schema(example = "A", pattern = "^[A-Za-z0-9_-]{1,32}$")]
    id: String,
    /// What people call it; its id when absent.
    name: Option<String>,
    /// Whether places have names.
    kind: KindRequest,
    /// Price of a place in minor units, 0 to 1000000000.
    #[schema(example = 8500)]
    price: u64,
    /// Seated: how many rows (then with `seats_per_row`, named 1, 2, …), or the rows themselves, front to back.
    rows: Option<RowsRequest>,
    /// Seated, with `rows` as a number: seats of every row, 1 to 1000.
    seats_per_row: Option<u64>,
    /// Standing: how many places, 1 to 100000.
    capacity: Option<u64>,
}

/// Whether places have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum KindRequest {
    /// Rows of numbered seats.
    Seated,
    /// A number of places.
    Standing,
}

/// Rows by number or one by one.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum RowsRequest {
    /// So many rows.
    Number(u64),
    /// These rows.
    Rows(Vec<RowRequest>),
}

/// A row.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RowRequest {
    /// Its name, unique within the block: 1 to 16 letters, digits, `_`, `.` or `-`.
    #[schema(example = "AA")]
    row: String,
    /// How many seats it has, 1 to 1000; they are numbered from 1.
    #[schema(example = 18)]
    seats: u64,
}

impl<'de> Deserialize<'de> for RowsRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rows;
        impl<'de> Visitor<'de> for Rows {
            type Value = RowsRequest;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of rows or a list of rows")
            }

            fn visit_u64<E: Error>(self, rows: u64) -> Result<RowsRequest, E> {
                Ok(RowsRequest::Number(rows))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, rows: A) -> Result<RowsRequest, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(rows)).map(RowsRequest::Rows)
            }
        }
        deserializer.deserialize_any(Rows)
    }
}

/// Tells `null` from absent: `Some(None)` is `null`.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl EventRequest {
    /// The event as its desk wants it. `made_up` is its id when the organizer gave none, `hold_ttl` the deployment's.
    ///
    /// # Errors
    /// Every rule that is broken, by field.
    pub(super) fn checked(self, made_up: impl FnOnce() -> String, hold_ttl: Span) -> Result<EventSpec, Problem> {
        let mut checks = Checks::default();
        let id = self.id.unwrap_or_else(made_up);
        checks.must(is_event_id(&id), "id", EVENT_ID_RULE);
        checks.text("name", &self.name, NAME_MAX);
        checks.text("venue", &self.venue, NAME_MAX);
        let starts_at = checks.some(read_time(&self.starts_at), "starts_at", TIME_RULE);
        let currency = Currency::parse(&self.currency);
        checks.must(currency.is_some(), "currency", CURRENCY_RULE);
        let on_sale_at = self.on_sale_at.map(|text| checks.some(read_time(&text), "on_sale_at", TIME_RULE));
        let defaults =
            Rules { hold_ttl, max_per_hold: MAX_PER_HOLD, max_per_customer: Some(MAX_PER_CUSTOMER), no_orphans: true };
        let rules = self.rules.checked(&mut checks).over(defaults);
        let blocks = checked_blocks(self.blocks, &mut checks);
        checks.done(EventSpec {
            id: EventId::from(id.as_str()),
            name: self.name,
            venue: self.venue,
            starts_at,
            currency: currency.unwrap_or(Currency(*b"ZZZ")),
            on_sale_at,
            rules,
            blocks,
        })
    }
}

impl RulesRequest {
    /// Those given.
    fn checked(self, checks: &mut Checks) -> RulesPatch {
        let RulesRequest { hold_ttl_s, max_per_hold, max_per_customer, no_orphans } = self;
        checks.range("rules.hold_ttl_s", hold_ttl_s.unwrap_or(1), 1, HOLD_TTL_MAX_S);
        checks.range("rules.max_per_hold", max_per_hold.unwrap_or(1), 1, HOLD_PLACES_MAX);
        let places = max_per_customer.flatten().unwrap_or(1);
        checks.range("rules.max_per_customer", places, 1, EVENT_PLACES_MAX as u32);
        let hold_ttl = hold_ttl_s.map(|seconds| Span::seconds(seconds.min(HOLD_TTL_MAX_S)));
        RulesPatch { hold_ttl, max_per_hold, max_per_customer, no_orphans }
    }
}

fn checked_blocks(blocks: Vec<BlockRequest>, checks: &mut Checks) -> Vec<BlockSpec> {
    checks.must((1..=BLOCKS_MAX).contains(&blocks.len()), "blocks", format!("must be 1 to {BLOCKS_MAX} blocks"));
    let mut ids = HashSet::new();
    let (mut places, mut rows) = (0, 0);
    let mut specs = Vec::with_capacity(blocks.len().min(BLOCKS_MAX));
    for (at, block) in blocks.into_iter().enumerate().take(BLOCKS_MAX) {
        let field = |name: &str| format!("blocks[{at}].{name}");
        checks.must(is_block_id(&block.id), field("id"), BLOCK_ID_RULE);
        checks.must(ids.insert(block.id.clone()), field("id"), "must be unique within the event");
        if let Some(name) = &block.name {
            checks.text(&field("name"), name, NAME_MAX);
        }
        checks.range(field("price"), block.price, 0, PRICE_MAX);
        let layout = match block.kind {
            KindRequest::Seated => seated(&block, &field, checks),
            KindRequest::Standing => standing(&block, &field, checks),
        };
        places += u64::from(layout.capacity());
        rows += match &layout {
            Layout::Seated(rows) => rows.len(),
            Layout::Standing(_) => 0,
        };
        let id: String = block.id.chars().take(BLOCK_ID_MAX).collect();
        specs.push(BlockSpec {
            name: block.name.unwrap_or_else(|| id.clone()),
            id: BlockId::from(id.as_str()),
            layout,
            price: block.price,
        });
    }
    checks.must(places <= EVENT_PLACES_MAX, "blocks", format!("must have at most {EVENT_PLACES_MAX} places together"));
    checks.must(rows <= EVENT_ROWS_MAX, "blocks", format!("must have at most {EVENT_ROWS_MAX} rows together"));
    specs
}

fn standing(block: &BlockRequest, field: &impl Fn(&str) -> String, checks: &mut Checks) -> Layout {
    checks.must(block.rows.is_none(), field("rows"), "must be absent in a standing block");
    checks.must(block.seats_per_row.is_none(), field("seats_per_row"), "must be absent in a standing block");
    let capacity = checks.some(block.capacity, field("capacity"), "is required in a standing block");
    if block.capacity.is_some() {
        checks.range(field("capacity"), capacity, 1, BLOCK_PLACES_MAX);
    }
    Layout::Standing(capacity.min(BLOCK_PLACES_MAX) as u32)
}

fn seated(block: &BlockRequest, field: &impl Fn(&str) -> String, checks: &mut Checks) -> Layout {
    checks.must(block.capacity.is_none(), field("capacity"), "must be absent in a seated block");
    let rows: Vec<Row> = match &block.rows {
        None => {
            checks.must(false, field("rows"), "is required in a seated block");
            Vec::new()
        }
        Some(RowsRequest::Number(rows)) => {
            checks.range(field("rows"), *rows, 1, ROWS_MAX);
            let seats = checks.some(block.seats_per_row, field("seats_per_row"), "is required where rows is a number");
            if block.seats_per_row.is_some() {
                checks.range(field("seats_per_row"), seats, 1, ROW_SEATS_MAX);
            }
            let seats = seats.min(ROW_SEATS_MAX) as u16;
            (1..=(*rows).min(ROWS_MAX)).map(|row| Row { name: row.to_string(), seats }).collect()
        }
        Some(RowsRequest::Rows(rows)) => {
            let rule = "must be absent where rows is a list";
            checks.must(block.seats_per_row.is_none(), field("seats_per_row"), rule);
            listed(rows, &field("rows"), checks)
        }
    };
    let layout = Layout::Seated(rows);
    let fits = u64::from(layout.capacity()) <= BLOCK_PLACES_MAX;
    checks.must(fits, field("rows"), format!("must have at most {BLOCK_PLACES_MAX} seats together"));
    layout
}

fn listed(rows: &[RowRequest], field: &str, checks: &mut Checks) -> Vec<Row> {
    checks.must((1..=ROWS_MAX as usize).contains(&rows.len()), field, format!("must be 1 to {ROWS_MAX} rows"));
    let mut names = HashSet::new();
    let mut listed = Vec::with_capacity(rows.len().min(ROWS_MAX as usize));
    for (at, row) in rows.iter().enumerate().take(ROWS_MAX as usize) {
        let fits = (1..=ROW_NAME_MAX).contains(&row.row.len())
            && row.row.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        checks.must(fits, format!("{field}[{at}].row"), "must be 1 to 16 letters, digits, _, . or -");
        checks.must(names.insert(&row.row), format!("{field}[{at}].row"), "must be unique within the block");
        checks.range(format!("{field}[{at}].seats"), row.seats, 1, ROW_SEATS_MAX);
        listed.push(Row {
            name: row.row.chars().take(ROW_NAME_MAX).collect(),
            seats: row.seats.min(ROW_SEATS_MAX) as u16,
        });
    }
    listed
}

/// New values for some fields of an event; what is absent stays.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchRequest {
    /// New name.
    #[schema(max_length = 200)]
    name: Option<String>,
    /// New venue.
    #[schema(max_length = 200)]
    venue: Option<String>,
    /// New start, RFC 3339.
    #[schema(format = DateTime)]
    starts_at: Option<String>,
    /// New opening of the sale, RFC 3339; null: at once.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = DateTime)]
    on_sale_at: Option<Option<String>>,
    /// New rules; those absent stay. They hold for claims made from then on.
    rules: Option<RulesRequest>,
    /// New names and prices of blocks. Layouts never change.
    blocks: Option<Vec<BlockPatchRequest>>,
}

/// New values for a block.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockPatchRequest {
    /// Which block.
    #[schema(example = "A")]
    id: String,
    /// New name.
    name: Option<String>,
    /// New price in minor units, for holds made from then on.
    price: Option<u64>,
}

impl PatchRequest {
    /// The change as the event's desk wants it.
    ///
    /// # Errors
    /// Every rule that is broken, by field.
    pub(super) fn checked(self) -> Result<Patch<RulesPatch>, Problem> {
        let mut checks = Checks::default();
        if let Some(name) = &self.name {
            checks.text("name", name, NAME_MAX);
        }
        if let Some(venue) = &self.venue {
            checks.text("venue", venue, NAME_MAX);
        }
        let mut time = |text: String, field: &str| -> Millis { checks.some(read_time(&text), field, TIME_RULE) };
        let starts_at = self.starts_at.map(|text| time(text, "starts_at"));
        let on_sale_at = self.on_sale_at.map(|given| given.map(|text| time(text, "on_sale_at")));
        let rules = self.rules.map(|rules| rules.checked(&mut checks));
        let blocks = self.blocks.unwrap_or_default();
        checks.must(blocks.len() <= BLOCKS_MAX, "blocks", format!("must be at most {BLOCKS_MAX} blocks"));
        let mut changed = Vec::with_capacity(blocks.len().min(BLOCKS_MAX));
        for (at, block) in blocks.into_iter().enumerate().take(BLOCKS_MAX) {
            checks.must(is_block_id(&block.id), format!("blocks[{at}].id"), BLOCK_ID_RULE);
            if let Some(name) = &block.name {
                checks.text(&format!("blocks[{at}].name"), name, NAME_MAX);
            }
            checks.range(format!("blocks[{at}].price"), block.price.unwrap_or(0), 0, PRICE_MAX);
            changed.push(BlockPatch { id: BlockId::from(block.id.as_str()), name: block.name, price: block.price });
        }
        checks.done(Patch { name: self.name, venue: self.venue, starts_at, on_sale_at, rules, blocks: changed })
    }
}

#[cfg(test)]
pub(super) mod tests;
