//! Whether there is a connection, told to whoever waits for it.
//!
//! The client is asked for its state again and again. The events that it sends only make that sooner: it drops them when
//! nobody takes them fast enough, so that what was concluded from them could stay wrong for ever.

use std::error::Error as _;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, Event};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::{Away, ConnectError, Inner, Nats, Options, checks};

/// Longest pause between two tries to connect again: a failover must not wait for it.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(250);

/// Time between two looks at the client's state.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The client changes its state just after it has sent the event that says so.
const EVENT_LEAD: Duration = Duration::from_millis(1);

/// Pause before the servers are looked at again after a reconnection, when they did not answer.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Least time between two log lines about dropped messages: every single one is an event.
const DROPS_TOLD_EVERY: Duration = Duration::from_secs(1);

/// What a look at the client shows: whether it is connected, and how often it has connected so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    connected: bool,
    connects: u64,
}

/// Connects to any of the seeds; what it notifies is a hint that the state has changed.
pub(super) async fn open(options: &Options) -> Result<(Client, Arc<Notify>), ConnectError> {
    let hints = Arc::new(Notify::new());
    let (hinted, drops) = (Arc::clone(&hints), Mutex::new(None));
    let wanted = options
        .to_client()
        .await?
        .reconnect_delay_callback(|tries| {
            let doublings = u32::try_from(tries).unwrap_or(u32::MAX).min(8);
            RECONNECT_PAUSE_MAX.min(Duration::from_millis(1) * (1 << doublings))
        })
        .event_callback(move |event| {
            hear(&event, &hinted, &drops);
            std::future::ready(())
        });
    let client = wanted.connect(&options.seeds).await.map_err(|error| not_let_in(options, &error))?;
    Ok((client, hints))
}

/// What a refusal means: a login or a certificate that is not accepted stays so.
fn not_let_in(options: &Options, error: &async_nats::ConnectError) -> ConnectError {
    use async_nats::ConnectErrorKind as Kind;
    match error.kind() {
        Kind::AuthorizationViolation | Kind::Authentication => ConnectError::unsuitable(format!(
            "NATS does not know this node ({error}): set `cluster.nats.username` and `cluster.nats.password`, or \
             `cluster.nats.credentials_file`, to those of a user of its servers"
        )),
        Kind::Tls => tls_refused(error),
        Kind::Io if is_of_tls(error) => tls_refused(error),
        Kind::ServerParse | Kind::Dns | Kind::TimedOut | Kind::Io | Kind::MaxReconnects => ConnectError::Unreachable(
            format!("no NATS server of `cluster.seeds` {:?} lets us in: {error}", options.seeds),
        ),
    }
}

fn tls_refused(error: &async_nats::ConnectError) -> ConnectError {
    ConnectError::unsuitable(format!(
        "no TLS with NATS ({error}): `cluster.nats.ca_file` must hold the authorities that signed its servers' certificates, \
         `cluster.nats.cert_file` and `cluster.nats.key_file` a certificate that the servers accept, if they ask for one"
    ))
}

/// Whether the peers did not agree on certificates, which the library calls invalid data; a connection that merely broke is
/// something else.
fn is_of_tls(error: &async_nats::ConnectError) -> bool {
    let causes = std::iter::successors(error.source(), |cause| {
        let cause: &(dyn std::error::Error + 'static) = *cause;
        cause.source()
    });
    causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| cause.kind() == io::ErrorKind::InvalidData)
}

fn hear(event: &Event, hints: &Notify, drops: &Mutex<Option<Instant>>) {
    match event {
        Event::Connected | Event::Disconnected | Event::Closed => hints.notify_one(),
        Event::SlowConsumer(_) => {
            let mut told = drops.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_none_or(|at| at.elapsed() >= DROPS_TOLD_EVERY) {
                *told = Some(Instant::now());
                warn!(%event, "messages from NATS were dropped because they came too fast");
            }
        }
        Event::ServerError(_) | Event::ClientError(_) => warn!(%event, "NATS"),
        Event::LameDuckMode | Event::Draining => info!(%event, "NATS"),
    }
}

/// Looks after the connection for as long as somebody uses it.
pub(super) fn look_after(nats: &Nats, hints: Arc<Notify>) {
    let (inner, told) = (Arc::downgrade(&nats.0), nats.0.connected.clone());
    tokio::spawn(look_after_reconnections(inner.clone(), nats.connected()));
    tokio::spawn(async move { follow(|| inner.upgrade().map(|inner| inner.seen()), &told, &hints).await });
}

