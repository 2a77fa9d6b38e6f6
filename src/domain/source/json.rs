//! The JSON of a secret: what stands twice in it is noted, and no fault repeats a value.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::fields::LONGEST_NAME;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::redact;

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
