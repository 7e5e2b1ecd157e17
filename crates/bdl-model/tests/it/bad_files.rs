//! Model files that are damaged, foreign or newer, and outputs that cannot be written.

use std::path::Path;

use crate::common::{config, file_prediction, predict_with, reader, real_text, train};
use allocation_counter::measure;
use bdl_infer::Passes;
use bdl_layers::{
    AvgPool2d, Container, Conv2d, Filters, Image, Layer, PARAMS, PLAN, Residual, Section, Window, codec,
};
use bdl_model::{Likelihood, Method, Model};
use bdl_tensor::Serial;
use proptest::prelude::*;

fn small() -> Model {
    let mut config = config("y", Method::McDropout);
    (config.architecture.hidden, config.fit.epochs) = (vec![2], 1);
    train(&real_text(20, 1), &config)
}

fn load(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.bdl");
    std::fs::write(&path, bytes).unwrap();
    let message = Model::load(&path).unwrap_err().to_string();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    message.replace(&path.display().to_string(), "m.bdl")
}

#[test]
fn every_flipped_byte_is_an_error() {
    let bytes = small().to_bytes().unwrap();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            assert!(Model::from_bytes(&damaged).is_err(), "byte {at} flipped by {flip:#x} is not noticed");
        }
    }
}

#[test]
fn every_truncation_and_every_further_byte_is_an_error() {
    let mut bytes = small().to_bytes().unwrap();
    for end in 0..bytes.len() {
        assert!(Model::from_bytes(&bytes[..end]).is_err(), "{end} bytes");
    }
    bytes.push(0);
    assert!(Model::from_bytes(&bytes).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Model::from_bytes(&bytes).is_err());
    }

    /// Sections of any bytes with right checksums: what a hostile writer can do.
    #[test]
    fn no_content_of_a_section_makes_the_loader_panic(
        which in 0_usize..5, at in any::<prop::sample::Index>(), to in any::<[u8; 8]>(), cut in 0_usize..4,
    ) {
        let bytes = small().to_bytes().unwrap();
        let file = Container::from_bytes(&bytes).unwrap();
        let mut damaged = Container::default();
        for (i, section) in file.sections().iter().enumerate() {
            let mut section = section.clone();
            if i == which {
                let (at, len) = (at.index(section.bytes.len()), section.bytes.len());
                let bytes = section.bytes.to_mut();
                bytes[at..(at + 8).min(len)].copy_from_slice(&to[..8.min(len - at)]);
                bytes.truncate(len - cut.min(len));
            }
            damaged.push(section);
        }
        if let Ok(model) = Model::from_bytes(&damaged.to_bytes().unwrap()) {
            let _ = predict_with(&model, "a,b,colour\n1,2,red\n", &file_prediction(2), &Serial);
        }
    }
}

