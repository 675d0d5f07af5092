//! Turns a role's list into a seccomp filter and installs it.

use super::filters::{Condition, Role, Rule};
use super::{Result, at};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::io;

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;

/// Confines all threads of this process, present and future, to the role's system calls. Anything else ends in
/// [`super::violation`]'s handler: the number is reported and the process ends.
///
/// # Errors
/// The kernel's refusal, or a list that cannot be compiled (a bug that the unit tests would find).
pub fn confine(role: &Role) -> Result<()> {
    super::process::no_new_privs()?;
    super::violation::report_violations(role.name)?;
    for rule in role.rules() {
        let name = usize::try_from(rule.number)
            .ok()
            .and_then(cofferdam_sentry::abi::sysno::name);
        log::trace!(
            "{} may call {}: {}",
            role.name,
            name.unwrap_or("?"),
            rule.reason
        );
    }
    for program in compile(role).map_err(at("compile its system call filter"))? {
        seccompiler::apply_filter_all_threads(&program)
            .map_err(|e| io::Error::other(e.to_string()))
            .map_err(at("install its system call filter"))?;
    }
    Ok(())
}

/// Two programs, of whose answers the kernel takes the stricter (death before ENOSYS): calls that get ENOSYS because the C library then takes
/// another way, and the allow-list.
pub fn compile(role: &Role) -> io::Result<Vec<BpfProgram>> {
    let refused = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    Ok(vec![
        // First, since the allow-list does not allow to install another filter.
        program(role.refused, SeccompAction::Allow, refused)?,
        program(
            &[&role.rules(), role.refused].concat(),
            SeccompAction::Trap,
            SeccompAction::Allow,
        )?,
    ])
}

fn program(
    rules: &[Rule],
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> io::Result<BpfProgram> {
    let bad = |e: seccompiler::BackendError| io::Error::other(e.to_string());
    let mut map: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in rules {
        let entry = map.entry(rule.number).or_default();
        if !rule.when.is_empty() {
            let conditions = rule
                .when
                .iter()
                .map(condition)
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(bad)?;
            entry.push(SeccompRule::new(conditions).map_err(bad)?);
        }
    }
    SeccompFilter::new(map, otherwise, matched, ARCH)
        .and_then(BpfProgram::try_from)
        .map_err(bad)
}

fn condition(c: &Condition) -> std::result::Result<SeccompCondition, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    match *c {
        Condition::Is(arg, value) => SeccompCondition::new(arg, Dword, SeccompCmpOp::Eq, value),
        Condition::Masked(arg, mask, value) => {
            SeccompCondition::new(arg, Qword, SeccompCmpOp::MaskedEq(mask), value)
        }
    }
}
