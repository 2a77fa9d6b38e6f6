//! Configuration from the environment, all faults at once.

#[cfg(feature = "connect")]
mod gateway;

use std::fmt;

use chrono::TimeDelta;
use secrecy::SecretString;
use tracing::Level;
use url::Url;

use crate::app::harvest::Settings;
use crate::aws::{self, AccessKey};
use crate::domain::duration;
use crate::domain::source::PlainHttp;

#[cfg(feature = "connect")]
pub use self::gateway::GatewayConfig;

/// What the function is told by its environment. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Config {
    /// `ENVIRONMENT`: names the deployment in messages and logs.
    pub environment: String,
    /// `RUNBOOK_URL`: the page that mails link to; its anchors are error codes.
    pub runbook_url: String,
    /// `SCHEDULE_INTERVAL`: the longest time between two runs.
    pub schedule_interval: TimeDelta,
    /// `MAX_CONCURRENCY`: sources worked on at once.
    pub max_concurrency: usize,
    /// `ALLOW_LOOPBACK_HTTP`: where definitions may call plain `http`.
    pub plain_http: PlainHttp,
    /// `SSL_CERT_FILE`: PEM file of further trusted roots.
    pub ssl_cert_file: Option<String>,
    /// Buckets, keys, topic and prefix, and what Lambda itself sets.
    pub aws: aws::Settings,
}

/// Everything that is missing or malformed, each with its variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment is not usable: {}", self.0.join("; "))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads every variable through `lookup`. An empty variable counts as unset.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut variables = Variables { lookup, faults: Vec::new() };
        let config = Self::of(&mut variables);
        variables.finish(config)
    }

    /// What is wrong is noted with the variables.
    fn of(variables: &mut Variables<impl Fn(&str) -> Option<String>>) -> Self {
        Self {
            aws: variables.aws(),
            environment: variables
                .optional("ENVIRONMENT", is_environment, "1 to 32 letters, digits, `.`, `_` and `-`")
                .unwrap_or_else(|| "dev".to_owned()),
            runbook_url: variables
                .optional("RUNBOOK_URL", is_http_url, "a URL such as https://wiki.example.com/token-harvester")
                .unwrap_or_else(|| "docs/runbook.md".to_owned()),
            schedule_interval: variables
                .parsed("SCHEDULE_INTERVAL", parse_interval, "a duration such as 15m (1m to 366d)")
                .unwrap_or(TimeDelta::minutes(15)),
            max_concurrency: variables
                .parsed("MAX_CONCURRENCY", parse_concurrency, "a whole number from 1 to 1000")
                .unwrap_or(32),
            plain_http: variables.parsed("ALLOW_LOOPBACK_HTTP", parse_plain_http, "1 or 0").unwrap_or_default(),
            ssl_cert_file: variables.get("SSL_CERT_FILE"),
        }
    }

    /// What a harvester needs to know of it.
    pub fn settings(&self) -> Settings {
        Settings {
            environment: self.environment.clone(),
            runbook_url: self.runbook_url.clone(),
            secret_prefix: self.aws.secret_prefix.clone(),
            schedule_interval: self.schedule_interval,
            max_concurrency: self.max_concurrency,
            plain_http: self.plain_http,
        }
    }
}

/// How much is logged: `AWS_LAMBDA_LOG_LEVEL`, which Lambda's advanced logging controls set.
pub fn log_level(lookup: impl Fn(&str) -> Option<String>) -> Level {
    lookup("AWS_LAMBDA_LOG_LEVEL").and_then(|level| level.parse().ok()).unwrap_or(Level::INFO)
}

const BUCKET_FORM: &str = "a bucket's name (3 to 63 of a-z, 0-9, `.` and `-`)";
const TOPIC_ARN_FORM: &str =
    "the ARN of a standard topic such as arn:aws:sns:eu-central-1:123456789012:token-harvester";
const SET_BY_LAMBDA: &str = "Lambda sets it";
const KMS_KEY_FORM: &str = "a KMS key's id, ARN or alias";

