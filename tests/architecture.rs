//! Which room of `src` may know which, which crates it may use, how long a file may be, and what a program must not bring
//! along. `docs/architecture.md` has the map.
//!
//! `archunit` reads the sources: every form of `use`, `super`, re-exports, and paths in the middle of code, in unit tests
//! too. It does not look into the arguments of macros, so paths there are read here, from the tokens.

#![expect(clippy::expect_used, reason = "a test that can't be set up has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::{fmt, fs};

use archunit::{Edge, ExtractionDiagnosticKind, Graph, ImportKind, ProjectLocator, SourceOptions};
use proc_macro2::{Ident, TokenStream, TokenTree};

/// A part of `src`, and what it may know besides itself. Where two fit, the longer one counts.
const ROOMS: [(&str, &[&str]); 10] = [
    ("domain", &[]),
    ("app", &["domain"]),
    ("app::ports", &["domain"]),
    ("net", &["app::ports", "domain"]),
    ("aws", &["net", "app::ports", "domain"]),
    ("system", &["app::ports", "domain"]),
    ("lambda", &["aws", "net", "system", "app", "domain"]),
    ("gateway", &["lambda::payload", "app", "domain"]),
    ("bin", &["gateway", "lambda", "aws", "net", "system", "app", "domain"]),
    // The map: it declares the rooms and says nothing else.
    ("lib", &[]),
];

/// Rooms whose children (a file together with the folder of its name) know each other in no circle.
const WITHOUT_CIRCLES: [&str; 2] = ["domain", "app"];

/// What reaches the world or waits for it, and the rooms that may. A name that ends in `_` stands for all that begin so.
const OUTSIDE: [(&[&str], &[&str]); 7] = [
    (&["aws_config", "aws_credential_types", "aws_runtime", "aws_sdk_", "aws_smithy_", "aws_types"], &["aws", "bin"]),
    (&["hyper", "hyper_rustls", "hyper_util", "tower", "webpki_roots"], &["net"]),
    (&["http", "http_body_util"], &["net", "aws"]),
    (&["lambda_runtime", "lambda_runtime_api_client", "metrique", "tracing_subscriber"], &["lambda", "bin"]),
    (&["tokio", "futures_util", "tracing"], &["app", "net", "aws", "lambda", "gateway", "bin"]),
    (&["maud"], &["gateway"]),
    (&["std::env", "std::fs", "std::io", "std::net", "std::process"], &["net", "aws", "lambda", "bin"]),
];

/// Of code. Data, such as recorded answers, may be longer.
const MOST_LINES: usize = 500;
const FOLDERS_OF_CODE: [&str; 3] = ["src", "tests", "local"];
const ENDINGS_OF_CODE: [&str; 5] = ["rs", "py", "js", "mjs", "sh"];
/// What others wrote, or a tool did.
const FOREIGN_FOLDERS: [&str; 2] = ["node_modules", "__pycache__"];

/// Files that are still to be split. Nothing may be added.
const STILL_TOO_LONG: [&str; 2] = ["src/domain/source/definition.rs", "src/domain/source/tests.rs"];

/// What a command or a server needs, and a function of Lambda must not hold: the larger its zip, the slower its cold start.
const NOT_IN_LAMBDA: [&str; 10] =
    ["clap", "aws-config", "actix-web", "axum", "poem", "rocket", "rouille", "salvo_core", "tiny_http", "warp"];

/// What only the gateway needs.
const NOT_IN_A_HARVEST: [&str; 1] = ["maud"];

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place(String, usize);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

/// One part of the code names another, or a crate.
struct Reference {
    /// The file that names, and the line.
    place: Place,
    /// The module that names, such as `domain::grant`.
    from: String,
    /// What is named: a module or a thing in it, from the crate's root, such as `domain::source`; `None`: of a crate.
    to: Option<String>,
    /// As it is written.
    written: String,
}

static REFERENCES: LazyLock<Vec<Reference>> = LazyLock::new(|| references(Path::new(env!("CARGO_MANIFEST_DIR"))));

