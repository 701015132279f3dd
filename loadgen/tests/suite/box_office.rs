//! A box office that fits in a test: the public API over a standard listener, one thread a connection.
//!
//! `inventory` keeps seats, holds, orders and money; this file speaks HTTP and carries out the misbehaviour that the
//! connection has to do with.

mod inventory;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use inventory::Inventory;
use serde_json::Value;

/// One way to be wrong. Numbers count the requests that it concerns, from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Acts on every nth POST of a customer, then closes without an answer.
    HangUpEvery(u64),
    /// Refuses every nth POST of a customer with `503`, having done nothing.
    BusyEvery(u64),
    /// Refuses every nth POST of a customer with `429` and this `Retry-After` in seconds.
    LimitEvery(u64, u64),
    /// Acts on the nth POST of a customer, then is gone for a while: no listener, no connection, no answer.
    CrashAt(u64, Duration),
    /// Keeps nobody's idempotency keys.
    ForgetKeys,
    /// Acknowledges the nth hold and forgets it.
    LoseHold(u64),
    /// Acknowledges the nth order and forgets it; its holds stay.
    LoseOrder(u64),
    /// Refuses the first orders, this many, for their customers' limit.
    RefuseOrders(usize),
    /// Gives the nth hold the seats of the hold before it.
    DoubleSeat(u64),
    /// Lets the nth hold expire at once, without a reason.
    ExpireEarly(u64),
    /// Captures one cent too much.
    MiscountMoney,
    /// Finds something wrong with itself.
    ConfessViolation,
    /// Writes every answer in pieces of so many bytes.
    Dribble(usize),
    /// Stands still once, at the nth read of availability.
    StallAt(u64, Duration),
    /// Answers reads of availability with those of another event.
    WrongBody,
    /// Ends the body of availability too early, and gives the length that it then has.
    CutBody,
    /// Gives the length of the whole body of availability and sends less.
    ShortBody,
}

/// A running box office; it closes when dropped.
pub(crate) struct BoxOffice {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    inventory: Arc<Mutex<Inventory>>,
    faults: Vec<Fault>,
    posts: AtomicU64,
    keys: Mutex<Vec<String>>,
    reads: AtomicU64,
    crashed: Mutex<Option<Duration>>,
    streams: Mutex<Vec<TcpStream>>,
    closed: AtomicBool,
}

/// A request, read.
struct Request {
    method: String,
    path: String,
    customer: Option<String>,
    key: Option<String>,
    body: Value,
}

/// An answer, to be written.
pub(crate) struct Reply {
    status: u16,
    body: String,
    /// Bytes at the end of the body that its length counts and nobody sends.
    withheld: usize,
}

impl Reply {
    fn new(status: u16, body: impl ToString) -> Self {
        Self { status, body: body.to_string(), withheld: 0 }
    }

    fn refuse(status: u16, code: &str) -> Self {
        Self::new(status, serde_json::json!({"status": status, "code": code}))
    }
}

impl BoxOffice {
    /// Opens on a free port.
    pub(crate) fn open(faults: &[Fault]) -> Self {
        Self::serve_from(Arc::new(Mutex::new(Inventory::new(faults))), faults)
    }

    /// Another node of this box office, with connections and misbehaviour of its own.
    pub(crate) fn beside(&self, faults: &[Fault]) -> Self {
        Self::serve_from(self.shared.inventory.clone(), faults)
    }

    fn serve_from(inventory: Arc<Mutex<Inventory>>, faults: &[Fault]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            inventory,
            faults: faults.to_vec(),
            posts: AtomicU64::new(0),
            keys: Mutex::default(),
            reads: AtomicU64::new(0),
            crashed: Mutex::new(None),
            streams: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
        });
        let serving = shared.clone();
        thread::spawn(move || serving.accept(listener, address));
        Self { address, shared }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The idempotency keys of all that was asked here, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.shared.keys.lock().unwrap().clone()
    }

    /// Holds that were ever given.
    pub(crate) fn holds_given(&self) -> usize {
        self.shared.inventory.lock().unwrap().holds_given()
    }

    /// Orders that were ever taken.
    pub(crate) fn orders_taken(&self) -> usize {
        self.shared.inventory.lock().unwrap().orders_taken()
    }
}

