//! Built-in providers, as data: the defaults that a definition with `provider` starts from.

use std::collections::BTreeMap;

use url::Url;

/// How a token request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestMethod {
    /// Parameters in a form body (RFC 6749 section 3.2).
    Post,
    /// Parameters in the query, for the few that want it so.
    Get,
}

/// What is known about one provider's token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provider {
    /// As written in a definition.
    pub name: &'static str,
    /// With placeholders such as `{domain}`, which a definition's `variables` fill.
    pub token_endpoint: &'static str,
    /// How requests are sent.
    pub method: RequestMethod,
    /// Default of `token_endpoint_auth_method`.
    pub token_endpoint_auth_method: &'static str,
    /// Default of `grant_type`; `None`: as for any definition.
    pub grant_type: Option<&'static str>,
}

/// All built-in providers, by name.
pub const PROVIDERS: [Provider; 3] = [
    // https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html
    Provider {
        name: "cognito",
        token_endpoint: "https://{domain}/oauth2/token",
        method: RequestMethod::Post,
        token_endpoint_auth_method: "client_secret_basic",
        grant_type: None,
    },
    // https://learn.microsoft.com/en-us/linkedin/shared/authentication/programmatic-refresh-tokens
    Provider {
        name: "linkedin",
        token_endpoint: "https://www.linkedin.com/oauth/v2/accessToken",
        method: RequestMethod::Post,
        token_endpoint_auth_method: "client_secret_post",
        grant_type: None,
    },
    // https://api.nsw.gov.au, "Security API"
    Provider {
        name: "onegov-nsw",
        token_endpoint: "https://api.onegov.nsw.gov.au/oauth/client_credential/accesstoken",
        method: RequestMethod::Get,
        token_endpoint_auth_method: "client_secret_basic",
        grant_type: Some("client_credentials"),
    },
];

/// The provider of that name.
pub fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

impl Provider {
    /// The token endpoint with its placeholders filled.
    ///
    /// `base_url` replaces scheme, host and port; a path in it goes before the endpoint's own, and
    /// placeholders in the replaced part then need no value. The error names what is missing or too much.
    pub fn resolve_token_endpoint(
        &self,
        variables: &BTreeMap<String, String>,
        base_url: Option<&Url>,
    ) -> Result<String, String> {
        let mut template = self.token_endpoint.to_owned();
        if let Some(base_url) = base_url {
            let origin_end = template.find("://").map_or(0, |scheme_end| {
                let host = scheme_end + "://".len();
                template[host..].find('/').map_or(template.len(), |path| host + path)
            });
            template.replace_range(..origin_end, base_url.as_str().trim_end_matches('/'));
        }
        if let Some(unknown) = variables.keys().find(|name| !self.token_endpoint.contains(&format!("{{{name}}}"))) {
            return Err(format!("`{}` has no placeholder {{{unknown}}}", self.name));
        }
        for (name, value) in variables {
            template = template.replace(&format!("{{{name}}}"), value);
        }
        match template.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
            Some((missing, _)) => Err(format!("`{}` needs `{missing}`", self.name)),
            None => Ok(template),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(name: &str, variables: &[(&str, &str)], base_url: Option<&str>) -> Result<String, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let base_url = base_url.map(|url| url.parse().expect("a URL"));
        find(name).expect("a provider").resolve_token_endpoint(&variables, base_url.as_ref())
    }

    #[test]
    fn variables_fill_placeholders() {
        assert_eq!(
            resolve("cognito", &[("domain", "acme.auth.eu-west-1.amazoncognito.com")], None).as_deref(),
            Ok("https://acme.auth.eu-west-1.amazoncognito.com/oauth2/token")
        );
    }

    #[test]
    fn a_missing_and_an_unknown_variable_are_named() {
        assert_eq!(resolve("cognito", &[], None), Err("`cognito` needs `domain`".into()));
        assert_eq!(
            resolve("cognito", &[("domain", "a"), ("domian", "b")], None),
            Err("`cognito` has no placeholder {domian}".into())
        );
    }

    #[test]
    fn a_base_url_replaces_the_origin_and_prefixes_its_path() {
        assert_eq!(
            resolve("cognito", &[], Some("http://127.0.0.1:9000/proxy/")).as_deref(),
            Ok("http://127.0.0.1:9000/proxy/oauth2/token")
        );
        assert_eq!(
            resolve("linkedin", &[], Some("https://proxy.example.com")).as_deref(),
            Ok("https://proxy.example.com/oauth/v2/accessToken")
        );
    }

    #[test]
    fn every_provider_is_found_and_lists_are_sorted() {
        assert!(PROVIDERS.is_sorted_by_key(|provider| provider.name));
        assert!(PROVIDERS.iter().all(|provider| find(provider.name) == Some(provider)));
    }
}
