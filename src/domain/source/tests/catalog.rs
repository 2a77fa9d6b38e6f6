//! The secrets of one reading and the sources in them.

use secrecy::SecretString;
use serde_json::json;

use super::{minimal, with};
use crate::domain::source::{Catalog, PlainHttp, Secret};

fn catalog(secrets: &[(&str, String)]) -> Catalog {
    Catalog::new(
        secrets
            .iter()
            .map(|(name, text)| Secret { name: (*name).to_owned(), content: Ok(SecretString::from(text.clone())) })
            .collect(),
        PlainHttp::Refused,
    )
}

/// Each name with `ok`, or the message of its fault.
fn entries(catalog: &Catalog) -> Vec<(&str, &str)> {
    catalog
        .iter()
        .map(|(name, entry)| (name, entry.as_ref().map_or_else(|error| error.message.as_str(), |_| "ok")))
        .collect()
}

#[test]
fn a_secret_holds_one_definition_or_several() {
    let packed = json!({"sources": {"b": minimal(), "c": minimal()}}).to_string();
    let catalog = catalog(&[("a", minimal().to_string()), ("Team/Packed", packed)]);
    assert_eq!(entries(&catalog), [("a", "ok"), ("b", "ok"), ("c", "ok")]);
}

#[test]
fn a_bad_definition_fails_alone() {
    let packed = json!({"sources": {"bad": {"client_id": 5}, "Bad Name": minimal(), "": minimal(), "good": minimal()}})
        .to_string();
    let catalog = catalog(&[("pack", packed), ("broken", "{".to_owned())]);
    let entries = entries(&catalog);
    assert_eq!(
        entries.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["(no name)", "Bad Name", "bad", "broken", "good"]
    );
    assert_eq!(entries[4].1, "ok");
    assert!(entries[0].1.starts_with("a source's name must be"), "{}", entries[0].1);
}

#[test]
fn a_name_defined_twice_is_a_fault_wherever_it_stands() {
    let twice = format!(r#"{{"sources": {{"a": {0}, "a": {0}, "b": {0}}}}}"#, minimal());
    let catalog = catalog(&[("pack", twice), ("b", minimal().to_string())]);
    assert_eq!(
        entries(&catalog),
        [("a", "defined twice in the secret `pack`"), ("b", "defined twice: in the secrets `pack` and `b`")]
    );
}

#[test]
fn what_stands_beside_packed_sources_is_a_fault_of_the_secret_alone() {
    let packed = json!({"sources": {"a": minimal()}, "client_id": "c"}).to_string();
    assert_eq!(
        entries(&catalog(&[("pack", packed)])),
        [("a", "ok"), ("pack", "`client_id` can't stand beside `sources`")]
    );
    let no_object = catalog(&[("pack", r#"{"sources": ["a"]}"#.to_owned())]);
    assert_eq!(entries(&no_object), [("pack", "`sources` must be an object of names and definitions")]);
}

#[test]
fn packed_sources_given_twice_are_a_fault_of_the_secret_and_no_source_vanishes() {
    let twice = format!(r#"{{"sources": {{"a": {0}}}, "sources": {{"b": {0}, "a": {0}}}, "x": 1}}"#, minimal());
    assert_eq!(
        entries(&catalog(&[("pack", twice)])),
        [
            ("a", "defined twice in the secret `pack`"),
            ("b", "ok"),
            ("pack", "`sources` is given twice; `x` can't stand beside `sources`"),
        ]
    );
    let nested = json!({"sources": {"a": minimal(), "b": {}}}).to_string();
    let nested = nested.replace("{}", &minimal().to_string().replacen('{', r#"{"params": {"p": "1", "p": "2"},"#, 1));
    assert_eq!(
        entries(&catalog(&[("pack", nested)])),
        [("a", "ok"), ("b", "`params.p` is given twice")],
        "one source's trouble is its own"
    );
}

#[test]
fn a_disabled_source_is_known_but_left_out() {
    let catalog = catalog(&[("a", with(&json!({"enabled": false})))]);
    assert!(entries(&catalog).is_empty());
    assert!(catalog.is_disabled("a"));
}
