//! Every provider as its fixture says: all cases of `tests/providers`, played by the production code over sockets.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use url::form_urlencoded;
use wiremock::{MockServer, Request, Respond, ResponseTemplate};

use token_harvester::app::ports::Clock as _;
use token_harvester::domain::provider;
use token_harvester::domain::report::Report;
use token_harvester::domain::source::{Catalog, PlainHttp, Secret, SourceName};

use crate::authorization_urls::connected_providers;
use crate::support::deployment::Deployment;
use crate::support::fixture::{self, Answer, CUSTOM_PREFIX, Case, Fixture, Harvest};
use crate::support::token_endpoint::{answer_rest, refused};

/// As long as a Lambda usually has.
const LONGEST_ROUND: Duration = Duration::from_secs(60);

#[tokio::test]
async fn every_provider_is_asked_and_understood_as_its_fixture_says() {
    let fixtures = Fixture::all();
    let plays: Vec<Play> = fixtures.iter().flat_map(|file| file.cases.iter().map(|case| Play { file, case })).collect();
    let (deployment, stage, server) = (Deployment::new().await, Stage::default(), MockServer::start().await);
    deployment.clock.stop_at("2026-11-20T22:00:00Z");
    answer_rest(&server, stage.clone()).await;
    let failing = define(&deployment, &fixtures, &server.uri()).await;
    for server in &failing {
        answer_rest(server, stage.clone()).await;
    }

    let harvester = deployment.harvester();
    let mut differences = Vec::new();
    let mut ahead = TimeDelta::zero();
    for (round, performances) in rounds(&plays) {
        deployment.clock.put_forward(round.at - ahead);
        ahead = round.at;
        for performance in &performances {
            stage.prepare(&performance.play.source(), performance.harvest);
        }
        let sources: Vec<String> = performances.iter().map(|performance| performance.play.source()).collect();
        let event = json!({"sources": sources, "force": round.force});
        let report = deployment.run(&harvester, &event, LONGEST_ROUND).await.expect("a report");
        let found = performances.iter().map(|performance| performance.differences(&deployment, &report, &stage));
        for (performance, found) in performances.iter().zip(join_all(found).await) {
            if !found.is_empty() {
                differences.push(performance.tell(&found));
            }
        }
    }
    let (count, played) = (differences.len(), plays.len());
    assert!(differences.is_empty(), "{count} harvests of {played} cases differ:\n\n{}", differences.join("\n"));
}

/// Keeps all definitions, those of a file in one secret. A source whose server fails has one of its own, which this returns:
/// one host that failed so often would be left alone by all.
async fn define(deployment: &Deployment, fixtures: &[Fixture], shared: &str) -> Vec<MockServer> {
    let mut failing = Vec::new();
    for file in fixtures {
        let mut sources = Map::new();
        for case in &file.cases {
            let source = file.source(case);
            assert!(SourceName::parse(&source).is_some(), "{source} is no name of a source");
            let server = if case.harvests.iter().flat_map(Harvest::exchanges).any(|one| one.answer.status >= 500) {
                failing.push(MockServer::start().await);
                failing.last().map(MockServer::uri)
            } else {
                None
            };
            let server = server.as_deref().unwrap_or(shared);
            let definition = file.definition(case, Some(&format!("{server}/{source}")));
            assert!(sources.insert(source, definition).is_none(), "{}.toml: {} is there twice", file.name, case.name);
        }
        deployment.define(&file.name, json!({"sources": sources})).await;
    }
    failing
}

/// A case, and the file that it is from.
#[derive(Clone, Copy)]
struct Play<'a> {
    file: &'a Fixture,
    case: &'a Case,
}

impl Play<'_> {
    fn source(&self) -> String {
        self.file.source(self.case)
    }
}

/// What harvests must have in common to share a run: when it is, which of their cases' harvests they are (from 1), and
/// whether they are forced.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Round {
    at: TimeDelta,
    number: usize,
    force: bool,
}

