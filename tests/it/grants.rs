//! Grants that rotate: what is kept of them, in which order, and who may use them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use wiremock::http::HeaderValue;
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use token_harvester::domain::error::ErrorCode;
use token_harvester::domain::event::Event;
use token_harvester::domain::report::{Outcome, Report};

use crate::support::deployment::Deployment;
use crate::support::proxy::{aws_proxy, s3_error};
use crate::support::token_endpoint::{and, answered, client_of, count, parameter, refused, requests, token_endpoint};
use crate::support::{assert_failed, assert_refreshed, line};

/// An authorization server that takes each refresh token once: `r1`, `r2`, ... A token that is used again revokes
/// the whole family (RFC 6819 section 5.2.2.3).
#[derive(Clone, Default)]
struct Rotating(Arc<Mutex<Family>>);

#[derive(Default)]
struct Family {
    refreshed: usize,
    revoked: bool,
}

impl Respond for Rotating {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut family = self.0.lock().expect("the family");
        let newest = format!("r{}", family.refreshed + 1);
        if family.revoked || parameter(request, "refresh_token").as_deref() != Some(&newest) {
            family.revoked = true;
            return refused(400, "invalid_grant");
        }
        family.refreshed += 1;
        let next = family.refreshed + 1;
        answered(
            200,
            json!({
                "access_token": format!("t{next}"), "expires_in": 3600, "refresh_token": format!("r{next}"),
                "refresh_token_expires_in": 86_400,
            }),
        )
    }
}

/// A deployment whose source `acme` has the refresh token `r1`, the proxy before its S3, and the token endpoint.
async fn rotating() -> (Deployment, MockServer, MockServer) {
    let (deployment, proxy) = (Deployment::new().await, aws_proxy().await);
    let server = token_endpoint(Rotating::default()).await;
    deployment.define("acme", and(client_of(&server), json!({"refresh_token": "r1"}))).await;
    (deployment.with("AWS_ENDPOINT_URL_S3", proxy.uri()), proxy, server)
}

/// Method and key of every request that changes something in S3, in order.
async fn changes(proxy: &MockServer) -> Vec<String> {
    let requests = requests(proxy).await;
    let changes = requests.iter().filter(|request| request.method != "HEAD" && request.method != "GET");
    changes.map(|request| format!("{} {}", request.method, key(request))).collect()
}

fn key(request: &Request) -> String {
    request.url.path().splitn(3, '/').nth(2).expect("a key").to_owned()
}

async fn answer_changes(proxy: &MockServer, verb: &str, key: &str, answer: ResponseTemplate) {
    let mock = Mock::given(method(verb)).and(path_regex(format!("/{key}$")));
    mock.respond_with(answer).with_priority(1).mount(proxy).await;
}

#[tokio::test]
async fn each_refresh_token_is_used_once_and_the_next_one_kept() {
    let (deployment, proxy, _server) = rotating().await;
    deployment.clock.stop_at("2026-11-20T22:00:00Z");
    for generation in 1..=3 {
        assert_refreshed(&deployment.harvest(json!({"force": true})).await, "acme", generation);
    }

    let mut grant = deployment.state("grants/acme.json").await.expect("grant state");
    let seed = grant.as_object_mut().expect("an object").remove("seed_sha256").expect("a hash");
    assert_eq!(seed.as_str().map(str::len), Some(64));
    assert_eq!(
        grant,
        json!({
            "schema_version": 1, "refresh_token": "r4", "credential_issued_at": "2026-11-20T22:00:00Z",
            "expires_at": "2026-11-21T22:00:00Z", "expiry_stated_at": "2026-11-20T22:00:00Z", "extended": null,
            "generation": 3,
        })
    );
    assert_eq!(deployment.metadata("acme").await["grant-expires-at"], "2026-11-21T22:00:00Z");
    assert_eq!(
        changes(&proxy).await[..4],
        ["PUT leases/acme", "PUT grants/acme.json", "PUT tokens/acme.json", "DELETE leases/acme"]
    );
    assert!(deployment.state("leases/acme").await.is_none());
}

#[tokio::test]
async fn a_fresh_token_takes_no_lease() {
    let (deployment, proxy, _server) = rotating().await;
    deployment.harvest_due().await;
    let before = changes(&proxy).await.len();
    assert_eq!(line(&deployment.harvest_due().await, "acme").outcome, Outcome::Fresh);
    assert_eq!(changes(&proxy).await.len(), before);
}

#[tokio::test]
async fn another_refresh_token_in_the_definition_takes_over() {
    let (deployment, _proxy, server) = rotating().await;
    deployment.harvest_due().await;
    deployment.redefine("acme", and(client_of(&server), json!({"refresh_token": "authorized-anew"}))).await;
    deployment.harvest_due().await;
    let sent = requests(&server).await;
    assert_eq!(parameter(&sent[1], "refresh_token").as_deref(), Some("authorized-anew"));
}

