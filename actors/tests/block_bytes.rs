//! The stored bytes of a block's changes and snapshots: they are in journals, so they never change.

#![allow(clippy::unwrap_used)]

use actors::address::{Address, BlockRef};
use actors::block::{Change, Claim, ENDED_MAX, House, SeatBlock, SeatIx, Shape, Terms};
use actors::event::{Rules, Sale};
use actors::ids::{Customer, HoldId, OrderId, Shard, Tag};
use actors::machine::Machine;
use actors::money::{Currency, Money};
use actors::time::{Millis, Span};

fn hold(number: u64) -> HoldId {
    HoldId::new(Millis(1_795_000_000_000), Shard(3), Tag(0xa1b2c3), number)
}

fn order(number: u64) -> OrderId {
    OrderId::new(Millis(1_795_000_000_001), Shard(7), Tag(0), number)
}

fn terms(revision: u64) -> Terms {
    let rules = Rules { hold_ttl: Span(420_000), max_per_hold: 10, max_per_customer: Some(6), no_orphans: true };
    let price = Money { amount: 8500, currency: Currency(*b"EUR") };
    Terms { price, rules, sale: Sale::Open, on_sale_at: Some(Millis(5)), revision }
}

fn seats(indices: &[u32]) -> Claim {
    Claim::Seats(indices.iter().map(|seat| SeatIx(*seat)).collect())
}

/// Every variant once, as a story that folds.
fn changes() -> Vec<Change> {
    let held = |number, customer: &str, claim| {
        let customer = Customer::from(customer);
        Change::Held { hold: hold(number), customer, claim, until: Millis(1_795_000_420_000) }
    };
    vec![
        Change::Configured { shape: Shape::Seated(vec![10, 300]), terms: terms(1) },
        Change::Revised(terms(2)),
        held(1, "ann", seats(&[2, 3])),
        held(2, "bob", seats(&[12, 14, 300])),
        held(3, "eve", seats(&[5])),
        held(4, "joe", seats(&[7])),
        Change::Bound { hold: hold(1), order: order(1) },
        Change::Sold { hold: hold(1), order: order(1) },
        Change::Released { hold: hold(2), forget_at: Millis(1_795_000_086_400) },
        Change::Returned { hold: hold(1), forget_at: Millis(1_795_000_086_401) },
        Change::Expired { holds: vec![hold(3)], forget_at: Millis(1_795_000_086_402) },
        Change::Bound { hold: hold(4), order: order(2) },
        Change::Reminded { holds: vec![(hold(4), Millis(1_795_000_422_000))] },
        Change::Forgotten { until: Millis(1_795_000_086_400) },
        Change::Blocked(House::Seats(vec![SeatIx(8), SeatIx(309)])),
        Change::Unblocked(House::Seats(vec![SeatIx(8)])),
    ]
}

fn standing() -> Vec<Change> {
    let until = Millis(9);
    vec![
        Change::Configured { shape: Shape::Standing(5000), terms: terms(1) },
        Change::Held { hold: hold(1), customer: "ann".into(), claim: Claim::Standing(4), until },
        Change::Blocked(House::Standing(2)),
    ]
}

fn fold(changes: &[Change]) -> SeatBlock {
    let mut block = SeatBlock::new(&Address::Block(BlockRef { event: "aurora".into(), block: "A".into() }));
    changes.iter().for_each(|change| block.apply(change));
    block
}

fn bytes(stored: impl serde::Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(stored, bincode::config::standard()).unwrap()
}

