# Tests for stage 09, the event loop and its worker pool.
load lib
load echo-loop
load tools/queue

# --- helpers

# trace SCENARIO: run loop-trace; it prints exactly what comes on stdin here.
trace() {
  local expected ended
  expected=$(cat)
  run_program loop-trace "$1"
  [ "$STATUS" != 0 ] || [ "$OUT" != "$expected" ] || [ -n "$ERR" ] || return 0
  case $STATUS in
    0) ended='this output' ;;
    124) ended='it did not come to an end, after this output' ;;
    *) ended="status $STATUS, after this output" ;;
  esac
  fail "run loop-trace $1" "status 0, and this output:
$expected" "$ended:
$(head -n 30 <<<"$OUT")
$(head -n 25 <<<"$ERR")"
}

# stats: what the server says, on a connection of its own: "clients 1 threads ..."
stats() {
  local fd line
  { exec {fd}<>"/dev/tcp/127.0.0.1/$PORT"; } 2>/dev/null || return
  echo stats >&"$fd"
  read -r -t "$(scaled 5)" -u "$fd" line
  exec {fd}<&-
  echo "$line"
}
stat_of() { stats | grep -o "\b$1 [0-9]*" | cut -d' ' -f2; }
stat_is() { [ "$(stat_of "$1")" = "$2" ]; }

# answers_to REQUEST: on each of CLIENTS, all at once; the answers, one a line.
answers_to() {
  local fd
  kill -STOP "$PID"
  for fd in "${CLIENTS[@]}"; do echo "$1" >&"$fd"; done
  kill -CONT "$PID"
  for fd in "${CLIENTS[@]}"; do
    next_line "$fd"
  done | sed '/(nothing)/q' # who waits for one in vain need not wait for all
}

# A rule for the fault shim that logs each write to an eventfd.
WAKEUPS='write:delay=1:path=eventfd'

# --- TODO 1: timers

@test "a timer is called once, when its time has come" {
  likely "run_timers() calls nobody, or the timer goes on"
  trace one-timer <<'END'
a timer of 20 ms
20 ms have passed: yes; many more: no
END
}

@test "a zero timer that starts itself waits for the next turn" {
  likely "run_timers() goes on with timers that were started in this phase"
  trace zero-timers <<'END'
turn 1: a zero timer
turn 1: another one
turn 1: check
turn 2: a zero timer
turn 2: another one
turn 2: check
turn 3: a zero timer
turn 3: another one
turn 3: check
END
}

@test "a timer that repeats does not drift, and leaves out what it missed" {
  likely "the next time is counted from now, or from the call, not from when it was due"
  trace repeat <<'END'
run 1: the next time is a multiple of 10 ms: yes; in the past: no
run 2: the next time is a multiple of 10 ms: yes; in the past: no
run 3: the next time is a multiple of 10 ms: yes; in the past: no
run 4: the next time is a multiple of 10 ms: yes; in the past: no
END
}

@test "a timer that is stopped by another one in the same turn is not called" {
  likely "the due timers are collected, and then called whatever happens"
  trace timer-stop <<'END'
a stops b, and starts itself for later
c
a
END
}

@test "a timer that is put off is called at its new time, and only then" {
  likely "the place in the heap is taken for the time of the timer"
  trace put-off <<'END'
put off from 10 to 20, brought to 0
50 ms
put off from 5 to 150 ms
150 ms have passed: yes
END
}

# --- TODO 2: the heap

@test "timers are called in the order of their times, and ties in the order of starts" {
  likely "sift_down() ends too early, or follows the later one of the two below"
  trace timer-order <<'END'
0 ms, first
0 ms, second
20 ms, first
20 ms, second
20 ms, third
40 ms
60 ms
END
}

@test "ten thousand timers, started again and stopped, are called in order" {
  likely "the heap loses its order when a timer is taken out of its middle"
  trace many-timers <<'END'
3334 of 10000 timers fired, 0 out of order
END
}

# --- TODO 3: the timeout

@test "the poll waits not at all, until the nearest timer, or without limit" {
  likely "loop_timeout(): something that waits comes first, then the timer"
  trace timeout <<'END'
nothing waits, no timer: -1
nothing waits, a timer in 25 ms: 25
nothing waits, a timer is due: 0
something waits, no timer: 0
something waits, a timer in 25 ms: 0
nothing waits, a timer in 2^40 ms: 2147483647
END
}

