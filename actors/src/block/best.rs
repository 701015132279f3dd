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
//! do it, no group has one. The first group takes the best score among all runs that keep this possible, as many
//! seats as the run and the others' minimum allow; each further group is chosen the same way but by its distance to
//! the first: `ROW_STEP · |r - r₁| + |o - o₁|`. Each prefers, like 1, not to leave a seat alone.

use smallvec::SmallVec;

use super::SeatIx;
use super::orphans::{row_fits, start_fits};
use super::seats::{Run, Seats, Spot};

/// What one row costs, in half seats.
const ROW_STEP: u64 = 4;

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
    /// Of the free run it is in.
    run: Run,
}

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
    let together = nearest(seats, pick, STAGE, &[]).map(|group| SmallVec::<[Group; 4]>::from_slice(&[group]));
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
            let Some((start, aside)) = start_in(run, quantity, seats.width(row), aim.offset, care) else { continue };
            let cost = row_cost + aside;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, Group { at: Spot { row, column: start }, quantity, run }));
            }
        }
    }
    best.map(|(_, group)| group)
}

/// Where in a run `quantity` seats are nearest the wanted offset from the row's middle, and how far from it they are.
fn start_in(run: Run, quantity: u32, width: u32, offset: i64, care: Care) -> Option<(u32, u64)> {
    let (first, last) = (run.start, run.start + run.length - quantity);
    let wanted = (i64::from(width) - i64::from(quantity) + offset).div_euclid(2);
    let ideal = wanted.clamp(i64::from(first), i64::from(last)) as u32;
    // Only the starts next to the run's ends leave a seat alone, so two steps to either side are enough.
    let around = ideal.saturating_sub(2).max(first)..=(ideal + 2).min(last);
    let allowed = around.filter(|start| care == Care::LeaveAny || start_fits(run, quantity, *start));
    let scored = allowed.map(|start| (start, offset_of(start, quantity, width).abs_diff(offset)));
    scored.min_by_key(|(_, aside)| *aside)
}

/// Half seats between the middle of a group and the middle of its row; positive to the right.
fn offset_of(start: u32, quantity: u32, width: u32) -> i64 {
    2 * i64::from(start) + i64::from(quantity) - i64::from(width)
}

/// As few groups as possible, when no run is long enough. So many seats are free.
fn split(seats: &Seats, quantity: u32) -> SmallVec<[Group; 4]> {
    let mut longest = longest_runs(seats, quantity);
    let smallest = longest.last().copied().unwrap_or(1);
    let floor = if smallest >= 2 && quantity >= 2 * longest.len() as u32 { 2 } else { 1 };
    let mut groups: SmallVec<[Group; 4]> = SmallVec::new();
    let (mut wanted, mut aim) = (quantity, STAGE);
    while !longest.is_empty() {
        let others = longest.len() as u32 - 1;
        // What the longest other runs cannot seat has to be seated here; what they need at least is left to them.
        let rest: u32 = longest[..others as usize].iter().sum();
        let pick = Pick { least: wanted.saturating_sub(rest).max(floor), most: wanted - floor * others };
        let group = nearest(seats, pick, aim, &groups).expect("the longest runs seat all");
        if groups.is_empty() {
            let width = seats.width(group.at.row);
            aim = Aim { row: group.at.row, offset: offset_of(group.at.column, group.quantity, width) };
        }
        wanted -= group.quantity;
        let spent = longest.iter().position(|length| *length == group.run.length);
        longest.remove(spent.unwrap_or(others as usize));
        groups.push(group);
    }
    assert_eq!(wanted, 0, "a split seats everybody");
    groups
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
