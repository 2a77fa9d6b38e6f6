//! The layout of both buckets: what is kept under which key.

use crate::domain::report::Report;
use crate::domain::source::SourceName;

/// The roster of the sources.
pub(super) const ROSTER: &str = "catalog.json";

/// What the keys of all incidents begin with.
pub(super) const INCIDENTS: &str = "incidents/";

const JSON: &str = ".json";

/// A source's token document, in the token bucket. Everything else is in the state bucket.
pub(super) fn token(source: &SourceName) -> String {
    format!("tokens/{source}.json")
}

/// A source's grant state.
pub(super) fn grant(source: &SourceName) -> String {
    format!("grants/{source}.json")
}

/// The lease on a source's grant.
pub(super) fn lease(source: &SourceName) -> String {
    format!("leases/{source}")
}

/// What a person was told of a source that does not fail.
pub(super) fn forecast(source: &SourceName) -> String {
    format!("forecasts/{source}.json")
}

/// The incident of a source. Its name may be any text, since an event may ask for any.
pub(super) fn incident(source: &str) -> String {
    let name: String = url::form_urlencoded::byte_serialize(source.as_bytes()).collect();
    format!("{INCIDENTS}{name}{JSON}")
}

/// The source whose incident has this key; `None` if no incident has.
pub(super) fn source_of_incident(key: &str) -> Option<String> {
    let name = key.strip_prefix(INCIDENTS)?.strip_suffix(JSON)?;
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
        for source in ["acme-crm", "a/../b c", "ä=b&c%2F+", ".json", "100%"] {
            assert_eq!(source_of_incident(&incident(source)).as_deref(), Some(source));
        }
        for no_key in ["incidents/", "incidents/a b.json", "incidents/%61.json", "incidents/a", "grants/a.json"] {
            assert_eq!(source_of_incident(no_key), None, "{no_key}");
        }
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
