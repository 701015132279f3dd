//! The demo: a concert in a stadium of 60,000 and keys that everybody knows, so that a newcomer sees a sale in a minute.

use std::time::Duration;

use actors::address::Address;
use actors::block::{Layout, Row};
use actors::event::{self, BlockSpec, EventSpec, Rules};
use actors::message::Reply;
use actors::money::Currency;
use actors::time::{Millis, Span};
use stampede::config::{Config, KeyDigest, Secret};
use stampede::node::Node;

use super::{Failed, say};

/// The demo's organizer key. Everybody knows it: it opens only demos.
const ORGANIZER_KEY: &str = "sk_demo_0000000000000000000000000000000000000000";

/// Its digest, as `auth.organizer_keys` wants it.
const ORGANIZER_DIGEST: &str = "sha256:cb0cac6ea5644dc91126c9c83c61d4731aefab82e1cf6b953647f33600bee94c";

/// The secret that signs the demo's customers. Everybody knows it, too.
const SECRET: &str = "stampede-demo-secret-that-everybody-knows";

/// The demo event.
const EVENT: &str = "aurora-night-1";

/// How long the demo waits until every block of its event is ready.
const READY_MAX: Duration = Duration::from_secs(20);

/// Adds the demo's keys where none are configured.
pub(super) fn complete(config: &mut Config) {
    add_secret(config);
    let digest: KeyDigest = ORGANIZER_DIGEST.parse().expect("the demo's digest is one");
    config.auth.organizer_keys.push(digest);
}

/// Adds the demo's secret when there is none.
pub(super) fn add_secret(config: &mut Config) {
    config.auth.hs256_secret.get_or_insert_with(|| Secret::new(SECRET));
}

/// Puts the demo event on sale, if it is not there from the last time, and says what to open.
pub(super) async fn open(node: &Node) -> Result<(), Failed> {
    let create = event::Command::Create(Box::new(concert()));
    let asked = actors::message::Message::from(create).into();
    let answer =
        node.dispatch.ask(Address::Event(EVENT.into()), asked).await.map_err(|failure| format!("{failure:?}"))?;
    match answer.result {
        Ok(Reply::Event(_)) | Err(actors::refusal::Refusal::EventExists) => {}
        other => return Err(format!("the demo event was not created: {other:?}").into()),
    }
    let ready = async {
        while !node.board.event(&EVENT.into()).is_some_and(|event| event.ready) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(READY_MAX, ready).await.map_err(|_| "the demo event is not ready in time")?;
    say(&welcome(&format!("http://{}", node.address))).map(|_| ())
}

/// 110 seated blocks of 500 in three price bands, and 5,000 standing: 60,000 places.
fn concert() -> EventSpec {
    let seated = |nth: u32| {
        let (band, price) = match nth {
            1..=20 => ("Lower", 14_500),
            21..=60 => ("Middle", 9_500),
            _ => ("Upper", 6_500),
        };
        let rows = (1..=20).map(|row| Row { name: row.to_string(), seats: 25 }).collect();
        BlockSpec {
            id: format!("{nth:03}").as_str().into(),
            name: format!("{band} {nth}"),
            layout: Layout::Seated(rows),
            price,
        }
    };
    let floor =
        BlockSpec { id: "FLOOR".into(), name: "Floor".to_owned(), layout: Layout::Standing(5_000), price: 11_000 };
    EventSpec {
        id: EVENT.into(),
        name: "Aurora, Night One".to_owned(),
        venue: "Harbour Stadium".to_owned(),
        // 2027-06-12T19:00:00Z
        starts_at: Millis(1_812_826_800_000),
        currency: Currency(*b"EUR"),
        on_sale_at: None,
        rules: Rules { hold_ttl: Span::seconds(420), max_per_hold: 10, max_per_customer: Some(10), no_orphans: true },
        blocks: std::iter::once(floor).chain((1..=110).map(seated)).collect(),
    }
}

fn welcome(url: &str) -> String {
    format!(
        "
Stampede demo: {EVENT}, 60,000 places on sale.

  availability   {url}/v1/events/{EVENT}/availability
  documentation  {url}/docs
  metrics        {url}/metrics

  organizer key  {ORGANIZER_KEY}
  a customer     stampede token --customer ann

Sell it out from another terminal, and have every promise checked:

  cargo run --release -p loadgen -- onsale --url {url} --organizer-key {ORGANIZER_KEY} \\
    --auth-secret {SECRET} --event {EVENT} --closed --connections 64 --pipeline 1 \\
    --duration 10m --mix sellout --until-sold-out --audit --journal acknowledged.ndjson --html report.html

These keys are public: a demo, not a shop. Stop with Ctrl-C; the data stays in the data directory.
"
    )
}
