//! Reads a file of counted stock. Anything odd in it is an error with its line: nobody wants half of a count.
use std::collections::BTreeMap;
use std::path::Path;

use csv::ByteRecord;
use proto::limits;
use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// A file is at most this large, in bytes.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Of one SKU, at most.
const MAX_QUANTITY: i64 = 1_000_000_000_000;
/// Errors that are shown.
const SHOWN: usize = 5;

/// What was counted.
#[derive(Debug, PartialEq, Eq)]
pub struct Count {
    /// Names the file by its content.
    pub key: String,
    /// How many of each SKU.
    pub counted: BTreeMap<String, i64>,
}

impl Count {
    /// Reads the file at `path`.
    pub fn of_file(path: &Path) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| Failure::usage(format!("cannot read {}: {error}", path.display()));
        let size = std::fs::metadata(path).map_err(cannot)?.len();
        if size > MAX_BYTES {
            return Err(Failure::usage(format!("{} has {size} bytes, more than {MAX_BYTES}", path.display())));
        }
        Count::of_content(&std::fs::read(path).map_err(cannot)?).map_err(|errors| {
            let shown = errors.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
            let more = match errors.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            Failure::usage(format!("{} is no count: {shown}{more}", path.display()))
                .hint("it is a CSV file with the columns SKU and quantity; nothing was changed")
        })
    }

    /// Reads a file's content, or says what is wrong in it.
    pub fn of_content(content: &[u8]) -> Result<Self, Vec<String>> {
        let text = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        let header = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        // Spreadsheets of many countries separate by semicolons.
        let delimiter = if header.contains(&b';') && !header.contains(&b',') { b';' } else { b',' };
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text);
        let headers = reader.byte_headers().map_err(|error| vec![error.to_string()])?.clone();
        let column = |name: &str| {
            let mut places = headers.iter().enumerate().filter(|(_, header)| {
                std::str::from_utf8(header).is_ok_and(|header| header.trim().eq_ignore_ascii_case(name))
            });
            match (places.next(), places.next()) {
                (Some((place, _)), None) => Ok(place),
                (None, _) => Err(vec![format!("the first line names no column {name}")]),
                (Some(_), Some(_)) => Err(vec![format!("the first line names the column {name} twice")]),
            }
        };
        let (sku, quantity) = (column("sku")?, column("quantity")?);
        let (mut counted, mut lines, mut errors) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut record = ByteRecord::new();
        loop {
            match reader.read_byte_record(&mut record) {
                Ok(false) => break,
                Err(error) => errors.push(error.to_string()),
                Ok(true) => {
                    let line = record.position().map_or(0, csv::Position::line);
                    match row(record.get(sku), record.get(quantity)) {
                        Err(wrong) => errors.push(format!("line {line}: {wrong}")),
                        Ok((sku, quantity)) => {
                            if let Some(before) = lines.insert(sku.clone(), line) {
                                errors.push(format!("line {line}: {sku:?} is on line {before} already"));
                            }
                            counted.insert(sku, quantity);
                        }
                    }
                }
            }
        }
        if counted.is_empty() && errors.is_empty() {
            errors.push("it has no rows".to_owned());
        }
        let digest = Sha256::digest(content);
        let key = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        if errors.is_empty() { Ok(Count { key, counted }) } else { Err(errors) }
    }
}

fn row(sku: Option<&[u8]>, quantity: Option<&[u8]>) -> Result<(String, i64), String> {
    let text = |bytes: Option<&[u8]>, name: &str| {
        let bytes = bytes.ok_or_else(|| format!("there is no {name}"))?;
        let text = std::str::from_utf8(bytes).map_err(|_| format!("the {name} is not UTF-8"))?;
        Ok::<String, String>(text.trim().to_owned())
    };
    let (sku, quantity) = (text(sku, "SKU")?, text(quantity, "quantity")?);
    limits::check_sku(&sku).map_err(|wrong| format!("the SKU {wrong}"))?;
    let wrong = || format!("the quantity must be a whole number from 0 to {MAX_QUANTITY}, not {:?}", clip(&quantity));
    let number: i64 = quantity.parse().map_err(|_| wrong())?;
    (0..=MAX_QUANTITY).contains(&number).then_some((sku, number)).ok_or_else(wrong)
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<Vec<(String, i64)>, String> {
        let count = Count::of_content(content.as_bytes()).map_err(|errors| errors.join("; "))?;
        Ok(count.counted.into_iter().collect())
    }

    #[test]
    fn a_count_is_read_as_spreadsheets_write_it() {
        let expected = Ok(vec![("a".to_owned(), 5), ("b c".to_owned(), 0)]);
        assert_eq!(read("SKU,quantity\na,5\nb c,0\n"), expected);
        assert_eq!(read("\u{feff}shelf;Quantity;sku\r\n1;5;a\r\n2; 0 ;\"b c\""), expected);
        let keys = ["SKU,quantity\na,5\n", "SKU,quantity\na,6\n"]
            .map(|content| Count::of_content(content.as_bytes()).unwrap().key);
        assert!(keys[0] != keys[1] && keys[0].len() == 32);
    }

    #[test]
    fn anything_odd_is_told_with_its_line() {
        for (content, told) in [
            ("", "names no column sku"),
            ("a,5\n", "names no column sku"),
            ("sku,quantity,SKU\n", "twice"),
            ("SKU,quantity\n", "no rows"),
            ("SKU,quantity\na,5\na,6\n", "line 3: \"a\" is on line 2"),
            ("SKU,quantity\na,-1\n", "line 2: the quantity"),
            ("SKU,quantity\na,1.5\n", "line 2: the quantity"),
            ("SKU,quantity\na,99999999999999999999\n", "line 2: the quantity"),
            ("SKU,quantity\na,1000000000001\n", "line 2: the quantity"),
            ("SKU,quantity\na\n", "line 2: there is no quantity"),
            ("SKU,quantity\n,5\n", "line 2: the SKU must be"),
            ("SKU,quantity\na\u{7}b,5\n", "line 2: the SKU must be"),
        ] {
            let wrong = read(content).unwrap_err();
            assert!(wrong.contains(told), "{content:?}: {wrong}");
        }
        assert!(read(&format!("SKU,quantity\n{},5\n", "x".repeat(65))).is_err());
        assert!(Count::of_content(b"SKU,quantity\na\xff,5\n").unwrap_err()[0].contains("not UTF-8"));
        assert!(Count::of_content(&[0; 1_000]).is_err());
        assert!(read("SKU,quantity\n\"a,5\nb,6").is_err(), "a quote that is not closed");
    }
}
