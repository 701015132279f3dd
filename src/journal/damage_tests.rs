//! Files that do not say what was written to them: what is cut, what is refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use super::log::Log;
use super::sim_disk::SimDisk;
use super::{Damage, Disk, Fault, OpenError, Options, Recovery, SegmentNo, Seq, Shard};

const A: Shard = Shard(0);
const FIRST_GROUP: usize = 4096 + 32;

fn small() -> Options {
    Options { segment_bytes: 20 << 10, group_bytes_max: 2 << 10, ..Options::default() }
}

fn open(disk: &SimDisk) -> Result<(Log, Recovery), OpenError> {
    Log::open(Arc::new(disk.copy()), small(), 77)
}

fn refused(disk: &SimDisk) -> Damage {
    match open(disk) {
        Err(OpenError::Damaged(damage)) => damage,
        Err(other) => panic!("{other}"),
        Ok((_, recovery)) => panic!("damage went unseen: {recovery:?}"),
    }
}

/// A journal of one-record groups of shard 0, each with 100 bytes and its number.
fn journal(records: u64) -> (Arc<SimDisk>, Log) {
    let disk = Arc::new(SimDisk::new(3));
    let shared: Arc<SimDisk> = Arc::clone(&disk);
    let (mut log, _) = Log::open(shared, small(), 77).unwrap();
    for n in 0..records {
        log.append(A, Seq(n), &[(n % 250 + 1) as u8; 100]).unwrap();
    }
    (disk, log)
}

fn end(log: &Log) -> usize {
    usize::try_from(log.view().segments.last().unwrap().end).unwrap()
}

fn bytes(disk: &SimDisk, segment: u64) -> Vec<u8> {
    let number = SegmentNo(segment);
    disk.read_at(number, 0, usize::try_from(disk.length(number).unwrap()).unwrap()).unwrap()
}

#[test]
fn a_last_group_torn_at_any_byte_is_cut() {
    let (disk, mut log) = journal(3);
    let start = end(&log);
    log.append(A, Seq(3), b"the last group, torn").unwrap();
    let whole = bytes(&disk, 1);
    let length = end(&log) - start;
    for kept in 0..length {
        for fill in [0x00, 0xa5] {
            let torn = disk.copy();
            // Padding bytes are zeros, so a tear there leaves the group whole.
            let mut tail = whole[start..start + length].to_vec();
            tail[kept..].fill(fill);
            torn.overwrite(SegmentNo(1), start, &tail);
            let (mut log, recovery) = open(&torn).unwrap();
            let whole_after_all = tail == whole[start..start + length];
            assert_eq!(log.last(A), Seq(if whole_after_all { 4 } else { 3 }), "kept {kept} fill {fill}");
            assert_eq!(recovery.torn.is_some(), !whole_after_all && tail.iter().any(|byte| *byte != 0));
            let next = log.last(A);
            log.append(A, next, b"on it goes").unwrap();
        }
    }
}

#[test]
fn a_cut_is_for_ever() {
    let (disk, log) = journal(3);
    disk.overwrite(SegmentNo(1), end(&log), &[0x5a; 900]);
    let shared: Arc<SimDisk> = Arc::clone(&disk);
    let (log, recovery) = Log::open(shared, small(), 77).unwrap();
    let torn = recovery.torn.unwrap();
    assert_eq!((torn.offset, torn.bytes), (end(&log) as u64, 900));
    disk.crash();
    let (_, recovery) = open(&disk).unwrap();
    assert_eq!(recovery.torn, None);
}

#[test]
fn garbage_behind_the_end_is_cut_however_long() {
    let (disk, log) = journal(3);
    let room = (20 << 10) - end(&log);
    for length in [1, 7, 8, 9, 31, 512, 4096, room] {
        let mut garbage = vec![0; room];
        let mut state = length as u32;
        garbage[..length].fill_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 | 1
        });
        disk.overwrite(SegmentNo(1), end(&log), &garbage);
        let (log, recovery) = open(&disk).unwrap();
        assert_eq!(log.last(A), Seq(3));
        assert_eq!(recovery.torn.unwrap().bytes, length as u64);
    }
}

