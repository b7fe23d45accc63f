//! The house's own rules: which crate may know what, and what every file owes its reader.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use canvass_examples::workspace;
use serde::Deserialize;

/// A crate, what it must not know at all, and what it must not use itself though a crate below it does.
const INVARIANTS: &[(&str, &[&str], &[&str])] = &[
    (
        "canvass-protocol",
        &["tokio", "arrow", "arrow-array", "datafusion", "sqlparser", "sqlx", "canvass-tables"],
        &["rustix", "tempfile"],
    ),
    (
        "canvass-tables",
        &["tokio", "datafusion", "sqlparser", "sqlx", "axum", "lapin"],
        &["sequoia-openpgp", "ed25519-dalek"],
    ),
    (
        "canvass-planner",
        &["clap", "rustyline", "indicatif", "axum", "sqlx", "lapin", "canvass-agent", "canvass"],
        &["sequoia-openpgp", "ed25519-dalek", "rustix"],
    ),
    // The agent, which it has inside for this machine, may have been told to come to a broker.
    ("canvass", &["sqlx", "axum", "canvass-server"], &["datafusion", "sqlparser", "lapin"]),
    ("canvass-server", &["datafusion", "sqlparser", "canvass-tables", "canvass-planner", "canvass-agent"], &[]),
    ("canvass-agent", &["datafusion", "sqlparser", "sqlx", "axum", "canvass-planner"], &[]),
];

/// Heavy dependencies and the only crates that may name each: one, or the two ends of one wire.
const OWNERS: &[(&str, &[&str])] = &[
    ("datafusion", &["canvass-planner"]),
    ("sqlx", &["canvass-server"]),
    ("rustyline", &["canvass"]),
    // The bench compares with a broker that is spoken to barely.
    ("lapin", &["canvass-server", "canvass-agent", "canvass-examples"]),
];

/// What cargo says of the workspace.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    features: Vec<String>,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// `dev`, `build`, or nothing.
    kind: Option<String>,
}

fn metadata() -> Metadata {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &platform]);
    let output = command.current_dir(workspace()).output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata of the workspace")
}

/// Package name → names of its direct dependencies, tests' own left out.
fn graph(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in &metadata.resolve.nodes {
        let used = node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev")));
        let used = used.map(|dep| names[dep.pkg.as_str()].to_owned());
        graph.entry(names[node.id.as_str()].to_owned()).or_default().extend(used);
    }
    graph
}

fn reachable<'a>(graph: &'a BTreeMap<String, BTreeSet<String>>, from: &'a str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(name) = next.pop() {
        for dependency in graph.get(name).into_iter().flatten() {
            if seen.insert(dependency.as_str()) {
                next.push(dependency);
            }
        }
    }
    seen
}

#[test]
fn crates_know_only_what_they_may() {
    let graph = graph(&metadata());
    for (name, never, not_itself) in INVARIANTS {
        assert!(graph.contains_key(*name), "`{name}` is not in the workspace");
        let known = reachable(&graph, name);
        for forbidden in *never {
            assert!(!known.contains(forbidden), "`{name}` must not know `{forbidden}`, directly or through others");
        }
        for forbidden in *not_itself {
            assert!(!graph[*name].contains(*forbidden), "`{name}` must not use `{forbidden}` itself");
        }
    }
}

#[test]
fn heavy_dependencies_have_their_owners() {
    let metadata = metadata();
    let graph = graph(&metadata);
    for (dependency, owners) in OWNERS {
        let members = metadata.packages.iter().filter(|package| metadata.workspace_members.contains(&package.id));
        for package in members {
            let name = package.name.as_str();
            let uses = graph[name].contains(*dependency);
            assert!(!uses || owners.contains(&name), "`{name}` uses `{dependency}`, which only {owners:?} may");
        }
    }
}

/// A compressed packet of a few bytes would be gigabytes of memory to whoever verifies it.
#[test]
fn openpgp_knows_no_compression() {
    let nodes = metadata().resolve.nodes;
    let sequoia: Vec<&Node> = nodes.iter().filter(|node| node.id.contains("sequoia-openpgp")).collect();
    assert!(!sequoia.is_empty());
    for node in sequoia {
        assert!(!node.features.iter().any(|feature| feature.starts_with("compression")), "{:?}", node.features);
    }
}

#[test]
fn nobody_depends_on_examples() {
    for (name, dependencies) in graph(&metadata()) {
        assert!(!dependencies.contains("canvass-examples"), "`{name}` depends on the examples");
    }
}

#[test]
fn every_table_lives_in_the_file_of_its_name() {
    for table in canvass_tables::TABLES {
        let info = table.info();
        let path = format!("tables/src/{}/{}", info.module.name, info.name);
        let alone = workspace().join(format!("{path}.rs")).is_file();
        assert!(alone || workspace().join(&path).is_dir(), "table `{}` is not declared in `{path}.rs`", info.name);
    }
}

#[test]
fn every_crate_says_what_it_must_not_know() {
    for name in ["protocol", "tables", "planner", "agent", "shell"] {
        let text = std::fs::read_to_string(workspace().join(name).join("src/lib.rs")).unwrap();
        assert!(text.starts_with("//!"), "{name}/src/lib.rs does not open with what the room is for");
        assert!(text.contains("**Invariant:**"), "{name}/src/lib.rs names no invariant");
    }
}

#[test]
fn every_file_opens_with_its_purpose_and_stays_short() {
    const LINES_MAX: usize = 500;
    for file in rust_files(workspace()) {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(workspace()).unwrap().display();
        assert!(text.starts_with("//!"), "{name} does not open with a `//!` line that says what it is for");
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{name} has {lines} lines; past {LINES_MAX} a file wants to be two");
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() && name != "target" && !name.starts_with('.') && name != "fleet" {
            files.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    files
}
