//! A broker as a process of its own, on a directory: what no broker within a test can be, namely killed.
//!
//! Deliberately not here: what is asked of it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use super::pagemark;

/// A broker with where it listens for Kafka and for HTTP; it ends with this.
pub struct Broker(pub Child, pub String, pub String);

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker on a directory, which listens where there is room.
pub fn started(directory: &Path) -> Broker {
    started_with(directory, &[])
}

/// The same with settings.
pub fn started_with(directory: &Path, settings: &[&str]) -> Broker {
    let mut command = pagemark();
    let directory = format!("log.dirs={}", directory.display());
    let own = ["listeners=PLAINTEXT://127.0.0.1:0", "pagemark.http.listener=127.0.0.1:0", &directory];
    for setting in own.iter().chain(settings) {
        command.args(["--set", setting]);
    }
    command.env("PAGEMARK_LOG", "off").stdout(Stdio::piped());
    let mut child = command.spawn().expect("the broker can be run");
    let mut said = BufReader::new(child.stdout.take().expect("piped")).lines().map(Result::unwrap);
    let mut line = |with: &str| said.find(|line| line.contains(with)).expect("it starts");
    let kafka = line("listens on").rsplit(' ').next().map(str::to_owned).expect("an address");
    let http = line("HTTP: ").split('/').nth(2).map(str::to_owned).expect("an address");
    Broker(child, kafka, http)
}
