//! `assent payment`: what was authorised, captured and refunded.
use clap::Subcommand;
use proto::assent::payment::v1 as wire;
use serde::Serialize;

use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::money::MoneyView;
use crate::output::{Output, fields, table, time};

/// Payments: charges, and authorisations that are captured later
#[derive(Debug, Subcommand)]
pub enum Payment {
    /// Show a payment with its captures and refunds
    Show {
        /// The id of the transaction that made it: an order's id
        id: String,
    },
    /// List payments, newest first
    Ls {
        /// Only those of this account
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
        /// What the card gateway has not done after 30 s, and why; instead of payments
        #[arg(long, conflicts_with = "account")]
        stuck: bool,
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
}

#[derive(Debug, Serialize)]
struct PaymentView {
    payment_id: String,
    account: String,
    state: String,
    authorised: Option<MoneyView>,
    captured: Option<MoneyView>,
    refunded: Option<MoneyView>,
    capturable: Option<MoneyView>,
    capture_in_doubt: Option<MoneyView>,
    refund_in_doubt: Option<MoneyView>,
    expire_time: Option<String>,
    create_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<EntryView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<Vec<CallView>>,
}

#[derive(Debug, Serialize)]
struct CallView {
    call_id: String,
    payment_id: String,
    operation: String,
    amount: Option<MoneyView>,
    state: String,
    attempts: i32,
    last_error: String,
    next_attempt_time: Option<String>,
    create_time: Option<String>,
}

#[derive(Debug, Serialize)]
struct CallList {
    calls: Vec<CallView>,
}

impl From<wire::GatewayCall> for CallView {
    fn from(call: wire::GatewayCall) -> Self {
        CallView {
            amount: MoneyView::of(call.amount.as_ref()),
            next_attempt_time: time(call.next_attempt_time.as_ref()),
            create_time: time(call.create_time.as_ref()),
            call_id: call.call_id,
            payment_id: call.payment_id,
            operation: call.operation,
            state: call.state,
            attempts: call.attempts,
            last_error: call.last_error,
        }
    }
}

#[derive(Debug, Serialize)]
struct EntryView {
    booking_id: String,
    kind: String,
    amount: Option<MoneyView>,
    create_time: Option<String>,
}

#[derive(Debug, Serialize)]
struct PaymentList {
    payments: Vec<PaymentView>,
}

impl From<wire::Payment> for PaymentView {
    fn from(payment: wire::Payment) -> Self {
        let state = payment.state().as_str_name().trim_start_matches("PAYMENT_STATE_").to_owned();
        let entry = |entry: wire::Entry| EntryView {
            amount: MoneyView::of(entry.amount.as_ref()),
            create_time: time(entry.create_time.as_ref()),
            booking_id: entry.booking_id,
            kind: entry.kind,
        };
        PaymentView {
            state,
            authorised: MoneyView::of(payment.authorised.as_ref()),
            captured: MoneyView::of(payment.captured.as_ref()),
            refunded: MoneyView::of(payment.refunded.as_ref()),
            capturable: MoneyView::of(payment.capturable.as_ref()),
            capture_in_doubt: MoneyView::of(payment.capture_in_doubt.as_ref()),
            refund_in_doubt: MoneyView::of(payment.refund_in_doubt.as_ref()),
            expire_time: time(payment.expire_time.as_ref()),
            create_time: time(payment.create_time.as_ref()),
            entries: Some(payment.entries.into_iter().map(entry).collect()),
            calls: Some(payment.calls.into_iter().map(CallView::from).collect()),
            payment_id: payment.payment_id,
            account: payment.account,
        }
    }
}

impl Payment {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        match self {
            Payment::Show { id } => {
                let request = services.request(wire::GetPaymentRequest { payment_id: id });
                let answer = services.accounts().await?.get_payment(request).await;
                let payment = answer.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner().payment;
                let payment =
                    payment.ok_or_else(|| Failure::new("the payment service answered without the payment"))?;
                output.print(&PaymentView::from(payment), shown)
            }
            Payment::Ls { stuck: true, limit, .. } => stuck_calls(services, limit, output).await,
            Payment::Ls { account, limit, .. } => list(services, account.unwrap_or_default(), limit, output).await,
        }
    }
}

