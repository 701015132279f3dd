//! Answers made from shards whose owner is out of reach say so, and how old they are.

use super::*;

#[test]
fn answers_say_how_old_they_are_while_an_owner_is_out_of_reach() {
    let (board, clock, observer) = concert();
    let home = Address::Block(at(EVENT, "A")).shard(64);
    let json = |board: &Board| said(&board.answer(Subject::Seats(&EVENT.into(), &"A".into())).unwrap());
    let event = |board: &Board| said(&board.answer(Subject::Event(&EVENT.into())).unwrap());
    let fresh = (availability(&board), json(&board), event(&board));
    assert!([&fresh.0, &fresh.1, &fresh.2].iter().all(|answer| answer.get("stale").is_none()), "{fresh:?}");
    board.set_reachable(home, false);
    clock.advance(Span(400));
    board.set_reachable(home, false);
    for answer in [availability(&board), json(&board), event(&board)] {
        assert_eq!((&answer["stale"], &answer["age_ms"]), (&json!(true), &json!(400)), "{answer}");
    }
    assert_eq!(availability(&board)["version"], fresh.0["version"]);
    let rendered = observer.rendered();
    for _ in 0..999 {
        clock.advance(Span(1));
        assert_eq!(availability(&board)["age_ms"], 400);
    }
    assert_eq!(observer.rendered(), rendered, "the age alone is said anew once a second");
    clock.advance(Span(1));
    assert_eq!(availability(&board)["age_ms"], 1400);
    board.set_reachable(home, true);
    clock.advance(Span(50));
    assert_eq!((availability(&board), json(&board), event(&board)), fresh);
}

#[test]
fn an_event_is_as_old_as_the_oldest_of_its_parts_and_a_block_as_old_as_itself() {
    let (board, clock, _) = concert();
    let (desk, block) = (Address::Event(EVENT.into()).shard(64), Address::Block(at(EVENT, "A")).shard(64));
    assert_ne!(desk, block);
    board.set_reachable(desk, false);
    clock.advance(Span(1000));
    let seats = |board: &Board| said(&board.answer(Subject::Seats(&EVENT.into(), &"A".into())).unwrap());
    assert_eq!((availability(&board)["age_ms"].clone(), seats(&board).get("stale")), (json!(1000), None));
    board.set_reachable(block, false);
    clock.advance(Span(1000));
    assert_eq!((availability(&board)["age_ms"].clone(), seats(&board)["age_ms"].clone()), (json!(2000), json!(1000)));
    board.set_reachable(desk, true);
    clock.advance(Span(1000));
    assert_eq!(availability(&board)["age_ms"], 2000);
    let own = [desk, block, Address::Block(at(EVENT, "FLOOR")).shard(64)];
    let elsewhere = (0..64).map(Shard).find(|shard| !own.contains(shard));
    board.set_reachable(block, true);
    board.set_reachable(elsewhere.unwrap(), false);
    board.set_reachable(Shard(999), false);
    clock.advance(Span(1000));
    assert_eq!(availability(&board).get("stale"), None);
}
