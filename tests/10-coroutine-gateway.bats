# Tests for stage 10: coroutines, and a gateway on them. First small scenes with
# coroutines alone (coro-scenes), then the gateway with its back ends.
load lib
load echo-loop

# plays SCENE OUTPUT [OPTIONS]: coro-scenes says exactly that, and ends well.
plays() {
  run_program coro-scenes "${@:3}" "$1"
  ends_with_status 0 "$1"
  expect "run coro-scenes${3:+ ${*:3}} $1" "$2" "$OUT"
}

ends_with_status() { # STATUS SCENE
  [ "$STATUS" = "$1" ] || fail "run coro-scenes $2, and look at how it ends" "status $1" \
    "status $STATUS: $(grep -v 'WARNING: ASan' <<<"$ERR" | head -n 20; tail -n 3 <<<"$OUT")"
}

# back_end [OPTIONS]: one more back end, its port in BACK, its output in BACK_LOG.
back_end() {
  BIN=$PLAIN start_server backend "$@" || return
  BACK=$PORT BACK_PID=$PID BACK_LOG=$LOG
}
gateway() { # BACK-END-PORTS [OPTIONS]
  start_server gateway -b "$@"
}
# Dead ones, of a kind: a back end with -m MODE behind a gateway that gives up late.
gateway_before() { # MODE [OPTIONS]
  back_end -m "$1"
  gateway "$BACK" "${@:2}"
}

# All answers come at the end: until then the client has to wait in silence.
patiently() { TIMEOUT_FACTOR=$((5 * TIMEOUT_FACTOR)) "$@"; }

calls() { grep -cE '^(user|order|parcel) ' "$BACK_LOG"; }
has_calls() { [ "$(calls)" -ge "$1" ]; }
# stay STEPS...: steps for build/tools/tcp, whose connections stay until the server ends.
stay() { "$TOOLS/tcp" "$PORT" "$@" silence 60000 >/dev/null 2>&1 3>&- 4>&- & }
interest_has() { [ "$(epoll_interest "$PID" | wc -l)" -ge "$1" ]; }

# How many pages without rights have memory with rights right above.
guard_pages() {
  awk '{ split($1, a, "-") }
       a[1] == end && $2 == "rw-p" { n++ }
       { end = $2 == "---p" ? a[2] : "" }
       END { print n + 0 }' "/proc/$PID/maps"
}
guard_pages_at_least() { [ "$(guard_pages)" -ge "$1" ]; }
guard_pages_at_most() { [ "$(guard_pages)" -le "$1" ]; }

ADA='ada: order 817057 is in Jena\n' BOB='bob: order 826461 is in Hull\n'

# --- TODO 1 and 2: from stack to stack

@test "a coroutine runs on a stack of its own, and ends" {
  likely "makecontext() got no stack of its own; or swapcontext() has its arguments the wrong way round"
  plays hello 'two coroutines are there, none has begun
hello from a coroutine, on a stack of its own
hello from another one, on a stack of its own
both have ended'
}

@test "coroutines take turns" {
  likely "coro_yield() goes on to the loop without a place on the list ready"
  plays turns 'a1 b1 c1 a2 b2 c2 a3 b3 c3 '
}

@test "each keeps its variables, however deep inside it gives way" {
  likely "two coroutines share a stack, or it is not the one that was left"
  plays locals '10: 385, in turns
20: 2870, in turns
30: 9455, in turns
40: 22140, in turns
50: 42925, in turns'
}

# --- TODO 3: descriptors

@test "who waits for a descriptor lets the others run" {
  likely "the descriptor is not on the interest list, or the coroutine is still on the list ready"
  plays wait 'reader: waits
writer: turn 1
writer: turn 2
writer: turn 3
writer: writes x
reader: yes, x'
  plays busy 'a byte that came was heard'
}

# --- TODO 4: deadlines

@test "they sleep at the same time, and wake up in order" {
  likely "next_timeout() does not return the time until the nearest deadline"
  plays sleep '1 ms are over: ETIMEDOUT, not too early
30 ms are over: ETIMEDOUT, not too early
60 ms are over: ETIMEDOUT, not too early
90 ms are over: ETIMEDOUT, not too early
120 ms are over: ETIMEDOUT, not too early
150 ms are over: ETIMEDOUT, not too early'
}

@test "a wait ends at its deadline, not before, and with ETIMEDOUT" {
  likely "who has been late is not woken; or next_timeout() wakes those who still have time"
  plays deadline 'nobody writes: ETIMEDOUT, after 50 ms
again: ETIMEDOUT
a deadline far away: yes'
}