impl Drop for BoxOffice {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.hang_up_on_everybody();
        // Wakes the listener, which then sees that it is closed.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn accept(self: Arc<Self>, mut listener: TcpListener, address: SocketAddr) {
        while let Ok((stream, _)) = listener.accept() {
            if self.closed.load(Ordering::SeqCst) {
                return;
            }
            if let Some(gone_for) = self.crashed.lock().unwrap().take() {
                drop((stream, listener));
                self.hang_up_on_everybody();
                thread::sleep(gone_for);
                listener = bind_again(address);
                continue;
            }
            self.streams.lock().unwrap().push(stream.try_clone().unwrap());
            let serving = self.clone();
            thread::spawn(move || serving.serve(stream));
        }
    }

    fn hang_up_on_everybody(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let request = read_request(&mut reader)?;
            let number = self.number_of(&request);
            self.keys.lock().unwrap().extend(request.key.clone());
            if let Some(reply) = self.turned_away(number) {
                self.write(&mut stream, &reply)?;
                continue;
            }
            let is_availability = request.path.ends_with("/availability");
            if is_availability {
                self.stall();
            }
            let mut reply = self.inventory.lock().unwrap().act(&request);
            if is_availability {
                self.spoil(&mut reply);
            }
            if self.hangs_up(number, stream.local_addr().ok()?) {
                stream.shutdown(Shutdown::Both).ok()?;
                return None;
            }
            self.write(&mut stream, &reply)?;
        }
    }

    /// The number of a customer's POST.
    fn number_of(&self, request: &Request) -> u64 {
        let counts = request.method == "POST" && request.customer.is_some();
        if counts { self.posts.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 }
    }

    fn turned_away(&self, number: u64) -> Option<Reply> {
        self.faults.iter().find_map(|fault| match fault {
            Fault::BusyEvery(n) if number > 0 && number.is_multiple_of(*n) => Some(Reply::refuse(503, "overloaded")),
            Fault::LimitEvery(n, after) if number > 0 && number.is_multiple_of(*n) => {
                let mut reply = Reply::refuse(429, "rate_limited");
                reply.body = format!("{{\"code\":\"rate_limited\",\"retry_after_ms\":{}}}", after * 1000);
                Some(reply)
            }
            _ => None,
        })
    }

    fn stall(&self) {
        let number = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
        for fault in &self.faults {
            if let Fault::StallAt(n, span) = fault
                && number == *n
            {
                let _everybody_waits = self.inventory.lock().unwrap();
                thread::sleep(*span);
            }
        }
    }

    fn spoil(&self, reply: &mut Reply) {
        for fault in &self.faults {
            match fault {
                Fault::WrongBody => reply.body = serde_json::json!({"event": "another", "blocks": []}).to_string(),
                Fault::CutBody => reply.body.truncate(reply.body.len() / 2),
                Fault::ShortBody => reply.withheld = 1,
                _ => {}
            }
        }
    }

    fn hangs_up(&self, number: u64, address: SocketAddr) -> bool {
        self.faults.iter().any(|fault| match fault {
            Fault::HangUpEvery(n) => number > 0 && number.is_multiple_of(*n),
            Fault::CrashAt(n, gone_for) if number == *n => {
                *self.crashed.lock().unwrap() = Some(*gone_for);
                // Wakes the listener, which then goes away.
                let _ = TcpStream::connect(address);
                true
            }
            _ => false,
        })
    }

    fn write(&self, stream: &mut TcpStream, reply: &Reply) -> Option<()> {
        let head = format!("HTTP/1.1 {} x\r\nx-request-id: 1\r\n", reply.status);
        let chunked = reply.body.lines().count() > 1;
        let answer = if chunked {
            // Two chunks, as a server streams a ledger.
            let (one, two) = reply.body.split_at(reply.body.len() / 2);
            let sizes = (one.len(), two.len());
            format!(
                "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:X}\r\n{two}\r\n0\r\n\r\n",
                sizes.0, sizes.1
            )
        } else {
            let sent = &reply.body[..reply.body.len() - reply.withheld];
            format!("{head}content-length: {}\r\n\r\n{sent}", reply.body.len())
        };
        let piece = self.faults.iter().find_map(|fault| match fault {
            Fault::Dribble(size) => Some(*size),
            _ => None,
        });
        for part in answer.as_bytes().chunks(piece.unwrap_or(answer.len().max(1))) {
            stream.write_all(part).ok()?;
        }
        Some(())
    }
}

/// The port was ours a moment ago; a client that connects meanwhile may hold it for an instant.
fn bind_again(address: SocketAddr) -> TcpListener {
    loop {
        if let Ok(listener) = TcpListener::bind(address) {
            return listener;
        }
        thread::yield_now();
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut customer, mut key, mut length) = (None, None, 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name {
            "authorization" => customer = customer_of(value),
            "idempotency-key" => key = Some(value.to_owned()),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, customer, key, body: serde_json::from_slice(&body).unwrap_or_default() })
}

/// The customer of a token; none for an organizer's key.
fn customer_of(authorization: &str) -> Option<String> {
    let claims = authorization.strip_prefix("Bearer ")?.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims["sub"].as_str().map(str::to_owned)
}
