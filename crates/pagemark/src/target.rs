//! `-t TOPIC[:PARTITIONS]`: which topics and partitions a command is about.
//!
//! Deliberately not here: whether they exist.

use std::collections::BTreeSet;
use std::str::FromStr;

use pagemark_client::TopicPartition;

/// A topic, and some of its partitions or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The topic's name.
    pub topic: String,
    /// Some of its partitions; `None` for all.
    pub partitions: Option<BTreeSet<i32>>,
}

impl Target {
    /// Whether it covers a partition.
    pub fn covers(&self, partition: &TopicPartition) -> bool {
        *self.topic == *partition.topic && self.partitions.as_ref().is_none_or(|all| all.contains(&partition.partition))
    }
}

/// Whether a partition is among the targets; without targets everything is.
pub fn covers(targets: &[Target], partition: &TopicPartition) -> bool {
    targets.is_empty() || targets.iter().any(|target| target.covers(partition))
}

impl FromStr for Target {
    type Err = String;

    /// `orders`, `orders:0`, `orders:0,2,5-7`.
    fn from_str(text: &str) -> Result<Target, String> {
        let wrong = || format!("{text:?} is not TOPIC or TOPIC:PARTITIONS, such as orders:0 or orders:0,2,5-7");
        let (topic, listed) = match text.split_once(':') {
            Some((topic, listed)) => (topic, Some(listed)),
            None => (text, None),
        };
        if topic.is_empty() {
            return Err(wrong());
        }
        let number = |text: &str| text.parse::<i32>().ok().filter(|number| *number >= 0).ok_or_else(wrong);
        let mut partitions = BTreeSet::new();
        for part in listed.into_iter().flat_map(|listed| listed.split(',')) {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last || last - first > 100_000 {
                return Err(wrong());
            }
            partitions.extend(first..=last);
        }
        Ok(Target { topic: topic.to_owned(), partitions: listed.map(|_| partitions) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_numbers_and_ranges() {
        let parse = |text: &str| text.parse::<Target>();
        assert_eq!(parse("orders").unwrap().partitions, None);
        let some = parse("orders:0,2,5-7").unwrap();
        assert_eq!((some.topic.as_str(), some.partitions), ("orders", Some(BTreeSet::from([0, 2, 5, 6, 7]))));
        for wrong in ["", ":0", "orders:", "orders:x", "orders:-1", "orders:3-1", "orders:1,", "orders:0-2000000000"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn without_targets_everything_is_covered() {
        let partition = TopicPartition::new("orders", 1);
        assert!(covers(&[], &partition));
        assert!(covers(&["orders:1".parse().unwrap()], &partition));
        assert!(!covers(&["orders:0".parse().unwrap(), "order".parse().unwrap()], &partition));
    }
}
