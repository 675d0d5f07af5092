//! Puts a kernel together.
