//! `special` against values computed with 40 digits, and against its own identities.

use std::f64::consts::LN_2;

use bdl_tensor::special::*;

#[track_caller]
fn assert_table(name: &str, table: &[(f64, f64)], tol: f64, f: impl Fn(f64) -> f64) {
    for &(x, want) in table {
        let got = f(x);
        let error = (got - want).abs() / want.abs().max(f64::MIN_POSITIVE);
        assert!(error <= tol, "{name}({x:e}) = {got:e}, not {want:e}: {error:e}");
    }
}

#[test]
fn erf_is_accurate_to_1e_15() {
    let table = [
        (1e-10, 1.1283791670955126e-10),
        (0.1, 0.1124629160182849),
        (0.5, 0.5204998778130465),
        (0.999, 0.8422852702064969),
        (1.0, 0.8427007929497149),
        (1.5, 0.9661051464753108),
        (2.0, 0.9953222650189527),
        (3.5, 0.9999992569016276),
        (5.5, 0.9999999999999927),
    ];
    assert_table("erf", &table, 1e-15, erf);
}

#[test]
fn erfc_is_accurate_far_into_the_tail() {
    let table = [
        (-3.0, 1.9999779095030015),
        (-0.7, 1.6778011938374184),
        (0.1, 0.887537083981715),
        (0.49, 0.4883317388114769),
        (0.5, 0.4795001221869535),
        (0.9, 0.20309178757716786),
        (1.0, 0.15729920705028513),
        (2.0, 0.004677734981047266),
        (3.75, 1.1372725656979665e-07),
        (5.0, 1.537459794428035e-12),
        (10.0, 2.088487583762545e-45),
        (20.0, 5.395865611607901e-176),
        (26.5, 2.2109076642637343e-307),
    ];
    assert_table("erfc", &table, 2e-15, erfc);
}

#[test]
fn dawson_and_its_integral_are_accurate_on_every_branch() {
    let table = [
        (1e-10, 1e-10, 1e-20),
        (0.1, 0.099_335_992_397_852_87, 0.009_966_755_365_417_478),
        (0.49, 0.41860967574960343, 0.22205363918002558),
        (0.5, 0.4244363835020223, 0.23048433642351717),
        (0.924, 0.541_044_214_199_866_3, 0.657_354_752_736_443_8),
        (1.0, 0.538_079_506_912_768_4, 0.7394416300990793),
        (2.0, 0.30134038892379197, 1.5923744096903332),
        (4.0, 0.12934800123600512, 2.351_598_984_061_421),
        (6.4, 0.079_115_935_911_133_72, 2.8318328611878588),
        (6.6, 0.076_658_970_228_914_3, 2.862_982_606_381_149),
        (20.0, 0.025_031_367_926_403_67, 3.976861109774555),
        (1e5, 5.00000000025e-6, 12.49468047795594),
    ];
    assert_table("dawson", &table.map(|(x, d, _)| (x, d)), 1e-14, dawson);
    assert_table("dawson", &table.map(|(x, d, _)| (-x, -d)), 1e-14, dawson);
    assert_table("dawson_integral", &table.map(|(x, _, i)| (x, i)), 1e-14, dawson_integral);
    assert_eq!((dawson(0.0), dawson_integral(0.0)), (0.0, 0.0));
    assert_eq!((dawson(f64::INFINITY), dawson_integral(f64::INFINITY)), (0.0, f64::INFINITY));
    assert!(dawson(f64::NAN).is_nan() && dawson_integral(f64::NAN).is_nan());
    assert_eq!(dawson_integral(-1e200), dawson_integral(1e200));
}

#[test]
fn norm_cdf_is_accurate_far_into_the_tail() {
    let table = [
        (-38.0, 2.88542835e-316),
        (-30.0, 4.906713927148187e-198),
        (-10.0, 7.619853024160525e-24),
        (-5.0, 2.866515718791939e-07),
        (-2.5, 0.006209665325776135),
        (-1.0, 0.15865525393145705),
        (-0.25, 0.4012936743170763),
        (0.0, 0.5),
        (0.25, 0.5987063256829237),
        (1.0, 0.8413447460685429),
        (3.0, 0.9986501019683699),
        (8.0, 0.9999999999999993),
    ];
    assert_table("norm_cdf", &table, 3e-15, norm_cdf);
}

