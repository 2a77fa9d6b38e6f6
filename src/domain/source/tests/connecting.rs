//! What a definition says of connecting.

use serde_json::{Value, json};

use super::{SECRET, fault, parse, with};
use crate::domain::credential::{AuthorizationGrant, CredentialKind};
use crate::domain::provider::connecting::{
    CallbackCheck, Ends, IdentityPlace, Pkce, RevokeAuth, RevokeBody, RevokedToken,
};
use crate::domain::provider::dialect::RequestMethod;
use crate::domain::source::{ConnectRules, Credential, Definition, Endpoint};

/// Lays fields over a definition that people connect.
fn connecting(fields: &Value) -> Value {
    let mut definition = json!({
        "grant_type": "authorization_code", "authorization_endpoint": "https://as.example.com/authorize",
    });
    for (name, value) in fields.as_object().expect("an object") {
        definition[name] = value.clone();
    }
    definition
}

/// The same at a provider, which declares the endpoints.
fn at(provider: &str, fields: &Value) -> Value {
    let mut definition = connecting(fields);
    let members = definition.as_object_mut().expect("an object");
    members.insert("provider".to_owned(), provider.into());
    members.insert("token_endpoint".to_owned(), Value::Null);
    if fields.get("authorization_endpoint").is_none() {
        members.remove("authorization_endpoint");
    }
    definition
}

fn rules(definition: &Definition) -> &ConnectRules {
    definition.connect.as_ref().expect("what people connect")
}

#[test]
fn what_people_connect_is_refreshed_by_the_harvest_and_its_code_is_exchanged_otherwise() {
    let definition = parse(&connecting(&json!({
        "scope": "read write", "accounts": true, "required_scope": ["read"], "id_token": true,
        "redirect_uri": "https://app.example.com/back", "refresh": {"none": true}, "headers": {"X-Key": "k"},
    })));
    assert!(definition.seed.is_none() && definition.then.is_none());
    assert_eq!(definition.flow.grant_type.as_deref(), Some("refresh_token"));
    assert!(matches!(definition.flow.credential, Credential::RefreshToken));
    assert_eq!(definition.authorization_grant(), AuthorizationGrant::Connection);

    let rules = rules(&definition);
    assert_eq!(rules.code.grant_type.as_deref(), Some("authorization_code"));
    assert!(matches!(rules.code.credential, Credential::Code));
    // RFC 6749 section 4.1.3: the token request has no scope, and section 6: more than was granted must not be asked for.
    assert_eq!((&rules.code.scope, &definition.flow.scope), (&None, &None));
    assert_eq!(rules.scope.as_deref(), Some("read write"));
    assert_eq!(rules.authorization_endpoint.as_ref().map(url::Url::as_str), Some("https://as.example.com/authorize"));
    assert_eq!(rules.redirect_uri.as_deref(), Some("https://app.example.com/back"));
    assert_eq!((rules.client_id.as_str(), rules.keeps), ("client", CredentialKind::RefreshToken));
    assert!(rules.accounts && rules.id_token && rules.may_lack_refresh_token && rules.exchange.is_none());
    assert_eq!(rules.required_scope, ["read"]);
    assert!(rules.identity.is_none() && rules.revoke.is_none() && rules.device.is_none() && rules.provider.is_none());
    assert!(rules.code.headers.iter().any(|(name, _)| name == "X-Key"));
}

#[test]
fn defaults_are_what_the_standards_say() {
    let definition = parse(&connecting(&json!({})));
    let rules = rules(&definition);
    assert!(!rules.accounts && !rules.id_token && !rules.may_lack_refresh_token && rules.required_scope.is_empty());
    let authorize = &rules.authorize;
    assert_eq!((authorize.pkce, authorize.scope_delimiter.as_str()), (Pkce::Optional, " "));
    assert!(authorize.rename.is_empty() && authorize.params.is_empty() && authorize.issuer.is_none());
    assert!(rules.revocation(None).is_none());
    let endpoint: url::Url = "https://as.example.com/revoke".parse().expect("a URL");
    let (found, form) = rules.revocation(Some(endpoint.clone())).expect("a way");
    assert_eq!((found, form.auth, form.body), (endpoint, RevokeAuth::Basic, RevokeBody::Form));
}

