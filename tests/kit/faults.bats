# Tests for tests/tools/faults.c: each rule disturbs the calls it names and no
# other (calls.c makes them), also in programs with a sanitizer.

bats_require_minimum_version 1.5.0

READING='read recv recvfrom recvmsg readv pread preadv'
WRITING='write send sendto sendmsg writev pwrite pwritev sendfile'
OPENING='open openat openat2 fopen'
STATS='stat lstat fstatat statx'
WAITING='epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect'
MEMORY='malloc calloc realloc'
OTHER='accept accept4 socket close fork pthread_create'
ALL="$READING $WRITING $OPENING $STATS $WAITING $MEMORY $OTHER"

build() { # NAME FLAGS...
  local name=$1
  shift
  ${CC:-cc} -g -std=c17 -D_GNU_SOURCE -Wall -Wextra -pthread "$@" \
    -o "$BATS_FILE_TMPDIR/$name" "$BATS_TEST_DIRNAME/calls.c"
}

setup_file() {
  build plain -O0
  # the names that a large-file or a hardened program calls: __read_chk ...
  build fortified -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 \
    -D_FILE_OFFSET_BITS=64
  build address -fsanitize=address,undefined
  build thread -fsanitize=thread
  export ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0
}

setup() {
  : "${TOOLS:=$BATS_TEST_DIRNAME/../../build/tools}"
  TOOLS=$(realpath "$TOOLS")
  export CALLS_DIR=$BATS_TEST_TMPDIR FAULTS_LOG=$BATS_TEST_TMPDIR/log
  BUILD=plain
}

# calls RULES CALL...: sets OUT to the results, one line.
calls() {
  local rules=$1
  shift
  rm -f "$FAULTS_LOG"
  OUT=$(timeout 60 env LD_PRELOAD="$TOOLS/faults.so" FAULTS="$rules" \
    "$BATS_FILE_TMPDIR/$BUILD" "$@" 2>&1) || OUT+=" status $?"
  OUT=${OUT//$'\n'/, }
}

expect() { # ACTUAL EXPECTED
  [ "$1" = "$2" ] || { printf 'expected: %s\nactual:   %s\n' "$2" "$1"; return 1; }
}

# Every call by its own name: undisturbed, failing, short.
expect_every_call_obeys() {
  local call
  # shellcheck disable=SC2086  # lists of words
  {
    expect "$("$BATS_FILE_TMPDIR/$BUILD" $ALL 2>&1)" "$(results)"
    calls '' $ALL
    expect "${OUT//, /$'\n'}" "$(results)"
  }
  for call in $ALL; do
    calls "$call:error=EPROTO" "$call"
    expect "$OUT" "$call -1 EPROTO"
  done
  for call in $READING $WRITING; do
    calls "$call:short=7" "$call"
    expect "$OUT" "$call 7"
  done
}

results() { # what the calls give when nobody disturbs them
  local call
  for call in $ALL; do
    case " $READING $WRITING : $WAITING " in
      *" $call "*:*) echo "$call 64" ;;
      *:*" $call "*) echo "$call 1" ;;
      *) echo "$call 0" ;;
    esac
  done
}

@test "every call can fail, every transfer can be short" {
  expect_every_call_obeys
}

@test "every call of a large-file, fortified program too" {
  BUILD=fortified
  expect_every_call_obeys
}

@test "every call beside AddressSanitizer too" {
  BUILD=address
  expect_every_call_obeys
}

@test "every call beside ThreadSanitizer too" {
  BUILD=thread
  expect_every_call_obeys
}

@test "AddressSanitizer still finds what it is there for" {
  cat >"$BATS_TEST_TMPDIR/bug.c" <<'END'
    #include <stdlib.h>
    #include <unistd.h>
    static void *make(int n) { return malloc(n); }
    int main(int n, char **v) { (void)v; char *p = make(n); return write(1, p + n, 1); }
END
  ${CC:-cc} -g -fsanitize=address -o "$BATS_TEST_TMPDIR/bug" "$BATS_TEST_TMPDIR/bug.c"
  run ! timeout 60 env LD_PRELOAD="$TOOLS/faults.so" FAULTS='write:short=1' \
    "$BATS_TEST_TMPDIR/bug"
  [[ $output == *"heap-buffer-overflow"* ]]
  [[ $output == *"in make "*"bug.c"* ]] # malloc()'s caller is still seen
}

@test "a class stands for its calls and for no other" {
  local class members expected
  while read -r class members; do
    expected=$(results | while read -r call result; do
      case " $members " in
        *" $call "*) echo "$call -1 EPROTO" ;;
        *) echo "$call $result" ;;
      esac
    done)
    # shellcheck disable=SC2086  # a list of words
    calls "$class:error=EPROTO" $ALL
    expect "$OUT" "${expected//$'\n'/, }"
  done <<END
