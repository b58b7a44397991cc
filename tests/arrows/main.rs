//! What docs/ARCHITECTURE.md says of the code, held against the code: who knows whom, where `unsafe` is, how large a
//! file may be.
//!
//! Tests may know more than the code they try: a path that only tests name is no arrow.

mod source;

use std::{collections::BTreeSet, fs};

use self::source::{Source, root, sources};

/// The most lines of a file.
const MAX_LINES: usize = 500;

/// Which paths a module may name besides those inside itself: of the library, and of the workspace's crates. The
/// longest match decides, so `nbd::proto` is not bound by what `nbd` may do, but by its own row.
const KNOWS: [(&str, &[&str]); 15] = [
    ("main", &["cli", "gateway"]),
    ("lib", &[]),
    ("cli", &["config", "cost", "nbdgate_api::Progress", "nbdgate_rocksdb", "nbdgate_s3"]),
    ("cost", &[]),
    ("config", &["export::ExportName", "export::InvalidName", "nbdgate_rocksdb", "nbdgate_s3"]),
    (
        "gateway",
        &[
            "config",
            "export",
            "metrics",
            "nbd",
            "scheduler",
            "status",
            "nbdgate_api",
            "nbdgate_file",
            "nbdgate_io",
            "nbdgate_memory",
            "nbdgate_rocksdb",
            "nbdgate_s3",
        ],
    ),
    ("nbd", &[]),
    ("nbd::proto", &["nbdgate_api"]),
    ("nbd::handshake", &["nbd::proto", "export", "nbdgate_api"]),
    ("nbd::transmission", &["nbd::proto", "export", "scheduler", "metrics", "nbdgate_api", "nbdgate_io::Buffer"]),
    ("export", &["scheduler", "metrics", "nbdgate_api"]),
    ("scheduler", &["nbdgate_api"]),
    ("scheduler::plan", &["scheduler::emulate::zeros", "nbdgate_api"]),
    ("status", &["cost", "export", "metrics", "nbdgate_api", "nbdgate_rocksdb", "nbdgate_s3"]),
    ("metrics", &["scheduler::Meters", "nbdgate_api", "nbdgate_rocksdb", "nbdgate_s3"]),
];

/// Which of the workspace's crates a crate may be built from.
const CRATES: [(&str, &[&str]); 13] = [
    ("backends/api", &[]),
    ("backends/io", &["nbdgate-api"]),
    ("backends/file", &["nbdgate-api", "nbdgate-io"]),
    ("backends/layers", &["nbdgate-api"]),
    ("backends/memory", &["nbdgate-api"]),
    ("backends/rocksdb", &["nbdgate-api", "nbdgate-io"]),
    ("backends/s3", &["nbdgate-api"]),
    ("benches/instructions", &["nbdgate-api", "nbdgate-file", "nbdgate-io", "nbdgate-memory"]),
    ("benches/limit", &[]),
    ("benches/load", &[]),
    ("benches/object-tool", &["nbdgate-api", "nbdgate-s3"]),
    ("tests/ownership-model", &[]),
    ("tests/s3-server", &[]),
];

/// Modules without I/O, async, threads and clocks, and the words that would bring them.
const PURE: [&str; 2] = ["nbd::proto", "scheduler::plan"];
const IMPURE: [&str; 12] = [
    "tokio",
    "async",
    "await",
    "Future",
    "Instant",
    "SystemTime",
    "TcpStream",
    "UnixStream",
    "File",
    "Mutex",
    "spawn",
    "sleep",
];

/// Where the workspace's Rust lies.
const FOLDERS: [&str; 4] = ["src", "backends", "benches", "tests"];

fn everything() -> impl Iterator<Item = Source> {
    FOLDERS.into_iter().flat_map(sources)
}

