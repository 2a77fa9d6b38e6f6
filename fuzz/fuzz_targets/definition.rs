//! Any text as a secret, and the fixtures' definitions with anything changed in them: what is wrong is told without any
//! value, and what is right makes a request.
//!
//! An input whose first byte is even is a text; else it is the index of a case and what to change in its definition.

#![no_main]

use arbitrary::{Arbitrary as _, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use token_harvester::domain::credential::Seed;
use token_harvester::domain::oauth::{Exchange, Request};
use token_harvester::domain::source::{Catalog, Definition, Endpoint, PlainHttp, Secret};
use url::Url;

/// In every value that stands for a secret, and in every 16 characters of a long one.
const MARK: &str = "S3CR3T";

/// Every field whose value is a secret.
const SECRET_FIELDS: [&str; 5] = ["client_secret", "api_secret", "refresh_token", "access_token", "private_key"];

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((kind, text)) if kind % 2 == 0 => read(&String::from_utf8_lossy(text)),
        Some((_, changes)) => {
            if let Ok(text) = changed(&mut Unstructured::new(changes)) {
                read(&text);
            }
        }
        None => {}
    }
});

/// Reads a text in both ways.
fn read(text: &str) {
    let only_secrets = only_secrets_are_marked(text);
    let check = |fault: &str| assert!(!only_secrets || !fault.contains(MARK), "a fault shows a secret: {fault}");
    for plain_http in [PlainHttp::Refused, PlainHttp::OnLoopback] {
        match Definition::parse(text, plain_http) {
            Ok(Some(definition)) => {
                let shown = format!("{:?} {definition:?}", request(&definition));
                assert!(!only_secrets || !shown.contains(MARK), "Debug shows a secret: {shown}");
                let plain = |url: &Url| url.scheme() != "https";
                let refused = plain_http == PlainHttp::Refused;
                assert!(!refused || !urls(&definition).any(plain), "it calls plain http: {definition:?}");
            }
            Ok(None) => {}
            Err(fault) => check(&fault.message),
        }
    }
    let secrets = vec![Secret { name: "acme".to_owned(), content: Ok(SecretString::from(text)) }];
    for (name, source) in Catalog::new(secrets, PlainHttp::OnLoopback).iter() {
        assert!(!name.is_empty());
        if let Err(fault) = source {
            check(&fault.message);
        }
    }
}

/// All that it calls.
fn urls(definition: &Definition) -> impl Iterator<Item = &Url> {
    let flows = [&definition.flow].into_iter().chain(definition.then.as_deref()).chain(&definition.steps);
    let endpoints = flows.map(|flow| match &flow.endpoint {
        Endpoint::Token(url) | Endpoint::Issuer { url, .. } => url,
    });
    endpoints.chain(&definition.verify_url)
}

/// What parses can be asked with.
fn request(definition: &Definition) -> Option<Request> {
    let Endpoint::Token(url) = &definition.flow.endpoint else { return None };
    let credential = definition.seed.as_ref().map(Seed::secret);
    let exchange = Exchange { definition, flow: &definition.flow, credential, further: &[] };
    Some(exchange.request(url, "once", fuzz::now()).expect("a request"))
}

/// Whether the mark stands in values of secret fields only. Names of fields may be shown, and so may some values.
fn only_secrets_are_marked(text: &str) -> bool {
    let value = serde_json::from_str(text).unwrap_or_default();
    marks_in_secrets(&value, false) == text.matches(MARK).count()
}

fn marks_in_secrets(value: &Value, is_secret: bool) -> usize {
    match value {
        Value::String(text) if is_secret => text.matches(MARK).count(),
        Value::Array(values) => values.iter().map(|value| marks_in_secrets(value, is_secret)).sum(),
        Value::Object(members) => {
            let secret = |name: &str| SECRET_FIELDS.contains(&name) || matches!(name, "headers" | "params");
            members.iter().map(|(name, value)| marks_in_secrets(value, is_secret || secret(name))).sum()
        }
        _ => 0,
    }
}

