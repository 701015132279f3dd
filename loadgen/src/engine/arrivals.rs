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
use crate::profile::Profile;

/// Arrivals of a thread that may wait for room; 128 MiB. What comes on top is counted as unsent.
const BACKLOG_MAX: usize = 16 << 20;

/// The arrivals of one thread.
#[derive(Debug)]
pub(crate) enum Arrivals {
    Open(Schedule),
    Closed,
}

/// Arrivals of an open loop. Drawn as areas under the rate of all threads, of which this one has a share.
#[derive(Debug)]
pub(crate) struct Schedule {
    profile: Profile,
    threads: f64,
    /// Area under the rate up to the next arrival.
    area: f64,
    next: Nanos,
    backlog: VecDeque<Nanos>,
    meant: u64,
}

impl Schedule {
    fn draw_next(&mut self, rng: &mut SmallRng) {
        self.area += exponential(self.threads, rng);
        self.next = Nanos((self.profile.reach(self.area) * 1e9) as u64);
    }
}

impl Arrivals {
    /// Poisson arrivals, one of so many threads' share of a profile.
    pub(crate) fn open(profile: Profile, threads: u32, rng: &mut SmallRng) -> Self {
        let (threads, backlog) = (f64::from(threads), VecDeque::new());
        let mut schedule = Schedule { profile, threads, area: 0.0, next: Nanos(0), backlog, meant: 0 };
        schedule.draw_next(rng);
        Self::Open(schedule)
    }

    /// Moves what is due by now into the backlog; gives how many found no place there.
    pub(crate) fn advance(&mut self, now: Nanos, end: Nanos, rng: &mut SmallRng) -> u64 {
        let Self::Open(schedule) = self else { return 0 };
        let mut over = 0;
        let until = now.min(end);
        while schedule.next <= until {
            schedule.meant += 1;
            if schedule.backlog.len() < BACKLOG_MAX {
                schedule.backlog.push_back(schedule.next);
            } else {
                over += 1;
            }
            schedule.draw_next(rng);
        }
        over
    }

    /// Arrivals that were meant to start so far.
    pub(crate) fn meant(&self) -> u64 {
        match self {
            Self::Open(schedule) => schedule.meant,
            Self::Closed => 0,
        }
    }

    /// The intended start of the next request that may be sent now.
    pub(crate) fn take(&mut self, now: Nanos, end: Nanos) -> Option<Nanos> {
        match self {
            Self::Open(schedule) => schedule.backlog.pop_front(),
            Self::Closed => (now < end).then_some(now),
        }
    }

    /// When the next arrival is due; never for a closed loop.
    pub(crate) fn next(&self) -> Nanos {
        match self {
            Self::Open(schedule) => schedule.next + Duration::from_nanos(1),
            Self::Closed => Nanos::NEVER,
        }
    }

    /// Arrivals waiting for room.
    pub(crate) fn waiting(&self) -> usize {
        match self {
            Self::Open(schedule) => schedule.backlog.len(),
            Self::Closed => 0,
        }
    }

    /// Forgets the arrivals that wait; gives how many.
    pub(crate) fn abandon(&mut self) -> u64 {
        match self {
            Self::Open(schedule) => std::mem::take(&mut schedule.backlog).len() as u64,
            Self::Closed => 0,
        }
    }

    /// Shortest sleep that pays: at high rates several arrivals are sent together.
    pub(crate) fn tick(&self, now: Nanos) -> Duration {
        const TICK: Duration = Duration::from_micros(50);
        match self {
            Self::Open(schedule) if schedule.next.since(now) < TICK => TICK,
            Self::Open(_) | Self::Closed => Duration::ZERO,
        }
    }
}

fn exponential(mean: f64, rng: &mut SmallRng) -> f64 {
    let chance: f64 = rng.random();
    -mean * (1.0 - chance).ln()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::SeedableRng;

    use super::*;

    const SECOND: Nanos = Nanos(1_000_000_000);

    #[test]
    fn arrivals_come_at_the_rate_and_vary_as_poisson_does() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut arrivals = Arrivals::open(Profile::steady(10_000.0).unwrap(), 1, &mut rng);
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
        let mut arrivals = Arrivals::open(Profile::steady(1_000.0).unwrap(), 1, &mut rng);
        assert_eq!(arrivals.advance(Nanos(9 * SECOND.0), SECOND, &mut rng), 0);
        let waited = arrivals.waiting();
        assert!((850..1150).contains(&waited) && arrivals.meant() == waited as u64, "{waited}");
        let first = arrivals.take(Nanos(9 * SECOND.0), SECOND);
        assert!(first.is_some_and(|first| first.0 < 20_000_000), "{first:?}");
    }

    #[test]
    fn threads_share_a_ramp() {
        let ramp = Profile::ramp("1000..9000", Duration::from_secs(1)).unwrap();
        let half = |until_ms: u64, seed| {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut arrivals = Arrivals::open(ramp.clone(), 2, &mut rng);
            arrivals.advance(Nanos(until_ms * 1_000_000), SECOND, &mut rng);
            arrivals.meant()
        };
        let (first, whole) = (half(500, 1) + half(500, 2), half(1_000, 1) + half(1_000, 2));
        assert!((1_350..1_650).contains(&first) && (4_700..5_300).contains(&whole), "{first} {whole}");
    }

    #[test]
    fn a_closed_loop_starts_now_until_the_end() {
        let mut closed = Arrivals::Closed;
        assert_eq!(closed.take(Nanos(5), SECOND), Some(Nanos(5)));
        assert_eq!(closed.take(SECOND, SECOND), None);
        assert_eq!(closed.next(), Nanos::NEVER);
    }
}
