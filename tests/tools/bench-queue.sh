#!/usr/bin/env bash
# Measures the queues of stages 07 and 08, a plain pthread queue, and
# boost::lockfree::queue if its headers are installed, in interleaved rounds:
# each round runs every queue once, so that whatever slows the machine down for a
# while hits all of them. Prints CSV: see bench_queue.c for the columns.
set -eu
cd "$(dirname "$0")/../.."

usage() {
  echo "usage: tests/tools/bench-queue.sh [-r ROUNDS] [-n JOBS] [-o BUILDDIR] [-m]
  -r ROUNDS    rounds (9)
  -n JOBS      jobs for each of the lock-free queues; a third with locks (3000000)
  -o BUILDDIR  where the programs are built (build/bench/queue)
  -m           print medians and ratios on stderr as well"
}

rounds=9 jobs=3000000 out=build/bench/queue medians=0
while getopts r:n:o:mh opt; do
  case $opt in
    r) rounds=$OPTARG ;;
    n) jobs=$OPTARG ;;
    o) out=$OPTARG ;;
    m) medians=1 ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done

lock=solutions/07-lock-queue ring=solutions/08-lockfree-queue tools=tests/tools
mkdir -p "$out"
build() { # NAME FOLDER-OF-HEADERS FILES AND OPTIONS
  local name=$1 folder=$2
  shift 2
  "${CC:-cc}" -O2 -std=c17 -D_GNU_SOURCE -Wall -Wextra -I"$folder" \
    -o "$out/$name" "$tools/bench_queue.c" "$@" -pthread
}
build 07-lock $lock $lock/job_queue.c
build 08-mpmc $ring $ring/job_queue.c
build 08-spsc $ring $ring/spsc_ring.c -DBENCH_SPSC
build 08-scq $ring $ring/scq.c -DBENCH_SCQ
build pthread $lock $tools/bench_pthread.c
names='07-lock pthread 08-mpmc 08-scq'
if "${CXX:-c++}" -O2 -w -o "$out/boost" $tools/bench_boost.cc -pthread 2>"$out/boost.log"; then
  names="$names boost"
else
  echo 'boost::lockfree::queue is left out: needs c++ and its headers (apt install g++ libboost-dev)' >&2
fi

one() { # NAME WAY PRODUCERS CONSUMERS CAPACITY
  local n=$jobs
  case $1 in 07-lock | pthread | boost) n=$((jobs / 3)) ;; esac
  "$out/$1" "$1" "$2" "$3" "$4" "$5" "$n"
}

measure() {
  local round capacity threads name
  echo 'queue,way,producers,consumers,capacity,jobs,seconds,per_second'
  for ((round = 0; round < rounds; round++)); do
    for capacity in 128 1024; do
      for threads in 1 2 4; do
        for name in $names; do one "$name" try $threads $threads $capacity; done
        for name in 07-lock 08-mpmc; do one $name block $threads $threads $capacity; done
        [ "$threads" != 1 ] || one 08-spsc try 1 1 $capacity
      done
    done
    for name in 07-lock pthread 08-mpmc; do
      one $name alone 1 1 128
      one $name alone-block 1 1 128
    done
  done
}

# "median [lowest-highest]" of each queue, in millions, and how it compares with
# the plain pthread queue in the same round.
summary() {
  awk -F, 'NR > 1 { key = $2 "," $3 "x" $4 "," $5
      if (!(key in seen)) { seen[key] = 1; keys[++n] = key }
      if (!(key "," $1 in rows)) order[key] = order[key] " " $1
      value[key "," $1, ++rows[key "," $1]] = $8 / 1e6 }
    function sorted(name,   i, j, t, m) {
      m = rows[name]
      for (i = 1; i <= m; i++) v[i] = value[name, i]
      for (i = 2; i <= m; i++) { t = v[i]; for (j = i - 1; j > 0 && v[j] > t; j--) v[j + 1] = v[j]; v[j + 1] = t }
      return m
    }
    END { for (k = 1; k <= n; k++) { print keys[k]
      count = split(order[keys[k]], list, " ")
      for (i = 1; i <= count; i++) { m = sorted(keys[k] "," list[i])
        printf "  %-8s %7.2f  [%.2f-%.2f]\n", list[i], v[int((m + 1) / 2)], v[1], v[m] } } }'
}

if [ "$medians" = 1 ]; then
  measure | tee "$out/queue.csv"
  summary <"$out/queue.csv" >&2
else
  measure
fi
