//! Classic BPF as seccomp filters use it (`net/core/filter.c`, `seccomp_check_filter`): checked once, then interpreted.

use crate::abi::{Errno, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct sock_filter`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[allow(missing_docs)]
pub struct Insn {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// `struct seccomp_data`: what a filter looks at.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoBytes, Immutable)]
#[allow(missing_docs)]
pub struct Data {
    pub nr: i32,
    pub arch: u32,
    pub instruction_pointer: u64,
    pub args: [u64; 6],
}

/// Bytes of [`Data`].
const DATA_SIZE: u32 = 64;
/// BPF_MAXINSNS.
pub const MAX_INSNS: usize = 4096;
/// BPF_MEMWORDS.
const MEM_WORDS: usize = 16;

/// Operations a filter may use, by their codes.
mod op {
    pub const LD_ABS: u16 = 0x20;
    pub const LD_LEN: u16 = 0x80;
    pub const LDX_LEN: u16 = 0x81;
    pub const LD_IMM: u16 = 0x00;
    pub const LDX_IMM: u16 = 0x01;
    pub const LD_MEM: u16 = 0x60;
    pub const LDX_MEM: u16 = 0x61;
    pub const ST: u16 = 0x02;
    pub const STX: u16 = 0x03;
    pub const RET_K: u16 = 0x06;
    pub const RET_A: u16 = 0x16;
    pub const TAX: u16 = 0x07;
    pub const TXA: u16 = 0x87;
    pub const JA: u16 = 0x05;
    pub const NEG: u16 = 0x84;
    /// Class bits of arithmetic and jumps; bit 3 chooses X instead of K.
    pub const ALU: u16 = 0x04;
    pub const JMP: u16 = 0x05;
    pub const X: u16 = 0x08;
}

/// Arithmetic, high nibble of the code.
fn alu(code: u16) -> Option<u16> {
    // ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, XOR; not MOD (0x90), which seccomp does not allow.
    (code & 0x07 == op::ALU && code & 0xff00 == 0)
        .then_some(code & 0xf0)
        .filter(|o| matches!(o, 0x00..=0x70 | 0xa0))
}

/// Conditional jumps, high nibble: JEQ, JGT, JGE, JSET.
fn jump(code: u16) -> Option<u16> {
    (code & 0x07 == op::JMP && code & 0xff00 == 0)
        .then_some(code & 0xf0)
        .filter(|o| matches!(o, 0x10..=0x40))
}

/// A checked program: every jump lands inside, every path ends in a return, no memory word is read before it is written.
#[derive(Debug, PartialEq, Eq)]
pub struct Program(Box<[Insn]>);

impl Program {
    /// As they were given.
    pub fn insns(&self) -> &[Insn] {
        &self.0
    }
    /// Checks a program.
    ///
    /// # Errors
    /// EINVAL.
    pub fn new(insns: Vec<Insn>) -> Result<Program> {
        if insns.is_empty() || insns.len() > MAX_INSNS {
            return Err(Errno::EINVAL);
        }
        for (pc, i) in insns.iter().enumerate() {
            check(i, insns.len() - pc - 1)?;
        }
        match insns.last().map(|i| i.code) {
            Some(op::RET_K | op::RET_A) => {}
            _ => return Err(Errno::EINVAL),
        }
        check_memory(&insns)?;
        Ok(Program(insns.into()))
    }
    /// Number of instructions.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// What the filter returns for `data`: an action and 16 bits of its data. Ends after at most as many steps as there are
    /// instructions, since jumps go forward only.
    pub fn run(&self, data: &Data) -> u32 {
        let (mut a, mut x) = (0u32, 0u32);
        let mut mem = [0u32; MEM_WORDS];
        let mut pc = 0usize;
        while let Some(i) = self.0.get(pc) {
            pc += 1;
            match i.code {
                op::LD_ABS => a = word(data, i.k),
                op::LD_LEN => a = DATA_SIZE,
                op::LDX_LEN => x = DATA_SIZE,
                op::LD_IMM => a = i.k,
                op::LDX_IMM => x = i.k,
                op::LD_MEM => a = mem.get(i.k as usize).copied().unwrap_or(0),
                op::LDX_MEM => x = mem.get(i.k as usize).copied().unwrap_or(0),
                op::ST | op::STX => {
                    if let Some(m) = mem.get_mut(i.k as usize) {
                        *m = if i.code == op::ST { a } else { x };
                    }
                }
                op::RET_K => return i.k,
                op::RET_A => return a,
                op::TAX => x = a,
                op::TXA => a = x,
                op::NEG => a = a.wrapping_neg(),
                op::JA => pc = pc.saturating_add(i.k as usize),
                code => {
                    let with = if code & op::X != 0 { x } else { i.k };
                    if let Some(cond) = jump(code) {
                        let yes = match cond {
                            0x10 => a == with,
                            0x20 => a > with,
                            0x30 => a >= with,
                            _ => a & with != 0,
                        };
                        pc += usize::from(if yes { i.jt } else { i.jf });
                    } else if let Some(operation) = alu(code) {
                        match arithmetic(operation, a, with) {
                            Some(v) => a = v,
                            // Division by zero ends a filter with 0.
                            None => return 0,
                        }
                    }
                }
            }
        }
        0
    }
}

fn arithmetic(operation: u16, a: u32, with: u32) -> Option<u32> {
    Some(match operation {
        0x00 => a.wrapping_add(with),
        0x10 => a.wrapping_sub(with),
        0x20 => a.wrapping_mul(with),
        0x30 => a.checked_div(with)?,
        0x40 => a | with,
        0x50 => a & with,
        0x60 => a.wrapping_shl(with),
        0x70 => a.wrapping_shr(with),
        _ => a ^ with,
    })
}

fn word(data: &Data, offset: u32) -> u32 {
    let mut v = [0; 4];
    if let Some(s) = usize::try_from(offset)
        .ok()
        .and_then(|o| data.as_bytes().get(o..o.checked_add(4)?))
    {
        v.copy_from_slice(s);
    }
    u32::from_le_bytes(v)
}

/// Checks one instruction; `left` follow it.
fn check(i: &Insn, left: usize) -> Result<()> {
    let fits = |jump: usize| jump < left;
    let ok = match i.code {
        op::LD_ABS => i.k < DATA_SIZE && i.k.is_multiple_of(4),
        op::LD_MEM | op::LDX_MEM | op::ST | op::STX => (i.k as usize) < MEM_WORDS,
        op::LD_LEN
        | op::LDX_LEN
        | op::LD_IMM
        | op::LDX_IMM
        | op::RET_K
        | op::RET_A
        | op::TAX
        | op::TXA
        | op::NEG => true,
        op::JA => fits(i.k as usize),
        code if jump(code).is_some() => fits(i.jt.into()) && fits(i.jf.into()),
        code => match (alu(code), code & op::X) {
            (None, _) => false,
            (Some(0x30), 0) => i.k != 0,
            (Some(0x60 | 0x70), 0) => i.k < 32,
            _ => true,
        },
    };
    if ok { Ok(()) } else { Err(Errno::EINVAL) }
}

/// No memory word is read on a path that has not written it (`check_load_and_stores`).
fn check_memory(insns: &[Insn]) -> Result<()> {
    // Words written on every path that jumps to an instruction.
    let mut written = vec![u16::MAX; insns.len()];
    let mut now = 0u16;
    for (pc, i) in insns.iter().enumerate() {
        now &= written.get(pc).copied().unwrap_or(0);
        let mut meet = |distance: usize| {
            if let Some(w) = written.get_mut(pc.saturating_add(1).saturating_add(distance)) {
                *w &= now;
            }
        };
        match i.code {
            op::ST | op::STX => now |= 1 << (i.k & 15),
            op::LD_MEM | op::LDX_MEM if now & (1 << (i.k & 15)) == 0 => {
                return Err(Errno::EINVAL);
            }
            op::JA => {
                meet(i.k as usize);
                now = u16::MAX;
            }
            code if jump(code).is_some() => {
                meet(i.jt.into());
                meet(i.jf.into());
                now = u16::MAX;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn i(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }
    fn program(insns: &[Insn]) -> Result<Program> {
        Program::new(insns.to_vec())
    }
    const ALLOW: Insn = Insn {
        code: op::RET_K,
        jt: 0,
        jf: 0,
        k: 0x7fff_0000,
    };

    #[test]
    fn data_is_laid_out_as_linux_does() {
        assert_eq!(size_of::<Data>(), DATA_SIZE as usize);
        let d = Data {
            nr: 39,
            arch: 0xc000_003e,
            instruction_pointer: 0x1_0000_0002,
            args: [3 << 32 | 4, 0, 0, 0, 0, 9],
        };
        let at = |k| {
            program(&[i(op::LD_ABS, 0, 0, k), i(op::RET_A, 0, 0, 0)])
                .unwrap()
                .run(&d)
        };
        assert_eq!([at(0), at(4), at(8), at(12)], [39, 0xc000_003e, 2, 1]);
        assert_eq!([at(16), at(20), at(56)], [4, 3, 9]);
    }

    #[test]
    fn jumps_and_arithmetic() {
        let d = Data {
            nr: 10,
            ..Data::default()
        };
        // nr == 10 ? ERRNO(1) : ALLOW.
        let p = program(&[
            i(op::LD_ABS, 0, 0, 0),
            i(0x15, 0, 1, 10),
            i(op::RET_K, 0, 0, 0x5_0001),
            ALLOW,
        ])
        .unwrap();
        assert_eq!(p.run(&d), 0x5_0001);
        assert_eq!(p.run(&Data::default()), 0x7fff_0000);
        // ((10 << 2) ^ 1) - X, X = 64, negated.
        let p = program(&[
            i(op::LD_ABS, 0, 0, 0),
            i(0x64, 0, 0, 2),
            i(0xa4, 0, 0, 1),
            i(op::LDX_LEN, 0, 0, 0),
            i(0x1c, 0, 0, 0),
            i(op::NEG, 0, 0, 0),
            i(op::RET_A, 0, 0, 0),
        ])
        .unwrap();
        assert_eq!(p.run(&d), 64 - 41);
        // Division by an X of 0 ends with 0.
        let p = program(&[i(op::LD_IMM, 0, 0, 7), i(0x3c, 0, 0, 0), ALLOW]).unwrap();
        assert_eq!(p.run(&d), 0);
        // Memory and transfers; JSET with X.
        let p = program(&[
            i(op::LD_IMM, 0, 0, 6),
            i(op::ST, 0, 0, 15),
            i(op::LD_IMM, 0, 0, 0),
            i(op::LDX_MEM, 0, 0, 15),
            i(op::TXA, 0, 0, 0),
            i(0x4d, 1, 0, 0),
            ALLOW,
            i(op::RET_A, 0, 0, 0),
        ])
        .unwrap();
        assert_eq!(p.run(&d), 6);
    }

    #[test]
    fn bad_programs_are_refused() {
        let bad: &[&[Insn]] = &[
            &[],
            &[i(op::LD_IMM, 0, 0, 0)],
            &[i(op::LD_ABS, 0, 0, 64), ALLOW],
            &[i(op::LD_ABS, 0, 0, 2), ALLOW],
            // Byte and indirect loads, MOD, an unknown class.
            &[i(0x30, 0, 0, 0), ALLOW],
            &[i(0x40, 0, 0, 0), ALLOW],
            &[i(0x94, 0, 0, 3), ALLOW],
            &[i(0x120, 0, 0, 0), ALLOW],
            &[i(0x15, 1, 0, 0), ALLOW],
            &[i(op::JA, 0, 0, 1), ALLOW],
            &[i(op::JA, 0, 0, u32::MAX), ALLOW],
            &[i(0x34, 0, 0, 0), ALLOW],
            &[i(0x64, 0, 0, 32), ALLOW],
            &[i(op::ST, 0, 0, 16), ALLOW],
            &[i(op::LD_MEM, 0, 0, 3), ALLOW],
            // Written on one path only.
            &[
                i(0x15, 0, 1, 0),
                i(op::ST, 0, 0, 3),
                i(op::LD_MEM, 0, 0, 3),
                ALLOW,
            ],
        ];
        for p in bad {
            assert_eq!(program(p), Err(Errno::EINVAL), "{p:?}");
        }
        assert!(Program::new(vec![ALLOW; MAX_INSNS]).is_ok());
        assert!(Program::new(vec![ALLOW; MAX_INSNS + 1]).is_err());
        // Both paths write.
        let good = [
            i(0x15, 0, 2, 0),
            i(op::ST, 0, 0, 3),
            i(op::JA, 0, 0, 1),
            i(op::STX, 0, 0, 3),
            i(op::LD_MEM, 0, 0, 3),
            ALLOW,
        ];
        assert!(program(&good).is_ok());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 2000, ..Default::default() })]
        /// What the check lets through runs to a return, whatever it computes.
        #[test]
        fn checked_programs_end(
            lines in proptest::collection::vec(
                (0usize..40, 0u8..6, 0u8..6, proptest::prop_oneof![0u32..70, proptest::num::u32::ANY]), 1..40),
            args in proptest::array::uniform6(proptest::num::u64::ANY),
        ) {
            const CODES: [u16; 36] = [
                0x20, 0x80, 0x81, 0x00, 0x01, 0x60, 0x61, 0x02, 0x03, 0x06, 0x16, 0x07, 0x87, 0x05, 0x84, 0x04, 0x0c, 0x14,
                0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c, 0x15, 0x1d, 0x25, 0x35, 0x45,
            ];
            let mut insns: Vec<Insn> = lines
                .iter()
                .map(|(c, jt, jf, k)| i(CODES.get(*c).copied().unwrap_or(*k as u16), *jt, *jf, *k))
                .collect();
            insns.push(ALLOW);
            if let Ok(p) = Program::new(insns) {
                p.run(&Data { nr: 1, arch: 2, instruction_pointer: 3, args });
            }
        }
    }
}
