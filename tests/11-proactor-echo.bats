# Tests for stage 11, the echo server on a proactor. Tests whose names begin with
# io_uring run only where there is one; tests/kit/uring.bats sees to it that they
# do run there.
load lib
load echo-loop

# The kernel permits io_uring, or the test is skipped. `buffers`: what the bonuses need.
needs_uring() {
  local why
  why=$("$TOOLS/uring_probe" "$@") || skip "no io_uring here: $why"
}

# --- what the tests look at

# The rest of /proc/PID/fdinfo of the rings: positions, and operations that wait
# for something, as "  op=13, ..." below PollList.
rings() {
  local fd
  for fd in "/proc/$PID/fd/"*; do
    [[ $(readlink "$fd") != *io_uring* ]] || cat "/proc/$PID/fdinfo/${fd##*/}"
  done
}
ring_field() { rings | awk -v name="$1:" '$1 == name { print $2 }'; }
waiting() { rings | grep -cE "^ *op=($1),"; } # OPCODES: how many of them
kernel_waits_for() { [ "$(waiting "$1")" = "$2" ]; }
ACCEPT=13 READ='22|27|1' # of linux/io_uring.h: ACCEPT; READ, RECV or READV

# uring_refused RULES: run echo -b uring with faults; sets STATUS and ERR.
uring_refused() {
  STATUS=0
  timeout -k 2 "$(scaled 10)" env LD_PRELOAD="$TOOLS/faults.so" FAULTS="$1" \
    "$BIN/echo" -p 0 -b uring >/dev/null 2>"$BATS_TEST_TMPDIR/err" </dev/null 3>&- 4>&- ||
    STATUS=$?
  ERR=$(cat "$BATS_TEST_TMPDIR/err")
}

long_text() { printf 'x%.0s' {1..8000}; }

# --- what both kinds of proactor must do; $@: the options of echo

echoes_bytes() {
  start_server echo "$@"
  tcp send 'a' expect 'a' send 'b' expect 'b' send 'a\0b\xff\r\n%s' expect 'a\0b\xff\r\n%s' \
    send-bytes 16384 expect-bytes 16384 send-bytes 50000 expect-bytes 50000 \
    send-each 'slowly' expect 'slowly'
}

echoes_megabytes() {
  start_server echo "$@"
  tcp exchange 4M
  tcp rcvbuf 4096 exchange 1M
}

serves_beside_silent_clients() {
  start_server echo "$@"
  tcp on a connect on b send 'two\n' expect 'two\n' on c connect \
    on d send 'four\n' expect 'four\n' on a send 'one\n' expect 'one\n' \
    freeze "$PID" crowd 300 thaw "$PID" crowd-echo 'hello\n' on c send 'three\n' expect 'three\n'
}

stalls_only_who_does_not_read() {
  CLIENTS=()
  start_server echo "$@"
  open_clients 1
  hold rcvbuf 4096 fill
  say "${CLIENTS[0]}" hello
  expect_idle "$PID" "with one client that does not read its answers"
  say "${CLIENTS[0]}" again
  tcp rcvbuf 4096 fill drain send-bytes 1000 expect-bytes 1000 fill half-close drain eof
}

finishes_what_it_owes() {
  start_server echo "$@"
  tcp send-bytes 50000 half-close expect-bytes 50000 eof
  tcp connect freeze "$PID" send 'data and FIN together' half-close \
    thaw "$PID" expect 'data and FIN together' eof
  tcp rcvbuf 4096 fill half-close drain eof
  tcp half-close eof
}

leaves_no_descriptor() {
  local before steps=() i
  start_server echo "$@"
  tcp send x expect x half-close eof
  before=$(fds "$PID")
  for i in {1..10}; do
    steps+=(crowd 50 crowd-echo x crowd-close crowd 50 crowd-send x crowd-reset)
  done
  tcp "${steps[@]}" send x expect x half-close eof
  await "it has $before descriptors again" has_descriptors "$before"
}

