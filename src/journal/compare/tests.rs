//! The comparison: each kind of difference is found and named, and what is no difference is not.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::journal::jetstream::record;

const S: Shard = Shard(4);

/// A copy for each list of (epoch, number, content).
fn copies(lists: &[&[(u64, u64, &str)]]) -> Copies {
    let dirs = (0..lists.len()).map(|index| PathBuf::from(format!("data-{index}"))).collect();
    let mut copies = Copies { dirs, ..Copies::default() };
    for (index, list) in lists.iter().enumerate() {
        for (epoch, seq, content) in *list {
            copies.add(index, &message(*epoch, *seq, content));
        }
    }
    copies
}

fn message(epoch: u64, seq: u64, content: &str) -> Envelope {
    Envelope::open(&record(S, epoch, Seq(seq), content.as_bytes())).unwrap()
}

fn claim(epoch: u64, seq: u64) -> Envelope {
    Envelope { kind: Kind::Claim, ..message(epoch, seq, "") }
}

fn differences(copies: &Copies, journal: &[Envelope]) -> Vec<String> {
    let mut audit = copies.audit(S);
    journal.iter().for_each(|envelope| audit.see(envelope));
    audit.finish().1.iter().map(ToString::to_string).collect()
}

fn journal() -> Vec<Envelope> {
    vec![claim(1, 0), message(1, 1, "a"), message(1, 2, "b"), claim(2, 2), message(2, 3, "c")]
}

#[test]
fn copies_that_hold_parts_of_the_journal_are_equal_to_it() {
    let both = copies(&[&[(1, 1, "a"), (1, 2, "b")], &[(2, 3, "c")]]);
    assert_eq!(differences(&both, &journal()), [""; 0]);
    assert_eq!(differences(&copies(&[&[(1, 2, "b")]]), &journal()), [""; 0]);
    assert_eq!(differences(&copies(&[]), &journal()), [""; 0]);
}

#[test]
fn what_was_cut_is_not_missed() {
    let copy = copies(&[&[(1, 1, "a"), (1, 2, "b"), (2, 3, "c")]]);
    assert_eq!(differences(&copy, &journal()[4..]), [""; 0]);
    assert_eq!(differences(&copy, &[claim(9, 3)]), [""; 0]);
}

#[test]
fn a_record_missing_at_the_end_is_named() {
    let copy = copies(&[&[(2, 3, "c"), (2, 4, "d")]]);
    let named = "shard=4 seq=4 epoch=2 copy=data-0: missing at the end, the journal ends at 3";
    assert_eq!(differences(&copy, &journal()), [named]);
    assert_eq!(differences(&copy, &[]).len(), 2, "an empty journal lacks all");
}

#[test]
fn a_hole_is_named_whether_a_copy_has_the_record_or_not() {
    let holed = [claim(1, 0), message(1, 1, "a"), claim(2, 2), message(2, 4, "d")];
    let named = [
        "shard=4 seq=2 epoch=1 copy=data-0: missing, the journal goes on behind it",
        "shard=4 seq=3 (in no copy): missing, the journal goes on behind it",
    ];
    assert_eq!(differences(&copies(&[&[(1, 2, "b")]]), &holed), named);
}

#[test]
fn another_record_under_its_number_is_named_with_both_epochs() {
    let copy = copies(&[&[(1, 3, "lost")], &[(2, 3, "c")]]);
    let named = "shard=4 seq=3 epoch=1 copy=data-0: other bytes in the journal, written under epoch 2";
    assert_eq!(differences(&copy, &journal()), [named]);
    let twice = [journal(), vec![message(2, 2, "b")]].concat();
    let named = "shard=4 seq=2 (in no copy): out of order in the journal, written under epoch 2";
    assert_eq!(differences(&copies(&[]), &twice), [named]);
}

#[test]
fn a_record_restored_under_a_later_epoch_is_equal() {
    let copy = copies(&[&[(2, 3, "c"), (2, 4, "d")]]);
    let restored = [journal(), vec![claim(5, 3), message(5, 4, "d")]].concat();
    assert_eq!(differences(&copy, &restored), [""; 0]);
}

#[test]
fn only_what_joins_and_is_agreed_on_is_restored() {
    let copy = copies(&[&[(2, 4, "d"), (2, 5, "e"), (2, 7, "g")], &[(2, 4, "d")]]);
    assert_eq!(copy.lost_behind(S, Seq(3)).last(), Seq(5), "not over a gap");
    assert!(copy.lost_behind(S, Seq(2)).is_empty(), "nor behind one");
    let at_odds = copies(&[&[(2, 4, "d"), (2, 5, "e")], &[(3, 5, "other")]]);
    assert_eq!(at_odds.lost_behind(S, Seq(3)).last(), Seq(4));
}
