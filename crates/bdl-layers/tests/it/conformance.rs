//! Every layer of ours through the public contract, and planted breaches of it.

use std::sync::atomic::{AtomicU32, Ordering};

use bdl_dist::NoiseRng;
use bdl_layers::{
    Activation, ActivationLayer, AvgPool2d, Backward, BatchNorm, Block, ConcreteConv2d, ConcreteDense,
    Context, Conv2d, CorrelatedVd, Dense, Dropout, Dropout2d, Error, Filters, Flatten, Form, GaussianDropout,
    Grain, Image, ImageOrder, IndependentVdConv2d, IndependentVdDense, KlAt, Layer, LayerNorm, LayerReport,
    MaxPool2d, Pass, Prior, Registry, Residual, Scratch, SparseVdConv2d, SparseVdDense, VariationalConv2d,
    VariationalDense, Window, conformance,
};
use bdl_tensor::{Mat, MatMut};

#[test]
fn every_layer_keeps_the_contract() {
    let mut table: Vec<Box<dyn Layer>> = vec![
        Box::new(Dense::new(4, 3).unwrap()),
        Box::new(Dense::new(4, 3).unwrap().with_length_scale(0.5).unwrap()),
        Box::new(Dense::new(1, 1).unwrap()),
        Box::new(Dropout::new(70, 0.2).unwrap()),
        Box::new(Dropout::new(5, 0.0).unwrap()),
        Box::new(VariationalDense::new(4, 3, Prior::StdDev(0.7)).unwrap()),
        Box::new(VariationalDense::new(4, 3, Prior::FanIn(1.5)).unwrap().with_init_sigma(0.4).unwrap()),
        Box::new(VariationalDense::new(1, 1, Prior::default()).unwrap()),
        Box::new(VariationalDense::new(4, 3, Prior::default()).unwrap().without_bias()),
        Box::new(Dropout2d::new(Image::new(2, 2, 66), 0.3).unwrap()),
        Box::new(Dropout2d::new(Image::new(2, 3, 2), 0.0).unwrap()),
        Box::new(MaxPool2d::new(Image::new(4, 5, 3), Window::new([2, 2]).stride([2, 2])).unwrap()),
        Box::new(AvgPool2d::new(Image::new(3, 4, 2), Window::new([3, 2]).padding([1, 1])).unwrap()),
        Box::new(Flatten::new(Image::new(2, 2, 3), ImageOrder::ChannelsLast).unwrap()),
        Box::new(Flatten::new(Image::new(2, 2, 3), ImageOrder::ChannelsFirst).unwrap()),
        Box::new(LayerNorm::new(5).unwrap()),
        Box::new(LayerNorm::new(3).unwrap().over_positions(2).unwrap()),
        Box::new(BatchNorm::new(4).unwrap()),
        Box::new(BatchNorm::new(3).unwrap().over_positions(2).unwrap().with_rate(0.3).unwrap()),
        Box::new(residual()),
        Box::new(SparseVdDense::new(4, 3).unwrap()),
        Box::new(SparseVdDense::new(4, 3).unwrap().with_init_ln_sigma2(1.0).unwrap()),
        Box::new(SparseVdDense::new(3, 2).unwrap().without_bias()),
    ];
    for grain in [Grain::Layer, Grain::Unit, Grain::Weight] {
        table.push(Box::new(IndependentVdDense::new(4, 3, grain).unwrap()));
        table.push(Box::new(IndependentVdDense::new(12, 7, grain).unwrap().with_init_alpha(0.9).unwrap()));
        table.push(Box::new(IndependentVdDense::new(3, 1, grain).unwrap().without_bias()));
    }
    for grain in [Grain::Layer, Grain::Unit] {
        table.push(Box::new(CorrelatedVd::new(5, grain).unwrap()));
        let layer = CorrelatedVd::new(3, grain).unwrap().over_positions(4).unwrap();
        table.push(Box::new(layer.with_init_alpha(0.7).unwrap()));
        table.push(Box::new(CorrelatedVd::new(1, grain).unwrap()));
    }
    table.push(Box::new(GaussianDropout::new(5, 0.3).unwrap()));
    table.push(Box::new(GaussianDropout::new(3, 0.5).unwrap().over_positions(4).unwrap()));
    table.push(Box::new(GaussianDropout::new(5, 0.0).unwrap()));
    // So many units that no two masks are alike.
    for (units, drop_prob, temp) in [(20, 0.3, 0.1), (70, 0.4, 0.5), (20, 0.6, 1.0)] {
        let layer = ConcreteDense::new(units, 2, 0.5).unwrap().with_drop_prob(drop_prob).unwrap();
        table.push(Box::new(layer.with_concrete_temp(temp).unwrap()));
    }
    for (image, filters) in [
        (Image::new(3, 2, 12), Filters::new(2, Window::new([2, 2]))),
        (Image::new(3, 3, 12), Filters::new(4, Window::new([2, 2]).stride([2, 1]).padding([0, 1])).groups(2)),
    ] {
        let layer = ConcreteConv2d::new(image, filters, 0.5).unwrap().with_drop_prob(0.4).unwrap();
        table.push(Box::new(layer.with_concrete_temp(0.5).unwrap()));
    }
    for (image, filters) in [
        (Image::new(4, 4, 2), Filters::new(3, Window::new([3, 2]))),
        (Image::new(5, 4, 2), Filters::new(4, Window::new([2, 3]).stride([2, 1]).padding([0, 1])).groups(2)),
        (Image::new(5, 5, 1), Filters::new(2, Window::new([2, 2]).dilation([2, 3]).padding([1, 2]))),
        (Image::line(6, 2), Filters::new(2, Window::line(3))),
    ] {
        table.push(Box::new(VariationalConv2d::new(image, filters, Prior::StdDev(0.7)).unwrap()));
        table.push(Box::new(Conv2d::new(image, filters).unwrap().with_length_scale(0.5).unwrap()));
        table.push(Box::new(SparseVdConv2d::new(image, filters).unwrap()));
        table.push(Box::new(IndependentVdConv2d::new(image, filters, Grain::Unit).unwrap()));
    }
    for activation in Activation::ALL {
        table.push(Box::new(ActivationLayer::new(activation, 6).unwrap()));
    }
    for layer in table {
        conformance::check(&*layer, &Registry::default()).unwrap_or_else(|e| panic!("{layer:?}: {e}"));
    }
}

