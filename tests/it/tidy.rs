//! What ARCHITECTURE.md says must never be, read from the Cargo files, the lock and the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates and where they are.
const CRATES: [(&str, &str); 10] = [
    ("tidemill", ""),
    ("tidemill-coordinator", "coordinator"),
    ("tidemill-workers", "workers"),
    ("tidemill-sql", "sql"),
    ("tidemill-batch", "batch"),
    ("tidemill-engine", "engine"),
    ("tidemill-net", "net"),
    ("tidemill-plans", "plans"),
    ("tidemill-ml", "engine/ml"),
    ("tidemill-compute", "engine/compute"),
];

/// Which crates each may name: edges point down, and only these.
const EDGES: [(&str, &[&str]); 10] = [
    (
        "tidemill",
        &[
            "tidemill-batch",
            "tidemill-compute",
            "tidemill-coordinator",
            "tidemill-engine",
            "tidemill-ml",
            "tidemill-net",
            "tidemill-plans",
            "tidemill-sql",
            "tidemill-workers",
        ],
    ),
    ("tidemill-coordinator", &["tidemill-batch", "tidemill-ml", "tidemill-net", "tidemill-plans", "tidemill-sql"]),
    ("tidemill-workers", &["tidemill-batch", "tidemill-engine", "tidemill-net", "tidemill-plans"]),
    ("tidemill-sql", &["tidemill-plans"]),
    ("tidemill-batch", &["tidemill-net", "tidemill-plans"]),
    ("tidemill-engine", &["tidemill-compute", "tidemill-ml", "tidemill-plans"]),
    ("tidemill-net", &["tidemill-plans"]),
    ("tidemill-plans", &["tidemill-compute", "tidemill-ml"]),
    ("tidemill-ml", &["tidemill-compute"]),
    ("tidemill-compute", &[]),
];

/// What wgpu has for browsers: the lock lists what any target needs, and nothing here is built for that one.
const OF_BROWSERS: &str = "wasm-bindgen-futures";

/// The longest `mod.rs`: it introduces a module, and does not contain it.
const MOD_LINES_MAX: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The keys of a section of a manifest, `name = …` and `name.workspace = true` alike. Sections such
/// as `[target.'cfg(unix)'.dependencies]` count too.
fn section(manifest: &str, section: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside =
                header == section || header.strip_suffix(section).is_some_and(|start| start.starts_with("target."));
            // [dependencies.name] is another way to write it.
            names.extend(header.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')).map(str::to_owned));
        } else if inside && let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            names.insert(key.trim().trim_end_matches(".workspace").to_owned());
        }
    }
    names
}

/// What a crate's product code depends on.
fn dependencies(folder: &str) -> BTreeSet<String> {
    section(&read(&root().join(folder).join("Cargo.toml")), "dependencies")
}

/// Each package of the lock, as `name version`, with what it depends on; members' tests included.
struct Lock(BTreeMap<String, Vec<String>>);

