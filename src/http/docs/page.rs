//! `/docs/errors`: the table of codes as a page. `type` of every problem points into it.

use std::fmt::Write as _;

use super::super::problem::Code;

/// The page.
pub(super) fn errors() -> String {
    let mut page = String::from(HEAD);
    for code in Code::ALL {
        let (name, status) = (code.name(), code.status().as_u16());
        let (title, meaning) = (escaped(code.title()), escaped(code.meaning()));
        let row = format_args!(
            "<section id=\"{name}\"><h2><code>{name}</code> <small>{status}</small></h2><p><b>{title}.</b> {meaning}</p></section>\n"
        );
        page.write_fmt(row).expect("a string takes everything");
    }
    page.push_str("</main></body></html>\n");
    page
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Errors · Stampede</title><style>\
body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1a1a1a;background:#fff}main{max-width:46rem;margin:auto;padding:1rem}\
section{border-top:1px solid #ddd}section:target{background:#fff6cc}h2{font-size:1.1rem;margin:.8rem 0 .2rem}\
small{color:#555;font-weight:normal}p{margin:.2rem 0 .8rem}</style></head><body><main><h1>Errors</h1>\
<p>Every answer that is not a success is <code>application/problem+json</code> (RFC 9457). Branch on <code>code</code>; \
the names below do not change. See also <a href=\"/docs/\">the API</a>.</p>\n";

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut parts = text.split('`');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (nth, part) in parts.enumerate() {
        out.push_str(if nth % 2 == 0 { "<code>" } else { "</code>" });
        out.push_str(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_place_and_marks_are_closed() {
        let page = errors();
        for code in Code::ALL {
            assert!(page.contains(&format!("<section id=\"{}\">", code.name())), "{}", code.name());
        }
        assert_eq!(page.matches("<code>").count(), page.matches("</code>").count());
        assert_eq!(escaped("a `b` <c>"), "a <code>b</code> &lt;c&gt;");
    }
}
