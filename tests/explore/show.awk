# Turns what the explorer prints into sentences, with file, line and source text.
#   ADDRESS TAB FILE:LINE                                  where the steps are
#   STEP|THREAD|WHAT|ADDRESS                               a step of a run
#   |THREAD|WHAT|                                          how a thread ended up
#   ok|NAME|SCHEDULES|PREEMPTIONS|STALE|SPURIOUS|FROZEN    the result, and then the
#   TEXT                                                   rule that was broken
BEGIN { FS = "|" }

function commas(n) {
  return n < 1000 ? n : commas(int(n / 1000)) sprintf(",%03d", n % 1000)
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
  if (step != "") trace[++lines] = sprintf("%6s  %-9s %-40s %s", step, thread, what, where)
  step = ""
}

/\t/ && NF < 2 { split($0, pair, "\t"); place[pair[1]] = pair[2]; next }
$1 ~ /^(ok|note|FAIL)$/ {
  result = $1
  bounds = sprintf("at most %d preemption%s%s", $4, $4 == 1 ? "" : "s",
    bound($5, "stale read") bound($6, "spurious failure") bound($7, "frozen thread"))
  heading = sprintf("%s %s  (%s)", $1, $2, $1 == "ok" ? commas($3) " schedules, " bounds \
    : "schedule " commas($3) " of those with " bounds)
  getline rule
  next
}
$1 ~ /^[0-9]+$/ {
  here = source($4)
  if (step != "" && $2 == thread && here == where && what ~ /^(reads|writes) / && $3 ~ /^(reads|writes) /) {
    what = index(what, $3) ? what : what ", " $3
    next
  }
  flush()
  step = $1; thread = $2; what = $3; where = here
}
$1 == "" && NF == 4 && rule ~ /^(deadlock|not lock-free)/ { flush(); trace[++lines] = sprintf("        %-9s %s", $2, $3) }
END {
  flush()
  if (status == 124) { result = "FAIL"; heading = "FAIL " scenario "  (no end after 100 s)" }
  if (!result) { heading = "FAIL " scenario "  (no result, status " status ")" }
  print heading
  if (rule) print "  " rule
  for (i = 1; i <= lines; i++) print trace[i]
}
