//! What the flags come to: the branches that are sent, and what can be seen and done besides.
use std::path::PathBuf;

use prost::Message as _;
use proto::assent::inventory::v1::{InventoryBranch, StockLine};
use proto::assent::order::v1::{OrderBranch, OrderLine};
use proto::assent::payment::v1::PaymentBranch;
use proto::google::r#type::Money;
use proto::limits::MAX_QUANTITY;

use super::books::Books;
use crate::failure::Failure;
use crate::money::parse_currency;

/// More than any account of a test has.
const TOO_MUCH_MINOR: i64 = 1_000_000_000_000_000;

/// One of Assent's own participants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Own {
    /// Stock.
    Inventory,
    /// Orders.
    Order,
    /// Accounts.
    Payment,
}

/// What is to be verified, and with which branches.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// The participant's name in transactions; each PREPARE names it among the participants
    #[arg(long, value_name = "NAME", required_unless_present = "own")]
    name: Option<String>,
    /// A branch that the participant takes, any number of times (several hundred)
    #[arg(long, value_name = "HEX", required_unless_present_any = ["branch_file", "own"], conflicts_with_all = ["branch_file", "own"])]
    branch_hex: Option<String>,
    /// The same, as a file
    #[arg(long, value_name = "FILE", conflicts_with = "own")]
    branch_file: Option<PathBuf>,
    /// A branch that it refuses, such as one that asks for more than there is
    #[arg(long, value_name = "HEX", conflicts_with_all = ["refused_branch_file", "own"])]
    refused_branch_hex: Option<String>,
    /// The same, as a file
    #[arg(long, value_name = "FILE", conflicts_with = "own")]
    refused_branch_file: Option<PathBuf>,
    /// Prints two whole numbers: what is held for such branches now, and what they have taken for good so far
    #[arg(long, value_name = "CMD", conflicts_with = "own")]
    books_command: Option<String>,
    /// One of Assent's own services: makes the branches and reads the books itself
    #[arg(long = "as", value_name = "SERVICE", value_enum)]
    own: Option<Own>,
    /// With --as inventory or order: the SKU; at least 1,000 must be on hand
    #[arg(long, value_name = "SKU", default_value = "conformance")]
    sku: String,
    /// With --as payment or order: the account; at least 10.00 must be in it
    #[arg(long, value_name = "NAME", default_value = "conformance")]
    account: String,
    /// With --as payment or order: the account's currency
    #[arg(long, value_name = "CODE", default_value = "GBP", value_parser = parse_currency)]
    currency: String,
    /// Ends the participant (kill -9 is best) and starts it again; run with sh between a vote and its decision. It must
    /// return once the new process is started
    #[arg(long, value_name = "CMD")]
    restart_command: Option<String>,
    /// How long to wait for the participant's watermark to move on, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 20_000)]
    watermark_wait_ms: u64,
    /// Only the checks of these numbers, or groups: 3.4,7
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    only: Vec<String>,
}

/// What the kit works with.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The participant's name.
    pub name: String,
    /// A branch that it takes.
    pub branch: Vec<u8>,
    /// A branch that it refuses.
    pub refused: Option<Vec<u8>>,
    /// What it holds and has taken.
    pub books: Books,
    /// Ends and starts it.
    pub restart: Option<String>,
    /// How long the watermark may stand still.
    pub watermark_wait_ms: u64,
    /// The numbers of the checks to make; all if there are none.
    pub only: Vec<String>,
    /// What must be set up first, if that is known.
    pub setup: Option<String>,
}

impl Flags {
    /// The plan, or what is wrong with the flags.
    pub fn plan(self, address: &str) -> Result<Plan, Failure> {
        let Flags { restart_command: restart, watermark_wait_ms, only, .. } = self;
        if let Some(own) = self.own {
            let own = of_own(own, address, self.sku, self.account, &self.currency);
            let name = self.name.unwrap_or(own.name);
            return Ok(Plan { name, restart, watermark_wait_ms, only, ..own });
        }
        let branch = bytes("--branch", self.branch_hex, self.branch_file)?;
        Ok(Plan {
            name: self.name.ok_or_else(|| Failure::usage("--name is missing"))?,
            branch: branch.ok_or_else(|| Failure::usage("--branch-hex or --branch-file is missing"))?,
            refused: bytes("--refused-branch", self.refused_branch_hex, self.refused_branch_file)?,
            books: self.books_command.map_or(Books::Unseen, Books::Command),
            restart,
            watermark_wait_ms,
            only,
            setup: None,
        })
    }
}

fn bytes(flag: &str, hex: Option<String>, file: Option<PathBuf>) -> Result<Option<Vec<u8>>, Failure> {
    if let Some(file) = file {
        let read = std::fs::read(&file);
        return read.map(Some).map_err(|error| Failure::usage(format!("{flag}-file {}: {error}", file.display())));
    }
    let Some(hex) = hex else { return Ok(None) };
    let digit = |index: usize| hex.get(index..index + 2).filter(|pair| pair.bytes().all(|it| it.is_ascii_hexdigit()));
    let byte = |index: usize| u8::from_str_radix(digit(index)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    bytes.map(Some).ok_or_else(|| Failure::usage(format!("{flag}-hex {hex:?} is not made of pairs of hex digits")))
}

fn of_own(own: Own, address: &str, sku: String, account: String, currency: &str) -> Plan {
    let plan = |name: &str, branch: Vec<u8>, refused: Option<Vec<u8>>, books: Books, setup: Option<String>| Plan {
        name: name.to_owned(),
        branch,
        refused,
        books,
        restart: None,
        watermark_wait_ms: 0,
        only: Vec::new(),
        setup,
    };
    match own {
        Own::Inventory => {
            let branch = |quantity| {
                let lines = vec![StockLine { sku: sku.clone(), quantity }];
                InventoryBranch { lines, ..Default::default() }.encode_to_vec()
            };
            let setup = format!("assent stock set {sku} 1000 --inventory {address}");
            plan("inventory", branch(1), Some(branch(MAX_QUANTITY)), Books::Stock(sku.clone()), Some(setup))
        }
        Own::Payment => {
            let branch = |minor| {
                let amount = Some(Money::from_minor(currency, minor));
                PaymentBranch { account: account.clone(), amount, ..Default::default() }.encode_to_vec()
            };
            let setup =
                format!("assent account open {account} --balance 10.00 --currency {currency} --payment {address}");
            plan("payment", branch(1), Some(branch(TOO_MUCH_MINOR)), Books::Account(account.clone()), Some(setup))
        }
        Own::Order => {
            let price = Some(Money::from_minor(currency, 1));
            let branch = OrderBranch {
                account,
                request_id: "conformance".to_owned(),
                lines: vec![OrderLine { sku, quantity: 1, unit_price: price.clone(), ..OrderLine::default() }],
                total: price,
                ..OrderBranch::default()
            };
            plan("order", branch.encode_to_vec(), None, Books::Unseen, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_branch_is_given_in_hex_or_not_at_all() {
        let read = |hex: &str| bytes("--branch", Some(hex.to_owned()), None);
        assert_eq!(read("0aFF").unwrap(), Some(vec![10, 255]));
        assert_eq!(read("").unwrap(), Some(Vec::new()));
        for bad in ["0", "0g", "+1", "üü", "0a f"] {
            assert_eq!(read(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }
}
