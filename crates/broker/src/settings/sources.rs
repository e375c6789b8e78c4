//! Gathering: file, environment and command line into one map of what was given, with the unknown sorted out.
//!
//! Deliberately not here: whether the values are good.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::SettingsSources;
use super::error::{Problem, SettingError, Source};
use super::names::{self, Known};
use super::properties;

/// What was given, by the name in the table, with where.
pub(super) type Given = BTreeMap<&'static str, (String, Source)>;

/// What the sources hold.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub given: Given,
    /// What was given under another name; it yields to the first name, whatever the source.
    by_other_name: Given,
    pub warnings: Vec<String>,
    pub errors: Vec<SettingError>,
}

/// The variables that may be settings, out of the whole environment. What others keep in theirs is none of our business,
/// text or not.
///
/// # Errors
/// One for each variable of ours whose value is not UTF-8.
pub fn own_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, Vec<SettingError>> {
    let (mut own, mut errors) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        if !name.as_encoded_bytes().starts_with(b"PAGEMARK_") {
            continue;
        }
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => own.push((name, value)),
            (Ok(name), Err(_)) if names::is_foreign_environment(&name) => {}
            (name, value) => {
                let name = name.unwrap_or_else(|name| name.to_string_lossy().into_owned());
                let value = value.unwrap_or_else(|value| value.to_string_lossy().into_owned());
                let (source, problem) = (Source::Env(name.clone()), Problem::NotUtf8);
                errors.push(SettingError { key: name, value, source, problem });
            }
        }
    }
    errors.sort_by(|a, b| a.key.cmp(&b.key));
    if errors.is_empty() { Ok(own) } else { Err(errors) }
}

/// Reads all three, the weakest first, so that a stronger one replaces it.
pub(super) fn gather<Env>(sources: SettingsSources<Env>) -> Gathered
where
    Env: IntoIterator<Item = (String, String)>,
{
    let mut gathered = Gathered::default();
    if let Some(path) = &sources.file {
        gathered.read_file(path);
    }
    // Sorted: the order of warnings and errors must not depend on the order of the environment.
    let environment: BTreeMap<String, String> = sources.env.into_iter().collect();
    for (name, value) in environment {
        gathered.take_environment(name, value);
    }
    for assignment in sources.set {
        match assignment.split_once('=') {
            Some((key, value)) => gathered.take(key.trim(), value.trim(), Source::Set),
            None => gathered.fail("", &assignment, Source::Set, Problem::NotAnAssignment),
        }
    }
    for (name, given) in std::mem::take(&mut gathered.by_other_name) {
        gathered.given.entry(name).or_insert(given);
    }
    gathered
}

impl Gathered {
    fn read_file(&mut self, path: &Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let problem = Problem::Unreadable { reason: error.to_string() };
                return self.fail("", "", Source::File(path.to_owned(), 1), problem);
            }
        };
        match properties::parse(&text) {
            Ok(assignments) => {
                for found in assignments {
                    self.take(&found.key, &found.value, Source::File(path.to_owned(), found.line));
                }
            }
            Err((line, reason)) => {
                self.fail("", "", Source::File(path.to_owned(), line), Problem::Unreadable { reason });
            }
        }
    }

    fn take_environment(&mut self, name: String, value: String) {
        if names::is_foreign_environment(&name) {
            return;
        }
        match names::key_of_environment(&name) {
            Some(key) => self.take(key, value.trim(), Source::Env(name)),
            None => {
                let guess = name.trim_start_matches("PAGEMARK_").to_ascii_lowercase().replace('_', ".");
                let own = format!("pagemark.{guess}");
                let nearest =
                    names::nearest_key(&guess).or_else(|| names::nearest_key(&own)).map(names::environment_name);
                self.fail(&name.clone(), &value, Source::Env(name), Problem::UnknownKey { nearest });
            }
        }
    }

    fn take(&mut self, key: &str, value: &str, source: Source) {
        match names::lookup(key) {
            Known::Ours(spec) => {
                self.given.insert(spec.name, (value.to_owned(), source));
            }
            Known::OtherName(spec) => {
                self.by_other_name.insert(spec.name, (value.to_owned(), source));
            }
            Known::KafkaOnly => self.warnings.push(format!(
                "{key} ({source}): Apache Kafka knows this setting, Pagemark has no use for it; it is ignored"
            )),
            Known::Unknown => {
                let nearest = names::nearest_key(key).map(str::to_owned);
                self.fail(key, value, source, Problem::UnknownKey { nearest });
            }
        }
    }

    fn fail(&mut self, key: &str, value: &str, source: Source, problem: Problem) {
        self.errors.push(SettingError { key: key.to_owned(), value: value.to_owned(), source, problem });
    }
}
