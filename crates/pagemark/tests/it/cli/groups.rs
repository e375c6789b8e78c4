//! `pagemark group`, but for `reset`.

use pagemark_client::{Consumer, PartitionSet};

use super::{Session, block_on};

/// A group whose commits stand in all sorts of places.
fn billing(session: &Session) {
    session.quietly(&["topic", "create", "orders", "-p", "4"], "");
    session.fill("orders", 0, 0..10);
    session.fill("orders", 1, 0..5);
    session.fill("orders", 2, 0..3);
    session.admin(async |admin| {
        let offsets = [(0, 4), (1, 5), (2, 9)].map(|(at, offset)| (("orders", at).into(), offset.into()));
        admin.alter_group_offsets("billing", offsets).await.expect("nobody is there");
        admin.delete_records(&("orders", 0).into(), Some(6)).await.expect("deleted");
    });
}

#[test]
fn groups_are_listed_described_and_checked_o_1_o_41() {
    let mut session = Session::start();
    session.run(&["group", "list"]);
    billing(&session);
    session.run(&["group", "list"]);
    session.run(&["groups", "list", "--sort", "lag", "--state", "empty", "-o", "csv"]);
    session.run(&["group", "list", "--state", "stable"]);
    session.run(&["group", "describe", "billing"]);
    session.run(&["group", "describe", "billing", "--lagging", "-t", "orders:0,2-3"]);
    session.run(&["group", "describe", "-r", "^bill", "--state"]);
    session.run(&["group", "describe", "-r", "nobody"]);
    session.run(&["group", "describe", "-r", "("]);
    session.run(&["group", "describe", "billing", "missing", "-t", "orders:2", "-o", "json"]);
    session.run(&["group", "describe", "billing", "-t", "orders:1", "-o", "wide"]);
    session.run(&["group", "describe", "billing", "-o", "csv"]);
    session.run(&["group", "lag", "billing"]);
    session.run(&["group", "lag", "billing", "--fail-over", "6"]);
    session.run(&["group", "lag", "billing", "--fail-over", "5", "-o", "yaml"]);
    session.run(&["group", "lag", "misspelt", "--fail-over", "5"]);
    session.run(&["group", "lag", "billing", "-t", "ordres", "--fail-over", "5"]);
    session.check("groups");
}

#[test]
fn what_is_misspelt_is_said_and_never_passes_for_nothing() {
    let mut session = Session::start();
    billing(&session);
    session.quietly(&["topic", "create", "payments", "-p", "1"], "");
    session.run(&["group", "list", "--state", "Stabel"]);
    session.run(&["group", "list", "--type", "clasic"]);
    session.run(&["group", "list", "--state", "stable,EMPTY", "--type", "Classic"]);
    session.run(&["group", "describe", "biling", "--state"]);
    session.run(&["group", "describe", "billing", "-t", "ordres", "-t", "orders:1,7"]);
    session.run(&["group", "describe", "billing", "-t", "payments"]);
    session.run(&["group", "lag", "billing", "-t", "orders:0,3,9", "-t", "payments"]);
    session.run(&["group", "delete-offsets", "billing", "-t", "ordres", "-t", "a\nb", "-t", "orders:9"]);
    session.run(&["group", "delete-offsets", "billing", "-t", "payments"]);
    session.run(&["group", "delete-offsets", "biling", "-t", "orders"]);
    session.run(&["group", "delete", "biling"]);
    session.run(&["group", "reset", "billing", "-t", "ordres", "--to-earliest"]);
    session.run(&["topic", "describe", "order"]);
    session.run(&["topic", "delete", "nothing like it"]);
    session.run(&["consume", "-t", "Orders", "-e"]);
    session.run(&["produce", "-t", "orderss"]);
    session.check("misspelt");
}

/// However many groups there are, they are asked about together.
#[test]
fn a_thousand_groups_take_a_few_requests() {
    const GROUPS: usize = 1000;
    let session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "2"], "");
    session.fill("orders", 1, 0..3);
    session.admin(async |admin| {
        let mut setting = tokio::task::JoinSet::new();
        for n in 0..GROUPS {
            let admin = admin.clone();
            setting.spawn(async move {
                let offsets = [(("orders", 1).into(), 1.into())];
                admin.alter_group_offsets(&format!("group-{n:04}"), offsets).await.expect("nobody is there");
            });
        }
        setting.join_all().await;
    });
    let asked = |api: &str| session.broker.metric(&format!("pagemark_requests_total{{api=\"{api}\"}}"));
    let apis = ["FindCoordinator", "DescribeGroups", "OffsetFetch", "ListOffsets", "Metadata"];
    for arguments in [&["group", "lag", "-r", ".", "-o", "csv"][..], &["group", "list", "--sort", "lag", "-o", "csv"]] {
        let before = apis.map(asked);
        let output = session.quietly(arguments, "");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).expect("text");
        let groups: Vec<&str> = said.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
        assert!(groups.len() == GROUPS && groups.is_sorted(), "each once, in order");
        for ((api, before), after) in apis.into_iter().zip(before).zip(apis.map(asked)) {
            assert!(after - before <= 16, "{} requests of {api} for {GROUPS} groups", after - before);
        }
    }
}