#[test]
fn a_group_that_a_customer_sends_is_not_taken_for_a_later_one() {
    let (disk, mut log) = journal(1);
    let forged = {
        let other = Arc::new(SimDisk::new(1));
        let shared: Arc<SimDisk> = Arc::clone(&other);
        let mut log = Log::open(shared, small(), 78).unwrap().0;
        for n in 0..5 {
            log.append(A, Seq(n), b"forged").unwrap();
        }
        bytes(&other, 1)[FIRST_GROUP..end(&log)].to_vec()
    };
    let start = end(&log);
    for shift in 0..8 {
        log.append(A, log.last(A), &[&vec![0; shift][..], &forged].concat()).unwrap();
    }
    let torn = disk.copy();
    torn.overwrite(SegmentNo(1), start, b"torn");
    // The seven real groups behind it are evidence; with them gone, only the forged one would be.
    assert!(refused(&torn).later.is_some());
    let (disk, mut log) = journal(1);
    log.append(A, Seq(1), &forged).unwrap();
    disk.overwrite(SegmentNo(1), start, b"torn");
    assert_eq!(open(&disk).unwrap().0.last(A), Seq(1));
}

#[test]
fn any_flipped_bit_in_front_of_a_later_group_is_refused_by_place() {
    let (disk, mut log) = journal(250);
    assert!(log.space().segments >= 2, "one closed segment at least");
    let last_group = end(&log);
    log.seal().unwrap();
    let segments: Vec<(u64, usize)> =
        log.view().segments.iter().map(|segment| (segment.number.0, usize::try_from(segment.end).unwrap())).collect();
    let (last, _) = *segments.last().unwrap();
    let mut state = 0x5eed_u64;
    let mut flips = 0;
    for (segment, end) in segments {
        let end = if segment == last { last_group } else { end };
        // Structured: every byte of the header's fields and of the first two groups; then anywhere at random.
        let structured = (0..40).chain(4090..4400.min(end));
        let random = (0..400).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % end
        });
        for offset in structured.chain(random) {
            let rotten = disk.copy();
            rotten.flip(SegmentNo(segment), offset as u64, (offset % 8) as u8);
            let damage = refused(&rotten);
            assert_eq!(damage.file, disk.locate(SegmentNo(segment)), "offset {offset}");
            assert!(damage.offset <= offset as u64 && offset as u64 - damage.offset < 4096, "{damage}");
            flips += 1;
        }
    }
    assert!(flips > 1000);
}

#[test]
fn a_lost_group_in_the_middle_is_refused() {
    let (disk, log) = journal(4);
    let one = (end(&log) - FIRST_GROUP) / 4;
    disk.overwrite(SegmentNo(1), FIRST_GROUP + one, &vec![0; one]);
    let damage = refused(&disk);
    assert_eq!(damage.offset, (FIRST_GROUP + one) as u64);
    assert_eq!(damage.later.unwrap().1, (FIRST_GROUP + 2 * one) as u64);
}

#[test]
fn a_lost_end_of_a_closed_segment_is_refused() {
    let (disk, log) = journal(250);
    let closed = usize::try_from(log.view().segments[0].end).unwrap();
    disk.overwrite(SegmentNo(1), closed - 152, &[0; 152]);
    let damage = refused(&disk);
    assert_eq!(damage.file, disk.locate(SegmentNo(2)));
    assert!(matches!(damage.fault, Fault::GroupNumber { .. }), "{damage}");
}

#[test]
fn a_repeated_group_is_refused() {
    let (disk, log) = journal(4);
    let one = (end(&log) - FIRST_GROUP) / 4;
    let last = bytes(&disk, 1)[end(&log) - one..end(&log)].to_vec();
    disk.overwrite(SegmentNo(1), end(&log), &last);
    assert!(matches!(refused(&disk).fault, Fault::GroupNumber { .. }));
}

