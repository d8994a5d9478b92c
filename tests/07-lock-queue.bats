# Tests for stage 07, the job queue with a lock.
load lib
load tools/queue
load explore/explore

# --- TODO 1 and 2: the ring

@test "as many jobs as the capacity go in, and jq_len counts them" {
  likely "append(): the free place is count places after first, modulo capacity"
  scene fill
}

@test "jobs come out in order, round and round" {
  likely "first or count goes wrong where the ring begins again"
  scene order
}

@test "a queue can be destroyed with jobs inside, and cannot be made for nothing" {
  likely "append() or take() writes outside of the array"
  scene create-destroy
}

# --- TODO 3 and 4: answers

@test "a full queue refuses the next job" {
  likely "finish_push() does not compare count with capacity"
  scene full
}

@test "an empty queue says so, and leaves the caller's job alone" {
  likely "finish_pop() does not look at count first"
  scene empty
}

@test "two queues have nothing to do with each other" {
  likely "something that belongs in struct job_queue is a variable of the file"
  scene two
}

@test "what is queued when it is closed still comes out, then JQ_CLOSED" {
  likely "finish_pop() looks at closed before it looks at count"
  scene close-drains
}

@test "a closed queue refuses jobs, whether it is full or not" {
  likely "finish_push() looks at count only, or at count first"
  scene close-refuses
}

@test "four producers and four consumers that try lose nothing" {
  likely "something is changed, or a way out taken, without the lock or with it"
  stress -P 4 -C 4 -n 20000 -c 16 -t
  stress -P 4 -C 4 -n 4000 -c 1 -t
}

# --- TODO 5 and 6: sleeping

@test "a push sleeps in pthread_cond_wait while the queue is full" {
  likely "jq_push() does not wait, or it waits in a loop that never sleeps"
  scene push-sleeps
}

@test "a pop sleeps in pthread_cond_wait while the queue is empty" {
  likely "jq_pop() does not wait, or it waits in a loop that never sleeps"
  scene pop-sleeps
}

@test "workers that wait for jobs use no processor time" {
  likely "a sleeper wakes up again and again to have a look"
  scene idle
}

@test "a thread that wakes up for no reason waits again" {
  likely "if instead of while: what was true before the sleep need not be so now"
  scene spurious-push
  scene spurious-pop
}

# --- TODO 7: waking

@test "a push wakes a sleeping pop" {
  likely "unlock_and_wake() does not signal, or signals the wrong condition"
  scene push-wakes-pop
}

@test "a pop wakes a sleeping push" {
  likely "unlock_and_wake() does not signal, or signals the wrong condition"
  scene pop-wakes-push
}

@test "for each job a sleeper wakes up" {
  likely "only some changes are signalled (when the queue was empty, say)"
  scene wake-each
}

@test "what happens just before a thread falls asleep still wakes it" {
  likely "the lock is not held from the look at the queue to pthread_cond_wait()"
  scene last-moment
}

# --- TODO 8: closing, and all of it together

@test "closing wakes everyone" {
  likely "signal instead of broadcast, or one of the two conditions forgotten"
  scene close-wakes
}

@test "closing just before a thread falls asleep still wakes it" {
  likely "closed is set without holding the lock"
  scene close-last-moment
}

@test "four producers and four consumers that block lose nothing" {
  likely "a wake-up gets lost: someone sleeps although there is something to do"
  stress -P 4 -C 4 -n 10000 -c 16
  stress -P 4 -C 4 -n 3000 -c 1
  stress -P 1 -C 4 -n 5000 -c 2
}

@test "ThreadSanitizer finds no data race" {
  likely "a field is read or written without the lock"
  tsan_scene shows
  tsan_scene close-shows
  tsan_stress -P 3 -C 3 -n 3000 -c 2
  tsan_stress -P 3 -C 3 -n 3000 -c 4 -t
}

# --- make explore STAGE=07: the tests of the interleaving explorer, 07.explore-*
# (25 points) stand below this line.

@test "no order of the steps loses a job or a wake-up between push and pop" {
  likely "a wait that is not in a loop, or a wake-up that some path forgets"
  explore one-slot two-slots two-producers two-consumers two-and-two
}

@test "in every order of the steps, try calls answer as if they came one by one" {
  likely "a field is read or written without the lock"
  explore try
}

@test "no order of the steps makes close lose a job or leave a sleeper behind" {
  likely "closed is set without the lock, or one of those who sleep is not woken"
  explore close-pop close-push close-race
}
