//! What the reader takes, and what it says to files that it does not take.

use std::io::Write;
use std::path::Path;

use bdl_model::{Chunk, DELIMITERS, Error, RowReader, Table};

fn reader(text: impl AsRef<[u8]>) -> Result<RowReader, Error> {
    RowReader::from_reader("data.csv", std::io::Cursor::new(text.as_ref().to_vec()), None)
}

fn table(text: impl AsRef<[u8]>) -> Result<Table, Error> {
    Table::from_reader(reader(text)?)
}

fn cells(table: &Table) -> Vec<Vec<&str>> {
    (0..table.rows()).map(|row| table.row(row).cells().collect()).collect()
}

fn message(text: impl AsRef<[u8]>) -> String {
    table(text).unwrap_err().to_string()
}

#[test]
fn quoted_fields_hold_delimiters_quotes_and_line_ends() {
    let t = table("a,\"b, c\"\n\"x\ny,z\",\"say \"\"no\"\"\"\n1,2\n").unwrap();
    assert_eq!(t.columns(), ["a", "b, c"]);
    assert_eq!(cells(&t), [["x\ny,z", "say \"no\""], ["1", "2"]]);
    assert_eq!((t.row(0).line(), t.row(1).line()), (2, 4));
}

#[test]
fn every_delimiter_is_found_or_may_be_given() {
    for delimiter in DELIMITERS {
        let text = "a;b c\n1;2\n\"3\";4\n".replace(';', &char::from(delimiter).to_string());
        let t = table(&text).unwrap();
        assert_eq!(cells(&t), [["1", "2"], ["3", "4"]]);
        let given = RowReader::from_reader("x", std::io::Cursor::new(text), Some(delimiter)).unwrap();
        assert_eq!(
            (given.delimiter(), given.columns()),
            (delimiter, &["a".to_owned(), "b c".to_owned()][..])
        );
    }
    let bad = RowReader::from_reader("x", "a\n".as_bytes(), Some(b'"')).unwrap_err();
    assert_eq!(
        bad.to_string(),
        "delimiter: must be an ASCII character other than a quote or a line end, got '\"'"
    );
}

#[test]
fn lines_end_in_crlf_too_and_a_byte_order_mark_is_skipped() {
    let t = table("\u{feff}a,b\r\n1,2\r\n\r\n3,4").unwrap();
    assert_eq!(t.columns(), ["a", "b"]);
    assert_eq!(cells(&t), [["1", "2"], ["3", "4"]]);
    assert_eq!((t.row(1).number(), t.row(1).line()), (2, 4));
}

#[test]
fn blank_lines_count_as_lines_but_not_as_rows() {
    let t = table("\n a , b \n\n1,2\n   \n\n3,4\n\n").unwrap();
    assert_eq!(t.columns(), ["a", "b"]);
    assert_eq!(cells(&t), [["1", "2"], ["3", "4"]]);
    assert_eq!((t.row(0).line(), t.row(1).line()), (4, 7));
}

#[test]
fn ragged_rows_are_named_with_the_column_where_they_go_wrong() {
    assert_eq!(
        message("a,b,c\n1,2,3\n\n1,2\n"),
        "data.csv: row 2 (line 4): expected 3 fields as in the header, got 2 (the row ends after column \"b\")"
    );
    assert_eq!(
        message("a,b\r\n1,2,3\r\n"),
        "data.csv: row 1 (line 2): expected 2 fields as in the header, got 3 (the row goes on after the last column, \"b\")"
    );
    assert_eq!(
        message("a,b\n1,\"2\n3,4\",5\n6,7\n"),
        "data.csv: row 1 (line 2): expected 2 fields as in the header, got 3 (the row goes on after the last column, \
         \"b\"); the row goes on to line 3: is a quote not closed?"
    );
}

#[test]
fn a_quote_that_is_not_closed_is_found() {
    assert_eq!(
        message("a,b\n1,2\n3,\"4\n5,6\n"),
        "data.csv: row 2 (line 3): expected a closing quote for field 2, got the end of the file"
    );
    assert_eq!(
        message("a,\"b"),
        "data.csv: header (line 1): expected a closing quote for field 2, got the end of the file"
    );
    let endless = format!("a,b\n1,\"{}", "2,3\n".repeat(5_000_000));
    assert_eq!(
        message(endless),
        "data.csv: row 1 (line 2): expected a row of at most 16777216 bytes, got a longer one (is a quote not closed?)"
    );
}