/// One harvest of a case.
struct Performance<'a> {
    play: Play<'a>,
    number: usize,
    harvest: &'a Harvest,
}

/// All harvests by the runs that they share, in order.
fn rounds<'a>(plays: &[Play<'a>]) -> BTreeMap<Round, Vec<Performance<'a>>> {
    let mut rounds = BTreeMap::<_, Vec<_>>::new();
    for play in plays {
        let mut at = TimeDelta::zero();
        for (number, harvest) in (1..).zip(&play.case.harvests) {
            at += harvest.after();
            let round = Round { at, number, force: harvest.is_forced(number) };
            rounds.entry(round).or_default().push(Performance { play: *play, number, harvest });
        }
    }
    rounds
}

/// The provider of every source, each under a path that is the source's name.
#[derive(Clone, Default)]
struct Stage(Arc<Mutex<HashMap<String, Part>>>);

/// What one source's provider has still to say, and what it has been asked.
#[derive(Default)]
struct Part {
    answers: VecDeque<ResponseTemplate>,
    requests: Vec<Request>,
}

impl Stage {
    fn prepare(&self, source: &str, harvest: &Harvest) {
        let answers = harvest.exchanges().map(|exchange| template(&exchange.answer)).collect();
        self.0.lock().expect("the stage").insert(source.to_owned(), Part { answers, requests: Vec::new() });
    }

    /// All requests of a source since it was prepared, in order.
    fn requests(&self, source: &str) -> Vec<Request> {
        self.0.lock().expect("the stage").remove(source).map(|part| part.requests).unwrap_or_default()
    }
}

impl Respond for Stage {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let (source, _) = source_and_path(request);
        let mut parts = self.0.lock().expect("the stage");
        let part = parts.entry(source.to_owned()).or_default();
        part.requests.push(request.clone());
        part.answers.pop_front().unwrap_or_else(|| refused(400, "the_fixture_has_no_such_exchange"))
    }
}

/// The address that stands for the provider's.
fn base_url(request: &Request) -> String {
    let host = request.headers["host"].to_str().expect("text");
    format!("http://{host}/{}", source_and_path(request).0)
}

/// Whose request it is, and the path that it would have at the provider.
fn source_and_path(request: &Request) -> (&str, &str) {
    let path = request.url.path().trim_start_matches('/');
    path.split_at(path.find('/').unwrap_or(path.len()))
}

fn template(answer: &Answer) -> ResponseTemplate {
    let mut content_type = "application/json";
    let mut template = ResponseTemplate::new(answer.status);
    for (name, value) in &answer.headers {
        if name.eq_ignore_ascii_case("content-type") {
            content_type = value;
        } else {
            template = template.insert_header(name.as_str(), value.as_str());
        }
    }
    template.set_body_raw(answer.body.as_str(), content_type)
}

