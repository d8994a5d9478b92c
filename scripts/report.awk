# Turns the output of bats (--formatter cat --timing) into a report for a person
# and into the neutral result file. First file: tests/points. Then: the stream.
#   stage, build, source, env   what was tested          json  file to write
#   all=1     show every failure in full, where it comes in the list
#   quiet=1   do not list the tests                      filter  names chosen
#   error=... nothing could be run; the stream says why
# Its own words come from the environment: m_score and so on, scripts/messages.en.
#
# The result file, one line per test so that it can be read with sed as well:
#   {"schema":"lab-result/1","stage","build","env","points","max","skipped",
#    "status","next_todo","next","tests":[{"id","status","points","max","todo",
#    "title","message","expected","actual","repro","cause","hint","duration_ms"}]}
# status: pass, fail, skip, timeout, or error (it could not run). Points come
# from the verdict of bats alone: nothing that a program prints can change them.
# next_todo is the TODO to do next, or 0 when something else comes first; next
# is where: "labs/01-blocking-echo/echo.c:93", or empty when nobody knows.

# s without what is no UTF-8, or no character: JSON and XML have room for neither.
function utf8(s,    out) {
    while (s != "") {
        if (match(s, /^([\001-\177]|[\302-\337][\200-\277]|\340[\240-\277][\200-\277]|[\341-\354\356][\200-\277][\200-\277]|\355[\200-\237][\200-\277]|\357[\200-\276][\200-\277]|\357\277[\200-\275]|\360[\220-\277][\200-\277][\200-\277]|[\361-\363][\200-\277][\200-\277][\200-\277]|\364[\200-\217][\200-\277][\200-\277])+/)) {
            out = out substr(s, 1, RLENGTH)
            s = substr(s, RLENGTH + 1)
        } else {
            out = out "?"
            s = substr(s, 2)
        }
    }
    return out
}

function text(s) { # a JSON string
    if (s ~ /[\200-\377]/)
        s = utf8(s)
    gsub(/\\/, "&&", s)
    gsub(/"/, "\\\"", s)
    gsub(/\t/, "\\t", s)
    gsub(/\n/, "\\n", s)
    gsub(/[\001-\037\177]/, "?", s)
    return "\"" s "\""
}

function member(key, value) {
    return "," text(key) ":" value
}

# The labelled line `label: value` of a message, continuation lines included.
function field(message, label,    n, lines, i, value, in_it) {
    n = split(message, lines, "\n")
    for (i = 1; i <= n; i++) {
        if (index(lines[i], label ":") == 1) {
            value = substr(lines[i], length(label) + 2)
            sub(/^ +/, "", value)
            in_it = 1
        } else if (in_it && lines[i] ~ /^          /) {
            value = value "\n" substr(lines[i], 11)
        } else if (in_it) {
            break
        }
    }
    return value
}

# One of the messages, filled in.
function msg(key, a, b, c, d) {
    return sprintf(ENVIRON["m_" key], a, b, c, d)
}

# Where the learner's TODO stands: "labs/01-blocking-echo/echo.c:93".
function place(todo,    cmd, line) {
    cmd = "scripts/place '" source "/" stage "' " todo
    cmd | getline line
    close(cmd)
    return line
}

# A stub that ended the program has said which TODO it stands for. But if the
# server was still there when the test gave up, that came later, as its clients left.
function stub(id) {
    if (field(why[id], "actual") ~ /nothing came within|us on the CPU/)
        return 0
    return match(why[id], /TODO [0-9]+ is not done/) ? \
        substr(why[id], RSTART + 5, RLENGTH - 17) + 0 : 0
}

function is_ours(file,    line, found) {
    found = (getline line < (source "/" stage "/" file)) >= 0
    close(source "/" stage "/" file)
    return found
}

# The first place in the stage's own files that a sanitizer or a compiler names
# in a text: "labs/01-blocking-echo/echo.c:93". Only lines with such a mark count.
function named_place(from, mark,    n, lines, i, file) {
    n = split(from, lines, "\n")
    for (i = 1; i <= n; i++)
        if (lines[i] ~ mark && match(lines[i], /[A-Za-z0-9_]+\.[chS]:[0-9]+/)) {
            file = substr(lines[i], RSTART, RLENGTH)
            if (is_ours(substr(file, 1, index(file, ":") - 1)))
                return source "/" stage "/" file
        }
    return ""
}

# Where a sanitizer says that the program crashed: "#1 0x55 in turn /x/echo.c:93"
function crash(id) {
    return named_place(why[id], " #[0-9]+ +0x|runtime error:")
}

