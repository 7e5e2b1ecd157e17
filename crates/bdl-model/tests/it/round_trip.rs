//! A table written by another program reads back equal.

use bdl_model::{RowReader, Table};
use proptest::prelude::*;

/// Rows of equal width, of cells that try every character that matters.
fn rows() -> impl Strategy<Value = Vec<Vec<String>>> {
    (1..6_usize).prop_flat_map(|columns| {
        let cell = "[a-c,;|\t \"\r\n0-9.é]{0,6}";
        prop::collection::vec(prop::collection::vec(cell, columns), 1..20)
    })
}

fn write(rows: &[Vec<String>], delimiter: u8, crlf: bool) -> Vec<u8> {
    let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
    let style = csv::QuoteStyle::Always;
    let mut writer = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .terminator(terminator)
        .quote_style(style)
        .from_writer(Vec::new());
    let names: Vec<String> = (0..rows[0].len()).map(|i| format!("column {i}")).collect();
    writer.write_record(&names).unwrap();
    rows.iter().for_each(|row| writer.write_record(row).unwrap());
    writer.into_inner().unwrap()
}

/// Line in which each row begins, counted naively.
fn lines(rows: &[Vec<String>]) -> Vec<u64> {
    let mut line = 2;
    rows.iter()
        .map(|row| {
            let first = line;
            line += 1 + row.concat().bytes().filter(|b| *b == b'\n').count() as u64;
            first
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_csv_writes_reads_back_with_its_lines(
        rows in rows(),
        delimiter in prop::sample::select(bdl_model::DELIMITERS.to_vec()),
        crlf in any::<bool>(),
    ) {
        let bytes = write(&rows, delimiter, crlf);
        let reader = RowReader::from_reader("x", std::io::Cursor::new(bytes), Some(delimiter)).unwrap();
        let table = Table::from_reader(reader).unwrap();
        let read: Vec<Vec<&str>> = (0..table.rows()).map(|r| table.row(r).cells().collect()).collect();
        prop_assert_eq!(&read, &rows);
        let read: Vec<u64> = (0..table.rows()).map(|r| table.row(r).line()).collect();
        prop_assert_eq!(read, lines(&rows));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let reader = RowReader::from_reader("x", std::io::Cursor::new(bytes), None);
        let _ = reader.and_then(Table::from_reader);
    }

    #[test]
    fn any_finite_number_is_read_exactly(x in any::<f64>().prop_filter("finite", |x| x.is_finite())) {
        let text = format!("x,y\n{x:?},0\n");
        let table = Table::from_reader(
            RowReader::from_reader("x", std::io::Cursor::new(text), None).unwrap()
        ).unwrap();
        prop_assert_eq!(table.numbers(0, &[0]).unwrap()[0].map(f64::to_bits), Some(x.to_bits()));
    }
}