@test "an event and the deadline in the same moment wake it once" {
  likely "it is on the list ready twice, or the descriptor is still on the interest list"
  plays same-moment 'woken: yes
then it sleeps: for 50 ms'
}

# --- TODO 5 and 6: as if they blocked

@test "a write writes everything, or fails at its deadline" {
  likely "EAGAIN: wait for EPOLLOUT and go on with the rest, from where write() stopped"
  run_program coro-scenes write
  ends_with_status 0 write
  expect "run coro-scenes write, and sort what it prints" 'all written: yes
nobody reads: ETIMEDOUT
read 1048576 bytes, 0 of them wrong' "$(sort <<<"$OUT")"
}

@test "a connect ends well, or says why not" {
  likely "EINPROGRESS is no error; when EPOLLOUT comes, SO_ERROR tells how it went"
  run_program coro-scenes connect
  ends_with_status 0 connect
  expect "run coro-scenes connect, and sort what it prints" 'accepted: yes, and x came
to a port where nobody listens: ECONNREFUSED
to one where somebody does: yes' "$(sort <<<"$OUT")"
}

# --- TODO 7 and 8: stacks

@test "below each stack lies a guard page" {
  likely "mprotect() with PROT_NONE on the lowest page of the mapping"
  plays guards '10 coroutines, 10 guard pages
none: 0 guard pages'
}

@test "a recursion without end dies in the guard page" {
  likely "the stack runs into the next one: nothing lies between them"
  BIN=$PLAIN run_program coro-scenes overflow
  expect "run coro-scenes overflow" "stopped in a guard page" "$OUT"
  expect "run coro-scenes overflow, and look at how it ends (139: SIGSEGV)" 139 "$STATUS"
}

@test "a stack is used again" {
  likely "the stack of who has ended goes back to the kernel, and the next one needs a new one"
  BIN=$PLAIN plays reuse '10000 coroutines, two at a time: old pages'
}

@test "after a crowd no more than 64 stacks are kept" {
  likely "SPARE_MAX: the stack that is one too many goes back to the kernel"
  plays crowd 'a crowd of 1000 has ended, 64 stacks are kept'
}

# --- TODO 9: the end

@test "coro_cancel ends every wait, and each coroutine cleans up" {
  likely "those on timed, those on untimed, and who would not have to wait at all"
  run_program coro-scenes cancel
  ends_with_status 0 cancel
  expect "run coro-scenes cancel, and sort what it prints" 'all have ended
cancel
one that has not begun: ECANCELED
one that need not wait: ECANCELED
one that sleeps: ECANCELED
one that waits: ECANCELED' "$(sort <<<"$OUT")"
}

# --- TODO 10: a call, and three of them

@test "a back end that refuses gives an error reply" {
  likely "the reason of connect() got lost: errno, before close() changes it"
  local i
  gateway_before refuse
  tcp send 'ada\n' expect 'error: users: Connection refused\n'
  for i in {1..20}; do tcp send 'ada\n' expect 'error: users: Connection refused\n'; done
  await "no descriptor is left of the calls" has_at_most_descriptors 8
}
has_at_most_descriptors() { [ "$(fds "$PID")" -le "$1" ]; }

@test "a back end that stalls gives an error reply at the deadline" {
  likely "read_line() has no deadline, or the deadline is a duration and not a point in time"
  gateway_before stall -d 1500
  tcp on a send 'ada\n' on b send 'bob\n' silence 50 \
    on a expect 'error: users: no answer in time\n' \
    on b expect 'error: users: no answer in time\n'
}

@test "a back end that does not even accept gives an error reply at the deadline" {
  likely "connect() has no deadline"
  gateway_before full -d 300
  tcp send 'ada\n' expect 'error: users: no answer in time\n'
}

@test "half an answer is none, and neither is one without an end" {
  likely "the deadline begins anew with each piece; or an answer is taken before its line ends"
  gateway_before half
  tcp send 'ada\n' expect 'error: users: closed without an answer\n'
  back_end -m babble
  gateway "$BACK" -d 300
  tcp send 'ada\n' expect 'error: users: no answer in time\n'
  gateway "$BACK" -d 60000
  tcp send 'ada\n' expect 'error: users: the answer is too long\n'
}