#[test]
fn ln_norm_cdf_is_stable() {
    let table = [
        (-10000.0, -50000010.12927891),
        (-100.0, -5005.524208694205),
        (-38.0, -726.5572160188201),
        (-10.0, -53.23128515051247),
        (-1.5, -2.7059444008238898),
        (-1.0, -1.8410216450092636),
        (-0.5, -1.1759117615936185),
        (0.0, -LN_2),
        (1.0, -0.17275377902344988),
        (5.0, -2.866516129637636e-07),
        (10.0, -7.619853024160525e-24),
    ];
    assert_table("ln_norm_cdf", &table, 2e-15, ln_norm_cdf);
}

#[test]
fn norm_quantile_has_full_precision() {
    let table = [
        (5e-324, -38.467405617144344),
        (1e-300, -37.0470962993612),
        (1e-100, -21.273453560965326),
        (1e-20, -9.262340089798407),
        (1e-05, -4.264890793922825),
        (0.01, -2.326347874040841),
        (0.024, -1.9773684281819468),
        (0.025, -1.9599639845400543),
        (0.1, -1.2815515655446004),
        (0.3, -0.5244005127080408),
        (0.49, -0.025068908258711057),
        (0.4999999, -2.5066282747031063e-07),
    ];
    assert_table("norm_quantile", &table, 4e-15, norm_quantile);
}

#[test]
fn ln_gamma_follows_stirling() {
    let table = [
        (1e-10, 23.025850929882736),
        (0.1, 2.252712651734206),
        (0.5, 0.5723649429247001),
        (1.5, -0.12078223763524522),
        (2.5, 0.2846828704729192),
        (3.0, LN_2),
        (7.3, 7.147892523022248),
        (9.99, 12.779315214350193),
        (10.0, 12.801827480081469),
        (25.0, 54.78472939811232),
        (100.0, 359.1342053695754),
        (1000000.0, 12815504.569147611),
        (1e+100, 2.2925850929940456e+102),
    ];
    // One more than the value: relative where it is large, absolute at the zeros.
    let shifted = table.map(|(x, want): (f64, f64)| (x, want + want.signum()));
    assert_table("ln_gamma", &shifted, 1e-14, |x| ln_gamma(x) + ln_gamma(x).signum());
}

#[test]
fn ln_softplus_does_not_cancel() {
    let table = [
        (-50.0, -50.0),
        (-10.0, -10.000022699535485),
        (-9.2, -9.20005051757418),
        (-9.3, -9.300045710374505),
        (-5.0, -5.003359553239909),
        (0.0, -0.36651292058166435),
        (0.5, -0.02626493926374671),
        (2.0, 0.7546786903434884),
        (30.0, 3.4011973816621586),
    ];
    assert_table("ln_softplus", &table, 1e-14, ln_softplus);
}

#[test]
fn the_quantile_inverts_the_distribution_function() {
    for i in 1..2_000 {
        let p = f64::from(i) / 2_000.0;
        assert!((norm_cdf(norm_quantile(p)) - p).abs() < 2e-16 * 4.0, "{p}");
        assert_eq!(norm_quantile(1.0 - p), -norm_quantile(1.0 - (1.0 - p)), "{p}");
    }
    assert_eq!([norm_quantile(0.0), norm_quantile(1.0)], [f64::NEG_INFINITY, f64::INFINITY]);
    assert!(norm_quantile(-0.1).is_nan() && norm_quantile(1.1).is_nan() && norm_quantile(f64::NAN).is_nan());
}

#[test]
fn halves_of_the_normal_family_fit_together() {
    for i in -80..=80 {
        let x = f64::from(i) / 10.0;
        assert!((erf(x) + erfc(x) - 1.0).abs() < 4e-16, "{x}");
        assert!((norm_cdf(x) + norm_cdf(-x) - 1.0).abs() < 4e-16, "{x}");
        assert_eq!(erf(-x), -erf(x));
        assert!((ln_norm_pdf(x) - norm_pdf(x).ln()).abs() < 1e-13, "{x}");
        assert!((ln_norm_cdf(x).exp() / norm_cdf(x) - 1.0).abs() < 1e-13, "{x}");
    }
}

