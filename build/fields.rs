//! The fields that `schemas/definition.schema.json` and `schemas/provider.schema.json` declare, and the constants that
//! the parser reads them through.
//!
//! A field stands in a schema and nowhere else: its name, its form, its default, its meaning, and whether it is a secret.
//! The build script writes a constant for each, so a name that no schema declares does not compile, and a field that
//! nothing reads is a warning. The tests include this file too, for the tables of the documents.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// The section of a schema that is a whole definition.
const DEFINITION: &str = "definition";

/// Where other schemas, and other parts of the same one, are referred to.
const DEFS: &str = "#/$defs/";

/// What is said of a field of either schema by a keyword of our own. JSON Schema ignores unknown keywords.
const KEYWORDS: [&str; 5] = ["x-form", "x-client", "x-hashed", "x-for-people", "x-connecting"];

/// A list of names: what it is called, what it means, which fields are in it. Only the first is for every section.
type List = (&'static str, &'static str, fn(&Schema) -> bool);

const LISTS: [List; 6] = [
    ("NAMES", "All of them.", |_| true),
    ("CLIENT", "Those that tell who the client is, in every step too.", |field| field.client),
    ("SECRET", "Those whose values are published in no form.", |field| field.secret && !field.hashed),
    ("HASHED", "Secrets whose hash is published: another value makes a token due.", |field| field.hashed),
    ("FOR_PEOPLE", "Those that say nothing of how a token is got.", |field| field.for_people),
    ("CONNECTING", "Those that say how a person connects, and nothing of how a token is got later.", |field| {
        field.connecting
    }),
];

/// The members of an object in the order in which they are written.
#[derive(Clone)]
pub(crate) struct Members<T>(Vec<(String, T)>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Members<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    fn find(&self, name: &str) -> Option<&T> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Members<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// What this program needs of a schema or of one field in it.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a keyword of the schema")]
pub(crate) struct Schema {
    #[serde(rename = "$defs")]
    defs: Members<Schema>,
    #[serde(rename = "$ref")]
    reference: Option<String>,
    #[serde(rename = "type")]
    types: Option<Value>,
    properties: Members<Schema>,
    items: Option<Box<Schema>>,
    #[serde(rename = "enum")]
    words: Option<Vec<Value>>,
    #[serde(rename = "const")]
    constant: Option<Value>,
    pattern: Option<String>,
    #[serde(rename = "minLength")]
    least_length: Option<u64>,
    #[serde(rename = "maxLength")]
    most_length: Option<u64>,
    #[serde(rename = "propertyNames")]
    names: Option<Box<Schema>>,
    not: Option<Box<Schema>>,
    default: Option<Value>,
    description: Option<String>,
    /// A secret, which never leaves the process.
    #[serde(rename = "writeOnly")]
    secret: bool,
    /// The form of a text, where the other keywords do not tell it.
    #[serde(rename = "x-form")]
    form: Option<String>,
    /// It tells who the client is, in every step too.
    #[serde(rename = "x-client")]
    client: bool,
    /// A secret whose hash is published: another value makes the token due.
    #[serde(rename = "x-hashed")]
    hashed: bool,
    /// It says nothing of how a token is got.
    #[serde(rename = "x-for-people")]
    for_people: bool,
    /// It says how a person connects, and nothing of how a token is got later: another value makes no token due.
    #[serde(rename = "x-connecting")]
    connecting: bool,
    #[serde(flatten)]
    others: Members<IgnoredAny>,
}

impl Schema {
    fn has_type(&self, name: &str) -> bool {
        self.types().any(|known| known == name)
    }

    /// The types that a value may have; `null` is none, since it is how a value is left out.
    fn types(&self) -> impl Iterator<Item = &str> {
        let types = match &self.types {
            Some(Value::Array(types)) => types.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        types.iter().filter_map(Value::as_str).filter(|name| *name != "null")
    }
}

/// The schemas of definitions and of declarations, which share their parts.
pub(crate) struct Schemas {
    definition: Schema,
    provider: Schema,
}

/// A field of a section, with what its schema refers to.
pub(crate) struct Field<'a> {
    pub(crate) name: &'a str,
    schema: Schema,
}

impl Field<'_> {
    /// What it means, for people.
    pub(crate) fn description(&self) -> &str {
        self.schema.description.as_deref().unwrap_or_default()
    }

    /// Its value where none is written.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the tables"))]
    pub(crate) fn default(&self) -> Option<&Value> {
        self.schema.default.as_ref()
    }

    /// The words that it may be, if it is one of a few.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.schema.words.iter().flatten().filter_map(Value::as_str).collect()
    }
}

impl Schemas {
    /// Reads the texts of both.
    pub(crate) fn read(definition: &str, provider: &str) -> Result<Self, Box<dyn Error>> {
        Ok(Self { definition: serde_json::from_str(definition)?, provider: serde_json::from_str(provider)? })
    }

