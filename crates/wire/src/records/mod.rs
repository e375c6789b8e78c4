//! Record batches of format v2: read, judge, walk, stamp and build them.
//!
//! Records themselves stay opaque bytes: a broker looks at a batch's header always, at its records once (at the append),
//! and copies neither. Deliberately not here: formats v0 and v1, which are refused for good.

mod header;

pub use header::{BATCH_HEADER_LEN, BatchHeader, HeaderError};
