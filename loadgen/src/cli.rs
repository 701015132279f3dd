//! What can be typed, and what it means. A flag that means nothing is refused here, by its name and its rule.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::client::Client;
use crate::failure::Failure;
use crate::floor::{answer, standard_body};
use crate::http::Target;
use crate::mix::{Mix, Operation, weighted};
use crate::plan::{Access, Habits, Load, NewEvents, Outputs, Plan, Show, Thresholds};

/// Most events, blocks of an event and rows of a block: numbers that fit the engine's tables.
const TABLE_MAX: u32 = 50_000;
/// Shortest time of a run: below it a rate says nothing.
const DURATION_MIN: Duration = Duration::from_millis(100);
/// How long a run lasts when nobody says.
const DURATION: Duration = Duration::from_secs(30);
/// The same with `--until-sold-out`, where it is only the limit.
const DURATION_SELLOUT: Duration = Duration::from_secs(600);
/// How long a server that is copied may take to answer.
const COPY_PATIENCE: Duration = Duration::from_secs(5);
/// Shape of an event when nobody says.
const BLOCKS: u32 = 6;
const ROWS: u32 = 100;
const SEATS_PER_ROW: u32 = 100;

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
    /// Least number of bytes of the body, when nothing is copied
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub size: u32,
}

impl FloorArgs {
    /// The bytes to answer with.
    pub fn answer(&self) -> Result<Vec<u8>, Failure> {
        let Some(url) = &self.copy else { return Ok(answer(&standard_body(self.size as usize))) };
        let path_at = url.get(7..).and_then(|rest| rest.find('/')).map(|place| place + 7);
        let (server, path) = url.split_at(path_at.ok_or_else(|| usage("--copy", "must be http://host:port/path"))?);
        Client::new(Target::parse(server)?, COPY_PATIENCE).copy(path)
    }
}

/// Where the server is and who we are to it.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// The server, http://host:port
    #[arg(long)]
    pub url: String,
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
    /// rush, sellout, or weights of availability, seats, event, hold, order, order_status, release
    #[arg(long, value_name = "NAME|OP=WEIGHT,…", default_value = "rush")]
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
    /// Events to create [default: 1]
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
    /// Different customers
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub customers: u32,
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
    /// Fail when achieved ÷ asked rate is below this (0.99 is a valid run)
    #[arg(long, value_name = "RATIO", requires = "rate")]
    pub min_achieved: Option<f64>,
    /// Compare what was acknowledged with what the server has, at the end
    #[arg(long)]
    pub audit: bool,
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

impl AccessArgs {
    /// Gives the flags their meaning.
    pub fn meaning(&self) -> Result<Access, Failure> {
        Ok(Access {
            target: Target::parse(&self.url)?,
            organizer_key: self.organizer_key.clone(),
            auth_secret: self.auth_secret.clone(),
            give_up: self.give_up,
            settle: self.settle,
        })
    }
}

impl OnsaleArgs {
    /// Gives the flags their meaning, or names the one that has none.
    pub fn meaning(&self) -> Result<Plan, Failure> {
        let load = &self.load;
        within("--connections", load.connections, 1, 60_000)?;
        within("--pipeline", load.pipeline, 1, 1_024)?;
        within("--threads", load.threads, 1, load.connections.min(256))?;
        within("--customers", self.buyers.customers, load.threads, 10_000_000)?;
        let default_duration = if load.until_sold_out { DURATION_SELLOUT } else { DURATION };
        let duration = load.duration.unwrap_or(default_duration);
        if duration < DURATION_MIN {
            return Err(usage("--duration", format!("must be at least {DURATION_MIN:?}")));
        }
        Ok(Plan {
            access: self.access.meaning()?,
            load: self.arrivals()?,
            threads: load.threads,
            connections: load.connections,
            pipeline: load.pipeline,
            duration,
            timeout: load.timeout,
            mix: self.mix()?,
            customers: self.buyers.customers,
            seed: load.seed,
            show: self.show.meaning()?,
            habits: self.buyers.meaning()?,
            until_sold_out: load.until_sold_out,
            audit: self.verdict.audit,
            thresholds: self.verdict.thresholds()?,
            outputs: self.verdict.outputs(),
            progress: !load.quiet,
        })
    }

