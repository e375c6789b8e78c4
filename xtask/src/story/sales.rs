//! The sales that the story tells: from a file, or made up as for the demo.
//!
//! Deliberately not here: who reads them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use pagemark_demo::sales::commission_cents;
use serde::Deserialize;

/// One sale, as the line that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    /// Who bought: the record's key.
    pub customer: String,
    /// The whole line: the record's value.
    pub line: String,
    amount_cents: i64,
    sale_id: i64,
}

#[derive(Deserialize)]
struct Row {
    sale_id: i64,
    customer: String,
    amount_cents: i64,
}

/// What all sales add up to; found by adding, not by hoping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Number of sales.
    pub sales: i64,
    /// Sum of the amounts.
    pub amount_cents: i64,
    /// Sum of the commissions, each rounded half up.
    pub commission_cents: i64,
}

/// Adds up.
pub fn totals(sales: &[Sale]) -> Totals {
    Totals {
        sales: sales.len() as i64,
        amount_cents: sales.iter().map(|sale| sale.amount_cents).sum(),
        commission_cents: sales.iter().map(|sale| commission_cents(sale.amount_cents)).sum(),
    }
}

/// Reads a file of JSON lines, gzipped if its name ends in `.gz`.
pub fn read(path: &Path) -> Result<Vec<Sale>> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut text = String::new();
    if path.extension().is_some_and(|end| end == "gz") {
        MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text)?;
    } else {
        text = String::from_utf8(bytes)?;
    }
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Sale>> {
    let mut sales: Vec<Sale> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let row: Row = serde_json::from_str(line).with_context(|| format!("line {} is no sale", index + 1))?;
        ensure!(!line.contains('\t') && !row.customer.contains('\t'), "line {} contains a tab", index + 1);
        let is_next = sales.last().is_none_or(|last| last.sale_id < row.sale_id);
        ensure!(is_next, "line {}: sale_id must grow from line to line", index + 1);
        let Row { sale_id, customer, amount_cents } = row;
        sales.push(Sale { customer, line: line.to_owned(), amount_cents, sale_id });
    }
    ensure!(!sales.is_empty(), "there are no sales");
    Ok(sales)
}

/// Makes sales up: `count` of them, always the same for one seed.
pub fn generate(count: u64, seed: u64) -> Result<Vec<Sale>> {
    let mut lines = String::new();
    for sale in pagemark_demo::sales::generate(1, count, seed) {
        lines.push_str(&serde_json::to_string(&sale)?);
        lines.push('\n');
    }
    parse(&lines)
}

/// How many customers bought.
pub fn customers(sales: &[Sale]) -> usize {
    sales.iter().map(|sale| (sale.customer.as_str(), ())).collect::<BTreeMap<_, _>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_sales_are_the_same_for_a_seed_and_add_up() {
        let sales = generate(100, 7).unwrap();
        assert_eq!(sales, generate(100, 7).unwrap());
        assert_ne!(sales, generate(100, 8).unwrap());
        assert_eq!(totals(&sales).sales, 100);
        assert!(customers(&sales) > 1);
    }

    #[test]
    fn a_file_is_read_plain_or_gzipped() {
        let line = r#"{"sale_id": 1, "date": "1997-01-01", "customer": "00001", "quantity": 1, "amount_cents": 1177}"#;
        let folder = tempfile::tempdir().unwrap();
        let (plain, zipped) = (folder.path().join("s.jsonl"), folder.path().join("s.jsonl.gz"));
        std::fs::write(&plain, format!("{line}\n")).unwrap();
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut zip, line.as_bytes()).unwrap();
        std::fs::write(&zipped, zip.finish().unwrap()).unwrap();
        assert_eq!(read(&plain).unwrap(), read(&zipped).unwrap());
        assert_eq!(totals(&read(&plain).unwrap()), Totals { sales: 1, amount_cents: 1177, commission_cents: 59 });
        assert_eq!(read(&plain).unwrap()[0].line, line);
    }

    #[test]
    fn sales_out_of_order_are_refused() {
        let line = |id: i64| format!(r#"{{"sale_id": {id}, "customer": "1", "amount_cents": 1}}"#);
        assert!(parse(&format!("{}\n{}\n", line(2), line(1))).is_err());
        assert!(parse("").is_err());
        assert!(parse("nonsense\n").is_err());
    }
}
