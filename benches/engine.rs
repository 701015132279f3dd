//! What the engine does from ask to durable answer, without HTTP: `cargo bench --bench engine`.
//!
//! Holds of single named seats in 200 blocks of 20,000 seats by 65,536 customers, through dispatch, cells and the real
//! journal on a real disk. First by tasks that each ask and wait, as the edge does; then by one caller that keeps so many in
//! flight and submits as many new ones as it took answers, as the fast lane does, waits measured from submitting until the
//! answer is in hand; the same with `best` available seats instead of named ones. Then what a restart costs. Prints rates;
//! asserted is only that the journal has every hold. One alone: `-- ask 64`, `-- submit 8192`, `-- best 8192`; a number of
//! holds and one of the runtime's threads may follow, and `live` leaves the restarts out. Waits are kept in microseconds.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actors::address::{Address, BlockRef};
use actors::block::{self, Layout, Row, SeatIx, Want};
use actors::event::{self, BlockSpec, EventSpec, Rules};
use actors::feed::Feed;
use actors::gateway::Call;
use actors::ids::{Customer, HoldId, Shard, Tag};
use actors::keyed::Asked;
use actors::message::Message;
use actors::money::Currency;
use actors::notice::Letter;
use actors::policy::Policy;
use actors::time::{Millis, Span};
use stampede::dispatch::{Answered, Answers, Ask, Dispatch};
use stampede::journal::{Embedded, Options, Silent};
use stampede::runtime::{Alone, FeedSink, NoHooks, Outward, Parts, Runtime, Settings};
use stampede::snapshots::Snapshots;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BLOCKS: u64 = 200;
const ROWS: u64 = 100;
const ROW_SEATS: u64 = 200;
const SEATS: u64 = ROWS * ROW_SEATS;
const CUSTOMERS: u64 = 65_536;

/// Journal group, in bytes, and how long a group gathers: those of `config/default.toml`.
fn options() -> Options {
    Options { gather: Duration::from_micros(100), ..Options::default() }
}

/// How holds are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// One task an ask in flight.
    Ask,
    /// One caller, named seats.
    Submit,
    /// One caller, best available.
    Best,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Round {
    how: How,
    in_flight: u64,
    holds: u64,
    /// Threads of the runtime; 0 for as many as there are cores.
    arbiters: usize,
}

const ROUNDS: [Round; 8] = [
    Round { how: How::Ask, in_flight: 1, holds: 20_000, arbiters: 0 },
    Round { how: How::Ask, in_flight: 64, holds: 300_000, arbiters: 0 },
    Round { how: How::Ask, in_flight: 1024, holds: 640_000, arbiters: 0 },
    Round { how: How::Submit, in_flight: 64, holds: 640_000, arbiters: 0 },
    Round { how: How::Submit, in_flight: 1024, holds: BLOCKS * SEATS, arbiters: 0 },
    Round { how: How::Submit, in_flight: 8192, holds: BLOCKS * SEATS, arbiters: 0 },
    Round { how: How::Submit, in_flight: 16_384, holds: BLOCKS * SEATS, arbiters: 0 },
    Round { how: How::Best, in_flight: 8192, holds: BLOCKS * SEATS, arbiters: 0 },
];

/// The world outside, which takes everything and does nothing.
struct Nowhere;

impl FeedSink for Nowhere {
    fn publish(&self, _: Shard, _: Vec<Feed>) {}
}

impl Outward for Nowhere {
    fn call(&self, _: Address, _: Call) {}
    fn deliver(&self, _: Address, _: Letter) {}
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let numbers: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let named = |how: How| words.contains(&format!("{how:?}").to_lowercase());
    let any = [How::Ask, How::Submit, How::Best].into_iter().any(named);
    for round in ROUNDS {
        let wanted = (!any || named(round.how)) && numbers.first().is_none_or(|number| *number == round.in_flight);
        if wanted {
            let holds = numbers.get(1).map_or(round.holds, |holds| (*holds).min(BLOCKS * SEATS));
            let arbiters = numbers.get(2).map_or(round.arbiters, |arbiters| *arbiters as usize);
            let restarts = !words.iter().any(|word| word == "live");
            actix_rt::System::new().block_on(measure(Round { holds, arbiters, ..round }, restarts.then_some(Restarts)));
        }
    }
}

