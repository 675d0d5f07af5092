//! Values of options that have a syntax of their own: binds, tmpfs, users, environment.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// `SRC[:DST][:ro|rw]`: a host file or directory and where the guest sees it. Read-only unless `rw` is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Host path as given.
    pub source: PathBuf,
    /// Guest path, absolute; the host's absolute path if `None`.
    pub target: Option<PathBuf>,
    /// Whether the guest may change it.
    pub writable: bool,
}

/// Parses [`Bind`]. A colon cannot be part of either path.
pub fn bind(text: &str) -> Result<Bind, String> {
    let mut parts: Vec<&str> = text.split(':').collect();
    let writable = match parts.last() {
        Some(&"rw") if parts.len() > 1 => true,
        Some(&"ro") if parts.len() > 1 => false,
        _ => {
            parts.push("ro");
            false
        }
    };
    parts.pop();
    let (source, target) = match parts.as_slice() {
        [source] => (*source, None),
        [source, target] => (*source, Some(PathBuf::from(target))),
        _ => return Err("write SRC[:DST][:ro|rw]".into()),
    };
    if source.is_empty() {
        return Err("the source path is empty".into());
    }
    if target.as_ref().is_some_and(|t| !t.is_absolute()) {
        return Err("the path inside must be absolute".into());
    }
    Ok(Bind {
        source: source.into(),
        target,
        writable,
    })
}

/// `DST[:size=N]`: an empty in-memory file system of at most `size` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Guest path, absolute.
    pub target: PathBuf,
    /// Limit in bytes; the sandbox's default if `None`.
    pub size: Option<u64>,
}

/// Parses [`Tmpfs`].
pub fn tmpfs(text: &str) -> Result<Tmpfs, String> {
    let (target, size) = match text.split_once(':') {
        None => (text, None),
        Some((target, option)) => {
            let n = option.strip_prefix("size=").ok_or("write DST[:size=N]")?;
            (target, Some(bytes(n)?))
        }
    };
    if !target.starts_with('/') {
        return Err("the path inside must be absolute".into());
    }
    Ok(Tmpfs {
        target: target.into(),
        size,
    })
}

/// A positive number of bytes with an optional suffix k, m, g or t (powers of 1024).
pub fn bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is not a size (examples: 65536, 64k, 512m, 2g)");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text
        .get(digits.len()..)
        .unwrap_or("")
        .to_ascii_lowercase()
        .as_str()
    {
        "" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(bad()),
    };
    let n: u64 = digits.parse().map_err(|_| bad())?;
    n.checked_mul(1 << shift).filter(|n| *n > 0).ok_or_else(bad)
}

/// Least memory that a sandbox does anything in: Cofferdam's own processes count.
const LEAST_MEMORY: u64 = 32 << 20;

/// [`bytes`], as many as a sandbox needs.
pub fn memory(text: &str) -> Result<u64, String> {
    let n = bytes(text)?;
    if n < LEAST_MEMORY {
        return Err(format!(
            "a sandbox needs at least {}m, part of it for Cofferdam itself",
            LEAST_MEMORY >> 20
        ));
    }
    Ok(n)
}

/// A positive number of tasks.
pub fn tasks(text: &str) -> Result<u64, String> {
    let n = text.parse().ok().filter(|n| *n > 0);
    n.ok_or_else(|| format!("'{text}' is not a number of tasks (at least 1)"))
}

/// A positive number of seconds, with a fraction if need be, or of minutes or hours with a suffix.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is not a time (examples: 10, 0.5, 90s, 5m, 1h)");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or("") {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let n: f64 = digits.parse().map_err(|_| bad())?;
    match Duration::try_from_secs_f64(n * unit) {
        // A hundred years: what is added to a clock must not overflow it.
        Ok(d) if !d.is_zero() && d.as_secs() < 3_153_600_000 => Ok(d),
        _ => Err(bad()),
    }
}

/// Who the program runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// `UID[:GID]`; the group is the user's number if not given.
    Ids(u32, u32),
    /// `USER[:GROUP]`, at least one of them a name in the guest's /etc/passwd or /etc/group.
    Name(String),
}