/// Variables read through a function, and what is wrong with them.
struct Variables<F> {
    lookup: F,
    faults: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    /// What was read, if nothing was wrong.
    fn finish<T>(mut self, read: T) -> Result<T, ConfigError> {
        self.faults.dedup();
        if self.faults.is_empty() { Ok(read) } else { Err(ConfigError(self.faults)) }
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    fn parsed<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>, form: &str) -> Option<T> {
        let value = self.get(name)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.faults.push(format!("{name} must be {form}"));
        }
        parsed
    }

    fn optional(&mut self, name: &str, is_valid: fn(&str) -> bool, form: &str) -> Option<String> {
        self.parsed(name, |value| is_valid(value).then(|| value.to_owned()), form)
    }

    /// An empty string stands in for what is missing, beside the fault.
    fn required(&mut self, name: &str, is_valid: fn(&str) -> bool, form: &str) -> String {
        if self.get(name).is_none() {
            self.faults.push(format!("{name} is missing: {form}"));
        }
        self.optional(name, is_valid, form).unwrap_or_default()
    }

    fn aws(&mut self) -> aws::Settings {
        let topic_arn = self.required("TOPIC_ARN", is_topic_arn, TOPIC_ARN_FORM);
        aws::Settings {
            token_bucket: self.required("TOKEN_BUCKET", is_bucket, BUCKET_FORM),
            state_bucket: self.required("STATE_BUCKET", is_bucket, BUCKET_FORM),
            secret_prefix: self
                .optional("SECRET_PREFIX", is_secret_name, "letters, digits and any of /_+=.@-")
                .unwrap_or_else(|| "token-harvester/".to_owned()),
            token_kms_key_id: self.optional("TOKEN_KMS_KEY_ID", is_kms_key, KMS_KEY_FORM),
            state_kms_key_id: self.optional("STATE_KMS_KEY_ID", is_kms_key, KMS_KEY_FORM),
            region: self
                .get("AWS_REGION")
                .or_else(|| self.get("AWS_DEFAULT_REGION"))
                .or_else(|| topic_arn.split(':').nth(3).map(str::to_owned))
                .unwrap_or_default(),
            access_key: self.access_key(),
            secrets_manager_url: self.endpoint_url("AWS_ENDPOINT_URL_SECRETS_MANAGER"),
            s3_url: self.endpoint_url("AWS_ENDPOINT_URL_S3"),
            sns_url: self.endpoint_url("AWS_ENDPOINT_URL_SNS"),
            topic_arn,
        }
    }

    fn access_key(&mut self) -> AccessKey {
        AccessKey {
            id: self.required("AWS_ACCESS_KEY_ID", |_| true, SET_BY_LAMBDA),
            secret: self.required("AWS_SECRET_ACCESS_KEY", |_| true, SET_BY_LAMBDA).into(),
            session_token: self.get("AWS_SESSION_TOKEN").map(SecretString::from),
        }
    }

    /// One service's endpoint, else the one for all services.
    /// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>
    fn endpoint_url(&mut self, service: &str) -> Option<String> {
        let name = if self.get(service).is_some() { service } else { "AWS_ENDPOINT_URL" };
        self.optional(name, is_http_url, "a URL such as http://127.0.0.1:5000")
    }
}

fn is_http_url(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn is_bucket(name: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| edge(byte) || b".-".contains(&byte))
        && name.bytes().next().is_some_and(edge)
        && name.bytes().last().is_some_and(edge)
}

/// A FIFO topic is refused: messages of different sources have no order, and e-mail can't subscribe to one.
fn is_topic_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.split(':').collect();
    let [prefix, partition, service, region, account, name] = parts[..] else { return false };
    let word =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    prefix == "arn"
        && partition.starts_with("aws")
        && service == "sns"
        && word(region)
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && word(name)
}

fn is_secret_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte))
}

