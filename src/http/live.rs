//! Live sessions: a WebSocket tells what has changed, board first, then every change without gaps.
//!
//! Owns admission of sessions, what they follow, and their end. Nothing is queued for a session: it reads the latest
//! changes of its blocks from a run that all sessions of its thread share (`hub`), at its own speed, and gets a whole
//! board when it is too far behind. The conversation itself is `socket`, which has taken its connection over from the
//! lane, or without the lane `session`, the body of the upgrade's answer; both speak in `frames`.

mod bell;
mod frames;
mod hub;
mod query;
mod session;
mod socket;
#[cfg(test)]
pub(super) mod tests;

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use actix_http::ws;
use actix_web::body::MessageBody;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use actors::ids::EventId;

use super::problem::{Code, Problem};
use crate::board::{Board, Inbox};
use crate::config;

pub use hub::Hub;
use session::{Session, Silence};
pub(super) use socket::{Handover, Over, Socket};

/// Largest frame a client may send: it has nothing to say but pings and a close.
const INBOUND_MAX: usize = 4 * 1024;

/// Pings in the time after which a silent session is closed.
const PINGS: u32 = 3;

/// How long a client may take nothing off its connection before it is dropped.
pub const UNREAD_MAX: Duration = Duration::from_secs(30);

/// When to try again after too many sessions.
const FULL_WAIT: Duration = Duration::from_secs(5);

/// Limits of live sessions.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Sessions of this node; one more is refused.
    pub sessions_max: usize,
    /// Changes of a block that a session may be behind before it gets a board.
    pub queue_max: usize,
    /// Least time between two `counts` messages.
    pub counts_interval: Duration,
    /// A session from which nothing was heard for so long is closed; it is pinged three times in between.
    pub idle_timeout: Duration,
}

impl Settings {
    /// As configured.
    #[must_use]
    pub fn of(config: &config::Live) -> Self {
        let config::Live { sessions_max, queue_max, counts_interval, idle_timeout } = *config;
        Self { sessions_max, queue_max, counts_interval, idle_timeout }
    }
}

/// All live sessions of this node.
pub struct Live {
    board: Arc<Board>,
    settings: Settings,
    open: AtomicUsize,
    closing: AtomicBool,
    inboxes: Mutex<Vec<Weak<Inbox>>>,
}

impl Live {
    /// No sessions yet.
    #[must_use]
    pub fn new(board: Arc<Board>, settings: Settings) -> Self {
        Self { board, settings, open: AtomicUsize::new(0), closing: AtomicBool::new(false), inboxes: Mutex::default() }
    }

    /// The sessions of one worker thread: app data of that worker as `Data::new(live.hub())`.
    #[must_use]
    pub fn hub(self: &Arc<Self>) -> Hub {
        let hub = Hub::new(self.clone());
        let mut inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        inboxes.retain(|inbox| inbox.strong_count() > 0);
        inboxes.push(Arc::downgrade(hub.inbox()));
        hub
    }

    /// Open sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Closes all sessions with 1001 (going away) and takes no more. Returns at once.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        inboxes.iter().filter_map(Weak::upgrade).for_each(|inbox| inbox.wake());
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn admit(self: &Arc<Self>) -> Result<Slot, Problem> {
        if self.is_closing() {
            return Err(Problem::new(Code::NotReady, "the node is stopping").with("reason", "stopping"));
        }
        let most = self.settings.sessions_max;
        let one_more = |open| Some(open + 1).filter(|open| *open <= most);
        match self.open.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more) {
            Ok(before) => self.board.observer().sessions(before + 1),
            Err(_) => {
                return Err(Problem::new(Code::Overloaded, "this node has as many live sessions as it may have")
                    .retry_after(FULL_WAIT));
            }
        }
        Ok(Slot(self.clone()))
    }
}

/// A session that was agreed on and has not begun.
pub(super) struct Agreed {
    reader: hub::Reader,
    settings: Settings,
    slot: Slot,
}

/// The right to one session.
struct Slot(Arc<Live>);

impl Drop for Slot {
    fn drop(&mut self) {
        let before = self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.board.observer().sessions(before - 1);
    }
}

/// Changes as they happen, by WebSocket.
///
/// Messages are JSON texts; ignore types you do not know. With `blocks`, first a board per block, then its changes
/// without gaps. With `resume`, the changes after the given numbers, or boards where they are gone. Without either, the
/// places by state of all blocks at once and then at most five times a second. In all cases an `event` message when the
/// sale's status or the description changes. Whoever reads too slowly gets a board instead of the missed changes.
///
/// # Errors
/// Before the upgrade: [`Code::UnknownEvent`], [`Code::UnknownBlock`], [`Code::BadRequest`], [`Code::Overloaded`],
/// [`Code::NotReady`].
#[utoipa::path(get, path = "/v1/events/{event}/live", tag = "Public",
    params(
        ("event" = String, Path, description = "The event's id", example = "aurora-night-1"),
        ("blocks" = Option<String>, Query, description = "Blocks to follow, separated by commas", example = "A,B"),
        ("resume" = Option<String>, Query, description = "Blocks and the number of the last change you have of each",
            example = "A:1041,B:77"),
    ),
    responses((status = 101, description = "A WebSocket: `board`, `change`, `counts` and `event` messages")))]
pub(super) async fn live(
    hub: Data<Hub>,
    request: HttpRequest,
    event: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let wanted = query::read(request.query_string())?;
    let live = hub.live();
    let event = EventId::from(event.as_str());
    let replica = live.board.replica(&event).ok_or(Code::UnknownEvent)?;
    let described = replica.described().ok_or(Code::UnknownEvent)?;
    let blocks = wanted.into_iter().map(|wanted| {
        let (_, block) = described.block(&wanted.block).ok_or_else(|| {
            Problem::new(Code::UnknownBlock, "the event has no such block").with("block", wanted.block.as_str())
        })?;
        Ok((block.clone(), wanted.seq))
    });
    let blocks = blocks.collect::<Result<Vec<_>, Problem>>()?;
    let slot = live.admit()?;
    let mut answer = ws::handshake(request.head())
        .map_err(|_| Problem::new(Code::BadRequest, "this is a WebSocket: the request must ask for the upgrade"))?;
    let reader = hub.reader((&event, replica), blocks);
    let agreed = Agreed { reader, settings: live.settings, slot };
    let left = match request.conn_data::<Handover>() {
        Some(handover) => handover.leave(agreed),
        None => Some(agreed),
    };
    let body = match left {
        None => Silence.boxed(),
        Some(agreed) => Session::new(payload.into_inner(), agreed).boxed(),
    };
    let answer = answer.message_body(body).map_err(|_| Problem::from(Code::Internal))?;
    Ok(answer.into())
}

/// Lets the kernel end a connection whose other side has taken nothing for `unread_max`, which a writer that waits for
/// room cannot do itself. For `HttpServer::on_connect`.
pub fn limit_unread(connection: &dyn Any, unread_max: Duration) {
    if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
        let millis = u32::try_from(unread_max.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, millis) {
            tracing::debug!(%error, "a connection that is not read will not be ended early");
        }
    }
}
