# Tests for scripts/format: each format against what its platform reads.
bats_require_minimum_version 1.5.0

setup_file() {
  ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  export ROOT RESULTS=$BATS_FILE_TMPDIR/results
  mkdir -p "$RESULTS"
  # Two stages with all that can happen, and texts that want to be escaped.
  {
    echo 'begin 1 a line comes back'
    echo 'ok 1 a line comes back in 12ms'
    echo 'begin 2 SIGTERM and SIGINT end it with status 0'
    echo 'not ok 2 SIGTERM and SIGINT end it with status 0 in 3ms'
    printf '# did:      "quoted" back\\slash <tag> & ]]> tab\there # hash, caf\303\251\n'
    printf '# actual:   \033[2J \377\376 \357\277\277 \355\240\200 \001 \302\205 end\n'
    echo 'begin 3 a megabyte comes back unharmed'
    echo 'ok 3 a megabyte comes back unharmed in 1ms # skip no <memory> & such'
    echo 'begin 4 a short write is finished'
    echo 'not ok 4 a short write is finished # timeout after 60s'
  } | result 01-blocking-echo
  echo 'echo.c:1: error: what is this' | result 02-fork-thread-echo 'does not compile'
}

result() { # STAGE [ERROR]
  (cd "$ROOT" && LC_ALL=C awk -v stage="$1" -v build=asan -v source=labs -v all=1 -v env='Linux, "gcc"' \
    -v json="$RESULTS/$1.json" -v error="${2:-}" -v filter=. -f scripts/report.awk tests/points - >/dev/null) || :
}

setup() { cd "$ROOT" || return; }

format() { # FORMAT: into $BATS_TEST_TMPDIR/out
  scripts/format "$1" "$RESULTS"/*.json >"$BATS_TEST_TMPDIR/out"
}

query() { # FILTER: must be true of the JSON in the file
  command -v jq >/dev/null || skip "no jq (apt-get install jq)"
  jq -e "$1" "${2:-$BATS_TEST_TMPDIR/out}" >"$BATS_TEST_TMPDIR/jq" ||
    { echo "not so: $1"; head -c 2000 "${2:-$BATS_TEST_TMPDIR/out}"; return 1; }
}

@test "the neutral result is JSON in UTF-8" {
  local file
  for file in "$RESULTS"/*.json; do
    iconv -f UTF-8 -t UTF-16 "$file" >/dev/null
    query '.schema == "lab-result/1" and ([.tests[] | .points] | add) == .points
      and ([.tests[] | .max] | add) == .max and .max == 100
      and all(.tests[]; .status | IN("pass", "fail", "skip", "timeout", "error"))' "$file"
  done
}

@test "Gradescope: tests with score, status and output, and their sum" {
  format gradescope
  query '.score == ([.tests[].score] | add) and .score == 6
    and ([.tests[].max_score] | add) == 200
    and all(.tests[]; (.name | type == "string") and (.number | type == "string")
      and (.score | type == "number") and (.output | type == "string")
      and (.status == "passed" or .status == "failed") and .score <= .max_score)
    and (.execution_time | type == "number") and (keys - ["score", "execution_time",
      "output", "output_format", "visibility", "stdout_visibility", "tests"] == [])'
  query '[.tests[] | select(.output | contains("\"quoted\" back\\slash <tag> & ]]> tab\there # hash, café"))] | length == 1'
}

@test "Autolab: the last line is the scores, the line before tells more" {
  format autolab
  [ "$(wc -l <"$BATS_TEST_TMPDIR/out")" = 2 ]
  head -n 1 "$BATS_TEST_TMPDIR/out" >"$BATS_TEST_TMPDIR/first"
  tail -n 1 "$BATS_TEST_TMPDIR/out" >"$BATS_TEST_TMPDIR/last"
  query '._presentation == "semantic" and (.stages | length == 2) and (. as $all
    | all(.stages[]; $all[.] | type == "object" and all(.[]; .passed | type == "boolean")))' \
    "$BATS_TEST_TMPDIR/first"
  query '.scores == {"01-blocking-echo": 6, "02-fork-thread-echo": 0} and .scoreboard == [6]' \
    "$BATS_TEST_TMPDIR/last"
}

@test "Classroom 50: its schema, whole numbers only" {
  export CLASSROOM=os ASSIGNMENT='a "b"' OWNER=ada SUBMISSION_TAG=submit/3
  format classroom50
  query '.schema == "classroom50/result/v1" and (keys - ["schema", "classroom", "assignment",
      "assignment_type", "owner", "submission", "commit", "release", "review", "datetime",
      "score", "max-score", "tests"] == []) and (keys | length == 13)
    and .assignment == "a \"b\"" and .owner == "ada" and (.submission | startswith("submit/"))
    and (.datetime | test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$"))
    and .score == 6 and ."max-score" == 200 and (.score | floor == .)
    and all(.tests[]; (."test-name" | type == "string") and (.passed | type == "boolean")
      and .score <= ."max-score")'
}

@test "JUnit: well-formed, whatever bytes a program prints, with right counts" {
  command -v xmllint >/dev/null || skip "no xmllint (apt-get install libxml2-utils)"
  format junit
  xmllint --noout "$BATS_TEST_TMPDIR/out"
  count() { xmllint --xpath "count($1)" "$BATS_TEST_TMPDIR/out"; }
  [ "$(count '//testsuite')" = 2 ]
  [ "$(count '//testcase')" = "$(grep -cE '^0[12]\.' tests/points)" ]
  [ "$(count '//failure')" = 2 ]
  [ "$(count '//skipped')" = 1 ]
  local name
  for name in tests failures errors skipped; do
    [ "$(xmllint --xpath "sum(//testsuite/@$name)" "$BATS_TEST_TMPDIR/out")" = \
      "$(case $name in tests) count '//testcase' ;; failures) count '//failure' ;;
        errors) count '//error' ;; skipped) count '//skipped' ;; esac)" ]
  done
  [ "$(count '//failure[contains(., "<tag> & ]]>")]')" = 1 ]
}

@test "TAP: a plan, numbers in order, skips as directives and no others" {
  format tap
  awk 'NR == 1 { split($0, plan, "[.][.]"); next }
       /^(not )?ok / { sub(/^not /, ""); if ($2 != ++n) exit 2; next }
       !/^#/ { exit 3 }
       END { exit n != plan[2] }' "$BATS_TEST_TMPDIR/out"
  [ "$(grep -c '^ok .* # SKIP no <memory>' "$BATS_TEST_TMPDIR/out")" = 1 ]
}

@test "CSV and text name every stage and its points" {
  format csv
  [ "$(grep -c '^0[12]-' "$BATS_TEST_TMPDIR/out")" = "$(grep -cE '^0[12]\.' tests/points)" ]
  format text
  grep -qx '6 of 200 points' "$BATS_TEST_TMPDIR/out"
}

@test "what is no result or no format is refused" {
  run -2 scripts/format gradescope /etc/passwd
  [[ $output == *'not a result'* ]]
  run -2 scripts/format nonsense "$RESULTS/01-blocking-echo.json"
  [[ $output == *gradescope* ]]
  run -2 scripts/format junit
}
