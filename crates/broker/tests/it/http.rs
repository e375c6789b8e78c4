//! HTTP: three paths to look at, and nothing else.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::batches::batch;
use crate::support::client::metadata_request;
use crate::support::{PATIENCE, Rig};

/// Status and body of a GET.
pub fn get(rig: &Rig, path: &str) -> (u16, String) {
    request(rig, "GET", path)
}

/// A figure of `/metrics`.
pub fn metric(rig: &Rig, name: &str) -> u64 {
    let (_, body) = get(rig, "/metrics");
    let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in {body}")).parse().unwrap()
}

fn request(rig: &Rig, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&rig.http, PATIENCE).expect("HTTP is served");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        .expect("it can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    (status, body.to_owned())
}

#[test]
fn metrics_count_what_happened() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 3, &[]);
    client.produced("orders", 0, batch(&["a", "b"]));
    client.read("orders", 0, 0);
    client.commit("readers", "orders", 0, 2);
    client.ask(12, &metadata_request(&[]));
    let (status, body) = get(&rig, "/metrics");
    assert_eq!(status, 200);
    for line in [
        "pagemark_requests_total{api=\"Produce\"} 1",
        "pagemark_requests_total{api=\"Metadata\"} 1",
        "pagemark_produced_records_total 2",
        "pagemark_topics 2",
        "pagemark_partitions 7",
        "pagemark_groups 1",
        "pagemark_committed_offsets 1",
        "pagemark_connections 1",
        "pagemark_group_shards_loading 0",
        "pagemark_log_failed 0",
    ] {
        assert!(body.lines().any(|l| l == line), "{line} is not in:\n{body}");
    }
    assert!(body.ends_with("# EOF\n"), "OpenMetrics text ends so");
}

#[test]
fn health_and_readiness_are_told() {
    let rig = Rig::memory();
    assert_eq!(get(&rig, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(&rig, "/readyz"), (200, "ok\n".to_owned()));
}

#[test]
fn nothing_else_is_there_and_nothing_can_be_changed() {
    let rig = Rig::memory();
    for path in ["/", "/topics", "/metrics/", "/healthz/x", "/../etc/passwd", "/metrics%00", "/favicon.ico"] {
        assert_eq!(get(&rig, path).0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/metrics", "/healthz", "/readyz"] {
            assert_eq!(request(&rig, method, path).0, 405, "{method} {path}");
        }
    }
}

#[test]
fn no_http_is_served_where_none_is_wanted() {
    let rig = Rig::with(&["pagemark.http.listener="]);
    assert!(rig.server().http.is_none());
    assert_eq!(rig.client().ask(12, &metadata_request(&[])).brokers.len(), 1);
}
