//! A correct box office: what is sold adds up, and what is measured has its names.

use loadgen::audit::claims::Claims;
use loadgen::report::{html, json, table};

use super::box_office::{BoxOffice, Fault};
use super::{count, run};

#[test]
fn a_concert_sells_out_and_the_audit_passes() {
    let office = BoxOffice::open(&[]);
    let report = run(
        &office.url(),
        "--mix sellout --until-sold-out --audit --seats 203 --blocks 3 --seats-per-row 10 --standing 41 --connections 4 --pipeline 3 --replays 20",
    );
    let audit = report.audit.clone().unwrap();
    assert_eq!(report.failures, Vec::<String>::new());
    assert_eq!(audit.checked.seats_sold, 244);
    assert_eq!((audit.lost, audit.doubled, audit.violations), (0, 0, 0));
    assert_eq!(audit.acknowledged as usize, office.holds_given() + office.orders_taken());
    assert_eq!(audit.checked.orders_paid, report.orders_paid);
    assert!(report.sold_out_after.is_some() && report.replays > 0 && count(&report.refusals, "sold_out") > 0);
}

/// A rate that is made of refusals is not read as one of holds: text and JSON say so.
#[test]
fn a_run_whose_places_ran_out_or_whose_holds_were_refused_warns() {
    let warned = |flags: &str| {
        let report = run(&BoxOffice::open(&[]).url(), &format!("{flags} --connections 2"));
        assert_eq!(report.failures, Vec::<String>::new());
        let (json, text) = (json::render(&report), table::render(&report));
        assert_eq!(json["warnings"].as_array().unwrap().len(), text.matches("WARNING").count(), "{text}");
        (json["ran_out"].as_bool().unwrap(), json["operations"]["hold"]["refused"].as_u64().unwrap(), text)
    };
    let (ran_out, refused, text) = warned("--mix hold --duration 300ms --seats 40 --picked 0");
    assert!(ran_out && refused > 0 && text.contains("WARNING places run out"), "{text}");
    let (ran_out, refused, text) = warned("--mix hold --duration 300ms --seats 40 --picked 100");
    assert!(!ran_out && refused > 0 && text.contains("% of the holds were refused"), "{text}");
    let (ran_out, refused, text) =
        warned("--mix hold --duration 300ms --seats 100000 --blocks 1 --standing 900000 --picked 0");
    assert!(!ran_out && refused == 0 && !text.contains("WARNING"), "{text}");
    let (ran_out, _, text) = warned("--mix sellout --until-sold-out --seats 40 --duration 60s");
    assert!(!ran_out && !text.contains("WARNING"), "{text}");
}

/// Depth 16 and answers cut into pieces of three bytes: an answer that was matched to another request would journal a
/// hold for the wrong customer or block, and the audit would see it.
#[test]
fn pipelined_answers_are_matched_in_order_however_they_are_cut() {
    let office = BoxOffice::open(&[Fault::Dribble(3)]);
    let report = run(
        &office.url(),
        "--mix availability=2,seats=1,hold=4,order=2,release=1,order_status=1 --duration 700ms --pipeline 16 --connections 3 --threads 2 --seats 900 --timeout 60s --audit --max-errors 0",
    );
    assert_eq!(report.failures, Vec::<String>::new());
    let audit = report.audit.unwrap();
    assert!(audit.checked.holds > 20 && audit.checked.orders > 5, "{audit:?}");
}

#[test]
fn an_open_loop_is_reported_by_its_names() {
    let office = BoxOffice::open(&[]);
    let report = run(
        &office.url(),
        "--rate 200 --duration 1s --connections 8 --events 2 --seats 200 --timeout 60s --max-errors 0",
    );
    assert_eq!(report.failures, Vec::<String>::new());
    let json = json::render(&report);
    assert_eq!(json["asked_rate"], 200.0);
    assert!(json["rate"].as_f64().unwrap() > 0.0 && json["achieved"].as_f64().unwrap() > 0.0);
    assert_eq!(json["errors"], 0);
    for name in ["count", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"] {
        assert!(json["operations"]["availability"][name].as_f64().is_some_and(|value| value > 0.0), "{name}");
    }
    let availability = json["operations"]["availability"]["count"].as_f64().unwrap();
    let all: f64 = json["operations"].as_object().unwrap().values().map(|row| row["count"].as_f64().unwrap()).sum();
    assert!((0.65..0.9).contains(&(availability / all)), "availability is most of a rush");
    let page = html::render(&report);
    assert!(
        page.contains("<svg")
            && page.contains("availability")
            && !page.contains("http-equiv")
            && !page.contains("<script")
    );
}