#[test]
fn gamma_steps_by_its_argument_and_vanishes_at_1_and_2() {
    for i in 1..300 {
        let x = f64::from(i) / 7.0;
        let step = ln_gamma(x + 1.0) - ln_gamma(x) - x.ln();
        assert!(step.abs() < 1e-14 * (1.0 + ln_gamma(x + 1.0).abs()), "{x}: {step:e}");
    }
    assert!(ln_gamma(1.0).abs() < 1e-14 && ln_gamma(2.0).abs() < 1e-14);
    assert_eq!([ln_gamma(0.0), ln_gamma(f64::INFINITY)], [f64::INFINITY; 2]);
    assert!(ln_gamma(-0.5).is_nan() && ln_gamma(f64::NAN).is_nan());
}

#[test]
fn limits_are_those_that_the_docs_state() {
    let inf = f64::INFINITY;
    assert_eq!([xlogx(0.0), xlogx(1.0), softplus(-inf), softplus(inf)], [0.0, 0.0, 0.0, inf]);
    assert_eq!([logsumexp(&[]), logsumexp(&[-inf, -inf]), logsumexp(&[0.0, inf])], [-inf, -inf, inf]);
    assert_eq!(logsumexp(&[3.0, -inf]), 3.0);
    assert!(logsumexp(&[1.0, f64::NAN]).is_nan() && logsumexp(&[f64::NAN, inf]).is_nan());
    assert_eq!([erf(-inf), erf(inf), erfc(-inf), erfc(inf)], [-1.0, 1.0, 2.0, 0.0]);
    assert_eq!([norm_cdf(-inf), norm_cdf(inf), norm_pdf(inf)], [0.0, 1.0, 0.0]);
    assert_eq!([ln_norm_cdf(inf), ln_norm_cdf(-inf)], [0.0, -inf]);
    assert_eq!([sigmoid(-inf), sigmoid(inf), sigmoid(0.0)], [0.0, 1.0, 0.5]);
    assert_eq!([ln_softplus(-1e4), ln_softplus(1e4)], [-1e4, 1e4f64.ln()]);
    assert_eq!([inv_softplus(0.0), inv_softplus(inf)], [-inf, inf]);
    assert!(
        [erf, erfc, norm_cdf, norm_pdf, ln_norm_cdf, softplus, sigmoid].iter().all(|f| f(f64::NAN).is_nan())
    );
}

#[test]
fn inv_softplus_inverts_softplus() {
    for x in [-600.0, -40.0, -1.0, 0.0, 0.5, 3.0, 50.0, 1e4] {
        assert!((inv_softplus(softplus(x)) - x).abs() < 1e-13 * (1.0 + f64::abs(x)), "{x}");
    }
}

#[test]
fn digamma_is_accurate_and_the_slope_of_ln_gamma() {
    let table = [
        (1e-10, -10000000000.577215),
        (0.1, -10.423754940411076),
        (0.5, -1.9635100260214235),
        (1.4616321449683622, -9.241265521729427e-17),
        (1.5, 0.03648997397857652),
        (2.5, 0.7031566406452432),
        (7.3, 1.9178203356379862),
        (9.99, 2.250700372831201),
        (10.0, 2.251752589066721),
        (25.0, 3.198742512851974),
        (1000000.0, 13.815510057964191),
        (1e+100, 230.25850929940458),
    ];
    for (x, want) in table {
        assert!((digamma(x) - want).abs() <= 1e-14 * f64::abs(want).max(1.0), "{x}: {}", digamma(x));
    }
    for x in [0.3, 2.0, 9.5, 10.5, 40.0] {
        let slope = (ln_gamma(x + 1e-4) - ln_gamma(x - 1e-4)) / 2e-4;
        assert!((digamma(x) - slope).abs() < 1e-6, "{x}");
    }
    assert_eq!([digamma(0.0), digamma(f64::INFINITY)], [f64::NEG_INFINITY, f64::INFINITY]);
    assert!(digamma(-0.5).is_nan() && digamma(f64::NAN).is_nan());
}

