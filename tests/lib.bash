# What the tests of every stage are written with. See CONTRIBUTING.md for the
# list of calls and the rules. Every failure prints labelled lines (did:,
# expected:, actual:, repeat:, cause:, log:) that scripts/report.awk picks up.
#
#   BIN      folder with the program under test, sanitizer build, and its sources
#   PLAIN    the same without sanitizers
#   TOOLS    the compiled programs of tests/tools
#   CONFINE  the tool that keeps these programs off the tests, when they are graded
#   TIMEOUT_FACTOR   multiplies every deadline (slow machine, valgrind, ...)

bats_require_minimum_version 1.5.0

ROOT=$(cd "$BATS_TEST_DIRNAME" && until [ -e Makefile ] && [ -d tests ]; do
  cd ..; done && pwd)
STAGE=$(basename "$BATS_TEST_FILENAME" .bats)
: "${BIN:=$ROOT/labs/$STAGE}" "${PLAIN:=$BIN}" "${TOOLS:=$ROOT/build/tools}"
# The dynamic linker takes a space in LD_PRELOAD for the end of a name.
if [[ $TOOLS == *[\ :]* ]]; then
  ln -sfn "$TOOLS" "$BATS_RUN_TMPDIR/tools"
  TOOLS=$BATS_RUN_TMPDIR/tools
fi
: "${TIMEOUT_FACTOR:=1}"
export TIMEOUT_FACTOR

# The fault shim is preloaded before ASan's runtime, which ASan would refuse.
export ASAN_OPTIONS=verify_asan_link_order=0:detect_stack_use_after_return=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=0

setup() {
  declare -gA _pipe=() _supervisor=()
  confined=(env)
  [ -z "${CONFINE:-}" ] || confined=("$CONFINE" -w "$BATS_TEST_TMPDIR")
  PORT='' PID='' LOG='' END='' LEFT='' OUT='' ERR='' STATUS='' _cause='' _started=()
}

# A test that failed shows what its servers said; every test ends its servers.
# A test whose fault was never injected has proven nothing, and fails as well.
teardown() {
  local pid faults=$BATS_TEST_TMPDIR/faults.log
  if [ -z "${BATS_TEST_COMPLETED:-}" ]; then
    [ -z "$_cause" ] || printf 'cause:    %s\n' "$_cause"
    for pid in "${!_pipe[@]}"; do
      stop_server "$pid"
      show_log
    done
  fi
  for pid in "${!_pipe[@]}"; do stop_server "$pid"; done
  if [ -n "${BATS_TEST_COMPLETED:-}" ] && [ -e "$faults" ] && [ ! -s "$faults" ]; then
    fail "put a fault into a system call of the server" "the call is made" \
      "no such call came (the server uses another one, or none)"
  fi
}

likely() { _cause=$*; }

# --- servers ---------------------------------------------------------------

# start_server PROGRAM [ARGS]: run $BIN/PROGRAM -p 0 ARGS and wait until it is
# ready. Sets PORT, PID and LOG. `-p` given in ARGS overrides the free port.
# Environment: FAULTS (rules for the fault shim), LIMITS (options of supervise).
start_server() {
  local program=$1 line word preload=() patience=10 port=('-p' '0')
  shift
  case " $* " in *' -p '*) port=() ;; esac
  # One server that never gets ready is waited for in full; after that, less.
  [ ! -e "$BATS_RUN_TMPDIR/never-ready" ] || patience=2
  LOG=$BATS_TEST_TMPDIR/server.${#_started[@]}.log
  _started+=("$program${port:+ -p 4000}$(quoted "$@")")
  if [ -n "${FAULTS:-}" ]; then
    [ -e "$TOOLS/faults.so" ] || { echo "no $TOOLS/faults.so: run make tools"; return 1; }
    : >>"$BATS_TEST_TMPDIR/faults.log"
    preload=(LD_PRELOAD="$TOOLS/faults.so" FAULTS="$FAULTS"
             FAULTS_LOG="$BATS_TEST_TMPDIR/faults.log")
  fi
  [ -x "$BIN/$program" ] || {
    fail "start $program" "the program $program in $BIN" "no such program"; return 1; }
  # Descriptors 3 and 4 belong to bats: a server that held them would hang it.
  # shellcheck disable=SC2086  # LIMITS is a list of options
  exec {_fd}< <(exec "$TOOLS/supervise" -r "$patience" -o "$LOG" ${LIMITS:-} -- \
    "${confined[@]}" "${preload[@]}" "$BIN/$program" "${port[@]}" "$@" 3>&- 4>&-)
  read -r -t "$(scaled 40)" -u "$_fd" line || line='fail supervise did not answer'
  read -r word PORT PID _watch <<<"$line"
  if [ "$word" != ready ]; then
    exec {_fd}<&-
    _cause='' # it never came to what this test is about
    if [[ $line == *'no ready line'* ]]; then
      : >"$BATS_RUN_TMPDIR/never-ready"
      likely "the line was not printed, or waits in stdio's buffer: fflush(stdout)"
    fi
    fail "$(start_command)" 'one line "listening on ADDR:PORT" on stdout' \
      "${line#fail }" || show_log
    return 1
  fi
  _pipe[$PID]=$_fd
  _supervisor[$PID]=$_watch
}

