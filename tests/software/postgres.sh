# PostgreSQL: a cluster made, loaded and used by several clients over TCP and AF_UNIX, parallel queries, a clean stop.
#@ needs=/usr/lib/postgresql/15/bin/initdb /usr/lib/postgresql/15/bin/pgbench setpriv
#@ timeout=120
bin=/usr/lib/postgresql/15/bin
# It refuses to run as root.
as=()
if [ "$(id -u)" = 0 ]; then as=(setpriv --reuid postgres --regid postgres --init-groups); fi
dir=$(mktemp -d /tmp/cluster.XXXXXX)
chmod 755 "$dir"; [ "$(id -u)" != 0 ] || chown postgres "$dir"
cd "$dir" && "${as[@]}" bash -s "$bin" "$dir" <<'END'
bin=$1 dir=$2 port=54329
$bin/initdb -D "$dir/data" -A trust > /dev/null && echo initialised
trap '$bin/pg_ctl -D "$dir/data" -m immediate stop > /dev/null 2>&1' EXIT
$bin/pg_ctl -D "$dir/data" -w -o "-k $dir -p $port -c listen_addresses=127.0.0.1" -l "$dir/log" start > /dev/null && echo started
$bin/createdb -h "$dir" -p $port bench && echo created
$bin/pgbench -h "$dir" -p $port -i -s 1 bench > /dev/null 2>&1 && echo loaded
$bin/pgbench -h 127.0.0.1 -p $port -c 6 -j 2 -t 50 bench 2>&1 | grep -E 'processed|failed'
$bin/psql -h "$dir" -p $port -At bench <<'SQL'
set max_parallel_workers_per_gather=2; set parallel_setup_cost=0; set parallel_tuple_cost=0; set min_parallel_table_scan_size=0;
select count(*), sum(aid) from pgbench_accounts;
vacuum analyze;
checkpoint;
SQL
$bin/pg_ctl -D "$dir/data" -m fast -w stop > /dev/null && echo stopped
grep -iE 'error|fatal|warn|panic' "$dir/log"
trap - EXIT
END
cd / && rm -rf "$dir"
