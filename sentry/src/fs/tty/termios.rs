//! Terminal settings (`asm-generic/termbits.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags::bitflags! {
    /// c_iflag
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub struct Input: u32 {
        const IGNBRK = 0o1;
        const BRKINT = 0o2;
        const IGNPAR = 0o4;
        const PARMRK = 0o10;
        const INPCK = 0o20;
        const ISTRIP = 0o40;
        const INLCR = 0o100;
        const IGNCR = 0o200;
        const ICRNL = 0o400;
        const IUCLC = 0o1000;
        const IXON = 0o2000;
        const IXANY = 0o4000;
        const IXOFF = 0o10000;
        const IMAXBEL = 0o20000;
        const IUTF8 = 0o40000;
        const _ = !0;
    }
    /// c_oflag
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub struct Output: u32 {
        const OPOST = 0o1;
        const OLCUC = 0o2;
        const ONLCR = 0o4;
        const OCRNL = 0o10;
        const ONOCR = 0o20;
        const ONLRET = 0o40;
        /// TABDLY is a two-bit field; this value (TAB3) expands tabs.
        const XTABS = 0o14000;
        const _ = !0;
    }
    /// c_lflag
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub struct Local: u32 {
        const ISIG = 0o1;
        const ICANON = 0o2;
        const XCASE = 0o4;
        const ECHO = 0o10;
        const ECHOE = 0o20;
        const ECHOK = 0o40;
        const ECHONL = 0o100;
        const NOFLSH = 0o200;
        const TOSTOP = 0o400;
        const ECHOCTL = 0o1000;
        const ECHOPRT = 0o2000;
        const ECHOKE = 0o4000;
        const FLUSHO = 0o10000;
        const PENDIN = 0o40000;
        const IEXTEN = 0o100000;
        const EXTPROC = 0o200000;
        const _ = !0;
    }
}

/// Control characters, indices into `c_cc` (x86-64).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Cc {
    Intr = 0,
    Quit = 1,
    Erase = 2,
    Kill = 3,
    Eof = 4,
    Time = 5,
    Min = 6,
    Start = 8,
    Stop = 9,
    Susp = 10,
    Eol = 11,
    Reprint = 12,
    WErase = 14,
    LNext = 15,
    Eol2 = 16,
}

/// CBAUD | CBAUDEX: the coded output speed; BOTHER (0o10000) says that `ospeed` holds it.
const CBAUD: u32 = 0o10017;
const BOTHER: u32 = 0o10000;
/// Where the input speed is coded; B0 there means the output speed.
const IBSHIFT: u32 = 16;
const CSIZE: u32 = 0o60;
const CS8: u32 = 0o60;
const CREAD: u32 = 0o200;
const PARENB: u32 = 0o400;
const B38400: u32 = 0o17;
const CLOCAL: u32 = 0o4000;

/// The kernel's `struct termios2`; its first 36 bytes are `struct termios`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Termios {
    pub iflag: u32,
    pub oflag: u32,
    pub cflag: u32,
    pub lflag: u32,
    pub line: u8,
    pub cc: [u8; 19],
    pub ispeed: u32,
    pub ospeed: u32,
}

/// As cfmakeraw(3), on a `struct termios` as TCGETS gives it; other bits stay.
pub fn make_raw(termios: &mut [u8; TERMIOS_LEN]) {
    let input = Input::IGNBRK
        | Input::BRKINT
        | Input::PARMRK
        | Input::ISTRIP
        | Input::INLCR
        | Input::IGNCR
        | Input::ICRNL
        | Input::IXON;
    let local = Local::ECHO | Local::ECHONL | Local::ICANON | Local::ISIG | Local::IEXTEN;
    let cleared = [input.bits(), Output::OPOST.bits(), 0, local.bits()];
    for (word, bits) in termios.chunks_exact_mut(4).zip(cleared) {
        if let Ok(old) = <[u8; 4]>::try_from(&*word) {
            word.copy_from_slice(&(u32::from_le_bytes(old) & !bits).to_le_bytes());
        }
    }
    // Four words and the line discipline come before the control characters.
    let at = |c: Cc| 17 + c as usize;
    for (place, value) in [(at(Cc::Min), 1), (at(Cc::Time), 0)] {
        if let Some(byte) = termios.get_mut(place) {
            *byte = value;
        }
    }
}

/// Length of `struct termios`, which TCGETS and TCSETS move.
pub const TERMIOS_LEN: usize = 36;

