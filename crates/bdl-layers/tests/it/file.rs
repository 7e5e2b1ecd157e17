//! The model container: what is written can be read, and nothing else can.

use crate::common::Spec::{Act, Drop, NoBias, Variational};
use crate::common::{bits, numbers, params, plan, predict};
use bdl_dist::{Noise, Purpose};
use bdl_layers::{
    Activation, Container, Dense, Error, Estimator, Pass, Plan, Registry, Scope, Section, push_network,
    read_network, write_beside,
};
use proptest::prelude::*;

/// Every kind of layer, with settings that are not the defaults.
fn network() -> Plan {
    plan(&[
        Drop(3, 0.1),
        crate::common::Spec::Dense(3, 4),
        Act(Activation::Gelu, 4),
        Drop(4, 0.25),
        Variational(4, 3),
        Act(Activation::Relu, 3),
        NoBias(3, 2),
    ])
}

fn bytes_of(plan: &Plan, members: &[Vec<f32>]) -> Vec<u8> {
    let mut file = Container::default();
    push_network(&mut file, plan, members).unwrap();
    file.to_bytes().unwrap()
}

fn read(bytes: &[u8]) -> Result<(Plan, Vec<Vec<f32>>), Error> {
    read_network(&Container::from_bytes(bytes)?, &Registry::default())
}

fn outputs(plan: &Plan, params: &[f32]) -> Vec<u32> {
    let noise = Noise::new(4, Purpose::Predict);
    let x = numbers(6, 5 * 3);
    let passes = [
        Pass::mean(),
        Pass::predict(&noise, 2, Scope::Pass, Estimator::Local),
        Pass::predict(&noise, 2, Scope::Row, Estimator::Local),
    ];
    passes.iter().flat_map(|pass| bits(&predict(plan, params, &x, pass))).collect()
}

#[test]
fn a_saved_network_is_loaded_with_the_same_bytes_outputs_and_kl() {
    let plan = network();
    let first = params(&plan);
    // Two members, each with one number of a likelihood behind the network's.
    let members: Vec<Vec<f32>> =
        [0.0, 0.5].map(|shift| first.iter().map(|p| p + shift).chain([shift]).collect()).to_vec();
    let bytes = bytes_of(&plan, &members);
    let (loaded, loaded_members) = read(&bytes).unwrap();
    assert_eq!(bytes_of(&loaded, &loaded_members), bytes);
    assert_eq!(loaded.entries(), plan.entries());
    for (a, b) in members.iter().zip(&loaded_members) {
        assert_eq!(bits(a), bits(b));
        let (a, b) = (&a[..plan.n_params()], &b[..plan.n_params()]);
        assert_eq!(outputs(&plan, a), outputs(&loaded, b));
        // The priors are in the file.
        assert_eq!(plan.kl(a).unwrap().to_bits(), loaded.kl(b).unwrap().to_bits());
    }
}

#[test]
fn a_network_without_parameters_can_be_saved_and_loaded() {
    let plan = plan(&[Act(Activation::Tanh, 2)]);
    let (loaded, members) = read(&bytes_of(&plan, &[vec![], vec![]])).unwrap();
    assert_eq!((loaded.n_params(), members.len()), (0, 2));
    let e = push_network(&mut Container::default(), &plan, &vec![vec![]; 70_000]).unwrap_err();
    assert_eq!(e.to_string(), "model file: must hold at most 65536 members, got 70000");
}

const GOLDEN_V1: &[u8] = include_bytes!("../golden/v1.bdl");
/// FNV-1a over the bits of the golden network's outputs and KL.
const GOLDEN_DIGEST: u64 = 17640401962206592097;

fn golden() -> (Plan, Vec<f32>) {
    let plan = network();
    // Parameters by a formula, so that the file does not rest on initialization or noise.
    let params = (0..plan.n_params()).map(|i| ((i * 7 + 3) % 11) as f32 / 8.0 - 0.625).collect();
    (plan, params)
}