read $READING sendfile
write $WRITING
open $OPENING
stat $STATS
wait $WAITING
accept accept accept4
thread pthread_create
END
}

@test "a name that is no class stands for itself" {
  calls 'recv:error=EINTR pwrite:short=3' read recv recvmsg write pwrite
  expect "$OUT" 'read 64, recv -1 EINTR, recvmsg 64, write 64, pwrite 3'
}

@test "a list of calls, and several rules" {
  calls 'recv,accept4:error=EINTR:when=1 write:short=9' recv accept4 accept4 write
  expect "$OUT" 'recv -1 EINTR, accept4 0, accept4 0, write 9'
}

@test "when: the F-th, from F on, every S-th, F to L" {
  calls 'read:short=1:when=2' read read read
  expect "$OUT" 'read 64, read 1, read 64'
  calls 'read:short=1:when=2+' read read read
  expect "$OUT" 'read 64, read 1, read 1'
  calls 'read:short=1:when=1+2' read read read read read
  expect "$OUT" 'read 1, read 64, read 1, read 64, read 1'
  calls 'read:short=1:when=2..3' read read read read
  expect "$OUT" 'read 64, read 1, read 1, read 64'
}

@test "when counts only what the other filters let through, for each rule" {
  calls 'read:short=1:fd=sock:when=2 read:short=5:when=2' pread read pread read
  expect "$OUT" 'pread 64, read 5, pread 64, read 1'
}

@test "calls of forked children count too" {
  calls 'read:short=1:when=3 write:short=2:when=2' \
    child+read child+read child+read read child+write write
  expect "$OUT" 'read 64, read 64, read 1, read 64, write 64, write 2'
}

@test "calls of all threads are counted together" {
  calls 'malloc:error=ENOMEM:when=100000 thread_start:delay=1:when=3' \
    pthread_create pthread_create pthread_create pthread_create
  expect "$(cut -d' ' -f1,3 "$FAULTS_LOG")" 'thread_start #3'
}

@test "fd: sockets, files, non-blocking descriptors" {
  calls 'read:short=1:fd=sock' read pread
  expect "$OUT" 'read 1, pread 64'
  calls 'read:short=1:fd=file' read pread
  expect "$OUT" 'read 64, pread 1'
  calls 'read,write:short=1:fd=nb' read nonblock read write
  expect "$OUT" 'read 64, nonblock 0, read 1, write 1'
}

@test "flag=append: the flag is there from the call on" {
  calls 'read:flag=append:fd=sock:when=2' read appending read appending pread
  expect "$OUT" 'read 64, appending 0, read 64, appending 1, pread 64'
}

@test "reach: what the server could open is in the log" {
  calls "read:reach=$BATS_TEST_TMPDIR/none:when=1 read:reach=/dev/null:when=2" read read
  expect "$OUT" 'read 64, read 64'
  expect "$(grep ^reach "$FAULTS_LOG")" "reach $BATS_TEST_TMPDIR/none: No such file or directory
reach /dev/null: open"
}

@test "path: what is opened, and what is behind a descriptor" {
  calls "open,stat,read:error=EIO:path=$BATS_TEST_TMPDIR/te" \
    open openat openat2 fopen stat statx pread preadv read
  expect "$OUT" 'open -1 EIO, openat -1 EIO, openat2 -1 EIO, fopen -1 EIO, stat -1 EIO, statx -1 EIO, pread -1 EIO, preadv -1 EIO, read 64'
  calls 'open,stat,read:error=EIO:path=elsewhere' open openat2 stat pread
  expect "$OUT" 'open 0, openat2 0, stat 0, pread 64'
}

@test "sendfile counts as a read of its file and as a write to its socket" {
  calls 'sendfile_in:short=5:fd=file' sendfile
  expect "$OUT" 'sendfile 5'
  calls 'read:error=EIO:path=/text' sendfile
  expect "$OUT" 'sendfile -1 EIO'
  calls 'sendfile:short=6:fd=sock' sendfile
  expect "$OUT" 'sendfile 6'
  calls 'sendfile:short=6:fd=file sendfile_in:short=5:fd=sock' sendfile
  expect "$OUT" 'sendfile 64'
}

@test "delay: a slow disk, and nothing else slow" {
  calls 'open,stat,read,sendfile_in:delay=300:path=/text' \
    ms+open ms+openat2 ms+stat ms+pread ms+sendfile
  expect "$OUT" 'open slow, openat2 slow, stat slow, pread slow, sendfile slow'
  calls 'open,stat,read:delay=5000:path=/text' read write socket accept
  expect "$OUT" 'read 64, write 64, socket 0, accept 0'
  expect "$(cat "$FAULTS_LOG" 2>&1)" ''
}

