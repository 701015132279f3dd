//! Where answers come from, and whether they are worth asking for again.

use super::*;

#[test]
fn a_source_knows_whether_it_would_give_the_same_again() {
    let (board, clock, observer) = concert();
    let mut owner = Owner::new("A", 1000);
    let (event, block) = (EVENT.into(), "A".into());
    for subject in [Subject::Availability(&event), Subject::Seats(&event, &block), Subject::SeatsBytes(&event, &block)]
    {
        let source = board.source(subject).unwrap();
        let given = board.answer_of(&source).unwrap();
        let again = |given: &Arc<Rendered>| board.still_gives(&source, given, board.now());
        assert!(again(&given) && Arc::ptr_eq(&given, &board.answer(subject).unwrap()));
        board.publish(vec![owner.set([owner.seq as u32], SeatState::Held)]);
        assert!(again(&given), "not to be rendered yet");
        clock.advance(Span(50));
        assert!(!again(&given));
        let next = board.answer_of(&source).unwrap();
        assert!(again(&next) && !again(&given) && next.version > given.version);
        clock.advance(Span(50));
    }
    let served = observer.served.load(Ordering::SeqCst);
    board.sent_again(7);
    assert_eq!(observer.served.load(Ordering::SeqCst), served + 7);
}

#[test]
fn a_source_is_worth_nothing_once_the_event_is_described_anew() {
    let (board, _, _) = concert();
    let (event, floor) = (EVENT.into(), "FLOOR".into());
    let source = board.source(Subject::Seats(&event, &floor)).unwrap();
    let given = board.answer_of(&source).unwrap();
    let mut without = description(EVENT, vec![seated("A", 25, 40)]);
    without.revision = 3;
    board.publish(vec![Feed::Event(Box::new(without))]);
    assert!(!board.still_gives(&source, &given, board.now()));
    assert_eq!(board.source(Subject::Seats(&event, &floor)).err(), Some(Missing::Block));
}
