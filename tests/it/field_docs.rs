//! A field stands in a schema and nowhere else: the tables of the documents are written from there (`make docs`), and the
//! parser knows the names that stand there and no others.

#[path = "../../build/fields.rs"]
mod fields;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use token_harvester::domain::provider::{self, CUSTOM};
use token_harvester::domain::source::{Definition, PlainHttp};

use self::fields::{Field, Schemas};
use crate::provider_docs::assert_written;
use crate::support::process::ROOT;
use crate::support::token_endpoint::and;

const DEFINITION_SCHEMA: &str = "schemas/definition.schema.json";
const PROVIDER_SCHEMA: &str = "schemas/provider.schema.json";

/// The documents with tables of fields.
const DOCUMENTS: [&str; 2] = ["README.md", "docs/declarations.md"];

/// What stands before the fields of a section, and after them.
const BEGIN: &str = "<!-- `make docs` writes the fields of ";
const END: &str = "<!-- end of the fields -->";

/// More words than that are not listed in a table.
const MOST_WORDS: usize = 8;

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn schemas() -> Schemas {
    Schemas::read(&text(DEFINITION_SCHEMA), &text(PROVIDER_SCHEMA)).expect("schemas")
}

#[test]
fn the_tables_of_fields_say_what_the_schemas_do() {
    for document in DOCUMENTS {
        assert_written(document, &with_fields(&text(document), &schemas()));
    }
}

#[test]
fn every_section_of_the_schemas_has_its_fields_in_a_document() {
    let documents = DOCUMENTS.map(text).concat();
    for section in schemas().sections() {
        assert!(documents.contains(&format!("{BEGIN}{section} ")), "{section}");
    }
    let declarations = text("docs/declarations.md");
    let schema: Value = serde_json::from_str(&text(PROVIDER_SCHEMA)).expect("JSON");
    for field in schema["properties"].as_object().expect("fields").keys() {
        assert!(["`", "["].iter().any(|before| declarations.contains(&format!("{before}{field}"))), "{field}");
    }
}

#[test]
fn the_schema_of_definitions_names_every_provider() {
    let schema = text(DEFINITION_SCHEMA);
    let names = [CUSTOM].into_iter().chain(provider::names()).map(|name| format!("\n            \"{name}\""));
    let names: Vec<String> = names.collect();
    let begin = "\"provider\": {\n          \"enum\": [";
    let (before, rest) = schema.split_once(begin).expect("the field `provider`");
    let (_, after) = rest.split_once("\n          ]").expect("the end of its words");
    assert_written(DEFINITION_SCHEMA, &format!("{before}{begin}{}\n          ]{after}", names.join(",")));
}

#[test]
fn the_parser_knows_the_fields_of_the_schemas_and_no_others() {
    let schemas = schemas();
    for section in schemas.sections() {
        let fields = schemas.fields(section).expect("fields");
        for name in fields.iter().map(|field| field.name) {
            let told = fault(section, name);
            assert!(!told.contains(&format!("{name}` is unknown")), "{told}");
            // As near to the field as a slip of the pen is, and to none of the others.
            let slip = format!("{name}~");
            let told = fault(section, &slip);
            assert!(told.contains(&format!("{slip}` is unknown; did you mean `{name}`?")), "{told}");
        }
    }
}

/// What the parser says of a definition with a field of no good value in that section.
fn fault(section: &str, field: &str) -> String {
    let object = json!({field: {"no": ["good"]}});
    let fields = match section {
        "definition" => object,
        "authorize_rename" => json!({"authorize": {"rename": object}}),
        "device_rename" => json!({"device": {"rename": object}}),
        "error_rule" => json!({"errors": [object]}),
        "expiry" => json!({"response": {"expires": object}}),
        "grant" => json!({"grants": {"client_credentials": object}}),
        "step" => json!({"steps": [object]}),
        _ => json!({section: object}),
    };
    Definition::parse(&fields.to_string(), PlainHttp::Refused).expect_err("a fault").message
}

/// A schema with one more field in a section: the one edit that a field takes.
fn with_field(schema: &str, pointer: &str, name: &str, field: Value) -> String {
    let mut schema: Value = serde_json::from_str(schema).expect("JSON");
    let fields = schema.pointer_mut(pointer).and_then(Value::as_object_mut).expect("fields");
    fields.insert(name.to_owned(), field);
    schema.to_string()
}

