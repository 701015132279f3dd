//! Stories of charges: answered, declined, lost on either way, late, double; and of the breaker around them.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::FutureExt as _;

use super::*;
use crate::config::{self, Config, Share};
use rounds::decided;

mod rounds;

const SECOND: Duration = Duration::from_secs(1);

/// A provider in its own directory, seen by one caller with all the time in the world and one with none.
struct Shop {
    dir: tempfile::TempDir,
    provider: Simulated,
    patient: Guarded,
    hasty: Guarded,
}

fn quick() -> config::Simulated {
    let mut config = Config::defaults().payments.simulated;
    config.latency_p50 = Duration::from_micros(100);
    config.latency_p99 = Duration::from_micros(300);
    config.slow_latency = Duration::from_millis(5);
    config.late_delay = Duration::from_millis(200);
    config
}

fn limits(failures: u32) -> BreakerLimits {
    BreakerLimits { failures, window: 10 * SECOND, open_for: 5 * SECOND, half_open_probes: 2 }
}

fn guard(inner: Arc<dyn Gateway>, timeout: Duration) -> Guarded {
    Guarded::new(inner, timeout, limits(1000), Box::new(|_, _, _, _| {}))
}

impl Shop {
    fn with(change: impl FnOnce(&mut config::Simulated)) -> Shop {
        let mut config = quick();
        change(&mut config);
        Shop::in_dir(tempfile::tempdir().unwrap(), &config)
    }

    fn in_dir(dir: tempfile::TempDir, config: &config::Simulated) -> Shop {
        let provider = Simulated::open(config, &dir.path().join("provider.ndjson")).unwrap();
        let patient = guard(Arc::new(provider.clone()), 60 * SECOND);
        let hasty = guard(Arc::new(provider.clone()), Duration::from_millis(20));
        Shop { dir, provider, patient, hasty }
    }

    /// The server and the provider in it are killed and started again.
    fn restarted(self) -> Shop {
        Shop::in_dir(self.dir, &quick())
    }

    fn books(&self) -> PathBuf {
        self.dir.path().join("provider.ndjson")
    }

    fn recorded(&self, key: &str) -> ChargeStatus {
        self.provider.recorded(key).unwrap()
    }

    fn totals(&self) -> (u64, u64) {
        self.provider.totals().get("EUR").map_or((0, 0), |t| (t.captured, t.refunded))
    }
}

fn charge(key: &str, token: &str) -> ChargeRequest {
    ChargeRequest { key: key.to_owned(), amount: 8500, currency: "EUR".to_owned(), token: token.to_owned() }
}

fn refund(key: &str, charge: &str, amount: u64) -> RefundRequest {
    RefundRequest { key: key.to_owned(), charge: charge.to_owned(), amount, currency: "EUR".to_owned() }
}

fn declined(result: &ChargeResult) -> &str {
    match result {
        ChargeResult::Declined { code, .. } => code,
        ChargeResult::Captured { .. } => "captured",
    }
}

#[tokio::test]
async fn the_same_key_is_charged_once_however_often_it_is_asked() {
    let shop = Shop::with(|c| c.duplicate_rate = Share(1.0));
    let first = shop.patient.charge(charge("pay_1", "tok_ok")).await.unwrap();
    assert_eq!(shop.patient.charge(charge("pay_1", "tok_ok")).await.unwrap(), first);
    let many = (0..20).map(|_| shop.patient.charge(charge("pay_2", "tok_ok")));
    let answers = futures_util::future::join_all(many).await;
    assert!(answers.iter().all(|answer| answer == &answers[0]));
    assert_eq!(shop.totals(), (17_000, 0));

    let other_amount = ChargeRequest { amount: 1, ..charge("pay_1", "tok_ok") };
    let other_currency = ChargeRequest { currency: "USD".to_owned(), ..charge("pay_1", "tok_ok") };
    for other in [other_amount, other_currency] {
        let mismatch = Err(GatewayError::Rejected { code: "idempotency_mismatch" });
        assert_eq!(shop.patient.charge(other).await, mismatch);
    }
}

