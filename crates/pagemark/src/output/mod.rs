//! What commands answer: values, and the one place that writes them as a table, JSON, YAML or CSV.
//!
//! A command builds an [`Answer`]; nothing but the answer goes to standard output. Deliberately not here: what is said to
//! a person meanwhile, which goes to standard error.

mod escape;
mod json;
mod tables;

use std::io::{ErrorKind, IsTerminal, Write};

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::exit::Failure;
use crate::times;

pub use escape::escaped;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; long names are shortened if they do not fit a terminal
    Table,
    /// As table, with every column, nothing shortened
    Wide,
    /// One JSON document
    Json,
    /// The same as YAML
    Yaml,
    /// Comma-separated values with a header
    Csv,
}

/// The option that chooses the format.
#[derive(Debug, Clone, Args)]
pub struct Output {
    /// How to write the answer
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "table", value_enum)]
    pub format: Format,
}

impl Output {
    /// Shows people every column, if they want it verbose.
    pub fn verbose(&mut self, verbose: bool) {
        if verbose && self.format == Format::Table {
            self.format = Format::Wide;
        }
    }
}

/// A value in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// There is none: `-` for people, null in JSON.
    Absent,
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(i64),
    /// Somebody's text, which may hold anything.
    Text(String),
    /// Our own words, shown as they are.
    Words(String),
    /// Milliseconds since 1970.
    Time(i64),
    /// From one time to another, in milliseconds since 1970.
    Span(i64, i64),
    /// Several values.
    List(Vec<Cell>),
}

macro_rules! cells {
    ($($from:ty => |$value:ident| $cell:expr;)*) => {
        $(impl From<$from> for Cell { fn from($value: $from) -> Cell { $cell } })*
    };
}

cells! {
    bool => |value| Cell::Flag(value);
    i64 => |value| Cell::Number(value);
    i32 => |value| Cell::Number(value.into());
    usize => |value| Cell::Number(i64::try_from(value).unwrap_or(i64::MAX));
    &str => |value| Cell::Text(value.to_owned());
    String => |value| Cell::Text(value);
}

impl Cell {
    /// Our own words, if there are any.
    pub fn words(words: Option<impl Into<String>>) -> Cell {
        words.map_or(Cell::Absent, |words| Cell::Words(words.into()))
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Absent, Into::into)
    }
}

impl<T: Into<Cell>> From<Vec<T>> for Cell {
    fn from(values: Vec<T>) -> Cell {
        Cell::List(values.into_iter().map(Into::into).collect())
    }
}

/// A column: its name for people and its name for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// As Kafka's tools write it; empty if it is for programs only.
    header: &'static str,
    /// In snake case; empty if it is for people only.
    key: &'static str,
    is_long: bool,
    is_optional: bool,
    is_wide: bool,
}

impl Column {
    /// A column for people and programs.
    pub const fn new(header: &'static str, key: &'static str) -> Column {
        Column { header, key, is_long: false, is_optional: false, is_wide: false }
    }

    /// A column for programs only.
    pub const fn data(key: &'static str) -> Column {
        Column::new("", key)
    }

    /// A column for people only.
    pub const fn words(header: &'static str) -> Column {
        Column::new(header, "")
    }

    /// It may be shortened where there is no room.
    pub const fn long(self) -> Column {
        Column { is_long: true, ..self }
    }

    /// People do not see it if no row has a value.
    pub const fn optional(self) -> Column {
        Column { is_optional: true, ..self }
    }

    /// People see it with `-o wide` only.
    pub const fn wide(self) -> Column {
        Column { is_wide: true, ..self }
    }

    fn is_shown(&self, at: usize, rows: &[Vec<Cell>], format: Format) -> bool {
        let is_there = !self.is_optional || rows.iter().any(|row| row[at] != Cell::Absent);
        !self.header.is_empty() && is_there && (format == Format::Wide || !self.is_wide)
    }
}

