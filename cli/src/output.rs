//! What is printed: data on stdout, as a table for people or as JSON for machines. All else goes to stderr.
use std::io::{IsTerminal, Write};

use comfy_table::{CellAlignment, Table, presets};
use prost_types::Timestamp;
use serde::Serialize;

use crate::failure::Failure;

/// The form of the data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For machines: the names and types stay the same between versions.
    Json,
}

impl Output {
    /// Prints `data`: itself as JSON, or what `table` makes of it.
    pub fn print<T: Serialize>(self, data: &T, table: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let text = match self {
            Output::Json => serde_json::to_string_pretty(data)
                .map_err(|error| Failure::new(format!("cannot write the answer as JSON: {error}")))?,
            Output::Table => table(data),
        };
        line(&text)
    }

    /// Prints `data` in one line: itself as JSON, or `text`.
    pub fn print_line<T: Serialize>(self, data: &T, text: &str) -> Result<(), Failure> {
        match self {
            Output::Json => line(
                &serde_json::to_string(data)
                    .map_err(|error| Failure::new(format!("cannot write the answer as JSON: {error}")))?,
            ),
            Output::Table => line(text),
        }
    }
}

fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()), // the reader has seen enough
        result => result.map_err(|error| Failure::new(format!("cannot write to stdout: {error}"))),
    }
}

/// A table with these headers, without frames; columns named in `right` hold figures.
pub fn table(headers: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headers.iter().map(|header| header.to_uppercase()));
    table.add_rows(rows);
    for index in right {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 1));
    }
    trimmed(&table.to_string())
}

/// Names and values, one a line.
pub fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    trimmed(&lines.join("\n"))
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A point in time as printed: RFC 3339 in UTC with milliseconds.
pub fn time(timestamp: Option<&Timestamp>) -> Option<String> {
    let timestamp = timestamp?;
    let nanos = u32::try_from(timestamp.nanos).ok()?;
    let at = chrono::DateTime::from_timestamp(timestamp.seconds, nanos)?;
    Some(at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

/// A count with its thousands apart: 1,234,567.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `text` in a colour (an ANSI code) if stdout is a terminal and NO_COLOR is not set.
pub fn coloured(text: &str, ansi: &str) -> String {
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted { format!("\u{1b}[{ansi}m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn times_are_rfc_3339_and_nonsense_is_left_out() {
        let at = Timestamp { seconds: 1_291_192_260, nanos: 5_000_000 };
        assert_eq!(time(Some(&at)).as_deref(), Some("2010-12-01T08:31:00.005Z"));
        assert_eq!(time(Some(&Timestamp { seconds: i64::MAX, nanos: 0 })), None);
        assert_eq!(time(Some(&Timestamp { seconds: 0, nanos: -1 })), None);
    }
}
