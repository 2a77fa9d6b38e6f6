//! A connection: what is known of a grant that a person gave in a browser.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::oauth::identity::Identity;
use crate::domain::principal::Principal;
use crate::domain::time::rfc3339_seconds;

/// What is kept with the grant besides its credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The client that the grant was given to; with another one it is of no use (RFC 6749 section 6).
    pub client_id: String,
    /// Whose account it is; `None`: the provider does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// What was granted; `None`: the provider does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Whose it is.
    pub owner: Principal,
    /// When it was given, or given anew.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub connected_at: DateTime<Utc>,
    /// Parameters of the callback that jobs need (`realmId`): in every token document's `extra`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}
