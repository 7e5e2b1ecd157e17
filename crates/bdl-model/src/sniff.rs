//! Which character separates the fields.

use csv_core::{ReadRecordResult, ReaderBuilder};

/// The delimiters that are looked for; of two that fit alike, the earlier one is taken.
pub const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// How many lines decide, the header among them.
pub(crate) const LINES: usize = 10;

/// Finds the delimiter in the first lines of a file.
///
/// Quotes are respected. A delimiter that gives every row as many fields as the header, and more than one,
/// wins over one that does not; then the one with more fields in the header. One column, which has no
/// delimiter, reads as comma-separated. An unfinished last line does not count, unless it is the only one.
///
/// # Examples
///
/// ```
/// assert_eq!(bdl_model::sniff_delimiter(b"a;b\n1,5;2,5\n"), b';');
/// assert_eq!(bdl_model::sniff_delimiter(b"\"a;b\",c\n1,2\n"), b',');
/// ```
#[must_use]
pub fn sniff_delimiter(head: &[u8]) -> u8 {
    let mut best = (false, 1, b',');
    for delimiter in DELIMITERS {
        let counts = field_counts(head, delimiter);
        let header = counts.first().copied().unwrap_or(0);
        let steady = header > 1 && counts.iter().all(|&n| n == header);
        if (steady, header) > (best.0, best.1) {
            best = (steady, header, delimiter);
        }
    }
    best.2
}

/// Number of fields of each complete record.
fn field_counts(head: &[u8], delimiter: u8) -> Vec<usize> {
    let mut core = ReaderBuilder::new().delimiter(delimiter).build();
    // No record has more bytes or more ends than the input, and one end for its last field.
    let (mut output, mut ends) = (vec![0; head.len() + 1], vec![0; head.len() + 1]);
    let (mut counts, mut at, mut fields) = (Vec::new(), 0, 0);
    loop {
        let (result, read, _, ended) = core.read_record(&head[at..], &mut output, &mut ends);
        at += read;
        fields += ended;
        match result {
            ReadRecordResult::Record if at < head.len() || counts.is_empty() || complete(head) => {
                counts.push(fields)
            }
            ReadRecordResult::Record | ReadRecordResult::End => return counts,
            // The input is used up: the next, empty one ends the last record.
            _ => continue,
        }
        fields = 0;
    }
}

fn complete(head: &[u8]) -> bool {
    matches!(head.last(), Some(b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delimiter_is_found() {
        for d in DELIMITERS {
            let text = "a,b,c\n1,2,3\n4,5,6\n".replace(',', &char::from(d).to_string());
            assert_eq!(sniff_delimiter(text.as_bytes()), d);
        }
    }

    #[test]
    fn a_delimiter_within_quotes_does_not_count() {
        assert_eq!(sniff_delimiter(b"\"a,b,c\";d\n\"1,2,3\";4\n"), b';');
        assert_eq!(sniff_delimiter(b"a;b\n\"x\n,,,\";2\n"), b';');
    }

    #[test]
    fn steady_rows_win_over_more_fields() {
        assert_eq!(sniff_delimiter(b"a, in m|b, in s, or h\n1|2\n"), b'|');
    }

    #[test]
    fn a_ragged_row_and_an_unfinished_line_do_not_mislead() {
        assert_eq!(sniff_delimiter(b"a;b;c\n1;2;3\n1;2\n"), b';');
        assert_eq!(sniff_delimiter(b"a;b,x;c\n1;2;3\n1;"), b';');
    }

    #[test]
    fn one_column_or_nothing_is_comma_separated() {
        assert_eq!(sniff_delimiter(b"a\n1\n"), b',');
        assert_eq!(sniff_delimiter(b""), b',');
        assert_eq!(sniff_delimiter(b"a;b"), b';');
    }
}