#[tokio::test]
async fn a_decline_is_final_for_its_key() {
    let shop = Shop::with(|_| {});
    let answer = shop.patient.charge(charge("pay_1", "tok_declined")).await.unwrap();
    assert_eq!(declined(&answer), "card_declined");
    assert_eq!(shop.patient.charge(charge("pay_1", "tok_ok")).await.unwrap(), answer);
    let unknown = shop.patient.charge(charge("pay_2", "4111111111111111")).await.unwrap();
    assert_eq!(declined(&unknown), "invalid_token");
    assert!(matches!(shop.patient.status("pay_1".to_owned()).await, Ok(ChargeStatus::Declined { .. })));
    assert_eq!(shop.patient.status("pay_3".to_owned()).await, Ok(ChargeStatus::NotFound));
    assert_eq!(shop.totals(), (0, 0));
}

#[tokio::test]
async fn a_timeout_after_the_capture_is_unknown_until_asked() {
    let shop = Shop::with(|_| {});
    assert_eq!(shop.hasty.charge(charge("pay_1", "tok_timeout")).await, Err(GatewayError::Unknown));
    let status = shop.patient.status("pay_1".to_owned()).await.unwrap();
    let ChargeStatus::Captured { reference } = status else { panic!("{status:?}") };
    let again = shop.patient.charge(charge("pay_1", "tok_timeout")).await;
    assert_eq!(again, Ok(ChargeResult::Captured { reference }));
    assert_eq!(shop.totals(), (8500, 0));
}

#[tokio::test]
async fn lost_before_the_capture_means_nothing_was_taken() {
    let shop = Shop::with(|c| c.timeout_before_capture_rate = Share(1.0));
    assert_eq!(shop.hasty.charge(charge("pay_1", "tok_ok")).await, Err(GatewayError::Unknown));
    assert_eq!(shop.patient.status("pay_1".to_owned()).await, Ok(ChargeStatus::NotFound));
    assert_eq!(shop.totals(), (0, 0));
}

#[tokio::test]
async fn a_late_charge_is_pending_and_then_stands_although_nobody_waited() {
    let shop = Shop::with(|c| c.late_rate = Share(1.0));
    let taken_in = async {
        while shop.recorded("pay_1") != ChargeStatus::Pending {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = taken_in => {}
        answer = shop.provider.charge(charge("pay_1", "tok_ok")) => panic!("answered in time: {answer:?}"),
    }
    while shop.patient.status("pay_1".to_owned()).await == Ok(ChargeStatus::Pending) {}
    assert!(matches!(shop.recorded("pay_1"), ChargeStatus::Captured { .. }));
    assert_eq!(shop.totals(), (8500, 0));
}

#[tokio::test]
async fn slow_is_slow_and_an_error_happens_before_anything_else() {
    let shop = Shop::with(|_| {});
    let started = Instant::now();
    shop.patient.charge(charge("pay_1", "tok_slow")).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(5));
    let shop = Shop::with(|c| c.error_rate = Share(1.0));
    let away = GatewayError::Unavailable { retry_after: None };
    assert_eq!(shop.patient.charge(charge("pay_1", "tok_ok")).await, Err(away.clone()));
    assert_eq!(shop.patient.status("pay_1".to_owned()).await, Err(away.clone()));
    assert_eq!(shop.patient.refund(refund("ref_1", "pay_1", 1)).await, Err(away));
    assert_eq!(shop.recorded("pay_1"), ChargeStatus::NotFound);
}

#[tokio::test]
async fn money_is_given_back_once_and_never_more_than_was_taken() {
    let shop = Shop::with(|_| {});
    shop.patient.charge(charge("pay_1", "tok_ok")).await.unwrap();
    shop.patient.charge(charge("pay_2", "tok_declined")).await.unwrap();
    let first = shop.patient.refund(refund("ref_1", "pay_1", 8000)).await.unwrap();
    assert_eq!(shop.patient.refund(refund("ref_1", "pay_1", 8000)).await.unwrap(), first);
    fn rejected<T>(code: &'static str) -> Result<T, GatewayError> {
        Err(GatewayError::Rejected { code })
    }
    for (request, code) in [
        (refund("ref_1", "pay_1", 7000), "idempotency_mismatch"),
        (refund("ref_2", "pay_1", 501), "refund_exceeds_charge"),
        (refund("ref_2", "pay_2", 1), "no_such_charge"),
        (refund("ref_2", "pay_3", 1), "no_such_charge"),
        (refund("", "pay_1", 1), "bad_key"),
    ] {
        assert_eq!(shop.patient.refund(request).await, rejected(code), "{code}");
    }
    assert!(matches!(shop.recorded("pay_1"), ChargeStatus::Refunded { amount: 8000, .. }));
    assert_eq!(shop.totals(), (8500, 8000));
    let bad = ChargeRequest { currency: "euro".to_owned(), ..charge("pay_4", "tok_ok") };
    assert_eq!(shop.patient.charge(bad).await, rejected("bad_currency"));
    assert_eq!(shop.patient.charge(charge(&"k".repeat(129), "tok_ok")).await, rejected("bad_key"));
}

