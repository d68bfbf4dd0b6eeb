//! Any order of promises, kept and taken back, of one payment: never more than was authorised or captured, and what was
//! promised can always be kept.
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::domain::Authorisation;

#[derive(Debug, Clone)]
enum Act {
    Promise(Branch),
    Keep(usize),
    TakeBack(usize),
    Undo(usize),
    Overdue,
    Expire,
}

const ACCOUNT: &str = "ann";

fn part(amount_minor: i64) -> Part {
    Part { payment_id: Uuid::nil(), account: Some(ACCOUNT.into()), currency: "GBP".into(), amount_minor }
}

fn authorise(amount_minor: i64) -> Branch {
    let authorisation = Authorisation { account: ACCOUNT.into(), currency: "GBP".into(), amount_minor };
    Branch::Authorise { authorisation, replaces: Some(Uuid::nil()) }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..60_i64, prop::bool::weighted(0.2)).prop_map(|(amount, is_final)| Act::Promise(Branch::Capture { part: part(amount), is_final })),
        3 => (1..60_i64).prop_map(|amount| Act::Promise(Branch::Refund(part(amount)))),
        1 => Just(Act::Promise(Branch::Void { payment_id: Uuid::nil(), account: None })),
        1 => (0..150_i64).prop_map(|amount| Act::Promise(authorise(amount))),
        6 => any::<prop::sample::Index>().prop_map(|index| Act::Keep(index.index(100))),
        3 => any::<prop::sample::Index>().prop_map(|index| Act::TakeBack(index.index(100))),
        1 => any::<prop::sample::Index>().prop_map(|index| Act::Undo(index.index(100))),
        1 => Just(Act::Overdue),
        1 => Just(Act::Expire),
    ]
}

fn authorised(amount_minor: i64) -> Payment {
    Payment {
        payment_id: Uuid::nil(),
        account: ACCOUNT.into(),
        currency: "GBP".into(),
        authorised_minor: amount_minor,
        captured_minor: 0,
        refunded_minor: 0,
        released_minor: 0,
        capturing_minor: 0,
        refunding_minor: 0,
        credit_minor: 0,
        closing_id: None,
        ended: None,
        expire_time: Some(DateTime::UNIX_EPOCH),
        is_overdue: false,
        create_time: DateTime::UNIX_EPOCH,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn whatever_was_promised_can_be_kept(acts in vec(act(), 0..40)) {
        let mut payment = authorised(100);
        let (mut open, mut kept): (Vec<(Uuid, Branch)>, Vec<Branch>) = (Vec::new(), Vec::new());
        // What the account holds for it, what went to others that took its place, and what was paid.
        let (mut held, mut moved, mut paid) = (100, 0, 0);
        let mut number = 0;
        for act in acts {
            let before = payment.clone();
            let effect = match act {
                Act::Promise(branch) => {
                    number += 1;
                    let id = Uuid::from_u128(number);
                    match payment.promise(id, &branch) {
                        Ok(_) => open.push((id, branch)),
                        Err(_) => prop_assert_eq!(&payment, &before, "a refusal leaves nothing behind"),
                    }
                    Effect::default()
                }
                Act::Keep(at) if at < open.len() => {
                    let (id, branch) = open.remove(at);
                    moved += payment.credit_minor * i64::from(matches!(branch, Branch::Authorise { .. }));
                    let effect = payment.keep(id, &branch);
                    kept.push(branch);
                    effect
                }
                Act::TakeBack(at) if at < open.len() => {
                    let (id, branch) = open.remove(at);
                    payment.take_back(id, &branch)
                }
                Act::Undo(at) if at < kept.len() => payment.undo(&kept.remove(at)),
                Act::Overdue => {
                    payment.is_overdue = true;
                    Effect::default()
                }
                Act::Expire => payment.expire(),
                Act::Keep(_) | Act::TakeBack(_) | Act::Undo(_) => Effect::default(),
            };
            held += effect.held_minor;
            paid += effect.paid_minor;
            let Payment { captured_minor, refunded_minor, released_minor, capturing_minor, credit_minor, .. } = payment;
            let all = [captured_minor, refunded_minor, released_minor, capturing_minor, credit_minor, payment.refunding_minor];
            prop_assert!(all.iter().all(|amount| *amount >= 0), "{:?}", payment);
            prop_assert!(captured_minor + released_minor + capturing_minor + credit_minor <= 100, "{:?}", payment);
            prop_assert!(refunded_minor + payment.refunding_minor <= captured_minor, "{:?}", payment);
            prop_assert_eq!(held, payment.standing_minor() + moved, "{:?}", payment);
            prop_assert_eq!(paid, captured_minor - refunded_minor, "{:?}", payment);
        }
        for (id, branch) in open {
            payment.keep(id, &branch);
        }
        prop_assert_eq!((payment.capturing_minor, payment.refunding_minor, payment.credit_minor), (0, 0, 0));
        prop_assert_eq!(payment.closing_id, None);
        if payment.ended.is_some() {
            prop_assert_eq!(payment.standing_minor(), 0, "what is over holds nothing");
        }
    }
}

#[test]
fn a_refusal_says_what_is_left() {
    let mut payment = authorised(1_000);
    let capture = |amount, is_final| Branch::Capture { part: part(amount), is_final };
    let reason = |refused: Result<i64, Refusal>| refused.unwrap_err().reason;
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    payment.promise(first, &capture(600, false)).unwrap();
    let refused = payment.promise(second, &capture(600, false)).unwrap_err();
    assert_eq!(refused.reason, "CAPTURE_EXCEEDS_AUTHORISED");
    assert!(refused.message.ends_with("has 4.00 GBP left to capture"), "{}", refused.message);
    assert_eq!(reason(payment.promise(second, &Branch::Refund(part(1)))), "REFUND_EXCEEDS_CAPTURED");
    payment.keep(first, &capture(600, false));
    payment.promise(second, &capture(100, true)).unwrap();
    assert_eq!(reason(payment.promise(first, &capture(1, false))), "NOT_AUTHORISED", "the last one is in doubt");
    assert_eq!(payment.keep(second, &capture(100, true)), Effect { held_minor: -400, paid_minor: 100, voids: true });
    assert_eq!(reason(payment.promise(first, &capture(1, false))), "CAPTURE_EXCEEDS_AUTHORISED");
    let mut charge = Payment { expire_time: None, ..payment };
    assert_eq!(reason(charge.promise(first, &capture(1, false))), "NOT_AUTHORISED");
    let mut overdue = Payment { is_overdue: true, ..authorised(1) };
    assert_eq!(reason(overdue.promise(first, &capture(1, false))), "AUTHORISATION_EXPIRED");
    let other = Part { account: Some("bob".into()), ..part(1) };
    assert_eq!(reason(authorised(1).promise(first, &Branch::Refund(other))), "UNKNOWN_PAYMENT");
    let other = Part { currency: "EUR".into(), ..part(1) };
    assert_eq!(reason(authorised(1).promise(first, &Branch::Refund(other))), "CURRENCY_MISMATCH");
}