@test "until the timer is due the loop sleeps" {
  likely "a timeout of 0 while there is nothing to do"
  trace sleeps <<'END'
turns in 300 ms: few
END
}

# --- TODO 4: descriptors

@test "a descriptor is reported as long as there is something to read" {
  likely "level-triggered: no EPOLLET"
  trace level <<'END'
turn 1: three bytes, read one by one: in
turn 2: three bytes, read one by one: in
turn 3: three bytes, read one by one: in
END
}

@test "the line server answers lines, in order" {
  likely "an event is lost, or comes for the wrong client"
  start_server line-server
  tcp on a send 'echo hello\n' expect 'hello\n' on b send 'echo one\necho ' \
    on a send 'echo \necho again\n' expect '\nagain\n' on b send 'two\n' expect 'one\ntwo\n' \
    on a send 'what\n' expect 'error unknown request\n' half-close eof
  tcp crowd 100 crowd-send 'echo a\n' crowd-expect 'a\n' crowd-send 'echo b\n' crowd-expect 'b\n'
  run_program line-server -t 0
  expect "run line-server -t 0, and look at its exit status" 2 "$STATUS"
}

@test "a client that does not read its answers stops only itself" {
  likely "EPOLLOUT is wanted, or EPOLLIN is not wanted any more, and the kernel does not know"
  local before grown lines=1000000
  CLIENTS=()
  BIN=$PLAIN start_server line-server
  open_clients 2
  tcp send 'echo x\n' expect 'x\n'
  before=$(resident_kib "$PID")
  yes 'echo 0123456789' 2>/dev/null | head -n $lines >&"${CLIENTS[0]}" 3>&- 4>&- &
  await "it reads no more from who does not read" stands_still
  grown=$(($(resident_kib "$PID") - before))
  [ "$grown" -le 1024 ] ||
    fail "send $lines lines and read nothing; look at VmRSS in /proc/PID/status" \
      "at most 1024 KiB more than before" "$grown KiB more"
  tcp send 'echo y\n' expect 'y\n'
  expect "read the $lines answers after all" $lines \
    "$(timeout "$(scaled 20)" head -n $lines <&"${CLIENTS[0]}" | grep -cx 0123456789)"
}

stands_still() {
  local before
  before=$(cpu_ns "$PID")
  sleep 0.1
  [ $(($(cpu_ns "$PID") - before)) -lt 2000000 ]
}

# --- TODO 5: dispatch

@test "a callback is told what is wanted, and nothing else" {
  likely "dispatch(): the events that came are more than those that are wanted"
  trace interest <<'END'
turn 1: it wants in
turn 1: it is told: in
turn 2: it wants in out
turn 2: it is told: in out
turn 3: it wants out
turn 3: it is told: out
turn 4: it wants nothing
turn 5: it wants nothing
turn 6: it wants nothing
turn 7: it wants in
turn 7: it is told: in
turn 8: it wants in edge
turn 8: it is told: in
turn 9: it wants in edge
turn 10: it wants in
turn 10: it is told: in
END
}

@test "an event that is not wanted any more is dropped, even in the same turn" {
  likely "dispatch(): what was wanted when the kernel was asked does not count"
  trace unwanted <<'END'
turn 1: a, who wants nothing of b
turn 1: a, who wants nothing of b is closed
a is gone; now b is wanted again
turn 2: b
turn 2: b is closed
END
}

@test "a hang-up is told to who wants anything, and does not spin if nobody does" {
  likely "EPOLLHUP is always reported: with nothing wanted the descriptor has to leave the kernel's list"
  run_program loop-trace hang-up
  expect "run loop-trace hang-up, without the number of the turn" \
    "nothing wanted, turns in 300 ms: few
turn N: the other end is closed: in hup" "$(sed 's/^turn [0-9]*/turn N/' <<<"$OUT$ERR")"
  expect "look at its exit status" 0 "$STATUS"
}

# --- TODO 6: closing

@test "a callback closes the other descriptor whose event has come, and its own" {
  likely "an event of this turn is delivered to a handle that is closed, or was freed"
  trace close-io <<'END'
turn 1: a closes b, and itself
turn 1: b is closed
turn 1: a closes b, and itself is closed
END
}

