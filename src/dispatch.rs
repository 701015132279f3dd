//! Dispatch: from a request, or from another machine, to the machine that owns the matter.
//!
//! Owns finding the owner and saying what became of an ask. Nothing above this module knows where an owner lives: on one
//! node every owner is local, in a cluster [`crate::cluster`] knows the way. It decides nothing: machines do. See
//! [`crate::runtime`] for how they run, and [`Bundler`] for a thread that serves many who each ask one thing at a time.

mod bundler;

use std::sync::Arc;

use actors::address::Address;
use actors::ids::OrderId;
use actors::keyed::{Asked, KeyDigest};
use actors::message::Message;

use crate::cluster::Cluster;
pub use crate::runtime::{Answered, Answers, Ask, Failure, Found, Outcome, ShardView, View};
use crate::runtime::{Router, Runtime};
pub use bundler::{Asking, Bundler};

/// A handle to every machine of the deployment. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Dispatch {
    local: Router,
    cluster: Option<Cluster>,
}

impl Dispatch {
    /// Every machine is on this node.
    #[must_use]
    pub fn local(runtime: &Runtime) -> Self {
        Self { local: runtime.router().clone(), cluster: None }
    }

    /// The machines are spread over the nodes of a cluster.
    #[must_use]
    pub fn clustered(runtime: &Runtime, cluster: Cluster) -> Self {
        Self { local: runtime.router().clone(), cluster: Some(cluster) }
    }

    /// Asks a machine and waits until its answer is durable.
    ///
    /// # Errors
    /// See [`Failure`]; a refusal is an answer, not an error.
    pub async fn ask(&self, to: Address, asked: Asked<Message>) -> Outcome {
        match &self.cluster {
            // An id from outside may name a shard that there is not: the local router knows what to say to that.
            Some(cluster) if to.shard(self.shards()).0 < self.shards() => cluster.ask(to, asked).await,
            Some(_) | None => self.local.ask(to, asked).await,
        }
    }

    /// Asks many machines at once: exactly one answer for each comes to `answers` under the ask's ticket, in any order, when
    /// it is durable; what is refused at the door has its answer before this returns. Asks of one batch for one machine reach
    /// it in their order. The runtime ends waits that have become too long, so the caller needs no timer. Of a thread that
    /// has a tokio runtime.
    ///
    /// ```no_run
    /// # use stampede::dispatch::{Answered, Answers, Ask, Dispatch};
    /// # async fn serve(dispatch: Dispatch, asks: Vec<Ask>) {
    /// let answers = Answers::new(); // one for a thread or a connection, kept
    /// dispatch.submit(asks, &answers);
    /// let mut taken: Vec<Answered> = Vec::new();
    /// std::future::poll_fn(|context| answers.poll_take(context, &mut taken)).await;
    /// for Answered { ticket, outcome } in taken.drain(..) {
    ///     // the ask with this ticket has this outcome
    ///     # drop((ticket, outcome));
    /// }
    /// # }
    /// ```
    pub fn submit(&self, asks: impl IntoIterator<Item = Ask>, answers: &Arc<Answers>) {
        let Some(cluster) = &self.cluster else {
            return self.local.submit(asks, answers);
        };
        for Ask { to, asked, ticket } in asks {
            if to.shard(self.shards()).0 >= self.shards() {
                self.local.submit([Ask { to, asked, ticket }], answers);
                continue;
            }
            // What the owner did not do is asked again of the next one, so each goes its own way.
            let (cluster, slot) = (cluster.clone(), answers.promise(ticket));
            tokio::spawn(async move { slot.answer(cluster.ask(to, asked).await) });
        }
    }

    /// Tells a machine something; nobody waits for an answer. Lost when the owner is overloaded or away: whoever owes it
    /// tells it again.
    pub fn tell(&self, to: Address, message: Message) {
        match &self.cluster {
            Some(cluster) => cluster.tell(to, message),
            None => self.local.tell(to, message),
        }
    }

    /// Resolves at the next change of an order's state after this call returned its future; a change that cannot be seen
    /// means "look again". An error means that too many are waiting: look again, but after a pause.
    #[must_use]
    pub fn order_changed(&self, order: OrderId) -> tokio::sync::oneshot::Receiver<()> {
        self.local.order_changed(order)
    }

    /// Resolves when the search under this key has its answer: with what it found, which is the answer, or else as above.
    #[must_use]
    pub fn sought(&self, key: KeyDigest) -> tokio::sync::oneshot::Receiver<Found> {
        self.local.sought(key)
    }

    /// How this node's machines stand, for `/v1/cluster` and metrics.
    #[must_use]
    pub fn view(&self) -> View {
        self.local.view()
    }

    /// The node's part in a cluster; `None` for an embedded node.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Number of shards of the deployment.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.local.shards()
    }

    /// Makes the next turn of a machine panic, if `runtime.fault_injection` allows it; says whether it does.
    #[doc(hidden)]
    #[must_use]
    pub fn panic_for_test(&self, address: Address) -> bool {
        self.local.panic_for_test(address)
    }
}
