# Turns what the explorer prints into sentences, with file, line and source text.
#   ADDRESS TAB FILE:LINE                                  where the steps are
#   STEP|THREAD|WHAT|ADDRESS                               a step of a run
#   |THREAD|WHAT|                                          how a thread ended up
#   ok|NAME|SCHEDULES|PREEMPTIONS|STALE|SPURIOUS|FROZEN    the result, and then the
#   TEXT                                                   rule that was broken
BEGIN { FS = "|" }

function commas(n) {
  return n < 1000 ? n "" : commas(int(n / 1000)) sprintf(",%03d", n % 1000)
}

function bound(n, what) {
  return n == 0 ? "" : ", " n " " what (n > 1 ? "s" : "")
}

function source(address,   part, line, n) {
  split(place[address], part, ":")
  if (!(part[2] + 0)) return ""
  if (!((part[1], 0) in text)) {
    text[part[1], 0] = "read"
    while ((getline line < part[1]) > 0) text[part[1], ++n] = line
  }
  line = text[part[1], part[2] + 0]
  gsub(/^[ \t]+/, "", line)
  gsub(/.*\//, "", part[1])
  return part[1] ":" (part[2] + 0) "  " line
}

# Plain accesses by the same line of code become one line.
function flush() {
  if (step) trace[++lines] = sprintf("%7s  %-9s %-40s %s",
    step (last > step ? "-" last : ""), thread, what, where)
  sub(/ +$/, "", trace[lines])
  step = ""
}

/\t/ && NF < 2 { split($0, pair, "\t"); place[pair[1]] = pair[2]; next }
$1 ~ /^(ok|note|FAIL)$/ {
  bounds = sprintf("at most %d preemption%s%s", $4, $4 == 1 ? "" : "s",
    bound($5, "stale read") bound($6, "spurious failure") bound($7, "frozen thread"))
  heading = $1 == "ok" \
    ? sprintf("%s %s  (%s schedule%s, %s)", $1, $2, commas($3), $3 == 1 ? "" : "s", bounds) \
    : sprintf("%s %s  (schedule %s of those with %s)", $1, $2, commas($3), bounds)
  terse = $1 == "note" && !named
  getline rule
  next
}
$1 ~ /^[0-9]+$/ {
  at = source($4)
  if (step && $2 == thread && at == where && (what " " $3) ~ /^(reads|writes) .* (reads|writes) /) {
    if (!index(what, $3)) what = what ", " $3
    last = $1
    next
  }
  flush()
  step = last = $1; thread = $2; what = $3; where = at
}
$1 == "" && NF == 4 && rule ~ /^(DEADLOCK|LOST|LIVELOCK|NOT LOCK-FREE)/ {
  flush()
  trace[++lines] = sprintf("         %-9s %s", $2, $3)
}
END {
  flush()
  if (late) {
    heading = "FAIL " scenario "  (no end after " limit " s)"
    rule = "TOO MANY schedules: does a thread that waits go round and round?"
  }
  print heading
  if (rule) print "  " rule
  if (terse) print "  (to see how, name the scenario)"
  for (i = 1; i <= lines && !terse; i++) print trace[i]
}
