//! What a run is to do, with every flag already given its meaning. Plain data.

use std::path::PathBuf;
use std::time::Duration;

use crate::http::Target;
use crate::mix::{Mix, Operation};
use crate::proc::Proc;
use crate::profile::Profile;

/// Where the server is and who we are to it.
#[derive(Debug, Clone)]
pub struct Access {
    /// The server's nodes, any of which takes any request; at least one.
    pub targets: Vec<Target>,
    /// The organizer's API key.
    pub organizer_key: String,
    /// The secret that signs customers' tokens.
    pub auth_secret: String,
    /// How long an operation is retried when no final answer comes.
    pub give_up: Duration,
    /// How long the audit waits for orders to come to their end.
    pub settle: Duration,
}

impl Access {
    /// All nodes as typed, to be read by people.
    pub fn urls(&self) -> String {
        let urls: Vec<&str> = self.targets.iter().map(|target| target.url.as_str()).collect();
        urls.join(", ")
    }

    /// The organizer's `authorization` value.
    pub fn organizer(&self) -> String {
        format!("Bearer {}", self.organizer_key)
    }
}

/// How requests come.
#[derive(Debug, Clone, PartialEq)]
pub enum Load {
    /// Poisson arrivals at a rate a second, whatever the server does.
    Open {
        /// Requests a second over time, all threads together.
        profile: Profile,
    },
    /// Each connection asks again when it has its answer.
    Closed,
}

/// What is on sale.
#[derive(Debug, Clone)]
pub enum Show {
    /// An event that exists.
    Existing(String),
    /// Events of this run's own.
    New(NewEvents),
}

/// The events a run creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvents {
    /// How many.
    pub events: u32,
    /// Seated blocks of each.
    pub blocks: u32,
    /// Seats of each event, spread over its seated blocks.
    pub seats: u32,
    /// Seats of a full row.
    pub seats_per_row: u32,
    /// Places of a standing block; none when zero.
    pub standing: u32,
    /// Places that the run may want, when that is more than is laid out unasked.
    pub places_wanted: Option<u64>,
    /// `rules.hold_ttl_s`
    pub hold_ttl: Duration,
    /// `rules.max_per_customer`
    pub max_per_customer: Option<u32>,
    /// `rules.no_orphans`
    pub no_orphans: bool,
}

impl NewEvents {
    /// Seats and standing places of all events.
    pub fn places(&self) -> u64 {
        u64::from(self.events) * (u64::from(self.seats) + u64::from(self.standing))
    }
}

/// What makes a run fail.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thresholds {
    /// Largest 99th percentile of an operation's latency, in milliseconds.
    pub max_p99_ms: Vec<(Operation, f64)>,
    /// Most errors.
    pub max_errors: Option<u64>,
    /// Smallest achieved ÷ asked rate.
    pub min_achieved: Option<f64>,
}

/// What buyers do, beyond the mix.
#[derive(Debug, Clone)]
pub struct Habits {
    /// Share of seated holds that name their seats, 0 to 1.
    pub picked: f64,
    /// Share of acknowledged holds and orders that are asked again with the same key, 0 to 1.
    pub replays: f64,
    /// Most seats of a hold.
    pub seats_max: u32,
    /// Payment tokens and their weights.
    pub payments: Vec<(String, u32)>,
}

/// Files to leave behind.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// Acknowledgements, NDJSON.
    pub journal: Option<PathBuf>,
    /// The report as JSON.
    pub json: Option<PathBuf>,
    /// The report as one HTML page.
    pub html: Option<PathBuf>,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Server and keys.
    pub access: Access,
    /// How requests come.
    pub load: Load,
    /// Event loops.
    pub threads: u32,
    /// Connections, all threads together.
    pub connections: u32,
    /// Most requests in flight on a connection.
    pub pipeline: u32,
    /// How long requests are started.
    pub duration: Duration,
    /// How long an answer may take before its connection is given up.
    pub timeout: Duration,
    /// What is asked.
    pub mix: Mix,
    /// How many different buyers.
    pub customers: u32,
    /// Fixes arrivals, operations and choices.
    pub seed: u64,
    /// What is on sale.
    pub show: Show,
    /// How buyers behave.
    pub habits: Habits,
    /// End when every seat is sold; not reaching that fails the run.
    pub until_sold_out: bool,
    /// End when standard input ends.
    pub until_eof: bool,
    /// Compare with the server at the end.
    pub audit: bool,
    /// The server's process, if its cost shall be told.
    pub server: Option<Proc>,
    /// What makes the run fail.
    pub thresholds: Thresholds,
    /// Files to leave behind.
    pub outputs: Outputs,
    /// Show a progress bar.
    pub progress: bool,
}
