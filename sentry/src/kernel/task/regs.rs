//! A task's registers, of which most calls need a handful.

use cofferdam_platform::{Call, Registers, Thread};

/// Registers at the last trap, or to resume with. After a system call they may be just what the call is about; the rest is read when
/// somebody wants it ([`GuestRegs::all`]).
#[derive(Default)]
pub struct GuestRegs {
    all: Option<Registers>,
    /// If there is no more: the call, and its result.
    call: Call,
    result: u64,
}

impl From<Registers> for GuestRegs {
    fn from(regs: Registers) -> GuestRegs {
        GuestRegs {
            all: Some(regs),
            ..GuestRegs::default()
        }
    }
}

impl From<Call> for GuestRegs {
    fn from(call: Call) -> GuestRegs {
        GuestRegs {
            all: None,
            call,
            result: call.number,
        }
    }
}

impl GuestRegs {
    /// Number of the system call.
    pub fn syscall_number(&self) -> u64 {
        match &self.all {
            Some(regs) => regs.syscall_number(),
            None => self.call.number,
        }
    }
    /// Its arguments.
    pub fn syscall_args(&self) -> [u64; 6] {
        match &self.all {
            Some(regs) => regs.syscall_args(),
            None => self.call.args,
        }
    }
    /// Address of the next instruction.
    pub fn rip(&self) -> u64 {
        match &self.all {
            Some(regs) => regs.rip,
            None => self.call.rip,
        }
    }
    /// What the guest will find in rax.
    pub fn result(&self) -> i64 {
        match &self.all {
            Some(regs) => regs.rax.cast_signed(),
            None => self.result.cast_signed(),
        }
    }
    /// Sets the result of the call.
    pub fn set_return(&mut self, value: i64) {
        match &mut self.all {
            Some(regs) => regs.set_return(value),
            None => self.result = value.cast_unsigned(),
        }
    }
    /// All of them. `thread` is the task's, stopped; without one, or if it is dead, only the call's are right.
    pub fn all(&mut self, thread: Option<&dyn Thread>) -> &mut Registers {
        let (call, result) = (self.call, self.result.cast_signed());
        self.all.get_or_insert_with(|| {
            let [rdi, rsi, rdx, r10, r8, r9] = call.args;
            let few = || Registers {
                rdi,
                rsi,
                rdx,
                r10,
                r8,
                r9,
                rip: call.rip,
                orig_rax: call.number,
                ..Registers::default()
            };
            let known = thread.and_then(|t| t.registers().ok());
            let mut regs = known.unwrap_or_else(few);
            regs.set_return(result);
            regs
        })
    }
    /// Lets the guest run.
    ///
    /// # Errors
    /// As [`Thread::resume`].
    pub fn resume(&self, thread: &dyn Thread) -> cofferdam_platform::Result<()> {
        match &self.all {
            Some(regs) => thread.resume(regs),
            None => thread.return_from_call(self.result),
        }
    }
}
