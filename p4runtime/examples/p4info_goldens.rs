// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compares the P4Info of programs with that of another compiler:
//! `p4info_goldens PROGRAMS OUTPUTS`, folders with `X.p4` and `X.p4.p4info.txtpb`. The order is
//! ignored, as are listed types that are not in use.

use std::collections::BTreeMap;
use std::path::Path;

use adit_p4_frontend::{compile, files::Folders, Options};
use adit_p4runtime::bytes;
use adit_p4runtime::p4info::{p4info, text};
use adit_p4runtime::proto::config::P4Info;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(programs), Some(outputs)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: p4info_goldens PROGRAMS OUTPUTS");
        std::process::exit(2);
    };
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut names: Vec<_> = std::fs::read_dir(&outputs)
        .expect("the second folder can be read")
        .flatten()
        .filter_map(|e| {
            let name = e.file_name().into_string().ok()?;
            Some(name.strip_suffix(".p4info.txtpb")?.to_owned())
        })
        .collect();
    names.sort();
    for name in names {
        let golden = std::fs::read_to_string(format!("{outputs}/{name}.p4info.txtpb"));
        let result = compare(
            &Path::new(&programs).join(&name),
            &golden.unwrap_or_default(),
        );
        let class = result.split(':').next().unwrap_or_default().to_owned();
        println!("{name}: {result}");
        *counts.entry(class).or_default() += 1;
    }
    for (class, count) in counts {
        println!("== {count} {class}");
    }
}

fn compare(program: &Path, golden: &str) -> String {
    let Ok(source) = std::fs::read_to_string(program) else {
        return "no program".into();
    };
    let golden = match text::from_text(golden) {
        Ok(golden) => golden,
        Err(error) => return format!("unreadable golden: {error}"),
    };
    let arch = golden.pkg_info.as_ref().map_or("", |p| &p.arch);
    if !matches!(arch, "v1model" | "pna") {
        return format!("other architecture ({arch})");
    }
    let includes = Folders(program.parent().into_iter().map(Into::into).collect());
    let compiled = compile(
        &program.to_string_lossy(),
        &source,
        &includes,
        &Options::default(),
    );
    let Some(program) = compiled.program else {
        let said = compiled.diagnostics.render(&compiled.sources);
        return format!("not compiled: {}", said.lines().next().unwrap_or_default());
    };
    let ours = match p4info(&program) {
        Ok(info) => info.p4info,
        Err(error) => return format!("no P4Info: {error}"),
    };
    let (ours, golden) = (lines(ours), lines(golden));
    for (a, b) in ours.iter().zip(&golden) {
        if a != b {
            return format!("different: {} | {}", a.0, first_difference(&a.1, &b.1));
        }
    }
    "equal".into()
}

fn first_difference(a: &str, b: &str) -> String {
    let missing: Vec<&str> = b.lines().filter(|l| !a.contains(l)).take(3).collect();
    let extra: Vec<&str> = a.lines().filter(|l| !b.contains(l)).take(3).collect();
    format!("wanted {missing:?}, made {extra:?}")
}

/// Returns the parts of P4Info in a fixed order.
fn lines(mut info: P4Info) -> Vec<(&'static str, String)> {
    macro_rules! sorted {
        ($($field:ident),*) => {
            vec![$((stringify!($field), {
                info.$field.sort_by_key(|e| e.preamble.as_ref().map(|p| p.id));
                format!("{:#?}", info.$field)
            })),*]
        };
    }
    for profile in &mut info.action_profiles {
        profile.table_ids.sort_unstable();
    }
    for table in &mut info.tables {
        table.direct_resource_ids.sort_unstable();
        let default = table.initial_default_action.iter_mut();
        for argument in default.flat_map(|d| &mut d.arguments) {
            argument.value = bytes::shortest(&argument.value).to_vec();
        }
    }
    let mut parts = sorted!(
        tables,
        actions,
        action_profiles,
        counters,
        direct_counters,
        meters,
        direct_meters,
        controller_packet_metadata,
        value_sets,
        registers,
        digests
    );
    parts.push(("pkg_info", format!("{:#?}", info.pkg_info)));
    let types = info.type_info.unwrap_or_default();
    let newtypes: BTreeMap<_, _> = types.new_types.into_iter().collect();
    parts.push(("new_types", format!("{newtypes:#?}")));
    parts
}
