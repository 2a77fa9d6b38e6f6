//! Messages to SNS.

use std::cell::OnceCell;
use std::time::Duration;

use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use aws_sdk_sns::{Client, Config as ClientConfig};
use aws_types::SdkConfig;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::{StreamExt as _, stream};
use tracing::warn;

use super::store_error;
use crate::app::ports::{Publisher, StoreError};
use crate::domain::notice::message::Message;
use crate::lambda::config::Config;

/// The most messages that one call takes.
const MESSAGES_PER_CALL: usize = 10;

/// The most bytes that one call takes, all messages with their attributes together, less room for what SNS counts
/// besides.
const BYTES_PER_CALL: usize = 250 * 1024;

/// Calls under way at once.
const CALLS_AT_ONCE: usize = 8;

/// The topic.
#[derive(Debug)]
pub struct SnsPublisher {
    config: ClientConfig,
    /// Made for the first message. Most runs send none, and making a client parses AWS's table of partitions: a fifth of
    /// all instructions before the first event.
    client: OnceCell<Client>,
    topic_arn: String,
}

/// A message ready to be sent, and its size in SNS's reckoning.
struct Entry {
    request: PublishBatchRequestEntry,
    bytes: usize,
}

impl SnsPublisher {
    pub(super) fn new(shared: &SdkConfig, config: &Config) -> Self {
        let mut builder = aws_sdk_sns::config::Builder::from(shared);
        builder.set_endpoint_url(config.runtime.sns_url.clone());
        Self { config: builder.build(), client: OnceCell::new(), topic_arn: config.topic_arn.clone() }
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
    async fn publish(&self, messages: &[Message]) -> Result<(), StoreError> {
        let entries =
            messages.iter().enumerate().map(|(index, message)| entry(index, message)).collect::<Result<Vec<_>, _>>()?;
        let results: Vec<_> = stream::iter(batches(entries))
            .map(|batch| self.publish_batch(batch))
            .buffer_unordered(CALLS_AT_ONCE)
            .collect()
            .await;
        results.into_iter().collect()
    }
}

fn entry(index: usize, message: &Message) -> Result<Entry, StoreError> {
    let malformed = |error| StoreError(format!("SNS PublishBatch: could not be built: {error}"));
    let body = serde_json::json!({"default": message.default, "email": message.email}).to_string();
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
    Ok(Entry { request: request.build().map_err(malformed)?, bytes })
}

/// As few batches as keep within both limits, in order.
fn batches(entries: Vec<Entry>) -> Vec<Vec<PublishBatchRequestEntry>> {
    let mut batches: Vec<Vec<PublishBatchRequestEntry>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.bytes;
        match batches.last_mut() {
            Some(batch) if batch.len() < MESSAGES_PER_CALL && bytes <= BYTES_PER_CALL => batch.push(entry.request),
            _ => {
                bytes = entry.bytes;
                batches.push(vec![entry.request]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(bytes: &[usize]) -> Vec<usize> {
        let entries = bytes.iter().enumerate().map(|(index, bytes)| {
            let message = Message {
                subject: String::new(),
                attributes: Vec::new(),
                default: String::new(),
                email: String::new(),
            };
            Entry { bytes: *bytes, ..entry(index, &message).expect("an entry") }
        });
        batches(entries.collect()).iter().map(Vec::len).collect()
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
}
