//! From rows to numbers, in training, in streaming prediction and in a service.

use bdl_model::{Chunk, Encoder, Error, MissingPolicy, RowReader, Schema, SelectOptions, Table, Targets};

const TRAIN: &str = "x,colour,y\n1,red,10\n3,blue,20.5\n2,red,31\n";

fn reader(name: &str, text: &str) -> RowReader {
    RowReader::from_reader(name, std::io::Cursor::new(text.to_owned()), None).unwrap()
}

fn encoder_with(text: &str, missing: MissingPolicy) -> Encoder {
    let table = Table::from_reader(reader("train.csv", text)).unwrap();
    let options = SelectOptions { target: "y".into(), missing, ..Default::default() };
    Encoder::new(Schema::infer(&table, &options).unwrap()).unwrap()
}

fn encoder() -> Encoder {
    encoder_with(TRAIN, MissingPolicy::Error)
}

fn encode(encoder: &Encoder, text: &str) -> Result<Vec<f32>, Error> {
    let mut reader = reader("new.csv", text);
    let map = encoder.schema().match_header(reader.file(), reader.columns())?;
    let (mut chunk, mut out) = (Chunk::new(), Vec::new());
    reader.next_chunk(100, &mut chunk)?;
    encoder.encode_chunk(&chunk, &map, &mut out).map(|()| out)
}

fn message(text: &str) -> String {
    encode(&encoder(), text).unwrap_err().to_string()
}

#[test]
fn numbers_are_standardized_and_categories_one_hot() {
    let std = (2.0_f64 / 3.0).sqrt();
    let z = (1.0 / std) as f32;
    assert_eq!(encode(&encoder(), "x,colour\n1,red\n 3 , blue \n").unwrap(), [-z, 0.0, 1.0, z, 1.0, 0.0]);
}

#[test]
fn the_order_of_columns_does_not_matter_and_further_ones_are_ignored() {
    let e = encoder();
    let expected = encode(&e, "x,colour\n1.5,red\n").unwrap();
    assert_eq!(encode(&e, "id;colour;y;x\n7;red;0;1.5\n").unwrap(), expected);
    let header = ["id", "colour", "y", "x"].map(str::to_owned);
    let map = e.schema().match_header("new.csv", &header).unwrap();
    assert_eq!(
        (map.features.as_slice(), map.targets.as_slice(), map.ignored.as_slice()),
        (&[3, 1][..], &[Some(2)][..], &[0][..])
    );
}

#[test]
fn a_table_and_a_stream_are_encoded_alike() {
    let e = encoder();
    let table = Table::from_reader(reader("train.csv", TRAIN)).unwrap();
    let map = e.schema().match_header(table.file(), table.columns()).unwrap();
    assert_eq!(e.encode_table(&table, &[0, 1, 2], &map).unwrap(), encode(&e, TRAIN).unwrap());
}

#[test]
fn all_missing_columns_are_named() {
    assert_eq!(
        message("id,y\n1,2\n"),
        "new.csv: expected the model's columns, got none named \"x\", \"colour\""
    );
}

#[test]
fn cells_that_do_not_fit_are_named_with_their_place() {
    assert_eq!(
        message("x,colour\n1,red\n\n2,green\n"),
        "new.csv: row 2 (line 4), column \"colour\": expected one of \"blue\", \"red\", got \"green\""
    );
    assert_eq!(
        message("x,colour\none,red\n"),
        "new.csv: row 1 (line 2), column \"x\": expected a finite number, got \"one\""
    );
    assert_eq!(
        message("x,colour\n-inf,red\n"),
        "new.csv: row 1 (line 2), column \"x\": expected a finite number, got \"-inf\""
    );
    assert_eq!(
        message("x,colour\n1e300,red\n"),
        "new.csv: row 1 (line 2), column \"x\": expected a number near the training rows' mean 2, got \"1e300\""
    );
    assert_eq!(
        message("x,colour\n,red\n"),
        "new.csv: row 1 (line 2), column \"x\": expected a value, got \"\"; the model was not trained with --missing impute"
    );
    assert!(encode(&encoder(), "x,colour\n,red\n").unwrap_err().is_bad_row());
}

