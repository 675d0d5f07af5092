//! One argument as text, by its [`ArgKind`]. Guest memory that cannot be read is shown as its address.

use super::flags;
use crate::syscalls::ArgKind;
use crate::usermem::{GuestMemory, UserPtr, UserStr};
use std::fmt::Write;

/// Longest part of a buffer that is shown, in bytes.
const MOST_BYTES: usize = 64;
/// How many variables of an environment are counted.
const MOST_VARIABLES: usize = 256;
/// Most strings of an array that are shown.
const MOST_STRINGS: usize = 32;

/// The arguments of one call and, once it has one, its result.
pub(super) struct Decoder<'a> {
    /// The task's memory.
    pub mem: &'a dyn GuestMemory,
    /// The registers.
    pub args: &'a [u64; 6],
    /// Bytes that an output buffer holds, or a negated errno.
    pub result: i64,
}

impl Decoder<'_> {
    /// Appends arguments `from..to` (by index), with commas where others come before.
    pub fn list(&self, out: &mut String, kinds: &[ArgKind], from: usize, to: usize) {
        for (i, kind) in kinds.iter().enumerate().take(to).skip(from) {
            if i > 0 {
                out.push_str(", ");
            }
            self.one(out, *kind, self.arg(i));
        }
    }

    fn arg(&self, n: usize) -> u64 {
        self.args.get(n).copied().unwrap_or(0)
    }

    fn one(&self, out: &mut String, kind: ArgKind, raw: u64) {
        let low = raw as u32;
        // Writing to a String cannot fail, here and below.
        let _ = match kind {
            ArgKind::Int | ArgKind::Pid => write!(out, "{}", signed(raw)),
            ArgKind::Uint => write!(out, "{raw}"),
            ArgKind::Hex => write!(out, "{raw:#x}"),
            ArgKind::Mode => write!(out, "0{low:o}"),
            ArgKind::Fd => write!(out, "{}", low.cast_signed()),
            ArgKind::DirFd if low.cast_signed() == libc::AT_FDCWD => write!(out, "AT_FDCWD"),
            ArgKind::DirFd => write!(out, "{}", low.cast_signed()),
            ArgKind::Ptr => address(out, raw),
            ArgKind::Path => self.string(out, raw, usize::MAX),
            ArgKind::Str => self.string(out, raw, MOST_BYTES),
            ArgKind::StrArray => self.strings(out, raw),
            ArgKind::Environment => self.environment(out, raw),
            ArgKind::InBuf(len) => self.buffer(out, raw, self.arg(usize::from(len))),
            ArgKind::OutBuf => match u64::try_from(self.result) {
                Ok(len) => self.buffer(out, raw, len),
                Err(_) => address(out, raw),
            },
            ArgKind::Signal => out.write_str(&flags::signal(low.cast_signed())),
            ArgKind::OpenFlags => out.write_str(&flags::open(low)),
            ArgKind::Flags(table, none) => {
                out.write_str(&flags::names(u64::from(low), table, none))
            }
            ArgKind::Name(table) => {
                match table.iter().find(|(value, _)| *value == u64::from(low)) {
                    Some((_, name)) => out.write_str(name),
                    None => write!(out, "{low:#x}"),
                }
            }
            ArgKind::Prot => out.write_str(&flags::names(raw, flags::PROT, "PROT_NONE")),
            ArgKind::MapFlags => out.write_str(&flags::names(raw, flags::MAP, "0")),
            ArgKind::CloneFlags => out.write_str(&flags::clone(raw)),
            ArgKind::Timespec => self.timespec(out, raw),
            ArgKind::SockAddr(len) => self.socket_address(out, raw, self.arg(usize::from(len))),
        };
    }

    fn string(&self, out: &mut String, raw: u64, most: usize) -> std::fmt::Result {
        if raw == 0 {
            return out.write_str("NULL");
        }
        match self.mem.read_cstr(UserStr(raw), 4096) {
            Ok(bytes) => quoted(out, &bytes, most),
            Err(_) => write!(out, "{raw:#x}"),
        }
    }

    fn strings(&self, out: &mut String, raw: u64) -> std::fmt::Result {
        if raw == 0 {
            return out.write_str("NULL");
        }
        out.push('[');
        let array = UserPtr::<u64>::new(raw);
        for i in 0..=MOST_STRINGS {
            let Ok(pointer) = self.mem.get(array.offset(i)) else {
                let _ = write!(out, "{raw:#x}");
                break;
            };
            if pointer == 0 {
                break;
            }
            if i > 0 {
                out.push_str(", ");
            }
            if i == MOST_STRINGS {
                out.push_str("...");
                break;
            }
            self.string(out, pointer, MOST_BYTES)?;
        }
        out.write_char(']')
    }

    fn environment(&self, out: &mut String, raw: u64) -> std::fmt::Result {
        if raw == 0 {
            return out.write_str("NULL");
        }
        let array = UserPtr::<u64>::new(raw);
        let is_there =
            |i: &usize| matches!(self.mem.get(array.offset(*i)), Ok(pointer) if pointer != 0);
        let vars = (0..MOST_VARIABLES).take_while(is_there).count();
        write!(out, "{raw:#x} ")?;
        variables(out, vars)
    }

    fn buffer(&self, out: &mut String, raw: u64, len: u64) -> std::fmt::Result {
        if raw == 0 {
            return out.write_str("NULL");
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(MOST_BYTES + 1)];
        match self.mem.read_bytes(raw, &mut bytes) {
            Ok(()) => quoted(out, &bytes, MOST_BYTES),
            Err(_) => write!(out, "{raw:#x}"),
        }
    }

    fn timespec(&self, out: &mut String, raw: u64) -> std::fmt::Result {
        if raw == 0 {
            return out.write_str("NULL");
        }
        match self.mem.get(UserPtr::<[i64; 2]>::new(raw)) {
            Ok([sec, nsec]) => write!(out, "{{tv_sec={sec}, tv_nsec={nsec}}}"),
            Err(_) => write!(out, "{raw:#x}"),
        }
    }

    fn socket_address(&self, out: &mut String, raw: u64, len: u64) -> std::fmt::Result {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(128)];
        if raw == 0 || self.mem.read_bytes(raw, &mut bytes).is_err() {
            return address(out, raw);
        }
        let [a, b, rest @ ..] = bytes.as_slice() else {
            return address(out, raw);
        };
        match (i32::from(u16::from_le_bytes([*a, *b])), rest) {
            (libc::AF_UNIX, [0, name @ ..]) if !name.is_empty() => {
                out.push_str("{AF_UNIX, @");
                quoted(out, name, usize::MAX)?;
            }
            (libc::AF_UNIX, path) => {
                out.push_str("{AF_UNIX, ");
                let end = path.iter().position(|c| *c == 0).unwrap_or(path.len());
                quoted(out, path.get(..end).unwrap_or(path), usize::MAX)?;
            }
            (libc::AF_INET, [p, q, w, x, y, z, ..]) => {
                let port = u16::from_be_bytes([*p, *q]);
                write!(out, "{{AF_INET, {w}.{x}.{y}.{z}:{port}")?;
            }
            (libc::AF_INET6, [p, q, _, _, _, _, ip @ ..]) if ip.len() >= 16 => {
                let port = u16::from_be_bytes([*p, *q]);
                let mut address = [0; 16];
                address.copy_from_slice(ip.get(..16).unwrap_or(&[0; 16]));
                write!(
                    out,
                    "{{AF_INET6, [{}]:{port}",
                    std::net::Ipv6Addr::from(address)
                )?;
            }
            (family, _) => write!(out, "{{family={family}, ...")?,
        }
        out.write_char('}')
    }
}

