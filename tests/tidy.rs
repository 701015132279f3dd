//! The house rules, as a test: which module may know which, where each library lives, what every file must have and
//! what must not be left lying about. It reads source text and runs nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// For each module of the server, the modules it may name; tests may build what they need. Arrows go one way: a cycle
/// cannot be written down here.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["auth", "clock", "config", "journal", "node", "runtime", "telemetry", "tickets"]),
    ("demo", &["config", "node"]),
    ("operate", &["backup", "clock", "config", "journal", "nats"]),
    (
        "node",
        &[
            "auth",
            "board",
            "clock",
            "cluster",
            "config",
            "dispatch",
            "gateway",
            "http",
            "journal",
            "nats",
            "notices",
            "outward",
            "runtime",
            "snapshots",
            "telemetry",
            "tickets",
        ],
    ),
    (
        "http",
        &["auth", "board", "clock", "cluster", "config", "dispatch", "encoding", "gateway", "telemetry", "tickets"],
    ),
    ("outward", &["board", "clock", "dispatch", "gateway", "notices", "runtime", "telemetry", "tickets"]),
    ("board", &["clock", "encoding", "runtime"]),
    ("dispatch", &["clock", "cluster", "runtime"]),
    ("backup", &["clock", "config", "journal", "nats", "snapshots"]),
    ("cluster", &["clock", "journal", "nats", "runtime"]),
    ("runtime", &["clock", "journal", "snapshots"]),
    ("snapshots", &["journal", "nats"]),
    ("journal", &["nats"]),
    ("nats", &["config"]),
    ("auth", &["config"]),
    ("tickets", &["config"]),
    ("gateway", &["config"]),
    ("notices", &["config"]),
    ("telemetry", &["config"]),
    ("encoding", &[]),
    ("config", &[]),
    ("clock", &[]),
    ("lib", &[]),
];

/// Each outside thing has one home in the server.
const HOMES: &[(&str, &[&str])] = &[
    ("sled", &["snapshots"]),
    ("async_nats", &["cluster", "journal", "nats", "snapshots"]),
    ("clap", &["main"]),
    ("actix_web", &["http"]),
    ("actix_http", &["http"]),
    ("actix_server", &["http"]),
    ("actix_service", &["http"]),
    ("httparse", &["http"]),
    ("memchr", &["http"]),
    ("utoipa", &["board", "http"]),
    ("lettre", &["notices"]),
    ("prometheus_client", &["telemetry"]),
    ("procfs", &["telemetry"]),
    ("jsonwebtoken", &["auth"]),
    ("aws_lc_rs", &["tickets"]),
    ("ed25519_dalek", &["tickets"]),
    ("governor", &["http"]),
    ("toml", &["config"]),
    ("rustix", &["gateway", "http", "journal", "snapshots"]),
    ("brotli", &["encoding"]),
    ("zstd", &["encoding"]),
    ("flate2", &["encoding"]),
];

/// What the machines may not know: time, chance and the world.
const IMPURE: &[&str] = &[
    "std::time",
    "Instant",
    "SystemTime",
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "tokio",
    "rand::",
    "println!",
];

/// Leftovers. Spelled in pieces so that this file does not find itself.
fn leftovers() -> Vec<String> {
    [("to", "do!("), ("unimpl", "emented!("), ("d", "bg!("), ("#[ig", "nore"), ("FIX", "ME"), ("XX", "X"), ("TO", "DO")]
        .map(|(a, b)| format!("{a}{b}"))
        .to_vec()
}

/// A file longer than this says why, in a line of its charter that starts with `//! Long because`.
const LINES_MAX: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).expect("a readable file");
                found.push((path.strip_prefix(root()).expect("below the root").to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

fn everything() -> Vec<(PathBuf, String)> {
    ["src", "actors", "loadgen", "tests", "benches"].iter().flat_map(|folder| rust_files(folder)).collect()
}

/// The top module a file of `src` belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix("src").expect("a file of src");
    let first = inside.components().next().expect("a file has a name");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// Code without comment lines: what a comment names is not an arrow.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn named_modules(text: &str, prefix: &str) -> Vec<String> {
    let mut named = Vec::new();
    for line in code(text) {
        for (at, _) in line.match_indices(prefix) {
            let rest = &line[at + prefix.len()..];
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                named.push(name);
            }
        }
    }
    named
}

