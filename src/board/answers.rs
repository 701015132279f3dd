//! What public answers say: their JSON shapes, the headers they go out with, and how each is made from the replica.
//!
//! Owns the public names of fields. It never decides when something is rendered: that is [`super::cache`].

use actors::block::{Counts, Layout};
use actors::event::{Description, Status};
use actors::time::Millis;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::cache::{Fresh, Kind};
use super::reach::Age;

const JSON: &str = "application/json";
const BY_ENCODING: &str = "Accept-Encoding";

/// What changes with every sold seat: a shared cache may answer for a second and bridges an outage; browsers ask again,
/// so that a buyer sees the own hold.
const FLEETING: &str = "public, max-age=0, s-maxage=1, stale-if-error=30";

pub(super) const LIST: Kind = Kind { content_type: JSON, cache_control: FLEETING, vary: BY_ENCODING };
pub(super) const EVENT: Kind = Kind { content_type: JSON, cache_control: FLEETING, vary: BY_ENCODING };
pub(super) const AVAILABILITY: Kind = Kind { content_type: JSON, cache_control: FLEETING, vary: BY_ENCODING };
/// The layout of a block never changes, and an event's id is never used for another event.
pub(super) const LAYOUT: Kind =
    Kind { content_type: JSON, cache_control: "public, max-age=31536000, immutable", vary: BY_ENCODING };
pub(super) const SEATS: Kind = Kind { content_type: JSON, cache_control: FLEETING, vary: "Accept, Accept-Encoding" };
pub(super) const SEATS_BYTES: Kind = Kind { content_type: "application/octet-stream", ..SEATS };

/// Money in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Money<'a> {
    /// Minor units: cents.
    #[schema(example = 8500)]
    pub amount: u64,
    /// ISO 4217.
    #[schema(example = "EUR")]
    pub currency: &'a str,
}

/// The names of [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SaleStatus {
    /// The sale will open.
    Scheduled,
    /// The sale is open.
    OnSale,
    /// The sale is interrupted; what is held may be bought.
    Paused,
    /// The sale is over.
    Closed,
}

impl From<Status> for SaleStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Scheduled => Self::Scheduled,
            Status::OnSale => Self::OnSale,
            Status::Paused => Self::Paused,
            Status::Closed => Self::Closed,
        }
    }
}

/// Whether places have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// Rows of numbered seats.
    Seated,
    /// A number of places.
    Standing,
}

impl BlockKind {
    fn of(layout: &Layout) -> Self {
        match layout {
            Layout::Seated(_) => Self::Seated,
            Layout::Standing(_) => Self::Standing,
        }
    }
}

/// An event as it is now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventAnswer<'a> {
    /// Its id.
    #[schema(example = "aurora-night-1")]
    id: &'a str,
    /// What people call it.
    name: &'a str,
    /// Where it is.
    venue: &'a str,
    /// When it starts.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    starts_at: Millis,
    /// What its prices are in, ISO 4217.
    #[schema(example = "EUR")]
    currency: &'a str,
    /// When its sale opens or opened; null: at once.
    #[serde(serialize_with = "rfc3339_or_null")]
    #[schema(value_type = Option<String>, format = DateTime)]
    on_sale_at: Option<Millis>,
    /// Where its sale is.
    status: SaleStatus,
    /// Whether a hold needs an admission from the waiting room.
    waiting_room: WaitingRoom,
    /// What may be bought.
    rules: RulesAnswer,
    /// Its blocks, best first.
    blocks: Vec<BlockAnswer<'a>>,
    /// Counts the changes of this description, from 1.
    revision: u64,
    /// When it was created.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: Millis,
    /// `true` while the owner of a part of it is out of reach, so that it may be out of date; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    stale: Option<bool>,
    /// Milliseconds since the owner was last within reach, as of the second in which this was made; absent unless `stale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    age_ms: Option<u64>,
}

/// How the waiting room treats an event.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaitingRoom {
    /// `off`: nobody waits.
    #[schema(example = "off")]
    mode: &'static str,
}

/// What may be bought.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rules)]
pub struct RulesAnswer {
    /// Seconds a hold lasts.
    hold_ttl_s: u64,
    /// Most places in one hold.
    max_per_hold: u32,
    /// Most places a customer may have in the event; null for no limit.
    max_per_customer: Option<u32>,
    /// Whether a choice may not leave a single seat alone.
    no_orphans: bool,
}

