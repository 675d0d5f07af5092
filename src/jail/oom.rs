//! Whom the host kills when memory runs out: a process of the guest, not one of ours (proc_pid_oom_score_adj(5)).
//!
//! The whole sandbox shares one control group. Over the group's limit the host kills the process with the most memory,
//! where each point of `oom_score_adj` weighs a thousandth of the limit: a gap of 1000 puts any guest process before any of ours.
//! Lowering takes CAP_SYS_RESOURCE on the host; without it the guest's processes are raised instead.

use std::fs;
use std::io;

/// Least that leaves a process killable.
const LEAST: i32 = -999;
/// Most that there is.
const MOST: i32 = 1000;

const FILE: &str = "/proc/self/oom_score_adj";

/// The caller's.
pub fn current() -> i32 {
    let text = fs::read_to_string(FILE).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Sets the caller's; children inherit it.
///
/// # Errors
/// EACCES: lower than a privileged process has set it.
pub fn set(adjust: i32) -> io::Result<()> {
    fs::write(FILE, adjust.to_string())
}

/// What guest processes get where ours keep theirs.
pub fn above(ours: i32) -> i32 {
    ours.saturating_add(MOST).min(MOST)
}

/// Sets the caller's so that guest processes can have what `wanted` says and still come first; what they get.
///
/// # Errors
/// As [`set`].
pub fn make_way(wanted: i32) -> io::Result<i32> {
    if set(wanted.saturating_sub(MOST).clamp(LEAST, MOST)).is_ok() {
        return Ok(wanted);
    }
    if wanted != current() {
        set(wanted)?;
    }
    Ok(above(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_come_first() {
        assert_eq!(above(0), 1000);
        assert_eq!(above(300), 1000);
        assert_eq!(above(-999), 1);
        assert_eq!(above(-1000), 0);
    }
}
