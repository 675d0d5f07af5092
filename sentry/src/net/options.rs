//! SOL_SOCKET options (socket(7)).

use super::filter::{Filter, Insn};
use super::socket::{SockType, Socket};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::sync::{Events, Mutex, Rank};
use crate::usermem::UserPtr;
use crate::vfs::Caller;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::IntoBytes;

/// `net.core.wmem_default` and `rmem_default`.
pub const DEFAULT_BUF: usize = 212_992;
/// `net.core.wmem_max` and `rmem_max`.
pub const MAX_BUF: usize = 212_992;
/// `net.core.somaxconn`.
pub const MAX_BACKLOG: usize = 4096;
/// Most that SO_SNDBUFFORCE and SO_RCVBUFFORCE give; Linux has no such limit.
/// Most that SO_RCVLOWAT asks of TCP: half of what its receive buffer can grow to.
const MAX_LOWAT: usize = 6_291_456 / 2;
const FORCED_MAX_BUF: usize = 8 << 20;
/// SOCK_MIN_SNDBUF, SOCK_MIN_RCVBUF.
const MIN_SNDBUF: usize = 4608;
const MIN_RCVBUF: usize = 2304;

// Options whose numbers the libc crate lacks for this target.
const SO_NO_CHECK: i32 = 11;
const SO_BSDCOMPAT: i32 = 14;
const SO_PEERGROUPS: i32 = 59;
const SO_RCVTIMEO_NEW: i32 = 66;
const SO_SNDTIMEO_NEW: i32 = 67;
const SO_TIMESTAMP_NEW: i32 = 63;
const SO_TIMESTAMPNS_NEW: i32 = 64;
const SO_NETNS_COOKIE: i32 = 71;
const SO_BINDTOIFINDEX: i32 = 62;
const SO_PEERPIDFD: i32 = 77;
const SO_PASSPIDFD: i32 = 76;
const SO_PASSRIGHTS: i32 = 83;
const SO_MEMINFO: i32 = 55;
const SO_TXREHASH: i32 = 74;

/// Options that are kept and given back, since nothing here depends on them: name, first value, what they may be.
/// SO_WIFI_STATUS, SO_NOFCS, SO_SELECT_ERR_QUEUE, SO_BUSY_POLL, SO_INCOMING_CPU, SO_PREFER_BUSY_POLL, SO_BUF_LOCK,
/// SO_RCVMARK, SO_RCVPRIORITY.
const KEPT: &[(i32, i32, Kept)] = &[
    (libc::SO_WIFI_STATUS, 0, Kept::Bool),
    (libc::SO_NOFCS, 0, Kept::Bool),
    (libc::SO_SELECT_ERR_QUEUE, 0, Kept::Bool),
    (libc::SO_BUSY_POLL, 0, Kept::Positive),
    (libc::SO_INCOMING_CPU, -1, Kept::Any),
    (69, 0, Kept::Bool),
    (72, 0, Kept::Upto(3)),
    (75, 0, Kept::Bool),
    (82, 0, Kept::Bool),
];

/// What a kept option may be.
#[derive(Clone, Copy)]
enum Kept {
    Any,
    /// 0 or 1.
    Bool,
    /// EINVAL if negative.
    Positive,
    /// From 0 to this.
    Upto(i32),
}

/// What SO_TIMESTAMP and SO_TIMESTAMPNS ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stamp {
    None,
    Micro,
    Nano,
}

/// Values of the shared options.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Values {
    pub sndbuf: usize,
    /// SO_SNDBUF was set (SOCK_SNDBUF_LOCK).
    pub sndbuf_set: bool,
    pub rcvbuf: usize,
    pub rcvlowat: usize,
    /// Nanoseconds.
    pub rcvtimeo: Option<u64>,
    pub sndtimeo: Option<u64>,
    pub reuseaddr: bool,
    pub reuseport: bool,
    pub keepalive: bool,
    pub broadcast: bool,
    pub oobinline: bool,
    pub dontroute: bool,
    pub debug: bool,
    pub no_check: bool,
    /// Seconds.
    pub linger: Option<u32>,
    pub linger_time: u32,
    pub passcred: bool,
    /// SO_PASSPIDFD.
    pub passpidfd: bool,
    /// SO_PASSRIGHTS.
    pub passrights: bool,
    pub passsec: bool,
    pub stamp: Stamp,
    pub priority: i32,
    pub mark: u32,
    pub rxq_ovfl: bool,
    pub peek_off: i32,
    pub zerocopy: bool,
    pub pacing: u64,
    pub device: Vec<u8>,
    /// SO_ATTACH_FILTER.
    pub filter: Option<Arc<Filter>>,
    pub filter_locked: bool,
    /// SO_TIMESTAMPING.
    pub timestamping: i32,
    /// Values of [`KEPT`].
    kept: HashMap<i32, i32>,
}

