//! Commands for whoever operates a cluster: backup, restore, comparison of copies. They connect, have the library do it,
//! and say what came out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use stampede::backup;
use stampede::clock;
use stampede::config::Config;
use stampede::journal::Silent;
use stampede::journal::compare::Copies;
use stampede::journal::compare::against::{self, Report, RestoreError};
use stampede::journal::jetstream::{self, JetStream, Owner};
use stampede::nats::{self, Deployment, Nats, Options};

use super::{Failed, say};

pub(super) fn backup(config: &Config, to: &Path) -> Result<ExitCode, Failed> {
    let taken = backup::take(config, to)?;
    let backup::Taken { shards, messages, bundles, moment } = taken;
    say(&format!(
        "{}: {shards} shards, {messages} journal messages, {bundles} bundles of snapshots, all as of one moment (found \
         within {moment:?})\n",
        to.display()
    ))
}

pub(super) fn restore(config: &Config, from: &Path) -> Result<ExitCode, Failed> {
    let backup::Restored { id, shards, messages, taken_at } = backup::restore(config, from)?;
    say(&format!(
        "deployment {id}: {shards} shards, {messages} journal messages as of {taken_at}\n\
         start the nodes with empty data directories; keep the old ones for `stampede journal compare`\n"
    ))
}

/// Compares the copies in the data directories with the journal; with `restore`, writes lost records again first.
pub(super) fn compare(config: &Config, dirs: &[PathBuf], restore: bool) -> Result<ExitCode, Failed> {
    let own = [config.data.dir.clone()];
    let dirs = if dirs.is_empty() { &own[..] } else { dirs };
    let copies = Copies::read(dirs).map_err(|(dir, error)| format!("{}: {error}", dir.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let report = runtime.block_on(async {
        let nats = Nats::connect(&Options::new(&config.cluster, &config.node.name)?).await?;
        let deployment = nats.deployment().await?;
        let deployment = deployment.ok_or_else(|| format!("NATS has no deployment named {:?}", nats.name()))?;
        dirs.iter().try_for_each(|dir| belongs(dir, &deployment))?;
        if restore {
            restore_lost(config, &nats, &copies).await?;
        }
        Ok::<Report, Failed>(against::against(&nats, config.cluster.shards, &copies).await?)
    })?;
    let mut text: String = report.differences.iter().map(|difference| format!("{difference}\n")).collect();
    text.extend(report.unreadable.iter().map(|unreadable| format!("{unreadable}\n")));
    let (compared, kept) = (report.compared, copies.records());
    let found = report.differences.len() + report.unreadable.len();
    text += &format!("{compared} of {kept} records in copies compared (the others were cut), {found} differences\n");
    say(&text)?;
    Ok(if report.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A copy of another deployment differs in everything, and must never be restored from.
fn belongs(data_dir: &Path, deployment: &Deployment) -> Result<(), Failed> {
    let of = nats::remembered(data_dir)?;
    let known = [Some(deployment.id.as_str()), deployment.restored_from()];
    if of.is_some() && known.contains(&of.as_deref()) {
        return Ok(());
    }
    let of = of.unwrap_or_else(|| "none".to_owned());
    Err(format!("{}: belongs to deployment {of}, NATS has {}", data_dir.display(), deployment.id).into())
}

async fn restore_lost(config: &Config, nats: &Nats, copies: &Copies) -> Result<(), Failed> {
    if against::nodes_run(nats, config.cluster.lease * 2).await? {
        return Err(RestoreError::NodesRun.into());
    }
    let settings = jetstream::Settings { shards: config.cluster.shards, clock: Arc::new(clock::now), copy: None };
    let owner = Owner { name: "restore".to_owned(), incarnation: rand::random() };
    let handle = tokio::runtime::Handle::current();
    let journal = JetStream::new(nats.clone(), handle, owner, settings, Arc::new(Silent));
    for (shard, last) in copies.ends() {
        let tail = journal.tail(shard).await?.map_or_else(Default::default, |tail| tail.seq);
        if tail < last {
            let restored = against::restore_lost(&journal, copies, shard).await?;
            say(&format!("shard={shard}: records {} to {restored} written again\n", tail.next()))?;
        }
    }
    Ok(())
}
