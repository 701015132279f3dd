//! How long a node takes to come back with a million sold seats, and what a seat costs in memory. Run with
//! `cargo bench --bench restart [-- SEATS [SEATS_A_HOLD]]`; prints one line a figure.
//!
//! It sells every seat through the real machines, journal and provider (no HTTP) without taking a snapshot, ends like a crash,
//! starts from the journal alone, stops in good order, which takes snapshots, and starts from those.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench says what it expects")]

use std::path::Path;
use std::time::{Duration, Instant};

use actors::address::{Address, BlockRef};
use actors::block::{self, Layout, Row, SeatIx, Want};
use actors::event::{self, BlockSpec, EventSpec, Rules};
use actors::ids::{Customer, HoldId, OrderId, PaymentId, Tag};
use actors::keyed::{Asked, Key, KeyDigest};
use actors::message::{Message, Reply};
use actors::money::Currency;
use actors::order;
use actors::time::{Millis, Span};
use stampede::clock;
use stampede::config::Config;
use stampede::dispatch::Dispatch;
use stampede::node::Node;

/// As in the server: another allocator would be another figure.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seats of a block: 100 rows of 100.
const BLOCK: u32 = 10_000;

/// Sales under way at once.
const BUYERS: u32 = 512;

fn config(dir: &Path) -> Config {
    let set = [
        format!("data.dir={}", dir.display()),
        "http.listen=127.0.0.1:0".to_owned(),
        "payments.simulated.latency_p50=1ms".to_owned(),
        "payments.simulated.latency_p99=2ms".to_owned(),
        "notices.file=".to_owned(),
        "telemetry.level=warn".to_owned(),
        "snapshots.interval=24h".to_owned(),
        "snapshots.changes_max=1000000000000".to_owned(),
    ];
    Config::load(None, &set).unwrap()
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

fn concert(seats: u32) -> EventSpec {
    let rows: Vec<Row> = (1..=100).map(|row| Row { name: row.to_string(), seats: 100 }).collect();
    let block = |nth: u32| BlockSpec {
        id: format!("B{nth}").as_str().into(),
        name: format!("Block {nth}"),
        layout: Layout::Seated(rows.clone()),
        price: 5_000,
    };
    EventSpec {
        id: "million".into(),
        name: "Million".to_owned(),
        venue: "Field".to_owned(),
        starts_at: Millis(4_000_000_000_000),
        currency: Currency(*b"EUR"),
        on_sale_at: None,
        rules: Rules { hold_ttl: Span::seconds(3600), max_per_hold: 10, max_per_customer: None, no_orphans: false },
        blocks: (0..seats / BLOCK).map(block).collect(),
    }
}

async fn ask(dispatch: &Dispatch, to: Address, asked: Asked<Message>) -> Reply {
    loop {
        match dispatch.ask(to.clone(), asked.clone()).await {
            Ok(answer) => return answer.result.unwrap(),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Every hold and order with an idempotency key, as a shop would send it.
fn keyed(nth: u32, command: Message) -> Asked<Message> {
    let kind = match &command {
        Message::Block(_) => 0,
        Message::Event(_) | Message::Order(_) | Message::Payment(_) | Message::Notice(_) => 1,
    };
    let digest = KeyDigest((u128::from(nth) << 64) | 0xfeed_0000 | kind);
    Asked { key: Some(Key { digest, fingerprint: u64::from(nth) }), command }
}

async fn buy(dispatch: &Dispatch, nth: u32, seats_a_hold: u32) {
    let first = nth * seats_a_hold;
    let block = BlockRef { event: "million".into(), block: format!("B{}", first / BLOCK).as_str().into() };
    let to = Address::Block(block.clone());
    let customer = Customer::from(format!("customer-{nth:07}").as_str());
    let hold = HoldId::new(clock::now(), to.shard(dispatch.shards()), block.tag(), clock::unique());
    let seats = (first..first + seats_a_hold).map(|seat| SeatIx(seat % BLOCK)).collect();
    let command = block::Command::Hold { hold, customer: customer.clone(), want: Want::Seats(seats) };
    let Reply::Block(block::Reply::Held(view)) = ask(dispatch, to, keyed(nth, command.into())).await else { panic!() };
    let home = Address::home_of(&customer, dispatch.shards());
    let shard = home.shard(dispatch.shards());
    let command = order::Command::Place {
        order: OrderId::new(clock::now(), shard, Tag(0), clock::unique()),
        customer,
        holds: vec![Some(*view)],
        email: format!("customer-{nth:07}@example.org"),
        token: "tok_ok".to_owned(),
        payment: PaymentId::new(clock::now(), shard, Tag(0), clock::unique()),
    };
    ask(dispatch, home, keyed(nth, command.into())).await;
}

fn sold(node: &Node) -> u32 {
    let event = node.board.event(&"million".into()).unwrap();
    event.blocks().map(|(_, block)| block.counts().sold).sum()
}

async fn open(node: &Node, seats: u32) {
    let spec = event::Command::Create(Box::new(concert(seats)));
    ask(&node.dispatch, Address::Event("million".into()), Message::from(spec).into()).await;
    while !node.board.event(&"million".into()).is_some_and(|event| event.ready) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn sell(node: &Node, seats: u32, seats_a_hold: u32) {
    let buyers = (0..BUYERS).map(|buyer| {
        let dispatch = node.dispatch.clone();
        actix_rt::spawn(async move {
            for nth in (buyer..seats / seats_a_hold).step_by(BUYERS as usize) {
                buy(&dispatch, nth, seats_a_hold).await;
            }
        })
    });
    for buyer in buyers.collect::<Vec<_>>() {
        buyer.await.unwrap();
    }
    while sold(node) < seats {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One start of the node in this process: time until it has recovered and listens. Then it stops in good order.
async fn restart(what: &str, dir: &Path, seats: u32) {
    let began = Instant::now();
    let node = Node::start(config(dir)).unwrap();
    let took = began.elapsed().as_secs_f64();
    assert_eq!(sold(&node), seats);
    println!("restart from {what}: ready in {took:.2} s, resident {} MB", resident_bytes() >> 20);
    // The signal comes when the node listens for it.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(500));
        std::process::Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status().unwrap();
    });
    let began = Instant::now();
    node.serve().await.unwrap();
    println!("stop with snapshots of everything: {:.2} s", began.elapsed().as_secs_f64() - 0.5);
}

async fn selling(dir: &Path, seats: u32, seats_a_hold: u32) {
    let node = Node::start(config(dir)).unwrap();
    let empty = resident_bytes();
    open(&node, seats).await;
    let free = resident_bytes();
    println!("memory: {:.1} bytes a free seat", (free - empty) as f64 / f64::from(seats));
    let began = Instant::now();
    sell(&node, seats, seats_a_hold).await;
    let took = began.elapsed().as_secs_f64();
    println!(
        "sold {seats} seats, {seats_a_hold} an order: {:.0} seats/s through machines and journal",
        f64::from(seats) / took
    );
    let grown = resident_bytes().saturating_sub(free) as f64 / f64::from(seats);
    println!("memory: {grown:.0} bytes a sold seat with its hold, order, payment, tickets and both keys");
}

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u32>().ok());
    let seats = numbers.next().unwrap_or(1_000_000) / BLOCK * BLOCK;
    let seats_a_hold = numbers.next().unwrap_or(2);
    let system = actix_rt::System::new();
    if let Some(dir) = std::env::var_os("RESTART_DIR") {
        match std::env::var("RESTART_PHASE").unwrap().as_str() {
            "sell" => system.block_on(selling(Path::new(&dir), seats, seats_a_hold)),
            phase => system.block_on(restart(phase, Path::new(&dir), seats)),
        }
        // As a crash would: nothing is dropped, drained or written.
        std::process::exit(0);
    }
    // Each phase in its own process, so that memory and time are measured from the start.
    let folder = std::env::temp_dir().join(format!("stampede-restart-{}", std::process::id()));
    for phase in ["sell", "the journal", "snapshots"] {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args([seats.to_string(), seats_a_hold.to_string()]);
        command.env("RESTART_PHASE", phase).env("RESTART_DIR", &folder);
        assert!(command.status().unwrap().success());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
