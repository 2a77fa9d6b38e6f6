//! The fields of one object, a definition or a section of it, each read in the form that its schema gives it, and all that
//! is wrong with them.

use std::fmt;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value};

use super::forms::{Form, FormWithDefault};
use super::schema::{Choice, Choices, ChoicesOrDefault, Field, Mixed, Object, Pem, Section, Sections, Url};
use super::{PlainHttp, parse_endpoint_url};
use crate::domain::redact;

/// As much of a member's name as is shown.
pub(super) const LONGEST_NAME: usize = 64;

/// What is wrong, in the order in which it was found; each thing once, however often it was looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Vec<String>);

impl Faults {
    fn note(&mut self, fault: String) {
        if !self.0.contains(&fault) {
            self.0.push(fault);
        }
    }

    pub(super) fn absorb(&mut self, others: Self) {
        others.0.into_iter().for_each(|fault| self.note(fault));
    }

    /// Takes over a part: its value, or what is wrong with it.
    pub(super) fn keep<T>(&mut self, part: Result<T, Self>) -> Option<T> {
        match part {
            Ok(value) => Some(value),
            Err(faults) => {
                self.absorb(faults);
                None
            }
        }
    }

    /// The same for a part that has a value whatever is wrong with it: the other parts are checked against it, so that
    /// all is told at once.
    pub(super) fn keep_read<T>(&mut self, (value, faults): (T, Self)) -> T {
        self.absorb(faults);
        value
    }

    /// What was put together of parts, if nothing is wrong. `None` only if one of them had faults.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them in one line.
    pub(super) fn joined(&self) -> String {
        self.0.join("; ")
    }
}

/// The fields of one object, and what reading them found wrong.
pub(super) struct Fields<'a> {
    /// What goes before a field's name where it is told: `request.`.
    prefix: String,
    /// `None`: the object is not there, which is as good as an empty one.
    values: Option<&'a Map<String, Value>>,
    faults: Faults,
}

impl<'a> Fields<'a> {
    pub(super) fn new(values: &'a Map<String, Value>) -> Self {
        Self { prefix: String::new(), values: Some(values), faults: Faults::default() }
    }

    /// The same fields for another part of their reading, which has faults of its own.
    pub(super) fn part(&self) -> Self {
        Self { prefix: self.prefix.clone(), values: self.values, faults: Faults::default() }
    }

