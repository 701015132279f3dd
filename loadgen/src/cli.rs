//! What can be typed. What it means is in `cli/meaning.rs`, which refuses a flag that means nothing.

mod meaning;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Load generator and auditor for Stampede, over its public API only.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sends an on-sale's load, reports latencies from the intended start, and audits what was acknowledged.
    Onsale(Box<OnsaleArgs>),
    /// Compares a journal of acknowledgements with what the server has.
    Audit(AuditArgs),
    /// Serves the same bytes to every request: the limit to compare a server with.
    Floor(FloorArgs),
    /// Compares floor, Stampede and, if they are on this machine, nginx and Redis: rates, CPU a request, ratios.
    Compare(CompareArgs),
    /// WebSocket readers of a block that a writer changes: fan-out times, lost messages, memory a connection.
    Live(LiveArgs),
}

/// `loadgen live`
#[derive(Debug, Args)]
pub struct LiveArgs {
    /// Server and keys.
    #[command(flatten)]
    pub access: AccessArgs,
    /// Readers, all of one block; the server needs as many sessions (`live.sessions_max`) and connections
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub subscribers: u32,
    /// Changes a second
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    pub rate: f64,
    /// How long changes are made
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Idle keep-alive connections, opened before, each of which has made one request
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub idle_http: u32,
    /// The server's process, to tell its resident bytes for a connection: right for a server that was just started, because
    /// one that had connections before uses their memory again
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `loadgen compare`
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Times that every contender of a row has its turn, one after the other; with fewer than 3 the figures are marked as no
    /// medians
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Seconds of a turn
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Only this row or group (may be repeated): speed (the default: availability-64, availability-512,
    /// availability-pipelined, holds and holds-pipelined, which count new holds only, rush-pipelined), cost (CPU by kind of
    /// request, 1 and 16 in flight), cores (one and all), events (one small and 1,000 large), share (latency at 60 % of the most)
    #[arg(long, value_name = "ROW")]
    pub only: Vec<String>,
    /// The server's program [default: `stampede` beside this program]
    #[arg(long, value_name = "FILE")]
    pub stampede: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `loadgen floor`
#[derive(Debug, Args)]
pub struct FloorArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Answer as a real server does: fetched once, head and body, from http://host:port/path
    #[arg(long, value_name = "URL", conflicts_with = "size")]
    pub copy: Option<String>,
    /// Answer with the bytes of this file, head and body
    #[arg(long, value_name = "FILE", conflicts_with_all = ["copy", "size"])]
    pub answer: Option<PathBuf>,
    /// Least number of bytes of the body, when nothing is copied
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub size: u32,
}

/// Where the server is and who we are to it.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// The server, http://host:port; repeat it for every node of a cluster: connections are spread over the nodes and
    /// move on from one that is down, and what one node left open is asked again, with its key, at another
    #[arg(long, required = true)]
    pub url: Vec<String>,
    /// The organizer's API key
    #[arg(long)]
    pub organizer_key: String,
    /// The HS256 secret that signs customers' tokens (`auth.hs256_secret` of the server)
    #[arg(long)]
    pub auth_secret: String,
    /// How long an operation without a final answer is repeated with its key, also over a restart of the server
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub give_up: Duration,
    /// How long to wait for orders to come to their end after the run, and again before an audit
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub settle: Duration,
}

/// `loadgen audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Server and keys.
    #[command(flatten)]
    pub access: AccessArgs,
    /// The journal that a run wrote
    #[arg(long, value_name = "FILE")]
    pub journal: PathBuf,
    /// Write the verdict as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `loadgen onsale`
#[derive(Debug, Args)]
pub struct OnsaleArgs {
    /// Server and keys.
    #[command(flatten)]
    pub access: AccessArgs,
    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,
    /// The events.
    #[command(flatten)]
    pub show: ShowArgs,
    /// The buyers.
    #[command(flatten)]
    pub buyers: BuyerArgs,
    /// The verdict.
    #[command(flatten)]
    pub verdict: VerdictArgs,
}

