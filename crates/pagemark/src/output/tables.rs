//! Answers for people, in columns, and as comma-separated values.
//!
//! A row is one line, so that it can be searched. Only where the width of a terminal is known are long names shortened, to
//! eight characters at least. Deliberately not here: borders and colours.

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, Row, Table as Layout, Width};

use super::{Cell, Column, Format, Part, Table, escaped, time};
use crate::times;

/// Columns between two cells.
const GAP: u16 = 2;
/// A long name keeps at least this much.
const LEAST: u16 = 8;

/// Parts one below the other.
pub(super) fn people(parts: &[Part], format: Format, width: Option<u16>) -> String {
    let mut blocks = Vec::new();
    for part in parts {
        let facts: Vec<String> = part
            .facts
            .iter()
            .filter(|(column, cell)| !column.header.is_empty() && *cell != Cell::Absent)
            .map(|(column, cell)| format!("{} {}", column.header, text(cell)))
            .collect();
        if !facts.is_empty() {
            blocks.push(format!("{}\n", facts.join("   ")));
        }
        blocks.extend(part.tables.iter().filter(|table| !table.is_empty()).map(|table| layout(table, format, width)));
        if !part.notes.is_empty() {
            blocks.push(part.notes.iter().map(|note| format!("{note}\n")).collect());
        }
    }
    blocks.join("\n")
}

