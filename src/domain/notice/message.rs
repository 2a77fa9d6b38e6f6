//! A message as all messages are: a subject, attributes, and the same content twice, for programs and for people.

/// Version of the layout of all messages' JSON.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// A message as a publisher sends it. It never holds a secret or a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// One line of printable ASCII, no longer than the publisher's [`Limits`].
    pub subject: String,
    /// Names and values by which subscribers choose what they get.
    pub attributes: Vec<(&'static str, String)>,
    /// For programs: JSON by one of the schemas in `schemas/`.
    pub json: String,
    /// For people: plain text.
    pub text: String,
}

/// How long the publisher lets the parts of a message be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of a subject, in characters.
    pub subject: usize,
    /// Of the JSON of all sources that an alert lists, in bytes. What is not listed is still counted.
    pub list: usize,
}
