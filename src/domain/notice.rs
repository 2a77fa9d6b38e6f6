//! What people and programs are told, in messages of the topic.

pub mod alert;
pub mod connection_event;
pub mod message;
pub mod token_event;
mod words;
