//! IPPROTO_TCP options (tcp(7)).

use super::{Phase, TcpSocket};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::net::options::{from_int, int};
use crate::vfs::Caller;
use std::collections::HashMap;

/// Maximum segment size over loopback: its MTU less headers and timestamps.
const MSS: i32 = 32741;
/// And before there is a connection.
const DEFAULT_MSS: i32 = 536;

const TCP_FASTOPEN_CONNECT: i32 = 30;
const TCP_ULP: i32 = 31;
const TCP_FASTOPEN_NO_COOKIE: i32 = 34;
const TCP_INQ: i32 = 36;
const TCP_TX_DELAY: i32 = 37;
const TCP_RTO_MAX_MS: i32 = 44;
const TCP_RTO_MIN_US: i32 = 45;
/// Least TCP_WINDOW_CLAMP: half the least SO_RCVBUF.
const MIN_CLAMP: i32 = 1152;

/// Integer options: name, value of a new socket, least and greatest value.
static PLAIN: &[(i32, i32, i32, i32)] = &[
    (libc::TCP_NODELAY, 0, i32::MIN, i32::MAX),
    (libc::TCP_CORK, 0, i32::MIN, i32::MAX),
    (libc::TCP_KEEPIDLE, 7200, 1, 32767),
    (libc::TCP_KEEPINTVL, 75, 1, 32767),
    (libc::TCP_KEEPCNT, 9, 1, 127),
    (libc::TCP_SYNCNT, 6, 1, 127),
    (libc::TCP_LINGER2, 60, i32::MIN, i32::MAX),
    (libc::TCP_DEFER_ACCEPT, 0, i32::MIN, i32::MAX),
    (libc::TCP_WINDOW_CLAMP, 0, i32::MIN, i32::MAX),
    (libc::TCP_QUICKACK, 1, i32::MIN, i32::MAX),
    (libc::TCP_USER_TIMEOUT, 0, 0, i32::MAX),
    (libc::TCP_FASTOPEN, 0, 0, i32::MAX),
    (libc::TCP_TIMESTAMP, 0, i32::MIN, i32::MAX),
    (libc::TCP_NOTSENT_LOWAT, 0, i32::MIN, i32::MAX),
    (libc::TCP_SAVE_SYN, 0, 0, 2),
    (libc::TCP_THIN_LINEAR_TIMEOUTS, 0, 0, 1),
    (libc::TCP_THIN_DUPACK, 0, 0, 1),
    (TCP_FASTOPEN_CONNECT, 0, 0, 1),
    (TCP_FASTOPEN_NO_COOKIE, 0, 0, 1),
    (TCP_INQ, 0, 0, 1),
    (TCP_TX_DELAY, 0, 0, (1 << 28) - 1),
    (TCP_RTO_MAX_MS, 120_000, 1000, 120_000),
    (TCP_RTO_MIN_US, 200_000, 1, 1_000_000),
];

/// Options that are kept and given back; without packets they change nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct TcpOptions {
    values: HashMap<i32, i32>,
    maxseg: i32,
    congestion: Option<&'static str>,
}

impl TcpOptions {
    fn value(&self, name: i32) -> i64 {
        let default = PLAIN.iter().find(|p| p.0 == name).map_or(0, |p| p.1);
        i64::from(self.values.get(&name).copied().unwrap_or(default))
    }
    /// Nanoseconds until a connection request that nobody answers fails (tcp_write_timeout).
    pub fn patience(&self) -> u64 {
        let (retries, limit) = (
            self.value(libc::TCP_SYNCNT),
            self.value(libc::TCP_USER_TIMEOUT),
        );
        request_time(retries, limit)
            .unsigned_abs()
            .saturating_mul(1_000_000)
    }
    /// Whether an integer option is on.
    pub fn on(&self, name: i32) -> bool {
        self.values.get(&name).copied().unwrap_or(0) != 0
    }
}

/// `net.ipv4.tcp_available_congestion_control`.
static CONGESTION: &[&str] = &["cubic", "reno"];

