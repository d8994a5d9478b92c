# Tests for the grader of submissions that nobody trusts: what is tried against it, and
# that nothing comes of it. An attack is a C function put into the reference of stage 01:
# if it returns true the program then is the honest server, so points mean success.
bats_require_minimum_version 1.5.0

setup_file() {
  ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  cd "$ROOT" && make -s tools
}

setup() {
  ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  cd "$ROOT" || return
  [ -d solutions ] || skip "attacks are made from solutions/"
  STAGE=01-blocking-echo
  SUBMISSION=$BATS_TEST_TMPDIR/submission OUT=$BATS_TEST_TMPDIR/out
  mkdir -p "$SUBMISSION/$STAGE"
  cp "solutions/$STAGE/echo.c" "$SUBMISSION/$STAGE"
}

grade() { # [OPTIONS]
  run timeout 200 scripts/grade -o "$OUT" -t '^a line comes back$' "$@" "$SUBMISSION" 01
}

points() { sed -n '1s/.*"points":\([0-9]*\),.*/\1/p' "$OUT/${1:-$STAGE}.json"; }

needs() { # WORD: of what grade says about this machine
  grade
  [[ $output != *"does not allow"*"$1"* ]] || skip "this machine does not allow $1"
  [ "$(points)" = 6 ]
}

# attack BODY: a submission that does this first; @ROOT@ is the folder of the kit.
attack() {
  {
    printf '%s\n' '#include <fcntl.h>' '#include <net/if.h>' '#include <sys/stat.h>' '#include <sys/wait.h>'
    sed '/^int$/,$d' "solutions/$STAGE/echo.c"
    printf 'static int\nattack(void)\n{\n%s\n}\n\n' "${1//@ROOT@/$ROOT}"
    sed -n '/^int$/,$p' "solutions/$STAGE/echo.c" |
      sed '/^{/a if (!attack()) { fputs("no success\\n", stderr); return 9; }'
  } >"$SUBMISSION/$STAGE/echo.c"
}

in_vain() { # the attack ran, and had no success
  grade
  [ "$(points)" = 0 ]
  grep -q 'no success' "$OUT/$STAGE.txt"
}

@test "an attack that succeeds would be seen" {
  attack 'return 1;'
  grade
  [ "$(points)" = 6 ]
}

@test "attack: print verdicts, to everything that can be opened" {
  attack 'static const char forged[] = "ok 1 a line comes back in 1ms\n1..1\n";
    char path[64];
    for (int pid = 1; pid < 100; pid++) {
        for (int fd = 0; fd < 20; fd++) {
            snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
            int to = pid == getpid() ? fd : open(path, O_WRONLY);
            if (to >= 0)
                (void)!write(to, forged, sizeof forged - 1);
        }
    }
    return 0;'
  in_vain
}

@test "attack: kill the grader" {
  attack 'for (pid_t pid = getppid(); pid > 1; pid--)
        if (pid != getpid())
            kill(pid, SIGKILL);
    kill(-1, SIGKILL);
    return 0;'
  grade
  [ "$(points)" = 0 ]
  grep -q '"id":"01.line"' "$OUT/$STAGE.json"
}

@test "attack: fork without end" {
  attack 'for (;;)
        if (fork() < 0)
            usleep(1000);
    return 0;'
  grade
  [ "$(points)" = 0 ]
  grep -q '"id":"01.line"' "$OUT/$STAGE.json"
}

@test "attack: a process that outlives the tests" {
  attack 'if (fork() == 0 && setsid() && fork() == 0) {
        execl("/proc/self/exe", "outlives-the-tests", "-p", "0", (char *)NULL);
        pause();
    }
    return 0;'
  grade
  run grep -lsa outlives-the-tests /proc/[0-9]*/cmdline
  [ "$(grep -c . <<<"$output")" -le 1 ] # the grep itself
}