#[test]
fn only_the_first_of_many_levels_are_listed() {
    let rows = (0..20).fold("c,y\n".to_owned(), |text, i| text + &format!("c{i:02},{i}.5\n"));
    let e = encoder_with(&rows, MissingPolicy::Error);
    assert_eq!(
        encode(&e, "c\nnew\n").unwrap_err().to_string(),
        "new.csv: row 1 (line 2), column \"c\": expected one of \"c00\", \"c01\", \"c02\", \"c03\", \"c04\", \"c05\", \
         \"c06\", \"c07\" and 12 more, got \"new\""
    );
}

#[test]
fn missing_cells_are_imputed_if_the_model_says_so() {
    let e = encoder_with("x,c,y\n1,a,0.5\n3,b,1.5\nNA,b,2.5\n", MissingPolicy::Impute);
    assert_eq!(encode(&e, "x,c\n?,\n").unwrap(), [0.0, 0.0, 1.0]);
}

#[test]
fn targets_are_standardized_or_class_positions() {
    let targets = |text: &str, new: &str| {
        let e = encoder_with(text, MissingPolicy::Error);
        let table = Table::from_reader(reader("new.csv", new)).unwrap();
        let map = e.schema().match_header(table.file(), table.columns()).unwrap();
        let rows: Vec<usize> = (0..table.rows()).collect();
        e.encode_targets(&table, &rows, &map).map_err(|e| e.to_string())
    };
    let real = "x,y\n1,0.5\n2,2.5\n";
    let class = "x,y\n1,no\n2,yes\n";
    assert_eq!(targets(real, "y,x\n3.5,1\n1.5,1\n"), Ok(Targets::Real(vec![2.0, 0.0])));
    assert_eq!(targets(class, "y,x\nyes,1\nno,1\n"), Ok(Targets::Class(vec![1, 0])));
    assert_eq!(
        targets(real, "x\n1\n"),
        Err("new.csv: expected the target \"y\", got no column of that name".into())
    );
    assert_eq!(
        targets(class, "x,y\n1,maybe\n"),
        Err("new.csv: row 1 (line 2), column \"y\": expected one of \"no\", \"yes\", got \"maybe\"".into())
    );
    assert_eq!(
        targets(real, "x,y\n1,2\n1,\n"),
        Err("new.csv: row 2 (line 3), column \"y\": expected a value of the target, got \"\"; \
             targets are never imputed"
            .into())
    );
}

#[test]
fn a_row_buffer_encodes_as_a_file_does() {
    let e = encoder();
    let mut row = e.row();
    let mut out = [f32::NAN; 3];
    row.set_number("x", 1.5).unwrap();
    assert_eq!(row.encode(&mut out).unwrap_err().to_string(), "row: column \"colour\" was not set");
    row.set_text(1, "red").unwrap();
    row.encode(&mut out).unwrap();
    assert_eq!(out.as_slice(), encode(&e, "x,colour\n1.5,red\n").unwrap());
    row.clear();
    assert!(row.encode(&mut out).is_err());
}

#[test]
fn a_row_buffer_says_what_is_wrong() {
    let mut row = encoder().row();
    let text = |outcome: Result<(), Error>| outcome.unwrap_err().to_string();
    assert_eq!(text(row.set_number("color", 1.0)), "row: no column \"color\" (did you mean \"colour\"?)");
    assert_eq!(text(row.set_number(2, 1.0)), "row: no column \"2\"");
    assert_eq!(
        text(row.set_number("x", f64::NAN)),
        "row, column \"x\": expected a finite number, got \"NaN\""
    );
    assert_eq!(text(row.set_text("x", "a")), "row, column \"x\": expected a finite number, got \"a\"");
    assert_eq!(
        text(row.set_number("colour", 1.0)),
        "row, column \"colour\": expected one of \"blue\", \"red\", got \"1\""
    );
    assert_eq!(
        text(row.set_missing("x")),
        "row, column \"x\": expected a value, got \"\"; the model was not trained with --missing impute"
    );
    assert_eq!(text(row.encode(&mut [0.0; 2])), "row: out: must have length 3, got 2");
}
