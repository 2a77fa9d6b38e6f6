//! The forms that the values of fields have, and how each is read.

use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::Value;

use super::fields::Fields;
use super::parse_ascii_url;
use super::schema::{Boolean, Duration, Line, Link, Name, Path, Pem, Secret, Template, Text, Texts, Url, Verbatim};
use crate::domain::duration;
use crate::domain::provider::dialect::Pointer;
use crate::domain::redact;

/// How the value of a field is read.
pub(super) trait Form: Copy {
    /// What it is read as.
    type Value;

    /// `None`: it is not there, or a fault was noted.
    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<Self::Value>;
}

/// A form of which the schemas have defaults.
pub(super) trait FormWithDefault: Form {
    /// The default as a constant.
    type Default: Copy;

    /// The default as a value.
    fn or(default: Self::Default) -> Self::Value;
}

impl Form for Text {
    type Value = String;

    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<String> {
        fields.text(name)
    }
}

impl Form for Template {
    type Value = String;

    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<String> {
        fields.text(name)
    }
}

impl Form for Secret {
    type Value = SecretString;

    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<SecretString> {
        fields.text(name).map(SecretString::from)
    }
}

impl Form for Line {
    type Value = String;

    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<String> {
        let line = fields.text(name)?;
        let unfit = |character: char| character.is_control() || redact::is_noncharacter(character);
        if line.contains(unfit) || line.chars().count() > self.most_characters {
            fields.fault_at(name, format_args!("must be one line of at most {} characters", self.most_characters));
            return None;
        }
        Some(line)
    }
}

impl Form for Link {
    type Value = url::Url;

    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<url::Url> {
        let url = parse_ascii_url(&fields.text(name)?).filter(|url| matches!(url.scheme(), "https" | "http"));
        if url.is_none() {
            fields.fault_at(name, "must be a URL such as https://wiki.example.com/runbook");
        }
        url
    }
}

impl Form for Url {
    /// As it was written; [`Fields::endpoint_url`] parses it.
    type Value = String;

    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<String> {
        fields.text(name)
    }
}

impl Form for Pem {
    type Value = String;

    /// `\n` written out (a frequent slip of copying into JSON) is read as a line end.
    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<String> {
        let pem = fields.value(name)?.as_str().map(|pem| pem.replace("\\n", "\n"));
        if pem.is_none() {
            fields.fault_at(name, "must be a string");
        }
        pem
    }
}

impl Form for Verbatim {
    type Value = String;

    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<String> {
        match fields.value(name)? {
            Value::String(text) if !text.is_empty() => return Some(text.clone()),
            Value::String(_) => fields.fault_at(name, "must not be empty"),
            _ => fields.fault_at(name, "must be a string"),
        }
        None
    }
}

impl FormWithDefault for Verbatim {
    type Default = &'static str;

    fn or(default: &'static str) -> String {
        default.to_owned()
    }
}

impl Form for Name {
    type Value = Option<String>;

    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<Option<String>> {
        let Value::String(text) = fields.value(name)? else {
            fields.fault_at(name, "must be a string");
            return Some(None);
        };
        Some(Some(text.clone()).filter(|text| !text.is_empty()))
    }
}

impl FormWithDefault for Name {
    type Default = &'static str;

    fn or(default: &'static str) -> Option<String> {
        Some(default.to_owned())
    }
}

impl Form for Path {
    type Value = Pointer;

    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<Pointer> {
        let Value::String(text) = fields.value(name)? else {
            fields.fault_at(name, "must be a string");
            return None;
        };
        let pointer = Pointer::parse(text);
        if pointer.is_none() {
            fields.fault_at(name, "must be a path such as /data/access_token (a JSON Pointer, RFC 6901)");
        }
        pointer
    }
}

impl FormWithDefault for Path {
    type Default = &'static str;

    fn or(default: &'static str) -> Pointer {
        Pointer::member(default)
    }
}

impl Form for Boolean {
    type Value = bool;

    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<bool> {
        let value = fields.value(name)?.as_bool();
        if value.is_none() {
            fields.fault_at(name, "must be true or false");
        }
        value
    }
}

impl FormWithDefault for Boolean {
    type Default = bool;

    fn or(default: bool) -> bool {
        default
    }
}

impl Form for Duration {
    type Value = TimeDelta;

    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<TimeDelta> {
        let text = fields.text(name)?;
        match duration::parse(&text) {
            Ok(duration) if duration >= self.least => return Some(duration),
            Ok(_) => fields.fault_at(name, "must be longer"),
            Err(error) => fields.fault_at(name, error),
        }
        None
    }
}

impl FormWithDefault for Duration {
    type Default = TimeDelta;

    fn or(default: TimeDelta) -> TimeDelta {
        default
    }
}

impl Form for Texts {
    type Value = Vec<String>;

    fn read(self, fields: &mut Fields<'_>, name: &str) -> Option<Vec<String>> {
        let texts = fields.value(name)?.as_array();
        let texts = texts.and_then(|texts| texts.iter().map(|text| text.as_str().map(str::to_owned)).collect());
        if texts.is_none() {
            fields.fault_at(name, "must be a list of strings");
        }
        texts
    }
}
