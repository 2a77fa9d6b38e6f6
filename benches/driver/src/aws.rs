//! As much of Secrets Manager, S3 and SNS as a harvest uses, kept in memory, each call counted.
//!
//! An emulator written in Python takes longer over an answer than the function over its whole harvest. This one says
//! the same at once; benches/bench.py also lets every contestant harvest once with moto, to prove that it can.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::http::request::Parts;
use hyper::{Method, Response};
use serde_json::{Value, json};

use crate::Failure;
use crate::http::{Answer, answer, serve};

/// What AWS holds, and how often it was called.
#[derive(Default)]
pub(crate) struct State {
    /// Name and text, by name.
    pub(crate) secrets: Vec<(String, String)>,
    objects: HashMap<String, Object>,
    writes: u64,
    calls: BTreeMap<String, u64>,
}

struct Object {
    etag: String,
    version: String,
    metadata: Vec<(String, String)>,
    body: Bytes,
}

impl State {
    pub(crate) fn forget_objects(&mut self) {
        self.objects.clear();
    }

    /// How often each operation was called since the last time.
    pub(crate) fn take_calls(&mut self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.calls)
    }

    fn answer(&mut self, request: &Parts, body: &Bytes) -> (&'static str, Answer) {
        let target = request.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let path = request.uri.path();
        match target.and_then(|target| target.rsplit('.').next()) {
            Some("BatchGetSecretValue") => return ("BatchGetSecretValue", self.secrets(body)),
            Some("GetSecretValue") => return ("GetSecretValue", self.secret(body)),
            _ => {}
        }
        if request.method == Method::POST && path == "/" {
            return publish(body);
        }
        match request.method {
            Method::HEAD => ("HeadObject", self.object(path, false)),
            Method::PUT => ("PutObject", self.put(request, path, body)),
            Method::GET if request.uri.query().is_some_and(|query| query.contains("list-type=2")) => {
                let list = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><KeyCount>0</KeyCount>\
                            <MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>";
                ("ListObjectsV2", answer(200, "application/xml", list))
            }
            Method::GET => ("GetObject", self.object(path, true)),
            _ => ("other", s3_error(501, "NotImplemented")),
        }
    }

    fn secrets(&self, body: &Bytes) -> Answer {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let first = request["NextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
        let next = first + request["MaxResults"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(20);
        let page = self.secrets.iter().skip(first).take(next - first);
        let values: Vec<Value> = page.map(|(name, text)| secret_value(name, text)).collect();
        let mut answered = json!({"SecretValues": values, "Errors": []});
        if next < self.secrets.len() {
            answered["NextToken"] = json!(next.to_string());
        }
        answer(200, "application/x-amz-json-1.1", answered.to_string())
    }

    fn secret(&self, body: &Bytes) -> Answer {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let found = self.secrets.iter().find(|(name, _)| request["SecretId"] == **name);
        let Some((name, text)) = found else {
            let refusal = json!({"__type": "ResourceNotFoundException", "Message": "no such secret"});
            return answer(400, "application/x-amz-json-1.1", refusal.to_string());
        };
        answer(200, "application/x-amz-json-1.1", secret_value(name, text).to_string())
    }

    fn object(&self, path: &str, with_body: bool) -> Answer {
        let Some(object) = self.objects.get(path) else { return s3_error(404, "NoSuchKey") };
        let mut response = Response::builder()
            .header("content-type", "application/json")
            .header("content-length", object.body.len())
            .header("last-modified", "Fri, 20 Nov 2026 22:00:00 GMT")
            .header("x-amz-server-side-encryption", "AES256")
            .header("x-amz-version-id", &object.version)
            .header("etag", &object.etag);
        for (name, value) in &object.metadata {
            response = response.header(name, value);
        }
        let body = if with_body { object.body.clone() } else { Bytes::new() };
        response.body(Full::from(body)).expect("headers that were received as such")
    }

    fn put(&mut self, request: &Parts, path: &str, body: &Bytes) -> Answer {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let stored = self.objects.get(path).map(|object| object.etag.as_str());
        let holds = match (header("if-match"), header("if-none-match")) {
            (Some(expected), _) => stored == Some(expected),
            (None, Some(_)) => stored.is_none(),
            (None, None) => true,
        };
        if !holds {
            return s3_error(412, "PreconditionFailed");
        }
        self.writes += 1;
        let metadata = request.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-meta-"));
        let object = Object {
            etag: format!("\"{:032x}\"", self.writes),
            version: format!("{:032}", self.writes),
            metadata: metadata
                .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
                .collect(),
            body: body.clone(),
        };
        let response = Response::builder()
            .header("etag", &object.etag)
            .header("x-amz-version-id", &object.version)
            .header("x-amz-server-side-encryption", "AES256")
            .body(Full::default())
            .expect("headers are text");
        self.objects.insert(path.to_owned(), object);
        response
    }
}

/// Starts serving a state.
pub(crate) async fn start(state: Rc<RefCell<State>>) -> Result<SocketAddr, Failure> {
    serve(None, async move |request, body| {
        let mut state = state.borrow_mut();
        let (operation, answer) = state.answer(&request, &body);
        *state.calls.entry(operation.to_owned()).or_default() += 1;
        answer
    })
    .await
}

fn secret_value(name: &str, text: &str) -> Value {
    json!({
        "ARN": format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}-AbC123"),
        "Name": name,
        "VersionId": "00000000-0000-4000-8000-000000000000",
        "SecretString": text,
        "VersionStages": ["AWSCURRENT"],
        "CreatedDate": 1_795_000_000,
    })
}

fn s3_error(status: u16, code: &str) -> Answer {
    answer(status, "application/xml", format!("<Error><Code>{code}</Code><Message>-</Message></Error>"))
}

/// SNS speaks forms and XML.
fn publish(body: &Bytes) -> (&'static str, Answer) {
    let form: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let is_batch = form.iter().any(|(name, value)| name == "Action" && value == "PublishBatch");
    let message_id = "<MessageId>00000000-0000-4000-8000-000000000000</MessageId>";
    let (operation, result) = if is_batch {
        let ids = form.iter().filter(|(name, _)| name.starts_with("PublishBatch") && name.ends_with(".Id"));
        let members = ids.map(|(_, id)| format!("<member><Id>{id}</Id>{message_id}</member>"));
        ("PublishBatch", format!("<Successful>{}</Successful><Failed/>", members.collect::<String>()))
    } else {
        ("Publish", message_id.to_owned())
    };
    let body = format!(
        "<{operation}Response xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><{operation}Result>{result}\
         </{operation}Result><ResponseMetadata><RequestId>-</RequestId></ResponseMetadata></{operation}Response>"
    );
    (operation, answer(200, "text/xml", body))
}
