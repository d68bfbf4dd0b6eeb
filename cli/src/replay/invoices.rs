//! Reads a file of the Online Retail format into orders to place; nothing in it stops the reading.
//!
//! Columns (found by their names, in any order): InvoiceNo, StockCode, Quantity, UnitPrice, CustomerID; the rest is
//! not needed. One invoice is one order. Prices are pounds.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use csv::ByteRecord;
use proto::limits::MAX_QUANTITY;
use sha2::{Digest, Sha256};

use super::returns::{Back, Returns};
use super::treatment::{Treatment, Treatments, is_fee};
use crate::failure::Failure;
use crate::money::Decimal;

/// The currency of the file's prices.
pub const CURRENCY: &str = "GBP";

/// One line to order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The article.
    pub sku: String,
    /// How many, at least 1.
    pub quantity: i64,
    /// The price of one, in pence.
    pub unit_price_minor: i64,
}

/// One invoice to place as an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Its number in the file.
    pub number: String,
    /// The account that pays.
    pub account: String,
    /// Its lines, at least one.
    pub lines: Vec<Line>,
}

/// What a file asks for.
#[derive(Debug, Default)]
pub struct Plan {
    /// Names the file by its content, so that its setup is done once.
    pub file_key: String,
    /// How many rows it has.
    pub row_count: u64,
    /// How many invoices it has.
    pub invoice_count: u64,
    /// The orders, as they come.
    pub invoices: Vec<Invoice>,
    /// What was odd, and how it was treated.
    pub treatments: Treatments,
    /// The numbers of the first malformed lines.
    pub malformed_lines: Vec<u64>,
    /// What is to be brought back of the orders.
    pub returns: Returns,
}

const MALFORMED_LINES_SHOWN: usize = 10;

impl Plan {
    /// Reads the file at `path`.
    pub fn of_file(path: &Path) -> Result<Self, Failure> {
        let content = std::fs::read(path).map_err(|error| {
            Failure::new(format!("cannot read {}: {error}", path.display())).hint("is it the right file?")
        })?;
        Plan::of_content(&content).map_err(|message| {
            Failure::new(format!("{} is no file of the Online Retail format: {message}", path.display()))
                .hint("it is a CSV file with the columns InvoiceNo, StockCode, Quantity, UnitPrice and CustomerID")
        })
    }

    /// Reads a file's content, or says why it is none of this format.
    pub fn of_content(content: &[u8]) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(content);
        let columns = Columns::find(reader.byte_headers().map_err(|error| error.to_string())?)?;
        let digest = Sha256::digest(content);
        let file_key = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let mut reading = Reading { plan: Plan { file_key, ..Plan::default() }, ..Reading::default() };
        let mut record = ByteRecord::new();
        loop {
            match reader.read_byte_record(&mut record) {
                Ok(false) => break,
                Ok(true) => {
                    let line = record.position().map_or(0, csv::Position::line);
                    reading.row(columns.row(&record), line);
                }
                // The reader works on memory and takes any bytes, so this is only for the sake of what may change.
                Err(error) => reading.malformed(error.position().map_or(0, csv::Position::line)),
            }
        }
        Ok(reading.finish())
    }

    /// How many of each article the orders take together.
    pub fn demand(&self) -> BTreeMap<&str, i64> {
        let mut demand: BTreeMap<&str, i64> = BTreeMap::new();
        for line in self.invoices.iter().flat_map(|invoice| &invoice.lines) {
            let sum = demand.entry(&line.sku).or_default();
            *sum = sum.saturating_add(line.quantity);
        }
        demand
    }

    /// The accounts that pay.
    pub fn accounts(&self) -> BTreeSet<&str> {
        self.invoices.iter().map(|invoice| invoice.account.as_str()).collect()
    }
}

/// Where the columns are.
struct Columns {
    invoice: usize,
    sku: usize,
    quantity: usize,
    price: usize,
    customer: usize,
}

/// A row's cells as text.
struct Row {
    invoice: String,
    sku: String,
    quantity: String,
    price: String,
    customer: String,
}

