//! What a user gets to see of the settings: precedence, warnings, refusals and their words.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::*;

fn load(file: Option<&str>, env: &[(&str, &str)], set: &[&str]) -> Result<Loaded, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = file.map(|text| {
        let path = folder.path().join("server.properties");
        std::fs::write(&path, text).unwrap();
        path
    });
    let sources = SettingsSources {
        file,
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>(),
        set: set.iter().map(|text| (*text).to_owned()).collect(),
    };
    let hide = |error: &SettingError| error.to_string().replace(&format!("{}/", folder.path().display()), "");
    Settings::load(sources).map_err(|errors| errors.iter().map(hide).collect())
}

fn refused(set: &[&str]) -> String {
    load(None, &[], set).unwrap_err().join("\n")
}

#[test]
fn without_any_source_the_defaults_hold() {
    let loaded = load(None, &[], &[]).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.warnings.is_empty());
    let settings = loaded.settings;
    assert_eq!(settings.log_dirs, PathBuf::from("./pagemark-data"));
    assert_eq!(settings.message_max_bytes, 1_048_588);
    assert_eq!(settings.listeners[0].to_string(), "PLAINTEXT://127.0.0.1:9092");
    assert_eq!(settings.group_max_session_timeout_ms, 1_800_000);
    assert_eq!(settings.log_message_timestamp_type, TimestampType::CreateTime);
}

#[test]
fn the_command_line_wins_over_the_environment_which_wins_over_the_file() {
    let file = Some("node.id=1\nnum.partitions=1\noffsets.topic.num.partitions=1\n");
    let env = [("PAGEMARK_NUM_PARTITIONS", "2"), ("PAGEMARK_OFFSETS_TOPIC_NUM_PARTITIONS", "2"), ("HOME", "/")];
    let settings = load(file, &env, &["offsets.topic.num.partitions=3"]).unwrap().settings;
    assert_eq!((settings.node_id, settings.num_partitions, settings.offsets_topic_num_partitions), (1, 2, 3));
}

#[test]
fn of_one_key_given_twice_in_a_source_the_last_counts() {
    let settings = load(Some("node.id=1\nnode.id=2"), &[], &["num.partitions=3", "num.partitions=4"]).unwrap().settings;
    assert_eq!((settings.node_id, settings.num_partitions), (2, 4));
}

#[test]
fn kafkas_other_names_are_taken_and_yield_to_the_first_names() {
    let settings = load(None, &[], &["log.dir=/a", "broker.id=4"]).unwrap().settings;
    assert_eq!((settings.log_dirs, settings.node_id), (PathBuf::from("/a"), 4));
    let settings = load(Some("log.dirs=/b"), &[], &["log.dir=/a"]).unwrap().settings;
    assert_eq!(settings.log_dirs, PathBuf::from("/b"));
}

#[test]
fn a_setting_only_kafka_has_a_use_for_costs_one_line() {
    let loaded = load(Some("process.roles=broker\n"), &[("PAGEMARK_LOG_ROLL_HOURS", "1")], &[]).unwrap();
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("process.roles") && loaded.warnings[0].contains("server.properties:1"));
    assert!(loaded.warnings[1].contains("log.roll.hours") && loaded.warnings[1].contains("PAGEMARK_LOG_ROLL_HOURS"));
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_name_and_its_source() {
    let errors = load(Some("\nlog.dris=/x\n"), &[("PAGEMARK_NODEID", "1")], &["numpartitions=1"]).unwrap_err();
    assert_eq!(
        errors,
        [
            "unknown setting log.dris=/x (server.properties:2); did you mean log.dirs?",
            "unknown setting PAGEMARK_NODEID=1 (environment variable PAGEMARK_NODEID); did you mean PAGEMARK_NODE_ID?",
            "unknown setting numpartitions=1 (--set); did you mean num.partitions?",
        ]
    );
    assert_eq!(refused(&["zzz=1"]), "unknown setting zzz=1 (--set); docs/settings.md lists all of them");
    assert_eq!(refused(&["zzz"]), "\"zzz\" (--set) is not of the form key=value");
}

