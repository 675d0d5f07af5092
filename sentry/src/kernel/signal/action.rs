//! What a process does with each signal: `struct sigaction` and the table that CLONE_SIGHAND shares.

use super::set::{DefaultAction, SigSet, Signal};
use crate::sync::{Mutex, Rank};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags::bitflags! {
    /// SA_* flags. Unknown bits are dropped when an action is set, as Linux does since 5.11.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub struct SaFlags: u64 {
        const NOCLDSTOP = 1;
        const NOCLDWAIT = 2;
        const SIGINFO = 4;
        const EXPOSE_TAGBITS = 0x800;
        const RESTORER = 0x0400_0000;
        const ONSTACK = 0x0800_0000;
        const RESTART = 0x1000_0000;
        const NODEFER = 0x4000_0000;
        const RESETHAND = 0x8000_0000;
    }
}

/// SIG_DFL.
pub const SIG_DFL: u64 = 0;
/// SIG_IGN.
pub const SIG_IGN: u64 = 1;

/// The kernel's `struct sigaction` of x86-64.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SigAction {
    /// SIG_DFL, SIG_IGN or the handler's address.
    pub handler: u64,
    /// SA_* bits.
    pub flags: u64,
    /// Where a handler returns to; it calls rt_sigreturn.
    pub restorer: u64,
    /// Blocked in addition while the handler runs.
    pub mask: u64,
}

impl SigAction {
    /// SA_* flags.
    pub fn sa_flags(&self) -> SaFlags {
        SaFlags::from_bits_truncate(self.flags)
    }
    /// Whether a handler function would run.
    pub fn is_handler(&self) -> bool {
        self.handler > SIG_IGN
    }
    /// Whether the signal would be ignored: SIG_IGN, or SIG_DFL of a signal that is ignored (or only continues) by default.
    pub fn ignores(&self, signal: Signal) -> bool {
        self.handler == SIG_IGN
            || (self.handler == SIG_DFL
                && matches!(
                    signal.default_action(),
                    DefaultAction::Ignore | DefaultAction::Continue
                ))
    }
    /// Whether it would end the process.
    pub fn is_fatal(&self, signal: Signal) -> bool {
        self.handler == SIG_DFL
            && matches!(
                signal.default_action(),
                DefaultAction::Terminate | DefaultAction::Core
            )
    }
}

/// Actions for all signals (`struct sighand_struct`), shared by CLONE_SIGHAND.
pub struct SignalHandlers {
    actions: Mutex<[SigAction; 64]>,
}

impl Default for SignalHandlers {
    fn default() -> Self {
        SignalHandlers {
            actions: Mutex::new(Rank::LEAF, [SigAction::default(); 64]),
        }
    }
}

impl SignalHandlers {
    /// A copy (fork without CLONE_SIGHAND); `clear` resets handlers to SIG_DFL (CLONE_CLEAR_SIGHAND), leaving SIG_IGN.
    pub fn duplicate(&self, clear: bool) -> Arc<SignalHandlers> {
        let copy = SignalHandlers {
            actions: Mutex::new(Rank::LEAF, *self.actions.lock()),
        };
        if clear {
            copy.reset();
        }
        Arc::new(copy)
    }
    /// The action of one signal.
    pub fn get(&self, signal: Signal) -> SigAction {
        self.actions
            .lock()
            .get(signal.index())
            .copied()
            .unwrap_or_default()
    }
    /// Replaces an action; the caller has refused SIGKILL and SIGSTOP.
    pub fn set(&self, signal: Signal, action: SigAction) {
        if let Some(slot) = self.actions.lock().get_mut(signal.index()) {
            *slot = action;
        }
    }
    /// execve: handlers become SIG_DFL, ignored signals stay ignored, flags and masks are cleared (`flush_signal_handlers`).
    pub fn reset(&self) {
        for a in self.actions.lock().iter_mut() {
            *a = SigAction {
                handler: if a.handler == SIG_IGN {
                    SIG_IGN
                } else {
                    SIG_DFL
                },
                ..SigAction::default()
            };
        }
    }
    /// Signals with SIG_IGN and with a handler, as /proc/PID/status shows them (SigIgn, SigCgt).
    pub fn ignored_and_caught(&self) -> (SigSet, SigSet) {
        let (mut ignored, mut caught) = (SigSet::EMPTY, SigSet::EMPTY);
        for (i, a) in (1i32..).zip(self.actions.lock().iter()) {
            let Some(s) = Signal::new(i) else { continue };
            match a.handler {
                SIG_DFL => {}
                SIG_IGN => ignored.insert(s),
                _ => caught.insert(s),
            }
        }
        (ignored, caught)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_keeps_only_ignored() {
        let h = SignalHandlers::default();
        let act = |handler| SigAction {
            handler,
            flags: SaFlags::RESTART.bits(),
            ..SigAction::default()
        };
        h.set(Signal::INT, act(SIG_IGN));
        h.set(Signal::USR1, act(0x1000));
        let (ign, cgt) = h.ignored_and_caught();
        assert_eq!(
            (ign, cgt),
            (SigSet::of(Signal::INT), SigSet::of(Signal::USR1))
        );
        h.reset();
        assert_eq!(h.get(Signal::INT).handler, SIG_IGN);
        assert_eq!(h.get(Signal::INT).flags, 0);
        assert_eq!(h.get(Signal::USR1), SigAction::default());
    }

    #[test]
    fn default_ignored_signals() {
        let dfl = SigAction::default();
        assert!(dfl.ignores(Signal::CHLD));
        assert!(dfl.ignores(Signal::CONT));
        assert!(!dfl.ignores(Signal::TSTP));
        assert!(!dfl.ignores(Signal::TERM));
        assert!(dfl.is_fatal(Signal::TERM));
        assert!(!dfl.is_fatal(Signal::CHLD));
    }
}
