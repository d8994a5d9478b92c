# Tests for the learner's commands, each in a copy of the tree.
bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_TEST_DIRNAME/../.." || return
  export TREE="$BATS_FILE_TMPDIR/a tree" # with a space, as some people have them
  mkdir -p "$TREE/build"
  cp -a Makefile README.md LICENSE .gitignore .github .devcontainer scripts labs solutions handouts www "$TREE"
  cp -a build/tools "$TREE/build"
  mkdir "$TREE/tests"
  cp -a tests/*.* tests/points tests/tools tests/explore tests/corpus "$TREE/tests"
  # A learner has changed nothing yet.
  "$TREE/scripts/starters"
}

setup() {
  TREE="$BATS_TEST_TMPDIR/a tree"
  cp -a "$BATS_FILE_TMPDIR/a tree" "$TREE"
  cd "$TREE" || return
  unset MAKEFLAGS MFLAGS LAB_LANG STAGE LAB BUILD ALL OWN FORCE
  STAGE1=01-blocking-echo ECHO=labs/01-blocking-echo/echo.c
}

# Leaves one quick test in stage 01, worth 6 points.
one_test() {
  sed -i '/^@test "/,/^}/{/^@test "a line comes back"/,/^}/!d}' tests/01-blocking-echo.bats
  sed -i '/^01/{/^01.line /!d}' tests/points
}

lab() { # make with these words
  run make --no-print-directory "$@"
}

solve() { cp "solutions/$STAGE1/echo.c" "$ECHO"; }

# What still runs in this tree of the lab's own.
left() {
  local process
  for process in /proc/[0-9]*; do
    [[ $(readlink "$process/cwd") != "$TREE"* ]] || { tr '\0' ' ' <"$process/cmdline"; echo; }
  done 2>/dev/null | grep -E '(^|/)(inotifywait|supervise) |scripts/(watch|check|bats)|report[.]awk'
}

# A result as scripts/check writes it, without testing anything.
pretend() { # STAGE POINTS STATUS NEXT_TODO
  mkdir -p build/check
  printf '{"schema":"lab-result/1","stage":"%s","points":%d,"max":100,"skipped":0,"status":"%s","next_todo":%d,"next":"","tests":[\n]}\n' \
    "$@" >"build/check/$1.json"
}

# --- make

@test "make alone: every stage, nothing begun, the first TODO with its line" {
  lab
  [ "$status" = 0 ]
  [[ $output == *'01: A blocking echo server '*'not begun'* ]]
  [ "$(grep -c 'not begun' <<<"$output")" = "$(ls -d labs/[0-9]* | wc -l)" ]
  line=$(grep -n 'TODO 1:' $ECHO | cut -d: -f1)
  [[ $output == *"edit     $ECHO:$line"*'make check STAGE=01'*'make hint STAGE=01'* ]]
  # 80 columns, and no colour where there is no terminal.
  [ "$(wc -L <<<"$output")" -le 80 ]
  [[ $output != *$'\e'* ]]
}

@test "a word that is no command is refused" {
  lab chekc STAGE=01
  [[ $status = 2 && $output == *'no command "chekc"; make help'* ]]
}

@test "make alone needs less than a second of processor time" {
  lab # makes the starters to compare with
  local TIMEFORMAT='%U %S' used
  used=$({ time make --no-print-directory >/dev/null 3>&- 4>&-; } 2>&1)
  awk '{ exit $1 + $2 > 1 }' <<<"$used" || { echo "user and system time: $used s"; return 1; }
}

@test "make alone: points, the TODO of the last check, and the stage that was edited" {
  pretend $STAGE1 42 fail 3
  sed -i 's/^    (void)client;/    /' $ECHO
  touch -d '1 hour ago' $ECHO
  lab
  [[ $output == *'#####....... 42 of 100'* ]]
  line=$(grep -n 'TODO 3:' $ECHO | cut -d: -f1)
  [[ $output == *"You are in stage 01"*"edit     $ECHO:$line"* ]]
  touch -d '1 hour' $ECHO
  lab
  [[ $output == *'edited since'* ]]
  echo '/* mine */' >>labs/05-epoll-lt-echo/echo.c
  touch -d '2 hours' labs/05-epoll-lt-echo/echo.c
  lab
  [[ $output == *'begun, not checked yet'*'You are in stage 05'* ]]
  : >build/check/$STAGE1.json # on a full disk
  lab
  [[ $status = 0 && $output != *error* && $(grep -c 'begun, not checked yet' <<<"$output") = 2 ]]
}