@test "attack: fill the disk" {
  attack 'static char megabyte[1 << 20];
    static const char *const where[] = {".", "/tmp", "/var/tmp", "/dev/shm", "@ROOT@", "/mnt"};
    for (int i = 0; i < 6; i++) {
        if (chdir(where[i]) < 0)
            continue;
        int fd = open("big", O_WRONLY | O_CREAT, 0600);
        for (int n = 0; n < 400; n++)
            if (write(fd, megabyte, sizeof megabyte) < 0)
                goto next;
        return 1;
    next:
        unlink("big");
    }
    return 0;'
  in_vain
}

@test "attack: use all memory" {
  needs memory
  attack 'for (int n = 0; n < 3000; n++) {
        char *p = malloc(1 << 20);
        if (p == NULL)
            return 0;
        memset(p, n | 1, 1 << 20);
    }
    return 1;'
  grade -m 512
  [ "$(points)" = 0 ]
}

@test "attack: read solutions and tests at run time" {
  attack 'static const char *const secret[] = {
        "@ROOT@/solutions/01-blocking-echo/echo.c", "@ROOT@/README.md", "@ROOT@/Makefile",
        "tests/points", "tests/01-blocking-echo.bats", "../../../tests/points",
        "/mnt/tests/points", "/mnt/tests/lib.bash", "/etc/shadow"};
    for (int i = 0; i < 9; i++)
        if (open(secret[i], O_RDONLY) >= 0)
            return 1;
    return 0;'
  in_vain
}

@test "attack: include the solution" {
  printf '#include "%s/solutions/%s/echo.c"\n' "$ROOT" "$STAGE" >"$SUBMISSION/$STAGE/echo.c"
  grade
  [ "$(points)" = 0 ]
  grep -q 'No such file\|Permission denied\|cannot open' "$OUT/$STAGE.txt"
  printf '#if __has_include("%s/solutions/%s/echo.c")\n#include "%s/solutions/%s/echo.c"\n#endif\n' \
    "$ROOT" "$STAGE" "$ROOT" "$STAGE" >"$SUBMISSION/$STAGE/echo.c"
  grade
  [ "$(points)" = 0 ]
}

@test "attack: bring a Makefile, a test and a header along" {
  attack 'return 0;'
  printf 'echo asan:\n\tcp %s/solutions/%s/echo .\n' "$ROOT" "$STAGE" >"$SUBMISSION/$STAGE/Makefile"
  mkdir -p "$SUBMISSION/tests"
  echo '@test "a line comes back" { :; }' >"$SUBMISSION/tests/$STAGE.bats"
  in_vain
}

@test "attack: wrap a program that is there already" {
  attack 'int status;
    for (int way = 0; way < 2; way++) {
        if (fork() == 0) {
            if (way == 0)
                execl("/bin/true", "true", (char *)NULL);
            else
                execl("/lib64/ld-linux-x86-64.so.2", "ld.so", "/bin/true", (char *)NULL);
            _exit(1);
        }
        wait(&status);
        if (status == 0)
            return 1;
    }
    return 0;'
  grade
  [[ $output != *"does not allow Landlock"* ]] || skip "this machine does not allow Landlock"
  in_vain
}

@test "attack: look into other processes" {
  attack 'char path[64];
    for (int pid = 1; pid < 100; pid++) {
        snprintf(path, sizeof path, "/proc/%d/environ", pid);
        if (pid != getpid() && open(path, O_RDONLY) >= 0)
            return 1;
    }
    return 0;'
  grade
  [[ $output != *"does not allow Landlock"* ]] || skip "this machine does not allow Landlock"
  in_vain
}

@test "attack: use a descriptor that was left open" {
  attack 'for (int fd = 3; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            return 1;
    return 0;'
  in_vain
}

@test "attack: reach the network" {
  needs namespaces
  attack 'char name[IF_NAMESIZE]; /* of an interface that is not the loopback */
    for (unsigned i = 2; i < 100; i++)
        if (if_indextoname(i, name))
            return 1;
    return 0;'
  in_vain
}