#[tokio::test]
async fn a_refund_whose_answer_was_lost_is_made_once_when_asked_again() {
    let shop = Shop::with(|_| {});
    shop.patient.charge(charge("pay_1", "tok_ok")).await.unwrap();
    let mut config = quick();
    config.timeout_after_capture_rate = Share(1.0);
    let shop = Shop::in_dir(shop.dir, &config);
    assert_eq!(shop.hasty.refund(refund("pay_1", "pay_1", 8500)).await, Err(GatewayError::Unknown));
    shop.patient.refund(refund("pay_1", "pay_1", 8500)).await.unwrap();
    assert_eq!(shop.totals(), (8500, 8500));
}

#[tokio::test]
async fn the_books_survive_a_kill_even_in_the_middle_of_a_line() {
    let shop = Shop::with(|_| {});
    let first = shop.patient.charge(charge("pay_1", "tok_ok")).await.unwrap();
    assert_eq!(shop.hasty.charge(charge("pay_2", "tok_timeout")).await, Err(GatewayError::Unknown));
    shop.patient.charge(charge("pay_3", "tok_declined")).await.unwrap();
    shop.patient.refund(refund("ref_1", "pay_1", 8500)).await.unwrap();
    let whole = std::fs::read(shop.books()).unwrap();
    std::fs::write(shop.books(), [&whole[..], br#"{"op":"captured","key":"pay_4","#].concat()).unwrap();

    let shop = shop.restarted();
    assert_eq!(shop.patient.charge(charge("pay_1", "tok_ok")).await.unwrap(), first);
    assert!(matches!(shop.recorded("pay_2"), ChargeStatus::Captured { .. }));
    assert!(matches!(shop.recorded("pay_3"), ChargeStatus::Declined { .. }));
    assert_eq!(shop.recorded("pay_4"), ChargeStatus::NotFound);
    assert_eq!(shop.totals(), (17_000, 8500));
    let fourth = shop.patient.charge(charge("pay_4", "tok_ok")).await.unwrap();
    assert_ne!(fourth, first, "references are not used twice");
    assert_eq!(shop.restarted().totals(), (25_500, 8500));
}

#[test]
fn damaged_books_are_refused_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("provider.ndjson");
    let line = r#"{"op":"captured","key":"a","amount":1,"currency":"EUR","number":1}"#;
    for (text, reason) in [
        (format!("{line}\nrubbish\n"), ":2:"),
        (format!("{line}\n{line}\n"), "charged_twice"),
        (
            r#"{"op":"refunded","key":"r","charge":"a","amount":1,"number":1}"#.to_owned() + "\n",
            "refund_without_charge",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Simulated::open(&quick(), &path).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("provider.ndjson"), "{error}");
    }
}

#[tokio::test]
async fn providers_with_one_ledger_are_one_provider() {
    let shop = Shop::with(|_| {});
    let other = Simulated::open(&quick(), &shop.books()).unwrap();
    let first = shop.provider.charge(charge("pay_1", "tok_ok")).await.unwrap();
    assert_eq!(other.charge(charge("pay_1", "tok_declined")).await.unwrap(), first, "the first decision stands");
    let second = other.charge(charge("pay_2", "tok_ok")).await.unwrap();
    assert_ne!(second, first, "numbers are not used twice");
    assert_eq!(shop.provider.status("pay_2".to_owned()).await, other.status("pay_2".to_owned()).await);
    other.refund(refund("ref_1", "pay_1", 8000)).await.unwrap();
    let too_much = shop.provider.refund(refund("ref_2", "pay_1", 501)).await;
    assert_eq!(too_much, Err(GatewayError::Rejected { code: "refund_exceeds_charge" }));
    assert_eq!((shop.provider.totals(), shop.totals()), (other.totals(), (17_000, 8000)));
}

#[tokio::test]
async fn a_charge_that_one_provider_took_in_is_pending_for_the_other_and_decided_when_due() {
    let shop = Shop::with(|_| {});
    let mut late = quick();
    late.late_rate = Share(1.0);
    let other = Simulated::open(&late, &shop.books()).unwrap();
    let taken_in = async {
        while shop.recorded("pay_1") != ChargeStatus::Pending {
            tokio::task::yield_now().await;
        }
    };
    // A process that is killed never comes to decide.
    let mut asked = other.charge(charge("pay_1", "tok_ok"));
    tokio::select! {
        biased;
        () = taken_in => {}
        answer = &mut asked => panic!("answered in time: {answer:?}"),
    }
    let shop = shop.restarted();
    assert_eq!(shop.recorded("pay_1"), ChargeStatus::Pending);
    while shop.recorded("pay_1") == ChargeStatus::Pending {
        std::thread::yield_now();
    }
    assert!(matches!(shop.recorded("pay_1"), ChargeStatus::Captured { .. }));
    assert_eq!(shop.totals(), (8500, 0));
}

#[test]
fn many_at_one_ledger_enter_every_key_once() {
    let shop = Shop::with(|_| {});
    let entered: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let mut ledger = ledger::Ledger::open(&shop.books()).unwrap();
                scope.spawn(move || {
                    let decide = |key: u32| decided(&mut ledger, &format!("pay_{key}")).unwrap().number;
                    (0..200).map(decide).collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(entered.iter().all(|numbers| numbers == &entered[0]), "everybody heard the same");
    let books = std::fs::read_to_string(shop.books()).unwrap();
    assert_eq!((books.lines().count(), shop.totals()), (200, (20_000, 0)));
}

#[test]
fn the_line_of_a_process_that_was_killed_is_removed_by_the_next_who_looks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("provider.ndjson");
    let mut ledger = ledger::Ledger::open(&path).unwrap();
    decided(&mut ledger, "pay_1").unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], br#"{"op":"captured","key":"pay_2","#].concat()).unwrap();
    assert_eq!(ledger.recorded("pay_2", 0).unwrap(), ledger::Recorded::Nothing);
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert_eq!(decided(&mut ledger, "pay_2").unwrap().number, 2);
    std::fs::write(&path, "").unwrap();
    let gone = decided(&mut ledger, "pay_3");
    assert_eq!(
        gone,
        Err(GatewayError::Unavailable { retry_after: None }),
        "books that were emptied are not gone on with"
    );
}

#[test]
fn a_ledger_that_another_process_does_not_let_go_is_unavailable_and_comes_back() {
    let shop = Shop::with(|_| {});
    let held = std::fs::File::open(shop.books()).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(shop.provider.recorded("pay_1"), Err(GatewayError::Unavailable { retry_after: None }));
    drop(held);
    assert_eq!(shop.recorded("pay_1"), ChargeStatus::NotFound);
}

#[tokio::test]
async fn a_seed_fixes_every_choice_and_shares_come_out_as_asked() {
    async fn outcomes(seed: u64) -> Vec<bool> {
        let shop = Shop::with(|c| (c.seed, c.decline_rate) = (seed, Share(0.3)));
        let mut declines = Vec::new();
        for n in 0..200 {
            let answer = shop.patient.charge(charge(&format!("pay_{n}"), "tok_ok")).await.unwrap();
            declines.push(declined(&answer) == "card_declined");
        }
        declines
    }
    let one = outcomes(1).await;
    assert_eq!(one, outcomes(1).await);
    assert_ne!(one, outcomes(2).await);
    let share = one.iter().filter(|d| **d).count();
    assert!((40..=80).contains(&share), "{share} of 200 declined at 30%");
}

#[test]
fn the_breaker_opens_waits_probes_and_closes() {
    let start = Instant::now();
    let at = |seconds: u32| start + seconds * SECOND;
    let mut breaker = Breaker::new(limits(3));
    let fail = |breaker: &mut Breaker, now| {
        let permit = breaker.permit(now).unwrap();
        breaker.failed(permit, now);
    };
    fail(&mut breaker, at(0));
    fail(&mut breaker, at(1));
    fail(&mut breaker, at(10)); // the first has left the window
    assert_eq!(breaker.state(at(10)), BreakerState::Closed);
    fail(&mut breaker, at(10));
    assert_eq!(breaker.state(at(10)), BreakerState::Open);
    assert_eq!(breaker.permit(at(11)).unwrap_err(), 4 * SECOND);

    assert_eq!(breaker.state(at(15)), BreakerState::HalfOpen);
    let (one, two) = (breaker.permit(at(15)).unwrap(), breaker.permit(at(15)).unwrap());
    assert!(breaker.permit(at(15)).is_err(), "two probes and no more");
    breaker.succeeded(one);
    breaker.failed(two, at(16));
    assert_eq!(breaker.permit(at(20)).unwrap_err(), SECOND);

    let (one, two) = (breaker.permit(at(21)).unwrap(), breaker.permit(at(21)).unwrap());
    breaker.abandoned(one);
    let three = breaker.permit(at(21)).unwrap();
    breaker.succeeded(two);
    breaker.succeeded(three);
    assert_eq!(breaker.state(at(21)), BreakerState::Closed);
}

#[test]
fn a_call_from_before_the_opening_does_not_disturb_the_probes() {
    let now = Instant::now();
    let mut breaker = Breaker::new(limits(1));
    let (old, other) = (breaker.permit(now).unwrap(), breaker.permit(now).unwrap());
    breaker.failed(other, now);
    let probe = breaker.permit(now + 5 * SECOND).unwrap();
    breaker.failed(old, now + 5 * SECOND);
    assert_eq!(breaker.state(now + 5 * SECOND), BreakerState::HalfOpen);
    breaker.succeeded(probe);
}

/// A provider that counts calls and is always away.
#[derive(Default)]
struct Away(AtomicU32);

impl Away {
    fn answer<T: Send + 'static>(&self) -> BoxFuture<'_, Result<T, GatewayError>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        async { Err(GatewayError::Unavailable { retry_after: None }) }.boxed()
    }
}

