# Tests for stage 02, the echo server with many workers. What counts processes and
# threads takes the plain build: a sanitizer may add a thread of its own.
load lib

MODELS=(fork thread prefork pool)

# --- what the tests look at

# open_clients N: N more connections, each of which has got one line back. Their
# descriptors are in CLIENTS, and stay open until the test ends or closes them.
open_clients() {
  local fd
  for ((; $1 > 0; )); do
    { exec {fd}<>"/dev/tcp/127.0.0.1/$PORT"; } 2>/dev/null ||
      fail "connect to 127.0.0.1:$PORT" "a connection" "none: nobody listens" || return
    CLIENTS+=("$fd")
    expect "send \"hello\\n\" on connection ${#CLIENTS[@]}" hello "$(say_hello "$fd")" || return
    set -- $(($1 - 1))
  done
}

# What comes back after "hello" on the connection with this descriptor.
say_hello() {
  local answer
  echo hello >&"$1"
  if read -r -t "$(scaled 5)" -u "$1" answer; then
    echo "$answer"
  else
    echo "(nothing)"
  fi
} 2>/dev/null

close_clients() {
  local fd
  for fd in "${CLIENTS[@]}"; do exec {fd}>&-; done
  CLIENTS=()
}

state() { # R, S, T (stopped), Z (zombie), ...
  local stat
  read -r stat 2>/dev/null <"/proc/$1/stat" || stat=') gone'
  stat=${stat##*) }
  echo "${stat%% *}"
}
is_stopped() { [ "$(state "$1")" = T ]; }
is_gone() { [[ $(state "$1") == [gZX]* ]]; }

# await_server WHAT COMMAND...: like await, but not once the server has ended.
await_server() {
  local what=$1
  shift
  await "$what" so_or_ended "$@"
  "$@" || fail "wait until $what" "$what" "the server has ended"
}
so_or_ended() { "$@" || is_gone "$PID"; }

child_count() { local c; read -ra c <<<"$(children "$1")"; echo ${#c[@]}; }
has_children() { [ "$(child_count "$PID")" = "$1" ]; }
zombie_count() {
  local child n=0
  for child in $(children "$1"); do [ "$(state "$child")" != Z ] || n=$((n + 1)); done
  echo "$n"
}
# Where SIGCHLD is ignored, those who have ended are not even zombies.
are_ended() { has_children "$(zombie_count "$PID")"; }
has_threads() { [ "$(threads "$PID")" = "$1" ]; }
has_descriptors() { [ "$(fds "$1")" = "$2" ]; }
sockets() { fd_kinds "$1" | sed -n 's/.*\(socket:.*\)/\1/p' | sort | paste -sd' '; }
has_sockets() { [ "$(sockets "$1" | wc -w)" = "$2" ]; }
resident_kib() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$1/status"; }

heap_kib() { awk '/\[heap\]/ { here = 1 } here && /^Rss:/ { print $2; exit }' "/proc/$1/smaps"; }

# --- TODO 1: a process for each client

@test "fork: a line comes back, and the end after it" {
  likely "the parent keeps the client open: the connection ends with the last close()"
  start_server echo
  tcp send 'hello\n' expect 'hello\n' half-close eof
  tcp send-bytes 50000 half-close expect-bytes 50000 eof
}

@test "fork: a client is served while another one says nothing" {
  likely "the parent serves the client itself, or waits for its child"
  start_server echo -m fork
  tcp on a connect on b send 'two\n' expect 'two\n' on c send 'three\n' expect 'three\n' \
    on a send 'one\n' expect 'one\n'
}

@test "fork: each client has a child, and each child one thread" {
  likely "-m fork makes no thread, and no child before there is a client"
  local child
  BIN=$PLAIN start_server echo -m fork
  expect "list its children while there is no client" "" "$(children "$PID")"
  open_clients 3
  expect "open 3 connections, and count the children of the server" 3 \
    "$(child_count "$PID")"
  for child in "$PID" $(children "$PID"); do
    expect "count the threads in /proc/$child/task" 1 "$(threads "$child")"
    expect_idle "$child" "while its client says nothing"
  done
}

@test "fork: parent and child each close what is the other's" {
  likely "close(listener) is missing in the child, or close(client) in the parent"
  local before child listener
  start_server echo -m fork
  before=$(fds "$PID") listener=$(sockets "$PID")
  open_clients 3
  await "the parent has $before descriptors, as it had before 3 clients came" \
    has_descriptors "$PID" "$before"
  expect "open 3 connections, and look at the sockets of the parent" "$listener" \
    "$(sockets "$PID")"
  for child in $(children "$PID"); do
    await "child $child has one socket, that of its client" has_sockets "$child" 1
    [ "$(sockets "$child")" != "$listener" ] ||
      fail "look at the one socket of child $child" "the client" "the listener"
  done
}

@test "fork: without a new process only that client is lost" {
  likely "fork() returned -1, and that ended the server or left the client waiting"
  FAULTS='fork:error=EAGAIN:when=1' start_server echo -m fork
  tcp on a send 'hello\n' gone on b send 'hello\n' expect 'hello\n' half-close eof
}

@test "fork: the crash of a child costs its own client only" {
  likely "the parent takes the end of a child for its own"
  local pids
  start_server echo -m fork
  open_clients 3
  read -ra pids <<<"$(children "$PID")"
  kill -SEGV "${pids[1]}"
  await "the second of three children is gone" is_gone "${pids[1]}"
  expect "send \"hello\\n\" on connection 1" hello "$(say_hello "${CLIENTS[0]}")"
  expect "send \"hello\\n\" on connection 2" "(nothing)" "$(say_hello "${CLIENTS[1]}")"
  expect "send \"hello\\n\" on connection 3" hello "$(say_hello "${CLIENTS[2]}")"
  open_clients 1
}

@test "wrong options get the usage and status 2, -h gets help" {
  start_server echo
  tcp send 'hello\n' expect 'hello\n'
  local args
  for args in -x '-p 65536' '-m' '-m forks' '-n 0' '-n 4x' '-n' 'extra'; do
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

# --- TODO 2: children that have ended

@test "twelve children that end together leave no zombie" {
  likely "one waitpid() for each SIGCHLD: twelve children may be one signal"
  start_server echo -m fork
  open_clients 12
  kill -STOP "$PID"
  await "the parent is stopped" is_stopped "$PID"
  close_clients
  await "its 12 children have ended" are_ended
  kill -CONT "$PID"
  await "the parent, going on, has collected all 12" has_children 0
  tcp send 'hello\n' expect 'hello\n' half-close eof
}

@test "fifty clients one after another leave no process and no descriptor" {
  likely "nobody calls waitpid(), or the parent does not close(client)"
  local before steps=() i
  start_server echo -m fork
  tcp send x expect x half-close eof
  before=$(fds "$PID")
  for i in {1..25}; do
    steps+=(on a send x expect x half-close eof close on a send x reset)
  done
  tcp "${steps[@]}" on a send x expect x half-close eof
  await "the parent has no child left, zombies included" has_children 0
  await "it has $before descriptors again" has_descriptors "$PID" "$before"
}

# --- TODO 3: a thread for each client

@test "thread: a client is served while another one says nothing" {
  likely "the main thread serves the client itself, or joins the thread that does"
  start_server echo -m thread
  tcp on a connect on b send 'two\n' expect 'two\n' on c send 'three\n' expect 'three\n' \
    on a send 'one\n' expect 'one\n' half-close eof
}

@test "thread: each client has a thread, and nobody a child" {
  likely "-m thread makes no child, and no thread before there is a client"
  BIN=$PLAIN start_server echo -m thread
  expect "count the threads in /proc/PID/task while there is no client" 1 \
    "$(threads "$PID")"
  open_clients 3
  expect "open 3 connections, and count the threads in /proc/PID/task" 4 \
    "$(threads "$PID")"
  expect "list its children" "" "$(children "$PID")"
  expect_idle "$PID" "while its clients say nothing"
  close_clients
  await "the threads have ended with their clients" has_threads 1
  tcp send 'hello\n' expect 'hello\n'
}

@test "thread: clients that come at once are not mixed up" {
  likely "the thread gets the address of a variable that holds the next client already"
  FAULTS='thread_start:delay=20' start_server echo -m thread
  tcp freeze "$PID" crowd 20 thaw "$PID" crowd-echo 'mine\n' crowd-echo 'still mine\n'
  stop_server
  likely "the threads share a buffer"
  # Each thread rests between read() and write(): the other one reads meanwhile.
  FAULTS='write:delay=100:fd=sock' start_server echo -m thread
  tcp on a connect freeze "$PID" on b send 'from b\n' on a send 'from a\n' thaw "$PID" \
    expect 'from a\n' on b expect 'from b\n'
}

@test "thread: the threads of 300 clients leave no memory behind" {
  likely "the threads are joinable, and keep their stacks because nobody joins them"
  local steps=() i before
  BIN=$PLAIN start_server echo -m thread
  for i in {1..150}; do steps+=(on a send x expect x half-close eof close); done
  tcp "${steps[@]}"
  await "all threads but the first have ended" has_threads 1
  before=$(resident_kib "$PID")
  tcp "${steps[@]}" "${steps[@]}"
  await "all threads but the first have ended" has_threads 1
  i=$(($(resident_kib "$PID") - before))
  [ "$i" -lt 1200 ] || fail "serve 300 clients, and compare VmRSS in /proc/PID/status" \
    "less than 1200 KiB more than before" "$i KiB more"
  likely "what the thread gets as its argument is allocated and never freed"
  before=$(heap_kib "$PID") steps=()
  for i in {1..100}; do steps+=(crowd 30 crowd-echo x crowd-close); done
  tcp "${steps[@]}"
  await "all threads but the first have ended" has_threads 1
  i=$(($(heap_kib "$PID") - before))
  [ "$i" -lt 64 ] || fail "serve 3000 clients, and compare Rss of the heap in /proc/PID/smaps" \
    "less than 64 KiB more than before" "$i KiB more"
}

@test "thread: without a new thread only that client is lost" {
  likely "pthread_create() returned an error, and the client was left waiting"
  FAULTS='thread:error=EAGAIN:when=1' start_server echo -m thread
  tcp on a send 'hello\n' gone on b send 'hello\n' expect 'hello\n' half-close eof
}

@test "thread: without a free descriptor it rests, and goes on later" {
  likely "accept() fails again at once while no descriptor is free: pause first"
  local second third answer=''
  start_server echo -m thread
  open_clients 1
  # All are taken; but an accept() that sleeps already has one, for the second client.
  prlimit --pid "$PID" --nofile="$(fds "$PID"):"
  exec {second}<>"/dev/tcp/127.0.0.1/$PORT"
  exec {third}<>"/dev/tcp/127.0.0.1/$PORT"
  echo three >&"$third"
  expect_idle "$PID" "with a client waiting and no descriptor for it"
  exec {second}>&-
  close_clients
  read -r -t "$(scaled 5)" -u "$third" answer || :
  expect "let the other clients go" three "$answer"
}

# --- TODO 4: processes made in advance

@test "prefork: the workers are there before any client" {
  likely "-n workers begin at once, with one thread each, and serve more than one client"
  local child workers
  BIN=$PLAIN start_server echo -m prefork -n 3
  await_server "the server has 3 children" has_children 3
  workers=$(children "$PID")
  for child in "$PID" $workers; do
    expect "count the threads in /proc/$child/task" 1 "$(threads "$child")"
    expect_idle "$child" "while there is no client"
  done
  open_clients 3
  close_clients
  open_clients 2
  expect "serve five clients, and list the children again" "$workers" \
    "$(children "$PID")"
}

# The last of N + 1 clients waits until the first has finished.
serves_no_more_than() { # MODEL N
  local steps=() i
  for ((i = 1; i <= $2; i++)); do steps+=(on "client$i" send x expect x); done
  start_server echo -m "$1" -n "$2"
  tcp "${steps[@]}" on last send 'last\n' silence 250 \
    on client1 send 'still me\n' expect 'still me\n' half-close eof \
    on last expect 'last\n'
}

@test "prefork: as many clients as workers are served at once, the next one waits" {
  likely "each worker serves one client to its end; the parent makes no others"
  serves_no_more_than prefork 3
}

@test "prefork: a worker that was killed is replaced" {
  likely "the parent does not see the end of a child, or makes one for two that ended"
  local workers both
  start_server echo -m prefork -n 2
  await_server "the server has 2 children" has_children 2
  both=$(children "$PID")
  # shellcheck disable=SC2086  # two numbers
  kill -KILL $both
  await_server "both are gone" gone_from_children "$both"
  await_server "there are 2 others" has_children 2
  workers=$(children "$PID")
  kill -KILL "${workers%% *}"
  await_server "one of these is gone" gone_from_children "${workers%% *}"
  await_server "there are 2 again" has_children 2
  tcp on a send x expect x on b send y expect y
}

gone_from_children() { # PIDS
  local pid
  for pid in $1; do [[ " $(children "$PID") " != *" $pid "* ]] || return; done
}

@test "prefork: between two replacements the parent rests" {
  likely "a worker that dies at once is replaced at once, as fast as the machine can"
  local end child now seen=()
  BIN=$PLAIN start_server echo -m prefork -n 2
  await_server "the server has 2 children" has_children 2
  end=$((${EPOCHREALTIME/[^0-9]/} + 1000000))
  while [ "${EPOCHREALTIME/[^0-9]/}" -lt "$end" ]; do
    read -ra now <"/proc/$PID/task/$PID/children" || :
    for child in "${now[@]}"; do
      [ "${seen[child]:-}" ] || kill -KILL "$child" || :
      seen[child]=killed
    done
  done
  [ "${#seen[@]}" -lt 60 ] || fail "kill each worker at sight, for a second" \
    "the parent rests between two forks: 60 workers at most" "${#seen[@]} workers"
  await_server "it has 2 children again" has_children 2
  tcp on a send x expect x on b send y expect y
}

@test "prefork: a fork that fails is made up for" {
  likely "fork() returned -1 once, and a worker is missing for ever"
  FAULTS='fork:error=EAGAIN:when=2' start_server echo -m prefork -n 3
  await_server "the server has 3 children all the same" has_children 3
  tcp on a send x expect x on b send y expect y on c send z expect z
}

# --- TODO 5: threads made in advance

@test "pool: the threads are there before any client, and nobody has a child" {
  likely "-n threads begin at once and serve more than one client each"
  local before
  BIN=$PLAIN start_server echo -m pool -n 3
  await_server "there are 3 threads, and the main thread" has_threads 4
  expect_idle "$PID" "while there is no client"
  open_clients 3
  close_clients
  open_clients 2
  expect "serve five clients, and count the threads in /proc/PID/task" 4 \
    "$(threads "$PID")"
  expect "list its children" "" "$(children "$PID")"
}

@test "pool: as many clients as workers are served at once, the next one waits" {
  likely "each thread serves one client to its end; the main thread serves none"
  serves_no_more_than pool 3
}

@test "pool: without all of its threads the server does not begin" {
  likely "the result of pthread_create() is not looked at"
  FAULTS='thread:error=EAGAIN:when=2' start_server echo -m pool -n 3
  await "the second pthread_create() has failed, and it has ended" is_gone "$PID"
  stop_server # then all that it said is in the log
  expect_match "read its stderr" 'echo: pthread_create: Resource temp' "$(cat "$LOG")"
  expect "look at its exit status" "exit 1" "$END"
}

# --- every model

@test "fifty clients at once, in each model" {
  local model
  for model in "${MODELS[@]}"; do
    start_server echo -m "$model" -n 50
    tcp crowd 50 crowd-echo 'hello\n' crowd-close \
      exchange 300000 half-close eof
    stop_server
  done
}

@test "short writes and interrupted calls, in each model" {
  local model
  for model in "${MODELS[@]}"; do
    FAULTS='write:short=3:fd=sock write:error=EINTR:fd=sock:when=2 read:error=EINTR:fd=sock:when=1 accept:error=EINTR:when=1' \
      start_server echo -m "$model"
    tcp send 'to be continued\n' expect 'to be continued\n' half-close eof
    stop_server
  done
}

@test "clients that vanish harm nobody, in each model" {
  likely "SIGPIPE killed a worker, or an error of one connection did"
  local model workers
  for model in "${MODELS[@]}"; do
    # It writes byte by byte, slowly. The client's FIN, then its RST, come in
    # between: the next write() is one that raises SIGPIPE.
    FAULTS='write:short=1:fd=sock write:delay=100:fd=sock:when=2+' \
      start_server echo -m "$model" -n 1
    [ "$model" != prefork ] || await_server "the worker is there" has_children 1
    workers=$(children "$PID")
    tcp on a send 'twenty bytes, or so..' expect 't' half-close reset \
      on b reset on c send 'h' expect 'h' half-close eof
    if [ "$model" = prefork ]; then
      expect "list the children again, after two resets" "$workers" "$(children "$PID")"
    fi
    stop_server
    expect "send SIGTERM to echo -m $model" "exit 0" "$END"
  done
}

@test "SIGTERM and SIGINT end every process, with status 0, in each model" {
  likely "stop() leaves children behind, or the status is not 0"
  local model signal
  for model in "${MODELS[@]}"; do
    for signal in TERM INT; do
      start_server echo -m "$model" -n 2
      open_clients 2
      kill "-$signal" "$PID"
      await "SIG$signal has ended echo -m $model, with two clients there" is_gone "$PID"
      stop_server
      expect "send SIG$signal to echo -m $model" "exit 0" "$END"
      expect "count what it left behind" "0 processes" "$LEFT processes"
      close_clients
    done
  done
}

# --- TODO 6: children and the parent

@test "when the parent is killed, nobody is left and the port is free" {
  likely "the children do not ask to be killed with their parent: prctl(2)"
  local model child orphans port
  for model in fork prefork; do
    start_server echo -m "$model" -n 2
    port=$PORT
    open_clients 2
    orphans=$(children "$PID")
    kill -KILL "$PID"
    await "kill -KILL has ended the parent of echo -m $model" is_gone "$PID"
    # The kernel has told the children by now. None of them can do a thing more.
    expect "send \"hello\\n\" on connection 1, without the parent" "(nothing)" \
      "$(say_hello "${CLIENTS[0]}")"
    for child in $orphans; do await "child $child is gone as well" is_gone "$child"; done
    start_server echo -m "$model" -p "$port"
    tcp send 'again\n' expect 'again\n'
    stop_server
    close_clients
  done
}

@test "a worker that is told to end takes nobody along" {
  likely "the child has the parent's stop() and the parent's list of children"
  local pids
  start_server echo -m prefork -n 3
  await_server "the server has 3 children" has_children 3
  read -ra pids <<<"$(children "$PID")"
  # The last one was made when the parent had all the others on its list.
  kill -TERM "${pids[2]}"
  await_server "the last of three workers is gone" gone_from_children "${pids[2]}"
  await_server "there is another one" has_children 3
  expect_match "list the children of the server" " ${pids[0]} ${pids[1]} " \
    " $(children "$PID")"
}
