//! The hashes of a definition: another value means that something was changed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::PUBLIC_PARAMS;
use super::schema::definition;
use crate::domain::redact;

/// SHA-256 (hex) over the fields without anything that may be secret: whoever reads a token reads this hash too, and may
/// know all that goes into it but a password, which could then be guessed.
pub(super) fn public_sha256(fields: &Map<String, Value>) -> String {
    full_sha256(&without_secrets(fields))
}

/// SHA-256 (hex) over the fields by name, secrets included.
pub(super) fn full_sha256(fields: &Map<String, Value>) -> String {
    let mut canonical = String::new();
    for (name, value) in fields.iter().collect::<BTreeMap<_, _>>() {
        if definition::FOR_PEOPLE.contains(&name.as_str()) {
            continue;
        }
        canonical.push_str(name);
        canonical.push('=');
        if definition::HASHED.contains(&name.as_str()) {
            canonical.push_str(&redact::sha256_hex(value.as_str().unwrap_or_default().as_bytes()));
        } else {
            write_canonical(value, &mut canonical);
        }
        canonical.push('\n');
    }
    redact::sha256_hex(canonical.as_bytes())
}

/// A definition, or a section of it, without anything that may be secret.
fn without_secrets(fields: &Map<String, Value>) -> Map<String, Value> {
    let section = |value: &Value| match value {
        Value::Object(section) => Value::Object(without_secrets(section)),
        other => other.clone(),
    };
    let shown = fields.iter().filter(|(name, _)| !definition::SECRET.contains(&name.as_str()));
    shown
        .filter_map(|(name, value)| {
            let value = match value {
                Value::Object(params) if name == definition::PARAMS.name => {
                    let public = params.iter().filter(|(name, _)| PUBLIC_PARAMS.contains(&name.as_str()));
                    let public: Map<_, _> = public.map(|(name, value)| (name.clone(), value.clone())).collect();
                    // One that is left out leaves no trace.
                    (!public.is_empty()).then_some(Value::Object(public))?
                }
                Value::Object(grants) if name == definition::GRANTS.name => {
                    grants.iter().map(|(name, grant)| (name.clone(), section(grant))).collect()
                }
                Value::Array(steps) if name == definition::STEPS.name => steps.iter().map(section).collect(),
                // A URL's query may hold an API key.
                Value::String(url) if url.contains("://") => url.split('?').next().unwrap_or_default().into(),
                other => other.clone(),
            };
            Some((name.clone(), value))
        })
        .collect()
}

/// JSON with the members of every object sorted, so that equal values have equal hashes.
fn write_canonical(value: &Value, into: &mut String) {
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
