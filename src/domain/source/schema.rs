//! The fields that `schemas` declare: a constant for each, which the build script writes (`build/fields.rs`), and the types
//! of these constants.
//!
//! A definition is read through them alone. A name that the schemas lack does not compile, a value is read in the form that
//! its schema gives it, and a default is written once, there. A field that nothing reads is a warning.

use chrono::TimeDelta;

/// A field: its name, the form of its value, and the value where none is written (`()`: there is none).
#[derive(Clone, Copy)]
pub(crate) struct Field<F, D = ()> {
    pub(crate) name: &'static str,
    pub(crate) form: F,
    pub(crate) default: D,
}

/// A text without white space around it.
#[derive(Clone, Copy)]
pub(crate) struct Text;

/// The same, which is a secret.
#[derive(Clone, Copy)]
pub(crate) struct Secret;

/// The same, shown to people: one line.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) most_characters: usize,
}

/// A URL for people to follow.
#[derive(Clone, Copy)]
pub(crate) struct Link;

/// A URL that is called with a credential, or that leads to one.
#[derive(Clone, Copy)]
pub(crate) struct Url;

/// A text that may hold placeholders, which `variables` fill.
#[derive(Clone, Copy)]
pub(crate) struct Template;

/// Certificates or a private key in PEM.
#[derive(Clone, Copy)]
pub(crate) struct Pem;

/// A text that counts with the white space around it.
#[derive(Clone, Copy)]
pub(crate) struct Verbatim;

/// A name; an empty one means that there is none.
#[derive(Clone, Copy)]
pub(crate) struct Name;

/// A place in an answer (RFC 6901). A default is the name of a member of it.
#[derive(Clone, Copy)]
pub(crate) struct Path;

/// `true` or `false`.
#[derive(Clone, Copy)]
pub(crate) struct Boolean;

/// A time such as `15m`.
#[derive(Clone, Copy)]
pub(crate) struct Duration {
    pub(crate) least: TimeDelta,
}

/// One of a few words, which [`Field::meaning`] gives a meaning.
#[derive(Clone, Copy)]
pub(crate) struct Choice(&'static [&'static str]);

/// A list of texts.
#[derive(Clone, Copy)]
pub(crate) struct Texts;

/// An object with members of any name but these.
#[derive(Clone, Copy)]
pub(crate) struct Object {
    pub(crate) reserved: &'static [&'static str],
}

/// An object with fields of these names.
#[derive(Clone, Copy)]
pub(crate) struct Section(pub(crate) &'static [&'static str]);

/// A list of such objects.
#[derive(Clone, Copy)]
pub(crate) struct Sections(pub(crate) &'static [&'static str]);

/// A value of one of several types.
#[derive(Clone, Copy)]
pub(crate) struct Mixed;

/// The words that a field may be, each with its meaning.
pub(crate) struct Choices<T: 'static> {
    pub(crate) name: &'static str,
    pub(crate) meanings: &'static [(&'static str, T)],
}

/// The same, with the meaning of the word that is the field's default.
pub(crate) struct ChoicesOrDefault<T: 'static> {
    pub(crate) choices: Choices<T>,
    pub(crate) default: T,
}

impl Field<Choice> {
    /// Gives each of the schema's words, in the schema's order, a meaning. Others in a constant do not compile.
    pub(crate) const fn meaning<T>(self, meanings: &'static [(&'static str, T)]) -> Choices<T> {
        assert_words(self.form, meanings);
        Choices { name: self.name, meanings }
    }
}

impl Field<Choice, &'static str> {
    /// The same for a field with a default.
    pub(crate) const fn meaning<T: Copy>(self, meanings: &'static [(&'static str, T)]) -> ChoicesOrDefault<T> {
        assert_words(self.form, meanings);
        let mut index = 0;
        while !is_same(meanings[index].0, self.default) {
            index += 1;
        }
        ChoicesOrDefault { choices: Choices { name: self.name, meanings }, default: meanings[index].1 }
    }
}

const fn assert_words<T>(form: Choice, meanings: &[(&str, T)]) {
    assert!(form.0.len() == meanings.len(), "the schema has other words");
    let mut index = 0;
    while index < meanings.len() {
        assert!(is_same(form.0[index], meanings[index].0), "the schema has other words, or another order");
        index += 1;
    }
}

/// `==`, which no constant can use yet.
const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

include!(concat!(env!("OUT_DIR"), "/fields.rs"));
