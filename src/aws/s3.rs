//! Token documents in S3.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use aws_types::SdkConfig;
use secrecy::ExposeSecret as _;

use super::store_error;
use crate::config::Config;
use crate::ports::{Put, StoreError, TokenStore};
use crate::source::SourceName;
use crate::token::{self, StoredMetadata, StoredToken, TokenDocument};

/// The token bucket.
#[derive(Debug)]
pub struct S3TokenStore {
    client: Client,
    bucket: String,
    kms_key_id: Option<String>,
}

impl S3TokenStore {
    pub(super) fn new(shared: &SdkConfig, config: &Config) -> Self {
        let mut builder = aws_sdk_s3::config::Builder::from(shared)
            // Elsewhere than at AWS, bucket names are no host names.
            .force_path_style(config.runtime.s3_url.is_some())
            // With checksum mode on, HeadObject would need the right to decrypt the tokens.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        builder.set_endpoint_url(config.runtime.s3_url.clone());
        Self {
            client: Client::from_conf(builder.build()),
            bucket: config.token_bucket.clone(),
            kms_key_id: config.token_kms_key_id.clone(),
        }
    }
}

impl TokenStore for S3TokenStore {
    async fn head(&self, source: &SourceName) -> Result<Option<StoredToken>, StoreError> {
        let head = self.client.head_object().bucket(&self.bucket).key(token::key(source)).send().await;
        match head {
            Ok(head) => Ok(Some(StoredToken {
                etag: head.e_tag.unwrap_or_default(),
                version_id: head.version_id,
                metadata: head.metadata.as_ref().and_then(StoredMetadata::parse),
            })),
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
            // The answer to a HEAD has no body, so no code either: a status is all there is.
            Err(error) => Err(match error.raw_response().map(|response| response.status().as_u16()) {
                Some(403) => StoreError(
                    "S3 HeadObject: access denied (S3 says so of a missing object too, unless s3:ListBucket is \
                     allowed)"
                        .to_owned(),
                ),
                Some(status) => StoreError(format!("S3 HeadObject: HTTP {status}")),
                None => store_error("S3 HeadObject", &error),
            }),
        }
    }

    async fn put(&self, document: &TokenDocument, expected: Option<&StoredToken>) -> Result<Put, StoreError> {
        let mut request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(token::key(&document.source))
            .content_type("application/json")
            .body(ByteStream::from(document.to_json().expose_secret().as_bytes().to_vec()));
        request = match expected {
            Some(stored) => request.if_match(&stored.etag),
            None => request.if_none_match("*"),
        };
        for (name, value) in document.metadata() {
            request = request.metadata(name, value);
        }
        if let Some(key) = &self.kms_key_id {
            request = request
                .server_side_encryption(ServerSideEncryption::AwsKms)
                .ssekms_key_id(key)
                .bucket_key_enabled(true);
        }
        match request.send().await {
            Ok(put) => Ok(Put::Written { etag: put.e_tag.unwrap_or_default(), version_id: put.version_id }),
            // 412: it is another version. 409: another write is under way. 404: the expected one was deleted.
            Err(error)
                if error.raw_response().is_some_and(|response| {
                    let status = response.status().as_u16();
                    matches!(status, 409 | 412) || status == 404 && expected.is_some()
                }) =>
            {
                Ok(Put::LostRace)
            }
            Err(error) => Err(store_error("S3 PutObject", &error)),
        }
    }
}
