//! Finding blocks: by the id of a hold, and for whoever wants the best there is.

use actors::ids::HoldId;

use super::*;

#[test]
fn an_id_finds_its_block_by_shard_and_tag() {
    let (board, ..) = concert();
    let block = at(EVENT, "A");
    let hold = HoldId::new(Millis(1), Address::Block(block.clone()).shard(64), block.tag(), 1);
    assert_eq!(board.block_tagged(hold.shard(), hold.tag()).as_slice(), [block]);
    assert!(board.block_tagged(hold.shard(), actors::ids::Tag(hold.tag().0 ^ 1)).is_empty());
}

#[test]
fn best_available_looks_where_it_may_and_can_be_had() {
    let (board, _) = fixture::board(Arc::new(Silent));
    let mut blocks = vec![seated("A", 1, 4), seated("B", 1, 10), standing("FLOOR", 100), seated("C", 1, 10)];
    blocks[3].price = 4000;
    board.publish(opening(&description(EVENT, blocks)));
    let event = board.event(&EVENT.into()).unwrap();
    let find = |quantity, block: Option<&str>, max_price| {
        let block = block.map(Into::into);
        let found = board.candidates(&event, &Wanted { quantity, block: block.as_ref(), max_price }).unwrap();
        found.iter().map(|at| at.block.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(find(4, None, None), "A B C");
    assert_eq!(find(5, None, None), "B C");
    assert_eq!(find(1, None, Some(8499)), "C");
    assert_eq!(find(1, Some("B"), None), "B");
    assert_eq!(find(1, Some("FLOOR"), None), "FLOOR");
    assert_eq!(find(11, None, None), "");
    let mut owner = Owner::new("A", 4);
    board.publish(vec![owner.set([0], SeatState::Blocked)]);
    assert_eq!(find(4, None, None), "B C");
}

#[test]
fn a_block_without_a_picture_is_not_taken_for_a_full_one() {
    let (board, _) = fixture::board(Arc::new(Silent));
    let described = description(EVENT, vec![seated("A", 1, 4), seated("B", 1, 4)]);
    let pictures = opening(&described);
    board.publish(vec![pictures[0].clone(), pictures[1].clone()]);
    let event = board.event(&EVENT.into()).unwrap();
    let find = |quantity| board.candidates(&event, &Wanted { quantity, block: None, max_price: None });
    assert_eq!(find(4), Some(vec![at(EVENT, "A")]));
    assert_eq!(find(5), None, "B might have five");
    let dear = Wanted { quantity: 1, block: None, max_price: Some(10) };
    assert_eq!(board.candidates(&event, &dear), Some(Vec::new()), "but not at that price");
    board.publish(vec![pictures[2].clone()]);
    assert_eq!(find(5), Some(Vec::new()));
}
