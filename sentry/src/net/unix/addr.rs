//! AF_UNIX addresses (`struct sockaddr_un`).

use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};

/// Bytes of `sun_path`.
const PATH_LEN: usize = 108;
/// Offset of `sun_path`.
const PATH_AT: usize = 2;

/// What a socket is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Name {
    /// Nothing.
    #[default]
    Unnamed,
    /// A path, as given to bind, without NUL.
    Path(Vec<u8>),
    /// An abstract name, without its leading NUL.
    Abstract(Vec<u8>),
}

/// A socket's name, shared with its peer and its messages: a name can still come when they exist.
#[derive(Debug)]
pub(super) struct NameCell(Mutex<Name>);

impl Default for NameCell {
    fn default() -> NameCell {
        NameCell(Mutex::new(Rank::LEAF, Name::Unnamed))
    }
}

impl NameCell {
    pub fn get(&self) -> Name {
        self.0.lock().clone()
    }
    /// Names a nameless socket; false if it has a name.
    pub fn set(&self, name: Name) -> bool {
        let mut n = self.0.lock();
        let free = *n == Name::Unnamed;
        if free {
            *n = name;
        }
        free
    }
    pub fn is_set(&self) -> bool {
        *self.0.lock() != Name::Unnamed
    }
}

impl Name {
    /// Decodes a raw address. `Unnamed` stands for an address of the family alone (autobind).
    ///
    /// # Errors
    /// EINVAL for a wrong length or family.
    pub fn parse(raw: &[u8]) -> Result<Name> {
        let family = raw
            .get(..PATH_AT)
            .and_then(|b| b.try_into().ok())
            .map(u16::from_ne_bytes)
            .ok_or(Errno::EINVAL)?;
        if i32::from(family) != libc::AF_UNIX || raw.len() > PATH_AT + PATH_LEN {
            return Err(Errno::EINVAL);
        }
        let path = raw.get(PATH_AT..).unwrap_or(&[]);
        Ok(match path.split_first() {
            None => Name::Unnamed,
            Some((0, name)) => Name::Abstract(name.to_vec()),
            Some(_) => {
                let n = path.iter().position(|b| *b == 0).unwrap_or(path.len());
                Name::Path(path.get(..n).unwrap_or(path).to_vec())
            }
        })
    }

    /// As [`Self::parse`], but there must be a name.
    pub fn parse_target(raw: &[u8]) -> Result<Name> {
        match Name::parse(raw)? {
            Name::Unnamed => Err(Errno::EINVAL),
            n => Ok(n),
        }
    }

    /// The raw address, as getsockname(2) returns it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = libc::AF_UNIX
            .to_ne_bytes()
            .get(..PATH_AT)
            .unwrap_or(&[])
            .to_vec();
        match self {
            Name::Unnamed => {}
            Name::Path(p) => {
                out.extend_from_slice(p);
                out.push(0);
            }
            Name::Abstract(n) => {
                out.push(0);
                out.extend_from_slice(n);
            }
        }
        out
    }

    /// What recvfrom(2) returns: nothing for the nameless.
    pub fn encode_source(&self) -> Option<Vec<u8>> {
        (*self != Name::Unnamed).then(|| self.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_decode_as_linux_reads_them() {
        assert_eq!(Name::parse(b"\x01\x00"), Ok(Name::Unnamed));
        assert_eq!(
            Name::parse(b"\x01\x00/a/b\0junk"),
            Ok(Name::Path(b"/a/b".to_vec()))
        );
        assert_eq!(
            Name::parse(b"\x01\x00\0x\0y"),
            Ok(Name::Abstract(b"x\0y".to_vec()))
        );
        assert_eq!(Name::parse(b"\x02\x00/a"), Err(Errno::EINVAL));
        assert_eq!(Name::parse(b"\x01"), Err(Errno::EINVAL));
        let mut long = b"\x01\x00".to_vec();
        long.resize(110, b'a');
        assert!(Name::parse(&long).is_ok());
        long.push(b'a');
        assert_eq!(Name::parse(&long), Err(Errno::EINVAL));
        assert_eq!(Name::Path(b"/a".to_vec()).encode(), b"\x01\x00/a\0");
        assert_eq!(Name::Abstract(b"a".to_vec()).encode(), b"\x01\x00\0a");
        assert_eq!(Name::Unnamed.encode(), b"\x01\x00");
    }
}