@test "three calls, one after the other, each with the answer to the one before" {
  likely "the calls are user NAME, order USER, parcel ORDER"
  back_end
  gateway "$BACK"
  tcp send 'ada\n' expect "$ADA"
  stop_server "$BACK_PID"
  expect "read what the back end was asked" 'user ada
order 796026
parcel 817057
3 calls, 1 at most at the same time' "$(grep -v listening "$BACK_LOG")"
}

@test "answers that come in pieces are put together" {
  likely "read() brings as much as is there: read_line() reads on until the line has an end"
  gateway_before pieces
  tcp send 'bob\n' expect "$BOB"
}

@test "the first call that fails ends it, and the reply names its service" {
  likely "a failed call is taken for an answer, or the wrong service is named"
  local good dead
  back_end
  good=$BACK
  gateway "$good"
  tcp send 'nobody\n' expect 'error: users: no such user\n'
  back_end -m refuse
  dead=$BACK
  gateway "$good,$dead,$good"
  tcp send 'ada\n' expect 'error: orders: Connection refused\n'
  gateway "$good,$good,$dead"
  tcp send 'ada\n' expect 'error: parcels: Connection refused\n'
}

# --- TODO 11: clients

@test "a client may ask again and again, and however its lines are cut" {
  likely "what came behind a line is the beginning of the next one"
  back_end -d 1
  gateway "$BACK"
  tcp send 'ada\n' expect "$ADA" send 'bob\nada\n' expect "$BOB$ADA" \
    send-each 'bob\n' expect "$BOB" send 'a' silence 20 send 'da\nbo' expect "$ADA" \
    send 'b\n' expect "$BOB" send 'ada' half-close eof
  tcp send 'ada\nbob\n' half-close expect "$ADA$BOB" eof
  tcp send '\n' expect 'error: not a name\n' send 'a b\n\x00\n' \
    expect 'error: not a name\nerror: not a name\n' half-close eof
}

@test "a line that is too long is refused, and ends the connection" {
  likely "GOT_MUCH: no end of the line within LINE_SIZE bytes"
  back_end -d 1
  gateway "$BACK"
  tcp send 'ada\n' expect "$ADA" send "$(printf 'a%.0s' {1..150})" \
    expect 'error: the line is too long\n' gone
  tcp send 'bob\n' expect "$BOB"
}

@test "a thousand requests are under way at the same time, on one thread" {
  likely "something blocks the one thread; or a coroutine waits for what it need not wait for"
  many_connections 1000
  back_end -g "$COUNT"
  gateway "$BACK" -d 40000
  patiently tcp crowd "$COUNT" crowd-send 'ada\n' crowd-expect "$ADA"
  expect "count the threads in /proc/PID/task" 1 "$(threads "$PID")"
  expect "list its children" "" "$(children "$PID")"
  stop_server "$BACK_PID"
  expect "let the back end answer only when $COUNT calls wait, and read what it saw" \
    "$((3 * COUNT)) calls, $COUNT at most at the same time" "$(tail -n 1 "$BACK_LOG")"
}

@test "a thousand requests take hardly longer than one" {
  likely "a coroutine waits for another one's answer"
  local began ms
  many_connections 1000
  back_end -d 50
  BIN=$PLAIN gateway "$BACK" -d 40000
  began=${EPOCHREALTIME/[^0-9]/}
  timeout -k 2 "$(scaled 15)" "$TOOLS/tcp" -t 15 "$PORT" crowd "$COUNT" crowd-send 'ada\n' \
    crowd-expect "$ADA" 3>&- 4>&- ||
    fail "ask $COUNT times at once, three calls of 50 ms each" \
      "all answers within $(scaled 15) s, and not in $((COUNT * 150)) ms, one after the other" \
      "not all of them have come by then"
  ms=$(((${EPOCHREALTIME/[^0-9]/} - began) / 1000))
  [ "$ms" -ge 150 ] || fail "ask $COUNT times, three calls of 50 ms each" "150 ms at least" "$ms ms"
}

@test "while all calls stall it sleeps, and answers who needs none" {
  likely "the loop does not sleep while coroutines wait: its timeout is 0 without a reason"
  gateway_before stall -d 100000
  tcp send '?\n' expect 'error: not a name\n'
  stay crowd 5 crowd-send 'ada\n'
  await "the back end has got 5 calls" has_calls 5
  await "the sockets of all calls are on the interest list" interest_has 7
  expect_idle "$PID" "with 5 calls that get no answer"
  tcp send '?\n' expect 'error: not a name\n'
}