    fn arrivals(&self) -> Result<Load, Failure> {
        match self.load.rate {
            None => Ok(Load::Closed),
            Some(rate) if rate > 0.0 && rate <= 1e8 => Ok(Load::Open { rate }),
            Some(_) => Err(usage("--rate", "must be above 0 and at most 100000000 requests a second")),
        }
    }

    fn mix(&self) -> Result<Mix, Failure> {
        let mix = Mix::parse(&self.load.mix)?;
        let sells = mix.has(Operation::Order) || mix.has(Operation::OrderStatus);
        if self.load.until_sold_out && !sells {
            return Err(usage("--until-sold-out", "needs a mix with orders, such as sellout"));
        }
        Ok(mix)
    }
}

impl ShowArgs {
    fn meaning(&self) -> Result<Show, Failure> {
        if let Some(id) = &self.event {
            let is_slug = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if id.is_empty() || id.len() > 64 || !id.bytes().all(is_slug) {
                return Err(usage("--event", format!("`{id}` must be 1 to 64 of a-z, 0-9 and -")));
            }
            return Ok(Show::Existing(id.clone()));
        }
        let (events, blocks) = (self.events.unwrap_or(1), self.blocks.unwrap_or(BLOCKS));
        let (rows, seats_per_row) = (self.rows.unwrap_or(ROWS), self.seats_per_row.unwrap_or(SEATS_PER_ROW));
        for (flag, number) in
            [("--events", events), ("--blocks", blocks), ("--rows", rows), ("--seats-per-row", seats_per_row)]
        {
            within(flag, number, 1, TABLE_MAX)?;
        }
        let laid_out = u64::from(blocks) * u64::from(rows) * u64::from(seats_per_row);
        let seats = self.seats.unwrap_or(u32::try_from(laid_out).unwrap_or(u32::MAX));
        within("--seats", seats, 1, 100_000_000)?;
        Ok(Show::New(NewEvents {
            events,
            blocks: blocks.min(seats),
            seats,
            seats_per_row,
            standing: self.standing.unwrap_or(0),
            hold_ttl: self.hold_ttl.unwrap_or(Duration::from_secs(420)),
            max_per_customer: self.max_per_customer,
            no_orphans: !self.allow_orphans,
        }))
    }
}

impl BuyerArgs {
    fn meaning(&self) -> Result<Habits, Failure> {
        within("--seats-per-hold", self.seats_per_hold, 1, 10)?;
        Ok(Habits {
            picked: share("--picked", self.picked)?,
            replays: share("--replays", self.replays)?,
            seats_max: self.seats_per_hold,
            payments: weighted(&self.payments).map_err(|rule| usage("--payments", rule))?,
        })
    }
}

impl VerdictArgs {
    fn thresholds(&self) -> Result<Thresholds, Failure> {
        let p99 = |text: &String| {
            let (name, limit) =
                text.split_once('=').ok_or_else(|| usage("--max-p99", format!("`{text}` must be OP=MS")))?;
            let operation = Operation::named(name).map_err(|rule| usage("--max-p99", rule))?;
            let limit: f64 = limit
                .parse()
                .ok()
                .filter(|limit| *limit > 0.0)
                .ok_or_else(|| usage("--max-p99", format!("the limit of `{name}` must be milliseconds above 0")))?;
            Ok((operation, limit))
        };
        Ok(Thresholds {
            max_p99_ms: self.max_p99.iter().map(p99).collect::<Result<_, Failure>>()?,
            max_errors: self.max_errors,
            min_achieved: self.min_achieved,
        })
    }

