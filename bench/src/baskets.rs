//! Orders of a real shop, with its articles numbered.
use std::collections::HashMap;

/// One line of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The article's number.
    pub sku: usize,
    /// How many are bought.
    pub quantity: i64,
    /// The price of one, in pence.
    pub unit_price_minor: i64,
}

/// Orders, as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baskets {
    /// The lines of each order; at least one.
    pub orders: Vec<Vec<Line>>,
    /// How many articles they are of; their numbers are below it.
    pub sku_count: usize,
}

impl Baskets {
    /// Orders as lists of article, quantity and price in pence. Those without a line are left out.
    pub fn new(orders: impl IntoIterator<Item = Vec<(String, i64, i64)>>) -> Self {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut number = |sku: String| {
            let next = numbers.len();
            *numbers.entry(sku).or_insert(next)
        };
        let mut numbered = Vec::new();
        for order in orders.into_iter().filter(|order| !order.is_empty()) {
            let lines = order.into_iter();
            let lines =
                lines.map(|(sku, quantity, unit_price_minor)| Line { sku: number(sku), quantity, unit_price_minor });
            numbered.push(lines.collect());
        }
        Baskets { orders: numbered, sku_count: numbers.len() }
    }

    /// How many lines the order in the middle has, if they are sorted by that; 0 if there are none.
    pub fn median_lines(&self) -> usize {
        let mut counts: Vec<usize> = self.orders.iter().map(Vec::len).collect();
        counts.sort_unstable();
        counts.get(counts.len() / 2).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_article_has_one_number_in_all_orders() {
        let line = |sku: &str, quantity| (sku.to_owned(), quantity, 100);
        let baskets = Baskets::new([
            vec![line("B", 1), line("A", 2)],
            vec![],
            vec![line("A", 3)],
            vec![line("C", 1), line("B", 5), line("B", 6)],
        ]);
        let numbers: Vec<Vec<(usize, i64)>> =
            baskets.orders.iter().map(|lines| lines.iter().map(|line| (line.sku, line.quantity)).collect()).collect();
        assert_eq!(numbers, [vec![(0, 1), (1, 2)], vec![(1, 3)], vec![(2, 1), (0, 5), (0, 6)]]);
        assert_eq!((baskets.sku_count, baskets.median_lines()), (3, 2));
        assert_eq!(Baskets::default().median_lines(), 0);
    }
}
