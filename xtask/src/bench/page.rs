//! The result: a table on paper, rows as JSON, and docs/benchmarks.md with the method.
//!
//! Deliberately not here: the plot (`plot.rs`), and measuring.

use clap::ValueEnum;
use pagemark_demo::show::aligned;
use serde_json::{Value, json};

use super::Run;
use super::figures::{Figures, MEASURES, Measure, short};
use super::floor::Floor;
use super::machine::HEAVY_PERCENT;
use super::scenarios::Sizes;
use super::server::Peer;
use crate::maven::KAFKA_VERSION;

/// The table, and below it what was wrong with the run.
pub fn table(run: &Run) -> String {
    let mut rows = vec![
        ["measure", "unit", "Pagemark", "Kafka", "flushing", "× Kafka", "× flushing", "goal", ""].map(str::to_owned),
    ];
    for measure in measured(&run.figures) {
        let of = |peer| run.figures.median(measure.key, peer).map_or("-".to_owned(), short);
        rows.push(cells(&run.figures, measure, of));
    }
    let mut text = aligned(&rows);
    for turn in run.turns.iter().filter(|turn| turn.noise.is_heavy() || turn.broke.is_some()) {
        let why = turn.broke.clone().unwrap_or(format!("others used {:.0} %", turn.noise.foreign_percent));
        text.push_str(&format!("round {}, {}: {why}\n", turn.round, turn.peer.title()));
    }
    if run.sizes.groups != Sizes::FULL.groups {
        text.push_str(&format!(
            "a quick run, with {} groups and too little of all else: no figure counts\n",
            run.sizes.groups
        ));
    }
    let (met, missed) = verdicts(&run.figures);
    text.push_str(&format!("{met} goals met, {missed} missed; medians of {} rounds", run.rounds));
    text
}

/// The same for programs: a value for each measure.
pub fn rows(run: &Run) -> Vec<Value> {
    let row = |measure: &Measure| {
        let spreads: serde_json::Map<String, Value> = Peer::value_variants()
            .iter()
            .map(|peer| {
                (json!(peer).as_str().unwrap_or_default().to_owned(), json!(run.figures.spread(measure.key, *peer)))
            })
            .collect();
        json!({
            "measure": measure.key,
            "unit": measure.unit,
            "of": spreads,
            "ratio_to_kafka": run.figures.ratio(measure.key, Peer::Kafka),
            "ratio_to_kafka_flushing": run.figures.ratio(measure.key, Peer::KafkaFlushing),
            "goal": measure.goal.map(|goal| goal.text()),
            "met": run.figures.is_met(measure),
        })
    };
    measured(&run.figures).map(row).collect()
}

fn measured(figures: &Figures) -> impl Iterator<Item = &'static Measure> + '_ {
    let is_measured =
        |measure: &&Measure| Peer::value_variants().iter().any(|p| figures.median(measure.key, *p).is_some());
    MEASURES.iter().filter(is_measured)
}

fn verdict(figures: &Figures, measure: &Measure) -> &'static str {
    match figures.is_met(measure) {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    }
}

fn verdicts(figures: &Figures) -> (usize, usize) {
    let of = |wanted| MEASURES.iter().filter(|measure| figures.is_met(measure) == Some(wanted)).count();
    (of(true), of(false))
}

