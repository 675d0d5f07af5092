//! Socket filters: classic BPF over a packet's bytes (SO_ATTACH_FILTER; net/core/filter.c), checked once, then interpreted.

use super::socket::MEMORY;
use crate::abi::{Errno, Result};
use crate::sync::{Charge, Quota};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Instructions that all filters have.
pub(super) fn instructions() -> usize {
    INSNS.used()
}

/// `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs)]
pub struct Insn {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// BPF_MAXINSNS.
const MAX_INSNS: usize = 4096;
/// Instructions of all filters: a packet may have to pass each of them.
static INSNS: Quota = Quota::new(1 << 18);
/// BPF_MEMWORDS.
const MEM_WORDS: usize = 16;
/// SKF_AD_OFF, SKF_NET_OFF, SKF_LL_OFF: offsets of what is beside the packet, and from its headers on.
const AD_OFF: u32 = 0xffff_f000;
const NET_OFF: u32 = 0xfff0_0000;
const LINK_OFF: u32 = 0xffe0_0000;

/// What a filter can ask of a packet beside its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// EtherType.
    pub protocol: u16,
    /// PACKET_*.
    pub kind: u8,
    /// Interface.
    pub index: u32,
    /// ARPHRD_*.
    pub hardware: u16,
    /// Where the network header begins in the bytes.
    pub network: usize,
}

/// A checked program.
#[derive(Debug)]
pub struct Filter {
    program: Vec<Insn>,
    _charges: [Charge; 2],
}