/// The options of one socket.
#[derive(Debug)]
pub struct Options {
    values: Mutex<Values>,
    cookie: AtomicU64,
}

static NEXT_COOKIE: AtomicU64 = AtomicU64::new(1);

impl Options {
    /// Defaults, with these buffer sizes.
    pub fn new(sndbuf: usize, rcvbuf: usize) -> Options {
        Options {
            values: Mutex::new(
                Rank::LEAF,
                Values {
                    sndbuf,
                    sndbuf_set: false,
                    rcvbuf,
                    rcvlowat: 1,
                    rcvtimeo: None,
                    sndtimeo: None,
                    reuseaddr: false,
                    reuseport: false,
                    keepalive: false,
                    broadcast: false,
                    oobinline: false,
                    dontroute: false,
                    debug: false,
                    no_check: false,
                    linger: None,
                    linger_time: 0,
                    passcred: false,
                    passpidfd: false,
                    passrights: true,
                    passsec: false,
                    stamp: Stamp::None,
                    priority: 0,
                    mark: 0,
                    rxq_ovfl: false,
                    peek_off: -1,
                    zerocopy: false,
                    pacing: u64::MAX,
                    device: Vec::new(),
                    filter: None,
                    filter_locked: false,
                    timestamping: 0,
                    kept: HashMap::new(),
                },
            ),
            cookie: AtomicU64::new(0),
        }
    }
    /// The same values for an accepted socket.
    pub fn inherit(&self, from: &Options) {
        let v = from.get();
        *self.values.lock() = v;
    }
    /// All values.
    pub fn get(&self) -> Values {
        self.values.lock().clone()
    }
    /// Reads or changes values.
    pub fn with<R>(&self, f: impl FnOnce(&mut Values) -> R) -> R {
        f(&mut self.values.lock())
    }
    /// How long a call may wait for `events`.
    pub fn wait_limit(&self, events: Events) -> Option<u64> {
        let v = self.values.lock();
        if events.intersects(Events::OUT) {
            v.sndtimeo
        } else {
            v.rcvtimeo
        }
    }
}

/// An `int` option value.
///
/// # Errors
/// EINVAL if it is shorter than an int.
pub fn int(value: &[u8]) -> Result<i32> {
    let raw: [u8; 4] = value
        .get(..4)
        .and_then(|b| b.try_into().ok())
        .ok_or(Errno::EINVAL)?;
    Ok(i32::from_ne_bytes(raw))
}

fn long_pair(value: &[u8]) -> Result<[i64; 2]> {
    let mut out = [0i64; 2];
    out.as_mut_bytes()
        .copy_from_slice(value.get(..16).ok_or(Errno::EINVAL)?);
    Ok(out)
}

/// The bytes of an `int` option.
pub fn from_int(v: i32) -> Vec<u8> {
    v.to_ne_bytes().to_vec()
}

fn from_bool(v: bool) -> Vec<u8> {
    from_int(i32::from(v))
}

fn from_size(v: usize) -> Vec<u8> {
    from_int(i32::try_from(v).unwrap_or(i32::MAX))
}

fn from_timeout(ns: Option<u64>) -> Vec<u8> {
    let ns = ns.unwrap_or(0);
    [ns / 1_000_000_000, ns % 1_000_000_000 / 1000]
        .as_bytes()
        .to_vec()
}

/// sock_set_timeout of net/core/sock.c.
fn timeout(value: &[u8]) -> Result<Option<u64>> {
    let [sec, usec] = long_pair(value)?;
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM);
    }
    Ok(match (sec, usec) {
        (0, 0) => None,
        (i64::MIN..=-1, _) => Some(0),
        _ => Some(
            sec.cast_unsigned()
                .saturating_mul(1_000_000_000)
                .saturating_add(usec.cast_unsigned() * 1000),
        ),
    })
}