@test "make alone: a complete stage leads to the next, and the last to the end" {
  solve
  pretend $STAGE1 100 pass 0
  touch -d '1 hour ago' $ECHO
  lab
  [[ $output == *'############ 100 of 100'*complete*'Stage 02 is next'* ]]
  for stage in labs/[0-9]*; do
    pretend "${stage#labs/}" 100 pass 0
    echo >>"$stage/$(sed -n 's/^YOURS *:= *\([^ ]*\).*/\1/p' "$stage/Makefile")"
    touch -d '1 hour ago' "$stage"/*
  done
  lab
  [[ $output == *'Every stage is complete'* ]]
}

@test "make help lists the commands, in 80 columns or a few more" {
  lab help
  [[ $output == *'make check'*'make watch'*'make run'*'make dist'*'make test'* ]]
  [ "$(wc -L <<<"$output")" -le 86 ]
}

# --- wrong words

@test "words that mean nothing are refused, and the message says what they can be" {
  refused() { # WORDS PATTERN
    # shellcheck disable=SC2086
    lab check $1
    [ "$status" = 2 ] || { echo "$1: status $status"; return 1; }
    # shellcheck disable=SC2053
    [[ $output == $2 ]] || { echo "$1: $output"; return 1; }
  }
  refused 'STAGE=77' '*no stage "77"; there are: 01-blocking-echo *'
  refused 'STAGE=echo' '*no stage "echo"*'
  refused 'BUILD=nope' '*BUILD=nope: it can be asan, plain, tsan*'
  refused 'LAB=nope' '*LAB=nope: no such folder*'
  refused 'ALL=maybe' '*ALL=maybe: it can be 1*'
  refused 'OWN=yes' '*OWN=yes: it can be 1*'
  refused 'TODO=first STAGE=01' '*TODO=first: a number*'
  lab diff A=01
  [[ $status = 2 && $output == *'which two stages?'* ]]
  lab diff A=01 B=77
  [[ $status = 2 && $output == *'no stage "77"'* ]]
  lab diff A=77 B=01
  [[ $status = 2 && $output == *'no stage "77"'* && $output != *unbound* ]]
  lab reset
  [[ $status = 2 && $output == *'which stage? For example: make reset STAGE=01'* ]]
  lab dist
  [[ $status = 2 && $output == *'which stages?'* ]]
  lab bench BENCH=nope
  [[ $status = 2 && $output == *'BENCH=nope: it can be'*echo* ]]
  lab explore STAGE=01
  [[ $status = 2 && $output == *'only the queues can be explored'*'STAGE=08'* ]]
  lab fuzz STAGE=01
  [[ $status = 2 && $output == *'only stage 13 '* ]]
}

@test "stages have short names" {
  lab hint STAGE=1 TODO=2
  [[ $status = 0 && $output == *'01-blocking-echo, TODO 2: hint 1 of'* ]]
}

# --- make check

@test "after a compile error the next step is where the compiler stopped" {
  solve
  sed -i 's/return client;/return klient;/' $ECHO
  line=$(grep -n klient $ECHO | tail -n 1 | cut -d: -f1)
  lab check STAGE=01
  [ "$status" = 2 ]
  [[ $output == *"klient"*"next: $ECHO:$line, where the compiler stopped"* ]]
  lab
  [[ $output == *"edit     $ECHO:$line"* ]]
  lab hint STAGE=01
  [[ $status = 2 && $output == *"$ECHO:$line"* ]]
}

@test "what the linker or a missing file stops is not blamed on a TODO" {
  solve
  sed -i 's/^announce(int listener)/static_announce(int listener)/' $ECHO
  sed -i '1i static void announce(int);' $ECHO
  sed -i 's/^static void announce/extern void announce/' $ECHO
  lab check STAGE=01
  [[ $output == *'undefined reference'*'next: '*linker* && $output != *TODO* ]]
  rm $ECHO
  lab check STAGE=01
  [[ $output == *"$ECHO is missing"*'make reset STAGE=01'* && $output != *TODO* ]]
}

@test "a crash before the ready line leads to the place of the crash" {
  solve
  sed -i 's/^    handle_signals();/    *(volatile char *)1 = 0;\n&/' $ECHO
  line=$(grep -n 'volatile char' $ECHO | cut -d: -f1)
  scripts/check -o out -f 'a line comes back' $STAGE1 >report || true
  grep -F "next: $ECHO:$line, where the program stopped" report
  run ! grep -E 'next:.*TODO' report
  grep -q '"next_todo":0' out/$STAGE1.json
}

@test "a server that ends before the ready line is not blamed on the test's TODO" {
  solve
  sed -i 's/^    handle_signals();/    return 7;\n&/' $ECHO
  scripts/check -o out -f 'a line comes back' $STAGE1 >report || true
  grep 'next: make it start' report
}

@test "the failure that is shown is that of the lowest TODO, at the end of the report" {
  scripts/starters -k 2 $STAGE1
  scripts/check -o out -f 'wrong options|a line comes back|large|short' $STAGE1 >report || true
  tail -n 12 report
  grep -A 1 '^  The first of' report | grep 'a line comes back\|wrong options'
  tail -n 2 report | grep 'next: TODO 3'
}

@test "an interrupted check ends its tests and leaves no result" {
  solve
  sed -i '/^@test "a line comes back/a sleep 1000' tests/$STAGE1.bats
  scripts/check -o out -f 'a line comes back' $STAGE1 >report 3>&- 4>&- &
  pid=$!
  for _ in $(seq 500); do
    sleep 0.02
    ! pgrep -f "bats-exec-test.*$TREE/tests/$STAGE1" >/dev/null || break
  done
  kill $pid
  wait $pid || [ $? = 130 ]
  run ! pgrep -f "bats-exec-test.*$TREE/tests/$STAGE1"
  [ ! -e out/$STAGE1.json ]
}

@test "Ctrl-C ends a check of all stages, not only that of one" {
  printf '#!/bin/sh\necho >>calls\nexit 130\n' >scripts/check
  lab check
  [ "$status" = 2 ] && [ "$(wc -l <calls)" = 1 ]
  lab check ALL=1
  [ "$status" = 2 ] && [ "$(wc -l <calls)" = 2 ]
}

@test "the lines that repeat a failure can be pasted: they build what they run" {
  scripts/check -o out -f 'an address that cannot be bound' $STAGE1 >report || true
  sed -n '/repeat:/,/^ *$/{s/^ *repeat://; p}' report >commands
  run bash commands
  [ "$status" = 3 ] && [[ $output == *'TODO 1 is not done'* ]]
}

@test "the reference's results do not count as the learner's" {
  one_test
  lab check LAB=solutions STAGE=01
  [ "$status" = 0 ]
  [ -e build/check-solutions/$STAGE1.json ]
  lab
  [[ $output != *complete,* && $output == *'01: A blocking echo server '*'not begun'* ]]
}

@test "without bats the check says what to do, and there is a result" {
  mkdir bin
  for program in bash env sed awk grep sort head cat tr cut dirname mkdir rm cp make cc as ld \
      timeout tee uname id find mktemp touch cmp readelf ls collect2; do
    path=$(command -v $program) || continue
    ln -s "$path" bin
  done
  PATH=$TREE/bin run make --no-print-directory check STAGE=01
  [ "$status" = 2 ]
  [[ $output == *'sudo apt install bats'*'make doctor'* ]]
  grep -q '"status":"error"' build/check/$STAGE1.json
}

@test "without a compiler every command says how to get one" {
  CC=no-such-compiler lab check STAGE=01
  [[ $status = 2 && $output == *no-such-compiler* ]]
  [[ $output == *install* || $output == *packages* ]]
}

# --- hint, reset, submit, solution, diff

@test "hints open one by one and stay open" {
  run -0 scripts/hint 01-blocking-echo 4
  [[ $output == *'hint 1 of 3'* && $output != *'  2. '* ]]
  run -0 scripts/hint -a 01-blocking-echo 4
  [[ $output == *'hint 1 of 3'* ]]
  run -0 scripts/hint 01-blocking-echo 4
  [[ $output == *'hint 2 of 3'*'  1. '*'  2. '* && $output != *'  3. '* ]]
  scripts/hint 01-blocking-echo 4
  run -0 scripts/hint 01-blocking-echo 4
  [[ $output == *'hint 3 of 3'* ]]
  run -2 scripts/hint 01-blocking-echo 77
  [[ $output == *'no TODO 77'* ]]
  # Without TODO: the one that the last check points at.
  solve
  pretend $STAGE1 42 fail 3
  lab hint STAGE=01
  [[ $output == *'TODO 3: hint 1 of'* ]]
  pretend $STAGE1 100 pass 0
  lab hint STAGE=01
  [[ $status = 2 && $output == *'is complete'* ]]
}

@test "hints come in Korean for whoever wants them, in lines that fit a terminal" {
  for todo in 1 2 3 4 5 6; do
    LAB_LANG=ko run -0 scripts/hint 01-blocking-echo $todo
    [[ $output == *"TODO $todo: 힌트 1/3"* ]]
    [ "$(LC_ALL=C.UTF-8 wc -L <<<"$output")" -le 80 ]
  done
  grep -F "${lines[1]#*1. }" handouts/ko/hints/01-blocking-echo.md
  rm -r handouts/ko/hints
  LAB_LANG=ko run -0 scripts/hint 01-blocking-echo 5
  [[ $output == *'What does write() return'* ]]
}

@test "make reset asks, keeps a copy, and gives the starter back" {
  lab reset STAGE=01
  [[ $status = 0 && $output == *'nothing to do'* ]]
  solve
  run make reset STAGE=01 </dev/null
  [[ $status = 2 && $output == *FORCE=1* ]]
  cmp $ECHO solutions/$STAGE1/echo.c
  pretend $STAGE1 100 pass 0
  lab reset STAGE=01 FORCE=1
  [ "$status" = 0 ]
  cmp .backup/$STAGE1-*/echo.c solutions/$STAGE1/echo.c
  cmp $ECHO build/starters/$STAGE1/echo.c
  [ ! -e build/check/$STAGE1.json ]
  rm -r labs/$STAGE1
  lab reset STAGE=01 FORCE=1
  cmp $ECHO build/starters/$STAGE1/echo.c
}

