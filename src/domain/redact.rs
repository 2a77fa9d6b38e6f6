//! Text from outside, made safe to show: printable, short, and without secrets.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashSet;

/// What stands in place of a secret.
const MASK: &str = "***";

/// Secrets from this length in bytes on are masked in part, too: a server may echo the beginning only.
const LONG: usize = 32;

/// The shortest part of a long secret that is masked, in bytes.
const PART: usize = 16;

/// The text with what can't be printed as spaces, cut to `longest` characters.
///
/// What may hold a secret is masked before it is cut, or half of the secret is left at the end.
pub fn printable(text: &str, longest: usize) -> String {
    text.trim().chars().map(|character| if is_printable(character) { character } else { ' ' }).take(longest).collect()
}

/// Control characters break logs; the invisible formatting ones can make a mail say what it does not.
fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        && !is_noncharacter(character)
}

/// What Unicode never assigns (section 23.7): U+FDD0 to U+FDEF and the last two of each plane. A queue refuses the whole
/// message for one of the last two of the first plane.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
pub fn is_noncharacter(character: char) -> bool {
    matches!(character, '\u{fdd0}'..='\u{fdef}') || u32::from(character) & 0xfffe == 0xfffe
}

/// Secrets in all forms in which servers echo them, worked out once for many texts.
pub struct Echoes<'a> {
    /// Each form, and whether it is looked for within texts. Longest first: a secret that contains another must not
    /// leave its rest behind.
    forms: Vec<(Cow<'a, str>, bool)>,
    /// Every [`PART`] bytes in a row of the long ones, worked out once something is to be shown.
    parts: OnceCell<HashSet<[u8; PART]>>,
}

impl<'a> Echoes<'a> {
    /// The echoes of these secrets; empty ones are left out.
    pub fn of(secrets: impl Iterator<Item = &'a str>) -> Self {
        const SHORTEST_TO_SEEK: usize = 8;
        let forms = |secret| {
            let sought = str::len(secret) >= SHORTEST_TO_SEEK;
            echoes(secret).into_iter().map(move |form| (form, sought))
        };
        let mut forms: Vec<_> = secrets.filter(|secret| !secret.is_empty()).flat_map(forms).collect();
        forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
        Self { forms, parts: OnceCell::new() }
    }

    /// A text of a server as it can be shown: printable, without any secret and without signed JWTs, and only then cut to
    /// `longest` characters, so that no half of a secret is left at the end.
    pub fn shown(&self, text: &str, longest: usize) -> String {
        // Twice: making it printable may join what was apart.
        let printable = printable(&self.masked(text), usize::MAX);
        without_jwts(&self.masked(&printable)).chars().take(longest).collect()
    }

    /// The text with every occurrence of every secret masked.
    fn masked(&self, text: &str) -> String {
        let whole = self.forms.iter().fold(text.to_owned(), |text, (form, _)| text.replace(form.as_ref(), MASK));
        self.without_parts(whole)
    }

    fn without_parts(&self, text: String) -> String {
        let parts = self.parts.get_or_init(|| {
            let long = self.forms.iter().filter(|(form, _)| form.len() >= LONG);
            long.flat_map(|(form, _)| form.as_bytes().windows(PART))
                .filter_map(|part| part.first_chunk().copied())
                .collect()
        });
        if parts.is_empty() {
            return text;
        }
        let ends_part = |end: usize| text.as_bytes()[..end].last_chunk().is_some_and(|part| parts.contains(part));
        let mut shown = String::with_capacity(text.len());
        let (mut rest, mut end) = (0, PART);
        while end <= text.len() {
            if !ends_part(end) {
                end += 1;
                continue;
            }
            shown.push_str(&text[rest..text.floor_char_boundary(end - PART)]);
            shown.push_str(MASK);
            while end < text.len() && ends_part(end + 1) {
                end += 1;
            }
            rest = text.ceil_char_boundary(end);
            end = rest + PART;
        }
        shown + &text[rest..]
    }

    /// Whether a text is or holds a secret. Short words occur by chance, so they count only as the whole text.
    pub fn occur_in(&self, text: &str) -> bool {
        self.forms.iter().any(|(form, sought)| text == form || *sought && text.contains(form.as_ref()))
    }
}

/// A secret as servers echo it: as it is, form-encoded, and percent-encoded (RFC 3986), with hex digits in either case.
fn echoes(secret: &str) -> Vec<Cow<'_, str>> {
    let form_encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    if form_encoded == secret {
        return vec![Cow::Borrowed(secret)];
    }
    let percent_encoded = form_encoded.replace('+', "%20");
    // Browsers leave `~` and `*` alone, RFC 3986 only the first.
    let of_browsers = percent_encoded.replace("%7E", "~");
    let rfc3986 = of_browsers.replace('*', "%2A");
    let mut forms = vec![Cow::Borrowed(secret)];
    for form in [form_encoded, percent_encoded, of_browsers, rfc3986] {
        forms.push(Cow::Owned(with_lower_hex(&form)));
        forms.push(Cow::Owned(form));
    }
    forms.dedup();
    forms
}