survives_who_vanishes() {
  local before
  start_server echo "$@"
  tcp send x expect x half-close eof
  before=$(fds "$PID")
  tcp on a connect reset on b send x expect x reset on c send x half-close reset \
    rcvbuf 4096 on d fill reset on e fill half-close reset \
    on f connect freeze "$PID" on f send x reset on g send x reset thaw "$PID" \
    crowd 50 crowd-send x crowd-reset on h send 'hello\n' expect 'hello\n'
  await "it has $before descriptors again" has_descriptors "$before"
  expect_idle "$PID" "after clients that vanished"
}

tells_clients_apart() {
  local steps=() i
  start_server echo "$@"
  for i in {1..20}; do steps+=(on "c$i" send "$i" expect "$i"); done
  steps+=(crowd 50 crowd-echo x freeze "$PID" crowd-send x crowd-reset)
  for i in {1..20..3}; do steps+=(on "c$i" reset on "c$((i + 1))" send "new $i"); done
  steps+=(on late send 'late' thaw "$PID" on late expect 'late')
  for i in {1..18..3}; do steps+=(on "c$((i + 1))" expect "new $i" on "c$((i + 2))" send "$i" expect "$i"); done
  for i in {1..10}; do
    steps+=(on "a$i" send x expect x freeze "$PID" on "a$i" close
            on "b$i" send "$i" thaw "$PID" on "b$i" expect "$i")
  done
  tcp "${steps[@]}" crowd 50 crowd-echo y
}

# The limit is there from the start: an accept of io_uring keeps the one of its start.
rests_without_descriptors() {
  CLIENTS=()
  start_server echo "$@"
  printf '#!/bin/sh\nulimit -Sn %d\nexec %s/echo "$@"\n' $(($(fds "$PID") + 2)) \
    "$(realpath "$BIN")" >"$BATS_TEST_TMPDIR/echo"
  chmod +x "$BATS_TEST_TMPDIR/echo"
  stop_server
  BIN=$BATS_TEST_TMPDIR start_server echo "$@" # with descriptors for 2 clients
  open_clients 2
  say "${CLIENTS[0]}" one
  say "${CLIENTS[1]}" two
  open_clients 1
  echo three >&"${CLIENTS[2]}"
  expect_idle "$PID" "with a client waiting and no descriptor for it"
  say "${CLIENTS[0]}" 'one again'
  prlimit --pid "$PID" --nofile=1000:
  expect "give it descriptors again" three "$(next_line "${CLIENTS[2]}")"
  open_clients 1
  say "${CLIENTS[3]}" four
}

ends_with_operations_under_way() { # a read, a write, and one of each end
  CLIENTS=()
  start_server echo "$@"
  tcp send 'hello\n' expect 'hello\n' half-close eof
  tcp rcvbuf 4096 fill reset
  open_clients 3
  say "${CLIENTS[0]}" hello
  hold rcvbuf 4096 fill
  stop_server
  ends_well "send SIGTERM while reads and a write are under way"
}

# A cancellation comes too late for operations that complete together with the signal.
is_interrupted_at_work() {
  local fd
  CLIENTS=()
  start_server echo "$@"
  open_clients 30
  for fd in "${CLIENTS[@]}"; do say "$fd" hello; done
  kill -STOP "$PID"
  await "it is stopped" is_stopped "$PID"
  for fd in "${CLIENTS[@]}"; do echo again >&"$fd"; done
  kill -INT "$PID"
  kill -CONT "$PID"
  await "SIGINT has ended it" ended "$PID"
  stop_server
  ends_well "let 30 clients send while it is stopped, then send SIGINT, then SIGCONT"
}

# --- TODO 1: the first operation

@test "wrong options get the usage and status 2, -h gets help" {
  local args
  start_server echo
  for args in -x '-p 65536' '-b select' '-b' 'extra'; do
    # shellcheck disable=SC2086  # two words
    run_program echo $args
    expect "run echo $args, and look at its exit status" 2 "$STATUS"
    expect_match "run echo $args, and read stderr" 'usage: echo ' "$ERR"
  done
  run_program echo -h
  expect "run echo -h, and look at its exit status" 0 "$STATUS"
  expect_match "run echo -h, and read stdout" '^usage: echo ' "$OUT"
  run_program echo -p "$PORT"
  expect "start a second server on port $PORT" \
    "echo: bind 127.0.0.1:$PORT: Address already in use" "$ERR"
}

