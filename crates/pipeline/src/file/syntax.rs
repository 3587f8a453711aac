//! What the YAML reader refuses, in plain words: the mistake that people make rather than the rule
//! that the scanner noticed, and where the mistake is rather than where the scanner stopped.

use saphyr_parser::ScanError;

use super::nearest::any_of;
use super::problem::Problem;
use super::tree::Span;

/// The problem behind `error`.
pub(super) fn explain(error: &ScanError, text: &str) -> Problem {
    let mark = error.marker();
    let at =
        Place { lines: text.lines().collect(), line: mark.line().max(1), column: mark.col() + 1 };
    let info = error.info();
    let has = |part: &str| info.contains(part);
    if has("recursion") {
        at.problem("the file is nested too deeply here")
    } else if has("tab") && !has("alphabetic") {
        tab(&at)
    } else if has("unknown escape") || has("escape code") || has("hexadecimal") {
        escape(&at)
    } else if has("trailing content after") {
        after_quote(&at)
    } else if has("quoted scalar") {
        open_quote(&at)
    } else if has("flow") || has("illegal placement") {
        brackets(&at, info)
    } else if has("misplaced bracket") {
        bracket_too_many(&at)
    } else if has("anchor")
        || has("unexpected character")
        || has("node content")
        || has("start with")
    {
        starts_wrong(&at)
    } else if has("mapping values") || has("simple key") || has("plain scalar") {
        if open_bracket(&at).is_some() { brackets(&at, info) } else { colon(&at, info) }
    } else if has("block sequence entries") {
        at.problem("a list cannot start on the line of its key")
            .hint("write `key: [a, b]`, or put each `- ` on its own line below the key")
    } else if has("expected key") {
        indentation(&at, info)
    } else if has("'-' indicator") {
        at.problem("a list is open here, and this line is not an item of it")
            .label("start it with `- `, or indent it under the item above")
    } else {
        generic(&at, info)
    }
}

/// The first character that no text file has.
pub(super) fn unprintable(text: &str) -> Option<Problem> {
    let unprintable = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}');
    let (offset, found) = text.chars().enumerate().find(|(_, c)| unprintable(*c))?;
    let before: String = text.chars().take(offset).collect();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let (line, column) =
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
    let span = Span { line, column, length: 1, offset };
    let message = format!("an unprintable character (U+{:04X}) stands here", u32::from(found));
    Some(Problem::at(span, "", message).hint("remove it; a pipeline file is UTF-8 text"))
}

/// Where the scanner stopped, and the lines to look for the cause in.
struct Place<'a> {
    lines: Vec<&'a str>,
    line: usize,
    column: usize,
}

impl<'a> Place<'a> {
    fn here(&self) -> &'a str {
        self.lines.get(self.line - 1).copied().unwrap_or_default()
    }

    fn problem(&self, message: impl Into<String>) -> Problem {
        self.on(self.line, self.column, 1, message)
    }

    fn on(&self, line: usize, column: usize, length: usize, message: impl Into<String>) -> Problem {
        Problem::at(Span { line, column, length, offset: 0 }, "", message)
    }

    /// The last line before this one with something on it that is no comment.
    fn previous(&self) -> Option<(usize, &'a str)> {
        let before = self.lines.iter().enumerate().take(self.line - 1).rev();
        before
            .map(|(i, line)| (i + 1, *line))
            .find(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    }

    /// What stands from where the scanner stopped to the end of the line.
    fn rest(&self) -> &'a str {
        from_column(self.here(), self.column)
    }
}

fn from_column(line: &str, column: usize) -> &str {
    line.char_indices().nth(column.saturating_sub(1)).map_or("", |(at, _)| &line[at..])
}

fn indent(line: &str) -> usize {
    line.chars().take_while(|c| *c == ' ').count()
}

fn key_of(line: &str) -> Option<&str> {
    let line = line.trim_start().trim_start_matches("- ");
    let (key, rest) = line.split_once(':')?;
    (rest.is_empty() || rest.starts_with(' ')).then_some(key)
}

fn generic(at: &Place<'_>, info: &str) -> Problem {
    at.problem("this is not valid YAML")
        .label(info.to_owned())
        .hint("look at the indentation, quotes and brackets of this line and of the one before")
}

