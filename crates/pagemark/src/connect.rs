//! How commands reach a cluster: options, environment and files of client properties, under Kafka's names.
//!
//! Deliberately not here: TLS and SASL, which the client does not speak yet; asking for them is refused, not ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use pagemark_broker::settings::properties;
use pagemark_client::{Acks, Admin, Compression, Consumer, ConsumerBuilder, IsolationLevel, Producer, ProducerBuilder};

use crate::exit::Failure;
use crate::nearest::nearest;
use crate::output;

/// Where brokers are looked for if nobody says: where `pagemark serve` listens.
const DEFAULT: &str = "127.0.0.1:9092";
/// How long a first answer may take, so that a wrong address is told soon.
const FIRST_ANSWER: Duration = Duration::from_secs(4);
/// `default.api.timeout.ms` of commands: somebody waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// Properties that mean something to some command.
const KNOWN: [&str; 24] = [
    "acks",
    "batch.size",
    "bootstrap.servers",
    "buffer.memory",
    "client.id",
    "compression.type",
    "default.api.timeout.ms",
    "delivery.timeout.ms",
    "enable.idempotence",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "group.instance.id",
    "heartbeat.interval.ms",
    "isolation.level",
    "linger.ms",
    "max.block.ms",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "max.request.size",
    "metadata.max.age.ms",
    "request.timeout.ms",
    "security.protocol",
    "session.timeout.ms",
];

/// Options that say where the cluster is and how to talk to it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Brokers to begin with, with commas between them; else -X bootstrap.servers, the file, the variable
    /// KAFKA_BOOTSTRAP_SERVERS, or 127.0.0.1:9092
    #[arg(short = 'b', long = "bootstrap-server", value_name = "HOST:PORT")]
    bootstrap_server: Option<String>,
    /// A client property under Kafka's name (brokers= is bootstrap.servers=). May be repeated
    #[arg(short = 'X', value_name = "PROPERTY=VALUE")]
    property: Vec<String>,
    /// A file of client properties, as Kafka's tools take it
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
}

/// Client properties, from wherever they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    bootstrap_servers: String,
    values: BTreeMap<String, String>,
}

impl Connection {
    /// Everything that was said about the client.
    ///
    /// # Errors
    /// Usage: a property that is unknown or cannot be read, or a file that cannot be read.
    pub fn properties(&self) -> Result<Properties, Failure> {
        let mut values = BTreeMap::new();
        if let Some(path) = &self.command_config {
            for (key, value) in read_file(path)? {
                match KNOWN.contains(&key.as_str()) {
                    true => drop(values.insert(key, value)),
                    false => output::say(&format!("{}: {key} means nothing to this client, left out", path.display())),
                }
            }
        }
        for property in &self.property {
            let (key, value) = property
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("-X {property}: write PROPERTY=VALUE")))?;
            let key = if key == "brokers" || key == "metadata.broker.list" { "bootstrap.servers" } else { key };
            if !KNOWN.contains(&key) {
                return Err(unknown(key));
            }
            values.insert(key.to_owned(), value.to_owned());
        }
        if let Some(protocol) = values.remove("security.protocol").filter(|protocol| protocol != "PLAINTEXT") {
            let message = format!(
                "security.protocol={protocol}: this client speaks PLAINTEXT only; TLS and SASL are not there yet"
            );
            return Err(Failure::usage(message));
        }
        let environment = || std::env::var("KAFKA_BOOTSTRAP_SERVERS").ok().filter(|servers| !servers.trim().is_empty());
        let from_properties = values.remove("bootstrap.servers");
        let servers = self.bootstrap_server.clone().or(from_properties).or_else(environment);
        Ok(Properties { bootstrap_servers: servers.unwrap_or_else(|| DEFAULT.to_owned()), values })
    }

    /// An admin client, once a broker has answered.
    ///
    /// # Errors
    /// If none does: where it was looked for, and what to do.
    pub async fn admin(&self) -> Result<Admin, Failure> {
        self.properties()?.admin().await
    }
}

