//! Pages: `?limit=` and `?after=`, and the list that answers them.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Query;
use actix_web::{FromRequest, HttpRequest};
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};

/// Items of a page when the client does not say.
const LIMIT_DEFAULT: u32 = 100;
/// Most items of a page.
pub(super) const LIMIT_MAX: u32 = 1000;
/// Longest cursor that is looked at.
const CURSOR_MAX: usize = 128;

/// Which page is wanted.
#[derive(Debug, PartialEq)]
pub(super) struct Page {
    /// At most so many items, 1 to 1000.
    pub(super) limit: u32,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    limit: Option<String>,
    after: Option<String>,
}

impl Page {
    /// The cursor as what it stands for.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`]: we never gave out such a cursor.
    pub(super) fn after<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        let read =
            |text: &String| text.parse().map_err(|_| Problem::invalid_field("after", "must be the `next` of a page"));
        self.after.as_ref().map(read).transpose()
    }
}

impl FromRequest for Page {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read(request.query_string()))
    }
}

fn read(query: &str) -> Result<Page, Problem> {
    let Asked { limit, after } = Query::<Asked>::from_query(query)
        .map_err(|_| Problem::new(Code::BadRequest, "the query cannot be read"))?
        .into_inner();
    let limit = match limit {
        None => LIMIT_DEFAULT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| Problem::invalid_field("limit", format!("must be a number from 1 to {LIMIT_MAX}")))?,
    };
    let after = after.filter(|after| !after.is_empty());
    if after.as_ref().is_some_and(|after| after.len() > CURSOR_MAX) {
        return Err(Problem::invalid_field("after", "must be the `next` of a page"));
    }
    Ok(Page { limit, after })
}

/// A part of a list.
#[derive(Debug, Serialize)]
pub(super) struct PageAnswer<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// Ask with `after` this for the next page; null: this was the last.
    pub(super) next: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_page_has_1_to_1000_items() {
        assert_eq!(read("").unwrap(), Page { limit: 100, after: None });
        assert_eq!(read("limit=1000&after=abc&x=y").unwrap(), Page { limit: 1000, after: Some("abc".into()) });
        for bad in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", &format!("after={}", "a".repeat(129))] {
            assert_eq!(read(bad).unwrap_err().code(), Code::InvalidRequest, "{bad}");
        }
        assert_eq!(read("limit=1&limit=2").unwrap_err().code(), Code::BadRequest);
        assert!(read("after=rubbish").unwrap().after::<actors::ids::OrderId>().is_err());
    }
}
