# Tests for stage 03, the echo server on select().
load lib
load echo-loop

# --- TODO 1: one wait for all

@test "a line comes back" {
  start_server echo
  tcp send 'hello\n' expect 'hello\n' send 'again\n' expect 'again\n'
}

@test "bytes come back as they are, one by one or many at once" {
  likely "the bytes are treated as text, or the wrong length is sent back"
  start_server echo
  tcp send 'a' expect 'a' send 'b' expect 'b' send 'a\0b\xff\r\n%s' expect 'a\0b\xff\r\n%s' \
    send-bytes 16384 expect-bytes 16384 send-each 'slowly' expect 'slowly'
}

@test "silent clients hold up nobody" {
  likely "a call blocks: only the wait may put the server to sleep"
  start_server echo
  tcp on a connect on b send 'two\n' expect 'two\n' on c connect \
    on d send 'four\n' expect 'four\n' on a send 'one\n' expect 'one\n' \
    crowd 100 crowd-some 10 'hello\n' on c send 'three\n' expect 'three\n'
}

@test "one thread serves all, and select() tells it whom" {
  likely "stage 03 has one thread, no child, and waits in select()"
  CLIENTS=()
  FAULTS='select,pselect:delay=1:when=1 poll,ppoll,epoll_wait,epoll_pwait,epoll_pwait2:error=EPERM' \
    start_server echo
  open_clients 5
  say "${CLIENTS[0]}" hello
  say "${CLIENTS[4]}" hello
  expect "count the threads in /proc/PID/task" 1 "$(threads "$PID")"
  expect "list its children" "" "$(children "$PID")"
}

