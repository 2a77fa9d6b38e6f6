//! Faults at every call of a rotating refresh to S3, Secrets Manager and SNS, one at a time and at random: nothing is
//! lost, and the report is true.

use std::io::Write as _;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use token_harvester::domain::error::ErrorCode;
use token_harvester::domain::report::Outcome;

use crate::support::deployment::Deployment;
use crate::support::line;
use crate::support::outside::{Outside, Trouble};

const FAULTS: [Trouble; 7] = [
    Trouble::Refuse,
    Trouble::Answer(500),
    Trouble::Answer(503),
    Trouble::Answer(409),
    Trouble::Answer(412),
    Trouble::Delay,
    Trouble::LoseReply,
];

const TOKEN_STORED: &str = "PUT tokens/acme.json";

/// Long enough for a few repetitions, short enough for those that go on until the run's end.
const RUN: Duration = Duration::from_secs(7);

/// Deployments looked into at once.
const AT_ONCE: usize = 12;

/// A deployment whose source `acme` has been refreshed once.
async fn refreshed() -> (Deployment, Outside) {
    let (deployment, outside) = Outside::of(Deployment::new().await, false).await;
    assert_eq!(deployment.harvest_due().await.refreshed, 1);
    outside.calm();
    (deployment, outside)
}

/// Generations of the token document and of the grant, and the refresh token.
async fn kept(deployment: &Deployment) -> (u64, u64, String) {
    let document = deployment.document("acme").await;
    let grant = deployment.state("grants/acme.json").await.expect("grant state");
    let generation = |value: &serde_json::Value| value["generation"].as_u64().expect("a generation");
    (generation(&document), generation(&grant), grant["refresh_token"].as_str().expect("a refresh token").to_owned())
}

/// Refreshes while the plan makes trouble, and again without. Returns what was lost or told wrong.
async fn refresh_in_trouble(
    deployment: &Deployment,
    outside: &Outside,
    context: &str,
) -> (Option<Outcome>, Vec<String>) {
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{context}: {what}"));
        }
    };
    // Tokens of one second count as equally new.
    deployment.clock.put_forward(TimeDelta::minutes(1));
    let (token, grant, _) = kept(deployment).await;
    let uses = outside.grants().uses.len();
    let result = deployment.run(&deployment.harvester(), &json!({"force": true}), RUN).await;
    let (calls, server) = (outside.calls(), outside.grants());
    let report = match result {
        Ok(report) => Some(report),
        Err(error) => error.report().cloned(),
    };
    let line = report.as_ref().map(|report| line(report, "acme"));
    let outcome = line.map(|line| line.outcome);
    let error = line.and_then(|line| line.error.as_ref());
    let code = error.map(|error| error.code);

    let (token_after, grant_after, refresh_token) = kept(deployment).await;
    let requests = server.uses.len() - uses;
    let rose = token_after == token + 1;
    expect(rose || token_after == token, "the token's generation counts up by one or stays");
    expect(grant_after >= grant, "the grant's generation never goes down");
    expect(requests <= 1, "a refresh token is used once");
    let lost = refresh_token != server.newest();
    let told = code == Some(ErrorCode::GrantStoreFailed)
        && error.is_some_and(|error| error.message.contains("authorize anew"));
    expect(!lost || told && rose, &format!("a lost grant is told, and its token stored: {line:#?}, {calls:?}"));
    let reply_lost = calls.contains(&(TOKEN_STORED.to_owned(), Trouble::LoseReply));
    let is_true = match outcome {
        Some(Outcome::Refreshed) => rose && code.is_none(),
        Some(Outcome::Failed) if rose => told || code == Some(ErrorCode::TokenStoreFailed) && reply_lost,
        Some(Outcome::Failed) => code.is_some(),
        Some(Outcome::Fresh) => false,
        Some(Outcome::Deferred) | None => !rose && requests == 0,
    };
    expect(is_true, &format!("the report is true: rose: {rose}, {line:#?}, {calls:?}"));

    // A lease that could not be released ends.
    deployment.clock.put_forward(TimeDelta::minutes(1));
    outside.calm();
    if lost {
        deployment.redefine("acme", outside.definition(&outside.authorize_anew())).await;
    }
    let after = deployment.harvest(json!({"force": true})).await;
    let goes_on = after.refreshed == 1 && kept(deployment).await.2 == outside.grants().newest();
    expect(goes_on, &format!("the next run goes on: {after:#?}"));
    (outcome, wrong)
}

