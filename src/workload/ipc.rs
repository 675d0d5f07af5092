//! Rows: pipes, sockets, epoll, and how long it takes to wake somebody else.

use super::{Batch, Row, done, each, sys};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe, read, write};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

pub(super) const ROWS: &[Row] = &[
    Row::new("ipc", "pipe write+read, same thread", || {
        let (from, to) = pipe()?;
        each(move || {
            write(&to, &[1])?;
            done(read(&from, &mut [0])?)
        })
    }),
    Row::new("ipc", "pipe ping-pong, two threads", || {
        pipe_ping_pong(|from, to| {
            Ok(Partner::Thread(std::thread::spawn(move || {
                echo(&from, &to)
            })))
        })
    }),
    Row::new("ipc", "pipe ping-pong, two processes", || {
        pipe_ping_pong(echo_process)
    }),
    Row::new("ipc", "futex ping-pong, two threads", futex_ping_pong),
    Row::new("socket", "unix stream, same thread", || {
        let (mut a, mut b) = UnixStream::pair()?;
        each(move || {
            a.write_all(&[1])?;
            b.read_exact(&mut [0])
        })
    }),
    Row::new("socket", "unix ping-pong, two threads", || {
        let (ours, theirs) = UnixStream::pair()?;
        ping_pong(ours, theirs)
    }),
    Row::new("socket", "tcp ping-pong, two threads", || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let ours = TcpStream::connect(listener.local_addr()?)?;
        let (theirs, _) = listener.accept()?;
        ours.set_nodelay(true)?;
        theirs.set_nodelay(true)?;
        ping_pong(ours, theirs)
    }),
    Row::new("socket", "tcp connect+accept+close", || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        each(move || {
            let client = TcpStream::connect(address)?;
            // The server's end lingers in TIME_WAIT, on the one port that it always has.
            drop(listener.accept()?);
            drop(client);
            Ok(())
        })
    }),
    Row::new("socket", "udp send+receive, same thread", || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(socket.local_addr()?)?;
        each(move || {
            socket.send(&[1])?;
            done(socket.recv(&mut [0])?)
        })
    }),
    Row::new("epoll", "wait, one of 100 is ready", || {
        let (epoll, events) = watched(100)?;
        if let Some(first) = events.first() {
            first.write(1)?;
        }
        each(move || {
            let _ = &events;
            let mut ready = [EpollEvent::empty()];
            done(epoll.wait(&mut ready, EpollTimeout::ZERO)?)
        })
    }),
    Row::new("epoll", "add+delete", || {
        let (epoll, events) = watched(1)?;
        let extra = EventFd::new()?;
        each(move || {
            let _ = &events;
            epoll.add(&extra, EpollEvent::new(EpollFlags::EPOLLIN, 1))?;
            Ok(epoll.delete(&extra)?)
        })
    }),
    Row::new("epoll", "eventfd write+wait+read", || {
        let (epoll, events) = watched(1)?;
        each(move || {
            for event in &events {
                event.write(1)?;
                epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)?;
                event.read()?;
            }
            Ok(())
        })
    }),
];

/// Ends an echo.
const STOP: u8 = 0;

/// Sends back each byte until it is told to stop.
fn echo(from: &OwnedFd, to: &OwnedFd) {
    let mut byte = [STOP];
    while matches!(read(from, &mut byte), Ok(1)) && byte != [STOP] && write(to, &byte).is_ok() {}
}

/// Who answers.
enum Partner {
    Thread(JoinHandle<()>),
    Process(Pid),
}

/// Our ends of the pipes.
struct Ends {
    to: OwnedFd,
    from: OwnedFd,
    partner: Option<Partner>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        // A partner that is gone need not be told.
        let _ = write(&self.to, &[STOP]);
        match self.partner.take() {
            Some(Partner::Thread(t)) => drop(t.join()),
            Some(Partner::Process(pid)) => drop(waitpid(pid, None)),
            None => {}
        }
    }
}

fn pipe_ping_pong(
    partner: impl FnOnce(OwnedFd, OwnedFd) -> io::Result<Partner>,
) -> io::Result<Batch> {
    let (their_from, to) = pipe()?;
    let (from, their_to) = pipe()?;
    let partner = Some(partner(their_from, their_to)?);
    let ends = Ends { to, from, partner };
    each(move || {
        let ends = &ends;
        write(&ends.to, &[1])?;
        match read(&ends.from, &mut [0])? {
            1 => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    })
}

/// The process that answers; it goes when the workload does.
fn echo_process(from: OwnedFd, to: OwnedFd) -> io::Result<Partner> {
    let pid = sys::fork(|| {
        let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
        echo(&from, &to);
    })?;
    Ok(Partner::Process(pid))
}

/// A byte there and back over a connection whose other end a thread has. The thread ends with the connection.
fn ping_pong<S: Read + Write + Send + 'static>(mut ours: S, mut theirs: S) -> io::Result<Batch> {
    std::thread::spawn(move || {
        let mut byte = [0];
        while theirs.read_exact(&mut byte).is_ok() && theirs.write_all(&byte).is_ok() {}
    });
    each(move || {
        ours.write_all(&[1])?;
        ours.read_exact(&mut [0])
    })
}

/// A number that two threads count up in turns, ours from even to odd.
struct Turns(Arc<AtomicU32>);

const GO_HOME: u32 = u32::MAX;

impl Drop for Turns {
    fn drop(&mut self) {
        self.0.store(GO_HOME, Ordering::SeqCst);
        sys::futex_wake(&self.0);
    }
}

/// Waits while the number is `value`.
fn changed(word: &AtomicU32, value: u32) -> u32 {
    loop {
        match word.load(Ordering::SeqCst) {
            now if now != value => return now,
            _ => sys::futex_wait(word, value),
        }
    }
}

fn futex_ping_pong() -> io::Result<Batch> {
    let word = Arc::new(AtomicU32::new(0));
    let theirs = Arc::clone(&word);
    std::thread::spawn(move || {
        while changed(&theirs, 0) == 1 {
            // Not if it has just become GO_HOME.
            let _ = theirs.compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst);
            sys::futex_wake(&theirs);
        }
    });
    let turns = Turns(word);
    each(move || {
        turns.0.store(1, Ordering::SeqCst);
        sys::futex_wake(&turns.0);
        changed(&turns.0, 1);
        Ok(())
    })
}

/// An epoll instance that watches so many eventfds.
fn watched(count: u64) -> io::Result<(Epoll, Vec<EventFd>)> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut events = Vec::new();
    for n in 0..count {
        let event = EventFd::new()?;
        epoll.add(event.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, n))?;
        events.push(event);
    }
    Ok((epoll, events))
}
