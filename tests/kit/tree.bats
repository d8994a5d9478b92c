# Tests for the repository itself: what is in the tree, and that its parts agree.
bats_require_minimum_version 1.5.0

setup_file() {
  export ROOT=$BATS_TEST_DIRNAME/../..
  cd "$ROOT" || return
  # A stage belongs to the lab when its tests have points.
  STAGES=$(awk '/^[0-9]/ { print substr($1, 1, 2) }' tests/points | uniq |
    while read -r number; do echo solutions/"$number"-*; done | sed 's/solutions.//')
  export STAGES
}

setup() { cd "$ROOT" || return; }

variable() { # STAGE NAME
  printf 'include Makefile\n_print:;@echo $(%s)\n' "$2" |
    make -s --no-print-directory -C "$ROOT/solutions/$1" -f - _print
}

todos() { # the numbers of a stage's TODOs
  (cd solutions/"$1" && cat $(variable "$1" YOURS)) | sed -n 's/^ *\/\* TODO \([0-9]*\): .*/\1/p' | sort -n
}

# --- solutions and starters

@test "labs/ is what the generator writes (a learner's edits show here)" {
  scripts/starters -o "$BATS_TEST_TMPDIR/labs"
  local dir
  for dir in "$BATS_TEST_TMPDIR"/labs/*; do
    for file in "$dir"/*; do
      diff -u "labs/${dir##*/}/${file##*/}" "$file"
    done
  done
  # One folder a stage; beside them only the word to assistants.
  [ "$(ls labs | grep -vx AGENTS.md)" = "$(ls "$BATS_TEST_TMPDIR/labs")" ]
}

@test "generating again changes nothing" {
  scripts/starters -o "$BATS_TEST_TMPDIR/labs"
  touch "$BATS_TEST_TMPDIR/before"
  sleep 0.05
  scripts/starters -o "$BATS_TEST_TMPDIR/labs"
  [ -z "$(find "$BATS_TEST_TMPDIR/labs" -newer "$BATS_TEST_TMPDIR/before" -type f)" ]
}

@test "a file is copied from its owner, byte for byte" {
  local stage file
  for stage in $STAGES; do
    for file in $(variable "$stage" GIVEN); do
      cmp "solutions/$stage/$file" "$(scripts/starters --owner "$stage" "$file")"
    done
  done
}

@test "no starter has a stub marker or more TODOs than its solution" {
  local stage
  for stage in $STAGES; do
    run ! grep -n 'STUB:\|END TODO' labs/"$stage"/*.[ch]
    # They are numbered through; one may be in two files.
    [ "$(todos "$stage" | tail -n 1)" = "$(todos "$stage" | uniq | wc -l)" ]
  done
}

@test "no line of a solution that was taken out stands in the starter of that stage" {
  local stage
  for stage in $STAGES; do
    scripts/secret-lines "$stage" >"$BATS_TEST_TMPDIR/secret"
    [ -s "$BATS_TEST_TMPDIR/secret" ]
    sed 's/^ *//' labs/"$stage"/*.[ch] >"$BATS_TEST_TMPDIR/starter"
    run ! grep -nxFf "$BATS_TEST_TMPDIR/secret" "$BATS_TEST_TMPDIR/starter"
  done
}

@test "each solution and each starter, copied alone, builds without a warning" {
  local stage tree compiler compilers=gcc
  command -v clang >/dev/null && compilers='gcc clang'
  scripts/starters -o "$BATS_TEST_TMPDIR/labs"
  for compiler in $compilers; do
    for tree in solutions "$BATS_TEST_TMPDIR/labs"; do
      for stage in $STAGES; do
        rm -rf "$BATS_TEST_TMPDIR/alone"
        cp -r "$tree/$stage" "$BATS_TEST_TMPDIR/alone"
        make -C "$BATS_TEST_TMPDIR/alone" clean
        make -C "$BATS_TEST_TMPDIR/alone" CC="$compiler" CFLAGS='-O2 -Werror'
      done
    done
  done
}

@test "clang is here, too" {
  command -v clang || skip "no clang: only gcc was tried (apt-get install clang)"
}

@test "a stage's Makefile has at most 20 lines and names YOURS and GIVEN" {
  local stage file
  for stage in $STAGES; do
    [ "$(wc -l <"solutions/$stage/Makefile")" -le 20 ]
    [ -n "$(variable "$stage" YOURS)" ]
    for file in $(variable "$stage" YOURS) $(variable "$stage" GIVEN); do
      [ -f "solutions/$stage/$file" ]
    done
    run -0 find "solutions/$stage" "labs/$stage" -type l
    [ -z "$output" ]
  done
}