#[test]
fn value_stability_of_the_file_of_version_1() {
    let (plan, params) = golden();
    assert_eq!(bytes_of(&plan, std::slice::from_ref(&params)), GOLDEN_V1, "what is written has changed");
    let (loaded, members) = read(GOLDEN_V1).unwrap();
    assert_eq!(bits(&members[0]), bits(&params));
    let kl = loaded.kl(&members[0]).unwrap().to_bits();
    let words = outputs(&loaded, &members[0]).into_iter().map(u64::from).chain([kl]);
    let digest = words.fold(0xcbf2_9ce4_8422_2325_u64, |h, w| (h ^ w).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(digest, GOLDEN_DIGEST);
}

/// For a new version: `cargo test -p bdl-layers --test it file:: -- --ignored`, then commit the file under a new name.
#[test]
#[ignore = "writes the fixture"]
fn write_the_golden_file() {
    let (plan, params) = golden();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1.bdl");
    write_beside(path.as_ref(), &bytes_of(&plan, &[params])).unwrap();
}

#[test]
fn a_section_that_is_there_twice_is_an_error() {
    let mut file = Container::default();
    for _ in 0..2 {
        file.push(Section { tag: *b"NOTE", version: 1, required: false, bytes: b"hello".into() });
    }
    let e = Container::from_bytes(&file.to_bytes().unwrap()).unwrap_err();
    assert_eq!(e.to_string(), "model file: has section NOTE twice");
}

#[test]
fn every_truncation_is_an_error() {
    for n in 0..GOLDEN_V1.len() {
        let e = read(&GOLDEN_V1[..n]).expect_err("a part of a file must be refused").to_string();
        assert!(e.starts_with("model file: is "), "{n} bytes: {e}");
    }
}

#[test]
fn every_single_bit_flip_is_an_error() {
    let mut bytes = GOLDEN_V1.to_vec();
    for i in 0..8 * bytes.len() {
        bytes[i / 8] ^= 1 << (i % 8);
        assert!(read(&bytes).is_err(), "bit {i}");
        bytes[i / 8] ^= 1 << (i % 8);
    }
}

proptest! {
    #[test]
    fn no_bytes_behind_a_valid_front_make_a_reader_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes: Vec<u8> = GOLDEN_V1[..12].iter().copied().chain(tail).collect();
        prop_assert!(read(&bytes).is_err());
    }

    // Checksums do not help against a file that was made wrong: sections of any content, rightly framed.
    #[test]
    fn no_content_of_a_section_makes_a_reader_panic(
        plan in prop::collection::vec(any::<u8>(), 0..300), params in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut file = Container::default();
        file.push(Section { tag: *b"PLAN", version: 1, required: true, bytes: plan.into() });
        file.push(Section { tag: *b"PARM", version: 1, required: true, bytes: params.into() });
        let _ = read(&file.to_bytes().unwrap());
    }

    #[test]
    fn no_change_of_the_plan_section_makes_a_reader_panic(at in 0_usize..1_000, to in any::<u8>()) {
        let mut file = Container::from_bytes(GOLDEN_V1).unwrap();
        let mut sections = file.sections().to_vec();
        let n = sections[0].bytes.len();
        sections[0].bytes.to_mut()[at % n] = to;
        file = Container::default();
        sections.into_iter().for_each(|s| file.push(s));
        let _ = read(&file.to_bytes().unwrap());
    }
}

