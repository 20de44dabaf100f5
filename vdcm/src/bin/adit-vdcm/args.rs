// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The arguments of the command line.

use std::path::PathBuf;

use adit_vdcm::control::message::DEFAULT_SOCKET;
use clap::Parser;

/// Composes virtual IDPF functions out of ADIs, and serves each to a VM or a container over
/// vfio-user. `adit vdev` creates and destroys them.
#[derive(Debug, Parser)]
#[command(name = "adit-vdcm", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Path of the control socket, for `adit vdev`
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) control: PathBuf,

    /// Configuration: devices, limits, permissions of sockets
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Folder for the sockets of devices, instead of the configuration's [default: that of the
    /// control socket]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) sockets: Option<PathBuf>,

    /// Run the daemon in a second process, and keep the devices' sockets, their clients' connections
    /// and TAP devices in this one. If the daemon dies, it is restarted with the same devices:
    /// their drivers see a reset, and recover. SIGHUP replaces it by a new one of the same program
    /// file, which reads the configuration: their drivers notice nothing, and if the new one fails,
    /// the old one goes on. ADIs over VFIO stay open meanwhile
    #[arg(long)]
    pub(crate) keeper: bool,

    /// Run the daemon for the keeper whose socket is the standard input
    #[arg(long, hide = true)]
    pub(crate) worker: bool,

    #[cfg(feature = "embedded")]
    #[command(flatten)]
    pub(crate) embedded: Embedded,
}

// A doc comment would replace the description of the command.
#[cfg(feature = "embedded")]
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Embedded {
    /// Run a NIC model in this process, and make ADIs of it, instead of using ADIs over VFIO
    #[arg(long)]
    pub(crate) embedded: bool,

    #[command(flatten, next_help_heading = "Options of the embedded NIC")]
    pub(crate) nic: adit_nic::cli::NicArgs,
}

impl Args {
    /// Parses the arguments of the process; exits if they are wrong.
    pub(crate) fn of_process() -> Self {
        Self::of_words(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    #[cfg(not(feature = "embedded"))]
    fn of_words<T: Into<std::ffi::OsString> + Clone>(
        words: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        Self::try_parse_from(words)
    }

    /// Parses arguments. Options of an embedded NIC without one are an error, not ignored.
    #[cfg(feature = "embedded")]
    fn of_words<T: Into<std::ffi::OsString> + Clone>(
        words: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        use clap::parser::ValueSource;
        use clap::{error::ErrorKind, Args as _, CommandFactory, FromArgMatches};

        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(words)?;
        let args = Self::from_arg_matches(&matches)?;
        let options = adit_nic::cli::NicArgs::augment_args(clap::Command::new("nic"));
        let mut options = options.get_arguments();
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        match options.find(|option| given(option.get_id().as_str())) {
            Some(option) if !args.embedded.embedded => {
                let name = option.get_long().unwrap_or_default();
                let text = format!("--{name} is an option of the embedded NIC: add --embedded");
                Err(command.error(ErrorKind::MissingRequiredArgument, text))
            }
            _ => Ok(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Args::command().debug_assert();
        let about = Args::command().get_about().unwrap().to_string();
        assert!(about.starts_with("Composes virtual IDPF"), "{about}");
    }
    #[cfg(feature = "embedded")]
    #[test]
    fn options_of_a_nic_need_one() {
        let parse = |words: &str| Args::of_words(words.split(' '));
        parse("adit-vdcm --control /x").unwrap();
        let args = parse("adit-vdcm --embedded --wire none --wire none").unwrap();
        assert_eq!(args.embedded.nic.wires.len(), 2);
        assert!(parse("adit-vdcm --keeper").unwrap().keeper);
        for option in ["--wire none", "--p4 x", "--p4rt"] {
            let error = parse(&format!("adit-vdcm {option}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains("add --embedded"), "{error}");
        }
    }
}
