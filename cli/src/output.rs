// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tables, JSON and the manual page.

use std::io::{self, Write};

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

/// The output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns, or lines of `name: value`
    #[default]
    Table,
    /// One JSON value (`watch`: one per line)
    Json,
}

/// A record that can be a row of a table.
pub(crate) trait Row: Serialize {
    /// The headings of the columns.
    const HEAD: &'static [&'static str];

    /// Returns a text for each column, of one or more lines.
    fn cells(&self) -> Vec<String>;
}

/// Prints records: a table, or a JSON array.
pub(crate) fn print_all<R: Row>(rows: &[R], format: Format) -> Result<()> {
    match format {
        Format::Json => print_json(&rows),
        Format::Table => write_table(&mut io::stdout().lock(), rows),
    }
}

/// Prints one record: a line for each column, or a JSON object.
pub(crate) fn print_one<R: Row>(row: &R, format: Format) -> Result<()> {
    match format {
        Format::Json => print_json(row),
        Format::Table => {
            let mut out = io::stdout().lock();
            let width = R::HEAD.iter().map(|head| head.len()).max().unwrap_or(0);
            for (head, cell) in R::HEAD.iter().zip(row.cells()) {
                writeln!(out, "{:>width$}: {cell}", head.to_lowercase())?;
            }
            Ok(())
        }
    }
}

/// Prints a JSON value on lines of its own.
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

fn write_table<R: Row>(out: &mut impl Write, rows: &[R]) -> Result<()> {
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    let widths: Vec<usize> = R::HEAD
        .iter()
        .enumerate()
        .map(|(column, head)| {
            let column = cells.iter().filter_map(|row| row.get(column));
            let lines = column.flat_map(|cell| cell.lines());
            let longest = lines.map(|line| line.chars().count());
            longest.chain([head.len()]).max().unwrap_or(0)
        })
        .collect();
    let mut line = |row: &mut dyn Iterator<Item = &str>| -> Result<()> {
        let mut text = String::new();
        for (cell, width) in row.zip(&widths) {
            text.push_str(&format!("{cell:width$}  "));
        }
        writeln!(out, "{}", text.trim_end())?;
        Ok(())
    };
    line(&mut R::HEAD.iter().copied())?;
    for row in &cells {
        let height = row.iter().map(|cell| cell.lines().count()).max();
        for n in 0..height.unwrap_or(0).max(1) {
            line(
                &mut row
                    .iter()
                    .map(|cell| cell.lines().nth(n).unwrap_or_default()),
            )?;
        }
    }
    Ok(())
}

/// Prints the manual page of all commands.
pub(crate) fn man_page(mut command: clap::Command) -> Result<()> {
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands() {
        man_sections(sub, &mut page)?;
    }
    io::stdout().lock().write_all(&page)?;
    Ok(())
}

/// Writes the sections of a command, or of its subcommands.
fn man_sections(command: &clap::Command, page: &mut Vec<u8>) -> Result<()> {
    let man = clap_mangen::Man::new(command.clone());
    let name = command.get_bin_name().unwrap_or(command.get_name());
    if command.get_name() == "help" {
        return Ok(());
    }
    if command.has_subcommands() {
        if command.get_long_about().is_some() {
            writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
            man.render_description_section(page)?;
        }
        let mut all = command.get_subcommands();
        return all.try_for_each(|sub| man_sections(sub, page));
    }
    writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if let Some(text) = command.get_after_long_help() {
        preformatted(&text.to_string(), page)?;
    }
    Ok(())
}

/// Writes lines as they are.
fn preformatted(text: &str, page: &mut Vec<u8>) -> Result<()> {
    writeln!(page, ".nf")?;
    for line in text.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        // A line that begins with a dot or an apostrophe would be a request.
        let guard = if line.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        writeln!(page, "{guard}{line}")?;
    }
    writeln!(page, ".fi")?;
    Ok(())
}

/// Returns whether printing failed because the reader closed the pipe (`adit adi list | head -1`).
pub(crate) fn reader_is_gone(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let json = cause.downcast_ref::<serde_json::Error>();
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        io.or_else(|| json?.io_error_kind())
    };
    error
        .chain()
        .any(|it| kind(it) == Some(io::ErrorKind::BrokenPipe))
}

/// Formats a count: `1 packet`, `2 packets`.
pub(crate) fn counted(count: impl Into<u64>, thing: &str) -> String {
    match count.into() {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pair(&'static str, u32);

    impl Row for Pair {
        const HEAD: &'static [&'static str] = &["NAME", "N"];
        fn cells(&self) -> Vec<String> {
            vec![self.0.into(), self.1.to_string()]
        }
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut out = Vec::new();
        write_table(&mut out, &[Pair("a", 1), Pair("longer", 23)]).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME    N\na       1\nlonger  23\n"
        );
    }

    #[test]
    fn lines_of_a_manual_page_are_no_requests() {
        let mut page = Vec::new();
        preformatted("a  -b\n.c\n'd \\", &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert_eq!(page, ".nf\na  \\-b\n\\&.c\n\\&'d \\e\n.fi\n");
    }

    #[test]
    fn one_is_no_plural() {
        let texts = [0_u64, 1, 2].map(|count| counted(count, "packet"));
        assert_eq!(texts, ["0 packets", "1 packet", "2 packets"]);
    }

    #[test]
    fn a_reader_that_is_gone_is_known_whoever_was_writing() {
        /// A pipe without a reader.
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let json = serde_json::to_writer(Closed, &1).unwrap_err();
        assert!(reader_is_gone(&json.into()));
        let table = write_table(&mut Closed, &[Pair("a", 1)]).unwrap_err();
        assert!(reader_is_gone(&table.context("printing")));
        assert!(!reader_is_gone(&anyhow::anyhow!("something else")));
    }

    #[test]
    fn cells_have_lines() {
        let mut out = Vec::new();
        write_table(&mut out, &[Pair("one\nthree", 1), Pair("", 2)]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "NAME   N\none    1\nthree\n       2\n");
    }
}
