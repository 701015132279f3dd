//! Seeded lives of a journal on a disk that loses, tears and refuses: what was acknowledged is always found again.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::log::Log;
use super::sim_disk::{Faults, Happened, SimDisk};
use super::{AppendError, OpenError, Options, ReplayError, Seq, Shard};

/// So many that the tails which begin a segment fill more than one sector.
const SHARDS: u16 = 60;

struct Life {
    seed: u64,
    random: u64,
    disk: Arc<SimDisk>,
    /// What was acknowledged, and how far it was truncated.
    told: BTreeMap<Shard, Vec<Vec<u8>>>,
    cut: BTreeMap<Shard, Seq>,
    /// What may be found behind it: the records of the one group whose outcome is unknown.
    perhaps: BTreeMap<Shard, Vec<Vec<u8>>>,
    reached: Reached,
}

#[derive(Debug, Default)]
struct Reached {
    acknowledged: u64,
    unknown: u64,
    full: u64,
    found_unknown: u64,
    torn: u64,
    deleted: u64,
}

impl Life {
    fn new(seed: u64) -> Life {
        Life {
            seed,
            random: seed ^ 0xdead_beef,
            disk: Arc::new(SimDisk::new(seed)),
            told: BTreeMap::new(),
            cut: BTreeMap::new(),
            perhaps: BTreeMap::new(),
            reached: Reached::default(),
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn open(&mut self) -> Option<Log> {
        let options = Options { segment_bytes: 24 << 10, group_bytes_max: 4 << 10, ..Options::default() };
        let shared: Arc<SimDisk> = Arc::clone(&self.disk);
        match Log::open(shared, options, self.seed) {
            Ok((log, recovery)) => {
                self.reached.torn += u64::from(recovery.torn.is_some());
                Some(log)
            }
            // The disk may fail during recovery too; the next try finds no less.
            Err(OpenError::Io(_) | OpenError::DiskFull { .. }) => None,
            Err(error) => panic!("replay: SEED={}: {error}", self.seed),
        }
    }

    fn fail_sometimes(&mut self) {
        let [write_fails, sync_fails, full] = [200, 200, 600].map(|most| self.draw(most) as u16);
        self.disk.set_faults(Faults { write_fails, sync_fails, full });
    }

    /// One group of a few records; false when the journal has stopped.
    fn group(&mut self, log: &mut Log) -> bool {
        let mut staged: BTreeMap<Shard, Vec<Vec<u8>>> = BTreeMap::new();
        for _ in 0..=self.draw(4) {
            let shard = Shard(self.draw(u64::from(SHARDS)) as u16);
            let mut record = vec![0; self.draw(900) as usize];
            let fill = self.draw(255) as u8 + 1;
            record.fill(fill);
            let group = staged.entry(shard).or_default();
            let after = Seq(log.last(shard).0 + group.len() as u64);
            if log.stage(shard, after, &record).is_ok() {
                group.push(record);
            }
        }
        let crash_between = self.draw(40) == 0;
        let outcome = log.write().map_err(AppendError::from).and_then(|_| {
            if crash_between {
                return Err(AppendError::Unknown { reason: "the test ends the process here".to_owned() });
            }
            log.sync().map_err(AppendError::from)
        });
        match outcome {
            Ok(()) => {
                for (shard, mut records) in staged {
                    self.reached.acknowledged += records.len() as u64;
                    self.told.entry(shard).or_default().append(&mut records);
                }
                true
            }
            Err(AppendError::Unavailable { .. }) => {
                self.reached.full += 1;
                true
            }
            Err(AppendError::Unknown { .. }) => {
                self.reached.unknown += 1;
                self.perhaps = staged;
                false
            }
            Err(error @ (AppendError::Fenced { .. } | AppendError::Unanswered)) => {
                panic!("replay: SEED={}: {error}", self.seed)
            }
        }
    }

    fn live(&mut self, mut log: Log) {
        self.fail_sometimes();
        for _ in 0..self.draw(120) {
            if !self.group(&mut log) {
                break;
            }
            if self.draw(10) == 0 {
                self.truncate(&mut log);
            }
            if self.draw(10) == 0 && log.prepare().is_err() && log.stopped().is_some() {
                break;
            }
        }
        if self.draw(4) == 0 {
            let _ = log.seal();
        }
    }

    fn truncate(&mut self, log: &mut Log) {
        for shard in (0..SHARDS).map(Shard) {
            let to = Seq(log.last(shard).0 * 9 / 10);
            log.truncate(shard, to);
            let cut = self.cut.entry(shard).or_default();
            *cut = to.max(*cut);
        }
        self.reached.deleted += log.delete_unneeded().unwrap_or(0);
    }

    /// Everything told and not truncated is there, in order; behind it at most what was unknown, whole or not at all.
    fn check(&mut self, log: &Log) {
        let mut found_groups = Vec::new();
        for shard in (0..SHARDS).map(Shard) {
            let from = self.cut.get(&shard).copied().unwrap_or_default();
            let told = self.told.entry(shard).or_default();
            let mut found = Vec::new();
            let replayed = log.replay(&[(shard, from)], &mut |_, _, record| {
                found.push(record.to_vec());
                Ok(())
            });
            assert!(!matches!(replayed, Err(ReplayError::Cut { .. })), "replay: SEED={}", self.seed);
            replayed.unwrap_or_else(|error| panic!("replay: SEED={}: {error}", self.seed));
            let from = usize::try_from(from.0).unwrap();
            let known = told.len() - from;
            assert!(found.len() >= known, "replay: SEED={}: shard {shard} lost records", self.seed);
            assert_eq!(found[..known], told[from..], "replay: SEED={}: shard {shard}", self.seed);
            let more = &found[known..];
            let perhaps = self.perhaps.get(&shard).map(Vec::as_slice).unwrap_or_default();
            assert!(more.is_empty() || more == perhaps, "replay: SEED={}: shard {shard} invented", self.seed);
            if !perhaps.is_empty() {
                found_groups.push(!more.is_empty());
            }
            told.extend_from_slice(more);
        }
        assert!(found_groups.windows(2).all(|pair| pair[0] == pair[1]), "replay: SEED={}: half a group", self.seed);
        self.reached.found_unknown += u64::from(found_groups.first() == Some(&true));
        self.perhaps.clear();
    }
}

fn life(seed: u64) -> (Reached, Happened) {
    let mut life = Life::new(seed);
    for _ in 0..6 {
        if let Some(log) = life.open() {
            life.check(&log);
            life.live(log);
        }
        if life.draw(3) == 0 {
            life.disk.kill();
        } else {
            life.disk.crash();
        }
    }
    life.disk.set_faults(Faults::default());
    let log = life.open().expect("a disk without faults opens");
    life.check(&log);
    (life.reached, life.disk.happened())
}

#[test]
fn what_was_acknowledged_is_found_again_whatever_the_disk_does() {
    let only = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..400, |seed: u64| seed..seed + 1);
    let single = only.is_some();
    let mut sum = (Reached::default(), Happened::default());
    for seed in seeds {
        let (reached, happened) = life(seed);
        sum.0.acknowledged += reached.acknowledged;
        sum.0.unknown += reached.unknown;
        sum.0.full += reached.full;
        sum.0.found_unknown += reached.found_unknown;
        sum.0.torn += reached.torn;
        sum.0.deleted += reached.deleted;
        sum.1.failed_writes += happened.failed_writes;
        sum.1.failed_syncs += happened.failed_syncs;
        sum.1.lost_sectors += happened.lost_sectors;
        sum.1.torn_sectors += happened.torn_sectors;
    }
    println!("{sum:?}");
    // A seed that reaches nothing proves nothing.
    let (reached, happened) = &sum;
    let counts = [
        reached.acknowledged,
        reached.unknown,
        reached.full,
        reached.found_unknown,
        reached.torn,
        reached.deleted,
        happened.failed_writes,
        happened.failed_syncs,
        happened.lost_sectors,
        happened.torn_sectors,
    ];
    assert!(single || counts.iter().all(|count| *count > 20), "{sum:?}");
}
