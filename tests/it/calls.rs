//! How often AWS is called: each call takes time, and costs. A harvest makes no more than it needs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use token_harvester::app::harvest::Harvester;
use token_harvester::domain::report::Report;
use wiremock::MockServer;

use crate::support::deployment::{Deployment, Real};
use crate::support::outside::name;
use crate::support::proxy::aws_proxy;
use crate::support::token_endpoint::{and, answered, client_of, granting, requests, token_endpoint};

/// Calls that go through a proxy, and how many of them were counted before.
struct Counted {
    proxy: MockServer,
    before: usize,
}

impl Counted {
    /// A deployment whose function reaches AWS through the proxy.
    async fn deployment() -> (Deployment, Self) {
        let proxy = aws_proxy().await;
        let deployment = Deployment::new().await.with("AWS_ENDPOINT_URL", proxy.uri());
        (deployment, Self { proxy, before: 0 })
    }

    /// How often each operation was called since the last time, with the folder of the object: `PUT tokens`.
    async fn calls(&mut self) -> BTreeMap<String, usize> {
        let all = requests(&self.proxy).await;
        let mut calls = BTreeMap::new();
        for request in &all[self.before..] {
            let name = name(request);
            let call = if name == "GET" { "LIST" } else { name.split('/').next().unwrap_or_default() };
            *calls.entry(call.to_owned()).or_default() += 1;
        }
        self.before = all.len();
        calls
    }
}

fn calls<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.map(|(call, count)| (call.to_owned(), count)).into()
}

/// One more run of a harvester that may be warm.
async fn run(deployment: &Deployment, harvester: &Harvester<Real>) -> Report {
    deployment.run(harvester, &json!({}), Duration::from_secs(60)).await.expect("a report")
}

#[tokio::test]
async fn a_due_source_costs_a_look_and_a_write_and_a_fresh_one_a_look() {
    const SOURCES: usize = 45;
    let (deployment, mut counted) = Counted::deployment().await;
    let server = granting().await;
    for number in 0..SOURCES {
        deployment.define(&format!("source-{number:02}"), client_of(&server)).await;
    }
    let harvester = deployment.harvester();

    assert_eq!(run(&deployment, &harvester).await.refreshed, SOURCES);
    let due = calls([
        ("BatchGetSecretValue", SOURCES.div_ceil(20)),
        ("LIST", 1),
        ("HEAD tokens", SOURCES),
        ("PUT tokens", SOURCES),
        ("PublishBatch", SOURCES.div_ceil(10)),
        // What earlier runs remember, what this one has announced, and its report.
        ("GET catalog.json", 1),
        ("PUT catalog.json", 1),
        ("PUT reports", 1),
    ]);
    assert_eq!(counted.calls().await, due);

    // Warm: the definitions are known.
    assert_eq!(run(&deployment, &harvester).await.fresh, SOURCES);
    assert_eq!(counted.calls().await, calls([("LIST", 1), ("HEAD tokens", SOURCES)]));

    // Cold again.
    assert_eq!(deployment.harvest_due().await.fresh, SOURCES);
    let fresh = calls([
        ("BatchGetSecretValue", SOURCES.div_ceil(20)),
        ("LIST", 1),
        ("HEAD tokens", SOURCES),
        ("GET catalog.json", 1),
    ]);
    assert_eq!(counted.calls().await, fresh);
}

#[tokio::test]
async fn packed_sources_cost_one_read_for_twenty_secrets() {
    const SECRETS: usize = 21;
    let (deployment, mut counted) = Counted::deployment().await;
    let server = granting().await;
    for secret in 0..SECRETS {
        let sources: BTreeMap<_, _> = (0..2).map(|part| (format!("s{secret}-{part}"), client_of(&server))).collect();
        deployment.define(&format!("packed-{secret}"), json!({"sources": sources})).await;
    }

    let event = json!({"sources": ["s0-0"]});
    assert_eq!(deployment.harvest(event).await.refreshed, 1);
    let one = calls([
        ("BatchGetSecretValue", 2),
        ("LIST", 1),
        ("HEAD tokens", 1),
        ("PUT tokens", 1),
        ("PublishBatch", 1),
        ("GET catalog.json", 1),
        ("PUT catalog.json", 1),
        ("PUT reports", 1),
    ]);
    assert_eq!(counted.calls().await, one);
}

#[tokio::test]
async fn a_rotating_source_costs_its_lease_and_its_grant_besides() {
    let (deployment, mut counted) = Counted::deployment().await;
    let answer = json!({"access_token": "t", "expires_in": 3600, "refresh_token": "r2"});
    let server = token_endpoint(answered(200, answer)).await;
    deployment.define("acme", and(client_of(&server), json!({"refresh_token": "r1"}))).await;
    let harvester = deployment.harvester();

    assert_eq!(run(&deployment, &harvester).await.refreshed, 1);
    let rotated = [
        // Before the lease, and again under it: its former holder may have refreshed the source meanwhile.
        ("HEAD tokens", 2),
        ("GET incidents", 1),
        ("GET grants", 1),
        ("PUT leases", 1),
        ("PUT grants", 1),
        ("PUT tokens", 1),
        ("DELETE leases", 1),
        ("LIST", 1),
        ("PublishBatch", 1),
        ("GET catalog.json", 1),
        ("PUT catalog.json", 1),
        ("PUT reports", 1),
    ];
    let mut first = calls(rotated);
    first.insert("BatchGetSecretValue".to_owned(), 1);
    assert_eq!(counted.calls().await, first);

    // Fresh: no lease is taken to find that out.
    assert_eq!(run(&deployment, &harvester).await.fresh, 1);
    assert_eq!(counted.calls().await, calls([("LIST", 1), ("HEAD tokens", 1)]));
}
