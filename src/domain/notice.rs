//! What people and programs are told, in messages of the topic.

pub mod alert;
pub mod message;
pub mod token_event;
mod words;
