//! The instructions of a stub that nobody traces: signal handlers that post what happened, and a loop that waits
//! for the sentry's orders at the doorbell. Position independent; no vector registers.
//!
//! The instructions themselves are in `free.s`; those for pages of files, paths, pipes and epoll sets are in `pages.s`, `paths.s`, `pipes.s` and `interest.s`. The slot of the thread (see [`super::slot`]) is found by the stack pointer: the alternate signal stack is
//! its end. While the stub works, r15 is the slot. A ring is a system call that the filter turns into a notification:
//! rdi says what it is ([`super::slot::kind`]), its answer is an order ([`super::slot::order`]) in the low byte of rax.
//!
//! No signal is ever blocked, and none is returned from by rt_sigreturn, which the filter forbids: the guest's registers
//! go back by `iretq`, its vector registers by `xrstor` from the signal frame. A signal that meets the stub at work
//! returns there (`back`); one that meets it on the way to the guest finds the guest's registers still in the slot.
#![allow(unsafe_code)] // names the symbols of the assembly
#![allow(bad_asm_style)] // only AT&T syntax takes a difference of labels as an immediate
use std::arch::global_asm;

use super::{interest, paths, slot};

global_asm!(
    include_str!("pages.s"),
    include_str!("pipes.s"),
    include_str!("interest.s"),
    include_str!("paths.s"),
    include_str!("free.s"),
    slot = const slot::SLOT,
    slots = const slot::SLOTS,
    nonce_shift = const slot::NONCE_SHIFT,
    regs = const slot::REGS,
    fp = const slot::FP,
    fp_area = const slot::FP_AREA,
    fp_mask = const slot::FP_MASK_LOW,
    args = const slot::ARGS,
    stack = const slot::STACK,
    window = const slot::WINDOW,
    mailboxes = const super::MAILBOX_OFFSET,
    doorbell = const super::filter::DOORBELL,
    interrupt = const crate::wake::SIGNAL,
    trap = const slot::kind::TRAP,
    done = const slot::kind::DONE,
    want_fd = const slot::kind::WANT_FD,
    hello = const slot::kind::HELLO,
    ready = const slot::kind::READY,
    resume = const slot::order::RESUME,
    execute = const slot::order::EXECUTE,
    execute_return = const slot::order::EXECUTE_RETURN,
    execute_resume = const slot::order::EXECUTE_RESUME,
    cas = const slot::order::CAS,
    clone = const slot::order::CLONE,
    save_fp = const slot::order::SAVE_FP,
    exit = const slot::order::EXIT,
    ret = const slot::order::RETURN,
    ret_short = const slot::order::RETURN_SHORT,
    result = const slot::RESULT,
    order_futex = const slot::order::FUTEX,
    woken = const slot::kind::WOKEN,
    woken_before = const slot::woken::BEFORE,
    futex = const libc::SYS_futex,
    sched_yield = const libc::SYS_sched_yield,
    futex_private = const libc::FUTEX_PRIVATE_FLAG,
    futex_mask = const super::futex::mask(),
    futex_realtime = const super::futex::WAIT_REALTIME,
    answer_futex = const slot::ANSWERS + 8 * slot::answer::FUTEX,
    nap = const slot::NAP,
    efault = const libc::EFAULT,
    call = const slot::kind::CALL,
    window_shift = const slot::WINDOW_SHIFT,
    getpid = const libc::SYS_getpid,
    gettid = const libc::SYS_gettid,
    getuid = const libc::SYS_getuid,
    geteuid = const libc::SYS_geteuid,
    getgid = const libc::SYS_getgid,
    getegid = const libc::SYS_getegid,
    answer_pid = const slot::ANSWERS + 8 * slot::answer::PID,
    answer_tid = const slot::ANSWERS + 8 * slot::answer::TID,
    answer_uid = const slot::ANSWERS + 8 * slot::answer::UID,
    answer_euid = const slot::ANSWERS + 8 * slot::answer::EUID,
    answer_gid = const slot::ANSWERS + 8 * slot::answer::GID,
    answer_egid = const slot::ANSWERS + 8 * slot::answer::EGID,
    getppid = const libc::SYS_getppid,
    answer_ppid = const slot::ANSWERS + 8 * slot::answer::PPID,
    answer_descriptors = const slot::ANSWERS + 8 * slot::answer::DESCRIPTORS,
    descriptors = const slot::DESCRIPTORS,
    descriptor_mask = const crate::DESCRIPTORS - 1,
    descriptor_shift = const slot::descriptor::SHIFT,
    descriptor_position = const slot::descriptor::POSITION,
    descriptor_held = const slot::descriptor::HELD,
    descriptor_has_stat = const slot::descriptor::HAS_STAT,
    descriptor_stat = const slot::descriptor::STAT,
    descriptor_calls = const DESCRIPTOR_CALLS,
    known_read_ring = const crate::Known::READ_RING.bits(),
    known_write_ring = const crate::Known::WRITE_RING.bits(),
    descriptor_ring = const slot::descriptor::RING,
    ring_looks = const slot::RING_LOOKS,
    begun = const slot::BEGUN,
    ring_reader = const crate::WINDOW_LEN,
    ring_bytes = const crate::ring::BYTES,
    ring_size = const crate::ring::RING_SIZE,
    ring_held = const crate::ring::HELD,
    sys_epoll_ctl = const libc::SYS_epoll_ctl,
    epoll_ctl_del = const libc::EPOLL_CTL_DEL,
    epoll_exclusive = const libc::EPOLLEXCLUSIVE,
    interest_noted = const interest::NOTED,
    interest_held = const interest::HELD,
    interest_epoll = const interest::EPOLL,
    interest_taken = const interest::TAKEN,
    interest_allowed = const interest::ALLOWED,
    interest_fds = const interest::FDS,
    interest_list = const interest::LIST,
    interest_notes = const interest::NOTES,
    interest_in = const interest::IN,
    interest_out = const interest::OUT,
    known_end = const crate::Known::READ_END.bits(),
    known_zeroes = const crate::Known::READ_ZEROES.bits(),
    known_writes = const crate::Known::WRITE_ALL.bits(),
    pages_window = const slot::descriptor::pages::WINDOW,
    pages_readable = const slot::descriptor::pages::VALID,
    pages_writable = const slot::descriptor::pages::VALID + 4,
    pages_written_at = const slot::descriptor::pages::WRITTEN_AT,
    pages_read_at = const slot::descriptor::pages::READ_AT,
    pages_copying = const slot::descriptor::pages::COPYING,
    sys_read = const libc::SYS_read,
    sys_pread = const libc::SYS_pread64,
    sys_pwrite = const libc::SYS_pwrite64,
    sys_write = const libc::SYS_write,
    sys_fstat = const libc::SYS_fstat,
    sys_newfstatat = const libc::SYS_newfstatat,
    empty_path = const libc::AT_EMPTY_PATH,
    sys_lseek = const libc::SYS_lseek,
    stat_words = const size_of::<libc::stat>() / 8,
    guest_end_high = const crate::GUEST_END >> 32,
    most_bytes = const MOST_BYTES,
    sys_stat = const libc::SYS_stat,
    sys_lstat = const libc::SYS_lstat,
    sys_access = const libc::SYS_access,
    sys_faccessat = const libc::SYS_faccessat,
    sys_faccessat2 = const libc::SYS_faccessat2,
    eaccess = const libc::AT_EACCESS,
    nofollow = const libc::AT_SYMLINK_NOFOLLOW,
    no_automount = const libc::AT_NO_AUTOMOUNT,
    answer_paths = const slot::ANSWERS + 8 * slot::answer::PATHS,
    paths = const slot::PATHS,
    path_bits = const paths::BITS,
    path_shift = const paths::SHIFT,
    path_factor = const paths::FACTOR,
    path_words = const paths::WORDS,
    path_stat = const paths::STAT,
    path_lstat = const paths::LSTAT,
    path_access = const paths::ACCESS,
    path_access_effective = const paths::ACCESS_EFFECTIVE,
    path_key = const paths::KEY,
    path_epoch = const paths::EPOCH,
    path_counter = const paths::COUNTER,
    path_uses = const paths::USES,
    path_result = const paths::RESULT,
    path_attributes = const paths::ATTRIBUTES,
    path_text = const paths::TEXT,
    epochs = const super::EPOCHS_OFFSET,
    epochs_mask = const crate::EPOCHS - 1,
    pending = const slot::PENDING,
    frame = const slot::FRAME,
    state = const slot::STATE,
    hot = const slot::HOT,
    spin = const slot::SPIN,
    message = const slot::MESSAGE,
    line = const slot::LINE,
    short = const slot::SHORT,
    short_out = const slot::SHORT_OUT,
    number = const slot::state::NUMBER,
    string_shift = const slot::windows::STRING_SHIFT,
    out_address = const slot::OUT_ADDRESS,
    in_area = const slot::IN,
    out_area = const slot::OUT,
    bounce = const slot::BOUNCE,
    string = const slot::STRING,
    calls = const super::eager::CALLS,
    text = const TEXT,
    posted = const slot::state::POSTED,
    answered = const slot::state::ANSWERED,
    asleep = const slot::state::ASLEEP,
    said = const slot::state::SAID,
    windows_in = const slot::windows::IN,
    windows_out = const slot::windows::OUT,
    windows_vector = const slot::windows::VECTOR,
    vector_bit = const super::eager::VECTOR_BIT,
    value = const slot::VALUE,
    cpu_segment = const CPU_SEGMENT,
    user_cs = const 0x33,
    user_ds = const 0x2b,
    eintr = const libc::EINTR,
    close = const libc::SYS_close,
    mmap = const libc::SYS_mmap,
    madvise = const libc::SYS_madvise,
    sigaltstack = const libc::SYS_sigaltstack,
    sys_clone = const libc::SYS_clone,
    sys_exit = const libc::SYS_exit,
    exit_group = const libc::SYS_exit_group,
    map_flags = const libc::MAP_SHARED | libc::MAP_FIXED,
    dontfork = const libc::MADV_DONTFORK,
);

