//! `GET /v1/cluster`: nodes, shards, owners, epochs, lag, restarts.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use actors::address::Kind;
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use super::ask::answer;
use super::caller::Seller;
use super::problem::Problem;
use super::shapes::{self, time};
use crate::cluster::presence::Phase;
use crate::cluster::{self, Cluster, Member, ShardOwner};
use crate::dispatch::{ShardView, View};

/// What an epoch counts on one node: its owner never changes.
const EPOCH_ALONE: u64 = 1;

/// The deployment as one node sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cluster)]
pub(super) struct ClusterAnswer<'a> {
    /// The node that answers.
    #[schema(example = "node-1")]
    node: &'a str,
    /// All living nodes, by name.
    nodes: Vec<NodeAnswer<'a>>,
    /// All shards, in order.
    shards: Vec<ShardAnswer<'a>>,
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClusterNode)]
struct NodeAnswer<'a> {
    /// Its name.
    #[schema(example = "node-1")]
    name: &'a str,
    /// `ready` or `not_ready`; of another node `ready`, `joining` or `leaving`.
    #[schema(example = "ready")]
    state: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Where its API is reached, as it says.
    #[schema(example = "127.0.0.1:8080")]
    address: String,
    /// How many shards it owns.
    shards: usize,
    /// What only the node itself knows; absent for others.
    #[serde(flatten)]
    inside: Option<InsideAnswer>,
}

/// What only the answering node knows of itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClusterNodeInside)]
struct InsideAnswer {
    /// Threads that run its machines.
    threads: usize,
    /// Its machines by kind.
    machines: MachinesAnswer,
    /// Machines that panicked and were rebuilt since it started, by kind.
    restarts: MachinesAnswer,
}

/// A number for each kind of machine.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClusterMachines)]
struct MachinesAnswer {
    event_desk: u64,
    seat_block: u64,
    order_desk: u64,
    payment_desk: u64,
    notifier: u64,
}

/// A shard.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClusterShard)]
struct ShardAnswer<'a> {
    /// Its number.
    shard: u16,
    /// The node that owns it; null between two owners.
    owner: Option<&'a str>,
    /// Counts its owners, from 1; 0 before the first.
    epoch: u64,
    /// Its last durable journal record, as its owner last told.
    seq: u64,
    /// The node that is ready to take it over; null without one.
    follower: Option<&'a str>,
    /// Records that its follower has not read yet; null without a follower.
    lag: Option<u64>,
    /// What only its owner knows; absent for shards of other nodes.
    #[serde(flatten)]
    here: Option<HereAnswer>,
}

/// What the answering node knows of a shard that it owns.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClusterShardHere)]
struct HereAnswer {
    /// The thread that runs it, from 0.
    thread: usize,
    /// Whether it takes commands; otherwise it only answers reads.
    writable: bool,
    /// When all of it was last in snapshots, RFC 3339; null: not since it came here.
    #[schema(format = DateTime)]
    snapshot_at: Option<String>,
    /// Machines that live on it.
    machines: u64,
    /// Commands that wait for their turn.
    queued: u64,
    /// Machines of it that panicked and were rebuilt since the node started.
    restarts: u64,
}

/// Nodes, shards, owners, epochs, lag, restarts.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "Operations",
    responses((status = 200, description = "The deployment as this node sees it", body = ClusterAnswer))
)]
pub(super) async fn show(state: Data<State>, _seller: Seller) -> Result<HttpResponse, Problem> {
    let (view, cluster) = (state.dispatch.view(), state.dispatch.cluster().map(Cluster::view));
    let name = state.config.node.name.as_str();
    let answered = match cluster.as_deref() {
        None => ClusterAnswer {
            node: name,
            nodes: vec![this_node(&state, &view, state.config.http.listen.to_string(), view.shards.len())],
            shards: view.shards.iter().map(|shard| alone(name, shard)).collect(),
        },
        Some(cluster) => ClusterAnswer {
            node: name,
            nodes: cluster.nodes.iter().map(|member| node(&state, &view, cluster, member)).collect(),
            shards: cluster.shards.iter().map(|shard| owned(&view, shard)).collect(),
        },
    };
    Ok(answer(StatusCode::OK, false).body(shapes::json(&answered)))
}

fn this_node<'a>(state: &'a State, view: &View, address: String, shards: usize) -> NodeAnswer<'a> {
    let reason = state.readiness.reason().map(|reason| reason.to_string());
    NodeAnswer {
        name: state.config.node.name.as_str(),
        state: if reason.is_none() { "ready" } else { "not_ready" },
        reason,
        address,
        shards,
        inside: Some(InsideAnswer {
            threads: view.arbiters,
            machines: by_kind(|kind| view.cells().of(kind)),
            restarts: by_kind(|kind| view.restarts().of(kind)),
        }),
    }
}

fn node<'a>(state: &'a State, view: &View, cluster: &'a cluster::View, member: &'a Member) -> NodeAnswer<'a> {
    let owns = |shard: &&ShardOwner| shard.owner.as_ref().is_some_and(|(name, _)| *name == member.node.name);
    let shards = cluster.shards.iter().filter(owns).count();
    if member.node.name == state.config.node.name {
        return this_node(state, view, member.address.clone(), shards);
    }
    NodeAnswer {
        name: &member.node.name,
        state: match member.phase {
            Phase::Serving => "ready",
            phase @ (Phase::Joining | Phase::Leaving | Phase::Deaf) => phase.as_str(),
        },
        reason: None,
        address: member.address.clone(),
        shards,
        inside: None,
    }
}

fn alone<'a>(name: &'a str, shard: &ShardView) -> ShardAnswer<'a> {
    let (owner, seq) = (Some(name), shard.durable.0);
    ShardAnswer {
        shard: shard.shard.0,
        owner,
        epoch: EPOCH_ALONE,
        seq,
        follower: None,
        lag: None,
        here: Some(here(shard)),
    }
}

fn owned<'a>(view: &View, shard: &'a ShardOwner) -> ShardAnswer<'a> {
    let local = view.shards.get(usize::from(shard.shard.0)).filter(|local| local.hosted);
    ShardAnswer {
        shard: shard.shard.0,
        owner: shard.owner.as_ref().map(|(name, _)| name.as_str()),
        epoch: shard.owner.as_ref().map_or(0, |(_, epoch)| *epoch),
        seq: shard.seq,
        follower: shard.follower.as_ref().map(|(name, _)| name.as_str()),
        lag: shard.lag(),
        here: local.map(here),
    }
}

fn here(shard: &ShardView) -> HereAnswer {
    let sum = |of: &dyn Fn(Kind) -> u64| Kind::ALL.into_iter().map(of).sum();
    HereAnswer {
        thread: shard.arbiter,
        writable: shard.writable,
        snapshot_at: shard.snapshot_at.map(time),
        machines: sum(&|kind| shard.cells.of(kind)),
        queued: sum(&|kind| shard.queued.of(kind)),
        restarts: sum(&|kind| shard.restarts.of(kind)),
    }
}

fn by_kind(of: impl Fn(Kind) -> u64) -> MachinesAnswer {
    MachinesAnswer {
        event_desk: of(Kind::Event),
        seat_block: of(Kind::Block),
        order_desk: of(Kind::Orders),
        payment_desk: of(Kind::Payments),
        notifier: of(Kind::Notifier),
    }
}
