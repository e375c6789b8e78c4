//! Settings: Kafka's property names, from a file, the environment and the command line, as one checked value.
//!
//! `table.rs` is the one definition; the struct, its defaults, the checks, the help text and docs/settings.md come from it.
//! A value on the command line wins over the environment, which wins over the file. A key that Apache Kafka 4.3 knows and
//! we have no use for costs one warning line; any other unknown key is refused with the nearest known name, so that a typing
//! error never passes for a default.
//! Deliberately not here: configs of single topics (`metadata/topic_config`), and who changes a setting while the broker runs.

mod docs;
mod error;
mod listeners;
mod live;
mod memory;
mod names;
pub mod properties;
mod sources;
mod table;
mod value;

use std::path::PathBuf;

pub use docs::{help, markdown};
pub use error::{Problem, SettingError, Source};
pub use listeners::{Address, Endpoint};
pub use live::{is_dynamic, spec};
pub use memory::quarter_of_memory_bytes;
pub use names::{Known, environment_name, lookup, nearest};
pub use sources::own_environment;
pub(crate) use table::{COMPRESSION_TYPE, GZIP_LEVEL, OFFSETS_PARTITIONS_LIMIT, ZSTD_LEVEL};
pub use table::{KEYS, MESSAGE_LIMIT_BYTES, Settings};
pub use value::{Allowed, ConfigType, KeySpec, TimestampType};

/// Where the settings come from. What is later in this list wins.
#[derive(Debug, Default)]
pub struct SettingsSources<Env> {
    /// A file in Java's properties syntax.
    pub file: Option<PathBuf>,
    /// The environment, whole: variables that do not begin with `PAGEMARK_` are left alone. See [`own_environment`].
    pub env: Env,
    /// `key=value`, one for each `--set`; of several for one key the last wins.
    pub set: Vec<String>,
}

/// Settings that passed every check.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The values.
    pub settings: Settings,
    /// One line each, to be shown before the broker starts.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads all sources and checks every value.
    ///
    /// # Errors
    /// All that is wrong, not only the first: each names key, value, source and what is allowed.
    pub fn load<Env>(sources: SettingsSources<Env>) -> Result<Loaded, Vec<SettingError>>
    where
        Env: IntoIterator<Item = (String, String)>,
    {
        let mut gathered = sources::gather(sources);
        let settings = Settings::from_given(&gathered.given, &mut gathered.errors);
        settings.check_together(&gathered.given, &mut gathered.errors);
        if gathered.errors.is_empty() {
            Ok(Loaded { settings, warnings: gathered.warnings })
        } else {
            Err(gathered.errors)
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        let mut errors = Vec::new();
        let settings = Settings::from_given(&sources::Given::new(), &mut errors);
        assert!(errors.is_empty(), "a default in table.rs is outside its own range: {errors:?}");
        settings
    }
}

#[cfg(test)]
mod tests;
