use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::SourceError;

/// The number, or the text of the string, that stands at `pointer` (RFC 6901) in `body`, letter for letter.
///
/// Nothing is parsed as a float: a price keeps every digit that its source wrote.
pub(super) fn text_at(body: &[u8], pointer: &str) -> Result<String, SourceError> {
    let not_json = || SourceError::NotJson {
        beginning: String::from_utf8_lossy(body).chars().take(40).collect(),
    };
    let nothing_there = || SourceError::NothingThere {
        pointer: pointer.to_owned(),
    };
    let text = std::str::from_utf8(body).map_err(|_not_text| not_json())?;
    let mut at: &RawValue = serde_json::from_str(text).map_err(|_not_json| not_json())?;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        at = child(at, &token).ok_or_else(nothing_there)?;
    }
    let raw = at.get();
    if raw.starts_with('"') {
        return serde_json::from_str(raw).map_err(|_not_json| not_json());
    }
    let is_number = raw.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number {
        Ok(raw.to_owned())
    } else {
        Err(nothing_there())
    }
}

fn child<'a>(parent: &'a RawValue, token: &str) -> Option<&'a RawValue> {
    if parent.get().starts_with('{') {
        let members: BTreeMap<Key<'_>, &RawValue> = serde_json::from_str(parent.get()).ok()?;
        return members
            .iter()
            .find(|(key, _)| key.0 == token)
            .map(|(_, value)| *value);
    }
    let is_index =
        token == "0" || (!token.starts_with('0') && token.bytes().all(|it| it.is_ascii_digit()));
    let index: usize = token.parse().ok().filter(|_| is_index)?;
    let items: Vec<&RawValue> = serde_json::from_str(parent.get()).ok()?;
    items.get(index).copied()
}

/// A key, borrowed where it has no escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(body: &str, pointer: &str) -> String {
        text_at(body.as_bytes(), pointer).unwrap()
    }

    #[test]
    fn a_pointer_finds_numbers_and_strings_letter_for_letter() {
        let body = r#"{"a":{"b":[1,{"c/d~e":21712.510000000000000001}],"x":"0.1"},"":7,"q\"":8}"#;
        assert_eq!(at(body, "/a/b/1/c~1d~0e"), "21712.510000000000000001");
        assert_eq!(at(body, "/a/x"), "0.1");
        assert_eq!(at(body, "/"), "7");
        assert_eq!(at(body, "/q\""), "8");
        assert_eq!(at("42", ""), "42");
    }

    #[test]
    fn what_is_not_there_or_no_number_is_said_to_be_so() {
        let body = br#"{"a":[1],"n":null,"o":{}}"#;
        for pointer in ["/b", "/a/1", "/a/01", "/a/-", "/n", "/o", "/a", "/a/0/x"] {
            assert!(
                matches!(
                    text_at(body, pointer),
                    Err(SourceError::NothingThere { .. })
                ),
                "{pointer}"
            );
        }
        for body in ["<html>down</html>", "", "{\"a\":NaN}", "{\"a\":1", "\u{0}"] {
            assert!(
                matches!(
                    text_at(body.as_bytes(), "/a"),
                    Err(SourceError::NotJson { .. })
                ),
                "{body}"
            );
        }
        assert!(matches!(
            text_at(b"\xff\xfe", "/a"),
            Err(SourceError::NotJson { .. })
        ));
    }
}