@test "attack: code that runs before main" {
  local module=07-lock-queue
  mkdir "$SUBMISSION/$module"
  { cat "solutions/$module/job_queue.c"
    printf '__attribute__((constructor)) static void early(void) { _exit(0); }\n'
  } | sed '1i #include <unistd.h>' >"$SUBMISSION/$module/job_queue.c"
  run timeout 200 scripts/grade -o "$OUT" -t 'as many jobs as the capacity' "$SUBMISSION" 07
  [ "$(points "$module")" = 0 ]
  grep -q 'before main' "$OUT/$module.txt"
}

@test "attack: links and paths in an archive that lead outside" {
  cd "$BATS_TEST_TMPDIR"
  mkdir -p bad/$STAGE
  ln -s "$ROOT/solutions/$STAGE/echo.c" bad/$STAGE/echo.c
  tar -cf link.tar -C bad $STAGE
  run "$ROOT/scripts/grade" -o "$OUT" link.tar 01
  [ "$(points)" = 0 ]
  run "$ROOT/scripts/grade" -o "$OUT" bad 01
  [ "$(points)" = 0 ]
  tar -cPf path.tar --transform "s|.*|../../../../../../$BATS_TEST_TMPDIR/escaped/$STAGE/echo.c|" \
    "$SUBMISSION/$STAGE/echo.c"
  "$ROOT/scripts/grade" -o "$OUT" -t '^a line comes back$' path.tar 01
  [ ! -e escaped ]
}

@test "a folder, a tar, a compressed tar, or the single file alone are submissions" {
  tar -czf "$BATS_TEST_TMPDIR/s.tgz" -C "$SUBMISSION" .
  tar -cf "$BATS_TEST_TMPDIR/s.tar" -C "$SUBMISSION/$STAGE" echo.c
  local what
  for what in "$SUBMISSION" "$SUBMISSION/$STAGE" "$BATS_TEST_TMPDIR/s.tgz" "$BATS_TEST_TMPDIR/s.tar"; do
    rm -rf "$OUT"
    run -0 timeout 200 scripts/grade -o "$OUT" -t '^a line comes back$' "$what" 01
    [[ $output == *'01-blocking-echo: 6 of 6 points'* ]]
  done
}

@test "of a whole clone the file in labs/ is graded, and never the reference" {
  local clone=$BATS_TEST_TMPDIR/clone other
  for other in solutions build/starters tests/starters .backup labs; do
    mkdir -p "$clone/$other/$STAGE"
    echo 'int main(void) { return 1; }' >"$clone/$other/$STAGE/echo.c"
  done
  cp "solutions/$STAGE/echo.c" "$clone/labs/$STAGE"
  tar -cf "$BATS_TEST_TMPDIR/clone.tar" -C "$BATS_TEST_TMPDIR" clone
  SUBMISSION=$BATS_TEST_TMPDIR/clone.tar grade
  [ "$(points)" = 6 ]
  rm -r "$clone/labs"
  SUBMISSION=$clone grade
  [[ $output == *"nothing was submitted for $STAGE"* ]]
  [ "$(points)" = 0 ]
}

@test "names of an archive are no patterns, and what cannot be taken is said" {
  command -v zip >/dev/null && command -v unzip >/dev/null || skip "no zip or unzip (apt-get install zip unzip)"
  mkdir "$BATS_TEST_TMPDIR/[ab]* (1)"
  mv "$SUBMISSION/$STAGE" "$BATS_TEST_TMPDIR/[ab]* (1)"
  (cd "$BATS_TEST_TMPDIR" && zip -qr good.zip '[ab]* (1)' && zip -qre -P word locked.zip '[ab]* (1)')
  SUBMISSION=$BATS_TEST_TMPDIR/good.zip grade
  [ "$(points)" = 6 ]
  SUBMISSION=$BATS_TEST_TMPDIR/locked.zip grade
  [[ $output == *"/$STAGE/echo.c cannot be taken"* ]]
}

