//! The workspace: all memory that a pass needs, owned by the caller and used again and again.

use bdl_tensor::{Mat, MatMut};

use crate::plan::check_len;
use crate::{Error, Pass, Plan};

/// Memory for passes through a [`Plan`]. It grows to the largest pass it has seen and then stays.
///
/// One workspace serves one thread at a time; plans and parameters are shared.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Training: the outputs of all layers, one behind the other. Prediction: one layer's output.
    pub(crate) acts: Vec<f32>,
    /// The other of two buffers that change places from layer to layer.
    pub(crate) other: Vec<f32>,
    pub(crate) d_out: Vec<f32>,
    pub(crate) floats: Vec<f32>,
    pub(crate) words: Vec<u64>,
    /// Start, rows and columns of the output in `acts`; all 0 if there is none to go back from.
    output: [usize; 3],
    /// Where the tape of the last training pass ends.
    tape: TapeEnds,
}

/// Ends of activations, floats and words.
pub(crate) type TapeEnds = (usize, usize, usize);

impl Workspace {
    /// An empty workspace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The output `[rows, out_dim]` of the last [`Plan::forward_train`].
    #[must_use]
    pub fn output(&self) -> Mat<'_> {
        let [start, rows, cols] = self.output;
        view(&self.acts[start..start + rows * cols], rows, cols)
    }

    /// The same output, and the place for its gradient, which [`Plan::backward`] reads.
    #[must_use]
    pub fn output_and_grad(&mut self) -> (Mat<'_>, MatMut<'_>) {
        let [start, rows, cols] = self.output;
        let n = rows * cols;
        let grad = MatMut::new(&mut self.d_out[..n], rows, cols);
        (
            view(&self.acts[start..start + n], rows, cols),
            grad.unwrap_or_else(|_| unreachable!("cut to its length")),
        )
    }

    pub(crate) fn set_output(&mut self, start: usize, rows: usize, cols: usize) {
        self.output = [start, rows, cols];
    }

    pub(crate) fn fit_for_prediction(&mut self, plan: &Plan, rows: usize, pass: &Pass<'_>) {
        let mut need = (0, 0, 0);
        for (_, layer) in plan.layers() {
            let scratch = layer.scratch(rows, pass);
            need = (need.0.max(layer.out_dim()), need.1.max(scratch.floats), need.2.max(scratch.words));
        }
        self.fit(rows * need.0, need.1, need.2);
    }

    /// At least this much, where a route knows what it needs: activations, floats, words.
    pub(crate) fn fit(&mut self, acts: usize, floats: usize, words: usize) {
        grow(&mut self.acts, acts);
        grow(&mut self.other, acts);
        grow(&mut self.floats, floats);
        grow(&mut self.words, words);
        self.output = [0; 3];
    }

    pub(crate) fn fit_for_training(&mut self, plan: &Plan, rows: usize, pass: &Pass<'_>) {
        self.tape = tape_ends(plan, rows, pass);
        self.output = [0; 3];
        let (acts, floats, words) = self.tape;
        let widest = plan.layers().map(|(_, l)| l.out_dim().max(l.in_dim())).max().unwrap_or(0);
        grow(&mut self.acts, acts);
        grow(&mut self.other, rows * widest);
        grow(&mut self.d_out, rows * widest);
        grow(&mut self.floats, floats);
        grow(&mut self.words, words);
    }

    /// Checks that the last training pass was one of this kind.
    pub(crate) fn tape_to_follow(&self, plan: &Plan, rows: usize, pass: &Pass<'_>) -> Result<(), Error> {
        let expected = tape_ends(plan, rows, pass);
        check_len("backward activations", expected.0, self.tape.0)?;
        check_len("backward scratch", expected.1 + expected.2, self.tape.1 + self.tape.2)
    }
}

/// Where the tape of a pass ends.
pub(crate) fn tape_ends(plan: &Plan, rows: usize, pass: &Pass<'_>) -> TapeEnds {
    plan.layers().fold((0, 0, 0), |(acts, floats, words), (_, layer)| {
        let scratch = layer.scratch(rows, pass);
        (acts + rows * layer.out_dim(), floats + scratch.floats, words + scratch.words)
    })
}

fn view(data: &[f32], rows: usize, cols: usize) -> Mat<'_> {
    Mat::new(data, rows, cols).unwrap_or_else(|_| unreachable!("cut to its length"))
}

fn grow<T: Clone + Default>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
}
