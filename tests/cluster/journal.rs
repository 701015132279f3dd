//! The journal on real servers: one writer a shard, nothing twice, nothing lost, and nothing started over.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actors::time::Millis;
use stampede::config::Config;
use stampede::journal::jetstream::{ClaimError, Claimed, JetStream, Kind, Owner, ReadError, Settings, Tail};
use stampede::journal::{AppendError, Journal, Seq, Shard, Silent, Status, conformance};
use stampede::nats;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::nats::Nats;
use crate::process::{PATIENCE, until};
use crate::proxy::{Link, Way};

const SHARD: Shard = Shard(3);

/// A node as far as the journal is concerned: connection, data directory, threads.
pub(crate) struct Member {
    pub(crate) runtime: Runtime,
    pub(crate) nats: nats::Nats,
    _dir: TempDir,
}

pub(crate) fn threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn config(urls: Vec<String>, replicas: usize) -> Config {
    let mut config = Config::defaults();
    config.cluster.seeds = urls;
    config.cluster.replicas = replicas;
    config
}

pub(crate) fn settings(config: &Config) -> nats::Settings {
    let shards = ("cluster.shards".to_owned(), config.cluster.shards.to_string());
    [shards, ("cluster.streams".to_owned(), config.cluster.streams.to_string())].into()
}

/// Connects, and joins with what `dir` remembers.
pub(crate) async fn join(config: &Config, dir: &TempDir) -> Result<nats::Nats, nats::ConnectError> {
    let options = nats::Options::new(&config.cluster, "node")?;
    let nats = nats::Nats::connect(&options).await?;
    nats.join(settings(config), dir.path()).await?;
    Ok(nats)
}

impl Member {
    pub(crate) fn of(servers: &Nats) -> Member {
        Member::at(servers.urls(), servers.places().len())
    }

    fn at(urls: Vec<String>, replicas: usize) -> Member {
        let (runtime, dir) = (threads(), tempfile::tempdir().unwrap());
        let nats = runtime.block_on(join(&config(urls, replicas), &dir)).unwrap();
        Member { runtime, nats, _dir: dir }
    }

    fn journal(&self) -> Arc<JetStream> {
        let incarnation = rand::random();
        let owner = Owner { name: "node".to_owned(), incarnation };
        let settings = Settings { shards: 64, clock: Arc::new(|| Millis(1_000)), copy: None };
        JetStream::new(self.nats.clone(), self.runtime.handle().clone(), owner, settings, Arc::new(Silent))
    }

    /// A journal that owns `SHARD`.
    fn owner(&self) -> Arc<JetStream> {
        let journal = self.journal();
        self.wait(claim(&journal, SHARD));
        journal
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("in time") })
    }

    #[track_caller]
    fn append(&self, journal: &JetStream, record: &str) -> Result<Seq, AppendError> {
        self.wait(journal.append(SHARD, journal.last(SHARD), record.as_bytes().to_vec()))
    }

    fn tail(&self, journal: &JetStream) -> Option<Tail> {
        self.wait(journal.tail(SHARD)).unwrap()
    }
}

async fn claim(journal: &JetStream, shard: Shard) -> Claimed {
    let tail = journal.tail(shard).await.unwrap();
    journal.claim(shard, &tail).await.unwrap()
}

#[track_caller]
fn records(journal: &JetStream, shard: Shard) -> Vec<String> {
    let mut found = Vec::new();
    journal
        .replay(&[(shard, Seq::NONE)], &mut |_, _, record| {
            found.push(String::from_utf8(record.to_vec())?);
            Ok(())
        })
        .unwrap();
    found
}

fn passes_the_suite(servers: &Nats) {
    let member = Member::of(servers);
    let mut open = || -> Arc<dyn Journal> {
        let journal = member.journal();
        // Whoever opens a journal of a single node owns all of it.
        std::thread::scope(|scope| {
            let claim_all = async {
                for shard in 0..64 {
                    claim(&journal, Shard(shard)).await;
                }
            };
            scope.spawn(|| member.runtime.block_on(claim_all)).join().unwrap();
        });
        journal
    };
    member.runtime.block_on(conformance::run(&mut open));
}

#[test]
fn one_server_keeps_every_rule_of_a_journal() {
    passes_the_suite(&Nats::one());
}

#[test]
fn three_servers_keep_every_rule_of_a_journal() {
    passes_the_suite(&Nats::three());
}

