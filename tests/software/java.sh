# Java: the compiler, threads, heap and its limits with each collector, mapped files, selectors, HTTP, processes, signals, the tools that attach.
#@ needs=java javac jcmd
#@ timeout=180
cat > T.java <<'J'
import com.sun.net.httpserver.HttpServer;
import java.io.*;
import java.net.*;
import java.net.http.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;

public class T {
    static void memory() throws Exception {
        var pool = Executors.newFixedThreadPool(8);
        var sums = new ArrayList<Future<Integer>>();
        for (int i = 0; i < 500; i++) { int n = i; sums.add(pool.submit(() -> new byte[n * 100].length)); }
        int sum = 0;
        for (var f : sums) sum += f.get();
        pool.shutdown();
        System.out.println("threads " + sum + " " + pool.awaitTermination(9, TimeUnit.SECONDS));
        try { var l = new ArrayList<byte[]>(); while (true) l.add(new byte[4 << 20]); } catch (OutOfMemoryError e) { System.out.println("no memory"); }
        try { deeper(0); } catch (StackOverflowError e) { System.out.println("no stack"); }
        try { ((Object) null).toString(); } catch (NullPointerException e) { System.out.println("null"); }
    }
    static int deeper(int n) { return deeper(n + 1) + 1; }

    static void files() throws Exception {
        Path d = Files.createDirectory(Path.of("d")), f = d.resolve("f");
        Files.writeString(f, "hello\n".repeat(1000));
        try (var c = FileChannel.open(f, StandardOpenOption.READ, StandardOpenOption.WRITE); var lock = c.lock()) {
            var m = c.map(FileChannel.MapMode.READ_WRITE, 0, 6000);
            m.put(5000, (byte) 'A'); m.force();
            System.out.println("mapped " + c.size() + " " + lock.isValid());
        }
        var w = FileSystems.getDefault().newWatchService();
        d.register(w, StandardWatchEventKinds.ENTRY_CREATE);
        Files.createSymbolicLink(d.resolve("l"), Path.of("f"));
        System.out.println(w.poll(9, TimeUnit.SECONDS).pollEvents().get(0).context() + " " + Files.readString(d.resolve("l")).indexOf('A') + " " + Files.getAttribute(f, "unix:mode"));
        w.close();
    }

    static void sockets() throws Exception {
        var selector = Selector.open();
        var listener = ServerSocketChannel.open().bind(new InetSocketAddress("127.0.0.1", 0));
        listener.configureBlocking(false).register(selector, SelectionKey.OP_ACCEPT);
        int port = listener.socket().getLocalPort();
        var echo = new Thread(() -> {
            try {
                for (int done = 0; done < 10; selector.selectedKeys().clear()) {
                    selector.select();
                    for (var k : selector.selectedKeys()) {
                        if (k.isAcceptable()) { listener.accept().configureBlocking(false).register(selector, SelectionKey.OP_READ); continue; }
                        var c = (SocketChannel) k.channel();
                        var b = ByteBuffer.allocate(100);
                        if (c.read(b) < 0) { c.close(); done++; } else c.write(b.flip());
                    }
                }
            } catch (IOException e) { e.printStackTrace(); }
        });
        echo.start();
        var clients = Executors.newFixedThreadPool(10);
        var all = IntStream.range(0, 10).mapToObj(i -> clients.submit(() -> { int t = 0; try (var s = new Socket("127.0.0.1", port)) { for (int j = 0; j < 20; j++) { s.getOutputStream().write(i); t += s.getInputStream().read(); } } return t; })).toList();
        int total = 0;
        for (var f : all) total += f.get();
        echo.join(); clients.shutdown();
        System.out.println("selector " + total);
        var server = new ServerSocket(0);
        new Thread(() -> { try { Thread.sleep(50); server.close(); } catch (Exception e) { } }).start();
        try { server.accept(); } catch (SocketException e) { System.out.println(e.getMessage()); }
        try { new Socket("127.0.0.1", port == 1 ? 2 : 1); } catch (ConnectException e) { System.out.println(e.getMessage()); }
        var h = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        var workers = Executors.newCachedThreadPool();
        h.setExecutor(workers);
        h.createContext("/", x -> { byte[] r = ("hello " + x.getRequestURI()).getBytes(); x.sendResponseHeaders(200, r.length); x.getResponseBody().write(r); x.close(); });
        h.start();
        var client = HttpClient.newHttpClient();
        var answers = IntStream.range(0, 40).mapToObj(i -> client.sendAsync(HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + h.getAddress().getPort() + "/" + i)).build(), HttpResponse.BodyHandlers.ofString())).toList();
        int n = 0;
        for (var a : answers) n += a.get().body().length();
        h.stop(0); workers.shutdown();
        System.out.println("http " + n);
    }

    static void processes() throws Exception {
        var p = new ProcessBuilder("sh", "-c", "cat; echo error >&2; exit 5").redirectErrorStream(true).start();
        p.getOutputStream().write("input\n".getBytes()); p.getOutputStream().close();
        System.out.print(new String(p.getInputStream().readAllBytes()));
        var s = new ProcessBuilder("sleep", "100").start();
        s.destroy();
        System.out.println(p.waitFor() + " " + s.waitFor());
        try { new ProcessBuilder("/none").start(); } catch (IOException e) { System.out.println(e.getMessage()); }
        System.out.println(ProcessHandle.current().pid() == Long.parseLong(Path.of("/proc/self").toRealPath().getFileName().toString()));
    }

    public static void main(String[] what) throws Exception {
        for (String w : what)
            switch (w) {
                case "memory" -> memory();
                case "files" -> files();
                case "sockets" -> sockets();
                case "processes" -> processes();
                case "wait" -> { System.out.println("ready"); new CountDownLatch(1).await(); }
            }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
        System.exit(3);
    }
}
J
javac T.java; echo "javac $?"
java -Xmx128m T memory files sockets processes; echo "G1: $?"
for gc in Parallel Serial Z; do java -Xmx128m -XX:+Use${gc}GC T memory; echo "$gc: $?"; done
# Tools that find a running machine, attach to it and make it answer; a dump of its threads at a signal.
java -Xmx64m T wait > out & p=$!
until grep -q ready out; do sleep 0.1; done
jps | grep -c ' T$'
jcmd $p VM.flags | grep -o 'MaxHeapSize=[0-9]*'
jstack $p | grep -A1 '"main"' | grep -o 'Thread.State.*'
kill -QUIT $p; for i in $(seq 100); do grep -q 'Full thread dump' out && break; sleep 0.1; done; grep -c 'Full thread dump' out
kill $p; wait $p; echo "killed: $?"