/// Percent-encoding with its hex digits in lower case.
fn with_lower_hex(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (digits, rest) = part.split_at(part.len().min(2));
        format!("{text}%{}{rest}", digits.to_lowercase())
    })
}

/// The text without anything that has the form of a signed JWT (RFC 7515 section 7.1): an assertion or a token that
/// a server echoes. It is `eyJ`, the beginning of every JSON object in base64url, and two dots behind that.
fn without_jwts(text: &str) -> String {
    let part = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let mut rest = text;
    let mut shown = String::with_capacity(text.len());
    while let Some(begin) = rest.find("eyJ") {
        let length = rest[begin..].find(|character| !part(character)).unwrap_or(rest.len() - begin);
        let word = &rest[begin..begin + length];
        shown.push_str(&rest[..begin]);
        shown.push_str(if word.matches('.').count() >= 2 { MASK } else { word });
        rest = &rest[begin + length..];
    }
    shown + rest
}

/// The SHA-256 of the bytes, as 64 hex digits in lower case.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// The bytes as hex digits in lower case.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_lines_or_hides_is_a_space() {
        assert_eq!(printable(" a\r\nb\u{1b}[31m\u{202e}c ", 50), "a  b [31m c");
        assert_eq!(printable("äöü", 2), "äö");
        assert_eq!(printable("a\u{fffe}\u{ffff}b\u{fdd0}\u{fdef}c\u{1fffe}\u{10ffff}d", 50), "a  b  c  d");
        assert_eq!(
            printable("\u{d7ff}\u{e000}\u{fdcf}\u{fdf0}\u{fffd}\u{10000}", 50).chars().filter(|c| *c == ' ').count(),
            0
        );
    }

    #[test]
    fn every_printable_character_may_stand_in_a_message() {
        let allowed = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}');
        let refused = ('\0'..=char::MAX).filter(|character| is_printable(*character) && !allowed(*character));
        assert_eq!(refused.collect::<String>(), "");
    }

    fn masked(text: &str, secrets: &[&str]) -> String {
        Echoes::of(secrets.iter().copied()).masked(text)
    }

    fn holds(text: &str, secret: &str) -> bool {
        Echoes::of([secret].into_iter()).occur_in(text)
    }

    #[test]
    fn a_secret_is_masked_in_every_form() {
        let secrets = ["p@ss word", "p@ss"];
        assert_eq!(masked("sent p@ss word, p%40ss+word and p%40ss%20word", &secrets), "sent ***, *** and ***");
        assert_eq!(masked("a%20b%C3%BC~*, a%20b%c3%bc%7e*, a%20b%C3%BC~%2A", &["a b\u{fc}~*"]), "***, ***, ***");
    }

    #[test]
    fn a_secret_is_found_within_a_text_unless_it_is_so_short_that_it_occurs_by_chance() {
        assert!(holds("x p%40ssw0rd x", "p@ssw0rd") && holds("a", "a") && holds("%40", "@"));
        assert!(!holds("banana", "a") && !holds("", ""));
    }

    #[test]
    fn a_part_of_a_long_secret_is_masked_too() {
        let secret = "0123456789abcdefghijklmnopqrstuv/ü=%xyz0123456789";
        for (text, shown) in [
            ("got 0123456789abcdefghij, sorry", "got ***, sorry"),
            ("0123456789abcde", "0123456789abcde"),
            ("ü0123456789abcdef", "ü***"),
            ("fghijklmnopqrst-123456789abcdefghij", "fghijklmnopqrst-***"),
            ("jklmnopqrstuv%2F%C3%BC!", "***!"),
            ("ghijklmnopqrstuv/üü", "***ü"),
            ("0123456789abcdefghijklmnopqrstuv0123456789abcdefghijklmnopqrstuv", "******"),
        ] {
            assert_eq!(masked(text, &[secret]), shown, "{text}");
        }
        assert_eq!(masked("0123456789abcdefghi", &["0123456789abcdefghij"]), "0123456789abcdefghi", "a short one");
    }

    #[test]
    fn a_jwt_is_masked_wherever_it_stands() {
        assert_eq!(without_jwts("bad eyJhbGci.eyJpc3Mi.c2ln, sorry"), "bad ***, sorry");
        assert_eq!(without_jwts("eyJ and eyJhbGci.once"), "eyJ and eyJhbGci.once");
    }

    #[test]
    fn the_hash_is_sha256() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