/// How requests come.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub struct LoadArgs {
    /// Open loop: requests a second, Poisson arrivals, latency from the intended start
    #[arg(long, value_name = "N", conflicts_with = "closed")]
    pub rate: Option<f64>,
    /// Open loop whose rate goes straight from one to another over the run, as in 1000..50000
    #[arg(long, value_name = "FROM..TO", conflicts_with_all = ["rate", "closed"])]
    pub ramp: Option<String>,
    /// Open loop with several rates, each for an equal part of the run, as in 1000,2000,4000
    #[arg(long, value_name = "A,B,…", conflicts_with_all = ["rate", "ramp", "closed"])]
    pub step: Option<String>,
    /// Open loop at a base rate that jumps to a peak at a time, for a time, as in 1000,50000,10s,5s
    #[arg(long, value_name = "BASE,PEAK,AT,FOR", conflicts_with_all = ["rate", "ramp", "step", "closed"])]
    pub spike: Option<String>,
    /// Closed loop (the default): every connection asks again when it has its answers
    #[arg(long)]
    pub closed: bool,
    /// Keep-alive connections, all threads together
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub connections: u32,
    /// Requests in flight on a connection
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub pipeline: u32,
    /// Event loops; one thread sends about a million requests a second
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: u32,
    /// How long requests are started [default: 30s, with --until-sold-out at most 10m]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// rush, sellout, one operation, or weights of several: availability, seats, event, hold, order, order_status, release
    #[arg(long, value_name = "NAME|OP|OP=WEIGHT,…", default_value = "rush")]
    pub mix: String,
    /// How long an answer may take before its connection is given up
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Fixes arrivals, operations and choices
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// End when every seat is sold; fail if that does not happen
    #[arg(long)]
    pub until_sold_out: bool,
    /// Start no more requests once standard input has ended, however long the run was to be
    #[arg(long)]
    pub until_eof: bool,
    /// No progress bar, no table when the run passes
    #[arg(long)]
    pub quiet: bool,
}

/// What is on sale.
#[derive(Debug, Args)]
#[command(next_help_heading = "Events")]
pub struct ShowArgs {
    /// An event that exists, instead of creating some
    #[arg(long, value_name = "ID", conflicts_with_all = ["events", "blocks", "rows", "seats_per_row", "seats", "standing", "hold_ttl", "max_per_customer", "allow_orphans"])]
    pub event: Option<String>,
    /// Events to create [default: as many as the run's holds need, at most 133 of 15,000 seats and 22,500 standing
    /// places, when no size is given; else 1]
    #[arg(long, value_name = "N")]
    pub events: Option<u32>,
    /// Seated blocks of an event [default: 6]
    #[arg(long, value_name = "N")]
    pub blocks: Option<u32>,
    /// Rows of a block [default: 100]
    #[arg(long, value_name = "N", conflicts_with = "seats")]
    pub rows: Option<u32>,
    /// Seats of a row [default: 100]
    #[arg(long, value_name = "N")]
    pub seats_per_row: Option<u32>,
    /// Seats of an event, spread over its blocks, instead of --rows
    #[arg(long, value_name = "N")]
    pub seats: Option<u32>,
    /// Places of a standing block besides the seats [default: none]
    #[arg(long, value_name = "N")]
    pub standing: Option<u32>,
    /// How long a hold lasts [default: 7m]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub hold_ttl: Option<Duration>,
    /// Most seats of a customer [default: no limit]
    #[arg(long, value_name = "N")]
    pub max_per_customer: Option<u32>,
    /// Switch the rule against single free seats off
    #[arg(long)]
    pub allow_orphans: bool,
}

/// How buyers behave.
#[derive(Debug, Args)]
#[command(next_help_heading = "Buyers")]
pub struct BuyerArgs {
    /// Different customers, each drawn as likely as another [default: one for every hold that the run may make, but no more
    /// than places are on sale, and from 10,000 to 150,000]
    #[arg(long, value_name = "N")]
    pub customers: Option<u32>,
    /// Most seats of a hold
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub seats_per_hold: u32,
    /// Percent of seated holds that name their seats; the others take the best available
    #[arg(long, value_name = "PERCENT", default_value_t = 20.0)]
    pub picked: f64,
    /// Percent of acknowledged holds and orders that are asked again with their key
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    pub replays: f64,
    /// Payment tokens and their weights
    #[arg(long, value_name = "TOKEN=WEIGHT,…", default_value = "tok_ok=1")]
    pub payments: String,
}

/// What is kept and what makes the run fail.
#[derive(Debug, Args)]
#[command(next_help_heading = "Verdict")]
pub struct VerdictArgs {
    /// Fail when an operation's 99th percentile is above this (may be repeated)
    #[arg(long, value_name = "OP=MS")]
    pub max_p99: Vec<String>,
    /// Fail when there are more errors
    #[arg(long, value_name = "N")]
    pub max_errors: Option<u64>,
    /// Open loop: fail when started in time ÷ meant to start is below this [default: 0.99, below which a run is void]
    #[arg(long, value_name = "RATIO", conflicts_with = "closed")]
    pub min_achieved: Option<f64>,
    /// Compare what was acknowledged with what the server has, at the end
    #[arg(long)]
    pub audit: bool,
    /// The server's process on this machine, to tell its CPU time for a request and its memory before the events are
    /// laid out, after that, and at the end
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Keep the acknowledgements, one JSON object a line (replaces the file)
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as one HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}
