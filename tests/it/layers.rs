//! Who may use whom: the direction between the layers of `src`, and the crates that belong to one folder.

use std::path::{Path, PathBuf};

/// Folder (or file) of `src`, and what of ours it may use. `boot`, `cli` and `main` may use everything.
const MAY_USE: [(&str, &[&str]); 9] = [
    ("domain", &[]),
    ("store", &["domain"]),
    ("wire", &["domain"]),
    ("providers", &["domain", "egress"]),
    ("egress", &["domain"]),
    ("tools", &["domain", "egress"]),
    (
        "actors",
        &["domain", "store", "providers", "tools", "egress"],
    ),
    ("facade", &["domain", "wire", "actors"]),
    ("config", &["providers", "tools"]),
];

/// Crate, and the folders that may name it.
const CRATES: [(&str, &[&str]); 7] = [
    ("sled", &["store"]),
    ("bincode", &["store"]),
    ("axum", &["facade", "boot"]),
    ("reqwest", &["providers", "egress", "cli"]),
    ("ractor", &["actors"]),
    ("gcp_auth", &["providers"]),
    ("clap", &["cli"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each source file with the layer it belongs to; tests beside the code may use what they like.
fn files() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    let layer = |path: &PathBuf| {
        let first = path
            .strip_prefix(&src)
            .unwrap()
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        first.trim_end_matches(".rs").to_owned()
    };
    let code = |path: &PathBuf| {
        std::fs::read_to_string(path)
            .unwrap()
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let tests = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name == "tests.rs" || name == "testing.rs")
    };
    found
        .iter()
        .filter(|path| !tests(path))
        .map(|path| (layer(path), path.clone(), code(path)))
        .collect()
}

#[test]
fn layers_use_each_other_downwards_only() {
    let mut wrong = Vec::new();
    for (layer, path, code) in files() {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == layer) else {
            continue;
        };
        for (other, _) in MAY_USE
            .iter()
            .filter(|(other, _)| *other != layer && !allowed.contains(other))
        {
            let named = code.lines().any(|line| {
                !line.trim_start().starts_with("//")
                    && (line.contains(&format!("crate::{other}::"))
                        || line.contains(&format!("crate::{other};")))
            });
            if named {
                wrong.push(format!("{} uses {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_stay_in_their_folders() {
    let mut wrong = Vec::new();
    for (layer, path, code) in files() {
        for (name, _) in CRATES
            .iter()
            .filter(|(_, allowed)| !allowed.contains(&layer.as_str()))
        {
            let named = code.lines().any(|line| {
                !line.trim_start().starts_with("//")
                    && (line.contains(&format!("{name}::"))
                        || line.contains(&format!("use {name};")))
            });
            if named {
                wrong.push(format!("{} names {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