@test "a client whose questions need no call does not hold up the others" {
  likely "it never has to wait: coro_yield() after each reply lets the others have a turn"
  local reads
  back_end
  FAULTS='read:delay=1:fd=sock' gateway "$BACK"
  yes "$(printf '?%.0s' {1..100})" | head -c 40000 >"$BATS_TEST_TMPDIR/questions"
  tcp freeze "$PID" on first connect send-file "$BATS_TEST_TMPDIR/questions" \
    on b connect send '?\n' thaw "$PID" on b expect 'error: not a name\n' on first half-close rest
  reads=$(reads_in_between)
  [ "$reads" -le 100 ] ||
    fail "send 40,000 bytes of questions on one connection, one question on another, all at once" \
      "at most 100 reads of the long one before the short one is read" "$reads reads"
}

@test "a client that does not read stalls only itself" {
  likely "coro_write() has to wait for EPOLLOUT"
  local before fd
  CLIENTS=()
  back_end -d 1
  gateway "$BACK"
  open_clients 1
  fd=${CLIENTS[0]}
  tcp send 'ada\n' expect "$ADA"
  before=$(fds "$PID")
  yes '?' >&"$fd" 2>/dev/null 3>&- 4>&- &
  await "the socket of the client that sends without reading is full" is_stalled
  expect_idle "$PID" "with a client that does not read its answers"
  tcp send 'ada\n' expect "$ADA"
  kill $!
  exec {fd}>&-
  await "the client that vanished is forgotten" has_at_most_descriptors $((before - 1))
}
is_stalled() { # it waits until it can write: EPOLLOUT is 4
  epoll_interest "$PID" | grep -q '[4-7c-f]$'
}

@test "clients that vanish harm nobody" {
  likely "a write to a lost client: EPIPE, and no signal; its coroutine ends like any other"
  back_end -d 100
  gateway "$BACK"
  tcp crowd 100 crowd-send 'ada\nbob\n' crowd-reset on b send 'bob\n' expect "$BOB" \
    crowd 50 crowd-send 'ada\n' crowd-close on b send 'ada\n' expect "$ADA"
  await "the sockets of those who vanished are closed" has_at_most_descriptors 8
}

@test "stacks come with the clients, and most of them go again" {
  likely "one stack for each client, with a guard page; and after the crowd SPARE_MAX of them"
  back_end -m stall
  BIN=$PLAIN gateway "$BACK" -d 100000
  tcp send '?\n' expect 'error: not a name\n'
  tcp crowd 300 crowd-send 'ada\n' on b send '?\n' expect 'error: not a name\n' &
  await "there are 300 guard pages in /proc/PID/maps" guard_pages_at_least 300
  wait $!
  kill -TERM "$BACK_PID"
  await "there are 100 at most when the 300 clients are gone" guard_pages_at_most 100
}

@test "short writes and interruptions change nothing" {
  likely "a short write is no error, and EINTR is none: go on"
  back_end -d 1
  FAULTS='write:short=3:fd=sock read:error=EINTR:when=1+2:fd=sock wait:error=EINTR:when=2+3 accept:error=EINTR:when=1' \
    gateway "$BACK"
  tcp send 'ada\n' expect "$ADA" send 'bob\nada\n' expect "$BOB$ADA"
  FAULTS='accept:error=ECONNABORTED:when=1 write:error=EINTR:when=1+2:fd=sock' gateway "$BACK"
  tcp send 'ada\n' expect "$ADA" on b send 'bob\n' expect "$BOB"
}

@test "without a free descriptor it says so, rests, and goes on later" {
  likely "socket() fails like any other step of a call; accept() needs a rest"
  CLIENTS=()
  back_end -d 1
  gateway "$BACK"
  open_clients 1
  say_line 0 ada "${ADA%??}"
  prlimit --pid "$PID" --nofile="$(fds "$PID"):" # all taken
  open_clients 1
  echo bob >&"${CLIENTS[1]}"
  say_line 0 ada "error: users: Too many open files"
  expect_idle "$PID" "with a client waiting and no descriptor for it"
  prlimit --pid "$PID" --nofile=1000:
  expect "give it descriptors again" "${BOB%??}" "$(next_line "${CLIENTS[1]}")"
  say_line 0 ada "${ADA%??}"
}
say_line() { # CLIENT LINE ANSWER
  echo "$2" >&"${CLIENTS[$1]}"
  expect "ask \"$2\\n\"" "$3" "$(next_line "${CLIENTS[$1]}")"
}

