//! Adapters to AWS. No AWS type leaves this module but the [`Clients`] that the binary wires.

mod s3;
mod secrets_manager;
mod sns;

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use secrecy::ExposeSecret as _;

pub use self::s3::S3TokenStore;
pub use self::secrets_manager::SecretsManager;
pub use self::sns::SnsPublisher;

use crate::config::Config;
use crate::ports::StoreError;
use crate::text;
use crate::tls::ExtraRoots;

/// The roots behind every AWS endpoint (<https://www.amazontrust.com/repository/>). Five to parse instead of the
/// system's 140.
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// Clients of all services, over one pool of connections.
#[derive(Debug)]
pub struct Clients {
    /// Definitions.
    pub secrets: SecretsManager,
    /// Token documents.
    pub tokens: S3TokenStore,
    /// Messages.
    pub publisher: SnsPublisher,
}

impl Clients {
    /// Builds the clients. Connects to nothing yet.
    pub async fn new(config: &Config, extra_roots: &ExtraRoots) -> Result<Self, String> {
        let mut trust = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
        if let Some(pem) = extra_roots.pem() {
            trust = trust.with_pem_certificate(pem);
        }
        let tls = TlsContext::builder()
            .with_trust_store(trust)
            .build()
            .map_err(|error| format!("TLS for AWS can't be set up: {error}"))?;
        let http_client = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls)
            .build_https();

        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new(config.runtime.region.clone()))
            .http_client(http_client)
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(3))
                    .operation_attempt_timeout(Duration::from_secs(5))
                    .operation_timeout(Duration::from_secs(12))
                    .build(),
            );
        if let Some(credentials) = &config.runtime.credentials {
            // What Lambda provides; the default chain would look into profiles and for instance metadata too.
            loader = loader.credentials_provider(Credentials::new(
                &credentials.access_key_id,
                credentials.secret_access_key.expose_secret(),
                credentials.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
                None,
                "environment",
            ));
        }
        let shared = loader.load().await;

        Ok(Self {
            secrets: SecretsManager::new(&shared, config),
            tokens: S3TokenStore::new(&shared, config),
            publisher: SnsPublisher::new(&shared, config),
        })
    }
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
    StoreError(format!("{operation}: {}", text::printable(&words, 400)))
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
