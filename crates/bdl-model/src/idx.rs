//! IDX files, as MNIST is kept: images of one size with a byte for each pixel, and their labels.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use crate::Error;
use crate::error::Place;
use crate::schema::{MAX_IMAGE, product};

/// Images of one size, in memory.
///
/// The file is IDX of unsigned bytes, plain or compressed by gzip, with the axes `[images, height, width]` or
/// `[images, height, width, channels]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    file: Arc<str>,
    sides: [usize; 3],
    pixels: Vec<u8>,
}

/// A label from 0 to 255 for each image, in memory.
///
/// The file is IDX of unsigned bytes with one axis, plain or compressed by gzip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    file: Arc<str>,
    labels: Vec<u8>,
}

/// First bytes of a file of unsigned bytes; the number of its axes follows.
const MAGIC: [u8; 3] = [0, 0, 8];

/// First bytes of a gzip stream.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// More pixels are not held in memory.
const MAX_BYTES: u64 = 1 << 32;

impl Images {
    /// Where image `index` stands, for messages.
    pub(crate) fn place(&self, index: usize) -> Place {
        Place { file: format!("{}: image {}", self.file, index + 1).into(), row: index as u64 + 1, line: 0 }
    }

    /// Whether the file at `path` holds IDX of any number of axes, or is called so: `…-idx3-ubyte`, `…-idx3-ubyte.gz`.
    /// Standard input never does.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn are_in(path: &Path) -> Result<bool, Error> {
        // Of anything else, what is read here is lost to the next reader.
        if path.as_os_str() == "-" || !path.is_file() {
            return Ok(false);
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if ["idx1-ubyte", "idx3-ubyte", "idx4-ubyte"]
            .iter()
            .any(|end| name.trim_end_matches(".gz").ends_with(end))
        {
            return Ok(true);
        }
        let mut head = Vec::new();
        let read = open(path).and_then(|file| file.take(3).read_to_end(&mut head));
        match read {
            Ok(_) => Ok(head == MAGIC),
            // Whatever begins like a gzip stream and is none.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(false),
            Err(e) => Err(Error::read(path, e)),
        }
    }

    /// Reads a file of images.
    ///
    /// # Errors
    /// For a file that cannot be read, is no IDX of images, is shorter or longer than its header says, or has no image.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let idx = Idx::read(path, "images", &[3, 4])?;
        let sides = [idx.axes[1], idx.axes[2], idx.axes.get(3).copied().unwrap_or(1)];
        match idx.axes[0] {
            0 => Err(Error::idx(&idx.file, "at least one image", "none")),
            _ if !(1..=MAX_IMAGE).contains(&product(&sides)) => {
                Err(Error::idx(&idx.file, "images of 1 to 16777216 pixels", times(&sides)))
            }
            _ => Ok(Self { file: idx.file, sides, pixels: idx.bytes }),
        }
    }

    /// The file's name.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Height, width and channels of each image.
    #[must_use]
    pub fn sides(&self) -> [usize; 3] {
        self.sides
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pixels.len() / self.width()
    }

    /// Whether there is no image, which [`open`](Images::open) refuses.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// All pixels, image after image, each by rows, a pixel's channels side by side.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Pixels of an image, times channels.
    pub(crate) fn width(&self) -> usize {
        product(&self.sides)
    }

    /// The images `which` as a network sees them, one behind the other: `byte/255`, from 0 to 1.
    pub(crate) fn encode(&self, which: impl IntoIterator<Item = usize>, out: &mut Vec<f32>) {
        out.clear();
        for image in which {
            let pixels = &self.pixels[image * self.width()..][..self.width()];
            out.extend(pixels.iter().map(|&byte| intensity(byte)));
        }
    }

    /// Refuses images of another size than a model takes.
    pub(crate) fn check_sides(&self, model: [usize; 3]) -> Result<(), Error> {
        match model == self.sides {
            true => Ok(()),
            false => {
                let expected = format!("images of {}, which the model was trained on", times(&model));
                Err(Error::idx(&self.file, expected, times(&self.sides)))
            }
        }
    }
}

/// A pixel as a network sees it.
pub(crate) fn intensity(byte: u8) -> f32 {
    f32::from(byte) / 255.0
}

/// `28×28×1`.
pub(crate) fn times(sides: &[usize; 3]) -> String {
    sides.map(|side| side.to_string()).join("×")
}

impl Labels {
    /// The file of labels that belongs to a file of images by its name: `train-images-idx3-ubyte.gz` and
    /// `train-labels-idx1-ubyte.gz`, of which either may be compressed. `None` if there is no such file.
    #[must_use]
    pub fn beside(images: &Path) -> Option<PathBuf> {
        let name = images.file_name()?.to_str()?.replace("images", "labels").replace("idx3", "idx1");
        let plain = name.strip_suffix(".gz").unwrap_or(&name).to_owned();
        let packed = format!("{plain}.gz");
        let found = [name, plain, packed].map(|name| images.with_file_name(name));
        found.into_iter().find(|path| path != images && path.is_file())
    }

