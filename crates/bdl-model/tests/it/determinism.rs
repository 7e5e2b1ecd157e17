//! The same bits: on any number of threads, in any chunks, in any order.

use std::ops::ControlFlow;

use crate::common::{
    Told, bits, cases, class_text, config, file_prediction, predict, predict_with, reader, real_text, table,
    told_bits, train, train_on,
};
use bdl_dist::{Noise, Purpose};
use bdl_infer::{Data, FitConfig, Progress, RayonPool, fit};
use bdl_layers::Scope;
use bdl_model::{Method, Model, TrainConfig, Valid};
use bdl_tensor::{Mat, Pool, Serial};

#[test]
fn training_makes_the_same_bits_for_any_threads() {
    for (name, text, config) in cases() {
        let config = TrainConfig { valid: Valid::Fraction(0.2), ..config };
        let serial = train_on(&text, &config, &Serial);
        for threads in [1, 2, 3] {
            let trained = train_on(&text, &config, &RayonPool::new(threads).unwrap());
            assert_eq!(
                trained.model.to_bytes().unwrap(),
                serial.model.to_bytes().unwrap(),
                "{name}, {threads}"
            );
            assert_eq!(
                (&trained.valid, &trained.members),
                (&serial.valid, &serial.members),
                "{name}, {threads}"
            );
        }
    }
}

/// Of an ensemble, member m starts from lane m of the initial values and is trained on lane m of shuffles and masks.
#[test]
fn each_member_starts_and_trains_in_a_lane_of_its_own() {
    let (text, mut config) = (real_text(40, 1), config("y", Method::McDropout));
    (config.members, config.fit.seed) = (3, 7);
    let model = train(&text, &config);
    let (table, encoder) = (table(&text), model.encoder());
    let map = encoder.schema().match_header(table.file(), table.columns()).unwrap();
    let rows: Vec<usize> = (0..40).collect();
    let x = encoder.encode_table(&table, &rows, &map).unwrap();
    let y = encoder.encode_targets(&table, &rows, &map).unwrap();
    let data = Data::new(Mat::new(&x, 40, encoder.width()).unwrap(), y.view()).unwrap();
    for (lane, member) in (0..).zip(model.members()) {
        let mut params = model.bnn().init(&Noise::in_lane(7, Purpose::Init, lane));
        let config = FitConfig { lane, ..config.fit.clone() };
        let watch = &mut |_: &Progress| ControlFlow::Continue(());
        fit(model.bnn(), &mut params, data, None, &config, &Serial, watch).unwrap();
        assert_eq!(&params, member, "member {lane}");
    }
}

#[test]
fn predictions_and_scores_have_the_same_bits_for_any_threads() {
    for scope in [Scope::Pass, Scope::Row] {
        for (name, text, config) in cases() {
            let model = train(&text, &config);
            let mut how = file_prediction(7);
            (how.passes.scope, how.telling.draws) = (scope, 5);
            let serial = predict(&model, &text, &how);
            let scores = model.evaluate(&mut reader(&text), how.passes, &Serial).unwrap();
            for threads in [1, 2, 3] {
                let pool = RayonPool::new(threads).unwrap();
                let told = predict_with(&model, &text, &how, &pool).unwrap().0;
                assert_eq!(bits(&told), bits(&serial), "{name}, {threads}");
                assert_eq!(
                    model.evaluate(&mut reader(&text), how.passes, &pool).unwrap(),
                    scores,
                    "{name}, {threads}"
                );
            }
        }
    }
}

fn rows_of(text: &str) -> (&str, Vec<&str>) {
    let (header, rows) = text.split_once('\n').unwrap();
    (header, rows.lines().collect())
}

fn text_of(header: &str, rows: &[&str]) -> String {
    format!("{header}\n{}\n", rows.join("\n"))
}

/// Predicts `rows` in files of `size` rows each.
fn in_pieces(
    model: &Model,
    header: &str,
    rows: &[&str],
    size: usize,
    samples: usize,
    draws: usize,
) -> Vec<Told> {
    let mut how = file_prediction(samples);
    how.telling.draws = draws;
    rows.chunks(size).flat_map(|rows| predict(model, &text_of(header, rows), &how)).collect()
}

