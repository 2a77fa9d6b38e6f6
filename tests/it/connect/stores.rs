//! What connecting keeps in S3: who comes first, what a lost reply leaves, and what damage counts for.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, Request};

use token_harvester::app::ports::{FlowStore as _, ParkedStore as _, SessionStore as _};
use token_harvester::aws::{Clients, S3StateStore};
use token_harvester::domain::connect::{Claim, Flow, Handle, Parked, Session, Status, Wish};
use token_harvester::domain::oauth::{GrantExpiry, TokenAnswer};
use token_harvester::domain::principal::Principal;
use token_harvester::domain::source::Tls;
use token_harvester::lambda::config::Config;
use token_harvester::net::tls::ExtraRoots;
use token_harvester::net::transport::Transport;

use crate::support::deployment::Deployment;
use crate::support::proxy::{aws_proxy, forward};
use crate::support::token_endpoint::requests;

fn store(deployment: &Deployment) -> S3StateStore {
    let config = Config::read(|name| deployment.variables.get(name).cloned()).expect("a configuration");
    let transport = Transport::new(&ExtraRoots::default(), &Tls::default()).expect("TLS");
    Clients::new(&config.aws, transport).state
}

/// A store behind a proxy that is to lose replies.
async fn behind_proxy() -> (Deployment, MockServer, S3StateStore) {
    let (deployment, proxy) = (Deployment::new().await, aws_proxy().await);
    let deployment = deployment.with("AWS_ENDPOINT_URL_S3", proxy.uri());
    let store = store(&deployment);
    (deployment, proxy, store)
}

/// Does the next write below a prefix, and loses the reply.
async fn lose_next_reply(proxy: &MockServer, prefix: &str) {
    let lost = |request: &Request| {
        forward(request);
        std::io::Error::other("lost by the test")
    };
    let mock = Mock::given(method("PUT")).and(path_regex(format!("/{prefix}")));
    mock.respond_with_err(lost).up_to_n_times(1).with_priority(1).mount(proxy).await;
}

fn now() -> DateTime<Utc> {
    "2026-11-20T22:00:00Z".parse().expect("a time")
}

fn handle(number: u32) -> Handle {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Handle::of(bytes)
}

fn user(subject: &str) -> Principal {
    Principal::Jwt { issuer: "https://idp.example.com".to_owned(), subject: subject.to_owned() }
}

fn session_of(principal: Principal, number: u32, at: DateTime<Utc>) -> Session {
    let wish = Wish {
        source: "crm".to_owned(),
        account: None,
        return_to: None,
        state: None,
        reconnect: false,
        confirm: false,
    };
    Session::new(&handle(number), wish, principal, "https://as.example.com/authorize".to_owned(), at)
}

fn session(number: u32) -> Session {
    session_of(user("ann"), number, now())
}

fn flow() -> Flow {
    let handles = [&handle(1), &handle(2), &handle(3)];
    Flow::new(session(0).id, handles, "https://connect.example.com/callback/crm".to_owned(), "d".to_owned(), now())
}

fn claim(run_id: &str) -> Claim {
    Claim { run_id: run_id.to_owned(), expires_at: now() }
}

fn parked(token: &str) -> Parked {
    let answer = TokenAnswer {
        access_token: token.into(),
        token_type: "Bearer".to_owned(),
        scope: None,
        expires_at: None,
        refresh_token: Some(format!("{token}-refresh").into()),
        grant_expiry: GrantExpiry::Unstated,
        id_token: None,
        extra: serde_json::Map::new(),
    };
    Parked::new(session(0).id, flow().state_sha256, (answer, now()), BTreeMap::new(), "c".to_owned(), now())
}

fn token(parked: Option<Parked>) -> Option<String> {
    parked.map(|parked| secrecy::ExposeSecret::expose_secret(&parked.answer.access_token).to_owned())
}

#[tokio::test]
async fn of_two_who_save_a_session_one_learns_that_it_came_too_late() {
    let deployment = Deployment::new().await;
    let store = store(&deployment);
    let mut session = session(0);
    assert!(store.read_session(&session.id).await.expect("readable").is_none());
    store.make_session(&session).await.expect("made");
    let read = store.read_session(&session.id).await.expect("readable").expect("a session");
    assert_eq!(read.value, session);

    session.status = Status::Failed;
    assert!(store.save_session(&session, &read.etag).await.expect("an answer").is_some());
    assert!(store.save_session(&session, &read.etag).await.expect("an answer").is_none());
    let mut other = session.clone();
    other.source = "other".to_owned();
    assert!(store.make_session(&other).await.is_err(), "no id is given twice");
    let read = store.read_session(&session.id).await.expect("readable").expect("a session");
    assert_eq!(read.value, session);
}

