//! The sentry's own hot paths, without a guest: path walk, descriptor table, wait queues, file data, the gofer's codec.
//!
//! `cargo bench --bench sentry [-- FILTER]`. What a call costs a guest altogether, `cofferdam bench` tells.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a benchmark ends where it fails

use cofferdam_gofer::protocol::{Access, HandleId, NamesBuf, Request};
use cofferdam_sentry::abi::Errno;
use cofferdam_sentry::fs::tmpfs::{Tmpfs, TmpfsOptions};
use cofferdam_sentry::kernel::{FdTable, MAX_FDS};
use cofferdam_sentry::sync::{Events, Notify, WaitQueue};
use cofferdam_sentry::usermem::{KernelSink, KernelSource};
use cofferdam_sentry::vfs::{
    At, File, FsContext, KernelCaller, MountFlags, MountNamespace, OpenFlags, OpenHow, WalkFlags,
    names, open, resolve,
};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;

/// A tree with a file at the top and one eight directories deep.
fn world() -> FsContext {
    let superblock = Tmpfs::superblock(&TmpfsOptions::parse(b"mode=755").unwrap());
    let namespace = MountNamespace::new(superblock, b"none", MountFlags::default());
    let fs = FsContext::new(namespace);
    let mut path = String::new();
    for _ in 0..8 {
        path.push_str("/directory");
        names::mkdir(&KernelCaller, &fs, &At::Cwd, path.as_bytes(), 0o755).unwrap();
    }
    file(&fs, "/file");
    file(&fs, &format!("{path}/file"));
    fs
}

fn file(fs: &FsContext, path: &str) -> Arc<File> {
    let how = OpenHow {
        flags: OpenFlags::CREAT | OpenFlags::RDWR,
        mode: 0o644,
        resolve: WalkFlags::empty(),
    };
    open(&KernelCaller, fs, &At::Cwd, path.as_bytes(), &how).unwrap()
}

fn path_walk(c: &mut Criterion) {
    let mut group = c.benchmark_group("path walk");
    let fs = world();
    let deep = format!("{}/file", "/directory".repeat(8));
    let walk = |path: &str| {
        let path = black_box(path.as_bytes());
        resolve(&KernelCaller, &fs, &At::Cwd, path, WalkFlags::FOLLOW)
    };
    group.bench_function("one component", |b| b.iter(|| walk("/file").unwrap()));
    group.bench_function("nine components", |b| b.iter(|| walk(&deep).unwrap()));
    group.bench_function("ENOENT", |b| {
        b.iter(|| assert_eq!(walk("/missing").err(), Some(Errno::ENOENT)))
    });
    group.bench_function("open and drop", |b| b.iter(|| file(&fs, "/file")));
}

fn fd_table(c: &mut Criterion) {
    let mut group = c.benchmark_group("fd table");
    let fs = world();
    let open = file(&fs, "/file");
    let table = FdTable::default();
    for _ in 0..100 {
        let file = open.clone();
        table.install(file, false, 0, MAX_FDS as u64).unwrap();
    }
    group.bench_function("get", |b| b.iter(|| table.get(black_box(50)).unwrap()));
    group.bench_function("EBADF", |b| {
        b.iter(|| assert_eq!(table.get(black_box(-1)).err(), Some(Errno::EBADF)))
    });
    group.bench_function("install and remove, 100 open", |b| {
        b.iter(|| {
            let file = open.clone();
            let fd = table.install(file, true, 0, MAX_FDS as u64).unwrap();
            table.remove(fd).unwrap()
        })
    });
}

struct Nobody;
impl Notify for Nobody {
    fn notify(&self, events: Events) {
        black_box(events);
    }
}

fn wait_queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("wait queue");
    let nobody: Arc<dyn Notify> = Arc::new(Nobody);
    let queue = WaitQueue::new();
    group.bench_function("wake, no waiter", |b| {
        b.iter(|| queue.wake(black_box(Events::IN)))
    });
    group.bench_function("register and unregister", |b| {
        b.iter(|| queue.unregister(queue.register(nobody.clone(), Events::IN)))
    });
    for (name, waiters) in [("wake 1", 1), ("wake 100", 99)] {
        for _ in 0..waiters {
            queue.register(nobody.clone(), Events::IN);
        }
        group.bench_function(name, |b| b.iter(|| queue.wake(black_box(Events::IN))));
    }
}

fn file_data(c: &mut Criterion) {
    let mut group = c.benchmark_group("tmpfs data");
    let file = file(&world(), "/file");
    let data = vec![1; 4096];
    group.bench_function("write 4 KiB", |b| {
        b.iter(|| {
            let mut source = KernelSource::new(&data);
            let ops = file.ops();
            ops.write(&file, &KernelCaller, &mut source, &mut 0, false)
                .unwrap()
        })
    });
    group.bench_function("read 4 KiB", |b| {
        b.iter(|| {
            let mut sink = KernelSink::new(4096);
            let ops = file.ops();
            assert_eq!(
                ops.read(&file, &KernelCaller, &mut sink, &mut 0).unwrap(),
                4096
            );
            sink
        })
    });
}

fn gofer_codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("gofer codec");
    let names = NamesBuf::new([b"usr".as_slice(), b"lib", b"libc.so.6"]).unwrap();
    let request = Request::Walk {
        dir: HandleId(7),
        names: names.as_names(),
        open: Some(Access::Read),
    };
    let mut message = Vec::new();
    group.bench_function("encode a walk", |b| {
        b.iter(|| {
            request
                .encode(black_box(1), &[HandleId(3)], &mut message)
                .unwrap()
        })
    });
    request.encode(1, &[HandleId(3)], &mut message).unwrap();
    group.bench_function("decode a walk", |b| {
        b.iter(|| Request::decode(black_box(&message)).unwrap().0)
    });
}

criterion_group!(
    benches,
    path_walk,
    fd_table,
    wait_queue,
    file_data,
    gofer_codec
);
criterion_main!(benches);
