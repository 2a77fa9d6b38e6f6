//! The fields of a definition or of a section of it, one by one: their types and forms.

use std::collections::BTreeMap;
use std::fmt;

use chrono::TimeDelta;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::SecretString;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use url::Url;

use super::{PlainHttp, parse_ascii_url, parse_endpoint_url};
use crate::domain::duration;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::provider::dialect::Pointer;
use crate::domain::redact;

/// Longest text that is shown to people as it is.
const LONGEST_LINE: usize = 200;

/// As much of a member's name as is shown.
const LONGEST_NAME: usize = 64;

const MUST_BE_AN_OBJECT: &str = "must be a JSON object";

/// The members of a JSON object in their order, repeated names included.
pub(super) struct Members<T>(pub(super) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
            type Value = Members<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(map.size_hint().unwrap_or_default());
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor(std::marker::PhantomData))
    }
}

/// The members of a JSON object, and the names of those that stand twice in an object of it, at whatever depth
/// (`params.audience`): of two, only the last would count, and nobody would hear of it.
pub(super) fn read_object(json: &str) -> Result<(Map<String, Value>, Vec<String>), SourceError> {
    let mut twice = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = WithoutLoss(&mut twice).deserialize(&mut deserializer).and_then(|value| {
        deserializer.end()?;
        Ok(value)
    });
    match value.map_err(|error| not_an_object(&error))? {
        Value::Object(members) => Ok((members, twice)),
        _ => Err(SourceError::new(ErrorCode::DefinitionInvalid, format!("the secret {MUST_BE_AN_OBJECT}"))),
    }
}

/// Reads a value and notes where a member stands twice.
struct WithoutLoss<'a>(&'a mut Vec<String>);

impl WithoutLoss<'_> {
    /// Puts a step before all places that were noted since there were `from` of them.
    fn prefix(&mut self, from: usize, step: impl fmt::Display) {
        for place in &mut self.0[from..] {
            let dot = if place.starts_with('[') { "" } else { "." };
            *place = format!("{step}{dot}{place}");
        }
    }
}

