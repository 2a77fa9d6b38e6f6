//! The event that starts a harvest.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::domain::redact;

/// Characters of a name: a source's, a slash, an account's.
const LONGEST_NAME: usize = 64 + 1 + 128;

/// What a harvest is asked to do. Any event without these members, EventBridge's included, asks for all that is due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Names of the sources to harvest, `<source>` with all its accounts, or `<source>/<account>`; `None`: all.
    pub sources: Option<Vec<String>>,
    /// Refresh the sources even if their tokens are fresh.
    pub force: bool,
    /// When it was meant: what was issued since is not refreshed again, so that a second delivery does nothing.
    pub time: Option<DateTime<Utc>>,
    /// Try the sources whose grant counts as dead, too.
    pub retry_dead: bool,
    /// Only report what would be done: send no token request, write nothing, tell nobody.
    pub dry_run: bool,
}

impl Event {
    /// Reads an event; members that are not its own are ignored.
    pub fn parse(event: &Value) -> Result<Self, InvalidEvent> {
        let flag = |name: &'static str| match event.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(InvalidEvent { member: name, expected: "true or false" }),
        };
        let sources = match event.get("sources") {
            None | Some(Value::Null) => None,
            Some(names) => Some(
                read_names(names).ok_or(InvalidEvent { member: "sources", expected: "an array of source names" })?,
            ),
        };
        let force = flag("force")?;
        let retry_dead = match event.get("retry") {
            None | Some(Value::Null) => false,
            Some(Value::String(what)) if what == "dead" => true,
            Some(_) => return Err(InvalidEvent { member: "retry", expected: "\"dead\"" }),
        };
        let time = match event.get("time").filter(|_| force) {
            None | Some(Value::Null) => None,
            Some(time) => {
                let expected = "a time such as 2026-11-20T05:30:00Z";
                let time = time.as_str().and_then(|time| time.parse().ok());
                Some(time.ok_or(InvalidEvent { member: "time", expected })?)
            }
        };
        Ok(Self { sources, force, time, retry_dead, dry_run: flag("dry_run")? })
    }

    /// Whether somebody asks for certain work, perhaps after a change of a definition.
    pub fn is_asked_for(&self) -> bool {
        self.sources.is_some() || self.force || self.retry_dead
    }

    /// Whether a source is to be refreshed though its token, issued at that time, is fresh.
    pub fn forces(&self, issued_at: Option<DateTime<Utc>>) -> bool {
        let is_done = self.time.zip(issued_at).is_some_and(|(meant, issued_at)| issued_at >= meant);
        self.force && !is_done
    }
}

/// Names, each once. Those that are no source's name are kept, to be reported as unknown.
fn read_names(names: &Value) -> Option<Vec<String>> {
    let mut names = names
        .as_array()?
        .iter()
        .map(|name| name.as_str().map(|name| redact::printable(name, LONGEST_NAME)).filter(|name| !name.is_empty()))
        .collect::<Option<Vec<_>>>()?;
    names.sort();
    names.dedup();
    Some(names)
}

/// An event that means to narrow a harvest, but not in a way that is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event's `{member}` must be {expected}")]
pub struct InvalidEvent {
    member: &'static str,
    expected: &'static str,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn any_event_without_sources_harvests_all_that_is_due() {
        for event in [
            json!({}),
            json!(null),
            json!("text"),
            json!([]),
            json!({"version": "0", "source": "aws.scheduler", "resources": [], "detail": {}}),
        ] {
            assert_eq!(Event::parse(&event), Ok(Event::default()), "{event}");
        }
    }

    #[test]
    fn names_narrow_and_count_once() {
        let event = json!({"sources": ["b", "a", "b"], "force": true, "dry_run": true});
        let sources = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(Event::parse(&event), Ok(Event { sources, force: true, dry_run: true, ..Event::default() }));
    }

    #[test]
    fn the_longest_name_of_an_account_is_read_whole() {
        let name = format!("{}/{}", "s".repeat(64), "A".repeat(128));
        let event = Event::parse(&json!({"sources": [name.clone(), format!("{name}-and-more")]})).expect("an event");
        assert_eq!(event.sources, Some(vec![name]));
    }

    #[test]
    fn a_forced_event_refreshes_nothing_that_was_issued_since_its_time() {
        let event = Event::parse(&json!({"force": true, "time": "2026-11-20T05:30:00Z"})).expect("an event");
        let at = |time: &str| Some(time.parse().expect("a time"));
        assert!(event.forces(None) && event.forces(at("2026-11-20T05:29:59Z")));
        assert!(!event.forces(at("2026-11-20T05:30:00Z")) && !event.forces(at("2026-11-20T05:30:07Z")));
        let without = Event::parse(&json!({"force": true})).expect("an event");
        assert!(without.forces(at("2026-11-20T05:30:07Z")));
        // EventBridge's own events have a time, which forces nothing.
        let scheduled = json!({"source": "aws.events", "time": "2026-11-20T05:30:00Z"});
        assert_eq!(Event::parse(&scheduled), Ok(Event::default()));
    }

    #[test]
    fn the_dead_are_tried_on_request() {
        assert!(Event::parse(&json!({"retry": "dead"})).expect("an event").retry_dead);
    }

    #[test]
    fn a_slip_is_refused_rather_than_read_as_everything() {
        for (event, message) in [
            (json!({"sources": "a"}), "the event's `sources` must be an array of source names"),
            (json!({"sources": [1]}), "the event's `sources` must be an array of source names"),
            (json!({"sources": [" "]}), "the event's `sources` must be an array of source names"),
            (json!({"force": "yes"}), "the event's `force` must be true or false"),
            (json!({"dry_run": 1}), "the event's `dry_run` must be true or false"),
            (json!({"retry": "all"}), "the event's `retry` must be \"dead\""),
            (json!({"force": true, "time": "soon"}), "the event's `time` must be a time such as 2026-11-20T05:30:00Z"),
        ] {
            assert_eq!(Event::parse(&event).expect_err("a fault").to_string(), message);
        }
    }
}
