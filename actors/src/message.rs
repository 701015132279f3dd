//! Messages between machines, and from the edge to them: every command of every machine under one type.

use serde::{Deserialize, Serialize};

use crate::{block, event, notice, order, payment};

/// A command with the kind of machine it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// For an [`event::EventDesk`].
    Event(event::Command),
    /// For a [`block::SeatBlock`].
    Block(block::Command),
    /// For an [`order::OrderDesk`].
    Order(order::Command),
    /// For a [`payment::PaymentDesk`].
    Payment(payment::Command),
    /// For a [`notice::Notifier`].
    Notice(notice::Command),
}

/// What an accepted message answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Of an event desk.
    Event(event::Reply),
    /// Of a seat block.
    Block(block::Reply),
    /// Of an order desk.
    Order(order::Reply),
    /// Of a payment desk.
    Payment(payment::Reply),
    /// Of a notifier.
    Notice(notice::Reply),
}

macro_rules! of {
    ($variant:ident, $module:ident) => {
        impl From<$module::Command> for Message {
            fn from(command: $module::Command) -> Self {
                Message::$variant(command)
            }
        }

        impl From<$module::Reply> for Reply {
            fn from(reply: $module::Reply) -> Self {
                Reply::$variant(reply)
            }
        }
    };
}

of!(Event, event);
of!(Block, block);
of!(Order, order);
of!(Payment, payment);
of!(Notice, notice);
