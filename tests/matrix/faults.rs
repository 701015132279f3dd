//! The faults of the matrix: what is done, to whom, and how it is undone.

use std::fmt;

use crate::nodes::{Cluster, placed};
use crate::process::eventually;
use crate::proxy::Way;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// kill -9 and a new start; of a link: all its connections are closed.
    Kill,
    /// SIGSTOP and SIGCONT; of a link: nothing comes back for so long.
    Pause,
    /// Cut off from the network and mended.
    Isolate,
}

/// To whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The node that owns shard 0.
    Owner,
    /// The node that is ready to take shard 0 over.
    Follower,
    /// The NATS server that leads the stream of shard 0.
    NatsLeader,
    /// Another one.
    NatsFollower,
    /// All nodes and all servers.
    All,
    /// What is between buyers and the owner of shard 0.
    ClientLink,
}

pub(crate) const DEEDS: [Deed; 3] = [Deed::Kill, Deed::Pause, Deed::Isolate];
pub(crate) const TARGETS: [Target; 6] =
    [Target::Owner, Target::Follower, Target::NatsLeader, Target::NatsFollower, Target::All, Target::ClientLink];

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Deed::Kill => "kill",
            Deed::Pause => "pause",
            Deed::Isolate => "isolate",
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Target::Owner => "owner",
            Target::Follower => "follower",
            Target::NatsLeader => "NATS leader",
            Target::NatsFollower => "NATS follower",
            Target::All => "all",
            Target::ClientLink => "client link",
        })
    }
}

/// Who is struck, by place.
#[derive(Debug, Default)]
pub(crate) struct Struck {
    nodes: Vec<usize>,
    servers: Vec<usize>,
    fronts: Vec<usize>,
}

impl Struck {
    /// Whether a buyer at this node may feel it directly.
    pub(crate) fn touches(&self, node: usize) -> bool {
        self.nodes.contains(&node) || self.fronts.contains(&node)
    }
}

/// Who that is just now.
pub(crate) fn strikes(cluster: &Cluster, target: Target, owners: &[usize]) -> Struck {
    let leader = || cluster.nats.await_leader("stampede-journal-0");
    match target {
        Target::Owner => Struck { nodes: vec![owners[0]], ..Struck::default() },
        Target::Follower => Struck { nodes: vec![follower(cluster)], ..Struck::default() },
        Target::NatsLeader => Struck { servers: vec![leader()], ..Struck::default() },
        Target::NatsFollower => Struck { servers: vec![(leader() + 1) % 3], ..Struck::default() },
        Target::All => Struck { nodes: vec![0, 1, 2], servers: vec![0, 1, 2], fronts: Vec::new() },
        Target::ClientLink => Struck { fronts: vec![owners[0]], ..Struck::default() },
    }
}

#[track_caller]
fn follower(cluster: &Cluster) -> usize {
    eventually("a follower", || {
        let seen = cluster.node(0).organizer().get("/v1/cluster").expect(200);
        placed(seen["shards"][0]["follower"].as_str()?)
    })
}

/// Begins a fault.
pub(crate) fn begin(cluster: &mut Cluster, deed: Deed, struck: &Struck) {
    for server in &struck.servers {
        match deed {
            Deed::Kill => cluster.nats.kill(*server),
            Deed::Pause => cluster.nats.pause(*server),
            Deed::Isolate => cluster.nats.isolate(*server),
        }
    }
    for node in &struck.nodes {
        match deed {
            Deed::Kill => cluster.node_mut(*node).kill(),
            Deed::Pause => cluster.node(*node).pause(),
            Deed::Isolate => cluster.node(*node).isolate(),
        }
    }
    for front in struck.fronts.iter().map(|node| &cluster.node(*node).front) {
        match deed {
            Deed::Kill => front.sever(),
            Deed::Pause => front.cut(Way::Back),
            Deed::Isolate => front.cut_both_ways(),
        }
    }
}

/// Ends it.
pub(crate) fn end(cluster: &mut Cluster, deed: Deed, struck: &Struck) {
    for server in &struck.servers {
        match deed {
            Deed::Kill => cluster.nats.start(*server),
            Deed::Pause => cluster.nats.resume(*server),
            Deed::Isolate => cluster.nats.rejoin(*server),
        }
    }
    for node in &struck.nodes {
        match deed {
            Deed::Kill => cluster.node_mut(*node).launch(),
            Deed::Pause => cluster.node(*node).resume(),
            Deed::Isolate => cluster.node(*node).mend(),
        }
    }
    struck.fronts.iter().for_each(|node| cluster.node(*node).front.mend());
}