#[test]
fn adding_a_field_takes_one_edit() {
    let wait = json!({
        "$ref": "provider.schema.json#/$defs/duration", "default": "90s", "description": "How long to wait",
    });
    let password = json!({
        "$ref": "provider.schema.json#/$defs/text", "writeOnly": true, "x-client": true, "description": "A password",
    });
    let colour = json!({"enum": ["red", "blue", null], "default": "blue", "description": "Which colour"});
    let definition = with_field(&text(DEFINITION_SCHEMA), "/$defs/definition/properties", "wait", wait);
    let definition = with_field(&definition, "/$defs/definition/properties", "password", password);
    let provider = with_field(&text(PROVIDER_SCHEMA), "/$defs/request/properties", "colour", colour);
    let schemas = Schemas::read(&definition, &provider).expect("schemas");

    let constants = schemas.constants().expect("constants");
    for constant in [
        r#"const WAIT: Field<Duration, TimeDelta> = Field { name: "wait", form: Duration { least: TimeDelta::seconds(1) }, default: TimeDelta::seconds(90) };"#,
        r#"const PASSWORD: Field<Secret> = Field { name: "password", form: Secret, default: () };"#,
        r#"const COLOUR: Field<Choice, &'static str> = Field { name: "colour", form: Choice(&["red", "blue"]), default: "blue" };"#,
    ] {
        assert!(constants.contains(constant), "{constant}");
    }
    // From these lists come "did you mean", what a step knows of the client, and what is in no published hash.
    let lists = |name: &str| -> Vec<&str> {
        constants.lines().filter(|line| line.contains(" &[&str] = ") && line.contains(&format!("{name:?}"))).collect()
    };
    let in_lists = |name: &str| -> Vec<&str> {
        lists(name).iter().filter_map(|line| line.trim().strip_prefix("pub(crate) const ")?.split(':').next()).collect()
    };
    assert_eq!(in_lists("wait"), ["NAMES"]);
    assert_eq!(in_lists("password"), ["NAMES", "CLIENT", "SECRET"]);
    assert_eq!(in_lists("colour"), ["NAMES"]);

    let documents = DOCUMENTS.map(|document| with_fields(&text(document), &schemas)).concat();
    for row in [
        "| `wait` | How long to wait; default: `\"90s\"` |",
        "| `password` | A password |",
        "| `colour` | `\"red\"` or `\"blue\"` (default). Which colour |",
    ] {
        assert!(documents.contains(row), "{row}");
    }
}

#[test]
fn a_field_that_the_constants_cannot_say_stops_the_build() {
    for (field, expected) in [
        (json!({"type": "string", "pattern": "^a$"}), "new: a text with a pattern of its own needs an `x-form`"),
        (json!({"type": "string", "x-form": "poem"}), "new: no form is called poem"),
        (json!({"type": "string", "x-secret": true}), "`x-secret` is none of"),
        (json!({"type": "string", "description": ""}), "new: it needs a description"),
        (json!({"$ref": "#/$defs/nothing"}), "`#/$defs/nothing` leads nowhere"),
        (json!({"$ref": "#/$defs/duration", "default": "soon"}), "new: no Duration can be \"soon\""),
        (json!({"enum": ["a", "b"], "default": "c"}), "new: no Choice can be \"c\""),
    ] {
        let field = and(json!({"description": "New"}), field);
        let provider = with_field(&text(PROVIDER_SCHEMA), "/$defs/request/properties", "new", field);
        let schemas = Schemas::read(&text(DEFINITION_SCHEMA), &provider).expect("schemas");
        let told = schemas.constants().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.starts_with(&format!("request: {expected}")), "{told} instead of {expected}");
    }
}

/// A document with the fields of each section where its marks are.
fn with_fields(document: &str, schemas: &Schemas) -> String {
    let mut written = String::new();
    let mut rest = document;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (section, _) = after.split_once(' ').expect("a section's name");
        let (mark, after) = after.split_once('\n').expect("the end of the line");
        let (_, after) = after.split_once(END).expect("the end of the fields");
        write!(written, "{before}{BEGIN}{mark}\n{}{END}", block(section, schemas)).expect("room");
        rest = after;
    }
    written + rest
}

/// The fields of a section: a table, and the names of those that are a definition's.
fn block(section: &str, schemas: &Schemas) -> String {
    let fields = schemas.fields(section).expect("a section");
    let (shared, own): (Vec<_>, Vec<_>) = fields.iter().partition(|field| schemas.is_shared(section, field.name));
    let mut parts = Vec::new();
    if !own.is_empty() {
        parts.push(format!("| field | meaning |\n|---|---|\n{}", own.into_iter().map(row).collect::<String>()));
    }
    if !shared.is_empty() {
        let names: Vec<String> = shared.iter().map(|field| format!("`{}`", field.name)).collect();
        parts.push(format!("The same as in a definition: {}.\n", names.join(", ")));
    }
    format!("\n{}\n", parts.join("\n"))
}

fn row(field: &Field<'_>) -> String {
    let words = field.words();
    let literal = |value: &Value| format!("`{value}`");
    let default = field.default();
    let mut meaning = String::new();
    if (1..=MOST_WORDS).contains(&words.len()) {
        let words: Vec<String> = words.iter().map(|word| json!(word)).map(|word| mark(&word, default)).collect();
        let (last, others) = words.split_last().expect("a word");
        write!(meaning, "{} or {last}. ", others.join(", ")).expect("room");
    }
    meaning.push_str(field.description());
    if let Some(default) = default.filter(|_| words.is_empty()) {
        write!(meaning, "; default: {}", literal(default)).expect("room");
    }
    format!("| `{}` | {meaning} |\n", field.name)
}

fn mark(word: &Value, default: Option<&Value>) -> String {
    if Some(word) == default { format!("`{word}` (default)") } else { format!("`{word}`") }
}