/// A fixture's definition with up to eight changes.
fn changed(changes: &mut Unstructured<'_>) -> Result<String> {
    let examples = &*fuzz::EXAMPLES;
    let index = usize::from(u16::from_be_bytes([u8::arbitrary(changes)?, u8::arbitrary(changes)?]));
    let Some(example) = &examples[index % examples.len()] else { return Err(arbitrary::Error::IncorrectFormat) };
    let mut definition = Value::Object(example.json.clone());
    let mark = changes.ratio(1_u8, 2)?;
    for _ in 0..changes.int_in_range(0..=8)? {
        change(&mut definition, changes)?;
    }
    if mark {
        let long = (0..205).map(|part| format!("-{MARK}{part:03}")).collect::<Vec<_>>().concat();
        mark_secrets(&mut definition, if changes.ratio(1_u8, 2)? { &long } else { MARK });
    }
    let packed = changes.ratio(1_u8, 4)?;
    Ok(if packed { json!({"sources": {"acme": definition}}) } else { definition }.to_string())
}

/// Changes one thing somewhere in a value.
fn change(value: &mut Value, changes: &mut Unstructured<'_>) -> Result<()> {
    let deeper = changes.ratio(2_u8, 3)?;
    match value {
        Value::Object(members) if !members.is_empty() && deeper => {
            let name = changes.choose_iter(members.keys())?.clone();
            change(&mut members[&name], changes)
        }
        Value::Array(values) if !values.is_empty() && deeper => {
            let index = changes.choose_index(values.len())?;
            change(&mut values[index], changes)
        }
        Value::Object(members) => change_members(members, changes),
        Value::Array(values) if changes.ratio(1_u8, 2)? => {
            values.push(any_value(changes)?);
            Ok(())
        }
        other => {
            *other = any_value(changes)?;
            Ok(())
        }
    }
}

fn change_members(members: &mut Map<String, Value>, changes: &mut Unstructured<'_>) -> Result<()> {
    let name = if members.is_empty() || changes.ratio(1_u8, 2)? {
        any_name(changes)?
    } else {
        changes.choose_iter(members.keys())?.clone()
    };
    if changes.ratio(1_u8, 3)? {
        members.remove(&name);
    } else {
        members.insert(name, any_value(changes)?);
    }
    Ok(())
}

/// A name from some definition, or another.
fn any_name(changes: &mut Unstructured<'_>) -> Result<String> {
    const NAMES: [&str; 24] = [
        "assertion",
        "assertion_algorithm",
        "base_url",
        "ca_certificate",
        "certificate",
        "claims",
        "class",
        "credential",
        "errors",
        "expires",
        "format",
        "grant_type",
        "grants",
        "header",
        "issuer",
        "lifetime",
        "matches",
        "path",
        "refresh",
        "required",
        "response",
        "steps",
        "then",
        "variables",
    ];
    match changes.int_in_range(0..=2)? {
        0 => Ok((*changes.choose(&NAMES)?).to_owned()),
        1 => Ok((*changes.choose(&SECRET_FIELDS)?).to_owned()),
        _ => Ok(String::arbitrary(changes)?.replace(MARK, "")),
    }
}

fn any_value(changes: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match changes.int_in_range(0..=8)? {
        0 => Value::Null,
        1 => Value::from(bool::arbitrary(changes)?),
        2 => Value::from(i64::arbitrary(changes)?),
        3 => Value::from(f64::arbitrary(changes)?),
        4 => Value::from(String::arbitrary(changes)?),
        5 => Value::Array(vec![any_value(changes)?]),
        6 => json!({ (any_name(changes)?): any_value(changes)? }),
        // Something that stands in another definition.
        _ => {
            let examples = &*fuzz::EXAMPLES;
            let Some(example) = changes.choose(examples)? else { return Ok(Value::Null) };
            example.json[changes.choose_iter(example.json.keys())?].clone()
        }
    })
}

fn mark_secrets(value: &mut Value, mark: &str) {
    let Value::Object(members) = value else { return };
    for (name, value) in members {
        if SECRET_FIELDS.contains(&name.as_str()) && value.is_string() {
            *value = Value::from(format!("{mark} {name}"));
        } else if name == "headers" || name == "params" {
            for value in value.as_object_mut().into_iter().flat_map(Map::values_mut).filter(|value| value.is_string()) {
                *value = Value::from(format!("{mark}-{}", value.as_str().unwrap_or_default()));
            }
        }
    }
}