/// Noise at three places, a mask in front of a prior, and batch moments inside.
fn residual() -> Residual {
    Residual::new(vec![
        Box::new(Dropout::new(4, 0.3).unwrap()),
        Box::new(Dense::new(4, 3).unwrap().with_length_scale(0.5).unwrap()),
        Box::new(ActivationLayer::new(Activation::Tanh, 3).unwrap()),
        Box::new(BatchNorm::new(3).unwrap()),
        Box::new(VariationalDense::new(3, 4, Prior::StdDev(0.7)).unwrap()),
    ])
    .unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    LeavesAnElement,
    SeesCompanions,
    HiddenState,
    OverwritesGrads,
    AddsToDx,
    WrongSlope,
    KlSign,
    KlWeight,
    KlHalf,
    ForgetsPrior,
    SilentNoise,
    ForgetsToInitialize,
    EmptyBlock,
    PreparesOther,
    SharesOther,
    LiesAboutForm,
}

/// A variational layer that does one thing wrong.
#[derive(Debug)]
struct Broken {
    inner: VariationalDense,
    fault: Fault,
    calls: AtomicU32,
}

impl Broken {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }
}

impl Layer for Broken {
    fn kind(&self) -> &str {
        self.inner.kind()
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        match self.is(Fault::ForgetsPrior) {
            true => VariationalDense::new(4, 3, Prior::StdDev(1.0))?.config(),
            false => self.inner.config(),
        }
    }

    fn in_dim(&self) -> usize {
        self.inner.in_dim()
    }

    fn out_dim(&self) -> usize {
        self.inner.out_dim()
    }

    fn blocks(&self) -> Vec<Block> {
        let mut blocks = self.inner.blocks();
        if self.is(Fault::EmptyBlock) {
            blocks.push(Block::new("nothing", &[0], bdl_layers::Role::Plain));
        }
        blocks
    }

    fn init(&self, params: &mut [f32], rng: &mut NoiseRng) {
        if !self.is(Fault::ForgetsToInitialize) {
            self.inner.init(params, rng);
        }
    }

    fn is_random(&self) -> bool {
        !self.is(Fault::SilentNoise)
    }

