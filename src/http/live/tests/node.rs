//! A node with live sessions, and clients of them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Data};
use actix_web::{App, HttpServer};
use actors::ids::EventId;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::super::{Agreed, Live, Settings, limit_unread};
use crate::board::fixture::{self, EVENT, description, opening, seated, standing};
use crate::board::{Board, Observer};
use crate::http::tests::Office;

pub(super) const SETTINGS: Settings = Settings {
    sessions_max: 100,
    queue_max: 256,
    counts_interval: Duration::from_millis(20),
    idle_timeout: Duration::from_secs(60),
};

/// How long a client may take nothing off its connection, but in the test of it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(in crate::http) struct Sessions {
    pub(in crate::http) open: watch::Sender<usize>,
    pub(super) resynced: watch::Sender<usize>,
}

impl Observer for Sessions {
    fn sessions(&self, open: usize) {
        self.open.send_replace(open);
    }

    fn resynced(&self) {
        self.resynced.send_modify(|count| *count += 1);
    }
}

/// Who has the connections of sessions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// actix-web, to the end.
    Actix,
    /// The lane, from the answer to the upgrade on.
    Lane,
}

/// A node with one event: block `A` of 10 rows of 1,000 seats, and a standing block `FLOOR`.
pub(in crate::http) struct Node {
    pub(super) board: Arc<Board>,
    pub(super) address: SocketAddr,
    pub(super) door: Door,
    pub(super) sessions: Arc<Sessions>,
    /// How many connections have ended.
    pub(super) ended: watch::Sender<usize>,
}

pub(super) enum Door {
    Actix(Arc<Live>, ServerHandle),
    Lane(Box<Office>),
}

/// Lives as long as a connection.
struct Ending(watch::Sender<usize>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.send_modify(|ended| *ended += 1);
    }
}

pub(super) type Client = WebSocketStream<TcpStream>;

impl Node {
    pub(super) fn start(way: Way, settings: Settings) -> Self {
        match way {
            Way::Actix => Self::with_patience(settings, PATIENCE),
            Way::Lane => Self::with_lane(settings),
        }
    }

    /// The event, and who listens to what becomes of its sessions.
    pub(in crate::http) fn event() -> (Arc<Board>, Arc<Sessions>) {
        let sessions = Arc::new(Sessions { open: watch::Sender::new(0), resynced: watch::Sender::new(0) });
        let (board, _) = fixture::board(sessions.clone());
        board.publish(opening(&description(EVENT, vec![seated("A", 10, 1000), standing("FLOOR", 5000)])));
        (Arc::new(board), sessions)
    }

    fn with_lane(settings: Settings) -> Self {
        let (board, sessions) = Self::event();
        let Settings { sessions_max, queue_max, counts_interval, idle_timeout } = settings;
        let office = Office::with_board(
            &[
                "http.workers=2",
                "http.fast_lane=true",
                &format!("live.sessions_max={sessions_max}"),
                &format!("live.queue_max={queue_max}"),
                &format!("live.counts_interval={}ms", counts_interval.as_millis()),
                &format!("live.idle_timeout={}ms", idle_timeout.as_millis()),
            ],
            board.clone(),
        );
        let address = office.address;
        Self { board, address, door: Door::Lane(Box::new(office)), sessions, ended: watch::Sender::new(0) }
    }

    pub(super) fn with_patience(settings: Settings, unread_max: Duration) -> Self {
        let (board, sessions) = Self::event();
        let live = Arc::new(Live::new(board.clone(), settings));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = live.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(Data::new(shared.hub()))
                .route("/v1/events/{event}/live", web::get().to(super::super::live))
        });
        let ended = watch::Sender::new(0);
        let ending = ended.clone();
        let server = server.workers(2).disable_signals().on_connect(move |io, connection| {
            limit_unread(io, unread_max);
            connection.insert(Ending(ending.clone()));
        });
        let server = server.listen(listener).unwrap().run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { board, address, door: Door::Actix(live, handle), sessions, ended }
    }

    pub(super) async fn connect(&self, query: &str) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.open(stream, query).await
    }

    pub(super) async fn open(&self, stream: TcpStream, query: &str) -> Client {
        let url = format!("ws://{}/v1/events/{EVENT}/live{query}", self.address);
        client_async(url, stream).await.unwrap().0
    }

    pub(super) async fn refusal(&self, path: &str) -> (u16, Value) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let refused = client_async(format!("ws://{}{path}", self.address), stream).await.unwrap_err();
        let Error::Http(response) = refused else { panic!("{refused}") };
        (response.status().as_u16(), serde_json::from_slice(response.body().as_deref().unwrap()).unwrap())
    }

    pub(super) async fn sessions_become(&self, wanted: usize) {
        self.sessions.open.subscribe().wait_for(|open| *open == wanted).await.unwrap();
    }

    /// Ends all sessions.
    pub(super) fn close(&self) {
        match &self.door {
            Door::Actix(live, _) => live.close(),
            Door::Lane(office) => office.state.readiness.stop(),
        }
    }

    pub(super) async fn stop(self) {
        self.close();
        match self.door {
            Door::Actix(_, handle) => handle.stop(false).await,
            Door::Lane(office) => office.close().await,
        }
    }
}

/// The request for a session.
pub(super) fn upgrade(query: &str) -> String {
    format!(
        "GET /v1/events/{EVENT}/live{query} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// The next message that is not a ping.
pub(super) async fn next(client: &mut Client) -> Value {
    loop {
        if let Message::Text(text) = client.next().await.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// The close that ends the session, and its code.
pub(super) async fn closed(client: &mut Client) -> u16 {
    loop {
        if let Message::Close(reason) = client.next().await.unwrap().unwrap() {
            return reason.unwrap().code.into();
        }
    }
}

/// A client that takes little off the wire at a time.
pub(super) async fn narrow(node: &Node) -> TcpStream {
    narrow_to(node.address).await
}

async fn narrow_to(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).await.unwrap()
}

/// A server's side of a connection, and a client's that takes little off the wire.
pub(in crate::http) async fn pair() -> (TcpStream, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = narrow_to(listener.local_addr().unwrap()).await;
    (listener.accept().await.unwrap().0, client)
}

/// A session that follows these blocks of [`Node::event`], or its counts, and has no connection yet.
pub(in crate::http) fn agreed(board: &Arc<Board>, blocks: &[&str]) -> Agreed {
    let live = Arc::new(Live::new(board.clone(), SETTINGS));
    let event = EventId::from(EVENT);
    let replica = board.replica(&event).unwrap();
    let described = replica.described().unwrap();
    let blocks = blocks.iter().map(|block| (described.block(&(*block).into()).unwrap().1.clone(), None)).collect();
    let reader = live.hub().reader((&event, replica), blocks);
    Agreed { reader, settings: SETTINGS, slot: live.admit().ok().unwrap() }
}
