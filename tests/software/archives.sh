# tar, gzip, xz, bzip2 if there: round trips with modes, links and times.
set -eu
mkdir -p in/sub; seq 1 20000 > in/data; head -c 300000 /dev/zero > in/zeros; ln -s data in/link; ln in/data in/sub/hard
chmod 751 in/sub; touch -d '2021-01-02 03:04:05 UTC' in/data; printf 'x%.0s' {1..200} > "in/$(printf 'n%.0s' {1..120})"
for z in gzip xz; do
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime='2021-01-01 UTC' -cf - in | $z -c > in.tar.$z
    $z -t in.tar.$z && $z -dc in.tar.$z | sha256sum
    mkdir out-$z; tar -C out-$z -xf in.tar.$z; diff -r in out-$z/in && echo "$z round trip"
done
tar -tvf in.tar.gzip --utc | awk '{ print $1, $3, $6, $7, $8 }' | cut -c 1-80
gzip -9 < in/data | gunzip | cmp - in/data; gzip -l in.tar.gzip | awk 'NR == 2 { print $2 }'
tar -cf plain.tar in; tar -rf plain.tar in.tar.xz; tar -tf plain.tar | tail -1; tar -C / -cf - etc/passwd 2> /dev/null | tar -xf - -O | head -1
find in -print0 | sort -z | tar --null --no-recursion -T - -cf listed.tar && tar -tf listed.tar | wc -l
xz -T2 -k -0 in/data; xz -l --robot in/data.xz | awk '/^file/ { print $5 }'; stat -c %Y out-gzip/in/data
