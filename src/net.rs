//! HTTP over TLS, for all that is outside, and the authorization servers behind it.

pub mod authorization_server;
pub mod tls;
pub mod transport;
