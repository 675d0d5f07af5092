//! A buffer per thread for data that passes through the sentry: no allocation, and no zeroing, per call.

use std::cell::RefCell;

/// Most bytes of it.
const MOST: usize = 128 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with a buffer of at most 128 KiB, as large as `want` if that is less. What is in it is left over from other calls: nothing of it
/// may go anywhere before it is written.
pub fn with_buffer<R>(want: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
    let len = want.min(MOST);
    BUFFER.with(|cell| match cell.try_borrow_mut() {
        Ok(mut buf) => {
            if buf.len() < len {
                buf.resize(len, 0);
            }
            f(buf.get_mut(..len).unwrap_or_default())
        }
        Err(_) => f(&mut vec![0; len]),
    })
}