#[test]
fn an_event_that_exists_is_sold_as_it_is() {
    let office = BoxOffice::open(&[]);
    let first = run(&office.url(), "--mix hold=1 --duration 200ms --connections 1 --seats 9000 --blocks 2 --audit");
    let event = format!("{}-1", first.run);
    let second = run(&office.url(), &format!("--event {event} --mix sellout --duration 300ms --connections 2 --audit"));
    assert!(second.audit.as_ref().is_some_and(|audit| audit.checked.holds > 0));
    assert_eq!(second.failures, Vec::<String>::new(), "holds of others in the same event are not ours to judge");
}

/// The description does not say how long rows are; buyers still spread over all blocks by their size, and pick seats.
#[test]
fn an_event_that_exists_is_known_by_its_layouts() {
    let office = BoxOffice::open(&[]);
    let first = run(
        &office.url(),
        "--mix availability=1 --duration 100ms --connections 1 --seats 9000 --blocks 2 --standing 90",
    );
    let flags = "--mix hold=1 --duration 500ms --connections 4 --picked 100 --audit --journal";
    let journal = tempfile::NamedTempFile::new().unwrap();
    let second = run(&office.url(), &format!("--event {}-1 {flags} {}", first.run, journal.path().display()));
    assert_eq!(second.failures, Vec::<String>::new());
    let claims = Claims::fold(loadgen::journal::read(journal.path()).unwrap());
    let picked = claims.holds.values().filter(|hold| hold.line.block != "FLOOR").count();
    assert!(picked * 10 > claims.holds.len() * 8, "{picked} of {} holds are seated", claims.holds.len());
}

/// Holds whose order is refused are given back at once; nobody waits an hour for them to expire.
#[test]
fn refused_orders_do_not_keep_a_concert_from_selling_out() {
    let office = BoxOffice::open(&[Fault::RefuseOrders(7)]);
    let report = run(
        &office.url(),
        "--mix sellout --until-sold-out --audit --seats 80 --blocks 2 --connections 2 --duration 60s",
    );
    assert_eq!(report.failures, Vec::<String>::new());
    assert_eq!((report.audit.unwrap().checked.seats_sold, count(&report.refusals, "customer_limit")), (80, 7));
}

/// Seats of orders whose payment was declined go back on sale and are sold to others.
#[test]
fn declined_payments_do_not_keep_a_concert_from_selling_out() {
    let office = BoxOffice::open(&[]);
    let report = run(
        &office.url(),
        "--mix sellout --until-sold-out --audit --seats 80 --blocks 2 --payments tok_ok=2,tok_declined=1 --connections 2 --duration 60s",
    );
    assert_eq!(report.failures, Vec::<String>::new());
    let audit = report.audit.unwrap();
    assert_eq!((audit.checked.seats_sold, audit.checked.orders_paid), (80, report.orders_paid));
    assert!(report.orders_paid < audit.checked.orders, "some were declined");
}

#[test]
fn what_a_run_costs_the_server_is_told() {
    let office = BoxOffice::open(&[]);
    // The box office lives in this process.
    let flags = "--mix availability --duration 200ms --connections 1 --seats 100 --server-pid";
    let report = run(&office.url(), &format!("{flags} {}", std::process::id()));
    let cost = report.server.unwrap();
    assert!(cost.before > 0 && cost.laid_out > 0 && cost.after > 0, "{cost:?}");
    let told = json::render(&report);
    assert!(told["server"]["cpu_us_per_request"].is_number(), "{told:#}");
    assert_eq!(told["server"]["resident_bytes"]["after"], cost.after);
}
