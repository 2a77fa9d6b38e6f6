//! The sections of a declaration (`request`, `response`, `errors`, `refresh`), and what contradicts what in them.

use regex_lite::Regex;
use serde_json::Value;

use super::fields::{Faults, Fields};
use super::schema::{
    Choices, ChoicesOrDefault, Field, Section, definition, error_rule, expiry, refresh, request, response,
};
use crate::domain::error::ErrorCode;
use crate::domain::provider::dialect::{
    self, BodyForm, BodyFormat, CredentialPlace, ErrorClass, ErrorRule, Evidence, Expiry, ExpiryForm, Place, Pointer,
    RefreshRules, RequestForm, RequestMethod, ResponseForm, Test,
};

const METHODS: ChoicesOrDefault<RequestMethod> =
    request::METHOD.meaning(&[("POST", RequestMethod::Post), ("GET", RequestMethod::Get)]);
const BODIES: ChoicesOrDefault<BodyForm> = request::BODY.meaning(&[("form", BodyForm::Form), ("json", BodyForm::Json)]);
const PARAMETERS_IN: Choices<Place> = request::PARAMETERS_IN.meaning(&[("body", Place::Body), ("query", Place::Query)]);
const CLIENT_IN: Choices<Place> = request::CLIENT_IN.meaning(&[("body", Place::Body), ("query", Place::Query)]);
/// Whether id and secret are form-encoded.
const BASIC_ENCODINGS: ChoicesOrDefault<bool> = request::BASIC_ENCODING.meaning(&[("form", true), ("none", false)]);
/// Whether the credential is sent as `Authorization: Bearer`.
const CREDENTIAL_IN: ChoicesOrDefault<bool> =
    request::CREDENTIAL_IN.meaning(&[("parameters", false), ("bearer", true)]);

const FORMATS: ChoicesOrDefault<BodyFormat> = response::FORMAT.meaning(&[
    ("auto", BodyFormat::Auto),
    ("json", BodyFormat::Json),
    ("form", BodyFormat::Form),
    ("xml", BodyFormat::Xml),
    ("text", BodyFormat::Text),
]);
const EXPIRY_FORMS: ChoicesOrDefault<ExpiryForm> = expiry::FORM.meaning(&[
    ("seconds", ExpiryForm::Seconds),
    ("milliseconds", ExpiryForm::Milliseconds),
    ("epoch_seconds", ExpiryForm::EpochSeconds),
    ("epoch_milliseconds", ExpiryForm::EpochMilliseconds),
    ("iso8601", ExpiryForm::Iso8601),
    ("duration", ExpiryForm::Duration),
    ("jwt_exp", ExpiryForm::JwtExp),
    ("none", ExpiryForm::None),
]);

const ERROR_CLASSES: Choices<ErrorClass> = error_rule::CLASS.meaning(&[
    ("dead_grant", ErrorClass::DeadGrant),
    ("configuration", ErrorClass::Configuration(None)),
    ("throttled", ErrorClass::Throttled),
    ("transient", ErrorClass::Transient),
    ("too_early", ErrorClass::TooEarly),
]);
/// The codes that a rule of the class `configuration` may report.
const CONFIGURATION_CODES: Choices<ErrorCode> = error_rule::ERROR.meaning(&[
    ("invalid_request", ErrorCode::InvalidRequest),
    ("invalid_client", ErrorCode::InvalidClient),
    ("unauthorized_client", ErrorCode::UnauthorizedClient),
    ("unsupported_grant_type", ErrorCode::UnsupportedGrantType),
    ("invalid_scope", ErrorCode::InvalidScope),
    ("endpoint_rejected", ErrorCode::EndpointRejected),
]);

/// What the names of parameters are where a request does not say otherwise.
pub(super) struct RequestDefaults<'a> {
    /// The client id's; `None`: it is not sent.
    pub(super) client_id: Option<&'a str>,
    /// The credential's.
    pub(super) credential: &'a str,
}