#[test]
fn of_two_with_the_same_expectation_exactly_one_wins_each_of_200_rounds() {
    let servers = Nats::three();
    let (ann, bob) = (Member::of(&servers), Member::of(&servers));
    let journals = [ann.journal(), bob.journal()];
    let mut fenced = 0;
    for round in 0..200 {
        let tail = ann.tail(&journals[0]);
        let claims =
            ann.wait(futures_util::future::join(journals[0].claim(SHARD, &tail), journals[1].claim(SHARD, &tail)));
        let (winner, lost) = match claims {
            (Ok(_), Err(ClaimError::Lost(tail))) => (0, tail),
            (Err(ClaimError::Lost(tail)), Ok(_)) => (1, tail),
            both => panic!("round {round}: {both:?}"),
        };
        assert_eq!(&lost.owner, journals[winner].owner());
        // Both write on what they take for the last record; the loser may have owned the shard before.
        let write = |who: usize| journals[who].append(SHARD, Seq(round), format!("{round}").into_bytes());
        let (won, late) = ann.wait(futures_util::future::join(write(winner), write(1 - winner)));
        assert_eq!(won, Ok(Seq(round + 1)), "round {round}");
        assert!(matches!(late, Err(AppendError::Fenced { .. })), "round {round}: {late:?}");
        fenced += u64::from(journals[1 - winner].epoch(SHARD).is_none());
    }
    assert_eq!(fenced, 200);
    assert_eq!(records(&journals[0], SHARD), (0..200).map(|round| round.to_string()).collect::<Vec<_>>());
}

/// Appends one record after another to four shards until the test has seen enough, through whatever happens.
struct Stream {
    acknowledged: Arc<AtomicU64>,
    writer: std::thread::JoinHandle<u64>,
    enough: Arc<std::sync::atomic::AtomicBool>,
}

impl Stream {
    fn start(journal: &Arc<JetStream>, handle: &tokio::runtime::Handle) -> Stream {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let enough = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (journal, handle) = (Arc::clone(journal), handle.clone());
        let (count, stop) = (Arc::clone(&acknowledged), Arc::clone(&enough));
        let writer = std::thread::spawn(move || {
            let mut rounds = 0;
            while !stop.load(Ordering::SeqCst) {
                let all =
                    (0..4).map(|shard| journal.append(Shard(shard), Seq(rounds), format!("{rounds}").into_bytes()));
                let written = handle.block_on(futures_util::future::join_all(all));
                rounds += 1;
                assert!(written.iter().all(|seq| *seq == Ok(Seq(rounds))), "{written:?}");
                count.store(rounds, Ordering::SeqCst);
            }
            rounds
        });
        Stream { acknowledged, writer, enough }
    }

    #[track_caller]
    fn goes_on(&self) {
        let enough = self.acknowledged.load(Ordering::SeqCst) + 20;
        until("20 more rounds are acknowledged", || self.acknowledged.load(Ordering::SeqCst) >= enough);
    }

    fn end(self) -> u64 {
        self.enough.store(true, Ordering::SeqCst);
        self.writer.join().unwrap()
    }
}

