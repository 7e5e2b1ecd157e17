//! The bytes of a model file, read by hand from `docs/format.md`, and a file of version 1 that stays readable.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::common::{class_text, config, file_prediction, idx, predict, real_text, train};
use bdl_layers::Estimator;
use bdl_model::{FeatureKind, Images, Labels, Likelihood, Method, Model, StartFrom, TargetKind, TrainConfig};
use bdl_tensor::Serial;

/// Reads what `docs/format.md` describes, with nothing of the library's own.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(n);
        self.0 = rest;
        front
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take(2).try_into().unwrap())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn f64(&mut self) -> f64 {
        f64::from_bits(self.u64())
    }

    fn bytes(&mut self) -> &'a [u8] {
        let n = self.u64() as usize;
        self.take(n)
    }

    fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.bytes()).unwrap()
    }
}

/// CRC-32 as in zlib and PNG: polynomial 0xEDB88320, reflected.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

struct Frame {
    tag: String,
    version: u16,
    required: bool,
    content: Vec<u8>,
}

fn frames(file: &[u8]) -> Vec<Frame> {
    let mut front = Bytes(file);
    assert_eq!(front.take(8), b"\x89BDL\r\n\x1a\n");
    assert_eq!(front.u32(), 1);
    let (length, crc) = (front.u32() as usize, front.u32());
    assert_eq!(crc32(&file[20..20 + length]), crc);
    let mut header = Bytes(&file[20..20 + length]);
    let mut end = 20 + length;
    let frames = (0..header.u64())
        .map(|_| {
            let tag = String::from_utf8(header.take(4).to_vec()).unwrap();
            let (version, required) = (header.u16(), header.u8() == 1);
            let (offset, length, crc) = (header.u64() as usize, header.u64() as usize, header.u32());
            assert_eq!(offset, end.next_multiple_of(64));
            assert!(file[end..offset].iter().all(|b| *b == 0));
            end = offset + length;
            let content = file[offset..end].to_vec();
            assert_eq!(crc32(&content), crc);
            Frame { tag, version, required, content }
        })
        .collect();
    assert_eq!((header.0.len(), end), (0, file.len()));
    frames
}

#[test]
fn a_file_reads_by_hand_as_the_documentation_says() {
    let mut config = config("y", Method::McDropout);
    (config.architecture.hidden, config.members, config.fit.epochs) = (vec![3], 2, 2);
    let model = train(&real_text(30, 1), &config);
    let frames = frames(&model.to_bytes().unwrap());
    let outline: Vec<_> = frames.iter().map(|f| (f.tag.as_str(), f.version, f.required)).collect();
    let expected =
        [("PLAN", 1, true), ("PARM", 1, true), ("LIKE", 1, true), ("FITR", 1, false), ("SCHM", 1, true)];
    assert_eq!(outline, expected);

    let mut plan = Bytes(&frames[0].content);
    let kinds: Vec<_> = (0..plan.u64()).map(|_| (plan.text(), plan.bytes())).collect();
    assert_eq!(
        kinds.iter().map(|k| k.0).collect::<Vec<_>>(),
        ["dropout", "dense", "activation", "dropout", "dense"]
    );
    let mut dropout = Bytes(kinds[0].1);
    assert_eq!((dropout.u64(), dropout.f64(), dropout.0.len()), (5, 0.05, 0));
    let mut dense = Bytes(kinds[1].1);
    assert_eq!((dense.u64(), dense.u64(), dense.u8(), dense.f64(), dense.0.len()), (5, 3, 1, 1.0, 0));
    let mut activation = Bytes(kinds[2].1);
    assert_eq!((activation.text(), activation.u64(), activation.0.len()), ("relu", 3, 0));
    let (members, length) = (plan.u64(), plan.u64());
    assert_eq!((members, length, plan.0.len()), (2, 5 * 3 + 3 + 3 + 1 + 1, 0));

    let params = frames[1].content.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
    assert!(params.eq(model.members().iter().flatten().copied()));

    let mut likelihood = Bytes(&frames[2].content);
    assert_eq!(likelihood.text(), "gaussian");
    let mut gaussian = Bytes(likelihood.bytes());
    assert_eq!((gaussian.u8(), gaussian.f64(), gaussian.0.len(), likelihood.0.len()), (1, 0.5, 0, 0));

    let (mut record, r) = (Bytes(&frames[3].content), model.record());
    let integers = [record.u64(), record.u64(), record.u64(), record.u64()];
    assert_eq!(integers, [r.rows, r.epochs, r.kept_epoch, r.batch]);
    assert_eq!((record.f64(), record.u32(), r.estimator), (r.lr, 0, Estimator::Local));
    assert_eq!((record.u64(), record.f64(), record.f64(), record.0.len()), (r.seed, r.nll_mean, r.kl, 0));

    schema_by_hand(&frames[4].content, &model);
}