@test "SIGTERM and SIGINT end it with status 0, in the middle of calls, and nothing leaks" {
  likely "coro_cancel(): every coroutine closes what it has open, and returns"
  CLIENTS=()
  gateway_before stall -d 100000
  open_clients 2
  tcp send '?\n' expect 'error: not a name\n'
  stay crowd 20 crowd-send 'ada\n'
  await "the back end has got 20 calls" has_calls 20
  stop_server
  ends_well "send SIGTERM while clients wait for answers"
  gateway "$BACK" -d 100000
  tcp send '?\n' expect 'error: not a name\n' send 'ada\n' half-close silence 20
  kill -INT "$PID"
  await "SIGINT has ended it" ended "$PID"
  stop_server
  ends_well "send SIGINT"
}

@test "wrong options get the usage and status 2, -h gets help" {
  local args
  back_end -d 1
  gateway "$BACK"
  tcp send 'ada\n' expect "$ADA"
  for args in -x '-p 65536' '-b 0' '-b 1,2' '-b 1,2,3,4' '-b x' '-d 0' '-s x' 'extra'; do
    # shellcheck disable=SC2086  # two words
    run_program gateway $args
    expect "run gateway $args, and look at its exit status" 2 "$STATUS"
    expect_match "run gateway $args, and read stderr" 'usage: gateway ' "$ERR"
  done
  run_program gateway -h
  expect "run gateway -h, and look at its exit status" 0 "$STATUS"
  expect_match "run gateway -h, and read stdout" '^usage: gateway ' "$OUT"
  run_program gateway -p "$PORT"
  expect "start a second one on port $PORT" \
    "gateway: bind 127.0.0.1:$PORT: Address already in use" "$ERR"
}

@test "coroutines, callbacks and threads answer the same" {
  likely "answer() is the same function as in gateway_threads.c"
  local mode program answers=()
  for mode in answer pieces half refuse; do
    answers=()
    back_end -m "$mode" -d 1
    for program in gateway gateway-callbacks gateway-threads; do
      start_server "$program" -b "$BACK"
      tcp send 'ada\nbob\nnobody\n?\n\nada\n' half-close rest
      answers+=("$OUT")
      stop_server
      expect "stop $program" "exit 0" "$END"
    done
    expect "ask gateway-callbacks and gateway-threads the same (backend -m $mode)" \
      "${answers[1]}" "${answers[2]}"
    expect "ask gateway what gateway-callbacks was asked (backend -m $mode)" \
      "${answers[1]}" "${answers[0]}"
  done
}

# --- TODO 12: the switch in assembly

needs_assembly() {
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) skip "the switch in assembly is for x86-64 and aarch64, and this is $(uname -m)" ;;
  esac
}

@test "the switch in assembly: turns, and variables deep inside" {
  likely "the stack pointer is stored after it was changed; or the registers come back in the wrong order"
  needs_assembly
  plays turns 'a1 b1 c1 a2 b2 c2 a3 b3 c3 ' -s asm
  plays locals '10: 385, in turns
20: 2870, in turns
30: 9455, in turns
40: 22140, in turns
50: 42925, in turns' -s asm
  BIN=$PLAIN plays locals '10: 385, in turns
20: 2870, in turns
30: 9455, in turns
40: 22140, in turns
50: 42925, in turns' -s asm
}

@test "the switch in assembly keeps every register that a call keeps" {
  likely "a register that belongs to the caller is not saved, or two have changed places"
  needs_assembly
  local held='1000: 35145 668421000.75
2000: 20417 1169924000.75
3000: 26169 1671427000.75'
  BIN=$PLAIN plays registers "$held"
  BIN=$PLAIN plays registers "$held" -s asm
  plays registers "$held" -s asm
  BIN=$PLAIN plays rounding 'still up: yes
still down: yes
the loop: as before' -s asm
}

@test "the switch in assembly: the gateway, and no call of the C library in it" {
  likely "switch_asm() calls swapcontext(), and with it the kernel"
  needs_assembly
  back_end -g 100
  gateway "$BACK" -d 40000 -s asm
  patiently tcp crowd 100 crowd-send 'ada\n' crowd-expect "$ADA"
  stop_server
  ends_well "send SIGTERM"
  ${CC:-cc} -std=c17 -D_GNU_SOURCE -O2 -c -o "$BATS_TEST_TMPDIR/switch.o" "$BIN/switch_asm.c"
  expect "list what switch_asm.c calls (nm -u switch_asm.o)" "" \
    "$(nm -u "$BATS_TEST_TMPDIR/switch.o" | awk '{ print $2 }' | grep -vE '^_(GLOBAL|_stack_chk)')"
}
