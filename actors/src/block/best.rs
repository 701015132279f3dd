//! Best available: which seats a buyer gets who only says how many.
//!
//! Owns the score and the search; changes nothing. In this order:
//!
//! 1. **Side by side without leaving a seat alone** ([`super::orphans`]), wherever in the block that is possible.
//! 2. **Side by side** at all.
//! 3. **Split** into as few groups as possible.
//!
//! *Score.* Distances are in half seats. A group of `k` seats that starts at column `c` of row `r` (both from 0, the front row
//! is 0) in a row of `w` seats is `o = 2c + k - w` off the middle of its row, and costs [`ROW_STEP`]` · r + |o|`: one row back
//! weighs as much as two seats to the side. The lowest cost wins, then the row nearer the front, then the seat further left.
//! A row can only win while `ROW_STEP · r` is below the best cost so far, which ends the search; rows without a long enough
//! run are skipped by their summary.
//!
//! *Split.* The fewest groups are as many as the longest runs it takes to seat all. If that many groups of at least two can
//! do it, no group has one. A first group takes the best score among all runs that keep this possible, as many seats as the
//! run and the others' minimum allow; each further group is chosen the same way but by its distance to the first,
//! `ROW_STEP · |r - r₁| + |o - o₁|`. Each prefers, like 1, not to leave a seat alone. That is tried for the best few first
//! groups ([`SEARCHES_MAX`] searches in all); the split that leaves the fewest seats alone wins, then the one with the lowest
//! sum of all scores and distances.

use smallvec::SmallVec;

use super::SeatIx;
use super::orphans::{row_fits, start_fits};
use super::seats::{Run, Seats, Spot};

/// What one row costs, in half seats.
const ROW_STEP: u64 = 4;
/// Most groups that are looked for to split a request once; the first way to do it is always looked at.
const SEARCHES_MAX: usize = 12;

/// Whether a placement may leave a seat alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    LeaveNoneAlone,
    LeaveAny,
}

/// Some adjacent seats: a choice of this search.
#[derive(Clone, Copy, Debug)]
struct Group {
    at: Spot,
    quantity: u32,
    /// The free run it is in.
    run: Run,
    /// Half seats off the middle of its row.
    offset: i64,
}

impl Group {
    fn leaves_one_alone(&self) -> bool {
        !start_fits(self.run, self.quantity, self.at.column)
    }

    fn distance(&self, aim: Aim) -> u64 {
        ROW_STEP * u64::from(self.at.row.abs_diff(aim.row)) + self.offset.abs_diff(aim.offset)
    }
}

type Groups = SmallVec<[Group; 4]>;

/// What a group should be near to.
#[derive(Clone, Copy)]
struct Aim {
    row: u32,
    /// Half seats right of a row's middle.
    offset: i64,
}

/// The front, the middle.
const STAGE: Aim = Aim { row: 0, offset: 0 };

/// The best `quantity` seats, in row-major order; `None` when fewer are free.
pub(super) fn best(seats: &Seats, quantity: u32) -> Option<SmallVec<[SeatIx; 4]>> {
    if quantity == 0 || seats.counts().free < quantity {
        return None;
    }
    let pick = Pick { least: quantity, most: quantity };
    let together = nearest(seats, pick, STAGE, &[]).map(|group| Groups::from_slice(&[group]));
    let mut groups = together.unwrap_or_else(|| split(seats, quantity));
    groups.sort_unstable_by_key(|group| seats.seat(group.at));
    let first_seats = groups.iter().map(|group| (seats.seat(group.at).0, group.quantity));
    Some(first_seats.flat_map(|(first, quantity)| (first..first + quantity).map(SeatIx)).collect())
}

/// How many seats a group may take: as many as its run has, within these.
#[derive(Clone, Copy)]
struct Pick {
    least: u32,
    most: u32,
}

/// The group nearest the aim; one that leaves a seat alone only if there is no other.
fn nearest(seats: &Seats, pick: Pick, aim: Aim, used: &[Group]) -> Option<Group> {
    let careful = nearest_with(seats, pick, aim, used, Care::LeaveNoneAlone);
    careful.or_else(|| nearest_with(seats, pick, aim, used, Care::LeaveAny))
}

fn nearest_with(seats: &Seats, pick: Pick, aim: Aim, used: &[Group], care: Care) -> Option<Group> {
    let mut best: Option<(u64, Group)> = None;
    for row in 0..seats.rows() {
        let row_cost = ROW_STEP * u64::from(row.abs_diff(aim.row));
        if best.is_some_and(|(cost, _)| cost <= row_cost) {
            if row >= aim.row {
                break;
            }
            continue;
        }
        let fits = seats.longest(row) >= pick.least;
        if !fits || (care == Care::LeaveNoneAlone && pick.least == pick.most && !row_fits(seats, row, pick.least)) {
            continue;
        }
        for run in seats.runs(row).filter(|run| run.length >= pick.least) {
            if used.iter().any(|group| group.at.row == row && group.run == run) {
                continue;
            }
            let quantity = run.length.min(pick.most);
            let Some((column, offset)) = start_in(run, quantity, seats.width(row), aim.offset, care) else { continue };
            let group = Group { at: Spot { row, column }, quantity, run, offset };
            let cost = group.distance(aim);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, group));
            }
        }
    }
    best.map(|(_, group)| group)
}