# stop_server [PID]: SIGTERM, wait for the end. Sets END ("exit 0", "signal 9",
# "forced": it ignored SIGTERM) and LEFT (processes that it left behind).
stop_server() {
  local pid=${1:-$PID} line
  [ -n "${_pipe[$pid]:-}" ] || return 0
  kill -TERM "${_supervisor[$pid]}" 2>/dev/null
  read -r -t "$(scaled 40)" -u "${_pipe[$pid]}" line || line='end vanished left=0'
  exec {_fd}<&"${_pipe[$pid]}"-
  exec {_fd}<&-
  unset "_pipe[$pid]"
  END=${line#end } LEFT=${line##*left=}
  END=${END%% left=*} LEFT=${LEFT%% *}
}

# run_program PROGRAM [ARGS]: run to the end. Sets STATUS, OUT and ERR.
run_program() {
  local program=$1
  shift
  STATUS=0
  _started+=("$program$(quoted "$@")")
  timeout -k 2 "$(scaled 10)" "${confined[@]}" "$BIN/$program" "$@" \
    >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" </dev/null 3>&- 4>&- \
    || STATUS=$?
  OUT=$(tr -d '\0' <"$BATS_TEST_TMPDIR/out") ERR=$(tr -d '\0' <"$BATS_TEST_TMPDIR/err")
}

# play PROGRAM [ARGS]: a program of tests/tools that is linked with the learner's code,
# judges it and explains its failures itself. Status 0 counts only with the word that
# it has been given for the end: the code under test may have called exit(0).
play() {
  local status=0 log=$BATS_TEST_TMPDIR/said said word=$RANDOM.$RANDOM.$RANDOM.$RANDOM
  LAST_WORD=$word timeout -k 2 "$(scaled 40)" "${confined[@]}" "$@" \
    >"$log" 2>&1 </dev/null 3>&- 4>&- || status=$?
  if [ "$status" = 0 ]; then
    ! grep -qxF "$word" "$log" || return 0
    likely "exit() ends the whole program: a function that cannot go on says so to its caller"
  fi
  said=$(LC_ALL=C tr -c '\n\t -~' '?' <"$log" | cut -c1-600 | head -n 40)
  if [[ $said == did:* ]]; then
    printf '%s\n' "$said" | indent_rest
  elif [ "$status" = 0 ]; then
    fail "run ${1##*/} ${*:2:3}" "it comes to its end" \
      "status 0, before it had checked everything${said:+: $said}" || :
  else
    fail "run ${1##*/} ${*:2:3}" "it ends well" "status $status: $said" || :
  fi
  [[ $said == *repeat:* ]] || printf 'repeat:   %s%s\n' "${NO_MEMBARRIER:+NO_MEMBARRIER=1 }" "$*"
  return 1
}

# --- the client ------------------------------------------------------------

# tcp STEPS...: play a scenario against PORT. Sets OUT to what it printed.
# `build/tools/tcp -h` lists the steps.
tcp() {
  local status=0
  timeout -k 2 "$(scaled 55)" "$TOOLS/tcp" "$PORT" "$@" \
    >"$BATS_TEST_TMPDIR/tcp" 2>&1 3>&- 4>&- || status=$?
  OUT=$(tr -d '\0' <"$BATS_TEST_TMPDIR/tcp")
  [ "$status" -ne 0 ] || return 0
  # The end of it tells; before that may stand megabytes of a response.
  printf '%s\n' "$OUT" | LC_ALL=C tr -c '\n\t -~' '?' | tail -n 30 | cut -c1-500
  [ "$status" -ne 124 ] || printf 'actual:   the whole scenario hung\n'
  repeat "$(start_command)"
  printf '          build/tools/tcp 4000%s\n' "$(quoted "$@" |
    sed -E "s/ $PID\b/ PID/g; s/^(.{300}[^ ]*).*/\1 ... (the test has it all)/")"
  return 1
}

# --- verdicts --------------------------------------------------------------

