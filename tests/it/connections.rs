//! Connections through S3: what is kept of accounts under which key, and that all of them are found.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde_json::{Map, json};
use wiremock::matchers::{method, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use token_harvester::app::ports::{GrantStore as _, IncidentStore as _, LeaseStore as _, Put, TokenStore as _};
use token_harvester::domain::connection::Connection;
use token_harvester::domain::credential::CredentialKind;
use token_harvester::domain::error::{ErrorCode, SourceError};
use token_harvester::domain::grant::GrantState;
use token_harvester::domain::incident::{self, Happened, Incident, Situation};
use token_harvester::domain::lease::Lease;
use token_harvester::domain::oauth::identity::Identity;
use token_harvester::domain::oauth::{GrantExpiry, TokenAnswer};
use token_harvester::domain::principal::Principal;
use token_harvester::domain::source::{AccountName, Definition, PlainHttp, Source, SourceName};
use token_harvester::domain::token::{RefreshRule, TokenDocument};

use crate::schemas::{assert_valid, schema};
use crate::support::deployment::Deployment;
use crate::support::token_endpoint::requests;

fn now() -> DateTime<Utc> {
    "2026-11-20T22:00:00Z".parse().expect("a time")
}

fn name(name: &str) -> SourceName {
    SourceName::parse_with_account(name).expect("a name")
}

fn names(accounts: &BTreeSet<AccountName>) -> Vec<&str> {
    accounts.iter().map(AccountName::as_str).collect()
}

fn answer() -> TokenAnswer {
    TokenAnswer {
        access_token: SecretString::from("t1"),
        token_type: "Bearer".to_owned(),
        scope: None,
        expires_at: Some(now() + TimeDelta::hours(1)),
        refresh_token: Some(SecretString::from("r1")),
        grant_expiry: GrantExpiry::Unstated,
        id_token: None,
        extra: Map::new(),
    }
}

fn connection() -> Connection {
    let mut extra = Map::new();
    extra.insert("realmId".to_owned(), json!("9341"));
    Connection {
        client_id: "app".to_owned(),
        identity: Some(Identity { id: "9341".to_owned(), name: Some("Acme".to_owned()) }),
        scope: Some("read".to_owned()),
        owner: Principal::Iam("arn:aws:iam::123456789012:role/app".to_owned()),
        connected_at: now(),
        extra,
    }
}

fn grant() -> GrantState {
    let kept = GrantState::of_connection(CredentialKind::RefreshToken, &answer(), now(), connection(), None);
    kept.expect("a refresh token")
}

fn incident_of(source: &str) -> Incident {
    let situation = Situation {
        source,
        now: now(),
        run_started_at: now(),
        schedule_interval: TimeDelta::minutes(15),
        token: None,
        definition_sha256: None,
        lost_with: None,
    };
    let error = SourceError::new(ErrorCode::InvalidScope, "no such scope");
    let judgement = incident::judge(None, Happened::Failed { error, retry_after: None }, &situation);
    judgement.incident.expect("an incident")
}

#[tokio::test]
async fn what_is_kept_of_an_account_stands_below_its_sources_name() {
    let deployment = Deployment::new().await;
    let state = deployment.clients().state;
    for source in ["crm", "crm2/abc", "crm/abc", "crm/ABC", "crm/a-b.1"] {
        assert!(state.save_grant(&name(source), &grant(), None).await.expect("a save").is_some());
    }
    deployment.keep_state("grants/crm/notes.txt", &json!("somebody's")).await;
    assert_eq!(names(&state.accounts(&name("crm")).await.expect("a list")), ["ABC", "a-b.1", "abc"]);
    assert!(state.accounts(&name("nobody")).await.expect("a list").is_empty());
    let kept = deployment.state("grants/crm/xj4-abc.json").await.expect("a grant");
    assert_eq!((&kept["refresh_token"], &kept["connection"]["identity"]["id"]), (&json!("r1"), &json!("9341")));
    let read = state.read_grant(&name("crm/abc")).await.expect("a read").expect("a grant");
    assert_eq!(read.value.origin, grant().origin);

    let lease = Lease { run_id: "run".to_owned(), ..Lease::ended() };
    state.take_lease(&name("crm/abc"), &lease, None).await.expect("a lease");
    assert!(deployment.state("leases/crm/abc").await.is_some());

    for source in ["crm", "crm/abc"] {
        state.keep_incident(&incident_of(source), None).await.expect("an incident");
        assert!(deployment.state(&format!("incidents/{source}.json")).await.is_some());
    }
    let open = state.open_incidents().await.expect("a list");
    assert_eq!(open.iter().map(String::as_str).collect::<Vec<_>>(), ["crm", "crm/abc"]);
}

#[tokio::test]
async fn the_token_document_of_an_account_says_whose_it_is() {
    let deployment = Deployment::new().await;
    let definition = json!({"token_endpoint": "https://as.example.com/token", "client_id": "c", "client_secret": "s"});
    let definition = Definition::parse(&definition.to_string(), PlainHttp::Refused).expect("valid").expect("enabled");
    let rule = RefreshRule::new(&definition, TimeDelta::minutes(15));
    let source = Source { name: name("crm"), definition: definition.into() };
    let account = source.of_account(&AccountName::parse("Acme-1").expect("a name"));
    let document = TokenDocument::new(&account, answer(), &rule, now(), None, None).of_connection(connection());
    let put = deployment.clients().tokens.put(&document, None).await.expect("a write");
    assert!(matches!(put, Put::Written { .. }));

    let document = deployment.document("crm/Acme-1").await;
    assert_valid(&schema("token-document"), &document);
    assert_eq!((&document["source"], &document["account"]), (&json!("crm/Acme-1"), &json!("Acme-1")));
    assert_eq!(document["identity"], json!({"id": "9341", "name": "Acme"}));
    assert_eq!((&document["scope"], &document["extra"]), (&json!("read"), &json!({"realmId": "9341"})));
    let metadata = deployment.metadata("crm/Acme-1").await;
    assert_eq!((metadata["source"].as_str(), metadata.contains_key("identity")), ("crm/Acme-1", false));
}

/// A page of a list of objects.
fn page(keys: impl Iterator<Item = String>, next: Option<&str>) -> ResponseTemplate {
    let contents = keys.map(|key| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>"));
    let contents = contents.collect::<Vec<_>>().concat();
    let more = next.map(|token| format!("<NextContinuationToken>{token}</NextContinuationToken>")).unwrap_or_default();
    let body = format!(
        "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <IsTruncated>{}</IsTruncated>{more}{contents}</ListBucketResult>",
        next.is_some()
    );
    ResponseTemplate::new(200).set_body_raw(body, "application/xml")
}

#[tokio::test]
async fn accounts_beyond_the_first_thousand_are_found_too() {
    let real = Deployment::new().await;
    // Keys as they are.
    let state = real.clients().state;
    let mut keys = Vec::new();
    for account in ["account-0000", "account-1000"] {
        state.save_grant(&name(&format!("crm/{account}")), &grant(), None).await.expect("a save");
        let list = real.s3.list_objects_v2().bucket(real.variable("STATE_BUCKET")).prefix("grants/crm/");
        let listed = list.send().await.expect("a list").contents.expect("objects");
        keys.push(listed.into_iter().filter_map(|object| object.key).find(|key| key.contains(account)));
    }
    let [Some(first), Some(last)] = &keys[..] else { panic!("{keys:?}") };

    let s3 = MockServer::start().await;
    let whole = Mock::given(method("GET")).and(query_param("prefix", "grants/crm/"));
    let strangers = (0..999).map(|number| format!("grants/crm/of-somebody-{number}"));
    let first_page = page([first.clone()].into_iter().chain(strangers), Some("more"));
    whole.and(query_param_is_missing("continuation-token")).respond_with(first_page).mount(&s3).await;
    let rest = Mock::given(method("GET")).and(query_param("continuation-token", "more"));
    rest.respond_with(page([last.clone()].into_iter(), None)).mount(&s3).await;

    let deployment = real.with("AWS_ENDPOINT_URL_S3", s3.uri());
    let found = deployment.clients().state.accounts(&name("crm")).await.expect("a list");
    assert_eq!(names(&found), ["account-0000", "account-1000"]);
    assert_eq!(requests(&s3).await.len(), 2);
}
