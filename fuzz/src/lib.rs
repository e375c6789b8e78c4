//! Fuzz targets: plain functions that are handed bytes and must come back, whatever the bytes are.
//!
//! A target panics if something is wrong that bytes alone may not cause. It is run by the mutating driver of this package,
//! on stable Rust (`cargo xtask fuzz`), and under libFuzzer (fuzz/libfuzzer). Both begin with the same seeds: bytes that
//! Apache Kafka's own classes wrote, batches of every codec, and what our own writers write.
//! Deliberately not here: what is wrong when nothing panics, hangs or takes too much memory; that is for tests.

#[path = "../../crates/wire/tests/golden/files.rs"]
pub mod files;
pub mod mutate;
mod targets;

/// Something that is handed bytes.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Its share of the executions when all targets run, so that slow ones do not take all the time.
    pub weight: u64,
    /// One execution.
    pub run: fn(&[u8]),
    /// Good bytes to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 11] = [
    Target {
        name: "frame",
        what: "lengths and headers of requests and responses",
        weight: 100,
        run: targets::frame::run,
        seeds: targets::request::seeds,
    },
    Target {
        name: "request",
        what: "every request in every version, through guard and decoder",
        weight: 400,
        run: targets::request::run,
        seeds: targets::request::seeds,
    },
    Target {
        name: "response",
        what: "every response in every version, as our client reads it",
        weight: 100,
        run: targets::response::run,
        seeds: targets::response::seeds,
    },
    Target {
        name: "batch",
        what: "record batches: check, walk, read, stamp, all codecs",
        weight: 150,
        run: targets::batch::run,
        seeds: targets::batch::seeds,
    },
    Target {
        name: "consumer_protocol",
        what: "subscriptions and assignments of consumers",
        weight: 50,
        run: targets::groups::consumer_protocol,
        seeds: targets::groups::subscriptions_and_assignments,
    },
    Target {
        name: "consumer_offsets",
        what: "keys and values of __consumer_offsets",
        weight: 100,
        run: targets::groups::consumer_offsets,
        seeds: targets::groups::records,
    },
    Target {
        name: "log_record",
        what: "records of the write-ahead log",
        weight: 100,
        run: pagemark_storage::local::fuzzing::log_record,
        seeds: || targets::owned(pagemark_storage::local::fuzzing::log_records()),
    },
    Target {
        name: "log_header",
        what: "heads of log files",
        weight: 25,
        run: pagemark_storage::local::fuzzing::log_header,
        seeds: || targets::owned(pagemark_storage::local::fuzzing::log_headers()),
    },
    Target {
        name: "checkpoint",
        what: "checkpoints",
        weight: 50,
        run: pagemark_storage::local::fuzzing::checkpoint,
        seeds: || targets::owned(pagemark_storage::local::fuzzing::checkpoints()),
    },
    Target {
        name: "directory",
        what: "a damaged data directory is opened",
        weight: 5,
        run: targets::directory::run,
        seeds: targets::directory::seeds,
    },
    Target {
        name: "session",
        what: "what one connection sends, into a whole broker",
        weight: 10,
        run: targets::session::run,
        seeds: targets::session::seeds,
    },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_takes_its_own_seeds() {
        for target in &TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{}", target.name);
            seeds.iter().for_each(|seed| (target.run)(seed));
        }
    }
}
