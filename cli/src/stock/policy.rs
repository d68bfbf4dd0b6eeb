//! `assent stock policy`: what may be ordered of a SKU beyond what is there.
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use proto::assent::inventory::v1 as wire;
use serde::Serialize;

use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::output::{Output, fields, time};

/// What may be owed of a SKU
#[derive(Debug, clap::Args)]
pub struct Policy {
    /// The article; without more, its policy is shown
    sku: String,
    /// Up to so many units may be ordered that will come again
    #[arg(long, value_name = "N", group = "kind", value_parser = clap::value_parser!(i64).range(0..=1_000_000_000))]
    backorder: Option<i64>,
    /// Up to so many units may be ordered before they are released
    #[arg(long, value_name = "N", group = "kind", value_parser = clap::value_parser!(i64).range(0..=1_000_000_000))]
    preorder: Option<i64>,
    /// Nothing may be ordered beyond what is there
    #[arg(long, group = "kind")]
    none: bool,
    /// When it is expected again, or released: 2026-12-24T09:00:00Z
    #[arg(long, value_name = "TIME", requires = "kind", conflicts_with = "none", value_parser = super::point::parse)]
    available: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize)]
struct PolicyView {
    sku: String,
    policy: &'static str,
    max_owed: i64,
    owed: i64,
    available_time: Option<String>,
}

impl Policy {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let mut client = services.backorders().await?;
        let Policy { sku, backorder, preorder, none, available } = self;
        let wanted = match (backorder, preorder) {
            (Some(most), _) => Some((wire::SupplyKind::Backorder, most)),
            (_, Some(most)) => Some((wire::SupplyKind::Preorder, most)),
            _ => none.then_some((wire::SupplyKind::Unspecified, 0)),
        };
        let policy = match wanted {
            None => {
                let request = services.request(wire::GetSupplyPolicyRequest { sku: sku.clone() });
                let read = client.get_supply_policy(request).await;
                read.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner().policy
            }
            Some((kind, max_owed)) => {
                let available_time = available.map(|time| SystemTime::from(time).into());
                let policy = Some(wire::SupplyPolicy { kind: kind.into(), max_owed, available_time, owed: 0 });
                let request = services.request(wire::SetSupplyPolicyRequest { sku: sku.clone(), policy });
                let set = client.set_supply_policy(request).await;
                set.map_err(|status| Failure::of_status(&status, Call::Write))?.into_inner().policy
            }
        };
        let policy = policy.ok_or_else(|| Failure::new("the inventory answered without the policy"))?;
        let name = match policy.kind() {
            wire::SupplyKind::Unspecified => "none",
            wire::SupplyKind::Backorder => "backorder",
            wire::SupplyKind::Preorder => "preorder",
        };
        let view = PolicyView {
            sku,
            policy: name,
            max_owed: policy.max_owed,
            owed: policy.owed,
            available_time: time(policy.available_time.as_ref()),
        };
        output.print(&view, |view| {
            fields(&[
                ("sku", view.sku.clone()),
                ("policy", view.policy.to_owned()),
                ("owed", format!("{} of at most {}", view.owed, view.max_owed)),
                ("available", view.available_time.clone().unwrap_or_else(|| "not known".to_owned())),
            ])
        })
    }
}