#[test]
fn what_is_not_a_model_says_so() {
    let foreign = "m.bdl: model file: is not a bdl model (it does not begin with the bytes that every bdl model begins with)";
    assert_eq!(load(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01"), foreign);
    assert_eq!(load(b"a,b,y\n1,2,3\n"), foreign);
    assert_eq!(load(b""), "m.bdl: model file: is empty");
    assert_eq!(load(b"\x89BDL\r\n"), "m.bdl: model file: is truncated within its first 20 bytes");
    let dir = tempfile::tempdir().unwrap();
    let message = |path: &Path| Model::load(path).unwrap_err().to_string();
    let name = dir.path().display().to_string();
    assert_eq!(message(dir.path()), format!("{name}: expected a file, got a directory"));
    let absent = dir.path().join("absent.bdl");
    assert_eq!(message(&absent), format!("{}: No such file or directory (os error 2)", absent.display()));
}

#[test]
fn a_damaged_truncated_or_newer_model_says_so() {
    let bytes = small().to_bytes().unwrap();
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(load(&newer), "m.bdl: model file: has format version 2, this library reads version 1");
    assert_eq!(load(&bytes[..60]), "m.bdl: model file: is truncated within its header");
    let message = load(&bytes[..bytes.len() - 1]);
    let expected = format!(
        "m.bdl: model file: is truncated: section SCHM needs {} bytes, got {}",
        bytes.len(),
        bytes.len() - 1
    );
    assert_eq!(message, expected);
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(load(&damaged), "m.bdl: model file: is damaged: the checksum of section SCHM does not match");
}

/// The model's file with one section replaced.
fn with_section(tag: [u8; 4], change: impl Fn(&mut Section<'_>)) -> String {
    let bytes = small().to_bytes().unwrap();
    let file = Container::from_bytes(&bytes).unwrap();
    let mut other = Container::default();
    for section in file.sections() {
        let mut section = section.clone();
        if section.tag == tag {
            change(&mut section);
        }
        other.push(section);
    }
    Model::from_bytes(&other.to_bytes().unwrap()).unwrap_err().to_string()
}

#[test]
fn a_newer_section_and_an_unknown_one_are_named() {
    assert_eq!(
        with_section(*b"SCHM", |s| s.version = 2),
        "model file: section SCHM has version 2, this library reads up to 1"
    );
    assert_eq!(
        with_section(*b"SCHM", |s| s.tag = *b"NEWS"),
        "model file: needs section NEWS, which this library does not know"
    );
    assert_eq!(with_section(*b"FITR", |s| s.tag = *b"note"), "model file: has no section FITR");
}

#[test]
fn a_further_section_that_is_not_required_is_skipped() {
    let model = small();
    let bytes = model.to_bytes().unwrap();
    let mut file = Container::from_bytes(&bytes).unwrap();
    file.push(Section { tag: *b"NOTE", version: 9, required: false, bytes: b"calibrated later".into() });
    let loaded = Model::from_bytes(&file.to_bytes().unwrap()).unwrap();
    assert_eq!(loaded.members(), model.members());
}

#[test]
fn an_unknown_kind_of_layer_or_likelihood_is_named() {
    #[derive(serde::Serialize)]
    struct Layer(String, Vec<u8>);
    let plan = codec::encode("plan", &(vec![Layer("fourier".into(), vec![])], 1_u64, 0_u64)).unwrap();
    let e = with_section(PLAN, |s| s.bytes = plan.clone().into());
    assert!(e.starts_with("layer kind \"fourier\" is unknown here (known: activation, "), "{e}");
    assert!(e.contains(", variational-dense") && e.ends_with("); register it before loading"), "{e}");
    let likelihood = codec::encode("likelihood", &Layer("cauchy".into(), vec![])).unwrap();
    let e = with_section(*b"LIKE", |s| s.bytes = likelihood.clone().into());
    assert!(e.starts_with("likelihood kind \"cauchy\" is unknown here (known: "), "{e}");
    assert!(e.contains("categorical, gaussian") && e.ends_with("); register it before loading"), "{e}");
}

#[test]
fn a_method_from_the_future_is_named() {
    let message = with_section(*b"SCHM", |s| {
        let at = s.bytes.windows(10).position(|w| w == b"mc-dropout").unwrap();
        s.bytes.to_mut()[at..at + 10].copy_from_slice(b"zz-dropout");
    });
    assert_eq!(message, "schema: the method \"zz-dropout\" is unknown here");
}

#[test]
fn a_schema_that_does_not_fit_the_network_is_refused() {
    let mut wide = config("y", Method::McDropout);
    (wide.architecture.hidden, wide.fit.epochs) = (vec![2], 1);
    wide.select.ignore = vec!["a".to_owned()];
    let narrow = train(&real_text(20, 1), &wide).to_bytes().unwrap();
    let schema = Container::from_bytes(&narrow).unwrap().get(b"SCHM", 1).unwrap().to_vec();
    assert_eq!(
        with_section(*b"SCHM", |s| s.bytes = schema.clone().into()),
        "schema: its features make 4 inputs, but the network takes 5"
    );
    let mut classes = config("label", Method::McDropout);
    classes.fit.epochs = 1;
    let text = crate::common::class_text(20, &["0", "1"], 1);
    let other = train(&text, &classes).to_bytes().unwrap();
    let schema = Container::from_bytes(&other).unwrap().get(b"SCHM", 1).unwrap().to_vec();
    assert!(
        with_section(*b"SCHM", |s| s.bytes = schema.clone().into())
            .starts_with("schema: its features make 2 inputs")
    );
}

/// A pruned model, with its sections changed.
fn pruned_with(change: impl Fn(&mut Section<'_>)) -> Vec<u8> {
    let mut config = config("y", Method::MeanField);
    (config.architecture.hidden, config.fit.epochs) = (vec![200, 200], 1);
    let bytes = train(&real_text(20, 1), &config).prune(Some(1e30)).unwrap().to_bytes().unwrap();
    let mut file = Container::default();
    for section in Container::from_bytes(&bytes).unwrap().sections() {
        let mut section = section.clone();
        change(&mut section);
        file.push(section);
    }
    file.to_bytes().unwrap()
}

/// Images of 2²⁴ pixels before pruning, by the thousand: tables of their places would be 67 MB and more a layer.
#[test]
fn what_a_file_says_of_the_network_before_takes_little_memory() {
    type Layers = Vec<(String, Vec<u8>)>;
    type Record = (u32, f64, u64, Layers, Vec<(u64, u64, u64, u64, [u64; 2])>);
    let (image, window) = (Image::new(1 << 12, 1 << 12, 1), Window::new([1, 1]));
    let conv = || -> Box<dyn Layer> { Box::new(Conv2d::new(image, Filters::new(1, window)).unwrap()) };
    let pool = || -> Box<dyn Layer> { Box::new(AvgPool2d::new(image, Window::new([2, 2])).unwrap()) };
    let told = |layer: Box<dyn Layer>| (layer.kind().to_owned(), layer.config().unwrap());
    let inside = (0..200).map(|_| conv()).collect();
    let block: Box<dyn Layer> = Box::new(Residual::new(inside).unwrap());
    for before in [vec![told(conv()); 2_000], vec![told(conv()); 5], vec![told(block); 5], vec![told(pool())]]
    {
        let bytes = pruned_with(|section| {
            if section.tag == *b"PRUN" {
                let mut record: Record = codec::decode("record", &section.bytes).unwrap();
                record.3.clone_from(&before);
                section.bytes = codec::encode("record", &record).unwrap().into();
            }
        });
        let memory = measure(|| assert!(Model::from_bytes(&bytes).is_err())).bytes_max;
        assert!(memory < 20 * bytes.len() as u64 + 100_000, "{memory} bytes for a file of {}", bytes.len());
    }
}

/// Members without weights, of a network that had many.
#[test]
fn members_of_a_file_are_not_all_made_as_large_as_before_to_time_them() {
    let members = 300;
    let bytes = pruned_with(|section| match section.tag {
        PLAN => {
            type Plan = (Vec<(String, Vec<u8>)>, u64, u64);
            let mut plan: Plan = codec::decode("plan", &section.bytes).unwrap();
            plan.1 = members;
            section.bytes = codec::encode("plan", &plan).unwrap().into();
        }
        PARAMS => section.bytes = section.bytes.repeat(members as usize).into(),
        _ => {}
    });
    let model = Model::from_bytes(&bytes).unwrap();
    assert_eq!(model.members().len(), members as usize);
    let dense = 4 * model.pruning().unwrap().dense().n_params() as u64;
    assert!(members * dense > 50_000_000);
    let passes = Passes { samples: 1, ..model.passes() };
    let memory = measure(|| assert!(model.row_times(passes).unwrap().is_some())).bytes_max;
    assert!(memory < 10 * dense, "{memory} bytes, a network before {dense}");
}

#[test]
fn an_unwritable_output_leaves_what_stood_there() {
    let (dir, model) = (tempfile::tempdir().unwrap(), small());
    // As long as a name can be.
    let long = dir.path().join("m".repeat(255));
    model.save(&long).unwrap();
    assert!(Model::load(&long).is_ok());

    let nowhere = dir.path().join("absent").join("m.bdl");
    let message = model.save(&nowhere).unwrap_err().to_string();
    assert_eq!(
        message,
        format!("{}: cannot be written: No such file or directory (os error 2)", nowhere.display())
    );
    // A directory stands where the file would be.
    let full = dir.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("old"), "old").unwrap();
    let message = model.save(&full).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{}: cannot be written: ", full.display())), "{message}");
    assert_eq!(std::fs::read_to_string(full.join("old")).unwrap(), "old");
    let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    left.sort();
    assert_eq!(left, [full, long], "nothing is left beside");
}

#[test]
fn data_that_lack_rows_columns_or_the_target_are_named() {
    let model = small();
    let how = file_prediction(2);
    let predict = |text: &str| predict_with(&model, text, &how, &Serial).unwrap_err().to_string();
    let evaluate =
        |text: &str| model.evaluate(&mut reader(text), how.passes, &Serial).unwrap_err().to_string();
    for header_only in [predict("a,b,colour\n"), evaluate("a,b,colour,y\n")] {
        assert_eq!(header_only, "data.csv: expected rows below the header, got none");
    }
    let lacking = "data.csv: expected the model's columns, got none named \"b\", \"colour\"";
    assert_eq!([predict("a,y\n1,2\n"), evaluate("a,y\n1,2\n")], [lacking, lacking]);
    assert_eq!(
        evaluate("a,b,colour\n1,2,red\n"),
        "data.csv: expected the target \"y\", got no column of that name"
    );
    assert_eq!(
        evaluate("a,b,colour,y\n1,2,red,\n"),
        "data.csv: row 1 (line 2), column \"y\": expected a value of the target, got \"\"; targets are never imputed"
    );
    assert_eq!(
        predict("a,b,colour\n1,,red\n"),
        "data.csv: row 1 (line 2), column \"b\": expected a value, got \"\"; the model was not trained with --missing \
         impute"
    );
    let mut how = how.clone();
    how.keep = vec!["id".to_owned()];
    assert_eq!(
        predict_with(&model, "a,b,colour\n1,2,red\n", &how, &Serial).unwrap_err().to_string(),
        "--keep: data.csv has no column \"id\"; its columns are \"a\", \"b\", \"colour\""
    );
}

#[test]
fn absurd_settings_of_training_are_named() {
    let message = |change: &dyn Fn(&mut bdl_model::TrainConfig)| {
        let mut config = config("y", Method::McDropout);
        change(&mut config);
        let table = crate::common::table(&real_text(20, 1));
        let trained = Model::train(&table, &config, &Serial, &mut |_| std::ops::ControlFlow::Continue(()));
        trained.unwrap_err().to_string()
    };
    assert_eq!(message(&|c| c.members = 0), "--members: must be between 1 and 65536, got 0");
    assert_eq!(message(&|c| c.fit.epochs = 0), "fit: epochs must be >= 1, got 0");
    assert_eq!(message(&|c| c.fit.lr = 0.0), "fit: lr must be finite and > 0, got 0");
    assert_eq!(message(&|c| c.architecture.drop_prob = 1.0), "dropout: drop_prob must be in [0, 1), got 1");
    assert_eq!(
        message(&|c| c.architecture.hidden = vec![0]),
        "dense: out_dim must be between 1 and 16777216, got 0"
    );
    assert_eq!(
        message(&|c| c.architecture.likelihood = Likelihood::Gaussian { noise: Some(-1.0) }),
        "--noise: must be finite and > 0, got -1"
    );
    let noise = message(&|c| c.architecture.likelihood = Likelihood::Gaussian { noise: Some(1e300) });
    assert!(noise.starts_with("--noise: must be within a factor of 1e12 of the target's"), "{noise}");
    let hidden = message(&|c| c.architecture.hidden = vec![65_536; 2]);
    assert!(hidden.starts_with("--hidden: must be widths that make at most 100000000 weights"), "{hidden}");
    assert_eq!(
        message(&|c| c.architecture.length_scale = -1.0),
        "dense: length_scale must be finite and > 0, got -1"
    );
    let diverges = message(&|c| (c.fit.lr, c.fit.optimizer) = (1e30, bdl_infer::Optimizer::sgd()));
    assert!(diverges.starts_with("training stopped at step "), "{diverges}");
}