fn hex(stored: impl serde::Serialize) -> String {
    bytes(stored).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn changes_are_stored_as_ever() {
    let stored: Vec<String> = changes().iter().chain(&standing()).map(hex).collect();
    assert_eq!(stored, GOLDEN_CHANGES);
    for change in changes() {
        let (read, _): (Change, usize) =
            bincode::serde::decode_from_slice(&bytes(&change), bincode::config::standard()).unwrap();
        assert_eq!(read, change);
    }
}

#[test]
fn snapshots_are_stored_as_ever() {
    assert_eq!(hex(fold(&changes())), GOLDEN_SEATED);
    assert_eq!(hex(fold(&standing())), GOLDEN_STANDING);
}

/// A flipped bit or a cut end may give another block or an error, never a panic.
#[test]
fn a_damaged_snapshot_is_refused_without_a_panic() {
    let whole = bytes(fold(&changes()));
    for cut in 0..whole.len() {
        let read: Result<(SeatBlock, usize), _> =
            bincode::serde::decode_from_slice(&whole[..cut], bincode::config::standard());
        assert!(read.is_err());
    }
    let limited = bincode::config::standard().with_limit::<65536>();
    let mut refused = 0;
    for at in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        let read: Result<(SeatBlock, usize), _> = bincode::serde::decode_from_slice(&damaged, limited);
        refused += usize::from(read.is_err());
    }
    assert!(refused > 0);
}

#[test]
fn ended_holds_are_forgotten_when_there_are_too_many() {
    let mut block = fold(&standing());
    for number in 10..10 + ENDED_MAX as u64 + 5 {
        let claim = Claim::Standing(2);
        block.apply(&Change::Held { hold: hold(number), customer: "bob".into(), claim, until: Millis(9) });
        block.apply(&Change::Released { hold: hold(number), forget_at: Millis(99) });
    }
    assert_eq!(block.holds(), ENDED_MAX + 1, "and the one that is held");
    assert_eq!(block.counts().unwrap().held, 4);
}

const GOLDEN_CHANGES: [&str; 19] = [
    "0000020afb2c01fb3421455552fca06806000a01060100010501",
    "01fb3421455552fca06806000a01060100010502",
    "02fe010000000000c3b2a10300e065e51e1a03616e6e00020203fda0c65ceea1010000",
    "02fe020000000000c3b2a10300e065e51e1a03626f6200030c0efb2c01fda0c65ceea1010000",
    "02fe030000000000c3b2a10300e065e51e1a03657665000105fda0c65ceea1010000",
    "02fe040000000000c3b2a10300e065e51e1a036a6f65000107fda0c65ceea1010000",
    "04fe010000000000c3b2a10300e065e51e1afe0100000000000000000710e065e51e1a",
    "05fe010000000000c3b2a10300e065e51e1afe0100000000000000000710e065e51e1a",
    "03fe020000000000c3b2a10300e065e51e1afd80af57eea1010000",
    "06fe010000000000c3b2a10300e065e51e1afd81af57eea1010000",
    "0701fe030000000000c3b2a10300e065e51e1afd82af57eea1010000",
    "04fe040000000000c3b2a10300e065e51e1afe0200000000000000000710e065e51e1a",
    "0901fe040000000000c3b2a10300e065e51e1afd70ce5ceea1010000",
    "08fd80af57eea1010000",
    "0a000208fb3501",
    "0b000108",
    "0001fb8813fb3421455552fca06806000a01060100010501",
    "02fe010000000000c3b2a10300e065e51e1a03616e6e010409",
    "0a0102",
];

const GOLDEN_SEATED: &str = concat!(
    "066175726f726101410100020afb2c01fb3421455552fca06806000a010601000105020a010001fb350103fe010000000000c3b2",
    "a10300e065e51e1a03616e6e00020203fb3421455552fda0c65ceea10100000300fe030000000000c3b2a10300e065e51e1a0365",
    "7665000105fb3421455552fda0c65ceea10100000400fe040000000000c3b2a10300e065e51e1a036a6f65000107fb3421455552",
    "fda0c65ceea101000001fe0200000000000000000710e065e51e1a01fd70ce5ceea10100000102fd81af57eea1010000fe010000",
    "000000c3b2a10300e065e51e1afd82af57eea1010000fe030000000000c3b2a10300e065e51e1a",
);

const GOLDEN_STANDING: &str = "066175726f726101410101fb8813fb3421455552fca06806000a010601000105010201010201fe010000000000c3b2a10300e065e51e1a03616e6e0104fb342145555209000000";
