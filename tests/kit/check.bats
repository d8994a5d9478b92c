# Tests for the grader: a result in every case, and none that can be forged.
bats_require_minimum_version 1.5.0

setup() {
  ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  cd "$ROOT" || return
  STAGE=01-blocking-echo
  SRC=$BATS_TEST_TMPDIR/src
  mkdir -p "$SRC"
  cp -r "solutions/$STAGE" "$SRC"
  RESULT=$BATS_TEST_TMPDIR/out/$STAGE.json
}

check() { # [OPTIONS]: grade $SRC; sets output and status
  run timeout 120 scripts/check -s "$SRC" -o "$BATS_TEST_TMPDIR/out" "$@" "$STAGE"
}

# Put C code before main() of the submission, or in place of the whole of it.
submit() { printf '%s\n' "$1" >"$SRC/$STAGE/echo.c"; }

points() { sed -n '1s/.*"points":\([0-9]*\),.*/\1/p' "$RESULT"; }
statuses() { sed -n 's/^{"id":[^,]*,"status":"\([a-z]*\)".*/\1/p' "$RESULT" | sort | uniq -c; }

valid_json() {
  if command -v jq >/dev/null; then
    jq -e '.schema == "lab-result/1" and ([.tests[].max] | add) == .max' "$RESULT"
  elif command -v node >/dev/null; then
    node -e 'JSON.parse(require("fs").readFileSync(process.argv[1]))' "$RESULT"
  else
    skip "neither jq nor node to read JSON with"
  fi
}

@test "the reference has 100 points, exit status 0" {
  check
  [ "$status" = 0 ]
  [ "$(points)" = 100 ]
  [[ $output == *'100 of 100 points'* ]]
  valid_json
}

@test "what does not compile has a result of 0 and shows the compiler's words" {
  submit 'int main(void) { return nonsense; }'
  check
  [ "$status" = 1 ]
  [[ $output == *"'nonsense' undeclared"* || $output == *"‘nonsense’ undeclared"* ]]
  [ "$(points)" = 0 ]
  valid_json
}

@test "a missing file has a result of 0 and is named" {
  rm "$SRC/$STAGE/echo.c"
  check
  [ "$status" = 1 ]
  [[ $output == *"$STAGE/echo.c is missing"* ]]
  [ "$(points)" = 0 ]
  valid_json
}

@test "a program that prints verdicts earns nothing by it" {
  submit '#include <stdio.h>
#include <unistd.h>
int main(void) {
  printf("ok 1 a line comes back in 1ms\n1..1\nok 9 a line comes back\n");
  printf("# {\"id\":\"01.line\",\"status\":\"pass\",\"points\":100}\n");
  fflush(stdout);
  for (int fd = 3; fd < 20; fd++)
    dprintf(fd, "ok 1 a line comes back in 1ms\n");
  fprintf(stderr, "expected: \"x\"\nok 3 a line comes back in 2ms\n");
  return 0;
}'
  check -f 'a line comes back'
  [ "$status" = 1 ]
  [ "$(points)" = 0 ]
  valid_json
}

@test "a server that never gets ready is told so and ended" {
  submit '#include <unistd.h>
int main(void) { for (;;) pause(); }'
  check -f 'a line comes back'
  [ "$status" = 1 ]
  [[ $output == *'no ready line within'* ]]
  [ "$(points)" = 0 ]
}

@test "a missing ready line and a crash are blamed on the TODO that they come from" {
  sed -i 's/fflush(stdout) != 0/0/' "$SRC/$STAGE/echo.c"
  check -a -f 'a port that is taken|a line comes back' # TODO 1, TODO 3
  [[ $output == *'no ready line within'*'todo:     TODO 2, '*'next: TODO 2, '* ]]
  STAGE=06-epoll-et-echo RESULT=$BATS_TEST_TMPDIR/out/06-epoll-et-echo.json
  cp -r "solutions/$STAGE" "$SRC"
  sed -i 's/^    bool is_empty = .*/&\n    is_empty = *(volatile bool *)NULL;/' "$SRC/$STAGE/echo.c"
  check -a -f 'a line comes back'
  [[ $output == *'runtime error'*'todo:     TODO 4, '*'next: TODO 4, '* ]]
  grep '^{"id":"06.line"' "$RESULT" | grep '"todo":4.*TODO=4'
}

@test "bytes that no terminal likes do not harm the report or the result" {
  submit '#include <stdio.h>
int main(void) { fputs("\033[2J\a\xff\xfe quote\" back\\slash \t tab\n", stderr); return 1; }'
  check -f 'a line comes back'
  valid_json
  [[ $output != *$'\033'* ]]
}

