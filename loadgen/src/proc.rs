//! What the system tells of another process: its CPU time and its memory. Linux only.

use std::path::PathBuf;
use std::time::Duration;

use crate::failure::Failure;

/// A process by its id. It may end at any time: then a look at it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proc(pub u32);

impl Proc {
    /// CPU time so far of the process and all its threads.
    pub fn cpu(self) -> Result<Duration, Failure> {
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        self.look("stat", |stat| cpu_of(stat, ticks_per_second))
    }

    /// Resident bytes now.
    pub fn resident(self) -> Result<u64, Failure> {
        self.look("status", resident_of)
    }

    fn look<T>(self, file: &str, find: impl Fn(&str) -> Option<T>) -> Result<T, Failure> {
        let path = PathBuf::from(format!("/proc/{}/{file}", self.0));
        let text = std::fs::read_to_string(&path).map_err(Failure::file(&path))?;
        find(&text).ok_or_else(|| Failure::Unreadable {
            request: path.display().to_string(),
            reason: "not the fields of a process".to_owned(),
        })
    }
}

/// User and system time of a line of `/proc/PID/stat`. The name in brackets may hold anything, also brackets.
fn cpu_of(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / ticks_per_second.max(1) as f64))
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn user_and_system_time_are_read_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14";
        assert_eq!(cpu_of(stat, 100), Some(Duration::from_secs(3)));
        assert_eq!(cpu_of("42 (a", 100), None);
    }

    #[test]
    fn a_process_has_memory_and_one_that_is_not_there_has_none() {
        assert_eq!(resident_of("Name:\tx\nVmRSS:\t  12 kB\n"), Some(12_288));
        let own = Proc(std::process::id());
        assert!(own.resident().unwrap() > 100_000 && own.cpu().is_ok());
        assert!(Proc(u32::MAX).resident().is_err());
    }
}
