# redis-server with redis-benchmark over loopback and over AF_UNIX, with a snapshot in a forked child.
#@ needs=redis-server redis-benchmark redis-cli
#@ timeout=180
mkdir data; redis-server --port 7777 --unixsocket "$PWD/s" --dir "$PWD/data" --save '' --appendonly yes --daemonize no > log 2>&1 & p=$!
trap 'kill $p 2> /dev/null' EXIT
for i in $(seq 100); do redis-cli -p 7777 ping > /dev/null 2>&1 && break; sleep 0.1; done
redis-cli -p 7777 ping; redis-cli -s "$PWD/s" set key value; redis-cli -p 7777 get key
redis-benchmark -p 7777 -q -n 2000 -c 10 -t set,get,lpush --csv | cut -d, -f1
redis-benchmark -s "$PWD/s" -q -n 2000 -c 10 -P 16 -t set,get --csv | cut -d, -f1
redis-cli -p 7777 eval 'local s = 0 for i = 1, 100 do s = s + i end return s' 0
redis-cli -p 7777 bgsave; for i in $(seq 100); do redis-cli -p 7777 info persistence | grep -q 'rdb_bgsave_in_progress:0' && break; sleep 0.1; done; redis-cli -p 7777 info persistence | grep rdb_last_bgsave_status | tr -d '\r'
redis-cli -p 7777 bgrewriteaof; redis-cli -p 7777 dbsize > /dev/null; timeout 3 redis-cli -p 7777 subscribe c > messages & sleep 1; redis-cli -p 7777 publish c message; wait $!; tail -1 messages
redis-cli -p 7777 shutdown nosave; wait $p; echo $?; test -s data/dump.rdb && echo saved