impl Performance<'_> {
    /// All in which a run was not what the fixture says, one line each.
    async fn differences(&self, deployment: &Deployment, report: &Report, stage: &Stage) -> Vec<String> {
        let source = self.play.source();
        let mut differences = self.differences_of_requests(&stage.requests(&source));
        differences.extend(self.differences_of_report(report, &source));
        // Without a new token there is no document to look at, or an old one.
        if differences.iter().all(|difference| !difference.starts_with("outcome")) {
            if self.harvest.outcome == "refreshed" {
                differences.extend(self.differences_of_document(&deployment.document(&source).await));
            }
            if self.harvest.expects_grant() {
                let grant = deployment.state(&format!("grants/{source}.json")).await;
                differences.extend(self.differences_of_grant(&grant.unwrap_or_default(), deployment.clock.now()));
            }
        }
        differences
    }

    fn differences_of_requests(&self, requests: &[Request]) -> Vec<String> {
        let exchanges: Vec<_> = self.harvest.exchanges().collect();
        let mut differences = Vec::new();
        for (number, (exchange, request)) in (1..).zip(exchanges.iter().zip(requests)) {
            let place = format!("request {number}");
            compare(&place, Extent::Whole, &wanted(&exchange.request), &sent(request), &mut differences);
            compare_headers(&place, &exchange.request, request, &mut differences);
            compare_jwt(&place, &exchange.request, request, &mut differences);
        }
        for (number, exchange) in (1..).zip(&exchanges).skip(requests.len()) {
            differences.push(format!("request {number}: none, wanted {}", wanted(&exchange.request)));
        }
        for (number, request) in (1..).zip(requests).skip(exchanges.len()) {
            differences.push(format!("request {number}: {}, wanted none", sent(request)));
        }
        differences
    }

    fn differences_of_report(&self, report: &Report, source: &str) -> Vec<String> {
        let harvest = self.harvest;
        let line = report.sources.iter().find(|line| line.source == source).expect("a line of the report");
        let error = line.error.as_ref();
        let mut wanted = json!({"outcome": harvest.outcome, "error": harvest.error});
        if let Some(provider_error) = &harvest.provider_error {
            wanted["provider_error"] = provider_error.as_str().into();
        }
        let found = json!({
            "outcome": line.outcome,
            "error": error.map(|error| error.code),
            "provider_error": error.and_then(|error| error.provider_error.as_ref()),
        });
        let mut differences = Vec::new();
        compare("", Extent::Named, &wanted, &found, &mut differences);
        if let (Some(error), false) = (error, differences.is_empty()) {
            differences.push(format!("  it said: {}", error.message));
        }
        differences
    }

    fn differences_of_document(&self, document: &Value) -> Vec<String> {
        let harvest = self.harvest;
        let issued_at = moment(&document["issued_at"]).expect("a moment");
        let mut wanted = json!({
            "access_token": harvest.token, "token_type": harvest.token_type, "extra": harvest.extra,
        });
        if let Some(scope) = &harvest.scope {
            wanted["scope"] = scope.as_str().into();
        }
        let (name, end) = wanted_end(harvest.expires_in, harvest.expires_at.as_deref());
        wanted[name] = end;
        let found = json!({
            "access_token": document["access_token"], "token_type": document["token_type"],
            "scope": document["scope"], "extra": document["extra"], "expires_at": document["expires_at"],
            "expires_in": seconds_until(&document["expires_at"], issued_at),
        });
        let mut differences = Vec::new();
        compare("document", Extent::Named, &wanted, &found, &mut differences);
        differences
    }

    fn differences_of_grant(&self, grant: &Value, now: DateTime<Utc>) -> Vec<String> {
        let harvest = self.harvest;
        let credential = grant.get("refresh_token").or_else(|| grant.get("access_token"));
        let mut wanted = json!({});
        if let Some(credential) = &harvest.credential {
            wanted["credential"] = credential.as_str().into();
        }
        if harvest.credential_expires_in.is_some() || harvest.credential_expires_at.is_some() {
            let (name, end) = wanted_end(harvest.credential_expires_in, harvest.credential_expires_at.as_deref());
            wanted[name] = end;
        }
        let found = json!({
            "credential": credential, "expires_at": grant["expires_at"],
            "expires_in": seconds_until(&grant["expires_at"], now),
        });
        let mut differences = Vec::new();
        compare("grant state", Extent::Named, &wanted, &found, &mut differences);
        differences
    }

    fn tell(&self, differences: &[String]) -> String {
        let Play { file, case } = self.play;
        let lines = differences.join("\n    ");
        format!("tests/providers/{}.toml, case `{}`, harvest {}:\n    {lines}\n", file.name, case.name, self.number)
    }
}

/// The name and value of an end as a fixture states it: in seconds, as a moment, or not at all.
fn wanted_end(seconds: Option<i64>, moment: Option<&str>) -> (&'static str, Value) {
    match (seconds, moment) {
        (Some(seconds), _) => ("expires_in", seconds.into()),
        (None, moment) => ("expires_at", moment.into()),
    }
}

fn seconds_until(end: &Value, start: DateTime<Utc>) -> Option<i64> {
    Some((moment(end)? - start).num_seconds())
}

