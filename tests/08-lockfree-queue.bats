# Tests for stage 08, the job queue with atomics, and the two rings beside it.
load lib
load tools/queue
load explore/explore

# --- TODO 1 and 2: the ring for two threads

@test "the ring for two takes exactly as many jobs as its capacity" {
  likely "spsc_try_push() compares the wrong two indexes"
  scene fill spsc
  scene full spsc
}

@test "jobs come out of the ring for two in order, until it is empty" {
  likely "the copy of the other index is not loaded again when it says empty"
  scene order spsc
  scene empty spsc
}

@test "a producer and a consumer lose nothing in the ring for two" {
  likely "an index is stored before the job has been copied"
  stress -q spsc -n 200000 -c 100
  stress -q spsc -n 10000 -c 1
}

@test "ThreadSanitizer finds no data race in the ring for two" {
  likely "a job's index is stored or loaded relaxed: see PUBLISH, SEE, FREE, REUSE"
  tsan_stress -q spsc -n 5000 -c 1
  tsan_stress -q spsc -n 30000 -c 3
}

# --- TODO 3 and 4: the ring for many

@test "the queue takes exactly as many jobs as its capacity" {
  likely "put() does not compare the slot's seq with empty_seq()"
  scene fill
  scene full
}

@test "jobs come out in order, round and round" {
  likely "a slot is given back with the wrong sequence number"
  scene order
}

@test "an empty queue says so, and leaves the caller's job alone" {
  likely "take() copies the job before it knows that there is one"
  scene empty
}

@test "two queues have nothing to do with each other" {
  likely "something that belongs in struct job_queue is a variable of the file"
  scene two
  scene create-destroy
}

@test "what is queued when it is closed still comes out, then JQ_CLOSED" {
  likely "take() says JQ_CLOSED as soon as tail has the bit; ask drained()"
  scene close-drains
}

@test "a closed queue refuses jobs, whether it is full or not" {
  likely "put() looks at the slot before it looks at the bit in tail"
  scene close-refuses
}

@test "four producers and four consumers that try lose nothing" {
  likely "two threads get the same ticket, or a slot is handed over too early"
  stress -P 4 -C 4 -n 20000 -c 16 -t
  stress -P 4 -C 4 -n 4000 -c 3 -t
  stress -P 4 -C 4 -n 4000 -c 1 -t
}

@test "the queue works without any lock of the C library" {
  likely "a mutex, a semaphore or a condition variable is still in there"
  expect_no_locks job_queue.c spsc_ring.c scq.c
  stress -P 2 -C 2 -n 2000 -c 4 -t
}

expect_no_locks() {
  local file locks
  for file; do
    ${CC:-cc} -std=c17 -D_GNU_SOURCE -O1 -c -o "$BATS_TEST_TMPDIR/object.o" \
      "$BIN/$file"
    locks=$(nm -u "$BATS_TEST_TMPDIR/object.o" | awk '{ print $NF }' |
      grep -E '^(pthread_(mutex|cond|spin|rwlock|barrier)|sem_|mtx_|cnd_|__atomic_|flockfile)' |
      paste -sd' ' || :)
    expect "list the locks that $file calls (nm -u)" "" "$locks"
  done
}

@test "a push and a pop that find nobody asleep make no system call" {
  likely "wake() calls the kernel although sleepers_now() is 0"
  scene no-syscall
}

@test "ThreadSanitizer finds no data race in the queue" {
  likely "seq is stored or loaded relaxed: see FILLED, TAKE, EMPTIED, REUSE"
  tsan_stress -P 3 -C 3 -n 5000 -c 2 -t
  tsan_stress -P 3 -C 3 -n 5000 -c 5 -t
}

# --- TODO 5 and 6: sleeping

@test "a push sleeps in a futex while the queue is full" {
  likely "jq_push() gives up, or goes on trying for ever"
  scene push-sleeps
}

@test "a pop sleeps in a futex while the queue is empty" {
  likely "jq_pop() gives up, or goes on trying for ever"
  scene pop-sleeps
}

@test "workers that wait for jobs use no processor time" {
  likely "a sleeper wakes up again and again to have a look"
  scene idle
}

