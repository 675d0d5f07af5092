# python3: threads, processes, asyncio, sockets, mmap, temporary files, sqlite3, json.
#@ needs=python3
#@ timeout=120
cat > program.py <<'END'
import asyncio, concurrent.futures, hashlib, json, mmap, multiprocessing, os, queue, select, signal, socket, sqlite3
import subprocess, sys, tempfile, threading, time, zlib
if __name__ != "__main__": print = lambda *a: None  # what spawn and forkserver import again

print(6 * 7, sys.version_info[0], json.dumps({"a": [1, 2, None], "b": "ü"}))
print(hashlib.sha256(b"x" * 100000).hexdigest()[:16], len(zlib.compress(b"y" * 100000)))
with tempfile.TemporaryDirectory(dir=".") as d:
    with open(os.path.join(d, "f"), "w+b") as f:
        f.write(b"0" * 8192); f.flush()
        with mmap.mmap(f.fileno(), 0) as m: m[10:15] = b"hello"; print(m.find(b"hello"))
    print(os.stat(os.path.join(d, "f")).st_size, sorted(os.listdir(d)))
q = queue.Queue()
threads = [threading.Thread(target=lambda i=i: q.put(sum(range(i * 1000)))) for i in range(20)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sum(q.get() for _ in threads))
with concurrent.futures.ThreadPoolExecutor(8) as pool: print(sum(pool.map(lambda n: n * n, range(200))))
def work(n): return n * n
if __name__ == "__main__":
    for method in ["fork", "spawn", "forkserver"]:
        with multiprocessing.get_context(method).Pool(3) as pool: print(method, pool.map(work, range(6)))
    out = subprocess.run(["sh", "-c", "echo out; echo err >&2; exit 3"], capture_output=True, text=True)
    print(out.stdout.strip(), out.stderr.strip(), out.returncode)
    p = subprocess.Popen(["sleep", "60"]); p.terminate(); print(p.wait())
    try: subprocess.run(["sleep", "60"], timeout=0.3)
    except subprocess.TimeoutExpired: print("timed out")
    got = []
    signal.signal(signal.SIGUSR1, lambda s, f: got.append(s)); os.kill(os.getpid(), signal.SIGUSR1); print(got)
    signal.setitimer(signal.ITIMER_REAL, 0.05); signal.signal(signal.SIGALRM, lambda s, f: got.append(s)); signal.pause(); print(got)
    async def echo(r, w): w.write(await r.readline()); await w.drain(); w.close()
    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async def client(i):
            r, w = await asyncio.open_connection("127.0.0.1", port)
            w.write(f"{i}\n".encode()); line = await r.readline(); w.close(); return int(line)
        print(sum(await asyncio.gather(*(client(i) for i in range(50)))))
        proc = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        print((await proc.communicate(b"through cat"))[0])
        server.close()
    asyncio.run(main())
    a, b = socket.socketpair(); a.send(b"x"); print(select.select([b], [], [], 1)[0] == [b])
    e = select.epoll(); e.register(b, select.EPOLLIN); print(len(e.poll(1)))
    db = sqlite3.connect("d.db"); db.execute("create table t(x)"); db.executemany("insert into t values(?)", [(i,) for i in range(1000)]); db.commit()
    print(db.execute("select sum(x), count(*) from t").fetchone())
    pid, fd = os.forkpty()
    if pid == 0: os.execvp("sh", ["sh", "-c", "tty > /dev/null && echo a terminal"])
    print(os.read(fd, 100)); os.waitpid(pid, 0)
    print(os.getpriority(os.PRIO_PROCESS, 0), os.cpu_count() >= 1, os.sched_getaffinity(0) != set())
    start = time.monotonic(); time.sleep(0.05); print(0.05 <= time.monotonic() - start < 5)
END
python3 program.py