/// A reconnection between two looks is told too, although the connection is there before and after it.
async fn follow(look: impl Fn() -> Option<Seen>, told: &watch::Sender<bool>, hints: &Notify) {
    let mut last = Seen { connected: *told.borrow(), connects: 1 };
    while let Some(seen) = look() {
        if seen != last {
            match seen.connected {
                true => info!(connects = seen.connects, "connected to NATS"),
                false => warn!("no connection to NATS"),
            }
            told.send_replace(seen.connected);
            last = seen;
        }
        if timeout(LOOK_EVERY, hints.notified()).await.is_ok() {
            sleep(EVENT_LEAD).await;
        }
    }
}

impl Inner {
    fn seen(&self) -> Seen {
        let connects = self.client.statistics().connects.load(Ordering::Relaxed);
        Seen { connected: self.client.connection_state() == State::Connected, connects }
    }
}

impl Nats {
    /// Waits for the connection. Without it the client only keeps what it is given, for later and for nobody: whoever
    /// tries again and again would fill it up.
    pub(super) async fn connection(&self) -> Result<(), Away> {
        let is_there = || self.0.seen().connected;
        match until(self.options().timeout, is_there, self.connected()).await {
            true => Ok(()),
            false => Err(Away::new("NATS", "no connection")),
        }
    }
}

/// Waits until `is_there`, whatever was told about it; false after `most`.
async fn until(most: Duration, is_there: impl Fn() -> bool, mut told: watch::Receiver<bool>) -> bool {
    if is_there() {
        return true;
    }
    let wait = async {
        while !is_there() {
            // An end of the telling is no answer either.
            if !matches!(timeout(LOOK_EVERY, told.changed()).await, Ok(Ok(()))) {
                sleep(EVENT_LEAD).await;
            }
        }
    };
    timeout(most, wait).await.is_ok()
}

/// Servers may be replaced while a node runs: after every reconnection they have to stand the same tests again.
async fn look_after_reconnections(inner: Weak<Inner>, mut connected: watch::Receiver<bool>) {
    // The first connection is looked at by whoever makes it.
    while connected.changed().await.is_ok() {
        while *connected.borrow_and_update() {
            let Some(inner) = inner.upgrade() else { return };
            let nats = Nats(inner);
            match look(&nats).await {
                Ok(()) => {
                    nats.0.distrust.send_if_modified(|distrust| distrust.take().is_some());
                    break;
                }
                Err(ConnectError::Unsuitable(reason)) => {
                    error!(reason, "NATS must not be written to");
                    nats.0.distrust.send_replace(Some(reason));
                }
                Err(ConnectError::Unreachable(_)) => {}
            }
            drop(nats);
            sleep(LOOK_AGAIN).await;
        }
    }
}

async fn look(nats: &Nats) -> Result<(), ConnectError> {
    checks::of_this_server(nats)?;
    nats.still_there().await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::atomic::{AtomicBool, AtomicU64};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A client whose events are all lost.
    #[derive(Default)]
    struct Mute {
        connected: AtomicBool,
        connects: AtomicU64,
    }

    impl Mute {
        fn set(&self, connected: bool, connects: u64) {
            self.connected.store(connected, Ordering::SeqCst);
            self.connects.store(connects, Ordering::SeqCst);
        }

        fn seen(&self) -> Seen {
            Seen { connected: self.connected.load(Ordering::SeqCst), connects: self.connects.load(Ordering::SeqCst) }
        }
    }

    #[tokio::test]
    async fn changes_are_told_although_every_event_is_lost() {
        let client = Arc::new(Mute::default());
        client.set(true, 1);
        let told = watch::Sender::new(true);
        let (mut heard, looked_at) = (told.subscribe(), Arc::clone(&client));
        tokio::spawn(async move { follow(|| Some(looked_at.seen()), &told, &Notify::new()).await });
        // Away, back, and away and back between two looks.
        for (connected, connects) in [(false, 1), (true, 2), (true, 3)] {
            client.set(connected, connects);
            timeout(PATIENCE, heard.changed()).await.unwrap().unwrap();
            assert_eq!(*heard.borrow_and_update(), connected);
        }
    }

    #[tokio::test]
    async fn a_connection_is_waited_for_by_its_state_and_not_by_what_was_told() {
        let wrongly_told = watch::Sender::new(false);
        assert!(until(PATIENCE, || true, wrongly_told.subscribe()).await);
        wrongly_told.send_replace(true);
        assert!(!until(Duration::from_millis(5), || false, wrongly_told.subscribe()).await);
    }
}
