//! Answers for programs: one document, names in snake case, times in RFC 3339, what is absent as null.
//!
//! Names are exact, but written so that they cannot command a terminal either: JSON can escape whatever a table must.
//! Deliberately not here: remarks for people.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Answer, Cell, Column, Part, escape, time};

/// The answer as a JSON document.
pub(super) fn document(answer: &Answer, as_of: Timestamp) -> String {
    let value = value(answer, as_of);
    let mut text = serde_json::to_string_pretty(&value).unwrap_or_else(|_| value.to_string());
    text.push('\n');
    escape::in_json(&text)
}

/// The same as YAML.
pub(super) fn yaml(answer: &Answer, as_of: Timestamp) -> String {
    let value = value(answer, as_of);
    // JSON is YAML too, should the writer ever refuse.
    serde_saphyr::to_string(&value).unwrap_or_else(|_| value.to_string())
}

fn value(answer: &Answer, as_of: Timestamp) -> Value {
    let mut document = Map::new();
    document.insert("as_of".to_owned(), cell(&Cell::Time(as_of.as_millisecond())));
    match answer.list {
        Some(name) => {
            drop(document.insert(name.to_owned(), answer.parts.iter().map(part).map(Value::Object).collect()))
        }
        None => document.extend(answer.parts.iter().flat_map(part)),
    }
    Value::Object(document)
}

fn part(part: &Part) -> Map<String, Value> {
    let mut object: Map<_, _> = fields(part.facts.iter().map(|(column, cell)| (column, cell))).collect();
    for table in &part.tables {
        let row = |row: &Vec<Cell>| Value::Object(fields(table.columns.iter().zip(row)).collect());
        object.insert(table.key.to_owned(), table.rows.iter().map(row).collect());
    }
    object
}

fn fields<'a>(cells: impl Iterator<Item = (&'a Column, &'a Cell)>) -> impl Iterator<Item = (String, Value)> {
    cells.filter(|(column, _)| !column.key.is_empty()).map(|(column, value)| (column.key.to_owned(), cell(value)))
}

fn cell(value: &Cell) -> Value {
    match value {
        Cell::Absent => Value::Null,
        Cell::Flag(flag) => (*flag).into(),
        Cell::Number(number) => (*number).into(),
        Cell::Text(text) | Cell::Words(text) => text.clone().into(),
        Cell::Time(milliseconds) => time(*milliseconds).into(),
        Cell::Span(from, to) => serde_json::json!({ "from": time(*from), "to": time(*to) }),
        Cell::List(cells) => cells.iter().map(cell).collect(),
    }
}