    /// Other values under the same name, with the faults that were found.
    pub(super) fn with_values(self, values: &Map<String, Value>) -> Fields<'_> {
        Fields { prefix: self.prefix, values: Some(values), faults: self.faults }
    }

    /// The fields of a member that is an object; none if it is not there.
    pub(super) fn section(&self, field: Field<Section>) -> Self {
        let empty = || self.nested(field.name, None, &[]);
        match self.optional_section(field) {
            Ok(section) => section.unwrap_or_else(empty),
            Err(faults) => Self { faults, ..empty() },
        }
    }

    /// The same; `None` if it is not there.
    pub(super) fn optional_section(&self, field: Field<Section>) -> Result<Option<Self>, Faults> {
        let Some(value) = self.value(field.name) else { return Ok(None) };
        let mut part = self.part();
        part.member(field.name, value, field.form.0).map(Some).ok_or(part.faults)
    }

    /// The fields of each object of a list.
    pub(super) fn sections(&mut self, field: Field<Sections>) -> Vec<Self> {
        let items = match self.value(field.name) {
            None => &[],
            Some(Value::Array(items)) => items.as_slice(),
            Some(_) => {
                self.fault(field, "must be a list of objects");
                &[]
            }
        };
        let mut sections = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            sections.extend(self.member(&format!("{}[{index}]", field.name), item, field.form.0));
        }
        sections
    }

    /// The fields of an object at that place. `None` only if a fault was noted.
    pub(super) fn member(&mut self, place: &str, value: &'a Value, known: &[&str]) -> Option<Self> {
        let Value::Object(members) = value else {
            self.fault_at(place, "must be an object");
            return None;
        };
        Some(self.nested(place, Some(members), known))
    }

    fn nested(&self, name: &str, members: Option<&'a Map<String, Value>>, known: &[&str]) -> Self {
        let mut section =
            Self { prefix: format!("{}{name}.", self.prefix), values: members, faults: Faults::default() };
        for name in members.into_iter().flat_map(Map::keys).filter(|name| !known.contains(&name.as_str())) {
            section.unknown(name, known);
        }
        section
    }

    /// Takes over a part: its value, or what is wrong with it.
    pub(super) fn keep<T>(&mut self, part: Result<T, Faults>) -> Option<T> {
        self.faults.keep(part)
    }

    /// The same for a part that has a value whatever is wrong with it.
    pub(super) fn keep_read<T>(&mut self, part: (T, Faults)) -> T {
        self.faults.keep_read(part)
    }

    /// What was read, if nothing is wrong.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Faults> {
        self.faults.finish(Some(value))
    }

    /// The same for what could not be read: `None` only if it has a fault, which is noted here or by another part.
    pub(super) fn finish_some<T>(self, value: Option<T>) -> Result<T, Faults> {
        self.faults.finish(value)
    }

    /// What was read, and what is wrong with it.
    pub(super) fn finish_read<T>(self, value: T) -> (T, Faults) {
        (value, self.faults)
    }

    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.values?.get(name)
    }

    /// The members themselves.
    pub(super) fn values(&self) -> Option<&'a Map<String, Value>> {
        self.values
    }

    /// Whether a field is there, of whatever type.
    pub(super) fn has<F: Copy, D: Copy>(&self, field: Field<F, D>) -> bool {
        self.value(field.name).is_some()
    }

    /// Whether there is a value at a path such as `params.account_id`.
    pub(super) fn has_path(&self, path: &str) -> bool {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let value = self.value(first);
        match rest {
            Some(rest) => value.is_some_and(|value| value.pointer(&format!("/{}", rest.replace('.', "/"))).is_some()),
            None => value.is_some(),
        }
    }

    pub(super) fn fault<F: Copy, D: Copy>(&mut self, field: Field<F, D>, reason: impl fmt::Display) {
        self.fault_at(field.name, reason);
    }

    /// The same for a place within a field, `headers.Authorization`.
    pub(super) fn fault_at(&mut self, place: &str, reason: impl fmt::Display) {
        self.faults.note(format!("`{}{place}` {reason}", self.prefix));
    }

    pub(super) fn required<F: Copy, D: Copy>(&mut self, field: Field<F, D>) {
        // A fault with its value was told already.
        if self.value(field.name).is_none() {
            self.fault_at(field.name, "is required");
        }
    }

    fn unknown(&mut self, name: &str, known: &[&str]) {
        let nearest = nearest(name, known.iter().copied());
        let shown = redact::printable(name, LONGEST_NAME);
        match nearest {
            Some(field) => self.fault_at(&shown, format_args!("is unknown; did you mean `{field}`?")),
            None => self.fault_at(&shown, "is unknown"),
        }
    }

    /// The value of a field; `None` if it is not there, or has a fault.
    pub(super) fn get<F: Form, D: Copy>(&mut self, field: Field<F, D>) -> Option<F::Value> {
        field.form.read(self, field.name)
    }

    /// The same with the schema's default in its place.
    pub(super) fn get_or_default<F: FormWithDefault>(&mut self, field: Field<F, F::Default>) -> F::Value {
        field.form.read(self, field.name).unwrap_or_else(|| F::or(field.default))
    }

    /// A text as it stands there, of whatever form.
    pub(super) fn unchecked_text<F: Copy>(&self, field: Field<F>) -> Option<&'a str> {
        self.value(field.name)?.as_str()
    }

    /// A field under either of its two names.
    pub(super) fn either<F: Form>(&mut self, field: Field<F>, alias: Field<F>) -> Option<F::Value> {
        if self.has(field) && self.has(alias) {
            self.fault_at(alias.name, format_args!("is another name of `{}`: give one", field.name));
        }
        self.get(if self.has(field) { field } else { alias })
    }

    pub(super) fn endpoint_url(&mut self, field: Field<Url>, plain_http: PlainHttp) -> Option<url::Url> {
        let text = self.text(field.name)?;
        parse_endpoint_url(&text, plain_http).map_err(|reason| self.fault(field, reason)).ok()
    }

    /// What one of a few words means.
    pub(super) fn choice<T: Copy>(&mut self, choices: &Choices<T>) -> Option<T> {
        let word = self.text(choices.name)?;
        let chosen = choices.meanings.iter().find(|(name, _)| *name == word).map(|(_, chosen)| *chosen);
        if chosen.is_none() {
            let (last, others) = choices.meanings.split_last()?;
            let others = others.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let or = if others.is_empty() { "" } else { " or " };
            self.fault_at(choices.name, format_args!("must be {others}{or}{}", last.0));
        }
        chosen
    }

    pub(super) fn choice_or_default<T: Copy>(&mut self, choices: &ChoicesOrDefault<T>) -> T {
        self.choice(&choices.choices).unwrap_or(choices.default)
    }

    /// One of a few words, which the caller judges.
    pub(super) fn word(&mut self, field: Field<Choice>) -> Option<String> {
        self.text(field.name)
    }

    /// A value of one of several types, which the caller takes apart.
    pub(super) fn mixed(&self, field: Field<Mixed>) -> Option<&'a Value> {
        self.value(field.name)
    }

    /// An object with members of any name.
    pub(super) fn object(&mut self, field: Field<Object>) -> Option<&'a Map<String, Value>> {
        let members = self.value(field.name)?.as_object();
        if members.is_none() {
            self.fault(field, "must be an object");
        }
        members
    }

    /// The certificates of a PEM text, DER, at least one.
    pub(super) fn certificates(&mut self, field: Field<Pem>) -> Option<Vec<CertificateDer<'static>>> {
        let pem = self.get(field)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => Some(chain),
            _ => {
                self.fault(field, "must be a PEM certificate");
                None
            }
        }
    }

    /// A non-empty string without stray white space, which copying leaves behind and servers refuse.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let reason = match self.value(name)? {
            Value::String(text) if text.is_empty() => "must not be empty",
            Value::String(text) if text.trim() != text => "must not begin or end with white space",
            Value::String(text) => return Some(text.clone()),
            _ => "must be a string",
        };
        self.fault_at(name, reason);
        None
    }
}

/// The members of a definition as it was written, without those that no schema has; a `null` counts as absent.
pub(super) fn known_members(members: Map<String, Value>, known: &[&str]) -> (Map<String, Value>, Faults) {
    let mut fields = Fields { prefix: String::new(), values: None, faults: Faults::default() };
    let mut values = Map::new();
    for (name, value) in members {
        if !known.contains(&name.as_str()) {
            fields.unknown(&name, known);
        } else if !value.is_null() {
            values.insert(name, value);
        }
    }
    (values, fields.faults)
}

/// What somebody may have meant.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|field| (strsim::osa_distance(&name.to_lowercase(), field), field))
        .min()
        .filter(|(distance, field)| *distance <= field.len() / 2)
        .map(|(_, field)| field)
}