/// Looks into several deployments at once, and expects to find nothing wrong in any.
async fn find_nothing_wrong<T>(what: impl IntoIterator<Item = T>, look: impl AsyncFn(T) -> Vec<String>) {
    let wrong: Vec<_> = stream::iter(what).map(|one| look(one)).buffer_unordered(AT_ONCE).collect().await;
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every fault at every call of a refresh that nothing else disturbs, but for the token request: the call's number and
/// name.
async fn faults_at_all_calls() -> Vec<(usize, String, Trouble)> {
    let (deployment, outside) = refreshed().await;
    deployment.harvest(json!({"force": true})).await;
    let calls = (1..).zip(outside.calls()).filter(|(_, (name, _))| name != "token request");
    calls.flat_map(|(at, (name, _))| FAULTS.map(|fault| (at, name.clone(), fault))).collect()
}

#[tokio::test]
async fn one_fault_at_any_call_costs_no_refresh() {
    let look = async |(at, name, fault): (usize, String, Trouble)| {
        let (deployment, outside) = refreshed().await;
        outside.plan(move |number, _| if number == at { fault } else { Trouble::None });
        let context = format!("{fault:?} at {at}, {name}");
        let (outcome, mut wrong) = refresh_in_trouble(&deployment, &outside, &context).await;
        // Conditions fail where there are any.
        let passes = !matches!(fault, Trouble::Answer(409 | 412)) || name.starts_with("PUT ");
        if passes && outcome != Some(Outcome::Refreshed) {
            wrong.push(format!("{context}: costs no refresh: {outcome:?}"));
        }
        wrong
    };
    find_nothing_wrong(faults_at_all_calls().await, look).await;
}

#[tokio::test]
async fn a_fault_that_lasts_loses_nothing_in_silence() {
    let look = async |(at, name, fault): (usize, String, Trouble)| {
        let (deployment, outside) = refreshed().await;
        let context = format!("{fault:?} from {at} on at {name}");
        outside.plan(move |number, call| if number >= at && call == name { fault } else { Trouble::None });
        refresh_in_trouble(&deployment, &outside, &context).await.1
    };
    find_nothing_wrong(faults_at_all_calls().await, look).await;
}

#[tokio::test]
async fn faults_at_random_lose_nothing_in_silence() {
    const LANES: u64 = 8;
    const RUNS: usize = 6;
    let seed = seed();
    // Past the capture, which shows what tests print only when they fail.
    writeln!(std::io::stderr(), "faults at random: FAULT_SEED={seed}").expect("standard error");
    let look = async |lane: u64| {
        let (deployment, outside) = refreshed().await;
        let mut random = SplitMix(seed.wrapping_add(lane << 32));
        let mut all_wrong = Vec::new();
        for run in 0..RUNS {
            let mut draw = SplitMix(random.next());
            outside.plan(move |_, name| if name == "token request" { Trouble::None } else { draw.trouble() });
            let context = format!("FAULT_SEED={seed}, lane {lane}, run {run}");
            all_wrong.append(&mut refresh_in_trouble(&deployment, &outside, &context).await.1);
        }
        all_wrong
    };
    find_nothing_wrong(0..LANES, look).await;
}

/// `FAULT_SEED`, or another one in each run of the suite.
#[expect(clippy::disallowed_methods, reason = "a seed is the test's own, not the program's")]
fn seed() -> u64 {
    match std::env::var("FAULT_SEED") {
        Ok(seed) => seed.parse().expect("FAULT_SEED is a number"),
        Err(_) => u64::from(std::time::UNIX_EPOCH.elapsed().expect("a time").subsec_nanos()),
    }
}

/// Sebastiano Vigna's generator: small, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A fault at one call of five.
    fn trouble(&mut self) -> Trouble {
        let drawn = usize::try_from(self.next() % (FAULTS.len() as u64 * 5)).expect("a small number");
        FAULTS.get(drawn).copied().unwrap_or(Trouble::None)
    }
}
