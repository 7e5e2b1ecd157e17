//! From a table to a schema: kinds, tasks, missing cells, statistics, and what is refused.

use bdl_model::{
    ColumnKind, FeatureKind, MissingPolicy, RowReader, Schema, SelectOptions, Selection, SplitKey, Table,
    TargetKind, Task, TaskChoice, split_key,
};

fn table(text: &str) -> Table {
    let reader = RowReader::from_reader("data.csv", std::io::Cursor::new(text.to_owned()), None).unwrap();
    Table::from_reader(reader).unwrap()
}

fn target(name: &str) -> SelectOptions {
    SelectOptions { target: name.into(), ..Default::default() }
}

fn missing(policy: MissingPolicy) -> SelectOptions {
    SelectOptions { missing: policy, ..target("y") }
}

fn infer(text: &str, options: &SelectOptions) -> Schema {
    Schema::infer(&table(text), options).unwrap()
}

fn message(text: &str, options: &SelectOptions) -> String {
    Schema::infer(&table(text), options).unwrap_err().to_string()
}

fn strings<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

/// A column `x` of the given cells and a regression target.
fn with_target<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let rows = cells.into_iter().enumerate().map(|(i, cell)| format!("{cell};{i}.5\n"));
    std::iter::once("x;y\n".to_owned()).chain(rows).collect()
}

#[test]
fn statistics_come_from_the_training_rows_only() {
    let t = table("x,c,y\n1,a,0.5\n3,b,1.5\n100,b,9.5\n-7,b,7.5\n");
    let selection = Selection::new(&t, &target("y")).unwrap();
    let schema = Schema::fit(&t, &selection, &[0, 1]).unwrap();
    assert_eq!(schema.features[0].kind, FeatureKind::Numeric { mean: 2.0, std: 1.0 });
    assert_eq!(
        schema.features[1].kind,
        FeatureKind::Categorical { levels: strings(["a", "b"]), most_frequent: 0 }
    );
    assert_eq!(schema.target.kind, TargetKind::Real { mean: 1.0, std: 0.5 });
    assert_eq!((schema.width(), schema.features[0].name.as_str()), (3, "x"));
}

#[test]
fn a_constant_column_is_divided_by_one() {
    let schema = infer("x,y\n0.1,0.5\n0.1,1.5\n0.1,2.5\n", &target("y"));
    assert_eq!(schema.features[0].kind, FeatureKind::Numeric { mean: 0.1, std: 1.0 });
}

#[test]
fn the_task_is_found_or_chosen() {
    let task = |text: &str, choice| infer(text, &SelectOptions { task: choice, ..target("y") }).task();
    let integers = "x,y\n1,0\n2,1\n3,1.0\n";
    assert_eq!(task(integers, TaskChoice::Auto), Task::Classification);
    assert_eq!(task(integers, TaskChoice::Is(Task::Regression)), Task::Regression);
    assert_eq!(task("x,y\n1,no\n2,yes\n", TaskChoice::Auto), Task::Classification);
    assert_eq!(task("x,y\n1,0\n2,1.5\n", TaskChoice::Auto), Task::Regression);
    let counted = |n: usize| (0..n).fold("x,y\n".to_owned(), |text, i| text + &format!("{i}.5,{i}\n"));
    assert_eq!(task(&counted(10), TaskChoice::Auto), Task::Classification);
    assert_eq!(task(&counted(11), TaskChoice::Auto), Task::Regression);
    assert_eq!(task(&counted(11), TaskChoice::Is(Task::Classification)), Task::Classification);
}

#[test]
fn class_names_are_sorted_as_numbers_or_as_text() {
    assert_eq!(infer("x,y\n1,10\n2,9\n3,9.0\n", &target("y")).class_names(), ["9", "10"]);
    assert_eq!(infer("x,y\n1,b10\n2,b9\n", &target("y")).class_names(), ["b10", "b9"]);
}

#[test]
fn numeric_codes_may_be_listed_as_categories() {
    let options = SelectOptions { categorical: strings(["x"]), ..target("y") };
    let kind = infer("x,y\n10,0.5\n9,1.5\n10,2.5\n", &options).features.remove(0).kind;
    assert_eq!(kind, FeatureKind::Categorical { levels: strings(["9", "10"]), most_frequent: 1 });
}

