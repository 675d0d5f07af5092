# nginx with four workers, served to curl and a little load, reloaded and stopped.
#@ needs=nginx curl
#@ timeout=120
mkdir -p html logs tmp; echo '<h1>hello</h1>' > html/index.html; head -c 2000000 /dev/zero > html/big
cat > nginx.conf <<END
daemon on; master_process on; worker_processes 4; pid $PWD/nginx.pid; error_log $PWD/logs/error.log; user $(id -un);
events { worker_connections 256; }
http { access_log $PWD/logs/access.log; sendfile on; client_body_temp_path tmp/b; proxy_temp_path tmp/p; fastcgi_temp_path tmp/f; uwsgi_temp_path tmp/u; scgi_temp_path tmp/s;
  server { listen 127.0.0.1:8088; listen [::1]:8088; listen unix:$PWD/sock; root $PWD/html; location /redirect { return 302 /; } location /proxy/ { proxy_pass http://unix:$PWD/sock:/; } } }
END
nginx -p "$PWD" -c nginx.conf -t 2> /dev/null; echo "configuration $?"
nginx -p "$PWD" -c nginx.conf 2> /dev/null; echo "start $?"
for i in $(seq 50); do curl -s -o /dev/null http://127.0.0.1:8088/ && break; sleep 0.1; done
curl -s http://127.0.0.1:8088/; curl -s 'http://[::1]:8088/'; curl -s --unix-socket sock http://x/; curl -s http://127.0.0.1:8088/proxy/index.html
curl -s http://127.0.0.1:8088/big | sha256sum; curl -s -r 10-19 http://127.0.0.1:8088/big | wc -c; curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8088/none http://127.0.0.1:8088/redirect
seq 200 | xargs -P 8 -I{} curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8088/index.html | sort | uniq -c | tr -s ' '
nginx -p "$PWD" -c nginx.conf -s reload 2> /dev/null; sleep 0.5; curl -s http://127.0.0.1:8088/; nginx -p "$PWD" -c nginx.conf -s quit 2> /dev/null
for i in $(seq 50); do [ -e nginx.pid ] || break; sleep 0.1; done; curl -s http://127.0.0.1:8088/; echo "after the end $?"; grep -c 'GET /index.html' logs/access.log
