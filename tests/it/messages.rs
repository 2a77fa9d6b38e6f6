//! Publishing: batches, refusals, and what is still told when it fails.

use serde_json::json;
use wiremock::{MockServer, Request, ResponseTemplate};

use token_harvester::app::harvest::HarvestError;

use crate::support::assert_refreshed;
use crate::support::deployment::Deployment;
use crate::support::proxy::{aws_proxy, published};
use crate::support::token_endpoint::{answer_at, answer_next, client_of, form, granting, requests};

/// A deployment with so many sources, the proxy before its SNS, and the token endpoint.
async fn with_sources(count: usize) -> (Deployment, MockServer, MockServer) {
    let (deployment, proxy, server) = (Deployment::new().await, aws_proxy().await, granting().await);
    let client = client_of(&server);
    let sources: serde_json::Map<_, _> =
        (0..count).map(|number| (format!("source-{number:02}"), client.clone())).collect();
    deployment.define("packed", json!({"sources": sources})).await;
    (deployment.with("AWS_ENDPOINT_URL_SNS", proxy.uri()), proxy, server)
}

/// An answer of SNS that takes these entries and says this of the others.
fn taking(taken: &[&str], failed: &str) -> ResponseTemplate {
    let taken = taken.iter().map(|id| format!("<member><Id>{id}</Id><MessageId>m</MessageId></member>"));
    let taken = taken.collect::<Vec<_>>().concat();
    let body = format!(
        "<PublishBatchResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishBatchResult>\
         <Successful>{taken}</Successful><Failed>{failed}</Failed></PublishBatchResult></PublishBatchResponse>"
    );
    ResponseTemplate::new(200).set_body_raw(body, "text/xml")
}

/// An answer of SNS that refuses one entry.
fn refusing(entry: &str, taken: &[&str]) -> ResponseTemplate {
    let failed = format!(
        "<member><Id>{entry}</Id><Code>InternalError</Code><Message>try again</Message>\
         <SenderFault>false</SenderFault></member>"
    );
    taking(taken, &failed)
}

/// Ids of the entries of a call.
fn entries(call: &Request) -> Vec<String> {
    form(call).into_iter().filter(|(name, _)| name.ends_with(".Id")).map(|(_, id)| id).collect()
}

#[tokio::test]
async fn ten_messages_go_in_one_call() {
    let (deployment, proxy, _server) = with_sources(23).await;

    deployment.harvest_due().await;

    let mut sizes: Vec<_> = requests(&proxy).await.iter().map(|call| entries(call).len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [3, 10, 10]);
    assert_eq!((published(&proxy).await.len(), deployment.messages().await.len()), (23, 23));
}

#[tokio::test]
async fn an_entry_that_sns_refuses_is_sent_again_alone() {
    let (deployment, proxy, _server) = with_sources(3).await;
    answer_next(&proxy, "/", 1, refusing("1", &["0", "2"])).await;

    deployment.harvest_due().await;

    let calls: Vec<_> = requests(&proxy).await.iter().map(entries).collect();
    assert_eq!(calls, [vec!["0", "1", "2"], vec!["1"]]);
    let messages = deployment.messages().await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].attributes["source"], "source-01");
}

#[tokio::test]
async fn an_entry_that_sns_passes_over_in_silence_is_sent_again() {
    let (deployment, proxy, _server) = with_sources(3).await;
    answer_next(&proxy, "/", 1, taking(&["0", "2"], "")).await;

    deployment.harvest_due().await;

    let calls: Vec<_> = requests(&proxy).await.iter().map(entries).collect();
    assert_eq!(calls, [vec!["0", "1", "2"], vec!["1"]]);
    assert_eq!(deployment.messages().await[0].attributes["source"], "source-01");
}

#[tokio::test]
async fn an_entry_that_sns_keeps_refusing_fails_the_function_with_the_report_kept() {
    let (deployment, proxy, _server) = with_sources(2).await;
    answer_at(&proxy, "/", refusing("0", &["1"])).await;

    let error = deployment.try_harvest(json!({})).await.expect_err("a failure");

    let words = "messages could not be published: SNS refused 1 of 1 messages: InternalError: try again";
    assert_eq!(error.to_string(), words);
    let HarvestError::MessagesUnpublished { report, .. } = error else { panic!("{error:?}") };
    assert_refreshed(&report, "source-00", 1);
    assert_eq!(deployment.document("source-01").await["generation"], 1);
    assert_eq!(requests(&proxy).await.len(), 4);
}

#[tokio::test]
async fn sns_s_passing_troubles_cost_no_message() {
    let (deployment, proxy, _server) = with_sources(1).await;
    answer_next(&proxy, "/", 2, ResponseTemplate::new(503)).await;

    deployment.harvest_due().await;

    assert_eq!((requests(&proxy).await.len(), deployment.messages().await.len()), (3, 1));
}