#[test]
fn a_short_lived_token_is_exchanged_and_refreshes_itself_then() {
    let definition = parse(&at("threads", &json!({})));
    assert_eq!(definition.flow.grant_type.as_deref(), Some("th_refresh_token"));
    assert!(matches!(definition.flow.credential, Credential::AccessToken));
    let rules = rules(&definition);
    assert_eq!((rules.keeps, rules.provider.as_deref()), (CredentialKind::AccessToken, Some("Threads")));
    let exchange = rules.exchange.as_ref().expect("an exchange");
    assert_eq!(exchange.grant_type.as_deref(), Some("th_exchange_token"));
    assert!(matches!(exchange.credential, Credential::AccessToken));
    let url = |endpoint: &Endpoint| match endpoint {
        Endpoint::Token(url) => url.to_string(),
        Endpoint::Issuer { .. } => String::new(),
    };
    assert_eq!(url(&rules.code.endpoint), "https://graph.threads.net/oauth/access_token");
    assert_eq!(url(&exchange.endpoint), "https://graph.threads.net/access_token");
    assert_eq!(url(&definition.flow.endpoint), "https://graph.threads.net/refresh_access_token");
    assert_eq!(definition.authorization_grant(), AuthorizationGrant::Connection);
}

#[test]
fn a_grants_own_scope_is_told_with_each_refresh() {
    let definition = parse(&connecting(&json!({
        "scope": "read offline", "grants": {"authorization_code": {}, "refresh_token": {"scope": "read"}},
    })));
    assert_eq!(definition.flow.scope.as_deref(), Some("read"));
    assert_eq!(rules(&definition).scope.as_deref(), Some("read offline"));
}

#[test]
fn names_and_delimiters_come_from_the_token_request_unless_they_are_declared() {
    let definition = parse(&at("tiktok", &json!({})));
    let authorize = &rules(&definition).authorize;
    assert_eq!(authorize.rename.get("client_id").map(String::as_str), Some("client_key"));
    assert_eq!((authorize.scope_delimiter.as_str(), authorize.pkce), (",", Pkce::Off));

    let own = json!({"authorize": {
        "pkce": "hex", "rename": {"client_id": "", "state": "s", "code": "c"}, "scope_delimiter": "+", "cut": "#_",
        "keep": ["realm"], "params": {"prompt": "consent"}, "issuer": "https://as.example.com",
    }});
    let definition = parse(&at("tiktok", &own));
    let authorize = &rules(&definition).authorize;
    let rename: Vec<_> = authorize.rename.iter().map(|(name, other)| (name.as_str(), other.as_str())).collect();
    assert_eq!(rename, [("client_id", ""), ("code", "c"), ("state", "s")]);
    assert_eq!(
        (authorize.pkce, authorize.scope_delimiter.as_str(), authorize.cut.as_deref()),
        (Pkce::Hex, "+", Some("#_"))
    );
    assert_eq!(
        (authorize.keep.as_slice(), authorize.issuer.as_deref()),
        (&["realm".to_owned()][..], Some("https://as.example.com"))
    );
    assert_eq!(authorize.params, [("prompt".to_owned(), "consent".to_owned())]);
}

#[test]
fn what_a_callback_may_say_of_a_server_or_a_shop_is_known() {
    let definition = parse(&at("zoho", &json!({})));
    let servers = rules(&definition).authorize.servers.clone().expect("servers");
    assert_eq!((servers.parameter.as_str(), servers.servers.len()), ("accounts-server", 9));
    assert_eq!(servers.servers[1].as_str(), "https://accounts.zoho.eu/");

    let shop = json!({"variables": {"shop": "acme"}, "base_url": "https://proxy.example.com"});
    let definition = parse(&at("shopify", &shop));
    let rules = rules(&definition);
    assert_eq!(rules.authorize.verify, Some(CallbackCheck::Shopify { shop: "acme.myshopify.com".to_owned() }));
    assert_eq!(rules.authorization_endpoint.as_ref().and_then(url::Url::host_str), Some("proxy.example.com"));
}

