# bash: pipelines, here-documents, process substitution, traps, jobs, arithmetic, subshells, exit codes.
set -u
echo one two three | tr ' ' '\n' | sort -r | while read -r w; do echo "<$w>"; done
cat <<END | sed 's/a/A/'
a here-document with $((6 * 7)) and $(echo a substitution)
END
cat <<< "a here-string"
diff <(printf '%s\n' a b c) <(printf '%s\n' a c) && echo same || echo "diff says $?"
tee >(wc -l > lines) >(wc -c > bytes) > /dev/null < <(seq 1000)
for i in 1 2 3 4 5 6 7 8 9 10; do [ -s lines ] && [ -s bytes ] && break; sleep 0.1; done
paste lines bytes
false | true | (exit 3) | true; echo "${PIPESTATUS[@]}"
set -o pipefail; (exit 4) | true; echo $?; set +o pipefail
(trap 'echo in the trap' EXIT; echo in the subshell)
trap 'echo got USR1' USR1; kill -USR1 $$; trap - USR1
(trap '' TERM; kill -TERM $BASHPID; echo survived)
(kill -TERM $BASHPID; echo not here); echo $?
bash -c 'kill -SEGV $$'; echo $?
sleep 100 & p=$!; kill $p; wait $p; echo "wait says $?"
(sleep 0.2; exit 7) & wait $!; echo $?
for i in 1 2 3; do (sleep 0.$i; echo job $i) & done; wait; echo all done
set -m; sleep 50 & jobs -r | sed 's/ \+/ /g'; kill -STOP %1; sleep 0.2; jobs -s | sed 's/ \+/ /g'; kill -CONT %1; kill %1; wait %1; echo $?; set +m
coproc CAT { cat; }; echo to the coprocess >&"${CAT[1]}"; read -r line <&"${CAT[0]}"; echo "$line"
eval "exec ${CAT[1]}>&-"; wait
exec 3> three; echo through descriptor 3 >&3; exec 3>&-; cat three
mkfifo pipe; (echo through a fifo > pipe) & cat pipe; wait
printf '%s\n' {a..e}{1..2} | xargs -n 3 echo
[[ "abc123" =~ ([a-z]+)([0-9]+) ]] && echo "${BASH_REMATCH[2]}-${BASH_REMATCH[1]}"
declare -A map=([x]=1 [y]=2); for k in x y; do echo "$k=${map[$k]}"; done
f() { local n=$1; ((n <= 1)) && echo 1 || echo $((n * $(f $((n - 1))))); }; f 10
timeout 0.2 sleep 10; echo $?
ulimit -n 64; ulimit -n
umask 027; touch masked; stat -c %a masked
cd /tmp && pwd; cd - > /dev/null
type -t cd; command -v sh; test -e /nonexistent; echo $?
/nonexistent; echo $?
./lines; echo $?
read -t 0.1 -r x < <(sleep 1); echo $((  $? > 128 ))
time -p true 2> /dev/null
echo end; exit 0