@test "make starters keeps a copy of a learner's work, and does not bother authors" {
  kept() { find .backup -type f 2>/dev/null | wc -l; }
  echo '/* mine */' >>$ECHO
  cp $ECHO mine.c
  lab starters STAGE=01
  [[ $status = 0 && $output == *"$ECHO was not as it was handed out"* ]]
  cmp $ECHO build/starters/$STAGE1/echo.c
  cmp .backup/starters-*/$ECHO mine.c
  for n in 1 2; do
    echo "/* $n */" >>solutions/$STAGE1/echo.c
    lab starters STAGE=01
    [ -z "$output" ]
    grep "^/\* $n" $ECHO
  done
  [ "$(kept)" = 1 ]
}

@test "make submit packs what was edited, and builds it as a grader would" {
  lab submit
  [[ $status = 2 && $output == *'nothing to submit'* ]]
  solve
  touch labs/$STAGE1/echo labs/$STAGE1/notes.txt
  lab submit
  [[ $status = 0 && $output == *'01-blocking-echo: builds; never checked'* ]]
  [ "$(tar tzf submission.tar.gz)" = $ECHO ]
  cp handouts/writeup.md labs/$STAGE1/WRITEUP.md
  lab submit # the form as it is says nothing
  [ "$(tar tzf submission.tar.gz)" = $ECHO ]
  echo 'SIGPIPE, twice.' >>labs/$STAGE1/WRITEUP.md
  lab submit
  [ "$(tar tzf submission.tar.gz)" = "$ECHO"$'\n'"labs/$STAGE1/WRITEUP.md" ]
  rm labs/$STAGE1/WRITEUP.md
  sed -i 's/return client;/return klient;/' $ECHO
  lab submit STAGE=01
  [[ $status = 2 && $output == *'does not build'*klient*'earns no points'* ]]
  tar tzf submission.tar.gz
}

