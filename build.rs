//! Writes two things that the program is compiled with: the declarations of `src/providers`, TOML for people and JSON for
//! the program, so that the binary needs one parser; and a constant for each field of `schemas`, for what reads them.

#[path = "build/fields.rs"]
mod fields;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

use serde_json::{Map, Value};

use self::fields::Schemas;

const PROVIDERS: &str = "src/providers";
const DEFINITION_SCHEMA: &str = "schemas/definition.schema.json";
const PROVIDER_SCHEMA: &str = "schemas/provider.schema.json";

fn main() -> Result<(), Box<dyn Error>> {
    for read in ["build.rs", "build", PROVIDERS, DEFINITION_SCHEMA, PROVIDER_SCHEMA] {
        println!("cargo::rerun-if-changed={read}");
    }
    let schemas = Schemas::read(&fs::read_to_string(DEFINITION_SCHEMA)?, &fs::read_to_string(PROVIDER_SCHEMA)?)?;
    #[expect(clippy::disallowed_methods, reason = "cargo says here where a build script writes")]
    let out_dir = env::var("OUT_DIR")?;
    let out_dir = Path::new(&out_dir);
    let providers = providers(&schemas)?;
    fs::write(out_dir.join("providers.rs"), providers.declarations)?;
    fs::write(out_dir.join("titles.rs"), providers.titles)?;
    fs::write(out_dir.join("fields.rs"), schemas.constants().map_err(|error| format!("schemas: {error}"))?)?;
    Ok(())
}

/// Two tables by the names of all providers, as Rust expressions.
struct Providers {
    /// Their declarations.
    declarations: String,
    /// What people call them.
    titles: String,
}

fn providers(schemas: &Schemas) -> Result<Providers, Box<dyn Error>> {
    let mut files = fs::read_dir(PROVIDERS)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, io::Error>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();

    let mut providers = Providers { declarations: String::from("&[\n"), titles: String::from("&[\n") };
    for file in files {
        let (title, declaration) = read(&file, schemas).map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(providers.declarations, "    ({name:?}, {:?}),", Value::Object(declaration).to_string())?;
        writeln!(providers.titles, "    ({name:?}, {title:?}),")?;
    }
    providers.declarations.push_str("]\n");
    providers.titles.push_str("]\n");
    Ok(providers)
}

/// A provider's title, and the members of its declaration that the program needs.
fn read(file: &Path, schemas: &Schemas) -> Result<(String, Map<String, Value>), Box<dyn Error>> {
    let mut declaration: Map<String, Value> = toml::from_str(&fs::read_to_string(file)?)?;
    let version = declaration.remove("version");
    if version.as_ref() != schemas.version() {
        return Err(format!("version must be {}", schemas.version().unwrap_or(&Value::Null)).into());
    }
    let title = declaration.get("title").and_then(Value::as_str).ok_or("title must be a string")?.to_owned();
    let grants = declaration.get_mut("grants").and_then(Value::as_object_mut);
    for grant in grants.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        grant.retain(|field, _| !schemas.is_for_people(field));
    }
    declaration.retain(|field, _| !schemas.is_for_people(field));
    Ok((title, declaration))
}
