//! The layout of what connecting keeps, in the state bucket: all of it below one prefix, which a lifecycle rule empties.

use chrono::{DateTime, Utc};

use crate::domain::connect::{Session, SessionId};
use crate::domain::principal::Principal;

/// A session.
pub(super) fn session(id: &SessionId) -> String {
    format!("connect/sessions/{id}.json")
}

/// A flow, by the hash of its state.
pub(super) fn flow(state_sha256: &str) -> String {
    format!("connect/flows/{state_sha256}.json")
}

/// Who ends a flow.
pub(super) fn claim(state_sha256: &str) -> String {
    format!("connect/claims/{state_sha256}")
}

/// What a session's flow brought.
pub(super) fn parked(session: &SessionId) -> String {
    format!("connect/parked/{session}.json")
}

/// What the keys of all sessions of a principal begin with.
pub(super) fn sessions_of(principal: &Principal) -> String {
    format!("connect/principals/{}/", principal.sha256())
}

/// A mark that a principal has a session: in the order in which sessions end.
pub(super) fn mark(session: &Session) -> String {
    format!("{}-{}", ending_by(&session.principal, session.expires_at), session.id)
}

/// The marks of all sessions of a principal that end later have greater keys.
pub(super) fn ending_by(principal: &Principal, time: DateTime<Utc>) -> String {
    format!("{}{}", sessions_of(principal), time.format("%Y%m%dT%H%M%SZ"))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::connect::{Handle, SESSION_LIFETIME, Wish};

    #[test]
    fn connect_1_keys_hold_hashes_and_marks_are_ordered_by_their_end() {
        let wish = Wish {
            source: "crm".to_owned(),
            account: None,
            return_to: None,
            state: None,
            reconnect: false,
            confirm: false,
        };
        let principal = Principal::Iam("arn:aws:iam::123456789012:role/App".to_owned());
        let now = "2026-11-20T22:00:00Z".parse().expect("a time");
        let session = Session::new(&Handle::of([1; 32]), wish, principal.clone(), "https://as".to_owned(), now);
        let mark = mark(&session);
        assert!(mark.starts_with(&sessions_of(&principal)) && mark.ends_with(session.id.as_str()), "{mark}");
        assert!(!mark.contains("role/App"), "{mark}");

        let end = now + SESSION_LIFETIME;
        assert!(ending_by(&principal, end - TimeDelta::seconds(1)) < mark);
        assert!(mark < ending_by(&principal, end + TimeDelta::seconds(1)));
    }
}