/// The row of [`KNOWS`] for a module.
fn row(module: &str) -> Option<(&'static str, &'static [&'static str])> {
    KNOWS.into_iter().filter(|(name, _)| is_within(module, name)).max_by_key(|(name, _)| name.len())
}

fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The paths of `source` that its module may not name.
fn forbidden(source: &Source) -> Vec<String> {
    let module = source.module().join("::");
    let module = if module.is_empty() { "lib" } else { &module };
    let Some((name, known)) = row(module) else { return vec![format!("{module} has no row in KNOWS")] };
    let own = [name];
    let roots: BTreeSet<_> = KNOWS.iter().map(|(name, _)| name.split("::").next().expect("a name")).collect();
    let names = source.paths().into_iter().filter(|path| {
        path.first().is_some_and(|first| first.starts_with("nbdgate_") || roots.contains(first.as_str()))
    });
    names
        .map(|path| path.join("::"))
        .filter(|path| !known.iter().chain(&own).any(|allowed| is_within(path, allowed)))
        .map(|path| format!("{} names {path}", source.path))
        .collect()
}

#[test]
fn knowledge_flows_along_the_arrows() {
    let wrong: Vec<_> = sources("src").iter().filter(|source| !source.is_test()).flat_map(forbidden).collect();
    assert!(wrong.is_empty(), "against docs/ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn crates_are_built_from_those_below_them_only() {
    for (folder, known) in CRATES {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a crate has a manifest");
        let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
        let Some(dependencies) = manifest.get("dependencies").and_then(toml::Value::as_table) else { continue };
        for name in dependencies.keys() {
            let allowed = !name.starts_with("nbdgate-") || known.contains(&name.as_str());
            assert!(allowed, "{folder} depends on {name}");
            assert!(name != "tokio-uring" || folder == "backends/io", "{folder} names tokio-uring");
        }
    }
    let folders = fs::read_dir(root().join("backends")).expect("backends can be listed").count();
    assert_eq!(
        folders,
        CRATES.iter().filter(|(folder, _)| folder.starts_with("backends/")).count(),
        "a crate has no row"
    );
}

#[test]
fn the_protocol_and_the_plan_are_pure() {
    let mut seen = BTreeSet::new();
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        let module = source.module().join("::");
        let Some(pure) = PURE.into_iter().find(|pure| is_within(&module, pure)) else { continue };
        seen.insert(pure);
        for word in source.identifiers() {
            assert!(!IMPURE.contains(&word.as_str()), "{} says {word}, but {pure} is pure", source.path);
        }
    }
    assert_eq!(seen.len(), PURE.len(), "a pure module is gone");
}

#[test]
fn unsafe_code_is_where_the_architecture_says() {
    let document = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("the document can be read");
    let (_, list) = document.split_once("- No unsafe code outside").expect("the document has the list");
    let list = list.split("\n- ").next().expect("a list has an end");
    let told: BTreeSet<_> = list.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let unsafe_files = everything().filter(|source| source.identifiers().iter().any(|word| word == "unsafe"));
    let found: BTreeSet<_> = unsafe_files.map(|source| source.path).collect();
    assert_eq!(found, told, "files with unsafe code, and those that docs/ARCHITECTURE.md lists");
}

#[test]
fn files_have_one_idea_and_few_lines() {
    let long: Vec<_> = everything().filter(|source| source.lines > MAX_LINES).collect();
    let told: Vec<_> = long.iter().map(|source| format!("{}: {}", source.path, source.lines)).collect();
    assert!(told.is_empty(), "more than {MAX_LINES} lines:\n{}", told.join("\n"));
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<_> =
        everything().filter(|source| !source.is_test() && !source.opens_with_doc()).map(|source| source.path).collect();
    assert!(silent.is_empty(), "without a //! at their top:\n{}", silent.join("\n"));
}

#[test]
fn paths_are_found_wherever_they_are_written() {
    let text = r#"
        //! Of crate::comment nothing is known.
        use std::fmt;
        use crate::{a::{self, b}, c};
        use super::{super::d, self::e};
        mod inner { use super::f; #[cfg(test)] mod tests { use crate::g; } }
        #[cfg(test)]
        use crate::h;
        pub(crate) fn i() { log!("crate::text", nbdgate_api::J); crate::k::<u8>(); outer::self_::l(); }
    "#;
    let tokens = text.parse().expect("it is Rust");
    let source = Source { path: "src/export/name.rs".to_owned(), lines: 0, tokens };
    let found: BTreeSet<_> = source.paths().iter().map(|path| path.join("::")).collect();
    let expected = ["", "a", "a::b", "c", "d", "export::e", "export::name::f", "k", "nbdgate_api::J"];
    assert_eq!(found, expected.into_iter().map(str::to_owned).collect());
}
