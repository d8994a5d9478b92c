# Tests for tests/tools/tcp, the scripted client. They talk to `peer`, a small
# server that can be told to misbehave, and look at every word of a failure:
# for a learner the message is the test.
#
# Single quotes are for other programs, and bats runs each test in a subshell:
# shellcheck disable=SC2016,SC2030,SC2031

bats_require_minimum_version 1.5.0

setup_file() {
  TOOLS=${TOOLS:-$BATS_TEST_DIRNAME/../../build/tools}
  export TOOLS
  ${CC:-cc} -O2 -std=c17 -D_GNU_SOURCE -Wall -Wextra \
    -o "$BATS_FILE_TMPDIR/peer" "$BATS_TEST_DIRNAME/peer.c"
}

setup() {
  PATIENCE=10
}

teardown() {
  if [ "${PID:-0}" -gt 0 ]; then
    kill -KILL -- "-$PID"
  fi
}

# peer MODE [ARG...]: starts one, sets PORT and PID (also its process group)
peer() {
  read -r PORT PID < <("$BATS_FILE_TMPDIR/peer" "$@")
}

# tcp STEP...: sets status and output; numbers that vary become PORT and T
tcp() {
  run timeout -k 1 60 "$TOOLS/tcp" -t "$PATIENCE" "$PORT" "$@"
  output=$(sed -E "s/:$PORT\>/:PORT/; s/within [0-9.]+ s/within T s/
                   s/after [0-9.]+ s/after T s/; s/[0-9]+ ms/T ms/" \
    <<<"$output")
}

passes() {
  tcp "$@"
  if [ "$status" != 0 ] || [ -n "$output" ]; then
    printf 'status %s, expected 0 and no output\n%s\n' "$status" "$output"
    return 1
  fi
}

# fails STEP... <<expected output
fails() {
  local expected
  expected=$(cat)
  tcp "$@"
  if [ "$status" != 1 ] || [ "$output" != "$expected" ]; then
    printf 'status %s, expected 1\n' "$status"
    diff <(echo "$expected") <(echo "$output")
    return 1
  fi
}

# refuses STATUS TEXT ARG...: the whole command line is wrong
refuses() {
  local expected=$1 text=$2
  shift 2
  run timeout -k 1 60 "$TOOLS/tcp" "$@"
  if [ "$status" != "$expected" ] || [[ $output != *"$text"* ]]; then
    printf 'status %s, expected %s and: %s\n%s\n' "$status" "$expected" \
      "$text" "$output"
    return 1
  fi
}

# ---- Sending and expecting ----

@test "an echo passes, in silence" {
  peer echo
  passes send 'hello\n' expect 'hello\n' half-close eof
}

@test "an answer in pieces is as good as a whole one" {
  peer pieces
  passes send 'hello\n' expect 'hel' expect 'lo\n'
}

@test "every escape arrives as its byte" {
  peer say $'\n\r\t\\"\x01\x7f\xff' close
  passes expect '\n\r\t\\\"\x01\x7f\xff' eof
}

@test "a zero byte goes there and back" {
  peer echo
  passes send 'a\0b' expect 'a' expect '\0b'
}

@test "a lost byte is pointed at" {
  peer lose 3 1
  fails send 'hello\n' expect 'hello\n' <<'END'
did:      connect to 127.0.0.1:PORT (a)
          send "hello\n" (6 bytes)
          expect "hello\n"
expected: "hello\n" (6 bytes)
actual:   "helo\n" (5 bytes), then nothing came within T s
              ^ first difference, at byte 3
END
}

@test "escaped bytes do not move the pointer" {
  peer wrong 5
  fails send 'a\n\x80\\\0b' expect 'a\n\x80\\\0b' <<'END'
did:      connect to 127.0.0.1:PORT (a)
          send "a\n\x80\\\0b" (6 bytes)
          expect "a\n\x80\\\0b"
expected: "a\n\x80\\\0b" (6 bytes)
actual:   "a\n\x80\\\0c" (6 bytes)
                      ^ first difference, at byte 5
END
}

@test "an early end of stream is told from silence" {
  peer close 3
  fails send 'hello\n' expect 'hello\n' <<'END'
did:      connect to 127.0.0.1:PORT (a)
          send "hello\n" (6 bytes)
          expect "hello\n"
expected: "hello\n" (6 bytes)
actual:   "hel" (3 bytes), then the server closed the connection (EOF)
END
}

@test "a reset is told from an end of stream" {
  peer say hel reset
  fails expect 'hello\n' <<'END'
did:      connect to 127.0.0.1:PORT (a)
          expect "hello\n"
expected: "hello\n" (6 bytes)
actual:   "hel" (3 bytes), then the server reset the connection (RST)
          (often it exited, or closed a socket with unread bytes)
END
}

@test "no answer at all ends with the deadline" {
  peer swallow
  PATIENCE=0.3
  fails send x expect x <<'END'
did:      connect to 127.0.0.1:PORT (a)
          send "x" (1 byte)
          expect "x"
expected: "x" (1 byte)
actual:   nothing came within T s
END
}

@test "an answer that trickles for ever ends, too" {
  peer pieces
  PATIENCE=0.05
  tcp exchange 1M
  [ "$status" = 1 ]
  [[ $output == *'bytes, then the step was not done after T s'* ]]
}

@test "of a long text the place of the difference is shown" {
  seq 1000 >"$BATS_TEST_TMPDIR/numbers"
  peer wrong 2000
  fails send-file "$BATS_TEST_TMPDIR/numbers" \
    expect "$(seq 1000)" <<END
did:      connect to 127.0.0.1:PORT (a)
          send-file "$BATS_TEST_TMPDIR/numbers" (3893 bytes)
          expect "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n"...
expected: "524\n525\n526\n527\n528\n529\n530\n531\n532\n533\n534\n535\n" (bytes 1984..2031)
actual:   "524\n525\n526\n527\n428\n529\n530\n531\n532\n533\n534\n535\n" (bytes 1984..2031)
                               ^ first difference, at byte 2000
END
}

@test "send-each sends every byte" {
  peer echo
  passes send-each 'one by one\n' expect 'one by one\n'
}

@test "send-each makes one write for each byte" {
  command -v strace >/dev/null || skip "strace is not installed"
  peer echo
  run timeout 20 strace -e trace=sendto "$TOOLS/tcp" "$PORT" send-each abcde
  [ "$(grep -c '^sendto(.* 1, MSG_NOSIGNAL.* = 1$' <<<"$output")" = 5 ]
}

@test "send-file sends the whole file" {
  seq 100 >"$BATS_TEST_TMPDIR/numbers"
  peer echo
  passes send-file "$BATS_TEST_TMPDIR/numbers" expect "$(seq 100)"'\n'
}

# ---- The pattern ----

@test "the pattern goes on from step to step" {
  peer echo
  passes send-bytes 1000 send-bytes 1 expect-bytes 500 exchange 64K \
    expect-bytes 500 drain half-close eof
}

@test "exchange reads while it sends" {
  peer echo
  passes exchange 20M
}

@test "a lost piece is named" {
  peer lose 3000 700
  fails exchange 20000 <<'END'
did:      connect to 127.0.0.1:PORT (a)
          exchange 20000
expected: "\xd4\xe8\x92\xbb\xe0\xa5\xaemT\x16\x16\xf0" (bytes 2996..3007 of the pattern)
actual:   "\xd4\xe8\x92\xbb\xc9\xd10\xe6T\x92d\x83" (bytes 2996..3007 of the pattern)
                           ^ first difference, at byte 3000
          bytes 3000..3699 missing here
END
}

# ends_with LINE: the diagnosis of a failed exchange
ends_with() {
  tcp exchange 20000
  if [ "$status" != 1 ] || [ "${output##*$'\n          '}" != "$1" ]; then
    printf 'expected the last line: %s\n%s\n' "$1" "$output"
    return 1
  fi
}

@test "a single lost byte is named" {
  peer lose 3000 1
  ends_with "byte 3000 missing here"
}

@test "a doubled piece is named" {
  peer double 3000 700
  ends_with "bytes 2300..2999 came twice"
}

@test "swapped bytes are told" {
  peer swap 3000
  ends_with "2 bytes wrong here, then it goes on rightly"
}

@test "foreign bytes are told" {
  peer insert 3000 7
  ends_with "7 bytes here that nobody sent, then it goes on"
}

@test "a difference in the second step has its offset in the stream" {
  peer lose 3000 1
  tcp exchange 1000 exchange 9000
  [ "$status" = 1 ]
  [[ $output == *"first difference, at byte 3000"* ]]
  [[ $output == *"byte 3000 missing here"* ]]
}

@test "a peer that stops answering: how far it came" {
  peer stop 3000
  PATIENCE=0.5
  fails exchange 20000 <<'END'
did:      connect to 127.0.0.1:PORT (a)
          exchange 20000
expected: bytes 0..19999 of the pattern (20000 bytes)
actual:   the first 3000 of 20000 bytes, then nothing came within T s
END
}

@test "drain says what is still to come" {
  peer lose 500 100
  PATIENCE=0.5
  tcp send-bytes 500 send-bytes 100 drain
  [ "$status" = 1 ]
  [[ $output == *"actual:   the first 500 of 600 bytes, then nothing came"* ]]
}

@test "sending to a peer that never reads ends with the deadline" {
  peer deaf
  PATIENCE=0.3
  tcp send-bytes 64M
  [ "$status" = 1 ]
  [[ $output == *"expected: the server takes 67108864 bytes"* ]]
  [[ $output =~ "actual:   it took "[0-9]+" bytes, then no more within T s"$ ]]
}

@test "sending without reading tells that an answer waits" {
  peer echo
  PATIENCE=0.3
  tcp send-bytes 64M
  [ "$status" = 1 ]
  [[ $output =~ "("[0-9]+" bytes of its answer wait here, unread)"$ ]]
}

@test "fill stops when the peer does, and drain gets all back" {
  peer echo
  passes rcvbuf 4096 fill drain half-close eof
}

@test "fill finds a peer without a bound" {
  peer swallow
  fails fill 8M <<'END'
did:      connect to 127.0.0.1:PORT (a)
          fill 8M: 8388608 bytes taken
expected: the server takes no more while nobody reads its answers
actual:   it took 8388608 bytes and would take more
END
}

# unread [STEP...]: sends and never reads; prints how much waits for us then
unread() {
  tcp "$@" send-bytes 64M
  [[ $output =~ "("([0-9]+)" bytes of its answer wait here" ]]
  echo "${BASH_REMATCH[1]}"
}

@test "rcvbuf makes the window small" {
  peer echo
  PATIENCE=0.3
  [ "$(unread rcvbuf 4096)" -le 8192 ] # the kernel doubles it
  [ "$(unread)" -gt 8192 ]
}

# ---- The end of a connection ----

@test "eof: bytes instead" {
  peer say hello close
  fails eof <<'END'
did:      connect to 127.0.0.1:PORT (a)
          eof
expected: end of stream (EOF)
actual:   "hello" (5 bytes), then the server closed the connection (EOF)
END
}

@test "eof: the connection stays open" {
  peer swallow
  PATIENCE=0.3
  fails send x silence 0 on b eof <<'END'
did:      connect to 127.0.0.1:PORT (a)
          send "x" (1 byte)
          silence 0
          connect to 127.0.0.1:PORT (b)
          on b eof
expected: end of stream (EOF)
actual:   nothing came within T s
END
}

@test "eof: a reset is not the same" {
  peer say hello reset
  fails expect hello eof <<'END'
did:      connect to 127.0.0.1:PORT (a)
          expect "hello"
          eof
expected: end of stream (EOF)
actual:   the server reset the connection (RST)
          (often it exited, or closed a socket with unread bytes)
END
}

@test "a reset stays a reset, however often one asks" {
  peer say hello reset
  tcp gone gone eof
  [ "$status" = 1 ]
  [[ $output == *"actual:   the server reset the connection (RST)"* ]]
}

@test "gone takes an end of stream, a reset, and what comes before" {
  peer say hello reset
  passes gone on b gone
  kill -KILL -- "-$PID"
  peer say hello close
  passes gone
}

@test "gone: the connection stays open" {
  peer say hello hold
  PATIENCE=0.3
  fails gone <<'END'
did:      connect to 127.0.0.1:PORT (a)
          gone
expected: end of stream (EOF) or a reset
actual:   nothing came within T s
END
}

@test "silence passes when nothing comes, and takes its time" {
  peer echo
  local before=${EPOCHREALTIME/./}
  passes silence 300
  [ $((${EPOCHREALTIME/./} - before)) -ge 300000 ]
}

@test "silence: something came" {
  peer say hello hold
  fails silence 5000 <<'END'
did:      connect to 127.0.0.1:PORT (a)
          silence 5000
expected: nothing for T ms
actual:   after T ms "hello" (5 bytes)
END
}

@test "silence: an end of stream is something, too" {
  peer say '' close
  tcp silence 5000
  [ "$status" = 1 ]
  [[ $output == *"ms the server closed the connection (EOF)" ]]
}

@test "half-close ends our side only" {
  peer echo
  passes send 'hello\n' half-close expect 'hello\n' eof
}

@test "half-close, and the connection is gone" {
  peer say hello reset
  tcp gone half-close
  [ "$status" = 1 ]
  [[ $output == *"expected: the connection is still there"* ]]
}

# server_states: of the server's sockets, as /proc/net/tcp has them
server_states() {
  awk -v port="$(printf ':%04X' "$PORT")" \
    '$2 ~ port "$" && $4 != "0A" { print $4 }' /proc/net/tcp
}

@test "close is seen by the server" {
  peer hold
  passes connect close
  [ "$(server_states)" = 08 ] # CLOSE_WAIT: it has not closed its own side
}

@test "reset leaves nothing behind" {
  peer hold
  passes connect reset
  [ "$(server_states)" = "" ]
}

@test "after close the name may be used anew" {
  peer echo
  passes send x expect x close on a send y expect y reset on a exchange 10
}

@test "two connections are kept apart" {
  peer echo
  passes on one send 'one\n' on two send 'two\n' expect 'two\n' silence 20 \
    on one expect 'one\n' close on two send-bytes 10 drain
}

# ---- Connecting ----

@test "a refused connection" {
  peer nobody
  fails connect <<'END'
did:      connect to 127.0.0.1:PORT (a)
expected: the server accepts the connection
actual:   connection refused: nothing listens on that port any more
END
}

@test "refused passes when nobody listens" {
  peer nobody
  passes refused
}

@test "refused waits for a server that is about to end" {
  peer echo
  (sleep 0.3; kill -KILL -- "-$PID") 3>&- 4>&- &
  passes refused
  PID=0
}

@test "refused: somebody listens" {
  peer echo
  PATIENCE=0.3
  fails refused <<'END'
did:      refused
expected: connecting to 127.0.0.1:PORT is refused
actual:   it was still accepted after T s
END
}

@test "a server that does not accept" {
  peer backlog
  PATIENCE=0.3
  fails connect on b connect on c connect on d connect <<'END'
did:      connect to 127.0.0.1:PORT (a)
          connect to 127.0.0.1:PORT (b)
expected: the server accepts the connection
actual:   no answer within T s
          (often the server does not accept and its listen() queue is full)
END
}

@test "-a takes another address" {
  peer nobody
  run timeout 20 "$TOOLS/tcp" -a 127.0.0.77 "$PORT" connect
  [ "$status" = 1 ]
  [[ $output == "did:      connect to 127.0.0.77:$PORT (a)"* ]]
}

# ---- A server that stands still ----

state() {
  awk '{ print $3 }' "/proc/$PID/stat"
}

@test "freeze stops a process, thaw lets it go on" {
  peer echo
  passes freeze "$PID" connect send x silence 100 thaw "$PID" expect x
}

@test "whoever is frozen is thawed when a step fails" {
  peer hold
  PATIENCE=0.1
  tcp freeze "$PID" eof
  [ "$status" = 1 ]
  [ "$(state)" != T ]
}

@test "whoever is frozen is thawed when the client is terminated" {
  peer hold
  timeout 0.3 "$TOOLS/tcp" "$PORT" freeze "$PID" silence 60000 3>&- 4>&- &
  local client=$!
  until [ "$(state)" = T ]; do
    kill -0 "$client"
    sleep 0.01
  done
  wait "$client" || true
  [ "$(state)" != T ]
}

@test "freeze: no such process" {
  peer nobody
  fails freeze 2147483647 <<'END'
did:      freeze 2147483647
expected: process 2147483647 stops
actual:   No such process
END
}

# ---- A crowd ----

@test "a crowd is served" {
  peer echo
  passes crowd 50 crowd-send 'a\n' crowd-expect 'a\n' crowd-echo 'b\n' \
    crowd-some 7 'c\n' crowd-close
}

@test "a crowd may be added to, and end by itself" {
  peer say $'hi\n' close
  passes crowd 5 crowd 5 crowd-expect 'hi\n' crowd-eof
}

@test "of a crowd the first one to fail is named" {
  peer only 17
  PATIENCE=0.5
  tcp crowd 40 crowd-echo 'hi\n'
  [ "$status" = 1 ]
  [[ $output == 'did:      crowd 40
          crowd-echo "hi\n"
expected: "hi\n" (3 bytes)
actual:   nothing came within T s
          (this is connection '*' of the crowd of 40;
          0 of those after it have an answer waiting)' ]]
}

@test "crowd-some takes every part of the crowd" {
  peer only 20
  PATIENCE=0.5
  tcp crowd 40 crowd-some 2 x
  [ "$status" = 1 ]
  [[ $output == *"(this is connection 21 of the crowd of 40;"* ]]
}

@test "crowd-eof: one that stays open" {
  peer swallow
  PATIENCE=0.3
  tcp crowd 3 crowd-eof
  [ "$status" = 1 ]
  [[ $output == *"expected: end of stream (EOF)"* ]]
  [[ $output == *"(this is connection 1 of the crowd of 3;"* ]]
}

@test "a crowd larger than the soft limit on open files" {
  peer hold
  ulimit -S -n 256
  passes crowd 1000 crowd-reset
}

@test "a crowd larger than the hard limit on open files" {
  peer hold
  ulimit -n 256
  if ! (ulimit -H -n 512) 2>/dev/null; then
    refuses 3 "open files" "$PORT" crowd 1000
  else
    passes crowd 1000
  fi
}

@test "when an address has no port left, the next one is used" {
  unshare -rn true 2>/dev/null || skip "network namespaces are not allowed here"
  run timeout -k 1 60 unshare -rn bash -c '
    set -e
    ip link set lo up
    echo 50000 50099 >/proc/sys/net/ipv4/ip_local_port_range
    read -r port pid < <("$1" hold)
    "$2" "$port" crowd 250
    kill -KILL -- "-$pid"' - "$BATS_FILE_TMPDIR/peer" "$TOOLS/tcp"
  echo "$output"
  [ "$status" = 0 ]
}

# ---- HTTP ----

@test "responses are taken one by one, however they end" {
  peer say $'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n0\r\nT: 1\r\n\r\nHTTP/1.0 200 OK\r\n\r\nto the end' close
  timeout 20 "$TOOLS/tcp" "$PORT" response >"$BATS_TEST_TMPDIR/1"
  timeout 20 "$TOOLS/tcp" "$PORT" response response response response response \
    >"$BATS_TEST_TMPDIR/all"
  cmp "$BATS_TEST_TMPDIR/1" <(printf 'HTTP/1.1 100 Continue\r\n\r\n')
  timeout 20 "$TOOLS/tcp" "$PORT" rest >"$BATS_TEST_TMPDIR/rest"
  cmp "$BATS_TEST_TMPDIR/all" "$BATS_TEST_TMPDIR/rest"
  run timeout 20 "$TOOLS/tcp" "$PORT" response response silence 60000
  [ "$status" = 1 ] # the third is still there
  [[ $output == *'"HTTP/1.1 304 No'* ]]
}

@test "the answer to HEAD has no body, whatever its length says" {
  peer say $'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n' close
  tcp response-to-head eof
  [ "$status" = 0 ]
  [ "$output" = $'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r' ]
}

# fails_at_response TEXT EXPECTED ACTUAL [STEP...]
fails_at_response() {
  peer say "$1" close
  fails "${4:-response}" <<END
did:      connect to 127.0.0.1:PORT (a)
          ${4:-response}
expected: $2
actual:   $3
END
}

@test "response: not HTTP" {
  fails_at_response 'hello' 'a status line, such as HTTP/1.1 200 OK' \
    '"hello" (5 bytes), then the server closed the connection (EOF)'
}

@test "response: a status that is no number" {
  fails_at_response $'HTTP/1.1 OK\r\n\r\n' \
    'a status line, such as HTTP/1.1 200 OK' '"HTTP/1.1 OK\r\n" (13 bytes)'
}

@test "response: a head without its empty line" {
  fails_at_response $'HTTP/1.1 200 OK\nA: b\n\nhello' \
    'header lines, ended by an empty line (CR LF CR LF)' \
    '"A: b\n\nhello" (11 bytes), then the server closed the connection (EOF)'
}

@test "response: a short body" {
  fails_at_response $'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel' \
    'a body of 5 bytes (Content-Length)' \
    '"hel" (3 bytes), then the server closed the connection (EOF)'
}

@test "response: a chunk that is longer than it says" {
  fails_at_response \
    $'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n' \
    'a chunk of 2 bytes, then CR LF' '"abc\r" (4 bytes)'
}

@test "response: a chunk without a size" {
  fails_at_response \
    $'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n' \
    'a line with the size of a chunk, in hex' '"xyz\r\n" (5 bytes)'
}

@test "rest: a reset is no end" {
  peer say hello reset
  tcp rest
  [ "$status" = 1 ]
  [[ $output == *'actual:   "hello" (5 bytes), then the server reset'* ]]
}

@test "the block begins in column 0, after whatever was printed" {
  peer say $'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi' close
  tcp response response
  [ "$status" = 1 ]
  [[ $output == *$'\r\n\r\nhi\ndid:      connect'* ]]
}

# ---- The block and the command line ----

@test "old steps are left out of the block" {
  peer swallow
  PATIENCE=0.2
  fails send 1 send 2 send 3 send 4 send 5 send 6 send 7 send 8 send 9 send 10 \
    eof <<'END'
did:      ... (2 before)
          send "2" (1 byte)
          send "3" (1 byte)
          send "4" (1 byte)
          send "5" (1 byte)
          send "6" (1 byte)
          send "7" (1 byte)
          send "8" (1 byte)
          send "9" (1 byte)
          send "10" (2 bytes)
          eof
expected: end of stream (EOF)
actual:   nothing came within T s
END
}

@test "TIMEOUT_FACTOR multiplies the deadline" {
  peer swallow
  run env TIMEOUT_FACTOR=3 timeout 20 "$TOOLS/tcp" -t 0.1 "$PORT" eof
  [ "$status" = 1 ]
  [[ $output == *"nothing came within 0.3 s"* ]]
}

@test "-h lists the steps" {
  refuses 0 "half-close" -h
  [[ $output == *"crowd-some       K TEXT"* ]]
}

@test "a mistake in the scenario is named, before anything is done" {
  peer say hi reset
  refuses 2 'usage: tcp [-a ADDR] [-t SECONDS] PORT STEP...'
  refuses 2 'usage: tcp' 4000
  refuses 2 'usage: tcp' -x 4000 eof
  refuses 2 '-t is to be a number above 0, not "soon"' -t soon 4000 eof
  refuses 2 '-a is to be an IPv4 address, not "localhost"' -a localhost 4 eof
  refuses 2 'PORT is to be a number up to 65535, not "65536"' 65536 eof
  refuses 2 'step 2: "expct" is not a step' "$PORT" eof expct x
  refuses 2 'step 1: send TEXT: this is missing' "$PORT" send
  refuses 2 'step 1: send TEXT: \q is no escape' "$PORT" send 'a\q'
  refuses 2 'step 1: send TEXT: \x is no escape' "$PORT" send 'a\x4'
  refuses 2 'step 1: silence MS is to be a number' "$PORT" silence long
  refuses 2 'step 1: freeze PID is to be a process' "$PORT" freeze 0
  refuses 2 'step 2: "x" is not a step' "$PORT" fill x
  refuses 2 'No such file' "$PORT" send-file /nonexistent
  TIMEOUT_FACTOR=0 refuses 2 'TIMEOUT_FACTOR is to be a number above 0' 4000 eof
}

@test "a mistake that only the run shows is named, too" {
  peer swallow
  refuses 2 'connection a is closed, `on a` begins a new one' \
    "$PORT" connect close send x
  refuses 2 'after half-close nothing can be sent' "$PORT" half-close send x
  refuses 2 'the crowd has 0 connections' "$PORT" crowd-echo x
  refuses 2 'crowd-some: the crowd has 2 connections' \
    "$PORT" crowd 2 crowd-some 3 x
}

@test "what is printed is ASCII" {
  peer say $'\x80\xff\xc3\xa4' close
  tcp send 'ä' expect 'ä'
  [ "$status" = 1 ]
  run ! env LC_ALL=C grep '[^ -~]' <<<"$output"
}

@test "an echo takes a few milliseconds" {
  peer echo
  local before=${EPOCHREALTIME/./}
  for _ in {1..20}; do
    "$TOOLS/tcp" "$PORT" send x expect x
  done
  [ $((${EPOCHREALTIME/./} - before)) -lt 4000000 ] # 20 of 200 ms: a wide margin
}
