# Tests for what adds up the results of all other tests: nothing that failed, or that
# never came, may count as if all were well.
bats_require_minimum_version 1.5.0

setup() {
  ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  cd "$ROOT" || return
  unset MAKEFLAGS MFLAGS STAGE LAB FULL
  STAGE1=01-blocking-echo
}

result() { # STATUS...: a result file as scripts/check writes it, a test for each
  local comma=''
  printf '{"schema":"lab-result/1","stage":"x","points":0,"max":9,"skipped":0,"tests":[\n'
  for status; do
    printf '%s{"id":"01.x","status":"%s","title":"it works","message":""}' "$comma" "$status"
    comma=$',\n'
  done
  printf '\n]}\n'
}

@test "results are added up; what is missing, empty or cut off is a failure" {
  cd "$BATS_TEST_TMPDIR"
  printf '1..3\nok 1 a\nok 2 b\nok 3 c # skip no need\n' >good.tap
  result pass pass >good.json
  run -0 "$ROOT/scripts/summary" good.tap good.json
  [ "${lines[-1]}" = '4 passed, 0 failed, 1 skipped' ]
  printf '1..2\nok 1 a\nnot ok 2 b\n# why\n' >bad.tap
  result pass fail timeout >bad.json
  printf '1..2\nok 1 a\n' >cut.tap
  printf 'ok 1 a\n' >noplan.tap
  printf '1..0\n' >none.tap
  result pass fail | head -n 2 >cut.json
  result >none.json
  : >empty.tap
  : >empty.json
  for wrong in {bad,cut,noplan,none,empty,missing}.tap {bad,cut,none,empty,missing}.json; do
    run "$ROOT/scripts/summary" good.tap "$wrong" good.json
    [ "$status" = 1 ] && [[ $output == *"FAILED"*"$wrong"*'passed, '[1-9]* ]] ||
      { echo "$wrong: status $status, $output"; return 1; }
  done
}

# A copy of the tree in which the scripts that test are the one given on stdin.
stubs() { # NAME...
  local name script
  script=$(cat)
  TREE=$BATS_TEST_TMPDIR/tree
  mkdir -p "$TREE/tests/mutants/$STAGE1" "$TREE/build"
  cp -a Makefile scripts labs solutions "$TREE"
  cp -a build/tools "$TREE/build"
  cp -a tests/points tests/tools "$TREE/tests"
  touch "$TREE/tests/mutants/$STAGE1/wrong.patch"
  cd "$TREE"
  for name; do printf '#!/usr/bin/env bash\n%s\n' "$script" >"scripts/$name"; done
}

@test "make walk, accepted and mutants end with the status of what they found" {
  stubs walk accepted mutants matrix <<'END'
echo 1..2
echo "ok 1 a"
if [ -e fails ]; then echo "not ok 2 b"; else echo "ok 2 b"; fi
END
  stages=$(ls -d labs/[0-9]* | wc -l)
  for command in walk accepted; do
    run -0 make --no-print-directory $command # every stage has a plan
    [ "${lines[-1]}" = "$((2 * stages)) passed, 0 failed" ]
  done
  run -0 make --no-print-directory mutants STAGE=01
  touch fails
  for command in walk accepted mutants; do
    run make --no-print-directory $command STAGE=01
    [ "$status" = 2 ] || { echo "make $command: status $status"; return 1; }
  done
}

@test "a part of make test that leaves no result is a failure" {
  stubs walk mutants <<<'printf "1..1\nok 1 a\n"'
  printf '#!/usr/bin/env bash\n' >scripts/check
  run make --no-print-directory test STAGE=01
  [[ $status = 2 && $output == *'FAILED: build/test/asan/01-blocking-echo.json is missing'* ]]
}

@test "FULL=0 is as good as no FULL" {
  run -0 make -n test STAGE=01
  expected=$output
  run -0 make -n test STAGE=01 FULL=0
  [ "$output" = "$expected" ]
  run -0 make -n test STAGE=01 FULL=1
  [ "$output" != "$expected" ]
}

@test "a test that no mutant fails is found, but not one that cannot run here" {
  patch=$(cd "tests/mutants/$STAGE1" && printf '%s\n' *.patch | head -n 1)
  dir=$BATS_TEST_TMPDIR/$STAGE1.${patch%.patch}
  mkdir "$dir"
  ends() { # STATUS: of the last test; all others fail
    awk -v last="$1" '/^01[.]/ { id[++n] = $1 }
      END { for (i = 1; i <= n; i++)
        printf "{\"id\":\"%s\",\"status\":\"%s\"\n", id[i], i < n ? "fail" : last }' tests/points >"$dir/$STAGE1.json"
    run scripts/matrix "$BATS_TEST_TMPDIR" $STAGE1
  }
  ends fail
  [ "$status" = 0 ]
  ends pass
  [[ $status = 1 && $output == *'nothing fails 01.'* ]]
  ends skip
  [ "$status" = 0 ]
}

@test "bats is looked for once, before the parts of make test run at once" {
  stubs fuzz <<<''
  mkdir bin
  for program in bash env sed awk grep sort head cat tr cut dirname mkdir rm cp make cc as ld \
      timeout tee uname id find mktemp touch cmp readelf ls collect2 git nproc; do
    ln -s "$(command -v $program)" bin || true
  done
  printf '#!/bin/sh\necho "$0" >>%q\nexit 1\n' "$PWD/calls" | tee bin/npm >bin/apt-get
  chmod +x bin/npm bin/apt-get
  cp -r "$ROOT/tests/$STAGE1.bats" tests
  PATH=$TREE/bin run make --no-print-directory test STAGE=01
  [[ $status = 2 && $output == *'sudo apt install bats'* ]]
  [ "$(grep -c npm calls)" = 1 ]
}