/// Parses [`User`].
pub fn user(text: &str) -> Result<User, String> {
    let id = |s: &str| match s.parse::<u32>() {
        Ok(n) if n != u32::MAX => Ok(n),
        _ => Err(format!("'{s}' is not a user or group number")),
    };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let number = |s: &str| s.starts_with(|c: char| c.is_ascii_digit());
    if number(user) {
        let uid = id(user)?;
        if group.is_none_or(number) {
            return Ok(User::Ids(uid, group.map_or(Ok(uid), id)?));
        }
    }
    if let Some(group) = group.filter(|g| number(g)) {
        id(group)?;
    }
    let bad = |s: &str| s.is_empty() || s.contains([':', '\n', '/']);
    if bad(user) || group.is_some_and(bad) {
        return Err("write UID[:GID], or names of a user and a group: USER[:GROUP]".into());
    }
    Ok(User::Name(text.to_owned()))
}

/// `K=V` for the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvVar {
    /// Not empty, without `=`.
    pub key: OsString,
    /// Anything.
    pub value: OsString,
}

/// Parses [`EnvVar`] from any bytes.
pub fn env_var(text: &std::ffi::OsStr) -> Result<EnvVar, String> {
    let bytes = text.as_bytes();
    match bytes.iter().position(|b| *b == b'=') {
        None | Some(0) => Err("write NAME=VALUE".into()),
        Some(at) => {
            let (key, value) = bytes.split_at(at);
            Ok(EnvVar {
                key: OsString::from_vec(key.to_vec()),
                value: OsString::from_vec(value.get(1..).unwrap_or(&[]).to_vec()),
            })
        }
    }
}

/// A name for uname(2): 1 to 64 bytes without control characters.
pub fn hostname(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
        return Err("a host name has 1 to 64 bytes".into());
    }
    Ok(text.to_owned())
}

/// Parses a level of the log.
pub fn log_level(text: &str) -> Result<log::LevelFilter, String> {
    text.parse()
        .map_err(|_| "write off, error, warn, info, debug or trace".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds() {
        let b = |s, t: Option<&str>, w| Bind {
            source: PathBuf::from(s),
            target: t.map(PathBuf::from),
            writable: w,
        };
        assert_eq!(bind("/a"), Ok(b("/a", None, false)));
        assert_eq!(bind("a:rw"), Ok(b("a", None, true)));
        assert_eq!(bind("/a:/b"), Ok(b("/a", Some("/b"), false)));
        assert_eq!(bind("/a:/b:rw"), Ok(b("/a", Some("/b"), true)));
        assert_eq!(bind("/a:/b:ro"), Ok(b("/a", Some("/b"), false)));
        assert_eq!(bind("rw"), Ok(b("rw", None, false)));
        for bad in ["", ":/b", "/a:b", "/a:/b:/c", "/a:/b:rx", "/a:/b:ro:rw"] {
            assert!(bind(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_tmpfs() {
        assert_eq!(bytes("64k"), Ok(65536));
        assert_eq!(bytes("2G"), Ok(2 << 30));
        for bad in ["", "0", "-1", "k", "1x", "99999999999t"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(
            tmpfs("/x:size=1m"),
            Ok(Tmpfs {
                target: "/x".into(),
                size: Some(1 << 20)
            })
        );
        assert!(tmpfs("x").is_err() && tmpfs("/x:mode=7").is_err());
    }

    #[test]
    fn limits() {
        assert_eq!(memory("1g"), Ok(1 << 30));
        assert!(memory("1m").is_err());
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "0", "-1", "s", "1d", "1e99", "inf", "nan"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn users() {
        assert_eq!(user("7"), Ok(User::Ids(7, 7)));
        assert_eq!(user("7:8"), Ok(User::Ids(7, 8)));
        assert_eq!(user("www-data"), Ok(User::Name("www-data".into())));
        for named in ["www-data:audio", "www-data:7", "7:audio"] {
            assert_eq!(user(named), Ok(User::Name(named.into())));
        }
        for bad in [
            "",
            "7:",
            "4294967295",
            "a:",
            ":b",
            "a:4294967295",
            "a:b:c",
            "7x",
        ] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn environment() {
        assert_eq!(
            env_var("A=b=c".as_ref()),
            Ok(EnvVar {
                key: "A".into(),
                value: "b=c".into()
            })
        );
        assert!(env_var("=x".as_ref()).is_err() && env_var("x".as_ref()).is_err());
    }
}
