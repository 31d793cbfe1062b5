use super::*;
use std::ffi::OsString;
use std::io::Write;

fn environment(pairs: &[(&str, &str)]) -> Sources {
    let home = [("HOME", "/home/ada")];
    let environment = home
        .iter()
        .chain(pairs)
        .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
        .collect();
    Sources {
        environment,
        ..Sources::default()
    }
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn options(result: Result<Config, Problems>) -> Vec<String> {
    result
        .unwrap_err()
        .0
        .into_iter()
        .map(|problem| problem.option)
        .collect()
}

#[test]
fn the_compiled_in_file_is_a_whole_configuration() {
    let config = Config::load(&environment(&[])).unwrap();
    assert_eq!(config.server.listen, "127.0.0.1:8283".parse().unwrap());
    assert_eq!(config.data.durability, Durability::Sync);
    if cfg!(not(target_os = "macos")) {
        assert_eq!(
            config.data.path,
            PathBuf::from("/home/ada/.local/share/greenroom")
        );
    }
}

#[test]
fn the_examples_of_options_that_are_off_can_be_switched_on() {
    let on: String = DEFAULTS
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(option)
                if option
                    .starts_with(|first: char| first.is_alphabetic() || "[\"".contains(first)) =>
            {
                format!("{option}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(on.contains("\n[[providers.custom]]\n"));
    let on = file(&on);
    let config = Config::load(&Sources {
        file: Some(on.path().to_owned()),
        ..environment(&[])
    })
    .unwrap();
    assert!(config.server.password.is_some() && config.data.encryption_key.is_some());
}

#[test]
fn the_file_for_a_desk_can_be_used() {
    let desk = file(include_str!("../../config/dev.toml"));
    let config = Config::load(&Sources {
        file: Some(desk.path().to_owned()),
        ..environment(&[])
    })
    .unwrap();
    assert_eq!(config.data.durability, Durability::Flush);
}

#[test]
fn flags_win_over_variables_over_plain_names_over_the_file() {
    let file = file(
        "[server]\nlisten = '127.0.0.1:1'\n[data]\npath = '/file'\n[agents]\nqueue_depth = 1\nmax_starting = 1",
    );
    let pairs = [
        ("GREENROOM_CONFIG", file.path().to_str().unwrap()),
        ("GREENROOM_DATA", "/plain"),
        ("GREENROOM__DATA__PATH", "/variable"),
        ("GREENROOM__SERVER__LISTEN", "127.0.0.1:2"),
        ("GREENROOM__AGENTS__QUEUE_DEPTH", "2"),
        (
            "GREENROOM__EGRESS__ALLOWED_HOSTS",
            r#"["wiki.local", "10.0.0.7:80"]"#,
        ),
        ("GREENROOM__SERVER__PASSWORD", "1e5"),
    ];
    let flags = Flags {
        listen: Some("127.0.0.1:3".to_owned()),
        ..Flags::default()
    };
    let config = Config::load(&Sources {
        flags,
        ..environment(&pairs)
    })
    .unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.data.path, PathBuf::from("/variable"));
    assert_eq!(
        (config.agents.queue_depth, config.agents.max_starting),
        (2, 1)
    );
    assert_eq!(config.egress.allowed_hosts, ["wiki.local", "10.0.0.7:80"]);
    assert_eq!(config.server.password.unwrap().expose(), "1e5");
}

#[test]
fn all_problems_of_all_sources_are_reported_at_once() {
    let file = file(
        "colour = 1\n[server]\nlisten = 'here'\n[agents]\nqueue_depht = 9\nmax_starting = 1.5\n[log]\nformat = 'xml'",
    );
    let pairs = [
        ("GREENROOM__RUNS__MAX_STEPS", "0"),
        ("GREENROOM__NO__SUCH", "x"),
        ("GREENROOM__MEMORY__STRICT_BLOCK_LIMITS", "1"),
    ];
    let mut found = options(Config::load(&Sources {
        file: Some(file.path().to_owned()),
        ..environment(&pairs)
    }));
    found.sort();
    let expected = [
        "agents.max_starting",
        "agents.queue_depht",
        "colour",
        "log.format",
        "memory.strict_block_limits",
        "no.such",
        "runs.max_steps",
        "server.listen",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_problem_names_option_value_origin_and_reason() {
    let problems = Config::load(&environment(&[("GREENROOM__RUNS__MAX_STEPS", "0")])).unwrap_err();
    let expected = "the configuration cannot be used:\n  runs.max_steps = 0 (from GREENROOM__RUNS__MAX_STEPS): must be between 1 and 100000";
    assert_eq!(problems.to_string(), expected);
}

#[test]
fn secrets_are_never_shown() {
    let pairs = [
        ("GREENROOM__SERVER__PASSWROD", "hunter2"),
        ("LETTA_SERVER_PASSWORD", "hunter2"),
        ("GREENROOM__SERVER__LISTEN", "x"),
    ];
    assert!(
        !Config::load(&environment(&pairs))
            .unwrap_err()
            .to_string()
            .contains("hunter2")
    );
    assert!(
        !format!("{:?}", Config::load(&environment(&pairs[1..2])).unwrap()).contains("hunter2")
    );
    let file = file("providers = 'hunter2'\n[server]\npassword = ['hunter2']");
    assert!(
        !Config::load(&Sources {
            file: Some(file.path().to_owned()),
            ..environment(&[])
        })
        .unwrap_err()
        .to_string()
        .contains("hunter2")
    );
}

#[test]
fn only_loopback_does_without_a_password() {
    let open = ("GREENROOM__SERVER__LISTEN", "0.0.0.0:8283");
    assert_eq!(
        options(Config::load(&environment(&[open]))),
        ["server.listen"]
    );
    assert!(Config::load(&environment(&[open, ("LETTA_SERVER_PASSWORD", "p")])).is_ok());
    assert_eq!(
        options(Config::load(&environment(&[
            open,
            ("LETTA_SERVER_PASSWORD", "p"),
            ("LETTA_SERVER_SECURE", "false")
        ]))),
        ["server.listen"]
    );
    assert_eq!(
        options(Config::load(&environment(&[(
            "LETTA_SERVER_SECURE",
            "true"
        )]))),
        ["server.password"]
    );
}

#[test]
fn a_machine_without_a_home_must_name_the_folder() {
    let homeless = Sources::default();
    assert_eq!(options(Config::load(&homeless)), ["data.path"]);
    let flags = Flags {
        data: Some("/srv/greenroom".into()),
        ..Flags::default()
    };
    assert!(Config::load(&Sources { flags, ..homeless }).is_ok());
}
