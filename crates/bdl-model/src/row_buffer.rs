//! One row from named values, for a service.

use std::sync::Arc;

use crate::encode::{Encoder, Reason, Value};
use crate::error::{Error, Place};
use crate::idx::intensity;
use crate::names::closest;
use crate::schema::product;

/// A row that is filled by names or positions, encoded, and used again.
///
/// Once made it allocates nothing, except for the message of an error.
///
/// # Examples
///
/// ```
/// use bdl_model::{Encoder, RowReader, Schema, SelectOptions, Table};
///
/// let text = "x,colour,y\n1,red,0\n3,blue,1\n";
/// let table = Table::from_reader(RowReader::from_reader("train.csv", text.as_bytes(), None)?)?;
/// let schema = Schema::infer(&table, &SelectOptions { target: "y".into(), ..Default::default() })?;
///
/// let mut row = Encoder::new(schema)?.row();
/// row.set_number("x", 4.0)?;
/// row.set_text("colour", "blue")?;
/// let mut encoded = [0.0; 3];
/// row.encode(&mut encoded)?;
/// assert_eq!(encoded, [2.0, 1.0, 0.0]);
/// # Ok::<(), bdl_model::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RowBuffer {
    encoder: Encoder,
    values: Vec<Option<Value>>,
    /// The image, of a model that takes one.
    pixels: Vec<u8>,
}

/// A feature, by its name or its position in [`Schema::features`](crate::Schema::features).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureRef<'a> {
    /// By position.
    Index(usize),
    /// By name.
    Name(&'a str),
}

impl From<usize> for FeatureRef<'_> {
    fn from(index: usize) -> Self {
        FeatureRef::Index(index)
    }
}

impl<'a> From<&'a str> for FeatureRef<'a> {
    fn from(name: &'a str) -> Self {
        FeatureRef::Name(name)
    }
}

impl RowBuffer {
    pub(crate) fn new(encoder: Encoder) -> RowBuffer {
        let values = vec![None; encoder.schema().features.len()];
        let pixels = vec![0; encoder.schema().image().map_or(0, |sides| product(&sides))];
        RowBuffer { encoder, values, pixels }
    }

    /// Sets a numeric feature, or a categorical one whose levels are numbers.
    ///
    /// # Errors
    ///
    /// If there is no such feature, if `x` is not finite, or if it is no known level.
    pub fn set_number<'a>(&mut self, feature: impl Into<FeatureRef<'a>>, x: f64) -> Result<(), Error> {
        let feature = self.find(feature.into())?;
        self.set(feature, self.encoder.number(feature, x), || x.to_string())
    }

    /// Sets a feature from text, as if it stood in a file.
    ///
    /// # Errors
    ///
    /// If there is no such feature, or if `text` is not a cell that it can have.
    pub fn set_text<'a>(&mut self, feature: impl Into<FeatureRef<'a>>, text: &str) -> Result<(), Error> {
        let feature = self.find(feature.into())?;
        self.set(feature, self.encoder.value(feature, text), || text.to_owned())
    }

    /// Sets a feature to be missing.
    ///
    /// # Errors
    ///
    /// If there is no such feature, or if the model does not impute.
    pub fn set_missing<'a>(&mut self, feature: impl Into<FeatureRef<'a>>) -> Result<(), Error> {
        let feature = self.find(feature.into())?;
        self.set(feature, self.encoder.missing(), String::new)
    }

    /// Sets the image of a model that takes one: its rows from the top, a pixel's channels side by side.
    ///
    /// # Errors
    ///
    /// If the model takes no image, or one of another size.
    pub fn set_image(&mut self, pixels: &[u8]) -> Result<(), Error> {
        if self.pixels.is_empty() {
            return Err(self.unknown(FeatureRef::Name("image")));
        }
        self.encoder.check_len("row: pixels of the image", self.pixels.len(), pixels.len())?;
        self.pixels.copy_from_slice(pixels);
        self.values[0] = Some(Value::Image);
        Ok(())
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.values.fill(None);
    }

    /// Encodes the row; its values stay as they are.
    ///
    /// # Shapes
    ///
    /// `out`: `[width]`.
    ///
    /// # Errors
    ///
    /// If a feature was not set, or is too far from the training rows.
    pub fn encode(&self, out: &mut [f32]) -> Result<(), Error> {
        self.encoder.check_len("row: out", self.encoder.width(), out.len())?;
        let mut rest = out;
        for (feature, value) in self.values.iter().enumerate() {
            let Some(value) = *value else {
                return Err(Error::NotSet { column: self.encoder.schema().features[feature].name.clone() });
            };
            let (own, after) = rest.split_at_mut(self.encoder.feature_width(feature));
            if let Value::Image = value {
                own.iter_mut().zip(&self.pixels).for_each(|(x, &byte)| *x = intensity(byte));
                return Ok(());
            }
            let written = self.encoder.write(feature, value, own);
            written.map_err(|reason| self.error(reason, feature, &describe(value)))?;
            rest = after;
        }
        Ok(())
    }

    fn find(&self, feature: FeatureRef<'_>) -> Result<usize, Error> {
        let found = match feature {
            FeatureRef::Index(index) => Some(index).filter(|&index| index < self.values.len()),
            FeatureRef::Name(name) => self.encoder.feature(name),
        };
        found.ok_or_else(|| self.unknown(feature))
    }

    #[cold]
    fn unknown(&self, feature: FeatureRef<'_>) -> Error {
        let names = self.encoder.schema().features.iter().map(|feature| feature.name.as_str());
        match feature {
            FeatureRef::Index(index) => Error::UnknownCell { name: index.to_string(), suggestion: None },
            FeatureRef::Name(name) => {
                Error::UnknownCell { name: name.to_owned(), suggestion: closest(name, names) }
            }
        }
    }

    fn set(
        &mut self,
        feature: usize,
        value: Result<Value, Reason>,
        text: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        match value {
            Ok(value) => {
                self.values[feature] = Some(value);
                Ok(())
            }
            Err(reason) => Err(self.error(reason, feature, &text())),
        }
    }

    #[cold]
    fn error(&self, reason: Reason, feature: usize, text: &str) -> Error {
        reason.at(&self.encoder, feature, text, Place { file: Arc::from("row"), row: 0, line: 0 })
    }
}

fn describe(value: Value) -> String {
    match value {
        Value::Number(x) => x.to_string(),
        Value::Level(level) => level.to_string(),
        Value::Missing | Value::Image => String::new(),
    }
}
