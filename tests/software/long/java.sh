# Java: compiler and virtual machine with three collectors; threads, sockets, mapped and locked files, a watch, a child, faults.
#@ needs=java javac
#@ timeout=120
cat > M.java <<'J'
import java.net.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;

public class M {
    public static void main(String[] a) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(16);
        List<Future<Integer>> all = new ArrayList<>();
        for (int i = 0; i < 200; i++) { int k = i; all.add(pool.submit(() -> { Thread.sleep(1); return k; })); }
        long sum = 0;
        for (var f : all) sum += f.get();
        System.out.println(sum);
        ServerSocket server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        new Thread(() -> {
            try { for (int i = 0; i < 10; i++) { Socket c = server.accept(); c.getOutputStream().write("hi".getBytes()); c.close(); } }
            catch (Exception e) { System.out.println(e); }
        }).start();
        int n = 0;
        for (int i = 0; i < 10; i++)
            try (Socket c = new Socket(InetAddress.getLoopbackAddress(), server.getLocalPort())) { n += c.getInputStream().readAllBytes().length; }
        System.out.println(n);
        Path p = Files.createTempFile("x", "y");
        Files.writeString(p, "hello");
        try (FileChannel c = FileChannel.open(p, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer b = c.map(FileChannel.MapMode.READ_WRITE, 0, 4096);
            b.put(0, (byte) 'J'); b.force();
            c.lock().release();
        }
        System.out.println(Files.readString(p).substring(0, 5));
        WatchService watch = FileSystems.getDefault().newWatchService();
        Path d = Files.createTempDirectory("d");
        d.register(watch, StandardWatchEventKinds.ENTRY_CREATE);
        Files.writeString(d.resolve("f"), "1");
        System.out.println(watch.poll(5, TimeUnit.SECONDS) != null);
        Process child = new ProcessBuilder("sh", "-c", "echo child; exit 3").redirectErrorStream(true).start();
        System.out.print(new String(child.getInputStream().readAllBytes()));
        System.out.println(child.waitFor());
        byte[][] big = new byte[200][];
        for (int i = 0; i < 2000; i++) big[i % 200] = new byte[100000];
        System.gc();
        try { Object o = null; o.toString(); } catch (NullPointerException e) { System.out.println("null"); }
        try { deep(0); } catch (StackOverflowError e) { System.out.println("too deep"); }
        pool.shutdown();
    }
    static int deep(int i) { return deep(i + 1) + 1; }
}
J
javac M.java && java M && java -Xint -XX:+UseSerialGC M && java -XX:+UseZGC -Xmx256m M
