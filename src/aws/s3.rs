//! Both buckets in S3. Every write and every deletion names what must be stored at that moment, so that of two writers
//! one learns that it came too late.

mod connect;

use std::collections::BTreeSet;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use aws_types::SdkConfig;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Settings, keys, metadata, store_error};
use crate::app::ports::{
    Advice, ForecastStore, GrantStore, IncidentStore, LeaseStore, Put, ReportStore, RosterStore, StoreError, Tagged,
    TokenStore,
};
use crate::domain::document;
use crate::domain::forecast::Forecast;
use crate::domain::grant::GrantState;
use crate::domain::incident::Incident;
use crate::domain::lease::Lease;
use crate::domain::report::Report;
use crate::domain::source::{AccountName, Roster, SourceName};
use crate::domain::token::{Location, StoredToken, TokenDocument};

/// The token bucket.
#[derive(Debug)]
pub struct S3TokenStore(Bucket);

/// The state bucket.
#[derive(Debug)]
pub struct S3StateStore(Bucket);

/// Both buckets, through one client.
pub(super) fn stores(shared: &SdkConfig, settings: &Settings) -> (S3TokenStore, S3StateStore) {
    let mut builder = aws_sdk_s3::config::Builder::from(shared)
        // Elsewhere than at AWS, bucket names are no host names.
        .force_path_style(settings.s3_url.is_some())
        // With checksum mode on, HeadObject would need the right to decrypt the tokens.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    builder.set_endpoint_url(settings.s3_url.clone());
    let client = Client::from_conf(builder.build());
    let bucket = |name: &String, kms_key_id: &Option<String>| Bucket {
        client: client.clone(),
        name: name.clone(),
        kms_key_id: kms_key_id.clone(),
    };
    (
        S3TokenStore(bucket(&settings.token_bucket, &settings.token_kms_key_id)),
        S3StateStore(bucket(&settings.state_bucket, &settings.state_kms_key_id)),
    )
}

impl TokenStore for S3TokenStore {
    fn location(&self, source: Option<&SourceName>) -> Location {
        Location { bucket: self.0.name.clone(), key: source.map(keys::token) }
    }