fn schema_by_hand(content: &[u8], model: &Model) {
    let (mut bytes, schema) = (Bytes(content), model.schema());
    assert_eq!(bytes.u64(), schema.features.len() as u64);
    for feature in &schema.features {
        assert_eq!(bytes.text(), feature.name);
        match &feature.kind {
            FeatureKind::Numeric { mean, std } => {
                assert_eq!((bytes.u32(), bytes.f64(), bytes.f64()), (0, *mean, *std));
            }
            FeatureKind::Categorical { levels, most_frequent } => {
                assert_eq!((bytes.u32(), bytes.u64()), (1, levels.len() as u64));
                levels.iter().for_each(|level| assert_eq!(bytes.text(), level));
                assert_eq!(bytes.u32(), *most_frequent);
            }
            FeatureKind::Image { .. } => panic!("a table has none"),
        }
    }
    let TargetKind::Real { mean, std } = schema.target.kind else { panic!() };
    assert_eq!((bytes.text(), bytes.u32(), bytes.f64(), bytes.f64()), ("y", 0, mean, std));
    assert_eq!((bytes.u32(), bytes.text(), bytes.0.len()), (0, "mc-dropout", 0));
}

#[test]
fn the_images_of_a_model_have_a_section_that_reads_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        folder.path().join(name)
    };
    let images = Images::open(&write("images", idx(&[2, 3, 2], &[7; 12]))).unwrap();
    let labels = Labels::open(&write("labels", idx(&[2], &[4, 10]))).unwrap();
    let config = config("digit", Method::Deterministic);
    let model = Model::train_images(&images, &labels, &config, &Serial, &mut |_| ControlFlow::Continue(()));
    let frames = frames(&model.unwrap().model.to_bytes().unwrap());
    let outline: Vec<_> = frames[4..].iter().map(|f| (f.tag.as_str(), f.version, f.required)).collect();
    assert_eq!(outline, [("SCHM", 1, true), ("IMAG", 1, true)]);
    let mut image = Bytes(&frames[5].content);
    assert_eq!((image.u32(), image.u32(), image.u32(), image.0.len()), (3, 2, 1, 0));
    let mut bytes = Bytes(&frames[4].content);
    assert_eq!(bytes.u64(), 0);
    assert_eq!((bytes.text(), bytes.u32(), bytes.u64()), ("digit", 1, 2));
    assert_eq!((bytes.text(), bytes.text()), ("4", "10"));
    assert_eq!((bytes.u32(), bytes.text(), bytes.0.len()), (0, "deterministic", 0));
}

/// Whole numbers from 0 to 6.
fn count_text(rows: usize) -> String {
    let row = |i: usize| format!("{},{}\n", i as f64 / 10.0, i * i % 7);
    (0..rows).map(row).fold("x,y\n".to_owned(), |text, row| text + &row)
}

/// As [`real_text`], with a second number behind the first.
fn two_text() -> String {
    let with_z = |(i, line): (usize, &str)| match i {
        0 => format!("{line},z\n"),
        i => format!("{line},{}\n", i * i % 17),
    };
    real_text(40, 12).lines().enumerate().map(with_z).collect()
}

#[test]
fn several_targets_have_a_section_and_a_likelihood_that_read_by_hand() {
    let model = train(&two_text(), &likelihood_config("y,z", Likelihood::Auto));
    let frames = frames(&model.to_bytes().unwrap());
    assert_eq!((frames[5].tag.as_str(), frames[5].version, frames[5].required), ("TARG", 1, true));
    let mut targets = Bytes(&frames[5].content);
    assert_eq!(targets.u64(), 2);
    for target in model.schema().targets() {
        let TargetKind::Real { mean, std } = target.kind else { panic!() };
        assert_eq!(
            (targets.text(), targets.u32(), targets.f64(), targets.f64()),
            (&*target.name, 0, mean, std)
        );
    }
    assert!(targets.0.is_empty());
    let mut schema = Bytes(&frames[4].content);
    let name = schema.0.windows(3).position(|bytes| bytes == b"y,z").unwrap() - 8;
    schema.take(name);
    assert_eq!((schema.text(), schema.u32(), schema.f64(), schema.f64()), ("y,z", 0, 0.0, 1.0));
    let mut likelihood = Bytes(&frames[2].content);
    assert_eq!(likelihood.text(), "independent");
    let mut parts = Bytes(likelihood.bytes());
    assert_eq!(parts.u64(), 2);
    for _ in 0..2 {
        assert_eq!(parts.text(), "gaussian");
        let mut gaussian = Bytes(parts.bytes());
        assert_eq!((gaussian.u8(), gaussian.f64(), gaussian.0.len()), (1, 0.5, 0));
    }
    assert!(parts.0.is_empty() && likelihood.0.is_empty());
}