@test "a descriptor with the number of a closed one does not get its event" {
  likely "events are told apart by their handle, not by the number of the descriptor"
  trace reused <<'END'
turn 1: idle
turn 1: a closes b, and opens c
c has the number of b, and nothing to read: yes
turn 1: b is closed
turn 1: a closes b, and opens c is closed
turn 2: idle
turn 3: idle
turn 3: c, with the number that b had is closed
END
}

@test "a callback closes timers that are due, its own too" {
  likely "closed() is called before the phase close, or the timer after it"
  trace close-timer <<'END'
turn 1: a closes b, and itself
turn 1: c
turn 1: b is closed
turn 1: a closes b, and itself is closed
turn 1: c is closed
END
}

@test "closing is told in a phase of its own, once, and in order" {
  likely "closing twice, or from within closed(), goes wrong"
  trace close-in-closed <<'END'
turn 1: b
turn 1: a is closed
turn 2: b is closed
turn 3: c is closed
turn 4: d, due in a minute is closed
END
}

# --- TODO 7: hooks

@test "hooks close the next one, the one before, and themselves" {
  likely "run_hooks() keeps a pointer to the next hook while it calls one"
  trace close-hook <<'END'
turn 1: timer
turn 1: a closes b, the next one, and itself
turn 1: c
turn 1: d closes c, the one before, and itself
turn 1: e
turn 1: timer is closed
turn 1: b is closed
turn 1: a closes b, the next one, and itself is closed
turn 1: c is closed
turn 1: d closes c, the one before, and itself is closed
turn 1: e is closed
END
}

@test "a loop that is stopped ends its turn, and can run again" {
  likely "the poll waits although the loop is to stop, or the rest of the turn is left out"
  trace stop <<'END'
turn 1: a timer stops the loop
turn 1: check
turn 1: a timer stops the loop is closed
loop_run() has returned
stopped before it ran
turn 2: check is closed
END
  trace end <<'END'
nothing there: it ends at once
a stopped timer and an unwanted descriptor: at once
held: it ends when it is stopped
END
}

# --- TODO 8: posts

@test "the phases of a turn come in their order" {
  likely "compare turn() with the list in loop.h"
  trace phases <<'END'
turn 1: timer
turn 1: pending
turn 1: idle
turn 1: prepare
turn 1: poll
turn 1: check
turn 1: timer is closed
turn 1: idle is closed
turn 1: prepare is closed
turn 1: poll is closed
turn 1: check is closed
END
}

@test "a post from another thread wakes the loop, and runs on its thread" {
  likely "the loop sleeps, and nobody writes to its eventfd"
  trace post-thread <<'END'
first, on the thread of the loop: yes
second, on the thread of the loop: yes
third, on the thread of the loop: yes
END
  trace post-ping <<'END'
all posts have arrived, one after the other
END
}

@test "the eventfd is written only when the loop sleeps" {
  likely "loop_post() writes for each post, or never"
  local log=$BATS_TEST_TMPDIR/faults.log
  : >"$log.awake"
  OUT=$(env LD_PRELOAD="$TOOLS/faults.so" FAULTS="$WAKEUPS" FAULTS_LOG="$log.awake" \
    timeout "$(scaled 10)" "$BIN/loop-trace" post-order 2>&1 3>&- 4>&-) || :
  expect_match "run loop-trace post-order" 'turn 1: first' "$OUT"
  expect "count its writes to the eventfd: three posts, while the loop is awake" 0 "$(wc -l <"$log.awake")"
  FAULTS=$WAKEUPS start_server line-server
  tcp send 'sleep 50\n' expect 'slept 50\n' send 'sleep 50\n' expect 'slept 50\n' \
    send 'sleep 50\n' expect 'slept 50\n'
  expect_match "count its writes to the eventfd for three jobs, one after the other" \
    '^[1-3]$' "$(wc -l <"$log")"
}

# --- TODO 9: the list of posts

@test "posts run in the order in which they came" {
  likely "the list is taken out, and has the last one in front"
  trace post-order <<'END'
turn 1: first
turn 1: second
turn 1: third
END
}

@test "200,000 posts from four threads arrive, each thread's in order" {
  likely "a post is lost between taking the list and the next post"
  trace post-many <<'END'
200000 posts arrived, 0 out of order
END
  BIN=$PLAIN trace post-many <<'END' # much faster, and so at the same time
200000 posts arrived, 0 out of order
END
}

