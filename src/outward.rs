//! What leaves the house: calls of the payment provider and letters to buyers, asked for by machines, answered by
//! messages to them.
//!
//! Owns how many are under way at once. It retries nothing: the desk that asked does, by its own clock. Words for
//! mails are in [`crate::notices`], the provider in [`crate::gateway`].

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use actors::address::Address;
use actors::block::Claim;
use actors::gateway::{Call, Heard};
use actors::ids::{PaymentId, TicketId};
use actors::message::Message;
use actors::notice::{self, Letter, LetterKind};
use actors::payment;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::board::Board;
use crate::clock;
use crate::dispatch::Dispatch;
use crate::gateway::{ChargeRequest, ChargeResult, ChargeStatus, Gateway, GatewayError, RefundRequest};
use crate::notices::{self, Concert, Money, Notice, OrderPaid, OrderRefunded, Sink, Sinks, TicketLine};
use crate::runtime::Outward;
use crate::telemetry::Metrics;
use crate::tickets::{TicketClaims, TicketKey};

/// Calls of the provider that are under way at once; more wait their turn.
const CALLS_MAX: usize = 1024;

/// Letters that are being delivered at once; more wait their turn. Enough for what comes while the notices file is synced
/// once; how many mails are sent at once is the mail sink's own.
const LETTERS_MAX: usize = 1024;

/// The way out. Cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    shared: Arc<Shared>,
}

struct Shared {
    tasks: Handle,
    gateway: Arc<dyn Gateway>,
    sinks: Sinks,
    board: Arc<Board>,
    tickets: Arc<TicketKey>,
    metrics: Arc<Metrics>,
    dispatch: OnceLock<Dispatch>,
    calls: Semaphore,
    letters: Semaphore,
}

impl Outbound {
    /// A way out whose tasks run on `tasks`. Nothing is sent before [`Outbound::connect`].
    #[must_use]
    pub fn new(
        tasks: Handle,
        gateway: Arc<dyn Gateway>,
        sinks: Sinks,
        inside: (Arc<Board>, Arc<TicketKey>),
        metrics: Arc<Metrics>,
    ) -> Self {
        let (board, tickets) = inside;
        Self {
            shared: Arc::new(Shared {
                tasks,
                gateway,
                sinks,
                board,
                tickets,
                metrics,
                dispatch: OnceLock::new(),
                calls: Semaphore::new(CALLS_MAX),
                letters: Semaphore::new(LETTERS_MAX),
            }),
        }
    }

    /// Says where outcomes are told. Set once; what is asked for before is asked for again by its desk.
    pub fn connect(&self, dispatch: Dispatch) {
        assert!(self.shared.dispatch.set(dispatch).is_ok(), "connected once");
    }
}

impl Outward for Outbound {
    fn call(&self, from: Address, call: Call) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let Ok(_turn) = shared.calls.acquire().await else { return };
            let (payment, attempt, heard) = ask(shared.gateway.as_ref(), call).await;
            shared.tell(from, payment::Command::Heard { payment, attempt, heard }.into());
        });
    }

    fn deliver(&self, from: Address, letter: Letter) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let Ok(_turn) = shared.letters.acquire().await else { return };
            let outcome = shared.send(&letter).await;
            shared.tell(from, outcome.into());
        });
    }
}

impl Shared {
    fn tell(&self, to: Address, message: Message) {
        if let Some(dispatch) = self.dispatch.get() {
            dispatch.tell(to, message);
        }
    }

    async fn send(&self, letter: &Letter) -> notice::Command {
        let (order, kind) = (letter.order, letter.kind);
        match self.sinks.deliver(&self.write(letter)).await {
            Ok(()) => {
                self.metrics.notices.of("sent").inc();
                notice::Command::Delivered { order, kind }
            }
            Err(error) => {
                self.metrics.notices.of(if error.is_retryable { "retried" } else { "dead_lettered" }).inc();
                tracing::warn!(%order, kind = kind.as_str(), reason = %error.reason, "notice not delivered");
                notice::Command::Failed { order, kind, reason: error.reason, retryable: error.is_retryable }
            }
        }
    }

