//! What the targets have in common: the definitions of the fixtures, answers made of inputs, and what may never show.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use secrecy::{ExposeSecret, SecretString};
use seeds::Input;
use serde_json::{Map, Value};
use token_harvester::oauth::{Answer, Body, Exchange};
use token_harvester::source::{Definition, Flow, Seed};
use url::form_urlencoded;

/// Secrets as nothing else looks, with characters that change when they are encoded.
pub const CLIENT_SECRET: &str = "cl13nt+s3cr3t/ü=%&";
pub const REFRESH_TOKEN: &str = "r3fr3sh+f1rst/t0k3n=~*";
pub const ACCESS_TOKEN: &str = "acc3ss+f1rst/t0k3n=~*";
pub const NEW_REFRESH_TOKEN: &str = "r3fr3sh+n3w/t0k3n=~*";
pub const API_KEY: &str = "4p1-k3y(h34d3r)";

/// When the request was sent and the answer came.
pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_212_000, 0).expect("a time")
}

/// A fixture's definition with the secrets above.
pub struct Example {
    pub json: Map<String, Value>,
    pub definition: Definition,
}

/// The definitions of all cases, by index; `None`: the case is about one that is refused.
pub static EXAMPLES: LazyLock<Vec<Option<Example>>> = LazyLock::new(|| {
    let cases = seeds::cases().expect("fixtures");
    let examples: Vec<_> = cases.into_iter().map(|case| example(case.definition)).collect();
    assert!(
        examples.iter().flatten().count() * 10 > examples.len() * 9,
        "the fixtures' definitions are not understood"
    );
    examples
});

fn example(mut json: Map<String, Value>) -> Option<Example> {
    for (name, value) in &mut json {
        let with = match (name.as_str(), value.as_str()) {
            ("client_secret" | "api_secret", _) => CLIENT_SECRET,
            ("refresh_token", _) => REFRESH_TOKEN,
            ("access_token", _) => ACCESS_TOKEN,
            ("private_key", Some("rsa")) => &KEYS.rsa,
            ("private_key", Some("p256")) => &KEYS.p256,
            ("certificate", Some("self-signed")) => &KEYS.certificate,
            _ => continue,
        };
        *value = Value::from(with);
    }
    let headers = json.entry("headers").or_insert_with(|| Value::Object(Map::new()));
    headers.as_object_mut()?.insert("X-Api-Key".to_owned(), API_KEY.into());
    let definition = Definition::parse(&Value::Object(json.clone()).to_string()).ok()??;
    Some(Example { json, definition })
}

/// What the fixtures' words stand for, PEM.
struct Keys {
    rsa: String,
    p256: String,
    certificate: String,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let params = CertificateParams::new(vec!["client.example.com".to_owned()]).expect("parameters");
    Keys {
        rsa: KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key").serialize_pem(),
        certificate: params.self_signed(&key).expect("a certificate").pem(),
        p256: key.serialize_pem(),
    }
});

/// The definition that an input names.
pub fn definition(input: &Input<'_>) -> Option<&'static Definition> {
    let examples = &*EXAMPLES;
    let example = examples[usize::from(input.case) % examples.len()].as_ref()?;
    Some(&example.definition)
}

/// The exchange of a definition that an input names.
pub fn exchange<'a>(definition: &'a Definition, input: &Input<'_>) -> Exchange<'a> {
    let flows: Vec<&Flow> =
        [&definition.flow].into_iter().chain(definition.then.as_deref()).chain(&definition.steps).collect();
    let flow = flows[usize::from(input.flow) % flows.len()];
    Exchange { definition, flow, credential: definition.seed.as_ref().map(Seed::secret) }
}

/// The answer that an input holds.
pub fn answer(input: &Input<'_>) -> Answer {
    let text = |bytes: &[u8]| String::from_utf8_lossy(&echoed(bytes)).into_owned();
    let headers = input.headers.iter().map(|(name, value)| (text(name).to_ascii_lowercase(), text(value)));
    Answer {
        headers: headers.collect(),
        redirects_to: (300..400).contains(&input.status).then(|| "https://login.example.com".to_owned()),
        ..Answer::new(100 + input.status.saturating_sub(100) % 900, Body::Whole(echoed(input.body)))
    }
}

/// Bytes from 1 to 8, which mean nothing in an answer, stand for what servers echo.
fn echoed(bytes: &[u8]) -> Vec<u8> {
    static ECHOES: LazyLock<[String; 8]> = LazyLock::new(|| {
        let form = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        [
            CLIENT_SECRET.to_owned(),
            REFRESH_TOKEN.to_owned(),
            form(CLIENT_SECRET),
            form(REFRESH_TOKEN).replace('+', "%20"),
            ACCESS_TOKEN.to_owned(),
            NEW_REFRESH_TOKEN.to_owned(),
            API_KEY.to_owned(),
            "eyJhbGciOiJub25lIn0.eyJleHAiOjI4NDAxNDA4MDB9.c2ln".to_owned(),
        ]
    });
    let mut echoed = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            1..=8 => echoed.extend(ECHOES[usize::from(*byte) - 1].bytes()),
            other => echoed.push(*other),
        }
    }
    echoed
}

/// Fails if words for people hold a secret, or something that breaks a line or hides.
pub fn assert_showable(what: &str, text: &str, definition: &Definition, credential: Option<&SecretString>) {
    let secrets = definition.secrets().chain(credential.map(ExposeSecret::expose_secret));
    for secret in secrets.filter(|secret| secret.len() >= SHORTEST_SECRET) {
        assert!(!text.contains(secret), "{what} shows {secret:?}: {text:?}");
    }
    let odd = |character: char| {
        character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert!(!text.contains(odd), "{what} is not printable: {text:?}");
}

/// Shorter values are words that occur by chance.
pub const SHORTEST_SECRET: usize = 8;

/// Every string in a JSON value, names included.
pub fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(members) => {
            members.iter().flat_map(|(name, value)| [name.as_str()].into_iter().chain(strings(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}
