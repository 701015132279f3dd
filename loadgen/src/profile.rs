//! How the rate of an open loop goes over a run: steady, a ramp, steps, a spike. Pure.
//!
//! A profile is a row of stretches on each of which the rate goes straight from one value to another. Arrivals are drawn
//! from it exactly: the n-th arrival of a Poisson process is where the area under the rate reaches a sum of exponential
//! draws, so [`Profile::reach`] finds the moment of an area and [`Profile::area`] the other way round.

use std::time::Duration;

use crate::failure::Failure;

/// Most requests a second that can be asked for.
const RATE_MAX: f64 = 1e8;

/// The rate from one moment to another.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretch {
    /// Seconds since the run's start.
    from_s: f64,
    length_s: f64,
    /// Requests a second at its start and at its end.
    first: f64,
    last: f64,
    /// Requests meant to start before it.
    before: f64,
}

/// Requests a second over the time of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    stretches: Vec<Stretch>,
}

impl Stretch {
    /// Requests meant to start within its first `seconds`.
    fn area(&self, seconds: f64) -> f64 {
        seconds * (self.first + 0.5 * (self.last - self.first) * seconds / self.length_s)
    }

    /// Seconds of it until so many requests were meant to start.
    fn reach(&self, area: f64) -> f64 {
        let slope = (self.last - self.first) / self.length_s;
        let root = (self.first * self.first + 2.0 * slope * area).max(0.0).sqrt();
        // the solution of area(t) that does not divide by a slope of zero
        2.0 * area / (self.first + root)
    }
}

impl Profile {
    /// The same rate all the time.
    pub fn steady(rate: f64) -> Result<Self, Failure> {
        Self::build("--rate", Duration::from_secs(1), &[(1.0, rate, rate)])
    }

    /// `FROM..TO`: straight from one rate to another over the run.
    pub fn ramp(text: &str, run: Duration) -> Result<Self, Failure> {
        let (from, to) = text.split_once("..").ok_or_else(|| usage("--ramp", "must be FROM..TO"))?;
        Self::build("--ramp", run, &[(run.as_secs_f64(), rate("--ramp", from)?, rate("--ramp", to)?)])
    }

    /// `A,B,C`: each rate for an equal part of the run.
    pub fn step(text: &str, run: Duration) -> Result<Self, Failure> {
        let rates: Vec<f64> = text.split(',').map(|step| rate("--step", step)).collect::<Result<_, _>>()?;
        let part = run.as_secs_f64() / rates.len() as f64;
        let parts: Vec<_> = rates.into_iter().map(|rate| (part, rate, rate)).collect();
        Self::build("--step", run, &parts)
    }

