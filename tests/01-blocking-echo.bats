# Tests for stage 01, the blocking echo server.
load lib

# --- TODO 1: the listening socket

@test "an address that cannot be bound is reported, and ends it with status 1" {
  likely "listen_on() does not test what bind() returns"
  run_program echo -a 192.0.2.1 -p 0 # reserved for documents: on no machine
  expect_match "read what echo -a 192.0.2.1 -p 0 says on stderr" \
    '^echo: bind 192\.0\.2\.1:0: Cannot assign requested address' "$ERR"
  expect "look at its exit status" 1 "$STATUS"
}

@test "a port that is taken is reported with the call that failed" {
  likely "the message does not come from err(1, \"bind %s:%s\", addr, port)"
  start_server echo
  run_program echo -p "$PORT"
  expect "start a second server on port $PORT" \
    "echo: bind 127.0.0.1:$PORT: Address already in use" "$ERR"
  expect "look at its exit status" 1 "$STATUS"
}

@test "64 clients can connect while the server is busy" {
  likely "listen() was given a small backlog; SOMAXCONN asks for all there is"
  start_server echo
  tcp freeze "$PID" crowd 64 thaw "$PID"
}

@test "it can be started again on the same port at once" {
  likely "SO_REUSEADDR is not set, or set only after bind()"
  local port client answer
  start_server echo
  port=$PORT
  # The side that closes first keeps the connection in TIME_WAIT: the server's.
  exec {client}<>"/dev/tcp/127.0.0.1/$port"
  echo hello >&"$client"
  read -r -t "$(scaled 5)" -u "$client" answer || :
  expect "send \"hello\"" hello "$answer"
  stop_server
  exec {client}>&-
  start_server echo -p "$port"
  tcp send 'again\n' expect 'again\n'
}

# --- TODO 2: the ready line

@test "the ready line tells the real port, and nothing else" {
  likely "the line is still in stdio's buffer, or has the port that was asked for"
  start_server echo -a 127.0.0.1
  tcp connect
  expect "read its stdout" "listening on 127.0.0.1:$PORT" "$(cat "$LOG")"
  stop_server
  start_server echo -a 127.0.0.2
  expect "start it with -a 127.0.0.2, and read its stdout" \
    "listening on 127.0.0.2:$PORT" "$(cat "$LOG")"
}

@test "an IPv6 address stands in brackets" {
  [ -e /proc/net/if_inet6 ] || skip "this machine has no IPv6"
  likely "NI_NUMERICHOST gives ::1; the brackets are yours to print"
  start_server echo -a ::1
  expect "start it with -a ::1, and read its stdout" "listening on [::1]:$PORT" \
    "$(cat "$LOG")"
  stop_server
  start_server echo -a 0:0:0:0:0:0:0:1 # the same address, written at length
  expect "start it with -a 0:0:0:0:0:0:0:1, and read its stdout" \
    "listening on [::1]:$PORT" "$(cat "$LOG")"
}

@test "whoever has read the ready line can connect" {
  likely "the line is printed before listen() was called"
  FAULTS='listen:delay=300' start_server echo
  tcp send x expect x
}

@test "a ready line that cannot be written is an error" {
  likely "the results of printf() and fflush() are not tested"
  BIN=$BIN run_program_to_full_disk
  expect_match "run ./echo -p 0 >/dev/full, and read stderr" \
    'No space left on device' "$ERR"
  expect "look at its exit status" 1 "$STATUS"
}

run_program_to_full_disk() {
  STATUS=0
  ERR=$(timeout -k 2 "$(scaled 5)" "${confined[@]}" "$BIN/echo" -p 0 2>&1 >/dev/full 3>&- 4>&-) ||
    STATUS=$?
}

# --- TODO 3: reading and sending back

@test "a line comes back" {
  start_server echo
  tcp send 'hello\n' expect 'hello\n' send 'again\n' expect 'again\n'
}

@test "bytes come back as they are, with or without a newline" {
  likely "the bytes are treated as text: strlen(), printf() or fgets() stop at NUL"
  start_server echo
  tcp send 'no newline' expect 'no newline' \
    send 'a\0b\xff\r\n%s%n\x80' expect 'a\0b\xff\r\n%s%n\x80' \
    send-bytes 16384 expect-bytes 16384
}