/// getsockopt(2) at SOL_SOCKET.
///
/// # Errors
/// ENOPROTOOPT.
pub fn get(socket: &dyn Socket, cx: &dyn Caller, name: i32) -> Result<Vec<u8>> {
    let v = socket.common().options.get();
    Ok(match name {
        libc::SO_DEBUG => from_bool(v.debug),
        libc::SO_REUSEADDR => from_bool(v.reuseaddr),
        libc::SO_REUSEPORT => from_bool(v.reuseport),
        libc::SO_TYPE => from_int(socket.sock_type().raw()),
        libc::SO_PROTOCOL => from_int(socket.protocol()),
        libc::SO_DOMAIN => from_int(socket.domain()),
        libc::SO_ERROR => from_int(socket.common().take_error().map_or(0, Errno::raw)),
        libc::SO_DONTROUTE => from_bool(v.dontroute),
        libc::SO_BROADCAST => from_bool(v.broadcast),
        libc::SO_SNDBUF => from_size(v.sndbuf),
        libc::SO_RCVBUF => from_size(v.rcvbuf),
        libc::SO_KEEPALIVE => from_bool(v.keepalive),
        libc::SO_OOBINLINE => from_bool(v.oobinline),
        SO_NO_CHECK => from_bool(v.no_check),
        libc::SO_PRIORITY => from_int(v.priority),
        libc::SO_LINGER => [i32::from(v.linger.is_some()), v.linger_time.cast_signed()]
            .as_bytes()
            .to_vec(),
        SO_BSDCOMPAT => from_int(0),
        libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW => from_bool(v.stamp == Stamp::Micro),
        libc::SO_TIMESTAMPNS | SO_TIMESTAMPNS_NEW => from_bool(v.stamp == Stamp::Nano),
        libc::SO_TIMESTAMPING => [v.timestamping, 0].as_bytes().to_vec(),
        libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW => from_timeout(v.rcvtimeo),
        libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW => from_timeout(v.sndtimeo),
        libc::SO_RCVLOWAT => from_size(v.rcvlowat),
        libc::SO_SNDLOWAT => from_int(1),
        libc::SO_PASSCRED | libc::SO_PASSSEC | SO_PASSPIDFD | SO_PASSRIGHTS
            if !matches!(socket.domain(), libc::AF_UNIX | libc::AF_NETLINK) =>
        {
            return Err(Errno::EOPNOTSUPP);
        }
        libc::SO_PASSCRED => from_bool(v.passcred),
        SO_PASSPIDFD => from_bool(v.passpidfd),
        SO_PASSRIGHTS => from_bool(v.passrights),
        libc::SO_PEERCRED => socket
            .peer_credentials()?
            .cred
            .seen_by(cx)
            .as_bytes()
            .to_vec(),
        libc::SO_PEERNAME => socket.peer_name()?,
        libc::SO_ACCEPTCONN => from_bool(socket.listening()),
        libc::SO_PASSSEC => from_bool(v.passsec),
        libc::SO_MARK => from_int(v.mark.cast_signed()),
        libc::SO_RXQ_OVFL => from_bool(v.rxq_ovfl),
        libc::SO_PEEK_OFF if has_peek_off(socket) => from_int(v.peek_off),
        libc::SO_BINDTODEVICE => {
            let mut d = v.device;
            if !d.is_empty() {
                d.push(0);
            }
            d
        }
        SO_BINDTOIFINDEX => {
            let name = std::str::from_utf8(&v.device).unwrap_or("");
            let i = socket.namespace().interfaces.by_name(name);
            from_int(i.map_or(0, |i| i.index().cast_signed()))
        }
        libc::SO_LOCK_FILTER => from_bool(v.filter_locked),
        // The number of instructions comes back by another way (see getsockopt).
        libc::SO_GET_FILTER => v
            .filter
            .as_ref()
            .map_or_else(Vec::new, |f| f.program().as_bytes().to_vec()),
        // SKF_AD_MAX.
        libc::SO_BPF_EXTENSIONS => from_int(64),
        // SO_INCOMING_NAPI_ID, SO_RESERVE_MEM.
        56 | 73 => from_int(0),
        SO_MEMINFO => {
            let sizes = [0, v.rcvbuf, 0, v.sndbuf, 0, 0, 0, 0, 0];
            sizes.into_iter().flat_map(from_size).collect()
        }
        SO_TXREHASH if socket.protocol() == libc::IPPROTO_TCP => from_int(1),
        SO_TXREHASH => return Err(Errno::EOPNOTSUPP),
        _ if KEPT.iter().any(|k| k.0 == name) => {
            let default = KEPT.iter().find(|k| k.0 == name).map_or(0, |k| k.1);
            from_int(v.kept.get(&name).copied().unwrap_or(default))
        }
        libc::SO_ZEROCOPY => from_bool(v.zerocopy),
        libc::SO_MAX_PACING_RATE => v.pacing.as_bytes().to_vec(),
        libc::SO_COOKIE => cookie(&socket.common().options).as_bytes().to_vec(),
        SO_NETNS_COOKIE => socket.namespace().cookie.as_bytes().to_vec(),
        SO_PEERGROUPS => socket.peer_groups(cx)?,
        SO_PEERPIDFD if socket.domain() != libc::AF_UNIX => return Err(Errno::ENODATA),
        _ => return socket.option(cx, libc::SOL_SOCKET, name),
    })
}