/// A block as the organizer describes it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Block)]
pub struct BlockAnswer<'a> {
    /// Unique within the event.
    #[schema(example = "A")]
    id: &'a str,
    /// What people call it.
    name: &'a str,
    /// Whether places have names.
    kind: BlockKind,
    /// Price of a place.
    price: Money<'a>,
    /// All its places.
    capacity: u32,
    /// Seated blocks: how many rows it has; see its layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<usize>,
}

impl<'a> EventAnswer<'a> {
    /// The event as it is at a moment.
    #[must_use]
    pub fn new(description: &'a Description, now: Millis) -> Self {
        let spec = &description.spec;
        let currency = spec.currency.as_str();
        let blocks = spec.blocks.iter().map(|block| BlockAnswer {
            id: block.id.as_str(),
            name: &block.name,
            kind: BlockKind::of(&block.layout),
            price: Money { amount: block.price, currency },
            capacity: block.layout.capacity(),
            rows: match &block.layout {
                Layout::Seated(rows) => Some(rows.len()),
                Layout::Standing(_) => None,
            },
        });
        Self {
            id: spec.id.as_str(),
            name: &spec.name,
            venue: &spec.venue,
            starts_at: spec.starts_at,
            currency,
            on_sale_at: spec.on_sale_at,
            status: description.status(now).into(),
            waiting_room: WaitingRoom { mode: "off" },
            rules: RulesAnswer {
                hold_ttl_s: spec.rules.hold_ttl.0 / 1000,
                max_per_hold: spec.rules.max_per_hold,
                max_per_customer: spec.rules.max_per_customer,
                no_orphans: spec.rules.no_orphans,
            },
            blocks: blocks.collect(),
            revision: description.revision,
            created_at: description.created_at,
            stale: None,
            age_ms: None,
        }
    }

    /// The same, saying how old it is.
    pub(super) fn aged(self, age: Option<Age>) -> Self {
        let (stale, age_ms) = said(age);
        Self { stale, age_ms, ..self }
    }
}

/// A page of events, by id.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventPage)]
pub struct ListAnswer<'a> {
    /// The events of this page.
    pub(super) items: Vec<ListedEvent<'a>>,
    /// Ask with `after` this for the next page; null: this was the last.
    pub(super) next: Option<&'a str>,
}

/// An event in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventSummary)]
pub struct ListedEvent<'a> {
    /// Its id.
    #[schema(example = "aurora-night-1")]
    id: &'a str,
    /// What people call it.
    name: &'a str,
    /// Where it is.
    venue: &'a str,
    /// When it starts.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    starts_at: Millis,
    /// What its prices are in, ISO 4217.
    currency: &'a str,
    /// When its sale opens or opened; null: at once.
    #[serde(serialize_with = "rfc3339_or_null")]
    #[schema(value_type = Option<String>, format = DateTime)]
    on_sale_at: Option<Millis>,
    /// Where its sale is.
    status: SaleStatus,
}

impl<'a> ListedEvent<'a> {
    pub(super) fn new(description: &'a Description, now: Millis) -> Self {
        let spec = &description.spec;
        Self {
            id: spec.id.as_str(),
            name: &spec.name,
            venue: &spec.venue,
            starts_at: spec.starts_at,
            currency: spec.currency.as_str(),
            on_sale_at: spec.on_sale_at,
            status: description.status(now).into(),
        }
    }
}

/// Free places of an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Availability)]
pub struct AvailabilityAnswer<'a> {
    /// Which event.
    pub(super) event: &'a str,
    /// Grows with every change: a smaller one is older.
    pub(super) version: u64,
    /// Where the sale is.
    pub(super) status: SaleStatus,
    /// Free places of all blocks.
    pub(super) free: u64,
    /// By block, best first.
    pub(super) blocks: Vec<BlockAvailability<'a>>,
    /// `true` while the owner of a part of it is out of reach, so that it may be out of date; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    pub(super) stale: Option<bool>,
    /// Milliseconds since the owner was last within reach, as of the second in which this was made; absent unless `stale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    pub(super) age_ms: Option<u64>,
}

