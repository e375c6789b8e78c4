//! A real process under clients that announce much, send little and stay: what it takes is what they sent (row 81).
//!
//! Deliberately not here: that others are served as usual meanwhile (`broker/tests/it/flood.rs`).

use std::io::{Read, Write};
use std::net::TcpStream;

use super::process::{Broker, started};

impl Broker {
    /// A figure of `/metrics`.
    pub fn metric(&self, name: &str) -> u64 {
        let mut socket = TcpStream::connect(&self.2).expect("HTTP listens");
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("it answers");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.trim().parse().expect("a figure")
    }

    /// Most memory that the process ever had, in MiB.
    fn most_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs, on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("on Linux");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a figure") / 1024
    }
}

/// Asks for the versions served and gets an answer.
fn is_served(socket: &mut TcpStream) {
    socket.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]).expect("it reads");
    let mut head = [0; 10];
    socket.read_exact(&mut head).expect("it answers");
    assert_eq!(head[4..], [0, 0, 0, 7, 0, 0], "its own answer, without an error");
    let mut rest = vec![0; u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize - 6];
    socket.read_exact(&mut rest).expect("all of it");
}

#[test]
fn two_hundred_announcements_of_90_mib_and_hundreds_who_stay_leave_the_process_small_row_81() {
    let directory = tempfile::tempdir().unwrap();
    let broker = started(directory.path());
    let mut good = TcpStream::connect(&broker.1).unwrap();
    is_served(&mut good);
    let idle: Vec<TcpStream> = (0..500).map(|_| TcpStream::connect(&broker.1).unwrap()).collect();
    let mut begun = (90i32 << 20).to_be_bytes().to_vec();
    begun.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 1]); // as if a Produce began
    begun.resize(1024, 7);
    let floods: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut socket = TcpStream::connect(&broker.1).unwrap();
            socket.write_all(&begun).unwrap();
            socket
        })
        .collect();
    // Every one of them has been read by now, or will be while the good client is served.
    while broker.metric("pagemark_socket_reads_total ") < 201 {
        is_served(&mut good);
    }
    (0..100).for_each(|_| is_served(&mut good));
    assert_eq!(broker.metric("pagemark_connections "), 701);
    assert!(broker.most_mib() < 256, "{} MiB", broker.most_mib());
    drop((idle, floods));
}