/// That the restarts are measured too.
struct Restarts;

async fn measure(round: Round, restarts: Option<Restarts>) {
    let Round { how, in_flight, holds, arbiters } = round;
    let dir = tempfile::tempdir_in(option_env!("CARGO_TARGET_TMPDIR").unwrap_or(".")).unwrap();
    let (runtime, journal) = start(dir.path(), arbiters);
    let dispatch = Dispatch::local(&runtime);
    open_sale(&dispatch).await;
    let cpu = cpu_seconds();
    let began = Instant::now();
    let mut waits = match how {
        How::Ask => ask(&dispatch, in_flight, holds).await,
        How::Submit | How::Best => submit(&dispatch, round).await,
    };
    let took = began.elapsed();
    let cpu = Duration::from_secs_f64((cpu_seconds() - cpu) / holds as f64);
    let rate = holds as f64 / took.as_secs_f64();
    waits.sort_unstable();
    let wait = |share: usize| Duration::from_micros(waits[(waits.len() - 1) * share / 1000].into());
    let (p50, p99, most) = (wait(500), wait(990), wait(1000));
    println!(
        "{how:?} in_flight={in_flight} holds={holds} per_second={rate:.0} p50={p50:?} p99={p99:?} max={most:?} cpu_per_hold={cpu:?}"
    );
    runtime.kill();
    journal.close();
    drop(journal);
    if restarts.is_some() {
        restart(dir.path(), round).await;
    }
}

/// From the journal alone, then from snapshots.
async fn restart(dir: &Path, round: Round) {
    let Round { holds, arbiters, .. } = round;
    let (runtime, journal) = start(dir, arbiters);
    let recovery = runtime.recovery();
    let rate = recovery.entries as f64 / recovery.took.as_secs_f64();
    assert!(recovery.entries >= holds, "every hold that was answered is in the journal");
    println!("  restart from the journal: {recovery:?} entries_per_second={rate:.0}");
    let began = Instant::now();
    runtime.stop().await;
    println!("  stop with snapshots of all cells: {:?}", began.elapsed());
    journal.close();
    drop(journal);

    let (runtime, journal) = start(dir, arbiters);
    println!("  restart from snapshots: {:?}", runtime.recovery());
    runtime.kill();
    journal.close();
}