/// Selector of the segment whose limit tells the processor's number in its low 12 bits (`__CPUNODE_SEG` in asm/segment.h).
const CPU_SEGMENT: u32 = 0x7b;

/// The calls on a descriptor that the stub may answer, as bits (and newfstatat with an empty path, which is fstat). read(2) is number 0.
const DESCRIPTOR_CALLS: u64 = 1 << libc::SYS_read
    | 1 << libc::SYS_write
    | 1 << libc::SYS_fstat
    | 1 << libc::SYS_lseek
    | 1 << libc::SYS_pread64
    | 1 << libc::SYS_pwrite64;
const _: () = assert!(libc::SYS_read == 0 && DESCRIPTOR_CALLS < 1 << 31);
const _: () = assert!(crate::ring::RING_SIZE.is_power_of_two());
const _: () = assert!(crate::GUEST_END.is_multiple_of(1 << 32));

/// Of longer reads and writes the stub answers none: a thread that fills memory for long is deaf.
const MOST_BYTES: u64 = 1 << 20;

unsafe extern "C" {
    static cofferdam_free_start: u8;
    static cofferdam_free_first: u8;
    static cofferdam_free_handler: u8;
    static cofferdam_free_gate: u8;
    static cofferdam_free_window: u8;
    static cofferdam_free_slow: u8;
    static cofferdam_free_futex: u8;
    static cofferdam_free_end: u8;
}

