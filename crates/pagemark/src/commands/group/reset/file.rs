//! Offsets from a file, as `kafka-consumer-groups --export` writes it and `--from-file` reads it.
//!
//! Deliberately not here: whether the partitions exist.

use std::collections::BTreeMap;
use std::path::Path;

use pagemark_client::TopicPartition;

use crate::exit::Failure;
use crate::output::escaped;

/// Reads what a file says of a group.
///
/// # Errors
/// Usage: a file that cannot be read, a line that is none, or nothing about the group.
pub(super) fn read(path: &Path, group: &str) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    parse(&text, group).map_err(wrong)
}

fn parse(text: &str, group: &str) -> Result<BTreeMap<TopicPartition, i64>, String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut offsets = BTreeMap::new();
    for (at, record) in reader.records().enumerate() {
        let number = at + 1;
        let wrong = || format!("line {number}: write TOPIC,PARTITION,OFFSET or GROUP,TOPIC,PARTITION,OFFSET");
        let record = record.map_err(|error| format!("line {number}: {error}"))?;
        let fields: Vec<&str> = record.iter().collect();
        let (topic, partition, offset) = match fields[..] {
            [topic, partition, offset] => (topic, partition, offset),
            [of, topic, partition, offset] if of == group => (topic, partition, offset),
            [_, _, _, _] => continue,
            _ => return Err(wrong()),
        };
        let partition = partition.trim().parse::<i32>().ok().filter(|partition| *partition >= 0).ok_or_else(wrong)?;
        let offset = offset.trim().parse::<i64>().ok().filter(|offset| *offset >= 0).ok_or_else(wrong)?;
        if offsets.insert(TopicPartition::new(topic, partition), offset).is_some() {
            return Err(format!("line {number}: {topic}-{partition} stands there twice"));
        }
    }
    if offsets.is_empty() { Err(format!("nothing about group {}", escaped(group))) } else { Ok(offsets) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_of_kafkas_export_are_read() {
        let expected = BTreeMap::from([(TopicPartition::new("orders", 0), 3), (TopicPartition::new("orders", 1), 0)]);
        assert_eq!(parse("\"orders\",0,3\n\"orders\",1,0\n", "billing"), Ok(expected.clone()));
        let both = "billing,orders,0,3\naudit,orders,0,9\n\"billing\",\"orders\",1,0\n";
        assert_eq!(parse(both, "billing"), Ok(expected));
        for wrong in ["", "orders,0", "orders,x,1", "orders,0,-1", "a,b,c,d,e", "audit,orders,0,9", "o,0,1\no,0,2"] {
            assert!(parse(wrong, "billing").is_err(), "{wrong:?}");
        }
    }
}
