//! The sections of a declaration (`request`, `response`, `errors`, `refresh`), and what contradicts what in them.

use chrono::TimeDelta;
use regex_lite::Regex;
use serde_json::Value;

use super::fields::Fields;
use crate::domain::error::ErrorCode;
use crate::domain::provider::dialect::{
    self, BodyForm, BodyFormat, CredentialPlace, ErrorClass, ErrorRule, Evidence, Expiry, ExpiryForm, Place, Pointer,
    RefreshRules, RequestForm, RequestMethod, ResponseForm, Test,
};

const REQUEST: [&str; 12] = [
    "basic_encoding",
    "body",
    "client_id_parameter",
    "client_in",
    "client_secret_parameter",
    "credential_in",
    "credential_parameter",
    "grant_type_parameter",
    "method",
    "parameters_in",
    "scope_delimiter",
    "scope_parameter",
];

const RESPONSE: [&str; 9] = [
    "access_token",
    "error",
    "error_description",
    "expires",
    "format",
    "refresh_token",
    "refresh_token_expires",
    "scope",
    "token_type",
];

const ERROR_RULE: [&str; 8] = ["class", "equals", "error", "header", "matches", "path", "retry_after", "status"];

const REFRESH: [&str; 4] = ["fixed_lifetime", "minimum_age", "repeat_within", "rotates"];

const PLACES: [(&str, Place); 2] = [("body", Place::Body), ("query", Place::Query)];

/// The codes that a rule of the class `configuration` may report.
const CONFIGURATION_CODES: [(&str, ErrorCode); 6] = [
    ("invalid_request", ErrorCode::InvalidRequest),
    ("invalid_client", ErrorCode::InvalidClient),
    ("unauthorized_client", ErrorCode::UnauthorizedClient),
    ("unsupported_grant_type", ErrorCode::UnsupportedGrantType),
    ("invalid_scope", ErrorCode::InvalidScope),
    ("endpoint_rejected", ErrorCode::EndpointRejected),
];

/// What the names of parameters are where a request does not say otherwise.
pub(super) struct RequestDefaults<'a> {
    /// The client id's; empty: it is not sent.
    pub(super) client_id: &'a str,
    /// The credential's.
    pub(super) credential: &'a str,
}

impl Fields {
    /// `request`: how a token is asked for.
    pub(super) fn request_form(&mut self, defaults: &RequestDefaults<'_>, client_secret_post: bool) -> RequestForm {
        let mut section = self.section_or_empty("request", &REQUEST);
        let methods = [("POST", RequestMethod::Post), ("GET", RequestMethod::Get)];
        let method = section.choice("method", &methods).unwrap_or(RequestMethod::Post);
        let body = section.choice("body", &[("form", BodyForm::Form), ("json", BodyForm::Json)]);
        let parameters_in = section.choice("parameters_in", &PLACES);
        let client_in = section.choice("client_in", &PLACES);
        if method == RequestMethod::Get {
            for (field, in_body) in [
                ("parameters_in", parameters_in == Some(Place::Body)),
                ("client_in", client_in == Some(Place::Body)),
                ("body", body.is_some()),
            ] {
                if in_body {
                    section.fault(field, "contradicts `method`: a GET request has no body");
                }
            }
        }
        if client_in.is_some() && !client_secret_post {
            section.fault("client_in", "is for client_secret_post: the other methods put no secret there");
        }
        let default_place = if method == RequestMethod::Get { Place::Query } else { Place::Body };
        let parameters_in = parameters_in.unwrap_or(default_place);
        let client_in = client_in.unwrap_or(parameters_in);
        if body.is_some() && parameters_in == Place::Query && client_in == Place::Query {
            section.fault("body", "contradicts `parameters_in`: nothing would be in it");
        }
        let basic_encoding = section.choice("basic_encoding", &[("form", true), ("none", false)]);
        let parameter = section.string("credential_parameter");
        let bearer = section.choice("credential_in", &[("parameters", false), ("bearer", true)]) == Some(true);
        if bearer && parameter.is_some() {
            section.fault("credential_parameter", "contradicts `credential_in`: it is sent as a header");
        }
        let form = RequestForm {
            method,
            body: body.unwrap_or(BodyForm::Form),
            parameters_in,
            client_in,
            basic_encoded: basic_encoding.unwrap_or(true),
            client_id_parameter: section.name("client_id_parameter", defaults.client_id),
            client_secret_parameter: section.text("client_secret_parameter").unwrap_or("client_secret".to_owned()),
            grant_type_parameter: section.name("grant_type_parameter", "grant_type"),
            scope_parameter: section.name("scope_parameter", "scope"),
            scope_delimiter: section.text("scope_delimiter").unwrap_or(" ".to_owned()),
            credential: if bearer {
                CredentialPlace::Bearer
            } else {
                CredentialPlace::Parameter(parameter.unwrap_or_else(|| defaults.credential.to_owned()))
            },
        };
        self.absorb(section);
        form
    }