# The TODO whose code, or whose function, has this place: "labs/x/echo.c:93"; 0: none.
function todo_at(at,    part, code, n, t) {
    split(at, part, ":")
    while (n++ < part[2] && (getline code < part[1]) > 0) {
        if (code ~ /^}/)
            t = 0
        if (match(code, /TODO [0-9]+: /))
            t = substr(code, RSTART + 5, RLENGTH - 7) + 0
    }
    close(part[1])
    return t
}

# The innermost TODO that a sanitizer's report leads through; 0: none.
function crash_todo(id,    n, lines, i, t) {
    n = split(why[id], lines, "\n")
    for (i = 1; i <= n && !t; i++)
        if (lines[i] ~ / #[0-9]+ +0x|runtime error:/ &&
            match(lines[i], /[A-Za-z0-9_]+\.[chS]:[0-9]+/))
            t = todo_at(source "/" stage "/" substr(lines[i], RSTART, RLENGTH))
    return t
}

# The TODO that a failure itself names: a stub that ended the program says so; a crash
# is that of the code in which it happened, unless the test is about a later one (what
# is missing there may be what breaks here); a missing ready line that of the ready line.
function named(id,    t) {
    if (stub(id))
        return stub(id)
    if ((t = crash_todo(id)))
        return t > todo[id] ? t : todo[id]
    if (why[id] ~ /actual: +(no ready line|first line was)/ && (number ".ready") in todo)
        return todo[number ".ready"]
    return 0
}

function blamed(id) {
    return named(id) ? named(id) : todo[id]
}

# A server that did not get ready says nothing about the TODO that the test is about.
function started(id) {
    return named(id) || why[id] !~ /(^|\n)expected: one line "listening on/
}

function advice(id,    t, look) {
    t = blamed(id)
    look = crash(id)
    look = look ? msg("look", look) "\n" : ""
    if (!started(id))
        return look msg("not_its_todo", t)
    return look sprintf("todo:     TODO %d, %s\nread:     %s, \"TODO %d\"\n" \
                        "hint:     make hint STAGE=%s TODO=%d",
                        t, place(t), handout, t, number, t)
}

# What is known about a failure, with a margin. Why a stub failed needs no cause.
function details(id, margin, more,    n, lines, i) {
    n = split(why[id] more, lines, "\n")
    for (i = 1; i <= n; i++)
        if (!(lines[i] ~ /^cause: / && stub(id)) && (i < n || lines[i] != ""))
            print margin lines[i]
}

function show(id, mark) {
    if (quiet) {
        printf "%s%s", dots++ ? "" : "  ", status[id] == "pass" ? "." : mark == "skip" ? "s" : "F"
        fflush()
        return
    }
    printf "  %-7s %3d  %s\n", mark, max[id], title[id]
    if (status[id] == "skip")
        print "               " why[id]
    else if (status[id] != "pass" && all)
        details(id, "               ", error ? "" : advice(id))
    fflush()
}

function settle() { # the test of the last verdict line has said all it has to say
    if (current == "")
        return
    show(current, status[current] == "pass" ? "pass" : \
                  status[current] == "skip" ? "skip" : "FAIL")
    current = ""
}

BEGIN {
    number = substr(stage, 1, 2)
    printf "\n%s\n\n", msg("heading", stage, build, source)
    fflush()
}