fn moment(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str()?.parse().ok()
}

/// All of a request that must be exactly so.
fn wanted(request: &fixture::Request) -> Value {
    json!({
        "method": request.method, "path": request.path, "query": request.query, "form": request.form,
        "json": request.json,
    })
}

/// The same of a request that was sent.
fn sent(request: &Request) -> Value {
    let content_type = request.headers.get("content-type").map(|value| value.to_str().expect("text"));
    let (form, json, other) = match content_type {
        Some("application/json") => (json!({}), serde_json::from_slice(&request.body).expect("JSON"), Value::Null),
        Some("application/x-www-form-urlencoded") => (parameters(&request.body), Value::Null, Value::Null),
        _ => (json!({}), Value::Null, String::from_utf8_lossy(&request.body).into_owned().into()),
    };
    let mut sent = json!({
        "method": request.method.as_str(), "path": source_and_path(request).1,
        "query": parameters(request.url.query().unwrap_or_default().as_bytes()), "form": form, "json": json,
    });
    if other.as_str().is_some_and(|body| !body.is_empty()) {
        sent["body"] = other;
    }
    sent
}

/// Form-encoded parameters; one that repeats is a list.
fn parameters(encoded: &[u8]) -> Value {
    let mut parameters = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in form_urlencoded::parse(encoded) {
        parameters.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    let single =
        |mut values: Vec<String>| if values.len() == 1 { values.remove(0).into() } else { Value::from(values) };
    parameters.into_iter().map(|(name, values)| (name, single(values))).collect()
}

fn compare_headers(place: &str, wanted: &fixture::Request, sent: &Request, differences: &mut Vec<String>) {
    let found: Map<String, Value> = (wanted.headers.keys())
        .filter_map(|name| Some((name.clone(), sent.headers.get(name)?.to_str().expect("text").into())))
        .collect();
    let wanted = json!(wanted.headers);
    compare(&format!("{place}.headers"), Extent::Named, &wanted, &Value::Object(found), differences);
}

/// What the JWT of a request says, in an assertion or as a bearer token. The signature is not looked at.
fn compare_jwt(place: &str, wanted: &fixture::Request, sent: &Request, differences: &mut Vec<String>) {
    if wanted.claims.is_empty() && wanted.jwt_header.is_empty() {
        return;
    }
    let Some(jwt) = jwt(sent) else {
        differences.push(format!("{place}: no JWT"));
        return;
    };
    let parts = [("jwt_header", &wanted.jwt_header), ("claims", &wanted.claims)].into_iter().zip(jwt.split('.'));
    for ((name, wanted), part) in parts {
        let members = BASE64_URL_SAFE_NO_PAD.decode(part).expect("Base64");
        let members: Value = serde_json::from_slice(&members).expect("JSON");
        let wanted = json!(wanted).to_string().replace("{base_url}", &base_url(sent));
        let wanted = serde_json::from_str(&wanted).expect("JSON");
        compare(&format!("{place}.{name}"), Extent::Named, &wanted, &members, differences);
    }
}

/// The JWT that a request is made with.
fn jwt(request: &Request) -> Option<String> {
    let sent = sent(request);
    let parameters = ["form", "query", "json"].into_iter().filter_map(|place| sent[place].as_object());
    let assertion = |all: &Map<String, Value>| all.get("assertion").or_else(|| all.get("client_assertion")).cloned();
    let assertion = parameters.into_iter().find_map(assertion);
    let bearer = || request.headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ");
    assertion.as_ref().and_then(Value::as_str).or_else(bearer).map(str::to_owned)
}

/// How much of an object is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All members.
    Whole,
    /// Those that are wanted.
    Named,
}

