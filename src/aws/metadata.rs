//! User metadata of a token document in S3: a look at it needs no right to decrypt.
//!
//! Names are in lower case, as S3 gives them back.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html#UserMetadata>

use std::collections::HashMap;

use chrono::{DateTime, Datelike as _, Utc};

use crate::domain::time::rfc3339;
use crate::domain::token::{StoredMetadata, TokenDocument};

/// What is written beside a document. `source` and `refresh-after` are not read again; they are for other readers.
pub(super) fn write(document: &TokenDocument) -> Vec<(&'static str, String)> {
    let StoredMetadata { generation, issued_at, expires_at, token_sha256, definition_sha256, grant_expires_at } =
        document.metadata();
    let mut metadata = vec![
        ("source", document.source.to_string()),
        ("generation", generation.to_string()),
        ("issued-at", rfc3339(issued_at)),
        ("refresh-after", rfc3339(document.refresh_after)),
        ("token-sha256", token_sha256),
        ("definition-sha256", definition_sha256),
    ];
    let expires_at = expires_at.map(|time| ("expires-at", rfc3339(time)));
    let grant = grant_expires_at.map(|time| ("grant-expires-at", rfc3339(time)));
    metadata.extend(expires_at.into_iter().chain(grant));
    metadata
}

/// Reads what was written; `None` if it is damaged, or another program's.
pub(super) fn parse(metadata: &HashMap<String, String>) -> Option<StoredMetadata> {
    // A year of five digits is nobody's, and arithmetic with it may end beyond all dates.
    let plausible = |time: &DateTime<Utc>| (1970..10_000).contains(&time.year());
    let time = |name: &str| metadata.get(name)?.parse::<DateTime<Utc>>().ok().filter(plausible);
    Some(StoredMetadata {
        generation: metadata.get("generation")?.parse().ok()?,
        issued_at: time("issued-at")?,
        expires_at: match metadata.get("expires-at") {
            Some(_) => Some(time("expires-at")?),
            None => None,
        },
        token_sha256: metadata.get("token-sha256")?.clone(),
        definition_sha256: metadata.get("definition-sha256")?.clone(),
        grant_expires_at: time("grant-expires-at"),
    })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;
    use crate::domain::oauth::{Answer, AnswerBody, Exchange};
    use crate::domain::source::{Definition, PlainHttp, Source, SourceName};
    use crate::domain::token::{RefreshRule, TOKEN_SHA256_DIGITS};

    fn document(answer: &str) -> TokenDocument {
        let definition = json!({
            "token_endpoint": "https://as.example.com/token", "client_id": "c", "client_secret": "s", "scope": "read"
        });
        let definition =
            Definition::parse(&definition.to_string(), PlainHttp::Refused).expect("valid").expect("enabled");
        let source = Source { name: SourceName::parse("acme-crm").expect("a name"), definition: definition.into() };
        let issued_at = "2026-11-20T22:00:00Z".parse().expect("a time");
        let answer = Answer::new(200, AnswerBody::Whole(answer.as_bytes().to_vec()));
        let exchange =
            Exchange { definition: &source.definition, flow: &source.definition.flow, credential: None, further: &[] };
        let answer = exchange.read(&answer, issued_at, issued_at).expect("a token");
        let rule = RefreshRule::new(&source.definition, TimeDelta::minutes(15));
        TokenDocument::new(&source, answer.clone(), &rule, issued_at, answer.grant_expiry.at(), None)
    }

    #[test]
    fn metadata_is_read_as_it_was_written() {
        for answer in
            [r#"{"access_token": "t", "expires_in": 3600, "refresh_token_expires_in": 60}"#, r#"{"access_token": "t"}"#]
        {
            let document = document(answer);
            let metadata: HashMap<_, _> =
                write(&document).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            assert_eq!(parse(&metadata), document.stored(String::new(), None).metadata);
            assert_eq!(metadata["token-sha256"].len(), TOKEN_SHA256_DIGITS);
            assert_eq!(metadata.contains_key("grant-expires-at"), answer.contains("refresh_token"));
        }
    }

    #[test]
    fn damaged_metadata_counts_as_none() {
        let metadata: HashMap<_, _> = write(&document(r#"{"access_token": "t"}"#))
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        for (name, value) in [
            ("expires-at", "tomorrow"),
            ("expires-at", "+262142-12-31T23:59:59Z"),
            ("issued-at", "+262142-12-31T23:59:59Z"),
            ("issued-at", "-0001-01-01T00:00:00Z"),
        ] {
            let mut damaged = metadata.clone();
            damaged.insert(name.to_owned(), value.to_owned());
            assert_eq!(parse(&damaged), None, "{name}: {value}");
        }
        assert_eq!(parse(&HashMap::new()), None);
    }
}