    /// The names of all sections: the definition, and the parts of it that have fields.
    pub(crate) fn sections(&self) -> Vec<&str> {
        let parts = self.provider.defs.iter().filter(|(_, part)| part.properties.iter().next().is_some());
        [DEFINITION].into_iter().chain(parts.map(|(name, _)| name)).collect()
    }

    /// The fields of a section, in the schema's order.
    pub(crate) fn fields(&self, section: &str) -> Result<Vec<Field<'_>>, Box<dyn Error>> {
        let part = self.part(section).ok_or_else(|| format!("no schema has a section `{section}`"))?;
        part.properties.iter().map(|(name, schema)| Ok(Field { name, schema: self.resolved(schema)? })).collect()
    }

    /// Whether a section has a field from the definition, with the same meaning.
    pub(crate) fn is_shared(&self, section: &str, field: &str) -> bool {
        let reference = |section: &str| {
            let reference = self.part(section)?.properties.find(field)?.reference.as_deref()?;
            reference.split_once(DEFS).map(|(_, name)| name)
        };
        section != DEFINITION && reference(section).is_some() && reference(section) == reference(DEFINITION)
    }

    /// Whether a field of a declaration, or of a section of its grants, is for people only.
    #[cfg_attr(test, expect(dead_code, reason = "for the build script"))]
    pub(crate) fn is_for_people(&self, field: &str) -> bool {
        self.provider.properties.find(field).is_some_and(|field| field.for_people)
    }

    /// The version of the format of declarations.
    #[cfg_attr(test, expect(dead_code, reason = "for the build script"))]
    pub(crate) fn version(&self) -> Option<&Value> {
        self.provider.properties.find("version")?.constant.as_ref()
    }

    fn part(&self, name: &str) -> Option<&Schema> {
        self.definition.defs.find(name).or_else(|| self.provider.defs.find(name))
    }

    /// A schema with what it refers to; what it says itself counts more.
    fn resolved(&self, schema: &Schema) -> Result<Schema, Box<dyn Error>> {
        if let Some((unknown, _)) = schema.others.iter().find(|(name, _)| name.starts_with("x-")) {
            return Err(format!("`{unknown}` is none of {KEYWORDS:?}").into());
        }
        let Some(reference) = &schema.reference else { return Ok(schema.clone()) };
        let part = reference.split_once(DEFS).and_then(|(_, name)| self.part(name));
        let under = self.resolved(part.ok_or_else(|| format!("`{reference}` leads nowhere"))?)?;
        Ok(Schema {
            reference: under.reference.or_else(|| schema.reference.clone()),
            default: schema.default.clone().or(under.default),
            description: schema.description.clone().or(under.description),
            form: schema.form.clone().or(under.form),
            most_length: schema.most_length.or(under.most_length),
            secret: schema.secret || under.secret,
            client: schema.client || under.client,
            hashed: schema.hashed || under.hashed,
            for_people: schema.for_people || under.for_people,
            connecting: schema.connecting || under.connecting,
            ..under
        })
    }

    /// The constants: a module for each section, in Rust.
    pub(crate) fn constants(&self) -> Result<String, Box<dyn Error>> {
        let mut code = String::new();
        for section in self.sections() {
            let module = self.module(section).map_err(|error| format!("{section}: {error}"))?;
            writeln!(code, "/// `{section}`: its fields.\npub(crate) mod {section} {{\n{module}}}\n")?;
        }
        Ok(code)
    }

    /// The constants of one section. What it shares with the definition is read through the definition's.
    fn module(&self, section: &str) -> Result<String, Box<dyn Error>> {
        let fields = self.fields(section)?;
        let mut code = String::new();
        let mut used = BTreeSet::new();
        for field in fields.iter().filter(|field| !self.is_shared(section, field.name)) {
            let (form, constant) = constant(field).map_err(|error| format!("{}: {error}", field.name))?;
            used.extend(["Field", form]);
            used.extend(constant.contains("TimeDelta").then_some("TimeDelta"));
            writeln!(code, "    /// {}\n    {constant}", field.description())?;
        }
        let lists = if section == DEFINITION { LISTS.as_slice() } else { &LISTS[..1] };
        for (list, meaning, belongs) in lists {
            let names: Vec<&str> =
                fields.iter().filter(|field| belongs(&field.schema)).map(|field| field.name).collect();
            writeln!(code, "    /// {meaning}\n    pub(crate) const {list}: &[&str] = &{names:?};")?;
        }
        if !used.is_empty() {
            let used: Vec<&str> = used.into_iter().collect();
            code.insert_str(0, &format!("    use super::{{{}}};\n\n", used.join(", ")));
        }
        Ok(code)
    }
}