impl<'de> DeserializeSeed<'de> for WithoutLoss<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for WithoutLoss<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let noted = self.0.len();
            let Some(value) = items.next_element_seed(WithoutLoss(self.0))? else { return Ok(Value::Array(values)) };
            self.prefix(noted, format_args!("[{}]", values.len()));
            values.push(value);
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let noted = self.0.len();
            let value = map.next_value_seed(WithoutLoss(self.0))?;
            self.prefix(noted, redact::printable(&name, LONGEST_NAME));
            if members.contains_key(&name) {
                self.0.push(redact::printable(&name, LONGEST_NAME));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

/// Says why a text is no JSON object. serde's words for type errors repeat the value, so they are not used.
pub(super) fn not_an_object(error: &serde_json::Error) -> SourceError {
    let reason = match error.classify() {
        serde_json::error::Category::Data => MUST_BE_AN_OBJECT.to_owned(),
        _ => format!("is not JSON (line {}, column {})", error.line(), error.column()),
    };
    SourceError::new(ErrorCode::DefinitionInvalid, format!("the secret {reason}"))
}

/// The fields of one object, and all that is wrong with them.
pub(super) struct Fields {
    /// What goes before a field's name where it is told: `request.`.
    prefix: String,
    values: Map<String, Value>,
    faults: Vec<String>,
}

impl Fields {
    pub(super) fn new(values: Map<String, Value>) -> Self {
        Self { prefix: String::new(), values, faults: Vec::new() }
    }

    /// The members of a definition as it was written; a `null` counts as absent.
    pub(super) fn written(members: Map<String, Value>, known: &[&str]) -> Self {
        let mut fields = Self::new(Map::new());
        for (name, value) in members {
            if !known.contains(&name.as_str()) {
                fields.unknown(&name, known);
            } else if !value.is_null() {
                fields.values.insert(name, value);
            }
        }
        fields
    }

    /// The members of a member; `None` if there is none.
    pub(super) fn section(&mut self, name: &str, known: &[&str]) -> Option<Self> {
        let Value::Object(members) = self.values.get(name)? else {
            self.fault(name, "must be an object");
            return None;
        };
        Some(self.nested(name, members.clone(), known))
    }

    /// The same, without members if it is not there or no object.
    pub(super) fn section_or_empty(&mut self, name: &str, known: &[&str]) -> Self {
        self.section(name, known).unwrap_or_else(|| self.nested(name, Map::new(), known))
    }

    /// The members of each object of a list.
    pub(super) fn sections(&mut self, name: &str, known: &[&str]) -> Vec<Self> {
        let items = match self.values.get(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items.clone(),
            Some(_) => {
                self.fault(name, "must be a list of objects");
                Vec::new()
            }
        };
        let mut sections = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let name = format!("{name}[{index}]");
            match item {
                Value::Object(members) => sections.push(self.nested(&name, members, known)),
                _ => self.fault(&name, "must be an object"),
            }
        }
        sections
    }

    fn nested(&self, name: &str, members: Map<String, Value>, known: &[&str]) -> Self {
        let mut section = Self { prefix: format!("{}{name}.", self.prefix), values: members, faults: Vec::new() };
        let unknown: Vec<String> =
            section.values.keys().filter(|name| !known.contains(&name.as_str())).cloned().collect();
        for name in unknown {
            section.unknown(&name, known);
        }
        section
    }

    /// Takes over what is wrong with a section.
    pub(super) fn absorb(&mut self, section: Self) {
        section.faults.into_iter().for_each(|fault| self.note(fault));
    }

    /// Each thing once, however often it is looked at.
    fn note(&mut self, fault: String) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// The members themselves.
    pub(super) fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Goes on with other members under the same name.
    pub(super) fn replace_values(&mut self, values: Map<String, Value>) {
        self.values = values;
    }

    /// Puts another text in a field's place.
    pub(super) fn replace(&mut self, field: &str, text: String) {
        self.values.insert(field.to_owned(), Value::from(text));
    }

    /// Whether a field is there, of whatever type.
    pub(super) fn has(&self, field: &str) -> bool {
        self.values.contains_key(field)
    }

    /// All that was found wrong.
    pub(super) fn into_faults(self) -> Vec<String> {
        self.faults
    }

    pub(super) fn fault(&mut self, field: &str, reason: impl fmt::Display) {
        self.note(format!("`{}{field}` {reason}", self.prefix));
    }

    pub(super) fn required(&mut self, field: &str) {
        // A fault with its value was told already.
        if !self.has(field) {
            self.fault(field, "is required");
        }
    }

    fn unknown(&mut self, name: &str, known: &[&str]) {
        let nearest = nearest(name, known.iter().copied());
        let shown = redact::printable(name, LONGEST_NAME);
        match nearest {
            Some(field) => self.fault(&shown, format_args!("is unknown; did you mean `{field}`?")),
            None => self.fault(&shown, "is unknown"),
        }
    }

    /// A non-empty string without stray white space, which copying leaves behind and servers refuse.
    pub(super) fn string(&mut self, field: &str) -> Option<String> {
        let reason = match self.values.get(field)? {
            Value::String(text) if text.is_empty() => "must not be empty",
            Value::String(text) if text.trim() != text => "must not begin or end with white space",
            Value::String(text) => return Some(text.clone()),
            _ => "must be a string",
        };
        self.fault(field, reason);
        None
    }

    /// A non-empty string, white space and all.
    pub(super) fn text(&mut self, field: &str) -> Option<String> {
        match self.values.get(field)? {
            Value::String(text) if !text.is_empty() => return Some(text.clone()),
            Value::String(_) => self.fault(field, "must not be empty"),
            _ => self.fault(field, "must be a string"),
        }
        None
    }

    /// A string that is shown to people.
    pub(super) fn line(&mut self, field: &str) -> Option<String> {
        let line = self.string(field)?;
        let unfit = |character: char| character.is_control() || redact::is_noncharacter(character);
        if line.contains(unfit) || line.chars().count() > LONGEST_LINE {
            self.fault(field, format_args!("must be one line of at most {LONGEST_LINE} characters"));
            return None;
        }
        Some(line)
    }

    pub(super) fn secret(&mut self, field: &str) -> Option<SecretString> {
        self.string(field).map(SecretString::from)
    }

    /// A PEM text; `\n` written out (a frequent slip of copying into JSON) is read as a line end.
    pub(super) fn pem(&mut self, field: &str) -> Option<String> {
        let pem = self.values.get(field)?.as_str().map(|pem| pem.replace("\\n", "\n"));
        if pem.is_none() {
            self.fault(field, "must be a string");
        }
        pem
    }

    /// A field under either of its two names.
    pub(super) fn either(&mut self, field: &str, alias: &str) -> Option<String> {
        if self.values.contains_key(field) && self.values.contains_key(alias) {
            self.fault(alias, format_args!("is another name of `{field}`: give one"));
        }
        if self.values.contains_key(field) { self.string(field) } else { self.string(alias) }
    }

    pub(super) fn duration(&mut self, field: &str, least: TimeDelta) -> Option<TimeDelta> {
        let text = self.string(field)?;
        match duration::parse(&text) {
            Ok(duration) if duration >= least => return Some(duration),
            Ok(_) => self.fault(field, "must be longer"),
            Err(error) => self.fault(field, error),
        }
        None
    }

    pub(super) fn endpoint_url(&mut self, field: &str, plain_http: PlainHttp) -> Option<Url> {
        let text = self.string(field)?;
        match parse_endpoint_url(&text, plain_http) {
            Ok(url) => Some(url),
            Err(reason) => {
                self.fault(field, reason);
                None
            }
        }
    }

    /// A URL for people to follow.
    pub(super) fn link(&mut self, field: &str) -> Option<Url> {
        let url = parse_ascii_url(&self.string(field)?).filter(|url| matches!(url.scheme(), "https" | "http"));
        if url.is_none() {
            self.fault(field, "must be a URL such as https://wiki.example.com/runbook");
        }
        url
    }

    pub(super) fn boolean(&mut self, field: &str) -> Option<bool> {
        let value = self.values.get(field)?.as_bool();
        if value.is_none() {
            self.fault(field, "must be true or false");
        }
        value
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, field: &str, choices: &[(&str, T)]) -> Option<T> {
        let word = self.string(field)?;
        let chosen = choices.iter().find(|(name, _)| *name == word).map(|(_, chosen)| *chosen);
        if chosen.is_none() {
            let (last, others) = choices.split_last()?;
            let others = others.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            self.fault(field, format_args!("must be {others} or {}", last.0));
        }
        chosen
    }

    /// A name that may be empty, which means that there is none.
    pub(super) fn name(&mut self, field: &str, default: &str) -> Option<String> {
        let name = match self.values.get(field) {
            None => default.to_owned(),
            Some(Value::String(name)) => name.clone(),
            Some(_) => {
                self.fault(field, "must be a string");
                return None;
            }
        };
        (!name.is_empty()).then_some(name)
    }

    pub(super) fn pointer(&mut self, field: &str) -> Option<Pointer> {
        let Value::String(text) = self.values.get(field)? else {
            self.fault(field, "must be a string");
            return None;
        };
        let pointer = Pointer::parse(text);
        if pointer.is_none() {
            self.fault(field, "must be a path such as /data/access_token (a JSON Pointer, RFC 6901)");
        }
        pointer
    }

    /// A list of strings; empty if it is not there.
    pub(super) fn strings(&mut self, field: &str) -> Vec<String> {
        let Some(value) = self.values.get(field) else { return Vec::new() };
        let strings: Option<Vec<String>> =
            value.as_array().and_then(|values| values.iter().map(|value| value.as_str().map(str::to_owned)).collect());
        if strings.is_none() {
            self.fault(field, "must be a list of strings");
        }
        strings.unwrap_or_default()
    }

    pub(super) fn object(&mut self, field: &str) -> Vec<(String, Value)> {
        match self.values.get(field) {
            None => Vec::new(),
            Some(Value::Object(members)) => members.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            Some(_) => {
                self.fault(field, "must be an object");
                Vec::new()
            }
        }
    }

    /// The certificates of a PEM text, DER, at least one.
    pub(super) fn certificates(&mut self, field: &str) -> Option<Vec<CertificateDer<'static>>> {
        let pem = self.pem(field)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => Some(chain),
            _ => {
                self.fault(field, "must be a PEM certificate");
                None
            }
        }
    }
}

/// What somebody may have meant.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|field| (strsim::osa_distance(&name.to_lowercase(), field), field))
        .min()
        .filter(|(distance, field)| *distance <= field.len() / 2)
        .map(|(_, field)| field)
}

/// JSON with the members of every object sorted, so that equal values have equal hashes.
pub(super) fn write_canonical(value: &Value, into: &mut String) {
    match value {
        Value::Object(members) => {
            into.push('{');
            for (name, value) in members.iter().collect::<BTreeMap<_, _>>() {
                into.push_str(&Value::from(name.as_str()).to_string());
                into.push(':');
                write_canonical(value, into);
                into.push(',');
            }
            into.push('}');
        }
        other => into.push_str(&other.to_string()),
    }
}
