//! Definitions from Secrets Manager.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, SecretValueEntry};
use aws_types::SdkConfig;
use secrecy::SecretString;

use super::{Settings, store_error};
use crate::app::ports::{Reading, SecretStore};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::redact;
use crate::domain::source::Secret;

/// The most that `BatchGetSecretValue` returns at once.
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_BatchGetSecretValue.html>
const SECRETS_PER_CALL: i32 = 20;

/// The secrets whose names begin with a prefix.
#[derive(Debug)]
pub struct SecretsManager {
    client: Client,
    prefix: String,
}

impl SecretsManager {
    pub(super) fn new(shared: &SdkConfig, settings: &Settings) -> Self {
        let mut builder = aws_sdk_secretsmanager::config::Builder::from(shared);
        builder.set_endpoint_url(settings.secrets_manager_url.clone());
        Self { client: Client::from_conf(builder.build()), prefix: settings.secret_prefix.clone() }
    }

    /// The name without the prefix; `None` if it has another one. The service's filter is looser than it sounds:
    /// it ignores case.
    fn short_name<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&self.prefix).filter(|name| !name.is_empty())
    }

    fn secret(&self, entry: SecretValueEntry) -> Option<Secret> {
        let name = self.short_name(entry.name()?)?.to_owned();
        let content = entry.secret_string.map(SecretString::from).ok_or_else(|| {
            SourceError::new(ErrorCode::DefinitionInvalid, "the secret is binary; a definition is JSON text")
        });
        Some(Secret { name, content })
    }
}

impl SecretStore for SecretsManager {
    async fn read_all(&self) -> Reading {
        let filter = Filter::builder().key(FilterNameStringType::Name).values(&self.prefix).build();
        let mut pages =
            self.client.batch_get_secret_value().filters(filter).max_results(SECRETS_PER_CALL).into_paginator().send();
        let mut secrets = Vec::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    let broke_off = Some(store_error("Secrets Manager BatchGetSecretValue", &error));
                    return Reading { secrets, broke_off };
                }
            };
            for error in page.errors.unwrap_or_default() {
                let id = error.secret_id.unwrap_or_default();
                let Some(name) = self.short_name(name_of(&id)) else { continue };
                let words = format!(
                    "Secrets Manager would not hand out the secret: {}: {}",
                    error.error_code.unwrap_or_default(),
                    error.message.unwrap_or_default()
                );
                let error = SourceError::new(ErrorCode::SecretUnreadable, redact::printable(&words, 400));
                secrets.push(Secret { name: name.to_owned(), content: Err(error) });
            }
            let values = page.secret_values.unwrap_or_default();
            secrets.extend(values.into_iter().filter_map(|entry| self.secret(entry)));
        }
        Reading { secrets, broke_off: None }
    }
}

/// The name in a secret's id: an ARN ends in the name and six random characters behind a hyphen.
fn name_of(id: &str) -> &str {
    match id.split_once(":secret:") {
        Some((_, name)) => name.rsplit_once('-').map_or(name, |(name, _random)| name),
        None => id,
    }
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn an_arn_and_a_name_lead_to_the_same_name() {
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:token-harvester/acme-crm-AbC123";
        assert_eq!(name_of(arn), "token-harvester/acme-crm");
        assert_eq!(name_of("token-harvester/acme-crm"), "token-harvester/acme-crm");
    }
}