impl Columns {
    fn find(header: &ByteRecord) -> Result<Self, String> {
        let names: Vec<String> = header.iter().map(name).collect();
        // The second edition of the data set names some of them otherwise.
        let find = |known: &[&str]| {
            let place = names.iter().position(|name| known.iter().any(|known| known.eq_ignore_ascii_case(name)));
            place.ok_or_else(|| format!("its first line names no column {}", known.first().unwrap_or(&"")))
        };
        Ok(Columns {
            invoice: find(&["InvoiceNo", "Invoice"])?,
            sku: find(&["StockCode"])?,
            quantity: find(&["Quantity"])?,
            price: find(&["UnitPrice", "Price"])?,
            customer: find(&["CustomerID"])?,
        })
    }

    /// The cells; `None` if the row is too short to have them.
    fn row(&self, record: &ByteRecord) -> Option<Row> {
        // Descriptions may be in any encoding; the cells that count are ASCII.
        let cell = |index: usize| Some(String::from_utf8_lossy(record.get(index)?).trim().to_owned());
        Some(Row {
            invoice: cell(self.invoice)?,
            sku: cell(self.sku)?,
            quantity: cell(self.quantity)?,
            price: cell(self.price)?,
            customer: cell(self.customer)?,
        })
    }
}

fn name(cell: &[u8]) -> String {
    let text = String::from_utf8_lossy(cell).to_lowercase();
    text.chars().filter(char::is_ascii_alphanumeric).collect() // also drops a byte order mark
}

/// An invoice as it is read.
struct Open {
    number: String,
    cancels: bool,
    customer: String,
    lines: Vec<Line>,
    skus: BTreeSet<String>,
}

#[derive(Default)]
struct Reading {
    plan: Plan,
    open: Vec<Open>,
    places: HashMap<String, usize>,
}

/// Whether it can be part of a request id or an account's name.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= 40 && text.bytes().all(plain)
}

/// 17850.0 is how a number is written that once was in a column with gaps.
fn without_point_zero(text: &str) -> &str {
    text.strip_suffix(".0").unwrap_or(text)
}

impl Reading {
    fn treat(&mut self, treatment: Treatment) {
        *self.plan.treatments.entry(treatment).or_default() += 1;
    }

    fn malformed(&mut self, line: u64) {
        self.treat(Treatment::MalformedRow);
        if self.plan.malformed_lines.len() < MALFORMED_LINES_SHOWN {
            self.plan.malformed_lines.push(line);
        }
    }

    fn row(&mut self, row: Option<Row>, line: u64) {
        self.plan.row_count += 1;
        let Some(row) = row.filter(|row| is_plain(&row.invoice)) else { return self.malformed(line) };
        let customer = without_point_zero(&row.customer);
        if !customer.is_empty() && !is_plain(customer) {
            return self.malformed(line);
        }
        let place = self.invoice(&row.invoice, customer);
        let Some(open) = self.open.get(place) else { return };
        let cancels = open.cancels;
        let has_customer = !open.customer.is_empty();
        // More than a line may be for is no count of anything; asked for, it would stop the setup of the whole file.
        let quantity = without_point_zero(&row.quantity).parse::<i64>().ok();
        // What a cancelling invoice takes back is told as fewer than none.
        let quantity = if cancels { quantity.and_then(i64::checked_neg) } else { quantity };
        let quantity = quantity.filter(|count| *count <= MAX_QUANTITY);
        let price = row.price.parse::<Decimal>();
        let sku_is_one = !row.sku.is_empty() && row.sku.len() <= 64 && !row.sku.chars().any(char::is_control);
        let (Some(quantity), Ok(price), true) = (quantity, price, sku_is_one) else { return self.malformed(line) };
        let left_out = match price.to_minor(CURRENCY) {
            _ if is_fee(&row.sku) => Treatment::Fee,
            _ if quantity < 1 => Treatment::NonPositiveQuantity,
            _ if cancels => return self.line(place, Line { sku: row.sku, quantity, unit_price_minor: 0 }),
            _ if price.is_negative() => Treatment::NegativePrice,
            _ if price.is_zero() && !has_customer => Treatment::StockNote,
            None => Treatment::FinerThanAPenny,
            Some(unit_price_minor) => {
                if price.is_zero() {
                    self.treat(Treatment::FreeOfCharge);
                }
                return self.line(place, Line { sku: row.sku, quantity, unit_price_minor });
            }
        };
        self.treat(left_out);
    }

