//! One live session: sends what its reader finds, answers pings, and ends.
//!
//! A session that is not read waits with the few texts in its hands; it never collects. It ends when its client goes,
//! breaks the protocol, is silent or does not read, and when the node stops.

use std::time::Duration;

use actix_ws::{CloseCode, CloseReason, Message, MessageStream, ProtocolError, Session};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::Settings;
use super::hub::Reader;

/// Pings in the time after which a silent session is closed.
const PINGS: u32 = 3;

/// How long a last word may wait for room.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// Why a session ends.
enum End {
    /// The client is gone, or takes nothing: nobody to say it to.
    Gone,
    /// With a last word.
    Close(CloseReason),
}

/// Talks until the session ends.
pub(super) async fn run(mut session: Session, mut stream: MessageStream, mut reader: Reader, limits: Settings) {
    let Err(end) = talk(&mut session, &mut stream, &mut reader, limits).await;
    drop(reader);
    match end {
        End::Gone => {}
        // Without room for a last word the connection ends without one.
        End::Close(reason) => drop(timeout(CLOSE_MAX, session.close(Some(reason))).await),
    }
}

async fn talk(
    session: &mut Session,
    stream: &mut MessageStream,
    reader: &mut Reader,
    limits: Settings,
) -> Result<std::convert::Infallible, End> {
    let beat = limits.idle_timeout / PINGS;
    let mut beats = interval_at(Instant::now() + beat, beat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        if reader.is_closing() {
            return Err(close(CloseCode::Away, "the node is stopping"));
        }
        let texts = reader.news();
        let caught_up = texts.is_empty();
        for text in texts {
            within(limits.unread_max, session.text(text)).await?;
        }
        // What the client said comes first: a slow reader must not look silent.
        tokio::select! {
            biased;
            message = stream.recv() => {
                heard = Instant::now();
                if let Some(answer) = hear(message)? {
                    within(limits.unread_max, session.pong(&answer)).await?;
                }
            }
            _ = beats.tick() => {
                if heard.elapsed() >= limits.idle_timeout {
                    return Err(close(CloseCode::Away, "no sign of life"));
                }
                within(limits.unread_max, session.ping(b"")).await?;
            }
            () = reader.wait(), if caught_up => {}
            () = tokio::task::yield_now(), if !caught_up => {}
        }
    }
}

/// Sends within a time, or the session ends.
async fn within(most: Duration, sending: impl Future<Output = Result<(), actix_ws::Closed>>) -> Result<(), End> {
    match timeout(most, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(actix_ws::Closed)) | Err(_) => Err(End::Gone),
    }
}

/// What a client said: a ping to answer, or the end.
fn hear(message: Option<Result<Message, ProtocolError>>) -> Result<Option<actix_web::web::Bytes>, End> {
    match message {
        Some(Ok(Message::Ping(payload))) => Ok(Some(payload)),
        Some(Ok(Message::Close(reason))) => {
            let code = reason.map_or(CloseCode::Normal, |reason| reason.code);
            Err(End::Close(CloseReason { code, description: None }))
        }
        Some(Ok(
            Message::Text(_) | Message::Binary(_) | Message::Continuation(_) | Message::Pong(_) | Message::Nop,
        )) => Ok(None),
        Some(Err(ProtocolError::Overflow)) => Err(close(CloseCode::Size, "nothing that long is expected")),
        Some(Err(ProtocolError::Io(_))) | None => Err(End::Gone),
        Some(Err(_)) => Err(close(CloseCode::Protocol, "broken frame")),
    }
}

fn close(code: CloseCode, description: &str) -> End {
    End::Close(CloseReason { code, description: Some(description.to_owned()) })
}
