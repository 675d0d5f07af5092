# An interactive bash behind script(1) and tmux: prompts, job control, Ctrl-C, Ctrl-Z, window size.
#@ needs=script tmux
#@ timeout=120
printf 'stty -echo; PS1=\necho typed\ntty > /dev/null && echo a terminal\nstty size\nexit 5\n' | script -qec 'bash --norc --noprofile' /dev/null < /dev/stdin 2>&1 | tr -d '\r' | grep -E '^(typed|a terminal|[0-9]+ [0-9]+)$'; echo "script ${PIPESTATUS[1]}"
export TMUX_TMPDIR=$PWD TERM=xterm; unset TMUX
tmux -f /dev/null new-session -d -x 90 -y 20 'PS1="\$ " bash --norc --noprofile'
wait_for() { for i in $(seq 100); do tmux capture-pane -p | grep -q -- "$1" && return; sleep 0.1; done; echo "no $1 in:"; tmux capture-pane -p; }
wait_for '\$'; tmux send-keys 'stty size; echo rea''dy-$((20+1))' Enter; wait_for 'ready-21'; tmux capture-pane -p | grep -x '20 90\|19 90'
tmux send-keys 'sleep 1000' Enter; sleep 0.5; tmux send-keys C-c; tmux send-keys 'echo status=$?' Enter; wait_for 'status=130'; echo interrupted
tmux send-keys 'cat' Enter; sleep 0.3; tmux send-keys C-z; wait_for 'Stopped'; echo stopped; tmux send-keys 'fg' Enter; sleep 0.3; tmux send-keys 'to cat' Enter; sleep 0.3; tmux send-keys C-d; tmux send-keys 'echo after' '-cat' Enter; wait_for '^after-cat'; echo continued
tmux resize-window -x 60 -y 15; tmux send-keys 'clear; stty size; echo siz''ed' Enter; wait_for '^sized'; tmux capture-pane -p | grep -x '1[45] 60'
tmux send-keys 'exit' Enter; for i in $(seq 50); do tmux has-session 2> /dev/null || break; sleep 0.1; done; tmux has-session 2> /dev/null && echo still there || echo gone
