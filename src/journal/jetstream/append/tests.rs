//! Every answer that the servers can give to an append, and every way an answer can be lost.
#![allow(clippy::unwrap_used, reason = "tests")]

use actors::time::Millis;

use super::*;

const MINE: Mark = Mark { incarnation: 0xa, epoch: 3, seq: Seq(8), crc: 1 };

fn record() -> Attempt {
    Attempt::new(Position(70), Purpose::Record, MINE)
}

fn message(position: u64, purpose: Purpose, mark: Mark) -> Tail {
    let owner = Owner { name: "node".to_owned(), incarnation: mark.incarnation };
    let Mark { epoch, seq, crc, .. } = mark;
    Tail { position: Position(position), seq, epoch, owner, at: Millis(0), purpose, crc }
}

fn before() -> Tail {
    message(70, Purpose::Record, Mark { seq: Seq(7), crc: 9, ..MINE })
}

fn claim_of_another(position: u64, seq: u64) -> Tail {
    message(position, Purpose::Claim, Mark { incarnation: 0xb, epoch: 4, seq: Seq(seq), crc: 2 })
}

#[test]
fn an_ack_ends_it() {
    assert_eq!(record().on_ack(Position(71)), Next::Done(Position(71)));
}

#[test]
fn a_lost_ack_is_found_at_the_leader() {
    let mut attempt = record();
    assert_eq!(attempt.on_timeout(), Next::ReadTail);
    assert_eq!(attempt.on_tail(Some(message(73, Purpose::Record, MINE))), Next::Done(Position(73)));
}

#[test]
fn a_lost_request_is_published_again_after_a_pause_that_grows() {
    let mut attempt = record();
    assert_eq!(attempt.pause(), Duration::ZERO);
    let mut pauses = Vec::new();
    for _ in 0..20 {
        assert_eq!(attempt.on_timeout(), Next::ReadTail);
        assert_eq!(attempt.on_tail(Some(before())), Next::Publish);
        pauses.push(attempt.pause());
    }
    assert!(pauses.is_sorted() && pauses[0] < pauses[1] && *pauses.last().unwrap() < Duration::from_millis(500));
}

#[test]
fn refusals_are_never_believed_without_a_look() {
    for code in [code::WRONG_LAST_SEQUENCE, code::WRONG_LAST_SEQUENCE_CONSTANT, 10163, 10158, 10077, 503, 0] {
        let ours = message(71, Purpose::Record, MINE);
        for (tail, next) in [(before(), Next::Publish), (ours, Next::Done(Position(71)))] {
            let mut attempt = record();
            assert_eq!(attempt.on_refused(code), Next::ReadTail, "{code}");
            assert_eq!(attempt.on_tail(Some(tail)), next, "{code}");
        }
    }
}

#[test]
fn a_look_that_gets_no_answer_is_repeated() {
    let mut attempt = record();
    assert_eq!(attempt.on_refused(code::WRONG_LAST_SEQUENCE), Next::ReadTail);
    assert_eq!(attempt.on_timeout(), Next::ReadTail);
    assert_eq!(attempt.on_tail(Some(claim_of_another(75, 7))), Next::ReadNext);
    assert_eq!(attempt.on_timeout(), Next::ReadTail);
}

#[test]
fn another_owner_in_our_place_fences() {
    let mut attempt = record();
    let other = claim_of_another(75, 7);
    assert_eq!(attempt.on_tail(Some(other.clone())), Next::ReadNext);
    assert_eq!(attempt.on_next(Some(other.clone())), Next::Fenced(other));
}

#[test]
fn ours_under_a_new_owner_is_done_and_not_called_unwritten() {
    let mut attempt = record();
    assert_eq!(attempt.on_timeout(), Next::ReadTail);
    assert_eq!(attempt.on_tail(Some(claim_of_another(75, 8))), Next::ReadNext);
    assert_eq!(attempt.on_next(Some(message(71, Purpose::Record, MINE))), Next::Done(Position(71)));
}

#[test]
fn what_was_cut_away_meanwhile_stays_unknown() {
    let mut attempt = record();
    let tail = claim_of_another(90, 20);
    assert_eq!(attempt.on_tail(Some(tail.clone())), Next::ReadNext);
    assert_eq!(attempt.on_next(Some(tail.clone())), Next::Unknown(tail), "a claim that counts 20 may count ours");
    let mut attempt = record();
    let theirs = message(90, Purpose::Record, Mark { incarnation: 0xb, epoch: 4, seq: Seq(8), crc: 2 });
    assert_eq!(attempt.on_tail(Some(theirs.clone())), Next::ReadNext);
    assert_eq!(attempt.on_next(Some(theirs.clone())), Next::Unknown(theirs));
}

#[test]
fn a_cut_between_two_looks_is_looked_at_again() {
    let mut attempt = record();
    assert_eq!(attempt.on_tail(Some(claim_of_another(75, 7))), Next::ReadNext);
    assert_eq!(attempt.on_next(None), Next::ReadTail);
}

#[test]
fn an_emptied_journal_is_never_started_over() {
    let mut attempt = record();
    for _ in 0..3 {
        assert_eq!(attempt.on_timeout(), Next::ReadTail);
        assert_eq!(attempt.on_tail(None), Next::Wait(Blocked::Emptied));
    }
    assert_eq!(attempt.on_tail(Some(before())), Next::Publish, "the data came back");
}

#[test]
fn a_journal_that_lost_its_end_is_not_written_on() {
    let mut attempt = record();
    let older = message(69, Purpose::Record, Mark { seq: Seq(6), crc: 7, ..MINE });
    assert_eq!(attempt.on_tail(Some(older)), Next::Wait(Blocked::WentBack { to: Position(69) }));
}

#[test]
fn the_first_claim_of_a_shard_meets_an_empty_subject() {
    let mine = Mark { epoch: 1, seq: Seq(0), ..MINE };
    let mut attempt = Attempt::new(Position::NONE, Purpose::Claim, mine);
    assert_eq!(attempt.on_timeout(), Next::ReadTail);
    assert_eq!(attempt.on_tail(None), Next::Publish);
    assert_eq!(attempt.on_refused(code::WRONG_LAST_SEQUENCE), Next::ReadTail);
    let other = claim_of_another(5, 0);
    assert_eq!(attempt.on_tail(Some(other.clone())), Next::ReadNext);
    assert_eq!(attempt.on_next(Some(other.clone())), Next::Fenced(other));
}

#[test]
fn a_claim_of_ours_that_was_overtaken_is_still_ours() {
    let mine = Mark { epoch: 4, seq: Seq(7), ..MINE };
    let mut attempt = Attempt::new(Position(70), Purpose::Claim, mine);
    assert_eq!(attempt.on_tail(Some(claim_of_another(75, 7))), Next::ReadNext);
    assert_eq!(attempt.on_next(Some(message(71, Purpose::Claim, mine))), Next::Done(Position(71)));
}
