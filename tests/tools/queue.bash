# What the tests of the two queue stages (07 and 08) share beside lib.bash.

# The scenes of tests/tools/queue_scenarios-*.c, linked with the queue in $BIN.
# Built once, next to it, so that a failing scene can be played again by hand.
build_scenes() {
  local folder=$1 sanitizers=$2 sources=("$1/job_queue.c") ring
  [ ! -x "$folder/queue-scenarios" ] || return 0
  for ring in spsc_ring scq; do
    [ ! -e "$folder/$ring.c" ] || sources+=("$folder/$ring.c")
  done
  # shellcheck disable=SC2086  # a list of options
  ${CC:-cc} -std=c17 -D_GNU_SOURCE -O1 -g -Wall -Wextra $sanitizers -I"$folder" \
    -o "$folder/queue-scenarios" "$ROOT"/tests/tools/queue_scenarios*.c \
    "${sources[@]}" -Wl,--wrap=pthread_cond_wait,--wrap=syscall -pthread \
    >"$BATS_TEST_TMPDIR/build" 2>&1 || {
      fail "link the queue with tests/tools/queue_scenarios.c" "a program" \
        "$(head -n 20 "$BATS_TEST_TMPDIR/build")"; return 1; }
}

# scene SCENE [QUEUE]: play it; the program says what was wrong.
scene() {
  local sanitizers=''
  case $BIN in *asan*) sanitizers=-fsanitize=address,undefined ;; esac
  build_scenes "$BIN" "$sanitizers"
  play "$BIN/queue-scenarios" "$@"
}

# The same with the sleepers of a kernel without membarrier(2).
scene_without_membarrier() {
  export NO_MEMBARRIER=1
  scene "$@"
  unset NO_MEMBARRIER
}

# stress OPTIONS: queue-stress, which does its own accounts, and ends by itself when
# no job moves any more. So how long it may take is generous: it yields the processor
# at each full or empty ring, and on a busy machine gets it back late.
stress() {
  TIMEOUT_FACTOR=$((4 * TIMEOUT_FACTOR)) run_program queue-stress "$@"
  [ "$STATUS" -ne 0 ] || [[ $OUT != *produced*consumed*'operations per second'* ]] || return 0
  fail "run queue-stress$(quoted "$@")" \
    'as many jobs come out as went in, each once, in order; status 0' \
    "status $STATUS
$(printf '%s\n%s' "$OUT" "$ERR" | head -n 25)"
}

# stress, with the program built for ThreadSanitizer.
tsan_stress() {
  build_tsan
  BIN=$TSAN stress "$@"
}

tsan_scene() {
  build_tsan
  build_scenes "$TSAN" -fsanitize=thread
  play "$TSAN/queue-scenarios" "$@"
}

# Sets TSAN to a folder with the ThreadSanitizer build; skips where it cannot run.
build_tsan() {
  TSAN=$BATS_FILE_TMPDIR/tsan
  [ ! -d "$TSAN" ] || return 0
  echo 'int main(void) { return 0; }' >"$BATS_TEST_TMPDIR/probe.c"
  ${CC:-cc} -fsanitize=thread -o "$BATS_TEST_TMPDIR/probe" \
    "$BATS_TEST_TMPDIR/probe.c" 2>/dev/null && "$BATS_TEST_TMPDIR/probe" ||
    skip "programs with ThreadSanitizer do not run here"
  mkdir "$TSAN"
  cp "$BIN"/*.[ch] "$BIN/Makefile" "$TSAN"
  make -s -C "$TSAN" tsan >"$BATS_TEST_TMPDIR/build" 2>&1 || {
    fail "make tsan" "a program" "$(head -n 20 "$BATS_TEST_TMPDIR/build")"; return 1; }
}