#[test]
fn identity_is_read_where_the_provider_says_or_the_definition() {
    let identity = |definition: &Definition| rules(definition).identity.clone().expect("an identity");
    let declared = identity(&parse(&at("twitch", &json!({}))));
    let IdentityPlace::Request { url, method, parameter, headers } = declared.from else { panic!("{declared:?}") };
    assert_eq!((url.as_str(), method, parameter), ("https://id.twitch.tv/oauth2/validate", RequestMethod::Get, None));
    assert_eq!(headers.iter().collect::<Vec<_>>(), [("Authorization", "OAuth {access_token}")]);

    let threads = identity(&parse(&at("threads", &json!({}))));
    assert!(matches!(threads.from, IdentityPlace::Request { parameter: Some(ref name), .. } if name == "access_token"));

    // What the provider declares for a request does not count then, and is no fault.
    let own = json!({"identity": {"from": "callback", "id": ["/selling_partner_id"], "name": null}});
    let own = identity(&parse(&at("amazon-lwa", &own)));
    assert_eq!((own.from, own.id[0].as_str(), own.name), (IdentityPlace::Callback, "/selling_partner_id", None));
}

#[test]
fn a_grant_is_ended_as_the_provider_says_or_the_definition() {
    let definition = parse(&at("github", &json!({})));
    let (endpoint, form) = rules(&definition).revocation(None).expect("a way");
    assert_eq!((form.method, form.auth, form.body), (RequestMethod::Delete, RevokeAuth::Basic, RevokeBody::Json));
    assert_eq!((form.token, form.ends, form.parameter.as_str()), (RevokedToken::Access, Ends::Grant, "access_token"));
    // The client's id is filled in with each request.
    assert_eq!(endpoint.as_str(), "https://api.github.com/applications/%7Bclient_id%7D/grant");

    let own = json!({"revoke": {"ends": "token", "auth": null, "params": {"hint": "{client_id}"}, "method": "GET", "body": null}});
    let definition = parse(&at("github", &own));
    let (_, form) = rules(&definition).revocation(None).expect("a way");
    assert_eq!((form.auth, form.body, form.ends), (RevokeAuth::Post, RevokeBody::Query, Ends::Token));
    assert_eq!(form.params.iter().collect::<Vec<_>>(), [("hint", "{client_id}")]);
}

#[test]
fn a_device_is_authorized_where_the_provider_says() {
    let device = |definition: &Definition| rules(definition).device.clone();
    let twitch = device(&parse(&at("twitch", &json!({})))).expect("a way");
    assert_eq!(twitch.endpoint.map(String::from).as_deref(), Some("https://id.twitch.tv/oauth2/device"));
    assert_eq!(twitch.rename.get("scope").map(String::as_str), Some("scopes"));
    assert!(device(&parse(&at("tiktok", &json!({})))).is_none());
}

#[test]
fn an_issuer_goes_before_what_is_declared_and_after_what_is_written() {
    let issuer = json!({"issuer": "https://acme.okta.com/oauth2/default"});
    // No variable is needed for what does not count.
    let definition = parse(&at("okta", &issuer));
    let rules_of_issuer = rules(&definition);
    assert!(rules_of_issuer.authorization_endpoint.is_none());
    assert!(matches!(&rules_of_issuer.code.endpoint, Endpoint::Issuer { .. }));
    assert_eq!(rules_of_issuer.authorize.issuer.as_deref(), Some("https://acme.okta.com/oauth2/default"));
    assert!(rules_of_issuer.revocation(None).is_none());
    assert!(rules_of_issuer.device.as_ref().is_some_and(|device| device.endpoint.is_none()));
    let endpoint: url::Url = "https://acme.okta.com/oauth2/default/v1/revoke".parse().expect("a URL");
    assert_eq!(rules_of_issuer.revocation(Some(endpoint.clone())).map(|(endpoint, _)| endpoint), Some(endpoint));

    let mut own = issuer;
    own["authorization_endpoint"] = json!("https://login.acme.example/authorize");
    own["revoke"] = json!({"endpoint": "https://login.acme.example/revoke"});
    own["authorize"] = json!({"issuer": "https://login.acme.example"});
    let definition = parse(&at("okta", &own));
    let own = rules(&definition);
    assert_eq!(own.authorization_endpoint.as_ref().and_then(url::Url::host_str), Some("login.acme.example"));
    assert_eq!(own.authorize.issuer.as_deref(), Some("https://login.acme.example"));
    let other: url::Url = "https://other.example.com/".parse().expect("a URL");
    assert_eq!(own.revocation(Some(other)).expect("a way").0.as_str(), "https://login.acme.example/revoke");
}