#[test]
fn arrows_between_modules_go_one_way() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src").into_iter().filter(|(path, _)| !path.ends_with("tests.rs")) {
        let module = module_of(&path);
        let Some(may_name) = layers.get(module.as_str()) else {
            wrong.push(format!("{}: the module is not in the table of layers", path.display()));
            continue;
        };
        let is_binary = ["main", "demo", "operate"].contains(&module.as_str());
        let prefixes: &[&str] = if is_binary { &["stampede::"] } else { &["crate::"] };
        for named in prefixes.iter().flat_map(|prefix| named_modules(&text, prefix)) {
            let is_module = layers.contains_key(named.as_str());
            if is_module && named != module && !may_name.contains(&named.as_str()) {
                wrong.push(format!("{}: {module} may not name {named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_layers_have_no_cycle() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    fn visit<'a>(at: &'a str, path: &mut Vec<&'a str>, layers: &BTreeMap<&'a str, &'a [&'a str]>) {
        assert!(!path.contains(&at), "cycle: {path:?} and again {at}");
        path.push(at);
        for next in layers[at] {
            visit(next, path, layers);
        }
        path.pop();
    }
    for (module, _) in LAYERS {
        visit(module, &mut Vec::new(), &layers);
    }
}

#[test]
fn each_library_lives_in_one_home() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src") {
        let module = module_of(&path);
        for (library, homes) in HOMES {
            let used = code(&text).any(|line| {
                line.match_indices(library).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    let after = &line[at + library.len()..];
                    !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '"' || c == '.')
                        && after.starts_with("::")
                })
            });
            if used && !homes.contains(&module.as_str()) {
                wrong.push(format!("{}: {library} lives in {homes:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn machines_know_no_clock_no_chance_and_no_world() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files("actors/src") {
        for line in code(&text) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_load_generator_knows_only_the_public_contract() {
    for (path, text) in rust_files("loadgen/src") {
        for line in code(&text) {
            assert!(!line.contains("stampede::") && !line.contains("actors::"), "{}: {line}", path.display());
        }
    }
    let manifest = fs::read_to_string(root().join("loadgen/Cargo.toml")).expect("a manifest");
    assert!(!manifest.contains("path ="), "loadgen depends on nothing of this workspace");
}

#[test]
fn every_file_opens_with_its_charter_and_has_a_subject() {
    let mut wrong = Vec::new();
    for (path, text) in everything() {
        if !text.starts_with("//!") {
            wrong.push(format!("{}: the first line is not a charter", path.display()));
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if ["mod", "util", "utils", "common", "helpers", "manager", "misc"].contains(&stem.as_str()) {
            wrong.push(format!("{}: the name says nothing", path.display()));
        }
        if text.lines().count() > LINES_MAX && !text.contains("//! Long because") {
            wrong.push(format!("{}: {} lines, and no reason written in it", path.display(), text.lines().count()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_lying_about() {
    let mut wrong = Vec::new();
    for (path, text) in everything() {
        for leftover in leftovers() {
            if text.contains(&leftover) {
                wrong.push(format!("{}: {leftover}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_key_of_the_configuration_says_what_it_costs() {
    let text = fs::read_to_string(root().join("config/default.toml")).expect("config/default.toml");
    let mut before = "";
    for line in text.lines() {
        let is_key =
            line.split_once('=').is_some_and(|(key, _)| key.trim().chars().all(|c| c.is_alphanumeric() || c == '_'));
        if is_key && !line.starts_with('#') {
            assert!(before.starts_with('#'), "no comment above: {line}");
        }
        before = line;
    }
}

#[test]
fn every_dependency_has_its_reason() {
    for manifest in ["Cargo.toml", "actors/Cargo.toml", "loadgen/Cargo.toml"] {
        let text = fs::read_to_string(root().join(manifest)).expect("a manifest");
        let mut in_dependencies = false;
        for line in text.lines() {
            if line.starts_with('[') {
                in_dependencies = line == "[dependencies]" || line == "[dev-dependencies]";
            } else if in_dependencies && line.contains('=') && !line.starts_with("actors") {
                assert!(line.contains(" # "), "{manifest}: {line}");
            }
        }
    }
}

#[test]
fn the_readme_names_every_command_and_stays_short() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    for command in [
        "cargo run --release -- demo",
        "tests/run",
        "stampede serve",
        "stampede key new",
        "stampede token",
        "stampede check-config",
        "stampede journal verify",
        "loadgen onsale",
        "loadgen audit",
    ] {
        assert!(readme.contains(command), "the README does not say `{command}`");
    }
    assert!(readme.lines().count() < 250, "a README is read in five minutes");
}
