//! Embeds the declarations of `src/providers`: TOML for people, JSON for the program, so that the binary needs one parser.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

use serde_json::{Map, Value};

/// What a declaration holds for people only.
const FOR_PEOPLE: [&str; 5] = ["version", "title", "documentation", "notes", "example"];

/// The version of the format.
const VERSION: u64 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/providers");
    let mut files =
        fs::read_dir("src/providers")?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, io::Error>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();

    let mut table = String::from("&[\n");
    for file in files {
        let declaration = read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(table, "    ({name:?}, {:?}),", Value::Object(declaration).to_string())?;
    }
    table.push_str("]\n");
    #[expect(clippy::disallowed_methods, reason = "cargo says here where a build script writes")]
    let out_dir = env::var("OUT_DIR")?;
    fs::write(Path::new(&out_dir).join("providers.rs"), table)?;
    Ok(())
}

/// The members of a declaration that the program needs.
fn read(file: &Path) -> Result<Map<String, Value>, Box<dyn Error>> {
    let mut declaration: Map<String, Value> = toml::from_str(&fs::read_to_string(file)?)?;
    if declaration.get("version").and_then(Value::as_u64) != Some(VERSION) {
        return Err(format!("version must be {VERSION}").into());
    }
    let grants = declaration.get_mut("grants").and_then(Value::as_object_mut);
    for grant in grants.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        grant.retain(|field, _| !FOR_PEOPLE.contains(&field.as_str()));
    }
    declaration.retain(|field, _| !FOR_PEOPLE.contains(&field.as_str()));
    Ok(declaration)
}
