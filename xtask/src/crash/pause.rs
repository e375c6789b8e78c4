//! Processes that stand still: the broker, or some of the clients, are stopped (SIGSTOP) and go on later (SIGCONT).
//!
//! Whoever stood still for longer than its session timeout goes on in the belief that its partitions are its own. No two
//! members may own one in the same generation, and what late ones commit must be refused. librdkafka looks at its clock and
//! joins anew before it commits anything, so the rig commits in the name of the members that stand still, with the generation that
//! they had: while they stand, and once more when they are members again. Deliberately not here: clocks that jump, which the
//! simulation has.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pagemark_wire::api::Api;
use pagemark_wire::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, TopicName,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    text,
};
use rustix::process::{Pid, Signal, kill_process};

use super::kill::CREW;
use super::scene::{Crew, GROUP, PARTITIONS, Plan, Scene};
use super::truth::TOPIC;
use super::{Common, finish};
use crate::admin;
use crate::bench::load::LoadProgram;
use crate::table::Report;
use crate::wait::Progress;

/// How long a member may be silent.
const SESSION_TIMEOUT_MS: u32 = 2_000;
/// From when on a pause is certainly longer.
const TOO_LONG_MS: u64 = 5_000;
/// In front of the names of those who stand still.
const STANDING: &str = "s";
/// A version of OffsetCommit with names of topics.
const COMMIT_VERSION: i16 = 8;
/// ILLEGAL_GENERATION and UNKNOWN_MEMBER_ID: what a member hears that is none any more.
const FENCED: [i16; 2] = [22, 25];

/// Stop the broker, or clients, for some seconds, let them go on, and compare everything.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pauses, half of the broker's, half of clients'
    #[arg(long, default_value_t = 6)]
    cycles: u64,
    /// The longest, in seconds; the shortest is one
    #[arg(long, default_value_t = 20)]
    most_s: u64,
    #[command(flatten)]
    common: Common,
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    pauses: u64,
    /// Pauses of clients that were longer than their session timeout.
    outlived: u64,
    late: u64,
    fenced: u64,
    paused_ms: Vec<u64>,
}

/// Runs the rig; whether everything held.
pub fn run(args: &Args) -> Result<bool> {
    let begun = Instant::now();
    let (folder, mut rng) = args.common.begin("pause", args.cycles)?;
    let program = LoadProgram::build()?;
    let (peer, bin) = (args.common.peer(), args.common.bin.clone());
    let mut scene = Scene::set(&Plan { peer, bin, settings: Vec::new(), folder: folder.join("broker") })?;
    let crew = |name, producers| Crew { name, producers, consumers: 2, session_timeout_ms: SESSION_TIMEOUT_MS };
    let steady = scene.hire(&program, crew(CREW.name, 2))?;
    let paused = scene.hire(&program, crew(STANDING, 1))?;
    let mut seen = Seen::default();
    let cycles = || {
        let mut progress = Progress::new();
        while seen.pauses < args.cycles {
            let number = seen.pauses + 1;
            progress.show(|| format!("pause {number} of {}", args.cycles));
            scene.work(50, 20).with_context(|| format!("before pause {number}"))?;
            // Every other pause of clients is too long for their session.
            let least_ms = if number % 4 == 2 { TOO_LONG_MS } else { 1_000 };
            let length = Duration::from_millis(rng.within(least_ms..(args.most_s * 1_000).max(least_ms) + 1));
            if number % 2 == 1 {
                pause_broker(&mut scene, length)?;
            } else {
                pause_clients(&mut scene, paused.pid(), length, &mut seen)?;
            }
            seen.pauses += 1;
            seen.paused_ms.push(u64::try_from(length.as_millis())?);
        }
        progress.end();
        scene.work(50, 20).context("after the last pause")?;
        paused.finish()?;
        scene.leave(steady)
    };
    let told = cycles();
    let mut report = Report::default();
    report.equal("pauses", args.cycles, seen.pauses);
    report.at_least("of clients, longer than their session", i64::from(args.cycles > 1), seen.outlived as i64);
    report.equal("late offsets refused (22, 25)", seen.late, seen.fenced);
    report.fact("pauses, ms", seen.paused_ms);
    finish(&args.common, scene, told, report, begun)
}

fn pause_broker(scene: &mut Scene, length: Duration) -> Result<()> {
    let pid = scene.server.pid();
    scene.happened("SIGSTOP");
    let process = stop(pid)?;
    std::thread::sleep(length);
    kill_process(process, Signal::CONT)?;
    scene.happened("SIGCONT");
    scene.work(50, 20).with_context(|| format!("after the broker stood still for {length:?}"))
}

/// The other clients go on meanwhile.
fn pause_clients(scene: &mut Scene, pid: u32, length: Duration, seen: &mut Seen) -> Result<()> {
    let is_standing = |(member, _): &(&String, &i32)| member.starts_with(&format!("{STANDING}-"));
    let standing: Vec<(String, i32)> =
        scene.truth().members.iter().filter(is_standing).map(|(member, at)| (member.clone(), *at)).collect();
    let is_too_long = length >= Duration::from_millis(TOO_LONG_MS);
    scene.happened("SIGSTOP of clients");
    let process = stop(pid)?;
    std::thread::sleep(length);
    let late = if is_too_long { commit_late(scene, &standing, seen) } else { Ok(()) };
    scene.happened("SIGCONT of clients");
    kill_process(process, Signal::CONT)?;
    late?;
    scene.work(50, 20).with_context(|| format!("after clients stood still for {length:?}"))?;
    if is_too_long {
        seen.outlived += 1;
        commit_late(scene, &standing, seen)?;
    }
    Ok(())
}

/// Commits in the name of members whose generation is over, through the relay, so that the history knows of it.
fn commit_late(scene: &Scene, members: &[(String, i32)], seen: &mut Seen) -> Result<()> {
    let mut connection = admin::connect(scene.port)?;
    for (member, generation) in members {
        let mut partition = |index| {
            seen.late += 1;
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(0)
                .with_committed_metadata(Some(text(format!("late {}", seen.late))))
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(TOPIC)))
            .with_partitions((0..PARTITIONS).map(&mut partition).collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(text(member.as_str()))
            .with_generation_id_or_member_epoch(*generation)
            .with_topics(vec![topic]);
        let answer: OffsetCommitResponse = connection.call(Api::OffsetCommit, COMMIT_VERSION, &request)?;
        let codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        seen.fenced += codes.filter(|code| FENCED.contains(code)).count() as u64;
    }
    Ok(())
}

fn stop(pid: u32) -> Result<Pid> {
    let process = Pid::from_raw(i32::try_from(pid)?).context("a process has a number")?;
    kill_process(process, Signal::STOP)?;
    Ok(process)
}