@test "bytes that come one by one go back one by one" {
  likely "the server waits for a full buffer or a whole line before it answers"
  start_server echo
  tcp send 'a' expect 'a' send 'b' expect 'b' send-each 'slowly' expect 'slowly'
}

@test "a client that has finished sending gets everything, then the end" {
  likely "close(client) is missing after the loop, or comes before the last write"
  start_server echo
  tcp send-bytes 50000 half-close expect-bytes 50000 eof
  tcp connect freeze "$PID" send 'data and FIN together' half-close \
    thaw "$PID" expect 'data and FIN together' eof
  tcp half-close eof
}

@test "a hundred clients one after another leave no descriptor behind" {
  likely "close(client) is not reached on every way out of serve_client()"
  local before steps=() i
  start_server echo
  tcp send x expect x half-close eof
  before=$(fds "$PID")
  for i in {1..50}; do
    steps+=(on a send x expect x half-close eof close on a send x expect x reset)
  done
  tcp "${steps[@]}" on a send x expect x half-close eof
  await "it has $before descriptors again" has_descriptors "$before"
}

has_descriptors() { [ "$(fds "$PID")" = "$1" ]; }

@test "the second client waits until the first is done" {
  likely "the server goes back to accept() before the first client has finished"
  start_server echo
  tcp on a send 'one\n' expect 'one\n' on b send 'two\n' silence 300 \
    on a send 'still me\n' expect 'still me\n' half-close eof \
    on b expect 'two\n'
}

@test "it is one thread that sleeps in a blocking call" {
  likely "stage 01 has no thread, no child, no O_NONBLOCK and no poll or epoll"
  local client answer fd kind
  start_server echo
  exec {client}<>"/dev/tcp/127.0.0.1/$PORT"
  echo hello >&"$client"
  read -r -t "$(scaled 5)" -u "$client" answer || :
  expect "send \"hello\"" hello "$answer"
  expect "count the threads in /proc/PID/task" 1 "$(threads "$PID")"
  expect "list its children" "" "$(children "$PID")"
  while read -r fd kind; do
    expect_match "look at descriptor $fd in /proc/PID/fd" \
      '^(socket|pipe|/dev/null)' "$kind"
    if [[ $kind == socket* ]]; then
      expect "read O_NONBLOCK (04000) in the flags: of /proc/PID/fdinfo/$fd" \
        0 $(($(fd_flags "$PID" "$fd") & 04000))
    fi
  done < <(fd_kinds "$PID")
  expect_idle "$PID" "while its client says nothing" 1
  exec {client}>&-
}

@test "an interrupted read goes on" {
  likely "read() returned -1 with errno EINTR, and that ended the connection"
  FAULTS='read:error=EINTR:fd=sock:when=1..3' start_server echo
  tcp send 'hello\n' expect 'hello\n' half-close eof
}

@test "wrong options get the usage and status 2, -h gets help" {
  start_server echo
  tcp send 'hello\n' expect 'hello\n'
  local args
  for args in -x '-p 65536' '-p abc' '-p' 'extra'; do
    # shellcheck disable=SC2086  # two words
    run_program echo $args
    expect "run echo $args, and look at its exit status" 2 "$STATUS"
    expect_match "run echo $args, and read stderr" 'usage: echo ' "$ERR"
    expect "run echo $args, and read stdout" "" "$OUT"
  done
  run_program echo -h
  expect "run echo -h, and look at its exit status" 0 "$STATUS"
  expect_match "run echo -h, and read stdout" '^usage: echo ' "$OUT"
}

# --- TODO 4: signals

@test "a client that vanishes harms nobody" {
  likely "SIGPIPE killed it, or an error of one connection ended the server"
  local before
  start_server echo
  tcp on a send x reset on b send x expect x reset \
    on c rcvbuf 4096 send-bytes 200000 reset on d send 'hello\n' expect 'hello\n'
  stop_server
  # It has read 20 bytes and writes them one by one. The client's FIN, then
  # its RST, come in between: the next write() is one that raises SIGPIPE.
  FAULTS='write:short=1:fd=sock write:delay=100:fd=sock:when=2+' start_server echo
  before=$(fds "$PID")
  tcp send 'twenty bytes, or so..' expect 't' half-close reset \
    on b send 'h' expect 'h' half-close eof
  await "it has $before descriptors again" has_descriptors "$before"
}