/// `request`: how a token is asked for.
pub(super) fn request_form(
    of: &Fields<'_>,
    defaults: &RequestDefaults<'_>,
    client_secret_post: bool,
) -> (RequestForm, Faults) {
    let mut section = of.section(definition::REQUEST);
    let method = section.choice_or_default(&METHODS);
    let body = section.choice(&BODIES.choices);
    let parameters_in = section.choice(&PARAMETERS_IN);
    let client_in = section.choice(&CLIENT_IN);
    if method == RequestMethod::Get {
        for (field, in_body) in [
            (PARAMETERS_IN.name, parameters_in == Some(Place::Body)),
            (CLIENT_IN.name, client_in == Some(Place::Body)),
            (request::BODY.name, body.is_some()),
        ] {
            if in_body {
                section.fault_at(field, "contradicts `method`: a GET request has no body");
            }
        }
    }
    if client_in.is_some() && !client_secret_post {
        section.fault(request::CLIENT_IN, "is for client_secret_post: the other methods put no secret there");
    }
    let default_place = if method == RequestMethod::Get { Place::Query } else { Place::Body };
    let parameters_in = parameters_in.unwrap_or(default_place);
    let client_in = client_in.unwrap_or(parameters_in);
    if body.is_some() && parameters_in == Place::Query && client_in == Place::Query {
        section.fault(request::BODY, "contradicts `parameters_in`: nothing would be in it");
    }
    let basic_encoded = section.choice_or_default(&BASIC_ENCODINGS);
    let parameter = section.get(request::CREDENTIAL_PARAMETER);
    let bearer = section.choice_or_default(&CREDENTIAL_IN);
    if bearer && parameter.is_some() {
        section.fault(request::CREDENTIAL_PARAMETER, "contradicts `credential_in`: it is sent as a header");
    }
    let client_id_parameter = section.get(request::CLIENT_ID_PARAMETER);
    let form = RequestForm {
        method,
        body: body.unwrap_or(BODIES.default),
        parameters_in,
        client_in,
        basic_encoded,
        client_id_parameter: client_id_parameter.unwrap_or_else(|| defaults.client_id.map(str::to_owned)),
        client_secret_parameter: section.get_or_default(request::CLIENT_SECRET_PARAMETER),
        grant_type_parameter: section.get_or_default(request::GRANT_TYPE_PARAMETER),
        scope_parameter: section.get_or_default(request::SCOPE_PARAMETER),
        scope_delimiter: section.get_or_default(request::SCOPE_DELIMITER),
        credential: if bearer {
            CredentialPlace::Bearer
        } else {
            CredentialPlace::Parameter(parameter.unwrap_or_else(|| defaults.credential.to_owned()))
        },
    };
    section.finish_read(form)
}

/// `response`: where an answer holds what.
pub(super) fn response_form(of: &Fields<'_>) -> Result<ResponseForm, Faults> {
    let mut section = of.section(definition::RESPONSE);
    let format = section.choice_or_default(&FORMATS);
    let access_token = section.get(response::ACCESS_TOKEN);
    let is_text = format == BodyFormat::Text;
    match &access_token {
        Some(path) if is_text && !path.as_str().is_empty() => section
            .fault(response::ACCESS_TOKEN, "contradicts `format`: a text has no members, its path is the empty one"),
        Some(path) if !is_text && path.as_str().is_empty() => {
            section.fault(response::ACCESS_TOKEN, "must name a member: only a text is the token itself");
        }
        _ => {}
    }
    let default = || if is_text { Pointer::whole() } else { Pointer::member(response::ACCESS_TOKEN.default) };
    let access_token = access_token.unwrap_or_else(default);
    let expires = expiry(&section, response::EXPIRES, &access_token);
    let expires = section.keep(expires).flatten();
    let token_type = section.get_or_default(response::TOKEN_TYPE);
    let refresh_token = section.get_or_default(response::REFRESH_TOKEN);
    let scope = section.get_or_default(response::SCOPE);
    let refresh_token_expires =
        expiry(&section, response::REFRESH_TOKEN_EXPIRES, &Pointer::member(response::REFRESH_TOKEN.default));
    let form = ResponseForm {
        format,
        token_type,
        refresh_token,
        scope,
        expires,
        refresh_token_expires: section.keep(refresh_token_expires).flatten(),
        error: section.get_or_default(response::ERROR),
        error_description: section.get_or_default(response::ERROR_DESCRIPTION),
        access_token,
    };
    section.finish(form)
}

/// An expiry; of a JWT it is at the token itself unless another place is named.
fn expiry(of: &Fields<'_>, field: Field<Section>, token: &Pointer) -> Result<Option<Expiry>, Faults> {
    let Some(mut section) = of.optional_section(field)? else { return Ok(None) };
    let form = section.choice_or_default(&EXPIRY_FORMS);
    let path = section.get(expiry::PATH);
    let has_default = field.name == response::EXPIRES.name || matches!(form, ExpiryForm::JwtExp | ExpiryForm::None);
    if !has_default {
        section.required(expiry::PATH);
    }
    let path = path.unwrap_or_else(|| match form {
        ExpiryForm::JwtExp => token.clone(),
        _ => Pointer::member("expires_in"),
    });
    section.finish(Some(Expiry { path, form }))
}

/// `errors`: which answers are which errors.
pub(super) fn error_rules(of: &Fields<'_>) -> Result<Vec<ErrorRule>, Faults> {
    let mut fields = of.part();
    let mut rules = Vec::new();
    for section in fields.sections(definition::ERRORS) {
        rules.extend(fields.keep(error_rule(section)));
    }
    fields.finish(rules)
}

