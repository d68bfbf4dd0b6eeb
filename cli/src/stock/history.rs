//! `assent stock history`: what happened to one SKU.
use proto::assent::inventory::v1 as wire;
use serde::Serialize;

use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::output::{Output, table, time};

/// A movement as it is printed.
#[derive(Debug, Clone, Serialize)]
pub struct MovementView {
    sku: String,
    sequence: i64,
    /// "received", "held", "sold" and so on, as MovementKind names them.
    kind: String,
    quantity: i64,
    on_hand: i64,
    held: i64,
    reserved: i64,
    buffer: i64,
    damaged: i64,
    quality_control: i64,
    reservation_id: String,
    reason: String,
    reference: String,
    actor: String,
    create_time: Option<String>,
}

impl From<wire::Movement> for MovementView {
    fn from(movement: wire::Movement) -> Self {
        MovementView {
            kind: movement.kind().as_str_name().trim_start_matches("MOVEMENT_KIND_").to_lowercase(),
            create_time: time(movement.create_time.as_ref()),
            sku: movement.sku,
            sequence: movement.sequence,
            quantity: movement.quantity,
            on_hand: movement.on_hand,
            held: movement.held,
            reserved: movement.reserved,
            buffer: movement.buffer,
            damaged: movement.damaged,
            quality_control: movement.quality_control,
            reservation_id: movement.reservation_id,
            reason: movement.reason,
            reference: movement.reference,
            actor: movement.actor,
        }
    }
}

impl MovementView {
    /// In one line.
    pub fn line(&self) -> String {
        let MovementView { sku, sequence, kind, quantity, on_hand, held, reference, .. } = self;
        let time = self.create_time.as_deref().unwrap_or_default();
        format!("{sku} {sequence} {time} {kind} {quantity}: {on_hand} on hand, {held} held  {reference}")
            .trim_end()
            .to_owned()
    }
}

#[derive(Debug, Serialize)]
struct History {
    movements: Vec<MovementView>,
}

/// Runs the verb.
pub async fn run(services: &Services, sku: String, limit: u32, output: Output) -> Result<(), Failure> {
    let mut client = services.stock().await?;
    let mut movements: Vec<MovementView> = Vec::new();
    let mut page_token = String::new();
    loop {
        let left = (limit as usize).saturating_sub(movements.len()).min(1_000);
        let page_size = i32::try_from(left).unwrap_or(1_000);
        let request = services.request(wire::ListMovementsRequest { sku: sku.clone(), page_size, page_token });
        let page = client.list_movements(request).await.map_err(|status| Failure::of_status(&status, Call::Read))?;
        let page = page.into_inner();
        movements.extend(page.movements.into_iter().map(MovementView::from));
        page_token = page.next_page_token;
        if page_token.is_empty() || movements.len() >= limit as usize {
            break;
        }
    }
    output.print(&History { movements }, |history| movement_table(&history.movements))
}

type Column = (&'static str, fn(&MovementView) -> i64);

fn movement_table(movements: &[MovementView]) -> String {
    // What few SKUs have is shown only where there is some of it.
    let rare: [Column; 4] = [
        ("reserved", |movement| movement.reserved),
        ("buffer", |movement| movement.buffer),
        ("damaged", |movement| movement.damaged),
        ("quality control", |movement| movement.quality_control),
    ];
    let shown = |(_, figure): &Column| movements.iter().any(|movement| figure(movement) != 0);
    let rare: Vec<Column> = rare.into_iter().filter(shown).collect();
    let row = |movement: &MovementView| {
        let mut row = vec![
            movement.sequence.to_string(),
            movement.create_time.clone().unwrap_or_default(),
            movement.kind.clone(),
        ];
        row.extend([movement.quantity, movement.on_hand, movement.held].map(|count| count.to_string()));
        row.extend(rare.iter().map(|(_, figure)| figure(movement).to_string()));
        row.extend([&movement.reference, &movement.actor, &movement.reason].map(|text| text.clone()));
        row
    };
    let mut headers = vec!["seq", "time", "kind", "quantity", "on hand", "held"];
    headers.extend(rare.iter().map(|(name, _)| *name));
    headers.extend(["reference", "actor", "reason"]);
    let right: Vec<usize> = std::iter::once(0).chain(3..6 + rare.len()).collect();
    table(&headers, &right, movements.iter().map(row).collect())
}
