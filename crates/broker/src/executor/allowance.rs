//! How many bytes of records the executors may take together before the disk is nearly full.
//!
//! Each looks at the room there is at the start of its turn. What another one has taken and not yet handed over is not to be seen
//! there; so all of them count into the same two numbers. Deliberately not here: the room itself (the engine), who is refused.

use std::sync::atomic::{AtomicU64, Ordering};

/// What all executors took, ever, and what of it the engine has.
#[derive(Debug, Default)]
pub struct Allowance {
    taken: AtomicU64,
    handed_over: AtomicU64,
}

/// One executor's look at the room.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    spare_bytes: u64,
    /// What the engine surely had when it was asked.
    handed_over: u64,
    /// Taken since this executor handed over last.
    taken: u64,
}

impl Allowance {
    /// A turn begins; `spare_bytes` asks the engine.
    pub(super) fn look(&self, spare_bytes: impl FnOnce() -> u64) -> Look {
        let handed_over = self.handed_over.load(Ordering::Acquire);
        Look { spare_bytes: spare_bytes(), handed_over, taken: 0 }
    }

    /// Takes so many bytes if they have room beside what all have taken. If not, the turn takes nothing more: what comes after
    /// waits, too, since a smaller batch must not overtake one of the same producer.
    pub(super) fn take(&self, look: &mut Look, bytes: u64) -> bool {
        // What does not fit is never counted, not for a moment: another executor would refuse for its sake what does.
        let with_it = |taken: u64| {
            let not_seen = taken.saturating_sub(look.handed_over);
            (not_seen.saturating_add(bytes) <= look.spare_bytes).then(|| taken.wrapping_add(bytes))
        };
        if self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, with_it).is_err() {
            look.spare_bytes = 0;
            return false;
        }
        look.taken += bytes;
        true
    }

    /// The engine has what was taken, or refused it.
    pub(super) fn hand_over(&self, look: &mut Look) {
        self.handed_over.fetch_add(std::mem::take(&mut look.taken), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executors_that_look_at_the_same_room_take_no_more_than_it_together_r_98() {
        let allowance = Allowance::default();
        let (mut one, mut other) = (allowance.look(|| 100), allowance.look(|| 100));
        assert!(allowance.take(&mut one, 60));
        assert!(!allowance.take(&mut other, 41), "the other executor has 60 of the 100 in hand");
        assert!(!allowance.take(&mut other, 1), "and nothing overtakes what was refused");
        let mut other = allowance.look(|| 100);
        assert!(allowance.take(&mut other, 40) && !allowance.take(&mut one, 1));
        allowance.hand_over(&mut one);
        let mut one = allowance.look(|| 40);
        assert!(!allowance.take(&mut one, 1), "the other has not handed over");
        allowance.hand_over(&mut other);
        let mut one = allowance.look(|| 5);
        assert!(allowance.take(&mut one, 5));
    }

    #[test]
    fn what_is_handed_over_after_a_look_counts_for_that_look_all_the_same() {
        let allowance = Allowance::default();
        let (mut one, mut other) = (allowance.look(|| 10), allowance.look(|| 10));
        assert!(allowance.take(&mut other, 10));
        allowance.hand_over(&mut other);
        assert!(!allowance.take(&mut one, 1));
    }

    #[test]
    fn what_one_executor_is_refused_another_one_never_sees() {
        let allowance = Allowance::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..100_000 {
                    assert!(!allowance.take(&mut allowance.look(|| 1 << 20), 1 << 40));
                }
            });
            let mut look = allowance.look(|| 1 << 20);
            (0..100_000).for_each(|taken| assert!(allowance.take(&mut look, 1), "{taken} of them fitted"));
        });
    }

    #[test]
    fn without_a_reserve_nothing_is_refused() {
        let allowance = Allowance::default();
        let mut look = allowance.look(|| u64::MAX);
        assert!((0..1000).all(|_| allowance.take(&mut look, u64::from(u32::MAX))));
    }
}
