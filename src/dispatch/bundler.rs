//! The bundler of one thread: asks that its tasks make one by one leave together, and their answers come back together.
//!
//! Owns the way from a ticket to the task that waits for its answer. What has gathered goes out in one
//! [`Dispatch::submit`] when the tasks that were ready have had their turn; what comes back is taken in one go, and each
//! task is woken on its own thread. It decides nothing, keeps no time and is never used by two threads.

use std::cell::RefCell;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::vec::Drain;

use actors::address::Address;
use actors::keyed::Asked;
use actors::message::Message;

use super::{Answered, Answers, Ask, Dispatch, Outcome};

/// Asks that do not wait for more: a thread with very many tasks would let the first of them wait long.
const TOGETHER_MAX: usize = 128;

/// See the module's charter.
pub struct Bundler {
    /// Sends them on their way.
    submit: Box<Submit>,
    keeps_order: bool,
    answers: Arc<Answers>,
    asks: RefCell<Asks>,
}

type Submit = dyn Fn(Drain<'_, Ask>, &Arc<Answers>);

#[derive(Default)]
struct Asks {
    /// Not sent yet.
    outgoing: Vec<Ask>,
    /// By ticket.
    places: Vec<Place>,
    /// Tickets that nobody has.
    free: Vec<usize>,
    /// The task that sends and takes.
    runner: Option<Waker>,
}

/// Where an answer is waited for.
enum Place {
    Free,
    Waiting(Option<Waker>),
    Answered(Outcome),
    /// Whoever asked went away before the answer came.
    Forgotten,
}

impl Bundler {
    /// A bundler whose asks go this way. Nothing goes before it [runs](Bundler::run).
    #[must_use]
    pub fn new(dispatch: Dispatch) -> Rc<Self> {
        let keeps_order = dispatch.cluster().is_none();
        Rc::new(Self { keeps_order, ..Self::of(move |asks, answers| dispatch.submit(asks, answers)) })
    }

    fn of(submit: impl Fn(Drain<'_, Ask>, &Arc<Answers>) + 'static) -> Self {
        Self { submit: Box::new(submit), keeps_order: true, answers: Answers::new(), asks: RefCell::default() }
    }

    /// Whether a machine judges asks in the order in which they were made here. On their way to other nodes, and when one is
    /// asked again, they may pass each other.
    #[must_use]
    pub fn keeps_order(&self) -> bool {
        self.keeps_order
    }

    /// Asks a machine; resolves when its answer is durable, as [`Dispatch::ask`] does. The ask goes whether the future is
    /// polled or not, behind those that were made here before.
    pub fn ask(self: &Rc<Self>, to: Address, asked: Asked<Message>) -> Asking {
        let mut asks = self.asks.borrow_mut();
        let ticket = asks.free.pop().unwrap_or(asks.places.len());
        match asks.places.get_mut(ticket) {
            Some(place) => *place = Place::Waiting(None),
            None => asks.places.push(Place::Waiting(None)),
        }
        asks.outgoing.push(Ask { to, asked, ticket: ticket as u64 });
        let count = asks.outgoing.len();
        if count == 1
            && let Some(runner) = &asks.runner
        {
            runner.wake_by_ref();
        }
        drop(asks);
        if count >= TOGETHER_MAX {
            self.send();
        }
        Asking { bundler: self.clone(), ticket: Some(ticket) }
    }

    /// Sends what is asked and hands out what is answered, for as long as the thread lives. To be spawned once, on the
    /// thread that asks.
    pub async fn run(self: Rc<Self>) {
        let mut taken = Vec::new();
        poll_fn(|context| {
            let mut asks = self.asks.borrow_mut();
            if !asks.runner.as_ref().is_some_and(|runner| runner.will_wake(context.waker())) {
                asks.runner = Some(context.waker().clone());
            }
            drop(asks);
            self.send();
            while self.answers.poll_take(context, &mut taken).is_ready() {
                self.hand_out(&mut taken);
            }
            Poll::Pending
        })
        .await
    }

    fn send(&self) {
        let mut outgoing = mem::take(&mut self.asks.borrow_mut().outgoing);
        if outgoing.is_empty() {
            return;
        }
        (self.submit)(outgoing.drain(..), &self.answers);
        // The room is kept for the next.
        self.asks.borrow_mut().outgoing = outgoing;
    }

    fn hand_out(&self, taken: &mut Vec<Answered>) {
        let mut asks = self.asks.borrow_mut();
        for Answered { ticket, outcome } in taken.drain(..) {
            let ticket = ticket as usize;
            match mem::replace(&mut asks.places[ticket], Place::Answered(outcome)) {
                Place::Waiting(waker) => waker.into_iter().for_each(Waker::wake),
                Place::Forgotten => drop(asks.release(ticket)),
                Place::Free | Place::Answered(_) => {
                    unreachable!("an ask is answered once, and has its place until then")
                }
            }
        }
    }
}

impl Asks {
    fn release(&mut self, ticket: usize) -> Place {
        self.free.push(ticket);
        mem::replace(&mut self.places[ticket], Place::Free)
    }
}

/// An answer that is on its way. Dropped, the ask is not taken back: what is done stands.
pub struct Asking {
    bundler: Rc<Bundler>,
    /// `None`: the answer was taken.
    ticket: Option<usize>,
}

impl Future for Asking {
    type Output = Outcome;

    /// Pending for ever once it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let Some(ticket) = self.ticket else { return Poll::Pending };
        let bundler = self.bundler.clone();
        let mut asks = bundler.asks.borrow_mut();
        match &mut asks.places[ticket] {
            Place::Answered(_) => {}
            Place::Waiting(Some(known)) if known.will_wake(context.waker()) => return Poll::Pending,
            Place::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Place::Free | Place::Forgotten => unreachable!("whoever waits has a place"),
        }
        self.ticket = None;
        match asks.release(ticket) {
            Place::Answered(outcome) => Poll::Ready(outcome),
            Place::Free | Place::Waiting(_) | Place::Forgotten => unreachable!("seen above"),
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut asks = self.bundler.asks.borrow_mut();
        let place = &mut asks.places[ticket];
        match place {
            Place::Waiting(_) => *place = Place::Forgotten,
            Place::Answered(_) => drop(asks.release(ticket)),
            Place::Free | Place::Forgotten => unreachable!("whoever waits has a place"),
        }
    }
}

#[cfg(test)]
mod tests;
