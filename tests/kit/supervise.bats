# Tests for tests/tools/supervise.c: what it says about a server that
# misbehaves (badserver.c), and that it leaves nothing behind.
#
# Single quotes are for other shells, and bats runs each test in a subshell:
# shellcheck disable=SC2016,SC2030,SC2031

bats_require_minimum_version 1.5.0

setup_file() {
  ${CC:-cc} -O1 -std=c17 -D_GNU_SOURCE -Wall -Wextra \
    -o "$BATS_FILE_TMPDIR/badserver" "$BATS_TEST_DIRNAME/badserver.c"
}

setup() {
  : "${TOOLS:=$BATS_TEST_DIRNAME/../../build/tools}"
  BAD=$BATS_FILE_TMPDIR/badserver
  LOG=$BATS_TEST_TMPDIR/log
  SUPERVISOR=
  unset TIMEOUT_FACTOR # the messages tell times
}

teardown() {
  [ -z "$SUPERVISOR" ] || kill -TERM "$SUPERVISOR" 2>/dev/null || :
}

# start [OPTIONS --] PROGRAM ARGS: sets LINE, the first thing supervise says,
# and, if that is `ready`, its parts PID and SUPERVISOR.
start() {
  exec {FROM}< <(exec "$TOOLS/supervise" -o "$LOG" "$@" 3>&- 4>&-)
  read -r -t 60 -u "$FROM" LINE
  [[ $LINE != ready* ]] || read -r _ _ PID SUPERVISOR <<<"$LINE"
}

# stop [SIGNAL]: asks supervise to stop, sets END.
stop() {
  kill "-${1:-TERM}" "$SUPERVISOR"
  read -r -t 60 -u "$FROM" END
  SUPERVISOR=
}

# expect ACTUAL PATTERN...: the patterns are those of [[ ]].
expect() {
  # shellcheck disable=SC2053  # a pattern on purpose
  [[ $1 == $2 ]] || { printf 'expected: %s\nactual:   %s\n' "$2" "$1"; return 1; }
}

gone() { ! kill -0 "$1" 2>/dev/null; }

await() {
  local deadline=$((SECONDS + 30))
  until "$@"; do
    ((SECONDS < deadline)) || { echo "not so after 30 s: $*"; return 1; }
    sleep 0.01
  done
}

# The pids that badserver's children told, all of which must be gone.
expect_children_gone() {
  local count=0 word pid
  while read -r word pid; do
    [ "$word" = child ] || continue
    gone "$pid" || { echo "child $pid is still there"; return 1; }
    count=$((count + 1))
  done <"$LOG"
  [ "$count" -eq "$1" ] || { echo "the log names $count children"; return 1; }
}

# The rest of a test is then about descendants, whatever the grace is.
end_main_process() {
  kill -TERM "$PID"
  await gone "$PID"
}

# output_of [OPTIONS --] PROGRAM ARGS: runs it to its end under supervise.
output_of() {
  start -N "$@"
  await gone "$PID"
  stop
  OUTPUT=$(cat "$LOG")
}

@test "a good server: ready with its port and pid, then SIGTERM and its own end" {
  start -- "$BAD" graceful
  expect "$LINE" "ready 4000 +([0-9]) +([0-9])"
  expect "$(readlink "/proc/$PID/exe")" "$BAD"
  expect "$(readlink "/proc/$SUPERVISOR/exe")" "*/supervise"
  stop
  expect "$END" "end exit 0 left=0 flooded=0"
  gone "$PID"
}

@test "SIGINT and SIGHUP stop it too" {
  for signal in INT HUP; do
    start -- "$BAD" ok
    stop "$signal"
    expect "$END" "end signal 15 left=0 flooded=0"
    gone "$PID"
  done
}

@test "the ready line may come byte by byte" {
  start -- "$BAD" in-pieces
  expect "$LINE" "ready 4000 *"
}

@test "the ready line may name an IPv6 address" {
  start -- "$BAD" line 'listening on [::1]:65535'
  expect "$LINE" "ready 65535 *"
}

@test "a lot on stderr before the ready line does no harm" {
  start -- "$BAD" chatty
  expect "$LINE" "ready 4000 *"
}