#[test]
fn what_is_wrong_with_the_grant_is_named() {
    for (fields, expected) in [
        (json!({"authorization_endpoint": null}), "`authorization_endpoint` is required (or `issuer`)"),
        (json!({"client_id": null, "token_endpoint_auth_method": "none"}), "`client_id` is required"),
        (
            json!({"refresh_token": SECRET, "access_token": SECRET}),
            "`refresh_token` must be left out: with authorization_code, connecting brings it; `access_token` must be left \
             out: with authorization_code, connecting brings it",
        ),
        (
            json!({"grant_type": "authorisation_code"}),
            "`grant_type` must be client_credentials or refresh_token or urn:ietf:params:oauth:grant-type:jwt-bearer; did \
             you mean `authorization_code`?",
        ),
        (
            json!({"authorization_endpoint": "http://as.example.com/"}),
            "`authorization_endpoint` must begin with https://",
        ),
        (
            json!({"authorization_endpoint": "https://as.example.com/?state=1"}),
            "`authorization_endpoint` holds a parameter in its query that the request sends itself",
        ),
        (json!({"redirect_uri": "https://a.example.com/#b"}), "`redirect_uri` must not contain a fragment (#)"),
        (json!({"accounts": "many"}), "`accounts` must be true or false"),
        (json!({"id_token": 1}), "`id_token` must be true or false"),
        (json!({"required_scope": 5}), "`required_scope` must be a string or an array of strings"),
        (json!({"refresh": {"none": "yes"}}), "`refresh.none` must be true or false"),
        (json!({"params": {"redirect_uri": SECRET}}), "`params.redirect_uri` is set by `redirect_uri`"),
        (json!({"params": {"code_verifier": SECRET}}), "`params.code_verifier` is set by `request`"),
        (
            json!({"grants": {"authorization_code": {"then": "renew", "exchange": "swap"}}}),
            "`grants.authorization_code.exchange` must be another grant type of the same provider; \
             `grants.authorization_code.then` must be another grant type of the same provider",
        ),
        (
            json!({"grants": {"authorization_code": {"then": "renew", "exchange": "renew"}, "renew": {}}}),
            "`grants.authorization_code.exchange` must be a grant type whose `credential` is an access token; \
             `grants.authorization_code.then` must be a grant type whose `credential` is a refresh token or an access token",
        ),
        (
            json!({"grants": {"authorization_code": {}, "refresh_token": {"exchange": "refresh_token"}}}),
            "`grants.refresh_token.exchange` is for authorization_code",
        ),
    ] {
        let mut told: Vec<_> = fault(&with(&connecting(&fields))).split("; ").map(str::to_owned).collect();
        let mut expected: Vec<_> = expected.split("; ").map(str::to_owned).collect();
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "{fields}");
    }
    let message = fault(&with(&at("ebay", &json!({}))));
    assert_eq!(message, "`redirect_uri` is required by `ebay`");
    let message = fault(&with(&at("onegov-nsw", &json!({}))));
    assert_eq!(message, "`grant_type` must be client_credentials");
    let message = fault(&with(&at("workday", &json!({"variables": {"host": "h.example.com", "tenant": "acme"}}))));
    assert_eq!(message, "`variables` `workday` needs `authorization_host`");
}