/// Integers are mostly 32 bits wide; what looks like a negative one is shown as one.
fn signed(raw: u64) -> i64 {
    match u32::try_from(raw) {
        Ok(low) => i64::from(low.cast_signed()),
        Err(_) => raw.cast_signed(),
    }
}

fn address(out: &mut String, raw: u64) -> std::fmt::Result {
    if raw == 0 {
        out.write_str("NULL")
    } else {
        write!(out, "{raw:#x}")
    }
}

/// An execve that no guest made, as the decoder shows the others.
pub fn execve(out: &mut String, path: &[u8], argv: &[Vec<u8>], envp: &[Vec<u8>]) {
    out.push_str("execve(");
    // Writing to a String cannot fail.
    let _ = quoted(out, path, usize::MAX);
    out.push_str(", [");
    for (i, string) in argv.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        if i == MOST_STRINGS {
            out.push_str("...");
            break;
        }
        let _ = quoted(out, string, MOST_BYTES);
    }
    out.push_str("], ");
    let _ = variables(out, envp.len());
    out.push(')');
}

/// How many there are, as strace(1) shows an environment, whose values may be secrets.
fn variables(out: &mut String, vars: usize) -> std::fmt::Result {
    let more = if vars >= MOST_VARIABLES {
        " or more"
    } else {
        ""
    };
    write!(out, "/* {vars}{more} vars */")
}