    fn outputs(&self) -> Outputs {
        Outputs { journal: self.journal.clone(), json: self.json.clone(), html: self.html.clone() }
    }
}

fn usage(flag: &'static str, rule: impl Into<String>) -> Failure {
    Failure::Usage { flag, rule: rule.into() }
}

fn within(flag: &'static str, number: u32, least: u32, most: u32) -> Result<(), Failure> {
    if (least..=most).contains(&number) {
        return Ok(());
    }
    Err(usage(flag, format!("{number} must be from {least} to {most}")))
}

fn share(flag: &'static str, percent: f64) -> Result<f64, Failure> {
    if (0.0..=100.0).contains(&percent) {
        return Ok(percent / 100.0);
    }
    Err(usage(flag, format!("{percent} must be from 0 to 100")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn meaning(flags: &str) -> Result<Plan, String> {
        let given = ["loadgen", "onsale", "--url", "http://127.0.0.1:1", "--organizer-key", "k", "--auth-secret", "s"];
        let typed = given.into_iter().chain(flags.split_whitespace());
        match Cli::try_parse_from(typed).map_err(|error| error.to_string())?.command {
            Command::Onsale(args) => args.meaning().map_err(|error| error.to_string()),
            Command::Audit(_) | Command::Floor(_) => Err("another command".to_owned()),
        }
    }

    fn refused(flags: &str, with: &str) {
        let why = meaning(flags).map(|_| ()).unwrap_err();
        assert!(why.contains(with), "{flags}: {why}");
    }

    #[test]
    fn what_is_not_said_has_its_documented_meaning() {
        let plan = meaning("").unwrap();
        assert_eq!((plan.load, plan.connections, plan.pipeline, plan.threads), (Load::Closed, 64, 1, 1));
        assert_eq!((plan.duration, plan.mix.name()), (Duration::from_secs(30), "rush"));
        let Show::New(new) = plan.show else { panic!("creates its own event") };
        assert_eq!((new.events, new.blocks, new.seats, new.max_per_customer), (1, 6, 60_000, None));
        assert_eq!(meaning("--until-sold-out --mix sellout").unwrap().duration, DURATION_SELLOUT);
    }

    #[test]
    fn what_is_said_is_meant() {
        let plan =
            meaning("--rate 5000 --max-p99 hold=10 --max-p99 seats=0.5 --seats 7 --blocks 9 --replays 100").unwrap();
        assert_eq!(plan.load, Load::Open { rate: 5000.0 });
        assert_eq!(plan.thresholds.max_p99_ms, [(Operation::Hold, 10.0), (Operation::Seats, 0.5)]);
        assert_eq!(plan.habits.replays, 1.0);
        let Show::New(new) = plan.show else { panic!("creates its own event") };
        assert_eq!((new.blocks, new.seats), (7, 7), "a block without seats is none");
    }

    #[test]
    fn a_flag_that_means_nothing_is_named_with_its_rule() {
        refused("--rate 0", "--rate: must be above 0");
        refused("--rate 5 --closed", "cannot be used with");
        refused("--connections 0", "--connections: 0 must be from 1 to 60000");
        refused("--threads 9 --connections 8", "--threads: 9 must be from 1 to 8");
        refused("--customers 0", "--customers");
        refused("--mix holds", "--mix: `holds` is neither");
        refused("--max-p99 hold", "--max-p99: `hold` must be OP=MS");
        refused("--max-p99 hold=x", "--max-p99: the limit of `hold`");
        refused("--until-sold-out --mix hold=1", "--until-sold-out: needs a mix with orders");
        refused("--event Aurora!", "--event: `Aurora!` must be");
        refused("--event a --seats 5", "cannot be used with");
        refused("--picked 101", "--picked: 101 must be from 0 to 100");
        refused("--payments tok_ok", "--payments: `tok_ok` is neither");
        refused("--duration 1ms", "--duration: must be at least 100ms");
        refused("--min-achieved 0.99", "--rate");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
