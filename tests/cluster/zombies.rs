//! Owners that are stopped in the middle of things and wake up after others took over: what they believe is old.

use std::time::{Duration, Instant};

use actors::address::Address;
use serde_json::{Value, json};

use crate::client::{Answer, Client, id, order_body};
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
const WAITING: usize = 6;
const LOOKS: usize = 20;

#[test]
fn an_owner_that_wakes_up_too_late_writes_nothing_and_tells_nothing_old() {
    // what waited while the owner slept is to be answered, not given up
    let settings: Vec<&str> = HURRIED.into_iter().chain(["cluster.lease=600ms", "http.head_timeout=1m"]).collect();
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
    let ann = zombie.customer(&customer_of(&its));
    let hold = held(prober, &ann, its[round % its.len()], &format!("given-back-{round}"));
    let sold = held(prober, &ann, its[round % its.len()], &format!("refunded-{round}"));
    let order = eventually("an order", || {
        let answer = ann.post_with_key("/v1/orders", &format!("order-{round}"), &order_body(&[&sold], "tok_ok"));
        (answer.status == 202).then(|| answer.json())
    });
    ann.await_state(id(&order), "paid");
    let paths = [format!("/v1/holds/{}", id(&hold)), format!("/v1/orders/{}", id(&order))];

    zombie.pause();
    let since = Instant::now();
    cluster.await_agreement_of(&others);
    let there = cluster.node(others[0]);
    let back = there.customer(&customer_of(&its));
    eventually("the hold is given back", || (back.delete(&paths[0]).status < 300).then_some(()));
    let refund = format!("{}/refund", paths[1]);
    eventually("the order is refunded", || (there.organizer().post(&refund, &json!({})).status < 300).then_some(()));
    let write = |nth: usize| prober.try_hold(&ann.apart(), its[nth % its.len()], &format!("asleep-{round}-{nth}"));
    let write = &write;
    let answers = std::thread::scope(|scope| {
        let looks: Vec<_> =
            paths.iter().cycle().take(WAITING).map(|path| scope.spawn(|| look(&ann.apart(), path))).collect();
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
                let state = answer.json()["state"].clone();
                assert!(state != "held" && state != "paid", "round {round}: an old answer: {}", answer.text());
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

/// A customer whose orders live on one of these shards.
fn customer_of(shards: &[u16]) -> String {
    let lives_there = |name: &String| {
        let home = Address::home_of(&name.as_str().into(), SHARDS);
        shards.contains(&home.shard(SHARDS).0)
    };
    (0..).map(|number| format!("ann-{number}")).find(lives_there).expect("one of them does")
}

/// Asks for a place until it is granted.
#[track_caller]
fn held(prober: &Prober, client: &Client, shard: u16, key: &str) -> Value {
    eventually("a hold", || {
        let answer = prober.try_hold(client, shard, key);
        (answer.status == 201).then(|| answer.json())
    })
}

fn look(client: &Client, path: &str) -> Vec<Answer> {
    (0..LOOKS).map(|_| client.get(path)).collect()
}
