//! Messages of `kind=connection`: what became of a session, for the application that asked for it.

use std::fmt::Write as _;

use serde::Serialize;

use crate::domain::connect::{ConnectError, Session};
use crate::domain::document;
use crate::domain::notice::message::{Limits, Message, SCHEMA_VERSION};
use crate::domain::notice::words::ascii_line;
use crate::domain::oauth::identity::Identity;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The connection is new.
    Connected,
    /// The connection was there before, and has a new grant.
    Reconnected,
    /// The session came to nothing.
    Failed,
}

impl Happening {
    /// The message's attribute `event`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connection.connected",
            Self::Reconnected => "connection.reconnected",
            Self::Failed => "connection.failed",
        }
    }
}

/// What a connection message tells.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionEvent<'a> {
    /// Name of the deployment.
    pub environment: &'a str,
    /// What became of it.
    pub happening: Happening,
    /// The session.
    pub session: &'a Session,
}

impl ConnectionEvent<'_> {
    /// The message.
    pub fn message(&self, limits: Limits) -> Message {
        #[derive(Serialize)]
        struct Json<'a> {
            schema_version: u32,
            event: &'a str,
            environment: &'a str,
            source: &'a str,
            account: Option<&'a str>,
            session: &'a str,
            state: Option<&'a str>,
            identity: Option<&'a Identity>,
            error: Option<&'a ConnectError>,
        }

        let (session, event) = (self.session, self.happening.as_str());
        let connection = session.connection();
        let (subject, what) = match self.happening {
            Happening::Connected => ("connected", "An account has been connected."),
            Happening::Reconnected => ("reconnected", "An account has been connected again."),
            Happening::Failed => ("not connected", "Nothing was connected, and nothing was changed."),
        };
        let mut text = format!("{connection}: {what}\n");
        if let Some(identity) = &session.identity {
            let _ = writeln!(text, "Account at the provider: {}", identity.name.as_ref().unwrap_or(&identity.id));
        }
        if let Some(error) = &session.error {
            let _ = writeln!(text, "What happened: {} ({}).", error.message, error.code);
        }
        let _ = writeln!(text, "Session: {}", session.id);
        Message {
            subject: ascii_line(&format!("[{}] {connection} {subject}", self.environment), limits),
            attributes: vec![
                ("kind", "connection".to_owned()),
                ("environment", self.environment.to_owned()),
                ("event", event.to_owned()),
                ("source", connection),
            ],
            json: document::to_json(&Json {
                schema_version: SCHEMA_VERSION,
                event,
                environment: self.environment,
                source: &session.source,
                account: session.account.as_deref(),
                session: session.id.as_str(),
                state: session.state.as_deref(),
                identity: session.identity.as_ref(),
                error: session.error.as_ref(),
            }),
            text,
        }
    }
}