/// Places of a block by state.
#[derive(Debug, Serialize, ToSchema)]
pub struct BlockAvailability<'a> {
    /// Which block.
    #[schema(example = "A")]
    pub(super) block: &'a str,
    /// Can be had.
    pub(super) free: u32,
    /// Held, or being bought.
    pub(super) held: u32,
    /// Sold.
    pub(super) sold: u32,
    /// House seats.
    pub(super) blocked: u32,
    /// Price of a place.
    pub(super) price: Money<'a>,
}

impl<'a> BlockAvailability<'a> {
    pub(super) fn new(block: &'a str, counts: Counts, price: Money<'a>) -> Self {
        let Counts { free, held, sold, blocked } = counts;
        Self { block, free, held, sold, blocked, price }
    }
}

/// Where the places of a block are. It never changes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Layout)]
pub struct LayoutAnswer<'a> {
    event: &'a str,
    #[schema(example = "A")]
    block: &'a str,
    /// Whether places have names.
    kind: BlockKind,
    /// All its places.
    capacity: u32,
    /// Seated blocks: the rows, front to back; seats are counted through them in this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Vec<RowAnswer<'a>>>,
}

/// A row of seats; a seat's name is `row-number`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Row)]
pub struct RowAnswer<'a> {
    /// Its name.
    #[schema(example = "12")]
    row: &'a str,
    /// The index of its first seat in the block: where it is in `seats` and in live changes.
    first: u32,
    /// The row's distance from the front row, in rows.
    y: u32,
    /// The numbers of its seats.
    numbers: Vec<u32>,
    /// For each number, how far its seat is right of the block's middle line as seen from the stage, in seats.
    x: Vec<f32>,
}

impl<'a> LayoutAnswer<'a> {
    pub(super) fn new(event: &'a str, block: &'a str, layout: &'a Layout) -> Self {
        let rows = match layout {
            Layout::Standing(_) => None,
            Layout::Seated(rows) => {
                let mut first = 0;
                let rows = (0..).zip(rows).map(|(y, row)| {
                    let seats = u32::from(row.seats);
                    let middle = (seats as f32 - 1.0) / 2.0;
                    first += seats;
                    RowAnswer {
                        row: &row.name,
                        first: first - seats,
                        y,
                        numbers: (1..=seats).collect(),
                        x: (0..seats).map(|at| at as f32 - middle).collect(),
                    }
                });
                Some(rows.collect())
            }
        };
        Self { event, block, kind: BlockKind::of(layout), capacity: layout.capacity(), rows }
    }
}

/// The seats of a block.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Seats)]
pub struct SeatsAnswer<'a> {
    /// Which event.
    pub(super) event: &'a str,
    /// Which block.
    #[schema(example = "A")]
    pub(super) block: &'a str,
    /// The number of the last change it contains.
    pub(super) seq: u64,
    /// Base64 of 2 bits a seat in row-major order, the first seat in the lowest bits: 0 free, 1 held, 2 sold,
    /// 3 blocked. Empty for a standing block.
    #[serde(serialize_with = "base64")]
    #[schema(value_type = String, format = Byte)]
    pub(super) seats: &'a [u8],
    /// `true` while the owner of a part of it is out of reach, so that it may be out of date; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    pub(super) stale: Option<bool>,
    /// Milliseconds since the owner was last within reach, as of the second in which this was made; absent unless `stale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    pub(super) age_ms: Option<u64>,
}

/// An answer of JSON.
pub(super) fn json(answer: &impl Serialize, version: u64, until: Option<Millis>) -> Fresh {
    let body = serde_json::to_vec(answer).expect("an answer of text and numbers is JSON");
    Fresh { body, version, until }
}

/// What `stale` and `age_ms` say.
pub(super) fn said(age: Option<Age>) -> (Option<bool>, Option<u64>) {
    (age.map(|_| true), age.map(|age| age.age.0))
}

/// The moment from which on an answer is wrong by time alone: its own, or that of its age.
pub(super) fn earlier(until: Option<Millis>, age: Option<Age>) -> Option<Millis> {
    until.into_iter().chain(age.map(|age| age.until)).min()
}

/// The moment from which on the event's status is another, if time alone changes it.
pub(super) fn opens(description: &Description, now: Millis) -> Option<Millis> {
    description.spec.on_sale_at.filter(|at| now < *at)
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn rfc3339<S: Serializer>(at: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::clock::rfc3339(*at))
}

fn rfc3339_or_null<S: Serializer>(at: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, serializer),
        None => serializer.serialize_none(),
    }
}
