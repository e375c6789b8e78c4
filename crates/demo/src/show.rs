//! What is seen: lines at a steady pace, in 80 columns, with colours on a terminal alone.
//!
//! Deliberately not here: what they say.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Columns that every line keeps to.
pub const COLUMNS: usize = 80;

/// The pause after a line when somebody watches.
const PACE: Duration = Duration::from_millis(140);

/// A colour or weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// A heading.
    Bold,
    /// As it should be.
    Green,
    /// A process that is killed, a row that is wrong.
    Red,
    /// Explanations.
    Dim,
}

/// Where the lines go, and how.
#[derive(Debug, Clone)]
pub struct Show {
    pace: Duration,
    has_colours: bool,
    is_silent: bool,
}

impl Show {
    /// On standard output. Without a pace given it is slow enough to follow on a terminal, and as fast as can be elsewhere.
    #[must_use]
    pub fn new(pace: Option<Duration>, is_silent: bool) -> Show {
        let is_terminal = std::io::stdout().is_terminal();
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let has_colours =
            is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let pace = pace.unwrap_or(if is_terminal { PACE } else { Duration::ZERO });
        Show { pace: if is_silent { Duration::ZERO } else { pace }, has_colours, is_silent }
    }

    /// Text in a colour, where there are any.
    #[must_use]
    pub fn ink(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => 1,
            Ink::Green => 32,
            Ink::Red => 31,
            Ink::Dim => 2,
        };
        if self.has_colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Shows a line, or several.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub async fn say(&self, text: &str) -> Result<()> {
        for line in text.lines() {
            self.line(line).await?;
        }
        Ok(())
    }

    /// Shows lines in one colour.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub async fn say_in(&self, ink: Ink, text: &str) -> Result<()> {
        for line in text.lines() {
            self.line(&self.ink(ink, line)).await?;
        }
        Ok(())
    }

    /// Shows a heading with space around it.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub async fn heading(&self, text: &str) -> Result<()> {
        self.line("").await?;
        self.line(&self.ink(Ink::Bold, text)).await?;
        self.line(&self.ink(Ink::Dim, &"-".repeat(text.chars().count()))).await
    }

    async fn line(&self, line: &str) -> Result<()> {
        if self.is_silent {
            return Ok(());
        }
        print(&format!("{line}\n"))?;
        self.pause().await;
        Ok(())
    }

    /// Waits as long as after a line.
    pub async fn pause(&self) {
        tokio::time::sleep(self.pace).await;
    }
}

/// Writes to standard output, with an error where `print!` panics.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("nobody reads standard output")
}

/// Rows with columns under each other, two blanks apart.
#[must_use]
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The same, further to the right.
pub(crate) fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// Cents as an amount: `123456` is `1,234.56`.
#[must_use]
pub fn money(cents: i64) -> String {
    format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, grouped((cents / 100).abs()), (cents % 100).abs())
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// Offsets as ranges: `0..2 5`, or a dash for none.
pub(crate) fn ranges(offsets: &[i64]) -> String {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for offset in offsets {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *offset => *last = *offset,
            _ => ranges.push((*offset, *offset)),
        }
    }
    let shown = ranges.iter().map(|(from, to)| if from == to { from.to_string() } else { format!("{from}..{to}") });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_money_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567"), (69_659, "69,659")]
        {
            assert_eq!(grouped(number), text);
        }
        for (cents, text) in [(0, "0.00"), (5, "0.05"), (-5, "-0.05"), (1177, "11.77"), (12_505_540, "125,055.40")] {
            assert_eq!(money(cents), text);
        }
    }

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [["a".to_owned(), "b".to_owned()], ["ccc".to_owned(), "d".to_owned()]];
        assert_eq!(aligned(&rows), "a    b\nccc  d\n");
    }

    #[test]
    fn offsets_are_shown_as_ranges() {
        for (offsets, text) in [(&[][..], "-"), (&[6], "6"), (&[0, 1, 2, 5], "0..2 5")] {
            assert_eq!(ranges(offsets), text);
        }
    }

    #[test]
    fn without_a_terminal_there_are_neither_colours_nor_pauses() {
        let show = Show { has_colours: false, ..Show::new(None, true) };
        assert_eq!((show.ink(Ink::Red, "x").as_str(), show.pace), ("x", Duration::ZERO));
    }
}