@test "listen_on() and announce() read the same in every echo stage" {
  local stage function
  for function in usage port_or_usage listen_on announce; do
    [ "$function" != usage ] || continue
    body() { sed -n "/^$function(/,/^}/p" "solutions/$1/echo.c" | awk '
      /^ *\/\* TODO [0-9]+:/ { c = 1 } !c && !/\/\* END TODO/; c && /\*\// { c = 0 }'; }
    for stage in $STAGES; do
      [[ $(variable "$stage" YOURS) == echo.c* ]] || continue
      diff <(body 01-blocking-echo) <(body "$stage")
    done
  done
}

# --- the generator's errors

marked() { # marked TEXT: run the stripper on a file with this text
  printf '%b' "$1" >"$BATS_TEST_TMPDIR/f.c"
  run awk -v stage=99-x -v keep=0 -f scripts/strip.awk "$BATS_TEST_TMPDIR/f.c"
}

@test "wrong markers are errors with file and line" {
  local good='/* TODO 1: do.\n * STUB: todo\n */\nx\n/* END TODO 1 */\n'
  marked "$good"
  [ "$status" = 0 ]
  [[ $output == *'exit(3);'* && $output != *x$'\n'* ]]
  marked '/* TODO 1: do.\n * STUB: todo\n */\n/* TODO 2: in.\n * STUB: a\n */\n'
  [ "$status" = 1 ] && [[ $output == *f.c:4:*inside* ]]
  marked "x\n/* END TODO 1 */\n"
  [ "$status" = 1 ] && [[ $output == *f.c:2:*without* ]]
  marked '/* TODO 1: do.\n * STUB: todo\n */\n/* END TODO 2 */\n'
  [ "$status" = 1 ] && [[ $output == *f.c:4:*closes* ]]
  marked '/* TODO 1: do.\n * STUB: todo\n */\nx\n'
  [ "$status" = 1 ] && [[ $output == *f.c*'not closed'* ]]
  marked '/* TODO 1: do.\n */\nx\n/* END TODO 1 */\n'
  [ "$status" = 1 ] && [[ $output == *f.c:2:*STUB* ]]
  marked "$good$good"
  [ "$status" = 1 ] && [[ $output == *f.c:6:*second* ]]
  for wrong in '// TODO 2: do it' '/* TODO: do it */' '/* STUB: x */' '/* END TODO */'; do
    marked "a\n$wrong\n"
    [ "$status" = 1 ] && [[ $output == *'f.c:2: not a marker'* ]]
  done
}

@test "make diff shows the solutions without the markers" {
  printf '%b' '/* TODO 1: do.\n * STUB: todo\n */\nx\n/* END TODO 1 */\n' >"$BATS_TEST_TMPDIR/f.c"
  run awk -v stage=99-x -v clean=1 -f scripts/strip.awk "$BATS_TEST_TMPDIR/f.c"
  [ "$output" = x ]
  run -0 make --no-print-directory diff A=01 B=02
  [[ $output == *echo.c* && $output != *'END TODO'* ]]
}

# --- points, mutants, handouts, hints

@test "each stage's points add up to 100, and each test has its line" {
  local stage number
  for stage in $STAGES; do
    number=${stage%%-*}
    awk -v n="$number" 'index($1, n ".") == 1 { s += $2 } END { exit s != 100 }' tests/points ||
      { echo "the points of stage $number are not 100"; return 1; }
    diff <(sed -n 's/^@test "\(.*\)" {$/\1/p' "tests/$stage.bats" | sed 's/\\"/"/g' | sort) \
      <(awk -v n="$number" 'index($1, n ".") == 1 {
          sub(/^ *[^ ]+ +[^ ]+ +[^ ]+ +/, ""); print }' tests/points | sort)
    diff <(awk -v n="$number" 'index($1, n ".") == 1 { print $3 }' tests/points | sort -nu) \
      <(todos "$stage")
  done
  [ -z "$(awk '!/^#/ && NF { print $1 }' tests/points | sort | uniq -d)" ]
}

@test "each stage has six mutants or more: they apply, and their tests exist" {
  local stage patch
  for stage in $STAGES; do
    run -0 ls "tests/mutants/$stage"
    [ "${#lines[@]}" -ge 6 ]
    for patch in tests/mutants/"$stage"/*.patch; do
      (cd "solutions/$stage" && GIT_DIR=/nonexistent git apply --check "../../$patch") ||
        { echo "$patch does not apply"; return 1; }
    done
  done
  awk 'function bad(what) { print file " " what; failed = 1 }
    function ended() { if (file && !(what && phrase)) bad("has no what, or no phrase") }
    NR == FNR { test[$1]; next }
    FNR == 1 { ended(); file = FILENAME; what = phrase = 0 }
    /^what: ./ { what = 1 }
    /^phrase: ./ { phrase = 1 }
    /^(required|permitted): / {
      for (i = 2; i <= NF; i++)
        if ($i != "*" && !($i in test)) bad("names " $i ", which is no test")
    }
    END { ended(); exit failed }' tests/points tests/mutants/*/*.patch
}

@test "each stage has two accepted solutions or more, which compile without a warning" {
  local stage style yours file files strict='-std=c17 -D_GNU_SOURCE -pthread -Wall -Wextra -Werror'
  for stage in $STAGES; do
    run -0 ls "tests/accepted/$stage"
    [ "${#lines[@]}" -ge 2 ]
    yours=" $(variable "$stage" YOURS) "
    for style in tests/accepted/"$stage"/*; do
      for file in "$style"/*; do
        [[ $yours == *" ${file##*/} "* ]] ||
          { echo "$file: stage $stage does not ask for it"; return 1; }
        [ "$(head -c 2 "$file")" = '/*' ] || { echo "$file does not begin with a comment"; return 1; }
      done
      files=$(find "$style" -name '*.c')
      gcc $strict -fsyntax-only -I "solutions/$stage" $files
    done
  done
}