@test "any other first line is refused, and shown with its bytes escaped" {
  while read -r text; do
    start -r 30 -- "$BAD" line "$(printf '%b' "$text")"
    expect "$LINE" "fail first line was \"$text\" instead of \"listening on ADDR:PORT\""
  done <<'END'
hello
listening on 127.0.0.1:0
listening on 127.0.0.1:65536
listening on 127.0.0.1:004000
listening on 127.0.0.1:4000.
listening on 127.0.0.1:+4000
listening on 127.0.0.1:
listening on 4000
listening on :4000
listening on localhost:4000
listening on ::1:4000
Listening on 127.0.0.1:4000
END
  start -r 30 -- "$BAD" line $'listening on 127.0.0.1:4000\r'
  expect "$LINE" 'fail first line was "listening on 127.0.0.1:4000\\x0d" instead*'
  start -r 30 -- "$BAD" line $'"\\\e[2J\n\xff'
  expect "$LINE" 'fail first line was "\\"\\\\\\x1b\[2J" instead*'
}

@test "a first line without end is refused too" {
  start -r 30 -- "$BAD" line "$(printf '%01000d' 0)"
  expect "$LINE" 'fail first line was "0000*0000" instead of *'
}

@test "no ready line: fails after the time given" {
  start -r 0.3 -- "$BAD" hang
  expect "$LINE" "fail no ready line within 0.3 s"
}

@test "a ready line on stderr is none" {
  start -r 0.3 -- "$BAD" on-stderr
  expect "$LINE" "fail no ready line within 0.3 s"
}

@test "a ready line without a newline is shown as such" {
  start -r 1.5 -- "$BAD" unfinished
  expect "$LINE" 'fail no ready line within 1.5 s, only "listening on 127.0.0.1:4000" without a newline'
}

@test "TIMEOUT_FACTOR multiplies the time for the ready line" {
  TIMEOUT_FACTOR=0.001 start -r 300 -- "$BAD" hang
  expect "$LINE" "fail no ready line within 0.3 s"
}

@test "TIMEOUT_FACTOR multiplies the grace" {
  TIMEOUT_FACTOR=0.001 start -r 30000 -g 300 -- "$BAD" stubborn
  stop
  expect "$END" "end forced left=0 flooded=0"
}

@test "an end before the ready line is told with status or signal; exit code 1" {
  start -- "$BAD" status 3
  expect "$LINE" "fail exited with status 3 before the ready line"
  local code=0
  wait $! || code=$?
  expect "$code" 1
  start -- "$BAD" crash
  expect "$LINE" "fail killed by signal 11 (Segmentation fault) before the ready line"
}

@test "a program that cannot be run is told, with and without a ready line" {
  start -- "$BATS_TEST_TMPDIR/none"
  expect "$LINE" "fail cannot run $BATS_TEST_TMPDIR/none: No such file or directory"
  start -N -- "$BATS_TEST_TMPDIR/none"
  expect "$LINE" "fail cannot run $BATS_TEST_TMPDIR/none: No such file or directory"
}

@test "a stop request before the ready line fails and ends the server" {
  exec {FROM}< <(exec "$TOOLS/supervise" -o "$LOG" -r 60 -- \
    sh -c 'echo child $$ >&2; exec "$0" hang' "$BAD" 3>&- 4>&-)
  SUPERVISOR=$!
  await grep -q child "$LOG"
  kill -TERM "$SUPERVISOR"
  read -r -t 60 -u "$FROM" LINE
  expect "$LINE" "fail stopped before the ready line"
  expect_children_gone 1
}

@test "-N: ready at once, port 0" {
  start -N -- "$BAD" hang
  expect "$LINE" "ready 0 +([0-9]) +([0-9])"
  expect "$(readlink "/proc/$PID/exe")" "$BAD"
}

@test "a ready line and a crash right after it: ready, then the signal" {
  start -- "$BAD" ready-then-crash
  expect "$LINE" "ready 4000 *"
  await gone "$PID" # noticed without a stop request
  kill -0 "$SUPERVISOR"
  stop
  expect "$END" "end signal 6 left=0 flooded=0"
}

@test "a server that ignores SIGTERM is killed after the grace" {
  start -g 0.2 -- "$BAD" stubborn
  stop
  expect "$END" "end forced left=0 flooded=0"
  gone "$PID"
}

@test "a daemon is killed and counted" {
  start -g 0.2 -- "$BAD" daemonize
  end_main_process
  stop
  expect "$END" "end exit 0 left=1 flooded=0"
  expect_children_gone 1
}

@test "forty children are killed and counted" {
  start -g 0.2 -- "$BAD" children 40
  end_main_process
  stop
  expect "$END" "end exit 0 left=40 flooded=0"
  expect_children_gone 40
}

@test "children are killed too when the ready line is wrong" {
  start -r 60 -- sh -c '"$0" children 2 | { read -r line; echo wrong; }' "$BAD"
  expect "$LINE" 'fail first line was "wrong" instead of *'
  expect_children_gone 2
}

@test "children that leave soon after their parent do not count" {
  start -g 30 -- "$BAD" leaving-children
  stop
  expect "$END" "end exit 0 left=0 flooded=0"
  expect_children_gone 3
}