#[test]
fn the_smaller_part_of_the_incomplete_gamma_function_is_accurate() {
    // (a, x, the smaller of P and Q): P where x is below the middle.
    let table = [
        (0.5, 0.1, 0.345279153981423),
        (0.5, 3.0, 0.01430587843542964),
        (1.0, 0.01, 0.009950166250831947),
        (1.0, 2.5, 0.0820849986238988),
        (1.0, 40.0, 4.248354255291589e-18),
        (3.0, 1.0, 0.08030139707139419),
        (3.0, 3.5, 0.3208471988621341),
        (3.0, 4.5, 0.17357807091003605),
        (8.0, 2.0, 0.0010967189678587027),
        (8.0, 30.0, 5.2337341670707e-07),
        (19.5, 19.5, 0.46987819777120643),
        (19.5, 21.0, 0.3422058631160865),
        (20.0, 20.0, 0.47025726683923996),
        (20.0, 10.0, 0.0034543419758568078),
        (20.0, 9.9, 0.0030975387477889093),
        (20.0, 30.0, 0.021873468441390854),
        (20.0, 30.1, 0.020995615217031503),
        (33.0, 50.0, 0.004392932232231152),
        (100.0, 60.0, 1.4815276326460468e-06),
        (100.0, 100.5, 0.4668286137525534),
        (100.0, 160.0, 1.4420224505352737e-07),
        (1000.0, 700.0, 1.0158583345333217e-26),
        (1000.0, 1000.0, 0.4957947558197845),
        (1000.0, 1450.0, 2.3992983998354555e-36),
        (1000.0, 1600.0, 7.313139074297604e-59),
        (1e5, 98500.0, 9.382554994077996e-07),
        (1e5, 102500.0, 2.220496052041097e-15),
        (1e7, 9980000.0, 1.2364070637223816e-10),
        (1e7, 10003000.0, 0.17138817066812953),
        (1e7, 10000001.0, 0.49983179117463705),
    ];
    for (a, x, want) in table {
        let (got, other) = (gamma_p(a, x).min(gamma_q(a, x)), gamma_p(a, x).max(gamma_q(a, x)));
        assert!((got / want - 1.0).abs() < 1e-12, "({a}, {x}): {got:e}, not {want:e}");
        assert_eq!(other, 1.0 - got, "({a}, {x})");
    }
}

