# coreutils, findutils, grep, sed, awk, diffutils on a small tree.
set -eu
mkdir -p tree/a/b tree/c; cd tree
seq 1 100 > a/numbers; printf 'pear\napple\nfig\napple\n' > a/b/fruit; ln -s a/numbers link; ln a/b/fruit c/hard
chmod 640 a/numbers; touch -d '2020-02-03 04:05:06 UTC' c/hard
find . | sort; find . -type f -newermt 2021-01-01 | sort; find . -name 'f*' -exec wc -l {} +
find . -type l -printf '%p -> %l\n'; find . -links 2 -type f | sort
stat -c '%n %s %a %h %F' a/numbers link c/hard; stat -c %y c/hard
ls -1F; ls -l c | awk 'NR > 1 { print $1, $2, $5, $6, $9 }'
sort a/b/fruit | uniq -c | sort -rn; sort -u a/b/fruit | head -2; tail -n 3 a/numbers; head -c 5 a/numbers
cut -c 1-2 a/b/fruit | paste -sd,; tr a-z A-Z < a/b/fruit | rev; nl -ba a/b/fruit | tail -1
grep -n -E 'p{2}|g$' a/b/fruit; grep -rc 7 . | sort; grep -v apple a/b/fruit | wc -l
sed -n '10,12p;50{s/5/five/;p}' a/numbers; sed -i 's/pear/plum/' a/b/fruit; cat a/b/fruit
awk '{ s += $1 } END { print s, s / NR }' a/numbers; awk -F: '$1 == "root" { print $3 }' /etc/passwd
cp -a a copy; diff -r a copy && echo identical; echo more >> copy/numbers; diff -q a/numbers copy/numbers || true
mv copy moved; rm -r moved; test -e moved || echo gone
split -l 40 a/numbers part-; wc -l part-*; cat part-* | cmp - a/numbers && echo whole
md5sum a/numbers; sha256sum < a/numbers; cksum a/numbers; base64 a/b/fruit | base64 -d | cmp - a/b/fruit
dd if=/dev/zero of=zeros bs=1k count=64 status=none; dd if=zeros bs=512 skip=2 count=3 status=none | wc -c; truncate -s 1M zeros; stat -c %s zeros
od -An -tx1 -N8 a/numbers; printf '%05d %x %s\n' 42 255 text; expr 6 \* 7; factor 91; seq -s+ 5
date -u -d @0 +%FT%TZ; basename /a/b.c .c; dirname /a/b.c; realpath link | sed 's/.*tree/tree/'; readlink link
mktemp -d ./tmp.XXXXXX > /dev/null; rmdir tmp.*; mkdir -m 700 private; stat -c %a private
env -i A=1 B=2 env | sort; nice -n 3 nice; nproc > /dev/null; test "$(nproc)" -ge 1; whoami; id -u; tty || true
sleep 0.05; timeout 5 true; yes | head -3; shuf -i 1-10 | sort -n | paste -sd' '; comm -12 <(seq 5) <(seq 3 9)
df . > /dev/null; du -s --apparent-size -k zeros | cut -f1; sync; numfmt --to=iec 1048576; tac a/b/fruit; fold -w 3 <<< abcdefgh; expand -t 4 <<< $'a\tb'; join <(printf '1 a\n2 b\n') <(printf '1 x\n2 y\n')
xargs -P 4 -I{} sh -c 'echo job {}' < <(seq 8) | sort; echo a b c | xargs -n1 | tsort 2> /dev/null | wc -l
install -m 755 a/numbers installed; stat -c %a installed; cp --sparse=always zeros sparse; cmp zeros sparse && echo sparse copy; chgrp "$(id -g)" sparse; chown "$(id -u)" sparse; mkfifo f; test -p f && echo fifo