    /// The place of this invoice among those that are read.
    fn invoice(&mut self, number: &str, customer: &str) -> usize {
        if let Some(place) = self.places.get(number) {
            return *place;
        }
        let place = self.open.len();
        self.places.insert(number.to_owned(), place);
        self.open.push(Open {
            number: number.to_owned(),
            cancels: number.starts_with(['C', 'c']),
            customer: customer.to_owned(),
            lines: Vec::new(),
            skus: BTreeSet::new(),
        });
        place
    }

    fn line(&mut self, place: usize, line: Line) {
        let Some(open) = self.open.get_mut(place) else { return };
        let repeated = !open.skus.insert(line.sku.clone()) && !open.cancels;
        open.lines.push(line);
        if repeated {
            self.treat(Treatment::RepeatedSku);
        }
    }

    fn finish(mut self) -> Plan {
        self.plan.invoice_count = self.open.len() as u64;
        for open in std::mem::take(&mut self.open) {
            if open.cancels {
                self.treat(Treatment::Cancellation);
                let account = Some(format!("customer-{}", open.customer)).filter(|_| !open.customer.is_empty());
                for Line { sku, quantity, .. } in open.lines {
                    self.plan.returns.back(&open.number, account.as_deref(), Back { sku, quantity });
                }
                continue;
            }
            if open.lines.is_empty() {
                self.treat(Treatment::NothingLeft);
                continue;
            }
            let customer = match open.customer.as_str() {
                "" => {
                    self.treat(Treatment::NoCustomer);
                    "guest"
                }
                customer => customer,
            };
            let account = format!("customer-{customer}");
            let invoice = Invoice { number: open.number, account, lines: open.lines };
            self.plan.returns.bought(self.plan.invoices.len(), &invoice);
            self.plan.invoices.push(invoice);
        }
        self.plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn plan(rows: &str) -> Plan {
        Plan::of_content(format!("{HEADER}{rows}").as_bytes()).unwrap()
    }

    fn treated(rows: &str) -> Vec<(Treatment, u64)> {
        plan(rows).treatments.into_iter().collect()
    }

    #[test]
    fn an_invoice_is_an_order() {
        let plan = plan("1,A,x,6,d,2.55,17850.0,UK\n2,Y,y,1,d,3.5,13047,UK\n1,C,\"z, \"\"z\"\"\",2,d,4,17850.0,UK\n");
        assert_eq!((plan.row_count, plan.invoice_count, plan.treatments.len()), (3, 2, 0));
        let first = &plan.invoices[0];
        assert_eq!((first.number.as_str(), first.account.as_str()), ("1", "customer-17850"));
        let line = |sku: &str, quantity, unit_price_minor| Line { sku: sku.to_owned(), quantity, unit_price_minor };
        assert_eq!(first.lines, [line("A", 6, 255), line("C", 2, 400)]);
        assert_eq!(plan.invoices[1].lines, [line("Y", 1, 350)]);
        assert_eq!(plan.accounts().into_iter().collect::<Vec<_>>(), ["customer-13047", "customer-17850"]);
    }

    #[test]
    fn a_cancellation_takes_back_what_the_customer_has_bought_before() {
        let rows = "C1,A,x,-6,d,2.55,1,UK\n2,A,x,3,d,1,1,UK\n2,Y,x,1,d,1,1,UK\nC3,A,x,-2,d,1,1,UK\nC3,POST,x,-1,d,1,1,UK\n\
                    C3,Y,x,-1,d,1,2,UK\nC4,A,x,-2,d,1,1,UK\nC5,A,x,5,d,1,1,UK\n";
        let expected = [(Treatment::Cancellation, 4), (Treatment::Fee, 1), (Treatment::NonPositiveQuantity, 1)];
        assert_eq!(treated(rows), expected);
        let plan = plan(rows);
        assert_eq!(plan.invoices.len(), 1);
        let returns: Vec<(&str, usize)> =
            plan.returns.of_orders[&0].iter().map(|one| (one.number.as_str(), one.lines.len())).collect();
        assert_eq!(returns, [("C3", 2)]);
        assert_eq!(plan.returns.refused.values().sum::<u64>(), 2);
    }

    #[test]
    fn fees_corrections_and_notes_are_left_out() {
        let rows = "1,POST,x,1,d,18.00,1,UK\n1,BANK CHARGES,x,1,d,15,1,UK\n1,m,x,1,d,1,1,UK\n1,A,x,1,d,1,1,UK\n\
                    2,A,x,-10,d,1,1,UK\n3,A,,5,d,0.0,,UK\n4,A,x,1,d,-11062.06,1,UK\n4,A,x,1,d,0.001,1,UK\n";
        let expected = [
            (Treatment::NothingLeft, 3),
            (Treatment::Fee, 3),
            (Treatment::NonPositiveQuantity, 1),
            (Treatment::NegativePrice, 1),
            (Treatment::FinerThanAPenny, 1),
            (Treatment::StockNote, 1),
        ];
        assert_eq!(treated(rows), expected);
        assert!(expected.iter().all(|(treatment, _)| treatment.leaves_out()));
        assert_eq!(plan(rows).invoices.len(), 1);
    }

    #[test]
    fn guests_gifts_and_repeated_articles_are_placed() {
        let rows = "1,A,x,1,d,1,,UK\n2,A,x,1,d,0.0,7,UK\n2,Y,x,3,d,1,7,UK\n2,Y,x,4,d,2,7,UK\n";
        let expected = [(Treatment::NoCustomer, 1), (Treatment::FreeOfCharge, 1), (Treatment::RepeatedSku, 1)];
        assert_eq!(treated(rows), expected);
        let plan = plan(rows);
        assert_eq!(plan.invoices[0].account, "customer-guest");
        assert_eq!(plan.invoices[1].lines.len(), 3);
        assert_eq!(plan.demand(), BTreeMap::from([("A", 2), ("Y", 7)]));
    }

    #[test]
    fn no_row_stops_the_reading() {
        let rows = "1\n1,A\n\n,A,x,1,d,1,1,UK\n1,,x,1,d,1,1,UK\n1,A,x,many,d,1,1,UK\n1,A,x,1,d,1e3,1,UK\n\
                    1,A,x,99999999999999999999,d,1,1,UK\n1,A,x,1000000001,d,1,1,UK\n1/../2,A,x,1,d,1,1,UK\n1,A,x,1,d,1,no body,UK\n\"open,A,x\n";
        let plan = plan(rows);
        assert_eq!(plan.treatments.get(&Treatment::MalformedRow), Some(&11));
        assert_eq!(plan.malformed_lines.len(), 10);
        assert_eq!(plan.malformed_lines[0], 2);
        assert!(plan.invoices.is_empty());
    }

    #[test]
    fn a_file_of_another_kind_is_told_so() {
        for content in [&b""[..], b"\x7fELF\x02\x01\x01\0\0\0", b"<html>", b"a,b,c\n1,2,3\n", b"\xff\xfe\0\0"] {
            let message = Plan::of_content(content).unwrap_err();
            assert!(message.contains("InvoiceNo"), "{message}");
        }
        assert!(Plan::of_content(b"InvoiceNo,StockCode\n").unwrap_err().contains("Quantity"));
        let marked = format!("\u{feff}{HEADER}1,A,x,1,d,1,1,UK\n");
        assert_eq!(Plan::of_content(marked.as_bytes()).unwrap().invoices.len(), 1);
    }

    #[test]
    fn the_same_content_has_the_same_key() {
        let key = |rows: &str| plan(rows).file_key;
        assert_eq!(key("1,A,x,1,d,1,1,UK\n"), key("1,A,x,1,d,1,1,UK\n"));
        assert_ne!(key("1,A,x,1,d,1,1,UK\n"), key("1,A,x,2,d,1,1,UK\n"));
    }
}