impl Lock {
    fn read() -> Self {
        let text = read(&root().join("Cargo.lock"));
        let mut packages = BTreeMap::new();
        for package in text.split("[[package]]").skip(1) {
            let value = |key: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
                line.unwrap_or_else(|| panic!("no {key} in {package}")).trim_matches('"').to_owned()
            };
            let listed = package.split_once("dependencies = [").map_or("", |(_, list)| list);
            let listed = listed.split(']').next().unwrap_or_default().lines().map(str::trim);
            let depends = listed.filter(|line| !line.is_empty()).map(|line| line.trim_matches([',', '"']).to_owned());
            packages.insert(format!("{} {}", value("name"), value("version")), depends.collect());
        }
        Self(packages)
    }

    /// The versions of a package.
    fn versions(&self, name: &str) -> Vec<&str> {
        self.0.keys().filter_map(|package| package.strip_prefix(name)?.strip_prefix(' ')).collect()
    }

    /// A dependency's key: the lock leaves the version out where there is one only.
    fn resolve(&self, dependency: &str) -> String {
        if self.0.contains_key(dependency) {
            return dependency.to_owned();
        }
        let versions = self.versions(dependency);
        assert_eq!(versions.len(), 1, "{dependency} in the lock");
        format!("{dependency} {}", versions[0])
    }

    /// The names of all packages that a crate's `[dependencies]` reach. The crates of the house are
    /// entered by their manifests, for the lock lists what their tests need as well.
    fn reached(&self, folder: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut waiting = self.direct(folder);
        while let Some(package) = waiting.pop() {
            let name = package.split(' ').next().unwrap().to_owned();
            let own = CRATES.iter().find(|(crate_name, _)| *crate_name == name);
            let next = match own {
                _ if name == OF_BROWSERS || !reached.insert(package.clone()) => continue,
                Some((_, folder)) => self.direct(folder),
                None => self.0[&package].iter().map(|dependency| self.resolve(dependency)).collect(),
            };
            waiting.extend(next);
        }
        reached.into_iter().map(|package| package.split(' ').next().unwrap().to_owned()).collect()
    }

    fn direct(&self, folder: &str) -> Vec<String> {
        let name = CRATES.iter().find(|(_, of)| *of == folder).unwrap().0;
        let wanted = dependencies(folder);
        let listed = &self.0[&self.resolve(name)];
        let direct = listed.iter().filter(|entry| wanted.contains(entry.split(' ').next().unwrap()));
        direct.map(|entry| self.resolve(entry)).collect()
    }
}

/// Every `.rs` file of the product.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = CRATES.iter().map(|(_, folder)| root().join(folder).join("src")).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                files.push(entry);
            }
        }
    }
    assert!(files.len() > 100, "only {} sources", files.len());
    files
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap()
}

/// Whether a file holds tests only.
fn is_tests(path: &Path) -> bool {
    path.strip_prefix(root()).unwrap().iter().any(|part| part == "tests" || part == "tests.rs" || part == "testing")
}

#[test]
fn the_workspace_has_the_crates_of_the_house() {
    let manifest = read(&root().join("Cargo.toml"));
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = [")).unwrap().trim_end_matches(']');
    let mut members: Vec<&str> = members.split(',').map(|member| member.trim().trim_matches('"')).collect();
    members.push("");
    let mut folders: Vec<&str> = CRATES.iter().map(|(_, folder)| *folder).collect();
    members.sort_unstable();
    folders.sort_unstable();
    assert_eq!(members, folders);
    for (name, folder) in CRATES {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        assert!(manifest.contains(&format!("\nname = \"{name}\"\n")), "{folder} is {name}");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} has the lints of the workspace");
    }
}

#[test]
fn crates_depend_on_those_below_only() {
    for (name, allowed) in EDGES {
        let folder = CRATES.iter().find(|(of, _)| *of == name).unwrap().1;
        for found in dependencies(folder).iter().filter(|dependency| dependency.starts_with("tidemill")) {
            assert!(allowed.contains(&found.as_str()), "{name} depends on {found}; it may on {allowed:?}");
        }
    }
}

#[test]
fn the_leaves_reach_no_planner_and_no_runtime() {
    let lock = Lock::read();
    for folder in ["engine/ml", "engine/compute"] {
        let reached = lock.reached(folder);
        let banned: Vec<&String> = reached
            .iter()
            .filter(|name| name.starts_with("datafusion") || name.starts_with("tokio") || *name == "tidemill-plans")
            .collect();
        assert!(banned.is_empty(), "{folder} reaches {banned:?}");
    }
    // The walk itself works: what must be found is found.
    assert!(lock.reached("engine/ml").contains("arrow-array"));
    assert!(lock.reached("plans").contains("tokio"), "DataFusion brings it along");
}