/// SO_COOKIE.
pub(super) fn cookie(o: &Options) -> u64 {
    match o.cookie.load(Ordering::Relaxed) {
        0 => {
            let new = NEXT_COOKIE.fetch_add(1, Ordering::Relaxed);
            match o
                .cookie
                .compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => new,
                Err(old) => old,
            }
        }
        c => c,
    }
}

fn buffer_size(value: i32, max: usize, min: usize) -> usize {
    // Linux compares as unsigned: a negative size is the largest.
    let asked = usize::try_from(value.cast_unsigned())
        .unwrap_or(max)
        .min(max);
    (asked * 2).max(min)
}

/// setsockopt(2) at SOL_SOCKET.
///
/// # Errors
/// EINVAL, EPERM, EDOM, ENOPROTOOPT.
pub fn set(socket: &dyn Socket, cx: &dyn Caller, name: i32, value: &[u8]) -> Result<()> {
    let options = &socket.common().options;
    // Rights over the network namespace that the socket is of.
    let has = |cap| socket.namespace().allows(cx.credentials(), cap);
    let admin = || has(Caps::NET_ADMIN);
    // What takes from the whole machine is its administrator's alone (sockopt_capable).
    let real_admin = || cx.credentials().has(Caps::NET_ADMIN);
    match name {
        libc::SO_BINDTODEVICE => {
            let n = value.iter().position(|b| *b == 0).unwrap_or(value.len());
            let device = value.get(..n.min(15)).unwrap_or(&[]).to_vec();
            if !options.with(|v| v.device.is_empty()) && !has(Caps::NET_RAW) {
                return Err(Errno::EPERM);
            }
            let known = std::str::from_utf8(&device)
                .is_ok_and(|d| socket.namespace().interfaces.by_name(d).is_some());
            if !device.is_empty() && !known {
                return Err(Errno::ENODEV);
            }
            options.with(|v| v.device = device);
            return Ok(());
        }
        libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW => {
            let t = timeout(value)?;
            options.with(|v| v.rcvtimeo = t);
            return Ok(());
        }
        libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW => {
            let t = timeout(value)?;
            options.with(|v| v.sndtimeo = t);
            return Ok(());
        }
        libc::SO_LINGER => {
            let on = int(value)?;
            let secs = int(value.get(4..).unwrap_or(&[]))?.cast_unsigned();
            options.with(|v| {
                v.linger = (on != 0).then_some(secs);
                if on != 0 {
                    v.linger_time = secs;
                }
            });
            return Ok(());
        }
        libc::SO_ATTACH_FILTER => return attach_filter(socket, cx, value),
        libc::SO_ATTACH_BPF | libc::SO_ATTACH_REUSEPORT_CBPF | libc::SO_ATTACH_REUSEPORT_EBPF => {
            static SAID: std::sync::Once = std::sync::Once::new();
            SAID.call_once(|| {
                log::warn!("not implemented: socket filters; the guest got EOPNOTSUPP")
            });
            return Err(Errno::EOPNOTSUPP);
        }
        _ => {}
    }
    if name == libc::SO_DETACH_FILTER {
        int(value)?;
        return options.with(|v| {
            if v.filter_locked {
                return Err(Errno::EPERM);
            }
            v.filter.take().map(drop).ok_or(Errno::ENOENT)
        });
    }
    let n = int(value)?;
    let on = n != 0;
    match name {
        libc::SO_DEBUG if on && !real_admin() => return Err(Errno::EACCES),
        libc::SO_DEBUG => options.with(|v| v.debug = on),
        libc::SO_REUSEADDR => options.with(|v| v.reuseaddr = on),
        libc::SO_REUSEPORT => {
            if on && !matches!(socket.domain(), libc::AF_INET | libc::AF_INET6) {
                return Err(Errno::EOPNOTSUPP);
            }
            options.with(|v| v.reuseport = on);
        }
        libc::SO_DONTROUTE => options.with(|v| v.dontroute = on),
        libc::SO_BROADCAST => options.with(|v| v.broadcast = on),
        libc::SO_SNDBUF => options.with(|v| {
            v.sndbuf = buffer_size(n, MAX_BUF, MIN_SNDBUF);
            v.sndbuf_set = true;
        }),
        libc::SO_RCVBUF => options.with(|v| v.rcvbuf = buffer_size(n, MAX_BUF, MIN_RCVBUF)),
        libc::SO_SNDBUFFORCE | libc::SO_RCVBUFFORCE if !real_admin() => {
            return Err(Errno::EPERM);
        }
        libc::SO_SNDBUFFORCE => {
            options.with(|v| {
                v.sndbuf = buffer_size(n.max(0), FORCED_MAX_BUF, MIN_SNDBUF);
                v.sndbuf_set = true;
            });
        }
        libc::SO_RCVBUFFORCE => {
            options.with(|v| v.rcvbuf = buffer_size(n.max(0), FORCED_MAX_BUF, MIN_RCVBUF));
        }
        libc::SO_KEEPALIVE => options.with(|v| v.keepalive = on),
        libc::SO_OOBINLINE => options.with(|v| v.oobinline = on),
        SO_NO_CHECK => options.with(|v| v.no_check = on),
        libc::SO_PRIORITY => {
            if !(0..=6).contains(&n) && !admin() && !has(Caps::NET_RAW) {
                return Err(Errno::EPERM);
            }
            options.with(|v| v.priority = n);
        }
        SO_BSDCOMPAT => {}
        libc::SO_PASSCRED => {
            if socket.domain() != libc::AF_UNIX && socket.domain() != libc::AF_NETLINK {
                return Err(Errno::EOPNOTSUPP);
            }
            options.with(|v| v.passcred = on);
        }
        libc::SO_PASSSEC | SO_PASSPIDFD | SO_PASSRIGHTS
            if !matches!(socket.domain(), libc::AF_UNIX | libc::AF_NETLINK) =>
        {
            return Err(Errno::EOPNOTSUPP);
        }
        libc::SO_PASSSEC => options.with(|v| v.passsec = on),
        SO_PASSPIDFD => options.with(|v| v.passpidfd = on),
        SO_PASSRIGHTS => options.with(|v| v.passrights = on),
        libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW => {
            options.with(|v| v.stamp = if on { Stamp::Micro } else { Stamp::None });
        }
        libc::SO_TIMESTAMPNS | SO_TIMESTAMPNS_NEW => {
            options.with(|v| v.stamp = if on { Stamp::Nano } else { Stamp::None });
        }
        libc::SO_RCVLOWAT => {
            // 0 means 1, negative without bound.
            let low = match n {
                0 => 1,
                n => usize::try_from(n).unwrap_or(usize::MAX),
            };
            let most = if socket.protocol() == libc::IPPROTO_TCP {
                MAX_LOWAT
            } else {
                i32::MAX as usize
            };
            options.with(|v| v.rcvlowat = low.min(most));
        }
        libc::SO_MARK => {
            if !admin() && !has(Caps::NET_RAW) {
                return Err(Errno::EPERM);
            }
            options.with(|v| v.mark = n.cast_unsigned());
        }
        libc::SO_RXQ_OVFL => options.with(|v| v.rxq_ovfl = on),
        libc::SO_PEEK_OFF if has_peek_off(socket) => options.with(|v| v.peek_off = n),
        libc::SO_LOCK_FILTER => {
            if !on && options.with(|v| v.filter_locked) {
                return Err(Errno::EPERM);
            }
            options.with(|v| v.filter_locked = on);
        }
        libc::SO_TIMESTAMPING => {
            // SOF_TIMESTAMPING_MASK.
            if !(0..1 << 18).contains(&n) {
                return Err(Errno::EINVAL);
            }
            options.with(|v| v.timestamping = n);
        }
        SO_BINDTOIFINDEX => {
            if !options.with(|v| v.device.is_empty()) && !has(Caps::NET_RAW) {
                return Err(Errno::EPERM);
            }
            let index = u32::try_from(n).map_err(|_| Errno::EINVAL)?;
            let device = match index {
                0 => Vec::new(),
                i => {
                    let i = socket.namespace().interfaces.by_index(i);
                    i.ok_or(Errno::ENODEV)?.name().as_bytes().to_vec()
                }
            };
            options.with(|v| v.device = device);
        }
        // SO_CNX_ADVICE; SO_BUSY_POLL_BUDGET.
        53 => {}
        70 if !(0..=0xffff).contains(&n) => return Err(Errno::EINVAL),
        70 => {}
        // SO_RESERVE_MEM.
        73 => return Err(Errno::EOPNOTSUPP),
        SO_TXREHASH if socket.protocol() != libc::IPPROTO_TCP => return Err(Errno::EOPNOTSUPP),
        SO_TXREHASH if !(-1..=1).contains(&n) => return Err(Errno::EINVAL),
        SO_TXREHASH => {}
        _ if KEPT.iter().any(|k| k.0 == name) => {
            let kind = KEPT.iter().find(|k| k.0 == name).map_or(Kept::Any, |k| k.2);
            let value = match kind {
                Kept::Bool => i32::from(on),
                Kept::Positive if n < 0 => return Err(Errno::EINVAL),
                Kept::Upto(most) if !(0..=most).contains(&n) => return Err(Errno::EINVAL),
                Kept::Any | Kept::Positive | Kept::Upto(_) => n,
            };
            // Those who let the kernel poll longer take its time.
            let old = options.with(|v| v.kept.get(&name).copied().unwrap_or(0));
            if name == libc::SO_BUSY_POLL && n > old && !real_admin() {
                return Err(Errno::EPERM);
            }
            options.with(|v| v.kept.insert(name, value));
        }
        libc::SO_ZEROCOPY => {
            if socket.sock_type() != SockType::Stream && socket.sock_type() != SockType::Dgram
                || socket.domain() == libc::AF_UNIX
            {
                return Err(Errno::EOPNOTSUPP);
            }
            if !(0..=1).contains(&n) {
                return Err(Errno::EINVAL);
            }
            options.with(|v| v.zerocopy = on);
        }
        libc::SO_MAX_PACING_RATE => {
            options.with(|v| v.pacing = u64::from(n.cast_unsigned()));
        }
        _ => return socket.set_option(cx, libc::SOL_SOCKET, name, value),
    }
    socket.options_changed();
    Ok(())
}

