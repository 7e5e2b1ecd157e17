//! Networks as they are spelled: `784-300-100-10`.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A network as it is spelled: what a row is, then its parts from input to output.
///
/// ```text
/// net   = input, "-", part, { "-", part }
/// input = units | height "x" width "x" channels
/// part  = units                                     a dense layer
/// ```
/// The last part puts out what the target asks for: a unit for each class, or for a number one, or two where the
/// network puts out its deviation too. `lenet-300-100` is the name of `784-300-100-10`.
///
/// ```
/// use bdl_model::{Net, Part};
/// let net: Net = "784-300-10".parse()?;
/// assert_eq!((net.input().len(), net.parts()), (784, &[Part::Dense(300), Part::Dense(10)][..]));
/// assert_eq!("lenet-300-100".parse::<Net>()?.to_string(), "784-300-100-10");
/// # Ok::<(), bdl_model::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    input: Shape,
    parts: Vec<Part>,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// So many columns.
    Flat(usize),
    /// An image: height, width, channels.
    Image([usize; 3]),
}

/// A part of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// A dense layer of so many units.
    Dense(usize),
}

/// Networks with a name.
const NAMED: [(&str, &str); 1] = [("lenet-300-100", "784-300-100-10")];

/// The greatest size that can be spelled.
const MAX_SIZE: usize = 65_536;

/// The most parts.
const MAX_PARTS: usize = 100;

impl Net {
    /// The network of dense layers of these widths.
    #[must_use]
    pub fn dense(input: Shape, widths: impl IntoIterator<Item = usize>) -> Self {
        Self { input, parts: widths.into_iter().map(Part::Dense).collect() }
    }

    /// What a row is.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.input
    }

    /// The parts, from input to output.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Refuses data that the network does not take, and a last part that does not put out what the target asks for.
    ///
    /// Columns and the pixels of an image may stand for each other where they are as many.
    pub(crate) fn check_ends(&self, data: Shape, outputs: usize) -> Result<(), Error> {
        let images_differ = matches!((self.input, data), (Shape::Image(a), Shape::Image(b)) if a != b);
        if images_differ || self.input.len() != data.len() {
            let what = format!("expected an input of {data}, as the data have it, got {}", self.input);
            return Err(self.refuse("input", what));
        }
        let (at, last) = (self.parts.len(), self.parts.last().copied().unwrap_or(Part::Dense(0)));
        match last {
            Part::Dense(units) if units == outputs => Ok(()),
            Part::Dense(units) => {
                let takes = at.checked_sub(2).map_or(self.input, |i| self.parts[i].gives());
                let what =
                    format!("expected {takes} → {outputs}, a unit for each output, got {takes} → {units}");
                Err(self.refuse(&format!("layer {at}"), what))
            }
        }
    }

    fn refuse(&self, place: &str, what: String) -> Error {
        Error::Net { net: self.to_string(), place: place.to_owned(), what }
    }
}

impl Shape {
    /// Number of elements.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::Flat(n) => n,
            Self::Image(sides) => crate::schema::product(&sides),
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl From<usize> for Shape {
    fn from(columns: usize) -> Self {
        Self::Flat(columns)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat(n) => write!(f, "{n}"),
            Self::Image([h, w, c]) => write!(f, "{h}x{w}x{c}"),
        }
    }
}

impl Part {
    fn gives(self) -> Shape {
        match self {
            Self::Dense(units) => Shape::Flat(units),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense(units) => write!(f, "{units}"),
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.input)?;
        self.parts.iter().try_for_each(|part| write!(f, "-{part}"))
    }
}

impl FromStr for Net {
    type Err = Error;