fn read_file(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::usage(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let parsed = properties::parse(&text).map_err(|(line, why)| wrong(&format!("line {line}: {why}")))?;
    Ok(parsed.into_iter().map(|assignment| (assignment.key, assignment.value)).collect())
}

fn unknown(key: &str) -> Failure {
    let hint = match nearest(key, KNOWN) {
        Some(known) => format!("; is {known} meant?"),
        None => format!("; there are {}", KNOWN.join(", ")),
    };
    Failure::usage(format!("-X {key}: no such property{hint}"))
}

/// Takes each property that is given into a builder: how it is read, its name, the builder's word for it.
macro_rules! set_if_given {
    ($properties:expr, $builder:ident: $($read:ident $key:literal => $setter:ident;)*) => {
        $(if let Some(value) = $properties.$read($key)? { $builder = $builder.$setter(value); })*
    };
}

impl Properties {
    fn get<T: FromStr>(&self, key: &str) -> Result<Option<T>, Failure> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let wrong = |_| Failure::usage(format!("{key}={value}: not a value of this property"));
        value.trim().parse().map(Some).map_err(wrong)
    }

    /// A property that is a number of milliseconds.
    fn duration(&self, key: &str) -> Result<Option<Duration>, Failure> {
        Ok(self.get::<u64>(key)?.map(Duration::from_millis))
    }

    /// An admin client, once a broker has answered.
    ///
    /// # Errors
    /// If none does: where it was looked for, and what to do.
    pub async fn admin(&self) -> Result<Admin, Failure> {
        let servers = &self.bootstrap_servers;
        let builder = || -> Result<_, Failure> {
            let mut builder = Admin::builder(servers).api_timeout(PATIENCE);
            if let Some(id) = self.values.get("client.id") {
                builder = builder.client_id(id);
            }
            if let Some(timeout) = self.duration("request.timeout.ms")? {
                builder = builder.request_timeout(timeout);
            }
            if let Some(timeout) = self.duration("default.api.timeout.ms")? {
                builder = builder.api_timeout(timeout);
            }
            Ok(builder)
        };
        let first = builder()?.api_timeout(FIRST_ANSWER).request_timeout(FIRST_ANSWER).build()?;
        if let Err(error) = first.describe_cluster().await {
            return Err(Failure {
                exit: Failure::from(error.clone()).exit,
                message: format!(
                    "no broker answers at {servers}: {error}. Start one with `pagemark serve`, or say where one is with \
                     -b HOST:PORT"
                ),
            });
        }
        Ok(builder()?.build()?)
    }

    /// Which records readers see: `isolation.level`, read_committed.
    ///
    /// # Errors
    /// Usage, if it is neither of the two.
    pub fn isolation(&self) -> Result<IsolationLevel, Failure> {
        match self.values.get("isolation.level").map(String::as_str) {
            None | Some("read_committed") => Ok(IsolationLevel::ReadCommitted),
            Some("read_uncommitted") => Ok(IsolationLevel::ReadUncommitted),
            Some(level) => {
                Err(Failure::usage(format!("isolation.level={level}: there are read_committed and read_uncommitted")))
            }
        }
    }

    /// Settings of a consumer.
    ///
    /// # Errors
    /// Usage, if a value cannot be read.
    pub fn consumer(&self) -> Result<ConsumerBuilder, Failure> {
        let mut builder = Consumer::builder(&self.bootstrap_servers);
        if let Some(id) = self.values.get("client.id") {
            builder = builder.client_id(id);
        }
        if let Some(id) = self.values.get("group.instance.id") {
            builder = builder.group_instance_id(id);
        }
        builder = builder.isolation_level(self.isolation()?);
        set_if_given! { self, builder:
            duration "request.timeout.ms" => request_timeout;
            duration "default.api.timeout.ms" => api_timeout;
            duration "metadata.max.age.ms" => metadata_max_age;
            duration "session.timeout.ms" => session_timeout;
            duration "heartbeat.interval.ms" => heartbeat_interval;
            duration "max.poll.interval.ms" => max_poll_interval;
            duration "fetch.max.wait.ms" => fetch_max_wait;
            get "fetch.min.bytes" => fetch_min_bytes;
            get "fetch.max.bytes" => fetch_max_bytes;
            get "max.partition.fetch.bytes" => max_partition_fetch_bytes;
        }
        Ok(builder)
    }

    /// Settings of a producer.
    ///
    /// # Errors
    /// Usage, if a value cannot be read.
    pub fn producer(&self) -> Result<ProducerBuilder, Failure> {
        let mut builder = Producer::builder(&self.bootstrap_servers);
        if let Some(id) = self.values.get("client.id") {
            builder = builder.client_id(id);
        }
        if let Some(acks) = self.values.get("acks") {
            builder = builder.acks(match acks.as_str() {
                "all" | "-1" => Acks::All,
                "1" => Acks::Leader,
                "0" => Acks::None,
                _ => return Err(Failure::usage(format!("acks={acks}: there are all, 1 and 0"))),
            });
        }
        if let Some(codec) = self.values.get("compression.type") {
            builder = builder.compression(codec_named(codec).map_err(Failure::usage)?);
        }
        set_if_given! { self, builder:
            duration "request.timeout.ms" => request_timeout;
            duration "delivery.timeout.ms" => delivery_timeout;
            duration "linger.ms" => linger;
            duration "max.block.ms" => max_block;
            get "enable.idempotence" => enable_idempotence;
            get "batch.size" => batch_size;
            get "buffer.memory" => buffer_memory;
            get "max.request.size" => max_request_size;
        }
        Ok(builder)
    }
}

/// A codec by Kafka's name for it.
///
/// # Errors
/// Which there are.
pub fn codec_named(name: &str) -> Result<Compression, String> {
    let all = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let found = all.into_iter().find(|codec| codec.name() == name);
    found.ok_or_else(|| format!("no codec {name:?}: there are {}", all.map(Compression::name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(server: Option<&str>, set: &[&str]) -> Result<Properties, Failure> {
        let property = set.iter().map(ToString::to_string).collect();
        Connection { bootstrap_server: server.map(str::to_owned), property, command_config: None }.properties()
    }

    #[test]
    fn the_option_wins_over_the_property_and_that_over_the_default() {
        assert_eq!(properties(Some("a:1"), &["brokers=b:1"]).unwrap().bootstrap_servers, "a:1");
        assert_eq!(properties(None, &["brokers=b:1"]).unwrap().bootstrap_servers, "b:1");
        assert_eq!(properties(None, &["bootstrap.servers=b:1"]).unwrap().bootstrap_servers, "b:1");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_might_be() {
        let message = |set| properties(None, &[set]).unwrap_err().message;
        assert_eq!(message("isolation.levle=x"), "-X isolation.levle: no such property; is isolation.level meant?");
        assert!(message("nonsense.at.all=x").contains("there are acks, "));
        assert!(message("acks").contains("PROPERTY=VALUE"));
        assert!(message("security.protocol=SASL_SSL").contains("PLAINTEXT only"));
        assert!(properties(None, &["security.protocol=PLAINTEXT"]).is_ok());
        let unreadable = properties(None, &["linger.ms=soon"]).unwrap().producer().unwrap_err();
        assert_eq!(unreadable, Failure::usage("linger.ms=soon: not a value of this property"));
    }
}
