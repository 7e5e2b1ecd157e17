//! The container of a model file: a checked header and framed sections.
//!
//! ```text
//! magic 8 | format version u32 | header length u32 | header crc32 u32 | header | sections, each at a multiple of 64
//! ```
//!
//! All integers are little-endian. The bytes are described in `docs/format.md`.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::{Error, Plan, Registry, codec};

/// First bytes of every model file. Like PNG's, they break visibly when a transfer mangles line ends.
const MAGIC: [u8; 8] = *b"\x89BDL\r\n\x1a\n";
/// The version of the container that this library writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;
const FRONT: usize = 20;
const ALIGN: usize = 64;

/// A section of a model file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// Four ASCII letters that name its content.
    pub tag: [u8; 4],
    /// Version of its content.
    pub version: u16,
    /// Whether a reader that does not know the tag must refuse the file.
    pub required: bool,
    /// The content: its own, or where it stands in the bytes of a file.
    pub bytes: Cow<'a, [u8]>,
}

/// The header, frozen.
#[derive(Serialize, Deserialize)]
struct HeaderV1 {
    sections: Vec<FrameV1>,
}

#[derive(Serialize, Deserialize)]
struct FrameV1 {
    tag: [u8; 4],
    version: u16,
    required: bool,
    offset: u64,
    length: u64,
    crc32: u32,
}

/// The sections of a model file.
///
/// Those that were read stay where they are in the bytes of the file: the parameters are copied once, into their vectors.
///
/// ```
/// use bdl_layers::{Container, Section};
/// let mut file = Container::default();
/// file.push(Section { tag: *b"NOTE", version: 1, required: false, bytes: b"hello".into() });
/// let bytes = file.to_bytes()?;
/// assert_eq!(Container::from_bytes(&bytes)?.get(b"NOTE", 1)?, b"hello");
/// assert!(Container::from_bytes(&bytes[..bytes.len() - 1]).is_err());
/// # Ok::<(), bdl_layers::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container<'a> {
    sections: Vec<Section<'a>>,
}

impl<'a> Container<'a> {
    /// Adds a section behind the others.
    pub fn push(&mut self, section: Section<'a>) {
        self.sections.push(section);
    }

    /// The sections, in order.
    #[must_use]
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// The content of the section `tag`, whose version must be at most `newest`.
    ///
    /// # Errors
    /// [`Error::File`] if there is none or it is newer.
    pub fn get(&self, tag: &[u8; 4], newest: u16) -> Result<&[u8], Error> {
        match self.sections.iter().find(|s| s.tag == *tag) {
            None => Err(Error::File(format!("has no section {}", tag.escape_ascii()))),
            Some(s) if s.version > newest => Err(Error::File(format!(
                "section {} has version {}, this library reads up to {newest}",
                tag.escape_ascii(),
                s.version
            ))),
            Some(s) => Ok(&s.bytes),
        }
    }