fn tab(at: &Place<'_>) -> Problem {
    let lines = at.lines.iter().enumerate().skip(at.line - 1).take(2);
    let found = lines
        .filter_map(|(i, line)| {
            let blank = line.chars().take_while(|c| c.is_whitespace());
            blank.clone().position(|c| c == '\t').map(|column| {
                let tabs = blank.skip(column).take_while(|c| *c == '\t').count();
                (i + 1, column + 1, tabs)
            })
        })
        .next();
    let (line, column, length) = found.unwrap_or((at.line, at.column, 1));
    at.on(line, column, length, "a tab is used for indentation")
        .label("use spaces")
        .hint("YAML allows only spaces in front of a line: replace each tab by two spaces")
}

fn escape(at: &Place<'_>) -> Problem {
    let line = at.here();
    let known = "0abtnvfre \"/\\N_LPxuU\t";
    let chars: Vec<char> = line.chars().collect();
    let mut column = at.column;
    while column < chars.len() {
        match (chars[column - 1], chars.get(column)) {
            ('\\', Some(c)) if !known.contains(*c) => break,
            ('\\', Some(_)) => column += 2,
            _ => column += 1,
        }
    }
    if column >= chars.len() {
        return at
            .problem("a `\\` in this quoted text is not followed by an escape that YAML has")
            .hint("in 'single quotes' a backslash is only a backslash");
    }
    let shown: String = chars[column - 1..=column].iter().collect();
    at.on(at.line, column, 2, format!("`{shown}` is not an escape that YAML has"))
        .hint("write `\\\\` for a backslash, or use 'single quotes', where it is only a backslash")
}

fn after_quote(at: &Place<'_>) -> Problem {
    at.problem("text goes on after the closing quote")
        .label("not expected here")
        .hint("a quote inside of 'single quotes' is written twice (''), inside of \"double quotes\" as \\\"; or write the whole value as a block:\nkey: |\n  text with \"any\" 'quotes'")
}

fn open_quote(at: &Place<'_>) -> Problem {
    let quote = at.rest().chars().next().filter(|c| matches!(c, '"' | '\'')).unwrap_or('"');
    let length = at.rest().trim_end().chars().count();
    at.on(at.line, at.column, length, "the quote that opens here is not closed")
        .label(format!("a `{quote}` is missing"))
        .hint("lines that go on inside of quotes must be indented deeper than the key")
}

/// Something is wrong inside of `[ ]` or `{ }`.
fn brackets(at: &Place<'_>, info: &str) -> Problem {
    let line = at.here();
    let before: String = line.chars().take(at.column - 1).collect();
    if before.ends_with('$') || before.ends_with("${") {
        let start = before.rfind('$').map_or(at.column, |at| before[..at].chars().count() + 1);
        let rest = from_column(line, start);
        let reference = rest.split_inclusive('}').next().unwrap_or(rest);
        let length = reference.chars().count();
        return at
            .on(at.line, start, length, "a reference inside of brackets must be in quotes")
            .label(format!("write \"{reference}\""));
    }
    let Some((line, column, bracket)) = open_bracket(at) else { return generic(at, info) };
    let closing = if bracket == '[' { ']' } else { '}' };
    let problem = at.on(line, column, 1, format!("the `{bracket}` that opens here is not closed"));
    let problem = if line == at.line {
        problem.label(format!("a `,` or `{closing}` is missing at column {}", at.column))
    } else {
        problem.label(format!("a `,` or `{closing}` is missing before line {}", at.line))
    };
    problem.hint("text with `{`, `[`, `:` or `,` in it must be in quotes inside of brackets")
}

