//! Images: the files they come in, what a network sees of them, and models of them from end to end.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bdl_layers::{Container, Section};
use bdl_model::{
    Architecture, Error, FeatureKind, FileEvent, FilePrediction, Grain, Images, Labels, Method, Model, Net,
    Outputs, Passes, Scope, Shape, TrainConfig, Training, Valid, WeightNoise,
};
use bdl_tensor::Serial;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use crate::common::{config, idx};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Images of 4×3 whose label is where they are bright: above, in the middle, below or on the left.
fn bright(n: usize) -> (Vec<u8>, Vec<u8>) {
    let labels: Vec<u8> = (0..n).map(|i| [1, 5, 7, 9][i * 7 % 4]).collect();
    let pixel = |image: usize, label: u8, at: usize| {
        let (row, column) = (at / 3, at % 3);
        let lit = match label {
            1 => row == 0,
            5 => row == 1,
            7 => row == 3,
            _ => column == 0,
        };
        (image * 31 + at * 17) as u8 % 90 + if lit { 160 } else { 0 }
    };
    let pixels = labels.iter().enumerate().flat_map(|(i, &label)| (0..12).map(move |at| pixel(i, label, at)));
    (pixels.collect(), labels)
}

/// A folder with `name-images-idx3-ubyte` and `name-labels-idx1-ubyte`.
struct Folder(TempDir);

