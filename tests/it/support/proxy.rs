//! A proxy in front of the AWS emulator, for faults that it does not have itself.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::process::AwsEmulator;
use super::token_endpoint;

/// A proxy that passes everything on, one request at a time, but for what a test mounts before that.
pub(crate) async fn aws_proxy() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(forward).with_priority(250).mount(&server).await;
    server
}

/// The emulator's answer, passed on.
pub(crate) fn forward(request: &Request) -> ResponseTemplate {
    let Answer { status, headers, body } = ask(request);
    let response = ResponseTemplate::new(status).set_body_bytes(body);
    headers.into_iter().fold(response, |response, (name, value)| response.append_header(name, value))
}

/// An HTTP answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// The emulator's answer.
pub(crate) fn ask(request: &Request) -> Answer {
    let signature = request.headers.get("authorization").and_then(|value| value.to_str().ok());
    let emulator = signature.and_then(AwsEmulator::of_signature).expect("a request that is signed with a test's key");
    let url = emulator.url();
    let address = url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).expect("a connection");
    let target = &request.url[url::Position::BeforePath..];
    let mut head = format!("{} {target} HTTP/1.1\r\n", request.method);
    for (name, value) in &request.headers {
        if name != "connection" && name != "content-length" && name != "expect" {
            head.extend([name.as_str(), ": ", value.to_str().expect("a text header"), "\r\n"]);
        }
    }
    let length = request.body.len();
    let head = format!("{head}connection: close\r\ncontent-length: {length}\r\n\r\n");
    connection.write_all(head.as_bytes()).expect("a request");
    connection.write_all(&request.body).expect("a request");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("an answer");
    read_answer(&answer)
}

fn read_answer(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("the end of a head");
    let head = std::str::from_utf8(&answer[..end]).expect("a text head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let of_connection = ["connection", "content-length", "date", "server"];
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer {
        status: status.expect("a status"),
        headers: headers.filter(|(name, _)| !of_connection.contains(&name.as_str())).collect(),
        body: answer[end + 4..].to_vec(),
    }
}

/// An error of S3.
pub(crate) fn s3_error(status: u16, code: &str) -> ResponseTemplate {
    let body = format!("<Error><Code>{code}</Code><Message>told by the test</Message></Error>");
    ResponseTemplate::new(status).set_body_raw(body, "application/xml")
}

/// A message as a publisher gave it to SNS.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Published {
    pub(crate) subject: String,
    pub(crate) attributes: BTreeMap<String, String>,
    /// For machines.
    pub(crate) default: Value,
    /// For people.
    pub(crate) email: String,
}

/// All messages that went through a proxy, in order.
pub(crate) async fn published(proxy: &MockServer) -> Vec<Published> {
    token_endpoint::requests(proxy).await.iter().flat_map(read_batch).collect()
}

/// Reads the form of a `PublishBatch` call; other calls hold no message.
fn read_batch(request: &Request) -> Vec<Published> {
    let form: BTreeMap<_, _> = token_endpoint::form(request).into_iter().collect();
    if form.get("Action").is_none_or(|action| action != "PublishBatch") {
        return Vec::new();
    }
    let entry = |number: usize| {
        let entry = format!("PublishBatchRequestEntries.member.{number}");
        let field = |name: &str| form.get(&format!("{entry}.{name}")).cloned();
        assert_eq!(field("MessageStructure")?, "json");
        let bodies: BTreeMap<String, String> = serde_json::from_str(&field("Message")?).expect("bodies by protocol");
        let attribute = |number: usize| {
            let attribute = format!("MessageAttributes.entry.{number}");
            assert_eq!(field(&format!("{attribute}.Value.DataType"))?, "String");
            Some((field(&format!("{attribute}.Name"))?, field(&format!("{attribute}.Value.StringValue"))?))
        };
        Some(Published {
            subject: field("Subject")?,
            attributes: (1..).map_while(attribute).collect(),
            default: serde_json::from_str(&bodies["default"]).expect("JSON"),
            email: bodies["email"].clone(),
        })
    };
    (1..).map_while(entry).collect()
}
