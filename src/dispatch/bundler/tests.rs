//! Asks that are made one by one leave together; each answer finds whoever asked, also when somebody went away.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake};

use actors::event;

use super::*;
use crate::dispatch::Failure;

/// A bundler whose asks are answered by hand.
struct Story {
    bundler: Rc<Bundler>,
    /// Tickets of the asks that left, by submission.
    left: Rc<RefCell<Vec<Vec<u64>>>>,
}

/// Counts how often a task was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Woken {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Story {
    fn new() -> Self {
        let left = Rc::new(RefCell::new(Vec::new()));
        let bundler = Bundler::of({
            let left = left.clone();
            move |asks, _| left.borrow_mut().push(asks.map(|ask| ask.ticket).collect())
        });
        Self { bundler: Rc::new(bundler), left }
    }

    fn ask(&self) -> Asking {
        let command = Message::Event(event::Command::Show);
        self.bundler.ask(Address::Event("concert".into()), command.into())
    }

    /// The task of the bundler has its turn.
    fn run(&self, woken: &Arc<Woken>) {
        let waker = Waker::from(woken.clone());
        let mut run = pin!(self.bundler.clone().run());
        assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }

    fn answer(&self, ticket: u64) {
        self.bundler.answers.promise(ticket).answer(Err(Failure::Elsewhere));
    }

    fn left(&self) -> Vec<Vec<u64>> {
        self.left.take()
    }
}

fn polled(asking: &mut Asking, woken: &Arc<Woken>) -> bool {
    let waker = Waker::from(woken.clone());
    match Pin::new(asking).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(outcome) => {
            assert_eq!(outcome, Err(Failure::Elsewhere));
            true
        }
        Poll::Pending => false,
    }
}

#[test]
fn asks_of_one_turn_leave_together_and_in_their_order() {
    let (story, runner) = (Story::new(), Arc::default());
    story.run(&runner);
    let _asked = [story.ask(), story.ask(), story.ask()];
    assert_eq!((runner.count(), story.left()), (1, vec![]), "the bundler is told once");
    story.run(&runner);
    assert_eq!(story.left(), [[0, 1, 2]]);
}

#[test]
fn many_do_not_wait_for_more() {
    let story = Story::new();
    let _asked: Vec<Asking> = (0..=TOGETHER_MAX).map(|_| story.ask()).collect();
    assert_eq!(story.left().iter().map(Vec::len).collect::<Vec<_>>(), [TOGETHER_MAX]);
}

#[test]
fn each_answer_finds_whoever_asked() {
    let (story, runner, woken) = (Story::new(), Arc::default(), Arc::default());
    let mut asked = [story.ask(), story.ask(), story.ask()];
    story.run(&runner);
    assert!(asked.iter_mut().all(|asking| !polled(asking, &woken)));
    [2, 0].into_iter().for_each(|ticket| story.answer(ticket));
    assert_eq!((runner.count(), woken.count()), (1, 0), "the bundler is woken once for both");
    story.run(&runner);
    assert_eq!(woken.count(), 2);
    assert_eq!(asked.each_mut().map(|asking| polled(asking, &woken)), [true, false, true]);
    let mut later = story.ask();
    story.run(&runner);
    assert_eq!(story.left(), [vec![0, 1, 2], vec![2]], "a place is used again when its answer was taken");
    assert!(!polled(&mut later, &woken));
}

#[test]
fn whoever_goes_away_leaves_nothing_behind() {
    let (story, runner, woken) = (Story::new(), Arc::default(), Arc::default());
    let (before, after) = (story.ask(), story.ask());
    story.run(&runner);
    drop(before);
    [0, 1].into_iter().for_each(|ticket| story.answer(ticket));
    story.run(&runner);
    drop(after);
    let mut next = [story.ask(), story.ask()];
    story.run(&runner);
    assert_eq!(story.left(), [[0, 1], [1, 0]]);
    story.answer(0);
    story.run(&runner);
    assert_eq!(next.each_mut().map(|asking| polled(asking, &woken)), [false, true]);
}
