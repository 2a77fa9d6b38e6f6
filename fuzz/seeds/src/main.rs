//! Writes the first inputs of every target into `fuzz/corpus`, from the fixtures in `tests/providers`.

use std::error::Error;
use std::fs;
use std::path::Path;

use seeds::{Answer, Input};
use serde_json::{Value, json};

/// What servers say in `Retry-After`, and what they should not.
const RETRY_AFTER: [&str; 10] = [
    "0",
    "120",
    " 7 ",
    "18446744073709551616",
    "-1",
    "1.5",
    "Fri, 20 Nov 2026 22:02:00 GMT",
    "Friday, 20-Nov-26 22:02:00 GMT",
    "Fri Nov 20 22:02:00 2026",
    "Fri, 31 Dec 9999 23:59:59 GMT",
];

/// Callbacks, as providers send them and as they should not.
const CALLBACKS: [&str; 6] = [
    "code=c-1&state=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "code=c-1%23_&state=S&iss=https%3A%2F%2Fas.example.com",
    "error=access_denied&error_description=No&state=S",
    "code=a&code=b&state=S",
    "c%6Fde=a&state=S&realmId=7",
    "state=S",
];

/// Answers that say whose account it is.
const IDENTITIES: [&str; 4] = [
    r#"{"sub": "u-1", "name": "Ann", "team": {"id": "T1"}}"#,
    r#"{"sub": 42, "team": {"id": 7}}"#,
    r#"{"sub": "\u202e", "name": ""}"#,
    "e30.eyJhdWQiOiJhcHAiLCJleHAiOjE5MDAwMDAwMDAsInN1YiI6InUtMSJ9.s",
];

/// Answers in which a server echoes what it was sent: the targets put secrets in place of the bytes 1 to 8 and 14 to 16.
const ECHOES: [(u16, &str); 8] = [
    (
        200,
        r#"{"access_token": "t", "refresh_token": "\u0006", "echo": "\u0001 \u0002", "nested": [{"again": "-\u0006-"}]}"#,
    ),
    (200, r#"{"access_token": "t", "refresh_token": "X", "echo": "X"}"#),
    (200, r#"{"X": {"X": 1}}"#),
    (401, r#"{"error": "invalid_client", "error_description": "X is not Y"}"#),
    (400, r#"{"error": {"code": "X", "message": "Y"}}"#),
    (400, "error=invalid_grant&error_description=X+Y"),
    (200, "X"),
    (400, "{\"error\": \"\u{e}\", \"error_description\": \"\u{f}... \u{10}\"}"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = seeds::root().join("fuzz/corpus");
    let mut counts = Vec::new();
    for (target, inputs) in [
        ("answer", answers()?),
        ("callback", CALLBACKS.map(|query| query.as_bytes().to_vec()).into()),
        ("definition", definitions()?),
        ("error", errors()?),
        ("identity", IDENTITIES.map(|text| text.as_bytes().to_vec()).into()),
        ("retry_after", RETRY_AFTER.map(retry_after).into()),
    ] {
        write(&corpus.join(target), &inputs)?;
        counts.push(format!("{} for {target}", inputs.len()));
    }
    eprintln!("first inputs: {}", counts.join(", "));
    Ok(())
}

/// An input's number is its name, so that the next time it is replaced and not doubled.
fn write(folder: &Path, inputs: &[Vec<u8>]) -> Result<(), std::io::Error> {
    fs::create_dir_all(folder)?;
    inputs.iter().enumerate().try_for_each(|(number, input)| fs::write(folder.join(format!("seed-{number:04}")), input))
}

/// Every answer, read by every flow that it may be for.
fn answers() -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut inputs = Vec::new();
    let all = seeds::cases()?;
    let cases = u16::try_from(all.len())?;
    for (index, case) in (0..).zip(&all) {
        for answer in &case.answers {
            for flow in 0..if case.answers.len() > 1 { 2 } else { 1 } {
                inputs.push(Input::write(index, flow, answer));
            }
        }
        // Behind the last case they begin anew, with long secrets.
        if index % 8 == 0 {
            inputs.extend(echoes().map(|answer| Input::write(index, 0, &answer)));
            inputs.extend(echoes().map(|answer| Input::write(cases + index, 0, &answer)));
        }
    }
    Ok(inputs)
}

fn echoes() -> impl Iterator<Item = Answer> {
    ECHOES.into_iter().enumerate().map(|(index, (status, body))| {
        let stand_ins = [["\u{1}", "\u{2}"], ["\u{2}", "\u{3}"], ["\u{6}", "\u{5}"], ["\u{7}", "\u{4}"]];
        let [first, second] = stand_ins[index % stand_ins.len()];
        let body = body.replace("\\u0001", "\u{1}").replace("\\u0002", "\u{2}").replace("\\u0006", "\u{6}");
        Answer { status, headers: Vec::new(), body: body.replace('X', first).replace('Y', second) }
    })
}

/// The same, judged by a rule of the input's own.
fn errors() -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let rules = [
        json!({"status": 400, "class": "transient"}),
        json!({"path": "/error", "equals": "invalid_grant", "class": "configuration", "error": "invalid_scope"}),
        json!({"path": "", "matches": "(?i)^.*err(or)?[^a-z]", "class": "dead_grant"}),
        json!({"header": "retry-after", "class": "throttled"}),
        json!({"path": "/error_description", "matches": "too (early|soon)", "class": "too_early"}),
        json!({"status": [200, 401], "path": "/errors/0/code", "equals": [190, true, "E17"], "class": "configuration"}),
    ];
    let refused = answers()?.into_iter().filter(|input| !input[3..].starts_with(&200_u16.to_be_bytes()));
    let with_rule = |(index, answer): (usize, Vec<u8>)| {
        let mut input =
            if index % 3 == 0 { String::new() } else { rules[index % rules.len()].to_string() }.into_bytes();
        input.push(b'\n');
        input.extend(answer);
        input
    };
    Ok(refused.enumerate().map(with_rule).collect())
}

/// The definitions as texts, and a few mutations of each: see the target.
fn definitions() -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut inputs = Vec::new();
    for (index, case) in seeds::cases()?.into_iter().enumerate() {
        let mut definition = case.definition;
        for (name, value) in &mut definition {
            if matches!(
                name.as_str(),
                "client_secret" | "api_secret" | "refresh_token" | "access_token" | "private_key"
            ) {
                *value = Value::from("S3CR3T-value");
            }
        }
        let definition = Value::Object(definition);
        let text = if index % 7 == 0 { json!({"sources": {"acme": definition}}) } else { definition };
        let text = text.to_string();
        inputs.push([b"\0", text.as_bytes()].concat());
        if text.contains("https://as.example.com") {
            inputs.push([b"\0", text.replace("https://as.example.com", "http://127.0.0.1:9001").as_bytes()].concat());
        }
        let [high, low] = u16::try_from(index)?.to_be_bytes();
        let mutations = (0..24).map(|number| (index * 31 + number * 97) as u8);
        inputs.push([1, high, low].into_iter().chain(mutations).collect());
    }
    Ok(inputs)
}

/// The moment of the answer, then the header.
fn retry_after(value: &str) -> Vec<u8> {
    let now: i64 = 1_795_212_000; // 2026-11-20T22:00:00Z
    [&now.to_be_bytes(), value.as_bytes()].concat()
}