@test "whoever always has something to do starves nobody" {
  likely "a phase goes on with work that came while it ran"
  trace starvation <<'END'
a zero timer that starts itself: 100 of 100 turns
a post that posts itself: 100 of 100 turns
an idle hook: 100 of 100 turns
a descriptor that is always ready: 100 of 100 turns
a check hook: 100 of 100 turns
END
}

# --- TODO 10: jobs

@test "a job runs on a worker, and its completion on the loop" {
  likely "pool_submit() calls work() itself"
  trace jobs <<'END'
pool_submit() has called nothing
work() was on a thread of its own: yes
first: has run, on the thread of the loop: yes
second: has run, on the thread of the loop: yes
third: has run, on the thread of the loop: yes
END
}

@test "a full queue refuses jobs, and goes on with those that it has" {
  likely "pool_submit() waits for room, or forgets to say that there was none"
  trace jobs-full <<'END'
job 0 is taken
job 1 is taken
job 2 is taken
job 3 is taken
job 4 is refused
job 5 is refused
job 6 is refused
threads 2, queued 4, busy 2
done: 6; queued 0, busy 0
END
}

@test "20,000 jobs are done, each once, and as many at a time as there are workers" {
  likely "a worker sleeps although there is a job: a wake-up is lost"
  trace jobs-many <<'END'
20000 jobs submitted, 20000 run, 20000 done
END
  trace jobs-meet <<'END'
32 jobs were at work at the same time, 50 times
END
}

@test "while a file is read from a slow disk, another client's thousand lines are answered" {
  likely "something blocks the loop: reading belongs to a worker"
  local steps=() i lines
  seq 1000 >"$BATS_TEST_TMPDIR/slow.txt"
  for i in {0..9}; do # a hundred at a time
    lines=$(seq -f 'echo %g\n' $((100 * i + 1)) $((100 * i + 100)) | tr -d '\n')
    steps+=(send "$lines" expect "${lines//echo /}")
  done
  FAULTS='open:delay=2000:path=slow.txt' start_server line-server
  tcp on a send "read $BATS_TEST_TMPDIR/slow.txt\n" on b "${steps[@]}" \
    on a silence 1 expect '3893 bytes, 1000 lines\n'
}

@test "a client's answers come in the order of its requests, slow or not" {
  likely "the second request is answered while the first one is at work"
  start_server line-server
  seq 10 >"$BATS_TEST_TMPDIR/ten"
  tcp send "sleep 100\necho one\nread $BATS_TEST_TMPDIR/ten\necho two\nsleep 1\n" \
    expect 'slept 100\none\n21 bytes, 10 lines\ntwo\nslept 1\n'
  tcp send 'sleep 50\necho last\n' half-close expect 'slept 50\nlast\n' eof
  tcp send 'read /nowhere\n' expect 'error read: No such file or directory\n'
}

@test "there are as many threads as were asked for, and the loop waits for an eventfd" {
  likely "pool_create(), backend_open()"
  local eventfd
  start_server line-server
  tcp send 'sleep 1\n' expect 'slept 1\n'
  expect "count the threads in /proc/PID/task: 32 workers and the loop" 33 "$(threads "$PID")"
  eventfd=$(fd_kinds "$PID" | sed -n 's/ anon_inode:\[eventfd\]//p')
  expect_match "look for an eventfd in /proc/PID/fd" '^[0-9]+$' "$eventfd"
  expect_match "look for it on the interest list" "(^|
)$eventfd " "$(epoll_interest "$PID")"
  start_server line-server -t 3
  tcp send 'sleep 1\n' expect 'slept 1\n'
  expect "count the threads of line-server -t 3" 4 "$(threads "$PID")"
}

@test "silence costs no CPU time" {
  likely "the loop spins: the timeout, a hang-up, or an event that nobody takes; or a worker does"
  CLIENTS=()
  start_server line-server
  open_clients 3
  say_echo "${CLIENTS[0]}" hello
  tcp send 'sleep 10\n' expect 'slept 10\n' reset
  tcp crowd 20 crowd-send 'sleep 1\n' crowd-expect 'slept 1\n'
  expect_idle "$PID" "while three clients say nothing, after some jobs"
  say_echo "${CLIENTS[1]}" again
}