#[tokio::test]
async fn connect_8_of_all_who_claim_a_flow_one_can() {
    let deployment = Deployment::new().await;
    let store = store(&deployment);
    let claims: Vec<_> = (0..32).map(|run| claim(&format!("run-{run}"))).collect();
    let answers = futures_util::future::join_all(claims.iter().map(|claim| store.claim("state", claim))).await;
    let winners: Vec<_> = answers.iter().zip(&claims).filter(|(answer, _)| **answer == Ok(true)).collect();
    let [(_, winner)] = winners[..] else { panic!("{answers:?}") };
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(store.read_claim("state").await.expect("readable").as_ref(), Some(winner));
}

#[tokio::test]
async fn connect_9_a_write_whose_reply_was_lost_is_known_again() {
    let (_deployment, proxy, store) = behind_proxy().await;
    for prefix in ["sessions", "principals", "flows", "claims", "parked"] {
        lose_next_reply(&proxy, &format!("connect/{prefix}/")).await;
    }
    store.make_session(&session(0)).await.expect("made");
    store.make_flow(&flow()).await.expect("made");
    assert_eq!(store.claim("state", &claim("run-1")).await, Ok(true));
    assert_eq!(store.claim("state", &claim("run-2")).await, Ok(false));
    store.park(&parked("t1")).await.expect("parked");
    let puts = requests(&proxy).await.iter().filter(|request| request.method == "PUT").count();
    assert_eq!(puts, 11, "five writes and five again, and the other's claim");
    assert_eq!(token(store.read_parked(&session(0).id).await.expect("readable")).as_deref(), Some("t1"));
}

#[tokio::test]
async fn what_another_flow_brings_replaces_what_was_parked_and_is_dropped_as_one() {
    let deployment = Deployment::new().await;
    let store = store(&deployment);
    let id = session(0).id;
    store.drop_parked(&id).await.expect("nothing to drop");
    for name in ["t1", "t2"] {
        store.park(&parked(name)).await.expect("parked");
        assert_eq!(token(store.read_parked(&id).await.expect("readable")).as_deref(), Some(name));
    }
    store.drop_parked(&id).await.expect("dropped");
    assert!(store.read_parked(&id).await.expect("readable").is_none());
}

#[tokio::test]
async fn what_is_damaged_counts_as_none() {
    let deployment = Deployment::new().await;
    let store = store(&deployment);
    let id = session(0).id;
    let keys = ["sessions/ID.json", "parked/ID.json", "flows/state.json", "claims/state"];
    for key in keys.map(|key| key.replace("ID", id.as_str())) {
        deployment.keep_state(&format!("connect/{key}"), &json!("damaged")).await;
    }
    assert!(store.read_session(&id).await.expect("readable").is_none());
    assert!(store.read_parked(&id).await.expect("readable").is_none());
    assert!(store.read_flow("state").await.expect("readable").is_none());
    assert!(store.read_claim("state").await.expect("readable").is_none());
    assert_eq!(store.claim("state", &claim("run-1")).await, Ok(false), "somebody may be at work");
    store.park(&parked("t1")).await.expect("parked in its place");
    store.drop_parked(&id).await.expect("dropped");
}

#[tokio::test]
async fn connect_27_live_sessions_are_counted_by_principal_with_one_listing() {
    let (_deployment, proxy, store) = behind_proxy().await;
    for number in 0..3 {
        let session = session_of(user("ann"), number, now() + TimeDelta::minutes(i64::from(number) * 10));
        store.make_session(&session).await.expect("made");
    }
    store.make_session(&session_of(user("bob"), 9, now())).await.expect("made");
    for (after, live) in [(0, 3), (29, 3), (31, 2), (45, 1), (60, 0)] {
        let count = store.live_sessions(&user("ann"), now() + TimeDelta::minutes(after)).await;
        assert_eq!(count, Ok(live), "after {after} min");
    }
    assert_eq!(store.live_sessions(&user("eve"), now()).await, Ok(0));
    let listings = requests(&proxy)
        .await
        .iter()
        .filter(|request| request.url.query().is_some_and(|query| query.contains("list-type=2")))
        .count();
    assert_eq!(listings, 6);
}

#[tokio::test]
async fn connect_12_all_is_encrypted_with_the_buckets_key_and_lies_below_one_prefix() {
    let (deployment, proxy, _) = behind_proxy().await;
    let key = "arn:aws:kms:eu-central-1:123456789012:key/state";
    let store = store(&deployment.with("STATE_KMS_KEY_ID", key));
    store.make_session(&session(0)).await.expect("made");
    store.make_flow(&flow()).await.expect("made");
    store.claim("state", &claim("run-1")).await.expect("claimed");
    store.park(&parked("t1")).await.expect("parked");
    let sent = requests(&proxy).await;
    let puts: Vec<_> = sent.iter().filter(|request| request.method == "PUT").collect();
    assert_eq!(puts.len(), 5);
    for put in puts {
        assert_eq!(put.headers["x-amz-server-side-encryption-aws-kms-key-id"], key, "{}", put.url.path());
        assert!(put.url.path().contains("/connect/"), "{}", put.url.path());
        assert_eq!(put.headers["if-none-match"], "*");
    }
}
