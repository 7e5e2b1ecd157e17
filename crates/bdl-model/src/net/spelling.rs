//! How a network is written down, and read.

use std::fmt;
use std::str::FromStr;

use super::{Conv, Net, Part, Pooling, Shape};
use crate::Error;

/// Networks with a name.
const NAMED: [(&str, &str); 2] =
    [("lenet-300-100", "784-300-100-10"), ("lenet5-caffe", "28x28x1-conv20:5-pool2-conv50:5-pool2-500-10")];

/// The greatest size that can be spelled.
const MAX_SIZE: usize = 65_536;

/// The most parts.
const MAX_PARTS: usize = 100;

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat(n) => write!(f, "{n}"),
            Self::Image([h, w, c]) => write!(f, "{h}x{w}x{c}"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense(units) => write!(f, "{units}"),
            Self::Conv(c) => {
                write!(f, "conv{}:{}", c.channels, text(c.kernel))?;
                options(f, [(c.stride, [1, 1]), (c.padding, [0, 0]), (c.dilation, [1, 1])])?;
                if c.groups == 1 { Ok(()) } else { write!(f, ":g{}", c.groups) }
            }
            Self::Pool(p) => {
                write!(f, "{}{}", if p.mean { "avgpool" } else { "pool" }, text(p.window))?;
                options(f, [(p.stride, p.window), (p.padding, [0, 0]), (p.dilation, [1, 1])])
            }
            Self::BatchNorm => f.write_str("bn"),
            Self::LayerNorm => f.write_str("ln"),
            Self::Residual(parts) => {
                f.write_str("res")?;
                parts.iter().try_for_each(|part| write!(f, "+{part}"))
            }
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.input)?;
        self.parts.iter().try_for_each(|part| write!(f, "-{part}"))
    }
}

/// One number where both are the same.
fn text([a, b]: [usize; 2]) -> String {
    if a == b { a.to_string() } else { format!("{a}x{b}") }
}

/// Stride, padding and dilation with their defaults, where they differ.
fn options(f: &mut fmt::Formatter<'_>, set: [([usize; 2], [usize; 2]); 3]) -> fmt::Result {
    let mut differ = ["s", "p", "d"].into_iter().zip(set).filter(|(_, (got, default))| got != default);
    differ.try_for_each(|(name, (got, _))| write!(f, ":{name}{}", text(got)))
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
        let got = parts.len();
        match parts.last() {
            Some(Part::Dense(_)) if got <= MAX_PARTS => Ok(Self { input, parts }),
            Some(last) if got <= MAX_PARTS => {
                let what = format!("expected units as the last layer, a unit for each output, got {last}");
                Err(refuse(format!("layer {got}"), what))
            }
            _ => Err(refuse(
                "input".to_owned(),
                format!("expected 1 to {MAX_PARTS} layers behind it, got {got}"),
            )),
        }
    }
}

/// `784`, or `28x28x1`.
fn shape(word: &str) -> Option<Shape> {
    let sides: Vec<usize> = word.split('x').map(|n| size(n, 1)).collect::<Option<_>>()?;
    match sides[..] {
        [n] => Some(Shape::Flat(n)),
        [h, w, c] => Some(Shape::Image([h, w, c])),
        _ => None,
    }
}

/// Digits alone: `parse` would take a sign, too.
fn size(word: &str, least: usize) -> Option<usize> {
    let digits = word.bytes().all(|b| b.is_ascii_digit());
    word.parse().ok().filter(|n| digits && (least..=MAX_SIZE).contains(n))
}

/// One number for both directions, or height and width.
fn pair(word: &str, least: usize) -> Option<[usize; 2]> {
    let (height, width) = word.split_once('x').unwrap_or((word, word));
    Some([size(height, least)?, size(width, least)?])
}

/// A part, or what was expected in its place.
fn part(word: &str) -> Result<Part, String> {
    let Some(inside) = word.strip_prefix("res") else { return simple(word) };
    let mut words = inside.split('+');
    let starts = words.next() == Some("");
    let parts: Vec<Part> = words.map(simple).collect::<Result<_, _>>()?;
    match starts && (1..=MAX_PARTS).contains(&parts.len()) {
        true => Ok(Part::Residual(parts)),
        false => Err(format!("expected res+PART+PART of 1 to {MAX_PARTS} parts, got {word:?}")),
    }
}

/// A part without parts.
fn simple(word: &str) -> Result<Part, String> {
    match word {
        "bn" => return Ok(Part::BatchNorm),
        "ln" => return Ok(Part::LayerNorm),
        _ => {}
    }
    if let Some(rest) = word.strip_prefix("conv") {
        return conv(rest)
            .ok_or_else(|| format!("expected convCHANNELS:KERNEL and :sN, :pN, :dN or :gN, got {word:?}"));
    }
    for (name, mean) in [("pool", false), ("avgpool", true)] {
        if let Some(rest) = word.strip_prefix(name) {
            return pooling(rest, mean)
                .ok_or_else(|| format!("expected {name}WINDOW and :sN, :pN or :dN, got {word:?}"));
        }
    }
    size(word, 1).map(Part::Dense).ok_or_else(|| {
        format!("expected units up to {MAX_SIZE}, conv, pool, avgpool, bn, ln or res, got {word:?}")
    })
}