/// Whether the socket has SO_PEEK_OFF.
fn has_peek_off(socket: &dyn Socket) -> bool {
    socket.domain() == libc::AF_UNIX
        || matches!(
            socket.protocol(),
            libc::IPPROTO_TCP | libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE
        ) && matches!(socket.domain(), libc::AF_INET | libc::AF_INET6)
}

/// SO_ATTACH_FILTER: a `struct sock_fprog`, number of instructions and their address.
fn attach_filter(socket: &dyn Socket, cx: &dyn Caller, value: &[u8]) -> Result<()> {
    if socket.sock_type() == SockType::Stream || socket.domain() == libc::AF_NETLINK {
        static SAID: std::sync::Once = std::sync::Once::new();
        SAID.call_once(|| {
            log::warn!("not implemented: filters of streams; the guest got EOPNOTSUPP");
        });
        return Err(Errno::EOPNOTSUPP);
    }
    let [first, address] = long_pair(value)?;
    let count = usize::from((first & 0xffff) as u16);
    if value.len() != 16 || count == 0 || count > 4096 {
        return Err(Errno::EINVAL);
    }
    if socket.common().options.with(|v| v.filter_locked) {
        return Err(Errno::EPERM);
    }
    let program: Vec<Insn> = cx
        .memory()
        .get_array(UserPtr::new(address.cast_unsigned()), count)?;
    let filter = Arc::new(Filter::new(program)?);
    socket.common().options.with(|v| v.filter = Some(filter));
    Ok(())
}
