#!/bin/sh
# make demo: a broker, a topic, a real file's lines in and out, and what it took.  demo.sh BUILD
set -eu
build=$1
cd "$(dirname "$0")/.."
dir=$(mktemp -d "${TMPDIR:-/tmp}/penstock-demo.XXXXXX")
pid=
stop() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    [ -z "$pid" ] || wait "$pid" 2>/dev/null || true
    rm -rf "$dir"
}
trap stop EXIT
trap 'exit 1' INT TERM

now_ms() { date +%s%3N; }
say() { printf '%s\n' "$*"; }

started=$(now_ms)
"$build/penstockd" --set listeners=PLAINTEXT://127.0.0.1:0 --set "log.dirs=$dir/data" 2>"$dir/log" &
pid=$!
port=
while [ -z "$port" ]; do
    kill -0 "$pid" 2>/dev/null || { cat "$dir/log"; exit 1; }
    port=$(sed -n 's/.* daemon\.ready .*address=[^ ]*:\([0-9]*\) .*/\1/p' "$dir/log")
    [ -n "$port" ] || sleep 0.002
done
say "broker up on 127.0.0.1:$port after $(($(now_ms) - started)) ms, data in $dir/data"
PENSTOCK_BROKER=127.0.0.1:$port
export PENSTOCK_BROKER

"$build/penstock" topics create demo
file=$build/gen/demo.txt
cat common/*.c protocol/*.c broker/*/*.c >"$file"
lines=$(wc -l <"$file")
bytes=$(wc -c <"$file")

began=$(now_ms)
"$build/penstock" produce -t demo <"$file"
say "produced $lines lines, $bytes bytes, acknowledged, in $(($(now_ms) - began)) ms"

began=$(now_ms)
"$build/penstock" consume -t demo -o beginning -e >"$dir/back"
say "consumed them back in $(($(now_ms) - began)) ms"
cmp "$file" "$dir/back"
say "every byte is the same"

rss=$(awk '/VmRSS/ { print $2 }' "/proc/$pid/status")
began=$(now_ms)
kill "$pid"
wait "$pid"
pid=
say "broker used $rss kB and stopped cleanly in $(($(now_ms) - began)) ms"
