//! The system calls each of our own processes may make, as data: one rule a line with its reason.
//!
//! A call that is not listed ends the process (see [`super::violation`]). The platform and the gofer say themselves
//! what they need ([`Role::theirs`]); the lists here add the rest and may pin arguments of what they named.

pub mod gofer;
pub mod monitor;
pub mod sentry;

/// What must hold of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The low 32 bits of the argument with this index equal the value.
    Is(u8, u64),
    /// The argument with this index, masked with the second, equals the third.
    Masked(u8, u64, u64),
}

/// One permitted call. Several rules for one number are alternatives.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Number.
    pub number: i64,
    /// All of these must hold; empty: any arguments.
    pub when: &'static [Condition],
    /// Why the role needs it.
    pub reason: &'static str,
}

/// Any arguments.
const fn allow(number: i64, reason: &'static str) -> Rule {
    Rule {
        number,
        when: &[],
        reason,
    }
}

/// Only with these arguments.
const fn only(number: i64, when: &'static [Condition], reason: &'static str) -> Rule {
    Rule {
        number,
        when,
        reason,
    }
}

/// One kind of process.
pub struct Role {
    /// As users see it in messages.
    pub name: &'static str,
    /// Calls that the crate below names itself, without conditions.
    pub theirs: &'static [(i64, &'static str)],
    /// Calls that this program adds, or pins to arguments: a number here replaces the same number of `theirs`.
    pub ours: &'static [Rule],
    /// Calls answered ENOSYS, whatever the other lists say.
    pub refused: &'static [Rule],
}

impl Role {
    /// The whole allow-list.
    pub fn rules(&self) -> Vec<Rule> {
        let pinned = |number: i64| self.ours.iter().any(|r| r.number == number);
        let theirs = self.theirs.iter().filter(|(number, _)| !pinned(*number));
        theirs
            .map(|(number, reason)| allow(*number, reason))
            .chain(self.ours.iter().copied())
            .collect()
    }
}

/// PROT_EXEC in the third argument of mmap and mprotect: none of our processes makes code.
const NOT_EXECUTABLE: &[Condition] = &[Condition::Masked(2, libc::PROT_EXEC as u64, 0)];

/// A thread of this process, in no new namespace (legacy clone; glibc falls back to it from clone3's ENOSYS).
const THREAD: &[Condition] = &[Condition::Masked(
    0,
    (libc::CLONE_THREAD
        | libc::CLONE_VM
        | libc::CLONE_SIGHAND
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_PTRACE
        | libc::CLONE_UNTRACED) as u64,
    (libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND) as u64,
)];

/// clone3's flags lie in memory, where a filter cannot look.
const NO_CLONE3: &[Rule] = &[allow(
    libc::SYS_clone3,
    "flags cannot be checked; clone serves for threads",
)];

#[cfg(test)]
mod tests;