fn layout(table: &Table, format: Format, width: Option<u16>) -> String {
    let columns = table.columns.iter().enumerate();
    let shown: Vec<_> = columns.filter(|(at, column)| column.is_shown(*at, &table.rows, format)).collect();
    let mut layout = Layout::new();
    layout.load_style(NOTHING).set_header(shown.iter().map(|(_, column)| column.header).collect::<Vec<_>>());
    layout.set_delimiter('\0'); // a name is cut where there is no more room, not between its words
    for row in &table.rows {
        let mut row = Row::from(shown.iter().map(|(at, _)| text(&row[*at])).collect::<Vec<_>>());
        row.max_height(1);
        layout.add_row(row);
    }
    let widths = fitted(&shown, &layout.column_max_content_widths(), width);
    for (column, width) in layout.column_iter_mut().zip(widths) {
        column.set_padding((0, GAP)).set_constraint(ColumnConstraint::Absolute(Width::Fixed(width + GAP)));
    }
    layout.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// How wide each column becomes: as its content wants, but long ones give way, the longest first.
fn fitted(shown: &[(usize, &Column)], wanted: &[u16], width: Option<u16>) -> Vec<u16> {
    let mut widths: Vec<u16> = wanted.iter().map(|width| (*width).min(u16::MAX - GAP)).collect();
    let Some(width) = width.map(usize::from) else { return widths };
    let gaps = usize::from(GAP) * widths.len().saturating_sub(1);
    while widths.iter().map(|width| usize::from(*width)).sum::<usize>() + gaps > width {
        let least = |at: usize| LEAST.max(shown[at].1.header.len() as u16);
        let may_shrink = (0..widths.len()).filter(|at| shown[*at].1.is_long && widths[*at] > least(*at));
        let Some(longest) = may_shrink.max_by_key(|at| widths[*at]) else { break };
        widths[longest] -= 1;
    }
    widths
}

/// Rows of the first tables as comma-separated values, each with the facts of its part in front.
pub(super) fn csv(parts: &[Part]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut has_header = false;
    for part in parts {
        let facts = part.facts.iter().filter(|(column, _)| !column.key.is_empty());
        let (facts, values): (Vec<&Column>, Vec<&Cell>) = facts.map(|(column, cell)| (column, cell)).unzip();
        let table = part.tables.first();
        let columns: Vec<&Column> = table.iter().flat_map(|table| &table.columns).collect();
        let kept: Vec<usize> = (0..columns.len()).filter(|at| !columns[*at].key.is_empty()).collect();
        if !has_header {
            has_header = true;
            let kept = kept.iter().map(|at| columns[*at].key);
            // Readers take columns by name, so each name stands there once: a sum beside what it is the sum of.
            let fact = |fact: &&Column| match kept.clone().any(|key| key == fact.key) {
                true => format!("total_{}", fact.key),
                false => fact.key.to_owned(),
            };
            let header = facts.iter().map(fact).chain(kept.clone().map(str::to_owned));
            writer.write_record(header).ok(); // memory takes everything
        }
        let rows: Vec<Vec<&Cell>> = match table {
            Some(table) => table.rows.iter().map(|row| kept.iter().map(|at| &row[*at]).collect()).collect(),
            None => vec![Vec::new()],
        };
        for row in rows {
            writer.write_record(values.iter().chain(&row).map(|cell| exact(cell))).ok(); // as above
        }
    }
    writer.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// A cell for a program: names as they are, nothing where there is nothing.
fn exact(cell: &Cell) -> String {
    match cell {
        Cell::Absent => String::new(),
        Cell::Text(text) | Cell::Words(text) => text.clone(),
        Cell::Span(from, to) => [from, to].map(|at| time(*at).unwrap_or_default()).join("/"),
        Cell::List(cells) => cells.iter().map(exact).collect::<Vec<_>>().join(","),
        Cell::Flag(_) | Cell::Number(_) | Cell::Time(_) => text(cell),
    }
}

/// A cell for a person.
fn text(cell: &Cell) -> String {
    match cell {
        Cell::Absent => "-".to_owned(),
        Cell::Flag(flag) => flag.to_string(),
        Cell::Number(number) => number.to_string(),
        Cell::Text(text) => escaped(text),
        Cell::Words(words) => words.clone(),
        Cell::Time(milliseconds) => time(*milliseconds).unwrap_or_else(|| "-".to_owned()),
        Cell::Span(from, to) => times::span(*from, *to),
        Cell::List(cells) if cells.is_empty() => "-".to_owned(),
        Cell::List(cells) => cells.iter().map(text).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> Part {
        let columns = [
            Column::new("TOPIC", "topic").long(),
            Column::new("LAG", "lag"),
            Column::new("NOTE", "note").optional(),
            Column::new("EPOCH", "epoch").wide(),
        ];
        let mut table = Table::new("offsets", columns);
        table.row(["orders".into(), 7i64.into(), Cell::Absent, 1i64.into()]);
        table.row(["a very long name, indeed".into(), Cell::Absent, Cell::Absent, 1i64.into()]);
        Part::table(table).fact(Column::new("GROUP", "group"), "g\n").note("two rows")
    }

    #[test]
    fn a_row_is_a_line_and_empty_columns_are_left_out() {
        let expected = "GROUP g\\n\n\nTOPIC                       LAG\norders                      7\n\
                        \"a very long name, indeed\"  -\n\ntwo rows\n";
        assert_eq!(people(&[part()], Format::Table, None), expected);
        assert_eq!(people(&[part()], Format::Table, Some(80)), expected);
        assert!(people(&[part()], Format::Wide, None).contains("LAG  EPOCH\norders                      7    1\n"));
    }

    #[test]
    fn long_names_give_way_to_a_terminal_but_nothing_else_does() {
        let shown = people(&[part()], Format::Table, Some(20));
        assert!(shown.contains("\nTOPIC            LAG\norders           7\n\"a very long n…  -\n"), "{shown}");
        let shown = people(&[part()], Format::Table, Some(3));
        assert!(shown.contains("\nTOPIC     LAG\norders    7\n\"a very…  -\n"), "{shown}");
    }

    #[test]
    fn csv_has_every_column_and_every_name_as_it_is() {
        let expected = "group,topic,lag,note,epoch\n\"g\n\",orders,7,,1\n\"g\n\",\"a very long name, indeed\",,,1\n";
        assert_eq!(csv(&[part()]), expected);
        let with_sum = part().fact(Column::new("LAG", "lag"), 7i64);
        assert!(csv(&[with_sum]).starts_with("group,total_lag,topic,lag,note,epoch\n"));
    }
}