/// The form of a field and its constant: `pub(crate) const MIN_TTL: Field<Duration, TimeDelta> = ...`.
fn constant(field: &Field<'_>) -> Result<(&'static str, String), Box<dyn Error>> {
    if field.description().is_empty() {
        return Err("it needs a description".into());
    }
    let (form, value) = form(field)?;
    let (of_default, default) = match &field.schema.default {
        Some(default) => {
            let (name, value) =
                constant_default(field, form, default).ok_or_else(|| format!("no {form} can be {default}"))?;
            (format!(", {name}"), value)
        }
        None => (String::new(), "()".to_owned()),
    };
    let name = field.name;
    let constant = name.to_uppercase();
    let constant = format!(
        "pub(crate) const {constant}: Field<{form}{of_default}> = Field {{ name: {name:?}, form: {value}, default: \
         {default} }};"
    );
    Ok((form, constant))
}

/// The form of a field's value: its type in Rust, and what is known of this field's.
fn form(field: &Field<'_>) -> Result<(&'static str, String), Box<dyn Error>> {
    let schema = &field.schema;
    let unit = |form: &'static str| Ok((form, form.to_owned()));
    let section = |schema: &Schema| {
        let name = schema.reference.as_deref().and_then(|reference| reference.split_once(DEFS));
        name.map(|(_, name)| format!("super::{name}::NAMES")).ok_or("a section must be one of the `$defs`")
    };
    if schema.words.is_some() {
        return Ok(("Choice", format!("Choice(&{:?})", field.words())));
    }
    let types: Vec<&str> = schema.types().collect();
    match types[..] {
        ["string"] => text_form(schema),
        ["boolean"] => unit("Boolean"),
        ["object"] if schema.properties.iter().next().is_some() => {
            Ok(("Section", format!("Section({})", section(schema)?)))
        }
        ["object"] => {
            let reserved = schema.names.iter().flat_map(|names| &names.not).flat_map(|not| not.words.iter().flatten());
            let reserved: Vec<&str> = reserved.filter_map(Value::as_str).collect();
            Ok(("Object", format!("Object {{ reserved: &{reserved:?} }}")))
        }
        ["array"] => match &schema.items {
            Some(items) if items.reference.is_some() => Ok(("Sections", format!("Sections({})", section(items)?))),
            Some(items) if items.has_type("string") => unit("Texts"),
            _ => Err("what is in the list?".into()),
        },
        // One of several types, which the parser takes apart.
        _ => unit("Mixed"),
    }
}

/// The form of a text.
fn text_form(schema: &Schema) -> Result<(&'static str, String), Box<dyn Error>> {
    const WITHOUT_WHITE_SPACE_AROUND: &str = r"^\S(.*\S)?$";
    let form = match (schema.form.as_deref(), schema.pattern.as_deref(), schema.least_length) {
        (Some("duration"), ..) => return Ok(("Duration", "Duration { least: TimeDelta::seconds(1) }".to_owned())),
        (Some("duration or zero"), ..) => return Ok(("Duration", "Duration { least: TimeDelta::zero() }".to_owned())),
        (Some("line"), ..) => {
            let most = schema.most_length.ok_or("a line needs a `maxLength`")?;
            return Ok(("Line", format!("Line {{ most_characters: {most} }}")));
        }
        (Some("link"), ..) => "Link",
        (Some("path"), ..) => "Path",
        (Some("pem"), ..) => "Pem",
        (Some("template"), ..) => "Template",
        (Some("url"), ..) => "Url",
        (Some(form), ..) => return Err(format!("no form is called {form}").into()),
        (None, Some(WITHOUT_WHITE_SPACE_AROUND), _) if schema.secret => "Secret",
        (None, Some(WITHOUT_WHITE_SPACE_AROUND), _) => "Text",
        (None, Some(_), _) => return Err("a text with a pattern of its own needs an `x-form`".into()),
        (None, None, Some(1..)) => "Verbatim",
        (None, None, _) => "Name",
    };
    Ok((form, form.to_owned()))
}

/// A default: its type in Rust, and the value.
fn constant_default(field: &Field<'_>, form: &str, default: &Value) -> Option<(&'static str, String)> {
    match (form, default) {
        ("Boolean", Value::Bool(default)) => Some(("bool", default.to_string())),
        ("Duration", Value::String(text)) => Some(("TimeDelta", format!("TimeDelta::seconds({})", seconds(text)?))),
        ("Path", Value::String(path)) => Some(("&'static str", format!("{:?}", path.strip_prefix('/')?))),
        ("Choice", Value::String(word)) if !field.words().contains(&word.as_str()) => None,
        ("Choice" | "Name" | "Verbatim", Value::String(text)) => Some(("&'static str", format!("{text:?}"))),
        _ => None,
    }
}

/// The seconds of a duration such as `10m`.
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * unit)
}