#[test]
fn bytes_that_are_not_utf8_are_named_with_their_line() {
    assert_eq!(
        message(b"a,b\n1,2\n3,caf\xe9\n"),
        "data.csv: row 2 (line 3): expected UTF-8 text, got the byte 0xe9 in field 2"
    );
    // Two fields that would be UTF-8 only if joined.
    assert_eq!(
        message(b"a,b\n\xc3,\xa9\n"),
        "data.csv: row 1 (line 2): expected UTF-8 text, got the byte 0xc3 in field 1"
    );
    assert_eq!(
        message(b"\xff\xfea\0,\0"),
        "data.csv: header (line 1): expected UTF-8 text, got the byte 0xff in field 1"
    );
}

#[test]
fn header_names_are_there_and_differ() {
    assert_eq!(
        message(",a, ,b\n1,2,3,4\n"),
        "data.csv: header (line 1): expected a name for each of 4 columns, got none for column 1, 3"
    );
    assert_eq!(
        message("x,a,y, a\n1,2,3,4\n"),
        "data.csv: header (line 1): expected distinct column names, got \"a\" for columns 2, 4"
    );
}

#[test]
fn files_without_rows_say_so() {
    assert_eq!(message(""), "data.csv: expected a header and rows, got an empty file");
    assert_eq!(message("\u{feff}\n\r\n"), "data.csv: expected a header and rows, got an empty file");
    assert_eq!(message("a,b\n\n"), "data.csv: expected rows below the header, got none");
    let mut chunk = Chunk::new();
    assert!(!reader("a,b\n").unwrap().next_chunk(10, &mut chunk).unwrap());
}

#[test]
fn a_missing_file_and_a_directory_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.csv");
    let text = RowReader::open(&missing, None).unwrap_err().to_string();
    assert!(text.starts_with(&format!("{}: ", missing.display())), "{text}");
    let text = RowReader::open(dir.path(), None).unwrap_err().to_string();
    assert_eq!(text, format!("{}: expected a file, got a directory", dir.path().display()));
}

#[test]
fn a_file_is_read_by_its_path() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"a\n1\n2\n").unwrap();
    let t = Table::open(file.path(), None).unwrap();
    assert_eq!((t.file(), t.rows()), (file.path().to_str().unwrap(), 2));
    assert!(Table::open(Path::new("no-such-file"), None).is_err());
}

#[test]
fn reading_goes_on_after_a_bad_row() {
    let mut r = reader("a,b\n1,2\n3\n5,6\n").unwrap();
    let mut chunk = Chunk::new();
    let bad = r.next_chunk(10, &mut chunk).unwrap_err();
    assert!(bad.is_bad_row());
    assert_eq!((chunk.len(), chunk.row(0).cell(1)), (1, "2"));
    assert!(r.next_chunk(10, &mut chunk).unwrap());
    assert_eq!((chunk.len(), chunk.row(0).number(), chunk.row(0).cell(0)), (1, 3, "5"));
    assert!(!r.next_chunk(10, &mut chunk).unwrap());
}

#[test]
fn chunks_are_as_long_as_asked_whatever_the_buffer() {
    /// Gives one byte at a time.
    struct Slow(std::io::Cursor<Vec<u8>>);
    impl std::io::Read for Slow {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let one = buf.len().min(1);
            self.0.read(&mut buf[..one])
        }
    }
    let text: String =
        std::iter::once("a;b\r\n".to_owned()).chain((0..100).map(|i| format!("{i};\"{i}\"\r\n"))).collect();
    let mut r = RowReader::from_reader("x", Slow(std::io::Cursor::new(text.into_bytes())), None).unwrap();
    let (mut chunk, mut sizes, mut next) = (Chunk::new(), Vec::new(), 0);
    while r.next_chunk(30, &mut chunk).unwrap() {
        sizes.push(chunk.len());
        for row in chunk.rows() {
            assert_eq!(row.cells().collect::<Vec<_>>(), [next.to_string(), next.to_string()]);
            next += 1;
            assert_eq!((row.number(), row.line()), (next, next + 1));
        }
    }
    assert_eq!(sizes, [30, 30, 30, 10]);
}