fn is_environment(name: &str) -> bool {
    name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_kms_key(key: &str) -> bool {
    key.len() <= 2_048 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/_-".contains(&byte))
}

/// A minute at least, which is the shortest that EventBridge Scheduler knows.
fn parse_interval(text: &str) -> Option<TimeDelta> {
    duration::parse(text).ok().filter(|interval| *interval >= TimeDelta::minutes(1))
}

fn parse_plain_http(text: &str) -> Option<PlainHttp> {
    match text {
        "0" => Some(PlainHttp::Refused),
        "1" => Some(PlainHttp::OnLoopback),
        _ => None,
    }
}

fn parse_concurrency(text: &str) -> Option<usize> {
    text.parse().ok().filter(|count| (1..=1_000).contains(count))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Config::read(|name| variables.get(name).map(|value| (*value).to_owned())).map_err(|error| error.to_string())
    }

    const REQUIRED: [(&str, &str); 5] = [
        ("TOKEN_BUCKET", "acme-tokens"),
        ("STATE_BUCKET", "acme-state"),
        ("TOPIC_ARN", "arn:aws:sns:eu-central-1:123456789012:token-harvester"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];

    fn read_with(variables: &[(&str, &str)]) -> Result<Config, String> {
        read(&[&REQUIRED, variables].concat())
    }

    #[test]
    fn the_required_variables_suffice() {
        let config = read_with(&[]).expect("a configuration");
        assert_eq!(config.aws.secret_prefix, "token-harvester/");
        assert_eq!(config.environment, "dev");
        assert_eq!(config.schedule_interval, TimeDelta::minutes(15));
        assert_eq!(config.max_concurrency, 32);
        assert_eq!((config.aws.token_kms_key_id, config.aws.state_kms_key_id), (None, None));
        assert_eq!(config.aws.region, "eu-central-1");
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let error = read(&[
            ("TOKEN_BUCKET", "Upper_Case"),
            ("STATE_BUCKET", ""),
            ("ENVIRONMENT", "prod\nINFO"),
            ("SCHEDULE_INTERVAL", "15"),
            ("MAX_CONCURRENCY", "0"),
            ("TOKEN_KMS_KEY_ID", "no key"),
            ("ALLOW_LOOPBACK_HTTP", "yes"),
        ])
        .expect_err("faults");
        for variable in [
            "TOPIC_ARN is missing",
            "AWS_ACCESS_KEY_ID is missing",
            "TOKEN_BUCKET must be",
            "STATE_BUCKET is missing",
            "ENVIRONMENT must be",
            "SCHEDULE_INTERVAL must be",
            "MAX_CONCURRENCY must be",
            "TOKEN_KMS_KEY_ID must be",
            "ALLOW_LOOPBACK_HTTP must be 1 or 0",
        ] {
            assert!(error.contains(variable), "{variable} in {error}");
        }
        assert!(!error.contains("Upper_Case"), "{error}");
    }

    #[test]
    fn an_empty_optional_variable_counts_as_unset() {
        let config = read_with(&[("TOKEN_KMS_KEY_ID", ""), ("SECRET_PREFIX", ""), ("SCHEDULE_INTERVAL", "")])
            .expect("a configuration");
        assert_eq!(config.aws.token_kms_key_id, None);
        assert_eq!(config.aws.secret_prefix, "token-harvester/");
    }

    #[test]
    fn plain_http_is_refused_unless_it_is_asked_for() {
        for (value, expected) in [("", PlainHttp::Refused), ("0", PlainHttp::Refused), ("1", PlainHttp::OnLoopback)] {
            let config = read_with(&[("ALLOW_LOOPBACK_HTTP", value)]).expect("a configuration");
            assert_eq!((config.plain_http, config.settings().plain_http), (expected, expected), "{value}");
        }
        assert_eq!(read_with(&[]).expect("a configuration").plain_http, PlainHttp::Refused);
    }

    #[test]
    fn a_fifo_topic_is_refused() {
        for arn in [
            "arn:aws:sns:eu-central-1:123456789012:topic.fifo",
            "arn:aws:sqs:eu-central-1:123456789012:queue",
            "token-harvester",
            "arn:aws:sns:eu-central-1:1234:topic",
        ] {
            assert!(read_with(&[("TOPIC_ARN", arn)]).is_err(), "{arn}");
        }
        assert!(read_with(&[("TOPIC_ARN", "arn:aws-cn:sns:cn-north-1:123456789012:topic")]).is_ok());
    }

    #[test]
    fn the_log_level_is_lambdas() {
        let level = |value: Option<&str>| log_level(|_| value.map(str::to_owned));
        assert_eq!(level(None), Level::INFO);
        assert_eq!(level(Some("DEBUG")), Level::DEBUG);
        assert_eq!(level(Some("FATAL")), Level::INFO);
    }
}