    /// Reads a file of labels.
    ///
    /// # Errors
    /// For a file that cannot be read, is no IDX of labels, or is shorter or longer than its header says.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let idx = Idx::read(path, "labels", &[1])?;
        Ok(Self { file: idx.file, labels: idx.bytes })
    }

    /// Reads the labels of images: those of `path`, or else those of the file beside the images.
    ///
    /// # Errors
    /// As [`open`](Labels::open); if there is no file beside the images; if there are more or fewer labels than images.
    pub fn of(images: &Images, path: Option<&Path>) -> Result<Self, Error> {
        let beside = || Self::beside(Path::new(images.file()));
        let Some(path) = path.map(Path::to_owned).or_else(beside) else {
            let expected = "a file of labels beside it, such as train-labels-idx1-ubyte for train-images-idx3-ubyte, \
                            or --labels FILE";
            return Err(Error::idx(&images.file, expected, "none"));
        };
        let labels = Self::open(&path)?;
        labels.check(images)?;
        Ok(labels)
    }

    /// The file's name.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The labels, in the order of the images.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.labels
    }

    /// Refuses labels of other images.
    pub(crate) fn check(&self, images: &Images) -> Result<(), Error> {
        match images.len() == self.labels.len() {
            true => Ok(()),
            false => {
                let expected = format!("{} labels, one for each image of {}", images.len(), images.file());
                Err(Error::idx(&self.file, expected, self.labels.len()))
            }
        }
    }

    /// The names of the labels that occur, in the order of their numbers.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut seen = self.labels.clone();
        seen.sort_unstable();
        seen.dedup();
        seen.iter().map(u8::to_string).collect()
    }

    /// The position of each of these images' labels among the classes.
    pub(crate) fn classes(
        &self,
        which: impl IntoIterator<Item = usize>,
        names: &[String],
    ) -> Result<Vec<u32>, Error> {
        let position = |label: u8| names.iter().position(|name| *name == label.to_string());
        let known: Vec<Option<u32>> =
            (0..=u8::MAX).map(|label| position(label).map(|at| at as u32)).collect();
        let class = |image: usize| {
            let label = self.labels[image];
            let unknown = || {
                let expected = format!("one of the model's classes {}", names.join(", "));
                Error::idx(&self.file, expected, format!("label {label} for image {}", image + 1))
            };
            known[usize::from(label)].ok_or_else(unknown)
        };
        which.into_iter().map(class).collect()
    }
}

/// A whole file.
struct Idx {
    file: Arc<str>,
    axes: Vec<usize>,
    bytes: Vec<u8>,
}

impl Idx {
    /// Reads a file of `what`, which has one of these numbers of axes.
    fn read(path: &Path, what: &str, axes: &[u8]) -> Result<Self, Error> {
        let name: Arc<str> = path.display().to_string().into();
        if path.is_dir() {
            return Err(Error::Directory { file: name });
        }
        let fail = |e: io::Error| match e.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::idx(&name, format!("an IDX file of {what}"), "a file that ends early")
            }
            _ => Error::read(path, e),
        };
        let mut file = open(path).map_err(fail)?;
        let lengths = header(&mut file, axes).map_err(fail)?.map_err(|got| {
            let magic = axes.iter().map(|n| format!("0x0000080{n}")).collect::<Vec<_>>().join(" or ");
            Error::idx(&name, format!("an IDX file of {what}, which begins with {magic}"), got)
        })?;
        let bytes = lengths.iter().try_fold(1_u64, |all, &n| all.checked_mul(u64::from(n)));
        let Some(bytes) = bytes.filter(|n| *n <= MAX_BYTES) else {
            let got = lengths.iter().map(u32::to_string).collect::<Vec<_>>().join("×");
            return Err(Error::idx(&name, format!("at most {MAX_BYTES} bytes of {what}"), got));
        };
        let mut content = Vec::new();
        file.take(bytes + 1).read_to_end(&mut content).map_err(fail)?;
        let got = content.len() as u64;
        if got != bytes {
            let got = if got > bytes { "more".to_owned() } else { got.to_string() };
            let expected = format!("{bytes} bytes for {} {what} behind the header", lengths[0]);
            return Err(Error::idx(&name, expected, got));
        }
        let axes = lengths.iter().map(|&n| n as usize).collect();
        Ok(Self { file: name, axes, bytes: content })
    }
}

/// Lengths of the axes, or what stands in the place of one of the right magic numbers.
fn header(file: &mut dyn Read, axes: &[u8]) -> io::Result<Result<Vec<u32>, String>> {
    let mut word = [0; 4];
    file.read_exact(&mut word)?;
    if word[..3] != MAGIC || !axes.contains(&word[3]) {
        return Ok(Err(format!("0x{:08x}", u32::from_be_bytes(word))));
    }
    let mut lengths = Vec::new();
    for _ in 0..word[3] {
        file.read_exact(&mut word)?;
        lengths.push(u32::from_be_bytes(word));
    }
    Ok(Ok(lengths))
}

/// The content of a file, decompressed if it is a gzip stream.
fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::new(File::open(path)?);
    match file.fill_buf()?.starts_with(&GZIP) {
        true => Ok(Box::new(MultiGzDecoder::new(file))),
        false => Ok(Box::new(file)),
    }
}

impl Error {
    /// A table where the model takes images.
    pub(crate) fn table_for_images(file: &str, sides: [usize; 3]) -> Error {
        Error::idx(
            file,
            format!("IDX images of {}, which the model was trained on", times(&sides)),
            "a table",
        )
    }

    /// Images where the model takes the rows of a table.
    pub(crate) fn images_for_table(images: &Images) -> Error {
        let got = format!("IDX images of {}", times(&images.sides));
        Error::idx(&images.file, "a table with the model's columns", got)
    }

    fn idx(file: &str, expected: impl ToString, got: impl ToString) -> Error {
        Error::Idx { file: file.into(), expected: expected.to_string(), got: got.to_string() }
    }
}
