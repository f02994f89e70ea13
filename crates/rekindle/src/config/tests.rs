//! What the sources of configuration mean together.
#![allow(clippy::unwrap_used)]

use super::*;

fn merge(
    args: &ServeArgs,
    environment: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Config, ConfigError> {
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    Config::merge(args, environment, file.map(|text| ("rekindle.toml", text)))
}

/// Flags win over the environment, that over the file, that over the defaults.
#[test]
fn flags_over_environment_over_file_over_defaults() {
    let file = "[server]\ngrpc = '127.0.0.1:1'\nhttp = '127.0.0.1:2'\ndata = 'file'\n\
                [durability]\nmode = 'relaxed'\n[limits]\nconnections = 5\n";
    let environment = [
        ("REKINDLE__SERVER__GRPC", "127.0.0.1:3"),
        ("REKINDLE__SERVER__HTTP", "127.0.0.1:4"),
        ("REKINDLE__LIMITS__LONG_POLLS", "7"),
        ("REKINDLE_ADDR", "not ours to judge"),
        ("HOME", "/root"),
    ];
    let args = ServeArgs { grpc: Some("127.0.0.1:5".to_owned()), ..ServeArgs::default() };
    let config = merge(&args, &environment, Some(file)).unwrap();
    assert_eq!(config.grpc.port(), 5, "flag");
    assert_eq!(config.http.port(), 4, "environment");
    assert_eq!(config.limits.long_polls, 7, "environment");
    assert_eq!(config.data, Path::new("file"), "file");
    assert_eq!(config.durability, Durability::Relaxed, "file");
    assert_eq!(config.limits.connections, 5, "file");
    assert_eq!(config.segment_bytes, 64 << 20, "default");
    assert_eq!(config.sync_interval, Duration::from_millis(100), "default");
}

/// An unknown key is an error that names the key, the place and what was probably meant.
#[test]
fn unknown_keys_are_errors() {
    let none = ServeArgs::default();
    let in_file = merge(&none, &[], Some("[server]\nhtp = 'x'")).unwrap_err().to_string();
    assert!(in_file.contains("rekindle.toml"), "{in_file}");
    assert!(in_file.contains("\"server.htp\""), "{in_file}");
    assert!(in_file.contains("did you mean \"server.http\""), "{in_file}");
    let section = merge(&none, &[], Some("[sevrer]\nhttp = 'x'")).unwrap_err().to_string();
    assert!(section.contains("did you mean \"server.http\""), "{section}");
    let top = merge(&none, &[], Some("data = 'x'")).unwrap_err().to_string();
    assert!(top.contains("no such key: \"data\""), "{top}");
    let variable = merge(&none, &[("REKINDLE__SERVER__HTP", "x")], None).unwrap_err().to_string();
    assert!(variable.contains("did you mean REKINDLE__SERVER__HTTP?"), "{variable}");
    for name in
        ["REKINDLE__", "REKINDLE__SERVER", "REKINDLE__SERVER_HTTP", "REKINDLE__server__http"]
    {
        assert!(merge(&none, &[(name, "127.0.0.1:1")], None).is_err(), "{name}");
    }
}

/// A wrong value is an error that names the key and what would be right.
#[test]
fn wrong_values_are_errors() {
    let none = ServeArgs::default();
    for (file, part) in [
        ("[durability]\nmode = 'fast'", "strict, batched, relaxed"),
        ("[durability]\ninterval = 5", "durability.interval"),
        ("[journal]\nsegment_bytes = '1KiB'", "from 8MiB"),
        ("[journal]\nsegment_bytes = '3GiB'", "to 2GiB"),
        ("[journal]\nsegment_bytes = 16777217", "multiple"),
        ("[server]\nworker_threads = 0", "from 1"),
        ("[log]\nlevel = 'loud'", "no level"),
        ("[limits]\nconnections = [1]", "type array"),
        ("[limits\n", "rekindle.toml"),
    ] {
        let error = merge(&none, &[], Some(file)).unwrap_err().to_string();
        assert!(error.contains(part), "{file:?}: {error}");
    }
}

/// An address that other machines can reach needs to be asked for twice.
#[test]
fn remote_addresses_need_a_second_word() {
    for address in ["0.0.0.0:1", "[::]:1", "192.168.1.2:1"] {
        let mut args = ServeArgs { http: Some(address.to_owned()), ..ServeArgs::default() };
        let error = merge(&args, &[], None).unwrap_err().to_string();
        assert!(error.contains("--insecure-allow-remote"), "{error}");
        args.insecure_allow_remote = true;
        assert!(merge(&args, &[], None).is_ok());
    }
    let args = ServeArgs { http: Some("127.9.9.9:1".to_owned()), ..ServeArgs::default() };
    assert!(merge(&args, &[], None).is_ok());
}

/// The loss window of each mode is said in words.
#[test]
fn the_loss_window_is_said() {
    let none = ServeArgs::default();
    let strict = merge(&none, &[], None).unwrap().loss_window();
    assert!(strict.starts_with("strict") && strict.contains("nothing acknowledged is lost"));
    let file = "[durability]\nmode = 'batched'\ninterval = '250ms'";
    assert!(merge(&none, &[], Some(file)).unwrap().loss_window().contains("250ms"));
}

/// A file without an end is refused, not read until memory ends.
#[cfg(unix)]
#[test]
fn a_file_is_read_up_to_a_bound() {
    let args = ServeArgs { config: Some("/dev/zero".into()), ..ServeArgs::default() };
    let error = Config::load(&args).unwrap_err();
    assert!(error.to_string().contains("is larger than 1048576 bytes"), "{error}");
}
