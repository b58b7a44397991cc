//! README.md and the operator's documents do what they say: every command in them is run, in the order in which it stands
//! there, against a store over HTTP. Each section has a shell of its own; `tests/it/operating` reads the documents,
//! says what a block may be, and runs them.

use nbdgate_s3_server::{Server, Settings};

use crate::process::{args, run};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/operating");

/// Debian's Python has the bindings of libnbd, which one of the sections uses.
const PYTHON: &str = "/usr/bin/python3";

/// Runs a section with a store of its own.
fn section(document: &str, title: &str) {
    let server = Server::start(Settings::default(), 1).expect("a store");
    let [endpoint, key, secret, region] = server.environment().map(|(name, value)| format!("{name}={value}"));
    let program = concat!("NBDGATE=", env!("CARGO_BIN_EXE_nbdgate"));
    run("env", args![endpoint, key, secret, region, program, PYTHON, "-B", SCRIPT, "run", document, title]).ok();
}

/// Makes a test of each section, and one that none is left out.
macro_rules! sections {
    ($document:literal: $($name:ident $title:literal),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                super::section($document, $title);
            }
        )+

        #[test]
        fn no_section_is_left_out() {
            let listed = super::run(super::PYTHON, super::args!["-B", super::SCRIPT, "list", $document]).ok();
            assert_eq!(listed.lines().collect::<Vec<_>>(), [$($title),+], "the sections of {}", $document);
        }
    };
}

mod readme {
    sections! { "README.md":
        start "Start",
        a_tour_of_ten_lines "A tour of ten lines",
        development "Development",
    }
}

mod security {
    sections! { "SECURITY.md":
        who_is_trusted_with_what "Who is trusted with what",
    }
}

mod contributing {
    sections! { "CONTRIBUTING.md":
        build_and_test "Build and test",
        tests "Tests",
    }
}

mod guide {
    sections! { "docs/OPERATING.md":
        create "Create",
        serve "Serve",
        attach "Attach",
        monitor "Monitor",
        upgrade "Upgrade",
        grow "Grow",
        price "Price",
    }
}

mod recovery {
    sections! { "docs/RECOVERY.md":
        snapshots_and_clones "Snapshots and clones",
        back_up "Back up",
        restore "Restore",
        migrate "Migrate",
        fail_over "Fail over",
        recover "Recover",
    }
}

mod reference {
    sections! { "docs/REFERENCE.md":
        serving "Serving",
        disks "Disks",
    }
}

#[test]
fn what_is_wrong_with_a_document_is_noticed() {
    let program = concat!("NBDGATE=", env!("CARGO_BIN_EXE_nbdgate"));
    run("env", args![program, PYTHON, "-B", format!("{SCRIPT}/selftest.py")]).ok();
}

#[test]
fn every_link_leads_somewhere() {
    run(PYTHON, args!["-B", SCRIPT, "links"]).ok();
}
