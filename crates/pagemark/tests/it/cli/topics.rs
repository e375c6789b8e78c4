//! `pagemark topic`, and how commands reach a broker at all.

use super::{Session, feed, pagemark};

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let mut session = Session::start();
    session.run(&["topic", "list"]);
    session.run(&["topic", "create", "orders", "-p", "2", "--config", "retention.ms=86400000"]);
    session.run(&["topic", "create", "orders"]);
    session.run(&["topic", "create", "orders", "--if-not-exists"]);
    session.run(&["topic", "create", "no/slash", "-p", "1"]);
    session.run(&[
        "topic",
        "create",
        "a.rather.long.name-that.does.not.fit.into.eighty.columns.at.all-00000000",
        "-p",
        "1",
    ]);
    session.fill("orders", 1, 0..3);
    session.run(&["topic", "list"]);
    session.run(&["topic", "list", "-o", "wide"]);
    session.run(&["topic", "list", "-o", "csv"]);
    session.run(&["topic", "describe", "orders", "missing"]);
    session.run(&["topic", "describe", "orders", "-o", "json"]);
    session.run(&["topic", "describe", "orders", "-o", "yaml"]);
    session.run(&["topic", "delete", "orders", "orders"]);
    session.check("topics");
}

#[test]
fn a_broker_that_is_not_there_is_told_soon_with_what_to_do() {
    let output = feed(pagemark(&["topic", "list", "-b", "127.0.0.1:1"]), "");
    assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("pagemark: no broker answers at 127.0.0.1:1: "), "{said}");
    assert!(said.ends_with("Start one with `pagemark serve`, or say where one is with -b HOST:PORT\n"), "{said}");
}

#[test]
fn wrong_options_cost_exit_code_2_before_anybody_is_asked() {
    let cases: [&[&str]; 5] = [
        &["topic", "list", "-X", "nonsense=1"],
        &["topic", "list", "-X", "security.protocol=SSL"],
        &["topic", "list", "-b", "nowhere"],
        &["topic", "list", "--command-config", "there/is/no/such.file"],
        &["topic", "create", "orders", "-p", "0"],
    ];
    for arguments in cases {
        let output = feed(pagemark(arguments), "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}: {said}");
    }
}

/// A file as Kafka's own tools take it: what it says counts, what means nothing here is told.
#[test]
fn a_file_of_client_properties_says_where_the_broker_is() {
    let session = Session::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.properties");
    let text = format!("# mine\nbootstrap.servers = {}\nkey.serializer: x\n", session.broker.1);
    std::fs::write(&file, text).unwrap();
    let output = feed(pagemark(&["topic", "list", "--command-config", file.to_str().unwrap()]), "");
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap().as_str()), (Some(0), "no topics\n"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("key.serializer means nothing to this client") && said.lines().count() == 1, "{said}");
}
