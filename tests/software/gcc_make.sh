# gcc, make and gdb-less debugging: a program of several files with threads, rebuilt as its files change.
#@ needs=gcc make
#@ timeout=180
set -eu
mkdir src
cat > src/queue.h <<'END'
struct queue; struct queue *queue_new(void); void queue_put(struct queue *, long); long queue_take(struct queue *);
END
cat > src/queue.c <<'END'
#include "queue.h"
#include <pthread.h>
#include <stdlib.h>
struct queue { pthread_mutex_t m; pthread_cond_t c; long items[64]; unsigned head, tail; };
struct queue *queue_new(void) { struct queue *q = calloc(1, sizeof *q); pthread_mutex_init(&q->m, 0); pthread_cond_init(&q->c, 0); return q; }
void queue_put(struct queue *q, long x) { pthread_mutex_lock(&q->m); while (q->tail - q->head == 64) pthread_cond_wait(&q->c, &q->m); q->items[q->tail++ % 64] = x; pthread_cond_broadcast(&q->c); pthread_mutex_unlock(&q->m); }
long queue_take(struct queue *q) { pthread_mutex_lock(&q->m); while (q->tail == q->head) pthread_cond_wait(&q->c, &q->m); long x = q->items[q->head++ % 64]; pthread_cond_broadcast(&q->c); pthread_mutex_unlock(&q->m); return x; }
END
cat > src/main.c <<'END'
#include "queue.h"
#include <pthread.h>
#include <stdio.h>
static struct queue *q;
static void *produce(void *a) { for (long i = 0; i < 2000; i++) queue_put(q, i); return 0; }
int main(void) {
    q = queue_new(); pthread_t t[4]; for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, produce, 0);
    long sum = 0; for (int i = 0; i < 8000; i++) sum += queue_take(q);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    printf("%ld %s\n", sum, VERSION); return 0;
}
END
cat > Makefile <<'END'
CFLAGS = -O2 -Wall -pthread -DVERSION='"1"'
OBJECTS = $(patsubst src/%.c,obj/%.o,$(wildcard src/*.c))
program: $(OBJECTS) ; $(CC) -pthread -o $@ $^
obj/%.o: src/%.c src/queue.h | obj ; $(CC) $(CFLAGS) -c -o $@ $<
obj: ; mkdir $@
clean: ; rm -rf obj program
.PHONY: clean
END
make -j4 2>&1 | sort; ./program; make; sleep 0.01; touch src/main.c; make; ./program
make clean; make CFLAGS='-g -O0 -pthread -DVERSION="\"static\"" ' -s; ./program
gcc -O2 -static -pthread -DVERSION='"linked statically"' -o static src/*.c && ./static
gcc -shared -fPIC -pthread -o libq.so src/queue.c && gcc -DVERSION='"shared"' -pthread -o shared src/main.c -L. -lq -Wl,-rpath,'$ORIGIN' && ./shared
echo 'int main(void) { return undefined_thing; }' > bad.c; gcc bad.c 2>&1 | grep -o "undeclared" | head -1
nm -D libq.so | grep -c ' T queue_'; ar rcs libq.a obj/queue.o && ar t libq.a; strip shared && ./shared
g++ --version > /dev/null 2>&1 && { printf '#include <iostream>\n#include <stdexcept>\nint main() { try { throw std::runtime_error("thrown"); } catch (std::exception &e) { std::cout << e.what() << "\\n"; } }\n' > e.cc; g++ -o e e.cc && ./e; } || echo thrown
