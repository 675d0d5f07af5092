//! `linux.seccomp`: the profile as a BPF program that the sentry runs for each of the guest's calls.
//!
//! A tree of comparisons finds the call's number in some ten steps; calls whose arguments matter have a short list of
//! conditions at the leaf.

use super::{Notes, Result, invalid};
use cofferdam_sentry::abi::sysno;
use cofferdam_sentry::boot::SeccompConfig;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall,
};
use std::collections::BTreeMap;

type Insn = (u16, u8, u8, u32);

const LD_ABS: u16 = 0x20;
const AND: u16 = 0x54;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const RET: u16 = 0x06;

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
/// Numbers from here on are the x32 ABI's.
const X32: u32 = 0x4000_0000;
/// Numbers that we look for names in.
const MOST_CALLS: u32 = 1024;

/// What happens to a call: rules in order, the first that matches; else the default.
type Rules = Vec<(Vec<LinuxSeccompArg>, u32)>;

/// Compiles a profile.
///
/// # Errors
/// It needs a listener, or is too long.
pub fn compile(profile: &LinuxSeccomp, notes: &mut Notes) -> Result<SeccompConfig> {
    let arch = profile.architectures();
    if arch.as_ref().is_some_and(|all| {
        !all.is_empty()
            && !all
                .iter()
                .any(|a| matches!(a, Arch::ScmpArchX86_64 | Arch::ScmpArchNative))
    }) {
        return invalid(
            "the seccomp profile is for other processors than this one (SCMP_ARCH_X86_64)",
        );
    }
    let default = value(profile.default_action(), profile.default_errno_ret())?;
    let numbers: BTreeMap<&str, u32> = (0..MOST_CALLS)
        .filter_map(|n| sysno::name(n as usize).map(|name| (name, n)))
        .collect();
    let mut calls: BTreeMap<u32, Rules> = BTreeMap::new();
    let mut newest = 0;
    for entry in profile.syscalls().iter().flatten() {
        let action = value(entry.action(), entry.errno_ret())?;
        for number in entry.names().iter().filter_map(|n| numbers.get(n.as_str())) {
            newest = newest.max(*number);
            if action == default {
                continue;
            }
            let rules = calls.entry(*number).or_default();
            rules.extend(alternatives(entry).into_iter().map(|args| (args, action)));
        }
    }
    let flags = profile.flags().as_deref().unwrap_or_default();
    if profile.listener_path().is_some() {
        notes.add("the seccomp profile's listenerPath has no effect: no rule notifies");
    }
    let segments = segments(&calls, default, newest);
    let mut program: Vec<Insn> = vec![(LD_ABS, 0, 0, 0)];
    program.extend(tree(&segments));
    if program.len() > 4096 {
        return invalid("the seccomp profile is too long");
    }
    Ok(SeccompConfig {
        program,
        log: flags.contains(&LinuxSeccompFilterFlag::SeccompFilterFlagLog),
    })
}

/// Conditions on one argument twice in an entry are alternatives, as in runc; otherwise all must hold.
fn alternatives(entry: &LinuxSyscall) -> Vec<Vec<LinuxSeccompArg>> {
    let args = entry.args().as_deref().unwrap_or_default();
    let twice = args
        .iter()
        .any(|a| args.iter().filter(|b| a.index() == b.index()).count() > 1);
    if twice {
        args.iter().map(|a| vec![*a]).collect()
    } else {
        vec![args.to_vec()]
    }
}

fn value(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    use LinuxSeccompAction as A;
    if errno.is_some_and(|e| e > 4095) {
        return invalid("an errnoRet of the seccomp profile is above 4095");
    }
    match action {
        A::ScmpActNotify => invalid(
            "the seccomp profile asks for SCMP_ACT_NOTIFY, which a sandbox cannot give: nobody outside can act for its program",
        ),
        A::ScmpActErrno => Ok(RET_ERRNO | errno.unwrap_or(libc::EPERM.unsigned_abs())),
        other => Ok(other.as_u32(errno)),
    }
}

/// From this number on, this code; sorted, the first at 0.
type Segment = (u32, Vec<Insn>);

fn segments(calls: &BTreeMap<u32, Rules>, default: u32, newest: u32) -> Vec<Segment> {
    // A call newer than all that the profile knows is unknown rather than forbidden, so that programs fall back.
    let unknown = if default == RET_ALLOW || calls.is_empty() {
        default
    } else {
        RET_ERRNO | libc::ENOSYS.unsigned_abs()
    };
    let mut out: Vec<Segment> = Vec::new();
    let mut put = |start: u32, code: Vec<Insn>| match out.last_mut() {
        Some((_, last)) if *last == code => {}
        Some((at, last)) if *at == start => *last = code,
        _ => out.push((start, code)),
    };
    put(0, ret(default));
    for (number, rules) in calls {
        put(*number, leaf(rules, default));
        put(number + 1, ret(default));
    }
    put(newest.max(1) + 1, ret(unknown));
    put(X32, ret(RET_ERRNO | libc::ENOSYS.unsigned_abs()));
    out
}

