//! Which groups a command is about: by name, or by pattern.
//!
//! Deliberately not here: what is to be known of them (`view.rs`).

use clap::Args;
use pagemark_client::{Admin, GroupListing};
use regex::Regex;

use crate::exit::Failure;

/// The groups a command is about.
#[derive(Debug, Clone, Args)]
pub struct Selection {
    /// Which groups
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    /// Take them for regular expressions, which match anywhere unless anchored with ^ and $
    #[arg(short, long)]
    regex: bool,
}

impl Selection {
    /// Their ids, once each, and all groups there are.
    ///
    /// # Errors
    /// A pattern that is none, or that no group matches.
    pub async fn resolve(&self, admin: &Admin) -> Result<(Vec<String>, Vec<GroupListing>), Failure> {
        let patterns = self.patterns()?;
        let all = admin.list_groups().await?;
        let mut chosen: Vec<String> = if self.regex {
            let matches = |group: &&GroupListing| patterns.iter().any(|pattern| pattern.is_match(&group.group_id));
            all.iter().filter(matches).map(|group| group.group_id.clone()).collect()
        } else {
            self.groups.clone()
        };
        if chosen.is_empty() {
            return Err(Failure::failed("no group matches. `pagemark group list` shows which there are"));
        }
        let mut seen = std::collections::BTreeSet::new();
        chosen.retain(|group| seen.insert(group.clone()));
        Ok((chosen, all))
    }

    fn patterns(&self) -> Result<Vec<Regex>, Failure> {
        if !self.regex {
            return Ok(Vec::new());
        }
        let one = |pattern: &String| Regex::new(pattern).map_err(|error| Failure::usage(error.to_string()));
        self.groups.iter().map(one).collect()
    }
}
