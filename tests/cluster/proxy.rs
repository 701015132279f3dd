//! A link between two parties that a test can cut, slow and mend: a TCP proxy on a loopback port of its own.
//!
//! A cut way holds what is sent, as a network does that drops packets: both ends believe in their connection, and after
//! mending everything arrives, late, as TCP sends again what was lost. Nothing is ever reordered, lost or made up.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks under way on one way of one connection; then the sender is no longer read, as when a window is full.
const CHUNKS_MAX: usize = 64;

/// Carries all links of the test process.
static CARRIER: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime for the links")
});

/// Where somebody can be reached just now; nobody while they are down. Their port may change when they come back.
#[derive(Clone, Default)]
pub(crate) struct Door(Arc<Mutex<Option<SocketAddr>>>);

impl Door {
    pub(crate) fn at(address: SocketAddr) -> Self {
        let door = Self::default();
        door.open(address);
        door
    }

    pub(crate) fn open(&self, address: SocketAddr) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    pub(crate) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the party that connected.
    There,
    /// To the party that connected.
    Back,
}

/// What the link does to what it carries.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    cut_there: bool,
    cut_back: bool,
    delay: Duration,
    /// Connections of an earlier generation are closed.
    generation: u64,
}

impl Weather {
    fn is_cut(&self, way: Way) -> bool {
        match way {
            Way::There => self.cut_there,
            Way::Back => self.cut_back,
        }
    }
}

/// A proxy to one door. Dropping it closes everything that goes through it.
pub(crate) struct Link {
    listen: SocketAddr,
    weather: watch::Sender<Weather>,
    carrying: AbortHandle,
}

impl Link {
    pub(crate) fn to(door: &Door) -> Self {
        let listener = CARRIER.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a free port");
        let listen = listener.local_addr().expect("its address");
        let (weather, seen) = watch::channel(Weather::default());
        let carrying = CARRIER.spawn(accept(listener, door.clone(), seen)).abort_handle();
        Self { listen, weather, carrying }
    }

    /// Where to connect to instead of to the door itself.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listen
    }

    /// From now on nothing arrives this way; new connections do not come about.
    pub(crate) fn cut(&self, way: Way) {
        self.weather.send_modify(|weather| match way {
            Way::There => weather.cut_there = true,
            Way::Back => weather.cut_back = true,
        });
    }

    pub(crate) fn cut_both_ways(&self) {
        self.cut(Way::There);
        self.cut(Way::Back);
    }

    /// From now on everything arrives so much later, each way.
    pub(crate) fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Neither cut nor slow any more: what was held arrives.
    pub(crate) fn mend(&self) {
        self.weather.send_modify(|weather| *weather = Weather { generation: weather.generation, ..Weather::default() });
    }

    /// Closes every connection that there is; new ones may come at once.
    pub(crate) fn sever(&self) {
        self.weather.send_modify(|weather| weather.generation += 1);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

async fn accept(listener: TcpListener, door: Door, weather: watch::Receiver<Weather>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((dialler, _)) = listener.accept().await {
            connections.spawn(connect(dialler, door.clone(), weather.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One connection from its making to its end. A handshake needs both ways; a door that nobody opens refuses.
async fn connect(dialler: TcpStream, door: Door, mut weather: watch::Receiver<Weather>) {
    let generation = weather.borrow().generation;
    let mut severed = weather.clone();
    let carried = async {
        if weather.wait_for(|now| !now.cut_there && !now.cut_back).await.is_err() {
            return;
        }
        let Some(address) = door.address() else { return };
        let Ok(reached) = TcpStream::connect(address).await else { return };
        let (_, _) = (dialler.set_nodelay(true), reached.set_nodelay(true));
        let ((from_dialler, to_dialler), (from_door, to_door)) = (dialler.into_split(), reached.into_split());
        tokio::join!(
            carry(from_dialler, to_door, Way::There, weather.clone()),
            carry(from_door, to_dialler, Way::Back, weather.clone()),
        );
    };
    tokio::select! {
        () = carried => {}
        _ = severed.wait_for(|now| now.generation != generation) => {}
    }
}

/// Everything of one way, in order; its end too.
async fn carry(from: OwnedReadHalf, to: OwnedWriteHalf, way: Way, weather: watch::Receiver<Weather>) {
    let (pass, passed) = mpsc::channel(CHUNKS_MAX);
    tokio::join!(take(from, pass, weather.clone()), deliver(passed, to, way, weather));
}

async fn take(mut from: OwnedReadHalf, pass: mpsc::Sender<(Instant, Vec<u8>)>, weather: watch::Receiver<Weather>) {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        // an end is passed on as an empty chunk: it travels no faster than the bytes before it
        let read = from.read_buf(&mut chunk).await.unwrap_or(0);
        let due = Instant::now() + weather.borrow().delay;
        if pass.send((due, chunk)).await.is_err() || read == 0 {
            return;
        }
    }
}

async fn deliver(
    mut passed: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut to: OwnedWriteHalf,
    way: Way,
    mut weather: watch::Receiver<Weather>,
) {
    while let Some((due, chunk)) = passed.recv().await {
        tokio::time::sleep_until(due).await;
        let mended = weather.wait_for(|now| !now.is_cut(way)).await.is_ok();
        if !mended || chunk.is_empty() || to.write_all(&chunk).await.is_err() {
            return;
        }
    }
}