fn ret(value: u32) -> Vec<Insn> {
    vec![(RET, 0, 0, value)]
}

fn tree(segments: &[Segment]) -> Vec<Insn> {
    let (left, right) = match segments {
        [] => return vec![],
        [(_, code)] => return code.clone(),
        all => all.split_at(all.len() / 2),
    };
    let pivot = right.first().map_or(0, |(start, _)| *start);
    let left = tree(left);
    let mut out = vec![
        (JGE, 0, 1, pivot),
        (JA, 0, 0, u32::try_from(left.len()).unwrap_or(u32::MAX)),
    ];
    out.extend(left);
    out.extend(tree(right));
    out
}

fn leaf(rules: &Rules, default: u32) -> Vec<Insn> {
    let mut out = Vec::new();
    for (args, action) in rules {
        if args.is_empty() {
            out.extend(ret(*action));
            return out;
        }
        out.extend(rule(args, *action));
    }
    out.extend(ret(default));
    out
}

/// Where a comparison goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    /// This condition holds.
    Pass,
    /// The rule does not match.
    Fail,
}

fn rule(args: &[LinuxSeccompArg], action: u32) -> Vec<Insn> {
    let conditions: Vec<Vec<(u16, u32, To, To)>> = args.iter().map(condition).collect();
    let length: usize = conditions.iter().map(Vec::len).sum();
    let mut out = Vec::new();
    for condition in conditions {
        let end = out.len() + condition.len();
        for (code, k, if_true, if_false) in condition {
            let here = out.len() + 1;
            let offset = |to: To| {
                let distance = match to {
                    To::Next => 0,
                    To::Pass => end - here,
                    // Past the return.
                    To::Fail => length + 1 - here,
                };
                // At most six conditions of seven instructions.
                u8::try_from(distance).unwrap_or(u8::MAX)
            };
            let jumps = matches!(code, JEQ | JGT | JGE);
            out.push(if jumps {
                (code, offset(if_true), offset(if_false), k)
            } else {
                (code, 0, 0, k)
            });
        }
    }
    out.extend(ret(action));
    out
}