    /// `response`: where an answer holds what.
    pub(super) fn response_form(&mut self) -> ResponseForm {
        let mut section = self.section_or_empty("response", &RESPONSE);
        let formats = [
            ("auto", BodyFormat::Auto),
            ("json", BodyFormat::Json),
            ("form", BodyFormat::Form),
            ("xml", BodyFormat::Xml),
            ("text", BodyFormat::Text),
        ];
        let format = section.choice("format", &formats).unwrap_or(BodyFormat::Auto);
        let access_token = section.pointer("access_token");
        match (format, &access_token) {
            (BodyFormat::Text, Some(path)) if !path.as_str().is_empty() => {
                section.fault("access_token", "contradicts `format`: a text has no members, its path is the empty one");
            }
            (BodyFormat::Auto | BodyFormat::Json | BodyFormat::Form | BodyFormat::Xml, Some(path))
                if path.as_str().is_empty() =>
            {
                section.fault("access_token", "must name a member: only a text is the token itself");
            }
            _ => {}
        }
        let access_token = access_token.unwrap_or_else(|| match format {
            BodyFormat::Text => Pointer::whole(),
            _ => Pointer::member("access_token"),
        });
        let expires = section.expiry("expires", &access_token);
        let form = ResponseForm {
            format,
            token_type: section.pointer("token_type").unwrap_or_else(|| Pointer::member("token_type")),
            refresh_token: section.pointer("refresh_token").unwrap_or_else(|| Pointer::member("refresh_token")),
            scope: section.pointer("scope").unwrap_or_else(|| Pointer::member("scope")),
            expires,
            refresh_token_expires: section.expiry("refresh_token_expires", &Pointer::member("refresh_token")),
            error: section.pointer("error").unwrap_or_else(|| Pointer::member("error")),
            error_description: section
                .pointer("error_description")
                .unwrap_or_else(|| Pointer::member("error_description")),
            access_token,
        };
        self.absorb(section);
        form
    }

    /// An expiry; of a JWT it is at the token itself unless another place is named.
    fn expiry(&mut self, field: &str, token: &Pointer) -> Option<Expiry> {
        let mut section = self.section(field, &["form", "path"])?;
        let forms = [
            ("seconds", ExpiryForm::Seconds),
            ("milliseconds", ExpiryForm::Milliseconds),
            ("epoch_seconds", ExpiryForm::EpochSeconds),
            ("epoch_milliseconds", ExpiryForm::EpochMilliseconds),
            ("iso8601", ExpiryForm::Iso8601),
            ("duration", ExpiryForm::Duration),
            ("jwt_exp", ExpiryForm::JwtExp),
            ("none", ExpiryForm::None),
        ];
        let form = section.choice("form", &forms).unwrap_or(ExpiryForm::Seconds);
        let path = section.pointer("path");
        if path.is_none()
            && !section.has("path")
            && field != "expires"
            && !matches!(form, ExpiryForm::JwtExp | ExpiryForm::None)
        {
            section.required("path");
        }
        let path = path.unwrap_or_else(|| match form {
            ExpiryForm::JwtExp => token.clone(),
            _ => Pointer::member("expires_in"),
        });
        self.absorb(section);
        Some(Expiry { path, form })
    }

    /// `errors`: which answers are which errors.
    pub(super) fn error_rules(&mut self) -> Vec<ErrorRule> {
        let mut rules = Vec::new();
        for mut section in self.sections("errors", &ERROR_RULE) {
            rules.extend(section.error_rule());
            self.absorb(section);
        }
        rules
    }

