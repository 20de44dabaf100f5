// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

fn read(text: &str) -> Result<Config, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Config::read(file.path())
}

/// The error with its causes, without the path.
fn refusal(text: &str) -> String {
    let error = anyhow_text(&read(text).unwrap_err());
    error.replace('\n', " ")
}

fn anyhow_text(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", anyhow_text(source)),
        None => error.to_string(),
    }
}

#[test]
fn nothing_is_the_default() {
    let config = read("").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.control.permissions().mode, Some(0o600));
    assert_eq!(config.control.access(), Access::default());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.max_devices, DEFAULT_DEVICES);
}

#[test]
fn all_of_it_is_taken() {
    let config = read(
        r#"
        max_devices = 3
        [control]
        mode = "0666"
        group = "root"
        users = [7, "root"]
        groups = [9]
        [sockets]
        folder = "/run/x"
        group = 12
        [limits]
        windows = 5
        [[device]]
        name = "a"
        adis = ["adi0", "adi1"]
        mac = "02:00:00:00:00:07"
        layout = "siov"
        limits = { windows = 6 }
        [[device]]
        name = "b"
        "#,
    )
    .unwrap();
    let control = config.control.permissions();
    assert_eq!((control.mode, control.group), (Some(0o666), Some(0)));
    let access = config.control.access();
    assert_eq!((access.users, access.groups), (vec![7, 0], vec![9, 0]));
    let sockets = config.sockets.permissions();
    assert_eq!((sockets.mode, sockets.group), (Some(0o660), Some(12)));
    assert_eq!(config.max_devices, 3);
    assert_eq!(config.limits.windows, 5);
    let a = &config.devices[0];
    assert_eq!(a.adis, ["adi0", "adi1"]);
    assert_eq!(a.limits.unwrap().windows, 6);
    assert_eq!(config.devices[1].name.as_deref(), Some("b"));
}

#[test]
fn what_is_wrong_is_named() {
    for (text, part) in [
        ("[controls]", "controls"),
        ("[control]\nmode = 660", "string"),
        ("[control]\nmode = \"0999\"", "0660"),
        ("[control]\nmode = \"+660\"", "0660"),
        ("[control]\nmode = \"4755\"", "0777"),
        (
            "[control]\ngroup = \"no-such-group\"",
            "no group `no-such-group`",
        ),
        (
            "[control]\nusers = [\"no-such-user\"]",
            "no user `no-such-user`",
        ),
        ("[control]\nusers = [-1]", "number of a user"),
        ("[control]\nusers = [4294967295]", "number of a user"),
        ("[limits]\nwindow = 1", "window"),
        ("[limits]\nwindows = -1", "-1"),
        ("[[device]]\nname = \"a\"\nadi = \"x\"", "adi"),
        ("[[device]]\nname = \"a\"\nmac = \"1\"", "MAC"),
        ("[[device]]\nadis = []", "number 1"),
        ("[[device]]\nname = \"a\"\n[[device]]\nname = \"a\"", "`a`"),
        ("x =", "line 1"),
    ] {
        let error = refusal(text);
        assert!(error.contains(part), "{text}: {error}");
    }
    let long = "#".repeat(MAX_LEN as usize + 1);
    assert!(matches!(read(&long), Err(ConfigError::TooLong(_))));
    assert!(matches!(
        Config::read(Path::new("/nonexistent/x")),
        Err(ConfigError::Read { .. })
    ));
}

#[test]
fn the_example_of_the_package_is_a_configuration() {
    let example = include_str!("../../systemd/vdcm.toml");
    // What is commented out is an example, too.
    let lines = example
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line));
    let all: Vec<_> = lines.collect();
    for text in [example.to_owned(), all.join("\n")] {
        // Groups of the example need not exist here.
        let text = text.replace("\"adit\"", "0").replace("\"kvm\"", "0");
        read(&text).unwrap();
    }
}
