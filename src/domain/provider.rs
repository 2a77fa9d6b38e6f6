//! Built-in providers, declared in `src/providers`: what a definition with `provider` starts from.

pub mod connecting;
pub mod dialect;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::Url;

/// The provider that brings nothing: the definition declares it all.
pub const CUSTOM: &str = "custom";

/// Names and declarations (JSON) of all built-in providers, by name.
const DECLARATIONS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/providers.rs"));

/// Names of all built-in providers, by name, each with what people call it.
const TITLES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/titles.rs"));

/// The members of a declaration, as `docs/declarations.md` describes them.
pub type Declaration = Map<String, Value>;

/// The names of all built-in providers, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    DECLARATIONS.iter().map(|(name, _)| *name)
}

/// What people call the provider of that name; `None`: it is none of the built-in ones.
pub fn title(name: &str) -> Option<&'static str> {
    TITLES.iter().find(|(known, _)| *known == name).map(|(_, title)| *title)
}

/// The declaration of that name; that of [`CUSTOM`] is empty.
#[expect(clippy::missing_panics_doc, reason = "what is embedded was written by a JSON serializer")]
pub fn find(name: &str) -> Option<Declaration> {
    if name == CUSTOM {
        return Some(Declaration::new());
    }
    let (_, json) = DECLARATIONS.iter().find(|(known, _)| *known == name)?;
    #[expect(clippy::expect_used, reason = "see above")]
    Some(serde_json::from_str(json).expect("an embedded declaration is JSON"))
}

/// Lays one object over another: members that are objects are merged, `null` removes, everything else replaces
/// (RFC 7396, JSON Merge Patch).
pub fn overlay(under: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (name, value) in over {
        match value {
            Value::Null => {
                under.remove(name);
            }
            Value::Object(over) => {
                let member = under.entry(name.as_str()).or_insert_with(|| Value::Object(Map::new()));
                if !member.is_object() {
                    *member = Value::Object(Map::new());
                }
                if let Value::Object(under) = member {
                    overlay(under, over);
                }
            }
            other => {
                under.insert(name.clone(), other.clone());
            }
        }
    }
}

/// The placeholders of an endpoint, `{domain}`.
pub fn placeholders(endpoint: &str) -> impl Iterator<Item = &str> {
    endpoint.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}

/// An endpoint with its placeholders filled.
///
/// `base_url` replaces scheme, host and port; a path in it goes before the endpoint's own, and placeholders in the
/// replaced part then need no value. The error is the name of a placeholder without a value.
pub fn resolve_endpoint(
    endpoint: &str,
    variables: &BTreeMap<String, String>,
    base_url: Option<&Url>,
) -> Result<String, String> {
    let mut resolved = endpoint.to_owned();
    if let Some(base_url) = base_url {
        let origin_end = resolved.find("://").map_or(0, |scheme_end| {
            let host = scheme_end + "://".len();
            resolved[host..].find('/').map_or(resolved.len(), |path| host + path)
        });
        resolved.replace_range(..origin_end, base_url.as_str().trim_end_matches('/'));
    }
    for (name, value) in variables {
        resolved = resolved.replace(&format!("{{{name}}}"), value);
    }
    let missing = placeholders(&resolved).next().map(str::to_owned);
    missing.map_or(Ok(resolved), Err)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COGNITO: &str = "https://{domain}/oauth2/token";

    fn resolve(endpoint: &str, variables: &[(&str, &str)], base_url: Option<&str>) -> Result<String, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let base_url = base_url.map(|url| url.parse().expect("a URL"));
        resolve_endpoint(endpoint, &variables, base_url.as_ref())
    }

    #[test]
    fn variables_fill_placeholders() {
        assert_eq!(
            resolve(COGNITO, &[("domain", "acme.auth.eu-west-1.amazoncognito.com")], None).as_deref(),
            Ok("https://acme.auth.eu-west-1.amazoncognito.com/oauth2/token")
        );
        assert_eq!(resolve(COGNITO, &[], None), Err("domain".to_owned()));
        assert_eq!(placeholders("https://{host}/ccx/{tenant}/token").collect::<Vec<_>>(), ["host", "tenant"]);
    }

    #[test]
    fn a_base_url_replaces_the_origin_and_prefixes_its_path() {
        assert_eq!(
            resolve(COGNITO, &[], Some("http://127.0.0.1:9000/proxy/")).as_deref(),
            Ok("http://127.0.0.1:9000/proxy/oauth2/token")
        );
        assert_eq!(
            resolve("https://www.linkedin.com/oauth/v2/accessToken", &[], Some("https://proxy.example.com")).as_deref(),
            Ok("https://proxy.example.com/oauth/v2/accessToken")
        );
    }

    #[test]
    fn rfc7396_2_what_lies_over_is_merged_replaces_or_removes() {
        let object = |value: Value| if let Value::Object(members) = value { members } else { Map::new() };
        let mut under = object(json!({"a": {"b": 1, "c": [1, 2]}, "d": 5, "e": 6}));
        overlay(&mut under, &object(json!({"a": {"c": [3], "f": {"g": null, "h": 1}}, "d": {"i": 1}, "e": null})));
        assert_eq!(Value::Object(under), json!({"a": {"b": 1, "c": [3], "f": {"h": 1}}, "d": {"i": 1}}));
    }

    #[test]
    fn every_provider_is_found_by_its_name() {
        assert!(names().is_sorted() && names().count() > 0);
        assert!(names().all(|name| find(name).is_some_and(|declaration| !declaration.is_empty())));
        assert_eq!((find(CUSTOM), find("no-such-provider")), (Some(Declaration::new()), None));
        assert!(names().all(|name| title(name).is_some()));
        assert_eq!((title("microsoft-entra"), title(CUSTOM)), (Some("Microsoft Entra ID"), None));
    }
}
