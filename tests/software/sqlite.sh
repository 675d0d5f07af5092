# sqlite3 with a write-ahead log under two writers.
#@ needs=sqlite3
set -eu
sqlite3 d.db 'pragma journal_mode = wal; create table t(who, n);'
writer() { for i in $(seq 1 40); do printf '.timeout 20000\nbegin immediate; insert into t values("%s", %d); insert into t values("%s", -%d); commit;\n' $1 $i $1 $i; done | sqlite3 d.db; }
writer a & writer b & wait
sqlite3 d.db 'select who, count(*), sum(n) from t group by who order by who; pragma integrity_check; pragma wal_checkpoint(truncate);'
sqlite3 d.db 'create index i on t(n); explain query plan select * from t where n = 5;' | tail -1
sqlite3 d.db .dump | sqlite3 copy.db; sqlite3 copy.db 'select count(*) from t'; sqlite3 d.db 'vacuum; select count(*) from t;'; ls
