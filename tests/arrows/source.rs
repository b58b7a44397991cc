//! Source files as token trees: what is said in comments and strings counts for nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A file of the workspace.
pub(crate) struct Source {
    /// From the root of the workspace.
    pub(crate) path: String,
    pub(crate) lines: usize,
    pub(crate) tokens: TokenStream,
}

/// Folders that are built, or none of ours.
const SKIPPED: [&str; 3] = ["target", ".git", "corpus"];

/// Where the workspace lies.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, which is told from the root, in the order of their paths.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    find(&root().join(folder), &mut paths);
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace can be read") {
        let path = entry.expect("a folder of the workspace can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names of files are UTF-8");
        if path.is_dir() && !SKIPPED.contains(&name) {
            find(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> Source {
    let text = fs::read_to_string(path).expect("a source file can be read");
    let path = path.strip_prefix(root()).expect("found below the root").to_str().expect("names are UTF-8").to_owned();
    let tokens = text.parse().unwrap_or_else(|error| panic!("{path} is not Rust: {error}"));
    Source { path, lines: text.lines().count(), tokens }
}

impl Source {
    /// Whether it holds nothing but tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part.ends_with("tests.rs"))
    }

    /// Whether it opens with `//!`; attributes of the module may stand before that.
    pub(crate) fn opens_with_doc(&self) -> bool {
        let trees: Vec<_> = self.tokens.clone().into_iter().collect();
        trees.chunks(3).map_while(inner_attribute).any(|name| name == "doc")
    }

    /// Every identifier, macros' contents included.
    pub(crate) fn identifiers(&self) -> Vec<String> {
        let mut found = Vec::new();
        identifiers(&self.tokens, &mut found);
        found
    }

    /// The paths it names from the root of its crate, and those into the workspace's crates; tests left out.
    pub(crate) fn paths(&self) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        let trees: Vec<_> = without_tests(self.tokens.clone());
        paths(&trees, &mut self.module(), &mut found);
        found
    }

    /// The module a file of `src` is: `src/nbd/proto.rs` is `nbd::proto`.
    pub(crate) fn module(&self) -> Vec<String> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").expect("a Rust file");
        if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
    }
}

/// The name of the attribute that `#`, `!` and a group make.
fn inner_attribute(trees: &[TokenTree]) -> Option<String> {
    let [TokenTree::Punct(hash), TokenTree::Punct(bang), TokenTree::Group(group)] = trees else { return None };
    if hash.as_char() != '#' || bang.as_char() != '!' {
        return None;
    }
    group.stream().into_iter().next().map(|name| name.to_string())
}

fn identifiers(tokens: &TokenStream, found: &mut Vec<String>) {
    for tree in tokens.clone() {
        match tree {
            TokenTree::Ident(name) => found.push(name.to_string()),
            TokenTree::Group(group) => identifiers(&group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Leaves out what follows `#[cfg(test)]`, up to the end of that item.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let (mut kept, mut skipping) = (Vec::new(), false);
    for tree in tokens {
        let group = match &tree {
            TokenTree::Group(group) => Some((group.delimiter(), group.stream().to_string().replace(' ', ""))),
            _ => None,
        };
        let ends = matches!(&tree, TokenTree::Punct(punct) if punct.as_char() == ';')
            || matches!(group, Some((Delimiter::Brace, _)));
        if matches!(&group, Some((Delimiter::Bracket, text)) if text == "cfg(test)") {
            skipping = true;
        } else if skipping {
            skipping = !ends;
        } else {
            kept.push(tree);
        }
    }
    kept
}

/// Collects the paths in `trees`, which stand in `module`.
fn paths(trees: &[TokenTree], module: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let mut at = 0;
    while at < trees.len() {
        match &trees[at] {
            TokenTree::Group(group) => {
                let inner = without_tests(group.stream());
                let named = at.checked_sub(2).map(|before| [trees[before].to_string(), trees[before + 1].to_string()]);
                match named {
                    Some([keyword, name]) if keyword == "mod" && group.delimiter() == Delimiter::Brace => {
                        module.push(name);
                        paths(&inner, module, found);
                        module.pop();
                    }
                    _ => paths(&inner, module, found),
                }
                at += 1;
            }
            TokenTree::Ident(name) => match start(&name.to_string(), module) {
                Some(prefix) if !continues(trees, at) => at = path(trees, at + 1, prefix, found),
                _ => at += 1,
            },
            _ => at += 1,
        }
    }
}

/// Where a path that begins with `name` begins, from the root of the crate.
fn start(name: &str, module: &[String]) -> Option<Vec<String>> {
    match name {
        "crate" | "nbdgate" => Some(Vec::new()),
        "super" => Some(module[..module.len().saturating_sub(1)].to_vec()),
        "self" => Some(module.to_vec()),
        name if name.starts_with("nbdgate_") => Some(vec![name.to_owned()]),
        _ => None,
    }
}

/// Whether the identifier at `at` is the tail of a path.
fn continues(trees: &[TokenTree], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| is_colon(&trees[before]))
        && at.checked_sub(2).is_some_and(|before| is_colon(&trees[before]))
}

fn is_colon(tree: &TokenTree) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == ':')
}

/// Follows a path whose `prefix` ends before `at`, into the groups of a `use`; where it ends.
fn path(trees: &[TokenTree], mut at: usize, mut prefix: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    while at + 2 < trees.len() && is_colon(&trees[at]) && is_colon(&trees[at + 1]) {
        match &trees[at + 2] {
            TokenTree::Ident(name) if name == "super" => drop(prefix.pop()),
            TokenTree::Ident(name) => prefix.push(name.to_string()),
            TokenTree::Group(group) => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                for branch in inner.split(|tree| matches!(tree, TokenTree::Punct(punct) if punct.as_char() == ',')) {
                    branches(branch, &prefix, found);
                }
                return at + 3;
            }
            _ => break,
        }
        at += 3;
    }
    found.push(prefix);
    at
}

/// One branch of a group.
fn branches(branch: &[TokenTree], prefix: &[String], found: &mut Vec<Vec<String>>) {
    let mut prefix = prefix.to_vec();
    match branch.first() {
        Some(TokenTree::Ident(name)) if name == "super" => drop(prefix.pop()),
        Some(TokenTree::Ident(name)) if name != "self" => prefix.push(name.to_string()),
        Some(_) => {}
        None => return,
    }
    path(branch, 1, prefix, found);
}
