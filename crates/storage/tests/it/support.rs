//! What several tests do with an engine that moves only when it is told to, and numbers that look random and are not.
//!
//! Deliberately not here: options, which each file chooses for what it shows.

use pagemark_storage::local::ManualEngine;

/// Numbers from a seed that is not 0 (xorshift).
pub struct Random(pub u64);

impl Random {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Writes what was accepted, and makes it durable.
pub fn flush(manual: &ManualEngine) {
    while manual.step_flush() {}
}

/// Takes a checkpoint, and does all that follows from it.
pub fn checkpoint(manual: &ManualEngine) {
    manual.request_checkpoint();
    flush(manual);
    manual.run_background();
}