    fn write(&self, letter: &Letter) -> Notice {
        let order = letter.order.to_string();
        let id = format!("ntc_{order}_{}", letter.kind.as_str());
        let total = Money { amount: letter.total.amount, currency: letter.total.currency.as_str().to_owned() };
        let (email, concert) = (letter.email.clone(), self.concert(letter));
        match letter.kind {
            LetterKind::Confirmation => {
                let tickets = self.tickets(letter, &order);
                notices::order_confirmation(id, OrderPaid { order, email, concert, total, tickets })
            }
            LetterKind::Refund => notices::refund(id, OrderRefunded { order, email, concert, amount: total }),
        }
    }

    fn concert(&self, letter: &Letter) -> Concert {
        let id = letter.event.to_string();
        match self.board.event(&letter.event) {
            Some(event) => Concert {
                id,
                name: event.spec.name.clone(),
                venue: event.spec.venue.clone(),
                starts_at: clock::rfc3339(event.spec.starts_at),
            },
            None => Concert { name: id.clone(), id, venue: String::new(), starts_at: String::new() },
        }
    }

    fn tickets(&self, letter: &Letter, order: &str) -> Vec<TicketLine> {
        let mut lines = Vec::with_capacity(letter.places.iter().map(|(_, claim)| claim.quantity() as usize).sum());
        for (block, claim) in &letter.places {
            let names = self.board.names(&letter.event, block);
            for nth in 0..claim.quantity() {
                let seat = match claim {
                    Claim::Seats(seats) => names.as_ref().and_then(|names| names.name(seats[nth as usize])),
                    Claim::Standing(_) => None,
                };
                let id = TicketId { order: letter.order, place: lines.len() as u16 };
                let line = TicketLine {
                    id: id.to_string(),
                    block: block.as_str().to_owned(),
                    seat: seat.map(|name| name.to_string()),
                    token: String::new(),
                };
                lines.push(self.signed(line, letter.event.as_str(), order));
            }
        }
        lines
    }

    fn signed(&self, mut line: TicketLine, event: &str, order: &str) -> TicketLine {
        let said = TicketClaims {
            event: event.into(),
            block: line.block.as_str().into(),
            seat: line.seat.as_deref().map(Cow::from),
            order: order.into(),
            ticket: line.id.as_str().into(),
            iat: None,
        };
        line.token = self.tickets.sign(&said);
        line
    }
}

/// Makes one call and says what is known after it; whatever is not sure is unknown.
async fn ask(gateway: &dyn Gateway, call: Call) -> (PaymentId, u32, Heard) {
    match call {
        Call::Charge { payment, money, token, attempt, .. } => {
            let currency = money.currency.as_str().to_owned();
            let request = ChargeRequest { key: payment.to_string(), amount: money.amount, currency, token };
            let heard = match gateway.charge(request).await {
                Ok(ChargeResult::Captured { .. }) => Heard::Captured,
                Ok(ChargeResult::Declined { code, .. }) => Heard::Declined(code),
                Err(GatewayError::Rejected { code }) => Heard::Declined(code.to_owned()),
                Err(GatewayError::Unknown) => Heard::Unknown,
                Err(GatewayError::Unavailable { .. }) => Heard::Unavailable,
            };
            (payment, attempt, heard)
        }
        Call::Status { payment, attempt } => {
            let heard = match gateway.status(payment.to_string()).await {
                Ok(ChargeStatus::NotFound) => Heard::NotFound,
                Ok(ChargeStatus::Captured { .. } | ChargeStatus::Refunded { .. }) => Heard::Captured,
                Ok(ChargeStatus::Declined { code, .. }) => Heard::Declined(code),
                Ok(ChargeStatus::Pending) | Err(_) => Heard::Unknown,
            };
            (payment, attempt, heard)
        }
        Call::Refund { payment, money, attempt } => {
            let charge = payment.to_string();
            let currency = money.currency.as_str().to_owned();
            let request = RefundRequest { key: format!("{charge}-refund"), charge, amount: money.amount, currency };
            let heard = match gateway.refund(request).await {
                Ok(_) => Heard::Refunded,
                Err(GatewayError::Unknown) => Heard::Unknown,
                Err(GatewayError::Unavailable { .. }) => Heard::Unavailable,
                Err(GatewayError::Rejected { code }) => {
                    tracing::error!(%payment, code, "the provider refuses a refund");
                    Heard::Unavailable
                }
            };
            (payment, attempt, heard)
        }
    }
}