/// One 64-bit comparison in 32-bit halves.
fn condition(arg: &LinuxSeccompArg) -> Vec<(u16, u32, To, To)> {
    use LinuxSeccompOperator as Op;
    use To::{Fail, Next, Pass};
    let low_at = 16 + 8 * u32::try_from(arg.index()).unwrap_or(0);
    let (high, low) = ((arg.value() >> 32) as u32, arg.value() as u32);
    let load_high = (LD_ABS, low_at + 4, Next, Next);
    let load_low = (LD_ABS, low_at, Next, Next);
    // The high half decides unless it is equal.
    let ordered = |greater: To, less: To, last: (u16, u32, To, To)| {
        vec![
            load_high,
            (JGT, high, greater, Next),
            (JEQ, high, Next, less),
            load_low,
            last,
        ]
    };
    match arg.op() {
        Op::ScmpCmpEq => vec![
            load_high,
            (JEQ, high, Next, Fail),
            load_low,
            (JEQ, low, Pass, Fail),
        ],
        Op::ScmpCmpNe => vec![
            load_high,
            (JEQ, high, Next, Pass),
            load_low,
            (JEQ, low, Fail, Pass),
        ],
        Op::ScmpCmpGt => ordered(Pass, Fail, (JGT, low, Pass, Fail)),
        Op::ScmpCmpGe => ordered(Pass, Fail, (JGE, low, Pass, Fail)),
        Op::ScmpCmpLt => ordered(Fail, Pass, (JGE, low, Fail, Pass)),
        Op::ScmpCmpLe => ordered(Fail, Pass, (JGT, low, Fail, Pass)),
        Op::ScmpCmpMaskedEq => {
            let datum = arg.value_two().unwrap_or(0);
            vec![
                load_high,
                (AND, high, Next, Next),
                (JEQ, (datum >> 32) as u32, Next, Fail),
                load_low,
                (AND, low, Next, Next),
                (JEQ, datum as u32, Pass, Fail),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program says to a call: enough of BPF for what is compiled here.
    fn run(program: &[Insn], nr: u32, args: [u64; 6]) -> u32 {
        let (mut pc, mut a) = (0, 0u32);
        loop {
            let (code, jt, jf, k) = program[pc];
            pc += 1;
            let mut jump = |yes: bool| pc += usize::from(if yes { jt } else { jf });
            match code {
                LD_ABS if k == 0 => a = nr,
                LD_ABS => {
                    let arg = args[(k as usize - 16) / 8];
                    a = if k % 8 == 4 {
                        (arg >> 32) as u32
                    } else {
                        arg as u32
                    };
                }
                AND => a &= k,
                JA => pc += k as usize,
                JEQ => jump(a == k),
                JGT => jump(a > k),
                JGE => jump(a >= k),
                RET => return k,
                other => panic!("{other:#x}"),
            }
        }
    }

    fn compiled(json: &str) -> Vec<Insn> {
        let profile: LinuxSeccomp = serde_json::from_str(json).unwrap();
        compile(&profile, &mut Notes::default()).unwrap().program
    }

    const EPERM: u32 = RET_ERRNO | 1;
    const ENOSYS: u32 = RET_ERRNO | 38;

    #[test]
    fn an_allow_list_of_many_calls() {
        let names: Vec<String> = (0..300)
            .filter(|n| n % 3 != 0)
            .filter_map(|n| sysno::name(n).map(|s| format!("\"{s}\"")))
            .collect();
        let p = compiled(&format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":[{},"no_such_call"],"action":"SCMP_ACT_ALLOW"}}]}}"#,
            names.join(",")
        ));
        for n in 0..299 {
            if sysno::name(n as usize).is_none() {
                continue;
            }
            let want = if n % 3 == 0 { EPERM } else { RET_ALLOW };
            assert_eq!(run(&p, n, [0; 6]), want, "{n}");
        }
        assert_eq!(run(&p, 5000, [0; 6]), ENOSYS);
        assert_eq!(run(&p, X32 | 1, [0; 6]), ENOSYS);
    }

    #[test]
    fn every_operator_on_both_halves() {
        let values = [
            0u64,
            1,
            5,
            6,
            7,
            1 << 32,
            (1 << 32) + 5,
            (1 << 32) + 6,
            (1 << 32) + 7,
            2 << 32,
            u64::MAX,
        ];
        type Compare = fn(u64, u64) -> bool;
        let compare: [(&str, Compare); 6] = [
            ("EQ", |a, b| a == b),
            ("NE", |a, b| a != b),
            ("LT", |a, b| a < b),
            ("LE", |a, b| a <= b),
            ("GT", |a, b| a > b),
            ("GE", |a, b| a >= b),
        ];
        for (op, holds) in compare {
            for against in [6u64, (1 << 32) + 6] {
                let p = compiled(&format!(
                    r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":7,
                    "args":[{{"index":2,"value":{against},"op":"SCMP_CMP_{op}"}}]}}]}}"#
                ));
                for v in values {
                    let want = if holds(v, against) {
                        RET_ERRNO | 7
                    } else {
                        RET_ALLOW
                    };
                    assert_eq!(
                        run(&p, 0, [9, 9, v, 9, 9, 9]),
                        want,
                        "{op} {v:#x} {against:#x}"
                    );
                    assert_eq!(run(&p, 1, [9, 9, v, 9, 9, 9]), RET_ALLOW);
                }
            }
        }
    }

    #[test]
    fn conditions_are_joined_and_repeated_arguments_are_alternatives() {
        let p = compiled(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
            {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":1,"value":2,"op":"SCMP_CMP_EQ"}]},
            {"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":0,"op":"SCMP_CMP_EQ"},{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]}]}"#,
        );
        let call = |n: libc::c_long, a, b| run(&p, n as u32, [a, b, 0, 0, 0, 0]);
        assert_eq!(call(libc::SYS_clone, 0x11, 0), RET_ALLOW);
        assert_eq!(call(libc::SYS_clone, 0x1000_0000, 0), EPERM);
        assert_eq!(call(libc::SYS_socket, 1, 2), RET_ALLOW);
        assert_eq!(call(libc::SYS_socket, 1, 3), EPERM);
        assert_eq!(call(libc::SYS_socket, 2, 2), EPERM);
        assert_eq!(call(libc::SYS_personality, 8, 0), RET_ALLOW);
        assert_eq!(call(libc::SYS_personality, 4, 0), EPERM);
    }

    #[test]
    fn notification_is_refused() {
        let profile: LinuxSeccomp =
            serde_json::from_str(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#).unwrap();
        assert!(compile(&profile, &mut Notes::default()).is_err());
    }
}
