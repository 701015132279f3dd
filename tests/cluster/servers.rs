//! The NATS servers of the tests: they elect, survive, catch up, and can be cut off. What nodes build on.

use std::time::Duration;

use async_nats::ServerAddr;
use async_nats::jetstream::{self, stream};

use crate::nats::Nats;
use crate::process::{eventually, until};

/// Somebody who writes into a stream of three copies, through all servers.
struct Writer {
    runtime: tokio::runtime::Runtime,
    jetstream: jetstream::Context,
}

const STREAM: &str = "journal";
/// How long a writer waits for an answer before it looks what became of its message.
const ANSWER_MAX: Duration = Duration::from_secs(1);

impl Writer {
    /// Makes the stream.
    fn new(nats: &Nats) -> Self {
        let writer = Self::at(nats.urls());
        let config = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec!["journal.>".to_owned()],
            num_replicas: nats.places().len(),
            ..stream::Config::default()
        };
        writer.runtime.block_on(writer.jetstream.create_stream(config)).unwrap();
        writer
    }

    fn at(urls: Vec<String>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let jetstream = runtime.block_on(async {
            let urls: Vec<ServerAddr> = urls.iter().map(|url| url.parse().unwrap()).collect();
            let client = async_nats::connect(urls).await.unwrap();
            jetstream::ContextBuilder::new().timeout(ANSWER_MAX).build(client)
        });
        Self { runtime, jetstream }
    }

    /// Writes on condition that `last` is the last message of the subject; gives the message's place.
    fn write(&self, last: u64) -> Option<u64> {
        let message = jetstream::message::PublishMessage::build().payload("seat 7".into());
        let message = message.expected_last_subject_sequence(last);
        let written = async { self.jetstream.send_publish("journal.7", message).await.ok()?.await.ok() };
        self.runtime.block_on(written).map(|ack| ack.sequence)
    }

    /// Writes until it is definite: after an outcome that is not known, looks what is last.
    fn write_surely(&self, last: u64) -> u64 {
        eventually("a write is acknowledged", || self.write(last).or_else(|| self.last().filter(|now| *now > last)))
    }

    fn last(&self) -> Option<u64> {
        self.runtime.block_on(async {
            let stream = self.jetstream.get_stream_no_info(STREAM).await.ok()?;
            Some(stream.get_last_raw_message_by_subject("journal.7").await.ok()?.sequence)
        })
    }
}

#[test]
fn a_lone_server_keeps_what_it_acknowledged() {
    let mut nats = Nats::one();
    let writer = Writer::new(&nats);
    let last = writer.write_surely(0);
    nats.kill(0);
    assert_eq!(writer.write(last), None, "nobody is there");
    nats.start(0);
    nats.await_ready();
    assert_eq!(writer.write_surely(last), last + 1);
}

#[test]
fn three_servers_elect_and_survive_the_loss_of_any_one() {
    let mut nats = Nats::three();
    let writer = Writer::new(&nats);
    let mut last = writer.write_surely(0);
    let first = nats.await_leader(STREAM);
    nats.kill(first);
    last = writer.write_surely(last);
    assert_ne!(nats.await_leader(STREAM), first);
    nats.start(first);
    nats.await_ready();
    let follower = nats.places().find(|place| *place != nats.await_leader(STREAM)).unwrap();
    nats.stop(follower);
    last = writer.write_surely(last);
    nats.wipe(follower);
    nats.start(follower);
    nats.await_ready();
    assert_eq!(writer.write(last - 1), None, "a write on a condition that no longer holds");
    assert_eq!(writer.write_surely(last), last + 1);
}

#[test]
fn a_leader_that_is_cut_off_acknowledges_nothing_and_the_others_go_on() {
    let nats = Nats::three();
    let writer = Writer::new(&nats);
    let last = writer.write_surely(0);
    let before = nats.await_leader(STREAM);
    nats.isolate(before);
    let other = nats.places().find(|place| *place != before).unwrap();
    until("the others elect", || nats.leader_seen_by(other, STREAM).is_some_and(|leader| leader != before));
    assert_eq!(Writer::at(vec![nats.url(before)]).write(last), None, "a leader without a majority");
    let beside = Writer::at(vec![nats.url(other)]);
    let last = beside.write_surely(last);
    nats.rejoin(before);
    nats.await_ready();
    until("it has caught up", || nats.leader_seen_by(before, STREAM) == nats.leader_seen_by(other, STREAM));
    assert_eq!(writer.write_surely(last), last + 1);
}

#[test]
fn a_paused_server_comes_back_where_it_was() {
    let nats = Nats::three();
    let writer = Writer::new(&nats);
    let last = writer.write_surely(0);
    let leader = nats.await_leader(STREAM);
    nats.pause(leader);
    let other = nats.places().find(|place| *place != leader).unwrap();
    until("the others elect", || nats.leader_seen_by(other, STREAM).is_some_and(|now| now != leader));
    nats.resume(leader);
    nats.await_ready();
    assert_eq!(writer.write_surely(last), last + 1);
}