#[test]
fn rooms_know_only_what_they_may() {
    assert_none(&wrong_arrows(&REFERENCES));
}

#[test]
fn no_circles() {
    for room in WITHOUT_CIRCLES {
        assert_none(&circles(&REFERENCES, room));
    }
}

#[test]
fn only_the_rooms_at_the_edge_reach_the_world() {
    assert_none(&wrong_crates(&REFERENCES));
}

#[test]
fn no_file_of_code_is_too_long() {
    assert_none(&too_long(Path::new(env!("CARGO_MANIFEST_DIR"))));
}

#[test]
fn no_function_of_lambda_links_a_command_or_a_server() {
    for feature in ["harvest", "connect"] {
        let linked = linked(feature);
        assert!(linked.contains_key("aws-sdk-s3") && linked["hyper"].contains("client"), "{linked:#?}");

        let also = if feature == "harvest" { &NOT_IN_A_HARVEST[..] } else { &[] };
        let unwanted: Vec<_> = NOT_IN_LAMBDA.iter().chain(also).filter(|name| linked.contains_key(**name)).collect();
        assert!(unwanted.is_empty(), "{unwanted:?}; `cargo tree --edges normal --invert NAME` says what brings it");
        for (name, features) in linked.iter().filter(|(name, _)| name.starts_with("hyper")) {
            assert!(!features.contains("server"), "{name} is built with its server");
        }
    }
}