impl Folder {
    fn new(n: usize) -> Self {
        let folder = Self(TempDir::new().unwrap());
        let (pixels, labels) = bright(n);
        folder.write("a-images-idx3-ubyte", &idx(&[n as u32, 4, 3], &pixels));
        folder.write("a-labels-idx1-ubyte", &idx(&[n as u32], &labels));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn images(&self) -> Images {
        Images::open(&self.path("a-images-idx3-ubyte")).unwrap()
    }

    fn labels(&self) -> Labels {
        Labels::of(&self.images(), None).unwrap()
    }
}

fn train(images: &Images, labels: &Labels, config: &TrainConfig) -> Result<Training, Error> {
    Model::train_images(images, labels, config, &Serial, &mut |_| ControlFlow::Continue(()))
}

fn model(method: Method) -> (Folder, Model) {
    let folder = Folder::new(120);
    let mut config = config("label", method);
    config.fit.epochs = 40;
    let model = train(&folder.images(), &folder.labels(), &config).unwrap().model;
    (folder, model)
}

/// Class probabilities of all images.
fn probs(model: &Model, images: &Images, how: &FilePrediction) -> Vec<f64> {
    let mut probs = Vec::new();
    let report = model.predict_images(images, how, &Serial, &mut |event| {
        if let FileEvent::Row(row) = event {
            assert_eq!(row.number as usize, probs.len() / 4 + 1);
            probs.extend_from_slice(row.probs);
        }
        Ok(())
    });
    assert_eq!(report.unwrap().rows as usize, images.len());
    probs
}

fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_file_is_read_as_it_is_and_through_gzip() {
    let folder = Folder::new(5);
    let plain = folder.images();
    assert_eq!((plain.len(), plain.sides(), plain.pixels().len()), (5, [4, 3, 1], 60));
    folder.write("z.gz", &gzip(&std::fs::read(folder.path("a-images-idx3-ubyte")).unwrap()));
    let packed = Images::open(&folder.path("z.gz")).unwrap();
    assert_eq!((packed.sides(), packed.pixels()), (plain.sides(), plain.pixels()));
    folder.write("colour", &idx(&[2, 1, 2, 3], &[7; 12]));
    assert_eq!(Images::open(&folder.path("colour")).unwrap().sides(), [1, 2, 3]);
}

#[test]
fn labels_are_found_beside_their_images_compressed_or_not() {
    let folder = Folder::new(5);
    let beside = |name: &str| Labels::beside(&folder.path(name));
    let name = |path: Option<PathBuf>| Some(path?.file_name()?.to_str()?.to_owned());
    assert_eq!(name(beside("a-images-idx3-ubyte")).as_deref(), Some("a-labels-idx1-ubyte"));
    assert_eq!(name(beside("a-images-idx3-ubyte.gz")).as_deref(), Some("a-labels-idx1-ubyte"));
    folder.write("a-labels-idx1-ubyte.gz", &[]);
    assert_eq!(name(beside("a-images-idx3-ubyte.gz")).as_deref(), Some("a-labels-idx1-ubyte.gz"));
    assert_eq!(beside("b-images-idx3-ubyte"), None);
    assert_eq!(beside("a-labels-idx1-ubyte"), Some(folder.path("a-labels-idx1-ubyte.gz")));
    assert_eq!(beside("z"), None);
}

#[test]
fn idx_is_known_by_its_content_or_its_name() {
    let folder = Folder::new(5);
    folder.write("plain", &idx(&[1], &[1]));
    folder.write("z.gz", &gzip(&idx(&[1, 1, 1], &[1])));
    folder.write("csv", b"x,y\n1,2\n");
    folder.write("csv.gz", &gzip(b"x,y\n1,2\n"));
    folder.write("b-images-idx3-ubyte", b"x,y\n1,2\n");
    let is = |name: &str| Images::are_in(&folder.path(name)).unwrap();
    assert!(is("plain") && is("z.gz") && is("b-images-idx3-ubyte"));
    assert!(!is("csv") && !is("csv.gz") && !Images::are_in(Path::new("-")).unwrap());
}

#[test]
fn files_that_are_not_what_they_should_be_are_named_with_expected_and_got() {
    let folder = Folder::new(5);
    let open = |bytes: &[u8]| {
        folder.write("x", bytes);
        let message = message(Images::open(&folder.path("x")));
        message.strip_prefix(folder.path("x").to_str().unwrap()).unwrap().to_owned()
    };
    let magic = "begins with 0x00000803 or 0x00000804, got";
    assert_eq!(open(&idx(&[1], &[1])), format!(": expected an IDX file of images, which {magic} 0x00000801"));
    assert!(open(b"x,y\n1,2\n").ends_with(&format!("{magic} 0x782c790a")));
    assert_eq!(open(&[0, 0, 8, 3, 0]), ": expected an IDX file of images, got a file that ends early");
    let whole = idx(&[2, 2, 2], &[1; 8]);
    assert_eq!(open(&whole[..20]), ": expected 8 bytes for 2 images behind the header, got 4");
    assert_eq!(
        open(&idx(&[2, 2, 2], &[1; 9])),
        ": expected 8 bytes for 2 images behind the header, got more"
    );
    let packed = gzip(&whole);
    assert_eq!(
        open(&packed[..packed.len() - 9]),
        ": expected an IDX file of images, got a file that ends early"
    );
    assert_eq!(open(&idx(&[0, 2, 2], &[])), ": expected at least one image, got none");
    assert_eq!(open(&idx(&[1, 0, 2], &[])), ": expected images of 1 to 16777216 pixels, got 0×2×1");
    assert!(open(&idx(&[u32::MAX; 3], &[])).contains("at most 4294967296 bytes of images, got 4294967295×"));
    assert!(open(&[]).contains("got a file that ends early"));
    assert!(message(Images::open(folder.0.path())).contains("got a directory"));
    assert!(message(Images::open(&folder.path("none"))).contains("No such file"));
}

#[test]
fn labels_of_other_images_and_no_labels_are_refused() {
    let folder = Folder::new(5);
    folder.write("other", &idx(&[4], &[1; 4]));
    let images = folder.images();
    let of = |path: Option<&Path>| message(Labels::of(&images, path));
    let expected = format!("expected 5 labels, one for each image of {}, got 4", images.file());
    assert!(of(Some(&folder.path("other"))).ends_with(&expected));
    assert!(
        of(Some(&folder.path("a-images-idx3-ubyte")))
            .contains("which begins with 0x00000801, got 0x00000803")
    );
    std::fs::remove_file(folder.path("a-labels-idx1-ubyte")).unwrap();
    assert!(
        of(None).contains("expected a file of labels beside it")
            && of(None).contains("--labels FILE, got none")
    );
}

#[test]
fn a_network_sees_bytes_over_255_and_learns_from_them() {
    for method in Method::ALL {
        let (folder, model) = model(method);
        assert_eq!(model.schema().features[0].kind, FeatureKind::Image { sides: [4, 3, 1] });
        assert_eq!(model.schema().class_names(), ["1", "5", "7", "9"]);
        assert_eq!((model.schema().shape(), model.schema().width()), (Shape::Image([4, 3, 1]), 12));
        let scores =
            model.evaluate_images(&folder.images(), &folder.labels(), model.passes(), &Serial).unwrap();
        assert!(scores.metric("accuracy").unwrap().value > 0.95, "{method:?}: {scores:?}");
        // The network is fed by hand.
        let x: Vec<f32> = folder.images().pixels().iter().map(|&byte| f32::from(byte) / 255.0).collect();
        let how = FilePrediction { passes: model.passes(), ..FilePrediction::default() };
        let by_hand = model.predictor(how.passes).unwrap().predict(&x, 0, &how.telling, &Serial).unwrap();
        assert_eq!(by_hand.probs, probs(&model, &folder.images(), &how), "{method:?}");
    }
}

#[test]
fn a_saved_model_predicts_the_same_and_is_written_the_same() {
    for method in Method::ALL {
        let (folder, model) = model(method);
        let bytes = model.to_bytes().unwrap();
        let loaded = Model::from_bytes(&bytes).unwrap();
        assert_eq!((loaded.to_bytes().unwrap(), loaded.schema()), (bytes, model.schema()));
        for scope in [Scope::Pass, Scope::Row] {
            let passes = Passes { samples: 7, scope, seed: 3, ..model.passes() };
            let how = FilePrediction { passes, ..FilePrediction::default() };
            assert_eq!(probs(&loaded, &folder.images(), &how), probs(&model, &folder.images(), &how));
        }
    }
}

#[test]
fn a_service_predicts_an_image_as_a_file_does() {
    let (folder, model) = model(Method::McDropout);
    let (images, how) =
        (folder.images(), FilePrediction { passes: model.passes(), ..FilePrediction::default() });
    let all = probs(&model, &images, &how);
    let predictor = model.predictor(how.passes).unwrap();
    let mut scratch = predictor.scratch();
    for (image, probs) in all.chunks_exact(4).enumerate() {
        scratch.row.set_image(&images.pixels()[12 * image..][..12]).unwrap();
        predictor.predict_row(&mut scratch, 0.9).unwrap();
        assert_eq!(scratch.probs(), probs);
    }
    assert_eq!(
        message(scratch.row.set_image(&[0; 11])),
        "row: pixels of the image: must have length 12, got 11"
    );
    assert_eq!(
        message(scratch.row.set_number("image", 1.0)),
        "row: column \"image\": expected pixels, got \"1\""
    );
    let table = crate::common::train(
        &crate::common::class_text(40, &["x", "y"], 1),
        &config("label", Method::McDropout),
    );
    assert!(message(table.encoder().row().set_image(&[0; 12])).contains("no column \"image\""));
}

#[test]
fn rows_are_held_out_as_those_of_a_table() {
    let folder = Folder::new(100);
    let mut config = config("digit", Method::McDropout);
    config.valid = Valid::Fraction(0.2);
    let training = train(&folder.images(), &folder.labels(), &config).unwrap();
    assert_eq!((training.rows, training.valid_rows, training.dropped), (80, 20, 0));
    assert_eq!(training.valid.unwrap().rows, 20);
    assert_eq!(training.model.schema().target.name, "digit");
    config.valid = Valid::By { column: "x".to_owned(), fraction: 0.2 };
    assert_eq!(
        message(train(&folder.images(), &folder.labels(), &config)),
        "--valid-by: must be used with a table: images have no columns, got \"x\""
    );
}

#[test]
fn one_class_and_an_unknown_label_are_refused() {
    let folder = Folder::new(5);
    folder.write("ones", &idx(&[5], &[1; 5]));
    let ones = Labels::open(&folder.path("ones")).unwrap();
    let refused = message(train(&folder.images(), &ones, &config("label", Method::McDropout)));
    assert!(
        refused.ends_with("expected at least two classes in the training rows, got only \"1\""),
        "{refused}"
    );
    let (_keep, model) = model(Method::Deterministic);
    folder.write("new", &idx(&[5], &[1, 5, 7, 2, 1]));
    let new = Labels::open(&folder.path("new")).unwrap();
    let refused = message(model.evaluate_images(&folder.images(), &new, model.passes(), &Serial));
    assert!(
        refused.ends_with("expected one of the model's classes 1, 5, 7, 9, got label 2 for image 4"),
        "{refused}"
    );
}

#[test]
fn images_of_another_size_and_tables_are_refused() {
    let (folder, model) = model(Method::Deterministic);
    folder.write("wide", &idx(&[1, 3, 4], &[0; 12]));
    let wide = Images::open(&folder.path("wide")).unwrap();
    let (mut sink, how) = (|_: FileEvent<'_>| Ok(()), FilePrediction::default());
    let refused = message(model.predict_images(&wide, &how, &Serial, &mut sink));
    assert!(
        refused.ends_with("wide: expected images of 4×3×1, which the model was trained on, got 3×4×1"),
        "{refused}"
    );
    let refused = message(crate::common::predict_with(&model, "x,y\n1,2\n", &how, &Serial));
    assert!(
        refused.ends_with("expected IDX images of 4×3×1, which the model was trained on, got a table"),
        "{refused}"
    );
    let keep = FilePrediction { keep: vec!["id".to_owned()], ..how.clone() };
    let refused = message(model.predict_images(&folder.images(), &keep, &Serial, &mut sink));
    assert_eq!(refused, "--keep: must be used with a table: images have no columns, got \"id\"");
    let table = crate::common::train(
        &crate::common::class_text(40, &["x", "y"], 1),
        &config("label", Method::McDropout),
    );
    let refused = message(table.predict_images(&folder.images(), &how, &Serial, &mut sink));
    assert!(
        refused.ends_with("expected a table with the model's columns, got IDX images of 4×3×1"),
        "{refused}"
    );
}

#[test]
fn a_spelled_network_is_that_of_its_hidden_layers() {
    let folder = Folder::new(40);
    let mut config = config("label", Method::McDropout);
    config.architecture.hidden = vec![9, 5];
    let by_hidden = train(&folder.images(), &folder.labels(), &config).unwrap().model.to_bytes().unwrap();
    for net in ["12-9-5-4", "4x3x1-9-5-4"] {
        config.architecture.net = Some(net.parse::<Net>().unwrap());
        let by_net = train(&folder.images(), &folder.labels(), &config).unwrap().model;
        assert_eq!(by_net.to_bytes().unwrap(), by_hidden);
    }
    config.architecture.net = Some("12-9-5".parse().unwrap());
    assert_eq!(
        message(train(&folder.images(), &folder.labels(), &config)),
        "--net 12-9-5: layer 2: expected 9 → 4, a unit for each output, got 9 → 5"
    );
}

#[test]
fn the_size_of_the_images_is_checked_against_features_and_network() {
    let (_folder, model) = model(Method::Deterministic);
    let load = |bytes: &dyn Fn(&Section) -> Vec<u8>| {
        let mut other = Container::default();
        for section in Container::from_bytes(&model.to_bytes().unwrap()).unwrap().sections() {
            other.push(Section { bytes: bytes(section).into(), ..section.clone() });
        }
        message(Model::from_bytes(&other.to_bytes().unwrap()))
    };
    let sides = |sides: [u8; 3]| {
        load(&|section| match &section.tag {
            b"IMAG" => sides.iter().flat_map(|&side| [side, 0, 0, 0]).collect(),
            _ => section.bytes.to_vec(),
        })
    };
    assert_eq!(sides([4, 4, 1]), "schema: its features make 16 inputs, but the network takes 12");
    assert_eq!(sides([0, 4, 1]), "schema: column \"image\" must be one image of 1 to 16777216 pixels");
    let table = crate::common::train(
        &crate::common::class_text(40, &["1", "5"], 1),
        &config("label", Method::Deterministic),
    );
    let bytes = table.to_bytes().unwrap();
    let table = Container::from_bytes(&bytes).unwrap();
    let of_table = table.sections().iter().find(|section| &section.tag == b"SCHM").unwrap();
    let both = load(&|section| {
        if section.tag == of_table.tag { of_table.bytes.to_vec() } else { section.bytes.to_vec() }
    });
    assert_eq!(both, "schema: column \"image\" must be one image of 1 to 16777216 pixels");
}

/// Every method learns with this network, and what it learned comes back from its file.
fn check_every_method(net: &str) {
    let folder = Folder::new(120);
    for method in Method::ALL {
        let mut config = config("label", method);
        config.fit.epochs = 40;
        config.architecture.net = Some(net.parse().unwrap());
        let model = train(&folder.images(), &folder.labels(), &config).unwrap().model;
        let scores =
            model.evaluate_images(&folder.images(), &folder.labels(), model.passes(), &Serial).unwrap();
        assert!(scores.metric("accuracy").unwrap().value > 0.9, "{method:?}: {scores:?}");
        let bytes = model.to_bytes().unwrap();
        let loaded = Model::from_bytes(&bytes).unwrap();
        assert_eq!(loaded.to_bytes().unwrap(), bytes, "{method:?}");
        let how = FilePrediction { passes: model.passes(), ..FilePrediction::default() };
        assert_eq!(probs(&loaded, &folder.images(), &how), probs(&model, &folder.images(), &how));
    }
}

#[test]
fn convolutions_are_trained_by_every_method_and_saved() {
    check_every_method("4x3x1-conv6:2:p1-pool2:s1-conv4:2:g2-avgpool2x1:s1-8-4");
}

/// Kinds of the layers of a network, and its parameters.
fn built(net: &str, method: Method) -> (Vec<String>, usize) {
    let net: Net = net.parse().unwrap();
    let (input, classes) = (net.input(), Outputs::Classes(10));
    let bnn = Architecture { net: Some(net), method, ..Architecture::default() }.build(input, classes, 1.0);
    let bnn = bnn.unwrap();
    (bnn.plan().layers().map(|(_, layer)| layer.kind().to_owned()).collect(), bnn.plan().n_params())
}

/// Normalizations and a residual block, of images and behind them.
const NORMALIZED: &str = "4x3x1-conv6:2:p1-bn-res+conv6:3:p1+bn+conv6:3:p1+ln-pool2-8-ln-res+8-4";

#[test]
fn normalized_and_residual_networks_are_trained_by_every_method_and_saved() {
    check_every_method(NORMALIZED);
}

#[test]
fn normalizations_and_residual_blocks_stand_where_they_are_spelled() {
    let (kinds, params) = built("4x3x2-conv5:1-bn-res+conv5:1+ln+conv5:1-ln-12-bn-10", Method::Deterministic);
    let front = ["conv2d", "batch-norm", "activation", "residual", "layer-norm", "activation"];
    let back = ["dense", "batch-norm", "activation", "dense"];
    assert_eq!(kinds, [&front[..], &back[..]].concat());
    let (first, residual, norms) = (15, 2 * 30 + 10, 20 + 10 + 48);
    assert_eq!(params, first + residual + norms + (60 * 12 + 12) + (12 * 10 + 10));
    let (kinds, _) = built("8-res+8+8-bn-7-10", Method::McDropout);
    assert_eq!(
        kinds,
        ["residual", "batch-norm", "activation", "dropout", "dense", "activation", "dropout", "dense"]
    );
}

#[test]
fn lenet5_caffe_has_its_431080_weights_and_biases() {
    let (kinds, params) = built("lenet5-caffe", Method::Deterministic);
    let front = ["conv2d", "activation", "max-pool2d", "conv2d", "activation", "max-pool2d"];
    assert_eq!(
        (&kinds[..6], &kinds[6..]),
        (&front.map(String::from)[..], &["dense", "activation", "dense"].map(String::from)[..])
    );
    assert_eq!(params, 431_080);
    // One deviation more for each of the 430 500 weights, and for each of the 580 biases.
    assert_eq!(built("lenet5-caffe", Method::SparseVd).1, 431_080 + 430_500);
    assert_eq!(built("lenet5-caffe", Method::MeanField).1, 2 * 431_080);
}

#[test]
fn the_documented_networks_are_built() {
    let strided = "32x32x3-conv32:3:p1-conv32:3:p1:s2-conv64:3:p1:g4-avgpool16-10";
    let residual = "28x28x1-conv16:3:p1-bn-pool2-res+conv16:3:p1+bn+conv16:3:p1-bn-avgpool14-10";
    let ten = Outputs::Classes(10);
    for (net, outputs) in
        [(strided, ten.clone()), (residual, ten), ("1x100x3-conv8:1x5-pool1x2-1", Outputs::Real)]
    {
        let net: Net = net.parse().unwrap();
        let input = net.input();
        let bnn = Architecture { net: Some(net), ..Architecture::default() }.build(input, outputs, 1.0);
        assert_eq!(bnn.unwrap().plan().in_dim(), input.len());
    }
}

#[test]
fn dropout_masks_pixels_and_units_and_channels_in_whole() {
    let (kinds, _) = built("8x8x1-conv3:3-pool2-conv4:3-12-10", Method::McDropout);
    let masks: Vec<&str> = kinds.iter().map(String::as_str).filter(|kind| kind.contains("dropout")).collect();
    assert_eq!(masks, ["dropout", "dropout2d", "dropout", "dropout"]);
}

/// Kinds of a network with convolutions, activations left out, and the lengths of the blocks of this name.
fn noisy(architecture: Architecture, block: &str) -> (Vec<String>, Vec<usize>) {
    let net = Some("8x8x1-conv3:3-pool2-conv4:3-12-10".parse().unwrap());
    let bnn = Architecture { net, ..architecture }.build(Shape::Image([8, 8, 1]), Outputs::Classes(10), 1.0);
    let bnn = bnn.unwrap();
    let kinds = bnn.plan().layers().map(|(_, layer)| layer.kind().to_owned());
    let kinds = kinds.filter(|kind| !["activation", "max-pool2d"].contains(&kind.as_str())).collect();
    let blocks = bnn.plan().entries().iter().filter(|entry| entry.block.name == block);
    (kinds, blocks.map(|entry| entry.block.len()).collect())
}

#[test]
fn noise_is_on_pixels_units_and_channels_and_has_as_many_variances_as_asked_for() {
    let of = |method| Architecture { method, ..Architecture::default() };
    let (kinds, rates) = noisy(of(Method::ConcreteDropout), "drop.logit");
    assert_eq!(kinds, ["conv2d", "concrete-conv2d", "concrete-dense", "concrete-dense"]);
    assert_eq!(rates, [1, 1, 1]);
    let (kinds, _) = noisy(of(Method::GaussianDropout), "");
    let noise = "gaussian-dropout";
    assert_eq!(kinds, [noise, "conv2d", noise, "conv2d", noise, "dense", noise, "dense"]);
    for (grain, alphas) in
        [(Grain::Layer, [1, 1, 1, 1]), (Grain::Unit, [3, 4, 12, 10]), (Grain::Weight, [27, 108, 48, 120])]
    {
        let (kinds, got) =
            noisy(Architecture { grain, ..of(Method::VariationalDropout) }, "weight.logit_alpha");
        let [conv, dense] = ["independent-vd-conv2d", "independent-vd-dense"];
        assert_eq!((kinds, got), ([conv, conv, dense, dense].map(String::from).to_vec(), alphas.to_vec()));
    }
    let correlated = Architecture { weight_noise: WeightNoise::Correlated, ..of(Method::VariationalDropout) };
    let (kinds, alphas) = noisy(correlated.clone(), "logit_alpha");
    let noise = "correlated-vd";
    assert_eq!(kinds, [noise, "conv2d", noise, "conv2d", noise, "dense", noise, "dense"]);
    // Pixels of the input, channels, and units.
    assert_eq!(alphas, [64, 3, 4, 12]);
    let refused = Architecture { grain: Grain::Weight, ..correlated }.build(3, Outputs::Real, 1.0);
    assert_eq!(message(refused), "correlated-vd: grain must be Layer or Unit, got Weight");
}

#[test]
fn convolutions_that_do_not_fit_name_the_layer_and_both_shapes() {
    let refused = |net: &str| {
        let net: Net = net.parse().unwrap();
        let architecture = Architecture { net: Some(net), ..Architecture::default() };
        message(architecture.build(Shape::Image([4, 6, 1]), Outputs::Classes(2), 1.0))
    };
    assert_eq!(
        refused("4x6x1-conv3:5-2"),
        "--net 4x6x1-conv3:5-2: layer 1, conv3:5: conv2d: kernel must be within an input of [4, 6, 1] padded by [0, 0], \
         got [5, 5] dilated by [1, 1]"
    );
    assert_eq!(
        refused("4x6x1-conv3:1-conv4:1:g2-2"),
        "--net 4x6x1-conv3:1-conv4:1:g2-2: layer 2, conv4:1:g2: conv2d: groups must be a divisor of 3 input and 4 output \
         channels, got 2"
    );
    assert!(
        refused("4x6x1-pool5-2")
            .starts_with("--net 4x6x1-pool5-2: layer 1, pool5: max-pool2d: kernel must be within")
    );
    assert_eq!(
        refused("4x6x1-7-conv3:1-2"),
        "--net 4x6x1-7-conv3:1-2: layer 2, conv3:1: expected an image HEIGHTxWIDTHxCHANNELS in front of it, got 7 columns"
    );
    assert_eq!(
        refused("4x6x1-bn-res+conv3:1+conv1:2-2"),
        "--net 4x6x1-bn-res+conv3:1+conv1:2-2: layer 2, res+conv3:1+conv1:2: expected 4x6x1 → 4x6x1, so that both can be \
         added, got 4x6x1 → 3x5x1"
    );
    assert!(refused("4x6x1-res+ln+conv3:5-2").starts_with(
        "--net 4x6x1-res+ln+conv3:5-2: layer 1, res+ln+conv3:5: layer 2, conv3:5: conv2d: kernel must"
    ));
    assert_eq!(
        refused("4x6x1-conv3:3-5"),
        "--net 4x6x1-conv3:3-5: layer 2: expected 2x4x3 → 2, a unit for each output, got 2x4x3 → 5"
    );
}