fn conv(rest: &str) -> Option<Part> {
    let mut words = rest.split(':');
    let (channels, kernel) = (size(words.next()?, 1)?, pair(words.next()?, 1)?);
    let mut conv = Conv { channels, kernel, stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 };
    for option in words {
        match option.split_at_checked(1)? {
            ("s", value) => conv.stride = pair(value, 1)?,
            ("p", value) => conv.padding = pair(value, 0)?,
            ("d", value) => conv.dilation = pair(value, 1)?,
            ("g", value) => conv.groups = size(value, 1)?,
            _ => return None,
        }
    }
    Some(Part::Conv(conv))
}

fn pooling(rest: &str, mean: bool) -> Option<Part> {
    let mut words = rest.split(':');
    let window = pair(words.next()?, 1)?;
    let mut pooling = Pooling { mean, window, stride: window, padding: [0, 0], dilation: [1, 1] };
    for option in words {
        match option.split_at_checked(1)? {
            ("s", value) => pooling.stride = pair(value, 1)?,
            ("p", value) => pooling.padding = pair(value, 0)?,
            ("d", value) => pooling.dilation = pair(value, 1)?,
            _ => return None,
        }
    }
    Some(Part::Pool(pooling))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        text.parse::<Net>().unwrap_err().to_string()
    }

    #[test]
    fn a_network_is_told_as_it_is_spelled() {
        for text in [
            "784-300-100-10",
            "13-1",
            "28x28x1-300-10",
            "28x28x1-conv20:5-pool2-10",
            "32x24x3-conv8:5x3:s2:p2x1:d1x2:g3-avgpool3x2:s2:p1:d2-pool3:s1-4",
            "8x8x3-conv8:3:p1-bn-res+conv8:3:p1+bn+conv8:3:p1+bn-pool8-7-ln-4",
        ] {
            assert_eq!(text.parse::<Net>().unwrap().to_string(), text);
        }
        let net: Net = "9x9x2-conv4:3x2:g2-avgpool2x1-1".parse().unwrap();
        assert_eq!(net.input(), Shape::Image([9, 9, 2]));
        let conv = Conv {
            channels: 4,
            kernel: [3, 2],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            groups: 2,
        };
        let pool = Pooling { mean: true, window: [2, 1], stride: [2, 1], padding: [0, 0], dilation: [1, 1] };
        assert_eq!(net.parts(), [Part::Conv(conv), Part::Pool(pool), Part::Dense(1)]);
        // What is the default may be spelled.
        assert_eq!(
            "9x9x2-conv4:3:s1:p0x0:d1:g1-pool2:s2-1".parse::<Net>().unwrap().to_string(),
            "9x9x2-conv4:3-pool2-1"
        );
    }

    #[test]
    fn what_is_no_network_is_named() {
        assert_eq!(message("784"), "--net 784: input: expected 1 to 100 layers behind it, got 0");
        let expected = "expected units up to 65536, conv, pool, avgpool, bn, ln or res, got";
        assert_eq!(message("784-"), format!("--net 784-: layer 1: {expected} \"\""));
        assert_eq!(message("784-3-+4"), format!("--net 784-3-+4: layer 2: {expected} \"+4\""));
        assert_eq!(
            message("28x28-10"),
            "--net 28x28-10: input: expected columns or HEIGHTxWIDTHxCHANNELS, got \"28x28\""
        );
        assert!(message("0-1").contains("got \"0\"") && message("1-65537").contains("got \"65537\""));
        assert!(message(&format!("1{}", "-1".repeat(101))).contains("1 to 100 layers"));
        assert_eq!(
            message("9x9x1-conv4"),
            "--net 9x9x1-conv4: layer 1: expected convCHANNELS:KERNEL and :sN, :pN, :dN or :gN, got \"conv4\""
        );
        for bad in [
            "conv4:3:",
            "conv4:3:x2",
            "conv4:3:s0",
            "conv4:3:g",
            "conv:3",
            "conv4:0",
            "conv4:3x3x3",
            "conv4:3:é1",
        ] {
            assert!(message(&format!("9x9x1-{bad}-1")).contains("layer 1: expected convCHANNELS"), "{bad}");
        }
        for bad in ["pool", "pool2:g2", "pool0", "poolx2"] {
            assert!(message(&format!("9x9x1-{bad}-1")).contains("layer 1: expected poolWINDOW"), "{bad}");
        }
        assert!(message("9x9x1-avgpool2:q1-1").contains("layer 1: expected avgpoolWINDOW"));
        for bad in ["res", "resnet+3"] {
            let expected = format!("layer 1: expected res+PART+PART of 1 to 100 parts, got {bad:?}");
            assert!(message(&format!("9-{bad}-1")).contains(&expected), "{bad}");
        }
        // Parts inside one of them have none themselves.
        for (bad, got) in
            [("res+", ""), ("res+9+res+9", "res"), ("res+9++9", ""), ("bn+9", "bn+9"), ("ln:2", "ln:2")]
        {
            assert!(message(&format!("9-{bad}-1")).ends_with(&format!("{expected} {got:?}")), "{bad}");
        }
        assert!(
            message("9-9-bn").ends_with("expected units as the last layer, a unit for each output, got bn")
        );
        assert_eq!(
            message("9x9x1-7-pool3:s1"),
            "--net 9x9x1-7-pool3:s1: layer 2: expected units as the last layer, a unit for each output, got pool3:s1"
        );
    }
}
