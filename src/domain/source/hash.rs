//! The hashes of a definition: another value means that something was changed.

use serde_json::{Map, Value};

use super::PUBLIC_PARAMS;
use super::schema::definition;
use crate::domain::redact;

/// SHA-256 (hex) over the fields without anything that may be secret: whoever reads a token reads this hash too, and may
/// know all that goes into it but a password, which could then be guessed.
pub(super) fn public_sha256(fields: &Map<String, Value>) -> String {
    let mut shown = fields.clone();
    leave_out_secrets(&mut shown);
    full_sha256(&shown)
}

/// SHA-256 (hex) over the fields by name, secrets included.
pub(super) fn full_sha256(fields: &Map<String, Value>) -> String {
    let mut canonical = String::new();
    for (name, value) in sorted(fields) {
        if definition::FOR_PEOPLE.contains(&name) {
            continue;
        }
        canonical.push_str(name);
        canonical.push('=');
        if definition::HASHED.contains(&name) {
            canonical.push_str(&redact::sha256_hex(value.as_str().unwrap_or_default().as_bytes()));
        } else {
            write_canonical(value, &mut canonical);
        }
        canonical.push('\n');
    }
    redact::sha256_hex(canonical.as_bytes())
}

/// Takes out of a definition, or of a section of it, all that may be secret.
fn leave_out_secrets(fields: &mut Map<String, Value>) {
    let section = |value: &mut Value| {
        if let Value::Object(section) = value {
            leave_out_secrets(section);
        }
    };
    fields.retain(|name, value| {
        match value {
            _ if definition::SECRET.contains(&name.as_str()) => return false,
            // Another way to the provider makes no token due.
            _ if definition::CONNECTING.contains(&name.as_str()) => return false,
            Value::Object(params) if name == definition::PARAMS.name => {
                params.retain(|name, _| PUBLIC_PARAMS.contains(&name.as_str()));
                // One that is left out leaves no trace.
                return !params.is_empty();
            }
            Value::Object(grants) if name == definition::GRANTS.name => grants.values_mut().for_each(section),
            Value::Array(steps) if name == definition::STEPS.name => steps.iter_mut().for_each(section),
            // A URL's query may hold an API key.
            Value::String(url) if url.contains("://") => url.truncate(url.find('?').unwrap_or(url.len())),
            _ => {}
        }
        true
    });
}

/// JSON with the members of every object sorted, so that equal values have equal hashes.
fn write_canonical(value: &Value, into: &mut String) {
    match value {
        Value::Object(members) => {
            into.push('{');
            for (name, value) in sorted(members) {
                into.push_str(&Value::from(name).to_string());
                into.push(':');
                write_canonical(value, into);
                into.push(',');
            }
            into.push('}');
        }
        other => into.push_str(&other.to_string()),
    }
}

/// The members of an object by name, in whatever order the object keeps them.
fn sorted(members: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut members: Vec<_> = members.iter().map(|(name, value)| (name.as_str(), value)).collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    members
}
