//! `docs/providers.md` is written from the declarations and their fixtures; `make docs` does it anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use token_harvester::domain::assertion::JWT_BEARER;
use token_harvester::domain::{duration, provider};

use crate::providers::grant_type;
use crate::schemas::{assert_valid, schema};
use crate::support::fixture::{Fixture, key_and_certificate, toml_files};
use crate::support::process::ROOT;

const FILE: &str = "docs/providers.md";

/// What somebody has to fill in.
const TO_FILL_IN: &str = "...";

const KEY_TO_FILL_IN: &str = "-----BEGIN PRIVATE KEY-----\n...";

const INTRODUCTION: &str = r#"# Providers

What comes built in: these names can stand in a definition as `"provider"`, and bring the endpoint, the form of requests
and answers, and the meaning of errors. In the examples `...` is for you to fill in; any other field of a
[definition](../schemas/definition.schema.json) may be added, and changes what the provider brings. `jwt-bearer` is
short for `urn:ietf:params:oauth:grant-type:jwt-bearer`. With `authorization_code` a person connects an account in a
browser, after somebody has registered the redirect URI with the client (`<PUBLIC_URL>/callback/<source>`, unless the
definition has a `redirect_uri`), as the section of the provider tells. What a provider says besides its token is kept in
the member `extra` of the token document. A server that follows RFC 6749 needs no provider, only its `token_endpoint` or
`issuer`, and for connecting its `authorization_endpoint`; for any other,
[declare it yourself](declarations.md).
"#;

const CONCLUSION: &str = r"## What a declaration cannot say

- Requests that are signed with an HMAC, as OAuth 1.0a wants them: nothing here computes such a signature.
- SAML assertions, as SAP SuccessFactors wants them: only JWTs are signed.

Mailchimp needs no declaration: its access tokens never expire, so there is nothing to keep fresh.
";

/// A provider, and what its fixture keeps.
struct Entry {
    name: String,
    declaration: Map<String, Value>,
    /// Names of the members of `extra` in successful cases.
    extra: BTreeSet<String>,
}

/// One grant of a provider.
struct Grant<'a> {
    entry: &'a Entry,
    name: &'a str,
    section: &'a Map<String, Value>,
    /// The section laid over the declaration, with the examples laid over both.
    fields: Value,
}

#[test]
fn the_page_of_providers_says_what_their_declarations_do() {
    assert_written(FILE, &page(&entries()));
}

/// That a file says what it is wanted to; `make docs` writes it.
#[track_caller]
pub(crate) fn assert_written(file: &str, wanted: &str) {
    let path = Path::new(ROOT).join(file);
    let mut written = fs::read_to_string(&path).unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "`make docs` says so, to these tests alone")]
    if written != wanted && std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, wanted).expect("a file");
        wanted.clone_into(&mut written);
    }
    let other = written.lines().zip(wanted.lines()).position(|(written, wanted)| written != wanted);
    let line = other.map_or_else(|| "its end".to_owned(), |index| format!("line {}", index + 1));
    assert!(written == wanted, "{file} is out of date at {line}: run `make docs`");
}

#[test]
fn every_example_is_a_definition_of_its_grant() {
    let schema = schema("definition");
    for entry in &entries() {
        for grant in entry.grants() {
            let mut example: Map<String, Value> = grant.example().into_iter().collect();
            if example.contains_key("private_key") {
                example.insert("private_key".to_owned(), key_and_certificate("rsa").0.as_str().into());
            }
            let example = Value::Object(example);
            assert_valid(&schema, &example);
            assert_eq!(grant_type(&example), grant.name, "{example:#}");
        }
    }
}

fn entries() -> Vec<Entry> {
    let fixtures = Fixture::all();
    let entry = |(name, text): (String, String)| {
        let declaration = toml::from_str(&text).unwrap_or_else(|fault| panic!("{name}.toml: {fault}"));
        let fixture = fixtures.iter().find(|file| file.name == name).expect("a fixture");
        let harvests = fixture.cases.iter().flat_map(|case| &case.harvests);
        let extra = harvests.flat_map(|harvest| harvest.extra.keys().cloned()).collect();
        Entry { name, declaration, extra }
    };
    let mut entries: Vec<Entry> = toml_files("src/providers").into_iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.text("title").to_lowercase());
    entries
}

