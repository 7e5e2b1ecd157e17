//! Small headers to bytes and back. The only place that names the encoding.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// No header is larger; a length field beyond it is a fault, not a reason to allocate.
const LIMIT: usize = 1 << 26;

fn config() -> impl bincode::config::Config {
    bincode::config::legacy().with_limit::<LIMIT>()
}

/// Encodes a frozen header struct.
///
/// # Errors
/// [`Error::Decode`] if it is larger than 64 MiB.
pub fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, Error> {
    bincode::serde::encode_to_vec(value, config()).map_err(|e| Error::Decode { what, why: e.to_string() })
}

/// Decodes a frozen header struct; every byte must be used.
///
/// # Errors
/// [`Error::Decode`] if the bytes are too few, too many or no such struct.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Error> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, config())
        .map_err(|e| Error::Decode { what, why: format!("cannot be decoded: {e}") })?;
    if used != bytes.len() {
        let why = format!("must be {used} bytes long, got {}", bytes.len());
        return Err(Error::Decode { what, why });
    }
    Ok(value)
}
