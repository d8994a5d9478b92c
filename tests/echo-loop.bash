# What the tests of stages 03 to 06 share: one thread, many clients.

has_descriptors() { [ "$(fds "$PID")" = "$1" ]; }
ended() { ! [ -e "/proc/$1/exe" ]; }
resident_kib() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$1/status"; }
anonymous_kib() { awk '$1 == "RssAnon:" { print $2 }' "/proc/$1/status"; } # heap, stacks
state() { sed 's/.*) \(.\).*/\1/' "/proc/$1/stat"; } # R, S, T (stopped), ...
is_asleep() { [ "$(state "$PID")" = S ]; }
is_stopped() { [ "$(state "$1")" = T ]; }

# ends_well WHEN: the server has ended with status 0; shows its log if not.
ends_well() {
  expect "$1" "exit 0" "$END" || { show_log; return 1; }
}

# --- what epoll has been told

# The interest list, without what is no socket, and without the sockets in which a server
# talks to itself (a pair that signals come through): "descriptor events" a line.
interest_in_sockets() {
  local fd events socket own
  own=$(awk '{ print "socket:[" $7 "]" }' "/proc/$PID/net/unix")
  while read -r fd events; do
    socket=$(readlink "/proc/$PID/fd/$fd")
    [[ $socket != socket:* || " "$own" " == *[[:space:]]"$socket"[[:space:]]* ]] ||
      echo "$fd $events"
  done < <(epoll_interest "$PID")
}

# --- clients in bash: a few, each of them at hand as a descriptor

# open_clients N: N more connections, in CLIENTS until the test ends.
open_clients() {
  local fd i
  for ((i = 0; i < $1; i++)); do
    { exec {fd}<>"/dev/tcp/127.0.0.1/$PORT"; } 2>/dev/null ||
      fail "connect to 127.0.0.1:$PORT" "a connection" "none: nobody listens" || return
    CLIENTS+=("$fd")
  done
}

next_line() { # FD: what comes within five seconds
  local line
  if read -r -t "$(scaled 5)" -u "$1" line 2>/dev/null; then
    echo "$line"
  else
    echo "(nothing)"
  fi
}

# say FD TEXT: send a line, and expect it back.
say() {
  { echo "$2" >&"$1"; } 2>/dev/null || :
  expect "send \"$2\\n\", and read the answer" "$2" "$(next_line "$1")"
}

# push_all FD: send zeros in the background, far more than all buffers hold.
push_all() {
  head -c 64M /dev/zero >&"$1" 2>/dev/null 3>&- 4>&- &
}

pull_all() { # FD: read all that push_all sends
  expect "read back the 64 MiB" $((64 << 20)) \
    "$(timeout "$(scaled 10)" head -c 64M <&"$1" 2>/dev/null | wc -c)"
}

# --- clients in the background: many, or one that does not read

# hold STEPS...: steps for build/tools/tcp. When they are done, the connections
# stay open, and the client silent, until the server ends. It tells that it is so
# far by stopping a process, and before that it has had an answer on a connection
# of its own, which the server accepted after all the others (ASK and ANSWER, if
# that is not an echo).
hold() {
  local sleeper client
  sleep 1000 3>&- 4>&- &
  sleeper=$!
  "$TOOLS/tcp" -t 10 "$PORT" "$@" on last send "${ASK:-x}" expect "${ANSWER:-x}" freeze $sleeper \
    silence 60000 >"$BATS_TEST_TMPDIR/hold" 2>&1 3>&- 4>&- &
  client=$!
  until is_stopped $sleeper || ! kill -0 $client 2>/dev/null; do sleep 0.02; done
  kill -KILL $sleeper
  kill -0 $client 2>/dev/null || { cat "$BATS_TEST_TMPDIR/hold"; return 1; }
}

# flood: sends and reads until the server ends. With -b 1 that takes minutes; and if the
# server sleeps a millisecond over each byte it always finds another one, however slow the
# client is.
flood() {
  local begin
  begin=$(cpu_ns "$PID")
  "$TOOLS/tcp" "$PORT" exchange 64M >/dev/null 2>&1 3>&- 4>&- &
  await "the server works for the client that floods" worked "$begin"
}

worked() { [ $(($(cpu_ns "$PID") - $1)) -gt 20000000 ]; }