#[test]
fn offsets_and_groups_are_deleted_and_what_was_there_is_told_g_37_o_35() {
    let mut session = Session::start();
    billing(&session);
    session.run(&["group", "delete-offsets", "billing", "-t", "orders:0,3"]);
    session.run(&["group", "delete-offsets", "billing", "-t", "missing"]);
    session.run(&["group", "delete-offsets", "missing", "-t", "orders"]);
    session.run(&["group", "describe", "billing"]);
    session.run(&["group", "delete", "billing", "billing"]);
    session.run(&["group", "list"]);
    session.check("deletions");
}

/// A member that reads; what `work` does happens meanwhile.
pub(super) fn with_member(broker: &str, group: &str, work: impl FnOnce(Consumer)) {
    block_on(async {
        let builder = Consumer::builder(broker).group_id(group).client_id("reader").enable_auto_commit(false);
        let builder = builder.auto_offset_reset(pagemark_client::AutoOffsetReset::Earliest);
        let mut member = builder.build().expect("legal settings");
        member.subscribe(["orders"]).expect("it has a group");
        while member.assignment() == PartitionSet::new() {
            member.poll(std::time::Duration::from_millis(20)).await.expect("no error");
        }
        tokio::task::block_in_place(|| work(member));
    });
}

#[test]
fn members_are_shown_and_partitions_without_a_commit_have_a_dash_g_35() {
    let mut session = Session::start();
    billing(&session);
    with_member(&session.broker.1.clone(), "billing", |member| {
        session.run(&["group", "describe", "billing"]);
        session.run(&["group", "describe", "billing", "--members"]);
        session.run(&["group", "describe", "billing", "--verbose", "-t", "orders:3", "-o", "json"]);
        session.run(&["group", "lag", "billing", "-t", "orders:3"]);
        session.run(&["group", "delete", "billing"]);
        session.run(&["group", "delete-offsets", "billing", "-t", "orders:0"]);
        session.run(&["group", "reset", "billing", "--to-earliest", "--execute"]);
        session.run(&["group", "reset", "billing", "-t", "orders:1", "--to-latest"]);
        drop(member);
    });
    session.check("members");
}

#[test]
fn a_lag_that_nobody_knows_is_never_called_0_o_41() {
    let mut session = Session::start();
    billing(&session);
    session.fill("orders", 3, 0..2);
    for group in ["billing", "fresh"] {
        with_member(&session.broker.1.clone(), group, |member| {
            session.run(&["group", "list", "--sort", "lag"]);
            session.run(&["group", "list", "--sort", "lag", "-o", "csv"]);
            session.run(&["group", "describe", group, "--lagging"]);
            session.run(&["group", "describe", group, "--state"]);
            session.run(&["group", "lag", group, "-t", "orders:1,3", "-o", "json"]);
            session.run(&["group", "lag", group, "--fail-over", "1000"]);
            session.run(&["group", "lag", group, "--fail-over", "5"]);
            session.run(&["group", "lag", group, "--fail-over", "5", "-t", "orders:1", "-o", "csv"]);
            drop(member);
        });
    }
    session.check("unknown_lag");
}

#[test]
fn names_of_others_are_shown_safely_and_exactly_to_programs() {
    let mut session = Session::start();
    session.quietly(&["topic", "create", "orders", "-p", "1"], "");
    let long = "long".repeat(64);
    let names = ["", "-", "two words", "a\nb\u{1b}[31mred", "漢字-é-🦀", "right\u{202e}left", &long];
    session.admin(async |admin| {
        for name in names {
            admin.alter_group_offsets(name, [(("orders", 0).into(), 0.into())]).await.expect("nobody is there");
        }
    });
    session.run(&["group", "list"]);
    session.run(&["group", "list", "-o", "json"]);
    session.run(&["group", "list", "-o", "csv"]);
    session.run(&["group", "describe", "", "a\nb\u{1b}[31mred", "--state"]);
    session.run(&["group", "reset", "", "--to-latest", "--execute"]);
    session.run(&["group", "describe", "no\nsuch\u{1b}[2Jgroup"]);
    session.run(&["group", "delete", "", "a\nb\u{1b}[31mred"]);
    session.check("hostile_names");
}

/// A group is looked at again and again until nobody reads what is said.
#[test]
fn a_watch_ends_when_nobody_reads_any_more() {
    use std::io::{BufRead, BufReader};
    let session = Session::start();
    billing(&session);
    let mut child = session.command(&["group", "describe", "billing", "--watch", "10ms"]).spawn().expect("it runs");
    let said = BufReader::new(child.stdout.take().expect("piped")).lines();
    let titles = said.map(|line| line.expect("text")).filter(|line| line.starts_with("GROUP billing   STATE Empty"));
    assert_eq!(titles.take(3).count(), 3);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
