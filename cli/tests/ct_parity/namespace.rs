// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A network namespace in which the kernel tracks connections.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Output, Stdio};

use adit_conntrack_oracle::feed;

/// The variable with which this program serves scripts instead of tests.
const SERVES: &str = "ADIT_CT_PARITY_SERVES";

/// The commands in the namespace before connections are tracked: files of labels are possible, for this
/// program as well. The first argument is the folder that has the file, the second one this program.
const PREPARE: &str = "mount -t overlay overlay -o lowerdir=$0/etc:/etc /etc && \
                       mount --bind $0/xtables /etc/xtables && exec \"$1\"";
/// The commands after that: counters, dates and labels are kept.
const SETTINGS: &str = "echo 1 >/proc/sys/net/netfilter/nf_conntrack_acct && \
                        echo 1 >/proc/sys/net/netfilter/nf_conntrack_timestamp && \
                        nft 'add table ip labels; \
                             add chain ip labels seen { type filter hook prerouting priority 300; }; \
                             add rule ip labels seen ct mark 4294967295 ct label set 127'";

/// The process that feeds the kernel of a namespace, which ends with it.
pub(crate) struct Namespace {
    keeper: Child,
    scripts: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// The files that only the namespace has.
    files: tempfile::TempDir,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.scripts.take());
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Serves scripts, if this process is the one of a namespace.
pub(crate) fn serve() -> Option<ExitCode> {
    std::env::var_os(SERVES)?;
    Some(match feed::serve(Path::new("nft")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

impl Namespace {
    /// Creates one in which conntrack(8) works, with counters, dates and labels.
    pub(crate) fn new() -> Result<Self, String> {
        let files = tempfile::tempdir().map_err(|error| error.to_string())?;
        for folder in ["etc/xtables", "xtables"] {
            let made = std::fs::create_dir_all(files.path().join(folder));
            made.map_err(|error| error.to_string())?;
        }
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let keeper = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", PREPARE])
            .args([files.path(), &this])
            .env(SERVES, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut keeper = keeper.map_err(|error| format!("unshare: {error}"))?;
        let scripts = keeper.stdin.take();
        let answers = keeper.stdout.take().ok_or("unshare has no output")?;
        let mut namespace = Namespace {
            keeper,
            scripts,
            answers: BufReader::new(answers),
            files,
        };
        namespace.wait()?;
        for words in [&["conntrack", "-C"][..], &["sh", "-c", SETTINGS]] {
            let output = namespace.command(words).output();
            let output = output.map_err(|error| error.to_string())?;
            if !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(format!("`{}` fails: {}", words.join(" "), why.trim()));
            }
        }
        Ok(namespace)
    }

    fn wait(&mut self) -> Result<(), String> {
        let mut answer = String::new();
        let read = self.answers.read_line(&mut answer);
        match read {
            Ok(_) if answer.trim_end() == feed::READY => Ok(()),
            _ => Err("the process that feeds the kernel has ended".to_owned()),
        }
    }

    /// Feeds the kernel with a script.
    pub(crate) fn feed(&mut self, script: &str) -> Result<(), String> {
        let scripts = self.scripts.as_mut().ok_or("the process has ended")?;
        feed::send(script, scripts).map_err(|error| error.to_string())?;
        self.wait()
    }

    /// A command in the namespace.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.entering(&["--net"], words)
    }

    /// A command that has the namespace's files, but not its network.
    pub(crate) fn command_outside(&self, words: &[&str]) -> Command {
        self.entering(&[], words)
    }

    fn entering(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--user", "--mount", "--preserve-credentials"])
            .args(options)
            .args(["--target", &self.keeper.id().to_string()])
            .args(words);
        command
    }

    /// The output of a command that ends soon.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let words = [&["timeout", "10"], words].concat();
        self.command(&words).output().expect("nsenter starts")
    }

    /// Writes the file of labels' names.
    pub(crate) fn name_labels(&self, text: &str) {
        let path = self.files.path().join("xtables/connlabel.conf");
        std::fs::write(path, text).expect("the folder is there");
    }
}
