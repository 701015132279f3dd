//! The bytes of messages, and what must not pass for one.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn owner() -> Owner {
    Owner { name: "node-a".to_owned(), incarnation: 0x0102_0304_0506_0708 }
}

fn head(purpose: Purpose, owner: &Owner) -> Head<'_> {
    Head { shard: Shard(300), purpose, epoch: 7, seq: Seq(1_000), at: Millis(1_763_964_000_000), owner }
}

fn record() -> Bytes {
    seal(b"seat 7-12".to_vec(), &head(Purpose::Record, &owner())).0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_record_has_these_bytes() {
    let golden = "7365617420372d3132fb2c010007fbe803fd009772b49a010000066e6f64652d61fd0807060504030201210039c3e4cd01";
    assert_eq!(hex(&record()), golden);
}

#[test]
fn a_claim_has_these_bytes() {
    let golden = "fb2c010107fbe803fd009772b49a010000066e6f64652d61fd0807060504030201210097b4c90401";
    assert_eq!(hex(&seal(Vec::new(), &head(Purpose::Claim, &owner())).0), golden);
}

#[test]
fn what_was_sealed_is_opened() {
    let owner = owner();
    let (message, mark) = seal(b"seat 7-12".to_vec(), &head(Purpose::Record, &owner));
    let envelope = Envelope::open_at(Shard(300), &message).unwrap();
    assert_eq!(envelope.kind, Kind::Record(Bytes::from_static(b"seat 7-12")));
    assert_eq!((envelope.epoch, envelope.seq, envelope.before()), (7, Seq(1_000), Seq(999)));
    let tail = envelope.tail(Position(5));
    assert_eq!(tail.mark(), mark);
    assert_eq!((tail.owner, tail.at), (owner.clone(), Millis(1_763_964_000_000)));

    let (message, _) = seal(Vec::new(), &head(Purpose::Claim, &owner));
    let envelope = Envelope::open(&message).unwrap();
    assert_eq!((envelope.before(), envelope.kind), (Seq(1_000), Kind::Claim), "a claim takes no number");
}

#[test]
fn an_empty_record_is_no_claim() {
    let owner = owner();
    let (message, _) = seal(Vec::new(), &head(Purpose::Record, &owner));
    assert_eq!(Envelope::open(&message).unwrap().kind, Kind::Record(Bytes::new()));
}

#[test]
fn sealing_and_opening_copy_no_record() {
    let mut bytes = Vec::with_capacity(10_000);
    bytes.resize(5_000, 1);
    let start = bytes.as_ptr();
    let (message, _) = seal(bytes, &head(Purpose::Record, &owner()));
    assert_eq!(message.as_ptr(), start);
    let Kind::Record(record) = Envelope::open(&message).unwrap().kind else { panic!("a record") };
    assert_eq!(record.as_ptr(), start);
}

#[test]
fn the_overhead_is_bounded() {
    let owner = Owner { name: "n".repeat(64), incarnation: u64::MAX };
    let (shard, at) = (Shard(u16::MAX), Millis(u64::MAX));
    let head = Head { shard, purpose: Purpose::Record, epoch: u64::MAX, seq: Seq(u64::MAX), at, owner: &owner };
    assert!(seal(Vec::new(), &head).0.len() <= OVERHEAD_MAX);
}

#[test]
fn another_shards_message_is_found_out() {
    assert_eq!(Envelope::open_at(Shard(301), &record()), Err(EnvelopeError::Shard { found: Shard(300) }));
}

#[test]
fn no_other_bytes_pass() {
    let whole = record();
    for length in 0..whole.len() {
        assert!(Envelope::open(&whole.slice(..length)).is_err(), "{length}");
    }
    for at in 0..whole.len() {
        let mut bent = whole.to_vec();
        bent[at] ^= 1;
        assert!(Envelope::open(&Bytes::from(bent)).is_err(), "{at}");
    }
    let mut later = whole.to_vec();
    *later.last_mut().unwrap() = 2;
    assert_eq!(Envelope::open(&Bytes::from(later)), Err(EnvelopeError::Version { found: 2 }));
}
