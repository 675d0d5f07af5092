//! Any settings and any bytes, as a terminal's line discipline gets them from both sides: buffers stay bounded.
#![no_main]

use cofferdam_sentry::fs::tty::ldisc::{BUFFER, LineDiscipline};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut line = LineDiscipline::default();
    let mut rest = bytes;
    while let [what, n, more @ ..] = rest {
        let (part, more) = more.split_at(more.len().min(usize::from(*n)));
        rest = more;
        match what % 6 {
            0 => {
                let mut t = *line.termios();
                for (c, b) in t.cc.iter_mut().zip(part) {
                    *c = *b;
                }
                if let Some(flags) = part.last_chunk::<4>() {
                    let flags = u32::from_ne_bytes(*flags);
                    (t.iflag, t.oflag, t.lflag) = (flags, flags.rotate_left(7), flags.rotate_left(13));
                }
                line.set_termios(t);
            }
            1 => drop(line.read(part.len())),
            2 => line.suspend_output(part.len() % 2 == 0),
            3 => line.output().clear(),
            4 => drop(line.write(part)),
            _ => drop(line.receive(&part.repeat(1 + usize::from(*n) / 8))),
        }
        line.take_effects();
        assert!(line.available() <= BUFFER);
        assert!(line.output().len() <= 17 * BUFFER);
    }
});