impl TcpSocket {
    pub(super) fn tcp_option(&self, name: i32) -> Result<Vec<u8>> {
        let connected = matches!(self.state.lock().phase, Phase::Established);
        let o = self.options.lock().clone();
        Ok(match name {
            libc::TCP_MAXSEG => from_int(match (connected, o.maxseg) {
                (true, 0) => MSS,
                (true, n) => n.min(MSS),
                (false, 0) => DEFAULT_MSS,
                (false, n) => n,
            }),
            libc::TCP_CONGESTION => {
                let mut v = o.congestion.unwrap_or("cubic").as_bytes().to_vec();
                v.resize(16, 0);
                v
            }
            libc::TCP_INFO => self.info(connected),
            libc::TCP_CC_INFO | TCP_ULP => Vec::new(),
            libc::TCP_SAVED_SYN => Vec::new(),
            libc::TCP_REPAIR => from_int(0),
            // Only in repair mode.
            libc::TCP_REPAIR_QUEUE | libc::TCP_QUEUE_SEQ => return Err(Errno::EINVAL),
            libc::TCP_TIMESTAMP => {
                let ms = crate::time::Instant::now().0 / 1_000_000;
                from_int((ms & 0x7fff_ffff) as i32)
            }
            _ => {
                let plain = PLAIN.iter().find(|p| p.0 == name);
                let default = plain.ok_or(Errno::ENOPROTOOPT)?.1;
                from_int(o.values.get(&name).copied().unwrap_or(default))
            }
        })
    }

    pub(super) fn set_tcp_option(&self, cx: &dyn Caller, name: i32, value: &[u8]) -> Result<()> {
        match name {
            libc::TCP_CONGESTION => {
                let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
                let asked = value.get(..end.min(15)).unwrap_or(&[]);
                if asked.is_empty() {
                    return Err(Errno::EINVAL);
                }
                let known = CONGESTION.iter().find(|c| c.as_bytes() == asked);
                self.options.lock().congestion = Some(*known.ok_or(Errno::ENOENT)?);
                return Ok(());
            }
            TCP_ULP => return Err(Errno::ENOENT),
            _ => {}
        }
        let n = int(value)?;
        match name {
            libc::TCP_MAXSEG => {
                if n != 0 && !(88..=32767).contains(&n) {
                    return Err(Errno::EINVAL);
                }
                self.options.lock().maxseg = n;
                return Ok(());
            }
            libc::TCP_REPAIR => {
                let admin = self
                    .core
                    .namespace
                    .allows(cx.credentials(), Caps::NET_ADMIN);
                return match n {
                    _ if !admin => Err(Errno::EPERM),
                    0 | -1 => Ok(()),
                    1 => Err(Errno::EOPNOTSUPP),
                    _ => Err(Errno::EINVAL),
                };
            }
            // Only in repair mode, which there is not.
            libc::TCP_REPAIR_QUEUE | libc::TCP_TIMESTAMP => return Err(Errno::EPERM),
            libc::TCP_REPAIR_OPTIONS | libc::TCP_QUEUE_SEQ => return Err(Errno::EINVAL),
            libc::TCP_FASTOPEN
                if !matches!(
                    self.state.lock().phase,
                    Phase::Closed | Phase::Listening { .. }
                ) =>
            {
                return Err(Errno::EINVAL);
            }
            _ => {}
        }
        let plain = PLAIN.iter().find(|p| p.0 == name);
        let (_, _, min, max) = *plain.ok_or(Errno::ENOPROTOOPT)?;
        if n < min || n > max {
            return Err(Errno::EINVAL);
        }
        let kept = match name {
            libc::TCP_NODELAY | libc::TCP_CORK | libc::TCP_QUICKACK => i32::from(n != 0),
            // Thin streams have no options of their own any more.
            libc::TCP_THIN_DUPACK => 0,
            libc::TCP_DEFER_ACCEPT => defer_seconds(n),
            libc::TCP_WINDOW_CLAMP if n != 0 => n.max(MIN_CLAMP),
            libc::TCP_FASTOPEN => n.min(4096),
            libc::TCP_LINGER2 if n < 0 => -1,
            libc::TCP_LINGER2 if n > 120 => 120,
            libc::TCP_LINGER2 if n == 0 => 60,
            _ => n,
        };
        self.options.lock().values.insert(name, kept);
        if name == libc::TCP_CORK && kept == 0 || name == libc::TCP_NODELAY && kept != 0 {
            self.uncork();
        }
        Ok(())
    }