/// In a package that breaks each rule in every way in which Rust lets one name a thing.
#[test]
fn every_rule_finds_what_breaks_it() {
    let package = tempfile::tempdir().expect("a folder");
    let long = format!("use crate::domain::grant::Grant;\n{}", "\n".repeat(MOST_LINES));
    for (file, text) in [
        ("Cargo.toml", "[package]\nname = \"made-up\"\nedition = \"2024\""),
        ("src/lib.rs", "pub mod app; pub mod aws; pub mod attic; pub mod domain;"),
        ("src/attic.rs", &long),
        ("src/domain.rs", "pub mod grant; pub mod oauth; pub mod source; pub mod time;"),
        ("src/domain/grant.rs", "mod stored;\npub use self::stored::Grant;"),
        ("src/domain/grant/stored.rs", "use super::super::oauth::Answer;\npub struct Grant(Answer);"),
        (
            "src/domain/oauth.rs",
            "use crate::{app::{harvest as h}, domain::source};\npub struct Answer(source::Source);",
        ),
        ("src/domain/source.rs", "fn a() {\n    assert!(crate::domain::grant::Grant::new().is_good());\n}"),
        ("src/domain/time.rs", "#[cfg(test)]\nmod tests {\n    fn a() {\n        std::env::var(\"TZ\");\n    }\n}"),
        ("src/app.rs", "pub mod harvest; pub mod ports;"),
        ("src/app/harvest.rs", "use crate::aws::Client;"),
        ("src/app/ports.rs", "fn a() -> Vec<super::harvest::Run> {\n    vec![::tokio::join!(aws_sdk_s3::get())]\n}"),
        ("src/aws.rs", "use tower::{Service as S};\nuse crate::app::ports::Clock;\npub use crate::app::harvest;"),
        ("tests/it.rs", ""),
        ("local/run.py", ""),
    ] {
        let path = package.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let references = references(package.path());

    let arrows = [
        "src/app/harvest.rs:1: `app` must not know `aws` (crate::aws::Client)",
        "src/app/ports.rs:1: `app::ports` must not know `app::harvest` (super::harvest::Run)",
        "src/attic.rs:1: `attic` is in no room: say in ROOMS what it may know",
        "src/aws.rs:3: `aws` must not know `app::harvest` (crate::app::harvest)",
        "src/domain/oauth.rs:1: `domain` must not know `app::harvest` (crate::app::harvest)",
    ];
    assert_eq!(wrong_arrows(&references), arrows);
    let crates = [
        "src/app/ports.rs:2: `aws_sdk_s3::get` belongs to aws, bin",
        "src/aws.rs:1: `tower::Service` belongs to net",
        "src/domain/time.rs:4: `std::env::var` belongs to net, aws, lambda, bin",
    ];
    assert_eq!(wrong_crates(&references), crates);
    let circle = "a circle in `domain`:
  grant -> oauth: src/domain/grant/stored.rs:1 (super::super::oauth::Answer)
  oauth -> source: src/domain/oauth.rs:1 (crate::domain::source)
  source -> grant: src/domain/source.rs:2 (crate::domain::grant::Grant::new)";
    assert_eq!(circles(&references, "domain"), [circle]);
    assert_eq!(too_long(package.path()), ["src/attic.rs has 501 lines, more than 500: split it by subject"]);
}

#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// References to rooms that the one who names them may not know.
fn wrong_arrows(references: &[Reference]) -> Vec<String> {
    let mut faults = Vec::new();
    for Reference { place, from, to, written } in references {
        let Some(to) = to else { continue };
        let Some((room, known)) = room_of(from) else {
            faults.push(format!("{place}: `{from}` is in no room: say in ROOMS what it may know"));
            continue;
        };
        if !is_in(to, room) && !known.iter().any(|known| is_in(to, known)) {
            faults.push(format!("{place}: `{room}` must not know `{to}` ({written})"));
        }
    }
    faults
}

/// References to crates, and to parts of `std`, that belong to other rooms.
fn wrong_crates(references: &[Reference]) -> Vec<String> {
    let mut faults = Vec::new();
    for Reference { place, from, to, written } in references {
        let named = written.trim_start_matches("::");
        let belongs = |name: &&str| is_in(named, name) || (name.ends_with('_') && named.starts_with(*name));
        let Some((_, rooms)) = OUTSIDE.iter().find(|(names, _)| to.is_none() && names.iter().any(belongs)) else {
            continue;
        };
        if !rooms.iter().any(|room| is_in(from, room)) {
            faults.push(format!("{place}: `{named}` belongs to {}", rooms.join(", ")));
        }
    }
    faults
}

/// Circles among the children of a room.
fn circles(references: &[Reference], room: &str) -> Vec<String> {
    let child = |module: &str| {
        let mut names = module.split("::");
        (names.next() == Some(room)).then(|| names.next().unwrap_or(room).to_owned())
    };
    let mut places = BTreeMap::new();
    for reference in references {
        let ends = child(&reference.from).zip(reference.to.as_deref().and_then(child));
        if let Some(ends) = ends.filter(|(from, to)| from != to) {
            places.entry(ends).or_insert_with(|| format!("{} ({})", reference.place, reference.written));
        }
    }
    let edges = places.keys().map(|(from, to)| Edge::new(from, to, false, [ImportKind::Use]));
    let described = |circle: Vec<archunit::ProjectedEdge>| {
        let step = |edge: &archunit::ProjectedEdge| {
            let place = &places[&(edge.source_label.clone(), edge.target_label.clone())];
            format!("  {} -> {}: {place}", edge.source_label, edge.target_label)
        };
        format!("a circle in `{room}`:\n{}", circle.iter().map(step).collect::<Vec<_>>().join("\n"))
    };
    archunit::project_internal_cycles(&Graph::from_edges(edges)).into_iter().map(described).collect()
}

/// The room of a module.
fn room_of(module: &str) -> Option<(&'static str, &'static [&'static str])> {
    ROOMS.into_iter().filter(|(room, _)| is_in(module, room)).max_by_key(|(room, _)| room.len())
}

/// Whether a path is another one, or goes on from it.
fn is_in(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// All references in a package's `src`, except that a module declares its children.
fn references(package: &Path) -> Vec<Reference> {
    let project = archunit::locate_project_from(&ProjectLocator::from_path(package)).expect("a package");
    let found = archunit::extract_dependencies(&project, SourceOptions::new()).expect("sources");
    for diagnostic in found.diagnostics() {
        // Of names that are neither a module's nor a crate's, such as `Vec`.
        assert_eq!(diagnostic.kind(), ExtractionDiagnosticKind::UnknownReference, "{diagnostic:?}");
    }
    let declared = found.iter().filter(|reference| reference.kind() != ImportKind::Mod);
    let mut references: Vec<_> = declared
        .filter_map(|reference| {
            Some(Reference {
                place: Place(reference.source().to_owned(), reference.line()),
                from: module_of(reference.source())?,
                to: reference.internal_target().and_then(module_of),
                written: reference.referenced_path().to_owned(),
            })
        })
        .collect();
    for path in files(&package.join("src"), &["rs"]) {
        let text = fs::read_to_string(&path).expect("a text");
        let name = path.strip_prefix(package).expect("a file of the package").display().to_string();
        assert!(!text.contains("archunit: ignore"), "{name}: what must be ignored belongs into another room");
        let module = module_of(&name).expect("a module");
        for (line, written) in written_out(text.parse().expect("Rust")) {
            let to = written.strip_prefix("crate::").map(str::to_owned);
            references.push(Reference { place: Place(name.clone(), line), from: module.clone(), to, written });
        }
    }
    // The same, once resolved and once as it is written: of the two the first is kept.
    references.sort_by_key(|reference| {
        (reference.place.clone(), reference.written.clone(), reference.to.is_none(), reference.to.clone())
    });
    references.dedup_by(|a, b| (&a.place, &a.written) == (&b.place, &b.written));
    references
}

/// The module that a file of `src` is.
fn module_of(file: &str) -> Option<String> {
    Some(file.strip_prefix("src/")?.strip_suffix(".rs")?.replace('/', "::"))
}

/// The paths of two and more names in a text, inside macros too, each with its line.
fn written_out(tokens: TokenStream) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    let mut path: Vec<Ident> = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                if colons != 2 {
                    end(&mut path, &mut paths);
                }
                path.push(name);
                colons = 0;
            }
            TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                end(&mut path, &mut paths);
                colons = 0;
                paths.extend(written_out(group.stream()));
            }
            _ => {
                end(&mut path, &mut paths);
                colons = 0;
            }
        }
    }
    end(&mut path, &mut paths);
    paths
}

