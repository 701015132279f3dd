//! Stories of charges that are entered together: each once, each answered with its own, or none of them.

use super::*;

fn captured(key: &str, amount: u64) -> ledger::Decision {
    ledger::Decision { key: key.to_owned(), amount, currency: "EUR".to_owned(), decline: None }
}

pub(super) fn decided(ledger: &mut ledger::Ledger, key: &str) -> Result<books::Entry, GatewayError> {
    ledger.decide(&[captured(key, 100)]).remove(0)
}

#[test]
fn a_round_enters_every_key_once_whatever_it_is_asked_with() {
    let shop = Shop::with(|_| {});
    let mut ledger = ledger::Ledger::open(&shop.books()).unwrap();
    decided(&mut ledger, "pay_1").unwrap();
    let round = [
        captured("pay_1", 100),
        captured("pay_2", 100),
        captured("pay_2", 100),
        captured("pay_2", 7),
        captured("pay_3", 5),
    ];
    let numbers: Vec<_> = ledger.decide(&round).into_iter().map(|one| one.map(|entry| entry.number)).collect();
    let mismatch = Err(GatewayError::Rejected { code: "idempotency_mismatch" });
    assert_eq!(numbers, [Ok(1), Ok(2), Ok(2), mismatch, Ok(3)]);
    assert_eq!(std::fs::read_to_string(shop.books()).unwrap().lines().count(), 3);
    assert_eq!(shop.totals(), (205, 0));
}

#[test]
fn of_a_round_that_cannot_be_written_nothing_is_decided() {
    let shop = Shop::with(|_| {});
    let mut ledger = ledger::Ledger::open(&shop.books()).unwrap();
    let known = decided(&mut ledger, "pay_1").unwrap();
    let endless = captured(&"k".repeat(2000), 100);
    let away = GatewayError::Unavailable { retry_after: None };
    let answers = ledger.decide(&[captured("pay_1", 100), captured("pay_2", 100), endless]);
    assert_eq!(answers, [Ok(known), Err(away.clone()), Err(away)]);
    assert_eq!(shop.recorded("pay_2"), ChargeStatus::NotFound);
    assert_eq!(decided(&mut ledger, "pay_2").unwrap().number, 2, "the next try enters it");
}

#[tokio::test]
async fn charges_of_one_moment_are_answered_each_with_its_own() {
    let shop = Shop::with(|_| {});
    let keys: Vec<String> = (0..50).map(|n| format!("pay_{n}")).collect();
    let many = keys.iter().map(|key| shop.patient.charge(charge(key, "tok_ok")));
    let answers = futures_util::future::join_all(many).await;
    for (key, answer) in keys.iter().zip(answers) {
        let Ok(ChargeResult::Captured { reference }) = answer else { panic!("{key}: {answer:?}") };
        assert_eq!(shop.recorded(key), ChargeStatus::Captured { reference });
    }
    assert_eq!(shop.totals(), (50 * 8500, 0));
}