#[tokio::test]
async fn harvests_at_once_send_one_request() {
    for runs in [2, 8, 32] {
        let (deployment, _proxy, server) = rotating().await;
        let harvesters: Vec<_> = (0..runs).map(|_| deployment.harvester()).collect();
        let deadline = chrono::TimeDelta::minutes(2);
        let event = Event::default();
        let names: Vec<_> = (0..runs).map(|run| format!("run-{run}")).collect();
        let harvests = harvesters.iter().zip(&names).map(|(harvester, name)| {
            harvester.harvest(&event, name, token_harvester::app::ports::Clock::now(&deployment.clock) + deadline)
        });
        let reports: Vec<Report> =
            join_all(harvests).await.into_iter().map(|report| report.expect("a report")).collect();

        let with = |outcome| reports.iter().filter(|report| line(report, "acme").outcome == outcome).count();
        assert_eq!((with(Outcome::Refreshed), with(Outcome::Failed)), (1, 0), "{reports:#?}");
        assert_eq!(count(&server, "/token").await, 1);
        assert_eq!(deployment.document("acme").await["generation"], 1);
    }
}

#[tokio::test]
async fn a_crashed_holders_lease_is_waited_for_and_then_taken_over() {
    let (deployment, _proxy, server) = rotating().await;
    deployment.clock.stop_at("2026-11-20T22:00:00Z");
    let lease = json!({"run_id": "crashed", "expires_at": "2026-11-20T22:01:00Z"});
    deployment.keep_state("leases/acme", &lease).await;

    let held = deployment.harvest_due().await;
    assert_eq!((line(&held, "acme").outcome, &line(&held, "acme").error), (Outcome::Deferred, &None));
    assert_eq!(count(&server, "/token").await, 0);
    assert_eq!(deployment.state("leases/acme").await, Some(lease));

    deployment.clock.put_forward(chrono::TimeDelta::minutes(1));
    assert_refreshed(&deployment.harvest_due().await, "acme", 1);
}

#[tokio::test]
async fn a_damaged_lease_protects_nobody_but_damaged_grant_state_is_not_guessed_at() {
    let (deployment, _proxy, server) = rotating().await;
    deployment.keep_state("leases/acme", &json!("damaged")).await;
    assert_refreshed(&deployment.harvest_due().await, "acme", 1);

    deployment.keep_state("grants/acme.json", &json!({"refresh_token": ""})).await;
    let report = deployment.harvest(json!({"force": true})).await;
    assert_failed(&report, "acme", ErrorCode::GrantStoreFailed);
    assert_eq!(count(&server, "/token").await, 1, "the first refresh token may be used up");
}

#[tokio::test]
async fn a_state_bucket_that_refuses_the_lease_costs_no_refresh_token() {
    let (deployment, proxy, server) = rotating().await;
    answer_changes(&proxy, "PUT", "leases/acme", s3_error(403, "AccessDenied")).await;
    let report = deployment.harvest_due().await;
    assert_failed(&report, "acme", ErrorCode::GrantStoreFailed);
    assert_eq!(count(&server, "/token").await, 0);
}

#[tokio::test]
async fn a_refresh_token_that_can_not_be_saved_does_not_cost_the_token() {
    let (deployment, proxy, _server) = rotating().await;
    answer_changes(&proxy, "PUT", "grants/acme.json", s3_error(403, "AccessDenied")).await;
    let harvester = deployment.harvester();
    let report = deployment.run(&harvester, &json!({}), Duration::from_secs(6)).await.expect("a report");

    let acme = line(&report, "acme");
    assert_eq!((acme.outcome, acme.generation), (Outcome::Failed, Some(1)));
    let error = acme.error.as_ref().expect("an error");
    assert_eq!(error.code, ErrorCode::GrantStoreFailed);
    assert!(error.message.contains("authorize anew"), "{}", error.message);
    assert_eq!(deployment.document("acme").await["access_token"], "t2");
    assert!(deployment.state("leases/acme").await.is_none(), "released");
    let alerts = deployment.alerts().await;
    assert_eq!(alerts.len(), 1, "a person hears at once: {alerts:#?}");
    assert!(alerts[0].subject.contains("acme: grant_store_failed"), "{}", alerts[0].subject);
}

#[tokio::test]
async fn state_is_encrypted_with_its_own_key() {
    let (deployment, proxy, _server) = rotating().await;
    let key = "arn:aws:kms:eu-central-1:123456789012:key/state";
    let deployment = deployment.with("STATE_KMS_KEY_ID", key);
    assert_refreshed(&deployment.harvest_due().await, "acme", 1);

    for request in requests(&proxy).await.iter().filter(|request| request.method == "PUT") {
        let sent = request.headers.get("x-amz-server-side-encryption-aws-kms-key-id").map(HeaderValue::as_bytes);
        let expected = self::key(request).starts_with("tokens/");
        assert_eq!(sent.is_none(), expected, "{}", request.url.path());
        assert!(sent.is_none_or(|sent| sent == key.as_bytes()));
    }
}