#[test]
fn a_column_is_numeric_only_if_every_cell_is() {
    let t = table("a;b;c\n 1 ;1;x\nNA;x;2\n-2e3;y;z\n");
    let kinds: Vec<_> = (0..3).map(|column| t.kind(column).unwrap()).collect();
    assert_eq!(kinds, [ColumnKind::Numeric, ColumnKind::Categorical, ColumnKind::Categorical]);
}

#[test]
fn a_nearly_numeric_column_is_no_category() {
    let text = with_target(["1", "2", "3", "4", "5", "", "6", "7", "8", "9", "oops"]);
    assert_eq!(
        message(&text, &target("y")),
        "data.csv: row 11 (line 12), column \"x\": expected a number as in 9 of 10 cells, got \"oops\"; \
         if these are categories, list the column in --categorical"
    );
    assert_eq!(table(&with_target(["1", "2", "3", "oops"])).kind(0).unwrap(), ColumnKind::Categorical);
}

#[test]
fn infinite_cells_and_decimal_commas_are_refused() {
    for cell in ["inf", "1e999"] {
        assert_eq!(
            message(&with_target(["1", cell, "2"]), &target("y")),
            format!("data.csv: row 2 (line 3), column \"x\": expected a finite number, got \"{cell}\"")
        );
    }
    assert_eq!(
        message(&with_target(["1,5", "-2,25"]), &target("y")),
        "data.csv: row 1 (line 2), column \"x\": expected a decimal point, got \"1,5\" (every cell is a number with a \
         comma); if these are categories, list the column in --categorical"
    );
}

#[test]
fn free_text_is_no_category() {
    let names: Vec<String> = (0..256).map(|i| format!("name {i}")).collect();
    let text = with_target(names.iter().map(String::as_str));
    assert_eq!(
        message(&text, &target("y")),
        "data.csv: column \"x\": expected at most 255 categories, got 256; \
         if these are identifiers or free text, leave the column out with --ignore"
    );
    let text = with_target(names[1..].iter().map(String::as_str));
    assert_eq!(infer(&text, &target("y")).width(), 255);
}

const GAPS: &str = "a,b,y\n1,x,0.5\nNA,x,1.5\n3,,2.5\n?,z,3.5\n";

#[test]
fn missing_cells_are_an_error_by_default() {
    assert_eq!(
        message(GAPS, &target("y")),
        "data.csv: row 2 (line 3), column \"a\": expected a value, got \"NA\"; missing cells: 2 in \"a\", 1 in \"b\"; \
         choose --missing drop, or --missing impute, which fills features and no target"
    );
    // Only columns that are used count.
    let options = SelectOptions { ignore: strings(["a", "b"]), ..target("y") };
    assert_eq!(
        message(GAPS, &options),
        "data.csv: expected at least one column besides the target \"y\", got none that is not ignored"
    );
}

#[test]
fn missing_cells_drop_their_rows() {
    let t = table("a,b,y\n1,x,0.5\nNA,x,1.5\n3,z,2.5\n4,z,\n");
    let selection = Selection::new(&t, &missing(MissingPolicy::Drop)).unwrap();
    assert_eq!((selection.rows.as_slice(), selection.dropped(&t)), (&[0, 2][..], 2));
    assert_eq!(
        message("a,b,y\n1,,0.5\n,x,1.5\n", &missing(MissingPolicy::Drop)),
        "data.csv: expected rows without missing cells, got none among 2; missing cells: 1 in \"a\", 1 in \"b\""
    );
}

#[test]
fn missing_cells_are_imputed_but_not_those_of_the_target() {
    let schema = infer(GAPS, &missing(MissingPolicy::Impute));
    assert_eq!(schema.features[0].kind, FeatureKind::Numeric { mean: 2.0, std: 1.0 });
    assert_eq!(
        schema.features[1].kind,
        FeatureKind::Categorical { levels: strings(["x", "z"]), most_frequent: 0 }
    );
    assert_eq!(
        message("a,y\n1,0.5\n2,NA\n", &missing(MissingPolicy::Impute)),
        "data.csv: row 2 (line 3), column \"y\": expected a value of the target, got \"NA\"; targets are never imputed"
    );
}

