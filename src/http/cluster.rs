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

/// What an epoch counts on one node: its owner never changes.
const EPOCH_ALONE: u64 = 1;

/// The deployment as one node sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cluster)]
pub(super) struct ClusterAnswer<'a> {
    /// The node that answers.
    #[schema(example = "node-1")]
    node: &'a str,
    /// All nodes.
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
    /// `ready` or `not_ready`.
    #[schema(example = "ready")]
    state: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How many shards it owns.
    shards: usize,
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
    /// The node that owns it.
    owner: &'a str,
    /// Counts its owners, from 1.
    epoch: u64,
    /// The thread of its owner that runs it, from 0.
    thread: usize,
    /// Its last durable journal record.
    seq: u64,
    /// Records that its follower has not read yet; null without a follower.
    lag: Option<u64>,
    /// Whether it takes commands; otherwise it only answers reads.
    writable: bool,
    /// When all of it was last in snapshots, RFC 3339; null: not since the start.
    #[schema(format = DateTime)]
    snapshot_at: Option<String>,
    /// Machines that live on it.
    machines: u64,
    /// Commands that wait for their turn.
    queued: u64,
    /// Machines of it that panicked and were rebuilt since the start.
    restarts: u64,
}

/// Nodes, shards, owners, epochs, lag, restarts.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "Operations",
    responses((status = 200, description = "The deployment as this node sees it", body = ClusterAnswer))
)]
pub(super) async fn show(state: Data<State>, _seller: Seller) -> Result<HttpResponse, Problem> {
    let view = state.dispatch.view();
    let name = state.config.node.name.as_str();
    let reason = state.readiness.reason().map(|reason| reason.to_string());
    let node = NodeAnswer {
        name,
        state: if reason.is_none() { "ready" } else { "not_ready" },
        reason,
        shards: view.shards.len(),
        threads: view.arbiters,
        machines: by_kind(|kind| view.cells().of(kind)),
        restarts: by_kind(|kind| view.restarts().of(kind)),
    };
    let sum = |of: &dyn Fn(Kind) -> u64| Kind::ALL.into_iter().map(of).sum();
    let shards = view.shards.iter().map(|shard| ShardAnswer {
        shard: shard.shard.0,
        owner: name,
        epoch: EPOCH_ALONE,
        thread: shard.arbiter,
        seq: shard.durable.0,
        lag: None,
        writable: shard.writable,
        snapshot_at: shard.snapshot_at.map(time),
        machines: sum(&|kind| shard.cells.of(kind)),
        queued: sum(&|kind| shard.queued.of(kind)),
        restarts: sum(&|kind| shard.restarts.of(kind)),
    });
    let cluster = ClusterAnswer { node: name, nodes: vec![node], shards: shards.collect() };
    Ok(answer(StatusCode::OK, false).body(shapes::json(&cluster)))
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
