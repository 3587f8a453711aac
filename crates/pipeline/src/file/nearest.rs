//! What somebody meant who wrote something else.

/// The one of `names` that `written` is most likely a misspelling of.
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = folded(written);
    if written.is_empty() {
        return None;
    }
    let distances = names.into_iter().map(|name| {
        let name_folded = folded(name);
        let distance = strsim::damerau_levenshtein(&written, &name_folded);
        let longer = written.chars().count().max(name_folded.chars().count());
        // `lag` for `lateness` is no misspelling, but `delim` for `delimiter` is a shortening.
        let shortened = written.chars().count() >= 3
            && (name_folded.starts_with(&written) || written.starts_with(&name_folded));
        let likely = distance <= (longer / 3).max(1) && distance < longer;
        (name, if likely || shortened { Some(distance) } else { None })
    });
    let likely = distances.filter_map(|(name, distance)| distance.map(|d| (d, name)));
    likely.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// `primaryKey`, `primary-key` and `Primary_Key` are all the same misspelling.
fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn any_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_find_what_was_meant_and_other_words_nothing() {
        let keys = ["path", "format", "primary_key", "event_time", "delimiter", "on_error"];
        for (written, meant) in [
            ("fromat", Some("format")),
            ("primaryKey", Some("primary_key")),
            ("event-time", Some("event_time")),
            ("delim", Some("delimiter")),
            ("onerror", Some("on_error")),
            ("Path", Some("path")),
            ("url", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, keys), meant, "{written}");
        }
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(any_of(&["a", "b", "c"]), "a, b or c");
        assert_eq!(any_of(&["a"]), "a");
    }
}
