//! Kill it anywhere: the function dies before or after any call of a rotating refresh, and nothing that was saved is
//! lost, nothing that was replaced is used again, the next run goes on, and people hear of what has changed.

use std::collections::BTreeSet;
use std::process::Stdio;

use chrono::TimeDelta;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use token_harvester::app::ports::Clock as _;
use token_harvester::domain::event::Event;

use crate::support::deployment::{Deployment, Received};
use crate::support::function::{command, eventually, runtime_api, told};
use crate::support::outside::{Outside, Trouble};
use crate::support::token_endpoint::and;

const GRANT_SAVED: &str = "PUT grants/acme.json";

/// Kills looked into at once.
const AT_ONCE: usize = 6;

/// What `acme` is, and how its server takes a repeat.
#[derive(Debug, Clone, Copy)]
struct Kind {
    tolerant: bool,
    /// Its access token refreshes itself: the server's refresh tokens are used as such.
    refreshes_itself: bool,
}

impl Kind {
    const REVOKING: Self = Self { tolerant: false, refreshes_itself: false };
    const TOLERANT: Self = Self { tolerant: true, refreshes_itself: false };
    const REFRESHING_ITSELF: Self = Self { tolerant: false, refreshes_itself: true };

    fn definition(self, outside: &Outside) -> Value {
        let mut definition = outside.definition("r1");
        if self.refreshes_itself {
            let seed = definition.as_object_mut().expect("an object").remove("refresh_token");
            let how = json!({
                "access_token": seed, "grants": {"refresh": {"credential": "access_token"}}, "grant_type": "refresh",
                "request": {"credential_parameter": "refresh_token"},
                "response": {"access_token": "/refresh_token", "refresh_token": "/none"},
            });
            definition = and(definition, how);
        }
        definition
    }
}

/// A deployment whose source `acme` has a good token and a grant that has rotated once, and is due.
async fn due(kind: Kind) -> (Deployment, Outside) {
    let (deployment, outside) = Outside::of(Deployment::new().await, kind.tolerant).await;
    deployment.redefine("acme", kind.definition(&outside)).await;
    assert_eq!(deployment.harvest_due().await.refreshed, 1);
    deployment.redefine("acme", and(kind.definition(&outside), json!({"scope": "read"}))).await;
    outside.calm();
    (deployment, outside)
}

/// Starts the function for these events.
async fn start(deployment: &Deployment, outside: &Outside, events: &[Value]) -> wiremock::MockServer {
    let api = runtime_api(events).await;
    let address = api.address().to_string();
    let command = || command(Some(&address), &deployment.variables, Stdio::null(), Stdio::null()).spawn();
    outside.start(|| command().expect("a process"));
    api
}

/// Line of `acme` in the report of a run: outcome and error code.
async fn outcome(api: &wiremock::MockServer, run: usize) -> (String, Option<String>) {
    let report: Value = told(api, &format!("invocation/run-{run}/response")).await.body_json().expect("a report");
    let line = &report["sources"][0];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    (text(&line["outcome"]).expect("an outcome"), text(&line["error"]["code"]))
}

/// What must never go back.
#[derive(Debug, PartialEq)]
struct Kept {
    token: u64,
    access_token: Value,
    grant: u64,
    credential: String,
}

async fn kept(deployment: &Deployment) -> Kept {
    let document = deployment.document("acme").await;
    let grant = deployment.state("grants/acme.json").await.expect("grant state");
    Kept {
        token: document["generation"].as_u64().expect("a generation"),
        access_token: document["access_token"].clone(),
        grant: grant["generation"].as_u64().expect("a generation"),
        credential: grant.get("refresh_token").unwrap_or(&grant["access_token"]).as_str().expect("one").to_owned(),
    }
}

fn assert_not_older(before: &Kept, after: &Kept, context: &str) {
    assert!(after.token >= before.token && after.grant >= before.grant, "{context}: {before:?}, then {after:?}");
}

