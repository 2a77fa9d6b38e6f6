//! What the targets have in common: the definitions of the fixtures, answers made of inputs, and what may never show.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use secrecy::{ExposeSecret, SecretString};
use seeds::Input;
use serde_json::{Map, Value};
use token_harvester::domain::credential::Seed;
use token_harvester::domain::error::SourceError;
use token_harvester::domain::oauth::{Answer, AnswerBody, Exchange, LARGEST_ANSWER_BYTES};
use token_harvester::domain::source::{Definition, Flow, PlainHttp};
use url::form_urlencoded;

/// Secrets as nothing else looks, with characters that change when they are encoded.
pub struct Secrets {
    pub client_secret: String,
    pub refresh_token: String,
    pub access_token: String,
    pub new_refresh_token: String,
    pub api_key: String,
    pub password: String,
}

impl Secrets {
    fn short() -> Self {
        Self {
            client_secret: "cl13nt+s3cr3t/ü=%&".to_owned(),
            refresh_token: "r3fr3sh+f1rst/t0k3n=~*".to_owned(),
            access_token: "acc3ss+f1rst/t0k3n=~*".to_owned(),
            new_refresh_token: "r3fr3sh+n3w/t0k3n=~*".to_owned(),
            api_key: "4p1-k3y(h34d3r)".to_owned(),
            password: "p4ssw0rd+/=~*".to_owned(),
        }
    }

    /// 2 KiB each, longer than anything that is shown of an answer.
    fn long() -> Self {
        let long = |word: &str| (0..).flat_map(|part| format!("{word}-{part:03}/~+").into_bytes()).take(2048).collect();
        let long = |word: &str| String::from_utf8(long(word)).expect("ASCII");
        Self {
            client_secret: long("cl13nt"),
            refresh_token: long("r3fr3sh"),
            access_token: long("acc3ss"),
            new_refresh_token: long("n3w"),
            api_key: long("4p1-k3y"),
            password: long("p4ssw0rd"),
        }
    }

    fn all(&self) -> [&str; 6] {
        let Self { client_secret, refresh_token, access_token, new_refresh_token, api_key, password } = self;
        [client_secret, refresh_token, access_token, new_refresh_token, api_key, password]
    }
}

/// Short ones, then long ones.
pub static SECRETS: LazyLock<[Secrets; 2]> = LazyLock::new(|| [Secrets::short(), Secrets::long()]);

/// Every [`PART`] bytes in a row of the long ones, encoded or not, with the secret that they are of.
static PARTS: LazyLock<HashMap<&'static [u8], &'static str>> = LazyLock::new(|| {
    let mut parts = HashMap::new();
    for secret in SECRETS[1].all() {
        let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        for form in [secret, encoded.leak()] {
            parts.extend(form.as_bytes().windows(PART).map(|part| (part, secret)));
        }
    }
    parts
});

/// As many bytes of a long secret must not be seen.
const PART: usize = 16;

/// When the request was sent and the answer came.
pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_212_000, 0).expect("a time")
}

/// A fixture's definition with secrets in it.
pub struct Example {
    pub json: Map<String, Value>,
    pub definition: Definition,
    pub secrets: &'static Secrets,
}

/// The definitions of all cases, by index, with short secrets, then the same with long ones; `None`: the case is about one
/// that is refused.
pub static EXAMPLES: LazyLock<Vec<Option<Example>>> = LazyLock::new(|| {
    let cases = seeds::cases().expect("fixtures");
    let examples =
        SECRETS.iter().flat_map(|secrets| cases.iter().map(|case| example(case.definition.clone(), secrets)));
    let examples: Vec<_> = examples.collect();
    assert!(
        examples.iter().flatten().count() * 10 > examples.len() * 9,
        "the fixtures' definitions are not understood"
    );
    examples
});

