//! Where a browser is sent to connect an account, for every provider that can be connected: its fixture's definition
//! leads to its fixture's address, to the letter.

use std::collections::BTreeSet;

use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use token_harvester::domain::oauth::authorization::{AuthorizationRequest, Verifier};
use token_harvester::domain::provider::connecting::IdentityPlace;
use token_harvester::domain::source::{Definition, PlainHttp};
use token_harvester::domain::{credential::CredentialKind, provider};

use crate::schemas::{assert_valid, schema};
use crate::support::fixture::toml_files;
use crate::support::token_endpoint::and;

const PUBLIC_URL: &str = "https://connect.example.com";

/// A way to connect an account, as a fixture has it.
struct Case {
    provider: String,
    name: String,
    definition: Value,
    url: Url,
    /// Whether a refresh token is kept at its end.
    brings_refresh_token: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (provider, text) in toml_files("tests/providers/connect") {
        let file: Value = toml::from_str(&text).unwrap_or_else(|fault| panic!("{provider}.toml: {fault}"));
        for case in file["connect"].as_array().expect("cases") {
            let definition = json!({"provider": provider, "grant_type": "authorization_code"});
            cases.push(Case {
                name: format!("{provider}-{}", case["name"].as_str().expect("a name")),
                definition: and(definition, case["definition"].clone()),
                url: case["url"].as_str().expect("an address").parse().expect("a URL"),
                brings_refresh_token: case["connected"]["credential"] != case["connected"]["token"],
                provider: provider.clone(),
            });
        }
    }
    cases
}

/// The providers of which a fixture tells how an account is connected.
pub(crate) fn connected_providers() -> BTreeSet<String> {
    cases().into_iter().map(|case| case.provider).collect()
}

/// The address that a definition leads to, with the fixture's words for what is new each time.
fn address(name: &str, definition: &Definition) -> Url {
    let rules = definition.connect.as_ref().expect("what people connect");
    let verifier = Verifier::new(SecretString::from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
    let challenge = verifier.challenge(rules.authorize.pkce);
    let redirect_uri = rules.redirect_uri.clone().unwrap_or_else(|| format!("{PUBLIC_URL}/callback/{name}"));
    let request = AuthorizationRequest {
        endpoint: rules.authorization_endpoint.as_ref().expect("an endpoint"),
        client_id: &rules.client_id,
        redirect_uri: &redirect_uri,
        scope: rules.scope.as_deref(),
        state: &SecretString::from("STATE"),
        verifier: &verifier,
        form: &rules.authorize,
    };
    let url = request.url().to_string();
    challenge.map_or(url.clone(), |challenge| url.replace(&challenge, "CHALLENGE")).parse().expect("a URL")
}

/// An address as what counts of it: where it leads, and its parameters in any order.
fn parts(url: &Url) -> (String, Vec<(String, String)>) {
    let mut parameters: Vec<_> = url.query_pairs().into_owned().collect();
    parameters.sort();
    let mut endpoint = url.clone();
    endpoint.set_query(None);
    (endpoint.to_string(), parameters)
}

#[test]
fn every_provider_with_an_authorization_endpoint_is_connected_as_its_fixture_says() {
    let schema = schema("definition");
    for case in cases() {
        assert_valid(&schema, &case.definition);
        let definition = Definition::parse(&case.definition.to_string(), PlainHttp::Refused);
        let definition = definition.unwrap_or_else(|fault| panic!("{}: {fault}", case.name)).expect("it is enabled");
        assert_eq!(parts(&address(&case.name, &definition)), parts(&case.url), "{}", case.name);

        let rules = definition.connect.as_ref().expect("what people connect");
        assert!(definition.seed.is_none() && definition.flow.scope.is_none() && rules.code.scope.is_none());
        if !rules.may_lack_refresh_token {
            let keeps_refresh_token = rules.keeps == CredentialKind::RefreshToken;
            assert_eq!(keeps_refresh_token, case.brings_refresh_token, "{}", case.name);
        }
        assert_eq!(rules.provider.as_deref(), provider::title(&case.provider));
    }
    let declared = provider::names().filter(|name| {
        provider::find(name).is_some_and(|declaration| declaration.contains_key("authorization_endpoint"))
    });
    assert_eq!(connected_providers().into_iter().collect::<Vec<_>>(), declared.collect::<Vec<_>>());
}

#[test]
fn what_every_provider_declares_of_connecting_moves_to_a_base_url() {
    for case in cases().into_iter().filter(|case| case.definition.get("authorization_endpoint").is_none()) {
        let moved = and(case.definition, json!({"base_url": "https://proxy.example.com/to"}));
        let definition = Definition::parse(&moved.to_string(), PlainHttp::Refused).expect("a definition");
        let rules = definition.expect("it is enabled").connect.expect("what people connect");
        let mut endpoints = vec![rules.authorization_endpoint.clone().expect("an endpoint")];
        endpoints.extend(rules.revocation(None).map(|(endpoint, _)| endpoint));
        endpoints.extend(rules.device.as_ref().and_then(|device| device.endpoint.clone()));
        if let Some(IdentityPlace::Request { url, .. }) = rules.identity.as_ref().map(|identity| &identity.from) {
            endpoints.push(url.clone());
        }
        for endpoint in endpoints {
            assert!(endpoint.as_str().starts_with("https://proxy.example.com/to/"), "{}: {endpoint}", case.name);
        }
    }
}