@test "wrong options get the usage and status 2, -h gets help" {
  local args
  CLIENTS=()
  start_server echo
  open_clients 1
  say "${CLIENTS[0]}" hello
  for args in -x '-p 65536' '-p 4k' '-b' '-b 0' '-b -1' '-b 4x' '-b 1048577' 'extra'; do
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

@test "an interrupted call is made again" {
  likely "-1 with EINTR says nothing about any client, and is no reason to end"
  FAULTS='select,pselect:error=EINTR:when=2..4' start_server echo
  tcp send 'hello\n' expect 'hello\n' freeze "$PID" thaw "$PID" send x expect x
  likely "EINTR of read() says nothing about the client"
  FAULTS='read:error=EINTR:fd=sock:when=1..3' start_server echo
  tcp send 'hello\n' expect 'hello\n' send 'again\n' expect 'again\n'
}

@test "a client that floods does not delay the others" {
  likely "a client is read until nothing is left, while the others wait"
  local reads
  FAULTS='read:delay=1:fd=sock' start_server echo -b 64
  tcp on first connect on b connect on c connect on last connect on d send d expect d freeze "$PID" \
    on first send-bytes 20000 on b send b on c send c on last send-bytes 20000 \
    thaw "$PID" on b expect b on c expect c on first drain on last drain
  reads=$(reads_in_between)
  [ "$reads" -le 100 ] ||
    fail "send 20,000 bytes on two connections, one byte on two others, all at once, to echo -b 64" \
      "at most 100 reads of the long ones before both of the short ones are read" "$reads reads"
  FAULTS='read:delay=1:fd=sock' start_server echo -b 1 # it never catches up
  flood
  tcp crowd 10 crowd-echo 'hello\n'
}

@test "a client that has finished sending gets everything, then the end" {
  likely "a read of 0 means: it sends no more; close when all is written"
  start_server echo
  tcp send-bytes 50000 half-close expect-bytes 50000 eof
  tcp connect freeze "$PID" send 'data and FIN together' half-close \
    thaw "$PID" expect 'data and FIN together' eof
  tcp half-close eof
}

@test "a thousand clients leave neither a descriptor nor memory behind" {
  likely "close() is not reached on every way out, or not for every client"
  local before steps=() i
  start_server echo
  tcp send x expect x half-close eof
  before=$(fds "$PID")
  for i in {1..10}; do
    steps+=(crowd 50 crowd-echo x crowd-close crowd 50 crowd-send x crowd-reset)
  done
  tcp "${steps[@]}" send x expect x half-close eof
  await "it has $before descriptors again" has_descriptors "$before"
  likely "what belongs to a client is freed at the end of the program, or never"
  BIN=$PLAIN start_server echo
  expect_no_growth "${steps[@]}"
}

# --- TODO 2: writing what there is room for

@test "a short write is finished" {
  likely "what was not written is forgotten, or nobody asks when there is room for it"
  FAULTS='write:short=3:fd=sock' start_server echo
  tcp send 'to be continued\n' expect 'to be continued\n' send 'x' expect 'x'
}

@test "a write that takes nothing is made again when there is room" {
  likely "EAGAIN and EINTR of write() are no error, and no byte was written"
  local error
  for error in EAGAIN EINTR; do
    FAULTS="write:error=$error:fd=sock:when=1..3" start_server echo
    tcp send 'hello\n' expect 'hello\n' send 'again\n' expect 'again\n'
  done
}

@test "megabytes come back unharmed" {
  likely "bytes are lost or sent twice when the socket has no room for all of them"
  start_server echo
  tcp exchange 4M
  start_server echo -b 1000
  tcp rcvbuf 4096 exchange 1M
  start_server echo -b 1048576
  tcp rcvbuf 4096 exchange 4M exchange 4M
}

# --- TODO 3: what to wait for

@test "a client that does not read stalls only itself" {
  likely "the write blocks, or the loop spins: it is watched for reading, too, while it waits"
  CLIENTS=()
  start_server echo
  open_clients 1
  hold rcvbuf 4096 fill
  say "${CLIENTS[0]}" hello
  expect_idle "$PID" "with one client that does not read its answers"
  say "${CLIENTS[0]}" again
}

@test "a client that reads late gets everything" {
  likely "what is asked for does not follow the state: writing, then reading again"
  start_server echo
  tcp rcvbuf 4096 fill drain send-bytes 1000 expect-bytes 1000 fill half-close drain
}

@test "silence costs no CPU time" {
  likely "a socket nearly always has room: ask for that only when something is to be written"
  CLIENTS=()
  start_server echo
  open_clients 3
  say "${CLIENTS[0]}" hello
  say "${CLIENTS[1]}" hello
  expect_idle "$PID" "while three clients say nothing" 1
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

@test "a client that finishes while much waits to be written gets all of it" {
  likely "the end of its input ends the connection before its output is written"
  start_server echo
  tcp rcvbuf 4096 fill half-close drain eof
}

@test "a thousand clients: all are served, and silence costs nothing" {
  likely "the sets are not rebuilt in full, nfds is wrong, or the loop does not sleep"
  local ticks
  BIN=$PLAIN start_server echo
  hold crowd 1000 crowd-some 64 'hello\n'
  ticks=$(cpu_ticks "$PID")
  sleep 2
  expect "measure the CPU time (ticks of 10 ms) of 2 s in which 1000 clients are silent" \
    0 $(($(cpu_ticks "$PID") - ticks))
  tcp send 'hello\n' expect 'hello\n'
}

# --- TODO 4: FD_SETSIZE

@test "the highest descriptor that fits into a set is served" {
  likely "1023 is allowed, and select() wants the highest descriptor plus 1"
  local before
  start_server echo
  before=$(fds "$PID")
  tcp send x expect x half-close eof
  await "the first client's descriptor is free" has_descriptors "$before"
  tcp crowd $((1024 - before)) crowd-echo 'hello\n' crowd-some 20 'again\n'
}

@test "descriptors from FD_SETSIZE on are refused, and the others go on" {
  likely "FD_SET() of 1024 or more writes to memory that belongs to something else"
  local steps=() i
  LIMITS='-n 1200' start_server echo
  steps=(crowd 1000 crowd-echo x)
  for i in {1..60}; do steps+=(on "c$i" connect); done
  for i in {41..60}; do steps+=(on "c$i" gone); done
  tcp "${steps[@]}" crowd-some 100 'hello\n' on c1 send y expect y
  tcp send 'after that\n' expect 'after that\n'
  stop_server
  expect "count the lines on its stderr" 1 "$(grep -vc '^listening' "$LOG")"
}

# --- TODO 5: accepting whatever happens

@test "clients that come at once are all accepted" {
  likely "the server does not come back to accept(), or the backlog is small"
  start_server echo
  tcp freeze "$PID" crowd 300 thaw "$PID" crowd-echo 'hello\n'
  likely "those who are there wait until all who come are let in: ACCEPT_BATCH"
  FAULTS='accept,read:delay=1:fd=sock' start_server echo -b 1
  tcp on a send x expect x freeze "$PID" crowd 200 on a send-bytes 200 thaw "$PID" expect-bytes 200
  [ "$(accepts_between_reads)" -le 100 ] ||
    fail "let 200 clients come and one that is there speak, all at once" \
      "at most 100 accept() before the one that is there is read again" \
      "$(accepts_between_reads)"
}

@test "a failed accept does not end it" {
  likely "an error of accept() ends the server, or it never accepts again"
  local error
  for error in ECONNABORTED EINTR EMFILE; do
    FAULTS="accept:error=$error:when=1" start_server echo
    tcp on a send 'one\n' expect 'one\n' on b send 'two\n' expect 'two\n'
  done
}

@test "without a free descriptor it rests, and goes on later" {
  likely "the listener is watched while accept() fails, or never again"
  local steps=() i
  CLIENTS=()
  start_server echo
  open_clients 2
  say "${CLIENTS[0]}" one
  say "${CLIENTS[1]}" two
  prlimit --pid "$PID" --nofile="$(fds "$PID"):" # all taken
  open_clients 1
  echo three >&"${CLIENTS[2]}"
  expect_idle "$PID" "with a client waiting and no descriptor for it"
  say "${CLIENTS[0]}" 'one again'
  prlimit --pid "$PID" --nofile=1000:
  expect "give it descriptors again" three "$(next_line "${CLIENTS[2]}")"
  likely "the thread sleeps when accept() fails: only the listener is to rest"
  FAULTS='accept:error=EMFILE:when=2+ read:delay=1:fd=sock' start_server echo
  for i in {1..24}; do steps+=(on a send x expect x); done
  tcp on a send x expect x on waiting connect "${steps[@]}"
  [ "$(reads_between_accepts)" -ge 3 ] ||
    fail "play ping-pong while another client waits, and no descriptor is free for it" \
      "three reads and more between one accept() that fails and the next one" \
      "$(reads_between_accepts) at most"
}

@test "without memory for a new client only that one is lost" {
  likely "the result of calloc() is not looked at"
  expect_one_lost_without 'malloc:error=ENOMEM:when=200+'
}

# --- TODO 6: signals

@test "a client that vanishes harms nobody" {
  likely "SIGPIPE killed it, or an error of one connection ended the server"
  local before
  start_server echo
  before=$(fds "$PID")
  tcp on a connect reset on b send x expect x reset on c send x half-close reset \
    rcvbuf 4096 on d fill reset on e fill half-close reset \
    on f connect freeze "$PID" on f send x reset on g send x reset thaw "$PID" \
    crowd 50 crowd-send x crowd-reset on h send 'hello\n' expect 'hello\n'
  await "it has $before descriptors again" has_descriptors "$before"
  expect_idle "$PID" "after clients that vanished"
}

@test "SIGPIPE does not kill it" {
  likely "SIGPIPE is to be ignored: write() then fails with EPIPE"
  # It writes 20 bytes one by one. The client's FIN and its RST come in between.
  FAULTS='write:short=1:fd=sock write:delay=100:fd=sock:when=2+' start_server echo
  tcp send 'twenty bytes, or so..' expect 't' half-close reset \
    on b send 'h' expect 'h'
}

@test "clients that leave in the same turn are told apart" {
  likely "an answer of select() is taken for another client's, or for one that is closed"
  local steps=() i
  start_server echo
  for i in {1..20}; do steps+=(on "c$i" send "$i" expect "$i"); done
  steps+=(crowd 50 crowd-echo x freeze "$PID" crowd-send x crowd-reset)
  for i in {1..20..3}; do steps+=(on "c$i" reset on "c$((i + 1))" send "new $i"); done
  steps+=(on late send 'late' thaw "$PID" on late expect 'late')
  for i in {1..18..3}; do steps+=(on "c$((i + 1))" expect "new $i" on "c$((i + 2))" send "$i" expect "$i"); done
  tcp "${steps[@]}" crowd 50 crowd-echo y
}

@test "a turn that ends one client and lets in another mixes up nothing" {
  likely "the new client has the number of one that was closed just now"
  local steps=() i
  start_server echo
  for i in {1..15}; do # whichever of the two the server looks at first
    steps+=(on "a$i" send x expect x freeze "$PID" on "a$i" close
            on "b$i" send "$i" thaw "$PID" on "b$i" expect "$i"
            on "c$i" send x expect x freeze "$PID" on "d$i" send "$i"
            on "c$i" close thaw "$PID" on "d$i" expect "$i")
  done
  tcp "${steps[@]}"
}

@test "SIGTERM and SIGINT end it with status 0, and nothing leaks" {
  likely "the signal is not noticed, or memory of connections is not freed"
  CLIENTS=()
  start_server echo
  tcp send 'hello\n' expect 'hello\n' half-close eof
  tcp rcvbuf 4096 fill reset
  open_clients 3
  say "${CLIENTS[0]}" hello
  hold rcvbuf 4096 fill
  stop_server
  ends_well "send SIGTERM while clients are connected"
  start_server echo -p "$PORT" # the connections of before are in TIME_WAIT
  tcp send 'hello\n' expect 'hello\n' half-close eof
  kill -INT "$PID"
  await "SIGINT has ended it" ended "$PID"
  stop_server
  ends_well "send SIGINT"
}

@test "a signal just before the wait is not missed" {
  likely "the flag is tested, the signal comes, and then the wait begins"
  CLIENTS=()
  FAULTS='wait:delay=600' start_server echo
  open_clients 1
  say "${CLIENTS[0]}" hello
  await "it is about to wait: it sleeps for 600 ms before it makes the call" is_asleep
  stop_server
  ends_well "send SIGTERM while it is about to wait"
}

@test "a signal is noticed while there is always something to do" {
  likely "signals are let in during the wait only, and a busy server never waits"
  FAULTS='read:delay=1:fd=sock' start_server echo -b 1 # it never catches up
  flood
  tcp send 'hello\n' expect 'hello\n'
  stop_server
  ends_well "send SIGTERM while a client floods"
}
