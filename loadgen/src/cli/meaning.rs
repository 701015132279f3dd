//! What the flags mean. A flag that means nothing is refused here, by its name and its rule.

mod expected;

use std::time::Duration;

use expected::{Expected, PLACES};

use super::{AccessArgs, BuyerArgs, FloorArgs, OnsaleArgs, ShowArgs, VerdictArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::floor::{answer, standard_body};
use crate::http::Target;
use crate::mix::{Mix, Operation, weighted};
use crate::plan::{Access, Habits, Load, NewEvents, Outputs, Plan, Show, Thresholds};
use crate::proc::Proc;
use crate::profile::Profile;

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
/// How long a hold lasts when nobody says.
const HOLD_TTL: Duration = Duration::from_secs(420);

impl FloorArgs {
    /// The bytes to answer with.
    pub fn answer(&self) -> Result<Vec<u8>, Failure> {
        if let Some(path) = &self.answer {
            return std::fs::read(path).map_err(Failure::file(path));
        }
        let Some(url) = &self.copy else { return Ok(answer(&standard_body(self.size as usize))) };
        let path_at = url.get(7..).and_then(|rest| rest.find('/')).map(|place| place + 7);
        let (server, path) = url.split_at(path_at.ok_or_else(|| usage("--copy", "must be http://host:port/path"))?);
        Client::new(vec![Target::parse(server)?], COPY_PATIENCE).copy(path)
    }
}

impl AccessArgs {
    /// Gives the flags their meaning.
    pub fn meaning(&self) -> Result<Access, Failure> {
        Ok(Access {
            targets: self.url.iter().map(|url| Target::parse(url)).collect::<Result<_, _>>()?,
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
        let default_duration = if load.until_sold_out { DURATION_SELLOUT } else { DURATION };
        let duration = load.duration.unwrap_or(default_duration);
        if duration < DURATION_MIN {
            return Err(usage("--duration", format!("must be at least {DURATION_MIN:?}")));
        }
        let (load_meant, mix, habits) = (self.arrivals(duration)?, self.mix()?, self.buyers.meaning()?);
        let expected = Expected { load: &load_meant, mix: &mix, habits: &habits, run: duration, depth: load.pipeline };
        let show = self.show.meaning(&expected, load.until_sold_out)?;
        let customers = self.buyers.customers.unwrap_or_else(|| expected.customers(&show));
        within("--customers", customers, load.threads, 10_000_000)?;
        Ok(Plan {
            access: self.access.meaning()?,
            load: load_meant,
            threads: load.threads,
            connections: load.connections,
            pipeline: load.pipeline,
            duration,
            timeout: load.timeout,
            mix,
            customers,
            seed: load.seed,
            show,
            habits,
            until_sold_out: load.until_sold_out,
            until_eof: load.until_eof,
            audit: self.verdict.audit,
            server: self.verdict.server_pid.map(Proc),
            thresholds: self.verdict.thresholds()?,
            outputs: self.verdict.outputs(),
            progress: !load.quiet,
        })
    }

    fn arrivals(&self, duration: Duration) -> Result<Load, Failure> {
        let load = &self.load;
        let profile = match (load.rate, &load.ramp, &load.step, &load.spike) {
            (Some(rate), ..) => Profile::steady(rate)?,
            (None, Some(ramp), ..) => Profile::ramp(ramp, duration)?,
            (None, None, Some(step), _) => Profile::step(step, duration)?,
            (None, None, None, Some(spike)) => Profile::spike(spike, duration)?,
            (None, None, None, None) if self.verdict.min_achieved.is_some() => {
                return Err(usage("--min-achieved", "needs an open loop: --rate, --ramp, --step or --spike"));
            }
            (None, None, None, None) => return Ok(Load::Closed),
        };
        Ok(Load::Open { profile })
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
    fn meaning(&self, expected: &Expected<'_>, until_sold_out: bool) -> Result<Show, Failure> {
        if let Some(id) = &self.event {
            let is_slug = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if id.is_empty() || id.len() > 64 || !id.bytes().all(is_slug) {
                return Err(usage("--event", format!("`{id}` must be 1 to 64 of a-z, 0-9 and -")));
            }
            return Ok(Show::Existing(id.clone()));
        }
        let sizes = [self.events, self.blocks, self.rows, self.seats_per_row, self.seats, self.standing];
        if !until_sold_out && sizes.iter().all(Option::is_none) && expected.places() > PLACES {
            return Ok(Show::New(self.as_many_as(expected.places())));
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
            places_wanted: None,
            hold_ttl: self.hold_ttl.unwrap_or(HOLD_TTL),
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
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn meaning(flags: &str) -> Result<Plan, String> {
        let given = ["loadgen", "onsale", "--url", "http://127.0.0.1:1", "--organizer-key", "k", "--auth-secret", "s"];
        let typed = given.into_iter().chain(flags.split_whitespace());
        match Cli::try_parse_from(typed).map_err(|error| error.to_string())?.command {
            Command::Onsale(args) => args.meaning().map_err(|error| error.to_string()),
            Command::Audit(_) | Command::Floor(_) | Command::Compare(_) | Command::Live(_) => {
                Err("another command".to_owned())
            }
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
        let Show::New(new) = meaning("--rate 100").unwrap().show else { panic!("creates its own event") };
        assert_eq!((new.events, new.blocks, new.seats, new.max_per_customer), (1, 6, 60_000, None));
        assert_eq!(meaning("--until-sold-out --mix sellout").unwrap().duration, DURATION_SELLOUT);
    }

    #[test]
    fn a_long_run_gets_enough_to_sell_and_what_is_said_wins() {
        let new = |flags: &str| match meaning(flags).unwrap().show {
            Show::New(new) => new,
            Show::Existing(_) => panic!("creates its own events"),
        };
        let rush = new("--pipeline 16 --duration 60s");
        assert!(rush.events == 133 && rush.places() < 5_000_000, "{rush:?}");
        assert!(u64::from(rush.events) * u64::from(rush.seats) < 2_000_000, "{rush:?}");
        assert_eq!(rush.places_wanted, Some(6_480_000), "36,000 holds a second of 2.5 places and some to spare");
        let short = new("--rate 10000 --duration 60s --mix hold=1,availability=2");
        assert!(
            (600_000..700_000).contains(&short.places()),
            "200,000 holds of 2.5 places and some to spare: {short:?}"
        );
        assert_eq!(short.places_wanted, None);
        assert_eq!(new("--mix availability=1 --duration 1h").places(), PLACES, "reads need no more");
        assert_eq!(new("--pipeline 16 --duration 60s --seats 500").places(), 500);
        assert_eq!(new("--until-sold-out --mix sellout").places(), PLACES);
    }

    #[test]
    fn customers_are_as_many_as_the_run_needs_within_bounds_and_what_is_said_wins() {
        let customers = |flags: &str| meaning(flags).unwrap().customers;
        assert_eq!(customers("--rate 40000 --duration 60s"), 72_000, "1,200 holds a second");
        assert_eq!(customers("--pipeline 16 --duration 60s"), 150_000, "the most");
        assert_eq!(customers("--rate 100"), 10_000, "the least");
        assert_eq!(customers("--mix availability=1 --duration 1h"), 10_000);
        assert_eq!(customers("--mix hold --seats 20000"), 20_000, "one a place");
        assert_eq!(customers("--mix sellout --until-sold-out --event aurora-night-1"), 60_000);
        assert_eq!(customers("--pipeline 16 --duration 60s --customers 7"), 7);
    }

    #[test]
    fn what_is_said_is_meant() {
        let plan =
            meaning("--rate 5000 --max-p99 hold=10 --max-p99 seats=0.5 --seats 7 --blocks 9 --replays 100").unwrap();
        assert_eq!(plan.load, Load::Open { profile: Profile::steady(5000.0).unwrap() });
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
        refused("--ramp 5", "--ramp: must be FROM..TO");
        refused("--ramp 5..9 --rate 3", "cannot be used with");
        refused("--spike 1,2,29s,2s", "--spike: the peak must lie within");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