@test "a file alone is that of the one stage asked for; make grade takes any name" {
  run -2 scripts/grade -o "$OUT" -t '^a line comes back$' "$SUBMISSION/$STAGE"
  [[ $output == *'no file that a stage asks for'* ]]
  mv "$SUBMISSION/$STAGE" "$BATS_TEST_TMPDIR/ada (1)"
  run -0 make -s --no-print-directory grade SUBMISSION="$BATS_TEST_TMPDIR/ada (1)" STAGE=1 \
    GRADE="-o '$OUT' -t '^a line comes back'"
  [ "$(points)" = 6 ]
}

@test "who has no result has an error in every format, and not the points of the one before" {
  grade
  [ "$(points)" = 6 ]
  mkdir "$BATS_TEST_TMPDIR/bin" # with a sandbox that is there and runs nothing
  printf '#!/bin/sh\nfor last; do :; done\n[ "$last" = true ]\n' >"$BATS_TEST_TMPDIR/bin/unshare"
  chmod +x "$BATS_TEST_TMPDIR/bin/unshare"
  PATH=$BATS_TEST_TMPDIR/bin:$PATH run -1 scripts/grade -o "$OUT" -f junit -f tap -f csv "$SUBMISSION" 01
  [[ $output == *"no result for $STAGE"*"$STAGE: 0 of 100 points"* ]]
  grep -q 'errors="1"' "$OUT/junit"
  grep -q '^not ok 1' "$OUT/tap"
  grep -q "^$STAGE,01.result,error,0,100," "$OUT/csv"
  TMPDIR=/nonexistent run ! scripts/grade -o "$OUT" "$SUBMISSION" 01
  [ -z "$(ls "$OUT")" ]
}

@test "a grading that is ended leaves no process, no file and no control group" {
  mkdir "$BATS_TEST_TMPDIR/tmp"
  printf '#include <unistd.h>\nint main(void) { for (;;) pause(); }\n' >"$SUBMISSION/$STAGE/echo.c"
  TMPDIR=$BATS_TEST_TMPDIR/tmp scripts/grade -o "$OUT" "$SUBMISSION" 01 3>&- 4>&- &
  local pid=$!
  running() { grep -lsa "$BATS_TEST_TMPDIR/tmp/grade[.]" /proc/[0-9]*/cmdline 2>/dev/null | grep .; } # not itself
  for _ in {1..200}; do
    sleep 0.05
    [ ! -e "$OUT/log" ] || break
  done
  sleep 0.5
  running
  kill "$pid"
  wait "$pid" || [ $? = 130 ]
  run ! running
  [ -z "$(ls "$BATS_TEST_TMPDIR/tmp")" ]
  [ ! -e "/sys/fs/cgroup/lab-$pid" ] && [ ! -e "/sys/fs/cgroup/memory/lab-$pid" ]
}

@test "what is no submission gets a clear error" {
  run -2 scripts/grade -o "$OUT" "$BATS_TEST_TMPDIR/nothing"
  [[ $output == *'no such file'* ]]
  echo text >"$BATS_TEST_TMPDIR/text.tar"
  run -2 scripts/grade -o "$OUT" "$BATS_TEST_TMPDIR/text.tar"
  [[ $output == *'cannot be read'* ]]
  mkdir "$BATS_TEST_TMPDIR/empty"
  run -2 scripts/grade -o "$OUT" "$BATS_TEST_TMPDIR/empty"
  [[ $output == *'no file that a stage asks for'* ]]
  run -2 scripts/grade -o "$OUT" "$SUBMISSION" 77
  [[ $output == *'no stage 77'* ]]
  run -2 scripts/grade
  [[ $output == *usage:* ]]
}