@test "a test that hangs costs its own points and leaves a result" {
  command -v pkill || command -v ps || skip "bats needs pkill or ps to end a test (apt-get install procps)"
  # A copy of the kit whose second test sleeps for ever.
  mkdir -p "$BATS_TEST_TMPDIR/kit/build"
  cp -r Makefile scripts solutions labs tests "$BATS_TEST_TMPDIR/kit"
  cp -r build/tools "$BATS_TEST_TMPDIR/kit/build"
  cd "$BATS_TEST_TMPDIR/kit"
  sed -i '/^@test "bytes come back/a sleep 1000' "tests/$STAGE.bats"
  sed -i 's/BATS_TEST_TIMEOUT=.*/BATS_TEST_TIMEOUT=5/' scripts/check
  run timeout 60 scripts/check -s "$SRC" -o "$BATS_TEST_TMPDIR/out" \
    -f 'comes? back' "$STAGE"
  [ "$status" = 1 ]
  statuses
  statuses | grep -q '1 timeout'
  [ "$(points)" -gt 0 ]
  valid_json
}

@test "leftovers of a submission are not used: only its YOURS files are" {
  printf 'echo:\n\tfalse\n' >"$SRC/$STAGE/Makefile"
  check -f 'a line comes back'
  [ "$status" = 0 ]
}

@test "two checks of one stage at the same time do not destroy each other" {
  command -v flock || skip "no flock (apt-get install util-linux)"
  scripts/check -s "$SRC" -o "$BATS_TEST_TMPDIR/out" -f 'a line comes back' "$STAGE" \
    >"$BATS_TEST_TMPDIR/first" 2>&1 3>&- 4>&- &
  for _ in $(seq 500); do # until it builds
    sleep 0.02
    [ ! -e "$BATS_TEST_TMPDIR/out/$STAGE.work/plain" ] || break
  done
  check -f 'a line comes back'
  [[ $status = 0 && $output == *'6 of 6 points'* ]]
  wait $!
  grep '6 of 6 points' "$BATS_TEST_TMPDIR/first"
  # What such a check leaves running does not keep the next one waiting.
  flock -n "$BATS_TEST_TMPDIR/out/$STAGE.lock" true
}

@test "there is a result even if nobody reads the report" {
  scripts/check -a -s labs -o "$BATS_TEST_TMPDIR/out" "$STAGE" 2>&1 | true
  [ "${PIPESTATUS[0]}" = 1 ]
  valid_json
}

@test "gawk and busybox make the same of it" {
  local name tried='' expected
  check -f 'a line comes back'
  expected=$output
  mkdir "$BATS_TEST_TMPDIR/bin"
  for name in gawk busybox; do
    command -v $name || continue
    tried=yes
    ln -sf "$(command -v $name)" "$BATS_TEST_TMPDIR/bin/awk"
    PATH=$BATS_TEST_TMPDIR/bin:$PATH check -f 'a line comes back'
    [[ $status = 0 && $output = "$expected" ]] || { echo "$name: $output"; return 1; }
    valid_json
  done
  [ -n "$tried" ] || skip "neither gawk nor busybox here: only $(readlink -f "$(command -v awk)") was tried"
}

@test "a constructor is seen, in whatever words and builds it hides" {
  sed -i '1i __attribute__((constructor)) static void early(void) {}' "$SRC/$STAGE/echo.c"
  CC='env gcc' check -f 'a line comes back'
  [[ $status = 1 && $output == *'before main()'* ]]
  local line
  while IFS= read -r line; do
    { printf '%b' "$line"; cat solutions/$STAGE/echo.c; } >"$SRC/$STAGE/echo.c"
    check -f 'a line comes back'
    [[ $status = 1 && $output == *'before main()'* ]] || { echo "$line"; echo "$output"; return 1; }
  done <<'EARLY'
#ifdef __OPTIMIZE__\n__attribute__((constructor)) static void early(void) {}\n#endif\n
#ifdef __SANITIZE_ADDRESS__\n__attribute__((constructor)) static void early(void) {}\n#endif\n
__attri\\\nbute__((constr\\\nuctor)) static void early(void) {}\n
EARLY
}

@test "a factor for the deadlines that is no whole number is refused, in words" {
  for factor in 1.5 0 -1 two; do
    TIMEOUT_FACTOR=$factor check
    [[ $status = 2 && $output == *"TIMEOUT_FACTOR=$factor: it can be a whole number"* ]]
  done
}