#[test]
fn a_bad_value_is_refused_with_key_value_source_and_what_is_allowed() {
    for (set, expected) in [
        ("num.partitions=0", "num.partitions=0 (--set): allowed: a whole number from 1 to 2147483647"),
        (
            "offsets.topic.num.partitions=10001",
            "offsets.topic.num.partitions=10001 (--set): allowed: a whole number from 1 to 10000",
        ),
        ("num.partitions=", "num.partitions= (--set): allowed: a whole number from 1 to 2147483647"),
        ("message.max.bytes=1MB", "message.max.bytes=1MB (--set): allowed: a whole number from 0 to 33550336 (bytes)"),
        (
            "producer.id.expiration.ms=0",
            "producer.id.expiration.ms=0 (--set): allowed: a whole number from 1 to 2147483647 (milliseconds)",
        ),
        ("delete.topic.enable=yes", "delete.topic.enable=yes (--set): allowed: true or false"),
        ("log.dirs=/a,/b", "log.dirs=/a,/b (--set): allowed: exactly one directory"),
        ("log.message.timestamp.type=x", "log.message.timestamp.type=x (--set): allowed: CreateTime or LogAppendTime"),
        (
            "pagemark.http.listener=9080",
            "pagemark.http.listener=9080 (--set): allowed: host:port, e.g. 127.0.0.1:9080, or empty for none",
        ),
    ] {
        assert_eq!(refused(&[set]), expected);
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    assert_eq!(load(None, &[], &["nonsense=1", "node.id=-1", "listeners=X://[::1]:1"]).unwrap_err().len(), 3);
}

#[test]
fn a_missing_file_is_an_error_and_not_a_default() {
    let sources = SettingsSources { file: Some(PathBuf::from("/no/such/file")), env: Vec::new(), set: Vec::new() };
    let errors = Settings::load(sources).unwrap_err();
    assert!(errors[0].to_string().contains("/no/such/file"), "{}", errors[0]);
}

#[test]
fn listeners_are_read_with_names_hosts_and_ports() {
    let set = [
        "listeners=PLAINTEXT://localhost:0, Inside://[::1]:19092",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT",
    ];
    let settings = load(None, &[], &set).unwrap().settings;
    let told: Vec<String> = settings.listeners.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["PLAINTEXT://localhost:0", "INSIDE://[::1]:19092"]);
    for bad in [
        "PLAINTEXT",
        "PLAINTEXT://x",
        "://x:1",
        "PLAINTEXT://x:70000",
        "PLAINTEXT://x:+1",
        "PLAINTEXT://a b:1",
        "A://x:1,A://y:2",
        "PLAINTEXT://[x]:1",
    ] {
        assert!(refused(&[&format!("listeners={bad}")]).contains("allowed: NAME://host:port"), "{bad}");
    }
    assert!(refused(&["listeners="]).contains("at least one listener"));
}

#[test]
fn a_wildcard_listener_is_refused_with_the_flag_to_use_instead() {
    for host in ["0.0.0.0", "[::]", ""] {
        let listeners = format!("listeners=PLAINTEXT://{host}:9092");
        let words = refused(&[&listeners, "pagemark.insecure.listen=true"]);
        assert!(words.contains("--set advertised.listeners=PLAINTEXT://HOST:9092"), "{words}");
        let told = "advertised.listeners=PLAINTEXT://broker.example:9092";
        assert!(load(None, &[], &[&listeners, "pagemark.insecure.listen=true", told]).is_ok());
        let words = refused(&[&format!("advertised.listeners=PLAINTEXT://{host}:9092")]);
        assert!(words.contains("clients cannot connect to a wildcard address"), "{words}");
    }
}

#[test]
fn listening_beyond_this_machine_needs_a_word() {
    for set in [
        "listeners=PLAINTEXT://192.0.2.1:9092",
        "listeners=PLAINTEXT://example.org:9092",
        "pagemark.http.listener=0.0.0.0:9080",
    ] {
        let words = refused(&[set]);
        assert!(words.contains("--set pagemark.insecure.listen=true"), "{words}");
        assert!(load(None, &[], &[set, "pagemark.insecure.listen=true"]).is_ok(), "{set}");
    }
    for set in [
        "listeners=PLAINTEXT://127.1.2.3:9092",
        "listeners=PLAINTEXT://[::1]:9092",
        "listeners=PLAINTEXT://LOCALHOST:1",
    ] {
        assert!(load(None, &[], &[set]).is_ok(), "{set}");
    }
}

