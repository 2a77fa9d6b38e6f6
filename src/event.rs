//! The event that starts a harvest.

use serde_json::Value;

use crate::text;

/// What a harvest is asked to do. Any event without these members, EventBridge's included, asks for all that is due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Names of the sources to harvest; `None`: all.
    pub sources: Option<Vec<String>>,
    /// Refresh even what is fresh.
    pub force: bool,
    /// Only say what would be done.
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
        Ok(Self { sources, force: flag("force")?, dry_run: flag("dry_run")? })
    }
}

/// Names, each once. Those that are no source's name are kept, to be reported as unknown.
fn read_names(names: &Value) -> Option<Vec<String>> {
    let mut names = names
        .as_array()?
        .iter()
        .map(|name| name.as_str().map(|name| text::printable(name, 64)).filter(|name| !name.is_empty()))
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
        assert_eq!(Event::parse(&event), Ok(Event { sources, force: true, dry_run: true }));
    }

    #[test]
    fn a_slip_is_refused_rather_than_read_as_everything() {
        for (event, message) in [
            (json!({"sources": "a"}), "the event's `sources` must be an array of source names"),
            (json!({"sources": [1]}), "the event's `sources` must be an array of source names"),
            (json!({"sources": [" "]}), "the event's `sources` must be an array of source names"),
            (json!({"force": "yes"}), "the event's `force` must be true or false"),
            (json!({"dry_run": 1}), "the event's `dry_run` must be true or false"),
        ] {
            assert_eq!(Event::parse(&event).expect_err("a fault").to_string(), message);
        }
    }
}
