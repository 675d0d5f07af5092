//! Signal numbers and sets of them, and what each does by default (signal(7)).

/// A valid signal number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// What a signal does when its action is SIG_DFL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// Ends the process.
    Terminate,
    /// Ends the process with a core dump (if RLIMIT_CORE let it).
    Core,
    /// Nothing.
    Ignore,
    /// Stops the process.
    Stop,
    /// Continues a stopped process; nothing more.
    Continue,
}

macro_rules! signals {
    ($($name:ident = $value:expr),* $(,)?) => {
        #[allow(missing_docs)]
        impl Signal {
            $(pub const $name: Signal = Signal($value);)*
            /// `SIGHUP` …; `SIGRT` for real-time signals.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($value => concat!("SIG", stringify!($name)),)*
                    _ => "SIGRT",
                }
            }
        }
    };
}

signals!(
    HUP = 1,
    INT = 2,
    QUIT = 3,
    ILL = 4,
    TRAP = 5,
    ABRT = 6,
    BUS = 7,
    FPE = 8,
    KILL = 9,
    USR1 = 10,
    SEGV = 11,
    USR2 = 12,
    PIPE = 13,
    ALRM = 14,
    TERM = 15,
    STKFLT = 16,
    CHLD = 17,
    CONT = 18,
    STOP = 19,
    TSTP = 20,
    TTIN = 21,
    TTOU = 22,
    URG = 23,
    XCPU = 24,
    XFSZ = 25,
    VTALRM = 26,
    PROF = 27,
    WINCH = 28,
    IO = 29,
    PWR = 30,
    SYS = 31,
);

/// First real-time signal as the kernel counts (glibc keeps 32 and 33 for itself).
pub const SIGRTMIN: i32 = 32;

impl Signal {
    /// From a raw number; `None` unless 1 to 64.
    pub fn new(number: i32) -> Option<Signal> {
        u8::try_from(number)
            .ok()
            .filter(|n| (1..=64).contains(n))
            .map(Signal)
    }
    /// 1 to 64.
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }
    /// Its bit in a mask.
    pub fn bit(self) -> u64 {
        1u64 << (self.0 - 1)
    }
    /// Index into a table of 64.
    pub fn index(self) -> usize {
        usize::from(self.0 - 1)
    }
    /// Queues instead of coalescing.
    pub fn is_realtime(self) -> bool {
        self.number() >= SIGRTMIN
    }
    /// SIGKILL or SIGSTOP: cannot be caught, blocked or ignored.
    pub fn is_kernel_only(self) -> bool {
        SigSet::KERNEL_ONLY.contains(self)
    }
    /// SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU.
    pub fn is_stop(self) -> bool {
        SigSet::STOP.contains(self)
    }
    /// What SIG_DFL means for it.
    pub fn default_action(self) -> DefaultAction {
        match self {
            Signal::CONT => DefaultAction::Continue,
            Signal::CHLD | Signal::URG | Signal::WINCH => DefaultAction::Ignore,
            s if s.is_stop() => DefaultAction::Stop,
            Signal::QUIT
            | Signal::ILL
            | Signal::TRAP
            | Signal::ABRT
            | Signal::BUS
            | Signal::FPE
            | Signal::SEGV
            | Signal::XCPU
            | Signal::XFSZ
            | Signal::SYS => DefaultAction::Core,
            _ => DefaultAction::Terminate,
        }
    }
}

impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

/// `sigset_t` of the kernel: bit n-1 is signal n.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: SigSet = SigSet(0);
    /// SIGKILL and SIGSTOP.
    pub const KERNEL_ONLY: SigSet = SigSet(1 << 8 | 1 << 18);
    /// Signals that stop.
    pub const STOP: SigSet = SigSet(1 << 18 | 1 << 19 | 1 << 20 | 1 << 21);
    /// Signals that a task's own instruction causes; delivered before others.
    pub const SYNCHRONOUS: SigSet = SigSet(1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 30);

    /// Just one.
    pub fn of(s: Signal) -> SigSet {
        SigSet(s.bit())
    }
    /// Whether `s` is in it.
    pub fn contains(self, s: Signal) -> bool {
        self.0 & s.bit() != 0
    }
    /// Adds a signal.
    pub fn insert(&mut self, s: Signal) {
        self.0 |= s.bit();
    }
    /// Removes a signal.
    pub fn remove(&mut self, s: Signal) {
        self.0 &= !s.bit();
    }
    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Lowest signal.
    pub fn first(self) -> Option<Signal> {
        Signal::new(
            i32::try_from(self.0.trailing_zeros())
                .ok()?
                .checked_add(1)?,
        )
    }
    /// All signals, ascending.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        let mut left = self;
        std::iter::from_fn(move || {
            let s = left.first()?;
            left.remove(s);
            Some(s)
        })
    }
    /// A mask as a task may have it: without SIGKILL and SIGSTOP.
    pub fn blockable(self) -> SigSet {
        self & !SigSet::KERNEL_ONLY
    }
}

impl std::ops::BitOr for SigSet {
    type Output = SigSet;
    fn bitor(self, o: SigSet) -> SigSet {
        SigSet(self.0 | o.0)
    }
}
impl std::ops::BitAnd for SigSet {
    type Output = SigSet;
    fn bitand(self, o: SigSet) -> SigSet {
        SigSet(self.0 & o.0)
    }
}
impl std::ops::Not for SigSet {
    type Output = SigSet;
    fn not(self) -> SigSet {
        SigSet(!self.0)
    }
}
impl std::fmt::Debug for SigSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_name_the_signals_they_claim() {
        assert_eq!(
            SigSet::KERNEL_ONLY.iter().collect::<Vec<_>>(),
            [Signal::KILL, Signal::STOP]
        );
        assert_eq!(
            SigSet::STOP.iter().collect::<Vec<_>>(),
            [Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU]
        );
        assert_eq!(
            SigSet::SYNCHRONOUS.iter().collect::<Vec<_>>(),
            [
                Signal::ILL,
                Signal::TRAP,
                Signal::BUS,
                Signal::FPE,
                Signal::SEGV,
                Signal::SYS
            ]
        );
    }

    #[test]
    fn range_of_numbers() {
        assert!(Signal::new(0).is_none());
        assert!(Signal::new(65).is_none());
        assert!(Signal::new(-1).is_none());
        assert_eq!(Signal::new(64).map(Signal::bit), Some(1 << 63));
        assert_eq!(SigSet(1 << 63).first().map(Signal::number), Some(64));
        assert_eq!(SigSet::EMPTY.first(), None);
    }
}