@test "SIGTERM and SIGINT end it with status 0" {
  likely "no handler: the default action of the signal kills the process"
  local client answer=''
  start_server echo
  tcp send 'hello\n' expect 'hello\n'
  stop_server
  expect "send SIGTERM while it waits in accept()" "exit 0" "$END"
  start_server echo
  exec {client}<>"/dev/tcp/127.0.0.1/$PORT"
  echo hello >&"$client"
  read -r -t "$(scaled 5)" -u "$client" answer || :
  expect "send \"hello\"" hello "$answer"
  stop_server
  expect "send SIGTERM while it waits in read()" "exit 0" "$END"
  exec {client}>&-
  start_server echo
  exec {client}<>"/dev/tcp/127.0.0.1/$PORT"
  head -c 64M /dev/zero >&"$client" 2>/dev/null 3>&- 4>&- &
  await "its client's bytes have filled all buffers" is_blocked "$!"
  stop_server
  expect "send SIGTERM while it waits in write()" "exit 0" "$END"
  exec {client}>&-
  FAULTS='accept:delay=400' start_server echo
  await "it is about to call accept()" test -s "$BATS_TEST_TMPDIR/faults.log"
  stop_server
  expect "send SIGTERM just before accept()" "exit 0" "$END"
  start_server echo
  kill -INT "$PID"
  await "SIGINT has ended it" ended "$PID"
  stop_server
  expect "send SIGINT" "exit 0" "$END"
}

# It has written something, and now writes nothing for a quarter of a second.
is_blocked() {
  local chars
  chars=$(written "$1")
  sleep 0.25
  [ "${chars:-0}" -gt 0 ] && [ "$(written "$1")" = "$chars" ]
}
written() { awk '$1 == "wchar:" { print $2 }' "/proc/$1/io" 2>/dev/null; } # nothing if it is gone

ended() { ! [ -e "/proc/$1/exe" ]; }

# --- TODO 5: writing all of it

@test "a megabyte comes back unharmed" {
  start_server echo
  tcp exchange 1048576 half-close eof
}

@test "a short write is finished" {
  likely "write() took fewer bytes than it was given, and the rest was dropped"
  FAULTS='write:short=3:fd=sock' start_server echo
  tcp send 'to be continued\n' expect 'to be continued\n' half-close eof
}

@test "an interrupted write goes on" {
  likely "write() returned -1 with errno EINTR, and that ended the connection"
  FAULTS='write:error=EINTR:fd=sock:when=1..3' start_server echo
  tcp send 'hello\n' expect 'hello\n' half-close eof
  stop_server
  # Half-way: three bytes are gone already, and must not go a second time.
  FAULTS='write:short=3:fd=sock write:error=EINTR:fd=sock:when=2..3' start_server echo
  tcp send 'hello, world\n' expect 'hello, world\n' half-close eof
}

@test "a client that reads late loses nothing" {
  likely "write_all() gives up, or skips bytes, while the send buffer is full"
  start_server echo
  tcp rcvbuf 4096 fill drain half-close eof
}

# --- TODO 6: accepting whatever happens

@test "a failed accept does not end it" {
  likely "an error of accept() ends the server, or is taken for a client"
  local error
  for error in ECONNABORTED EINTR EMFILE ENFILE ENOBUFS EPROTO; do
    FAULTS="accept:error=$error:when=1..3" start_server echo
    tcp send 'one\n' expect 'one\n' half-close eof
    tcp send 'two\n' expect 'two\n' half-close eof
    stop_server
  done
}

@test "without a free descriptor it rests, and goes on later" {
  likely "accept() fails again at once while no descriptor is free: pause first"
  local first second answer
  start_server echo
  # The limit comes while a client is served: a process that sleeps in accept()
  # has its next descriptor already.
  exec {first}<>"/dev/tcp/127.0.0.1/$PORT"
  echo one >&"$first"
  read -r -t "$(scaled 5)" -u "$first" answer || :
  expect "send \"one\"" one "$answer"
  prlimit --pid "$PID" --nofile=4: # 0, 1, 2 and the listener: none is left
  exec {second}<>"/dev/tcp/127.0.0.1/$PORT"
  echo two >&"$second"
  exec {first}>&-
  expect_idle "$PID" "with a client waiting and no descriptor for it"
  prlimit --pid "$PID" --nofile=1000:
  read -r -t "$(scaled 5)" -u "$second" answer || :
  expect "give it descriptors again" two "$answer"
  exec {second}>&-
}
