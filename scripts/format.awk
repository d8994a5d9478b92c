# From the neutral result to the formats of platforms: see scripts/format.
# Strings stay as they are in JSON (raw) where JSON comes out; plain() undoes the
# escapes for every other format. Texts are valid UTF-8 without control bytes:
# scripts/report.awk has seen to that.

# The raw value of a member of the JSON object on this line, strings without quotes.
function member(key,    rest, at) {
    at = index($0, "\"" key "\":")
    if (!at)
        return ""
    rest = substr($0, at + length(key) + 3)
    if (rest ~ /^"/) {
        match(rest, /^"([^"\\]|\\.)*"/)
        return substr(rest, 2, RLENGTH - 2)
    }
    match(rest, /^[0-9]+/)
    return substr(rest, 1, RLENGTH)
}

function plain(raw,    out, c) {
    while (match(raw, /\\./)) {
        c = substr(raw, RSTART + 1, 1)
        out = out substr(raw, 1, RSTART - 1) (c == "n" ? "\n" : c == "t" ? "\t" : c)
        raw = substr(raw, RSTART + 2)
    }
    return out raw
}

function xml(s) {
    gsub(/&/, "\\&amp;", s)
    gsub(/</, "\\&lt;", s)
    gsub(/>/, "\\&gt;", s)
    gsub(/"/, "\\&quot;", s)
    return s
}

function environment(key, otherwise) {
    return key in ENVIRON && ENVIRON[key] != "" ? ENVIRON[key] : otherwise
}

function json(s) { # a text that is not in JSON yet
    gsub(/\\/, "&&", s)
    gsub(/"/, "\\\"", s)
    return "\"" s "\""
}

/^\{"schema":/ {
    stages++
    stage[stages] = member("stage")
    stage_points[stages] = member("points")
    stage_max[stages] = member("max")
    stage_env[stages] = member("env")
    points += stage_points[stages]
    max += stage_max[stages]
}

/^\{"id":/ {
    n++
    of[n] = stages
    id[n] = member("id")
    status[n] = member("status")
    got[n] = member("points")
    worth[n] = member("max")
    title[n] = member("title")
    message[n] = member("message")
    hint[n] = member("hint")
    ms[n] = member("duration_ms")
    stage_ms[stages] += ms[n]
    total_ms += ms[n]
    count[stages, status[n]]++
    tests[stages]++
}

function failed(i) { return status[i] != "pass" && status[i] != "skip" }

# Why test i has no points, as one text: raw JSON.
function why(i) {
    return message[i] (failed(i) ? "next: " hint[i] : "")
}

END {
    if (format == "gradescope") gradescope()
    else if (format == "autolab") autolab()
    else if (format == "classroom50") classroom50()
    else if (format == "junit") junit()
    else if (format == "tap") tap()
    else if (format == "csv") csv()
    else report()
}

# https://gradescope-autograders.readthedocs.io/en/latest/specs/
function gradescope(    i) {
    printf "{\"score\":%d,\"execution_time\":%.2f,\"output_format\":\"text\",", points, total_ms / 1000
    printf "\"output\":\"%d of %d points\",\"visibility\":\"visible\",", points, max
    print "\"stdout_visibility\":\"hidden\",\"tests\":["
    for (i = 1; i <= n; i++) {
        printf "{\"number\":\"%d.%d\",\"name\":\"%s: %s\",\"score\":%d,\"max_score\":%d,",
            of[i], i, id[i], title[i], got[i], worth[i]
        printf "\"status\":\"%s\",\"output\":\"%s\",\"output_format\":\"text\",\"tags\":[\"%s\"]}%s\n",
            status[i] == "pass" ? "passed" : "failed", why(i), stage[of[i]], (i < n ? "," : "")
    }
    print "]}"
}

# https://docs.autolabproject.com/lab/ : the last line of stdout. A problem is a stage.
function autolab(    s, i, scores, board) {
    printf "{\"_presentation\":\"semantic\",\"stages\":["
    for (s = 1; s <= stages; s++)
        printf "%s\"%s\"", (s > 1 ? "," : ""), stage[s]
    printf "]"
    for (s = 1; s <= stages; s++) {
        printf ",\"%s\":{", stage[s]
        board = ""
        for (i = 1; i <= n; i++) {
            if (of[i] != s)
                continue
            printf "%s\"%s\":{\"passed\":%s", board, title[i], failed(i) ? "false" : "true"
            if (failed(i))
                printf ",\"hint\":\"%s\"", why(i)
            printf "}"
            board = ","
        }
        printf "}"
    }
    print "}"
    for (s = 1; s <= stages; s++)
        scores = scores (s > 1 ? "," : "") "\"" stage[s] "\":" stage_points[s]
    printf "{\"scores\":{%s},\"scoreboard\":[%d]}\n", scores, points
}

# Classroom 50, schemas/result-v1.schema.json: whole numbers only.
function classroom50(    i, owner) {
    owner = environment("OWNER", environment("USERNAME", "nobody"))
    printf "{\"schema\":\"classroom50/result/v1\",\"classroom\":%s,\"assignment\":%s,",
        json(environment("CLASSROOM", "none")), json(environment("ASSIGNMENT", "event-loop-lab"))
    printf "\"assignment_type\":%s,\"owner\":%s,\"submission\":%s,",
        json(environment("ASSIGNMENT_TYPE", "individual")), json(owner),
        json(environment("SUBMISSION_TAG", "submit/local"))
    printf "\"commit\":%s,\"release\":%s,\"review\":%s,\"datetime\":\"%s\",",
        json(environment("COMMIT_URL", "")), json(environment("RELEASE_URL", "")),
        json(environment("REVIEW_URL", "")), now
    printf "\"score\":%d,\"max-score\":%d,\"tests\":[\n", points, max
    for (i = 1; i <= n; i++)
        printf "{\"test-name\":\"%s: %s\",\"passed\":%s,\"score\":%d,\"max-score\":%d,\"message\":\"%s\"}%s\n",
            id[i], title[i], status[i] == "pass" ? "true" : "false", got[i], worth[i], why(i),
            (i < n ? "," : "")
    print "]}"
}

# As bats, GitLab and Jenkins know it.
function junit(    s, i) {
    print "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
    printf "<testsuites time=\"%.3f\">\n", total_ms / 1000
    for (s = 1; s <= stages; s++) {
        printf "<testsuite name=\"%s\" tests=\"%d\" failures=\"%d\" errors=\"%d\" skipped=\"%d\" time=\"%.3f\" timestamp=\"%s\">\n",
            xml(plain(stage[s])), tests[s], count[s, "fail"] + count[s, "timeout"],
            count[s, "error"], count[s, "skip"], stage_ms[s] / 1000, substr(now, 1, 19)
        for (i = 1; i <= n; i++)
            if (of[i] == s)
                testcase(i)
        print "</testsuite>"
    }
    print "</testsuites>"
}

function testcase(i,    tag) {
    printf "<testcase classname=\"%s\" name=\"%s: %s\" time=\"%.3f\"",
        xml(plain(stage[of[i]])), id[i], xml(plain(title[i])), ms[i] / 1000
    if (status[i] == "pass") {
        print "/>"
        return
    }
    tag = status[i] == "skip" ? "skipped" : status[i] == "error" ? "error" : "failure"
    printf "><%s message=\"%s\">%s</%s></testcase>\n", tag,
        xml(status[i] ", " worth[i] " points"), xml(plain(why(i))), tag
}

function tap(    i, line) {
    print "1.." n + 0
    for (i = 1; i <= n; i++) {
        line = plain(title[i])
        gsub(/#/, "\\#", line) # or it might begin a directive
        printf "%sok %d - %s %s%s\n", failed(i) ? "not " : "", i, id[i], line,
            status[i] == "skip" ? " # SKIP " plain(message[i]) : ""
        if (failed(i)) {
            line = plain(why(i))
            gsub(/\n/, "\n# ", line)
            print "# " line
        }
    }
}

function csv(    i, line) {
    print "stage,test,status,points,max,title"
    for (i = 1; i <= n; i++) {
        line = plain(title[i])
        gsub(/"/, "\"\"", line)
        printf "%s,%s,%s,%d,%d,\"%s\"\n", stage[of[i]], id[i], status[i], got[i], worth[i], line
    }
}

function report(    s, i, out) {
    for (s = 1; s <= stages; s++) {
        printf "%s: %d of %d points\n", stage[s], stage_points[s], stage_max[s]
        for (i = 1; i <= n; i++) {
            if (of[i] != s || status[i] == "pass")
                continue
            out = plain(why(i))
            gsub(/\n/, "\n      ", out)
            printf "  %s %s (%d points): %s\n      %s\n", status[i], id[i], worth[i], plain(title[i]), out
        }
    }
    printf "%d of %d points\n", points, max
}
