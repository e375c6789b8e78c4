//! The formats from outside: golden files of Apache Kafka's own encoder, and hostile bytes.

mod batches;
mod bodies;
mod fetch_answers;
#[path = "../golden/files.rs"]
mod files;
mod golden;
mod names;
mod properties;
mod requests;
mod support;
