//! Names of seats: `row-number` to index and back without walking the rows.
//!
//! Owns the table of one block. It must agree with [`actors::block::Layout`], which is the definition; a test compares.

use std::collections::HashMap;

use actors::block::{Layout, SeatIx};
use compact_str::{CompactString, format_compact};
use foldhash::fast::RandomState;

/// The seats of a block by name and by index. A standing block has none.
#[derive(Debug)]
pub struct SeatNames {
    rows: Vec<NamedRow>,
    by_name: HashMap<CompactString, u32, RandomState>,
    capacity: u32,
    standing: bool,
}

#[derive(Debug)]
struct NamedRow {
    name: CompactString,
    first: u32,
}

impl SeatNames {
    /// The table of a layout.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        let capacity = layout.capacity();
        let Layout::Seated(described) = layout else {
            return Self { rows: Vec::new(), by_name: HashMap::default(), capacity, standing: true };
        };
        let mut rows = Vec::with_capacity(described.len());
        let mut by_name = HashMap::with_capacity_and_hasher(described.len(), RandomState::default());
        let mut first = 0;
        for row in described {
            let name = CompactString::from(row.name.as_str());
            by_name.entry(name.clone()).or_insert(rows.len() as u32);
            rows.push(NamedRow { name, first });
            first += u32::from(row.seats);
        }
        Self { rows, by_name, capacity, standing: false }
    }

    /// Whether its places have no names.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.standing
    }

    /// How many places there are.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The seat of that name; cut at the last `-`. One hash of the row's name.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<SeatIx> {
        let (row, number) = name.rsplit_once('-')?;
        let number: u32 = number.parse().ok().filter(|_| !number.starts_with(['0', '+']))?;
        let row = *self.by_name.get(row)? as usize;
        let seat = self.rows[row].first.checked_add(number - 1)?;
        (seat < self.end_of(row)).then_some(SeatIx(seat))
    }

    /// The name of a seat. Logarithmic in rows.
    #[must_use]
    pub fn name(&self, seat: SeatIx) -> Option<CompactString> {
        if self.standing || seat.0 >= self.capacity {
            return None;
        }
        let row = &self.rows[self.rows.partition_point(|row| row.first <= seat.0) - 1];
        Some(format_compact!("{}-{}", row.name, seat.0 - row.first + 1))
    }

    fn end_of(&self, row: usize) -> u32 {
        self.rows.get(row + 1).map_or(self.capacity, |next| next.first)
    }
}
