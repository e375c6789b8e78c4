//! `pagemark topic delete`.
//!
//! Deliberately not here: deleting records and keeping the topic.

use clap::Args;
use pagemark_client::Admin;

use crate::commands::{Common, Done, about_topic};
use crate::exit::Failure;
use crate::output::{Answer, Column, Part, Table};

const EXAMPLES: &str = "Examples:
  pagemark topic delete orders
It is deleted at once, for good, and with it what groups committed for it.";

/// Arguments of `pagemark topic delete`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Delete {
    /// Which topics
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub async fn run(arguments: Delete) -> Done {
    let Delete { names, common } = arguments;
    common.answer(async |admin| delete(&admin, &names).await).await
}

async fn delete(admin: &Admin, names: &[String]) -> Result<Answer, Failure> {
    let mut table = Table::new("topics", [Column::new("TOPIC", "topic").long(), Column::new("DELETED", "deleted")]);
    let mut failures = Vec::new();
    for name in names {
        let deleted = admin.delete_topic(name).await;
        table.row([name.as_str().into(), deleted.is_ok().into()]);
        if let Err(error) = deleted {
            failures.push(about_topic(admin, error, name).await);
        }
    }
    Ok(Answer::one(Part::table(table)).failing(failures))
}
