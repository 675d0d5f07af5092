//! `#!` lines (`fs/binfmt_script.c`).

use super::HEAD;
use crate::abi::{Errno, Result};

/// A parsed first line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Path of the interpreter.
    pub interpreter: Vec<u8>,
    /// The rest of the line, as one argument.
    pub argument: Option<Vec<u8>>,
}

fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// Parses the head of a file (at most [`HEAD`] bytes).
///
/// # Errors
/// ENOEXEC if it is no `#!` line, has no interpreter, or is cut off inside the interpreter's name.
pub(super) fn parse(head: &[u8]) -> Result<Line> {
    let line = head.strip_prefix(b"#!").ok_or(Errno::ENOEXEC)?;
    // A NUL ends the line; a file that ends without newline is a line, as if a NUL followed.
    let end = line.iter().position(|b| *b == b'\n' || *b == 0);
    let ended = end.is_some() || head.len() < HEAD;
    // The kernel's buffer keeps its last byte as a terminator.
    let room = HEAD - 1 - 2;
    let text = line
        .get(..end.unwrap_or(line.len()).min(room))
        .unwrap_or(line);
    let start = text
        .iter()
        .position(|b| !is_blank(*b))
        .ok_or(Errno::ENOEXEC)?;
    let text = text.get(start..).unwrap_or(&[]);
    let name_end = text.iter().position(|b| is_blank(*b));
    if !ended && name_end.is_none() {
        return Err(Errno::ENOEXEC);
    }
    let (interpreter, rest) = text.split_at(name_end.unwrap_or(text.len()));
    let argument = trim(rest);
    Ok(Line {
        interpreter: interpreter.to_vec(),
        argument: (!argument.is_empty()).then(|| argument.to_vec()),
    })
}

fn trim(mut s: &[u8]) -> &[u8] {
    while let Some((first, rest)) = s.split_first().filter(|(b, _)| is_blank(**b)) {
        let _ = first;
        s = rest;
    }
    while let Some((_, rest)) = s.split_last().filter(|(b, _)| is_blank(**b)) {
        s = rest;
    }
    s
}