/// CPU time of this process, callers included.
fn cpu_seconds() -> f64 {
    let stat = procfs::process::Process::myself().unwrap().stat().unwrap();
    (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
}

fn start(dir: &Path, arbiters: usize) -> (Runtime, Arc<Embedded>) {
    let began = Instant::now();
    let (journal, _) = Embedded::open(&dir.join("journal"), options(), Arc::new(Silent)).unwrap();
    let (snapshots, _) = Snapshots::open(&dir.join("snapshots"), 64 << 20).unwrap();
    let journal = Arc::new(journal);
    println!("  journal and snapshots opened in {:?}", began.elapsed());
    let usual = Settings::default();
    let settings = Settings {
        arbiters: if arbiters == 0 { usual.arbiters } else { arbiters },
        snapshot_interval: Duration::from_secs(3600),
        snapshot_changes_max: u64::MAX,
        ..usual
    };
    let policy = Policy::default();
    let shards: Vec<Shard> = (0..policy.shards).map(Shard).collect();
    let parts = Parts {
        journal: journal.clone(),
        snapshots: Arc::new(snapshots),
        policy,
        settings,
        feed: Arc::new(Nowhere),
        outward: Arc::new(Nowhere),
        hooks: Arc::new(NoHooks),
        beyond: Arc::new(Alone),
    };
    (Runtime::start(parts, &shards).unwrap(), journal)
}

fn block_ref(number: u64) -> BlockRef {
    BlockRef { event: "aurora".into(), block: format!("B{number}").as_str().into() }
}

async fn open_sale(dispatch: &Dispatch) {
    let blocks = (0..BLOCKS).map(|number| {
        let rows = (0..ROWS).map(|row| Row { name: row.to_string(), seats: ROW_SEATS as u16 }).collect();
        BlockSpec { id: block_ref(number).block, name: String::new(), layout: Layout::Seated(rows), price: 8500 }
    });
    let rules = Rules { hold_ttl: Span::seconds(3600), max_per_hold: 10, max_per_customer: None, no_orphans: false };
    let spec = EventSpec {
        id: "aurora".into(),
        name: "Aurora".to_owned(),
        venue: "Harbour".to_owned(),
        starts_at: Millis(0),
        currency: Currency(*b"EUR"),
        on_sale_at: None,
        rules,
        blocks: blocks.collect(),
    };
    let desk = Address::Event("aurora".into());
    let mut command = event::Command::Create(Box::new(spec));
    loop {
        let asked = Asked { key: None, command: Message::Event(command) };
        let answer = dispatch.ask(desk.clone(), asked).await.unwrap().result.unwrap();
        if matches!(answer, actors::message::Reply::Event(event::Reply::Event(event)) if event.ready) {
            return;
        }
        command = event::Command::Show;
    }
}

/// What is asked for, one after the other.
struct Wishes {
    how: How,
    blocks: Vec<(Address, Shard, Tag)>,
    customers: Vec<Customer>,
}

impl Wishes {
    fn new(how: How) -> Self {
        let block = |number| {
            let address = Address::Block(block_ref(number));
            let shard = address.shard(Policy::default().shards);
            (address, shard, block_ref(number).tag())
        };
        let customer = |number| Customer::from(format!("customer-{number}").as_str());
        Self { how, blocks: (0..BLOCKS).map(block).collect(), customers: (0..CUSTOMERS).map(customer).collect() }
    }

    fn number(&self, number: u64) -> (Address, Asked<Message>) {
        let (address, shard, tag) = &self.blocks[(number % BLOCKS) as usize];
        let want = match self.how {
            How::Ask | How::Submit => Want::Seats([SeatIx((number / BLOCKS) as u32)].into_iter().collect()),
            How::Best => Want::Best { quantity: 1, max_price: None },
        };
        let command = block::Command::Hold {
            hold: HoldId::new(Millis(number / 1000), *shard, *tag, number),
            customer: self.customers[(number % CUSTOMERS) as usize].clone(),
            want,
        };
        (address.clone(), Asked { key: None, command: Message::Block(command) })
    }
}

/// Callers that each wait for one answer, on a thread of their own, as the edge has them; their waits.
async fn ask(dispatch: &Dispatch, in_flight: u64, holds: u64) -> Vec<u32> {
    let callers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let wishes = Arc::new(Wishes::new(How::Ask));
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (dispatch, next, wishes) = (dispatch.clone(), next.clone(), wishes.clone());
            callers.spawn(async move {
                let mut waits = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= holds {
                        return waits;
                    }
                    let (to, asked) = wishes.number(number);
                    let began = Instant::now();
                    dispatch.ask(to, asked).await.unwrap().result.unwrap();
                    waits.push(began.elapsed().as_micros() as u32);
                }
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.append(&mut task.await.unwrap());
    }
    callers.shutdown_background();
    waits
}

/// One caller on a thread of its own that takes what is answered and submits as many new ones; the waits.
async fn submit(dispatch: &Dispatch, round: Round) -> Vec<u32> {
    let caller = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let dispatch = dispatch.clone();
    let waits = caller.spawn(async move {
        let wishes = Wishes::new(round.how);
        let answers = Answers::new();
        let start = Instant::now();
        let now = || start.elapsed().as_micros() as u32;
        let mut began: Vec<u32> = Vec::with_capacity(round.holds as usize);
        let mut waits = Vec::with_capacity(round.holds as usize);
        let mut taken: Vec<Answered> = Vec::new();
        let mut room = round.in_flight;
        while waits.len() < round.holds as usize {
            let next = began.len() as u64;
            let until = (next + room).min(round.holds);
            began.resize(until as usize, now());
            let wish = |ticket| {
                let (to, asked) = wishes.number(ticket);
                Ask { to, asked, ticket }
            };
            dispatch.submit((next..until).map(wish), &answers);
            std::future::poll_fn(|context| answers.poll_take(context, &mut taken)).await;
            room = taken.len() as u64;
            let now = now();
            for Answered { ticket, outcome } in taken.drain(..) {
                outcome.unwrap().result.unwrap();
                waits.push(now - began[ticket as usize]);
            }
        }
        waits
    });
    let waits = waits.await.unwrap();
    caller.shutdown_background();
    waits
}
