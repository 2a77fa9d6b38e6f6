//! The layout of both buckets: what is kept under which key.

use crate::domain::redact;
use crate::domain::report::Report;
use crate::domain::source::{AccountName, SourceName};

/// The roster of the sources.
pub(super) const ROSTER: &str = "catalog.json";

/// What the keys of all incidents begin with.
pub(super) const INCIDENTS: &str = "incidents/";

const JSON: &str = ".json";

/// A source's token document, in the token bucket. Everything else is in the state bucket. That of an account is below
/// its source's name: `tokens/<source>/<account>.json`.
pub(super) fn token(source: &SourceName) -> String {
    format!("tokens/{source}.json")
}

/// A source's grant state; that of an account in its shard, so that a shard of a source is a prefix.
pub(super) fn grant(source: &SourceName) -> String {
    match source.account() {
        None => format!("grants/{source}.json"),
        Some(account) => format!("{}{}-{account}{JSON}", grants_of_accounts(source), shard(account)),
    }
}

/// What the keys of the grants of all accounts of a source begin with.
pub(super) fn grants_of_accounts(source: &SourceName) -> String {
    format!("grants/{}/", source.source())
}

/// The account of a source whose grant has this key; `None` if no grant has.
pub(super) fn account_of_grant(source: &SourceName, key: &str) -> Option<AccountName> {
    let name = key.strip_prefix(&grants_of_accounts(source))?.strip_suffix(JSON)?;
    let (_shard, account) = name.split_once('-')?;
    AccountName::parse(account).filter(|account| grant(&source.with_account(Some(account))) == key)
}

/// The first three characters of the lower-case base32 (RFC 4648 section 6) of an account's SHA-256.
fn shard(account: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digits = &redact::sha256_hex(account.as_bytes())[..4];
    let bits = usize::from_str_radix(digits, 16).unwrap_or_default();
    // The first 15 of 16 bits.
    [11, 6, 1].map(|shift| char::from(ALPHABET[(bits >> shift) % ALPHABET.len()])).iter().collect()
}

/// The lease on a source's grant.
pub(super) fn lease(source: &SourceName) -> String {
    format!("leases/{source}")
}

/// What a person was told of a source that does not fail.
pub(super) fn forecast(source: &SourceName) -> String {
    format!("forecasts/{source}.json")
}

/// The incident of a source, or of an account below its source's name. The name may be any text, since an event may ask
/// for any.
pub(super) fn incident(source: &str) -> String {
    if SourceName::parse_with_account(source).is_some() {
        return format!("{INCIDENTS}{source}{JSON}");
    }
    let name: String = url::form_urlencoded::byte_serialize(source.as_bytes()).collect();
    format!("{INCIDENTS}{name}{JSON}")
}

/// The source whose incident has this key; `None` if no incident has.
pub(super) fn source_of_incident(key: &str) -> Option<String> {
    let name = key.strip_prefix(INCIDENTS)?.strip_suffix(JSON)?;
    if SourceName::parse_with_account(name).is_some() {
        return Some(name.to_owned());
    }
    let source = url::form_urlencoded::parse(name.as_bytes()).next()?.0.into_owned();
    (incident(&source) == key).then_some(source)
}

/// A run's report: by day and time, so that the newest comes last.
pub(super) fn report(report: &Report) -> String {
    format!("reports/{}-{}.json", report.started_at.format("%Y-%m-%d/%H%M%S"), report.run_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_source_whatever_the_name() {
        assert_eq!(incident("acme-crm_2.eu"), "incidents/acme-crm_2.eu.json");
        assert_eq!(incident("a/../b c"), "incidents/a%2F..%2Fb+c.json");
        assert_eq!(incident("acme-crm/Acme.1"), "incidents/acme-crm/Acme.1.json");
        for source in ["acme-crm", "acme-crm/Acme.1", "A/b", "a/b/c", "a/../b c", "ä=b&c%2F+", ".json", "100%"] {
            assert_eq!(source_of_incident(&incident(source)).as_deref(), Some(source));
        }
        for no_key in [
            "incidents/a/b/c.json",
            "incidents/a/.json",
            "incidents/",
            "incidents/a b.json",
            "incidents/%61.json",
            "incidents/a",
            "grants/a.json",
        ] {
            assert_eq!(source_of_incident(no_key), None, "{no_key}");
        }
    }

    #[test]
    fn the_grant_of_an_account_is_in_its_shard_and_its_key_names_it() {
        let source = SourceName::parse("crm").expect("a name");
        let key = |account: &str| grant(&source.with_account(AccountName::parse(account).as_ref()));
        // SHA-256 of `abc` begins with ba78: 10111 01001 11100 0.
        assert_eq!(key("abc"), "grants/crm/xj4-abc.json");
        assert_eq!(grant(&source), "grants/crm.json");
        for account in ["abc", "ABC", "a-b.json", "0", "x_y"] {
            let found = account_of_grant(&source, &key(account));
            assert_eq!(found.as_ref().map(AccountName::as_str), Some(account));
        }
        for no_key in [
            "grants/crm.json",
            "grants/crm/abc.json",
            "grants/crm/aaa-abc.json",
            "grants/crm/xj4-abc",
            "grants/crm/a/xj4-abc.json",
            "grants/crm2/xj4-abc.json",
        ] {
            assert_eq!(account_of_grant(&source, no_key), None, "{no_key}");
        }
        let account = source.with_account(AccountName::parse("abc").as_ref());
        assert_eq!(
            [token(&account), lease(&account), forecast(&account)],
            ["tokens/crm/abc.json", "leases/crm/abc", "forecasts/crm/abc.json"]
        );
    }

    #[test]
    fn reports_are_ordered_by_time() {
        let started_at = "2026-11-20T23:00:00Z".parse().expect("a time");
        let run = Report {
            run_id: "run".to_owned(),
            environment: "test".to_owned(),
            dry_run: false,
            complete: true,
            started_at,
            finished_at: started_at,
            refreshed: 0,
            fresh: 0,
            deferred: 0,
            failed: 0,
            sources: Vec::new(),
            warnings: Vec::new(),
        };
        assert_eq!(report(&run), "reports/2026-11-20/230000-run.json");
    }
}