#[test]
fn a_row_has_the_same_bits_whole_in_chunks_alone_and_permuted() {
    for (name, text, config) in cases() {
        let model = train(&text, &config);
        let (header, rows) = rows_of(&text);
        let whole = bits(&in_pieces(&model, header, &rows, rows.len(), 9, 2));
        for size in [1, 2, 3, 8, 17] {
            assert_eq!(bits(&in_pieces(&model, header, &rows, size, 9, 2)), whole, "{name}, {size}");
        }
        let reversed: Vec<&str> = rows.iter().rev().copied().collect();
        let mut back = bits(&in_pieces(&model, header, &reversed, rows.len(), 9, 2));
        back.reverse();
        assert_eq!(back, whole, "{name}");
    }
}

/// Widths and rows that cross the blocks of the matrix products and the reader's chunks.
#[test]
fn a_row_has_the_same_bits_across_the_blocks_of_a_wide_network() {
    let text = real_text(2200, 8);
    for method in Method::ALL {
        let mut config = config("y", method);
        (config.architecture.hidden, config.fit.epochs) = (vec![300, 257], 1);
        let model = train(&real_text(40, 8), &config);
        let (header, rows) = rows_of(&text);
        let whole = bits(&in_pieces(&model, header, &rows, rows.len(), 2, 0));
        let pieces = bits(&in_pieces(&model, header, &rows[..70], 7, 2, 0));
        assert_eq!(pieces, whole[..70], "{method:?}");
        let last = bits(&in_pieces(&model, header, &rows[2100..], 1, 2, 0));
        assert_eq!(last, whole[2100..], "{method:?}");
    }
}

#[test]
fn a_row_of_a_service_has_the_bits_of_the_file() {
    for (name, text, config) in cases() {
        let model = train(&text, &config);
        let (header, rows) = rows_of(&text);
        let told = in_pieces(&model, header, &rows, rows.len(), 6, 0);
        let predictor = model.predictor(file_prediction(6).passes).unwrap();
        let mut scratch = predictor.scratch();
        for (row, told) in rows.iter().zip(&told) {
            for (name, cell) in header.split(',').zip(row.split(',')).take(model.schema().features.len()) {
                scratch.row.set_text(name, cell).unwrap();
            }
            let prediction = predictor.predict_row(&mut scratch, 0.9).unwrap();
            assert_eq!(told_bits(&prediction, scratch.probs(), &[]), told.bits, "{name}");
        }
    }
}

#[test]
fn under_row_scope_noise_goes_by_number_and_chunks_do_not_matter() {
    let text = real_text(50, 9);
    for method in [Method::McDropout, Method::MeanField] {
        let mut config = config("y", method);
        config.architecture.drop_prob = 0.4;
        let model = train(&text, &config);
        let table = crate::common::table(&text);
        let map = model.schema().match_header("", table.columns()).unwrap();
        let x = model.encoder().encode_table(&table, &(0..50).collect::<Vec<_>>(), &map).unwrap();
        let mut how = file_prediction(5);
        (how.passes.scope, how.telling.draws) = (Scope::Row, 2);
        let predictor = model.predictor(how.passes).unwrap();
        let whole = predictor.predict(&x, 0, &how.telling, &Serial).unwrap();
        let width = model.encoder().width();
        for (i, row) in x.chunks(width).enumerate() {
            let one = predictor.predict(row, i as u64, &how.telling, &Serial).unwrap();
            assert_eq!((one.rows[0], &one.draws[..]), (whole.rows[i], &whole.draws[2 * i..2 * i + 2]), "{i}");
            let moved = predictor.predict(row, i as u64 + 1, &how.telling, &Serial).unwrap();
            assert_ne!(moved.rows[0], whole.rows[i]);
        }
    }
}

/// 2¹⁸ passes with 3 outputs over 24 rows take more memory than one block of rows may, which holds 21.
#[test]
fn a_row_has_the_same_bits_where_memory_cuts_the_chunk() {
    let text = class_text(24, &["a", "b", "c"], 8);
    let mut config = config("label", Method::McDropout);
    (config.architecture.hidden, config.fit.epochs) = (vec![], 1);
    let model = train(&text, &config);
    let (header, rows) = rows_of(&text);
    let whole = bits(&in_pieces(&model, header, &rows, 24, 1 << 18, 0));
    assert_eq!(bits(&in_pieces(&model, header, &rows[20..22], 1, 1 << 18, 0)), whole[20..22]);
}

#[test]
fn two_threads_really_work() {
    let seen = std::sync::Mutex::new(std::collections::HashSet::new());
    let barrier = std::sync::Barrier::new(2);
    RayonPool::new(2).unwrap().run(2, &|_| {
        barrier.wait();
        seen.lock().unwrap().insert(std::thread::current().id());
    });
    assert_eq!(seen.into_inner().unwrap().len(), 2);
}