#[test]
fn what_is_wrong_with_sending_somebody_there_is_named() {
    for (authorize, expected) in [
        (json!({"pkc": "off"}), "`authorize.pkc` is unknown; did you mean `pkce`?"),
        (json!({"pkce": SECRET}), "`authorize.pkce` must be optional, required, off or hex"),
        (json!({"params": {"state": SECRET}}), "`authorize.params.state` is set by the request itself"),
        (json!({"params": {"prompt": 5}}), "`authorize.params.prompt` must be a string"),
        (json!({"rename": {"client": "a"}}), "`authorize.rename.client` is unknown; did you mean `client_id`?"),
        (json!({"rename": {"state": ""}}), "`authorize.rename.state` must not be empty"),
        (json!({"rename": {"scope": "state"}}), "`authorize.rename` gives two parameters the same name"),
        (
            json!({"rename": {"scope": "user_scope"}, "params": {"user_scope": SECRET}}),
            "`authorize.params.user_scope` is set by the request itself",
        ),
        (json!({"keep": "realm"}), "`authorize.keep` must be a list of strings"),
        (json!({"server_parameter": "server"}), "`authorize.servers` is required beside `server_parameter`"),
        (json!({"servers": ["https://a.example.com"]}), "`authorize.server_parameter` is required beside `servers`"),
        (
            json!({"server_parameter": "server", "servers": ["https://a.example.com/b"]}),
            "`authorize.servers` must be scheme, host and port each, without a path",
        ),
        (
            json!({"server_parameter": "server", "servers": ["http://a.example.com"]}),
            "`authorize.servers` must begin with https://",
        ),
        (json!({"verify": "hmac"}), "`authorize.verify` must be shopify"),
    ] {
        assert_eq!(fault(&with(&connecting(&json!({"authorize": authorize})))), expected, "{authorize}");
    }
    let message = fault(&with(&at("x", &json!({"authorize": {"pkce": "off"}}))));
    assert_eq!(message, "`authorize.pkce` can't be off: the provider requires a proof key");
}

#[test]
fn what_is_wrong_with_whose_account_it_is_is_named() {
    let request = |field: &str, value: Value| json!({"from": "answer", "id": ["/id"], field: value});
    for (identity, expected) in [
        (json!({}), "`identity.from` is required; `identity.id` is required"),
        (json!({"from": "userinfo", "id": ["/id"]}), "`identity.from` must be answer, id_token, callback or request"),
        (json!({"from": "request", "id": ["/id"]}), "`identity.endpoint` is required"),
        (json!({"from": "answer", "id": []}), "`identity.id` must name at least one place"),
        (
            json!({"from": "answer", "id": ["user.id", ""]}),
            "`identity.id` must be paths such as /user/id (JSON Pointers, RFC 6901)",
        ),
        (
            json!({"from": "request", "id": ["/id"], "endpoint": "http://api.example.com/me"}),
            "`identity.endpoint` must begin with https://",
        ),
        (
            json!({"from": "request", "id": ["/id"], "endpoint": "https://api.example.com/me", "headers": {"a b": SECRET}}),
            "`identity.headers.a b` is no header name",
        ),
        (
            request("endpoint", json!("https://api.example.com/me")),
            "`identity.endpoint` is for `from` = `request` alone",
        ),
        (request("method", json!("POST")), "`identity.method` is for `from` = `request` alone"),
        (request("parameter", json!("token")), "`identity.parameter` is for `from` = `request` alone"),
        (request("headers", json!({"X-Key": SECRET})), "`identity.headers` is for `from` = `request` alone"),
    ] {
        assert_eq!(fault(&with(&connecting(&json!({"identity": identity})))), expected, "{identity}");
    }
    for place in ["/email", "/user/Email", "/e-mail", "/primary_email_address", "/mail"] {
        let identity = json!({"identity": {"from": "answer", "id": ["/id", place]}});
        let expected = "`identity.id` can't be an e-mail address, which may become another person's";
        assert_eq!(fault(&with(&connecting(&identity))), expected, "{place}");
    }
    parse(&connecting(&json!({"identity": {"from": "answer", "id": ["/email_owner/id"], "name": "/email"}})));
}

