//! Tests of the line discipline: bytes in, bytes and echo out.

use super::*;
use crate::fs::tty::output::OUTPUT_LIMIT;
use crate::fs::tty::termios::Output;

fn out(l: &mut LineDiscipline) -> String {
    let bytes: Vec<u8> = l.output().drain(..).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn typed(l: &mut LineDiscipline, keys: &[u8]) -> String {
    assert_eq!(l.receive(keys), keys.len());
    out(l)
}

fn with(change: impl FnOnce(&mut Termios)) -> LineDiscipline {
    let mut l = LineDiscipline::default();
    let mut t = *l.termios();
    change(&mut t);
    l.set_termios(t);
    l.take_effects();
    l
}

#[test]
fn a_line_is_readable_once_it_is_complete() {
    let mut l = LineDiscipline::default();
    assert_eq!(typed(&mut l, b"ab"), "ab");
    assert!(!l.has_input(1));
    assert_eq!(l.readable_bytes(), 0);
    assert_eq!(typed(&mut l, b"c\r"), "c\r\n");
    assert_eq!(l.readable_bytes(), 4);
    assert_eq!(l.read(2), b"ab");
    assert_eq!(l.read(100), b"c\n");
    assert!(!l.has_input(1));
}

#[test]
fn reads_end_at_the_end_of_a_line() {
    let mut l = LineDiscipline::default();
    typed(&mut l, b"one\ntwo\n");
    assert_eq!(l.read(100), b"one\n");
    assert_eq!(l.read(100), b"two\n");
}

#[test]
fn end_of_file_characters() {
    let mut l = LineDiscipline::default();
    assert_eq!(typed(&mut l, b"\x04"), "");
    assert!(l.has_input(1));
    assert_eq!(l.read(100), b"");
    assert!(!l.has_input(1));
    // In the middle of a line it pushes what there is.
    typed(&mut l, b"abc\x04");
    assert_eq!(l.readable_bytes(), 3);
    assert_eq!(l.read(100), b"abc");
    assert!(!l.has_input(1));
    // A read that takes exactly the bytes before it takes it as well.
    typed(&mut l, b"abc\x04");
    assert_eq!(l.read(3), b"abc");
    assert!(!l.has_input(1));
}

#[test]
fn erase_and_kill() {
    let mut l = LineDiscipline::default();
    assert_eq!(typed(&mut l, b"ab\x7f"), "ab\x08 \x08");
    // A control character is two columns wide.
    assert_eq!(typed(&mut l, b"\x01\x7f"), "^A\x08 \x08\x08 \x08");
    assert_eq!(typed(&mut l, b"b\x15"), "b\x08 \x08\x08 \x08");
    // Nothing left to erase: no echo.
    assert_eq!(typed(&mut l, b"\x7f\x15"), "");
    typed(&mut l, b"x\n");
    assert_eq!(l.read(10), b"x\n");
    // A finished line cannot be erased.
    typed(&mut l, b"y\n\x7f\x7f");
    assert_eq!(l.read(10), b"y\n");
}

#[test]
fn kill_without_echoke_shows_the_key() {
    let mut l = with(|t| t.lflag &= !Local::ECHOKE.bits());
    assert_eq!(typed(&mut l, b"ab\x15"), "ab^U\r\n");
    let mut l = with(|t| t.lflag &= !Local::ECHOE.bits());
    assert_eq!(typed(&mut l, b"ab\x7f"), "ab^?");
    typed(&mut l, b"\n");
    assert_eq!(l.read(9), b"a\n");
}

#[test]
fn word_erase_and_echoprt() {
    let mut l = LineDiscipline::default();
    typed(&mut l, b"one two_2  ");
    let erased = typed(&mut l, b"\x17");
    assert_eq!(erased, "\x08 \x08".repeat(7));
    typed(&mut l, b"\n");
    assert_eq!(l.read(20), b"one \n");
    let mut l = with(|t| t.lflag |= Local::ECHOPRT.bits());
    assert_eq!(typed(&mut l, b"abc\x7f\x7fd"), "abc\\cb/d");
    typed(&mut l, b"\n");
    assert_eq!(l.read(20), b"ad\n");
}

#[test]
fn utf8_is_erased_by_character() {
    let mut l = with(|t| t.iflag |= Input::IUTF8.bits());
    let keys = "aé\u{7f}".as_bytes();
    assert_eq!(typed(&mut l, keys), "aé\x08 \x08");
    typed(&mut l, b"\n");
    assert_eq!(l.read(9), b"a\n");
}

#[test]
fn tabs_are_erased_back_to_their_column() {
    let mut l = LineDiscipline::default();
    // The prompt puts the line at column 2.
    assert_eq!(l.write(b"$ "), 2);
    assert_eq!(typed(&mut l, b"abc\t\x7f"), "$ abc\t\x08\x08\x08");
    typed(&mut l, b"\t\t\x7f");
    let mut l = LineDiscipline::default();
    assert_eq!(
        typed(&mut l, b"\t\t\x7f"),
        "\t\t\x08\x08\x08\x08\x08\x08\x08\x08"
    );
}

#[test]
fn literal_next_and_reprint() {
    let mut l = LineDiscipline::default();
    assert_eq!(typed(&mut l, b"\x16\x03"), "^\x08^C");
    assert!(l.take_effects().signals.is_empty());
    assert_eq!(typed(&mut l, b"x\x12"), "x^R\r\n^Cx");
    typed(&mut l, b"\n");
    assert_eq!(l.read(9), b"\x03x\n");
}

#[test]
fn signals_flush_and_echo() {
    let mut l = LineDiscipline::default();
    typed(&mut l, b"done\nabc");
    assert_eq!(typed(&mut l, b"\x03"), "^C");
    let e = l.take_effects();
    assert_eq!(e.signals.as_slice(), [libc::SIGINT]);
    assert_eq!(e.packet, packet::FLUSHREAD | packet::FLUSHWRITE);
    assert!(!l.has_input(1), "ISIG without NOFLSH drops input");
    let mut l = with(|t| t.lflag |= Local::NOFLSH.bits());
    typed(&mut l, b"done\n\x1c\x1a");
    assert_eq!(
        l.take_effects().signals.as_slice(),
        [libc::SIGQUIT, libc::SIGTSTP]
    );
    assert_eq!(l.read(9), b"done\n");
}

#[test]
fn raw_mode_passes_everything() {
    let mut l = with(|t| {
        t.iflag = 0;
        t.oflag = 0;
        t.lflag = 0;
    });
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(typed(&mut l, &all), "");
    assert!(l.has_input(256));
    assert_eq!(l.read(1000), all);
    assert_eq!(l.write(b"\n\t\r"), 3);
    assert_eq!(out(&mut l), "\n\t\r");
}

#[test]
fn carriage_return_mapping() {
    let mut l = with(|t| {
        t.iflag = (Input::INLCR | Input::IGNCR).bits();
        t.lflag = 0;
    });
    typed(&mut l, b"a\r\nb");
    assert_eq!(l.read(9), b"a\rb");
}

#[test]
fn output_processing() {
    let mut l = LineDiscipline::default();
    l.write(b"a\nb\tc\r");
    assert_eq!(out(&mut l), "a\r\nb\tc\r");
    let mut l = with(|t| t.oflag |= Output::XTABS.bits());
    l.write(b"ab\tc\t\n");
    assert_eq!(out(&mut l), "ab      c       \r\n");
    let mut l = with(|t| t.oflag = (Output::OPOST | Output::OCRNL | Output::OLCUC).bits());
    l.write(b"ab\rc");
    assert_eq!(out(&mut l), "AB\nC");
    let mut l = with(|t| t.oflag |= Output::ONOCR.bits());
    l.write(b"\ra\r");
    assert_eq!(out(&mut l), "a\r");
}

#[test]
fn flow_control_holds_output_and_echo() {
    let mut l = LineDiscipline::default();
    typed(&mut l, b"\x13");
    assert!(!l.writable());
    assert_eq!(l.write(b"hello"), 0);
    assert_eq!(typed(&mut l, b"abc"), "");
    assert_eq!(typed(&mut l, b"\x11"), "abc");
    assert_eq!(l.take_effects().packet & packet::START, packet::START);
    assert_eq!(l.write(b"hello"), 5);
    // tcflow stops survive ^Q.
    l.suspend_output(true);
    typed(&mut l, b"\x11");
    assert!(!l.writable());
    l.suspend_output(false);
    assert!(l.writable());
    // Clearing IXON starts output again.
    typed(&mut l, b"\x13");
    let mut t = *l.termios();
    t.iflag &= !Input::IXON.bits();
    l.set_termios(t);
    assert!(l.writable());
}

#[test]
fn an_overlong_line_keeps_its_newline() {
    let mut l = with(|t| t.lflag &= !Local::ECHO.bits());
    assert_eq!(l.receive(&[b'x'; 5000]), 5000);
    assert!(!l.has_input(1));
    assert_eq!(l.receive(b"\n"), 1);
    let line = l.read(10000);
    assert_eq!(line.len(), BUFFER);
    assert_eq!(line.last(), Some(&b'\n'));
    // With a line waiting, a full buffer takes no more.
    l.receive(b"first\n");
    assert_eq!(l.receive(&[b'y'; 5000]), BUFFER - 1 - 6);
}

#[test]
fn raw_input_stops_when_the_buffer_is_full() {
    let mut l = with(|t| t.lflag = 0);
    assert_eq!(l.receive(&[b'x'; 5000]), BUFFER - 1);
    assert_eq!(l.read(10).len(), 10);
    assert_eq!(l.receive(&[b'x'; 5000]), 10);
}

#[test]
fn changing_between_modes_keeps_input() {
    let mut l = LineDiscipline::default();
    typed(&mut l, b"ab");
    let canon = *l.termios();
    l.set_termios(Termios {
        lflag: canon.lflag & !Local::ICANON.bits(),
        ..canon
    });
    assert!(l.has_input(2));
    l.receive(b"c");
    l.set_termios(canon);
    assert_eq!(l.read(9), b"abc");
}

#[test]
fn a_long_paste_is_echoed_whole() {
    let mut l = LineDiscipline::default();
    let paste = "\x01y".repeat(2000);
    assert_eq!(typed(&mut l, paste.as_bytes()), "^Ay".repeat(2000));
    // What nobody can see is not kept: reprinting a long line for ever, stop characters.
    typed(&mut l, b"\x13");
    l.receive(&[0x12; 50_000]);
    for _ in 0..100_000 {
        l.send_urgent(0x13);
    }
    assert!(l.output().len() <= super::super::output::OUTPUT_LIMIT);
}

#[test]
fn output_is_bounded() {
    let mut l = LineDiscipline::default();
    let many = vec![b'\n'; 100_000];
    let n = l.write(&many);
    assert_eq!(n, super::super::output::OUTPUT_LIMIT / 2);
    assert!(!l.writable());
    assert_eq!(l.write(b"x"), 0);
    // Echo does not grow it either.
    for _ in 0..100 {
        l.receive(&[b'e'; 1000]);
    }
    assert!(l.output().len() <= super::super::output::OUTPUT_LIMIT);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 300, ..Default::default() })]
    /// Any settings, keys and reads: buffers stay bounded, and what is read was there.
    #[test]
    fn buffers_stay_bounded(
        steps in proptest::collection::vec(
            (0u8..8, proptest::num::u32::ANY, proptest::collection::vec(proptest::num::u8::ANY, 0..200)), 0..60),
    ) {
        let mut l = LineDiscipline::default();
        for (what, n, bytes) in steps {
            match what {
                0 => {
                    let mut t = *l.termios();
                    (t.iflag, t.oflag, t.lflag) = (n, n.rotate_left(7), n.rotate_left(13));
                    for (c, b) in t.cc.iter_mut().zip(&bytes) {
                        *c = *b;
                    }
                    l.set_termios(t);
                }
                1 => l.flush_input(),
                2 => l.suspend_output(n % 2 == 0),
                3 => drop(l.read(n as usize % 5000)),
                4 => {
                    let taken = l.output().len().min(n as usize % 5000);
                    l.output().drain(..taken);
                    l.output_taken();
                }
                5 => drop(l.write(&bytes)),
                _ => {
                    let most = bytes.repeat(1 + n as usize % 40);
                    assert!(l.receive(&most) <= most.len());
                }
            }
            l.take_effects();
            assert!(l.available() <= BUFFER, "{} bytes wait", l.available());
            assert!(l.output().len() <= OUTPUT_LIMIT + BUFFER, "{} bytes go out", l.output().len());
        }
    }
}