/// Ends the lease of the killed run, as time would. While it lasts, no other run may touch the grant.
async fn wait_for_lease(deployment: &Deployment, outside: &Outside, context: &str) {
    let Some(mut lease) = deployment.state("leases/acme").await else { return };
    let uses = outside.grants().uses;
    let event = Event { force: true, ..Event::default() };
    let deadline = deployment.clock.now() + TimeDelta::minutes(1);
    let report = deployment.harvester().harvest(&event, "another-run", deadline).await.expect("a report");
    assert_eq!((report.deferred, report.failed), (1, 0), "{context}: held");
    assert_eq!(outside.grants().uses, uses, "{context}: held");
    lease["expires_at"] = json!("2026-01-01T00:00:00Z");
    deployment.keep_state("leases/acme", &lease).await;
}

/// Names of the calls of a refresh that nothing disturbs.
async fn undisturbed(kind: Kind) -> Vec<String> {
    let (deployment, outside) = due(kind).await;
    let api = start(&deployment, &outside, &[json!({})]).await;
    assert_eq!(outcome(&api, 1).await, ("refreshed".to_owned(), None));
    outside.calls().into_iter().map(|(name, _)| name).collect()
}

async fn kill_and_look(at: usize, trouble: Trouble, kind: Kind) {
    let (deployment, outside) = due(kind).await;
    let before = kept(&deployment).await;
    outside.plan(move |number, _| if number == at { trouble } else { Trouble::None });
    let _api = start(&deployment, &outside, &[json!({})]).await;
    eventually("the kill", async || outside.is_killed().then_some(())).await;

    let call = outside.calls().pop().expect("a call").0;
    let context = format!("{trouble:?} {at}, {call}, {kind:?}");
    let killed = kept(&deployment).await;
    assert_not_older(&before, &killed, &context);
    let newest = outside.grants().newest();
    let lost = killed.credential != newest;
    let gap = call == "token request" && trouble == Trouble::KillAfter
        || call == GRANT_SAVED && trouble == Trouble::KillBefore;
    assert_eq!(lost, gap, "{context}: only an answer that was lost before its save is lost");

    wait_for_lease(&deployment, &outside, &context).await;
    outside.calm();
    let api = start(&deployment, &outside, &[json!({}), json!({"force": true})]).await;
    let (first, second) = (outcome(&api, 1).await, outcome(&api, 2).await);

    let after = kept(&deployment).await;
    assert_not_older(&killed, &after, &context);
    assert_eq!(deployment.state("leases/acme").await, None, "{context}: released");
    let uses = outside.grants().uses;
    let repeats = uses.len() - uses.iter().collect::<BTreeSet<_>>().len();
    if lost && !kind.tolerant {
        for (outcome, code) in [first, second] {
            assert_eq!((&*outcome, code.as_deref()), ("failed", Some("invalid_grant")), "{context}");
        }
        assert_eq!(after, killed, "{context}: the last good token stays, and the grant is not made up");
        return;
    }
    let fresh = killed.token > before.token;
    assert_eq!(first, (if fresh { "fresh" } else { "refreshed" }.to_owned(), None), "{context}");
    assert_eq!(second, ("refreshed".to_owned(), None), "{context}");
    assert_eq!(repeats, usize::from(lost), "{context}: no refresh token is used twice but a lost one");
    let generations: BTreeSet<_> = deployment.messages().await.iter().filter_map(announced).collect();
    let all: BTreeSet<_> = (1..=after.token).collect();
    assert_eq!(generations, all, "{context}: every token was announced");
    let newest = outside.grants().newest();
    let access_token = if kind.refreshes_itself { newest.clone() } else { newest.replace('r', "t") };
    assert_eq!((&after.access_token, &after.credential), (&json!(access_token), &newest), "{context}");
}

/// The generation that a message announces.
fn announced(message: &Received) -> Option<u64> {
    (message.attributes.get("event")? == "token.refreshed").then(|| message.body["generation"].as_u64())?
}

async fn kill_anywhere(kind: Kind) {
    let calls = undisturbed(kind).await;
    let position =
        |name: &str| calls.iter().position(|call| call == name).unwrap_or_else(|| panic!("{name}: {calls:?}"));
    assert_eq!(position("token request") + 1, position(GRANT_SAVED), "nothing comes between: {calls:?}");
    let kills = (1..=calls.len()).flat_map(|at| [(at, Trouble::KillBefore), (at, Trouble::KillAfter)]);
    stream::iter(kills).for_each_concurrent(AT_ONCE, |(at, trouble)| kill_and_look(at, trouble, kind)).await;
}

