//! The cells of one shard behind one type: pushes a message into the inbox of the machine it fits.

use std::rc::Rc;

use actix::dev::Request;
use actix::{Actor, Addr};
use actors::address::{Address, Kind};
use actors::block::{self, SeatBlock};
use actors::event::{self, EventDesk};
use actors::keyed::{Asked, Key, Keyed};
use actors::message::Message;
use actors::notice::Notifier;
use actors::order::OrderDesk;
use actors::payment::PaymentDesk;
use actors::time::Millis;

use super::cell::{Cell, GivePicture, Leave, Rebuilt, Ring, TakeSnapshot, Taken};
use super::failure::Failure;
use super::hosted::{AnyMachine, Hosted};
use super::inbox::{Inbox, Queued};
use super::shard::{Gate, ShardHost};
use super::waiter::Waiter;
use crate::journal::Seq;

/// A cell as its shard sees it.
pub(super) struct CellRef<M: Hosted> {
    inbox: Rc<Inbox<M>>,
    addr: Addr<Cell<M>>,
}

/// A cell of any kind.
pub(super) enum AnyCell {
    Event(CellRef<EventDesk>),
    Block(CellRef<SeatBlock>),
    Orders(CellRef<OrderDesk>),
    Payments(CellRef<PaymentDesk>),
    Notifier(CellRef<Notifier>),
}

/// How a message comes in.
pub(super) struct Arrival {
    pub(super) key: Option<Key>,
    pub(super) waiter: Option<Waiter>,
    pub(super) at: Millis,
}

/// A message that was not let in, and who must be told.
pub(super) type TurnedAway = (Option<Waiter>, Failure);

/// Runs the same lines for whichever kind it is.
macro_rules! each_kind {
    ($cell:expr, $name:ident => $body:expr) => {
        match $cell {
            AnyCell::Event($name) => $body,
            AnyCell::Block($name) => $body,
            AnyCell::Orders($name) => $body,
            AnyCell::Payments($name) => $body,
            AnyCell::Notifier($name) => $body,
        }
    };
}

impl AnyCell {
    /// Starts the cell of a machine on this thread. `last_change` and `changed` as it was brought back.
    pub(super) fn start(address: Address, machine: AnyMachine, changed: bool, shard: &Rc<ShardHost>) -> Self {
        match machine {
            AnyMachine::Event(state) => AnyCell::Event(CellRef::start(address, state, changed, shard)),
            AnyMachine::Block(state) => AnyCell::Block(CellRef::start(address, state, changed, shard)),
            AnyMachine::Orders(state) => AnyCell::Orders(CellRef::start(address, state, changed, shard)),
            AnyMachine::Payments(state) => AnyCell::Payments(CellRef::start(address, state, changed, shard)),
            AnyMachine::Notifier(state) => AnyCell::Notifier(CellRef::start(address, state, changed, shard)),
        }
    }

    /// Puts a message into the inbox, or says why not.
    pub(super) fn push(&self, message: Message, arrival: Arrival, shard: &ShardHost) -> Result<(), TurnedAway> {
        match (self, message) {
            (AnyCell::Event(cell), Message::Event(command)) => cell.push(command, arrival, shard),
            (AnyCell::Block(cell), Message::Block(command)) => cell.push(command, arrival, shard),
            (AnyCell::Orders(cell), Message::Order(command)) => cell.push(command, arrival, shard),
            (AnyCell::Payments(cell), Message::Payment(command)) => cell.push(command, arrival, shard),
            (AnyCell::Notifier(cell), Message::Notice(command)) => cell.push(command, arrival, shard),
            (
                AnyCell::Event(_)
                | AnyCell::Block(_)
                | AnyCell::Orders(_)
                | AnyCell::Payments(_)
                | AnyCell::Notifier(_),
                Message::Event(_) | Message::Block(_) | Message::Order(_) | Message::Payment(_) | Message::Notice(_),
            ) => Err((arrival.waiter, Failure::MISSENT)),
        }
    }

    pub(super) fn ring(&self) {
        each_kind!(self, cell => cell.addr.do_send(Ring));
    }

    pub(super) fn kind(&self) -> Kind {
        each_kind!(self, cell => cell.kind())
    }

    pub(super) fn last_change(&self) -> Seq {
        each_kind!(self, cell => cell.inbox.last_change())
    }

    /// No turn until [`AnyCell::rebuilt`].
    pub(super) fn pause(&self) {
        each_kind!(self, cell => cell.inbox.pause());
    }

    pub(super) fn is_quiet(&self) -> bool {
        each_kind!(self, cell => cell.inbox.len() == 0 && !cell.inbox.is_paused())
    }

    pub(super) fn panic_next(&self) {
        each_kind!(self, cell => cell.inbox.panic_next());
    }

    pub(super) fn mark_changed(&self) {
        each_kind!(self, cell => cell.inbox.mark_changed());
    }

    pub(super) fn take_overdue(&self, before: Millis) -> Vec<Waiter> {
        each_kind!(self, cell => cell.inbox.take_overdue(before))
    }

