//! What every [`Journal`] must do, as one suite: an implementation's tests call [`run`] and nothing else.
//!
//! Knows the trait alone. Each story uses shards of its own, so one journal serves them all.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{AppendError, Journal, ReplayError, Seq, Shard, VisitError};

/// Opens the journal under test; called again after the one before was dropped, it must find the same records.
pub type Open<'a> = dyn FnMut() -> Arc<dyn Journal> + 'a;

/// Runs the suite.
///
/// # Panics
/// When the journal breaks a rule.
pub async fn run(open: &mut Open<'_>) {
    an_unused_shard_has_nothing(open().as_ref());
    numbers_are_gapless_from_one(open().as_ref()).await;
    whoever_is_behind_or_ahead_is_fenced(open().as_ref()).await;
    bytes_come_back_as_they_were(open().as_ref()).await;
    shards_do_not_disturb_each_other(open().as_ref()).await;
    a_replay_gives_what_comes_after(open().as_ref()).await;
    a_visitor_may_give_up(open().as_ref()).await;
    a_caller_who_knows_more_is_refused(open().as_ref()).await;
    a_restart_keeps_all(open).await;
    truncation_keeps_what_is_needed(open).await;
}

/// Appends one record after another, numbered `after + 1..`.
async fn append(journal: &dyn Journal, shard: Shard, after: Seq, records: &[&[u8]]) {
    let mut last = after;
    for record in records {
        last = journal.append(shard, last, record.to_vec()).await.expect("append");
        assert_eq!(journal.last(shard), last);
    }
}

fn read(journal: &dyn Journal, shard: Shard, after: Seq) -> Vec<(Seq, Vec<u8>)> {
    let mut records = Vec::new();
    let last = journal
        .replay(&[(shard, after)], &mut |found, seq, record| {
            assert_eq!(found, shard, "only what was asked for");
            records.push((seq, record.to_vec()));
            Ok(())
        })
        .expect("replay");
    assert_eq!(last, [(shard, journal.last(shard))]);
    records
}

fn an_unused_shard_has_nothing(journal: &dyn Journal) {
    assert_eq!(journal.last(Shard(0)), Seq::NONE);
    assert_eq!(read(journal, Shard(0), Seq::NONE), []);
    assert_eq!(journal.replay(&[], &mut |_, _, _| Ok(())).expect("replay"), []);
}

