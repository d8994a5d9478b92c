# Tests for grading many submissions, and for the packages for platforms.
bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_TEST_DIRNAME/../.." && make -s tools
}

# A class: one who is done, one who has not begun, one whose archive is broken, one who hangs.
setup() {
  ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  cd "$ROOT" || return
  CLASS=$BATS_TEST_TMPDIR/class OUT=$BATS_TEST_TMPDIR/out
  mkdir -p "$CLASS/a done, <b>"
  cp solutions/01-blocking-echo/echo.c "$CLASS/a done, <b>/"
}

others() {
  mkdir -p "$CLASS/hangs"
  cp -r labs/01-blocking-echo "$CLASS/untouched"
  echo 'no archive' >"$CLASS/broken.tar"
  echo 'int main(void) { for (;;); }' >"$CLASS/hangs/echo.c"
}

class() { run timeout 300 scripts/grade-class -o "$OUT" -s 01 "$@" "$CLASS" -t '^a line comes back$'; }

points() { sed -n "s/^$1,\([0-9]*\),.*/\1/p" "$OUT/class.csv"; }

@test "each submission is graded, and one that hangs or is broken costs only itself" {
  others
  class -t 120 -j 4
  [ "$status" = 0 ]
  [ "$(wc -l <"$OUT/class.csv")" = 5 ]
  [ "$(points '"a done, <b>"')" = 6 ]
  [ "$(points untouched)" = 0 ]
  grep -q '^broken.tar,.*,no result$' "$OUT/class.csv"
  [ "$(points hangs)" = 0 ] || grep -q '^hangs,.*,no result$' "$OUT/class.csv"
  [[ $output == *'4 of 4'* ]]
  ! command -v xmllint || xmllint --html --noout "$OUT/class.html" 2>&1 | grep -v 'Tag' || :
  grep -q 'a done, &lt;b>' "$OUT/class.html"
  grep -q '<td>01.line<td>a line comes back' "$OUT/class.html"
}

@test "what is graded is not graded again, unless it has changed" {
  class
  touch "$BATS_TEST_TMPDIR/then"
  class
  [ ! "$OUT/a done, <b>/01-blocking-echo.json" -nt "$BATS_TEST_TMPDIR/then" ]
  echo 'int main(void) { return 1; }' >"$CLASS/a done, <b>/echo.c"
  class
  [ "$(points '"a done, <b>"')" = 0 ]
  mv "$CLASS/a done, <b>/echo.c" "$CLASS/a done, <b>/notes.c" # another name is a change, too
  class
  grep -q 'nothing was submitted' "$OUT/a done, <b>/grade.log"
}

@test "what the machine is to blame for is graded again" {
  mkdir "$BATS_TEST_TMPDIR/bin" # with a sandbox that is there and runs nothing
  printf '#!/bin/sh\nfor last; do :; done\n[ "$last" = true ]\n' >"$BATS_TEST_TMPDIR/bin/unshare"
  chmod +x "$BATS_TEST_TMPDIR/bin/unshare"
  PATH=$BATS_TEST_TMPDIR/bin:$PATH class
  grep -q '^"a done, <b>",0,0,no result$' "$OUT/class.csv"
  grep -q '<td>01.result' "$OUT/class.html"
  class
  grep -q '^"a done, <b>",6,6,$' "$OUT/class.csv"
}

@test "who breaks it off ends what it has begun" {
  others
  scripts/grade-class -o "$OUT" -s 01 -j 4 "$CLASS" 3>&- 4>&- &
  local pid=$!
  running() { grep -lsa "${OUT%t}[t]" /proc/[0-9]*/cmdline 2>/dev/null | grep .; } # not itself
  for _ in {1..200}; do
    sleep 0.05
    [ ! -e "$OUT/hangs/log" ] || break
  done
  running
  kill "$pid"
  wait "$pid" || [ $? = 130 ]
  run ! running
  [ ! -e "$OUT/hangs/state" ]
}

