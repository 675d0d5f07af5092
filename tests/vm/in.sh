#!/usr/bin/env bash
# in.sh DIR sh COMMAND | run SCRIPT [ARGUMENT…] | cofferdam PROGRAM: in the machine that boot.sh has started.
set -euo pipefail
dir=${1:?} what=${2:?} file=${3:?}
shift 3
ssh=(timeout 600 ssh -q -i "$dir/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5 -p 2222 root@127.0.0.1)
case $what in
  sh) "${ssh[@]}" "$file" "$@" ;;
  run) "${ssh[@]}" bash -s -- "$@" < "$file" ;;
  cofferdam)
    strip -o "$dir/cofferdam" "$file"
    "${ssh[@]}" 'cat > /usr/local/bin/new && chmod 755 /usr/local/bin/new && mv /usr/local/bin/new /usr/local/bin/cofferdam' < "$dir/cofferdam"
    "${ssh[@]}" bash -s < "$(dirname "$(realpath "$0")")/images.sh"
    ;;
esac