fn likelihood_config(target: &str, likelihood: Likelihood) -> TrainConfig {
    let mut config = config(target, Method::MeanField);
    config.architecture.likelihood = likelihood;
    config
}

#[test]
fn the_target_of_counts_has_a_section_that_reads_by_hand() {
    let model = train(&count_text(40), &likelihood_config("y", Likelihood::Poisson));
    let TargetKind::Count { mean } = model.schema().target.kind else { panic!() };
    let frames = frames(&model.to_bytes().unwrap());
    let outline: Vec<_> = frames[4..].iter().map(|f| (f.tag.as_str(), f.version, f.required)).collect();
    assert_eq!(outline, [("SCHM", 1, true), ("TARG", 1, true)]);
    let mut targets = Bytes(&frames[5].content);
    assert_eq!((targets.u64(), targets.text(), targets.u32()), (1, "y", 1));
    assert_eq!((targets.f64(), targets.0.len()), (mean, 0));
    let mut schema = Bytes(&frames[4].content);
    assert_eq!((schema.u64(), schema.text(), schema.u32()), (1, "x", 0));
    schema.take(16);
    assert_eq!((schema.text(), schema.u32(), schema.f64(), schema.f64()), ("y", 0, 0.0, 1.0));
    let mut likelihood = Bytes(&frames[2].content);
    assert_eq!((likelihood.text(), likelihood.u64()), ("poisson", 8));
    assert_eq!((likelihood.f64(), likelihood.0.len()), (mean, 0));
}

/// A pruned model of three hidden units.
fn pruned() -> Model {
    let mut config = config("y", Method::MeanField);
    config.architecture.hidden = vec![3];
    train(&real_text(30, 1), &config).prune(Some(2.0)).unwrap()
}

/// Places of an index among `size`.
fn index(bytes: &mut Bytes<'_>, size: usize) -> Vec<usize> {
    let (count, form) = (bytes.u64() as usize, bytes.u32());
    let code = bytes.bytes();
    let mut places = Vec::new();
    if form == 0 {
        let (mut at, mut gap, mut shift) = (0, 0, 0);
        for byte in code {
            gap |= usize::from(byte & 127) << shift;
            shift += 7;
            if *byte < 128 {
                places.push(at + gap);
                (at, gap, shift) = (at + gap + 1, 0, 0);
            }
        }
    } else {
        places.extend((0..size).filter(|at| code[at / 8] >> (at % 8) & 1 == 1));
    }
    assert_eq!((places.len(), places.iter().all(|at| *at < size)), (count, true));
    places
}

#[test]
fn a_pruned_model_reads_by_hand() {
    let model = pruned();
    let pruning = model.pruning().unwrap();
    let frames = frames(&model.to_bytes().unwrap());
    assert_eq!((frames[5].tag.as_str(), frames[5].version, frames[5].required), ("PRUN", 1, false));
    let mut bytes = Bytes(&frames[5].content);
    assert_eq!((bytes.u32(), bytes.f64(), bytes.u64()), (1, 2.0, pruning.dense_bytes));
    let before: Vec<_> = (0..bytes.u64()).map(|_| (bytes.text(), bytes.bytes())).collect();
    assert_eq!(
        before.iter().map(|k| k.0).collect::<Vec<_>>(),
        ["variational-dense", "activation", "variational-dense"]
    );
    assert_eq!(bytes.u64(), 2);
    for (at, layer) in [0, 2].into_iter().zip(&pruning.layers) {
        let read = [bytes.u64(), bytes.u64(), bytes.u64(), bytes.u64(), bytes.u64(), bytes.u64()];
        let [kept, constant, weights] = [layer.kept, layer.constant, layer.weights].map(|n| n as u64);
        assert_eq!(read, [at, kept, constant, weights, layer.units[0] as u64, layer.units[1] as u64]);
    }
    assert_eq!(bytes.0.len(), 0);

    let mut plan = Bytes(&frames[0].content);
    let kinds: Vec<_> = (0..plan.u64()).map(|_| (plan.text(), plan.bytes())).collect();
    assert_eq!(kinds[0].0, "variational-pruned-dense");
    let mut layer = Bytes(kinds[0].1);
    let (inputs, units) = (layer.u64() as usize, layer.u64() as usize);
    assert_eq!((inputs, units), (5, pruning.layers[0].units[1]));
    let weights = index(&mut layer, inputs * units);
    assert_eq!(weights.len(), pruning.layers[0].kept);
    assert_eq!((index(&mut layer, units), layer.u64()), (vec![], 0));
    assert_eq!((layer.u64(), layer.u64()), (15, 5));
    assert_eq!((layer.u32(), layer.f64()), (1, 1.0)); // a prior by fan-in
    assert_eq!((layer.f64(), layer.u8(), layer.0.len()), (0.1 / 5f64.sqrt(), 1, 0));
}