fn end(path: &mut Vec<Ident>, paths: &mut Vec<(usize, String)>) {
    if let [first, _, ..] = path.as_slice() {
        let written: Vec<_> = path.iter().map(ToString::to_string).collect();
        paths.push((first.span().start().line, written.join("::")));
    }
    path.clear();
}

/// Files of code that are longer than they may be.
fn too_long(package: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for folder in FOLDERS_OF_CODE {
        for path in files(&package.join(folder), &ENDINGS_OF_CODE) {
            let lines = fs::read_to_string(&path).expect("a text").lines().count();
            let name = path.strip_prefix(package).expect("a file of the package").display().to_string();
            if lines > MOST_LINES && !STILL_TOO_LONG.contains(&name.as_str()) {
                faults.push(format!("{name} has {lines} lines, more than {MOST_LINES}: split it by subject"));
            }
        }
    }
    faults
}

/// The files below a folder whose names end so, in order.
fn files(folder: &Path, endings: &[&str]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let named = |names: &[&str], part: Option<&std::ffi::OsStr>| {
            part.is_some_and(|part| names.iter().any(|name| part == *name))
        };
        if path.is_dir() {
            if !named(&FOREIGN_FOLDERS, path.file_name()) {
                found.extend(files(&path, endings));
            }
        } else if named(endings, path.extension()) {
            found.insert(path);
        }
    }
    found
}

/// The packages that a program links, by its feature, and theirs.
fn linked(feature: &str) -> BTreeMap<String, BTreeSet<String>> {
    let arguments = "tree --locked --offline --edges normal --target x86_64-unknown-linux-gnu --prefix none --format";
    let output = Command::new(env!("CARGO"))
        .args(arguments.split(' '))
        .args(["{p} {f}", "--no-default-features", "--features", feature])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut linked: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).expect("UTF-8").lines() {
        // Such as `hyper v1.12.0 client,http1 (*)`.
        let mut words = line.split(' ');
        let name = words.next().expect("a name").to_owned();
        let features = words.skip(1).flat_map(|word| word.split(',')).map(str::to_owned);
        linked.entry(name).or_default().extend(features);
    }
    linked
}
