//! The decisions as a driver sees them: requests and time go in, records and replies come out.

mod classic;
mod deletion;
mod driver;
mod expiry;
mod invariants;
mod load;
mod offsets;
mod rebalance;
mod static_members;
