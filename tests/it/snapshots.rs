//! What other programs and people read, to the letter.

use insta::internals::Redaction;
use insta::{assert_json_snapshot, assert_snapshot, dynamic_redaction};
use serde_json::{Value, json};
use wiremock::MockServer;

use token_harvester::domain::report::Report;
use token_harvester::lambda::telemetry;

use crate::support::deployment::Deployment;
use crate::support::log::Kept;
use crate::support::proxy::{Published, aws_proxy, published};
use crate::support::token_endpoint::{and, answer_at, answer_next, answered, client_at, refused};

const NOW: &str = "2026-11-20T22:00:00Z";

/// A deployment in which the clock stands still, with a source that gets a token and one whose token expires.
async fn harvested(name: &str) -> (Deployment, Report, Vec<Published>) {
    let server = MockServer::start().await;
    let at = |path: &str, fields: Value| and(client_at(&format!("{}{path}", server.uri())), fields);
    let owned = json!({"owner": "data-platform@example.com", "runbook_url": "https://wiki.example.com/tokens"});
    let granted = json!({
        "access_token": "access-token", "token_type": "bearer", "expires_in": 3600, "scope": "read",
        "instance_url": "https://eu12.example.com",
    });
    answer_at(&server, "/good", answered(200, granted.clone())).await;
    answer_next(&server, "/refusing", 1, answered(200, granted)).await;
    answer_at(&server, "/refusing", refused(401, "invalid_client")).await;
    let deployment = Deployment::named(name).await.with("ENVIRONMENT", "prod");
    // One source after the other, for a log in order.
    let deployment = deployment.with("MAX_CONCURRENCY", "1");
    deployment.define("acme-crm", at("/refusing", owned)).await;
    deployment.clock.stop_at("2026-11-20T21:18:00Z");
    deployment.harvest_due().await;

    deployment.define("acme-erp", at("/good", json!({}))).await;
    deployment.define("acme-hr", at("/good", json!({"scop": "read"}))).await;
    deployment.clock.stop_at(NOW);
    let proxy = aws_proxy().await;
    let deployment = deployment.with("AWS_ENDPOINT_URL_SNS", proxy.uri());
    let report = deployment.harvest_due().await;
    (deployment, report, published(&proxy).await)
}

/// S3's version ids are random.
fn version_id() -> Redaction {
    dynamic_redaction(|value, _| if value.is_nil() { value } else { "[version id]".into() })
}

#[tokio::test]
async fn the_token_document_and_its_metadata() {
    let (deployment, ..) = harvested("document").await;
    assert_json_snapshot!("token_document", deployment.document("acme-erp").await);
    // The endpoint's port is another in each run.
    let mut metadata = deployment.metadata("acme-erp").await;
    assert_eq!(metadata.remove("definition-sha256").map(|digits| digits.len()), Some(64));
    assert_json_snapshot!("token_document_metadata", metadata);
}

#[tokio::test]
async fn the_messages() {
    let (_, _, messages) = harvested("messages").await;
    let [refreshed, failed, never, alert] = &messages[..] else { panic!("{messages:#?}") };
    let messages = [("alert", alert), ("token_failed", failed), ("token_refreshed", refreshed), ("token_never", never)];
    for (name, message) in messages {
        assert_json_snapshot!(name, message, { ".default.version_id" => version_id(), ".email" => "[see the text]" });
        assert_snapshot!(format!("{name}_email"), message.email);
    }
}

#[tokio::test]
async fn the_report() {
    let (_, report, _) = harvested("report").await;
    assert_json_snapshot!("report", report, { ".sources[].version_id" => version_id() });
}

#[tokio::test]
async fn the_metrics_record() {
    let (_, report, _) = harvested("metrics").await;
    assert_eq!(report.finished_at, NOW.parse::<chrono::DateTime<chrono::Utc>>().expect("a time"));
    let mut record = Vec::new();
    telemetry::write_metrics(&report, report.finished_at, &mut record).expect("a record");
    let record = String::from_utf8(record).expect("UTF-8");
    assert_eq!(record.lines().count(), 1);
    let record: Value = serde_json::from_str(&record).expect("JSON");
    assert_json_snapshot!("metrics_record", record);
}

#[tokio::test]
async fn the_log() {
    let log = Kept::default();
    let logging = log.capture();
    harvested("log").await;
    drop(logging);
    assert_json_snapshot!("log", log.lines(), { "[].timestamp" => "[time]" });
}