fn page(entries: &[Entry]) -> String {
    let mut page = format!(
        "{INTRODUCTION}\n| | `provider` | grants | client authentication | refresh token |\n|---|---|---|---|---|\n"
    );
    for entry in entries {
        page.push_str(&entry.row());
    }
    for entry in entries {
        page.push('\n');
        page.push_str(&entry.section());
    }
    page.push('\n');
    page.push_str(CONCLUSION);
    page
}

impl Entry {
    fn text(&self, field: &str) -> &str {
        self.declaration[field].as_str().expect("a string")
    }

    fn grants(&self) -> impl Iterator<Item = Grant<'_>> {
        let grants = self.declaration["grants"].as_object().expect("grants");
        grants.iter().map(|(name, section)| {
            let section = section.as_object().expect("a section");
            let mut fields = self.declaration.clone();
            provider::overlay(&mut fields, section);
            for example in self.examples(section) {
                provider::overlay(&mut fields, example);
            }
            Grant { entry: self, name, section, fields: Value::Object(fields) }
        })
    }

    /// What the examples of a grant have besides what is required.
    fn examples<'a>(&'a self, grant: &'a Map<String, Value>) -> impl Iterator<Item = &'a Map<String, Value>> {
        [&self.declaration, grant].into_iter().filter_map(|part| part.get("example")?.as_object())
    }

    fn row(&self) -> String {
        let grants: Vec<String> = self.grants().map(|grant| format!("`{}`", grant.short_name())).collect();
        let methods: BTreeSet<String> = self.grants().map(|grant| grant.authentication()).collect();
        let methods = methods.into_iter().collect::<Vec<_>>().join(", ");
        let (title, anchor) = (self.text("title"), anchor(self.text("title")));
        let (name, grants) = (&self.name, grants.join(", "));
        format!("| [{title}](#{anchor}) | `{name}` | {grants} | {methods} | {} |\n", self.rotation())
    }

    /// What becomes of a refresh token that is used.
    fn rotation(&self) -> String {
        let Some(grant) = self.grants().find(|grant| matches!(grant.credential(), "refresh_token" | "access_token"))
        else {
            return "none".to_owned();
        };
        let rules = &grant.fields["refresh"];
        let repeat = rules["repeat_within"].as_str().map(|within| duration::parse(within).expect("a duration"));
        match (grant.credential(), rules["rotates"].as_bool(), repeat) {
            ("access_token", _, _) => "none: the access token refreshes itself".to_owned(),
            (_, Some(true), None) => "replaced each time".to_owned(),
            (_, Some(true), Some(within)) => {
                format!("replaced each time; the old one may be used again for {}", duration::for_people(within))
            }
            (_, Some(false), _) => "stays good".to_owned(),
            (_, None, _) => "may be replaced".to_owned(),
        }
    }

    fn section(&self) -> String {
        let mut section = format!("## {}\n\n", self.text("title"));
        for address in self.declaration["documentation"].as_array().expect("a list") {
            writeln!(section, "- <{}>", address.as_str().expect("a string")).expect("room");
        }
        if self.declaration.contains_key("notes") {
            write!(section, "\n{}\n", self.text("notes").trim()).expect("room");
        }
        for grant in self.grants() {
            write!(section, "\n{}", grant.paragraph()).expect("room");
        }
        if !self.extra.is_empty() {
            let members: Vec<String> = self.extra.iter().map(|member| format!("`{member}`")).collect();
            write!(section, "\nKept in `extra`: {}.\n", members.join(", ")).expect("room");
        }
        section
    }
}

/// The anchor that a heading has on GitHub.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(|c: char| !(c.is_alphanumeric() || " -_".contains(c)), "");
    kept.replace(' ', "-")
}