async fn numbers_are_gapless_from_one(journal: &dyn Journal) {
    for n in 0..20 {
        let seq = journal.append(Shard(1), Seq(n), vec![7]).await.expect("append");
        assert_eq!(seq, Seq(n + 1));
    }
    let numbers: Vec<u64> = read(journal, Shard(1), Seq::NONE).iter().map(|(seq, _)| seq.0).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

async fn whoever_is_behind_or_ahead_is_fenced(journal: &dyn Journal) {
    append(journal, Shard(2), Seq::NONE, &[b"a", b"b"]).await;
    for after in [Seq(0), Seq(1), Seq(3), Seq(u64::MAX)] {
        let refused = journal.append(Shard(2), after, b"c".to_vec()).await;
        assert!(matches!(refused, Err(AppendError::Fenced { .. })), "{after}: {refused:?}");
    }
    assert_eq!(read(journal, Shard(2), Seq::NONE), [(Seq(1), b"a".to_vec()), (Seq(2), b"b".to_vec())]);
    append(journal, Shard(2), Seq(2), &[b"c"]).await;
}

async fn bytes_come_back_as_they_were(journal: &dyn Journal) {
    let records = [vec![], vec![0; 1000], (0..=255).collect(), vec![0xff; 10_000]];
    let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    append(journal, Shard(3), Seq::NONE, &slices).await;
    let back: Vec<Vec<u8>> = read(journal, Shard(3), Seq::NONE).into_iter().map(|(_, record)| record).collect();
    assert_eq!(back, records);
}

async fn shards_do_not_disturb_each_other(journal: &dyn Journal) {
    let shards = (10..30).map(Shard);
    join_all(shards.clone().map(|shard| async move {
        for n in 0..10 {
            let record = format!("{shard}/{n}").into_bytes();
            journal.append(shard, Seq(n), record).await.expect("append");
        }
    }))
    .await;
    let asked: Vec<(Shard, Seq)> =
        shards.filter(|shard| shard.0 % 2 == 0).map(|shard| (shard, Seq(shard.0 as u64 % 5))).collect();
    let mut next: Vec<u64> = asked.iter().map(|(_, after)| after.0 + 1).collect();
    let lasts = journal
        .replay(&asked, &mut |shard, seq, record| {
            let index = asked.iter().position(|(asked, _)| *asked == shard).expect("only what was asked for");
            assert_eq!(seq.0, next[index], "in order");
            assert_eq!(record, format!("{shard}/{}", seq.0 - 1).as_bytes());
            next[index] += 1;
            Ok(())
        })
        .expect("replay");
    assert!(next.iter().all(|next| *next == 11));
    assert!(lasts.iter().zip(&asked).all(|(last, asked)| *last == (asked.0, Seq(10))));
}

async fn a_replay_gives_what_comes_after(journal: &dyn Journal) {
    append(journal, Shard(4), Seq::NONE, &[b"1", b"2", b"3"]).await;
    assert_eq!(read(journal, Shard(4), Seq(1)), [(Seq(2), b"2".to_vec()), (Seq(3), b"3".to_vec())]);
    assert_eq!(read(journal, Shard(4), Seq(3)), []);
}

async fn a_visitor_may_give_up(journal: &dyn Journal) {
    append(journal, Shard(5), Seq::NONE, &[b"1", b"2", b"3"]).await;
    let mut seen = 0;
    let ended = journal.replay(&[(Shard(5), Seq::NONE)], &mut |_, _, _| {
        seen += 1;
        if seen == 2 { Err(VisitError::from("enough")) } else { Ok(()) }
    });
    assert!(matches!(ended, Err(ReplayError::Visit { shard: Shard(5), seq: Seq(2), .. })));
    assert_eq!(seen, 2);
}

async fn a_caller_who_knows_more_is_refused(journal: &dyn Journal) {
    append(journal, Shard(6), Seq::NONE, &[b"1"]).await;
    let refused = journal.replay(&[(Shard(6), Seq(2))], &mut |_, _, _| Ok(()));
    assert!(matches!(refused, Err(ReplayError::Ahead { after: Seq(2), last: Seq(1), .. })), "{refused:?}");
}

async fn a_restart_keeps_all(open: &mut Open<'_>) {
    append(open().as_ref(), Shard(7), Seq::NONE, &[b"before"]).await;
    let journal = open();
    assert_eq!(read(journal.as_ref(), Shard(7), Seq::NONE), [(Seq(1), b"before".to_vec())]);
    append(journal.as_ref(), Shard(7), Seq(1), &[b"after"]).await;
    drop(journal);
    let journal = open();
    assert_eq!(journal.last(Shard(7)), Seq(2));
    assert_eq!(read(journal.as_ref(), Shard(7), Seq(1)), [(Seq(2), b"after".to_vec())]);
}

async fn truncation_keeps_what_is_needed(open: &mut Open<'_>) {
    let journal = open();
    let record = vec![1; 500];
    append(journal.as_ref(), Shard(8), Seq::NONE, &[record.as_slice(); 40]).await;
    journal.truncate(Shard(8), Seq(30));
    append(journal.as_ref(), Shard(8), Seq(40), &[&record]).await;
    only_the_cut_may_be_gone(journal.as_ref());
    drop(journal);
    only_the_cut_may_be_gone(open().as_ref());
}

fn only_the_cut_may_be_gone(journal: &dyn Journal) {
    assert_eq!(journal.last(Shard(8)), Seq(41));
    let numbers: Vec<u64> = read(journal, Shard(8), Seq(30)).iter().map(|(seq, _)| seq.0).collect();
    assert_eq!(numbers, (31..=41).collect::<Vec<_>>());
    let whole = journal.replay(&[(Shard(8), Seq::NONE)], &mut |_, _, _| Ok(()));
    assert!(matches!(whole, Ok(_) | Err(ReplayError::Cut { .. })), "{whole:?}");
}
