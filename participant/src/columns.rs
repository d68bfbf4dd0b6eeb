//! Rows as the arguments of a statement: columns, each of them an array that the statement unnests; or the values of a lone row.
//!
//! A database that has little to do is asked for one row at a time, and then much of a statement is making its plan ready: with values
//! that is a third less than with arrays of one element. Both forms are one text, so that they do the same.
use std::sync::OnceLock;

use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, Encode, Postgres, Type};

/// The arguments of a statement.
pub struct Columns {
    arguments: PgArguments,
    is_one: bool,
}

impl Columns {
    /// For so many rows.
    pub fn of(rows: usize) -> Self {
        Columns { arguments: PgArguments::default(), is_one: rows == 1 }
    }

    /// For so many rows, after other arguments.
    pub fn after(arguments: PgArguments, rows: usize) -> Self {
        Columns { arguments, is_one: rows == 1 }
    }

    /// Whether there is one row, whose values are the arguments.
    pub fn is_one(&self) -> bool {
        self.is_one
    }

    /// Adds a column; answers its place.
    pub fn add<'q, T>(&mut self, mut column: Vec<T>) -> Result<usize, BoxDynError>
    where
        T: Encode<'q, Postgres> + Type<Postgres>,
        Vec<T>: Encode<'q, Postgres> + Type<Postgres>,
    {
        if !self.is_one {
            return self.add_value(column);
        }
        match (column.pop(), column.is_empty()) {
            (Some(value), true) => self.add_value(value),
            _ => Err("a column of one row has one value".into()),
        }
    }

    /// Adds a column for a statement that is put together; answers what it says of it.
    pub fn name<'q, T>(&mut self, column: Vec<T>, sql_type: &str) -> Result<Column, BoxDynError>
    where
        T: Encode<'q, Postgres> + Type<Postgres>,
        Vec<T>: Encode<'q, Postgres> + Type<Postgres>,
    {
        let place = self.add(column)?;
        Ok(match self.is_one {
            true => Column { each: format!("${place}::{sql_type}"), all: format!("ARRAY[${place}::{sql_type}]") },
            false => Column { each: format!("unnest(${place}::{sql_type}[])"), all: format!("${place}::{sql_type}[]") },
        })
    }

    /// Adds what is the same for all rows; answers its place.
    pub fn add_value<'q>(&mut self, value: impl Encode<'q, Postgres> + Type<Postgres>) -> Result<usize, BoxDynError> {
        self.arguments.add(value)?;
        Ok(self.arguments.len())
    }

    /// The arguments.
    pub fn into_arguments(self) -> PgArguments {
        self.arguments
    }
}

/// What a statement says of a column.
pub struct Column {
    /// A value for each row.
    pub each: String,
    /// The array of them.
    pub all: String,
}

/// A statement whose columns are unnested, each as `unnest($1::text[])`.
pub struct Rows {
    many: &'static str,
    one: OnceLock<String>,
}

impl Rows {
    /// This one.
    pub const fn new(many: &'static str) -> Self {
        Rows { many, one: OnceLock::new() }
    }

    /// Its text for these arguments.
    pub fn text(&'static self, columns: &Columns) -> &'static str {
        match columns.is_one {
            true => self.one.get_or_init(|| of_one(self.many)),
            false => self.many,
        }
    }
}

/// The same statement for one row: `$1::text` for `unnest($1::text[])`.
fn of_one(many: &str) -> String {
    let mut parts = many.split("unnest(");
    let mut one = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("[])") {
            Some((column, rest)) => one.extend([column, rest]),
            None => one.extend(["unnest(", part]),
        }
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_for_one_row_takes_values() {
        let many = "INSERT INTO t SELECT a, $3 FROM (SELECT unnest($1::uuid[]) AS a, unnest($2::text[]) AS b) AS n";
        assert_eq!(of_one(many), "INSERT INTO t SELECT a, $3 FROM (SELECT $1::uuid AS a, $2::text AS b) AS n");
        assert_eq!(of_one("SELECT 1"), "SELECT 1");
        assert_eq!(of_one("SELECT unnest(a)"), "SELECT unnest(a)");
    }

    #[test]
    fn a_lone_row_has_one_value_in_each_column() {
        let mut one = Columns::of(1);
        assert_eq!(one.add(vec![1_i64]).unwrap(), 1);
        assert_eq!(one.add_value("the same for all").unwrap(), 2);
        assert!(one.add(vec![1_i64, 2]).is_err());
        assert!(one.add(Vec::<i64>::new()).is_err());
        let mut two = Columns::of(2);
        assert_eq!(two.add(vec![1_i64, 2]).unwrap(), 1);
        let said = |column: Column| (column.each, column.all);
        let ids = said(one.name(vec![1_i64], "bigint").unwrap());
        assert_eq!(ids, ("$3::bigint".to_owned(), "ARRAY[$3::bigint]".to_owned()));
        let ids = said(two.name(vec![1_i64, 2], "bigint").unwrap());
        assert_eq!(ids, ("unnest($2::bigint[])".to_owned(), "$2::bigint[]".to_owned()));
    }
}
