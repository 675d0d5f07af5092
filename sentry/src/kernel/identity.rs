//! identity.
use super::Cx;
use crate::syscalls::{Args, SysResult};
pub fn prctl(_cx: &mut Cx<'_>, _o: i32, _a: &Args) -> SysResult {
    Err(crate::abi::Errno::EINVAL.into())
}
