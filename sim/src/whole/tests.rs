//! That runs are what they claim: equal for equal seeds, different for others, and without a broken promise.

use super::*;

#[test]
fn a_seed_replays_to_the_last_line_and_another_seed_differs() {
    let [first, again, other] = [3, 3, 4].map(|seed| run(seed).trace);
    assert!(first.len() >= 1_000, "{} lines", first.len());
    let differing = first.iter().zip(&again).position(|(a, b)| a != b);
    assert_eq!(differing.map(|at| (&first[at], &again[at])), None);
    assert_eq!(first.len(), again.len());
    assert_ne!(first, other);
}

/// A killed broker's connections were closed in the order in which the runtime drops its tasks, which sorts them by numbers that
/// the whole process counts: a seed gave another run beside other tests, or after other seeds, than alone.
#[test]
fn a_run_does_not_depend_on_what_else_the_process_has_run() {
    let [first, others @ ..] = [0, 1, 2, 3].map(|rest| {
        use_up_task_numbers(rest);
        run(49).trace
    });
    let closed = |line: &String| line.rsplit_once("halves closed: ").is_some_and(|(_, halves)| halves != "0");
    assert!(first.iter().any(closed), "no kill met a connection");
    for other in others {
        let differing = first.iter().zip(&other).position(|(a, b)| a != b);
        assert_eq!(differing.map(|at| (&first[at], &other[at])), None);
        assert_eq!(first.len(), other.len());
    }
}

/// The runtime sorts by the rest of a division by four.
fn use_up_task_numbers(until_rest: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let next = || runtime.block_on(async { tokio::spawn(async { tokio::task::id().to_string() }).await });
    while next().unwrap().parse::<u64>().unwrap() % 4 != until_rest {}
}

#[test]
fn a_few_seeds_keep_every_promise() {
    for seed in 1..=10 {
        let outcome = run(seed);
        assert_eq!(outcome.violations, [], "seed {seed}");
        assert!(outcome.history.iter().any(|event| event.what == What::Settled), "seed {seed} has come to its end");
    }
}

/// A connection that was cut without a word: the member still waited for the answer to its commit when everybody else had come
/// to the end, and the history never told of a commit that had been carried out.
#[test]
fn a_commit_whose_answer_comes_after_the_end_is_in_the_history() {
    assert_eq!(run(120_173).violations, []);
}
