//! The formats of answers: JSON, forms, XML or text, all read as JSON values.

use roxmltree::Node;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{Answer, AnswerBody, LARGEST_ANSWER_BYTES};
use crate::domain::provider::dialect::BodyFormat;
use crate::domain::redact::Echoes;

/// How many elements of XML may be nested, so that no answer exhausts the stack.
const DEEPEST: usize = 32;

/// The text of a body, or why there is none.
pub(super) fn text(answer: &Answer) -> Result<&str, String> {
    let bytes = match &answer.body {
        AnswerBody::Whole(bytes) => bytes,
        AnswerBody::TooLarge => return Err(format!("it is larger than {} KiB", LARGEST_ANSWER_BYTES / 1024)),
        AnswerBody::CutShort => return Err("it broke off".to_owned()),
    };
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(text)
}

/// What a body says, or what else it is.
pub(super) fn read(answer: &Answer, format: BodyFormat) -> Result<Value, String> {
    let text = text(answer)?;
    let json = || serde_json::from_str(text);
    match format {
        BodyFormat::Text => Ok(Value::from(text)),
        BodyFormat::Xml => xml(text),
        BodyFormat::Json => json().map_err(|_| not_json(answer, text)),
        BodyFormat::Form => Ok(form(text)),
        BodyFormat::Auto => match json() {
            Ok(document) => Ok(document),
            Err(_) if text.starts_with('{') => Err("it is broken JSON".to_owned()),
            Err(_) if is_markup(answer, text) => Err("it is a page of HTML or XML".to_owned()),
            Err(_) => match form(text) {
                members if members.get("access_token").is_some() || members.get("error").is_some() => Ok(members),
                _ => Err("it is neither JSON nor form-encoded".to_owned()),
            },
        },
    }
}

fn not_json(answer: &Answer, text: &str) -> String {
    let what = if text.starts_with('{') {
        "it is broken JSON"
    } else if is_markup(answer, text) {
        "it is a page of HTML or XML"
    } else {
        "it is not JSON"
    };
    what.to_owned()
}

fn is_markup(answer: &Answer, text: &str) -> bool {
    answer.header("content-type").is_some_and(|kind| kind.contains("html")) || text.starts_with('<')
}

fn form(text: &str) -> Value {
    let members = form_urlencoded::parse(text.as_bytes())
        .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())));
    Value::Object(members.collect())
}

/// XML without its root: elements with children or attributes are objects, others strings; one that repeats is a list.
fn xml(text: &str) -> Result<Value, String> {
    let document = roxmltree::Document::parse(text).map_err(|_| "it is broken XML".to_owned())?;
    element(document.root_element(), 0)
}

fn element(node: Node<'_, '_>, depth: usize) -> Result<Value, String> {
    if depth > DEEPEST {
        return Err("it is XML that is nested too deep".to_owned());
    }
    let mut members = Map::new();
    for attribute in node.attributes() {
        members.insert(attribute.name().to_owned(), Value::from(attribute.value()));
    }
    for child in node.children().filter(Node::is_element) {
        let value = element(child, depth + 1)?;
        match members.get_mut(child.tag_name().name()) {
            None => drop(members.insert(child.tag_name().name().to_owned(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    let text: String = node.children().filter(Node::is_text).filter_map(|child| child.text()).collect();
    Ok(if members.is_empty() && depth > 0 { Value::from(text.trim()) } else { Value::Object(members) })
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty string",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Names and types of an answer's members, two levels deep, without any value, and without secrets in the names.
pub(super) fn shape(document: &Value, secrets: &Echoes<'_>) -> String {
    match document {
        Value::Object(members) if members.is_empty() => "it has no member".to_owned(),
        Value::Object(members) => format!("it has {}", member_types(members, 1, secrets)),
        other => format!("it is JSON, but {}", type_name(other)),
    }
}

fn member_types(members: &Map<String, Value>, deeper: usize, secrets: &Echoes<'_>) -> String {
    const MOST: usize = 20;
    const LONGEST_NAME: usize = 40;
    let shown = members
        .iter()
        .take(MOST)
        .map(|(name, value)| {
            let name = secrets.shown(name, LONGEST_NAME);
            match value {
                Value::Object(inner) if deeper > 0 && !inner.is_empty() => {
                    format!("{name} (an object of {})", member_types(inner, deeper - 1, secrets))
                }
                _ => format!("{name} ({})", type_name(value)),
            }
        })
        .collect::<Vec<_>>()
        .join(", ");
    if members.len() > MOST { format!("{shown} and {} more", members.len() - MOST) } else { shown }
}
