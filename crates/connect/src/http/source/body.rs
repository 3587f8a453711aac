//! What a request holds: one JSON object, an array of them, or one a line.

use std::ops::Range;

use bytes::Bytes;
use syncline_change::{Error, Result};

/// The rows of `body`, one a line, and how many lines there are. A row need not be good JSON here,
/// as long as it can be told where it ends.
///
/// # Errors
/// `Input` if it cannot be told what the rows are.
pub(super) fn lines(body: &Bytes) -> Result<(Bytes, usize)> {
    let start = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let body = body.slice_ref(body[start..].trim_ascii());
    match body.first() {
        None => Err(malformed("it is empty")),
        Some(b'[') => array(&body),
        Some(b'{') => match value_end(&body, 0) {
            Some(end) if end == body.len() => Ok(joined(&body, std::slice::from_ref(&(0..end)))),
            Some(_) => Ok(as_given(body)),
            None if has_objects_below(&body) => Ok(as_given(body)),
            None => Err(malformed("the object in it does not end")),
        },
        Some(_) if has_objects_below(&body) => Ok(as_given(body)),
        Some(_) => Err(malformed("it begins with neither { nor [")),
    }
}

fn as_given(body: Bytes) -> (Bytes, usize) {
    let count = body.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let count = count.count();
    (body, count)
}

/// Whether a line after the first begins like an object: then it is one object a line, and what
/// does not look like one is a bad row.
fn has_objects_below(body: &[u8]) -> bool {
    body.split(|&byte| byte == b'\n').skip(1).any(|line| line.trim_ascii_start().starts_with(b"{"))
}

fn array(body: &Bytes) -> Result<(Bytes, usize)> {
    let skip_blank = |at: usize| at + body[at..].len() - body[at..].trim_ascii_start().len();
    let mut elements = Vec::new();
    let mut at = skip_blank(1);
    if body.get(at) != Some(&b']') {
        loop {
            let Some(end) = value_end(body, at) else {
                return Err(malformed("the array in it does not end"));
            };
            if end == at {
                return Err(malformed("an element of the array is missing"));
            }
            elements.push(at..end);
            at = skip_blank(end);
            match body.get(at) {
                Some(b',') => at = skip_blank(at + 1),
                Some(b']') => break,
                Some(_) => return Err(malformed("there is no comma between two elements")),
                None => return Err(malformed("the array in it does not end")),
            }
        }
    }
    if at + 1 < body.len() {
        return Err(malformed("there is more behind the array"));
    }
    Ok(joined(body, &elements))
}

/// Where the value that begins at `start` ends, if it does: brackets and quotes are counted, and
/// nothing else is looked at.
fn value_end(body: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    while at < body.len() {
        match body[at] {
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'"' => {
                at = text_end(body, at)?;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            byte if depth == 0 && byte.is_ascii_whitespace() => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The end of the text whose opening quote is at `start`.
fn text_end(body: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', body.get(at..)?)?;
        if body[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// `rows` a line each. A line end inside of a row can only be between its tokens, so a blank is as
/// good.
fn joined(body: &Bytes, rows: &[Range<usize>]) -> (Bytes, usize) {
    if let [row] = rows
        && memchr::memchr2(b'\n', b'\r', &body[row.clone()]).is_none()
    {
        return (body.slice(row.clone()), 1);
    }
    let mut lines = Vec::with_capacity(body.len());
    for row in rows {
        let start = lines.len();
        lines.extend_from_slice(&body[row.clone()]);
        for byte in lines[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        lines.push(b'\n');
    }
    (lines.into(), rows.len())
}

fn malformed(detail: &str) -> Error {
    Error::input("the request body cannot be read")
        .detail(detail)
        .hint("post a JSON object, an array of objects, or one object a line")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_are_found() {
        for (body, expect) in [
            (r#"{"a":1}"#, &[r#"{"a":1}"#][..]),
            ("\u{feff} {\"a\":1}\n ", &[r#"{"a":1}"#]),
            ("{\n \"a\": \"}\\\"\"\r\n}", &["{  \"a\": \"}\\\"\"  }"]),
            ("[]", &[]),
            (r#"[{"a":[1,{}]}, {"a":"],["}]"#, &[r#"{"a":[1,{}]}"#, r#"{"a":"],["}"#]),
            ("[\n{\"a\":\n1}\n, 7,\"x\"]", &["{\"a\": 1}", "7", "\"x\""]),
            ("{\"a\":1}\n\n{\"a\":2}\n", &[r#"{"a":1}"#, r#"{"a":2}"#]),
            ("{\"a\":1}\noops", &[r#"{"a":1}"#, "oops"]),
            ("{\"a\":\n{\"a\":2}", &["{\"a\":", r#"{"a":2}"#]),
            ("oops\n{\"a\":2}", &["oops", r#"{"a":2}"#]),
            (r#"{"a": oops}"#, &[r#"{"a": oops}"#]),
            (r#"{"a":1}{"a":2}"#, &[r#"{"a":1}{"a":2}"#]),
        ] {
            let (found, count) = lines(&Bytes::copy_from_slice(body.as_bytes())).unwrap();
            let found: Vec<&str> = std::str::from_utf8(&found)
                .unwrap()
                .lines()
                .filter(|line| !line.trim().is_empty())
                .collect();
            assert_eq!((found.as_slice(), count), (expect, expect.len()), "{body}");
        }
    }

    #[test]
    fn what_holds_no_rows_is_malformed() {
        for body in [
            "",
            " \n",
            "oops",
            "7",
            "\"text\"",
            "{\"a\":1",
            "{\"a\":\"1}",
            "{\n\"a\": [1\n",
            "[",
            "[{\"a\":1}",
            "[{\"a\":1},",
            "[{\"a\":1},]",
            "[,]",
            "[{} {}]",
            "[{}] 7",
            "[\"\\",
        ] {
            let error = lines(&Bytes::copy_from_slice(body.as_bytes())).unwrap_err();
            assert_eq!(error.kind(), syncline_change::ErrorKind::Input, "{body}");
        }
    }
}
