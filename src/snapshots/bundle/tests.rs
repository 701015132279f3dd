//! The bundle's form: golden bytes, and that nothing but the very bytes is taken.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const S: Shard = Shard(0x0102);

fn bundle() -> Bundle {
    let states = [(b"desk".to_vec(), 9, b"state of the desk".to_vec()), (b"block".to_vec(), 7, vec![])];
    let states = states.map(|(key, seq, bytes)| (key, State { seq: Seq(seq), bytes }));
    Bundle::new(S, states.into()).unwrap()
}

#[test]
fn the_bytes_are_what_they_always_were() {
    let mut golden = b"STPB\x01\x02\x01".to_vec();
    golden.extend_from_slice(b"\x07\0\0\0\0\0\0\0\x02\0\0\0");
    golden.extend_from_slice(b"\x05\0block\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    golden.extend_from_slice(b"\x04\0desk\x09\0\0\0\0\0\0\0\x11\0\0\0\0\0\0\0state of the desk");
    golden.extend_from_slice(&[0x1b, 0x12, 0x3f, 0x30]);
    assert_eq!(bundle().encode(), golden, "{:x?}", &bundle().encode()[golden.len() - 4..]);
    assert_eq!(Bundle::decode(S, &golden), Ok(bundle()));
}

#[test]
fn its_number_is_that_of_the_actor_that_is_furthest_behind() {
    assert_eq!(bundle().seq(), Seq(7));
    let seqs: Vec<(Vec<u8>, Seq)> = bundle().states().map(|(actor, state)| (actor.to_vec(), state.seq)).collect();
    assert_eq!(seqs, [(b"block".to_vec(), Seq(7)), (b"desk".to_vec(), Seq(9))]);
    assert_eq!(Bundle::new(S, BTreeMap::new()), None);
}

#[test]
fn no_flipped_bit_and_no_cut_passes() {
    let bytes = bundle().encode();
    for bit in 0..bytes.len() * 8 {
        let mut spoilt = bytes.clone();
        spoilt[bit / 8] ^= 1 << (bit % 8);
        assert!(Bundle::decode(S, &spoilt).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(Bundle::decode(S, &bytes[..length]).is_err(), "cut to {length}");
    }
}

/// The checksum made right again, so that the rule behind it is what refuses.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let content = bytes.len() - CRC_BYTES;
    let crc = crc32c::crc32c(&bytes[..content]);
    bytes[content..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    let bytes = bundle().encode();
    assert_eq!(Bundle::decode(Shard(3), &bytes), Err(BundleFault::Shard { found: S }));
    let mut other = bytes.clone();
    other[4] = 2;
    assert_eq!(Bundle::decode(S, &other), Err(BundleFault::Version { found: 2 }));
    let mut other = bytes.clone();
    other[7] = 8;
    assert_eq!(Bundle::decode(S, &resealed(other)), Err(BundleFault::Seq { found: Seq(8), expected: Seq(7) }));
    let mut other = bytes.clone();
    other[15] = 1;
    assert!(matches!(Bundle::decode(S, &resealed(other)), Err(BundleFault::Long { .. })));
    let mut other = bytes.clone();
    other[15] = 3;
    assert_eq!(Bundle::decode(S, &resealed(other)), Err(BundleFault::Short));
    let mut other = bytes;
    other[21] = b'z';
    assert_eq!(Bundle::decode(S, &resealed(other)), Err(BundleFault::Order));
}