    /// Gives the cell the state that was brought back for it.
    pub(super) fn rebuilt(&self, machine: AnyMachine) {
        match (self, machine) {
            (AnyCell::Event(cell), AnyMachine::Event(state)) => cell.addr.do_send(Rebuilt(state)),
            (AnyCell::Block(cell), AnyMachine::Block(state)) => cell.addr.do_send(Rebuilt(state)),
            (AnyCell::Orders(cell), AnyMachine::Orders(state)) => cell.addr.do_send(Rebuilt(state)),
            (AnyCell::Payments(cell), AnyMachine::Payments(state)) => cell.addr.do_send(Rebuilt(state)),
            (AnyCell::Notifier(cell), AnyMachine::Notifier(state)) => cell.addr.do_send(Rebuilt(state)),
            (
                AnyCell::Event(_)
                | AnyCell::Block(_)
                | AnyCell::Orders(_)
                | AnyCell::Payments(_)
                | AnyCell::Notifier(_),
                AnyMachine::Event(_)
                | AnyMachine::Block(_)
                | AnyMachine::Orders(_)
                | AnyMachine::Payments(_)
                | AnyMachine::Notifier(_),
            ) => unreachable!("an address has one kind of machine"),
        }
    }

    /// Ends the cell: how much waited for a turn, and who.
    pub(super) fn leave(&self) -> (usize, Vec<Waiter>) {
        each_kind!(self, cell => {
            cell.addr.do_send(Leave);
            cell.inbox.leave()
        })
    }

    /// Whether its picture was asked for and goes out when the cell is back.
    pub(super) fn owes_picture(&self) -> bool {
        each_kind!(self, cell => cell.inbox.owes_picture())
    }

    /// Has the cell publish its picture behind its last change, between two turns, or owe it.
    pub(super) fn give_picture(&self) -> PictureRequest {
        match self {
            AnyCell::Event(cell) => PictureRequest::Event(cell.addr.send(GivePicture)),
            AnyCell::Block(cell) => PictureRequest::Block(cell.addr.send(GivePicture)),
            AnyCell::Orders(_) | AnyCell::Payments(_) | AnyCell::Notifier(_) => PictureRequest::Private,
        }
    }

    /// Asks the cell for its snapshot, between two turns.
    pub(super) fn take_snapshot(&self) -> SnapshotRequest {
        match self {
            AnyCell::Event(cell) => SnapshotRequest::Event(cell.addr.send(TakeSnapshot)),
            AnyCell::Block(cell) => SnapshotRequest::Block(cell.addr.send(TakeSnapshot)),
            AnyCell::Orders(cell) => SnapshotRequest::Orders(cell.addr.send(TakeSnapshot)),
            AnyCell::Payments(cell) => SnapshotRequest::Payments(cell.addr.send(TakeSnapshot)),
            AnyCell::Notifier(cell) => SnapshotRequest::Notifier(cell.addr.send(TakeSnapshot)),
        }
    }
}

/// A picture on its way; holds nothing of the shard while it waits.
pub(super) enum PictureRequest {
    Event(Request<Cell<EventDesk>, GivePicture>),
    Block(Request<Cell<SeatBlock>, GivePicture>),
    /// Nothing of such a machine is public.
    Private,
}

impl PictureRequest {
    /// Resolves when the cell has given it or owes it.
    pub(super) async fn heard(self) {
        // A cell that is gone has nothing to show.
        let _ = match self {
            PictureRequest::Event(request) => request.await,
            PictureRequest::Block(request) => request.await,
            PictureRequest::Private => Ok(()),
        };
    }
}

/// A snapshot on its way; holds nothing of the shard while it waits.
pub(super) enum SnapshotRequest {
    Event(Request<Cell<EventDesk>, TakeSnapshot>),
    Block(Request<Cell<SeatBlock>, TakeSnapshot>),
    Orders(Request<Cell<OrderDesk>, TakeSnapshot>),
    Payments(Request<Cell<PaymentDesk>, TakeSnapshot>),
    Notifier(Request<Cell<Notifier>, TakeSnapshot>),
}

impl SnapshotRequest {
    pub(super) async fn taken(self) -> Taken {
        let taken = match self {
            SnapshotRequest::Event(request) => request.await,
            SnapshotRequest::Block(request) => request.await,
            SnapshotRequest::Orders(request) => request.await,
            SnapshotRequest::Payments(request) => request.await,
            SnapshotRequest::Notifier(request) => request.await,
        };
        taken.unwrap_or(Taken::Away)
    }
}

impl<M: Hosted> CellRef<M> {
    fn start(address: Address, state: Box<Keyed<M>>, changed: bool, shard: &Rc<ShardHost>) -> CellRef<M> {
        let inbox = Rc::new(Inbox::new(changed));
        let addr = Cell::new(address, state, inbox.clone(), shard.clone()).start();
        CellRef { inbox, addr }
    }

    fn kind(&self) -> Kind {
        M::KIND
    }

    fn push(&self, command: M::Command, arrival: Arrival, shard: &ShardHost) -> Result<(), TurnedAway> {
        let Arrival { key, waiter, at } = arrival;
        if let Gate::ReadOnly(failure) = shard.gate()
            && (key.is_some() || !M::reads(&command))
        {
            return Err((waiter, failure.clone()));
        }
        let settings = shard.settings();
        let full = match &waiter {
            Some(_) => self.inbox.unanswered() >= settings.mailbox_max,
            // What machines tell each other ends work in progress: it has room of its own.
            None => self.inbox.len() >= settings.mailbox_max + settings.tells_max,
        };
        if full {
            return Err((waiter, Failure::OVERLOADED));
        }
        shard.gauges().queued(M::KIND);
        if self.inbox.push(Queued { asked: Asked { key, command }, waiter, arrived: at }) {
            self.addr.do_send(Ring);
        }
        Ok(())
    }
}

/// Whether a message brings the machine it is for into being.
pub(super) fn creates(message: &Message) -> bool {
    match message {
        Message::Event(event::Command::Create(_)) | Message::Block(block::Command::Configure(_)) => true,
        Message::Event(_) | Message::Block(_) | Message::Order(_) | Message::Payment(_) | Message::Notice(_) => false,
    }
}
