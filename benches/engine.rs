//! What the engine does from ask to durable answer: `cargo bench --bench engine`.
//!
//! Holds of single seats in 64 blocks of 10,000 seats, through dispatch, cells and the real journal on a real disk, with
//! so many asks in flight (`-- 64` for that one alone); then what a restart costs. Prints rates; nothing is asserted.

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
use actors::ids::{HoldId, Shard, Tag};
use actors::keyed::Asked;
use actors::message::Message;
use actors::money::Currency;
use actors::notice::Letter;
use actors::policy::Policy;
use actors::time::{Millis, Span};
use stampede::dispatch::Dispatch;
use stampede::journal::{Embedded, Options, Silent};
use stampede::runtime::{Alone, FeedSink, NoHooks, Outward, Parts, Runtime, Settings};
use stampede::snapshots::Snapshots;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BLOCKS: u64 = 64;
const SEATS: u64 = 10_000;

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
    let asked: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    for (in_flight, holds) in [(1, 20_000), (64, 300_000), (1024, BLOCKS * SEATS), (8192, BLOCKS * SEATS)] {
        if asked.is_empty() || asked.contains(&in_flight) {
            actix_rt::System::new().block_on(measure(in_flight, holds));
        }
    }
}

async fn measure(in_flight: u64, holds: u64) {
    let dir = tempfile::tempdir_in(option_env!("CARGO_TARGET_TMPDIR").unwrap_or(".")).unwrap();
    let (runtime, journal) = start(dir.path());
    let dispatch = Dispatch::local(&runtime);
    open_sale(&dispatch).await;
    let cpu = cpu_seconds();
    let took = hold(&dispatch, in_flight, holds).await;
    let cpu = Duration::from_secs_f64((cpu_seconds() - cpu) / holds as f64);
    let rate = holds as f64 / took.as_secs_f64();
    let mean = took * in_flight as u32 / holds as u32;
    println!("holds in_flight={in_flight} holds={holds} per_second={rate:.0} mean={mean:?} cpu_per_hold={cpu:?}");
    runtime.kill();
    journal.close();
    drop(journal);

    let (runtime, journal) = start(dir.path());
    let recovery = runtime.recovery();
    let rate = recovery.entries as f64 / recovery.took.as_secs_f64();
    println!("  restart from the journal: {recovery:?} entries_per_second={rate:.0}");
    let began = Instant::now();
    runtime.stop().await;
    println!("  stop with snapshots of all cells: {:?}", began.elapsed());
    journal.close();
    drop(journal);

    let (runtime, journal) = start(dir.path());
    println!("  restart from snapshots: {:?}", runtime.recovery());
    runtime.kill();
    journal.close();
}

/// CPU time of this process, callers included.
fn cpu_seconds() -> f64 {
    let stat = procfs::process::Process::myself().unwrap().stat().unwrap();
    (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
}

fn start(dir: &Path) -> (Runtime, Arc<Embedded>) {
    let began = Instant::now();
    let (journal, _) = Embedded::open(&dir.join("journal"), Options::default(), Arc::new(Silent)).unwrap();
    let (snapshots, _) = Snapshots::open(&dir.join("snapshots"), 64 << 20).unwrap();
    let journal = Arc::new(journal);
    println!("  journal and snapshots opened in {:?}", began.elapsed());
    let settings = Settings {
        snapshot_interval: Duration::from_secs(3600),
        snapshot_changes_max: u64::MAX,
        ..Settings::default()
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
        let rows = (0..100).map(|row| Row { name: row.to_string(), seats: 100 }).collect();
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

/// Callers on threads of their own, as the edge has them.
async fn hold(dispatch: &Dispatch, in_flight: u64, holds: u64) -> Duration {
    let callers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let addresses: Arc<Vec<(Address, Shard, Tag)>> = Arc::new(
        (0..BLOCKS)
            .map(|number| {
                (
                    Address::Block(block_ref(number)),
                    Address::Block(block_ref(number)).shard(64),
                    block_ref(number).tag(),
                )
            })
            .collect(),
    );
    let began = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (dispatch, next, addresses) = (dispatch.clone(), next.clone(), addresses.clone());
            callers.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= holds {
                        return;
                    }
                    let (address, shard, tag) = &addresses[(number % BLOCKS) as usize];
                    let command = block::Command::Hold {
                        hold: HoldId::new(Millis(number), *shard, *tag, number),
                        customer: "customer-of-the-bench".into(),
                        want: Want::Seats([SeatIx((number / BLOCKS) as u32)].into_iter().collect()),
                    };
                    let asked = Asked { key: None, command: Message::Block(command) };
                    dispatch.ask(address.clone(), asked).await.unwrap().result.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let took = began.elapsed();
    callers.shutdown_background();
    took
}