    /// `BASE,PEAK,AT,FOR`: a base, and from a time on, for a time, a peak.
    pub fn spike(text: &str, run: Duration) -> Result<Self, Failure> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let [base, peak, at, length] = parts[..] else {
            return Err(usage("--spike", "must be BASE,PEAK,AT,FOR, as in 1000,20000,10s,5s"));
        };
        let time = |text: &str| {
            humantime::parse_duration(text).map_err(|error| usage("--spike", format!("`{text}` is no time: {error}")))
        };
        let (at, length, run_s) = (time(at)?.as_secs_f64(), time(length)?.as_secs_f64(), run.as_secs_f64());
        if length <= 0.0 || at + length > run_s {
            return Err(usage("--spike", "the peak must lie within the run's --duration"));
        }
        let (base, peak) = (rate("--spike", base)?, rate("--spike", peak)?);
        Self::build("--spike", run, &[(at, base, base), (length, peak, peak), (run_s - at - length, base, base)])
    }

    fn build(flag: &'static str, run: Duration, parts: &[(f64, f64, f64)]) -> Result<Self, Failure> {
        let (mut from_s, mut before, mut stretches) = (0.0, 0.0, Vec::new());
        for (length_s, first, last) in parts.iter().copied().filter(|(length_s, ..)| *length_s > 0.0) {
            if ![first, last].iter().all(|rate| *rate > 0.0 && *rate <= RATE_MAX) {
                return Err(usage(flag, "must be above 0 and at most 100000000 requests a second"));
            }
            let stretch = Stretch { from_s, length_s, first, last, before };
            (from_s, before) = (from_s + length_s, before + stretch.area(length_s));
            stretches.push(stretch);
        }
        if stretches.is_empty() {
            return Err(usage(flag, format!("has no time in a run of {run:?}")));
        }
        Ok(Self { stretches })
    }

    /// Requests meant to start within the first `span` of a run.
    pub fn area(&self, span: Duration) -> f64 {
        let seconds = span.as_secs_f64();
        let stretch = self.stretches[self.last_where(|stretch| stretch.from_s <= seconds)];
        let inside = (seconds - stretch.from_s).min(stretch.length_s);
        // behind its end a profile goes on as it ended
        stretch.before + stretch.area(inside) + (seconds - stretch.from_s - inside) * stretch.last
    }

    /// The moment, in seconds, at which so many requests were meant to have started.
    pub fn reach(&self, area: f64) -> f64 {
        let stretch = self.stretches[self.last_where(|stretch| stretch.before <= area)];
        let rest = area - stretch.before;
        let whole = stretch.area(stretch.length_s);
        if rest <= whole {
            return stretch.from_s + stretch.reach(rest);
        }
        stretch.from_s + stretch.length_s + (rest - whole) / stretch.last
    }

    /// Requests a second on average over the first `span` of a run.
    pub fn mean(&self, span: Duration) -> f64 {
        self.area(span) / span.as_secs_f64().max(1e-9)
    }

    fn last_where(&self, begins: impl Fn(&Stretch) -> bool) -> usize {
        self.stretches.partition_point(begins).saturating_sub(1)
    }
}

fn usage(flag: &'static str, rule: impl Into<String>) -> Failure {
    Failure::Usage { flag, rule: rule.into() }
}

fn rate(flag: &'static str, text: &str) -> Result<f64, Failure> {
    text.trim().parse().map_err(|_| usage(flag, format!("`{text}` must be a number of requests a second")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RUN: Duration = Duration::from_secs(10);

    #[test]
    fn the_area_under_each_shape_is_what_was_asked_for() {
        let of = |profile: Result<Profile, Failure>| profile.unwrap().area(RUN);
        assert_eq!(of(Profile::steady(50.0)), 500.0);
        assert_eq!(of(Profile::ramp("0.5..100", RUN)), 502.5);
        assert_eq!(of(Profile::step("100,200", RUN)), 1_500.0);
        assert_eq!(of(Profile::spike("10,1000,4s,2s", RUN)), 2_080.0);
        assert_eq!(Profile::spike("10,1000,4s,2s", RUN).unwrap().mean(Duration::from_secs(5)), 208.0);
    }

    #[test]
    fn the_moment_of_an_area_is_where_that_area_ends() {
        for profile in [
            Profile::steady(7.0),
            Profile::ramp("1..100", RUN),
            Profile::ramp("100..1", RUN),
            Profile::step("5,50,20", RUN),
            Profile::spike("10,1000,4s,2s", RUN),
        ] {
            let profile = profile.unwrap();
            for seconds in [0.1, 3.3, 4.0, 5.5, 9.9, 12.0] {
                let found = profile.reach(profile.area(Duration::from_secs_f64(seconds)));
                assert!((found - seconds).abs() < 1e-6, "{profile:?}: {found} for {seconds}");
            }
        }
    }

    #[test]
    fn shapes_that_mean_nothing_are_refused_by_name() {
        let refused = |profile: Result<Profile, Failure>| profile.unwrap_err().to_string();
        assert!(refused(Profile::ramp("100", RUN)).contains("--ramp: must be FROM..TO"));
        assert!(refused(Profile::ramp("0..100", RUN)).contains("--ramp: must be above 0"));
        assert!(refused(Profile::step("1,x", RUN)).contains("--step: `x` must be a number"));
        assert!(refused(Profile::spike("1,2,9s,2s", RUN)).contains("within the run"));
        assert!(refused(Profile::spike("1,2", RUN)).contains("BASE,PEAK,AT,FOR"));
    }
}
