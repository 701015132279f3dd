//! Which states met which faults: the table that shows blind spots.
//!
//! A fault that ends the node meets everything there is; a lost message meets what it is about. [`expected`] names the
//! cells that a thousand lives must reach; the others cannot happen, and say why.

use std::collections::BTreeMap;
use std::fmt;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    PowerCut,
    Killed,
    DiskFailed,
    DiskFull,
    Panic,
    /// A node is stopped for long and goes on.
    Paused,
    /// A node does not reach the others, or they do not reach it.
    CutOff,
    /// The journal has no quorum.
    NoQuorum,
    MessageLost,
    MessageTwice,
    ProviderAway,
    ProviderSilent,
}

impl Fault {
    fn title(self) -> &'static str {
        match self {
            Fault::PowerCut => "power cut",
            Fault::Killed => "killed",
            Fault::DiskFailed => "disk fails",
            Fault::DiskFull => "disk full",
            Fault::Panic => "panic",
            Fault::Paused => "paused",
            Fault::CutOff => "cut off",
            Fault::NoQuorum => "no quorum",
            Fault::MessageLost => "msg lost",
            Fault::MessageTwice => "msg twice",
            Fault::ProviderAway => "prov away",
            Fault::ProviderSilent => "prov mute",
        }
    }

    /// Whether it meets everything that lives at the place where it happens.
    fn is_of_a_place(self) -> bool {
        match self {
            Fault::PowerCut
            | Fault::Killed
            | Fault::DiskFailed
            | Fault::DiskFull
            | Fault::Panic
            | Fault::Paused
            | Fault::CutOff
            | Fault::NoQuorum => true,
            Fault::MessageLost | Fault::MessageTwice | Fault::ProviderAway | Fault::ProviderSilent => false,
        }
    }
}

/// States, in the order of the table.
pub(crate) const ROWS: [&str; 26] = [
    "hold held",
    "hold bound",
    "hold sold",
    "hold released",
    "hold expired",
    "order placed",
    "order paying",
    "order selling",
    "order paid",
    "order payment_failed",
    "order expired",
    "order cancelled",
    "order refunding",
    "order refunded",
    "payment calling",
    "payment waiting",
    "payment doubtful",
    "payment captured",
    "payment failed",
    "payment refunding",
    "payment refunded",
    "letter waiting",
    "letter delivered",
    "letter dead",
    "search asking",
    "search answered",
];

/// Whether the cell must be reached. Everything meets a fault of its place; messages and calls are only about some states.
fn expected(row: &str, fault: Fault) -> bool {
    let kind = row.split(' ').next().unwrap_or_default();
    match fault {
        _ if fault.is_of_a_place() => true,
        // Nothing is said about a letter that is done before the order desk has heard of it.
        Fault::MessageLost | Fault::MessageTwice => match row {
            // A charge that is being repeated is between the payment desk and the provider alone.
            "payment waiting" => false,
            _ => kind != "letter" && kind != "search" || matches!(row, "search asking" | "search answered"),
        },
        Fault::ProviderAway | Fault::ProviderSilent => {
            matches!(row, "payment calling" | "payment doubtful" | "payment refunding")
        }
        _ => false,
    }
}

/// How often each state met each fault, and how often other things happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    met: BTreeMap<(&'static str, Fault), u64>,
    counts: BTreeMap<&'static str, u64>,
    /// Answers by wish: accepted, refused.
    answers: BTreeMap<&'static str, (u64, u64)>,
}

impl Coverage {
    pub(crate) fn met(&mut self, row: &'static str, fault: Fault) {
        *self.met.entry((row, fault)).or_default() += 1;
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn count_answer(&mut self, wish: &'static str, refused: bool) {
        let counts = self.answers.entry(wish).or_default();
        if refused { counts.1 += 1 } else { counts.0 += 1 }
    }

    pub(crate) fn add(&mut self, other: &Coverage) {
        for (cell, times) in &other.met {
            *self.met.entry(*cell).or_default() += times;
        }
        for (what, times) in &other.counts {
            *self.counts.entry(what).or_default() += times;
        }
        for (wish, (accepted, refused)) in &other.answers {
            let counts = self.answers.entry(wish).or_default();
            *counts = (counts.0 + accepted, counts.1 + refused);
        }
    }

    /// What had to be reached and was not: cells of the table with these columns, and these counts.
    pub(crate) fn missing(&self, faults: &[Fault], counts: &[&str]) -> Vec<String> {
        let cells = ROWS.iter().flat_map(|row| faults.iter().map(move |fault| (*row, *fault)));
        let missing = cells.filter(|(row, fault)| expected(row, *fault) && !self.met.contains_key(&(*row, *fault)));
        let never = counts.iter().filter(|what| !self.counts.contains_key(*what)).map(|what| (*what).to_owned());
        missing.map(|(row, fault)| format!("{row} × {}", fault.title())).chain(never).collect()
    }

    /// The table with these columns.
    pub(crate) fn table<'a>(&'a self, faults: &'a [Fault]) -> Table<'a> {
        Table { coverage: self, faults }
    }
}

/// Coverage for people.
pub(crate) struct Table<'a> {
    coverage: &'a Coverage,
    faults: &'a [Fault],
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table { coverage, faults } = *self;
        write!(f, "{:22}", "state × fault")?;
        for &fault in faults {
            write!(f, "{:>11}", fault.title())?;
        }
        writeln!(f)?;
        for row in ROWS {
            write!(f, "{row:22}")?;
            for &fault in faults {
                let times = coverage.met.get(&(row, fault)).copied().unwrap_or(0);
                match (times, expected(row, fault)) {
                    (0, true) => write!(f, "{:>11}", "MISSING")?,
                    (0, false) => write!(f, "{:>11}", "-")?,
                    (times, _) => write!(f, "{times:>11}")?,
                }
            }
            writeln!(f)?;
        }
        for (what, times) in &coverage.counts {
            writeln!(f, "{what:40} {times:>10}")?;
        }
        writeln!(f, "{:22}{:>11}{:>11}", "answers", "accepted", "refused")?;
        for (wish, (accepted, refused)) in &coverage.answers {
            writeln!(f, "{wish:22}{accepted:>11}{refused:>11}")?;
        }
        Ok(())
    }
}
