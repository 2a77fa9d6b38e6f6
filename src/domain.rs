//! What sources, grants, tokens and incidents are, and the rules about them. Everything here is a function of its
//! arguments: no clock, no randomness, no environment, no network, no type, key or limit of AWS.

pub mod assertion;
pub mod connect;
pub mod connection;
pub mod credential;
pub mod document;
pub mod duration;
pub mod error;
pub mod event;
pub mod forecast;
pub mod grant;
pub mod incident;
pub mod lease;
pub mod notice;
pub mod oauth;
pub mod principal;
pub mod provider;
pub mod redact;
pub mod report;
pub mod retry;
pub mod source;
pub mod time;
pub mod token;
