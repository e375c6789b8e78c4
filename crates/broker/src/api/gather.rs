//! Putting one answer together from the parts that several shards give.
//!
//! Deliberately not here: what the parts mean.

use std::sync::{Arc, Mutex};

/// Sends the answer when the last of its parts has come or was given up.
pub struct Gather<T> {
    state: Mutex<Option<State<T>>>,
}

/// What makes the answer out of the parts.
type Finish<T> = Box<dyn FnOnce(Vec<Option<T>>) + Send>;

struct State<T> {
    parts: Vec<Option<T>>,
    finish: Finish<T>,
}

/// The place of one part.
pub struct Place<T> {
    gather: Arc<Gather<T>>,
    at: usize,
}

impl<T> Gather<T> {
    /// Places for `count` parts. `finish` is called once, when all places are gone; a place that was dropped unfilled
    /// leaves `None`. With no places at all it is called at once.
    pub fn places(count: usize, finish: impl FnOnce(Vec<Option<T>>) + Send + 'static) -> Vec<Place<T>> {
        let parts = (0..count).map(|_| None).collect();
        let gather = Arc::new(Gather { state: Mutex::new(Some(State { parts, finish: Box::new(finish) })) });
        (0..count).map(|at| Place { gather: Arc::clone(&gather), at }).collect()
    }
}

impl<T> Place<T> {
    /// Fills the place.
    pub fn fill(self, part: T) {
        if let Some(state) = self.gather.state.lock().expect("nothing panics while holding parts").as_mut() {
            state.parts[self.at] = Some(part);
        }
    }
}

impl<T> Drop for Gather<T> {
    fn drop(&mut self) {
        if let Some(state) = self.state.get_mut().ok().and_then(Option::take) {
            (state.finish)(state.parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_leaves_with_the_last_part_in_the_order_of_the_places() {
        let (tell, told) = std::sync::mpsc::channel();
        let mut places = Gather::places(3, move |parts| tell.send(parts).unwrap());
        let third = places.pop().unwrap();
        let second = places.pop().unwrap();
        let first = places.pop().unwrap();
        third.fill('c');
        drop(second);
        assert!(told.try_recv().is_err());
        first.fill('a');
        assert_eq!(told.try_recv().unwrap(), [Some('a'), None, Some('c')]);
    }

    #[test]
    fn no_parts_are_complete_at_once() {
        let (tell, told) = std::sync::mpsc::channel();
        assert!(Gather::<u8>::places(0, move |parts| tell.send(parts).unwrap()).is_empty());
        assert_eq!(told.try_recv().unwrap(), []);
    }
}
