// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Options for the handling of warnings about a program.

use adit_p4_frontend::warnings::{Action, Actions, Warning};
use anyhow::{bail, Result};
use clap::Args;

/// The handling of warnings. Their names are in brackets after `warning`.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Warnings {
    /// Enable a kind of warning (NAME), disable it (no-NAME), or make it (error=NAME) or every kind
    /// (error) an error (repeatable)
    #[arg(short = 'W', value_name = "[no-|error=]NAME")]
    each: Vec<String>,
    /// Disable this kind of warning, or every kind
    #[arg(long = "Wdisable", value_name = "NAME", num_args = 0..=1, require_equals = true,
          default_missing_value = "", hide_short_help = true)]
    disable: Vec<String>,
    /// Enable this kind of warning, or every kind
    #[arg(long = "Wwarn", value_name = "NAME", num_args = 0..=1, require_equals = true,
          default_missing_value = "", hide_short_help = true)]
    warn: Vec<String>,
    /// Make this kind of warning, or every kind, an error
    #[arg(long = "Werror", value_name = "NAME", num_args = 0..=1, require_equals = true,
          default_missing_value = "", hide_short_help = true)]
    error: Vec<String>,
}

impl Warnings {
    /// Returns the action for each kind: an option for one kind takes precedence over one for all.
    pub(super) fn actions(&self) -> Result<Actions> {
        let long = [
            (Action::Disable, &self.disable),
            (Action::Warn, &self.warn),
            (Action::Error, &self.error),
        ];
        let mut said: Vec<(Action, &str)> = Vec::new();
        for (action, names) in long {
            said.extend(names.iter().map(|name| (action, name.as_str())));
        }
        said.extend(self.each.iter().map(|text| match text.as_str() {
            "error" => (Action::Error, ""),
            "all" => (Action::Warn, ""),
            other => match (other.strip_prefix("no-"), other.strip_prefix("error=")) {
                (Some(name), _) => (Action::Disable, name),
                (None, Some(name)) => (Action::Error, name),
                (None, None) => (Action::Warn, other),
            },
        }));
        let mut actions = Actions::default();
        for (action, _) in said.iter().filter(|(_, name)| name.is_empty()) {
            actions.set_all(*action);
        }
        for (action, name) in said.iter().filter(|(_, name)| !name.is_empty()) {
            let Some(warning) = Warning::from_name(name) else {
                let names: Vec<_> = Warning::ALL.iter().map(|w| w.name()).collect();
                bail!(
                    "there is no warning `{name}`: there are {}",
                    names.join(", ")
                );
            };
            actions.set(warning, *action);
        }
        Ok(actions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        warnings: Warnings,
    }

    fn actions(arguments: &[&str]) -> Result<Actions> {
        let all = ["adit"].iter().chain(arguments);
        Command::try_parse_from(all).unwrap().warnings.actions()
    }

    #[test]
    fn options_are_those_of_compilers() {
        let plain = Actions::default();
        assert_eq!(actions(&[]).unwrap(), plain);
        for disable in ["-Wno-unused", "--Wdisable=unused"] {
            let actions = actions(&[disable]).unwrap();
            assert_eq!(actions.of(Warning::Unused), Action::Disable, "{disable}");
            assert_eq!(actions.of(Warning::Overflow), Action::Warn);
        }
        for error in ["-Werror=overflow", "--Werror=overflow"] {
            let actions = actions(&[error]).unwrap();
            assert_eq!(actions.of(Warning::Overflow), Action::Error, "{error}");
            assert_eq!(actions.of(Warning::Unused), Action::Warn);
        }
        let all = actions(&["-Wno-unused", "-Werror"]).unwrap();
        assert_eq!(all.of(Warning::Unused), Action::Disable);
        assert_eq!(all.of(Warning::Overflow), Action::Error);
        let none = actions(&["--Wdisable", "--Wwarn=cpp"]).unwrap();
        assert_eq!(none.of(Warning::Unused), Action::Disable);
        assert_eq!(none.of(Warning::Preprocessor), Action::Warn);
        let wrong = actions(&["-Wno-such"]).unwrap_err().to_string();
        assert!(
            wrong.contains("`such`") && wrong.contains("unused"),
            "{wrong}"
        );
    }
}