/// Notes where a value is not what is wanted; `"*"` wants any. The extent is that of the outermost object.
fn compare(place: &str, extent: Extent, wanted: &Value, found: &Value, differences: &mut Vec<String>) {
    match (wanted, found) {
        (Value::String(any), found) if any == "*" && !found.is_null() => {}
        (Value::Object(wanted), Value::Object(found)) => {
            let unwanted = found.keys().filter(|name| extent == Extent::Whole && !wanted.contains_key(*name));
            let names: BTreeSet<&String> = wanted.keys().chain(unwanted).collect();
            for name in names {
                let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                match (wanted.get(name), found.get(name)) {
                    (Some(wanted), found) => {
                        compare(&place, Extent::Whole, wanted, found.unwrap_or(&Value::Null), differences);
                    }
                    (None, found) => compare(&place, Extent::Whole, &Value::Null, &json!(found), differences),
                }
            }
        }
        (wanted, found) if wanted == found => {}
        (wanted, found) => differences.push(format!("{place}: {}, wanted {}", shown(found), shown(wanted))),
    }
}

fn shown(value: &Value) -> String {
    if value.is_null() { "none".to_owned() } else { value.to_string() }
}

#[test]
fn every_grant_of_every_provider_succeeds_in_a_fixture() {
    let fixtures = Fixture::all();
    let names = fixtures.iter().map(|file| file.name.as_str()).filter(|name| !name.starts_with(CUSTOM_PREFIX));
    assert_eq!(names.collect::<Vec<_>>(), provider::names().collect::<Vec<_>>());

    let connected = connected_providers();
    let mut unproven = Vec::new();
    for file in fixtures.iter().filter(|file| !file.name.starts_with(CUSTOM_PREFIX)) {
        let succeeds = |case: &&Case| case.harvests.iter().any(|harvest| harvest.outcome == "refreshed");
        let proven: BTreeSet<String> = file
            .cases
            .iter()
            .filter(succeeds)
            .map(|case| grant_type(&file.definition(case, Some("https://proxy.example.com"))))
            .collect();
        let declaration = provider::find(&file.name).expect("a declaration");
        let grants = declaration.get("grants").and_then(Value::as_object).expect("grants");
        // How people connect stands in a fixture of its own.
        let is_proven = |grant: &&String| match grant.as_str() {
            "authorization_code" => connected.contains(&file.name),
            grant => proven.contains(grant),
        };
        unproven.extend(grants.keys().filter(|grant| !is_proven(grant)).map(|grant| (&file.name, grant.clone())));
    }
    assert!(unproven.is_empty(), "no success in a fixture: {unproven:?}");
}

/// The grant type that a definition means.
pub(crate) fn grant_type(definition: &Value) -> String {
    let secret = Secret { name: "source".to_owned(), content: Ok(definition.to_string().into()) };
    let catalog = Catalog::new(vec![secret], PlainHttp::Refused);
    let source = catalog.find("source").expect("a source").as_ref();
    let source = source.unwrap_or_else(|fault| panic!("{fault} in {definition:#}"));
    // What is connected is refreshed by another one.
    let flow = source.definition.connect.as_ref().map_or(&source.definition.flow, |connect| &connect.code);
    flow.grant_type.clone().expect("a grant type")
}

#[test]
fn what_a_fixture_says_besides_what_is_known_is_an_error() {
    let fixture = |file: &str, case: &str, harvest: &str, request: &str, answer: &str| {
        format!(
            "{file}\n[[case]]\nname = 'a'\ndefinition = {{}}\n{case}\n[[case.harvest]]\noutcome = 'fresh'\n{harvest}\n\
             [[case.harvest.exchange]]\nrequest = {{ method = 'GET', path = '/' {request} }}\nanswer = {{ {answer} }}\n"
        )
    };
    let error = |text: &str| Fixture::parse("a", text).err();
    assert_eq!(error(&fixture("", "", "", "", "")), None);
    for text in [
        fixture("surplus = 1", "", "", "", ""),
        fixture("", "surplus = 1", "", "", ""),
        fixture("", "", "surplus = 1", "", ""),
        fixture("", "", "", ", surplus = 1", ""),
        fixture("", "", "", "", "surplus = 1"),
    ] {
        assert!(error(&text).is_some_and(|fault| fault.contains("unknown field `surplus`")), "{text}");
    }
}
