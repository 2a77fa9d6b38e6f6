//! The authorization request that a browser is sent with (RFC 6749 section 4.1.1), its proof key (RFC 7636), and the
//! callback that comes back.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use url::{Url, form_urlencoded};

pub use crate::domain::provider::connecting::{AuthorizeForm, Pkce};
use crate::domain::redact;

/// Bytes of a callback's query that are read. A code may be long, but a browser's address seldom is longer than this.
const LONGEST_QUERY_BYTES: usize = 16 * 1024;

/// The secret half of a proof key: 43 characters from 32 random bytes (RFC 7636 section 4.1).
#[derive(Debug, Clone)]
pub struct Verifier(SecretString);

impl Verifier {
    /// `handle`: 256 random bits in base64url, used for nothing else.
    pub fn new(handle: SecretString) -> Self {
        Self(handle)
    }

    /// What the token request shows.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    /// What the authorization request shows; `None`: no proof key is sent.
    pub fn challenge(&self, pkce: Pkce) -> Option<String> {
        let verifier = self.0.expose_secret().as_bytes();
        match pkce {
            Pkce::Off => None,
            Pkce::Hex => Some(redact::sha256_hex(verifier)),
            Pkce::Optional | Pkce::Required => {
                let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier);
                Some(BASE64_URL_SAFE_NO_PAD.encode(digest))
            }
        }
    }
}

/// What a browser is sent to the provider with.
#[derive(Debug, Clone, Copy)]
pub struct AuthorizationRequest<'a> {
    /// The authorization endpoint, which may have a query of its own.
    pub endpoint: &'a Url,
    /// The client.
    pub client_id: &'a str,
    /// Where the provider sends the browser back; the token request repeats it to the letter.
    pub redirect_uri: &'a str,
    /// Space-delimited; `None`: none is asked for.
    pub scope: Option<&'a str>,
    /// The flow's handle. It says nothing of what it stands for.
    pub state: &'a SecretString,
    /// The flow's proof key.
    pub verifier: &'a Verifier,
    /// How the provider wants it.
    pub form: &'a AuthorizeForm,
}

impl AuthorizationRequest<'_> {
    /// The address to send the browser to. It holds the state.
    pub fn url(&self) -> Url {
        let mut parameters: Vec<(&str, &str)> = vec![("response_type", "code"), ("client_id", self.client_id)];
        parameters.push(("redirect_uri", self.redirect_uri));
        let scope = self.scope.map(|scope| scope.replace(' ', &self.form.scope_delimiter));
        if let Some(scope) = scope.as_deref() {
            parameters.push(("scope", scope));
        }
        parameters.push(("state", self.state.expose_secret()));
        let challenge = self.verifier.challenge(self.form.pkce);
        if let Some(challenge) = challenge.as_deref() {
            parameters.extend([("code_challenge", challenge), ("code_challenge_method", "S256")]);
        }
        let mut query = form_urlencoded::Serializer::new(self.endpoint.query().unwrap_or_default().to_owned());
        for (name, value) in parameters {
            let name = self.form.rename.get(name).map_or(name, String::as_str);
            if !name.is_empty() {
                query.append_pair(name, value);
            }
        }
        for (name, value) in &self.form.params {
            query.append_pair(name, value);
        }
        let mut url = self.endpoint.clone();
        url.set_query(Some(&query.finish()));
        url
    }
}

/// What the provider sent the browser back with.
#[derive(Clone)]
pub struct Callback {
    /// The flow's handle, as it came.
    pub state: SecretString,
    /// `iss` (RFC 9207 section 2).
    pub issuer: Option<String>,
    /// What the provider decided.
    pub answer: CallbackAnswer,
    /// Every other parameter.
    pub further: BTreeMap<String, String>,
}

/// What the provider decided.
#[derive(Clone)]
pub enum CallbackAnswer {
    /// The code to exchange (RFC 6749 section 4.1.2).
    Code(SecretString),
    /// It refused (section 4.1.2.1): `error`, and `error_description`. A code beside it counts for nothing.
    Error {
        /// The error's code.
        error: String,
        /// Words for people.
        description: Option<String>,
    },
}

/// Why a callback can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackFault {
    /// There is no `state`.
    #[error("the callback has no `state`")]
    NoState,
    /// There is neither `code` nor `error`.
    #[error("the callback has neither `code` nor `error`")]
    NoAnswer,
    /// RFC 6749 section 3.1: parameters must not be repeated. Of two, somebody may have added one.
    #[error("the callback has a parameter twice")]
    Repeated,
    /// More than anybody sends.
    #[error("the callback's query is too long")]
    TooLong,
}

