//! One step of a buyer that must happen once, however often it is asked: its key, its body, its holds.
//!
//! Slots are used again with their buffers, so that a step allocates little once the run is warm.

use crate::clock::Nanos;
use crate::http::{Target, request};
use crate::mix::Operation;
use crate::stage::Stage;

/// What a step does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Step {
    /// Asks for seats.
    #[default]
    Hold,
    /// Buys own holds.
    Order,
    /// Gives a hold back.
    Release,
    /// Gives a hold back whose order was refused.
    GiveBack,
    /// Gives up an order whose payment failed, so that its seats go back on sale.
    Cancel,
    /// Looks at an own order once.
    Look,
    /// Looks at a new order until it changes no more.
    Follow,
}

impl Step {
    /// What it is counted as.
    pub(crate) fn operation(self) -> Operation {
        match self {
            Self::Hold => Operation::Hold,
            Self::Order => Operation::Order,
            Self::Release | Self::GiveBack | Self::Cancel => Operation::Release,
            Self::Look | Self::Follow => Operation::OrderStatus,
        }
    }
}

/// A step under way.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pub(crate) step: Step,
    pub(crate) event: u16,
    pub(crate) customer: u32,
    /// When it was meant to start; latency counts from here.
    pub(crate) intended: Nanos,
    /// When it was drawn; the time to give up counts from here.
    pub(crate) started: Nanos,
    pub(crate) attempts: u32,
    /// Place of the node that was asked last.
    pub(crate) asked: usize,
    /// Whether that node left the outcome open: the next attempt goes to another one.
    pub(crate) is_open: bool,
    /// Looks at an order so far.
    pub(crate) looks: u32,
    /// Idempotency key; the same for every attempt.
    pub(crate) key: String,
    pub(crate) body: Vec<u8>,
    /// The hold or order that the path names.
    pub(crate) subject: String,
    /// The holds that an order joins, or that a new hold will be bought with.
    pub(crate) holds: Vec<String>,
    /// The id of the first answer, when this is its repetition.
    pub(crate) first_answer: Option<String>,
}

impl Flow {
    /// Whether it came from the mix: following and cancelling an order, giving back what was refused and repeating an
    /// answered request come on top.
    pub(crate) fn is_drawn(&self) -> bool {
        !matches!(self.step, Step::Follow | Step::GiveBack | Step::Cancel) && self.first_answer.is_none()
    }

    /// Appends the request.
    pub(crate) fn write(&self, out: &mut Vec<u8>, target: &Target, stage: &Stage) {
        let authorization = Some(stage.customers[self.customer as usize].bearer.as_str());
        let event = stage.events[usize::from(self.event)].id.as_str();
        let (method, path, key): (_, [&str; 3], _) = match self.step {
            Step::Hold => ("POST", ["/v1/events/", event, "/holds"], Some(self.key.as_str())),
            Step::Order => ("POST", ["/v1/orders", "", ""], Some(self.key.as_str())),
            Step::Cancel => ("POST", ["/v1/orders/", &self.subject, "/cancel"], Some(self.key.as_str())),
            Step::Release | Step::GiveBack => ("DELETE", ["/v1/holds/", &self.subject, ""], None),
            Step::Look | Step::Follow => ("GET", ["/v1/orders/", &self.subject, ""], None),
        };
        request::write(out, target, request::Head { method, path: &path, authorization, key }, &self.body);
    }

    fn reset(&mut self) {
        let (mut key, mut body, mut subject, mut holds) = (
            std::mem::take(&mut self.key),
            std::mem::take(&mut self.body),
            std::mem::take(&mut self.subject),
            std::mem::take(&mut self.holds),
        );
        key.clear();
        body.clear();
        subject.clear();
        holds.clear();
        *self = Self { key, body, subject, holds, ..Self::default() };
    }
}

/// The steps under way of one thread.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    slots: Vec<Flow>,
    free: Vec<u32>,
}

impl Flows {
    /// A clean slot.
    pub(crate) fn open(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Flow::default());
            (self.slots.len() - 1) as u32
        })
    }

    /// Gives a slot back.
    pub(crate) fn close(&mut self, place: u32) {
        self.slots[place as usize].reset();
        self.free.push(place);
    }

    /// Steps under way.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The places of all steps under way.
    pub(crate) fn places(&self) -> Vec<u32> {
        let mut open = vec![true; self.slots.len()];
        for place in &self.free {
            open[*place as usize] = false;
        }
        (0..self.slots.len() as u32).filter(|place| open[*place as usize]).collect()
    }
}

impl std::ops::Index<u32> for Flows {
    type Output = Flow;
    fn index(&self, place: u32) -> &Flow {
        &self.slots[place as usize]
    }
}

impl std::ops::IndexMut<u32> for Flows {
    fn index_mut(&mut self, place: u32) -> &mut Flow {
        &mut self.slots[place as usize]
    }
}
