//! Pooling, flatten and dropout of channels against direct loops, in their moments, and in convolutional networks.

use crate::common::Spec::{Act, AvgPool, Conv, Drop, Drop2d, MaxPool, Variational, VariationalConv};
use crate::common::{
    PASSES, bits, check_gradients, check_moments_of_rows, image, numbers, oracle, params, plan, predict,
    window_of,
};
use bdl_dist::{Noise, Purpose};
use bdl_layers::{
    Activation, AvgPool2d, Dropout2d, Estimator, Flatten, Image, ImageOrder, Layer, MaxPool2d, Pass, Plan,
    Scope, Window,
};
use bdl_testkit::finite::assert_gradient_close;
use bdl_testkit::masks::{dropout_moments, for_each_mask};
use bdl_testkit::oracle::{OracleConv, kl_mc_dropout, pool};
use bdl_testkit::source::to_f64;
use bdl_testkit::stats::MomentCheck;
use proptest::prelude::*;

fn plain(image: [usize; 3], channels: usize, kernel: [usize; 2]) -> OracleConv {
    OracleConv { image, channels, kernel, stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
}

/// A plan of one layer at the mean.
fn through(layer: impl Layer + 'static, x: &[f32]) -> Vec<f32> {
    predict(&Plan::new(vec![Box::new(layer)]).unwrap(), &[], x, &Pass::mean())
}

/// A window with padding of at most half its kernel, over an image that holds it.
fn windows() -> impl Strategy<Value = OracleConv> {
    let side = || (1usize..7, 1usize..4, 1usize..4, any::<bool>(), 1usize..3);
    (side(), side(), 1usize..20).prop_map(|(i, j, channels)| {
        let [(h, kh, sh, ph, dh), (w, kw, sw, pw, dw)] = [i, j];
        let padding = [usize::from(ph) * (kh / 2), usize::from(pw) * (kw / 2)];
        // No window sees padding alone if the image is as large as the window.
        let image = [h.max(dh * (kh - 1) + 1), w.max(dw * (kw - 1) + 1), channels];
        OracleConv { stride: [sh, sw], padding, dilation: [dh, dw], ..plain(image, 1, [kh, kw]) }
    })
}

proptest! {
    #[test]
    fn pooling_over_any_window_agrees_with_the_loops(conv in windows(), rows in 1usize..4) {
        let x = numbers(1, rows * image(conv.image).len());
        let largest = through(MaxPool2d::new(image(conv.image), window_of(&conv)).unwrap(), &x);
        let expected: Vec<f32> = pool(&conv, true, &to_f64(&x), rows).iter().map(|y| *y as f32).collect();
        prop_assert_eq!(bits(&largest), bits(&expected), "{:?}", conv);
        let mean = through(AvgPool2d::new(image(conv.image), window_of(&conv)).unwrap(), &x);
        assert_gradient_close(&format!("{conv:?}"), &mean, &pool(&conv, false, &to_f64(&x), rows), 1e-6);
    }
}

#[test]
fn gradients_match_the_oracle_through_pooling_and_dropout_of_channels() {
    let first = plain([5, 4, 2], 3, [2, 1]);
    let halved = OracleConv { stride: [2, 1], padding: [1, 1], ..plain(first.out_image(), 1, [2, 3]) };
    let [height, width, _] = halved.out_image();
    let inner = [height, width, 3];
    let second = OracleConv { groups: 3, padding: [1, 0], ..plain(inner, 3, [2, 2]) };
    let last = OracleConv { dilation: [2, 1], ..plain(second.out_image(), 1, [2, 2]) };
    let outputs = pool(&last, true, &vec![0.0; second.out_dim()], 1).len();
    for (name, front) in [("conv", Conv(first)), ("variational", VariationalConv(first))] {
        let specs = [
            Drop2d(first.image, 0.3),
            front,
            MaxPool(halved),
            Act(Activation::Silu, inner.iter().product()),
            Drop2d(inner, 0.4),
            Conv(second),
            AvgPool(last),
            Variational(outputs, 2),
        ];
        for (pass, pass_of) in PASSES {
            check_gradients(&format!("{name}, {pass}"), &specs, pass_of);
        }
    }
}

#[test]
fn kl_of_a_convolution_knows_the_mask_in_front_of_it() {
    let (first, second) = (plain([3, 3, 2], 2, [2, 2]), plain([2, 2, 2], 3, [1, 1]));
    let plan = plan(&[Drop2d([3, 3, 2], 0.4), Conv(first), Drop(8, 0.2), Conv(second)]);
    let params = params(&plan);
    let p = to_f64(&params);
    let expected =
        kl_mc_dropout(&p[..16], &p[16..18], 0.7, 0.4) + kl_mc_dropout(&p[18..24], &p[24..], 0.7, 0.2);
    assert!((plan.kl(&params).unwrap() / expected - 1.0).abs() < 1e-6);
}

// 40 000 passes over two rows; masks of 3 and 2 channels are enumerated.
#[test]
fn a_convolutional_network_agrees_with_the_enumeration_of_its_channels_under_both_scopes() {
    let first = plain([1, 3, 3], 2, [1, 2]);
    let second = plain([1, 2, 2], 1, [1, 2]);
    let specs = [
        Drop2d(first.image, 0.2),
        Conv(first),
        Act(Activation::Relu, 4),
        Drop2d([1, 2, 2], 0.4),
        Conv(second),
    ];
    let (plan, x) = (plan(&specs), numbers(5, 18));
    let params = params(&plan);
    let exact = dropout_moments(&oracle(&specs, &Pass::mean(), 2), &to_f64(&params), &to_f64(&x), 2);
    check_moments_of_rows(&plan, &params, &x, &exact);
}

// 20 000 passes; the covariance of two pixels is that of 2³ masks, and without channels in common it is 0.
#[test]
fn pixels_share_the_mask_of_their_channel_and_rows_only_that_of_a_pass() {
    let (conv, drop_prob, keep) = (plain([1, 2, 3], 1, [1, 1]), 0.3, 0.7);
    let (x, noise) = (numbers(6, 12), Noise::new(29, Purpose::Predict));
    let product = |w: &[f64], at: usize, mask: &[bool]| -> f64 {
        (0..3).map(|c| if mask[c] { w[c] * f64::from(x[3 * at + c]) / keep } else { 0.0 }).sum()
    };
    for (name, front, of_pixel) in
        [("channels", Drop2d([1, 2, 3], drop_prob), false), ("units", Drop(6, drop_prob), true)]
    {
        let plan = plan(&[front, Conv(conv)]);
        let params = params(&plan);
        let w = to_f64(&params[..3]);
        let bias = f64::from(params[3]);
        let mean = |at: usize| -> f64 { (0..3).map(|c| w[c] * f64::from(x[3 * at + c])).sum() };
        // Products of deviations of two places: their mean is the covariance.
        let moments = |q: usize, r: usize, together: bool| {
            let (mut cov, mut second) = (0.0, 0.0);
            for_each_mask(&[keep; 6], |mask, prob| {
                let (one, other) = mask.split_at(3);
                let d = (product(&w, q, one) - mean(q))
                    * (product(&w, r, if together { one } else { other }) - mean(r));
                cov += prob * d;
                second += prob * d * d;
            });
            (cov, second - cov * cov)
        };
        for (scope, rows_share) in [(Scope::Pass, true), (Scope::Row, false)] {
            let draw =
                |index| predict(&plan, &params, &x, &Pass::predict(&noise, index, scope, Estimator::Local));
            let draws: Vec<Vec<f32>> = (0..20_000).map(draw).collect();
            // Places: row 0 pixels 0 and 1, row 1 pixels 0 and 1.
            for (q, r, together) in [(0, 1, !of_pixel), (0, 2, rows_share), (0, 3, rows_share && !of_pixel)] {
                let (cov, variance) = moments(q, r, together);
                let deviation = |y: &Vec<f32>, at: usize| f64::from(y[at]) - bias - mean(at);
                let products: Vec<f64> = draws.iter().map(|y| deviation(y, q) * deviation(y, r)).collect();
                assert!(!together || cov.abs() > 0.05, "a covariance of {cov} is too small to tell");
                MomentCheck::mean(&format!("{name}, {scope:?}, {q} {r}"), &products, cov, variance).assert();
            }
        }
    }
}

#[test]
fn flatten_turns_rows_to_channels_first_and_is_a_copy_otherwise() {
    let image = Image::new(3, 2, 5);
    let x = numbers(7, 2 * image.len());
    let copy = through(Flatten::new(image, ImageOrder::ChannelsLast).unwrap(), &x);
    assert_eq!(bits(&copy), bits(&x));
    let turned = through(Flatten::new(image, ImageOrder::ChannelsFirst).unwrap(), &x);
    for row in 0..2 {
        for (c, i, j) in (0..30).map(|at| (at / 6, at / 2 % 3, at % 2)) {
            assert_eq!(turned[30 * row + (3 * c + i) * 2 + j], x[30 * row + (2 * i + j) * 5 + c]);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_layer_and_both_shapes() {
    let image = Image::new(4, 6, 3);
    let max = |window| MaxPool2d::new(image, window).unwrap_err().to_string();
    assert_eq!(
        max(Window::new([5, 2])),
        "max-pool2d: kernel must be within an input of [4, 6, 3] padded by [0, 0], got [5, 2] dilated by [1, 1]"
    );
    assert_eq!(
        max(Window::new([2, 2]).padding([1, 2])),
        "max-pool2d: padding must be at most half the kernel of [2, 2], got [1, 2]"
    );
    assert_eq!(
        AvgPool2d::new(image, Window::new([2, 2]).stride([0, 2])).unwrap_err().to_string(),
        "avg-pool2d: stride must be at least [1, 1], got [0, 2]"
    );
    let far = Window::line(2).dilation([1, 4]).padding([0, 1]);
    assert_eq!(
        MaxPool2d::new(Image::line(3, 1), far).unwrap_err().to_string(),
        "max-pool2d: padding must be such that each window of [1, 2] sees a pixel of [1, 3, 1], got [0, 1]"
    );
    // Some 10¹³ places would have to be written down.
    assert_eq!(
        MaxPool2d::new(Image::new(4096, 4096, 1), Window::new([2048, 2048])).unwrap_err().to_string(),
        "max-pool2d: kernel must be such that all 2049x2049 positions see at most 67108864 pixels, got [2048, 2048]"
    );
    assert_eq!(
        Dropout2d::new(image, 1.0).unwrap_err().to_string(),
        "dropout2d: drop_prob must be in [0, 1), got 1"
    );
    assert_eq!(
        Flatten::new(Image::new(4, 0, 3), ImageOrder::ChannelsFirst).unwrap_err().to_string(),
        "flatten: image must be of 1 to 16777216 elements, got [4, 0, 3]"
    );
}
