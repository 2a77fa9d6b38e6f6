//! Documents of this program as JSON text.

use serde::Serialize;

/// The JSON text of a document.
///
/// # Panics
///
/// Only on a value that JSON can't express: a map whose keys are no strings, or an implementation of `Serialize` that
/// fails by itself. Documents here are structs and enums of texts, numbers, times, lists, and JSON that was read before.
pub fn to_json(document: &impl Serialize) -> String {
    #[expect(clippy::expect_used, reason = "documents hold only what JSON can express")]
    serde_json::to_string(document).expect("a document that JSON can express")
}
