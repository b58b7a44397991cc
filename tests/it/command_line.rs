//! What is made from the command line: completions that a real shell completes with, manual pages that a real man reads.

use std::fs;

use crate::process::{args, nbdgate, run};

/// Types a line into bash and presses the tabulator: bash calls the function that the script registered.
const COMPLETE: &str = r#"
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
read -ra COMP_WORDS <<<"$2"
[[ $2 != *' ' ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
complete -p nbdgate >/dev/null
_nbdgate nbdgate "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
echo "${COMPREPLY[@]}"
"#;

#[test]
fn bash_completes_commands_and_flags() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("nbdgate.bash");
    fs::write(&script, nbdgate(args!["completions", "bash"]).ok()).expect("written");
    for (typed, completed) in [
        ("nbdgate se", &["serve"][..]),
        ("nbdgate disk sn", &["snapshot"]),
        ("nbdgate disk snapshot ", &["create", "list", "rm"]),
        ("nbdgate serve --io-en", &["--io-engine"]),
        ("nbdgate serve --io-engine ", &["auto", "uring", "epoll"]),
        ("nbdgate completions f", &["fish"]),
    ] {
        let offered = run("bash", args!["--norc", "-c", COMPLETE, "bash", script, typed]).ok();
        for word in completed {
            assert!(offered.split_whitespace().any(|have| have == *word), "{typed:?}: {word} is not among {offered}");
        }
        assert!(!offered.contains("rollback"), "{typed:?}: {offered}");
    }
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "elvish"] {
        let script = nbdgate(args!["completions", shell]).ok();
        assert!(script.contains("snapshot") && script.contains("io-engine"), "{shell}");
    }
    assert_eq!(nbdgate(args!["completions", "csh"]).code, Some(2));
}

#[test]
fn man_reads_every_page_without_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man/man1");
    nbdgate(args!["man", pages]).ok();
    let names: Vec<_> = fs::read_dir(&pages).expect("pages").map(|page| page.expect("a page").path()).collect();
    let has = |name: &str| names.iter().any(|page| page.ends_with(name));
    assert!(has("nbdgate.1") && has("nbdgate-serve.1") && has("nbdgate-disk-snapshot-create.1"), "{names:?}");
    for page in &names {
        let read = run("man", args!["--warnings", "--encoding=UTF-8", "--local-file", page]);
        assert_eq!(read.stderr, "", "{}", page.display());
        let name = page.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(read.ok().contains(&format!("{name}(1)")), "{name}");
    }
    // Wide enough that no line is broken between the words that are looked for.
    let serve = run("env", args!["MANWIDTH=1000", "man", "--local-file", pages.join("nbdgate-serve.1")]).ok();
    assert!(serve.contains("--listen <ADDRESS>") && serve.contains("systemd or systemd:NAME"), "{serve}");
    let place = folder.path().join("file");
    fs::write(&place, "").expect("written");
    let refused = nbdgate(args!["man", place.join("below")]);
    assert!(refused.code == Some(1) && refused.stderr.contains("cannot write manual pages into"), "{refused}");
}