@test "delay and error, delay and short together" {
  calls 'read:delay=300:error=EIO:when=1 read:delay=300:short=3:when=2' read ms+read read
  expect "$OUT" 'read -1 EIO, read slow, read 64'
}

@test "thread_start delays a new thread" {
  calls 'thread_start:delay=300' ms+pthread_create read
  expect "$OUT" 'pthread_create slow, read 64'
  expect "$(cut -d' ' -f1 "$FAULTS_LOG")" 'thread_start'
}

@test "a failing close has closed" {
  calls 'close:error=EINTR:when=1' close_and_look
  expect "$OUT" 'close_and_look 0'
}

@test "open with O_CREAT keeps its mode" {
  (umask 0; calls '' open_new; expect "$OUT" 'open_new 0')
  expect "$(stat -c %a "$BATS_TEST_TMPDIR/new")" 640
}

@test "malloc fails for what libc itself needs, too" {
  calls 'malloc:error=ENOMEM' malloc calloc realloc strdup fopen pthread_create read
  expect "$OUT" 'malloc -1 ENOMEM, calloc -1 ENOMEM, realloc -1 ENOMEM, strdup -1 ENOMEM, fopen -1 ENOMEM, pthread_create -1 EAGAIN, read 64'
  calls 'malloc:error=ENOMEM:when=2' malloc realloc calloc
  expect "$OUT" 'malloc 0, realloc -1 ENOMEM, calloc 0'
  calls 'malloc:delay=1' pthread_create # a calloc() by libc, nothing by us
  expect "$(grep -c '^malloc ' "$FAULTS_LOG")" 0
}

@test "each fault is one line of the log, undisturbed calls are none" {
  calls 'read:short=1:when=2+:fd=sock accept:error=EMFILE:when=1' \
    read pread read recv accept accept
  expect "$(sed 's/fd=[0-9]*/fd=N/' "$FAULTS_LOG")" \
"read fd=N #2 read:short=1:when=2+:fd=sock
recv fd=N #3 read:short=1:when=2+:fd=sock
accept fd=N #1 accept:error=EMFILE:when=1"
}

@test "the log needs no descriptor below 900, and fits under a low limit" {
  calls 'read:short=1' lowest_descriptor
  expect "$OUT" "$("$BATS_FILE_TMPDIR/plain" lowest_descriptor)"
  (ulimit -n 24; calls 'read:short=1' read; expect "$OUT" 'read 1')
  expect "$(cut -d' ' -f1,3- "$FAULTS_LOG")" 'read #1 read:short=1'
}

@test "malloc rules are refused where they cannot work: a program with its own" {
  cat >"$BATS_TEST_TMPDIR/own.c" <<'END'
    #include <stddef.h>
    static char memory[4096];
    void *malloc(size_t n) { return n < sizeof memory ? memory : NULL; }
    void free(void *p) { (void)p; }
    int main(void) { return 0; }
END
  ${CC:-cc} -o "$BATS_TEST_TMPDIR/own" "$BATS_TEST_TMPDIR/own.c" -rdynamic
  run -97 timeout 60 env LD_PRELOAD="$TOOLS/faults.so" \
    FAULTS='read:short=1 malloc:error=ENOMEM' "$BATS_TEST_TMPDIR/own"
  expect "$output" "faults: the program has a malloc() of its own: 'malloc:error=ENOMEM'"
  run -0 timeout 60 env LD_PRELOAD="$TOOLS/faults.so" FAULTS='read:short=1' \
    "$BATS_TEST_TMPDIR/own"
}

@test "a wrong rule is told, and the program ends with 97" {
  local rule reason
  while IFS='|' read -r rule reason; do
    calls "$rule" read
    expect "$OUT" "faults: $reason status 97"
  done <<'END'
reed:short=1|no call or class is named 'reed'
read,:short=1:when|no such option: 'when'
read:error=EWHAT|no error is named 'EWHAT'
read:short=0|not a number from 1 on: '0'
read:short=-1|not a number from 1 on: '-1'
read:short=1x|not a number: '1x'
read:delay=|not a number from 1 on: ''
read:short=1:when=0|not a number from 1 on: '0'
read:short=1:when=3..2|not a choice of calls (F, F+, F+S, F..L): '3..2'
read:short=1:when=1-2|not a choice of calls (F, F+, F+S, F..L): '1-2'
read:short=1:when=1+x|not a number from 1 on: 'x'
read:short=1:fd=pipe|no such option: 'fd=pipe'
read:short=1:path=|no such option: 'path='
read:fast|no such option: 'fast'
read|none of short=, error=, delay=, flag=, reach=: 'read'
read:when=2 write:short=1|none of short=, error=, delay=, flag=, reach=: 'read:when=2'
accept:short=1|only reading and writing can be short: 'accept:short=1'
thread_start:error=EIO|a thread cannot fail when it is there: 'thread_start:error=EIO'
END
}