fn error_rule(mut rule: Fields<'_>) -> Result<ErrorRule, Faults> {
    let status = rule.status_codes();
    let header = rule.get(error_rule::HEADER).map(|name| Evidence::Header(name.to_ascii_lowercase()));
    let path = rule.get(error_rule::PATH).map(Evidence::Path);
    let has_evidence = rule.has(error_rule::HEADER) || rule.has(error_rule::PATH);
    if rule.has(error_rule::HEADER) && rule.has(error_rule::PATH) {
        rule.fault(error_rule::PATH, "contradicts `header`: a rule looks at one of them");
    }
    let test = match (rule.wanted_texts(), rule.pattern()) {
        (Some(_), Some(_)) => {
            rule.fault(error_rule::MATCHES, "contradicts `equals`: give one");
            None
        }
        (Some(texts), None) => Some(Test::Equals(texts)),
        (None, Some(pattern)) => Some(Test::Matches(pattern)),
        (None, None) => None,
    };
    if test.is_some() && !has_evidence {
        rule.fault(error_rule::PATH, "is required (or `header`): where to look");
    }
    if !rule.has(error_rule::STATUS) && !has_evidence {
        rule.fault(
            error_rule::STATUS,
            "is required (or `header`, or `path`): a rule without conditions would match everything",
        );
    }
    let error = rule.choice(&CONFIGURATION_CODES);
    rule.required(error_rule::CLASS);
    // A rule without a class has no code and no wait that could be judged.
    let Some(class) = rule.choice(&ERROR_CLASSES) else { return rule.finish_some(None) };
    if rule.has(error_rule::ERROR) && !matches!(class, ErrorClass::Configuration(_)) {
        rule.fault(error_rule::ERROR, "is for the class configuration: the others have codes of their own");
    }
    let retry_after = rule.get(error_rule::RETRY_AFTER);
    if rule.has(error_rule::RETRY_AFTER) && !matches!(class, ErrorClass::Throttled | ErrorClass::Transient) {
        rule.fault(error_rule::RETRY_AFTER, "is for the classes throttled and transient");
    }
    let class = if matches!(class, ErrorClass::Configuration(_)) { ErrorClass::Configuration(error) } else { class };
    let finding = header.or(path).map(|evidence| (evidence, test.unwrap_or(Test::Present)));
    rule.finish(ErrorRule { status, finding, class, retry_after })
}

/// `refresh`: the rules of refreshing.
pub(super) fn refresh_rules(of: &Fields<'_>) -> Result<RefreshRules, Faults> {
    let mut section = of.section(definition::REFRESH);
    let rules = RefreshRules {
        rotates: section.get(refresh::ROTATES),
        repeat_within: section.get(refresh::REPEAT_WITHIN),
        minimum_age: section.get(refresh::MINIMUM_AGE),
        fixed_lifetime: section.get_or_default(refresh::FIXED_LIFETIME),
    };
    // Whoever connects needs it; here it is only checked.
    section.get(refresh::NONE);
    if rules.rotates == Some(false) && rules.repeat_within.is_some() {
        section
            .fault(refresh::REPEAT_WITHIN, "contradicts `rotates`: what is not used up may be sent again at any time");
    }
    section.finish(rules)
}

/// The conditions of an error rule.
impl Fields<'_> {
    fn status_codes(&mut self) -> Vec<u16> {
        let values = match self.mixed(error_rule::STATUS) {
            None => return Vec::new(),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        let codes: Option<Vec<u16>> = values
            .iter()
            .map(|value| {
                value.as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| (100..600).contains(code))
            })
            .collect();
        let codes = codes.filter(|codes| !codes.is_empty());
        if codes.is_none() {
            self.fault(error_rule::STATUS, "must be a status code such as 400, or a list of them");
        }
        codes.unwrap_or_default()
    }

    /// `equals`: scalars, as text.
    fn wanted_texts(&mut self) -> Option<Vec<String>> {
        let values = match self.mixed(error_rule::EQUALS)? {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        let texts: Option<Vec<String>> = values.iter().map(dialect::scalar_text).collect();
        let texts = texts.filter(|texts| !texts.is_empty());
        if texts.is_none() {
            self.fault(error_rule::EQUALS, "must be a string, number or boolean, or a list of them");
        }
        texts
    }

    fn pattern(&mut self) -> Option<Regex> {
        let pattern = self.get(error_rule::MATCHES)?;
        let compiled = Regex::new(&pattern).ok();
        if compiled.is_none() {
            self.fault(error_rule::MATCHES, "must be a regular expression");
        }
        compiled
    }
}
