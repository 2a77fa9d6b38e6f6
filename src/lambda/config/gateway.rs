//! What the gateway is told besides what a harvester is.

use url::Url;

use super::{Config, ConfigError, Variables};
use crate::app::connect::Settings;
use crate::domain::connect::ReturnUrls;
use crate::domain::source::{PlainHttp, parse_endpoint_url};
use crate::lambda::payload::ROUTES;

const PUBLIC_URL_FORM: &str = "an https:// URL without query and fragment, such as https://connect.example.com, whose \
                               path is left out, or a prefix of letters, digits, `-`, `_`, `.` and `~` that does not \
                               begin with one of the gateway's own (callback, connect, done, health, v1)";
const RETURN_URLS_FORM: &str = "https:// URLs without query and fragment, separated by commas, such as \
                                https://app.example.com/oauth";

/// The gateway's configuration.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// What it has in common with the harvester's.
    pub common: Config,
    /// `PUBLIC_URL`: where browsers and applications reach it. Its path is a prefix, without a slash at its end.
    pub public_url: Url,
    /// `RETURN_URLS`: where browsers may be sent in the end.
    pub return_urls: ReturnUrls,
}

impl GatewayConfig {
    /// Reads every variable through `lookup`. An empty variable counts as unset.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut variables = Variables { lookup, faults: Vec::new() };
        let common = Config::of(&mut variables);
        if variables.get("PUBLIC_URL").is_none() {
            variables.faults.push(format!("PUBLIC_URL is missing: {PUBLIC_URL_FORM}"));
        }
        let parse = |text: &str| parse_public_url(text, common.plain_http);
        let public_url = variables.parsed("PUBLIC_URL", parse, PUBLIC_URL_FORM);
        let return_urls = variables.parsed("RETURN_URLS", |text| ReturnUrls::parse(text).ok(), RETURN_URLS_FORM);
        let return_urls = return_urls.unwrap_or_default();
        let read = public_url.map(|public_url| Self { common, public_url, return_urls });
        variables.finish(read)?.ok_or_else(|| ConfigError(vec![format!("PUBLIC_URL must be {PUBLIC_URL_FORM}")]))
    }

    /// What a connector needs to know of it.
    pub fn settings(&self) -> Settings {
        Settings {
            environment: self.common.environment.clone(),
            public_url: self.public_url.clone(),
            return_urls: self.return_urls.clone(),
            schedule_interval: self.common.schedule_interval,
            plain_http: self.common.plain_http,
        }
    }
}

fn parse_public_url(text: &str, plain_http: PlainHttp) -> Option<Url> {
    let mut url = parse_endpoint_url(text, plain_http).ok().filter(|url| url.query().is_none())?;
    let prefix = url.path().trim_matches('/').to_owned();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let is_route = prefix.split('/').next().is_some_and(|first| ROUTES.contains(&first));
    if !prefix.bytes().all(is_plain) || prefix.contains("//") || is_route {
        return None;
    }
    url.set_path(&prefix);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(variables: &[(&str, &str)]) -> Result<GatewayConfig, String> {
        let required = [
            ("TOKEN_BUCKET", "acme-tokens"),
            ("STATE_BUCKET", "acme-state"),
            ("TOPIC_ARN", "arn:aws:sns:eu-central-1:123456789012:token-harvester"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        let lookup = |name: &str| {
            let known = variables.iter().chain(&required).find(|(known, _)| *known == name);
            known.map(|(_, value)| (*value).to_owned())
        };
        GatewayConfig::read(lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn a_prefix_is_kept_without_a_slash_at_its_end() {
        for (text, url, path) in [
            ("https://connect.example.com", "https://connect.example.com/", "/"),
            ("https://connect.example.com/", "https://connect.example.com/", "/"),
            ("https://example.com/oauth/", "https://example.com/oauth", "/oauth"),
            ("https://example.com:8443/a/b", "https://example.com:8443/a/b", "/a/b"),
        ] {
            let config = read_with(&[("PUBLIC_URL", text)]).expect("a configuration");
            assert_eq!((config.public_url.as_str(), config.settings().public_url.path()), (url, path));
        }
    }

    #[test]
    fn what_is_no_public_url_is_refused_by_the_variables_name() {
        for text in [
            "",
            "connect.example.com",
            "http://connect.example.com",
            "http://127.0.0.1:3000",
            "https://user@connect.example.com",
            "https://connect.example.com/?a=b",
            "https://connect.example.com/#a",
            "https://connect.example.com/connect",
            "https://connect.example.com/v1/x",
            "https://connect.example.com/a//b",
            "https://connect.example.com/a%20b",
        ] {
            let error = read_with(&[("PUBLIC_URL", text)]).expect_err(text);
            assert!(error.contains("PUBLIC_URL "), "{error}");
        }
    }

    #[test]
    fn plain_http_is_for_loopback_where_it_is_asked_for() {
        let allowed = ("ALLOW_LOOPBACK_HTTP", "1");
        assert!(read_with(&[allowed, ("PUBLIC_URL", "http://127.0.0.1:3000")]).is_ok());
        assert!(read_with(&[allowed, ("PUBLIC_URL", "http://connect.example.com")]).is_err());
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = [("RETURN_URLS", "ftp://x"), ("TOKEN_BUCKET", "Upper_Case"), ("ALLOW_LOOPBACK_HTTP", "yes")];
        let error = read_with(&faults).expect_err("faults");
        for fault in
            ["PUBLIC_URL is missing", "RETURN_URLS must be", "TOKEN_BUCKET must be", "ALLOW_LOOPBACK_HTTP must be"]
        {
            assert!(error.contains(fault), "{fault} in {error}");
        }
        assert!(!error.contains("ftp://x"), "{error}");
    }
}
