//! The simulated provider's own books, read from its file: what they must have in common with the audits.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use crate::client::Client;

/// What the audits of some events say about money. They must be all the events of a node.
#[derive(Debug, Default)]
pub(crate) struct Provider {
    captured: u64,
    refunded: u64,
    paid_orders: u64,
}

impl Provider {
    /// Adds what an event's audit says, which must be free of violations and of payments without an end.
    #[track_caller]
    pub(crate) fn expect(&mut self, organizer: &Client, event: &str) {
        let audit = organizer.get(&format!("/v1/events/{event}/audit")).expect(200);
        assert_eq!(audit["violations"], Value::Array(Vec::new()), "{audit}");
        assert_eq!(audit["open_payments"], 0, "{audit}");
        let amount = |name: &str| audit[name]["amount"].as_u64().expect("an amount");
        assert_eq!(amount("captured") - amount("refunded"), amount("paid"), "{audit}");
        self.captured += amount("captured");
        self.refunded += amount("refunded");
        self.paid_orders += audit["orders"]["paid"].as_u64().expect("a count");
    }

    /// Holds the provider's books in this data directory against the audits: the same money, and as many charges that
    /// were not given back as there are paid orders, so nobody was charged twice.
    #[track_caller]
    pub(crate) fn agrees_with(&self, data: &Path) {
        let books = std::fs::read_to_string(data.join("provider.ndjson")).expect("the provider's books");
        let mut charges: HashMap<String, i64> = HashMap::new();
        let (mut captured, mut refunded) = (0, 0);
        for line in books.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            let amount = line["amount"].as_u64().expect("an amount");
            let of = |name: &str| line[name].as_str().expect("a key").to_owned();
            match line["op"].as_str() {
                Some("captured") => {
                    captured += amount;
                    assert!(charges.insert(of("key"), amount as i64).is_none(), "one key was charged twice: {line}");
                }
                Some("refunded") => {
                    refunded += amount;
                    *charges.entry(of("charge")).or_default() -= amount as i64;
                }
                Some("taken_in") => {}
                _ => assert_eq!(line["op"], "declined"),
            }
        }
        assert_eq!((captured, refunded), (self.captured, self.refunded));
        let kept = charges.values().filter(|amount| **amount > 0).count();
        assert_eq!(kept as u64, self.paid_orders, "a charge that is kept belongs to one paid order");
    }
}