#[test]
fn only_plaintext_is_served() {
    assert!(refused(&["listeners=SSL://127.0.0.1:9093"]).contains("only PLAINTEXT is served, and SSL is SSL"));
    assert!(
        refused(&["listeners=CONTROLLER://127.0.0.1:9093"])
            .contains("listener.security.protocol.map=CONTROLLER:PLAINTEXT")
    );
    assert!(
        refused(&["advertised.listeners=OTHER://127.0.0.1:9093"])
            .contains("no listener has this name; listeners has PLAINTEXT")
    );
}

#[test]
fn what_is_advertised_is_the_bound_port_unless_told_otherwise() {
    let bound: SocketAddr = "127.0.0.1:4711".parse().unwrap();
    let of = |set: &[&str]| {
        let settings = load(None, &[], set).unwrap().settings;
        settings.advertised(&settings.listeners[0], bound).to_string()
    };
    assert_eq!(of(&["listeners=PLAINTEXT://localhost:0"]), "localhost:4711");
    assert_eq!(of(&["listeners=PLAINTEXT://[::1]:9092"]), "[::1]:9092");
    assert_eq!(of(&["advertised.listeners=PLAINTEXT://relay:1"]), "relay:1");
    assert_eq!(of(&["advertised.listeners=PLAINTEXT://relay:0"]), "relay:4711");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    assert!(
        refused(&["group.min.session.timeout.ms=9", "group.max.session.timeout.ms=8"])
            .contains("group.max.session.timeout.ms=8")
    );
    assert!(refused(&["default.replication.factor=3"]).contains("pagemark.lenient.replication.factor=true"));
    assert!(load(None, &[], &["default.replication.factor=3", "pagemark.lenient.replication.factor=true"]).is_ok());
}

#[test]
fn help_and_docs_name_every_setting_its_default_and_its_variable() {
    let (help, page) = (help(), markdown());
    for spec in KEYS {
        assert!(help.contains(&format!("  {} (default: ", spec.name)), "{}", spec.name);
        assert!(page.contains(&format!("### `{}`", spec.name)), "{}", spec.name);
        assert!(page.contains(&format!("`{}`", environment_name(spec.name))), "{}", spec.name);
        assert!(spec.paragraph().ends_with('.'), "{}", spec.name);
    }
}

#[test]
fn the_page_of_settings_is_current() {
    let page = include_str!("../../../../docs/settings.md");
    assert!(page == markdown(), "docs/settings.md is out of date: cargo xtask settings-docs");
}

#[test]
fn no_text_whatever_makes_reading_panic() {
    for spec in KEYS {
        for value in [
            "",
            " ",
            "\0",
            "-9223372036854775809",
            "99999999999999999999",
            "://",
            ",,,",
            "[",
            "a:b:c",
            "\u{fffd}=",
            "é://é:é",
        ] {
            let _ = load(None, &[], &[&format!("{}={value}", spec.name)]);
        }
    }
}

#[test]
fn variables_that_are_not_utf8_are_refused_only_if_they_are_ours() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    let pair = |name: &[u8], value: &[u8]| (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()));
    let ours = pair(b"PAGEMARK_NODE_ID", b"3");
    let foreign = [pair(b"LS_COLORS", b"\xff"), pair(b"\xff", b"x"), pair(b"PAGEMARK_SERVICE_HOST", b"\xff")];
    let taken = own_environment(foreign.into_iter().chain([ours.clone()])).unwrap();
    assert_eq!(taken, [("PAGEMARK_NODE_ID".to_owned(), "3".to_owned())]);
    let bad = [pair(b"PAGEMARK_LOG_DIRS", b"/\xff"), ours, pair(b"PAGEMARK_\xfe", b"x")];
    let words: Vec<String> = own_environment(bad).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "PAGEMARK_LOG_DIRS=/\u{fffd} (environment variable PAGEMARK_LOG_DIRS) is not UTF-8",
            "PAGEMARK_\u{fffd}=x (environment variable PAGEMARK_\u{fffd}) is not UTF-8",
        ]
    );
}
