//! docs/PROTOCOL.md names tests that exist.
//!
//! Absent: tests of other crates, and whether a test holds what its row says.

use std::{collections::BTreeSet, fs, path::Path};

/// Adds every function of every source file below `directory`, as `area::module::function` without `tests`.
fn functions(directory: &Path, path: &[String], found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap().path();
        let mut path = path.to_vec();
        path.push(entry.file_stem().unwrap().to_str().unwrap().to_owned());
        if entry.is_dir() {
            functions(&entry, &path, found);
        } else {
            let module: Vec<_> = path.into_iter().filter(|part| part != "tests").collect();
            let source = fs::read_to_string(&entry).unwrap();
            let names = source.split("#[test]").skip(1).filter_map(|rest| rest.split("fn ").nth(1)?.split('(').next());
            found.extend(names.map(|name| format!("{}::{name}", module.join("::"))));
        }
    }
}

/// Where a test that the table names may be.
const AREAS: [&str; 6] = ["proto", "handshake", "transmission", "scheduler", "export", "gateway"];

#[test]
fn every_test_that_the_protocol_table_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    functions(&root.join("src"), &[], &mut found);
    let found: BTreeSet<&str> = found.iter().map(|name| name.strip_prefix("nbd::").unwrap_or(name)).collect();
    let table = fs::read_to_string(root.join("docs/PROTOCOL.md")).unwrap();
    let named: Vec<_> = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|name| name.split_once("::").is_some_and(|(area, _)| AREAS.contains(&area)))
        .collect();
    assert!(named.len() > 130, "{} names", named.len());
    let missing: Vec<_> = named.into_iter().filter(|name| !found.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