    fn form<'a>(&self, params: &'a [f32]) -> Form<'a> {
        if self.is(Fault::LiesAboutForm) {
            let (weight, bias) = (Mat::new(&params[..12], 4, 3).unwrap(), &params[24..27]);
            return Form::Affine { weight, bias };
        }
        self.inner.form(params)
    }

    fn prepared(&self, pass: &Pass<'_>) -> usize {
        self.inner.prepared(pass)
    }

    fn prepare(&self, params: &[f32], pass: &Pass<'_>, prepared: &mut [f32]) {
        self.inner.prepare(params, pass, prepared);
        if self.is(Fault::PreparesOther) {
            prepared.iter_mut().for_each(|p| *p *= 2.0);
        }
    }

    fn shared(&self, rows: usize, pass: &Pass<'_>) -> usize {
        self.inner.shared(rows, pass)
    }

    fn share(&self, ctx: &mut Context<'_>, x: Mat<'_>, shared: &mut [f32]) -> Result<(), Error> {
        self.inner.share(ctx, x, shared)?;
        if self.is(Fault::SharesOther) {
            shared.iter_mut().for_each(|s| *s *= 2.0);
        }
        Ok(())
    }

    fn scratch(&self, rows: usize, pass: &Pass<'_>) -> Scratch {
        self.inner.scratch(rows, pass)
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        let last = y.data().len() - 1;
        let untouched = y.data()[last];
        self.inner.forward(ctx, x, y)?;
        match self.fault {
            Fault::LeavesAnElement => y.data_mut()[last] = untouched,
            Fault::SeesCompanions => y.data_mut()[last] += x.data()[0],
            Fault::HiddenState => y.data_mut()[0] += self.calls.fetch_add(1, Ordering::Relaxed) as f32,
            _ => {}
        }
        Ok(())
    }

    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], mut io: Backward<'_>) -> Result<(), Error> {
        if self.is(Fault::OverwritesGrads) {
            grads.fill(0.0);
        }
        let before = io.dx.as_ref().map(|dx| dx.data()[0]);
        let dx = io.dx.as_mut().map(MatMut::reborrow);
        self.inner.backward(ctx, grads, Backward { x: io.x, y: io.y, dy: io.dy, dx })?;
        match (self.fault, &mut io.dx) {
            (Fault::AddsToDx, Some(dx)) => dx.data_mut()[0] += before.unwrap_or(0.0),
            (Fault::WrongSlope, _) => grads[0] += 0.5 * io.dy.data()[0],
            _ => {}
        }
        Ok(())
    }

    fn kl(&self, at: &KlAt<'_>) -> f64 {
        self.inner.kl(at)
    }

    fn kl_grad(&self, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        match self.fault {
            Fault::KlSign => self.inner.kl_grad(at, -weight, grads),
            Fault::KlWeight => self.inner.kl_grad(at, 1.0, grads),
            Fault::KlHalf => 0.5 * self.inner.kl_grad(at, weight, grads),
            _ => self.inner.kl_grad(at, weight, grads),
        }
    }

    fn report(&self, at: &KlAt<'_>) -> LayerReport {
        self.inner.report(at)
    }
}

fn verdict(fault: Fault) -> conformance::Failure {
    let inner = VariationalDense::new(4, 3, Prior::StdDev(0.7)).unwrap();
    let broken = Broken { inner, fault, calls: AtomicU32::new(0) };
    conformance::check(&broken, &Registry::default()).expect_err("a breach must be found")
}

#[test]
fn every_planted_breach_is_found_and_named() {
    for (fault, clause) in [
        (Fault::LeavesAnElement, "forward writes every element of y from what it has written"),
        (Fault::SeesCompanions, "a row's bits depend on its number and not on its companions"),
        (Fault::HiddenState, "the same address gives the same bits"),
        (Fault::OverwritesGrads, "backward adds to grads"),
        (Fault::AddsToDx, "backward writes the gradient of x"),
        (Fault::WrongSlope, "backward gives the gradient of the parameters"),
        (Fault::KlSign, "kl_grad adds the gradient of kl"),
        (Fault::KlWeight, "kl_grad adds weight times the gradient"),
        (Fault::KlHalf, "kl_grad returns what kl returns"),
        (Fault::ForgetsPrior, "config and registry give back the same layer"),
        (Fault::SilentNoise, "is_random says whether predictions depend on noise"),
        (Fault::ForgetsToInitialize, "init writes every parameter"),
        (Fault::EmptyBlock, "blocks are not empty"),
        (Fault::PreparesOther, "a prepared pass has the bits of others"),
        (Fault::SharesOther, "a pass that shares has the bits of others"),
        (Fault::LiesAboutForm, "forward does what form says"),
    ] {
        let failure = verdict(fault);
        assert_eq!(failure.clause, clause, "{fault:?}: {failure}");
    }
}

#[test]
fn a_failure_says_who_what_and_where() {
    let text = verdict(Fault::LeavesAnElement).to_string();
    let expected = "variational-dense: forward writes every element of y from what it has written (in the mean pass): \
                    element 14 is NaN";
    assert_eq!(text, expected);
}

#[test]
fn a_kind_that_is_not_registered_is_named() {
    #[derive(Debug)]
    struct Identity;
    impl Layer for Identity {
        fn kind(&self) -> &str {
            "my-identity"
        }
        fn config(&self) -> Result<Vec<u8>, Error> {
            Ok(Vec::new())
        }
        fn in_dim(&self) -> usize {
            2
        }
        fn out_dim(&self) -> usize {
            2
        }
        fn forward(&self, _: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
            y.data_mut().copy_from_slice(x.data());
            Ok(())
        }
        fn backward(&self, _: &mut Context<'_>, _: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
            if let Some(mut dx) = io.dx {
                dx.data_mut().copy_from_slice(io.dy.data());
            }
            Ok(())
        }
    }
    let e = conformance::check(&Identity, &Registry::default()).unwrap_err();
    let e = e.to_string();
    assert!(
        e.starts_with(
            "my-identity: must not fail: layer kind \"my-identity\" is unknown here (known: activation, "
        ),
        "{e}"
    );
    assert!(e.contains(", variational-dense") && e.ends_with("); register it before loading"), "{e}");
    let mut registry = Registry::default();
    registry.register("my-identity", |_| Ok(Box::new(Identity))).unwrap();
    conformance::check(&Identity, &registry).unwrap();
    let e = registry.register("my-identity", |_| Ok(Box::new(Identity))).unwrap_err();
    assert_eq!(e.to_string(), "registry: kind \"my-identity\" is registered already");
}
