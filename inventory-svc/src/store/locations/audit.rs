//! Whether locations sum up to the stock, and follow from their movements.
use sqlx::PgConnection;

/// SKUs whose locations do not agree with the stock, with their movements, or with what is allotted at them.
pub async fn differing(connection: &mut PgConnection) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as(
        "WITH sums AS (SELECT sku, sum(on_hand)::bigint AS on_hand, sum(held)::bigint AS held FROM location_stock GROUP BY sku)
         SELECT sku, 'the locations have ' || l.on_hand || ' on hand and ' || l.held || ' held, the stock '
                || s.on_hand || ' and ' || s.held
         FROM stock s JOIN sums l USING (sku) WHERE (s.on_hand, s.held) <> (l.on_hand, l.held)
         UNION ALL
         SELECT sku, 'has locations without its mark' FROM stock JOIN sums USING (sku) WHERE coalesce(marks, 0) & 2 = 0
         UNION ALL
         SELECT sku, location || ' has ' || s.on_hand || ' on hand, by its movements ' || coalesce(m.quantity, 0)
         FROM location_stock s
         LEFT JOIN (SELECT sku, location, sum(quantity)::bigint AS quantity FROM location_movement GROUP BY sku, location) m
              USING (sku, location)
         WHERE s.on_hand <> coalesce(m.quantity, 0)
         UNION ALL
         SELECT sku, location || ' has ' || s.held || ' held, and ' || a.quantity || ' are allotted there'
         FROM location_stock s
         JOIN (SELECT sku, location, sum(quantity)::bigint AS quantity FROM allocation WHERE is_held GROUP BY sku, location) a
              USING (sku, location)
         WHERE s.held < a.quantity
         ORDER BY 1, 2",
    )
    .fetch_all(connection)
    .await
}