    async fn head(&self, source: &SourceName) -> Result<Option<StoredToken>, StoreError> {
        let Bucket { client, name, .. } = &self.0;
        let head = client.head_object().bucket(name).key(keys::token(source)).send().await;
        match head {
            Ok(head) => Ok(Some(StoredToken {
                etag: head.e_tag.unwrap_or_default(),
                version_id: head.version_id,
                metadata: head.metadata.as_ref().and_then(metadata::parse),
            })),
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
            // The answer to a HEAD has no body, so no code either: a status is all there is.
            Err(error) => Err(match status(&error) {
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
        let expected = expected.map(|stored| stored.etag.as_str());
        self.0.put(keys::token(&document.source), document.to_json(), metadata::write(document), expected).await
    }
}

impl GrantStore for S3StateStore {
    async fn read_grant(&self, source: &SourceName) -> Result<Option<Tagged<GrantState>>, StoreError> {
        self.0.get(keys::grant(source), GrantState::parse).await
    }

    async fn save_grant(
        &self,
        source: &SourceName,
        grant: &GrantState,
        expected: Option<&str>,
    ) -> Result<Option<Tagged<()>>, StoreError> {
        let put = self.0.put(keys::grant(source), grant.to_json(), Vec::new(), expected).await?;
        Ok(tagged(put, ()))
    }

    async fn accounts(&self, source: &SourceName) -> Result<BTreeSet<AccountName>, StoreError> {
        self.0.list(keys::grants_of_accounts(source), |key| keys::account_of_grant(source, key)).await
    }
}

impl LeaseStore for S3StateStore {
    async fn read_lease(&self, source: &SourceName) -> Result<Option<Tagged<Lease>>, StoreError> {
        // A damaged lease protects nobody.
        self.0.get(keys::lease(source), |json| Some(Lease::parse(json).unwrap_or_else(Lease::ended))).await
    }

    async fn take_lease(
        &self,
        source: &SourceName,
        lease: &Lease,
        expected: Option<&str>,
    ) -> Result<Option<Tagged<Lease>>, StoreError> {
        let json = SecretString::from(lease.to_json());
        let put = self.0.put(keys::lease(source), json, Vec::new(), expected).await?;
        Ok(tagged(put, lease.clone()))
    }

    async fn release_lease(&self, source: &SourceName, lease: &Tagged<Lease>) -> Result<(), StoreError> {
        self.0.delete(keys::lease(source), &lease.etag).await
    }
}

impl IncidentStore for S3StateStore {
    async fn open_incidents(&self) -> Result<BTreeSet<String>, StoreError> {
        self.0.list(keys::INCIDENTS.to_owned(), keys::source_of_incident).await
    }

    async fn read_incident(&self, source: &str) -> Result<Option<Advice<Incident>>, StoreError> {
        self.0.get(keys::incident(source), |json| Some(Incident::parse(json))).await
    }

    async fn keep_incident(
        &self,
        incident: &Incident,
        expected: Option<&str>,
    ) -> Result<Option<Tagged<Incident>>, StoreError> {
        let json = SecretString::from(incident.to_json());
        let put = self.0.put(keys::incident(&incident.source), json, Vec::new(), expected).await?;
        Ok(tagged(put, incident.clone()))
    }

    async fn close_incident(&self, source: &str, expected: &str) -> Result<(), StoreError> {
        self.0.delete(keys::incident(source), expected).await
    }
}

impl ForecastStore for S3StateStore {
    async fn read_forecast(&self, source: &SourceName) -> Result<Option<Advice<Forecast>>, StoreError> {
        self.0.get(keys::forecast(source), |json| Some(Forecast::parse(json))).await
    }

    async fn keep_forecast(
        &self,
        source: &SourceName,
        forecast: &Forecast,
        expected: Option<&str>,
    ) -> Result<(), StoreError> {
        let json = SecretString::from(forecast.to_json());
        self.0.put(keys::forecast(source), json, Vec::new(), expected).await.map(|_| ())
    }
}

impl RosterStore for S3StateStore {
    async fn read_roster(&self) -> Result<Option<Advice<Roster>>, StoreError> {
        self.0.get(keys::ROSTER.to_owned(), |json| Some(Roster::parse(json))).await
    }

    async fn keep_roster(&self, roster: &Roster, expected: Option<&str>) -> Result<Option<Tagged<Roster>>, StoreError> {
        let json = SecretString::from(roster.to_json());
        let put = self.0.put(keys::ROSTER.to_owned(), json, Vec::new(), expected).await?;
        Ok(tagged(put, roster.clone()))
    }
}

impl ReportStore for S3StateStore {
    fn location(&self, report: &Report) -> String {
        format!("s3://{}/{}", self.0.name, keys::report(report))
    }

    async fn keep_report(&self, report: &Report) -> Result<(), StoreError> {
        // A second delivery of one event finds the first one's report, which stays.
        self.0
            .put(keys::report(report), SecretString::from(document::to_json(report)), Vec::new(), None)
            .await
            .map(|_| ())
    }
}

fn tagged<T>(put: Put, value: T) -> Option<Tagged<T>> {
    match put {
        Put::Written { etag, .. } => Some(Tagged { value, etag }),
        Put::LostRace => None,
    }
}

/// A bucket and the key that its writes are encrypted with; `None` leaves that to the bucket's default.
#[derive(Debug)]
struct Bucket {
    client: Client,
    name: String,
    kms_key_id: Option<String>,
}

impl Bucket {
    /// Reads an object and its meaning. What can't be understood, where `parse` gives none, is an error.
    async fn get<T>(&self, key: String, parse: fn(&str) -> Option<T>) -> Result<Option<Tagged<T>>, StoreError> {
        let object = match self.client.get_object().bucket(&self.name).key(&key).send().await {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => return Ok(None),
            Err(error) => return Err(store_error("S3 GetObject", &error)),
        };
        let etag = object.e_tag.unwrap_or_default();
        let body = object.body.collect().await;
        let bytes = body.map_err(|_| StoreError("S3 GetObject: the answer broke off".to_owned()))?.into_bytes();
        // What is not UTF-8 is as damaged as an empty object.
        let value = parse(std::str::from_utf8(&bytes).unwrap_or_default());
        let value = value.ok_or_else(|| StoreError(format!("{key} in the state bucket is damaged")))?;
        Ok(Some(Tagged { value, etag }))
    }

    /// Lists the names of all objects whose keys begin with a prefix; what has no name is left out.
    async fn list<T: Ord>(&self, prefix: String, name: impl Fn(&str) -> Option<T>) -> Result<BTreeSet<T>, StoreError> {
        let mut pages = self.client.list_objects_v2().bucket(&self.name).prefix(prefix).into_paginator().send();
        let mut names = BTreeSet::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| store_error("S3 ListObjectsV2", &error))?;
            names.extend(page.contents().iter().filter_map(|object| name(object.key()?)));
        }
        Ok(names)
    }

    /// Deletes an object if it still has the expected entity tag.
    async fn delete(&self, key: String, expected: &str) -> Result<(), StoreError> {
        match self.client.delete_object().bucket(&self.name).key(key).if_match(expected).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_lost_race(status(&error), true) => Ok(()),
            Err(error) => Err(store_error("S3 DeleteObject", &error)),
        }
    }

    /// Writes an object if what is stored still has the expected entity tag; `None`: if nothing is.
    async fn put(
        &self,
        key: String,
        json: SecretString,
        metadata: Vec<(&'static str, String)>,
        expected: Option<&str>,
    ) -> Result<Put, StoreError> {
        let mut request = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(key)
            .content_type("application/json")
            .body(ByteStream::from(json.expose_secret().as_bytes().to_vec()));
        request = match expected {
            Some(etag) => request.if_match(etag),
            None => request.if_none_match("*"),
        };
        for (name, value) in metadata {
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
            Err(error) if is_lost_race(status(&error), expected.is_some()) => Ok(Put::LostRace),
            Err(error) => Err(store_error("S3 PutObject", &error)),
        }
    }
}

/// 412: it is another version. 409: another write is under way. 404: what was expected is gone.
fn is_lost_race(status: Option<u16>, expected: bool) -> bool {
    matches!(status, Some(409 | 412)) || status == Some(404) && expected
}

fn status<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}