/// The innermost bracket that is open where the scanner stopped.
fn open_bracket(at: &Place<'_>) -> Option<(usize, usize, char)> {
    let mut open = Vec::new();
    for (i, line) in at.lines.iter().enumerate().take(at.line) {
        let mut quote = None;
        let mut before = ' ';
        for (j, c) in line.chars().enumerate() {
            if i + 1 == at.line && j + 1 >= at.column {
                break;
            }
            match (quote, c) {
                (Some(q), _) if c == q => quote = None,
                (Some(_), _) => {}
                (None, '#') if before == ' ' => break,
                // An apostrophe in the middle of a word opens nothing.
                (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(c),
                (None, '[') => open.push((i + 1, j + 1, c)),
                (None, '{') if before != '$' => open.push((i + 1, j + 1, c)),
                (None, ']' | '}') => drop(open.pop()),
                (None, _) => {}
            }
            before = c;
        }
    }
    open.pop()
}

fn bracket_too_many(at: &Place<'_>) -> Problem {
    let bracket = at.rest().chars().next().unwrap_or(']');
    at.problem(format!("this `{bracket}` closes nothing"))
        .hint("remove it; if the value is text with brackets, put it in quotes")
}

/// A value starts with a character that means something to YAML.
fn starts_wrong(at: &Place<'_>) -> Problem {
    let value = at.rest().trim_end();
    let Some(first) = value.chars().next() else {
        return at.problem("a value is missing here");
    };
    if first == '%' && at.column == 1 {
        return at.problem("a line cannot start with `%`");
    }
    let shown = value.split(" #").next().unwrap_or(value).trim_end();
    let problem = at.on(
        at.line,
        at.column,
        shown.chars().count(),
        format!("a value cannot start with `{first}`"),
    );
    if shown.contains('"') {
        problem.label("put it in 'single quotes'")
    } else {
        problem.label(format!("put it in quotes: \"{shown}\""))
    }
}

/// A colon where none can be, or none where one must be.
fn colon(at: &Place<'_>, info: &str) -> Problem {
    let line = at.here();
    let before: String = line.chars().take(at.column.saturating_sub(1)).collect();
    if let Some(key) = key_of(&before) {
        let value = before.trim_start().len() - before.trim_start().trim_start_matches("- ").len();
        let start = indent(line) + value + key.chars().count() + 3;
        let length = line.trim_end().chars().count().saturating_sub(start - 1);
        return at
            .on(at.line, start, length, format!("the value of `{key}` has `: ` in it"))
            .label(format!("the second colon is at column {}", at.column))
            .hint(format!(
                "put the value in quotes, or write it as a block:\n{key}: |\n  SELECT ..."
            ));
    }
    let Some((number, previous)) = at.previous() else { return generic(at, info) };
    let content = previous.trim_start().trim_start_matches("- ");
    let column = previous.trim_end().chars().count() - content.trim_end().chars().count() + 1;
    let content = content.split(" #").next().unwrap_or(content).trim_end();
    let length = content.chars().count();
    if let Some(key) = key_of(previous) {
        return at
            .on(at.line, indent(line) + 1, 1, format!("this line counts as more of the value of `{key}`"))
            .label(format!("it is indented deeper than line {number}"))
            .hint(format!(
                "if it is a key of its own, start it in column {column}, like `{key}`; if it belongs \
                 to the value, write that as a block (`{key}: |`)"
            ));
    }
    match content.split_once(':') {
        Some((key, value)) if !value.is_empty() => at
            .on(number, column, length, "a space is missing after the `:`")
            .label(format!("write `{key}: {value}`")),
        _ => at
            .on(number, column, length, format!("a `:` is missing after `{}`", first_word(content)))
            .label("a line is `key: value`, or `key:` with indented lines below it"),
    }
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or(text)
}

/// A line that is not a key of the mapping that is open there.
fn indentation(at: &Place<'_>, info: &str) -> Problem {
    let line = at.here();
    let content = line.trim_start();
    let above = at.lines.get(at.line.wrapping_sub(2)).copied().unwrap_or_default();
    if above.trim_start().starts_with('#') && key_of(line).is_none() {
        return at
            .on(at.line - 1, indent(above) + 1, above.trim().chars().count(), "a comment stands in the middle of a value")
            .hint("write a value of several lines as a block (`key: |`); SQL has its own comments: `-- text`");
    }
    if content.starts_with("- ") {
        return at
            .on(at.line, indent(line) + 1, 1, "a list item stands where a key is expected")
            .hint("indent it under the key that it belongs to, or remove the `- `");
    }
    let mut open: Vec<usize> = Vec::new();
    for earlier in at.lines.iter().take(at.line - 1) {
        if !earlier.trim().is_empty() && !earlier.trim_start().starts_with('#') {
            let depth = indent(earlier);
            open.retain(|other| *other < depth);
            open.push(depth);
        }
    }
    let depth = indent(line);
    if open.contains(&depth) || at.column > depth + 1 {
        return generic(at, info);
    }
    let columns: Vec<String> = open.iter().map(|depth| (depth + 1).to_string()).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    at.on(
        at.line,
        depth + 1,
        content.trim_end().chars().count(),
        "this line is indented like none above it",
    )
    .label(format!("it starts in column {}", depth + 1))
    .hint(format!("start it in column {}, where a line above it starts", any_of(&columns)))
}
