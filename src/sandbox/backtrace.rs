//! Return addresses of the calling thread, without names.
//!
//! Names would have to be read from the executable, which a confined process cannot open; the addresses are relative to
//! it, so that `addr2line -e cofferdam` finds the lines.
#![allow(unsafe_code)] // the C unwinder

use std::ffi::c_void;

/// Most addresses that are collected.
const MOST: usize = 64;

#[repr(C)]
struct Context {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn _Unwind_Backtrace(
        each: extern "C" fn(*mut Context, *mut c_void) -> i32,
        argument: *mut c_void,
    ) -> i32;
    fn _Unwind_GetIP(context: *mut Context) -> usize;
    static __executable_start: u8;
}

extern "C" fn note(context: *mut Context, argument: *mut c_void) -> i32 {
    const GO_ON: i32 = 0;
    const END_OF_STACK: i32 = 5;
    // SAFETY: `capture` passes its vector, which outlives the walk; the unwinder passes a valid context.
    let (found, address) = unsafe { (&mut *argument.cast::<Vec<usize>>(), _Unwind_GetIP(context)) };
    found.push(address);
    if found.len() < MOST {
        GO_ON
    } else {
        END_OF_STACK
    }
}

/// The addresses, innermost first, in hexadecimal.
pub fn capture() -> String {
    let mut found: Vec<usize> = Vec::with_capacity(MOST);
    // SAFETY: the callback gets the vector it expects; walking a thread's own stack is always allowed.
    unsafe { _Unwind_Backtrace(note, (&raw mut found).cast()) };
    let base = (&raw const __executable_start).addr();
    let relative: Vec<String> = found
        .iter()
        .map(|a| format!("{:#x}", a.wrapping_sub(base)))
        .collect();
    relative.join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn addresses_lie_in_the_program() {
        let text = super::capture();
        let addresses: Vec<usize> = text
            .split(' ')
            .map(|a| usize::from_str_radix(a.trim_start_matches("0x"), 16).unwrap())
            .collect();
        assert!(addresses.len() > 3, "{text}");
        assert!(addresses.iter().take(3).all(|a| *a < 1 << 30), "{text}");
    }
}
