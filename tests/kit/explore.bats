# Tests for the interleaving explorer: what it finds, and what it must not find.
bats_require_minimum_version 1.5.0

setup() {
  ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  cd "$ROOT" || return
  EXAMPLES=tests/explore/examples
}

explore() { # ARGS: sets status and output
  run timeout 200 tests/explore/run "$@" </dev/null
}

# The results and the rules that were broken, without the numbers.
verdicts() {
  awk '/^(ok|note|FAIL) /{ printf "%s%s %s", sep, $1, $2; sep = "\n"; rule = $1 != "ok"; next }
    rule { sub(/:.*/, ""); printf ":%s", $0; rule = 0 }
    END { print "" }' <<<"$output"
}

litmus='FAIL passing-relaxed:  DATA RACE
FAIL passing-half:  DATA RACE
ok passing-release
ok passing-fences
FAIL crossing-relaxed:  both threads have found 0
FAIL crossing-release:  both threads have found 0
ok crossing-seq-cst
ok crossing-fences
FAIL opposite-acquire:  x was first for one reader, and y for the other
ok opposite-seq-cst
FAIL counting-plain:  DATA RACE
FAIL counting-two-steps:  the counter is 1
ok counting-one-step'

sleeping='FAIL condition-if:  woken up, and the flag is not set
FAIL condition-gap:  LOST WAKE-UP
ok condition-while
FAIL futex-no-fence:  LOST WAKE-UP
ok futex-fences'

@test "it knows what C allows with each memory order, and nothing more" {
  explore -a $EXAMPLES/litmus.c
  [ "$status" = 1 ]
  diff <(echo "$litmus") <(verdicts)
}

@test "it loses the wake-ups that can be lost, and no others" {
  explore -a $EXAMPLES/sleeping.c
  [ "$status" = 1 ]
  diff <(echo "$sleeping") <(verdicts)
}

@test "no order of the steps leaves a job of stage 09 without a worker" {
  explore $EXAMPLES/pool.c
  [ "$status" = 0 ]
}

@test "with clang it finds the same" {
  command -v clang >/dev/null || skip "no clang: apt-get install clang"
  export CC=clang
  explore -a $EXAMPLES/litmus.c
  diff <(echo "$litmus") <(verdicts)
  explore -a $EXAMPLES/sleeping.c
  diff <(echo "$sleeping") <(verdicts)
}

@test "the same program gives the same schedules, to the letter" {
  explore -a $EXAMPLES/sleeping.c
  first=$output
  explore -a $EXAMPLES/sleeping.c
  [ "$first" = "$output" ]
}

@test "a failure is told step by step, with the lines of the source" {
  explore $EXAMPLES/litmus.c passing-half
  [ "$status" = 1 ]
  line=$(grep -n 'ACT(write_release' $EXAMPLES/litmus.c | cut -d: -f1)
  diff - <(sed 1d <<<"$output" | sed -E 's/ +/ /g; s/\[[0-9]+\]/[..]/g') <<END
 DATA RACE: right reads [..], left wrote it in step 1, and nothing orders the two
 1 left writes [..] litmus.c:$line ACT(write_release, data = 1, SET(x, release))
 2 left release store [..]: 0 -> 1 litmus.c:$line ACT(write_release, data = 1, SET(x, release))
 3 right relaxed load [..]: 1 litmus.c:$((line + 2)) ACT(read_relaxed, if (GET(x, relaxed)) data++)
 4 right reads [..] litmus.c:$((line + 2)) ACT(read_relaxed, if (GET(x, relaxed)) data++)
END
  explore $EXAMPLES/sleeping.c futex-no-fence
  grep -E 'setter +relaxed load \[[0-9]+\]: 0, which is stale +sleeping.c:[0-9]+  if' <<<"$output"
  grep -E '^ +waiter +sleeps on a futex$' <<<"$output"
}

@test "it stops at the first failure, unless told to go on; -s shows a good run" {
  explore $EXAMPLES/litmus.c
  [ "$status" = 1 ]
  [ "$(verdicts)" = 'FAIL passing-relaxed:  DATA RACE' ]
  explore -s 2 $EXAMPLES/litmus.c counting-one-step
  [ "$status" = 0 ]
  [ "$(grep -c 'relaxed add' <<<"$output")" = 2 ]
}