@test "a thread that wakes up for no reason waits again" {
  likely "after sleep_on() it goes on as if there were something to take"
  scene spurious-push
  scene spurious-pop
}

# --- TODO 7: waking

@test "a push wakes a sleeping pop" {
  likely "wake() does not reach the thread: look at its epoch and its futex"
  scene push-wakes-pop
  scene_without_membarrier push-wakes-pop
}

@test "a pop wakes a sleeping push" {
  likely "wake() does not reach the thread: look at its epoch and its futex"
  scene pop-wakes-push
  scene_without_membarrier pop-wakes-push
}

@test "for each job a sleeper wakes up" {
  likely "only some changes wake somebody (when the queue was empty, say)"
  scene wake-each
  scene_without_membarrier wake-each
}

@test "what happens just before a thread falls asleep still wakes it" {
  likely "the epoch is not changed by wake(), or loaded again for sleep_on()"
  scene last-moment
  scene_without_membarrier last-moment
}

# --- TODO 8: closing, and all of it together

@test "closing wakes everyone" {
  likely "jq_close() wakes one thread only, or forgets producers or consumers"
  scene close-wakes
  scene close-last-moment
}

@test "four producers and four consumers that block lose nothing" {
  likely "a wake-up gets lost: someone sleeps although there is something to do"
  stress -P 4 -C 4 -n 10000 -c 16
  stress -P 4 -C 4 -n 3000 -c 1
  stress -P 1 -C 4 -n 5000 -c 2
}

@test "what the other side wrote before is visible: jobs, and the reason to close" {
  likely "SHUT needs release, SHUT-P and SHUT-C need acquire"
  tsan_scene shows
  tsan_scene close-shows
}

# --- TODO 9 and 10: the bonus

@test "the strictly lock-free queue works for one thread" {
  likely "the entry's cycle, its safe bit or its index is packed wrongly"
  scene fill scq
  scene full scq
  scene order scq
  scene empty scq
}

@test "four producers and four consumers lose nothing in the strictly lock-free queue" {
  likely "an entry is changed with a store instead of a compare-and-swap or an or"
  stress -q scq -P 4 -C 4 -n 20000 -c 16
  stress -q scq -P 4 -C 4 -n 4000 -c 3
  stress -q scq -P 4 -C 4 -n 4000 -c 1
  tsan_stress -q scq -P 3 -C 3 -n 4000 -c 2
}

# --- make explore STAGE=08: the tests of the interleaving explorer, 08.explore-*
# (25 points) stand below this line.

@test "in every order of the steps, the ring for two hands over each job whole" {
  likely "an index is stored too early, or relaxed"
  explore spsc spsc-3 spsc-laps
}

@test "in every order of the steps, try calls answer as if they came one by one" {
  likely "a sequence number is stored too early or relaxed, or does not tell the lap"
  explore try-1x1 try-one-slot try-three try-2x1 try-1x2 try-2x2 try-mixed len
}

@test "counters may wrap, and a thread may sleep through a whole lap" {
  likely "a counter or a sequence number is too short"
  explore laps-8 laps-16 asleep-push asleep-pop
}

@test "a try call ends even if another thread stands still in the middle of one" {
  likely "there is a lock, or a loop that waits for another thread"
  explore try-frozen lock-free-push lock-free-pop
}

@test "no order of the steps loses a wake-up between push and pop" {
  likely "a sleeper does not look again after announcing itself, or is not seen"
  explore sleep-1x1 sleep-2x1 sleep-1x2 sleep-2x2 sleep-2x2-full sleep-no-membarrier
}

@test "no order of the steps makes close lose a job or leave a sleeper behind" {
  likely "a push can still get a ticket after the close, or a sleeper is not woken"
  explore close-pop close-push close-race
}

@test "the strictly lock-free queue stands every order of the steps, and a thread that stops" {
  likely "an entry is used again too early, the attempts are too few, or a thread waits for another one"
  explore scq-lock-free-push scq-lock-free-pop scq-1x1 scq-mixed scq-2x1 scq-1x2 scq-passed \
    scq-crowd scq-catches-up
}
