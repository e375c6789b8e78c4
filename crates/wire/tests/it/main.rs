//! The formats from outside: golden files of Apache Kafka's own encoder, and hostile bytes.

mod batches;
mod golden;
mod properties;
mod requests;
mod support;
