//! Carrying out an append: does over the network what [`super::append`] decides, for as long as it takes.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use super::Shared;
use super::append::{Attempt, Next, Position, Tail};
use super::envelope::Envelope;
use super::lanes::Lane;
use crate::journal::Commit;
use crate::nats::{Answer, Away, Stored};

/// What became of an append.
pub(super) enum Outcome {
    Done(Position),
    Fenced(Tail),
    Unknown(Tail),
    /// Surely not written: no server takes as many bytes.
    TooLarge(usize),
    /// The journal was closed before it was known.
    Closed,
}

impl Shared {
    pub(super) async fn carry(&self, lane: &Lane, mut attempt: Attempt, message: Bytes) -> Outcome {
        let mut course = Course { shared: self, lane, started: Instant::now(), is_late: false };
        let bytes = message.len();
        let mut published = false;
        let mut next = Next::Publish;
        loop {
            let pause = attempt.pause();
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            next = match next {
                Next::Publish => {
                    let expected = Some(attempt.expected().0);
                    match self.nats.append(lane.subject.clone(), expected, message.clone()).await {
                        Answer::Stored(position) => attempt.on_ack(Position(position)),
                        Answer::TooLarge if !published => return Outcome::TooLarge(bytes),
                        Answer::Refused { code, reason } => {
                            published = true;
                            course.trouble(&reason);
                            attempt.on_refused(code)
                        }
                        silent @ (Answer::Silent { .. } | Answer::TooLarge) => {
                            published = true;
                            course.trouble(&silent);
                            self.observer.unknown();
                            attempt.on_timeout()
                        }
                    }
                }
                Next::ReadTail => match self.read_tail(lane).await {
                    Ok(tail) => attempt.on_tail(tail),
                    Err(away) => course.no_answer(&away, &mut attempt),
                },
                Next::ReadNext => match self.read_next(lane, attempt.expected()).await {
                    Ok(found) => attempt.on_next(found),
                    Err(away) => course.no_answer(&away, &mut attempt),
                },
                Next::Wait(blocked) => {
                    course.blocked(&blocked);
                    Next::ReadTail
                }
                Next::Done(position) => {
                    let total = course.started.elapsed();
                    self.observer.committed(&Commit { records: 1, bytes, total, sync: total });
                    return Outcome::Done(position);
                }
                Next::Fenced(tail) => return Outcome::Fenced(tail),
                Next::Unknown(tail) => return Outcome::Unknown(tail),
            };
            if self.standing.is_closed() && !matches!(next, Next::Done(_)) {
                return Outcome::Closed;
            }
        }
    }

    pub(super) async fn read_tail(&self, lane: &Lane) -> Result<Option<Tail>, Away> {
        open_tail(lane, self.nats.last(&lane.stream, &lane.subject).await?)
    }

    async fn read_next(&self, lane: &Lane, expected: Position) -> Result<Option<Tail>, Away> {
        open_tail(lane, self.nats.first_from(&lane.stream, &lane.subject, expected.0 + 1).await?)
    }
}

fn open_tail(lane: &Lane, stored: Option<Stored>) -> Result<Option<Tail>, Away> {
    stored.map(|stored| open(lane, &stored).map(|envelope| envelope.tail(Position(stored.position)))).transpose()
}

pub(super) fn open(lane: &Lane, stored: &Stored) -> Result<Envelope, Away> {
    Envelope::open_at(lane.shard, &stored.payload)
        .map_err(|error| Away::new(format_args!("{} at {}", lane.subject, stored.position), error))
}

/// One append under way, and whether the journal's health says that it is late.
struct Course<'a> {
    shared: &'a Shared,
    lane: &'a Lane,
    started: Instant,
    is_late: bool,
}

impl Course<'_> {
    fn no_answer(&mut self, away: &Away, attempt: &mut Attempt) -> Next {
        self.trouble(away);
        attempt.on_timeout()
    }

    /// Something went wrong that mostly passes; it is told when it has lasted.
    fn trouble(&mut self, why: &dyn fmt::Display) {
        if self.started.elapsed() >= self.shared.nats.options().timeout {
            self.tell(why);
        }
    }

    /// Something that does not pass by itself.
    fn blocked(&mut self, why: &dyn fmt::Display) {
        self.tell(why);
    }

    fn tell(&mut self, why: &dyn fmt::Display) {
        self.is_late = true;
        self.shared.standing.late(self.lane.shard, why.to_string());
    }
}

impl Drop for Course<'_> {
    fn drop(&mut self) {
        if self.is_late {
            self.shared.standing.answered(self.lane.shard);
        }
    }
}
