//! A layer and a likelihood from outside the crate, with faults that can be switched on.

use bdl_dist::NoiseRng;
use bdl_infer::{Error, Likelihood, Predicts, RealLikelihood, Targets};
use bdl_layers::{Backward, Block, Context, Error as LayerError, KlAt, Layer, Role};
use bdl_tensor::{Mat, MatMut};

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Fault {
    #[default]
    None,
    Loss(f64),
    Gradient(f32),
    Density,
}

/// `½(y − out)²`: a Gaussian of deviation 1 up to its constant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Square(pub(crate) Fault);

impl Likelihood for Square {
    fn kind(&self) -> &str {
        "square"
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        Ok(Vec::new())
    }

    fn outputs(&self) -> usize {
        1
    }

    fn nll_sum(&self, _: &[f32], out: Mat<'_>, y: Targets<'_>) -> Result<f64, Error> {
        let each = out.data().iter().zip(y.real(self.kind())?).map(|(o, y)| 0.5 * f64::from(y - o).powi(2));
        Ok(if let Fault::Loss(value) = self.0 { value } else { each.sum() })
    }

    fn nll_grad(
        &self,
        params: &[f32],
        out: Mat<'_>,
        y: Targets<'_>,
        scale: f32,
        d_out: &mut MatMut<'_>,
        _: &mut [f32],
    ) -> Result<f64, Error> {
        for ((d, o), y) in d_out.data_mut().iter_mut().zip(out.data()).zip(y.real(self.kind())?) {
            *d = if let Fault::Gradient(value) = self.0 { value } else { scale * (o - y) };
        }
        self.nll_sum(params, out, y)
    }

    fn predicts(&self) -> Predicts<'_> {
        Predicts::Real(self)
    }
}

impl RealLikelihood for Square {
    fn mean_sd(&self, _: &[f32], out_row: &[f32]) -> (f64, f64) {
        (out_row[0].into(), 1.0)
    }

    fn ln_density(&self, _: &[f32], out_row: &[f32], y: f64) -> f64 {
        if self.0 == Fault::Density { f64::NAN } else { -0.5 * (y - f64::from(out_row[0])).powi(2) }
    }

    fn cdf(&self, _: &[f32], _: &[f32], _: f64) -> f64 {
        0.5
    }

    fn draw(&self, _: &[f32], out_row: &[f32], _: &mut NoiseRng) -> f64 {
        out_row[0].into()
    }
}

/// `y = w·x` for one unit, with whatever KL it is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) kl: f64,
}

impl Layer for Times {
    fn kind(&self) -> &str {
        "times"
    }

    fn config(&self) -> Result<Vec<u8>, LayerError> {
        Ok(self.kl.to_le_bytes().to_vec())
    }

    fn in_dim(&self) -> usize {
        1
    }

    fn out_dim(&self) -> usize {
        1
    }

    fn blocks(&self) -> Vec<Block> {
        vec![Block::new("factor", &[1], Role::Plain)]
    }

    fn init(&self, params: &mut [f32], _: &mut NoiseRng) {
        params.fill(1.0);
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), LayerError> {
        y.data_mut().iter_mut().zip(x.data()).for_each(|(y, x)| *y = ctx.params[0] * x);
        Ok(())
    }

    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), LayerError> {
        grads[0] += io.dy.data().iter().zip(io.x.data()).map(|(dy, x)| dy * x).sum::<f32>();
        if let Some(mut dx) = io.dx {
            dx.data_mut().iter_mut().zip(io.dy.data()).for_each(|(dx, dy)| *dx = ctx.params[0] * dy);
        }
        Ok(())
    }

    fn kl(&self, _: &KlAt<'_>) -> f64 {
        self.kl
    }
}