FNR == NR { # tests/points
    if ($0 ~ /^ *(#|$)/ || substr($1, 1, 3) != number ".")
        next
    id = $1
    order[++count] = id
    max[id] = $2
    todo[id] = $3
    line = $0
    sub(/^ *[^ ]+ +[^ ]+ +[^ ]+ +/, "", line)
    title[id] = line
    by_title[line] = id
    status[id] = line ~ filter ? "error" : "left out"
    why[id] = "" # gawk 5.2 stumbles over an element that a function gets unset
    next
}

error {
    noise = noise $0 "\n"
    next
}

/^begin [0-9]+ / {
    settle()
    next
}

/^(ok|not ok) [0-9]+ / {
    settle()
    good = /^ok /
    line = $0
    sub(/^(not )?ok [0-9]+ /, "", line)
    ms = 0
    if (match(line, / in [0-9]+ms/)) {
        ms = substr(line, RSTART + 4, RLENGTH - 6) + 0
        reason = substr(line, RSTART + RLENGTH)
        line = substr(line, 1, RSTART - 1)
    } else {
        reason = line
        sub(/ # (skip|timeout).*/, "", line)
        reason = substr(reason, length(line) + 1)
    }
    if (!(line in by_title)) {
        noise = noise $0 "\n"
        next
    }
    id = current = by_title[line]
    took[id] = ms
    status[id] = good ? "pass" : "fail"
    if (good && reason ~ /# skip/) {
        status[id] = "skip"
        sub(/.*# skip ?/, "", reason)
        why[id] = reason
    } else if (!good && reason ~ /# timeout/) {
        status[id] = "timeout"
        why[id] = "actual:   the test did not end within its time limit\n"
    }
    next
}

/^# / {
    line = substr($0, 3)
    if (line ~ /^(\(| )(in test file|from function) |^ *in test file |^  `.*' failed/)
        next # where in the bats file: of use to nobody who writes a server
    if (current != "")
        why[current] = why[current] line "\n"
    else
        noise = noise line "\n"
}

END {
    settle()
    for (i = 1; i <= count; i++) {
        id = order[i]
        if (status[id] == "left out")
            continue
        if (status[id] == "error") {
            why[id] = "actual:   " \
                (error ? msg(error) : "the test gave no result") "\n"
            if (error != "" || noise != "")
                why[id] = why[id] "log:\n" noise
            if (!error)
                show(id, "ERROR")
        }
        total += max[id]
        if (status[id] == "pass")
            points += max[id]
        else if (status[id] == "skip")
            skipped += max[id]
        else {
            failures++
            if (!first || blamed(id) < blamed(first))
                first = id
        }
    }
    if (first)
        lead()
    write_result()
    if (error)
        printf "  %s:\n\n%s\n", msg(error), noise
    for (i = 1; total && i <= int(30 * points / total); i++)
        bar = bar "#"
    printf "%s  %s  [%-30s]%s\n", error ? "" : dots ? "\n\n" : "\n",
        msg("score", points, total - skipped), bar,
        skipped ? "  (" msg("also_skipped", skipped) ")" : ""
    if (first && !all && !error) {
        if (!points && stub(first))
            print "  " msg("begins")
        printf "\n  %s\n    %s\n\n", failures == 1 ? msg("shown_only", max[first]) : \
            msg("shown", failures, max[first]), title[first]
        details(first, "    ", crash(first) ? msg("look", crash(first)) : "")
        print ""
    }
    if (first)
        print "  " next_words
    exit first != ""
}

# Where to go on: sets next_todo, next_place and next_words.
function lead() {
    next_todo = 0
    if (error == "compile") {
        next_place = named_place(noise, ":[0-9]+: (fatal )?error:")
        next_words = next_place ? msg("next_compiler", next_place) : msg("next_linker")
    } else if (error == "missing") {
        next_words = msg("bring_back", number)
    } else if (error) {
        next_words = msg(error == "early" ? "next_early" : "try")
    } else if (!started(first)) {
        next_place = crash(first)
        next_words = next_place ? msg("next_crash", next_place) : msg("next_start")
    } else {
        next_todo = blamed(first)
        next_place = place(next_todo)
        next_words = msg("next_todo", next_todo, next_place) "\n        " \
                     msg("next_help", handout, next_todo, number, next_todo)
    }
}

function write_result(    i, id, comma) {
    printf "{\"schema\":\"lab-result/1\"%s%s%s%s%s%s%s%s%s,\"tests\":[\n",
        member("stage", text(stage)), member("build", text(build)),
        member("env", text(env)), member("points", points + 0),
        member("max", total + 0), member("skipped", skipped + 0),
        member("status", text(first ? "fail" : "pass")),
        member("next_todo", next_todo + 0), member("next", text(next_place)) > json
    for (i = 1; i <= count; i++) {
        id = order[i]
        if (status[id] == "left out")
            continue
        printf "%s{\"id\":%s%s%s%s%s%s%s%s%s%s%s%s%s}", comma, text(id),
            member("status", text(status[id])),
            member("points", status[id] == "pass" ? max[id] : 0),
            member("max", max[id]), member("todo", blamed(id)),
            member("title", text(title[id])), member("message", text(why[id])),
            member("expected", text(field(why[id], "expected"))),
            member("actual", text(field(why[id], "actual"))),
            member("repro", text(field(why[id], "repeat"))),
            member("cause", text(field(why[id], "cause"))),
            member("hint", text("make hint STAGE=" number " TODO=" blamed(id))),
            member("duration_ms", took[id] + 0) > json
        comma = ",\n"
    }
    print "\n]}" > json
    close(json)
}
