//! Joining a deployment: what differs or does not do is refused by name, and of those who start together one makes it.

use std::time::Duration;

use stampede::config::Config;
use stampede::nats;

use crate::journal::{Member, config, join, settings, threads};
use crate::nats::Nats;

#[test]
fn a_setting_that_differs_is_refused_by_name() {
    let servers = Nats::one();
    let member = Member::of(&servers);
    let dir = tempfile::tempdir().unwrap();
    let refusal = |config: &Config| member.wait(join(config, &dir)).err().expect("a difference").to_string();

    let mut other = config(servers.urls(), 1);
    other.cluster.shards = 32;
    let told = refusal(&other);
    assert!(told.contains("`cluster.shards` is 32 here, but the deployment agreed on 64"), "{told}");

    let told = refusal(&config(servers.urls(), 3));
    assert!(told.contains("num_replicas"), "{told}");

    member.wait(async {
        let mut stream = member.nats.jetstream().get_stream(member.nats.journal_stream(0)).await.unwrap();
        let mut changed = stream.info().await.unwrap().config.clone();
        changed.max_age = Duration::from_secs(3_600);
        member.nats.jetstream().update_stream(changed).await.unwrap();
    });
    let told = refusal(&config(servers.urls(), 1));
    assert!(told.contains("`max_age` is 3600s, must be 0ns"), "{told}");

    member.wait(async {
        member.nats.jetstream().delete_stream(member.nats.journal_stream(0)).await.unwrap();
    });
    let told = refusal(&config(servers.urls(), 1));
    assert!(told.contains("stampede-journal-0 is missing"), "{told}");
}

#[test]
fn unsuitable_servers_are_refused_with_what_to_change() {
    let servers = Nats::one();
    let runtime = threads();
    let dir = tempfile::tempdir().unwrap();
    let refusal = |config: &Config| runtime.block_on(join(config, &dir)).err().expect("a refusal").to_string();

    let mut later = config(servers.urls(), 1);
    later.cluster.nats.version_min = "2.99.0".to_owned();
    let told = refusal(&later);
    assert!(told.contains("at least 2.99.0 is needed") && told.contains("upgrade"), "{told}");

    later.cluster.nats.version_min = "2.9.10".to_owned();
    let told = refusal(&later);
    assert!(told.contains("`cluster.nats.version_min` is 2.9.10"), "{told}");

    let told = refusal(&config(servers.urls(), 3));
    assert!(told.contains("`cluster.replicas` is 3"), "{told}");

    let nobody = config(vec!["nats://127.0.0.1:1".to_owned()], 1);
    let told = refusal(&nobody);
    assert!(told.contains("cluster.seeds"), "{told}");
}

#[test]
fn of_nodes_that_start_together_one_makes_the_deployment_and_all_share_it() {
    let servers = Nats::three();
    let runtime = threads();
    let config = config(servers.urls(), 3);
    let ids: Vec<String> = runtime.block_on(async {
        let starts = (0..5).map(|_| async {
            let dir = tempfile::tempdir().unwrap();
            let options = nats::Options::new(&config.cluster, "node").unwrap();
            let nats = nats::Nats::connect(&options).await.unwrap();
            nats.join(settings(&config), dir.path()).await.unwrap().id
        });
        futures_util::future::join_all(starts).await
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}