#[test]
fn a_missing_segment_is_refused_by_name() {
    for gone in [1, 2] {
        let (disk, log) = journal(350);
        assert!(log.space().segments > 3);
        disk.remove(SegmentNo(gone)).unwrap();
        let opened = open(&disk);
        match opened {
            // The first may have been deleted in good order; then whoever needs its records is refused.
            Ok((log, _)) if gone == 1 => {
                let replayed = log.replay(&[(A, Seq::NONE)], &mut |_, _, _| Ok(()));
                assert!(matches!(replayed, Err(super::ReplayError::Cut { .. })));
            }
            Err(OpenError::Missing { file, .. }) if gone == 2 => assert_eq!(file, disk.locate(SegmentNo(2))),
            Ok(_) => panic!("not seen"),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_preallocated_segment_alone_shows_that_the_others_are_gone() {
    let (disk, mut log) = journal(250);
    log.prepare().unwrap();
    let numbers = disk.list().unwrap();
    for number in &numbers[..numbers.len() - 1] {
        disk.remove(*number).unwrap();
    }
    assert!(matches!(open(&disk), Err(OpenError::Missing { .. })));
}

#[test]
fn segments_of_two_journals_do_not_mix() {
    let (disk, _) = journal(250);
    let (other, other_log) = {
        let other = Arc::new(SimDisk::new(9));
        let shared: Arc<SimDisk> = Arc::clone(&other);
        let mut log = Log::open(shared, small(), 1234).unwrap().0;
        for n in 0..250 {
            log.append(A, Seq(n), &[1; 100]).unwrap();
        }
        (other, log)
    };
    assert!(other_log.space().segments > 1);
    disk.overwrite(SegmentNo(2), 0, &bytes(&other, 2));
    assert!(matches!(refused(&disk).fault, Fault::JournalNumber { found: 1234 }));
}

#[test]
fn another_format_version_is_refused_as_such() {
    let (disk, _) = journal(3);
    disk.overwrite(SegmentNo(1), 8, &[2]);
    let damage = refused(&disk);
    assert_eq!(damage.fault, Fault::Format { found: 2 });
    assert!(damage.to_string().contains("unknown format version"));
    disk.overwrite(SegmentNo(1), 0, b"ELF");
    assert_eq!(refused(&disk).fault, Fault::SegmentMagic);
}

#[test]
fn an_unfinished_preallocation_is_made_anew() {
    for length in [0, 100, 4096, 10_000, 20 << 10] {
        let (disk, log) = journal(250);
        let next = SegmentNo(log.view().segments.last().unwrap().number.0 + 1);
        assert!(!log.space().spare);
        disk.create(next, 0).unwrap();
        disk.write_at(next, 0, &vec![0; length]).unwrap();
        let (mut log, recovery) = open(&disk).unwrap();
        assert_eq!((log.last(A), recovery.torn), (Seq(250), None));
        log.prepare().unwrap();
        assert!(log.space().spare);
    }
}

#[test]
fn tails_that_contradict_are_refused() {
    // Whole and correctly numbered, yet they claim more than the segment before holds: shard 9 is invented.
    use super::format::{self, GroupNo, JournalId, Kind};
    let (disk, log) = journal(250);
    let segment = SegmentNo(2);
    let real = bytes(&disk, 2);
    let group = format::decode_group(&real, 4096, segment, JournalId(77)).unwrap();
    let (number, mut tails) = (group.number, format::decode_tails(&group).unwrap());
    tails.set(Shard(9), Seq(5));
    let mut forged = vec![0; 32];
    let count = format::encode_tails(&tails, &mut forged);
    format::finish_group(&mut forged, Kind::Tails, count, JournalId(77), (segment, GroupNo(number.0)));
    let mut body = vec![0; real.len() - 4096];
    body[..forged.len()].copy_from_slice(&forged);
    disk.overwrite(segment, 4096, &body);
    assert!(matches!(refused(&disk).fault, Fault::TailsDiffer { shard: 9, found: 5, expected: 0 }));
    drop(log);
}

proptest::proptest! {
    /// Whatever bytes lie wherever: never a panic, never a record that was not written, never one left out in the middle.
    #[test]
    fn any_bytes_anywhere_are_cut_or_refused(
        offset in 0usize..20_000,
        garbage in proptest::collection::vec(proptest::num::u8::ANY, 1..400),
    ) {
        let (disk, _) = journal(120);
        let room = (20 << 10) - offset;
        disk.overwrite(SegmentNo(2), offset, &garbage[..garbage.len().min(room)]);
        if let Ok((log, _)) = open(&disk) {
            let mut next = 1;
            log.replay(&[(A, Seq::NONE)], &mut |_, seq, record| {
                assert_eq!((seq, record), (Seq(next), &[((next - 1) % 250 + 1) as u8; 100][..]));
                next += 1;
                Ok(())
            }).unwrap();
            // Only the second segment can have lost its end.
            proptest::prop_assert!(next > 105);
        }
    }
}
