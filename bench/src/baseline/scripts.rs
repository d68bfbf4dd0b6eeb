//! The scripts by which pgbench places orders.
//!
//! pgbench counts its orders in :n, and makes their ids of it: they ascend, as Assent's do.
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Variant;
use crate::baskets::Line;
use crate::shop::{Plan, SOLD_OUT, Workload, ZIPF_EXPONENT};
use crate::store::Failed;

/// Scripts that pgbench takes at most.
const MAX_SCRIPTS: usize = 128;
/// So many numbers of five digits are there.
const MAX_SKUS: usize = 99_999;

/// What pgbench is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scripts {
    /// How it is to send statements.
    pub protocol: &'static str,
    /// Each with how often it is to be drawn.
    pub scripts: Vec<(String, usize)>,
}

impl Scripts {
    /// The scripts of a plan's orders.
    pub fn new(variant: Variant, plan: &Plan) -> Result<Self, Failed> {
        if plan.workload == Workload::Baskets {
            return of_baskets(variant, plan);
        }
        if plan.skus + SOLD_OUT > MAX_SKUS {
            return Err(Failed::NoSuchOrders("more than 99,989 SKUs: their names have five digits"));
        }
        if plan.lines > 1 {
            return Err(Failed::NoSuchOrders("orders of several lines, but for the workload \"baskets\""));
        }
        let draw = match plan.workload {
            Workload::Hot => "1".to_owned(),
            Workload::Zipf => format!("random_zipfian(1, {}, {ZIPF_EXPONENT})", plan.skus),
            Workload::Uniform | Workload::Baskets => format!("random(1, {})", plan.skus),
        };
        let mut script = COUNT.to_owned();
        // Without refusals the condition is left to pgbench as a constant, which costs nothing.
        match plan.refused_percent {
            0 => write!(script, "\\set refused 0\n\\set sku {draw}\n"),
            percent => write!(
                script,
                "\\set refused random(1, 100) <= {percent}\n\\set sku case when :refused then {} + random(1, {SOLD_OUT}) \
                 else {draw} end\n",
                plan.skus
            ),
        }
        .unwrap_or_default(); // a String takes anything
        script += match variant {
            Variant::LocalTransaction => include_str!("../../baseline/local-transaction.sql"),
            Variant::OneStatement => include_str!("../../baseline/one-statement.sql"),
        };
        Ok(Scripts { protocol: "--protocol=prepared", scripts: vec![(script, 1)] })
    }
}

const COUNT: &str = "\\set n :n + 1\n\\set id :n * 1024 + :client_id\n\\set account random(1, :accounts)\n";

/// An order each, or a choice of several where there are more than scripts may be. Statements are prepared by name, because
/// pgbench itself would prepare each line of each script as a statement of its own.
fn of_baskets(variant: Variant, plan: &Plan) -> Result<Scripts, Failed> {
    if plan.refused_percent > 0 {
        return Err(Failed::NoSuchOrders("refusals of baskets"));
    }
    let prepare = match variant {
        Variant::LocalTransaction => include_str!("../../baseline/local-transaction-basket.sql"),
        Variant::OneStatement => include_str!("../../baseline/one-statement-basket.sql"),
    };
    let orders = &plan.baskets.orders;
    let count = orders.len().min(MAX_SCRIPTS);
    let scripts = (0..count).map(|first| {
        let own: Vec<&Vec<Line>> = orders.iter().skip(first).step_by(count).collect();
        let mut script = Script::default();
        script.add("\\if :is_prepared = 0");
        script.add_several(prepare, prepare.matches("PREPARE ").count());
        script.add("\\set is_prepared 1");
        script.add("\\endif");
        script.add_several(COUNT, COUNT.lines().count());
        script.add(&format!("\\set choice random(1, {})", own.len()));
        for (place, lines) in (1..).zip(&own) {
            script.add(&format!("\\{} :choice = {place}", if place == 1 { "if" } else { "elif" }));
            match variant {
                Variant::LocalTransaction => script.add_local_transaction(lines),
                Variant::OneStatement => script.add_one_statement(lines),
            }
        }
        script.add("\\endif");
        (script.text, own.len())
    });
    Ok(Scripts { protocol: "--protocol=simple", scripts: scripts.collect() })
}

/// A script as it grows.
#[derive(Default)]
struct Script {
    text: String,
    commands: usize,
}

/// pgbench makes room for so many commands at a time.
const COMMANDS_AT_A_TIME: usize = 128;

/// Rows in one INSERT, as mappers of objects send them. It also keeps pgbench's variables few, which it sorts for each that
/// is new.
const LINES_AT_A_TIME: usize = 50;

impl Script {
    fn add(&mut self, command: &str) {
        self.add_several(command, 1);
    }

    fn add_several(&mut self, commands: &str, count: usize) {
        self.text += commands.trim_end();
        self.text.push('\n');
        self.commands += count;
    }

    /// A statement whose result is kept. pgbench (15 at least) forgets to make room after such a one, and crashes if that was
    /// the last for which it had some.
    fn add_with_result(&mut self, statement: &str, prefix: &str) {
        if self.commands % COMMANDS_AT_A_TIME == COMMANDS_AT_A_TIME - 1 {
            self.add("\\set room 1");
        }
        self.add(&format!("{statement} \\gset {prefix}"));
    }

