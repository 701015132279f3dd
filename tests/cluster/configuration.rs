//! The configuration that is handed out is one that works: NATS servers and nodes take it, and the nodes agree.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::nats;
use crate::server::{SECRET, printed};

const NAMES: [&str; 3] = ["a", "b", "c"];

#[test]
fn the_servers_take_their_configuration() {
    for name in NAMES {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/nats/{name}.conf"));
        let checked = Command::new(nats::binary()).arg("-t").arg("--config").arg(file).output().unwrap();
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn the_nodes_differ_in_name_address_and_disk_alone() {
    let (secret, digest) = (format!("auth.hs256_secret={SECRET}"), "0".repeat(64));
    let keys = format!("auth.organizer_keys=[\"sha256:{digest}\"]");
    let read = |name: &str| -> BTreeMap<String, String> {
        let file = format!("{}/config/node-{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let text = printed(&["check-config", "--config", &file, "--set", &secret, "--set", &keys]);
        let key = |line: &str| {
            let (key, rest) = line.split_once(" = ").expect("a key");
            (key.to_owned(), rest.split("   # ").next().expect("a value").to_owned())
        };
        text.lines().map(key).collect()
    };
    let nodes = NAMES.map(read);
    let differing: Vec<&String> =
        nodes[0].keys().filter(|key| nodes.iter().any(|node| node[*key] != nodes[0][*key])).collect();
    assert_eq!(differing, ["data.dir", "http.listen", "node.name"]);
    assert_eq!(nodes[0]["cluster.seeds"].matches("nats://").count(), 3);
}
