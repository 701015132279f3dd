//! The report as one HTML page that needs nothing else: its plots are inline SVG.

use std::fmt::Write;

use super::{Code, Latency, Report, Row};

/// Size of a plot, in its own units.
const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 220.0;
/// Room for the labels.
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 28.0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#1b2330}\
    h1{font-size:1.5em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse;width:100%}\
    td,th{padding:.25em .6em;border-bottom:1px solid #dde;text-align:right}td:first-child,th:first-child{text-align:left}\
    .pass{color:#0a7a3c}.fail{color:#b3261e}svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#556}";

/// Colors of the percentiles, from the median to the longest.
const COLORS: [&str; 5] = ["#1b6ca8", "#3fa7d6", "#f4b942", "#e07a3f", "#b3261e"];

/// The whole page.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    // A String takes every write.
    let _ = page(report, &mut out);
    out
}

fn page(report: &Report, out: &mut String) -> std::fmt::Result {
    let run = escape(&report.run);
    write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Load run {run}</title><style>{STYLE}</style>"
    )?;
    write!(out, "<h1>Load run {run}</h1>")?;
    match report.passed() {
        true => write!(out, "<p class=\"pass\">passed</p>")?,
        false => {
            for failure in &report.failures {
                write!(out, "<p class=\"fail\">failed: {}</p>", escape(failure))?;
            }
        }
    }
    write!(out, "<pre>{}</pre>", escape(&super::table::render(report)))?;
    let rates: Vec<_> = report.moments.iter().map(|moment| (moment.at_s, moment.rate)).collect();
    let errors: Vec<_> = report.moments.iter().map(|moment| (moment.at_s, moment.errors)).collect();
    write!(out, "<h2>Answers a second</h2>{}", line_plot(&rates, COLORS[0]))?;
    write!(out, "<h2>Errors a second</h2>{}", line_plot(&errors, COLORS[4]))?;
    write!(out, "<h2>Latency by operation, from the intended start</h2>{}", latency_plot(&report.rows))?;
    latency_table(&report.rows, out)?;
    for (title, codes) in
        [("Errors", &report.errors_by_code), ("Refusals", &report.refusals), ("Retries", &report.retries)]
    {
        code_table(title, codes, out)?;
    }
    write!(out, "</html>")
}

fn line_plot(points: &[(f64, f64)], color: &str) -> String {
    let (end, top) = points.iter().fold((1e-9f64, 0f64), |(end, top), (x, y)| (end.max(*x), top.max(*y)));
    let top = if top > 0.0 { top * 1.1 } else { 1.0 };
    let place = |x: f64, y: f64| (LEFT + (WIDTH - LEFT) * x / end, (HEIGHT - BOTTOM) * (1.0 - y / top));
    let path: String = points
        .iter()
        .map(|(x, y)| {
            let (x, y) = place(*x, *y);
            format!("{x:.1},{y:.1} ")
        })
        .collect();
    let mut svg = open_svg();
    for part in 0..=4 {
        let value = top * f64::from(part) / 4.0;
        grid_line(&mut svg, place(0.0, value).1, &short(value));
    }
    let _ = write!(svg, "<text x=\"{LEFT}\" y=\"{}\">0 s</text>", HEIGHT - 8.0);
    let _ = write!(svg, "<text x=\"{WIDTH}\" y=\"{}\" text-anchor=\"end\">{end:.0} s</text>", HEIGHT - 8.0);
    let _ = write!(svg, "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" points=\"{path}\"/></svg>");
    svg
}

/// Bars on a logarithmic scale: percentiles of one operation lie decades apart.
fn latency_plot(rows: &[Row]) -> String {
    let lowest = rows.iter().map(|row| row.latency.p50).fold(f64::MAX, f64::min).max(1e-3);
    let highest = rows.iter().map(|row| row.latency.max).fold(lowest, f64::max);
    let (from, to) = (lowest.log10().floor(), highest.log10().ceil().max(lowest.log10().floor() + 1.0));
    let floor = HEIGHT - BOTTOM;
    let height = |ms: f64| floor * ((ms.max(1e-3).log10() - from) / (to - from)).clamp(0.01, 1.0);
    let mut svg = open_svg();
    for decade in from as i32..=to as i32 {
        let ms = 10f64.powi(decade);
        grid_line(&mut svg, floor - height(ms), &format!("{ms} ms"));
    }
    let group = (WIDTH - LEFT) / rows.len().max(1) as f64;
    let bar = group * 0.8 / COLORS.len() as f64;
    for (place, row) in rows.iter().enumerate() {
        let left = LEFT + group * (place as f64 + 0.1);
        for (number, (name, ms)) in percentiles(&row.latency).into_iter().enumerate() {
            let (x, h, color) = (left + bar * number as f64, height(ms), COLORS[number]);
            let _ = write!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{h:.1}\" fill=\"{color}\"><title>{} {name} {ms:.3} ms</title></rect>",
                floor - h,
                bar - 1.0,
                row.operation.name()
            );
        }
        let _ = write!(svg, "<text x=\"{left:.1}\" y=\"{}\">{}</text>", HEIGHT - 8.0, row.operation.name());
    }
    svg.push_str("</svg><p>");
    for (name, color) in percentiles(&Latency::default()).iter().map(|(name, _)| name).zip(COLORS) {
        let _ = write!(svg, "<span style=\"color:{color}\">■</span> {name} ");
    }
    svg.push_str("</p>");
    svg
}

fn percentiles(latency: &Latency) -> [(&'static str, f64); 5] {
    [("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("p99.9", latency.p999), ("max", latency.max)]
}

fn latency_table(rows: &[Row], out: &mut String) -> std::fmt::Result {
    write!(out, "<table><tr><th>milliseconds<th>count<th>p50<th>p90<th>p99<th>p99.9<th>max<th>service p99</tr>")?;
    for row in rows {
        write!(out, "<tr><td>{}<td>{}", row.operation.name(), row.count)?;
        for (_, ms) in percentiles(&row.latency) {
            write!(out, "<td>{ms:.3}")?;
        }
        write!(out, "<td>{:.3}</tr>", row.service.p99)?;
    }
    write!(out, "</table>")
}

fn code_table(title: &str, codes: &[Code], out: &mut String) -> std::fmt::Result {
    if codes.is_empty() {
        return Ok(());
    }
    write!(out, "<h2>{title}</h2><table><tr><th>operation<th>code<th>count</tr>")?;
    for code in codes {
        write!(out, "<tr><td>{}<td>{}<td>{}</tr>", code.operation, escape(&code.code), code.count)?;
    }
    write!(out, "</table>")
}

fn open_svg() -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">")
}

fn grid_line(svg: &mut String, y: f64, label: &str) {
    let _ = write!(svg, "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#dde\"/>");
    let _ =
        write!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 6.0, (y + 4.0).max(12.0));
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value if value >= 1e4 => format!("{:.0} k", value / 1e3),
        value => format!("{value:.1}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