@test "each handout has the sections of the skeleton and every TODO and test" {
  local stage handout section n id
  for stage in $STAGES; do
    handout=handouts/$stage.md
    for section in 'What you will build' 'Before you begin' 'Predict before you code' \
        Tasks 'How it is tested' 'When it goes wrong' 'Measure it' \
        'What is still missing' Questions 'Read next'; do
      grep -qx "## $section" "$handout" ||
        { echo "$handout has no section \"$section\""; return 1; }
    done
    grep -q '^\*\*Time\*\*' "$handout" || { echo "$handout names no time"; return 1; }
    for n in $(todos "$stage"); do
      grep -q "^### TODO $n: " "$handout" || { echo "$handout: no heading for TODO $n"; return 1; }
    done
    for id in $(awk -v n="${stage%%-*}" 'index($1, n ".") == 1 { print $1 }' tests/points); do
      grep -qE "(^|[^0-9a-z.-])$id([^0-9a-z-]|$)" "$handout" ||
        { echo "$handout does not mention $id"; return 1; }
    done
  done
}

@test "each TODO has one to three hints" {
  local stage n count
  for stage in $STAGES; do
    for n in $(todos "$stage" | uniq); do
      count=$(awk -v n="$n" '/^## / { mine = $0 == "## TODO " n; next } mine' \
        "handouts/hints/$stage.md" | grep -c '^[0-9]\. ')
      [ "$count" -ge 1 ] && [ "$count" -le 3 ] ||
        { echo "stage $stage, TODO $n has $count hints"; return 1; }
    done
  done
}

@test "every file that a text names exists" {
  local text file
  for text in README.md CONTRIBUTING.md handouts/*.md; do
    for file in $(grep -oE '\b(handouts|tests|scripts|labs|solutions|www)/[A-Za-z0-9._/-]*[A-Za-z0-9]' "$text"); do
      [[ $file == *NN* ]] || [ -e "$file" ] || [ -e "$file.c" ] ||
        [ -e "${file%/*}/$(tr - _ <<<"${file##*/}").c" ] || # a program, once it is built
        { echo "$text names $file, which does not exist"; return 1; }
    done
  done
}

# --- style

@test "shell scripts are clean under shellcheck" {
  command -v shellcheck >/dev/null || skip "no shellcheck (apt-get install shellcheck)"
  grep -rlE '^#!/usr/bin/env bash' scripts .ci tests/explore |
    xargs shellcheck -x -e SC2046,SC1091,SC2013,SC2015,SC2016
  shellcheck -s bash -e SC2154,SC2034,SC2086,SC2016 tests/lib.bash
}

@test "the files for other people's machines can be read by them" {
  local file
  if command -v jq >/dev/null; then jq -e .image .devcontainer/devcontainer.json; fi
  python3 -c 'import yaml' 2>/dev/null || skip "no PyYAML: the YAML files were not read"
  for file in .github/*.yml .github/*/*.yml; do
    python3 -c 'import sys, yaml; assert yaml.safe_load(open(sys.argv[1]))' "$file"
  done
}
