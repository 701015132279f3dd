//! Rules of fields: everything that is wrong with a request is collected, then said at once.

use std::fmt::Display;

use super::problem::{FieldError, Problem};

/// Most errors that are listed; a body that is all wrong does not deserve a longer answer.
const ERRORS_MAX: usize = 50;

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Checks {
    errors: Vec<FieldError>,
}

impl Checks {
    /// `field` must fulfil `rule`: words that continue the field's name.
    /// Both are formed only when it does not.
    pub(super) fn must(&mut self, holds: bool, field: impl Display, rule: impl Display) {
        if !holds && self.errors.len() < ERRORS_MAX {
            self.errors.push(FieldError { field: field.to_string(), message: rule.to_string() });
        }
    }

    /// A text of so many characters without control characters.
    pub(super) fn text(&mut self, field: &str, text: &str, most: usize) {
        let fits =
            (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control) && text.trim() == text;
        self.must(
            fits,
            field,
            format_args!("must be 1 to {most} characters without control characters or outer spaces"),
        );
    }

    /// A number of a range.
    pub(super) fn range<N: PartialOrd + Display>(&mut self, field: impl Display, value: N, least: N, most: N) {
        let fits = least <= value && value <= most;
        self.must(fits, field, format_args!("must be from {least} to {most}"));
    }

    /// The value, or the default and an error.
    pub(super) fn some<T: Default>(&mut self, value: Option<T>, field: impl Display, rule: impl Display) -> T {
        self.must(value.is_some(), field, rule);
        value.unwrap_or_default()
    }

    /// `value` if nothing was wrong.
    ///
    /// # Errors
    /// Everything that was wrong.
    pub(super) fn done<T>(self, value: T) -> Result<T, Problem> {
        if self.errors.is_empty() { Ok(value) } else { Err(Problem::invalid(&self.errors)) }
    }
}

/// Most characters of a mail address (RFC 5321, 4.5.3.1.3 without the brackets).
const EMAIL_MAX: usize = 254;

/// Whether this may be a mail address: one `@` with something before and a host with a dot or `localhost` after it.
/// Whether somebody reads it only a mail can tell.
pub(super) fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.rsplit_once('@') else { return false };
    let local_fits = (1..=64).contains(&local.len()) && !local.contains('@');
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host_fits = (host == "localhost" || host.contains('.')) && host.split('.').all(label_fits);
    let plain =
        |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '<' | '>' | ',' | ';' | ':' | '"' | '\\');
    text.len() <= EMAIL_MAX && local_fits && host_fits && local.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_addresses() {
        for good in ["a@b.example", "first.last+tag@mail.example.org", "jörg@bücher.example", "x@localhost"] {
            assert!(is_email(good), "{good}");
        }
        let long = format!("{}@b.example", "a".repeat(65));
        let injected = "a@b.example\r\nBcc: c@d.example";
        for bad in [
            "",
            "a",
            "@b.example",
            "a@",
            "a@b",
            "a b@c.example",
            "a@b..example",
            "a@-b.example",
            "<a@b.example>",
            &long,
            injected,
        ] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