impl Filter {
    /// Checks a program (bpf_check_classic).
    ///
    /// # Errors
    /// EINVAL; ENOMEM if there are too many.
    pub fn new(program: Vec<Insn>) -> Result<Filter> {
        let len = program.len();
        if len == 0 || len > MAX_INSNS {
            return Err(Errno::EINVAL);
        }
        // Forward jumps only, so a program ends.
        for (at, i) in program.iter().enumerate() {
            let inside = |far: usize| at.checked_add(1 + far).is_some_and(|t| t < len);
            let ok = match (i.code & 7, i.code) {
                (0 | 1, 0x00 | 0x01 | 0x80 | 0x81) => true,
                (0, 0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50) | (1, 0xb1) => true,
                (0 | 1, 0x60 | 0x61) | (2 | 3, 0x02 | 0x03) => (i.k as usize) < MEM_WORDS,
                (4, c) => match c & 0xf0 {
                    0x30 | 0x90 if c & 8 == 0 => i.k != 0,
                    0x60 | 0x70 if c & 8 == 0 => i.k < 32,
                    0x80 => c == 0x84,
                    n => n <= 0xa0,
                },
                (5, 0x05) => inside(i.k as usize),
                (5, c) if (0x10..=0x40).contains(&(c & 0xf0)) => {
                    inside(usize::from(i.jt)) && inside(usize::from(i.jf))
                }
                (6, 0x06 | 0x16) | (7, 0x07 | 0x87) => true,
                _ => false,
            };
            if !ok || i.code > 0xff {
                return Err(Errno::EINVAL);
            }
        }
        match program.last().map(|i| i.code) {
            Some(0x06 | 0x16) => {
                let cost = size_of_val(program.as_slice()) + 64;
                let bytes = MEMORY.charge(cost).ok_or(Errno::ENOMEM)?;
                let insns = INSNS.charge(len).ok_or(Errno::ENOMEM)?;
                Ok(Filter {
                    program,
                    _charges: [bytes, insns],
                })
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// The program.
    pub fn program(&self) -> &[Insn] {
        &self.program
    }

    /// How many bytes of a packet pass; 0 if it is dropped.
    pub fn run(&self, packet: &[u8], facts: &Facts) -> usize {
        let (mut a, mut x) = (0u32, 0u32);
        let mut mem = [0u32; MEM_WORDS];
        let mut at = 0usize;
        while let Some(i) = self.program.get(at) {
            at += 1;
            let k = i.k;
            match i.code {
                0x00 => a = k,
                0x01 => x = k,
                0x80 => a = u32::try_from(packet.len()).unwrap_or(u32::MAX),
                0x81 => x = u32::try_from(packet.len()).unwrap_or(u32::MAX),
                0x20 | 0x28 | 0x30 => match load(packet, facts, k, i.code, a, x) {
                    Some(v) => a = v,
                    None => return 0,
                },
                0x40 | 0x48 | 0x50 => {
                    match load(packet, facts, x.wrapping_add(k), i.code - 0x20, a, x) {
                        Some(v) => a = v,
                        None => return 0,
                    }
                }
                0xb1 => match load(packet, facts, k, 0x30, a, x) {
                    Some(v) => x = (v & 0xf) << 2,
                    None => return 0,
                },
                0x60 => a = mem.get(k as usize).copied().unwrap_or(0),
                0x61 => x = mem.get(k as usize).copied().unwrap_or(0),
                0x02 | 0x03 => {
                    if let Some(m) = mem.get_mut(k as usize) {
                        *m = if i.code == 2 { a } else { x };
                    }
                }
                0x07 => x = a,
                0x87 => a = x,
                0x06 => return k as usize,
                0x16 => return a as usize,
                0x05 => at += k as usize,
                c => {
                    let v = if c & 8 == 0 { k } else { x };
                    if c & 7 == 4 {
                        match alu(c, a, v) {
                            Some(n) => a = n,
                            None => return 0,
                        }
                        continue;
                    }
                    let yes = match c & 0xf0 {
                        0x10 => a == v,
                        0x20 => a > v,
                        0x30 => a >= v,
                        _ => a & v != 0,
                    };
                    at += usize::from(if yes { i.jt } else { i.jf });
                }
            }
        }
        0
    }
}

/// Arithmetic; `None` for a division by 0.
fn alu(code: u16, a: u32, v: u32) -> Option<u32> {
    Some(match code & 0xf0 {
        0x00 => a.wrapping_add(v),
        0x10 => a.wrapping_sub(v),
        0x20 => a.wrapping_mul(v),
        0x30 => a.checked_div(v)?,
        0x40 => a | v,
        0x50 => a & v,
        0x60 => a.wrapping_shl(v),
        0x70 => a.wrapping_shr(v),
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(v)?,
        _ => a ^ v,
    })
}

/// Loads a word (0x20), half word (0x28) or byte (0x30) in network order.
fn load(packet: &[u8], facts: &Facts, k: u32, code: u16, a: u32, x: u32) -> Option<u32> {
    if k >= AD_OFF {
        return Some(match k - AD_OFF {
            0 => u32::from(facts.protocol),
            4 => u32::from(facts.kind),
            8 => facts.index,
            // SKF_AD_NLATTR, _NEST: there are no attributes in packets.
            12 | 16 => 0,
            // MARK, QUEUE.
            20 | 24 => 0,
            28 => u32::from(facts.hardware),
            // RXHASH, CPU, VLAN_TAG, VLAN_TAG_PRESENT.
            32 | 36 | 44 | 48 => 0,
            // ALU_XOR_X.
            40 => a ^ x,
            // RANDOM.
            56 => crate::time::Instant::now().0 as u32,
            _ => return None,
        });
    }
    let at = match k {
        NET_OFF.. => facts.network.checked_add((k - NET_OFF) as usize)?,
        LINK_OFF.. => (k - LINK_OFF) as usize,
        _ => k as usize,
    };
    let n = match code {
        0x20 => 4,
        0x28 => 2,
        _ => 1,
    };
    let bytes = packet.get(at..at.checked_add(n)?)?;
    Some(bytes.iter().fold(0, |v, b| v << 8 | u32::from(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn i(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }

    #[test]
    fn programs_are_checked_and_run() {
        // Passes what begins with 0x45: "ldb [0]; jeq #0x45, 0, 1; ret #-1; ret #0".
        let f = Filter::new(vec![
            i(0x30, 0, 0, 0),
            i(0x15, 0, 1, 0x45),
            i(6, 0, 0, u32::MAX),
            i(6, 0, 0, 0),
        ])
        .unwrap();
        assert_eq!(f.run(&[0x45, 0], &Facts::default()), u32::MAX as usize);
        assert_eq!(f.run(&[0x46, 0], &Facts::default()), 0);
        assert_eq!(f.run(&[], &Facts::default()), 0);
        for bad in [
            vec![],
            vec![i(0x30, 0, 0, 0)],
            vec![i(5, 0, 0, 9), i(6, 0, 0, 0)],
            vec![i(0x34, 0, 0, 0), i(6, 0, 0, 0)],
            vec![i(0xffff, 0, 0, 0), i(6, 0, 0, 0)],
            vec![i(2, 0, 0, 16), i(6, 0, 0, 0)],
        ] {
            assert!(Filter::new(bad).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_program_ends(
            raw in proptest::collection::vec((0u16..0x100, 0u8..6, 0u8..6, proptest::num::u32::ANY), 1..30),
            packet in proptest::collection::vec(proptest::num::u8::ANY, 0..60),
        ) {
            let mut program: Vec<Insn> = raw.into_iter().map(|(c, t, f, k)| i(c, t, f, k)).collect();
            program.push(i(6, 0, 0, 1));
            if let Ok(f) = Filter::new(program) {
                f.run(&packet, &Facts::default());
            }
        }
    }
}