    /// One line a statement, sorted so that two orders never wait for each other.
    fn add_local_transaction(&mut self, lines: &[Line]) {
        let (total, json) = (total(lines), json(lines));
        self.add("BEGIN;");
        self.add("EXECUTE record(:id);");
        self.add(&format!("EXECUTE place(:id, :account, {total}, '{json}');"));
        let sums: Vec<(String, i64)> = sums(lines).into_iter().collect();
        for lines in sums.chunks(LINES_AT_A_TIME) {
            let mut movements = Vec::new();
            for (line, (sku, quantity)) in lines.iter().enumerate() {
                self.add_with_result(&format!("EXECUTE take('{sku}', {quantity})"), &format!("l{line}_"));
                let id = "lpad(to_hex(:id::bigint), 32, '0')::uuid";
                let figures = format!(":l{line}_version, {quantity}, :l{line}_on_hand, :l{line}_held");
                movements.push(format!("('{sku}', {figures}, now(), {id}, 3)"));
            }
            let columns = "sku, sequence, quantity, on_hand, held, create_time, transaction_id, kind";
            self.add(&format!("INSERT INTO baseline.movement ({columns}) VALUES {};", movements.join(", ")));
        }
        self.add(&format!("EXECUTE pay(:account, {total});"));
        self.add(&format!("EXECUTE book(:id, :account, {total});"));
        self.add("COMMIT;");
    }

    fn add_one_statement(&mut self, lines: &[Line]) {
        let (skus, quantities): (Vec<String>, Vec<String>) =
            sums(lines).into_iter().map(|(sku, quantity)| (sku, quantity.to_string())).unzip();
        let (skus, quantities, total, json) = (skus.join(","), quantities.join(","), total(lines), json(lines));
        self.add(&format!("EXECUTE place(:id, :account, {total}, '{{{skus}}}', '{{{quantities}}}', '{json}');"));
    }
}

/// The name of an article; its number begins at 1 in the database.
fn name(sku: usize) -> String {
    format!("s{:05}", sku + 1)
}

/// How many of each article, as the services sum them.
fn sums(lines: &[Line]) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for line in lines {
        *sums.entry(name(line.sku)).or_default() += line.quantity;
    }
    sums
}

fn total(lines: &[Line]) -> i64 {
    // pgbench books no order for nothing: a booking is of an amount.
    lines.iter().map(|line| line.quantity * line.unit_price_minor).sum::<i64>().max(1)
}

fn json(lines: &[Line]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("[\"{}\", {}, {}]", name(line.sku), line.quantity, line.unit_price_minor))
        .collect();
    format!("[{}]", lines.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::baskets::Baskets;

    fn plan(workload: Workload) -> Plan {
        let line = |sku: &str, quantity| (sku.to_owned(), quantity, 150);
        let order = |number: i64| vec![line("B", number), line("A", 2), line("B", 1)];
        let baskets = Arc::new(Baskets::new((1..=130).map(order)));
        Plan { baskets, ..Plan::of_test(workload) }
    }

    #[test]
    fn every_basket_is_drawn_as_often_as_any_other() {
        for variant in Variant::ALL {
            let scripts = Scripts::new(variant, &plan(Workload::Baskets)).unwrap().scripts;
            assert_eq!((scripts.len(), scripts[0].1, scripts[2].1), (128, 2, 1));
            assert!(scripts[1].0.contains("\\elif :choice = 2") && !scripts[2].0.contains("\\elif"));
        }
    }

    #[test]
    fn the_lines_of_an_article_are_summed_and_articles_sorted() {
        let scripts = Scripts::new(Variant::LocalTransaction, &plan(Workload::Baskets)).unwrap().scripts;
        let takes: Vec<&str> = scripts[4].0.lines().filter(|line| line.starts_with("EXECUTE take")).collect();
        assert_eq!(takes, ["EXECUTE take('s00001', 6) \\gset l0_", "EXECUTE take('s00002', 2) \\gset l1_"]);
        let scripts = Scripts::new(Variant::OneStatement, &plan(Workload::Baskets)).unwrap().scripts;
        let lines = "[[\"s00001\", 5, 150], [\"s00002\", 2, 150], [\"s00001\", 1, 150]]";
        let place = format!("EXECUTE place(:id, :account, 1200, '{{s00001,s00002}}', '{{6,2}}', '{lines}');");
        assert!(scripts[4].0.contains(&place), "{}", scripts[4].0);
    }

    #[test]
    fn no_statement_with_a_result_is_the_last_that_pgbench_has_room_for() {
        let order = (0..700).map(|number| (format!("{number}"), 1, 1)).collect();
        let plan = Plan { baskets: Arc::new(Baskets::new([order])), ..plan(Workload::Baskets) };
        let scripts = Scripts::new(Variant::LocalTransaction, &plan).unwrap().scripts;
        let lines = scripts[0].0.lines().filter(|line| !line.starts_with("--"));
        for (number, line) in lines.enumerate().filter(|(_, line)| line.contains("\\gset")) {
            assert_ne!(number % 128, 127, "{line}");
        }
    }

    #[test]
    fn orders_that_the_baseline_does_not_have_are_said_so() {
        let two_lines = Plan { lines: 2, ..plan(Workload::Uniform) };
        let refused_baskets = Plan { refused_percent: 1, ..plan(Workload::Baskets) };
        for plan in [two_lines, refused_baskets] {
            assert!(matches!(Scripts::new(Variant::OneStatement, &plan), Err(Failed::NoSuchOrders(_))));
        }
    }
}