@test "one thread waits for clients: the listener is watched, edge-triggered" {
  likely "proactor_accept() was not called: then nobody watches the listener"
  start_server echo
  expect "count the threads in /proc/PID/task" 1 "$(threads "$PID")"
  expect "list its children" "" "$(children "$PID")"
  expect "count the sockets with EPOLLIN, EPOLLOUT, EPOLLET on the interest list in /proc/PID/fdinfo" 1 \
    "$(epoll_interest "$PID" | while read -r fd events; do
      [[ $(readlink "/proc/$PID/fd/$fd") == socket:* && $((0x$events & 0x80000005)) = $((0x80000005)) ]] &&
        echo "$fd"; done | wc -l)"
  expect_idle "$PID" "before the first client"
}

# --- TODO 2: clients

@test "each client that comes is accepted" {
  likely "an accept that has completed is over: start the next one"
  local before
  CLIENTS=()
  start_server echo
  before=$(fds "$PID")
  open_clients 20
  await "it has 20 descriptors more" has_descriptors $((before + 20))
  expect_idle "$PID" "with 20 silent clients"
}

@test "a failed accept does not end it" {
  likely "an error of accept ends the server, or it never accepts again"
  local error before
  for error in ECONNABORTED EMFILE EPROTO; do
    CLIENTS=()
    FAULTS="accept:error=$error:when=1" start_server echo
    before=$(fds "$PID")
    open_clients 2
    await "it has 2 descriptors more" has_descriptors $((before + 2))
    stop_server
  done
}

# --- TODO 3: what is read goes back

@test "a line comes back" {
  likely "on_read() has to start the write of what was read"
  start_server echo
  tcp send 'hello\n' expect 'hello\n' send 'again\n' expect 'again\n'
}

@test "a line comes back through a buffer on loan" {
  likely "with -l the bytes are in op->buffer, and nowhere else"
  start_server echo -l
  tcp send 'hello\n' expect 'hello\n' send 'again\n' expect 'again\n' crowd 20 crowd-echo x
}

@test "silent clients hold up nobody, and 300 at once are served" {
  likely "an accept is started once only, or the chain of a session ends too early"
  serves_beside_silent_clients
}

@test "without a free descriptor it rests, and goes on later" {
  likely "the failed accept is started anew at once, or never: rest_ends"
  rests_without_descriptors
}

# --- TODO 4: all of it

@test "a short write is finished" {
  likely "a write may take less than it was given: write the rest"
  FAULTS='write:short=3:fd=sock' start_server echo
  tcp send 'to be continued\n' expect 'to be continued\n' send 'x' expect 'x'
  FAULTS='write:short=3:fd=sock' start_server echo -l
  tcp send 'to be continued\n' expect 'to be continued\n' send 'x' expect 'x'
}

@test "bytes come back as they are, one by one or many at once" {
  likely "the bytes are treated as text, or the wrong length is sent back"
  echoes_bytes
}

@test "megabytes come back unharmed" {
  likely "bytes are lost or sent twice when the socket has no room for all of them"
  echoes_megabytes
  echoes_megabytes -l
}

@test "clients that do not read cost a bounded amount of memory" {
  likely "the server goes on reading from a client that does not read"
  local before grown
  BIN=$PLAIN start_server echo
  tcp send x expect x
  before=$(resident_kib "$PID")
  hold rcvbuf 4096 fill on b fill on c fill on d fill
  grown=$(($(resident_kib "$PID") - before))
  [ "$grown" -le 1024 ] ||
    fail "let 4 clients send until no more is taken, and look at VmRSS in /proc/PID/status" \
      "at most 1024 KiB more than before" "$grown KiB more"
}

