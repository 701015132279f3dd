//! `GET /v1/cluster`: nodes, shards, owners, epochs, lag, restarts.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use super::ask::answer;
use super::caller::Seller;
use super::problem::Problem;
use super::shapes;

/// The deployment as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = Cluster)]
pub struct ClusterView {
    /// The node that answers.
    #[schema(example = "node-1")]
    pub node: String,
    /// All nodes.
    pub nodes: Vec<NodeView>,
    /// All shards, in order.
    pub shards: Vec<ShardView>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ClusterNode)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// `ready`, `not_ready` or `away`.
    pub state: String,
    /// How many shards it owns.
    pub shards: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Machines that were thrown away after a panic and rebuilt, since the node started.
    pub restarts: u64,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ClusterShard)]
pub struct ShardView {
    /// Its number.
    pub shard: u16,
    /// The node that owns it; null while nobody does.
    pub owner: Option<String>,
    /// Counts its owners, from 1.
    pub epoch: u64,
    /// The last entry of its journal.
    pub seq: u64,
    /// Entries that the follower has not read yet; null without a follower.
    pub lag: Option<u64>,
    /// Machines that live on it.
    pub machines: u64,
    /// Machines of it that were thrown away after a panic and rebuilt, since the owner started.
    pub restarts: u64,
    /// Why it does not serve at the moment; null when it does.
    pub trouble: Option<String>,
}

/// Nodes and shards.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "Operations",
    responses((status = 200, description = "The deployment as this node sees it", body = ClusterView))
)]
pub(super) async fn show(state: Data<State>, _seller: Seller) -> Result<HttpResponse, Problem> {
    Ok(answer(StatusCode::OK, false).body(shapes::json(&(state.cluster)())))
}