/// Rows under columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name for programs.
    key: &'static str,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub fn new(key: &'static str, columns: impl IntoIterator<Item = Column>) -> Table {
        Table { key, columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// One more row, with a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = cells.into_iter().collect();
        debug_assert_eq!(row.len(), self.columns.len(), "a cell for each column");
        row.resize(self.columns.len(), Cell::Absent);
        self.rows.push(row);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// What is said of one thing: single facts, tables, and remarks for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    facts: Vec<(Column, Cell)>,
    tables: Vec<Table>,
    notes: Vec<String>,
}

impl Part {
    /// One table and nothing else.
    pub fn table(table: Table) -> Part {
        Part { tables: vec![table], ..Part::default() }
    }

    /// One more fact.
    pub fn fact(mut self, column: Column, cell: impl Into<Cell>) -> Part {
        self.facts.push((column, cell.into()));
        self
    }

    /// One more table.
    pub fn with(mut self, table: Table) -> Part {
        self.tables.push(table);
        self
    }

    /// One more remark for people, below the tables.
    pub fn note(mut self, note: impl Into<String>) -> Part {
        self.notes.push(note.into());
        self
    }
}

/// What a command answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Name of the list of parts for programs; without one there is exactly one part.
    list: Option<&'static str>,
    parts: Vec<Part>,
    /// What went wrong besides; the first one's exit code counts.
    pub failures: Vec<Failure>,
}

impl Answer {
    /// One part.
    pub fn one(part: Part) -> Answer {
        Answer { parts: vec![part], ..Answer::default() }
    }

    /// A part for each of several things.
    pub fn list(name: &'static str, parts: Vec<Part>) -> Answer {
        Answer { list: Some(name), parts, failures: Vec::new() }
    }

    /// The same with what went wrong.
    pub fn failing(mut self, failures: impl IntoIterator<Item = Failure>) -> Answer {
        self.failures.extend(failures);
        self
    }

    /// The answer as text. `width` is that of the terminal, if there is one.
    fn written(&self, format: Format, as_of: Timestamp, width: Option<u16>) -> String {
        match format {
            Format::Table | Format::Wide => {
                tables::people(&self.parts, format, width.filter(|_| format == Format::Table))
            }
            Format::Json => json::document(self, as_of),
            Format::Yaml => json::yaml(self, as_of),
            Format::Csv => tables::csv(&self.parts),
        }
    }
}

/// Writes an answer to standard output. That nobody reads it any more is no failure.
///
/// # Errors
/// If standard output cannot be written for another reason, such as a full disk.
pub fn print(answer: &Answer, format: Format, as_of: Timestamp) -> Result<(), Failure> {
    write_out(answer.written(format, as_of, width()).as_bytes()).map(drop)
}

/// Writes an answer in place of the one before: a terminal is cleared, elsewhere an empty line stands between. Whether
/// anybody still reads it.
///
/// # Errors
/// As [`print()`].
pub fn print_again(answer: &Answer, format: Format, as_of: Timestamp) -> Result<bool, Failure> {
    let text = answer.written(format, as_of, width());
    let text = match std::io::stdout().is_terminal() {
        true => format!("\u{1b}[H\u{1b}[2J{text}"),
        false => format!("{text}\n"),
    };
    answer.failures.iter().for_each(|failure| say(&failure.message));
    write_out(text.as_bytes())
}

/// Writes to standard output, at once. Whether anybody still reads it.
///
/// # Errors
/// If it cannot be written for another reason than that nobody reads it.
pub fn write_out(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("standard output cannot be written: {error}"))),
    }
}

/// `1 member`, `2 members`.
pub fn counted(count: i64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Says something to a person, on standard error.
pub fn say(text: &str) {
    // Not `eprintln`, which panics when nobody holds the other end.
    let _ = writeln!(std::io::stderr(), "pagemark: {}", escape::harmless(text));
}

/// How wide the terminal is: as it says itself, or as `COLUMNS` says.
fn width() -> Option<u16> {
    if let Some((width, _)) = terminal_size::terminal_size_of(std::io::stdout()) {
        return Some(width.0);
    }
    std::env::var("COLUMNS").ok()?.parse().ok().filter(|width| *width > 0)
}

/// A time for people and programs.
fn time(milliseconds: i64) -> Option<String> {
    times::rfc3339(milliseconds)
}
