# Go: building with and without cgo, a test, the race detector; a server and many clients, processes, signals, timers, preemption.
#@ needs=go gcc
#@ timeout=240
export GOCACHE=$PWD/cache GOPATH=$PWD/path GOPROXY=off GOTOOLCHAIN=local GO111MODULE=on
mkdir m; cd m; go mod init example.com/m 2> /dev/null
cat > main.go <<'G'
package main

// static int add(int a, int b) { return a + b; }
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func together(n int, f func(int)) {
	var wg sync.WaitGroup
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func(i int) { defer wg.Done(); f(i) }(i)
	}
	wg.Wait()
}

func main() {
	fmt.Println("cgo", C.add(2, 3))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello %s", r.URL.Path) }))
	var total int64
	together(1000, func(i int) {
		r, err := http.Get(fmt.Sprintf("http://%s/%d", l.Addr(), i))
		must(err)
		b, err := io.ReadAll(r.Body)
		must(err)
		r.Body.Close()
		atomic.AddInt64(&total, int64(len(b)))
	})
	fmt.Println("http", total)

	out, err := exec.Command("sh", "-c", "echo out; exit 4").CombinedOutput()
	fmt.Printf("%q %v\n", out, err)
	together(20, func(int) { must(exec.Command("true").Run()) })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	fmt.Println(exec.CommandContext(ctx, "sleep", "100").Run())
	cancel()
	fmt.Println(exec.Command("no-such-program").Run())

	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	must(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	fmt.Println(<-c)
	together(5000, func(i int) { time.Sleep(time.Duration(i%50) * time.Millisecond) })
	var stop atomic.Bool
	go func() {
		for n := 0; ; n++ { // ended by nothing but a signal
			if n&0xfff == 0 && stop.Load() {
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond)
	runtime.GC()
	stop.Store(true)
	func() { defer func() { fmt.Println(recover()) }(); var p *int; *p = 1 }()
	debug.SetGCPercent(20)
	kept := [][]byte{}
	for i := 0; i < 50000; i++ {
		if b := make([]byte, i%4096); i%100 == 0 {
			kept = append(kept, b)
		}
	}
	debug.FreeOSMemory()
	together(50, func(int) { runtime.LockOSThread(); time.Sleep(10 * time.Millisecond) })
	fmt.Println("kept", len(kept))

	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(err)
	must(p.SetReadDeadline(time.Now().Add(20 * time.Millisecond)))
	_, _, err = p.ReadFrom(make([]byte, 10))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	_, err = net.Dial("tcp", "127.0.0.1:1")
	fmt.Println(err)
	from, err := os.Create("from")
	must(err)
	from.Write(make([]byte, 1<<20))
	from.Seek(0, 0)
	to, err := os.Create("to")
	must(err)
	fmt.Println(io.Copy(to, from))
	panic("deliberate")
}
G
cat > m_test.go <<'G'
package main

import "testing"

func TestRight(t *testing.T) {
	c := make(chan int)
	go func() { c <- 1 }()
	if <-c != 1 {
		t.Fatal()
	}
}
G
go build -o prog .; echo "build: $?"
./prog 2> err; echo "run: $?"; grep '^panic' err
go test -vet=off -run Right . | cut -f 1,2
# (A program without imports: the standard library is built again for the detector.)
mkdir race; cat > race/main.go <<'G'
package main

func main() {
	n, done := 0, make(chan bool)
	go func() { n++; done <- true }()
	n++
	<-done
}
G
go run -race ./race > err 2>&1; echo "race: $?"; grep -e 'DATA RACE' -e Found err
mkdir static; printf 'package main\nimport "fmt"\nfunc main() { fmt.Println("static") }\n' > static/main.go; CGO_ENABLED=0 go run ./static