#[tokio::test]
async fn killed_anywhere_it_goes_on_where_reuse_revokes_the_family() {
    kill_anywhere(Kind::REVOKING).await;
}

#[tokio::test]
async fn killed_anywhere_it_goes_on_where_a_repeat_is_tolerated() {
    kill_anywhere(Kind::TOLERANT).await;
}

#[tokio::test]
async fn killed_anywhere_it_goes_on_with_an_access_token_that_refreshes_itself() {
    kill_anywhere(Kind::REFRESHING_ITSELF).await;
}

/// What the runs with this server do to the source: the incident opens, or ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Opened,
    Recovered,
}

impl Change {
    /// Refuses the client while the incident is to open, which a person must hear of at once.
    fn trouble(self, call: &str) -> Trouble {
        if self == Self::Opened && call == "token request" { Trouble::Answer(401) } else { Trouble::None }
    }

    /// A deployment in which the next run brings the change.
    async fn ahead(self) -> (Deployment, Outside) {
        let (deployment, outside) = due(Kind::TOLERANT).await;
        if self == Self::Recovered {
            outside.plan(|_, call| Self::Opened.trouble(call));
            assert_eq!(deployment.harvest_due().await.failed, 1);
        }
        deployment.alerts().await;
        (deployment, outside)
    }

    /// How many alerts since the last look tell of it.
    async fn alerts(self, deployment: &Deployment) -> usize {
        let list = if self == Self::Opened { "opened" } else { "recovered" };
        let alerts = deployment.alerts().await.into_iter();
        alerts.filter(|alert| alert.body[list].as_array().is_some_and(|sources| !sources.is_empty())).count()
    }
}

async fn kill_and_listen(change: Change, at: usize, trouble: Trouble) {
    let (deployment, outside) = change.ahead().await;
    outside.plan(move |number, call| if number == at { trouble } else { change.trouble(call) });
    let _api = start(&deployment, &outside, &[json!({"force": true})]).await;
    eventually("the kill", async || outside.is_killed().then_some(())).await;
    let calls = outside.calls();
    let context = format!("{change:?}, {trouble:?} {at}, {calls:?}");
    // The alert is published and then noted, while the report is kept beside that: what is killed need not be the last call.
    let noted =
        |(name, trouble): &(String, Trouble)| name.ends_with("incidents/acme.json") && *trouble != Trouble::KillBefore;
    let published = calls.iter().rposition(|(name, _)| name == "PublishBatch");
    let before_noted = published.is_some_and(|published| !calls[published..].iter().any(noted));
    let before = change.alerts(&deployment).await;

    wait_for_lease(&deployment, &outside, &context).await;
    outside.plan(move |_, call| change.trouble(call));
    let api = start(&deployment, &outside, &[json!({"force": true}), json!({"force": true})]).await;
    let expected = if change == Change::Opened { "failed" } else { "refreshed" };
    assert_eq!((outcome(&api, 1).await.0, outcome(&api, 2).await.0), (expected.to_owned(), expected.to_owned()));

    let after = change.alerts(&deployment).await;
    assert!(before + after >= 1, "{context}: swallowed");
    assert!(before + after <= 1 + usize::from(before_noted), "{context}: {before}, then {after}");
}

async fn told_wherever_it_is_killed(change: Change) {
    let (deployment, outside) = change.ahead().await;
    outside.plan(move |_, call| change.trouble(call));
    let api = start(&deployment, &outside, &[json!({"force": true})]).await;
    outcome(&api, 1).await;
    assert_eq!(change.alerts(&deployment).await, 1);
    let calls = outside.calls().len();
    let kills = (1..=calls).flat_map(|at| [(at, Trouble::KillBefore), (at, Trouble::KillAfter)]);
    let listen = |(at, trouble)| kill_and_listen(change, at, trouble);
    stream::iter(kills).for_each_concurrent(AT_ONCE, listen).await;
}

#[tokio::test]
async fn killed_anywhere_a_failure_is_told_and_again_only_if_that_was_not_noted() {
    told_wherever_it_is_killed(Change::Opened).await;
}

#[tokio::test]
async fn killed_anywhere_a_recovery_is_told_and_again_only_if_that_was_not_noted() {
    told_wherever_it_is_killed(Change::Recovered).await;
}