/// docs/benchmarks.md, whole.
pub fn markdown(run: &Run) -> String {
    let (met, missed) = verdicts(&run.figures);
    let machine = |name: &str| {
        let value = &run.machine[name];
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    };
    let heavy = run.turns.iter().filter(|turn| turn.noise.is_heavy()).count();
    let busy = match heavy {
        0 => String::new(),
        _ => format!(
            "**{heavy} of {} turns were disturbed**: others used more than {HEAVY_PERCENT} % of the machine.\n\n",
            run.turns.len()
        ),
    };
    format!(
        "# Pagemark and Apache Kafka side by side\n\n\
         Written by `cargo xtask bench --against kafka --write` on {date}, commit {commit}. Do not edit; run it again, on your \
         own machine.\nWhat travels is the ratio: absolute figures are those of one machine in one hour.\n\n\
         {busy}{met} goals met, {missed} missed; why, and what it would take: [design/0015](design/0015-where-the-time-goes.md).\n\n\
         ![How many times better Pagemark is than Kafka as it comes, for each measure with a goal](benchmarks.svg)\n\n\
         {table}\n{METHOD}\n## The machine\n\n\
         {cores} cores ({cpu}), {memory} GiB of memory, {kernel}, data on {fs}. {java}; {rust}; Apache Kafka {KAFKA_VERSION}.\n\n\
         {floor}\n\n## The turns\n\n\
         {turns}",
        date = machine("date"),
        commit = machine("commit"),
        table = markdown_table(&run.figures),
        cores = machine("cores"),
        cpu = machine("cpu"),
        memory = machine("memory_gib"),
        kernel = machine("kernel"),
        fs = machine("file_system"),
        java = machine("java"),
        rust = machine("rust"),
        floor = floor(run),
        turns = turns(run),
    )
}

/// What the machine allows, and what follows from it for two of the goals.
fn floor(run: &Run) -> String {
    let Floor { flush_us, exchange_us, exchange_cpu_us } = run.floor;
    let tenth = run.figures.spread("commit-16-cpu", Peer::Kafka).map_or_else(String::new, |spread| {
        format!(" A tenth of what Kafka takes for a commit of 16 groups is {} µs.", short(spread.median * 1e3 / 10.0))
    });
    format!(
        "What it allows at best, measured before the first round: 512 bytes written over and flushed by `fdatasync` take {} µs, so \
         one client that waits for each commit gets at most {} durable ones a second. A message that is received over \
         loopback and sent back, with nothing done, takes {} µs, and costs who sends it back {} µs of CPU.{tenth}",
        short(flush_us),
        short(1e6 / (flush_us + exchange_us)),
        short(exchange_us),
        short(exchange_cpu_us),
    )
}

fn markdown_table(figures: &Figures) -> String {
    let mut text = String::from(
        "| Measure | Unit | Pagemark | Kafka | Kafka, flushing | ÷ Kafka | ÷ flushing | Goal | |\n|---|---|--:|--:|--:|--:|--:|---|---|\n",
    );
    for measure in measured(figures) {
        let of = |peer| match figures.spread(measure.key, peer) {
            Some(spread) => {
                format!("**{}** ({}–{})", short(spread.median), short(spread.least), short(spread.greatest))
            }
            None => "-".to_owned(),
        };
        text.push_str(&format!("| {} |\n", cells(figures, measure, of).join(" | ")));
    }
    text
}

/// A measure's row in either table; `of` writes what a broker reached.
fn cells(figures: &Figures, measure: &Measure, of: impl Fn(Peer) -> String) -> [String; 9] {
    let ratio = |peer| figures.ratio(measure.key, peer).map_or("-".to_owned(), short);
    [
        measure.title.to_owned(),
        measure.unit.to_owned(),
        of(Peer::Pagemark),
        of(Peer::Kafka),
        of(Peer::KafkaFlushing),
        ratio(Peer::Kafka),
        ratio(Peer::KafkaFlushing),
        measure.goal.map_or(String::new(), |goal| goal.text()),
        verdict(figures, measure).to_owned(),
    ]
}

fn turns(run: &Run) -> String {
    let mut text = String::from(
        "| Round | Broker | Somebody waited for a CPU | Others used of the machine | |\n|--:|---|--:|--:|---|\n",
    );
    for turn in &run.turns {
        text.push_str(&format!(
            "| {} | {} | {:.0} % | {:.0} % | {} |\n",
            turn.round,
            turn.peer.title(),
            turn.noise.pressure_percent,
            turn.noise.foreign_percent,
            if turn.noise.is_heavy() { "disturbed" } else { "" }
        ));
    }
    text
}

/// How it is measured; true of every run.
const METHOD: &str = "Each figure is the median of the rounds, with the least and the greatest. Goals are against Kafka as it \
comes, which answers\nbefore anything is on stable storage; Pagemark always answers after `fsync`. *Kafka, flushing* has \
`log.flush.interval.messages=1`,\nso that its answers are as durable.

## The method

