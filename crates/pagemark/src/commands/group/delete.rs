//! `pagemark group delete`.
//!
//! Deliberately not here: asking back. A group with members is never deleted.

use clap::Args;
use pagemark_client::Admin;

use super::view::asking_about_group;
use crate::commands::{Common, Done};
use crate::exit::Failure;
use crate::output::{Answer, Column, Part, Table};

const EXAMPLES: &str = "Examples:
  pagemark group delete billing
It is deleted at once, with everything that it has committed. Exit code 1: there
is no such group; 5: it has members.";

/// Arguments of `pagemark group delete`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Delete {
    /// Which groups
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub async fn run(arguments: Delete) -> Done {
    let Delete { groups, common } = arguments;
    common.answer(async |admin| delete(&admin, &groups).await).await
}

async fn delete(admin: &Admin, groups: &[String]) -> Result<Answer, Failure> {
    let mut table = Table::new("groups", [Column::new("GROUP", "group").long(), Column::new("DELETED", "deleted")]);
    let mut failures = Vec::new();
    for group in groups {
        let deleted = admin.delete_group(group).await;
        table.row([group.as_str().into(), deleted.is_ok().into()]);
        if let Err(error) = deleted {
            failures.push(asking_about_group(admin, error, group).await);
        }
    }
    Ok(Answer::one(Part::table(table)).failing(failures))
}