@test "names are kept apart, and the table is CSV whatever they are" {
  mkdir "$CLASS"/a{'"',\,,'\',_,'|'}b
  class -r
  [ "$status" = 0 ]
  [ "$(sed 1d "$OUT/class.csv")" = '"a done, <b>",0,not graded yet
"a""b",0,not graded yet
"a,b",0,not graded yet
a\b,0,not graded yet
a_b,0,not graded yet
a|b,0,not graded yet' ]
  mkdir "$CLASS"/$'two\nlines'
  run -2 scripts/grade-class -r -o "$OUT" "$CLASS"
  [[ $output == *"two\\nlines"* ]]
}

@test "one at a time, as a job array does, and the table afterwards" {
  cp -r "$CLASS/a done, <b>" "$CLASS/second"
  class -i 2
  [ "$status" = 0 ]
  [ "$output" = second ]
  [ ! -e "$OUT/class.csv" ]
  class -r
  [ "$(points second)" = 6 ]
  grep -q '^"a done, <b>",.*,not graded yet' "$OUT/class.csv"
  class -i 7
  [ "$status" = 2 ]
  [[ $output == *'no number 7'* ]]
}

@test "on several hosts, through GNU parallel" {
  command -v parallel >/dev/null || skip "no GNU parallel (apt-get install parallel)"
  class -S :
  [ "$status" = 0 ]
  [ "$(points '"a done, <b>"')" = 6 ]
}

@test "Gradescope: what the package writes for a submission" {
  command -v unzip >/dev/null || skip "no unzip (apt-get install unzip)"
  command -v jq >/dev/null || skip "no jq (apt-get install jq)"
  [ -d .git ] || [ -f .git ] || skip "packages are made from what git has"
  scripts/platforms/pack gradescope 01
  export AUTOGRADER=$BATS_TEST_TMPDIR/autograder
  mkdir -p "$AUTOGRADER/source" "$AUTOGRADER/submission"
  unzip -q build/gradescope.zip -d "$AUTOGRADER/source"
  [ -x "$AUTOGRADER/source/setup.sh" ] && [ ! -e "$AUTOGRADER/source/lab/solutions" ] &&
    [ ! -e "$AUTOGRADER/source/lab/tests/accepted" ]
  cp "$CLASS/a done, <b>/echo.c" "$AUTOGRADER/submission"
  "$AUTOGRADER/source/run_autograder"
  jq -e '.score == 100' "$AUTOGRADER/results/results.json"
  rm "$AUTOGRADER/submission/echo.c"
  rm -rf "$AUTOGRADER/out" "$AUTOGRADER/results"
  echo hello >"$AUTOGRADER/submission/notes.txt"
  "$AUTOGRADER/source/run_autograder"
  jq -e '.score == 0' "$AUTOGRADER/results/results.json"
}

@test "Autolab: the last line is the result" {
  command -v jq >/dev/null || skip "no jq (apt-get install jq)"
  [ -d .git ] || [ -f .git ] || skip "packages are made from what git has"
  scripts/platforms/pack autolab 01
  mkdir "$BATS_TEST_TMPDIR/job"
  cp build/autolab/autograde-Makefile "$BATS_TEST_TMPDIR/job/Makefile"
  cp build/autolab/autograde.tar "$CLASS/a done, <b>/echo.c" "$BATS_TEST_TMPDIR/job"
  (cd "$BATS_TEST_TMPDIR/job" && env -u MAKEFLAGS -u MAKELEVEL make) | tail -n 1 |
    jq -e '.scores["01-blocking-echo"] == 100'
}

@test "wrong calls are told so" {
  run -2 scripts/grade-class "$BATS_TEST_TMPDIR/nothing"
  run -2 scripts/grade-class -j many "$CLASS"
  [[ $output == *'many is not a number'* ]]
  mkdir "$BATS_TEST_TMPDIR/empty"
  run -2 scripts/grade-class "$BATS_TEST_TMPDIR/empty"
  [[ $output == *empty* ]]
  run -2 scripts/platforms/pack moodle
}