    /// # Errors
    /// [`Error::Net`], naming the part that is none.
    fn from_str(text: &str) -> Result<Self, Error> {
        let spelled = NAMED.iter().find(|(name, _)| *name == text).map_or(text, |(_, spelled)| spelled);
        let mut words = spelled.split('-');
        let refuse = |place: String, what: String| Error::Net { net: text.to_owned(), place, what };
        let first = words.next().unwrap_or_default();
        let input = shape(first).ok_or_else(|| {
            refuse("input".to_owned(), format!("expected columns or HEIGHTxWIDTHxCHANNELS, got {first:?}"))
        })?;
        let parts: Vec<Part> = words
            .enumerate()
            .map(|(i, word)| part(word).map_err(|what| refuse(format!("layer {}", i + 1), what)))
            .collect::<Result<_, _>>()?;
        match parts.len() {
            1..=MAX_PARTS => Ok(Self { input, parts }),
            got => Err(refuse(
                "input".to_owned(),
                format!("expected 1 to {MAX_PARTS} layers behind it, got {got}"),
            )),
        }
    }
}

/// `784`, or `28x28x1`.
fn shape(word: &str) -> Option<Shape> {
    let sides: Vec<usize> = word.split('x').map(size).collect::<Option<_>>()?;
    match sides[..] {
        [n] => Some(Shape::Flat(n)),
        [h, w, c] => Some(Shape::Image([h, w, c])),
        _ => None,
    }
}

fn part(word: &str) -> Result<Part, String> {
    size(word)
        .map(Part::Dense)
        .ok_or_else(|| format!("expected a number of units up to {MAX_SIZE}, got {word:?}"))
}

/// Digits alone: `parse` would take a sign, too.
fn size(word: &str) -> Option<usize> {
    let digits = word.bytes().all(|b| b.is_ascii_digit());
    word.parse().ok().filter(|n| digits && (1..=MAX_SIZE).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        text.parse::<Net>().unwrap_err().to_string()
    }

    #[test]
    fn a_network_is_told_as_it_is_spelled() {
        for text in ["784-300-100-10", "13-1", "28x28x1-300-10"] {
            assert_eq!(text.parse::<Net>().unwrap().to_string(), text);
        }
        assert_eq!("28x28x1-10".parse::<Net>().unwrap().input(), Shape::Image([28, 28, 1]));
    }

    #[test]
    fn what_is_no_network_is_named() {
        assert_eq!(message("784"), "--net 784: input: expected 1 to 100 layers behind it, got 0");
        assert_eq!(message("784-"), "--net 784-: layer 1: expected a number of units up to 65536, got \"\"");
        assert_eq!(
            message("784-3-+4"),
            "--net 784-3-+4: layer 2: expected a number of units up to 65536, got \"+4\""
        );
        assert_eq!(
            message("28x28-10"),
            "--net 28x28-10: input: expected columns or HEIGHTxWIDTHxCHANNELS, got \"28x28\""
        );
        assert!(message("0-1").contains("got \"0\"") && message("1-65537").contains("got \"65537\""));
        assert!(message(&format!("1{}", "-1".repeat(101))).contains("1 to 100 layers"));
    }

    #[test]
    fn ends_that_do_not_fit_name_the_layer_and_both_shapes() {
        let check = |net: &str, data, outputs| net.parse::<Net>().unwrap().check_ends(data, outputs);
        let image = Shape::Image([28, 28, 1]);
        for (net, data) in [
            ("784-9-10", Shape::Flat(784)),
            ("784-9-10", image),
            ("28x28x1-10", image),
            ("28x28x1-10", Shape::Flat(784)),
        ] {
            check(net, data, 10).unwrap();
        }
        let message = |net, data, outputs| check(net, data, outputs).unwrap_err().to_string();
        assert_eq!(
            message("784-9-10", Shape::Flat(13), 10),
            "--net 784-9-10: input: expected an input of 13, as the data have it, got 784"
        );
        assert_eq!(
            message("14x56x1-10", image, 10),
            "--net 14x56x1-10: input: expected an input of 28x28x1, as the data have it, got 14x56x1"
        );
        assert_eq!(
            message("784-300-5", image, 10),
            "--net 784-300-5: layer 2: expected 300 → 10, a unit for each output, got 300 → 5"
        );
        assert_eq!(
            message("28x28x1-5", image, 10),
            "--net 28x28x1-5: layer 1: expected 28x28x1 → 10, a unit for each output, got 28x28x1 → 5"
        );
    }
}
