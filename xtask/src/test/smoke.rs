//! A foreign client against the release binary, as a newcomer would use both: kcat writes, reads, and continues as a group
//! after the broker was killed.
//!
//! Deliberately not here: everything that whole suites of clients test; this is to notice that no client works at all.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::broker::{Broker, BrokerCommand, await_end, free_ports, kill_9};
use crate::kcat::Kcat;
use crate::rng::Rng;
use crate::workspace;

/// Runs all checks; gives their number.
pub fn run(kcat: &Kcat) -> Result<u64> {
    let port = free_ports(&mut Rng::new(u64::from(std::process::id())))?;
    let folder = workspace::scratch("smoke")?;
    let settings =
        ["group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=100", "pagemark.http.listener="];
    let settings = settings.map(str::to_owned);
    let mut broker = Broker::start(BrokerCommand::given_or_ours(None)?, port, &folder, &settings)?;
    let bootstrap = format!("127.0.0.1:{port}");
    let k = |arguments: &[&str], input: &str| ask(kcat, &bootstrap, arguments, input);
    let mut checks = 0;
    let mut check = |what: &str, expected: &str, found: String| -> Result<()> {
        ensure!(found.trim() == expected, "{what}: expected {expected:?}, found {found:?}");
        checks += 1;
        Ok(())
    };

    k(&["-P", "-t", "smoke", "-p", "0", "-K", ":", "-X", "enable.idempotence=true"], "a:0\nb:1\nc:2\nd:3\ne:4\n")?;
    let all = ["-C", "-t", "smoke", "-p", "0", "-o", "beginning", "-e", "-f", "%o=%k:%s "];
    check("what was written is read", "0=a:0 1=b:1 2=c:2 3=d:3 4=e:4", k(&all, "")?)?;
    let group = ["-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=6000", "-G", "readers"];
    let three = [&group[..], &["-c", "3", "-f", "%o ", "smoke"]].concat();
    check("a group reads the first three", "0 1 2", k(&three, "")?)?;
    kill_9(broker.pid());
    ensure!(await_end(broker.pid()), "the killed broker does not end");
    broker.start_again()?;
    check("after kill -9 everything is there", "0=a:0 1=b:1 2=c:2 3=d:3 4=e:4", k(&all, "")?)?;
    let two = [&group[..], &["-c", "2", "-f", "%o ", "smoke"]].concat();
    check("the group continues at its committed offset", "3 4", k(&two, "")?)?;
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        k(&["-P", "-t", codec, "-p", "0", "-z", codec], &"the same line again and again\n".repeat(50))?;
        let count = k(&["-C", "-t", codec, "-p", "0", "-o", "beginning", "-e", "-f", "%o\n"], "")?.lines().count();
        check(codec, "50", count.to_string())?;
    }
    Ok(checks)
}

/// Runs kcat once and gives what it printed.
fn ask(kcat: &Kcat, bootstrap: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = kcat.command(bootstrap);
    command.args(["-q", "-X", "socket.timeout.ms=20000"]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("kcat cannot be run")?;
    child.stdin.take().context("kcat's input was piped")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "kcat {arguments:?} failed");
    String::from_utf8(output.stdout).context("kcat wrote something that is not text")
}
