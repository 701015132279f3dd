//! The customers of a block: each name once, a number for it, and how many places it has.
//!
//! A hold names its customer by number, so that a name is stored once however many holds it has. A number is free again when
//! the last hold that names it is forgotten. Numbers are private to one machine in memory: they are not stored.

use xxhash_rust::xxh3::xxh3_64;

use super::numbers::Numbers;
use crate::ids::Customer;

/// A customer's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who(u32);

/// See the module's charter.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    entries: Vec<Entry>,
    numbers: Numbers,
    vacant: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Customer,
    /// Holds that name it, ended ones too.
    holds: u32,
    /// Places of its live holds.
    places: u32,
}

impl Roster {
    /// The number of a customer who has holds.
    pub(super) fn find(&self, name: &Customer) -> Option<Who> {
        self.numbers.find(hash(name), |number| self.entries[number as usize].name == *name).map(Who)
    }

    pub(super) fn name(&self, who: Who) -> &Customer {
        &self.entries[who.0 as usize].name
    }

    /// Held, bound and sold places of a customer.
    pub(super) fn places(&self, who: Who) -> u32 {
        self.entries[who.0 as usize].places
    }

    /// Places of all customers.
    pub(super) fn all_places(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.places)).sum()
    }

    /// See [`crate::machine::Machine::foresee`].
    pub(super) fn foresee(&self, name: &Customer) -> u64 {
        self.numbers.foresee(hash(name))
    }

    /// One more hold names the customer.
    pub(super) fn enter(&mut self, name: &Customer) -> Who {
        let who = self.find(name).unwrap_or_else(|| self.admit(name));
        self.entries[who.0 as usize].holds += 1;
        who
    }

    fn admit(&mut self, name: &Customer) -> Who {
        let entry = Entry { name: name.clone(), holds: 0, places: 0 };
        let number = match self.vacant.pop() {
            Some(number) => {
                self.entries[number as usize] = entry;
                number
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.numbers.insert(hash(name), number);
        Who(number)
    }

    /// A hold that named the customer is forgotten.
    pub(super) fn leave(&mut self, who: Who) {
        let Self { entries, numbers, vacant } = self;
        let entry = &mut entries[who.0 as usize];
        entry.holds -= 1;
        if entry.holds > 0 {
            return;
        }
        assert_eq!(entry.places, 0, "a customer without holds has no places");
        let name = std::mem::replace(&mut entry.name, Customer::from(""));
        numbers.remove(hash(&name), who.0);
        vacant.push(who.0);
    }

    pub(super) fn add(&mut self, who: Who, places: u32) {
        self.entries[who.0 as usize].places += places;
    }

    pub(super) fn subtract(&mut self, who: Who, places: u32) {
        let entry = &mut self.entries[who.0 as usize];
        entry.places = entry.places.checked_sub(places).expect("a customer gives back what it has");
    }
}

fn hash(name: &Customer) -> u32 {
    xxh3_64(name.as_str().as_bytes()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_name_are_free_again_after_the_last_hold() {
        let mut roster = Roster::default();
        let (ann, bob) = (Customer::from("ann"), Customer::from("bob"));
        let who = roster.enter(&ann);
        assert_eq!(roster.enter(&ann), who);
        roster.add(who, 3);
        roster.subtract(who, 3);
        roster.leave(who);
        assert_eq!(roster.find(&ann), Some(who));
        roster.leave(who);
        assert_eq!((roster.find(&ann), roster.numbers.len()), (None, 0));
        assert_eq!(roster.enter(&bob), who);
        assert_eq!((roster.find(&bob), roster.find(&ann), roster.entries.len()), (Some(who), None, 1));
    }
}
