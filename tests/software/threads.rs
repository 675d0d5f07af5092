//! Built by rust_threads.sh: many threads, channels, a TCP server, files, processes; prints the same every time.
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, RwLock, mpsc};
use std::thread;

fn main() {
    let total = Arc::new(AtomicU64::new(0));
    let barrier = Arc::new(Barrier::new(64));
    let workers: Vec<_> = (0..64_u64)
        .map(|i| {
            let (total, barrier) = (total.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                for n in 0..1000 {
                    total.fetch_add(i * n, Ordering::Relaxed);
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|w| w.join().unwrap());
    println!("total {}", total.load(Ordering::Relaxed));

    let (send, receive) = mpsc::sync_channel(4);
    for i in 0..8_u64 {
        let send = send.clone();
        thread::spawn(move || (0..500).for_each(|n| send.send(i * n).unwrap()));
    }
    drop(send);
    println!("received {}", receive.iter().sum::<u64>());

    let log = Arc::new(Mutex::new(Vec::new()));
    let map = Arc::new(RwLock::new(0_u64));
    thread::scope(|s| {
        for i in 0..16_u64 {
            let (log, map) = (&log, &map);
            s.spawn(move || {
                *map.write().unwrap() += i;
                log.lock().unwrap().push(i);
            });
        }
    });
    let mut seen = log.lock().unwrap().clone();
    seen.sort_unstable();
    println!("{seen:?} {}", map.read().unwrap());

    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let echo = thread::spawn(move || {
        for _ in 0..20 {
            let (stream, _) = server.accept().unwrap();
            thread::spawn(move || {
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                (&stream).write_all(line.to_uppercase().as_bytes()).unwrap();
            });
        }
    });
    let clients: Vec<_> = (0..20)
        .map(|i| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                writeln!(stream, "client {i}").unwrap();
                let mut line = String::new();
                BufReader::new(stream).read_line(&mut line).unwrap();
                line.trim() == format!("CLIENT {i}")
            })
        })
        .collect();
    println!("echoes {}", clients.into_iter().filter(|_| true).map(|c| c.join().unwrap()).filter(|ok| *ok).count());
    echo.join().unwrap();
    let out = std::process::Command::new("/bin/echo").arg("a child").output().unwrap();
    print!("{}", String::from_utf8_lossy(&out.stdout));
    let died = std::panic::catch_unwind(|| panic!("caught"));
    println!("panic caught {}", died.is_err());
}