async fn list(services: &Services, account: String, limit: u32, output: Output) -> Result<(), Failure> {
    let mut client = services.accounts().await?;
    let mut payments: Vec<PaymentView> = Vec::new();
    let mut page_token = String::new();
    loop {
        let left = (limit as usize).saturating_sub(payments.len()).min(1_000);
        let page_size = i32::try_from(left).unwrap_or(1_000);
        let request = services.request(wire::ListPaymentsRequest { account: account.clone(), page_size, page_token });
        let page = client.list_payments(request).await.map_err(|status| Failure::of_status(&status, Call::Read))?;
        let page = page.into_inner();
        payments.extend(page.payments.into_iter().map(|payment| PaymentView {
            entries: None,
            calls: None,
            ..payment.into()
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() || payments.len() >= limit as usize {
            break;
        }
    }
    output.print(&PaymentList { payments }, |list| {
        let row = |it: &PaymentView| {
            vec![
                it.create_time.clone().unwrap_or_default(),
                it.payment_id.clone(),
                it.account.clone(),
                it.state.clone(),
                money(it.authorised.as_ref()),
                money(it.captured.as_ref()),
                money(it.refunded.as_ref()),
            ]
        };
        let headers = ["time", "payment", "account", "state", "authorised", "captured", "refunded"];
        table(&headers, &[4, 5, 6], list.payments.iter().map(row).collect())
    })
}

fn shown(view: &PaymentView) -> String {
    let mut rows = vec![
        ("payment", view.payment_id.clone()),
        ("account", view.account.clone()),
        ("state", view.state.clone()),
        ("authorised", money(view.authorised.as_ref())),
        ("captured", money(view.captured.as_ref())),
        ("refunded", money(view.refunded.as_ref())),
        ("capturable", money(view.capturable.as_ref())),
    ];
    let in_doubt = [("in doubt to capture", &view.capture_in_doubt), ("in doubt to refund", &view.refund_in_doubt)];
    let some = |amount: &Option<MoneyView>| amount.as_ref().is_some_and(|amount| amount.amount_minor != 0);
    rows.extend(
        in_doubt.into_iter().filter(|(_, amount)| some(amount)).map(|(name, amount)| (name, money(amount.as_ref()))),
    );
    rows.extend(view.expire_time.clone().map(|time| ("expires", time)));
    rows.extend(view.create_time.clone().map(|time| ("made", time)));
    let mut shown = fields(&rows);
    let entries = view.entries.as_deref().unwrap_or_default();
    let row = |entry: &EntryView| {
        let when = entry.create_time.clone().unwrap_or_default();
        vec![when, entry.kind.clone(), money(entry.amount.as_ref()), entry.booking_id.clone()]
    };
    if !entries.is_empty() {
        let entries = table(&["time", "kind", "amount", "booking"], &[2], entries.iter().map(row).collect());
        shown.push_str(&format!("\n\n{entries}"));
    }
    let calls = view.calls.as_deref().unwrap_or_default();
    if !calls.is_empty() {
        shown.push_str(&format!("\n\nat the gateway:\n{}", call_table(calls)));
    }
    shown
}

fn call_table(calls: &[CallView]) -> String {
    let row = |it: &CallView| {
        vec![
            it.create_time.clone().unwrap_or_default(),
            it.payment_id.clone(),
            it.operation.clone(),
            money(it.amount.as_ref()),
            it.state.clone(),
            it.attempts.to_string(),
            it.next_attempt_time.clone().unwrap_or_else(|| "-".to_owned()),
            it.last_error.clone(),
        ]
    };
    let headers = ["time", "payment", "operation", "amount", "state", "attempts", "again", "why"];
    table(&headers, &[3, 5], calls.iter().map(row).collect())
}

async fn stuck_calls(services: &Services, limit: u32, output: Output) -> Result<(), Failure> {
    let page_size = i32::try_from(limit.min(1_000)).unwrap_or(1_000);
    let request = wire::ListGatewayCallsRequest { stuck_only: true, page_size, page_token: String::new() };
    let page = services.accounts().await?.list_gateway_calls(services.request(request)).await;
    let page = page.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner();
    let calls = page.calls.into_iter().map(CallView::from).collect();
    output.print(&CallList { calls }, |list| match list.calls.is_empty() {
        true => "nothing is stuck".to_owned(),
        false => call_table(&list.calls),
    })
}

fn money(money: Option<&MoneyView>) -> String {
    money.map(MoneyView::to_string).unwrap_or_default()
}
