# node: an HTTP server with worker threads, child processes, timers, streams.
#@ needs=node
#@ timeout=120
cat > program.js <<'END'
const http = require('http'), { Worker, isMainThread, parentPort, workerData } = require('worker_threads'), fs = require('fs'), os = require('os'), zlib = require('zlib'), crypto = require('crypto'), cp = require('child_process');
if (!isMainThread) { let s = 0; for (let i = 0; i < 1e6; i++) s = (s + i * workerData) % 1000003; parentPort.postMessage(s); return; }
const worker = n => new Promise((ok, bad) => { const w = new Worker(__filename, { workerData: n }); w.on('message', ok); w.on('error', bad); });
const get = (port, path) => new Promise((ok, bad) => http.get({ port, path, agent: false }, r => { let d = ''; r.on('data', x => d += x); r.on('end', () => ok(d)); }).on('error', bad));
(async () => {
  console.log((await Promise.all([1, 2, 3, 4].map(worker))).join());
  const server = http.createServer(async (q, r) => { if (q.url == '/work') r.end(String(await worker(5))); else r.end('hello ' + q.url); }).listen(0, '127.0.0.1');
  await new Promise(ok => server.on('listening', ok)); const port = server.address().port;
  console.log((await Promise.all(Array.from({ length: 40 }, (_, i) => get(port, '/' + i)))).length, await get(port, '/x'), await get(port, '/work')); server.close();
  fs.writeFileSync('f', 'x'.repeat(100000)); console.log(fs.statSync('f').size, (await fs.promises.readFile('f')).length);
  console.log(zlib.gunzipSync(zlib.gzipSync(fs.readFileSync('f'))).length, crypto.createHash('sha256').update('abc').digest('hex').slice(0, 16));
  console.log(cp.execSync('echo from a shell').toString().trim(), cp.spawnSync('sh', ['-c', 'exit 3']).status);
  const child = cp.spawn('cat'); child.stdin.end('through cat'); for await (const c of child.stdout) console.log(String(c));
  const t = Date.now(); await new Promise(ok => setTimeout(ok, 50)); console.log(Date.now() - t >= 49);
  await new Promise(ok => { const w = fs.watch('.', () => { w.close(); ok(); }); w.on('error', () => ok()); setTimeout(() => fs.writeFileSync('g', 'y'), 50); setTimeout(ok, 3000); });
  process.on('SIGUSR2', () => console.log('signal')); process.kill(process.pid, 'SIGUSR2'); await new Promise(ok => setTimeout(ok, 50));
  console.log(os.cpus().length >= 1, os.totalmem() > 0, process.platform, Object.keys(os.networkInterfaces()).includes('lo')); process.exit(7);
})();
END
node program.js; echo $?