fail() { # WHAT EXPECTED ACTUAL
  printf 'did:      %s\nexpected: %s\nactual:   %s\n' "$1" "$2" "$3" | indent_rest
  [ ${#_started[@]} -eq 0 ] || repeat "$(start_command)"
  return 1
}

expect() { # WHAT EXPECTED ACTUAL
  [ "$2" = "$3" ] || fail "$1" "$(escaped "$2")" "$(escaped "$3")"
}

expect_match() { # WHAT REGEX ACTUAL
  [[ $3 =~ $2 ]] || fail "$1" "something that matches /$2/" "$(escaped "$3")"
}

# await WHAT COMMAND...: poll until COMMAND succeeds; fail after 5 s.
await() {
  local what=$1 end=$((SECONDS + 5 * TIMEOUT_FACTOR + 1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || {
      fail "wait until $what" "$what" "not so after $((5 * TIMEOUT_FACTOR)) s"
      return 1
    }
    sleep 0.02
  done
}

# --- what /proc shows ------------------------------------------------------

threads() { local t=("/proc/$1/task/"*); echo ${#t[@]}; }
children() { cat "/proc/$1/task/"*/children 2>/dev/null | tr -s ' \n' '  '; }
fds() { local f=("/proc/$1/fd/"*); echo ${#f[@]}; }
fd_flags() { awk '$1 == "flags:" { print $2 }' "/proc/$1/fdinfo/$2"; }
fd_kinds() { # "3 socket:[123]" a line
  local f
  for f in "/proc/$1/fd/"*; do echo "${f##*/} $(readlink "$f")"; done
}
epoll_interest() { # "5 80000019" a line: descriptor and events in hex
  awk '$1 == "tfd:" { print $2, $4 }' "/proc/$1/fdinfo/"* 2>/dev/null
}
cpu_ns() { # nanoseconds on a CPU, all threads
  awk '{ s += $1 } END { printf "%.0f\n", s }' "/proc/$1/task/"*/schedstat
}
cpu_ticks() { # user + system time in clock ticks
  sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'
}
switches() { # how often its threads went to sleep or were put aside
  awk '/ctxt_switches/ { s += $2 } END { print s }' "/proc/$1/task/"*/status
}

# expect_idle PID [WHEN [WAKEUPS]]: it sleeps in the kernel: no CPU time, hardly a wake-up.
# A sleeper shows that in the first quarter of a second; a spinner in none of eight. On
# a busy machine such a quarter lasts longer: what is allowed grows with it.
expect_idle() {
  local try us0 ms=0 ns0 sw0 ns=0 sw=0
  for try in 1 2 3 4 5 6 7 8; do
    us0=${EPOCHREALTIME/[^0-9]/} ns0=$(cpu_ns "$1") sw0=$(switches "$1")
    sleep 0.25
    ns=$(($(cpu_ns "$1") - ns0)) sw=$(($(switches "$1") - sw0))
    ms=$(((${EPOCHREALTIME/[^0-9]/} - us0) / 1000))
    [ "$ns" -gt $((8000 * ms)) ] || [ "$sw" -gt $((${3:-25} * ms / 250)) ] || return 0
  done
  fail "look at the CPU time of process $1${2:+, $2}" \
    'no CPU time while there is nothing to do' \
    "$((ns / 1000)) us on the CPU and $sw wake-ups in $ms ms"
}

# --- small things ----------------------------------------------------------

scaled() { echo $(($1 * TIMEOUT_FACTOR)); }

escaped() { # bytes as a C string, one line
  printf '"%s"' "$(printf '%s' "$1" | od -An -v -c | tr -d '\n' |
    awk '{ for (i = 1; i <= length($0); i += 4) { c = substr($0, i + 1, 3)
           sub(/^ +/, "", c); if (c == "") c = " "
           if (c ~ /^[0-7][0-7][0-7]$/) c = "\\" c
           printf "%s", c == "\"" ? "\\\"" : c } }')"
}

quoted() { # words as one would type them
  local word
  for word; do
    case $word in
      *[!A-Za-z0-9_./:=,@%+-]*|'') printf " '%s'" "${word//\'/\'\\\'\'}" ;;
      *) printf ' %s' "$word" ;;
    esac
  done
}

indent_rest() { # continuation lines of a value stand under its first line
  awk 'NR > 1 && !/^(did|expected|actual|repeat): / { printf "          " } { print }'
}

# The check built your files in a folder of its own: here make builds what you have now.
repeat() { # COMMAND
  printf 'repeat:   make -sC labs/%s &&\n          %s\n' "$STAGE" "$1"
}

start_command() {
  printf '%s%slabs/%s/%s' "${LIMITS:+(limits $LIMITS) }" \
    "${FAULTS:+LD_PRELOAD=build/tools/faults.so FAULTS='$FAULTS' }" \
    "$STAGE" "${_started[${#_started[@]} - 1]:-}"
}

# How the server ended, and the last lines that it printed, or the beginning of a
# sanitizer's report. Marked so that they can be taken for nothing else.
show_log() {
  local from
  [ -s "$LOG" ] || [ -n "$END" ] || return 0
  printf 'log:      %s\n' "the server's output${END:+; it ended with: $END}"
  from=$(grep -anm1 -E 'ERROR: (Address|Leak)Sanitizer|runtime error:|WARNING: ThreadS' \
    "$LOG" | cut -d: -f1)
  if [ -n "$from" ]; then
    sed -n "$from,$((from + 19))p" "$LOG"
  else
    tail -n 20 "$LOG"
  fi | cut -c1-200 | LC_ALL=C tr -c '\n\t -~' '?' | sed 's/^/  | /'
}