/// Bytes between quotes with C's escapes, and dots if there are more than `most`.
fn quoted(out: &mut String, bytes: &[u8], most: usize) -> std::fmt::Result {
    out.push('"');
    for b in bytes.iter().take(most) {
        match b {
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(*b)),
            _ => write!(out, "\\{b:o}")?,
        }
    }
    out.push('"');
    if bytes.len() > most {
        out.push_str("...");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory of one page at 0x1000.
    struct Page(Vec<u8>);
    impl GuestMemory for Page {
        fn read_partial(&self, addr: u64, buf: &mut [u8]) -> usize {
            let Some(at) = addr.checked_sub(0x1000) else {
                return 0;
            };
            let from = self.0.get(at as usize..).unwrap_or(&[]);
            let n = from.len().min(buf.len());
            buf[..n].copy_from_slice(&from[..n]);
            n
        }
        fn write_partial(&self, _: u64, _: &[u8]) -> usize {
            0
        }
    }

    fn shown(kinds: &[ArgKind], args: [u64; 6], result: i64, memory: &[u8]) -> String {
        let mem = Page(memory.to_vec());
        let mut out = String::new();
        let decoder = Decoder {
            mem: &mem,
            args: &args,
            result,
        };
        decoder.list(&mut out, kinds, 0, kinds.len());
        out
    }

    #[test]
    fn arguments_by_kind() {
        use ArgKind::*;
        let at = libc::AT_FDCWD as u64;
        assert_eq!(
            shown(
                &[DirFd, Path, OpenFlags, Mode],
                [at, 0x1000, 0o2000101, 0o644, 0, 0],
                3,
                b"/a\"b\n\0"
            ),
            "AT_FDCWD, \"/a\\\"b\\n\", O_WRONLY|O_CREAT|O_CLOEXEC, 0644"
        );
        assert_eq!(
            shown(
                &[Fd, OutBuf, Uint],
                [3, 0x1000, 100, 0, 0, 0],
                2,
                b"hi there"
            ),
            "3, \"hi\", 100"
        );
        assert_eq!(
            shown(
                &[Fd, OutBuf, Uint],
                [3, 0x1000, 100, 0, 0, 0],
                -9,
                b"hi there"
            ),
            "3, 0x1000, 100"
        );
        assert_eq!(
            shown(
                &[Fd, InBuf(2), Uint],
                [1, 0x1000, 300, 0, 0, 0],
                0,
                &[b'x'; 400]
            ),
            format!("1, \"{}\"..., 300", "x".repeat(64))
        );
        assert_eq!(
            shown(
                &[Path, Ptr, StrArray],
                [0x10, 0, 0x20, 0, 0, 0],
                0,
                b"unreadable"
            ),
            "0x10, NULL, [0x20]"
        );
        assert_eq!(
            shown(&[Int, Signal, Prot], [0xffff_ffff, 9, 5, 0, 0, 0], 0, &[]),
            "-1, SIGKILL, PROT_READ|PROT_EXEC"
        );
        assert_eq!(
            shown(
                &[flags::ACCESS, flags::ACCESS, flags::AT, flags::UNLINK],
                [0, 5, 0x1900, 0x200, 0, 0],
                0,
                &[]
            ),
            "F_OK, R_OK|X_OK, AT_SYMLINK_NOFOLLOW|AT_NO_AUTOMOUNT|AT_EMPTY_PATH, AT_REMOVEDIR"
        );
        assert_eq!(
            shown(
                &[flags::FUTEX, flags::RESOURCE, flags::IOCTL],
                [0x81, 3, 0x5401, 0, 0, 0],
                0,
                &[]
            ),
            "FUTEX_WAKE_PRIVATE, RLIMIT_STACK, TCGETS"
        );
    }

    #[test]
    fn socket_addresses() {
        use ArgKind::*;
        let inet = [2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            shown(&[SockAddr(1)], [0x1000, 16, 0, 0, 0, 0], 0, &inet),
            "{AF_INET, 127.0.0.1:8080}"
        );
        let unix = b"\x01\0/run/s\0";
        assert_eq!(
            shown(&[SockAddr(1)], [0x1000, 9, 0, 0, 0, 0], 0, unix),
            "{AF_UNIX, \"/run/s\"}"
        );
        assert_eq!(
            shown(&[SockAddr(1)], [0x1000, 1, 0, 0, 0, 0], 0, unix),
            "0x1000"
        );
    }
}
