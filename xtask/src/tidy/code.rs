//! Rust source without its comments and literals, so that a search finds code only.

/// The source with comments, strings and characters blanked; every line keeps its number.
pub(super) fn code_only(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let in_word = out.ends_with(is_word);
        let (len, keep) = match blank_len(rest, in_word) {
            0 => (c.len_utf8(), true),
            len => (len, false),
        };
        out.extend(rest[..len].chars().map(|c| if keep || c == '\n' { c } else { ' ' }));
        rest = &rest[len..];
    }
    out
}

/// Whether `line` has `word` with no word character on either side.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let open = word.ends_with(is_word) && line[at + word.len()..].starts_with(is_word);
        !line[..at].ends_with(is_word) && !open
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the comment or literal that `s` begins with, or 0.
fn blank_len(s: &str, in_word: bool) -> usize {
    match s.as_bytes()[0] {
        b'/' if s.starts_with("//") => s.find('\n').unwrap_or(s.len()),
        b'/' if s.starts_with("/*") => block_comment_len(s),
        b'"' => quoted_len(s),
        b'\'' => char_len(s),
        b'r' | b'b' | b'c' if !in_word => raw_string_len(s),
        _ => 0,
    }
}

/// Block comments nest.
fn block_comment_len(s: &str) -> usize {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 && at < s.len() {
        let rest = &s.as_bytes()[at..];
        let step = match rest {
            [b'/', b'*', ..] => 1,
            [b'*', b'/', ..] => -1,
            _ => 0,
        };
        depth += step;
        at += if step == 0 { 1 } else { 2 };
    }
    at
}

/// A string or character up to its closing quote; a backslash hides what follows it.
fn quoted_len(s: &str) -> usize {
    let quote = s.as_bytes()[0];
    let mut at = 1;
    while at < s.len() {
        match s.as_bytes()[at] {
            b'\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    s.len()
}

/// `'x'` and `'\n'`, but not the lifetime `'a`.
fn char_len(s: &str) -> usize {
    let mut chars = s[1..].chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted_len(s),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

/// `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`; 0 for anything else.
fn raw_string_len(s: &str) -> usize {
    let Some(after_r) = s.trim_start_matches(['b', 'c']).strip_prefix('r') else { return 0 };
    let body = after_r.trim_start_matches('#');
    let hashes = after_r.len() - body.len();
    let Some(body) = body.strip_prefix('"') else { return 0 };
    let close = format!("\"{}", "#".repeat(hashes));
    body.find(&close).map_or(s.len(), |at| s.len() - body.len() + at + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        for (source, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("\"unsafe") + g"#, "f(          ) + g"),
            (r##"r#"x " y"# + br"z" + r#type"##, "           +       + r#type"),
            ("'a' '\\'' &'b str '\"'", "         &'b str    "),
            ("attr\"x\" é 'é'", "attr    é    "),
        ] {
            let got = code_only(source);
            assert_eq!(got.trim_end(), code.trim_end(), "{source}");
        }
    }

    #[test]
    fn an_unclosed_literal_ends_with_the_file() {
        for source in ["\"abc", "/* abc", "r#\"abc\"", "'\\", "\"\\"] {
            assert_eq!(code_only(source).trim(), "", "{source}");
        }
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("x unsafe {", "unsafe"));
        assert!(!has_word("forbid(unsafe_code)", "unsafe"));
        assert!(has_word("std::dbg!(x)", "dbg!"));
        assert!(!has_word("not_dbg!(x)", "dbg!"));
    }
}