@test "the ticket ring is not lock-free, the bonus ring is, and each run can be seen" {
  explore solutions/08-lockfree-queue lock-free-push lock-free-pop
  [ "$status" = 0 ]
  [ "$(verdicts)" = $'note lock-free-push:  NOT LOCK-FREE\nnote lock-free-pop:  NOT LOCK-FREE' ]
  grep -E 'frozen +stands still from here on +job_queue.c:[0-9]+  atomic_store' <<<"$output"
  explore solutions/08-lockfree-queue scq-lock-free-push scq-lock-free-pop
  [ "$status" = 0 ]
  [ "$(verdicts)" = $'ok scq-lock-free-push\nok scq-lock-free-pop' ]
  number=$(grep -oE 'run -s [0-9]+ solutions/08' handouts/explorer.md | grep -oE -- '-s [0-9]+')
  # shellcheck disable=SC2086  # an option and its argument
  explore $number solutions/08-lockfree-queue scq-lock-free-push
  grep -E 'frozen +stands still from here on +scq.c:[0-9]+  if \(!atomic_compare' <<<"$output"
  grep -E 'other +pop ends: done, job 2' <<<"$output"
}

@test "what it cannot explore it refuses, with status 3" {
  cat >"$BATS_TEST_TMPDIR/rwlock.c" <<<'#include "explore.h"
    #include <pthread.h>
    static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
    static void act(long number) { pthread_rwlock_rdlock(&lock); (void)number; }
    const struct scenario scenarios[] = {{.name = "s", .threads = {{"main", {{act, 0}}}}}, {0}};'
  explore "$BATS_TEST_TMPDIR/rwlock.c"
  [ "$status" = 3 ]
  [[ $output == *pthread_rwlock_rdlock*'does not know it'* ]]

  sed 's/^ *static pthread.*/static _Thread_local volatile long mine;/; s/pthread_rw[^;]*;/mine = number;/' \
    "$BATS_TEST_TMPDIR/rwlock.c" >"$BATS_TEST_TMPDIR/local.c"
  explore "$BATS_TEST_TMPDIR/local.c"
  [ "$status" = 3 ]
  [[ $output == *'thread-local'* ]]

  sed 's/^ *static pthread.*/#include <stdlib.h>/; s/pthread_rw[^;]*;/exit((int)number);/' \
    "$BATS_TEST_TMPDIR/rwlock.c" >"$BATS_TEST_TMPDIR/exits.c"
  explore "$BATS_TEST_TMPDIR/exits.c"
  [ "$status" = 3 ]
  [[ $output == *'s ended with status 0 before all was explored'* ]]

  mkdir "$BATS_TEST_TMPDIR/bin"
  for tool in timeout env bash dirname cat cksum tr mkdir mktemp rm; do
    ln -s "$(command -v $tool)" "$BATS_TEST_TMPDIR/bin"
  done
  cp $EXAMPLES/litmus.c "$BATS_TEST_TMPDIR/new.c"
  PATH=$BATS_TEST_TMPDIR/bin explore "$BATS_TEST_TMPDIR/new.c"
  [ "$status" = 3 ]
  [[ $output == *'objcopy is missing: apt-get install binutils'* ]]
}

@test "a crash, an endless loop and bad memory are failures with a schedule" {
  cat >"$BATS_TEST_TMPDIR/bad.c" <<<'#include "explore.h"
    #include <stdatomic.h>
    #include <stdlib.h>
    static atomic_int *shared;
    static void make(long n) { shared = calloc(1, sizeof *shared + (size_t)n); }
    static void crash(long n) { atomic_store(&shared[0], 1); *(volatile int *)n = 1; }
    static void loop(long n) { while (atomic_load(shared) != n); }
    static void use(long n) { atomic_fetch_add(shared, (int)n); }
    static void drop(long n) { free(shared); (void)n; }
    #define TWO(NAME, LEFT, RIGHT) {.name = NAME, .setup = {{make, 0}}, .threads = \
      {{"main", {{NULL, 0}}}, {"left", {{LEFT, 8}}}, {"right", {{RIGHT, 8}}}}, .preemptions = 1}
    const struct scenario scenarios[] = {TWO("crash", crash, use), TWO("loop", loop, use),
      TWO("endless", loop, loop), TWO("twice", drop, drop), {.name = "free",
        .setup = {{make, 0}}, .threads = {{"main", {{drop, 0}, {use, 0}}}}}, {0}};'
  explore -a "$BATS_TEST_TMPDIR/bad.c"
  [ "$status" = 1 ]
  [ "$(verdicts)" = 'FAIL crash:  CRASH
ok loop
FAIL endless:  LIVELOCK
FAIL twice:  BAD MEMORY
FAIL free:  BAD MEMORY' ] || { verdicts; false; }
  [[ $output == *'left      seq_cst store'* ]]
}

@test "what the handout shows is what the commands print" {
  awk '/^```$/ { inside = !inside; n += inside; next } inside { print > dir "/block." n }' \
    dir="$BATS_TEST_TMPDIR" handouts/explorer.md
  for block in "$BATS_TEST_TMPDIR"/block.*; do
    read -r prompt command <"$block"
    [ "$prompt" = '$' ]
    diff <(sed 1d "$block") <($command </dev/null)
  done
  [ "$(ls "$BATS_TEST_TMPDIR"/block.* | wc -l)" = 3 ]
}
