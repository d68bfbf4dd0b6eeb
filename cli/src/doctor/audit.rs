//! What each service says of its own invariants.
use std::collections::BTreeMap;

use proto::assent::transaction::v1 as wire;
use protocol::invariants::Invariant;

use crate::client::{Service, Services};
use crate::failure::{Call, Failure};

/// What a service found wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Which one.
    pub participant: &'static str,
    /// The transaction concerned; empty if none can be named.
    pub transaction_id: String,
    /// What is concerned: a SKU, an account.
    pub subject: String,
    /// What is wrong.
    pub detail: String,
}

impl Finding {
    /// Whether it is about the same thing; the figures may have moved.
    pub fn is_about(&self, other: &Finding) -> bool {
        (self.participant, &self.transaction_id, &self.subject)
            == (other.participant, &other.transaction_id, &other.subject)
    }
}

/// One invariant as the services see it.
#[derive(Debug, Default)]
pub struct Audited {
    /// How many things were checked.
    pub checked_count: u64,
    /// What violates it.
    pub findings: Vec<Finding>,
}

/// By invariant.
pub type Audits = BTreeMap<Invariant, Audited>;

/// Asks the coordinator and every participant to check themselves.
pub async fn all(services: &Services) -> Result<Audits, Failure> {
    let mut audited = Audits::new();
    let request = services.request(wire::AuditRecordsRequest {});
    let answer = services.transactions().await?.audit_records(request).await;
    learn(&mut audited, Service::Coordinator, answer.map(|response| response.into_inner().checks))?;
    for participant in Service::PARTICIPANTS {
        let mut client = services.participant(participant).await?;
        let answer = client.audit(services.request(wire::AuditRequest {})).await;
        learn(&mut audited, participant, answer.map(|response| response.into_inner().checks))?;
    }
    Ok(audited)
}

fn learn(
    audited: &mut Audits,
    service: Service,
    answer: Result<Vec<wire::InvariantCheck>, tonic::Status>,
) -> Result<(), Failure> {
    let checks = answer.map_err(|status| {
        let failure = Failure::of_status(&status, Call::Read);
        Failure { message: format!("{} cannot audit itself: {}", service.name(), failure.message), ..failure }
    })?;
    for check in checks {
        let invariant = Invariant::of_name(&check.invariant).ok_or_else(|| {
            let message = format!("{} checked an invariant {:?}", service.name(), check.invariant);
            Failure::new(message).hint("is it of another version than this command?")
        })?;
        let all = audited.entry(invariant).or_default();
        all.checked_count += u64::try_from(check.checked_count).unwrap_or(0);
        all.findings.extend(check.violations.into_iter().map(|violation| Finding {
            participant: service.name(),
            transaction_id: violation.transaction_id,
            subject: violation.subject,
            detail: violation.detail,
        }));
    }
    Ok(())
}

/// Keeps what a service finds wrong both times.
pub fn keep_lasting(audits: &mut Audits, again: &Audits) {
    for (invariant, audited) in audits {
        let lasting = again.get(invariant).map(|audited| audited.findings.as_slice()).unwrap_or_default();
        audited.findings.retain(|one| lasting.iter().any(|other| other.is_about(one)));
    }
}