/// A file beside the tests; `BDL_BLESS=1` writes it anew, which is value-breaking.
fn golden(name: &str, now: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("BDL_BLESS").is_some() {
        std::fs::write(&path, now()).unwrap();
    }
    std::fs::read(&path).unwrap()
}

const ROWS: &str = "a,b,colour\n0.5,-3,red\n-1,12,green\n40,0,blue\n";

/// Two members with four hidden units.
fn small(text: &str, mut config: TrainConfig) -> Model {
    (config.architecture.hidden, config.members) = (vec![4], 2);
    train(text, &config)
}

/// A committed model is written as it was, and predicts `rows` as it did.
fn stays(name: &str, rows: &str, make: impl FnOnce() -> Model) {
    let bytes = golden(&format!("v1-{name}.bdl"), || make().to_bytes().unwrap());
    let model = Model::from_bytes(&bytes).unwrap();
    assert_eq!(model.to_bytes().unwrap(), bytes, "{name} is written as it was");
    let mut how = file_prediction(5);
    how.telling.draws = 2;
    let told: String = predict(&model, rows, &how)
        .iter()
        .map(|row| row.bits.iter().map(|b| format!("{b:016x}")).collect::<Vec<_>>().join(" ") + "\n")
        .collect();
    let expected = golden(&format!("v1-{name}.predictions"), || told.clone().into_bytes());
    assert_eq!(told, String::from_utf8(expected).unwrap(), "{name}");
}

#[test]
fn value_stability_of_files_of_version_1() {
    for method in Method::ALL {
        stays(method.name(), ROWS, || small(&real_text(40, 12), config("y", method)));
    }
    stays("pruned", ROWS, || {
        small(&real_text(40, 12), config("y", Method::MeanField)).prune(Some(1.5)).unwrap()
    });
    stays("pruned-residual", ROWS, || {
        let mut config = config("y", Method::SparseVd);
        config.architecture.net = Some("5-4-ln-res+6+4-1".parse().unwrap());
        small(&real_text(40, 12), config).prune(Some(-9.0)).unwrap()
    });
}

#[test]
fn value_stability_of_files_of_other_likelihoods() {
    let (numbers, counts, classes) = (real_text(40, 12), count_text(40), class_text(40, &["0", "1"], 12));
    let student_t = Likelihood::StudentT { dof: None };
    stays("student-t", ROWS, || small(&numbers, likelihood_config("y", student_t)));
    stays("poisson", "x\n-1\n0.5\n30\n", || small(&counts, likelihood_config("y", Likelihood::Poisson)));
    stays("several-targets", ROWS, || {
        small(&two_text(), likelihood_config("y,z", Likelihood::Heteroscedastic))
    });
    let bernoulli = likelihood_config("label", Likelihood::Bernoulli);
    stays("bernoulli", "a,b\n0.5,-3\n-1,12\n40,0\n", || small(&classes, bernoulli));
}

#[test]
fn value_stability_of_files_with_priors_that_are_given_or_learned() {
    let text = real_text(40, 12);
    let single = |method| {
        let mut config = config("y", method);
        config.architecture.hidden = vec![4];
        config
    };
    stays("learned-prior", ROWS, || {
        let mut config = single(Method::MeanField);
        config.architecture.prior = "fan-in:normal:learned".parse().unwrap();
        train(&text, &config)
    });
    let moped = || {
        let mut config = single(Method::MeanField);
        config.architecture.prior = config.architecture.prior.around().unwrap();
        let model = Arc::new(train(&text, &single(Method::Deterministic)));
        config.start = Some(StartFrom { model, sigma_ratio: Some(0.1) });
        train(&text, &config)
    };
    stays("moped", ROWS, moped);
    stays("pruned-moped", ROWS, || moped().prune(Some(10.0)).unwrap());
}