    fn error_rule(&mut self) -> Option<ErrorRule> {
        let status = self.status_codes();
        let header = self.string("header").map(|name| Evidence::Header(name.to_ascii_lowercase()));
        let path = self.pointer("path").map(Evidence::Path);
        if self.has("header") && self.has("path") {
            self.fault("path", "contradicts `header`: a rule looks at one of them");
        }
        let test = match (self.wanted_texts(), self.pattern()) {
            (Some(_), Some(_)) => {
                self.fault("matches", "contradicts `equals`: give one");
                None
            }
            (Some(texts), None) => Some(Test::Equals(texts)),
            (None, Some(pattern)) => Some(Test::Matches(pattern)),
            (None, None) => None,
        };
        let evidence = header.or(path);
        if test.is_some() && !self.has("header") && !self.has("path") {
            self.fault("path", "is required (or `header`): where to look");
        }
        if !self.has("status") && !self.has("header") && !self.has("path") {
            self.fault(
                "status",
                "is required (or `header`, or `path`): a rule without conditions would match everything",
            );
        }
        let error = self.choice("error", &CONFIGURATION_CODES);
        let classes = [
            ("dead_grant", ErrorClass::DeadGrant),
            ("configuration", ErrorClass::Configuration(error)),
            ("throttled", ErrorClass::Throttled),
            ("transient", ErrorClass::Transient),
            ("too_early", ErrorClass::TooEarly),
        ];
        self.required("class");
        let class = self.choice("class", &classes)?;
        if self.has("error") && !matches!(class, ErrorClass::Configuration(_)) {
            self.fault("error", "is for the class configuration: the others have codes of their own");
        }
        let retry_after = self.duration("retry_after", TimeDelta::seconds(1));
        if self.has("retry_after") && !matches!(class, ErrorClass::Throttled | ErrorClass::Transient) {
            self.fault("retry_after", "is for the classes throttled and transient");
        }
        let finding = evidence.map(|evidence| (evidence, test.unwrap_or(Test::Present)));
        Some(ErrorRule { status, finding, class, retry_after })
    }

    fn status_codes(&mut self) -> Vec<u16> {
        let values = match self.values().get("status") {
            None => return Vec::new(),
            Some(Value::Array(values)) => values.clone(),
            Some(value) => vec![value.clone()],
        };
        let codes: Option<Vec<u16>> = values
            .iter()
            .map(|value| {
                value.as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| (100..600).contains(code))
            })
            .collect();
        let codes = codes.filter(|codes| !codes.is_empty());
        if codes.is_none() {
            self.fault("status", "must be a status code such as 400, or a list of them");
        }
        codes.unwrap_or_default()
    }

    /// `equals`: scalars, as text.
    fn wanted_texts(&mut self) -> Option<Vec<String>> {
        let values = match self.values().get("equals")? {
            Value::Array(values) => values.clone(),
            value => vec![value.clone()],
        };
        let texts: Option<Vec<String>> = values.iter().map(dialect::scalar_text).collect();
        let texts = texts.filter(|texts| !texts.is_empty());
        if texts.is_none() {
            self.fault("equals", "must be a string, number or boolean, or a list of them");
        }
        texts
    }

    fn pattern(&mut self) -> Option<Regex> {
        let pattern = self.text("matches")?;
        let compiled = Regex::new(&pattern).ok();
        if compiled.is_none() {
            self.fault("matches", "must be a regular expression");
        }
        compiled
    }

    /// `refresh`: the rules of refreshing.
    pub(super) fn refresh_rules(&mut self) -> RefreshRules {
        let mut section = self.section_or_empty("refresh", &REFRESH);
        let rules = RefreshRules {
            rotates: section.boolean("rotates"),
            repeat_within: section.duration("repeat_within", TimeDelta::seconds(1)),
            minimum_age: section.duration("minimum_age", TimeDelta::seconds(1)),
            fixed_lifetime: section.boolean("fixed_lifetime").unwrap_or(false),
        };
        if rules.rotates == Some(false) && rules.repeat_within.is_some() {
            section.fault("repeat_within", "contradicts `rotates`: what is not used up may be sent again at any time");
        }
        self.absorb(section);
        rules
    }
}
