//! Adapters to AWS. Whoever uses them sees [`Clients`], whose types are this crate's own.

mod connect_keys;
mod http_client;
mod keys;
mod metadata;
mod s3;
mod secrets_manager;
mod settings;
mod sns;

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_types::SdkConfig;
use secrecy::ExposeSecret as _;

pub use self::s3::{S3StateStore, S3TokenStore};
pub use self::secrets_manager::SecretsManager;
pub use self::settings::{AccessKey, Settings};
pub use self::sns::SnsPublisher;

use crate::app::ports::StoreError;
use crate::domain::redact;
use crate::net::transport::Transport;

/// The adapters to all services, on one transport.
#[derive(Debug)]
pub struct Clients {
    /// Where definitions are read.
    pub secrets: SecretsManager,
    /// The token bucket.
    pub tokens: S3TokenStore,
    /// The state bucket.
    pub state: S3StateStore,
    /// The topic.
    pub publisher: SnsPublisher,
}

impl Clients {
    /// Builds the clients on one transport. Connects to nothing yet.
    pub fn new(settings: &Settings, transport: Transport) -> Self {
        let shared = shared_config(settings, transport);
        let (tokens, state) = s3::stores(&shared, settings);
        Self {
            secrets: SecretsManager::new(&shared, settings),
            tokens,
            state,
            publisher: SnsPublisher::new(&shared, settings),
        }
    }
}

/// What all clients have in common.
///
/// Region and access key are given: the SDK's own chain (profiles, STS, instance metadata, ...) would find nothing in
/// Lambda, which puts them into the environment.
pub fn shared_config(settings: &Settings, transport: Transport) -> SdkConfig {
    let AccessKey { id, secret, session_token } = &settings.access_key;
    let session_token = session_token.as_ref().map(|token| token.expose_secret().to_owned());
    let access_key = Credentials::new(id, secret.expose_secret(), session_token, None, "environment");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(access_key))
        .http_client(http_client::http_client(transport))
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(Duration::from_secs(5))
                .operation_timeout(Duration::from_secs(12))
                .build(),
        )
        .build()
}

/// What went wrong with a call, in one sentence: the service's code and words, or why it was not reached.
fn store_error<E, R>(operation: &str, error: &SdkError<E, R>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let words = match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("an error without a code");
            match service.err().message() {
                Some(message) if !message.is_empty() => format!("{code}: {message}"),
                _ => code.to_owned(),
            }
        }
        SdkError::TimeoutError(_) => "timed out".to_owned(),
        SdkError::DispatchFailure(_) => format!("could not be sent: {}", innermost(error)),
        SdkError::ConstructionFailure(_) => format!("could not be built: {}", innermost(error)),
        _ => format!("had no usable answer: {}", innermost(error)),
    };
    StoreError(format!("{operation}: {}", redact::printable(&words, 400)))
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