impl Callback {
    /// Reads a raw query. API Gateway's own reading of it joins repeated parameters, so it is not used.
    pub fn parse(query: &str, form: &AuthorizeForm) -> Result<Self, CallbackFault> {
        if query.len() > LONGEST_QUERY_BYTES {
            return Err(CallbackFault::TooLong);
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(CallbackFault::Repeated);
            }
        }
        let name = |usual: &'static str| form.rename.get(usual).map_or(usual, String::as_str);
        let mut take = |name: &str| parameters.remove(name).filter(|value| !value.is_empty());
        let state = take(name("state")).ok_or(CallbackFault::NoState)?;
        let (code, error) = (take(name("code")), take("error"));
        let description = take("error_description");
        let issuer = take("iss");
        let answer = match (error, code) {
            (Some(error), _) => CallbackAnswer::Error { error, description },
            (None, Some(code)) => {
                let cut = form.cut.as_deref().and_then(|cut| code.strip_suffix(cut));
                CallbackAnswer::Code(SecretString::from(cut.unwrap_or(&code)))
            }
            (None, None) => return Err(CallbackFault::NoAnswer),
        };
        Ok(Self { state: SecretString::from(state), issuer, answer, further: parameters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    fn url(form: &AuthorizeForm, endpoint: &str, scope: Option<&str>) -> String {
        // The verifier and challenge of RFC 7636 appendix B.
        let verifier = Verifier::new(secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        let request = AuthorizationRequest {
            endpoint: &endpoint.parse().expect("a URL"),
            client_id: "acme app",
            redirect_uri: "https://connect.example.com/callback/crm",
            scope,
            state: &secret("STATE"),
            verifier: &verifier,
            form,
        };
        request.url().to_string()
    }

    fn parse(query: &str) -> Result<Callback, CallbackFault> {
        Callback::parse(query, &AuthorizeForm::default())
    }

    fn code(callback: &Callback) -> Option<&str> {
        match &callback.answer {
            CallbackAnswer::Code(code) => Some(code.expose_secret()),
            CallbackAnswer::Error { .. } => None,
        }
    }

    #[test]
    fn rfc6749_4_1_1_and_rfc7636_4_3_the_request_to_the_letter() {
        assert_eq!(
            url(&AuthorizeForm::default(), "https://as.example.com/authorize", Some("read write")),
            "https://as.example.com/authorize?response_type=code&client_id=acme+app&redirect_uri=https%3A%2F%2Fconnect.\
             example.com%2Fcallback%2Fcrm&scope=read+write&state=STATE&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJS\
             stw-cM&code_challenge_method=S256"
        );
    }

    #[test]
    fn a_provider_renames_delimits_adds_and_does_without() {
        let form = AuthorizeForm {
            pkce: Pkce::Off,
            params: vec![("prompt".to_owned(), "consent".to_owned())],
            rename: BTreeMap::from([("client_id".to_owned(), "client_key".to_owned())]),
            scope_delimiter: ",".to_owned(),
            ..AuthorizeForm::default()
        };
        assert_eq!(
            url(&form, "https://as.example.com/authorize?v=2", Some("a b")),
            "https://as.example.com/authorize?v=2&response_type=code&client_key=acme+app&redirect_uri=https%3A%2F%2Fconnect.\
             example.com%2Fcallback%2Fcrm&scope=a%2Cb&state=STATE&prompt=consent"
        );
        let hex = AuthorizeForm { pkce: Pkce::Hex, ..AuthorizeForm::default() };
        assert!(url(&hex, "https://as.example.com/authorize", None).ends_with(
            "&state=STATE&code_challenge=13d31e961a1ad8ec2f16b10c4c982e0876a878ad6df144566ee1894acb70f9c3\
                 &code_challenge_method=S256"
        ));
    }

    #[test]
    fn a_parameter_that_is_renamed_to_nothing_is_not_sent() {
        let rename = |name: &str, other: &str| (name.to_owned(), other.to_owned());
        let form = AuthorizeForm {
            pkce: Pkce::Off,
            rename: BTreeMap::from([rename("client_id", ""), rename("scope", ""), rename("code", "vendor_code")]),
            ..AuthorizeForm::default()
        };
        assert_eq!(
            url(&form, "https://as.example.com/authorize", Some("a b")),
            "https://as.example.com/authorize?response_type=code&redirect_uri=https%3A%2F%2Fconnect.example.com%2Fcallback\
             %2Fcrm&state=STATE"
        );
        let callback = Callback::parse("vendor_code=abc&state=S", &form).expect("a callback");
        assert_eq!(code(&callback), Some("abc"));
    }

    #[test]
    fn rfc6749_4_1_2_a_code_comes_back_with_its_state() {
        let callback = parse("code=a%2Bb&state=S&iss=https%3A%2F%2Fas.example.com&realmId=7").expect("a callback");
        assert_eq!((code(&callback), callback.state.expose_secret()), (Some("a+b"), "S"));
        assert_eq!(callback.issuer.as_deref(), Some("https://as.example.com"));
        assert_eq!(callback.further, BTreeMap::from([("realmId".to_owned(), "7".to_owned())]));
    }

    #[test]
    fn what_a_provider_appends_to_a_code_is_cut_off() {
        let form = AuthorizeForm { cut: Some("#_".to_owned()), ..AuthorizeForm::default() };
        for query in ["code=abc%23_&state=S", "code=abc&state=S"] {
            assert_eq!(code(&Callback::parse(query, &form).expect("a callback")), Some("abc"));
        }
    }

    #[test]
    fn rfc6749_4_1_2_1_an_error_counts_whatever_the_code_says() {
        let callback = parse("error=access_denied&error_description=No&code=c&state=S").expect("a callback");
        assert!(matches!(callback.answer, CallbackAnswer::Error { ref error, ref description }
            if error == "access_denied" && description.as_deref() == Some("No")));
    }

    #[test]
    fn rfc6749_3_1_a_repeated_parameter_is_refused() {
        for query in
            ["code=a&code=b&state=S", "state=S&code=a&state=S", "code=a&state=S&x=1&x=1", "code=a&c%6Fde=a&state=S"]
        {
            assert_eq!(parse(query).err(), Some(CallbackFault::Repeated), "{query}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(parse("code=a").err(), Some(CallbackFault::NoState));
        assert_eq!(parse("code=a&state=").err(), Some(CallbackFault::NoState));
        assert_eq!(parse("state=S&code=").err(), Some(CallbackFault::NoAnswer));
        assert_eq!(parse(&format!("state=S&code={}", "a".repeat(20_000))).err(), Some(CallbackFault::TooLong));
    }
}