# many_connections WANTED: sets COUNT, to less if the machine does not permit that.
many_connections() {
  local hard
  hard=$(ulimit -Hn) COUNT=$1
  [ "$hard" != unlimited ] && [ "$hard" -lt $((COUNT + 200)) ] || return 0
  COUNT=$((hard - 200))
  echo "# note: $COUNT connections instead of $1, because ulimit -Hn is $hard" >&3
}

# expect_no_growth STEPS...: to serve a thousand clients takes no memory that later ones do
# not use again. What malloc() keeps for them has an end; what leaks grows each time.
expect_no_growth() {
  local before grown try
  tcp "$@"
  for try in 1 2 3; do
    before=$(anonymous_kib "$PID")
    tcp "$@" "$@" "$@"
    grown=$(($(anonymous_kib "$PID") - before))
    [ "$grown" -ge 32 ] || return 0
  done
  fail "serve 3000 more clients, and look at RssAnon in /proc/PID/status, three times" \
    "less than 32 KiB more than before, at least once" "$grown KiB more each time"
}

# --- what the fault shim has seen

# The call that was to fail is one that a correct server need not make.
may_never_be_made() {
  [ -s "$BATS_TEST_TMPDIR/faults.log" ] || rm -f "$BATS_TEST_TMPDIR/faults.log"
}

# expect_one_lost_without FAULTS: the first of 251 clients is served on, whoever else is lost.
expect_one_lost_without() {
  local steps=() i
  for i in {1..50}; do steps+=(send "$i" expect "$i"); done # a turn each, for all to come in
  FAULTS=$1 start_server echo
  tcp on a send 'one\n' expect 'one\n' crowd 250 on a "${steps[@]}"
  may_never_be_made # everything may stand in arrays that are there from the beginning
}

# reads_in_between: from its log of the reads on sockets. Whoever was read more
# than 100 times is a flooder; how often were they read before the last of the
# others was read for the first time?
reads_in_between() {
  awk '{ fd[NR] = $2; n[$2]++ }
       END { for (i = 1; i <= NR; i++)
               if (n[fd[i]] > 100) floods++
               else if (!seen[fd[i]]++) between = floods
             print between + 0 }' "$BATS_TEST_TMPDIR/faults.log"
}

# How many reads at most followed each other while accept() kept failing.
reads_between_accepts() {
  awk '/^accept/ { n = 0; failing = 1 }
       /^re(ad|cv)/ && failing && ++n > most { most = n }
       END { print most + 0 }' "$BATS_TEST_TMPDIR/faults.log"
}

# How many accept() at most came between two reads.
accepts_between_reads() {
  awk '/^re(ad|cv)/ { if (reads++ && n > most) most = n; n = 0 }
       /^accept/ { n++ }
       END { print most + 0 }' "$BATS_TEST_TMPDIR/faults.log"
}

# For a server on epoll: the interest list has no room for the second client. How many
# calls of epoll_ctl() come before that is known from another run.
expect_one_lost_without_room() {
  local calls
  CLIENTS=()
  FAULTS='epoll_ctl:delay=1' start_server echo
  open_clients 1
  say "${CLIENTS[0]}" one
  calls=$(grep -c ^epoll_ctl "$BATS_TEST_TMPDIR/faults.log")
  FAULTS="epoll_ctl:error=ENOSPC:when=$((calls + 1))" start_server echo
  tcp on a send 'one\n' expect 'one\n' on b connect gone on c send 'three\n' expect 'three\n'
}

# For a server on epoll whose calls of epoll_ctl() are logged: fifty messages of a
# client change nothing about what it is watched for.
expect_few_calls_of_epoll_ctl() {
  local before calls i
  CLIENTS=()
  open_clients 1
  say "${CLIENTS[0]}" 'the first line of this client'
  before=$(grep -c ^epoll_ctl "$BATS_TEST_TMPDIR/faults.log")
  for i in {1..50}; do say "${CLIENTS[0]}" "line $i, longer than a read of four bytes"; done
  calls=$(($(grep -c ^epoll_ctl "$BATS_TEST_TMPDIR/faults.log") - before))
  [ "$calls" -le 5 ] ||
    fail "send 50 lines on a connection that has sent one, and count the calls of epoll_ctl()" \
      "5 at most" "$calls"
}
