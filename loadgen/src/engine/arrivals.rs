//! When requests are meant to start.
//!
//! Open: a Poisson process, whatever the server does; an arrival that finds no room waits with its intended time, so a
//! stall of the server shows in the latency of everything that was meant to start during it. Closed: now, whenever
//! there is room.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::clock::Nanos;

/// Arrivals of a thread that may wait for room; 128 MiB. What comes on top is counted as unsent.
const BACKLOG_MAX: usize = 16 << 20;

/// The arrivals of one thread.
#[derive(Debug)]
pub(crate) enum Arrivals {
    Open { next: f64, gap_ns: f64, backlog: VecDeque<Nanos> },
    Closed,
}

impl Arrivals {
    /// Poisson arrivals at a rate a second, the first one at a random time after `start`.
    pub(crate) fn open(rate: f64, start: Nanos, rng: &mut SmallRng) -> Self {
        let gap_ns = 1e9 / rate;
        Self::Open { next: start.0 as f64 + exponential(gap_ns, rng), gap_ns, backlog: VecDeque::new() }
    }

    /// Moves what is due by now into the backlog; gives how many found no place there.
    pub(crate) fn advance(&mut self, now: Nanos, end: Nanos, rng: &mut SmallRng) -> u64 {
        let Self::Open { next, gap_ns, backlog } = self else { return 0 };
        let mut over = 0;
        let until = now.min(end).0 as f64;
        while *next <= until {
            if backlog.len() < BACKLOG_MAX {
                backlog.push_back(Nanos(*next as u64));
            } else {
                over += 1;
            }
            *next += exponential(*gap_ns, rng);
        }
        over
    }

    /// The intended start of the next request that may be sent now.
    pub(crate) fn take(&mut self, now: Nanos, end: Nanos) -> Option<Nanos> {
        match self {
            Self::Open { backlog, .. } => backlog.pop_front(),
            Self::Closed => (now < end).then_some(now),
        }
    }

    /// When the next arrival is due; never for a closed loop.
    pub(crate) fn next(&self) -> Nanos {
        match self {
            Self::Open { next, .. } => Nanos(*next as u64 + 1),
            Self::Closed => Nanos::NEVER,
        }
    }

    /// Arrivals waiting for room.
    pub(crate) fn waiting(&self) -> usize {
        match self {
            Self::Open { backlog, .. } => backlog.len(),
            Self::Closed => 0,
        }
    }

    /// Forgets the arrivals that wait; gives how many.
    pub(crate) fn abandon(&mut self) -> u64 {
        match self {
            Self::Open { backlog, .. } => std::mem::take(backlog).len() as u64,
            Self::Closed => 0,
        }
    }

    /// Shortest sleep that pays: at high rates several arrivals are sent together.
    pub(crate) fn tick(&self) -> Duration {
        match self {
            Self::Open { gap_ns, .. } if *gap_ns < 50_000.0 => Duration::from_micros(50),
            Self::Open { .. } | Self::Closed => Duration::ZERO,
        }
    }
}

fn exponential(mean: f64, rng: &mut SmallRng) -> f64 {
    let chance: f64 = rng.random();
    -mean * (1.0 - chance).ln()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const SECOND: Nanos = Nanos(1_000_000_000);

    #[test]
    fn arrivals_come_at_the_rate_and_vary_as_poisson_does() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut arrivals = Arrivals::open(10_000.0, Nanos(0), &mut rng);
        let mut counts = Vec::new();
        for slice in 1..=100u64 {
            arrivals.advance(Nanos(slice * 10_000_000), SECOND, &mut rng);
            counts.push(arrivals.abandon() as f64);
        }
        let mean = counts.iter().sum::<f64>() / 100.0;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 100.0;
        assert!((97.0..103.0).contains(&mean), "{mean}");
        assert!((60.0..150.0).contains(&variance), "a Poisson count varies as its mean: {variance}");
    }

    #[test]
    fn nothing_arrives_after_the_end_and_what_waited_keeps_its_time() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut arrivals = Arrivals::open(1_000.0, Nanos(0), &mut rng);
        assert_eq!(arrivals.advance(Nanos(9 * SECOND.0), SECOND, &mut rng), 0);
        let waited = arrivals.waiting();
        assert!((850..1150).contains(&waited), "{waited}");
        let first = arrivals.take(Nanos(9 * SECOND.0), SECOND);
        assert!(first.is_some_and(|first| first.0 < 20_000_000), "{first:?}");
    }

    #[test]
    fn a_closed_loop_starts_now_until_the_end() {
        let mut closed = Arrivals::Closed;
        assert_eq!(closed.take(Nanos(5), SECOND), Some(Nanos(5)));
        assert_eq!(closed.take(SECOND, SECOND), None);
        assert_eq!(closed.next(), Nanos::NEVER);
    }
}