    /// Refuses a file with a required section whose tag is not among `known`.
    ///
    /// # Errors
    /// [`Error::File`] naming the section.
    pub fn refuse_unknown(&self, known: &[[u8; 4]]) -> Result<(), Error> {
        match self.sections.iter().find(|s| s.required && !known.contains(&s.tag)) {
            None => Ok(()),
            Some(s) => Err(Error::File(format!(
                "needs section {}, which this library does not know",
                s.tag.escape_ascii()
            ))),
        }
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Error::Decode`] if the header cannot be encoded.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        // Offsets have a fixed width, so a header of zeros has the length of the real one.
        let blank = codec::encode("model file header", &self.header(0))?;
        let start = (FRONT + blank.len()).next_multiple_of(ALIGN);
        let header = codec::encode("model file header", &self.header(start))?;
        let mut out = Vec::with_capacity(start);
        out.extend(MAGIC);
        out.extend(FORMAT_VERSION.to_le_bytes());
        out.extend((header.len() as u32).to_le_bytes());
        out.extend(crc32fast::hash(&header).to_le_bytes());
        out.extend(header);
        for section in &self.sections {
            out.resize(out.len().next_multiple_of(ALIGN), 0);
            out.extend(&*section.bytes);
        }
        Ok(out)
    }

    fn header(&self, start: usize) -> HeaderV1 {
        let mut at = start;
        let frame = |s: &Section<'_>| {
            let offset = at.next_multiple_of(ALIGN);
            at = offset + s.bytes.len();
            FrameV1 {
                tag: s.tag,
                version: s.version,
                required: s.required,
                offset: offset as u64,
                length: s.bytes.len() as u64,
                crc32: crc32fast::hash(&s.bytes),
            }
        };
        HeaderV1 { sections: self.sections.iter().map(frame).collect() }
    }

    /// Reads the bytes of a file; every byte is checked.
    ///
    /// # Errors
    /// [`Error::File`] if they are not a model file, newer than this library, truncated or damaged.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, Error> {
        let header = read_header(bytes)?;
        let mut end = FRONT + header.1;
        let mut sections = Vec::with_capacity(header.0.sections.len());
        for frame in header.0.sections {
            let (section, section_end) = read_section(bytes, &frame, end)?;
            if sections.iter().any(|s: &Section<'_>| s.tag == section.tag) {
                return Err(Error::File(format!("has section {} twice", section.tag.escape_ascii())));
            }
            sections.push(section);
            end = section_end;
        }
        if end != bytes.len() {
            return Err(Error::File(format!("must end at byte {end}, got {} bytes", bytes.len())));
        }
        Ok(Self { sections })
    }
}

fn read_header(bytes: &[u8]) -> Result<(HeaderV1, usize), Error> {
    let fault = |why: &str| Error::File(why.to_owned());
    let front = bytes.get(..FRONT).filter(|b| b.starts_with(&MAGIC));
    let front =
        front.ok_or_else(|| match MAGIC.starts_with(&bytes[..bytes.len().min(8)]) && !bytes.is_empty() {
            true => fault("is truncated within its first 20 bytes"),
            false if bytes.is_empty() => fault("is empty"),
            false => fault(
                "is not a bdl model (it does not begin with the bytes that every bdl model begins with)",
            ),
        })?;
    let word = |i: usize| u32::from_le_bytes([front[i], front[i + 1], front[i + 2], front[i + 3]]);
    if word(8) != FORMAT_VERSION {
        let why = format!("has format version {}, this library reads version {FORMAT_VERSION}", word(8));
        return Err(Error::File(why));
    }
    let length = word(12) as usize;
    let header = bytes[FRONT..].get(..length).ok_or_else(|| fault("is truncated within its header"))?;
    if crc32fast::hash(header) != word(16) {
        return Err(fault("is damaged: the header's checksum does not match"));
    }
    Ok((codec::decode("model file header", header)?, length))
}

fn read_section<'a>(
    bytes: &'a [u8],
    frame: &FrameV1,
    front_end: usize,
) -> Result<(Section<'a>, usize), Error> {
    let tag = frame.tag.escape_ascii();
    let offset = front_end.next_multiple_of(ALIGN);
    let misplaced = || Error::File(format!("is damaged: section {tag} is not where it should be"));
    if frame.offset != offset as u64 {
        return Err(misplaced());
    }
    let end = usize::try_from(frame.length).ok().and_then(|n| offset.checked_add(n)).ok_or_else(misplaced)?;
    let content = bytes.get(offset..end).ok_or_else(|| {
        Error::File(format!("is truncated: section {tag} needs {end} bytes, got {}", bytes.len()))
    })?;
    if bytes[front_end..offset].iter().any(|b| *b != 0) || crc32fast::hash(content) != frame.crc32 {
        return Err(Error::File(format!("is damaged: the checksum of section {tag} does not match")));
    }
    let section =
        Section { tag: frame.tag, version: frame.version, required: frame.required, bytes: content.into() };
    Ok((section, end))
}

/// Writes `bytes` to a file beside `path` and renames it, so that `path` is never half written.
///
/// # Errors
/// The error of the file system; what stood at `path` is then untouched.
pub fn write_beside(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // Threads of one process may write to the same path, whose name may be as long as a name can be.
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let (process, write) = (std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed));
    let beside = path.with_file_name(format!(".bdl-{process}-{write}.tmp"));
    let written = std::fs::File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // Best effort: the first error is the one to report.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Tag of the section that holds the plan.
pub const PLAN: [u8; 4] = *b"PLAN";
/// Tag of the section that holds the parameter vectors.
pub const PARAMS: [u8; 4] = *b"PARM";

/// More vectors are a fault: of a network without parameters they would take no bytes.
const MAX_MEMBERS: usize = 1 << 16;

/// The plan as a file holds it, frozen.
#[derive(Serialize, Deserialize)]
struct PlanV1 {
    layers: Vec<LayerV1>,
    members: u64,
    /// Elements of each parameter vector: the network's and those behind them.
    length: u64,
}

#[derive(Serialize, Deserialize)]
struct LayerV1 {
    kind: String,
    config: Vec<u8>,
}

/// Adds a plan and its parameter vectors (one for each ensemble member) to a file.
///
/// A vector may be longer than the plan's: a likelihood keeps its own parameters behind the network's.
///
/// # Errors
/// [`Error::Length`] if there is no vector, or they differ in length or are too short for the plan;
/// [`Error::File`] for more than 65536 of them.
pub fn push_network(file: &mut Container<'_>, plan: &Plan, members: &[Vec<f32>]) -> Result<(), Error> {
    let length = members.first().map_or(0, Vec::len);
    let bad = members.iter().map(Vec::len).find(|n| *n != length || *n < plan.n_params());
    if members.len() > MAX_MEMBERS {
        return Err(Error::File(format!("must hold at most {MAX_MEMBERS} members, got {}", members.len())));
    }
    if let Some(got) = bad.or(members.is_empty().then_some(0)) {
        return Err(Error::Length { what: "save params".into(), expected: plan.n_params().max(length), got });
    }
    let layer =
        |(_, l): (_, &dyn crate::Layer)| Ok(LayerV1 { kind: l.kind().to_owned(), config: l.config()? });
    let layers = plan.layers().map(layer).collect::<Result<_, Error>>()?;
    let v = PlanV1 { layers, members: members.len() as u64, length: length as u64 };
    let bytes = codec::encode("section PLAN", &v)?;
    file.push(Section { tag: PLAN, version: 1, required: true, bytes: bytes.into() });
    let bytes: Vec<u8> = members.iter().flatten().flat_map(|p| p.to_le_bytes()).collect();
    file.push(Section { tag: PARAMS, version: 1, required: true, bytes: bytes.into() });
    Ok(())
}

/// Reads the plan and the parameter vectors of a file.
///
/// # Errors
/// [`Error::UnknownKind`] for a layer that the registry does not know; [`Error::File`] for sections that
/// are absent or do not fit each other; [`Error::Decode`].
pub fn read_network(file: &Container<'_>, registry: &Registry) -> Result<(Plan, Vec<Vec<f32>>), Error> {
    let v: PlanV1 = codec::decode("section PLAN", file.get(&PLAN, 1)?)?;
    let layers = v.layers.iter().map(|l| registry.build(&l.kind, &l.config)).collect::<Result<_, _>>()?;
    let plan = Plan::new(layers)?;
    let bytes = file.get(&PARAMS, 1)?;
    let (members, length) = (v.members as usize, v.length as usize);
    let expected = members.checked_mul(length).and_then(|n| n.checked_mul(4));
    let fits =
        expected == Some(bytes.len()) && (1..=MAX_MEMBERS).contains(&members) && length >= plan.n_params();
    if !fits {
        let why = format!(
            "section PARM must hold {members} vectors of {length} numbers for a network of {}, got {} bytes",
            plan.n_params(),
            bytes.len()
        );
        return Err(Error::File(why));
    }
    let floats = |part: &[u8]| part.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let vectors = (0..members).map(|i| floats(&bytes[4 * length * i..][..4 * length])).collect();
    Ok((plan, vectors))
}
