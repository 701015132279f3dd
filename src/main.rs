//! The command line: parse, build, run, end. Everything else is in the library.

mod demo;
mod operate;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use stampede::auth;
use stampede::clock;
use stampede::config::{Config, TicketKeyPath};
use stampede::journal::inspect;
use stampede::node::Node;
use stampede::runtime::format;
use stampede::runtime::hosted::in_words;
use stampede::tickets::TicketKey;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A ticket on-sale engine: the box office that a million people can storm at 10:00:00.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One node with a demo event of 60,000 seats and development keys; prints what to open and what to run.
    Demo(Settings),
    /// A node as configured.
    Serve(Settings),
    /// Keys: of organizers, and the one that signs tickets.
    #[command(subcommand)]
    Key(Key),
    /// Mints a customer's token for development, signed with `auth.hs256_secret` (without one: the demo's).
    Token {
        /// The customer's name: 1 to 128 visible characters.
        #[arg(long)]
        customer: String,
        /// How long it is valid, such as `1h`.
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
        ttl: Duration,
        #[command(flatten)]
        settings: Settings,
    },
    /// Checks a configuration and prints every key with its value and where it comes from.
    CheckConfig(Settings),
    /// Looks into a journal, or compares a cluster's with its copies.
    #[command(subcommand)]
    Journal(Journal),
    /// Backs a cluster's deployment up, from NATS into a directory of its own; nodes may be running.
    Backup {
        /// An empty or new directory.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
    /// Restores a backup into NATS servers that have nothing of that name.
    Restore {
        /// The backup's directory.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
}

#[derive(Subcommand)]
enum Key {
    /// Prints a new key and the digest that goes into `auth.organizer_keys`.
    New,
    /// Makes the key that signs tickets, for all nodes of a cluster to share (`tickets.key_file`); one that is there stays.
    /// Prints its id.
    Ticket {
        /// Where it is to be.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum Journal {
    /// Checks every byte; says what is there, or which file is damaged, where and how.
    Verify {
        /// The journal's folder, or the data directory that it is in.
        dir: PathBuf,
    },
    /// Prints every record, one line of JSON a cell's part.
    Dump {
        /// The journal's folder, or the data directory that it is in.
        dir: PathBuf,
    },
    /// Compares a cluster's journal with the copies that its nodes keep; ends with 1 if a record differs and names it.
    Compare {
        /// Data directories of nodes; none: the configured one.
        dirs: Vec<PathBuf>,
        /// First writes again what copies have behind the end of a shard's journal. All nodes must be stopped.
        #[arg(long)]
        restore: bool,
        #[command(flatten)]
        settings: Settings,
    },
}

#[derive(Args)]
struct Settings {
    /// A configuration file over the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting over all files, such as `http.listen=0.0.0.0:8080`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Settings {
    fn load(&self) -> Result<Config, Failed> {
        let config = Config::load(self.config.as_deref(), &self.set)?;
        stampede::telemetry::init(&config.telemetry)?;
        Ok(config)
    }
}

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("stampede: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Demo(settings) => demo(settings),
        Command::Serve(settings) => {
            let config = Config::load(settings.config.as_deref(), &settings.set)?;
            config.check_keys_present()?;
            serve(config, async |_| Ok(()))
        }
        Command::Key(Key::New) => {
            let (key, digest) = auth::new_key();
            say(&format!("key={key}\ndigest={digest}\n"))
        }
        Command::Key(Key::Ticket { file }) => {
            let key = TicketKey::open(&TicketKeyPath::Own(file))?;
            say(&format!("kid={}\n", key.kid()))
        }
        Command::Token { customer, ttl, settings } => {
            let mut config = Config::load(settings.config.as_deref(), &settings.set)?;
            demo::add_secret(&mut config);
            let token = auth::mint(&config.auth, &customer, ttl, clock::now().0 / 1000)?;
            say(&format!("{token}\n"))
        }
        Command::CheckConfig(settings) => {
            let loaded = Config::load_with_origins(settings.config.as_deref(), &settings.set)?;
            let lines: Vec<String> = loaded.effective.iter().map(|key| format!("{key}\n")).collect();
            loaded.config.check_keys_present()?;
            say(&lines.concat())
        }
        Command::Journal(Journal::Verify { dir }) => verify(&journal_dir(&dir)),
        Command::Journal(Journal::Dump { dir }) => dump(&journal_dir(&dir)),
        Command::Journal(Journal::Compare { dirs, restore, settings }) => {
            operate::compare(&settings.load()?, &dirs, restore)
        }
        Command::Backup { to, settings } => operate::backup(&settings.load()?, &to),
        Command::Restore { from, settings } => operate::restore(&settings.load()?, &from),
    }
}

fn demo(settings: Settings) -> Result<ExitCode, Failed> {
    let mut config = Config::load(settings.config.as_deref(), &settings.set)?;
    demo::complete(&mut config);
    serve(config, demo::open)
}

/// Runs a node until it is told to stop. `opened` is called once it listens.
fn serve(config: Config, opened: impl AsyncFnOnce(&Node) -> Result<(), Failed>) -> Result<ExitCode, Failed> {
    stampede::telemetry::init(&config.telemetry)?;
    actix_rt::System::new().block_on(async move {
        let node = Node::start(config)?;
        say(&format!("listening on http://{}\n", node.address))?;
        opened(&node).await?;
        Ok(node.serve().await?)
    })
}

fn journal_dir(dir: &Path) -> PathBuf {
    let inside = dir.join("journal");
    if inside.is_dir() { inside } else { dir.to_owned() }
}

fn verify(dir: &Path) -> Result<ExitCode, Failed> {
    let report = inspect::verify(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut text = String::new();
    for segment in &report.segments {
        text += &format!("{}: {} of {} bytes used\n", segment.file.display(), segment.used_bytes, segment.bytes);
    }
    for (shard, first, last) in report.shards.iter().filter(|(_, _, last)| last.0 > 0) {
        text += &format!("shard {shard}: records {first} to {last}\n");
    }
    text += &format!("in order: {:?}\n", report.recovery);
    say(&text)
}

fn dump(dir: &Path) -> Result<ExitCode, Failed> {
    let mut out = std::io::stdout().lock();
    inspect::dump(dir, &mut |shard, seq, record| {
        for section in format::sections(record)? {
            let section = section?;
            let line = serde_json::json!({
                "shard": shard.0, "seq": seq.0, "cell": format!("{:?}", section.address), "entries": in_words(&section)?,
            });
            writeln!(out, "{line}")?;
        }
        Ok(())
    })
    .map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints at once, also into a pipe; a reader that is gone is no failure.
fn say(text: &str) -> Result<ExitCode, Failed> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