fn text(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

/// The golden file with one byte changed.
fn with(at: usize, to: u8) -> Vec<u8> {
    let mut bytes = GOLDEN_V1.to_vec();
    bytes[at] = to;
    bytes
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    assert_eq!(text(b""), "model file: is empty");
    let not_ours =
        "model file: is not a bdl model (it does not begin with the bytes that every bdl model begins with)";
    assert_eq!(text(b"a,b,c\n1,2,3\n4,5,6\n7,8,9\n"), not_ours);
    assert_eq!(text(b"x"), not_ours);
    assert_eq!(text(&GOLDEN_V1[..5]), "model file: is truncated within its first 20 bytes");
    assert_eq!(text(&GOLDEN_V1[..30]), "model file: is truncated within its header");
    let n = GOLDEN_V1.len();
    let expected = format!("model file: is truncated: section PARM needs {n} bytes, got {}", n - 1);
    assert_eq!(text(&GOLDEN_V1[..n - 1]), expected);
    assert_eq!(text(&with(8, 2)), "model file: has format version 2, this library reads version 1");
    assert_eq!(text(&with(25, 0xff)), "model file: is damaged: the header's checksum does not match");
    let expected = "model file: is damaged: the checksum of section PARM does not match";
    assert_eq!(text(&with(n - 1, 0x55)), expected);
    let longer: Vec<u8> = GOLDEN_V1.iter().copied().chain([0]).collect();
    assert_eq!(text(&longer), format!("model file: must end at byte {n}, got {} bytes", n + 1));
}

#[test]
fn sections_that_are_unknown_newer_or_absent_are_named() {
    let mut file = Container::from_bytes(GOLDEN_V1).unwrap();
    let section =
        |tag: &[u8; 4], required| Section { tag: *tag, version: 3, required, bytes: vec![1].into() };
    let known = [*b"PLAN", *b"PARM"];
    file.push(section(b"NOTE", false));
    file.refuse_unknown(&known).unwrap();
    assert_eq!(file.get(b"NOTE", 3).unwrap(), [1]);
    let e = file.get(b"NOTE", 2).unwrap_err();
    assert_eq!(e.to_string(), "model file: section NOTE has version 3, this library reads up to 2");
    assert_eq!(file.get(b"LIKE", 1).unwrap_err().to_string(), "model file: has no section LIKE");
    file.push(section(b"XYZ\xff", true));
    let e = file.refuse_unknown(&known).unwrap_err();
    assert_eq!(e.to_string(), "model file: needs section XYZ\\xff, which this library does not know");
}

#[test]
fn a_kind_of_layer_that_is_not_registered_is_named() {
    // "dense" becomes "dance" in a file that is otherwise right.
    let mut file = Container::default();
    for section in Container::from_bytes(GOLDEN_V1).unwrap().sections() {
        let mut section = section.clone();
        let at = section.bytes.windows(5).position(|w| w == b"dense");
        at.into_iter().for_each(|at| section.bytes.to_mut()[at..at + 5].copy_from_slice(b"dance"));
        file.push(section);
    }
    assert_eq!(
        text(&file.to_bytes().unwrap()),
        "layer kind \"dance\" is unknown here (known: activation, avg-pool2d, batch-norm, concrete-conv2d, concrete-dense, conv2d, \
         correlated-vd, dense, dropout, dropout2d, flatten, gaussian-dropout, \
         independent-vd-conv2d, independent-vd-dense, layer-norm, max-pool2d, pruned-conv2d, \
         pruned-dense, residual, sparse-vd-conv2d, sparse-vd-dense, sparse-vd-pruned-conv2d, \
         sparse-vd-pruned-dense, variational-conv2d, variational-dense, variational-pruned-conv2d, \
         variational-pruned-dense); \
         register it before loading"
    );
}

#[test]
fn vectors_that_do_not_fit_are_refused_on_both_sides() {
    let plan = Plan::new(vec![Box::new(Dense::new(2, 1).unwrap())]).unwrap();
    let push = |members: &[Vec<f32>]| {
        push_network(&mut Container::default(), &plan, members).unwrap_err().to_string()
    };
    assert_eq!(push(&[]), "save params: must have 3 elements, got 0");
    assert_eq!(push(&[vec![0.0; 2]]), "save params: must have 3 elements, got 2");
    assert_eq!(push(&[vec![0.0; 4], vec![0.0; 3]]), "save params: must have 4 elements, got 3");
    let mut file = Container::default();
    push_network(&mut file, &plan, &[vec![0.0; 3]]).unwrap();
    let mut sections = file.sections().to_vec();
    sections[1].bytes.to_mut().truncate(8);
    let mut short = Container::default();
    sections.into_iter().for_each(|s| short.push(s));
    let expected =
        "model file: section PARM must hold 1 vectors of 3 numbers for a network of 3, got 8 bytes";
    assert_eq!(text(&short.to_bytes().unwrap()), expected);
}

#[test]
fn what_stood_at_a_path_survives_a_write_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.bdl");
    write_beside(&path, b"first").unwrap();
    write_beside(&path, b"second").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"second");
    // A directory in the way: the rename fails, and nothing is left beside it.
    let taken = dir.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("kept"), b"kept").unwrap();
    assert!(write_beside(&taken, b"third").is_err());
    assert_eq!(std::fs::read(taken.join("kept")).unwrap(), b"kept");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}
