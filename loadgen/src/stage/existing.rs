//! Looks an event up that somebody else put on sale: its blocks, and the rows of each.
//!
//! A description may say how many rows a block has without saying how long they are; then the block's layout is asked
//! for. What is missing there as well only means that seats are not picked by name, or that a check of the audit has
//! nothing to compare with.

use serde::Deserialize;
use serde_json::Value;

use super::{Block, Event, Row, Shape};
use crate::client::Client;
use crate::failure::Failure;

/// Reads the description of an event and, where it is not enough, the layouts of its blocks.
pub(super) fn look_up(client: &mut Client, id: &str) -> Result<Event, Failure> {
    let path = format!("/v1/events/{id}");
    let description: Value = client.get(&path, None)?;
    let mut blocks: Vec<Block> =
        description["blocks"].as_array().into_iter().flatten().filter_map(read_block).collect();
    if blocks.is_empty() {
        let reason = "event has no blocks".to_owned();
        return Err(Failure::Unreadable { request: format!("GET {path}"), reason });
    }
    for block in &mut blocks {
        if let Shape::Seated { rows } = &mut block.shape
            && rows.is_empty()
        {
            *rows = look_at_layout(client, &format!("{path}/blocks/{}/layout", block.id))?;
        }
    }
    Ok(Event { id: id.to_owned(), blocks })
}

/// Blocks are expected as they are created.
pub(super) fn read_block(block: &Value) -> Option<Block> {
    let id = block["id"].as_str().or(block["block"].as_str())?.to_owned();
    let price = block["price"].as_u64().or(block["price"]["amount"].as_u64());
    let shape = if block["kind"] == "standing" {
        Shape::Standing { capacity: block["capacity"].as_u64()? }
    } else {
        Shape::Seated { rows: read_rows(block) }
    };
    Some(Block { id, price, shape })
}

fn read_rows(block: &Value) -> Vec<Row> {
    if let (Some(count), Some(seats)) = (block["rows"].as_u64(), block["seats_per_row"].as_u64()) {
        return (1..=count).map(|row| Row { row: row.to_string(), seats: seats as u32 }).collect();
    }
    serde_json::from_value(block["rows"].clone()).unwrap_or_default()
}

/// The rows of a layout; none when its seats are not numbered from 1 without gaps, as we would name them.
fn look_at_layout(client: &mut Client, path: &str) -> Result<Vec<Row>, Failure> {
    #[derive(Deserialize)]
    struct Layout {
        #[serde(default)]
        rows: Vec<Numbered>,
    }
    #[derive(Deserialize)]
    struct Numbered {
        row: String,
        numbers: Vec<u32>,
    }
    let layout: Layout = client.get(path, None)?;
    let is_plain = |row: &Numbered| row.numbers.iter().zip(1..).all(|(has, wanted)| *has == wanted);
    if !layout.rows.iter().all(is_plain) {
        return Ok(Vec::new());
    }
    Ok(layout.rows.into_iter().map(|row| Row { row: row.row, seats: row.numbers.len() as u32 }).collect())
}