#[test]
fn what_is_wrong_with_ending_a_grant_or_with_a_device_is_named() {
    let endpoint = "https://as.example.com/revoke";
    for (section, fields, expected) in [
        ("revoke", json!({"ends": "grant"}), "`revoke.endpoint` is required"),
        ("device", json!({}), "`device.endpoint` is required"),
        (
            "device",
            json!({"endpoint": "https://as.example.com/", "rename": {"scop": "a"}}),
            "`device.rename.scop` is unknown; did you mean `scope`?",
        ),
        (
            "revoke",
            json!({"endpoint": "as.example.com"}),
            "`revoke.endpoint` must be a URL such as https://as.example.com/token",
        ),
        ("revoke", json!({"endpoint": endpoint, "ends": "all"}), "`revoke.ends` must be token, grant or account"),
        (
            "revoke",
            json!({"endpoint": endpoint, "method": "GET", "body": "form"}),
            "`revoke.body` contradicts `method`: a GET request has no body",
        ),
        (
            "revoke",
            json!({"endpoint": endpoint, "body": "none", "parameter": "t"}),
            "`revoke.parameter` contradicts `body`: the token is in no parameter",
        ),
        (
            "revoke",
            json!({"endpoint": endpoint, "params": {"token": SECRET}}),
            "`revoke.params.token` is set by `parameter`",
        ),
        (
            "revoke",
            json!({"endpoint": endpoint, "auth": "bearer", "headers": {"authorization": SECRET}}),
            "`revoke.headers.Authorization` is set by `auth`",
        ),
    ] {
        assert_eq!(fault(&with(&connecting(&json!({section: fields})))), expected, "{fields}");
    }
    let placeholders = json!({
        "token_endpoint": "https://{host}/token", "provider": "custom", "variables": {"host": "as.example.com"},
        "revoke": {"endpoint": "https://{hots}/revoke/{client_id}"},
    });
    assert_eq!(fault(&with(&connecting(&placeholders))), "`variables` `custom` needs `hots`");
}

#[test]
fn other_definitions_may_say_how_they_are_connected_and_are_checked_all_the_same() {
    let sections = json!({
        "authorization_endpoint": "https://as.example.com/authorize", "accounts": true, "id_token": true,
        "authorize": {"pkce": "off"}, "identity": {"from": "answer", "id": ["/id"]}, "refresh_token": "first",
        "revoke": {"endpoint": "https://as.example.com/revoke"}, "device": {"endpoint": "https://as.example.com/device"},
    });
    let definition = parse(&sections);
    assert!(definition.connect.is_none() && definition.seed.is_some());
    assert_eq!(definition.flow.grant_type.as_deref(), Some("refresh_token"));
    for (field, value, expected) in [
        ("authorize", json!({"pkce": 5}), "`authorize.pkce` must be a string"),
        ("identity", json!([]), "`identity` must be an object"),
        ("revoke", json!({"endpoint": 5}), "`revoke.endpoint` must be a string"),
        (
            "authorization_endpoint",
            json!("as"),
            "`authorization_endpoint` must be a URL such as https://as.example.com/token",
        ),
        ("accounts", json!(5), "`accounts` must be true or false"),
    ] {
        let mut wrong = sections.clone();
        wrong[field] = value;
        assert_eq!(fault(&with(&wrong)), expected);
    }
}

#[test]
fn no_secret_of_connecting_is_shown_or_published() {
    let with_key = |key: &str| {
        parse(&connecting(&json!({
            "identity": {"from": "request", "id": ["/id"], "endpoint": "https://api.example.com/me", "headers": {"X-Key": key}},
            "revoke": {"endpoint": "https://as.example.com/revoke", "headers": {"X-Key": key}, "params": {"key": key}},
        })))
    };
    let (one, other) = (with_key(SECRET), with_key("another"));
    assert!(!format!("{one:?}").contains(SECRET));
    assert!(one.secrets().any(|secret| secret == SECRET) && one.withheld().any(|secret| secret == SECRET));
    assert_eq!(one.public_sha256, other.public_sha256);
    assert_ne!(one.full_sha256, other.full_sha256);
}

#[test]
fn another_way_to_the_provider_makes_no_token_due() {
    let hash = |fields: &Value| parse(&connecting(fields)).public_sha256;
    let usual = hash(&json!({}));
    for fields in [
        json!({"authorize": {"params": {"prompt": "consent"}}}),
        json!({"redirect_uri": "https://app.example.com/back"}),
        json!({"required_scope": "read"}),
        json!({"accounts": true}),
        json!({"authorization_endpoint": "https://as.example.com/other"}),
    ] {
        assert_eq!(hash(&fields), usual, "{fields}");
    }
    // These change what is published, or what is asked for.
    for fields in [json!({"id_token": true}), json!({"scope": "read"})] {
        assert_ne!(hash(&fields), usual, "{fields}");
    }
}
