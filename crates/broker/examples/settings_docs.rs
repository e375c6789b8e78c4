//! Prints docs/settings.md. `cargo xtask settings-docs` runs this, so that xtask need not be built with the whole broker.

fn main() {
    print!("{}", pagemark_broker::settings::markdown());
}
