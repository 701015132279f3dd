//! The bytes of the journal, pinned, and what is refused of them.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const JOURNAL: JournalId = JournalId(0x1122_3344_5566_7788);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// CRC-32C bit by bit, from its definition, so that the stored sums do not depend on the crate that computes them.
fn crc_by_definition(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1)))
    })
}

#[test]
fn a_segment_header_is_these_bytes_for_ever() {
    let block = encode_segment_header(SegmentNo(3), JOURNAL);
    assert_eq!(block.len(), 4096);
    assert_eq!(hex(&block[..12]), "5354414d5045444501000000");
    assert_eq!(hex(&block[16..32]), "03000000000000008877665544332211");
    assert!(block[32..].iter().all(|byte| *byte == 0));
    let crc = crc_by_definition(&[&block[..12], &block[16..]].concat());
    assert_eq!(block[12..16], crc.to_le_bytes());
    assert_eq!(hex(&block[12..16]), "2a6b96ca");
    assert_eq!(decode_segment_header(&block, SegmentNo(3)), Ok(JOURNAL));
}

#[test]
fn a_group_of_records_is_these_bytes_for_ever() {
    let mut group = vec![0; GROUP_HEADER_BYTES];
    encode_frame(Shard(5), Seq(9), b"hold", &mut group);
    encode_frame(Shard(6), Seq(1), b"", &mut group);
    finish_group(&mut group, Kind::Records, 2, JOURNAL, (SegmentNo(3), GroupNo(7)));
    assert_eq!(
        hex(&group),
        "535245432b67b05fea2bed39280000000200000003000000070000000000000004000000ebc897dd05000900000000000000686f6c64000000007079cc1a06000100000000000000"
    );
    assert_eq!(
        group[4..8],
        crc_by_definition(&[&JOURNAL.0.to_le_bytes(), &group[..4], &group[8..32]].concat()).to_le_bytes()
    );
    assert_eq!(group[8..12], crc_by_definition(&group[32..]).to_le_bytes());
    assert_eq!(group[36..40], crc_by_definition(&group[40..54]).to_le_bytes());
    let read = decode_group(&group, 0, SegmentNo(3), JOURNAL).unwrap();
    assert_eq!((read.kind, read.number, read.count, read.end), (Kind::Records, GroupNo(7), 2, group.len()));
    let mut content = read.content;
    assert_eq!(decode_frame(&mut content).unwrap(), Frame { shard: Shard(5), seq: Seq(9), payload: b"hold" });
    assert_eq!(decode_frame(&mut content).unwrap(), Frame { shard: Shard(6), seq: Seq(1), payload: b"" });
    assert!(content.is_empty());
}

#[test]
fn a_group_of_tails_is_these_bytes_for_ever() {
    let tails: Tails = [(Shard(1), Seq(258)), (Shard(63), Seq(1))].into_iter().collect();
    let mut group = vec![0; GROUP_HEADER_BYTES];
    let count = encode_tails(&tails, &mut group);
    finish_group(&mut group, Kind::Tails, count, JOURNAL, (SegmentNo(3), GroupNo(7)));
    assert_eq!(
        hex(&group),
        "53544c5332377882dbca874e1400000002000000030000000700000000000000010002010000000000003f00010000000000000000000000"
    );
    assert_eq!(decode_tails(&decode_group(&group, 0, SegmentNo(3), JOURNAL).unwrap()), Ok(tails));
}

#[test]
fn every_single_bit_of_a_group_counts() {
    let mut group = vec![0; GROUP_HEADER_BYTES];
    encode_frame(Shard(5), Seq(9), b"odd length", &mut group);
    finish_group(&mut group, Kind::Records, 1, JOURNAL, (SegmentNo(3), GroupNo(7)));
    for bit in 0..group.len() * 8 {
        group[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_group(&group, 0, SegmentNo(3), JOURNAL).is_err(), "bit {bit}");
        group[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_single_bit_of_a_segment_header_counts() {
    let mut block = encode_segment_header(SegmentNo(3), JOURNAL);
    for bit in 0..block.len() * 8 {
        block[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_segment_header(&block, SegmentNo(3)).is_err(), "bit {bit}");
        block[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_group_of_another_journal_or_segment_is_none() {
    let mut group = vec![0; GROUP_HEADER_BYTES];
    finish_group(&mut group, Kind::Records, 0, JOURNAL, (SegmentNo(3), GroupNo(7)));
    assert_eq!(decode_group(&group, 0, SegmentNo(3), JournalId(1)).unwrap_err(), Fault::GroupHeader);
    assert_eq!(decode_group(&group, 0, SegmentNo(4), JOURNAL).unwrap_err(), Fault::SegmentNumber { found: 3 });
}