#[test]
fn a_column_without_values_is_refused_even_if_only_the_training_rows_have_none() {
    assert_eq!(
        message("a,b,y\n1,,0.5\n2,NA,1.5\n", &missing(MissingPolicy::Impute)),
        "data.csv: column \"b\": expected values, got only missing cells in all rows; leave it out with --ignore"
    );
    let t = table(GAPS);
    let selection = Selection::new(&t, &missing(MissingPolicy::Impute)).unwrap();
    assert_eq!(
        Schema::fit(&t, &selection, &[1, 3]).unwrap_err().to_string(),
        "data.csv: column \"a\": expected values, got only missing cells in the training rows; leave it out with --ignore"
    );
}

#[test]
fn a_target_with_one_value_is_refused() {
    assert_eq!(
        message("x,y\n1,no\n2,no\n", &target("y")),
        "data.csv: target \"y\": expected at least two classes in the training rows, got only \"no\""
    );
    assert_eq!(
        message("x,y\n1,2.5\n2,2.50\n", &target("y")),
        "data.csv: target \"y\": expected at least two different values in the training rows, got only 2.5"
    );
}

#[test]
fn a_regression_on_text_is_refused() {
    let options = SelectOptions { task: TaskChoice::Is(Task::Regression), ..target("y") };
    assert_eq!(
        message("x,y\n1,2.5\n2,low\n", &options),
        "data.csv: row 2 (line 3), column \"y\": expected a finite number, got \"low\""
    );
}

#[test]
fn unknown_columns_are_named_with_the_closest_one() {
    let text = "alcohol,quality\n1,2.5\n2,3.5\n";
    assert_eq!(
        message(text, &target("qualty")),
        "--target: data.csv has no column \"qualty\" (did you mean \"quality\"?); its columns are \"alcohol\", \"quality\""
    );
    let options = SelectOptions { ignore: strings(["ph"]), ..target("quality") };
    assert_eq!(
        message(text, &options),
        "--ignore: data.csv has no column \"ph\"; its columns are \"alcohol\", \"quality\""
    );
    let options = SelectOptions { categorical: strings(["Alcohol"]), ..target("quality") };
    assert!(
        message(text, &options)
            .starts_with("--categorical: data.csv has no column \"Alcohol\" (did you mean")
    );
    let options = SelectOptions { ignore: strings(["quality"]), ..target("quality") };
    assert_eq!(message(text, &options), "--ignore: the target \"quality\" cannot be ignored");
}

#[test]
fn numbers_too_far_apart_have_no_spread() {
    assert_eq!(
        message("x,y\n1e308,0.5\n1.5e308,1.5\n-1.5e308,2.5\n1.7e308,3.5\n", &target("y")),
        "data.csv: column \"x\": expected numbers with a finite spread, got -1.5e308 to 1.7e308"
    );
}

#[test]
fn a_schema_survives_being_stored() {
    let schema = infer("x,c,y\n1,a,no\n3,b,yes\n", &target("y"));
    let stored = serde_json::to_string(&schema).unwrap();
    assert_eq!(serde_json::from_str::<Schema>(&stored).unwrap(), schema);
}

#[test]
fn numbers_and_dates_have_an_order_and_other_text_names_groups() {
    let t = table("n,d,g\n10,2026-01-02,b\n9,2025-12-31,a\n10.0,2026-01-02,b\n");
    let key = |column| split_key(&t, &[0, 1, 2], column).unwrap();
    assert_eq!(key(0), SplitKey::Ordered(vec![1, 0, 1]));
    assert_eq!(key(1), SplitKey::Ordered(vec![1, 0, 1]));
    assert_eq!(key(2), SplitKey::Groups(vec![1, 0, 1]));
    assert_eq!(
        split_key(&table("g,h\na,1\n,2\n"), &[0, 1], 0).unwrap_err().to_string(),
        "--valid-by: data.csv: row 2 (line 3), column \"g\": expected a value, got \"\""
    );
}