@test "a client that floods does not delay the others" {
  likely "a chain goes on without waiting for its turn"
  local reads
  FAULTS='read:delay=1:fd=sock' start_server echo
  tcp on first connect on b connect on c connect on last connect freeze "$PID" \
    on first send-bytes 2000000 on last send-bytes 2000000 on b send b on c send c \
    thaw "$PID" on b expect b on c expect c on first drain on last drain
  reads=$(reads_in_between)
  [ "$reads" -le 20 ] ||
    fail "send 2 MB on two connections, one byte on two others, all at once" \
      "at most 20 reads of the long ones before both of the short ones are read" "$reads reads"
}

# --- TODO 5: the last reference

@test "a client that has finished sending gets everything, then the end" {
  likely "the session is never freed, or before its last write has completed"
  finishes_what_it_owes
}

@test "a client that does not read stalls only itself, and gets everything later" {
  likely "the write of the rest is not started, or nothing is read after it"
  stalls_only_who_does_not_read
}

@test "a thousand clients leave no descriptor behind" {
  likely "the count of references does not come to 0 on every way out"
  leaves_no_descriptor
}

@test "a client that vanishes harms nobody" {
  likely "a negative result is an end of the chain, too"
  survives_who_vanishes
  survives_who_vanishes -l
}

@test "clients that leave in the same turn are told apart" {
  likely "a session was freed while an operation held it, or a number came again"
  tells_clients_apart
}

@test "SIGTERM ends it with status 0 while operations are under way, and nothing leaks" {
  likely "a session is freed when its operation is cancelled, not when that has completed"
  ends_with_operations_under_way
  ends_with_operations_under_way -l
}

@test "SIGINT ends it while every session has something to do" {
  likely "a session whose operation has just completed goes on, though the server is stopping"
  is_interrupted_at_work
}

# --- TODO 6: the rings

@test "where io_uring is denied, the program says so" {
  likely "the error of io_uring_setup() is for the user: refuse()"
  local rule
  while read -r error text; do
    uring_refused "io_uring_setup:error=$error"
    rule="LD_PRELOAD=build/tools/faults.so FAULTS=io_uring_setup:error=$error"
    expect "run $rule labs/$STAGE/echo -b uring, and look at its exit status" 1 "$STATUS"
    expect_match "run $rule labs/$STAGE/echo -b uring, and read stderr" \
      "^echo: io_uring_setup: $text" "$ERR"
  done <<'END'
EPERM Operation not permitted
ENOSYS Function not implemented
ENOMEM Cannot allocate memory
END
}

# --- TODO 7: submission

@test "io_uring: the kernel waits for the first client, and nobody polls" {
  needs_uring
  likely "the operation is not in the SQ, or the tail was not moved, or nothing was handed over"
  start_server echo -b uring
  expect "look for the descriptor of the rings in /proc/PID/fd" 1 \
    "$(fd_kinds "$PID" | grep -c 'anon_inode:\[io_uring\]')"
  expect "count the mappings of the rings in /proc/PID/maps" 2 \
    "$(grep -c 'anon_inode:\[io_uring\]' "/proc/$PID/maps")"
  await "one accept (op=$ACCEPT) and the read of the signals wait in the kernel: PollList in /proc/PID/fdinfo" \
    kernel_waits_for "$ACCEPT|$READ" 2
  expect "count the accepts that wait" 1 "$(waiting $ACCEPT)"
  expect "look for an epoll in /proc/PID/fd" '' "$(fd_kinds "$PID" | grep eventpoll || :)"
  expect "count the threads in /proc/PID/task" 1 "$(threads "$PID")"
  expect_idle "$PID" "before the first client"
}

# --- TODO 8: completion

@test "io_uring: a line comes back" {
  needs_uring
  likely "the completion is not taken, or its place in the ring is not given back"
  start_server echo -b uring
  tcp send 'hello\n' expect 'hello\n' send 'again\n' expect 'again\n'
}

