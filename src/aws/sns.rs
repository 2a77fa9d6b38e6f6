//! Messages to SNS.

use std::cell::OnceCell;
use std::time::Duration;

use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use aws_sdk_sns::{Client, Config as ClientConfig};
use aws_types::SdkConfig;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::{StreamExt as _, stream};
use tracing::warn;

use super::{Settings, store_error};
use crate::app::ports::{Publisher, StoreError};
use crate::domain::notice::message::{Limits, Message};

/// The most messages that `PublishBatch` takes.
/// <https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html>
const MESSAGES_PER_CALL: usize = 10;

/// The most bytes that one call takes, all messages with their attributes together, less room for what SNS counts
/// besides.
const BYTES_PER_CALL: usize = 250 * 1024;

/// What SNS takes of one message. Of its 256 KiB the lists of an alert may fill 96: the text for people comes beside the
/// JSON, whose quotes are escaped once more.
/// <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>
const LIMITS: Limits = Limits { subject: 100, list: 96 * 1024 };

/// How many calls are under way at once.
const CALLS_AT_ONCE: usize = 8;

/// The topic, as the place to publish to.
#[derive(Debug)]
pub struct SnsPublisher {
    config: ClientConfig,
    /// Made for the first message. Most runs send none, and making a client parses AWS's table of partitions: a fifth of
    /// all instructions before the first event.
    client: OnceCell<Client>,
    topic_arn: String,
}

/// A message ready to be sent, and its size in SNS's reckoning.
struct ReadyMessage {
    request: PublishBatchRequestEntry,
    bytes: usize,
}

impl SnsPublisher {
    pub(super) fn new(shared: &SdkConfig, settings: &Settings) -> Self {
        let mut builder = aws_sdk_sns::config::Builder::from(shared);
        builder.set_endpoint_url(settings.sns_url.clone());
        Self { config: builder.build(), client: OnceCell::new(), topic_arn: settings.topic_arn.clone() }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::from_conf(self.config.clone()))
    }

    /// Publishes up to ten messages; what SNS does not say it has taken is sent again a few times.
    async fn publish_batch(&self, mut entries: Vec<PublishBatchRequestEntry>) -> Result<(), StoreError> {
        let mut waits = ExponentialBuilder::new().with_min_delay(Duration::from_millis(200)).with_max_times(3).build();
        loop {
            let answer = self
                .client()
                .publish_batch()
                .topic_arn(&self.topic_arn)
                .set_publish_batch_request_entries(Some(entries.clone()))
                .send()
                .await
                .map_err(|error| store_error("SNS PublishBatch", &error))?;
            let sent = entries.len();
            let taken = answer.successful.unwrap_or_default();
            entries.retain(|entry| taken.iter().all(|taken| taken.id() != Some(entry.id())));
            if entries.is_empty() {
                return Ok(());
            }
            let why = match answer.failed.unwrap_or_default().first() {
                Some(first) => format!("{}: {}", first.code(), first.message().unwrap_or_default()),
                None => "it did not say why".to_owned(),
            };
            let reason = format!("SNS refused {} of {sent} messages: {why}", entries.len());
            let Some(wait) = waits.next() else { return Err(StoreError(reason)) };
            warn!(error.message = reason, retry.wait_s = wait.as_secs_f64(), "messages refused, trying again");
            tokio::time::sleep(wait).await;
        }
    }
}

impl Publisher for SnsPublisher {
    fn limits(&self) -> Limits {
        LIMITS
    }

    async fn publish(&self, messages: &[Message]) -> Result<(), StoreError> {
        let messages =
            messages.iter().enumerate().map(|(index, message)| ready(index, message)).collect::<Result<Vec<_>, _>>()?;
        let results: Vec<_> = stream::iter(batches(messages))
            .map(|batch| self.publish_batch(batch))
            .buffer_unordered(CALLS_AT_ONCE)
            .collect()
            .await;
        results.into_iter().collect()
    }
}

fn ready(index: usize, message: &Message) -> Result<ReadyMessage, StoreError> {
    let malformed = |error| StoreError(format!("SNS PublishBatch: could not be built: {error}"));
    let body = serde_json::json!({"default": message.json, "email": message.text}).to_string();
    let mut bytes = message.subject.len() + body.len();
    let mut request = PublishBatchRequestEntry::builder()
        .id(index.to_string())
        .subject(&message.subject)
        .message(body)
        .message_structure("json");
    for (name, value) in &message.attributes {
        bytes += name.len() + "String".len() + value.len();
        let value =
            MessageAttributeValue::builder().data_type("String").string_value(value).build().map_err(malformed)?;
        request = request.message_attributes(*name, value);
    }
    Ok(ReadyMessage { request: request.build().map_err(malformed)?, bytes })
}

/// As few batches as keep within both limits, in order.
fn batches(messages: Vec<ReadyMessage>) -> Vec<Vec<PublishBatchRequestEntry>> {
    let mut batches: Vec<Vec<PublishBatchRequestEntry>> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        bytes += message.bytes;
        match batches.last_mut() {
            Some(batch) if batch.len() < MESSAGES_PER_CALL && bytes <= BYTES_PER_CALL => batch.push(message.request),
            _ => {
                bytes = message.bytes;
                batches.push(vec![message.request]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::{ErrorCode, SourceError};
    use crate::domain::notice::alert::{Alert, Case};

    fn sizes(bytes: &[usize]) -> Vec<usize> {
        let messages = bytes.iter().enumerate().map(|(index, bytes)| {
            let message =
                Message { subject: String::new(), attributes: Vec::new(), json: String::new(), text: String::new() };
            ReadyMessage { bytes: *bytes, ..ready(index, &message).expect("a message") }
        });
        batches(messages.collect()).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_batch_has_ten_messages_at_most() {
        assert_eq!(sizes(&[100; 25]), [10, 10, 5]);
        assert_eq!(sizes(&[]), [0; 0]);
    }

    #[test]
    fn a_batch_stays_under_the_size_limit() {
        assert_eq!(sizes(&[100 * 1024; 5]), [2, 2, 1]);
        assert_eq!(sizes(&[300 * 1024, 10]), [1, 1]);
    }

    #[test]
    fn the_longest_alert_fits_into_a_message() {
        let words = Some("\u{10ffff}\"".repeat(250));
        let error = SourceError::new(ErrorCode::InvalidClient, "\"".repeat(500)).with_provider_error(words);
        let name = "n".repeat(64);
        let now = "2026-11-20T22:00:00Z".parse().expect("a time");
        let failing = Case {
            source: &name,
            error: Some(&error),
            opened_at: Some(now),
            token_expires_at: Some(now),
            has_token: true,
            next_attempt_at: Some(now),
            ..Case::default()
        };
        let alert = Alert {
            environment: "prod",
            runbook_url: "docs/runbook.md",
            report: "s3://state/reports/2026-11-20/220000-run.json".to_owned(),
            opened: vec![failing; 150],
            ..Alert::default()
        };
        let message = alert.message(now, LIMITS).expect("a message");
        let json = serde_json::json!({"default": message.json, "email": message.text}).to_string();
        assert!(json.len() < 250 * 1024, "{}", json.len());
        assert!(message.text.contains(" more, see the report: s3://"));
    }
}