@test "make submit says why a stage does not build, and which files it looked at" {
  solve
  echo '#define NOTHING' >labs/$STAGE1/helper.h
  sed -i '1i #include "helper.h"' $ECHO
  lab submit
  [[ $status = 2 && $output == *'does not build'*'helper.h: No such file'*'these files'*'no others: echo.c'* ]]
  solve
  echo '__attribute__((constructor)) static void early(void) { }' >>$ECHO
  lab submit
  [[ $status = 2 && $output == *'does not build'*'has a constructor'* ]]
}

@test "make submit packs what a link leads to" {
  cp solutions/$STAGE1/echo.c mine.c
  ln -sf ../../mine.c $ECHO
  lab submit
  [ "$status" = 0 ]
  tar xzf submission.tar.gz -O $ECHO | cmp - mine.c
}

@test "make solution waits until the stage is complete" {
  solve
  lab solution STAGE=01
  [[ $status = 2 && $output == *'not complete yet'* ]]
  pretend $STAGE1 100 pass 0
  lab solution STAGE=01
  [[ $status = 0 && $output == *"build/solution/$STAGE1"* ]]
  run ! grep 'END TODO' build/solution/$STAGE1/echo.c
  lab solution STAGE=02 FORCE=1
  [[ $status = 0 && $output == *'+'* ]]
}