impl Grant<'_> {
    fn short_name(&self) -> &str {
        if self.name == JWT_BEARER { "jwt-bearer" } else { self.name }
    }

    /// What kind of credential it is made with.
    fn credential(&self) -> &str {
        match (self.section.get("credential").and_then(Value::as_str), self.name) {
            (Some(credential), _) => credential,
            (None, "refresh_token") => "refresh_token",
            (None, JWT_BEARER) => "assertion",
            (None, _) => "none",
        }
    }

    fn method(&self) -> &str {
        match (self.fields["token_endpoint_auth_method"].as_str(), self.credential()) {
            (Some(method), _) => method,
            (None, "assertion") => "none",
            (None, _) => "client_secret_basic",
        }
    }

    fn authentication(&self) -> String {
        match (self.method(), self.credential()) {
            ("none", "assertion") => "the assertion".to_owned(),
            ("none", _) => "none".to_owned(),
            (method, _) => format!("`{method}`"),
        }
    }

    fn paragraph(&self) -> String {
        let title = self.section["title"].as_str().expect("a string");
        let paragraph = format!("{title} (`{}`):\n\n```json\n{}\n```\n", self.short_name(), self.example_text());
        if self.name == "authorization_code" { paragraph + &self.connection() } else { paragraph }
    }

    /// Whose account a connection is, and what ends with it.
    fn connection(&self) -> String {
        let (identity, revoke) = (&self.fields["identity"], &self.fields["revoke"]);
        let endpoint = identity["endpoint"].as_str().unwrap_or_default();
        let identity = match identity["from"].as_str() {
            Some("answer") => "the answer to the code".to_owned(),
            Some("id_token") => "the ID token".to_owned(),
            Some("callback") => "the callback".to_owned(),
            Some("request") => format!("`{}`", endpoint.split('?').next().expect("an address")),
            _ => "an ID token, if there is one".to_owned(),
        };
        let end = match (revoke["endpoint"].as_str(), revoke["ends"].as_str()) {
            (None, _) => "ends nothing at the provider",
            (Some(_), None | Some("token")) => "ends the connection's own tokens there",
            (Some(_), Some("grant")) => "ends all that the client has of the person",
            (Some(_), _) => "ends all that the client has of the account",
        };
        format!("\nWhose account it is comes from {identity}. Disconnecting {end}.\n")
    }

    /// A definition with what this grant needs, in the order in which a person would write it.
    fn example(&self) -> Vec<(String, Value)> {
        let mut example = Map::new();
        example.insert("provider".to_owned(), self.entry.name.as_str().into());
        if self.must_be_named() {
            example.insert("grant_type".to_owned(), self.name.into());
        }
        if self.needs_client_id() {
            example.insert("client_id".to_owned(), TO_FILL_IN.into());
        }
        if self.method().starts_with("client_secret") {
            example.insert("client_secret".to_owned(), TO_FILL_IN.into());
        }
        if self.method() == "private_key_jwt" || self.credential() == "assertion" {
            example.insert("private_key".to_owned(), KEY_TO_FILL_IN.into());
        }
        if let credential @ ("access_token" | "refresh_token") = self.credential() {
            example.insert(credential.to_owned(), TO_FILL_IN.into());
        }
        for path in self.section.get("required").and_then(Value::as_array).into_iter().flatten() {
            let nested = path.as_str().expect("a path").rsplit('.');
            let required = nested.fold(json!(TO_FILL_IN), |inner, name| json!({name: inner}));
            provider::overlay(&mut example, required.as_object().expect("an object"));
        }
        for further in self.entry.examples(self.section) {
            provider::overlay(&mut example, further);
        }
        in_order(example)
    }

    /// Whether a definition would mean another grant type if it did not say this one.
    fn must_be_named(&self) -> bool {
        let default = self.entry.declaration.get("grant_type").and_then(Value::as_str).unwrap_or("client_credentials");
        self.name != default && self.name != "refresh_token"
    }

    fn needs_client_id(&self) -> bool {
        self.fields["request"]["client_id_parameter"] != ""
            || self.credential() == "assertion"
            || matches!(self.method(), "client_secret_basic" | "private_key_jwt")
    }

    /// The example as JSON, a line for each field.
    fn example_text(&self) -> String {
        let lines: Vec<String> =
            self.example().iter().map(|(name, value)| format!("  {}: {}", json!(name), on_one_line(value))).collect();
        format!("{{\n{}\n}}", lines.join(",\n"))
    }
}

/// Who and how before what.
fn in_order(mut fields: Map<String, Value>) -> Vec<(String, Value)> {
    const ORDER: [&str; 16] = [
        "provider",
        "variables",
        "grant_type",
        "token_endpoint_auth_method",
        "client_id",
        "client_secret",
        "private_key",
        "key_id",
        "access_token",
        "refresh_token",
        "assertion_subject",
        "assertion_audience",
        "redirect_uri",
        "scope",
        "params",
        "headers",
    ];
    let mut ordered: Vec<(String, Value)> =
        ORDER.into_iter().filter_map(|name| Some((name.to_owned(), fields.remove(name)?))).collect();
    let mut rest: Vec<(String, Value)> = fields.into_iter().collect();
    rest.sort_by(|(one, _), (other, _)| one.cmp(other));
    ordered.append(&mut rest);
    ordered
}

/// JSON with a space after each colon and comma.
fn on_one_line(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{}: {}", json!(name), on_one_line(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(on_one_line).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