@test "io_uring: the kernel reads, writes and accepts, not the server" {
  needs_uring
  likely "it makes the calls of the epoll stages, or waits with something else"
  CLIENTS=()
  FAULTS='io_uring_enter:delay=1:when=1 wait:error=EINVAL read,write,accept:error=EIO:fd=sock' \
    start_server echo -b uring
  open_clients 3
  say "${CLIENTS[0]}" hello
  say "${CLIENTS[2]}" hello
  await "a read of each of the 3 clients, that of the signals, and an accept wait in the kernel" \
    kernel_waits_for "$ACCEPT|$READ" 5
  expect "count the accepts that wait" 1 "$(waiting $ACCEPT)"
}

@test "io_uring: bytes and megabytes come back as they are" {
  needs_uring
  likely "a completion is copied after its place was given back, or the result of another one taken"
  echoes_bytes -b uring
  echoes_megabytes -b uring
}

@test "io_uring: silent clients hold up nobody, and silence costs nothing" {
  needs_uring
  likely "a call blocks, or returns at once: io_uring_enter() has to wait for one completion"
  serves_beside_silent_clients -b uring
  expect_idle "$PID" "with clients that have left"
}

@test "io_uring: a client that does not read stalls only itself" {
  needs_uring
  likely "the server waits for one operation, and not for any"
  stalls_only_who_does_not_read -b uring
}

@test "io_uring: clients finish, vanish, and come again" {
  needs_uring
  likely "the socket of a client stays open while an operation is under way"
  finishes_what_it_owes -b uring
  survives_who_vanishes -b uring
  tells_clients_apart -b uring
}

@test "io_uring: a thousand clients leave no descriptor behind" {
  needs_uring
  likely "completions of clients that have left are not taken"
  leaves_no_descriptor -b uring
}

@test "io_uring: an interrupted wait goes on" {
  needs_uring
  likely "-1 with EINTR is no reason to end; what was in the SQ is still there"
  FAULTS='io_uring_enter:error=EINTR:when=1..6' start_server echo -b uring
  tcp send 'hello\n' expect 'hello\n' freeze "$PID" thaw "$PID" send x expect x
}

@test "io_uring: without a free descriptor it rests, and goes on later" {
  needs_uring
  likely "the wait has a limit, ms, or a failed accept is started again at once"
  rests_without_descriptors -b uring
}

@test "io_uring: a kernel without the newest flags will do" {
  needs_uring
  likely "io_uring_setup() says EINVAL to a flag that it does not know: try again without"
  FAULTS='io_uring_setup:error=EINVAL:when=1' start_server echo -b uring
  tcp send 'hello\n' expect 'hello\n' freeze "$PID" crowd 300 thaw "$PID" crowd-echo 'hello\n'
}

@test "io_uring: more completions than the ring holds are not lost" {
  needs_uring
  likely "the kernel keeps them, and brings them at the next io_uring_enter() with GETEVENTS"
  many_connections 5000
  # Without the newest flags all completions come when the process is thawed.
  FAULTS='io_uring_setup:error=EINVAL:when=1' LIMITS="-n $((COUNT + 100))" BIN=$PLAIN \
    start_server echo -b uring
  tcp crowd "$COUNT" crowd-echo a freeze "$PID" crowd-send b thaw "$PID" crowd-expect b
}

@test "io_uring: 10,000 clients, 64 of them active: one thread, and silence costs nothing" {
  needs_uring
  likely "places in a ring are not given back, or the loop does not sleep"
  local ticks
  many_connections 10000
  LIMITS="-n $((COUNT + 100))" BIN=$PLAIN start_server echo -b uring
  hold crowd "$COUNT" crowd-some 64 'hello\n'
  ticks=$(cpu_ticks "$PID")
  sleep 1
  expect "measure the CPU time (ticks of 10 ms) of 1 s in which $COUNT clients are silent" \
    0 $(($(cpu_ticks "$PID") - ticks))
  tcp send 'hello\n' expect 'hello\n'
  expect "count the threads in /proc/PID/task" 1 "$(threads "$PID")"
}

# --- TODO 9: batches

