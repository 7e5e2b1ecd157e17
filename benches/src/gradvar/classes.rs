//! Rows with classes, and a stand-in for images of digits: 8×8 patterns made here.

use std::path::Path;

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Data, Targets};
use bdl_model::{Images, Labels};
use bdl_tensor::Mat;

use crate::Error;

/// Rows of intensities in [0, 1], with a class each.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// `[rows, width]`.
    pub x: Vec<f32>,
    /// One class per row.
    pub y: Vec<u32>,
}

impl Rows {
    /// The training images of a folder of IDX files, packed or not.
    ///
    /// # Errors
    /// For files that are absent or no IDX of images and labels.
    pub fn images(folder: &Path) -> Result<Self, Error> {
        let names = ["train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"].map(|name| folder.join(name));
        let images = Images::open(names.iter().find(|path| path.exists()).unwrap_or(&names[1]))?;
        let labels = Labels::of(&images, None)?;
        let x = images.pixels().iter().map(|&p| f32::from(p) / 255.0).collect();
        Ok(Self { x, y: labels.as_slice().iter().map(|&y| y.into()).collect() })
    }

    /// The first `rows` rows, or all if there are fewer.
    ///
    /// # Errors
    /// Where there is no row.
    pub fn first(&self, rows: usize) -> Result<Data<'_>, Error> {
        let (rows, width) = (rows.min(self.y.len()), self.x.len() / self.y.len().max(1));
        Ok(Data::new(Mat::new(&self.x[..rows * width], rows, width)?, Targets::Class(&self.y[..rows]))?)
    }
}

/// Pixels of a pattern.
pub const PIXELS: usize = 64;

/// Classes of patterns.
pub const CLASSES: usize = 10;

/// Standard deviation of a pixel around its class's pattern: wide enough for the classes to overlap.
const SPREAD: f32 = 0.6;

/// Noisy 8×8 patterns, one pattern for each of ten classes; the same at each call.
#[must_use]
pub fn patterns(rows: usize) -> Rows {
    let noise = Noise::new(0, Purpose::Other(8));
    let mut rng = noise.rng(0);
    let pattern: Vec<f32> = (0..CLASSES * PIXELS).map(|_| rng.uniform() as f32).collect();
    let y: Vec<u32> = (0..rows).map(|_| (rng.uniform() * CLASSES as f64) as u32).collect();
    let mut x = vec![0.0; rows * PIXELS];
    noise.rng(1).normals(&mut x);
    for (x, &class) in x.chunks_exact_mut(PIXELS).zip(&y) {
        let pattern = &pattern[class as usize * PIXELS..];
        x.iter_mut().zip(pattern).for_each(|(x, p)| *x = (p + SPREAD * *x).clamp(0.0, 1.0));
    }
    Rows { x, y }
}