/// Distance of a symbol of the stub from its start.
fn offset(symbol: *const u8) -> u64 {
    (symbol.addr() - (&raw const cofferdam_free_start).addr()) as u64
}

/// Where in the text the mark is by which the sentry knows its own stubs: eight bytes that are random for each sandbox.
pub(crate) const MARK: u64 = TEXT - 8;

/// Length of the instructions, with the mark, in bytes: a power of two, so that the filter can tell them by a mask.
pub(crate) const TEXT: u64 = 2 * super::PAGE;
const _: () = assert!(TEXT.is_power_of_two());

/// What is to be copied to [`super::Layout::base`]: the instructions with the mark and behind them the table of eager copies. The gate knows where
/// the mailboxes lie.
pub(crate) fn image(layout: &super::Layout, mark: u64) -> Vec<u8> {
    let start = &raw const cofferdam_free_start;
    // SAFETY: both symbols bound one read-only section that the assembly fills.
    let text = unsafe {
        std::slice::from_raw_parts(start, offset(&raw const cofferdam_free_end) as usize)
    };
    let mut image = text.to_vec();
    assert!(
        image.len() as u64 <= MARK,
        "the stub does not fit its pages"
    );
    image.resize(MARK as usize, 0xcc);
    image.extend(mark.to_le_bytes());
    let window = (layout.mailboxes() >> slot::WINDOW_SHIFT) as u32;
    let at = offset(&raw const cofferdam_free_window) as usize;
    if let Some(displacement) = image.get_mut(at..at + 4) {
        displacement.copy_from_slice(&window.wrapping_neg().to_le_bytes());
    }
    image.extend(
        super::eager::TABLE
            .iter()
            .flat_map(|entry| entry.to_le_bytes()),
    );
    image
}

/// Offset of the zygote's first instruction.
pub(crate) fn first() -> u64 {
    offset(&raw const cofferdam_free_first)
}

/// Offset of the signal handler.
pub(crate) fn handler() -> u64 {
    offset(&raw const cofferdam_free_handler)
}

/// Offset of the gate.
pub(crate) fn gate() -> u64 {
    offset(&raw const cofferdam_free_gate)
}

/// Offset behind the instruction that makes futex calls.
pub(crate) fn futex() -> u64 {
    offset(&raw const cofferdam_free_futex)
}

/// Offset behind the trap of a gate that does not find its slot.
pub(crate) fn slow() -> u64 {
    offset(&raw const cofferdam_free_slow)
}
