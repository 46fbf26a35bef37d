//! The Rust sources of the repository, and exceptions to rules about them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A source file.
pub struct Source {
    /// Its path from the root of the repository, with `/` between.
    pub path: String,
    pub text: String,
}

impl Source {
    /// The lines of the program, without its comments and its unit tests, which stand at the end
    /// of a file or in a file of their own; numbered from 1.
    pub fn program(&self) -> impl Iterator<Item = (usize, &str)> {
        let of_tests = ["/tests.rs", "/rig.rs"];
        let is_test = of_tests.iter().any(|name| self.path.ends_with(name))
            || self.path.contains("src/config/tests/");
        let program = match self.text.split_once("\nmod tests {") {
            _ if is_test => "",
            Some((program, _)) => program,
            None => &self.text,
        };
        (1..)
            .zip(program.lines())
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    pub fn is_under(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust sources, or those under some folders.
pub fn sources(folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["src", "domain", "projections", "tests", "benches"] {
        collect(&root().join(folder), &mut paths);
    }
    paths.sort();
    let sources: Vec<Source> = paths
        .into_iter()
        .map(|path| Source {
            path: path
                .strip_prefix(root())
                .expect("under the root")
                .to_string_lossy()
                .replace('\\', "/"),
            text: fs::read_to_string(&path).expect("a readable source"),
        })
        .filter(|source| source.is_under(folders))
        .collect();
    assert!(!sources.is_empty(), "no sources under {folders:?}");
    sources
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" && name != "node_modules" {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// Fails for what breaks a rule and is not excepted, and for exceptions that nothing needs.
#[track_caller]
pub fn check(rule: &str, broken: impl IntoIterator<Item = String>, exceptions: &[(&str, &str)]) {
    let broken: BTreeSet<String> = broken.into_iter().collect();
    let excepted = |what: &str| exceptions.iter().any(|(known, _)| what.starts_with(known));
    let unexpected: Vec<_> = broken.iter().filter(|what| !excepted(what)).collect();
    assert!(unexpected.is_empty(), "{rule}:\n{unexpected:#?}");
    let needless: Vec<_> = exceptions
        .iter()
        .filter(|(known, _)| !broken.iter().any(|what| what.starts_with(known)))
        .collect();
    assert!(
        needless.is_empty(),
        "exceptions that nothing needs: {needless:#?}"
    );
}