#[test]
fn servers_die_in_the_middle_of_appends_and_nothing_is_twice_or_lost() {
    let mut servers = Nats::three();
    let member = Member::of(&servers);
    let journal = member.journal();
    member.wait(futures_util::future::join_all((0..4).map(|shard| claim(&journal, Shard(shard)))));
    let writing = Stream::start(&journal, member.runtime.handle());
    writing.goes_on();
    for place in servers.places() {
        servers.kill(place);
        writing.goes_on();
        servers.start(place);
        servers.await_ready();
    }
    for place in servers.places() {
        servers.kill(place);
    }
    let health = journal.health();
    until("the journal says that it is away", || matches!(health.borrow().status, Status::Away { .. }));
    for place in servers.places() {
        servers.start(place);
    }
    writing.goes_on();
    until("the journal says that it is back", || health.borrow().status == Status::Serving);
    let rounds = writing.end();
    for shard in 0..4 {
        assert_eq!(records(&journal, Shard(shard)), (0..rounds).map(|round| round.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn a_lost_answer_is_found_and_a_new_owner_between_does_not_make_it_unwritten() {
    let servers = Nats::one();
    let link = Link::to(servers.door(0));
    let far = Member::at(vec![format!("nats://{}", link.address())], 1);
    let near = Member::of(&servers);
    let (first, second) = (far.owner(), near.journal());
    far.append(&first, "before").unwrap();

    link.cut(Way::Back);
    let append = first.append(SHARD, Seq(1), b"its answer is lost".to_vec());
    until("it is stored", || near.tail(&second).is_some_and(|tail| tail.seq == Seq(2)));
    assert_eq!(near.wait(claim(&second, SHARD)).seq, Seq(2));
    near.append(&second, "by the new owner").unwrap();
    link.mend();
    assert_eq!(far.wait(append), Ok(Seq(2)), "it is in the journal, whoever owns it now");

    assert!(matches!(far.append(&first, "too late"), Err(AppendError::Fenced { last: Seq(3), .. })));
    assert!(matches!(far.append(&first, "too late"), Err(AppendError::Fenced { .. })), "from here on without a look");
    assert_eq!(records(&second, SHARD), ["before", "its answer is lost", "by the new owner"]);
}

#[test]
fn a_request_that_was_held_up_and_arrives_after_a_new_claim_changes_nothing() {
    let servers = Nats::one();
    let link = Link::to(servers.door(0));
    let far = Member::at(vec![format!("nats://{}", link.address())], 1);
    let near = Member::of(&servers);
    let (first, second) = (far.owner(), near.journal());
    link.cut(Way::There);
    let append = first.append(SHARD, Seq::NONE, b"held up".to_vec());
    near.wait(claim(&second, SHARD));
    link.mend();
    assert!(matches!(far.wait(append), Err(AppendError::Fenced { .. })));
    assert_eq!(near.append(&second, "new").unwrap(), Seq(1));
    assert_eq!(records(&second, SHARD), ["new"]);
}

#[test]
fn what_was_given_up_is_not_written_and_can_be_claimed_again() {
    let servers = Nats::one();
    let member = Member::of(&servers);
    let journal = member.owner();
    member.append(&journal, "one").unwrap();
    journal.disown(SHARD);
    assert!(matches!(member.append(&journal, "two"), Err(AppendError::Fenced { .. })));
    let claimed = member.wait(claim(&journal, SHARD));
    assert_eq!((claimed.epoch, claimed.seq), (2, Seq(1)));
    assert_eq!(member.append(&journal, "two"), Ok(Seq(2)));
}

#[test]
fn a_record_that_no_server_takes_is_surely_not_written() {
    let servers = Nats::one();
    let member = Member::of(&servers);
    let journal = member.owner();
    let refused = member.wait(journal.append(SHARD, Seq::NONE, vec![0; 8 << 20]));
    assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
    let large = vec![1; member.nats.append_max() - 1_000];
    assert_eq!(member.wait(journal.append(SHARD, Seq::NONE, large)), Ok(Seq(1)));
}

#[test]
fn a_follower_sees_every_message_through_the_death_of_servers() {
    let mut servers = Nats::three();
    let member = Member::of(&servers);
    let (journal, elsewhere) = (member.owner(), Member::of(&servers));
    let follower = elsewhere.journal();
    let mut reader = follower.reader(SHARD, None);
    assert!(!elsewhere.wait(reader.caught_up()).unwrap(), "the claim is to be read");
    let mut seen = Vec::new();
    for round in 0..3 {
        member.append(&journal, &round.to_string()).unwrap();
        while seen.last() != Some(&round.to_string()) {
            // Any failure is followed by another try.
            let Ok(entry) = elsewhere.wait(reader.next()) else { continue };
            if let Kind::Record(record) = entry.envelope.kind {
                seen.push(String::from_utf8(record.to_vec()).unwrap());
            }
        }
        let place = round;
        servers.kill(place);
        servers.await_leader(&member.nats.journal_stream(SHARD.0));
        servers.start(place);
        servers.await_ready();
    }
    assert_eq!(seen, (0..3).map(|round| round.to_string()).collect::<Vec<_>>());
    assert!(elsewhere.wait(reader.caught_up()).unwrap());
}

#[test]
fn a_message_that_cannot_be_read_is_called_that_and_nothing_behind_it_is_given_out() {
    let servers = Nats::one();
    let member = Member::of(&servers);
    let journal = member.owner();
    member.append(&journal, "one").unwrap();
    let foreign = member.nats.append(member.nats.journal_subject(SHARD.0).into(), None, "of a later release".into());
    let nats::Answer::Stored(position) = member.wait(foreign) else { panic!("it is stored") };
    let mut reader = journal.reader(SHARD, None);
    for _ in ["the claim", "one"] {
        member.wait(reader.next()).unwrap();
    }
    for _ in ["at first", "and again"] {
        let refused = member.wait(reader.next()).unwrap_err();
        assert!(matches!(refused, ReadError::Unreadable { position: at, .. } if at.0 == position), "{refused}");
    }
    assert!(reader.position().0 < position);
}

#[test]
fn cutting_deletes_what_it_may_and_never_the_last_message() {
    let servers = Nats::one();
    let member = Member::of(&servers);
    let journal = member.owner();
    for n in 1..=50 {
        member.append(&journal, &n.to_string()).unwrap();
    }
    let cut_to = |to: u64| {
        until("the journal is cut", || {
            journal.truncate(SHARD, Seq(to));
            let whole = journal.replay(&[(SHARD, Seq(to - 1))], &mut |_, _, _| Ok(()));
            to == 50 && whole.is_ok() || whole.is_err()
        });
    };
    cut_to(30);
    let mut left = Vec::new();
    let visit = &mut |_, seq: Seq, _: &[u8]| {
        left.push(seq.0);
        Ok(())
    };
    journal.replay(&[(SHARD, Seq(30))], visit).unwrap();
    assert_eq!(left, (31..=50).collect::<Vec<_>>());
    cut_to(50);
    assert_eq!(member.append(&journal, "51"), Ok(Seq(51)), "its condition was the last message");
    let heir = member.owner();
    assert_eq!(heir.last(SHARD), Seq(51));
}

#[test]
fn servers_that_come_back_empty_are_refused_and_nothing_is_made_anew() {
    let mut servers = Nats::one();
    let (runtime, dir) = (threads(), tempfile::tempdir().unwrap());
    let config = config(servers.urls(), 1);
    let nats = runtime.block_on(join(&config, &dir)).unwrap();
    let member = Member { runtime, nats, _dir: tempfile::tempdir().unwrap() };
    let journal = member.owner();
    member.append(&journal, "sold").unwrap();

    servers.stop(0);
    servers.wipe(0);
    servers.start(0);
    servers.await_ready();
    let append = member.runtime.spawn(journal.append(SHARD, Seq(1), b"must not be first".to_vec()));
    let health = journal.health();
    let says = |text: &str| matches!(&health.borrow().status, Status::Away { reason } if reason.contains(text));
    until("the journal says what happened", || says("came back without their data"));
    assert!(member.wait(journal.tail(SHARD)).is_err());
    let fresh = member.wait(journal.claim(Shard(4), &None));
    assert!(matches!(fresh, Err(ClaimError::Away(_))), "{fresh:?}");

    let again = member.wait(join(&config, &dir)).err().expect("a node that belongs to what is gone");
    assert!(again.to_string().contains("NATS has no deployment"), "{again}");
    let streams = member.wait(futures_util::StreamExt::count(member.nats.jetstream().stream_names()));
    assert_eq!(streams, 0, "nothing was made anew");

    // Somebody starts anew, with an empty directory, under the same name: that is another deployment.
    let anew = Member::at(servers.urls(), 1);
    until("the journal says whose data it is", || says("this node joined") || says("came back without"));
    let stranger = member.wait(join(&config, &dir)).err().expect("a node of another deployment");
    assert!(stranger.to_string().contains("belongs to deployment"), "{stranger}");
    assert!(!append.is_finished(), "neither written nor called unwritten");
    assert_eq!(anew.tail(&anew.journal()), None);
    journal.close();
    let ended = member.wait(append).unwrap();
    assert!(matches!(ended, Err(AppendError::Unanswered)), "{ended:?}");
}

#[test]
fn a_stream_that_does_not_answer_takes_its_own_shards_away_and_no_others() {
    let servers = Nats::one();
    let member = Member::of(&servers);
    let (journal, other) = (member.owner(), Shard(SHARD.0 + 1));
    member.wait(claim(&journal, other));
    member.wait(async {
        member.nats.jetstream().delete_stream(member.nats.journal_stream(SHARD.0)).await.unwrap();
    });
    let mut health = journal.health();
    let append = member.runtime.spawn(journal.append(SHARD, Seq::NONE, b"to nobody".to_vec()));
    let late = async { health.wait_for(|_| matches!(journal.status_of(SHARD), Status::Away { .. })).await.map(drop) };
    member.wait(late).unwrap();
    assert_eq!(
        (journal.status_of(other), journal.health().borrow().status.clone()),
        (Status::Serving, Status::Serving)
    );
    assert_eq!(member.wait(journal.append(other, Seq::NONE, b"as ever".to_vec())), Ok(Seq(1)));
    assert!(!append.is_finished());
}

#[test]
fn a_canary_tells_whether_writes_are_taken() {
    let mut servers = Nats::three();
    let member = Member::of(&servers);
    assert!(member.wait(member.nats.canary("node.1", PATIENCE)).is_ok());
    servers.kill(0);
    servers.kill(1);
    assert!(member.wait(member.nats.canary("node.1", Duration::from_millis(300))).is_err());
    servers.start(0);
    until("writes are taken again", || member.wait(member.nats.canary("node.1", Duration::from_secs(1))).is_ok());
}