# --- watch

@test "make watch: shows where to begin, tests what is saved, goes on, ends without a trace" {
  mkfifo keys
  (exec timeout 90 scripts/watch $STAGE1 2>&1 <keys) >screen 3>&- 4>&- &
  pid=$!
  exec 5>keys
  seen() { # TEXT: on the screen, within a while
    for _ in $(seq $((600 * ${TIMEOUT_FACTOR:-1}))); do
      ! grep -qF -- "$1" screen || return 0
      sleep 0.05
    done
    cat screen
    return 1
  }
  seen "edit     $ECHO"
  seen 'Watching labs/'
  printf 'int main(void) { return nonsense; }\n' >$ECHO
  seen "next: $ECHO:1, where the compiler stopped"
  one_test
  cp solutions/$STAGE1/echo.c $ECHO
  seen 'On to stage 02'
  seen 'edit     labs/02-fork-thread-echo/echo.c'
  left # the watch and its helpers, so that the look below is worth something
  kill -INT $pid
  wait $pid
  exec 5>&-
  run ! left
  [ -z "$output" ]
}

# --- the handouts as pages

@test "without cmark-gfm the handouts are plain text, and the page says how to get it" {
  mkdir bin
  for program in bash awk sed cat cp cut mkdir rm dirname grep; do
    ln -s "$(command -v $program)" bin
  done
  PATH=$TREE/bin run -0 scripts/pages
  grep 'apt install cmark-gfm' www/handouts/index.html
  grep "href=\"$STAGE1.txt\"" www/handouts/index.html
  cmp handouts/$STAGE1.md www/handouts/$STAGE1.txt
}

