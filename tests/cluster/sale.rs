//! Sales that a cluster goes through while things break, and what they come to: nothing acknowledged is lost, no seat has two
//! owners, and the provider has been paid exactly for what was sold.

use crate::load::{Load, Outcome};
use crate::nodes::Cluster;
use crate::provider::Provider;

/// Settings of nodes that are to meet their rarer moments within seconds: a provider that is quick and not to be relied on.
pub(crate) const HURRIED: [&str; 6] = [
    "payments.timeout=300ms",
    "payments.backoff_min=50ms",
    "payments.simulated.latency_p50=5ms",
    "payments.simulated.latency_p99=50ms",
    "payments.simulated.timeout_after_capture_rate=2%",
    "payments.breaker.failures=10000",
];

/// A sale of everything that the API has for buyers, from connections to all nodes, until it is told to end. Buyers ask
/// another node when one does not answer for three seconds.
const FLAGS: &str = "--connections 12 --mix hold=5,order=4,release=1,order_status=1,availability=1 --blocks 6 \
     --seats 60000 --standing 5000 --customers 5000 --replays 10 --payments tok_ok=8,tok_timeout=1,tok_declined=1 \
     --timeout 3s --give-up 5m --duration 30m --until-eof";

/// How much is asked of the nodes.
pub(crate) enum Pace {
    /// All they can do.
    Rush,
    /// So many requests a second: debug builds on a slow machine have time left for what is measured.
    Calm(u32),
}

/// What all sales of one cluster came to, together.
#[derive(Debug, Default)]
pub(crate) struct Sales {
    audits: Provider,
    pub(crate) runs: u64,
    pub(crate) acknowledged: u64,
    /// Requests that were sent again, with their key, and were answered then.
    pub(crate) retries: u64,
}

impl Sales {
    /// Begins a sale that is audited at its end; no two are the same.
    pub(crate) fn begin(&self, cluster: &Cluster, pace: Pace) -> Load {
        let pace = match pace {
            Pace::Rush => "--closed".to_owned(),
            Pace::Calm(rate) => format!("--rate {rate} --min-achieved 0"),
        };
        Load::spread(&cluster.urls(), cluster.organizer_key(), &format!("{FLAGS} {pace} --seed {}", self.runs))
    }

    /// Ends a sale and holds it to its promises.
    #[track_caller]
    pub(crate) fn end(&mut self, cluster: &Cluster, sale: Load) {
        self.judge(cluster, sale.finish());
    }

    /// Holds a sale that has ended to its promises.
    #[track_caller]
    pub(crate) fn judge(&mut self, cluster: &Cluster, ended: Outcome) {
        let report = ended.clean();
        self.runs += 1;
        let retries = report["retries"].as_array().expect("retries");
        self.retries += retries.iter().filter_map(|retry| retry["count"].as_u64()).sum::<u64>();
        self.acknowledged += report["audit"]["acknowledged"].as_u64().expect("a count");
        self.audit(cluster, &format!("{}-1", report["run"].as_str().expect("a run")));
    }

    /// Holds an event to what its audit says and counts its money.
    #[track_caller]
    pub(crate) fn audit(&mut self, cluster: &Cluster, event: &str) {
        let asked = cluster.nodes().find(|node| node.is_running()).expect("a node that runs");
        self.audits.expect(&asked.organizer(), event);
    }

    /// Holds the money of all sales against the provider's books: they must be all that the cluster ever sold.
    #[track_caller]
    pub(crate) fn settle(&self, cluster: &Cluster) {
        assert!(self.acknowledged > 0, "nothing was sold");
        cluster.books_agree_with(&self.audits);
    }
}
