// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Build options of public repositories' programs: the macros and include folders that their
//! makefiles and build files pass to the compiler.

use std::path::Path;

/// One way in which a program is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Build {
    /// The program's architecture, where its source does not determine it.
    pub(super) architecture: Option<&'static str>,
    pub(super) defines: &'static [&'static str],
    /// Folders below the checkout that are searched for included files.
    pub(super) include: &'static [&'static str],
}

/// A build without options.
const PLAIN: Build = Build {
    architecture: None,
    defines: &[],
    include: &[],
};

/// The builds of one file, or of all files below a folder. Files without any are not programs: they
/// are included by others, or a compiler must refuse them.
struct Rule {
    repository: &'static str,
    path: &'static str,
    builds: &'static [Build],
}

const fn rule(repository: &'static str, path: &'static str, builds: &'static [Build]) -> Rule {
    Rule {
        repository,
        path,
        builds,
    }
}

const fn with(defines: &'static [&'static str]) -> Build {
    Build { defines, ..PLAIN }
}

/// The targets p4c-bmv2 and p4c-dpdk-pna of dash-pipeline/Makefile.
const DASH: &[Build] = &[
    Build {
        architecture: Some("v1model"),
        ..with(&["TARGET_BMV2_V1MODEL"])
    },
    Build {
        architecture: Some("pna"),
        ..with(&[
            "TARGET_DPDK_PNA",
            "PNA_CONNTRACK",
            "DISABLE_128BIT_ARITHMETIC",
        ])
    },
];

const RULES: &[Rule] = &[
    // Compiler output for the samples, and programs that the compiler must refuse.
    rule("p4lang/p4c", "testdata/p4_16_samples_outputs", &[]),
    rule("p4lang/p4c", "testdata/p4_16_errors", &[]),
    rule("p4lang/p4c", "testdata/p4_16_bmv_errors", &[]),
    rule("p4lang/p4c", "testdata/p4_16_pna_errors", &[]),
    rule(
        "sonic-net/DASH",
        "dash-pipeline/bmv2/dash_pipeline.p4",
        DASH,
    ),
    rule("sonic-net/DASH", "dash-pipeline/bmv2", &[]),
    // Parts of programs that are combined by #include, according to the repository's own README and
    // scripts: dash_pipeline.p4 includes them, as do the name annotations' programs.
    rule(
        "jafingerhut/p4-guide",
        "ipdk/dash_pipeline/dash_pipeline.p4",
        DASH,
    ),
    rule(
        "jafingerhut/p4-guide",
        "ipdk/dash_experiment1/dash_pipeline.p4",
        DASH,
    ),
    rule("jafingerhut/p4-guide", "ipdk/dash_pipeline", &[]),
    rule("jafingerhut/p4-guide", "ipdk/dash_experiment1", &[]),
    rule(
        "jafingerhut/p4-guide",
        "name-annotations/v1model/after-ingress.p4",
        &[],
    ),
    rule(
        "jafingerhut/p4-guide",
        "name-annotations/v1model/after-parser.p4",
        &[],
    ),
    // Its included files are in the parent folder.
    rule(
        "sonic-net/sonic-pins",
        "sai_p4/instantiations/google/tests/testdata",
        &[Build {
            include: &["sai_p4/instantiations/google"],
            ..PLAIN
        }],
    ),
    // sai_p4/instantiations/google/BUILD.bazel: p4_library, alone and for each platform.
    rule(
        "sonic-net/sonic-pins",
        "sai_p4/instantiations/google",
        &[
            PLAIN,
            with(&["PLATFORM_BMV2"]),
            with(&["PLATFORM_P4SYMBOLIC"]),
        ],
    ),
    // Makefile: the profiles of p4src/v1model/build.sh.
    rule(
        "stratum/fabric-tna",
        "p4src/v1model",
        &[
            Build {
                include: &["p4src"],
                ..with(&["WITH_INT"])
            },
            Build {
                include: &["p4src"],
                ..with(&["WITH_UPF"])
            },
            Build {
                include: &["p4src"],
                ..with(&["WITH_UPF", "WITH_INT"])
            },
        ],
    ),
];

/// Returns the repository of a checkout, by the name of its folder.
pub(super) fn name(folder: &Path) -> String {
    let name = folder.file_name().map(|n| n.to_string_lossy());
    name.map_or_else(String::new, |name| name.replacen('+', "/", 1))
}

/// Returns the builds of a file of a repository.
pub(super) fn builds(repository: &str, file: &Path) -> &'static [Build] {
    let mut rules = RULES.iter();
    let rule = rules.find(|r| r.repository == repository && file.starts_with(r.path));
    rule.map_or(&[PLAIN], |rule| rule.builds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makefiles_say_how_programs_are_built() {
        let main = Path::new("dash-pipeline/bmv2/dash_pipeline.p4");
        assert_eq!(builds("sonic-net/DASH", main).len(), 2);
        let part = Path::new("dash-pipeline/bmv2/underlay.p4");
        assert_eq!(builds("sonic-net/DASH", part), []);
        assert_eq!(builds("somebody/else", main), [PLAIN]);
        assert_eq!(name(Path::new("x/p4lang+p4c")), "p4lang/p4c");
    }
}
