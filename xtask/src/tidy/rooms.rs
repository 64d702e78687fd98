//! Allowed dependencies between the rooms, as the table in ARCHITECTURE.md says: the text is the rule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::tidy::Finding;
use crate::workspace;

const TABLE: &str = "ARCHITECTURE.md";
/// First words of the table's header.
const HEADER: &str = "| room |";
/// Manifests of packages outside of the workspace.
const OUTSIDE: [&str; 2] = ["ebpf/probe/Cargo.toml", "fuzz/Cargo.toml"];
/// Others' packages that would break what a room is; normal and build dependencies.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    ("formats", &["tokio", "rustix", "libc", "rand"]),
    ("replication", &["tokio", "rustix", "libc", "rand"]),
    ("journal", &["tokio"]),
    ("replayer", &["aya"]),
];

/// A package and what it names in its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Package {
    name: String,
    /// Folder from the top folder.
    folder: String,
    /// Folders of our own packages it depends on, of every kind.
    ours: BTreeSet<String>,
    /// Names of others' packages it depends on, but for tests.
    others: BTreeSet<String>,
}

/// What a room may depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    /// Everything of ours.
    Any,
    /// Rooms by folder or package name.
    Only(BTreeSet<String>),
}

/// Rooms by folder, each with what it may use.
type Rooms = BTreeMap<String, Allowed>;

/// Findings in all manifests.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    let text = std::fs::read_to_string(root.join(TABLE)).with_context(|| format!("cannot read {TABLE}"))?;
    let rooms = parse_table(&text)?;
    let mut packages = packages(&workspace::metadata("Cargo.toml")?, root)?;
    for manifest in OUTSIDE.into_iter().filter(|manifest| root.join(manifest).is_file()) {
        packages.extend(self::packages(&workspace::metadata(manifest)?, root)?);
    }
    let names: BTreeMap<&str, &str> =
        packages.iter().map(|package| (package.folder.as_str(), package.name.as_str())).collect();
    Ok(packages.iter().flat_map(|package| judge(package, &rooms, &names)).collect())
}

fn judge(package: &Package, rooms: &Rooms, names: &BTreeMap<&str, &str>) -> Vec<Finding> {
    let manifest = format!("{}/Cargo.toml", package.folder);
    let Some(allowed) = rooms.get(&package.folder) else {
        return vec![Finding::new(&manifest, 0, format!("{} is no room in {TABLE}", package.folder))];
    };
    let is_allowed = |folder: &String| match allowed {
        Allowed::Any => true,
        Allowed::Only(rooms) => {
            rooms.contains(folder) || names.get(folder.as_str()).is_some_and(|name| rooms.contains(*name))
        }
    };
    let strangers = package.ours.iter().filter(|folder| !is_allowed(folder));
    let mut findings: Vec<Finding> = strangers
        .map(|folder| Finding::new(&manifest, 0, format!("may not depend on {folder}/ (the table in {TABLE})")))
        .collect();
    let forbidden = FORBIDDEN.iter().filter(|(room, _)| *room == package.folder).flat_map(|(_, names)| names.iter());
    for name in forbidden.filter(|name| package.others.contains(**name)) {
        findings.push(Finding::new(&manifest, 0, format!("may not depend on {name}: it would break what the room is")));
    }
    findings
}

/// Reads the rows `| rooms | what | may depend on | never |`; rooms of one row may use each other.
fn parse_table(text: &str) -> Result<Rooms> {
    let rows =
        text.lines().skip_while(|line| !line.starts_with(HEADER)).skip(2).take_while(|line| line.starts_with('|'));
    let mut rooms = Rooms::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, folders, _, may, ..] = cells[..] else {
            bail!("{TABLE}: a row of the code map has too few cells: {row}")
        };
        let folders: BTreeSet<String> = words(folders).map(|folder| folder.trim_end_matches('/').to_owned()).collect();
        let allowed = match may {
            "any" | "all" => Allowed::Any,
            "nothing" => Allowed::Only(folders.clone()),
            _ => Allowed::Only(words(may).map(str::to_owned).chain(folders.iter().cloned()).collect()),
        };
        rooms.extend(folders.into_iter().map(|folder| (folder, allowed.clone())));
    }
    if rooms.is_empty() {
        bail!("{TABLE} holds no table that begins with `{HEADER}`");
    }
    Ok(rooms)
}

fn words(cell: &str) -> impl Iterator<Item = &str> {
    cell.split(',').map(|word| word.trim().trim_matches('`')).filter(|word| !word.is_empty())
}

/// Packages in `cargo metadata`.
fn packages(metadata: &Value, root: &Path) -> Result<Vec<Package>> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    packages.iter().map(|package| parse_package(package, root)).collect()
}

fn parse_package(package: &Value, root: &Path) -> Result<Package> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("cargo metadata holds another type");
    let manifest = text(&package["manifest_path"])?;
    let mut parsed = Package {
        name: text(&package["name"])?,
        folder: folder(Path::new(&manifest).parent().context("a manifest lies in a folder")?, root),
        ours: BTreeSet::new(),
        others: BTreeSet::new(),
    };
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        match dependency["path"].as_str() {
            Some(path) => parsed.ours.extend([folder(Path::new(path), root)]),
            None if dependency["kind"] == "dev" => {}
            None => parsed.others.extend([text(&dependency["name"])?]),
        }
    }
    Ok(parsed)
}

fn folder(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MAP: &str = "\
# A
| room | what lives there | may depend on (ours) | never |
|---|---|---|---|
| `formats/` | bytes | nothing | I/O |
| `journal/` | log | formats | network |
| `ebpf/types/`, `ebpf/probe/` | probe | nothing | |
| `agent/` | primary | probe-types, formats | |
| `cli/` | binary | all | logic |

after
";

    fn package(folder: &str, dependencies: Value) -> Package {
        let manifest = format!("/top/{folder}/Cargo.toml");
        let value = json!({"name": folder, "manifest_path": manifest, "dependencies": dependencies});
        parse_package(&value, Path::new("/top")).expect("well formed")
    }

    fn findings(folder: &str, dependencies: Value) -> usize {
        let names = BTreeMap::from([("ebpf/types", "probe-types"), ("formats", "formats")]);
        judge(&package(folder, dependencies), &parse_table(MAP).expect("a table"), &names).len()
    }

    #[test]
    fn what_the_table_allows() {
        assert_eq!(findings("journal", json!([{"name": "formats", "path": "/top/formats"}])), 0);
        assert_eq!(findings("agent", json!([{"name": "probe-types", "path": "/top/ebpf/types"}])), 0);
        assert_eq!(findings("ebpf/probe", json!([{"name": "probe-types", "path": "/top/ebpf/types"}])), 0);
        assert_eq!(findings("cli", json!([{"name": "agent", "path": "/top/agent"}])), 0);
    }

    #[test]
    fn what_it_forbids() {
        assert_eq!(findings("formats", json!([{"name": "journal", "path": "/top/journal"}])), 1);
        assert_eq!(findings("journal", json!([{"name": "link", "path": "/top/link", "kind": "dev"}])), 1);
        assert_eq!(findings("attic", json!([])), 1);
    }

    #[test]
    fn packages_of_others() {
        assert_eq!(findings("journal", json!([{"name": "tokio"}])), 1);
        assert_eq!(findings("journal", json!([{"name": "tokio", "kind": "dev"}])), 0);
        assert_eq!(findings("agent", json!([{"name": "tokio"}])), 0);
    }

    #[test]
    fn no_table_is_an_error() {
        assert!(parse_table("# nothing").is_err());
    }
}