#[test]
fn incomplete_gamma_functions_sum_a_poisson_and_join_where_they_change_their_form() {
    // P(Y ≤ k) of a Poisson variable, summed term by term, across all forms.
    for rate in [0.1, 1.0, 5.0, 19.0, 25.0, 60.0, 200.0] {
        let (mut term, mut sum) = (f64::exp(-rate), 0.0);
        for k in 0..500 {
            sum += term;
            term *= rate / f64::from(k + 1);
            let q = gamma_q(f64::from(k + 1), rate);
            assert!((q - sum).abs() < 1e-13 && (q / sum - 1.0).abs() < 1e-11, "rate {rate}, {k}: {q} {sum}");
        }
    }
    for (a, x) in [(20.0, 20.5), (20.0, 9.999_999), (20.0, 30.0), (5.0, 6.0), (400.0, 200.0), (400.0, 600.0)]
    {
        let (l, r) = (gamma_q(a - 1e-9, x - 1e-9), gamma_q(a + 1e-9, x + 1e-9));
        assert!((l - r).abs() < 1e-8 * l.min(1.0 - l).abs().max(1e-12), "({a}, {x}): {l:e} {r:e}");
    }
    assert_eq!([gamma_p(2.0, 0.0), gamma_q(2.0, 0.0)], [0.0, 1.0]);
    assert_eq!([gamma_p(2.0, f64::INFINITY), gamma_q(2.0, f64::INFINITY)], [1.0, 0.0]);
    for (a, x) in
        [(0.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (f64::NAN, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0)]
    {
        assert!(gamma_p(a, x).is_nan() && gamma_q(a, x).is_nan(), "({a}, {x})");
    }
}

#[test]
fn the_distribution_function_of_student_is_accurate_far_into_the_tail() {
    let table = [
        (2.0, -0.001, 0.49964644669779507),
        (2.0, -1.5, 0.13619656244550055),
        (2.0, -1000000.0, 4.9999999999925e-13),
        (2.1, -3.0, 0.044995143355413526),
        (3.0, -1.7, 0.09384532077670504),
        (3.0, -1.8, 0.08483996445062912),
        (3.0, -40.0, 1.7190340394579263e-05),
        (5.0, -0.999999999, 0.1816087340442411),
        (5.0, -1.0, 0.1816087338245613),
        (5.5, -0.5, 0.31822017435770655),
        (5.5, -12.0, 1.8740250314616708e-05),
        (10.0, -1e-08, 0.49999999610891616),
        (10.0, -2.0, 0.03669401738537018),
        (30.0, -1.7, 0.04973893779425844),
        (30.0, -1.75, 0.04517086397660556),
        (30.0, -9.0, 2.507415958073939e-10),
        (200.0, -1.0, 0.15925942395487333),
        (200.0, -15.0, 7.082249639357022e-35),
        (10000.0, -3.0, 0.0013532240949988331),
        (10000.0, -10.0, 9.816403714331914e-24),
        (1000000.0, -1.72, 0.04271637549114432),
        (1000000.0, -1.74, 0.040929662798051374),
        (1000000.0, -6.0, 9.869249061772174e-10),
        (10000000.0, -2.0, 0.022750145445921476),
    ];
    for (dof, t, want) in table {
        let got = student_t_cdf(dof, t);
        assert!((got / want - 1.0).abs() < 1e-12, "({dof}, {t}): {got:e}, not {want:e}");
        assert!((student_t_cdf(dof, -t) - (1.0 - got)).abs() < 3e-16, "({dof}, {t})");
    }
    let inf = f64::INFINITY;
    assert_eq!([student_t_cdf(3.0, -inf), student_t_cdf(3.0, 0.0), student_t_cdf(3.0, inf)], [0.0, 0.5, 1.0]);
    assert_eq!([student_t_cdf(3.0, -1e200), student_t_cdf(3.0, 1e200)], [0.0, 1.0]);
    assert!((student_t_cdf(9.9e7, -3.0) / student_t_cdf(1e8, -3.0) - 1.0).abs() < 1e-6);
    assert!(student_t_cdf(0.0, 1.0).is_nan() && student_t_cdf(3.0, f64::NAN).is_nan());
}

#[test]
fn the_density_of_student_is_accurate_and_the_slope_of_its_distribution_function() {
    let table = [
        (1.0, 0.0, -1.1447298858494002),
        (2.0, 1.0, -1.6479184330021646),
        (2.1, -30.0, -10.431608140028107),
        (5.0, 0.3, -1.022139343439717),
        (19.0, 2.0, -2.8426427408508115),
        (21.0, 2.0, -2.8487260667072154),
        (100.0, -4.0, -8.416648750015804),
        (1000000.0, 1.0, -1.4189390332045895),
        (1000000000000.0, 2.0, -2.918938533202923),
    ];
    for (dof, t, want) in table {
        let got = student_t_ln_pdf(dof, t);
        assert!((got / want - 1.0).abs() < 4e-15, "({dof}, {t}): {got}, not {want}");
    }
    for dof in [2.1, 4.0, 50.0] {
        for t in [-6.0, -1.8, -0.2, 0.9, 3.0] {
            let slope = (student_t_cdf(dof, t + 1e-5) - student_t_cdf(dof, t - 1e-5)) / 2e-5;
            assert!((slope / student_t_ln_pdf(dof, t).exp() - 1.0).abs() < 1e-5, "({dof}, {t})");
        }
    }
    assert!(student_t_ln_pdf(0.0, 1.0).is_nan() && student_t_ln_pdf(3.0, f64::NAN).is_nan());
    assert_eq!(student_t_ln_pdf(3.0, f64::INFINITY), f64::NEG_INFINITY);
}