@test "io_uring: a hundred messages at once take a few system calls" {
  needs_uring
  likely "each operation is handed over by a call of its own: let them gather in the SQ"
  local calls steps=() i
  FAULTS='io_uring_enter:delay=1' start_server echo -b uring
  for i in {1..20}; do
    steps+=(freeze "$PID" crowd-send 'hello\n' thaw "$PID" crowd-expect 'hello\n')
  done
  tcp crowd 100 "${steps[@]}"
  calls=$(grep -c '^io_uring_enter ' "$BATS_TEST_TMPDIR/faults.log")
  [ "$calls" -le 1000 ] ||
    fail "let 100 clients come, and 20 times send all at once, 2,000 messages, and count the calls of io_uring_enter()" \
      "at most 1000" "$calls"
}

@test "io_uring: more operations than the SQ has places are not lost" {
  needs_uring
  likely "the SQ is full, and the next operation overwrites one that the kernel has not seen"
  # Without the newest flags all completions come at once, when the process is thawed.
  FAULTS='io_uring_setup:error=EINVAL:when=1' start_server echo -b uring
  tcp crowd 900 crowd-echo a freeze "$PID" crowd-send b thaw "$PID" crowd-expect b \
    freeze "$PID" crowd-send c thaw "$PID" crowd-expect c
}

# --- TODO 10: an early end

@test "io_uring: SIGTERM ends it with status 0 while operations are under way, and nothing leaks" {
  needs_uring
  likely "an operation of the kernel is cancelled by an operation, and completes with -ECANCELED"
  ends_with_operations_under_way -b uring
  ends_with_operations_under_way -b uring -l
}

@test "io_uring: SIGINT ends it with 900 clients" {
  needs_uring
  likely "900 cancellations are more than the SQ has places"
  start_server echo -b uring
  hold crowd 900 crowd-some 100 x
  kill -INT "$PID"
  await "SIGINT has ended it" ended "$PID"
  stop_server
  ends_well "send SIGINT"
  is_interrupted_at_work -b uring
}

# --- TODO 11 and 12, the bonuses

@test "io_uring: one accept serves for many clients" {
  needs_uring buffers
  likely "IORING_ACCEPT_MULTISHOT is not in sqe->ioprio"
  local before more
  start_server echo -b uring
  tcp send x expect x
  before=$(ring_field SqTail)
  hold crowd 60
  more=$(($(ring_field SqTail) - before))
  [ "$more" -ge 61 ] && [ "$more" -le 80 ] ||
    fail "let 61 clients come, and see by how much SqTail in /proc/PID/fdinfo has grown" \
      "about one operation for each client, its read" "$more operations"
}

@test "io_uring: silent clients have no buffer (-l)" {
  needs_uring buffers
  likely "each read brings a buffer of its own, or one on loan is never given back"
  local before grown
  BIN=$PLAIN start_server echo -b uring -l
  tcp crowd 500 crowd-echo x
  before=$(resident_kib "$PID")
  hold crowd 500 crowd-echo "$(long_text)" crowd-echo "$(long_text)"
  grown=$(($(resident_kib "$PID") - before))
  [ "$grown" -le 2500 ] ||
    fail "let 500 clients send 16,000 bytes each, and look at VmRSS in /proc/PID/status" \
      "at most 2500 KiB more than before" "$grown KiB more"
}

@test "io_uring: when all buffers are on loan, nobody is turned away" {
  needs_uring buffers
  likely "the read has failed with -ENOBUFS: start it again with memory from malloc()"
  start_server echo -b uring -l
  tcp crowd 400 crowd-echo a freeze "$PID" crowd-send b thaw "$PID" crowd-expect b \
    freeze "$PID" crowd-send c thaw "$PID" crowd-expect c
  tcp exchange 4M
  survives_who_vanishes -b uring -l
}

@test "io_uring: without a ring of buffers, malloc() lends" {
  needs_uring buffers
  likely "before Linux 5.19 io_uring_register() fails with EINVAL: go on without"
  FAULTS='io_uring_register:error=EINVAL' start_server echo -b uring -l
  tcp send 'hello\n' expect 'hello\n' crowd 100 crowd-echo 'hello\n'
}
