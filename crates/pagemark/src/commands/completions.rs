//! `pagemark completions`: a script that lets a shell complete commands and options.
//!
//! Deliberately not here: completing names of topics and groups.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Done;
use crate::cli::Arguments;
use crate::output::write_out;

const EXAMPLES: &str = "Examples:
  source <(pagemark completions bash)
  pagemark completions zsh > ~/.zfunc/_pagemark
  pagemark completions fish > ~/.config/fish/completions/pagemark.fish";

/// Arguments of `pagemark completions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub fn run(arguments: &Completions) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "pagemark", &mut script);
    write_out(&script).map(drop).map_err(|failure| vec![failure])
}
