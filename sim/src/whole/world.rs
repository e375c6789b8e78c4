//! What the actors of a run share: the stage it has come to, what they know of topics and each other, and the history.
//!
//! Everything runs in one thread. Deliberately not here: anything of the broker's.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use uuid::Uuid;

use super::host::now_us;
use super::options::Options;
use super::trace::Trace;
use crate::history::check::Violation;
use crate::history::{Event, What};

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Things go wrong.
    Storm,
    /// Nothing goes wrong any more; nobody begins anything new, and what was begun is brought to its end.
    Calm,
    /// All has come to its end; after one last power cut everything is read.
    LastWord,
    /// Everything was read.
    Over,
}

/// What was seen of a member, and can be abused later.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The member's id.
    pub member: String,
    /// Its name, if it is a static one.
    pub instance: Option<String>,
    /// Its generation.
    pub generation: i32,
    /// Its partitions, by topic name.
    pub partitions: Vec<(String, i32)>,
}

/// What the actors share.
pub struct World {
    /// The run's options.
    pub options: Options,
    /// The run's log.
    pub trace: Arc<Trace>,
    /// How far it has come.
    pub stage: Cell<Stage>,
    /// How often the broker has been started; its machine counts.
    pub lives: Rc<Cell<u64>>,
    /// Those who have not yet brought to its end what they began.
    pub busy: Cell<usize>,
    /// The topics that exist, as far as is known.
    pub topics: RefCell<BTreeMap<String, Uuid>>,
    /// What was seen of members.
    pub credentials: RefCell<Vec<Credentials>>,
    /// The last generation that was seen to have begun.
    pub generation: Cell<i32>,
    /// What happened.
    pub history: RefCell<Vec<Event>>,
    /// Promises that an actor itself saw broken.
    pub violations: RefCell<Vec<Violation>>,
    /// Commits whose answers are waited for, by a number.
    asked: RefCell<BTreeMap<u64, Vec<Event>>>,
    numbers: Cell<u64>,
}

impl World {
    /// A world in which nothing has happened yet.
    #[must_use]
    pub fn new(options: Options, lives: Rc<Cell<u64>>, trace: Arc<Trace>) -> Rc<World> {
        Rc::new(World {
            options,
            trace,
            stage: Cell::new(Stage::Storm),
            lives,
            busy: Cell::new(0),
            topics: RefCell::default(),
            credentials: RefCell::default(),
            generation: Cell::new(-1),
            history: RefCell::default(),
            violations: RefCell::default(),
            asked: RefCell::default(),
            numbers: Cell::new(0),
        })
    }

    /// Writes down what `actor` began at `begun_us` and now knows the outcome of.
    pub fn tell(&self, actor: &str, begun_us: u64, what: What) {
        let event = Event { begun_us, ended_us: now_us(), actor: actor.to_owned(), what };
        self.history.borrow_mut().push(event);
    }

    /// Writes down what `actor` asks for now, should the run end before the answer comes. The number is for [`World::answered`].
    pub fn ask(&self, actor: &str, whats: impl Iterator<Item = What>) -> u64 {
        let at = now_us();
        let event = |what| Event { begun_us: at, ended_us: at, actor: actor.to_owned(), what };
        let number = self.asked.borrow().keys().next_back().map_or(0, |last| last + 1);
        self.asked.borrow_mut().insert(number, whats.map(event).collect());
        number
    }

    /// What was asked for has its outcome, which is told.
    pub fn answered(&self, number: u64) {
        self.asked.borrow_mut().remove(&number);
    }

    /// Adds to the history what nobody has heard the outcome of until now.
    pub fn tell_unanswered(&self, now_us: u64) {
        let unanswered = std::mem::take(&mut *self.asked.borrow_mut()).into_values().flatten();
        self.history.borrow_mut().extend(unanswered.map(|event| Event { ended_us: now_us, ..event }));
    }

    /// A broken promise.
    pub fn accuse(&self, invariant: u32, text: String) {
        self.violations.borrow_mut().push(Violation { invariant, text });
    }

    /// A number that nobody else gets.
    pub fn number(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    /// Whether things go wrong still.
    #[must_use]
    pub fn stormy(&self) -> bool {
        self.stage.get() == Stage::Storm
    }

    /// Whether everything has been said.
    #[must_use]
    pub fn over(&self) -> bool {
        self.stage.get() == Stage::Over
    }

    /// The id of a topic, if it exists.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Uuid> {
        self.topics.borrow().get(name).copied()
    }

    /// One more has something to bring to its end.
    pub fn begin(self: &Rc<World>) -> Busy {
        self.busy.set(self.busy.get() + 1);
        Busy(Rc::clone(self))
    }
}

/// Somebody who has something to bring to its end.
pub struct Busy(Rc<World>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
    }
}
