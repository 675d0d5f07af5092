//! x86-64 registers of a guest thread.

use crate::GUEST_END;

/// The bits of `eflags` that a program may set: CF PF AF ZF SF TF DF OF NT RF AC ID.
pub(crate) const USER_FLAGS: u64 = 0x25_4dd5;
/// The interrupt flag and the bit that is always 1.
const FIXED_FLAGS: u64 = 0x202;
/// Linux's 64-bit user code and data selectors.
const USER_CS: u64 = 0x33;
const USER_DS: u64 = 0x2b;

/// General registers as `user_regs_struct` of `<sys/user.h>` lays them out (PTRACE_GETREGS).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

impl Registers {
    /// The system call number at a [`crate::Trap::Syscall`].
    pub fn syscall_number(&self) -> u64 {
        self.orig_rax
    }
    /// The six system call arguments.
    pub fn syscall_args(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }
    /// Sets the system call's result (an address, a count, or a negated errno).
    pub fn set_return(&mut self, value: i64) {
        self.rax = value.cast_unsigned();
    }
    /// As words in the order of the fields.
    pub fn to_words(self) -> [u64; 27] {
        [
            self.r15,
            self.r14,
            self.r13,
            self.r12,
            self.rbp,
            self.rbx,
            self.r11,
            self.r10,
            self.r9,
            self.r8,
            self.rax,
            self.rcx,
            self.rdx,
            self.rsi,
            self.rdi,
            self.orig_rax,
            self.rip,
            self.cs,
            self.eflags,
            self.rsp,
            self.ss,
            self.fs_base,
            self.gs_base,
            self.ds,
            self.es,
            self.fs,
            self.gs,
        ]
    }

    /// From words in the order of the fields.
    pub fn from_words(words: [u64; 27]) -> Registers {
        let [
            r15,
            r14,
            r13,
            r12,
            rbp,
            rbx,
            r11,
            r10,
            r9,
            r8,
            rax,
            rcx,
            rdx,
            rsi,
            rdi,
            orig_rax,
            rip,
            cs,
            eflags,
            rsp,
            ss,
            fs_base,
            gs_base,
            ds,
            es,
            fs,
            gs,
        ] = words;
        Registers {
            r15,
            r14,
            r13,
            r12,
            rbp,
            rbx,
            r11,
            r10,
            r9,
            r8,
            rax,
            rcx,
            rdx,
            rsi,
            rdi,
            orig_rax,
            rip,
            cs,
            eflags,
            rsp,
            ss,
            fs_base,
            gs_base,
            ds,
            es,
            fs,
            gs,
        }
    }

    /// The same registers, with values no program could have replaced by harmless ones: 64-bit code, user flags only, segment
    /// bases inside the guest range, and nothing that the host would restart (`orig_rax` is -1). Safe for PTRACE_SETREGS whatever a guest
    /// put into a signal frame.
    #[must_use]
    pub fn sanitized(&self) -> Registers {
        let data = |selector: u64| if selector == USER_DS { USER_DS } else { 0 };
        let base = |base: u64| if base < GUEST_END { base } else { 0 };
        Registers {
            orig_rax: u64::MAX,
            cs: USER_CS,
            ss: USER_DS,
            ds: data(self.ds),
            es: data(self.es),
            fs: 0,
            gs: 0,
            eflags: (self.eflags & USER_FLAGS) | FIXED_FLAGS,
            fs_base: base(self.fs_base),
            gs_base: base(self.gs_base),
            ..*self
        }
    }
}
