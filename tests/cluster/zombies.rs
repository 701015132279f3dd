//! Owners that are stopped in the middle of things and wake up after others took over: what they believe is old.

use std::time::{Duration, Instant};

use crate::client::{Answer, Client, id};
use crate::journals;
use crate::nodes::{Cluster, SHARDS};
use crate::prober::{Prober, must_be_passing};
use crate::process::eventually;
use crate::sale::{HURRIED, Pace, Sales};

const ROUNDS: usize = 20;
const LEASE: Duration = Duration::from_millis(600);
/// Every so many rounds the owner sleeps for ten leases, in the others for two.
const DEEP_SLEEP_EVERY: usize = 5;
/// Requests of each kind that wait for the owner when it wakes up, and how often each reader asks.
const WAITING: usize = 4;
const LOOKS: usize = 20;

#[test]
fn an_owner_that_wakes_up_too_late_writes_nothing_and_tells_nothing_old() {
    let settings: Vec<&str> = HURRIED.into_iter().chain(["cluster.lease=600ms"]).collect();
    let cluster = Cluster::start(3, &settings);
    let mut sales = Sales::default();
    let sale = sales.begin(&cluster, Pace::Calm(40));
    let mut prober = Prober::open(&cluster, "zombies");
    let mut answers = [0, 0];
    for round in 0..ROUNDS {
        let leases = if round % DEEP_SLEEP_EVERY == DEEP_SLEEP_EVERY - 1 { 10 } else { 2 };
        let [right, refused] = sleeps_and_wakes(&cluster, &mut prober, round, LEASE * leases);
        answers = [answers[0] + right, answers[1] + refused];
    }
    println!("{ROUNDS} zombies: {} answers were right, {} refused, none old", answers[0], answers[1]);
    cluster.await_placement();
    sales.end(&cluster, sale);
    prober.settle(&cluster, &mut sales);
    sales.settle(&cluster);
    println!("journals of one writer at a time: {:?}", journals::read(&cluster.nats));
}

/// One round; how many of the zombie's answers were right and how many it refused to give.
#[track_caller]
fn sleeps_and_wakes(cluster: &Cluster, prober: &mut Prober, round: usize, sleep: Duration) -> [usize; 2] {
    let place = round % 3;
    let owners = cluster.await_placement();
    let (zombie, others) = (cluster.node(place), cluster.others(place));
    let its: Vec<u16> = (0..SHARDS).filter(|shard| owners[usize::from(*shard)] == place).collect();
    let ann = zombie.customer("ann");
    let hold = eventually("a hold", || {
        let answer = prober.try_hold(&ann, its[round % its.len()], &format!("before-{round}"));
        (answer.status == 201).then(|| answer.json())
    });
    let path = format!("/v1/holds/{}", id(&hold));

    zombie.pause();
    let since = Instant::now();
    cluster.await_agreement_of(&others);
    let there = cluster.node(others[0]).customer("ann");
    eventually("the hold is given back", || (there.delete(&path).status < 300).then_some(()));
    let write = |nth: usize| prober.try_hold(&ann.apart(), its[nth % its.len()], &format!("asleep-{round}-{nth}"));
    let write = &write;
    let answers = std::thread::scope(|scope| {
        let looks: Vec<_> = (0..WAITING).map(|_| scope.spawn(|| look(&ann.apart(), &path))).collect();
        let writes: Vec<_> = (0..WAITING).map(|nth| scope.spawn(move || write(nth))).collect();
        // this is the fault itself: it sleeps for so long
        std::thread::sleep(sleep.saturating_sub(since.elapsed()));
        zombie.resume();
        let looks = looks.into_iter().flat_map(|looks| looks.join().expect("looks"));
        let writes = writes.into_iter().map(|write| write.join().expect("a write"));
        looks.chain(writes).collect::<Vec<Answer>>()
    });
    let mut counted = [0, 0];
    for answer in answers {
        match answer.status {
            // The connection may have broken.
            0 => {}
            200 => {
                assert_eq!(answer.json()["state"], "released", "round {round}: an old answer");
                counted[0] += 1;
            }
            201 => {
                prober.note(&answer.json());
                counted[0] += 1;
            }
            _ => {
                must_be_passing(&answer);
                counted[1] += 1;
            }
        }
    }
    counted
}

fn look(client: &Client, path: &str) -> Vec<Answer> {
    (0..LOOKS).map(|_| client.get(path)).collect()
}