say_echo() { # FD TEXT
  echo "echo $2" >&"$1"
  expect "send \"echo $2\\n\", and read the answer" "$2" "$(next_line "$1")"
}

@test "when the queue is full every job gets an answer all the same" {
  likely "a job that is refused is forgotten, or a completion is lost"
  local answers slept refused
  CLIENTS=()
  start_server line-server -t 2 -q 10
  open_clients 60
  answers=$(answers_to 'sleep 200')
  slept=$(grep -cx 'slept 200' <<<"$answers")
  refused=$(grep -cx 'error the queue is full' <<<"$answers")
  expect "send \"sleep 200\" on 60 connections at once, and count the answers" 60 $((slept + refused))
  [ "$slept" -ge 10 ] && [ "$refused" -ge 40 ] ||
    fail "60 jobs at once, 2 threads, a queue for 10" "10 to 12 of them slept, the others refused" \
      "$slept slept, $refused refused"
  expect "ask for its stats" "$refused" "$(stat_of refused)"
  echo 'sleep 1' >&"${CLIENTS[59]}"
  expect "send one more" 'slept 1' "$(next_line "${CLIENTS[59]}")"
}

@test "10,000 clients, and a thousand jobs at once: all are answered" {
  likely "a client or a job is lost in the crowd"
  many_connections 10000
  LIMITS="-n $((COUNT + 1200))" BIN=$PLAIN start_server line-server
  ASK='echo x\n' ANSWER='x\n' hold crowd "$COUNT"
  tcp crowd 1000 crowd-send 'sleep 10\n' on b send 'echo x\n' expect 'x\n' crowd-expect 'slept 10\n'
  expect_idle "$PID" "with $COUNT silent clients"
}

# --- TODO 11: cancelling, and the end

@test "a job that has not begun can be cancelled, and only that one" {
  likely "run() does not look at the state of the job"
  trace jobs-cancel <<'END'
a can be cancelled: no
b can be cancelled: yes
b can be cancelled again: no
a, at work: has run, on the thread of the loop: yes
b, cancelled: was cancelled, on the thread of the loop: yes
c, queued: has run, on the thread of the loop: yes
END
}

@test "a pool that ends cancels what is queued, and waits for what has begun" {
  likely "a job without its completion, or a completion after the end"
  trace jobs-end <<'END'
the pool is gone; now the completion events
2 have run, 3 were cancelled
END
}

@test "the jobs of clients that vanish are not done" {
  likely "cancelled jobs are done all the same, or their clients are freed too early"
  start_server line-server -t 1
  tcp on a send 'sleep 300\n' crowd 60 crowd-send 'sleep 500\n' crowd-reset \
    on b send 'echo here\n' expect 'here\n' on a expect 'slept 300\n'
  await "the queue is empty, which would have taken 30 s" stat_is queued 0
  await "no worker is busy" stat_is busy 0
  expect "ask how many clients there are: who asks" 1 "$(stat_of clients)"
}

@test "SIGTERM ends it with status 0, whatever is under way, and nothing leaks" {
  likely "queued jobs are done before the end, or memory of clients is not freed"
  CLIENTS=()
  start_server line-server -t 2
  open_clients 40
  kill -STOP "$PID"
  for fd in "${CLIENTS[@]}"; do echo 'sleep 400' >&"$fd"; done
  kill -CONT "$PID"
  await "both workers are busy" stat_is busy 2
  stop_server
  ends_well "send SIGTERM with 2 jobs at work and 38 in the queue"
  start_server line-server
  tcp send 'sleep 1\n' expect 'slept 1\n'
  stop_server
  ends_well "send SIGTERM while nothing is under way"
}

@test "ThreadSanitizer finds no data race" {
  likely "a post or a job is touched after it was handed over"
  local scenario
  build_tsan
  for scenario in post-thread post-ping post-many jobs-many jobs-cancel jobs-end; do
    BIN=$TSAN run_program loop-trace "$scenario"
    [[ $STATUS = 0 && -n $OUT ]] || fail "run loop-trace $scenario, built by make tsan" \
      "status 0, and no report" "status $STATUS
$OUT
$(head -n 25 <<<"$ERR")"
  done
}