@test "with cmark-gfm they are pages whose links lead somewhere" {
  command -v cmark-gfm || skip "no cmark-gfm (apt-get install cmark-gfm)"
  scripts/pages
  [ "$(ls www/handouts/*.html | wc -l)" = $(($(ls handouts/*.md | wc -l) + 1)) ]
  grep '<table>' www/handouts/$STAGE1.html
  grep '<title>03: One thread, many clients: select()</title>' www/handouts/03-select-echo.html
  cd www/handouts
  for page in *.html; do
    for link in $(grep -oE '(href|src)="[^"#:]+' "$page" | cut -d'"' -f2); do
      [ -e "$link" ] || { echo "$page: no $link"; return 1; }
    done
  done
}

# --- dist

@test "make dist: a tree without solutions that builds and checks on its own" {
  lab dist STAGES='1 02'
  [ "$status" = 0 ]
  mkdir 'else where'
  tar xzf build/dist/lab-01-02.tar.gz -C 'else where'
  cd 'else where/lab-01-02'
  [ ! -e solutions ] && [ ! -e tests/mutants ] && [ ! -e tests/accepted ] && [ ! -e .git ]
  [ "$(ls -d labs/[0-9]*)" = $'labs/01-blocking-echo\nlabs/02-fork-thread-echo' ]
  run ! grep -r 'END TODO\|STUB:' .
  run ! grep -E 'solutions|make diff' README.md
  lab
  [[ $status = 0 && $output == *'0 of 200 points'* ]]
  one_test
  cp "$TREE/solutions/$STAGE1/echo.c" $ECHO
  lab check STAGE=01
  [[ $status = 0 && $output == *'6 of 6'*'Stage 01 is complete'* ]]
  lab reset STAGE=01 FORCE=1
  cmp $ECHO "$TREE/build/starters/$STAGE1/echo.c"
  for command in diff solution bench test mutants accepted starters; do
    lab $command STAGE=01 A=01 B=02
    [[ $status = 2 && $output == *'handed out without them'* ]] ||
      { echo "make $command: $output"; return 1; }
  done
}

@test "make dist hands out each stage once, and no pages that make run has made" {
  mkdir -p www/handouts
  cp handouts/02-*.md www/handouts
  lab dist STAGES='14 14'
  [ "$status" = 0 ]
  cd build/dist/lab-14
  [ -d www/errors ] && [ ! -e www/handouts ]
  [ -z "$(sort tests/points | uniq -d | grep '^[0-9]')" ]
}

@test "make dist with a queue in it: the tree can explore" {
  lab dist STAGES=07
  tar xzf build/dist/lab-07.tar.gz
  cd lab-07
  cp "$TREE/solutions/07-lock-queue/job_queue.c" labs/07-lock-queue
  run make -s explore STAGE=07
  [[ $status = 0 && $output == *schedules* ]]
}

@test "make dist refuses to leak a solution" {
  sed -n '/^listen_on/,/^}/p' solutions/$STAGE1/echo.c >>handouts/$STAGE1.md
  lab dist STAGES=01
  [[ $status = 2 && $output == *'solution of stage 01 would leak: handouts/'* ]]
  [ ! -e build/dist/lab-01.tar.gz ] && [ ! -e build/dist/lab-01 ]
}

# --- doctor, and the messages

@test "make doctor names what is missing and the command that gets it" {
  lab doctor
  [ "$status" = 0 ]
  [[ $output == *compiler*bats*kernel*descriptors*address-san*io_uring* ]]
  CC=no-such-compiler lab doctor
  [[ $status = 2 && $output == *'missing (no-such-compiler'* ]]
  # What is needed in one command, what is not in another: one wrong name stops all of one.
  commands() { grep -E '^  (sudo )?apt-get ' <<<"$output"; }
  mkdir bin
  for program in bash env sed awk grep sort head cat cut dirname rm make uname id mktemp ls; do
    ln -s "$(command -v $program)" bin
  done
  printf '#!/bin/sh\n' >bin/apt-get
  chmod +x bin/apt-get
  echo 'ID=debian' >os-release
  sed -i "s|/etc/os-release|os-release|" scripts/doctor
  PATH=$TREE/bin run scripts/doctor
  [ "$(commands | wc -l)" = 2 ]
  [[ $(commands | head -n 1) == *' gcc '*bats && $(commands | tail -n 1) == *iproute2*linux-perf*chromium ]]
  echo 'ID=ubuntu' >os-release
  PATH=$TREE/bin run scripts/doctor
  [[ $(commands | tail -n 1) == *iproute2*linux-tools-generic*chromium-browser ]]
}

@test "every message is used, every one that is used exists, translations fit" {
  for key in $(sed -n 's/^m_\([a-z_]*\)=.*/\1/p' scripts/messages.en); do
    grep -qE "\b(say|die|begin|report) +$key\b|\"$key\"" scripts/[a-l]* scripts/[n-z]* ||
      { echo "nobody says $key"; missing=1; }
  done
  [ -z "${missing:-}" ]
  for key in $(sed 's/\(^\| \)#.*//' scripts/[a-l]* scripts/[n-z]* | grep -oE '\b(say|die) [a-z_]+' | cut -d' ' -f2; \
      grep -ohE 'msg\("[a-z_]+"' scripts/report.awk | cut -d'"' -f2); do
    grep -q "^m_$key=" scripts/messages.en || { echo "no message $key"; return 1; }
  done
  percents() { bash -c ". $1; printf %s \"\${$2:-}\"" | grep -oE '%[sd%]' | paste -sd' '; }
  for file in scripts/messages.*; do
    for key in $(sed -n 's/^\(m_[a-z_]*\)=.*/\1/p' "$file"); do
      [ "$(percents "$file" "$key")" = "$(percents scripts/messages.en "$key")" ] ||
        { echo "$file: $key takes other things than in English"; return 1; }
    done
  done
}

@test "a translation is used for what it has, English for the rest" {
  printf "m_title='Ein Server mit Ereignisschleife'\n" >scripts/messages.xx
  mkdir -p handouts/xx
  echo '# 01: Ein Echo' >handouts/xx/$STAGE1.md
  lab LAB_LANG=xx
  [[ $output == *'Ein Server mit'*'01: Ein Echo'*'not begun'*"handouts/xx/$STAGE1.md"* ]]
}