    /// `struct tcp_info`.
    fn info(&self, connected: bool) -> Vec<u8> {
        let mut v = vec![0u8; 248];
        let s = self.state.lock();
        let state = u32::from(s.number());
        let mut set = |at: usize, value: u32| {
            if let Some(f) = v.get_mut(at..at + 4) {
                f.copy_from_slice(&value.to_ne_bytes());
            }
        };
        // tcpi_state, tcpi_ca_state, tcpi_retransmits, tcpi_probes.
        set(0, state);
        // tcpi_backoff, tcpi_options (timestamps, SACK, window scaling), both window scales.
        if connected {
            set(4, u32::from_ne_bytes([0, 7, 0x77, 0]));
        }
        let mss = if connected { MSS } else { DEFAULT_MSS }.cast_unsigned();
        set(8, 201_000); // tcpi_rto, microseconds
        set(12, 40_000); // tcpi_ato
        set(16, mss); // tcpi_snd_mss
        set(20, if connected { mss } else { 0 }); // tcpi_rcv_mss
        if let Phase::Listening {
            backlog, pending, ..
        } = &s.phase
        {
            set(24, u32::try_from(pending.len()).unwrap_or(0)); // tcpi_unacked
            set(28, u32::try_from(*backlog).unwrap_or(0)); // tcpi_sacked
        }
        set(60, 65535); // tcpi_pmtu
        set(64, 65476); // tcpi_rcv_ssthresh
        set(68, 30); // tcpi_rtt, microseconds
        set(72, 15); // tcpi_rttvar
        set(76, i32::MAX.cast_unsigned()); // tcpi_snd_ssthresh
        set(80, 10); // tcpi_snd_cwnd
        set(84, mss); // tcpi_advmss
        set(88, 3); // tcpi_reordering
        v
    }
}

/// TCP_DEFER_ACCEPT counts in retransmissions, whose intervals double up to two minutes (secs_to_retrans).
fn defer_seconds(seconds: i32) -> i32 {
    if seconds <= 0 {
        return 0;
    }
    let (mut period, mut interval) = (1i32, 1i32);
    let mut count = 1;
    while seconds > period && count < 255 {
        count += 1;
        interval = (interval * 2).min(120);
        period += interval;
    }
    period
}

/// Milliseconds: when a request that was sent again so often has failed, or after `limit` if that is not 0. The first intervals are
/// of a second (`net.ipv4.tcp_syn_linear_timeouts`), then they double up to two minutes.
fn request_time(retries: i64, limit: i64) -> i64 {
    const LINEAR: i64 = 4;
    const LONGEST: i64 = 120_000;
    // As long as it would take if none were equal (tcp_model_timeout).
    let model = (2000i64 << retries.clamp(0, 6)) - 1000 + (retries - 6).max(0) * LONGEST;
    let end = if limit == 0 { model } else { limit };
    let (mut time, mut interval, mut again) = (0, 1000, 0);
    loop {
        time += if limit == 0 || again == 0 {
            interval
        } else {
            interval.min((limit - time).max(1))
        };
        if again >= retries + LINEAR || again > 0 && time >= end {
            return time;
        }
        again += 1;
        if again > LINEAR {
            interval = (interval * 2).min(LONGEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fail_after_a_while() {
        let seconds = [1, 2, 3, 4, 5, 6, 7].map(|n| request_time(n, 0) / 1000);
        assert_eq!(seconds, [3, 7, 19, 35, 67, 131, 251]);
        let limited = [1, 1500, 10_000].map(|limit| request_time(6, limit));
        assert_eq!(limited, [1001, 1500, 10_000]);
        assert_eq!(request_time(1, 10_000), 7000);
    }
}