/// Where in a run `quantity` seats are nearest the wanted offset from the row's middle, and the offset they have.
fn start_in(run: Run, quantity: u32, width: u32, offset: i64, care: Care) -> Option<(u32, i64)> {
    let (first, last) = (run.start, run.start + run.length - quantity);
    let wanted = (i64::from(width) - i64::from(quantity) + offset).div_euclid(2);
    let ideal = wanted.clamp(i64::from(first), i64::from(last)) as u32;
    // Only the starts next to the run's ends leave a seat alone, so one step to either side is enough.
    let around = ideal.saturating_sub(1).max(first)..=(ideal + 1).min(last);
    let allowed = around.filter(|start| care == Care::LeaveAny || start_fits(run, quantity, *start));
    let with_offset = allowed.map(|start| (start, 2 * i64::from(start) + i64::from(quantity) - i64::from(width)));
    with_offset.min_by_key(|(_, has)| has.abs_diff(offset))
}

/// As few groups as possible, when no run is long enough. So many seats are free.
fn split(seats: &Seats, quantity: u32) -> Groups {
    let plan = Plan::new(seats, quantity);
    let firsts = (SEARCHES_MAX / plan.longest.len()).max(1);
    let mut tried: Groups = SmallVec::new();
    let mut best: Option<((usize, u64), Groups)> = None;
    for _ in 0..firsts {
        let Some(first) = nearest(seats, plan.pick(), STAGE, &tried) else { break };
        tried.push(first);
        let groups = around(seats, first, plan.clone());
        let alone = groups.iter().filter(|group| group.leaves_one_alone()).count();
        let aim = Aim { row: first.at.row, offset: first.offset };
        let cost = groups.iter().map(|group| group.distance(STAGE) + group.distance(aim)).sum();
        if best.as_ref().is_none_or(|(score, _)| (alone, cost) < *score) {
            best = Some(((alone, cost), groups));
        }
    }
    best.expect("the longest runs seat all").1
}

/// Seats all around a first group.
fn around(seats: &Seats, first: Group, mut plan: Plan) -> Groups {
    let aim = Aim { row: first.at.row, offset: first.offset };
    let mut groups = SmallVec::from_slice(&[first]);
    plan.seat(&first);
    while !plan.longest.is_empty() {
        let group = nearest(seats, plan.pick(), aim, &groups).expect("the longest runs seat all");
        plan.seat(&group);
        groups.push(group);
    }
    assert_eq!(plan.wanted, 0, "a split seats everybody");
    groups
}

/// What is still to be seated, in how many groups.
#[derive(Clone)]
struct Plan {
    wanted: u32,
    /// The longest runs that no group is in yet, one a group, longest first.
    longest: SmallVec<[u32; 8]>,
    /// What every group has at least.
    floor: u32,
}

impl Plan {
    fn new(seats: &Seats, quantity: u32) -> Self {
        let longest = longest_runs(seats, quantity);
        let pairs = longest.last().is_some_and(|length| *length >= 2) && quantity >= 2 * longest.len() as u32;
        Self { wanted: quantity, longest, floor: if pairs { 2 } else { 1 } }
    }

    /// What the next group may take: at least what the longest other runs cannot seat, at most what leaves them enough.
    fn pick(&self) -> Pick {
        let others = self.longest.len() - 1;
        let rest: u32 = self.longest[..others].iter().sum();
        Pick { least: self.wanted.saturating_sub(rest).max(self.floor), most: self.wanted - self.floor * others as u32 }
    }

    fn seat(&mut self, group: &Group) {
        self.wanted -= group.quantity;
        let spent = self.longest.iter().position(|length| *length == group.run.length);
        self.longest.remove(spent.unwrap_or(self.longest.len() - 1));
    }
}

/// The lengths of the longest free runs, longest first, as many as it takes to seat `quantity`.
fn longest_runs(seats: &Seats, quantity: u32) -> SmallVec<[u32; 8]> {
    let mut lengths = SmallVec::new();
    let mut seated = 0;
    let mut length = (0..seats.rows()).map(|row| seats.longest(row)).max().unwrap_or(0);
    while length > 0 {
        for row in (0..seats.rows()).filter(|row| seats.has_run(*row, length)) {
            for _ in seats.runs(row).filter(|run| run.length == length) {
                lengths.push(length);
                seated += length;
                if seated >= quantity {
                    return lengths;
                }
            }
        }
        length -= 1;
    }
    lengths
}