fn example(mut json: Map<String, Value>, secrets: &'static Secrets) -> Option<Example> {
    for (name, value) in &mut json {
        let with = match (name.as_str(), value.as_str()) {
            ("client_secret" | "api_secret", _) => &secrets.client_secret,
            ("refresh_token", _) => &secrets.refresh_token,
            ("access_token", _) => &secrets.access_token,
            ("private_key", Some("rsa")) => &KEYS.rsa,
            ("private_key", Some("p256")) => &KEYS.p256,
            ("certificate", Some("self-signed")) => &KEYS.certificate,
            _ => continue,
        };
        *value = Value::from(with.as_str());
    }
    for (field, name, secret) in [("headers", "X-Api-Key", &secrets.api_key), ("params", "password", &secrets.password)]
    {
        let members = json.entry(field).or_insert_with(|| Value::Object(Map::new()));
        members.as_object_mut()?.insert(name.to_owned(), secret.as_str().into());
    }
    let definition = Definition::parse(&Value::Object(json.clone()).to_string(), PlainHttp::OnLoopback).ok()??;
    Some(Example { json, definition, secrets })
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

/// The example that an input names.
pub fn named(input: &Input<'_>) -> Option<&'static Example> {
    let examples = &*EXAMPLES;
    examples[usize::from(input.case) % examples.len()].as_ref()
}

/// The exchange of a definition that an input names.
pub fn exchange<'a>(definition: &'a Definition, input: &Input<'_>) -> Exchange<'a> {
    let flows: Vec<&Flow> =
        [&definition.flow].into_iter().chain(definition.then.as_deref()).chain(&definition.steps).collect();
    let flow = flows[usize::from(input.flow) % flows.len()];
    Exchange { definition, flow, credential: definition.seed.as_ref().map(Seed::secret), further: &[] }
}

/// The answer that an input holds, of a server that was told these secrets.
pub fn answer(input: &Input<'_>, secrets: &'static Secrets) -> Answer {
    let text = |bytes: &[u8]| String::from_utf8_lossy(&echoed(bytes, secrets)).into_owned();
    let headers = input.headers.iter().map(|(name, value)| (text(name).to_ascii_lowercase(), text(value)));
    let body = echoed(input.body, secrets);
    let body = if body.len() > LARGEST_ANSWER_BYTES { AnswerBody::TooLarge } else { AnswerBody::Whole(body) };
    Answer {
        headers: headers.collect(),
        redirects_to: (300..400).contains(&input.status).then(|| "https://login.example.com".to_owned()),
        ..Answer::new(100 + input.status.saturating_sub(100) % 900, body)
    }
}

/// Bytes that mean nothing in an answer, from 1 to 8 and from 14 on, stand for what servers echo.
fn echoed(bytes: &[u8], secrets: &'static Secrets) -> Vec<u8> {
    static ECHOES: LazyLock<[[String; 11]; 2]> = LazyLock::new(|| [echoes(&SECRETS[0]), echoes(&SECRETS[1])]);
    let echoes = &ECHOES[usize::from(std::ptr::eq(secrets, &SECRETS[1]))];
    let mut echoed = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            1..=8 => echoed.extend(echoes[usize::from(*byte) - 1].bytes()),
            14..=16 => echoed.extend(echoes[usize::from(*byte) - 6].bytes()),
            other => echoed.push(*other),
        }
    }
    echoed
}

fn echoes(secrets: &Secrets) -> [String; 11] {
    let form = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let Secrets { client_secret, refresh_token, access_token, new_refresh_token, api_key, password } = secrets;
    let (beginning, end) = refresh_token.split_at(refresh_token.len() / 2);
    [
        client_secret.clone(),
        refresh_token.clone(),
        form(client_secret),
        form(refresh_token).replace('+', "%20"),
        access_token.clone(),
        new_refresh_token.clone(),
        api_key.clone(),
        "eyJhbGciOiJub25lIn0.eyJleHAiOjI4NDAxNDA4MDB9.c2ln".to_owned(),
        password.clone(),
        beginning.to_owned(),
        end.to_owned(),
    ]
}

/// Fails if an error's words hold a secret, a part of a long one, or something that breaks a line or hides.
pub fn assert_showable(error: &SourceError, definition: &Definition, credential: Option<&SecretString>) {
    let secrets: Vec<_> = definition.secrets().chain(credential.map(ExposeSecret::expose_secret)).collect();
    let provider_error = error.provider_error.as_deref().map(|words| ("the provider's error", words));
    for (what, text) in [("the message", error.message.as_str())].into_iter().chain(provider_error) {
        for secret in secrets.iter().filter(|secret| secret.len() >= SHORTEST_SECRET) {
            assert!(!text.contains(secret), "{what} shows {secret:?}: {text:?}");
        }
        for part in text.as_bytes().windows(PART) {
            let shown = PARTS.get(part).filter(|secret| secrets.contains(secret));
            assert!(shown.is_none(), "{what} shows a part of {shown:?}: {text:?}");
        }
        let odd = |character: char| {
            character.is_control()
                || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
                || matches!(character, '\u{fdd0}'..='\u{fdef}')
                || u32::from(character) % 0x1_0000 >= 0xfffe
        };
        assert!(!text.contains(odd), "{what} is not printable: {text:?}");
    }
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