impl Gateway for Away {
    fn charge(&self, _: ChargeRequest) -> BoxFuture<'_, Result<ChargeResult, GatewayError>> {
        self.answer()
    }
    fn refund(&self, _: RefundRequest) -> BoxFuture<'_, Result<Refunded, GatewayError>> {
        self.answer()
    }
    fn status(&self, _: String) -> BoxFuture<'_, Result<ChargeStatus, GatewayError>> {
        self.answer()
    }
}

#[tokio::test]
async fn an_open_breaker_keeps_calls_away_and_says_when_to_come_back() {
    let away = Arc::new(Away::default());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&heard);
    let observe = move |operation, outcome: CallOutcome, _, state| {
        note.lock().unwrap().push((operation, outcome.word(), state));
    };
    let guarded = Guarded::new(away.clone(), SECOND, limits(2), Box::new(observe));
    let request = || charge("pay_1", "tok_ok");
    assert!(matches!(guarded.charge(request()).await, Err(GatewayError::Unavailable { retry_after: None })));
    assert!(guarded.status("pay_1".to_owned()).await.is_err());
    let kept = guarded.charge(request()).await;
    assert!(
        matches!(kept, Err(GatewayError::Unavailable { retry_after: Some(wait) }) if wait <= 5 * SECOND),
        "{kept:?}"
    );
    assert_eq!(away.0.load(Ordering::Relaxed), 2, "the third was not sent");
    assert_eq!(guarded.breaker_state(), BreakerState::Open);
    assert_eq!(
        *heard.lock().unwrap(),
        [
            ("charge", "unavailable", BreakerState::Closed),
            ("status", "unavailable", BreakerState::Open),
            ("charge", "breaker_open", BreakerState::Open),
        ]
    );
}
