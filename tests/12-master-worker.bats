# Tests for stage 12, the echo server with a master and workers.
load lib
load echo-loop

EPOLLEXCLUSIVE=0x10000000 NONBLOCK=04000

# --- what the tests look at

# begin N ARGS: a server with N workers, all of them in their loops. LISTENER is
# the one socket of the master, "socket:[123]", and INODE its number in hex.
begin() {
  local n=$1
  shift
  CLIENTS=() CONF=$BATS_TEST_TMPDIR/echo.conf
  start_server echo -n "$n" "$@"
  LISTENER=$(sockets "$PID")
  INODE=$(printf '%x' "${LISTENER//[^0-9]/}")
  await_master "there are $n workers, each in its loop" has_loops "$n"
}
has_loops() {
  local w files=()
  for w in $(workers); do files+=("/proc/$w/fdinfo/"*); done
  [ "$(workers | wc -w)" = "$1" ] && [ "$(grep -ls '^tfd:' "${files[@]}" | wc -l)" = "$1" ]
}

# begin_with TEXT ARGS: the same with a configuration file.
begin_with() {
  CONF=$BATS_TEST_TMPDIR/echo.conf
  printf '%b' "$1" >"$CONF"
  shift
  begin "$@" -c "$CONF"
}

workers() { # the children of the master
  local w=''
  read -ra w <"/proc/$PID/task/$PID/children" || :
  echo "${w[*]}"
} 2>/dev/null
# watching PIDS: the interest lists that the listener is on, as
# "/proc/PID/fdinfo/EPOLL:tfd: FD events: HEX ..." a line.
watching() {
  # shellcheck disable=SC2086  # PID is many
  [ -z "$1" ] || grep -Hs "^tfd:.* ino:$INODE " $(printf '/proc/%s/fdinfo/* ' $1) || :
}
serving() { # the workers that watch it
  watching "$(workers)" | sed 's|^/proc/\([0-9]*\).*|\1|' | paste -sd' '
}
listener_of() { watching "$1" | awk '{ print $2 }'; } # as a descriptor of PID
listener_events() { watching "$1" | awk '{ print $4 }'; } # in hex
watched_sockets() { # sdev:9 is where sockets live, open or closed
  local sockfs
  sockfs=$(watching "$PID $(workers)" | sed -n 's/.*\(sdev:.*\)/\1/p' | head -n 1)
  cat "/proc/$1/fdinfo/"* | grep -c "^tfd:.* $sockfs$"
}
stderr() { grep -av '^listening on ' "$LOG" || :; }
says() { stderr | grep -qaE "$1"; } # a line that matches
sockets() { fd_kinds "$1" | sed -n 's/.*\(socket:.*\)/\1/p' | sort | paste -sd' '; }
has_serving() { [ "$(serving | wc -w)" = "$1" ]; }
has_others() { # N OLD: N workers serve, and none of OLD is among them
  local w now
  now=$(serving)
  [ "$(wc -w <<<"$now")" = "$1" ] || return
  for w in $2; do [[ " $now " != *" $w "* ]] || return; done
}
has_children() { [ "$(workers | wc -w)" = "$1" ]; }
state() { # R, S, T (stopped), Z (zombie), ...
  local stat
  read -r stat 2>/dev/null <"/proc/$1/stat" || stat=') X'
  stat=${stat##*) }
  echo "${stat%% *}"
}
# await_master WHAT COMMAND...: like await, but not once the master has ended.
await_master() {
  local what=$1 ended=''
  shift
  await "$what" so_or_ended "$@"
  [ -z "$ended" ] || "$@" || fail "wait until $what" "$what" "the master has ended"
}
so_or_ended() { "$@" || { is_gone "$PID" && ended=yes; }; }
is_gone() { [[ $(state "$1") == [XZ] ]]; }
ends_after() { # WHAT: the master ends by itself, with status 0; nobody is left
  await "$1 has ended the master" is_gone "$PID"
  stop_server
  ends_well "$1"
  expect "$1, and count the processes that are left" 0 "$LEFT"
}
has_sockets() { [ "$(sockets "$1" | wc -w)" = "$2" ]; }
wakeups() { # of these processes, together
  local w
  for w in $1; do cat "/proc/$w/status"; done | awk '/^voluntary/ { s += $2 } END { print s }'
}

# alone WORKER COMMAND...: meanwhile it is the only worker that runs.
alone() {
  local worker=$1 w
  shift
  for w in $(workers); do
    [ "$w" = "$worker" ] || { kill -STOP "$w"; await_master "worker $w is stopped" is_stopped "$w"; }
  done
  "$@"
  for w in $(workers); do kill -CONT "$w"; done
}
greet() { # TEXT: a client more, which is served
  open_clients 1
  say "${CLIENTS[-1]}" "$1"
}
hup() {
  kill -HUP "$PID" 2>/dev/null || fail "send SIGHUP to the master" "it is there" "the master has ended"
}
refused() { ! { : <>"/dev/tcp/127.0.0.1/$PORT"; } 2>/dev/null; }
leave() { # N: client number N goes
  exec {CLIENTS[$1]}>&-
}

# --- TODO 1: workers

@test "a line comes back" {
  start_server echo
  tcp send 'hello\n' expect 'hello\n' send-bytes 50000 half-close expect-bytes 50000 eof
}

@test "the workers are there before any client, and the master serves nobody" {
  likely "the master forks -n workers, each with one thread, and has no socket but the listener"
  local workers w
  BIN=$PLAIN begin 3
  workers=$(workers)
  for w in "$PID" $workers; do
    expect "count the threads in /proc/$w/task" 1 "$(threads "$w")"
  done
  for w in 1 2 3 4 5; do greet "client $w"; done
  expect "serve 5 clients, and list the workers" "$workers" "$(workers)"
  expect "serve 5 clients, and list the sockets of the master" "$LISTENER" "$(sockets "$PID")"
}

@test "auto means one worker for each CPU" {
  likely "-n auto counts the CPUs that the process may run on, as nproc does"
  begin "$(nproc)" -n auto
  stop_server
  taskset -cp "$(taskset -cp $BASHPID | sed 's/.*: \([0-9]*\).*/\1/')" $BASHPID >/dev/null
  begin 1 -n auto
}

@test "one listening socket for all of them, and it does not block" {
  likely "the master opens it, once, with O_NONBLOCK; the workers inherit it"
  local w fd
  begin 3
  for w in $(workers); do
    expect "list the sockets of worker $w" "$LISTENER" "$(sockets "$w")"
    fd=$(listener_of "$w")
    [ $(($(fd_flags "$w" "$fd") & NONBLOCK)) != 0 ] ||
      fail "read the flags: in /proc/$w/fdinfo/$fd, the listener" \
        "O_NONBLOCK (04000) among them" "$(fd_flags "$w" "$fd")"
  done
  expect "count the sockets that listen on port $PORT, in /proc/net/tcp" 1 \
    "$(awk -v port="$(printf '%04X' "$PORT")" '$2 ~ ":" port "$" && $4 == "0A"' \
      /proc/net/tcp | wc -l)"
}

@test "each worker has an interest list of its own" {
  likely "the epoll descriptor is made before fork(): one list for all, full of wrong pointers"
  local a b
  begin 2
  read -r a b <<<"$(workers)"
  alone "$a" greet one
  alone "$b" greet two
  expect "count the sockets that worker $a watches, with one client" 2 "$(watched_sockets "$a")"
  say "${CLIENTS[0]}" 'one again'
  say "${CLIENTS[1]}" 'two again'
  expect "list the workers" "$a $b" "$(workers)"
}

@test "clients are served by whichever worker runs" {
  likely "all workers take clients from one queue, that of the socket they share"
  local w
  begin 3
  for w in $(workers); do
    alone "$w" tcp on a send 'one\n' expect 'one\n' on b send 'two\n' expect 'two\n'
  done
}

@test "crowds, megabytes, and clients that do not read" {
  begin 4
  tcp crowd 200 crowd-echo 'hello\n' crowd-reset exchange 1M half-close eof \
    rcvbuf 4096 on b fill drain half-close eof crowd 50 crowd-echo x
}

@test "silence costs no CPU time" {
  likely "a worker is woken though there is nothing to do, or the master does not sleep"
  local w
  begin 2
  greet one
  greet two
  for w in "$PID" $(workers); do expect_idle "$w" "while two clients say nothing"; done
}

@test "wrong options get the usage and status 2, -h gets help" {
  local args
  begin 1
  greet hello
  for args in -x '-p 65536' '-n 0' '-n 257' '-n 4x' '-n' 'extra'; do
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

@test "the file tells greeting and number of workers" {
  begin_with '# a comment\n\n  workers\t3 \r\ngreeting  hi, you \xc3\xa9\n' 3 -n 1
  tcp expect 'hi, you \xc3\xa9\n' send 'hello\n' expect 'hello\n' half-close eof \
    on b half-close expect 'hi, you \xc3\xa9\n' eof
}

bad_lines() { # TEXT, and what is said about it: a line each
  printf '%s\n' 'workers 0|2: workers' 'workers 257|2: workers' 'workers two|2: workers' \
    'workers|2: workers' 'workers 1 2|2: workers' 'greeting|2: greeting' \
    'hello there|2: no such' "greeting $(printf '%01001d' 0)|2: greeting" 'a\0b|2: a NUL'
}

@test "a configuration that is wrong at the start ends it with status 1" {
  local text where
  start_server echo -n 1
  tcp send x expect x
  while IFS='|' read -r text where; do
    printf '%b' "workers 1\n$text\n" >"$BATS_TEST_TMPDIR/bad.conf"
    run_program echo -p 0 -c "$BATS_TEST_TMPDIR/bad.conf"
    expect "start with the line \"$text\", and look at the exit status" 1 "$STATUS"
    expect_match "start with the line \"$text\", and read stderr" "echo: .*/bad.conf:$where" "$ERR"
    expect "start with the line \"$text\", and read stdout" "" "$OUT"
  done < <(bad_lines)
  run_program echo -p 0 -c /nonexistent
  expect "start with -c /nonexistent" "1 echo: /nonexistent: No such file or directory" \
    "$STATUS $ERR"
}

says_lines() { [ "$(stderr | wc -l)" -ge "$1" ]; }

# --- TODO 2: workers that end

@test "a worker that was killed is replaced, and the others go on" {
  likely "the master does not see the end of a child, or takes it for its own"
  local a b c
  BIN=$PLAIN begin 3
  read -r a b c <<<"$(workers)"
  alone "$a" greet one
  alone "$b" greet two
  kill -SEGV "$a"
  await_master "worker $a is gone" is_gone "$a"
  await_master "there are 3 workers again" has_serving 3
  expect_match "list the workers" "^$b $c " "$(serving)"
  say "${CLIENTS[1]}" 'two again'
  expect "read from the client of the worker that was killed" "(nothing)" \
    "$(next_line "${CLIENTS[0]}")"
  greet three
  await_master "stderr tells how worker $a ended" says "echo: worker $a: killed by signal 11 \(Seg"
}

@test "workers that end together are all replaced" {
  likely "one waitpid() for each SIGCHLD: several workers may be one signal"
  local workers w
  begin 4
  workers=$(workers)
  kill -STOP "$PID"
  await "the master is stopped" is_stopped "$PID"
  # shellcheck disable=SC2086  # four numbers
  kill -KILL $workers
  for w in $workers; do await "worker $w has ended" is_gone "$w"; done
  open_clients 1
  kill -CONT "$PID"
  await_master "there are 4 others" has_others 4 "$workers"
  say "${CLIENTS[0]}" 'I came when nobody was there'
  expect "count the children of the master, zombies included" 4 "$(workers | wc -w)"
  tcp crowd 20 crowd-echo x
}

@test "a worker that is told to end takes nobody along, and is replaced" {
  local a b both
  begin 2
  for signal in TERM INT QUIT; do
    both=$(serving)
    read -r a b <<<"$both"
    kill "-$signal" "$b"
    await_master "SIG$signal has ended worker $b" is_gone "$b"
    await_master "there are 2 workers again" has_serving 2
    expect_match "list the workers" " $a " " $(serving) "
  done
  await_master "stderr tells how worker $b ended" says "echo: worker $b: exit status 0, another one"
}

@test "a fork that fails is made up for" {
  likely "fork() returned -1 once, and a worker is missing for ever"
  FAULTS='fork:error=EAGAIN:when=2' begin 3
  tcp crowd 10 crowd-echo x
  await_master "stderr tells of it" says 'fork: Resource temp'
}

# --- TODO 3: back-off

rests() { sed -n 's/.*another one in \([0-9]*\) ms$/\1/p' "$LOG"; }

@test "the rest before a replacement doubles while workers die at once" {
  likely "a worker that dies at once is replaced at once, as fast as the machine can"
  local end child now seen=()
  BIN=$PLAIN begin 1
  end=$((${EPOCHREALTIME/[^0-9]/} + 1000000))
  while [ "${EPOCHREALTIME/[^0-9]/}" -lt "$end" ]; do
    read -ra now <"/proc/$PID/task/$PID/children" || :
    for child in "${now[@]}"; do
      [ "${seen[child]:-}" ] || kill -KILL "$child" || :
      seen[child]=killed
    done
  done
  # After 0, 100, 300 and 700 ms.
  [ "${#seen[@]}" -le 4 ] || fail "kill each worker at sight, for a second" \
    "4 workers at most" "${#seen[@]} workers; the rests were $(rests | head | xargs) ms"
  await_master "the last of them is replaced, after 800 ms" has_serving 1
  # On a slow machine one of them may have lived for a second: then it begins anew.
  rests | awk '$1 && $1 != (last ? 2 * last : 100) { exit 1 } { last = $1; n += $1 > 0 }
    END { exit n < 2 }' || fail "kill each worker at sight, and read of the rests in its stderr" \
    "100 200 400 800 ..." "$(rests | xargs)"
}

@test "a worker that has lived for a while is replaced at once" {
  likely "the rest is not reset, or every worker has to wait for it"
  BIN=$PLAIN begin 1
  kill -KILL "$(workers)"
  await_master "it is seen" has_rests 1
  await_master "it is replaced" has_serving 1
  sleep 1.1 # this is its life, nothing is waited for
  kill -KILL "$(workers)"
  await_master "it is seen" has_rests 2
  await_master "it is replaced" has_serving 1
  expect "kill a worker that is older than a second, and read of its rest" 0 \
    "$(rests | tail -n 1)"
}

has_rests() { [ "$(rests | wc -l)" = "$1" ]; }

# --- TODO 4: the end

@test "SIGTERM and SIGINT end all of them at once, with status 0" {
  likely "the master ends without its workers, or waits for their clients"
  local signal
  for signal in TERM INT; do
    begin 3
    greet one
    greet two
    hold rcvbuf 4096 fill
    kill "-$signal" "$PID"
    ends_after "send SIG$signal while three clients are there"
    expect "send SIG$signal, and read stderr" "" "$(stderr)"
  done
}

@test "a worker that does not heed SIGTERM is killed" {
  likely "the master waits for ever for a worker that hangs"
  local a b
  begin 2
  read -r a b <<<"$(workers)"
  kill -STOP "$b"
  await_master "worker $b is stopped" is_stopped "$b"
  stop_server
  ends_well "send SIGTERM while worker $b is stopped"
  expect "count the processes that are left" 0 "$LEFT"
  expect_match "read its stderr" "echo: worker $b: killed by signal 9" "$(stderr)"
}

# --- TODO 5: the death of the master

@test "when the master is killed, no worker is left and the port is free" {
  likely "the workers do not ask to be killed with their master: prctl(2)"
  local workers w port
  begin 2
  port=$PORT workers=$(workers)
  greet one
  kill -KILL "$PID"
  await "kill -KILL has ended the master" is_gone "$PID"
  for w in $workers; do await "worker $w is gone as well" is_gone "$w"; done
  start_server echo -n 1 -p "$port"
  tcp send 'again\n' expect 'again\n'
}

# --- TODO 6: the thundering herd

@test "the listener is watched with EPOLLEXCLUSIVE by every worker" {
  likely "EPOLLEXCLUSIVE belongs to EPOLL_CTL_ADD of the listener, and to nothing else"
  local w events
  begin 3
  greet one
  for w in $(workers); do
    events=$(listener_events "$w")
    [ $((0x$events & EPOLLEXCLUSIVE)) != 0 ] ||
      fail "look at the events of the listener in the interest list of worker $w" \
        "EPOLLEXCLUSIVE (10000000) among them" "$events"
    expect "count the descriptors of worker $w that are watched so" 1 \
      "$(epoll_interest "$w" | grep -c ' 1.......$')"
  done
}

@test "a client wakes one worker, not the whole herd" {
  likely "without EPOLLEXCLUSIVE the kernel wakes every worker for each client"
  local before after steps=() i
  BIN=$PLAIN begin 8
  tcp send x expect x half-close eof
  expect_idle "$PID"
  for i in {1..40}; do steps+=(on a send x expect x half-close eof close); done
  before=$(wakeups "$(workers)")
  tcp "${steps[@]}"
  after=$(wakeups "$(workers)")
  [ $((after - before)) -le $((5 * 40)) ] ||
    fail "serve 40 clients one after another with 8 workers, and count how often these woke up" \
      "5 times for each client at most: it comes, speaks, goes" "$((after - before)) times in all"
}

@test "without a free descriptor a worker rests, and goes on later" {
  likely "MOD is refused with EPOLLEXCLUSIVE: DEL for the rest, ADD after it"
  local w events
  begin 1
  w=$(workers)
  greet one
  greet two
  prlimit --pid "$w" --nofile="$(fds "$w"):" # all taken
  open_clients 1
  echo three >&"${CLIENTS[2]}"
  await_master "it has tried to accept" says 'accept: Too many'
  say "${CLIENTS[0]}" 'one again'
  expect "list the workers" "$w" "$(workers)"
  expect_idle "$w" "with a client waiting and no descriptor for it"
  prlimit --pid "$w" --nofile=1000:
  expect "give it descriptors again" three "$(next_line "${CLIENTS[2]}")"
  events=$(listener_events "$w")
  [ $((0x0$events & EPOLLEXCLUSIVE)) != 0 ] ||
    fail "look at the events of the listener after the rest" \
      "EPOLLEXCLUSIVE (10000000) among them" "$events"
}

# --- TODO 7: draining

@test "SIGQUIT: no more clients, and those that are here are served to the end" {
  likely "a worker ends before its clients have finished, or never"
  local a b
  begin 2
  read -r a b <<<"$(workers)"
  alone "$a" greet one
  alone "$b" greet two
  kill -QUIT "$PID"
  await_master "connecting is refused" refused
  say "${CLIENTS[0]}" 'one again'
  say "${CLIENTS[1]}" 'two again'
  expect_idle "$a" "while it drains"
  expect_idle "$PID" "while its workers drain"
  leave 0
  await_master "worker $a has left after its client" has_children 1
  say "${CLIENTS[1]}" 'and again'
  leave 1
  ends_after "send SIGQUIT, and close both clients"
  expect "send SIGQUIT, and read stderr" "" "$(stderr)"
}

@test "SIGQUIT without clients ends it" {
  begin 2
  tcp crowd 10 crowd-echo x
  kill -QUIT "$PID"
  ends_after "send SIGQUIT when nobody is there"
}

@test "a worker that drains has let go of the listener" {
  likely "close() does not take it off the interest list while others have it open: EPOLL_CTL_DEL"
  local a b before i
  begin 2
  read -r a b <<<"$(workers)"
  alone "$a" greet one
  kill -QUIT "$a"
  await_master "worker $a has one socket, that of its client" has_sockets "$a" 1
  expect "count the sockets that it still watches: its client" 1 "$(watched_sockets "$a")"
  before=$(wakeups "$a")
  for i in {1..20}; do tcp send 'hello\n' expect 'hello\n' half-close eof; done
  expect "serve 20 clients, and count how often worker $a woke up" 0 $(($(wakeups "$a") - before))
  say "${CLIENTS[0]}" 'one again'
}

@test "who waits to be accepted when SIGQUIT comes is served" {
  likely "the listener is closed while clients are in its queue: the kernel resets them"
  local w i
  begin 1
  w=$(workers)
  kill -STOP "$w"
  await_master "worker $w is stopped" is_stopped "$w"
  kill -QUIT "$PID"
  open_clients 40
  kill -CONT "$w"
  for i in {0..39}; do say "${CLIENTS[i]}" "client $i"; done
  await_master "connecting is refused" refused
}

@test "a client that reads late gets everything, although SIGQUIT came" {
  begin 2
  greet one
  push_all "${CLIENTS[0]}"
  kill -QUIT "$PID"
  await_master "connecting is refused" refused
  pull_all "${CLIENTS[0]}"
  say "${CLIENTS[0]}" 'one again'
  leave 0
  ends_after "send SIGQUIT, and close the client when it has everything"
}

@test "SIGTERM ends a drain, SIGHUP does not end it" {
  likely "a drain may be followed by another signal; a server that stops starts nobody"
  local worker
  begin 2
  greet one
  kill -QUIT "$PID"
  await_master "only the worker with a client is left" has_children 1
  worker=$(workers)
  hup
  say "${CLIENTS[0]}" 'one again'
  kill -QUIT "$PID"
  say "${CLIENTS[0]}" 'and again'
  expect "send SIGHUP and SIGQUIT during the drain, and list the workers" "$worker" \
    "$(workers)"
  kill -TERM "$PID"
  ends_after "send SIGTERM during a drain"
  expect "send SIGHUP, SIGQUIT and SIGTERM during a drain, and read stderr" "" "$(stderr)"
}

# --- TODO 8: reload

@test "SIGHUP: new workers for the new configuration, old ones for their clients" {
  likely "the old workers end too early, or never; or the new ones have the old configuration"
  local old
  begin_with 'greeting first\n' 2
  old=$(serving)
  open_clients 1
  expect "read the greeting" first "$(next_line "${CLIENTS[0]}")"
  printf 'greeting second\n' >"$CONF"
  hup
  await_master "2 other workers serve" has_others 2 "$old"
  await_master "of the old ones, the one with a client is left" has_children 3
  open_clients 1
  expect "read the greeting of the new configuration" second "$(next_line "${CLIENTS[1]}")"
  say "${CLIENTS[0]}" 'I am still here'
  expect "list the sockets of the master" "$LISTENER" "$(sockets "$PID")"
  leave 0
  await_master "the last of the old ones has left with its client" has_children 2
  say "${CLIENTS[1]}" 'and I am, too'
  expect "read stderr" "" "$(stderr)"
}

@test "after a reload there may be more workers, or fewer" {
  local n
  begin_with 'workers 2\n' 2
  for n in 5 1 3; do
    echo "workers $n" >"$CONF"
    hup
    await_master "there are $n workers" has_serving "$n"
    await_master "there are no others" has_children "$n"
    tcp crowd 20 crowd-echo x
  done
}

@test "without a file, SIGHUP renews the workers" {
  local old
  begin 2
  old=$(serving)
  hup
  await_master "there are 2 others" has_others 2 "$old"
  await_master "the old ones are gone" has_children 2
}

@test "a bad configuration changes nothing, and the message tells file and line" {
  likely "the old workers end before it is known that there can be new ones"
  local text where old n=0
  begin_with 'workers 2\ngreeting first\n' 2
  old=$(workers)
  while IFS='|' read -r text where; do
    printf '%b' "greeting second\n$text\nworkers 7\n" >"$CONF"
    hup
    n=$((n + 1))
    await_master "stderr tells what is wrong with the line \"$text\"" says_lines "$n"
    expect_match "reload with the line \"$text\", and read stderr" \
      "^echo: $CONF:$where" "$(stderr | tail -n 1)"
  done < <(bad_lines)
  rm "$CONF"
  hup
  await_master "stderr tells that the file is gone" says "echo: $CONF: No such file"
  expect "list the workers" "$old" "$(workers)"
  tcp expect 'first\n' send x expect x
  kill -KILL "${old%% *}"
  await_master "a worker that was killed is replaced" has_others 2 "${old%% *}"
  tcp expect 'first\n' on b expect 'first\n' on c expect 'first\n'
  printf 'greeting third\nworkers 1\n' >"$CONF"
  hup
  await_master "with a good one there is 1 worker" has_children 1
  tcp expect 'third\n'
}

@test "while new workers cannot be started, the old ones go on" {
  likely "the old workers are told to leave before the new ones are there"
  local old
  FAULTS='fork:error=EAGAIN:when=4+' begin 2
  old=$(serving)
  hup
  await_master "fork() has failed three times" says_lines 3
  expect_match "reload when one of two forks fails, and list the workers" "^$old [0-9]+\$" "$(serving)"
  tcp crowd 20 crowd-echo x
  stop_server
  ends_well "send SIGTERM while a worker is missing"
  FAULTS='fork:error=EAGAIN:when=4' begin 2
  old=$(serving)
  hup
  await_master "there are 2 others, although fork() failed once" has_others 2 "$old"
  await_master "the old ones are gone" has_children 2
}

@test "clients that never leave hold up no reload" {
  likely "the master waits for the old workers before it goes on"
  local i old
  begin_with 'workers 2\n' 2
  for i in {1..5}; do
    old=$(serving)
    greet "client $i"
    hup
    await_master "2 other workers serve" has_others 2 "$old"
    await_master "$i old workers with a client are left" has_children $((i + 2))
  done
  for i in {0..4}; do say "${CLIENTS[i]}" "client $i is still here"; done
  expect_idle "$PID" "while old workers drain"
  expect_idle "$(workers | cut -d' ' -f1)" "while it drains"
  kill -TERM "$PID"
  ends_after "send SIGTERM with workers of six configurations"
}

@test "reloads leave no descriptor and no process behind" {
  likely "a configuration file, or a socket of the worker before, stays open"
  local i old master worker
  begin_with 'workers 2\ngreeting hi\n' 2
  master=$(fds "$PID") old=$(serving)
  worker=$(fds "${old%% *}")
  for i in {1..6}; do
    old=$(serving)
    hup
    await_master "2 other workers serve" has_others 2 "$old"
  done
  await_master "the old ones are gone, and collected" has_children 2
  expect "reload six times, and count the descriptors of the master" "$master" "$(fds "$PID")"
  old=$(serving)
  expect "and those of a worker" "$worker" "$(fds "${old%% *}")"
}

@test "signals may come together, and in any order" {
  likely "a second signal comes while the first one is being carried out"
  local i old
  begin_with 'workers 3\n' 3
  for i in 1 2 3 2 1 3 1 2; do
    old=$(serving)
    echo "workers $i" >"$CONF"
    hup
  done
  await_master "there are 2 workers, after eight reloads at once" has_serving 2
  await_master "and no others" has_children 2
  FAULTS='fork:error=EAGAIN:when=3..8' begin 2
  old=$(serving)
  hup
  await_master "fork() has failed six times, in three attempts" says_lines 6
  hup # the next attempt would be in 400 ms
  await_master "there are 2 others" has_others 2 "$old"
  sleep 0.5 # longer than that, to see that nobody else comes
  expect "reload while two workers are missing, and count them" 2 "$(workers | wc -w)"
  for i in 'HUP TERM' 'QUIT TERM' 'TERM QUIT' 'HUP QUIT' 'INT HUP TERM'; do
    begin 2
    old=$(serving)
    kill -STOP "$PID"
    await "the master is stopped" is_stopped "$PID"
    kill -KILL "${old%% *}"
    for signal in $i; do kill "-$signal" "$PID"; done
    kill -CONT "$PID"
    ends_after "kill a worker and send $i, all at the same moment"
  done
}

# visit N: connects, says something and goes, again and again, until enough is said.
visit() {
  local i steps=()
  for i in 1 2 3 4 5; do
    steps+=(on a expect 'hi\n' send "visitor $i\n" expect "visitor $i\n" half-close eof close
            on b expect 'hi\n' exchange 50000 half-close eof close)
  done
  until [ -e "$BATS_TEST_TMPDIR/enough" ]; do
    "$TOOLS/tcp" "$PORT" "${steps[@]}" || return
    echo served
  done >"$BATS_TEST_TMPDIR/visitor.$1" 2>&1 3>&- 4>&-
}

@test "twenty reloads under load: nobody is refused, and no byte is lost" {
  likely "between old and new workers there is a moment without a listener, or clients are dropped"
  local i old visitors=()
  begin_with 'greeting hi\nworkers 2\n' 2
  open_clients 1
  expect "read the greeting" hi "$(next_line "${CLIENTS[0]}")"
  for i in 1 2; do visit "$i" & visitors+=($!); done
  for i in {1..20}; do
    old=$(serving)
    hup
    await_master "2 other workers serve, after reload $i" has_others 2 "$old"
    say "${CLIENTS[0]}" "I have been here since before reload $i"
  done
  touch "$BATS_TEST_TMPDIR/enough"
  for i in 1 2; do
    wait "${visitors[i - 1]}" || { cat "$BATS_TEST_TMPDIR/visitor.$i"; return 1; }
    expect_match "count what visitor $i has been through" served "$(cat "$BATS_TEST_TMPDIR/visitor.$i")"
  done
  expect "read stderr" "" "$(stderr)"
}
