//! What a live session asks for: `?blocks=A,B` and `?resume=A:1041,B:77`.

use actix_web::web::Query;
use actors::ids::BlockId;
use serde::Deserialize;
use serde_json::json;

use crate::http::problem::{Code, Problem};

/// Most blocks one session may follow.
pub(super) const BLOCKS_MAX: usize = 100;

/// A block to follow, from its board on or from the change after `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) block: BlockId,
    pub(super) seq: Option<u64>,
}

#[derive(Deserialize)]
struct Asked {
    blocks: Option<String>,
    resume: Option<String>,
}

/// The blocks of a query, each once; none: the session wants the places by state.
pub(super) fn read(query: &str) -> Result<Vec<Wanted>, Problem> {
    let asked = Query::<Asked>::from_query(query).map_err(|_| bad("blocks", "must be given once, like resume"))?;
    let Asked { blocks, resume } = asked.into_inner();
    let mut wanted: Vec<Wanted> = Vec::new();
    for item in resume.as_deref().into_iter().flat_map(|list| list.split(',')) {
        let known = item.rsplit_once(':').filter(|(block, _)| !block.is_empty());
        let known = known.and_then(|(block, seq)| Some((block, seq.parse().ok()?)));
        let (block, seq) = known.ok_or_else(|| bad("resume", "must be like A:1041,B:77"))?;
        add(&mut wanted, block, Some(seq));
    }
    for block in blocks.as_deref().into_iter().flat_map(|list| list.split(',')) {
        if block.is_empty() {
            return Err(bad("blocks", "must be like A,B"));
        }
        add(&mut wanted, block, None);
    }
    if wanted.len() > BLOCKS_MAX {
        return Err(bad("blocks", &format!("must name at most {BLOCKS_MAX} blocks, together with resume")));
    }
    Ok(wanted)
}

fn add(wanted: &mut Vec<Wanted>, block: &str, seq: Option<u64>) {
    let block = BlockId::from(block);
    if wanted.len() <= BLOCKS_MAX && wanted.iter().all(|known| known.block != block) {
        wanted.push(Wanted { block, seq });
    }
}

fn bad(field: &str, rule: &str) -> Problem {
    let errors = json!([{ "field": field, "message": rule }]);
    Problem::new(Code::BadRequest, format!("{field} {rule}")).with("errors", errors)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn blocks_are_followed_from_their_board_or_from_a_change() {
        let at = |block: &str, seq| Wanted { block: block.into(), seq };
        assert_eq!(read("").unwrap(), []);
        assert_eq!(read("blocks=A,B&other=1").unwrap(), [at("A", None), at("B", None)]);
        assert_eq!(read("resume=A:1041,B%3A77").unwrap(), [at("A", Some(1041)), at("B", Some(77))]);
        assert_eq!(read("blocks=C,A&resume=A:7").unwrap(), [at("A", Some(7)), at("C", None)]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_field() {
        let many = |most: usize| format!("blocks={}", (0..most).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        assert_eq!(read(&many(BLOCKS_MAX)).unwrap().len(), BLOCKS_MAX);
        for bad in [
            "blocks=",
            "blocks=A,,B",
            "resume=",
            "resume=A",
            "resume=A:",
            "resume=:1",
            "resume=A:-1",
            "resume=A:x",
            "blocks=A&blocks=B",
            &many(BLOCKS_MAX + 1),
            &many(5000),
        ] {
            assert_eq!(read(bad).unwrap_err().code(), Code::BadRequest, "{bad}");
        }
    }
}