- **Brokers**: the release build of this commit with its default settings, and a stock Apache Kafka, one KRaft node (broker
  and controller in one process) with the settings and the Java options that its distribution comes with. In each round every
  broker has its turn on a fresh directory of the same disk; another one begins each time. Before each turn the
  page cache is emptied, if root runs this, and the broker started and stopped once, so that its program is in memory. Before
  each scenario the disk is synced; before *produce* the page cache is emptied once more, and before *groups* all that the
  broker has stored is read into it. Each has a warm-up that is not counted.
- **Records** go through librdkafka with its default settings, but acks=all and idempotence, as Kafka's own client has them;
  Nagle's algorithm off; and 5 ms instead of a second before a consumer with a full queue asks again. *Produce*: values of
  1 KiB, as many as go in, counted when acknowledged. *Consume*: 512 MiB of them, read four times, after once that is not
  counted. *End to end*: 10,000 values of 100 bytes a second, `linger.ms=0`, the clock of each running from the moment it was
  due to be sent until the consumer has it.
- **Commits** are raw frames, encoded by a crate that is not ours: librdkafka spends more on a synchronous commit than a broker
  does, so it would measure itself. One connection and one request under way for each group, one partition in each commit.
- **Start**: from the start of the process on an empty directory (Kafka's is formatted before) to the first record that is
  acknowledged, topic made on the way; tried again every millisecond.
- **Idle**: nothing connected, 5 s after the first record, over 20 s. Kafka's heap has the stock size.
- **Groups**: 10,000 groups commit 10 partitions each; clean stop; start; 16 connections ask for one group at a time until all
  have been answered with what was committed. The clock runs from the start of the process.
- **CPU** is user and system time from `/proc/PID/stat`. Load and broker share the machine's cores.
- **Noise**: the kernel's pressure figure contains our own load. *Others* is all CPU time less ours and that of the kernel's
  threads; above 10 % a turn is marked as disturbed.
";

#[cfg(test)]
mod tests {
    use super::super::figures::Figure;
    use super::super::machine::Noise;
    use super::super::{Run, Told};
    use super::*;

    fn run() -> Run {
        let mut figures = Figures::default();
        for measure in MEASURES {
            for (peer, value) in [(Peer::Pagemark, 4.0), (Peer::Kafka, 2.0), (Peer::KafkaFlushing, 1.0)] {
                figures.0.push(Figure { peer, round: 1, measure: measure.key, value, client_cpu_s: None });
            }
        }
        let noise = Noise { pressure_percent: 3.0, foreign_percent: 55.0 };
        let turns = vec![Told { peer: Peer::Kafka, round: 1, noise, broke: None }];
        Run { machine: json!({"cores": 2}), floor: Floor::default(), sizes: Sizes::QUICK, rounds: 1, turns, figures }
    }

    #[test]
    fn a_page_tells_ratios_goals_and_disturbed_turns() {
        let page = markdown(&run());
        let commits = "| commits, 1 group | /s | **4.00** (4.00–4.00) | **2.00** (2.00–2.00) | **1.00** (1.00–1.00) | 2.00 | 4.00 | ≥ 1 × | met |";
        assert!(page.contains(commits), "{page}");
        assert!(page.contains("| 1 | Kafka | 3 % | 55 % | disturbed |"), "{page}");
        assert!(page.contains("**1 of 1 turns were disturbed**"), "{page}");
    }

    #[test]
    fn paper_and_programs_are_told_the_same() {
        let run = run();
        let text = table(&run);
        assert!(text.contains("round 1, Kafka: others used 55 %"), "{text}");
        assert!(text.contains("a quick run, with 500 groups"), "{text}");
        let rows = rows(&run);
        let missed = rows.iter().filter(|row| row["met"] == false).count();
        let met = rows.iter().filter(|row| row["met"] == true).count();
        assert!(text.ends_with(&format!("{met} goals met, {missed} missed; medians of 1 rounds")), "{text}");
        assert_eq!(
            (rows[0]["of"]["kafka-flushing"]["median"].as_f64(), rows[0]["ratio_to_kafka"].as_f64()),
            (Some(1.0), Some(2.0))
        );
    }
}
