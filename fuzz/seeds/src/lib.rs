//! What the fixtures in `tests/providers` hold for fuzzing: definitions, and answers of real servers.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// A case of a fixture.
pub struct Case {
    /// File and name: `tiktok/rotation`.
    pub name: String,
    /// As the test makes it a secret, but that keys and certificates are words that stand for them.
    pub definition: Map<String, Value>,
    /// What the server says, in order.
    pub answers: Vec<Answer>,
}

/// An answer as it stands in a fixture.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// An input of the targets `answer` and `error`: bytes that say which definition reads the answer, then the answer.
///
/// It is two bytes for the case, one for the flow, two for the status, header lines, an empty line, and the body.
pub struct Input<'a> {
    /// Index of the case, counted on behind the last one for the same with long secrets.
    pub case: u16,
    /// Index of the flow: the first, the one that refreshes, the steps.
    pub flow: u8,
    pub status: u16,
    pub headers: Vec<(&'a [u8], &'a [u8])>,
    pub body: &'a [u8],
}

impl<'a> Input<'a> {
    /// `None` if it is too short.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&[case_high, case_low, flow, status_high, status_low], mut rest) = bytes.split_first_chunk()?;
        let mut headers = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { break };
            headers.push((&line[..colon], line[colon + 1..].trim_ascii()));
        }
        Some(Self {
            case: u16::from_be_bytes([case_high, case_low]),
            flow,
            status: u16::from_be_bytes([status_high, status_low]),
            headers,
            body: rest,
        })
    }

    /// The bytes that are read as this answer.
    pub fn write(case: u16, flow: u8, answer: &Answer) -> Vec<u8> {
        let mut bytes = case.to_be_bytes().to_vec();
        bytes.push(flow);
        bytes.extend(answer.status.to_be_bytes());
        for (name, value) in &answer.headers {
            bytes.extend(format!("{name}: {value}\n").bytes());
        }
        bytes.push(b'\n');
        bytes.extend(answer.body.bytes());
        bytes
    }
}

/// The folder of this repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All cases of all fixtures, by file, in order: targets and seeds mean the same one by an index.
pub fn cases() -> Result<Vec<Case>, Box<dyn Error>> {
    let files = fs::read_dir(root().join("tests/providers"))?;
    let mut files = files.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let provider = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let fixture: Value =
            toml::from_str(&fs::read_to_string(&file)?).map_err(|error| format!("{}: {error}", file.display()))?;
        for case in items(&fixture, "case") {
            let name = format!("{provider}/{}", case["name"].as_str().unwrap_or_default());
            let mut definition = case["definition"].as_object().cloned().unwrap_or_default();
            definition.entry("provider").or_insert_with(|| Value::from(provider.as_str()));
            if definition["provider"] != "custom" {
                definition.entry("base_url").or_insert_with(|| Value::from("https://as.example.com"));
            }
            let exchanges = items(case, "harvest").flat_map(|harvest| items(harvest, "exchange"));
            let answers = exchanges.map(|exchange| answer(&exchange["answer"])).collect();
            cases.push(Case { name, definition, answers });
        }
    }
    Ok(cases)
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

fn answer(answer: &Value) -> Answer {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let headers = answer["headers"].as_object().into_iter().flatten();
    Answer {
        status: answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200),
        headers: headers.map(|(name, value)| (name.to_lowercase(), text(value))).collect(),
        body: text(&answer["body"]),
    }
}
