//! The rules of the trade: pure, without clock, randomness, environment, network, or any type of AWS.

pub mod assertion;
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
pub mod provider;
pub mod redact;
pub mod report;
pub mod retry;
pub mod source;
pub mod time;
pub mod token;