#[test]
fn frameworks_stay_where_they_belong() {
    let may_name = |prefix: &str, allowed: &[&str]| {
        for (name, folder) in CRATES {
            let found: Vec<String> = dependencies(folder).into_iter().filter(|it| it.starts_with(prefix)).collect();
            assert!(found.is_empty() || allowed.contains(&name), "{name} names {found:?}; only {allowed:?} may");
        }
    };
    may_name("actix", &["tidemill", "tidemill-coordinator", "tidemill-workers"]);
    may_name("wgpu", &["tidemill-compute"]);
    // The engine's connectors alone wait for servers: look-ups run a client on their own threads.
    may_name(
        "tokio",
        &["tidemill", "tidemill-batch", "tidemill-coordinator", "tidemill-engine", "tidemill-net", "tidemill-workers"],
    );
    may_name("tonic", &["tidemill-batch", "tidemill-coordinator", "tidemill-net", "tidemill-workers"]);
    may_name("arrow-flight", &["tidemill-batch", "tidemill-coordinator", "tidemill-workers"]);
    may_name("ballista", &["tidemill-batch"]);
    may_name("rustls", &["tidemill-net"]);
    may_name("sled", &["tidemill-coordinator", "tidemill-engine"]);
}

#[test]
fn versions_are_declared_once() {
    let workspace = section(&read(&root().join("Cargo.toml")), "workspace.dependencies");
    for (name, folder) in CRATES {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        for kind in ["dependencies", "dev-dependencies"] {
            for dependency in section(&manifest, kind) {
                assert!(workspace.contains(&dependency), "{name}: {dependency} is not in [workspace.dependencies]");
                let own = format!("\n{dependency} = \"");
                let head = manifest.split("[workspace.dependencies]").next().unwrap();
                assert!(folder.is_empty() || !head.contains(&own), "{name}: {dependency} has a version of its own");
            }
        }
    }
}

#[test]
fn what_types_cross_crates_with_is_there_once() {
    let lock = Lock::read();
    for name in [
        "arrow",
        "arrow-flight",
        "parquet",
        "datafusion",
        "object_store",
        "tokio",
        "tonic",
        "prost",
        "rustls",
        "bincode",
    ] {
        assert_eq!(lock.versions(name).len(), 1, "{name}: {:?}", lock.versions(name));
    }
}

#[test]
fn every_file_says_what_it_is() {
    for path in sources().iter().filter(|path| name_of(path) != "tests.rs") {
        assert!(read(path).starts_with("//! "), "{} does not open with //!", path.display());
    }
}

#[test]
fn files_are_named_for_an_idea() {
    for path in sources() {
        let name = name_of(&path);
        assert!(!["utils.rs", "util.rs", "common.rs", "base.rs", "helpers.rs"].contains(&name), "{}", path.display());
        let lines = read(&path).lines().count();
        assert!(name != "mod.rs" || lines <= MOD_LINES_MAX, "{} has {lines} lines", path.display());
    }
}

#[test]
fn one_file_reads_the_environment() {
    for path in sources().iter().filter(|path| !is_tests(path) && !path.ends_with("src/config.rs")) {
        let text = read(path);
        for banned in ["env::var", "env::vars"] {
            assert!(!text.contains(banned), "{} reads the environment: {banned}", path.display());
        }
    }
}

#[test]
fn there_is_one_integration_test_binary() {
    let manifest = read(&root().join("Cargo.toml"));
    assert!(manifest.contains("autotests = false"));
    assert_eq!(manifest.matches("[[test]]").count(), 1);
    let main = read(&root().join("tests/it/main.rs"));
    for entry in fs::read_dir(root().join("tests/it")).unwrap().map(|entry| entry.unwrap().path()) {
        let Some(module) = name_of(&entry).strip_suffix(".rs").filter(|module| *module != "main") else { continue };
        assert!(main.contains(&format!("mod {module};")), "tests/it/{module}.rs is in no binary");
    }
}
