# Go: the toolchain builds and vets a program inside; it runs goroutines, an HTTP server, locked threads and a child.
#@ needs=go
#@ timeout=300
export GOCACHE=$PWD/cache GOPATH=$PWD/path GO111MODULE=off
cat > main.go <<'G'
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

func main() {
	var wg sync.WaitGroup
	var mu sync.Mutex
	sum := 0
	add := func(n int) { mu.Lock(); sum += n; mu.Unlock() }
	for i := 0; i < 2000; i++ {
		wg.Add(1)
		go func(i int) { defer wg.Done(); time.Sleep(time.Millisecond); add(i) }(i)
	}
	wg.Wait()
	fmt.Println(sum)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello ", r.URL.Path) }))
	for i := 0; i < 20; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			r, e := http.Get(fmt.Sprintf("%s/%d", s.URL, i))
			if e != nil {
				fmt.Println(e)
				return
			}
			b, _ := io.ReadAll(r.Body)
			add(len(b))
		}(i)
	}
	wg.Wait()
	s.Close()
	fmt.Println(sum)
	out, e := exec.Command("sh", "-c", "echo from a child; exit 3").CombinedOutput()
	fmt.Printf("%s %v\n", out, e)
	for i := 0; i < 50; i++ {
		wg.Add(1)
		go func() { defer wg.Done(); runtime.LockOSThread(); time.Sleep(5 * time.Millisecond) }()
	}
	wg.Wait()
	runtime.GC()
}
G
go build -o prog main.go && ./prog && go vet main.go && echo vetted