@test "processes that fork faster than one can kill are all killed" {
  start -g 0.2 -- "$BAD" hydra
  end_main_process
  stop
  expect "$END" "end exit 0 left=+([0-9]) flooded=0"
  for exe in /proc/[0-9]*/exe; do
    [ "$(readlink "$exe")" != "$BAD" ] || { echo "left: $exe"; return 1; }
  done
}

@test "both streams go to the log" {
  output_of -- sh -c 'echo out; echo err >&2; echo out again'
  expect "$(sort <<<"$OUTPUT")" $'err\nout\nout again'
}

@test "beyond its cap the log is closed, but output still read" {
  start -l 100000 -- "$BAD" flood
  await gone "$PID" # it could not end if nobody read
  stop
  expect "$END" "end exit 0 left=0 flooded=1"
  expect "$(stat -c %s "$LOG")" 100000
  expect "$(head -c 4 "$LOG")" "list"
}

@test "the death of its parent stops it and the server" {
  run -137 timeout 60 bash -c '
    exec {from}< <(exec "$1" -o "$2" -- "$3" ok 2>/dev/null)
    read -r -t 30 -u "$from" line
    echo "$line" >"$4"
    kill -KILL $$' bash "$TOOLS/supervise" "$LOG" "$BAD" "$BATS_TEST_TMPDIR/line" 3>&- 4>&-
  read -r _ _ PID SUPERVISOR <"$BATS_TEST_TMPDIR/line"
  await gone "$SUPERVISOR"
  gone "$PID"
}

@test "kill -9 of supervise takes the server along" {
  start -- "$BAD" stubborn
  kill -KILL "$SUPERVISOR"
  await gone "$PID"
}

@test "the program inherits no descriptor, no signal setting, no stdin" {
  exec {extra}<"$BATS_TEST_FILENAME"
  trap '' INT PIPE USR1
  output_of -- sh -c 'readlink /proc/$$/fd/*' <"$BATS_TEST_FILENAME"
  expect "$OUTPUT" $'/dev/null\npipe:*([^\n])\npipe:*([^\n])'
  output_of -- grep -E '^Sig(Blk|Ign)' /proc/self/status
  # 32 and 33 are the C library's own; nobody can set them, not even supervise.
  expect "${OUTPUT/SigIgn:$'\t'0000000180000000/SigIgn:$'\t'0000000000000000}" \
    $'SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000'
  exec {extra}<&-
}

@test "the program has a session of its own" {
  output_of -- cut -d' ' -f1,5,6 /proc/self/stat
  expect "$OUTPUT" "$PID $PID $PID"
}

@test "the environment is passed on, but for what tells about the tests" {
  export RESULT_FILE=x TIMEOUT_FACTOR=1 PASSED_ON='as it is' ASAN_OPTIONS=a=b
  output_of -- env
  expect "$OUTPUT" "*PASSED_ON=as it is*"
  expect "$OUTPUT" "*ASAN_OPTIONS=a=b*"
  expect "$OUTPUT" "*PATH=$PATH*"
  run -1 grep -E '^(BATS_|BASH_FUNC_bats|TIMEOUT|RESULT)' <<<"$OUTPUT"
}

@test "limits hold, and no core file is written" {
  output_of -n 24 -p 500 -v 900 -c 7 -f 3 -- cat /proc/self/limits
  expect "$OUTPUT" "*Max open files +( )24 *"
  expect "$OUTPUT" "*Max processes +( )500 *"
  expect "$OUTPUT" "*Max address space +( )$((900 << 20)) *"
  expect "$OUTPUT" "*Max cpu time +( )7 *"
  expect "$OUTPUT" "*Max file size +( )$((3 << 20)) *"
  expect "$OUTPUT" "*Max core file size +( )1 *"
}

@test "a limit that cannot be set is told" {
  start -n 4000000000 -- "$BAD" ok
  expect "$LINE" "fail cannot set limit -n: Operation not permitted"
}

@test "a server that uses up its CPU time dies of SIGXCPU" {
  start -c 1 -- "$BAD" spin
  await gone "$PID"
  stop
  expect "$END" "end signal 24 left=0 flooded=0"
}

@test "a wrong command line shows the usage and exits 2" {
  run -2 timeout 10 "$TOOLS/supervise"
  expect "$output" "usage: supervise*"
  run -2 timeout 10 "$TOOLS/supervise" -q -- true
  run -2 timeout 10 "$TOOLS/supervise" -r soon -- true
  expect "$output" "*not a number*soon"
  run -1 timeout 10 "$TOOLS/supervise" -o / -- true
  expect "$output" "fail supervise: /: Is a directory"
}
