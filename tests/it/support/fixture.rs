//! Fixtures of `tests/providers`: what a provider is sent, what it answers, and what must come of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use chrono::TimeDelta;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde::Deserialize;
use serde_json::{Map, Value};

use token_harvester::domain::duration;

use super::process::ROOT;

/// What begins the names of files that are about no provider.
pub(crate) const CUSTOM_PREFIX: &str = "custom-";

/// One file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fixture {
    /// The file's name without its ending: the provider's, unless it begins with [`CUSTOM_PREFIX`].
    #[serde(skip)]
    pub(crate) name: String,
    #[serde(rename = "case")]
    pub(crate) cases: Vec<Case>,
}

/// One source, and what becomes of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    definition: Map<String, Value>,
    #[serde(rename = "harvest")]
    pub(crate) harvests: Vec<Harvest>,
}

/// One run, and what must come of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Harvest {
    /// By how much the clock is put forward before it.
    after: Option<String>,
    force: Option<bool>,
    pub(crate) outcome: String,
    /// The error's code.
    pub(crate) error: Option<String>,
    pub(crate) provider_error: Option<String>,
    pub(crate) token: Option<String>,
    #[serde(default = "bearer")]
    pub(crate) token_type: String,
    pub(crate) scope: Option<String>,
    /// In seconds from the request.
    pub(crate) expires_in: Option<i64>,
    pub(crate) expires_at: Option<String>,
    #[serde(default)]
    pub(crate) extra: Map<String, Value>,
    /// What grant state holds.
    pub(crate) credential: Option<String>,
    /// In seconds from the request.
    pub(crate) credential_expires_in: Option<i64>,
    pub(crate) credential_expires_at: Option<String>,
    /// What is sent and answered, in order.
    #[serde(default, rename = "exchange")]
    exchanges: Vec<Exchange>,
}

fn bearer() -> String {
    "Bearer".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    /// How often in a row.
    #[serde(default = "once")]
    times: usize,
    pub(crate) request: Request,
    pub(crate) answer: Answer,
}

fn once() -> usize {
    1
}

/// A request as it must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) query: Parameters,
    #[serde(default)]
    pub(crate) form: Parameters,
    /// The body's members; `None`: it is no JSON.
    pub(crate) json: Option<Map<String, Value>>,
    /// Those that matter.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Those that matter of the JWT in the request.
    #[serde(default)]
    pub(crate) claims: Map<String, Value>,
    /// Those members that matter of its header.
    #[serde(default)]
    pub(crate) jwt_header: Map<String, Value>,
}

/// Strings, or lists of them, by name.
type Parameters = Map<String, Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    #[serde(default = "ok")]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) body: String,
}

fn ok() -> u16 {
    200
}

impl Harvest {
    /// What is sent and answered, in order.
    pub(crate) fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter().flat_map(|exchange| std::iter::repeat_n(exchange, exchange.times))
    }

    /// Whether it says anything of grant state.
    pub(crate) fn expects_grant(&self) -> bool {
        self.credential.is_some() || self.credential_expires_in.is_some() || self.credential_expires_at.is_some()
    }

    /// By how much the clock is put forward before it.
    pub(crate) fn after(&self) -> TimeDelta {
        self.after.as_deref().map_or(TimeDelta::zero(), |after| duration::parse(after).expect("a duration"))
    }

    /// Whether it is forced; `number` counts a case's harvests from 1.
    pub(crate) fn is_forced(&self, number: usize) -> bool {
        self.force.unwrap_or(number > 1 && self.after.is_none())
    }
}

impl Fixture {
    /// Reads the text of a file.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let fixture: Self = toml::from_str(text).map_err(|error| format!("{name}.toml: {error}"))?;
        Ok(Self { name: name.to_owned(), ..fixture })
    }

    /// All files, by name.
    pub(crate) fn all() -> Vec<Self> {
        let read = |(name, text): (String, String)| Self::parse(&name, &text).unwrap_or_else(|fault| panic!("{fault}"));
        toml_files("tests/providers").into_iter().map(read).collect()
    }

    /// The definition of one of its cases; without `base_url` where the provider's own addresses will do.
    pub(crate) fn definition(&self, case: &Case, base_url: Option<&str>) -> Value {
        let mut definition = case.definition.clone();
        definition.entry("provider").or_insert_with(|| self.name.clone().into());
        if let Some(base_url) = base_url {
            definition.insert("base_url".to_owned(), base_url.into());
        }
        if let Some(Value::String(kind)) = definition.get("private_key").cloned() {
            let (key, certificate) = key_and_certificate(&kind);
            definition.insert("private_key".to_owned(), key.clone().into());
            if definition.get("certificate").is_some_and(|certificate| certificate == "self-signed") {
                definition.insert("certificate".to_owned(), certificate.clone().into());
            }
        }
        Value::Object(definition)
    }

    /// The name of the source that plays a case.
    pub(crate) fn source(&self, case: &Case) -> String {
        format!("{}-{}", self.name, case.name)
    }
}

/// Names (without endings) and texts of all TOML files of a folder of the package, by name.
pub(crate) fn toml_files(folder: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).expect("a text"))
        })
        .collect()
}

/// The run's key of a kind that fixtures name, and a certificate of it, both PEM.
pub(crate) fn key_and_certificate(kind: &str) -> &'static (String, String) {
    static RSA: LazyLock<(String, String)> = LazyLock::new(|| signed_by_itself(&PKCS_RSA_SHA256));
    static P256: LazyLock<(String, String)> = LazyLock::new(|| signed_by_itself(&PKCS_ECDSA_P256_SHA256));
    match kind {
        "rsa" => &RSA,
        "p256" => &P256,
        _ => panic!("`private_key` must be `rsa` or `p256`, not {kind:?}"),
    }
}

fn signed_by_itself(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let params = CertificateParams::new(vec!["client.example.com".to_owned()]).expect("parameters");
    (key.serialize_pem(), params.self_signed(&key).expect("a certificate").pem())
}