impl Default for Termios {
    /// A new pty's settings (`tty_std_termios`).
    fn default() -> Termios {
        Termios {
            iflag: (Input::ICRNL | Input::IXON).bits(),
            oflag: (Output::OPOST | Output::ONLCR).bits(),
            cflag: B38400 | CS8 | CREAD,
            lflag: (Local::ISIG
                | Local::ICANON
                | Local::ECHO
                | Local::ECHOE
                | Local::ECHOK
                | Local::ECHOCTL
                | Local::ECHOKE
                | Local::IEXTEN)
                .bits(),
            line: 0,
            // ^C ^\ DEL ^U ^D time min swtc ^Q ^S ^Z eol ^R ^O ^W ^V eol2
            cc: [
                3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0,
            ],
            ispeed: 38400,
            ospeed: 38400,
        }
    }
}

impl Termios {
    /// c_iflag
    pub fn input(&self) -> Input {
        Input::from_bits_retain(self.iflag)
    }
    /// c_oflag
    pub fn output(&self) -> Output {
        Output::from_bits_retain(self.oflag)
    }
    /// c_lflag
    pub fn local(&self) -> Local {
        Local::from_bits_retain(self.lflag)
    }
    /// A control character; 0 is "none".
    pub fn cc(&self, which: Cc) -> u8 {
        self.cc.get(which as usize).copied().unwrap_or(0)
    }
    /// Whether `c` is the control character `which` (a disabled one is nobody's).
    pub fn is(&self, which: Cc, c: u8) -> bool {
        c != 0 && self.cc(which) == c
    }
    /// Whether CLOCAL is set.
    pub fn clocal(&self) -> bool {
        self.cflag & CLOCAL != 0
    }
    /// Sets or clears CLOCAL.
    pub fn set_clocal(&mut self, on: bool) {
        self.cflag = (self.cflag & !CLOCAL) | if on { CLOCAL } else { 0 };
    }
    /// What a pty makes of settings that were asked for: eight bits without parity; speeds from their codes unless they
    /// are given as numbers (`with_speeds`, TCSETS2).
    pub fn normalized(mut self, with_speeds: bool) -> Termios {
        self.cflag = (self.cflag & !(CSIZE | PARENB)) | CS8 | CREAD;
        let out = self.cflag & CBAUD;
        if out != BOTHER || !with_speeds {
            self.ospeed = baud(out);
        }
        let coded = (self.cflag >> IBSHIFT) & CBAUD;
        if coded == 0 {
            self.ispeed = self.ospeed;
        } else if coded != BOTHER || !with_speeds {
            self.ispeed = baud(coded);
        }
        self
    }
}

/// Bits per second of a speed code.
fn baud(code: u32) -> u32 {
    const LOW: [u32; 16] = [
        0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400,
    ];
    const HIGH: [u32; 16] = [
        0, 57600, 115_200, 230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000,
        1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000, 4_000_000,
    ];
    let table = if code & BOTHER == 0 { LOW } else { HIGH };
    table.get((code & 0o17) as usize).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_is_what_cfmakeraw_makes_of_it() {
        let mut bytes = [0; TERMIOS_LEN];
        let cooked = Termios::default();
        bytes.copy_from_slice(&cooked.as_bytes()[..TERMIOS_LEN]);
        make_raw(&mut bytes);
        let word = |i: usize| u32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap());
        assert_eq!(word(0) & (Input::ICRNL | Input::IXON).bits(), 0);
        assert_eq!(word(1), Output::ONLCR.bits());
        assert_eq!(word(2), cooked.cflag);
        assert_eq!(
            word(3) & (Local::ICANON | Local::ECHO | Local::ISIG).bits(),
            0
        );
        assert_eq!((bytes[17 + 6], bytes[17 + 5]), (1, 0));
    }

    #[test]
    fn layout_and_speeds() {
        assert_eq!(size_of::<Termios>(), 44);
        let t = Termios::default();
        assert_eq!(t.normalized(false), t);
        let fast = Termios {
            cflag: 0o10002,
            ..t
        };
        assert_eq!(fast.normalized(false).ospeed, 115_200);
        assert_eq!(fast.normalized(false).ispeed, 115_200);
        let own = Termios {
            cflag: BOTHER,
            ospeed: 12345,
            ..t
        };
        assert_eq!(own.normalized(true).ospeed, 12345);
    }
}
